//! An e-mail as bytes: MIME by lettre, with everything random or clock-read replaced, and checked before it may leave.

mod quoted_printable;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox as Envelope, Message, MultiPart, SinglePart};

use crate::ids::Timestamp;
use crate::render::line::Line;
use crate::render::{Email, Mailbox};

/// RFC 5322: characters in a line, without its end.
const LINE_MAX: usize = 998;

/// The message in wire form: CRLF line ends, bodies in quoted-printable or base64, the same bytes for every try.
///
/// # Errors
/// What about the message cannot be sent; without personal data.
pub fn bytes(email: &Email) -> Result<Vec<u8>, String> {
    // lettre panics on some header values. `Line` keeps those out; this keeps a surprise to one message.
    let built = catch_unwind(AssertUnwindSafe(|| build(email).map(|message| message.formatted())));
    let bytes = built.map_err(|_| "the message could not be built".to_owned())??;
    safe_on_the_wire(&bytes)?;
    Ok(bytes)
}

fn build(email: &Email) -> Result<Message, String> {
    let mut message = Message::builder()
        .from(mailbox(&email.from)?)
        .to(mailbox(&email.to)?)
        .raw_header(subject(&email.subject))
        .date(date(email.date))
        .message_id(Some(email.message_id.clone()));
    if let Some(address) = &email.reply_to {
        message = message.reply_to(Envelope::new(None, parse(address)?));
    }
    for (name, value) in &email.headers {
        let name = HeaderName::new_from_ascii(name.clone()).map_err(|_| "a header's name is not valid".to_owned())?;
        let value = value.as_str().to_owned();
        if value.len() > LINE_MAX - 100 || !value.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return Err("a header's value is not one short ASCII line".to_owned());
        }
        // As it is: folding or encoding would break the links in it, and signatures over it.
        message = message.raw_header(HeaderValue::dangerous_new_pre_encoded(name, value.clone(), value));
    }
    // `=_` cannot occur in quoted-printable or base64, so no body can contain the boundary.
    let boundary = format!("=_{}", email.message_id.trim_matches(['<', '>']).split('@').next().unwrap_or_default());
    let parts = MultiPart::alternative()
        .boundary(boundary)
        .singlepart(part(ContentType::TEXT_PLAIN, &email.text)?)
        .singlepart(part(ContentType::TEXT_HTML, &email.html)?);
    message.multipart(parts).map_err(|cause| cause.to_string())
}

/// lettre folds only at spaces, so a long word would break the line limit; RFC 2047 words go over any text.
fn subject(subject: &Line) -> HeaderValue {
    let text = subject.as_str();
    let plain = text.len() <= 68 && text.bytes().all(|b| matches!(b, b' '..=b'~')) && !text.contains("=?");
    let mut encoded = String::new();
    let mut rest = if plain { "" } else { text };
    while !rest.is_empty() {
        // 42 bytes are 56 in base64, and with what stands around them a line stays under 76.
        let cut = rest.floor_char_boundary(42);
        let (word, later) = rest.split_at(cut);
        let fold = if encoded.is_empty() { "" } else { "\r\n " };
        encoded.push_str(&format!("{fold}=?utf-8?b?{}?=", STANDARD.encode(word)));
        rest = later;
    }
    let encoded = if plain { text.to_owned() } else { encoded };
    let name = HeaderName::new_from_ascii_str("Subject");
    HeaderValue::dangerous_new_pre_encoded(name, text.to_owned(), encoded)
}

fn part(kind: ContentType, text: &str) -> Result<SinglePart, String> {
    let is_foreign = || text.chars().filter(|c| !c.is_ascii()).count() * 4 > text.chars().count();
    let body = if !text.is_ascii() && is_foreign() {
        let encoded = Body::new_with_encoding(text.to_owned(), ContentTransferEncoding::Base64);
        encoded.map_err(|_| "a body cannot be encoded".to_owned())?
    } else {
        let encoding = ContentTransferEncoding::QuotedPrintable;
        Body::dangerous_pre_encoded(quoted_printable::encode(text), encoding)
    };
    Ok(SinglePart::builder().header(kind).body(body))
}

fn mailbox(mailbox: &Mailbox) -> Result<Envelope, String> {
    let name = mailbox.name.as_ref().map(|line| line.as_str().to_owned());
    Ok(Envelope::new(name, parse(&mailbox.address)?))
}

/// # Errors
/// When it is not an address SMTP can carry.
pub fn parse(address: &str) -> Result<Address, String> {
    address.parse().map_err(|_| "the address is not valid".to_owned())
}

fn date(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.millis()).unwrap_or(0))
}

/// No bare CR or LF (they smuggle a second message past some servers, and the transport does not stuff dots after
/// them), no NUL, no line over the limit.
fn safe_on_the_wire(bytes: &[u8]) -> Result<(), String> {
    let mut start = 0;
    let ends = memchr::memchr3_iter(b'\r', b'\n', 0, bytes);
    let mut ends = ends.peekable();
    loop {
        let end = ends.next().unwrap_or(bytes.len());
        if end - start > LINE_MAX {
            return Err(format!("a line of the message is longer than {LINE_MAX} bytes"));
        }
        match (bytes.get(end), ends.peek()) {
            (None, _) => return Ok(()),
            (Some(b'\r'), Some(next)) if *next == end + 1 && bytes[*next] == b'\n' => {
                ends.next();
                start = end + 2;
            }
            _ => return Err("the message has a bare line break or a NUL".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
