//! What an SMTP server's answer means for the message: one table, no I/O.
//!
//! The three digits decide between now, later and never; the enhanced code (RFC 3463) says whose fault it is. Only an
//! answer about the recipient's mailbox itself suppresses the address: never one about us, the content or policy.

use crate::message::Outcome;

/// Where in the dialogue the answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// TCP, TLS.
    Connect,
    /// The greeting and EHLO.
    Greeting,
    Login,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// The DATA command.
    Data,
    /// The body, up to the final dot.
    Body,
    /// After the final dot was (perhaps partly) written.
    Final,
}

/// An answer: 200 to 599 and its text, all lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

/// Characters of a cause that are kept.
const CAUSE_CHARS_MAX: usize = 300;
/// Words by which servers that give no enhanced code say that it is about us.
const POLICY: [&str; 13] = [
    "spam",
    "block",
    "policy",
    "blacklist",
    "denylist",
    "dnsbl",
    "reputation",
    "spf",
    "dkim",
    "dmarc",
    "relay",
    "denied",
    "not permitted",
];

/// What `reply` at `stage` means.
pub fn verdict(stage: Stage, reply: &Reply) -> Outcome {
    let cause = cause(reply);
    match (stage, reply.code / 100) {
        (Stage::Final, 2) => Outcome::Accepted { reply: cause },
        // An answer that fits no question: after the dot nobody knows what became of the message.
        (Stage::Final, 1 | 3) => Outcome::Unknown { cause },
        (_, 4) => {
            let throttled = reply.code == 421 || matches!(enhanced(&reply.text), Some((7, _)));
            let about_recipient = !throttled && is_about_recipient(stage, reply);
            Outcome::Retry { cause, after: None, slow_domain: throttled && stage >= Stage::Sender, about_recipient }
        }
        (Stage::Connect | Stage::Greeting | Stage::Login, _) => Outcome::TransportDown { cause },
        (_, 5) => permanent(stage, reply, cause),
        _ => Outcome::Retry { cause, after: None, slow_domain: false, about_recipient: false },
    }
}

fn permanent(stage: Stage, reply: &Reply, cause: String) -> Outcome {
    let is_theirs = is_about_recipient(stage, reply);
    let again = |cause| Outcome::Retry { cause, after: None, slow_domain: false, about_recipient: is_theirs };
    let dead = |cause| Outcome::Rejected { cause, suppress: true };
    let failed = |cause| Outcome::Rejected { cause, suppress: false };
    if matches!(reply.code, 530 | 535) {
        return Outcome::TransportDown { cause };
    }
    // What is said at MAIL FROM is about the sender.
    let about_recipient = stage >= Stage::Recipient;
    match enhanced(&reply.text) {
        Some((1, 1 | 2 | 3 | 6 | 10) | (2, 1)) if about_recipient => dead(cause),
        Some((2, 2) | (4, 4)) if about_recipient => again(cause),
        Some(_) => failed(cause),
        None if stage != Stage::Recipient => failed(cause),
        None if reply.code == 552 => again(cause),
        None if matches!(reply.code, 550 | 551 | 553) => {
            let text = reply.text.to_ascii_lowercase();
            if POLICY.iter().any(|word| text.contains(word)) { failed(cause) } else { dead(cause) }
        }
        None => failed(cause),
    }
}

/// Whether a "not now" is about this address alone, of a server that took everything before: a full mailbox, a domain
/// that cannot be found. A failure of the server itself, or one that it may have with everybody, is not.
fn is_about_recipient(stage: Stage, reply: &Reply) -> bool {
    match enhanced(&reply.text) {
        // Of the sender's address, which servers look at only once they know the recipient's.
        Some((1, 7 | 8)) => false,
        Some((2, 1 | 2)) => stage >= Stage::Recipient,
        Some((1 | 2, _) | (4, 4)) => stage == Stage::Recipient,
        Some(_) => false,
        None => stage == Stage::Recipient && matches!(reply.code, 450 | 552),
    }
}

/// No answer came at `stage`. Before MAIL it says nothing about the message; after the dot it may have been accepted.
pub fn lost(stage: Stage, cause: &str) -> Outcome {
    let cause = public(cause);
    match stage {
        Stage::Connect | Stage::Greeting | Stage::Login => Outcome::TransportDown { cause },
        Stage::Sender | Stage::Recipient | Stage::Data | Stage::Body => {
            Outcome::Retry { cause, after: None, slow_domain: false, about_recipient: false }
        }
        Stage::Final => Outcome::Unknown { cause },
    }
}

/// Subject and detail of an enhanced code at the start. Its class is not read: where it disagrees with the three
/// digits, those are right.
fn enhanced(text: &str) -> Option<(u16, u16)> {
    let mut parts = text.split_whitespace().next()?.split('.');
    let class = parts.next()?;
    let number = |part: Option<&str>| part.filter(|it| it.len() <= 3)?.parse::<u16>().ok();
    let (subject, detail) = (number(parts.next())?, number(parts.next())?);
    (matches!(class, "2" | "4" | "5") && parts.next().is_none()).then_some((subject, detail))
}

fn cause(reply: &Reply) -> String {
    public(&format!("{} {}", reply.code, reply.text))
}

/// Servers like to repeat the address; causes are logged and shown, so it does not stay in.
fn public(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.map(|word| if word.contains('@') { "<address>" } else { word }).collect();
    words.join(" ").chars().take(CAUSE_CHARS_MAX).collect()
}

#[cfg(test)]
pub(super) mod tests;
