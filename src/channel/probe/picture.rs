//! Whether what came for a picture is one, and one that mail programs show: judged by its first bytes, not by its name.

use super::Trouble;

/// What the bytes are; none: no picture that we know.
fn form_of(bytes: &[u8]) -> Option<&'static str> {
    let starts = |with: &[u8]| bytes.starts_with(with);
    let at = |from: usize, with: &[u8]| bytes.get(from..).is_some_and(|rest| rest.starts_with(with));
    let text = || String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).to_ascii_lowercase();
    match () {
        () if starts(b"\x89PNG\r\n\x1a\n") => Some("PNG"),
        () if starts(b"\xff\xd8\xff") => Some("JPEG"),
        () if starts(b"GIF87a") || starts(b"GIF89a") => Some("GIF"),
        () if starts(b"RIFF") && at(8, b"WEBP") => Some("WebP"),
        () if at(4, b"ftypavif") || at(4, b"ftypavis") => Some("AVIF"),
        () if at(4, b"ftyphei") || at(4, b"ftypmif1") => Some("HEIC"),
        () if starts(b"BM") => Some("BMP"),
        () if starts(b"II*\0") || starts(b"MM\0*") => Some("TIFF"),
        () if starts(b"\0\0\x01\0") => Some("ICO"),
        () if text().contains("<svg") && !text().contains("<html") => Some("SVG"),
        () => None,
    }
}

/// What is wrong with it.
pub fn look(bytes: &[u8], content_type: Option<&str>) -> Vec<Trouble> {
    let said = content_type.unwrap_or("nothing").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(form) = form_of(bytes) else {
        let what =
            if bytes.is_empty() { "what comes is empty".to_owned() } else { format!("what comes says it is {said}") };
        return vec![Trouble::NotAPicture { what }];
    };
    let mut told = Vec::new();
    if !matches!(form, "PNG" | "JPEG" | "GIF") {
        told.push(Trouble::RarelyShown { form });
    }
    if !said.starts_with("image/") {
        told.push(Trouble::WrongType { form, said });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_known_by_its_bytes() {
        let told = |bytes: &[u8], said: &str| -> Vec<String> {
            look(bytes, Some(said)).iter().map(|it| it.code().to_owned()).collect()
        };
        assert_eq!(told(b"\x89PNG\r\n\x1a\n....", "image/png"), Vec::<String>::new());
        assert_eq!(told(b"GIF89a", "image/gif; charset=binary"), Vec::<String>::new());
        assert_eq!(told(b"\xff\xd8\xff\xe0", "application/octet-stream"), ["wrong_type"]);
        assert_eq!(told(b"RIFF....WEBPVP8 ", "image/webp"), ["rarely_shown"]);
        assert_eq!(told(b"<?xml version=\"1.0\"?><svg>", "image/svg+xml"), ["rarely_shown"]);
        assert_eq!(told(b"<!doctype html><html><svg>", "text/html"), ["not_a_picture"]);
        assert_eq!(told(b"", "image/png"), ["not_a_picture"]);
        assert_eq!(told(b"not found", "image/png"), ["not_a_picture"]);
    }
}
