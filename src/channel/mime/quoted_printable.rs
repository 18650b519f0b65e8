//! Bodies as quoted-printable (RFC 2045, 6.7), in one walk over the text: a mail is as long as all else that is done for it
//! together, so runs of what stands for itself are copied, and nothing is moved afterwards.

/// Characters of a line, without the `=` of one that goes on.
const LINE_MAX: usize = 75;
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// What stands for itself: printable ASCII but `=`, and white space inside of a line.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'=';
        byte += 1;
    }
    plain[b'\t' as usize] = true;
    plain
};

/// The text with CRLF at the end of each line, as ASCII in lines of at most 76 characters.
pub fn encode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8 + 16);
    // Where the line at hand begins.
    let mut start = 0;
    let mut rest = text.as_bytes();
    while let Some(&byte) = rest.first() {
        let ends = match rest {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => 0,
        };
        if ends > 0 {
            close(&mut out, start);
            out.extend_from_slice(b"\r\n");
            start = out.len();
            rest = &rest[ends..];
        } else if PLAIN[usize::from(byte)] {
            let room = room(&mut out, &mut start, 1);
            let most = &rest[..room.min(rest.len())];
            let run = most.iter().position(|byte| !PLAIN[usize::from(*byte)]).unwrap_or(most.len());
            out.extend_from_slice(&rest[..run]);
            rest = &rest[run..];
        } else {
            room(&mut out, &mut start, 3);
            escape(&mut out, byte);
            rest = &rest[1..];
        }
    }
    close(&mut out, start);
    out
}

/// Sees to it that so many characters fit the line; the answer is how many do.
fn room(out: &mut Vec<u8>, start: &mut usize, needed: usize) -> usize {
    if out.len() - *start + needed > LINE_MAX {
        out.extend_from_slice(b"=\r\n");
        *start = out.len();
    }
    LINE_MAX - (out.len() - *start)
}

/// White space at the end of a line may get lost on the way.
fn close(out: &mut Vec<u8>, mut start: usize) {
    if let Some(space @ (b' ' | b'\t')) = out[start..].last().copied() {
        out.pop();
        room(out, &mut start, 3);
        escape(out, space);
    }
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[b'=', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// By the letter of the standard: escapes are bytes, `=` at the end of a line joins it to the next.
    fn decoded(encoded: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(encoded.to_vec()).unwrap().replace("=\r\n", "");
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((&byte, more)) = rest.split_first() {
            rest = more;
            bytes.push(match byte {
                b'=' => {
                    let digits = std::str::from_utf8(&more[..2]).unwrap();
                    rest = &more[2..];
                    u8::from_str_radix(digits, 16).unwrap()
                }
                byte => byte,
            });
        }
        bytes
    }

    fn check(text: &str) {
        let encoded = encode(text);
        let wanted = text.replace("\r\n", "\n").replace('\n', "\r\n");
        assert_eq!(String::from_utf8(decoded(&encoded)).unwrap(), wanted);
        for line in String::from_utf8(encoded).unwrap().split("\r\n") {
            assert!(line.len() <= 76 && !line.ends_with([' ', '\t']), "{line:?}");
            assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')), "{line:?}");
        }
    }

    #[test]
    fn what_stands_for_itself_is_left_and_the_rest_is_escaped() {
        let of = |text: &str| String::from_utf8(encode(text)).unwrap();
        assert_eq!(of("<p class=\"a\">é</p>\n"), "<p class=3D\"a\">=C3=A9</p>\r\n");
        assert_eq!(of("a \r\nb\t\n c "), "a=20\r\nb=09\r\n c=20");
        assert_eq!(of("a\rb\r"), "a=0Db=0D");
        assert_eq!(of(&"x".repeat(76)), format!("{}=\r\nx", "x".repeat(75)));
        assert_eq!(of(&format!("{} \n", "x".repeat(73))), format!("{}=\r\n=20\r\n", "x".repeat(73)));
        assert_eq!(of(""), "");
    }

    #[test]
    fn every_length_of_line_ends_where_it_should() {
        for length in 60..240 {
            for end in ["", " ", "=", "é", "\t\n", "\r", "\r\n"] {
                check(&format!("{}{end}", "x".repeat(length)));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_fits_its_lines(text in "([ -~]{0,90}[ \t=é🛒\r\n]{0,3}){0,6}") {
            check(&text);
        }
    }
}
