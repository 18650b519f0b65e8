//! The bytes of a mail, read back by hand.
#![allow(clippy::unwrap_used)]

use base64::Engine;
use proptest::prelude::*;

use super::*;
use crate::render::Content;
use crate::render::line::Line;
use crate::render::tests::email;

fn mail() -> Email {
    let Content::Email(mail) = email("Your cart", "<p>Hi</p>").done().content().clone() else { panic!() };
    mail
}

fn written(mail: &Email) -> String {
    String::from_utf8(bytes(mail).unwrap()).unwrap()
}

/// A header's value, unfolded, with RFC 2047 words decoded.
fn header(message: &str, name: &str) -> Option<String> {
    let head = message.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ").replace("\r\n\t", " ");
    let line = head.split("\r\n").find(|line| line.starts_with(&format!("{name}: ")))?;
    let mut decoded = String::new();
    let mut after_word = false;
    for word in line[name.len() + 2..].split(' ') {
        let encoded = word.strip_prefix("=?utf-8?b?").and_then(|it| it.strip_suffix("?="));
        let joins = after_word && encoded.is_some();
        if !decoded.is_empty() && !joins {
            decoded.push(' ');
        }
        match encoded {
            Some(text) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
                decoded.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            None => decoded.push_str(word),
        }
        after_word = encoded.is_some();
    }
    Some(decoded)
}

#[test]
fn the_same_message_is_the_same_bytes_every_time() {
    let text = written(&mail());
    assert_eq!(text, written(&mail()));
    assert_eq!(header(&text, "Date").unwrap(), "Sun, 01 Mar 2026 11:00:00 +0000");
    assert_eq!(header(&text, "Message-ID").unwrap(), mail().message_id);
    assert_eq!(header(&text, "To").unwrap(), "Ann <ann@example.com>");
    assert!(text.contains("text/plain") && text.contains("text/html"), "{text}");
    assert!(text.contains("multipart/alternative"), "{text}");
}

#[test]
fn one_click_headers_stand_unbroken_and_unencoded() {
    let mut mail = mail();
    let link = format!("<https://news.shop.example/u/{}>", "A".repeat(68));
    mail.headers[0].1 = Line::new(&link);
    let text = written(&mail);
    assert!(text.contains(&link), "{text}");
    assert!(text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{text}");
}

#[test]
fn long_emoji_and_right_to_left_subjects_decode_to_the_same_text() {
    for subject in [
        "x".repeat(10_000),
        "word ".repeat(2_000).trim().to_owned(),
        "🛒".repeat(2_500),
        "שלום עולם ".repeat(100).trim().to_owned(),
        "Ваша корзина, 40.00 €".to_owned(),
        "=?utf-8?b?AAAA?=".to_owned(),
        "tab\u{202e}mixed 👩‍👩‍👧 end".to_owned(),
    ] {
        let mut mail = mail();
        mail.subject = Line::new(&subject);
        let text = written(&mail);
        assert_eq!(header(&text, "Subject").unwrap(), subject);
        assert!(text.lines().all(|line| line.len() <= 998));
    }
}

#[test]
fn an_address_smtp_cannot_carry_is_said_without_repeating_it() {
    for wrong in ["", "ann", "a b@example.com", "ann@example.com\r\nBcc: eve@example.com", "@example.com"] {
        let mut mail = mail();
        mail.to.address = wrong.to_owned();
        assert_eq!(bytes(&mail), Err("the address is not valid".to_owned()), "{wrong}");
    }
}

#[test]
fn the_last_check_refuses_bare_breaks_and_long_lines() {
    for wrong in [&b"a\nb\r\n"[..], b"a\rb\r\n", b"a\r\n\n", b"a\0\r\n", b"a\r", b"a\r\r\n", &[b'x'; 999]] {
        assert!(safe_on_the_wire(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(safe_on_the_wire(b"a\r\n.\r\n\r\nb"), Ok(()));
    assert_eq!(safe_on_the_wire(b""), Ok(()));
}

proptest! {
    #[test]
    fn any_text_anywhere_builds_or_is_refused_and_adds_no_header(
        name in any::<String>(), subject in any::<String>(), body in any::<String>(), to in "[a-zß.@\r\n\" ]{0,20}",
    ) {
        let mut mail = mail();
        mail.from.name = Some(Line::new(&name));
        mail.to.name = Some(Line::new(&name));
        mail.subject = Line::new(&subject);
        (mail.html, mail.text) = (body.clone(), body);
        let count = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
            head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])).count()
        };
        let built = bytes(&mail);
        prop_assert!(built.is_ok(), "{:?}", built);
        prop_assert_eq!(count(&built.unwrap()), 9);
        mail.to.address = to;
        if let Ok(built) = bytes(&mail) {
            prop_assert_eq!(count(&built), 9);
        }
    }
}
