//! Every row of the reply table, also spoken over a real socket in `smtp::tests`.

use super::*;

/// What a row says must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Sent,
    Retry,
    RetryAndSlow,
    Suppress,
    Fail,
    Down,
    Unknown,
}

impl Expect {
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Accepted { .. } => Self::Sent,
            Outcome::Retry { slow_domain: false, .. } => Self::Retry,
            Outcome::Retry { .. } => Self::RetryAndSlow,
            Outcome::Rejected { suppress: true, .. } => Self::Suppress,
            Outcome::Rejected { .. } => Self::Fail,
            Outcome::TransportDown { .. } => Self::Down,
            Outcome::Unknown { .. } => Self::Unknown,
        }
    }
}

use Expect::{Down, Fail, Retry, RetryAndSlow, Sent, Suppress};
use Stage::{Final, Greeting, Login, Recipient, Sender};

pub const ROWS: &[(Stage, &str, Expect)] = &[
    // Accepted.
    (Final, "250 2.0.0 Ok: queued as 4F", Sent),
    (Final, "250 OK", Sent),
    (Final, "252 later", Sent),
    // Not now.
    (Recipient, "450 4.2.0 Greylisted", Retry),
    (Recipient, "450 mailbox busy", Retry),
    (Recipient, "451 4.3.0 Temporary failure", Retry),
    (Recipient, "451 local error", Retry),
    (Recipient, "452 4.2.2 Over quota", Retry),
    (Recipient, "452 4.3.1 Insufficient storage", Retry),
    (Recipient, "452 too many recipients", Retry),
    (Recipient, "454 4.4.1 No answer from host", Retry),
    (Recipient, "455 parameters", Retry),
    (Final, "450 4.4.2 Bad connection", Retry),
    (Final, "451 4.3.2 Shutting down", Retry),
    (Final, "452 4.3.1 Disk full", Retry),
    (Stage::Data, "451 4.3.0 later", Retry),
    (Sender, "451 4.3.0 later", Retry),
    // Not now, and slower to that domain.
    (Sender, "421 4.3.2 Closing", RetryAndSlow),
    (Recipient, "421 Too many connections", RetryAndSlow),
    (Recipient, "421 4.7.0 Unusual rate", RetryAndSlow),
    (Recipient, "450 4.7.1 Rate limited", RetryAndSlow),
    (Recipient, "451 4.7.650 Throttled", RetryAndSlow),
    (Final, "421 4.7.28 Unusual rate", RetryAndSlow),
    (Final, "421 bye", RetryAndSlow),
    (Final, "451 4.7.1 Try again", RetryAndSlow),
    (Greeting, "421 busy", Retry),
    (Login, "454 4.7.0 Temporary authentication failure", Retry),
    // The mailbox is not there.
    (Recipient, "550 5.1.1 <ann@example.com> User unknown", Suppress),
    (Recipient, "550 5.1.2 Bad domain", Suppress),
    (Recipient, "553 5.1.3 Bad syntax", Suppress),
    (Recipient, "551 5.1.6 Moved", Suppress),
    (Recipient, "556 5.1.10 Null MX", Suppress),
    (Recipient, "550 5.2.1 Disabled", Suppress),
    (Recipient, "554 5.1.1 No such user", Suppress),
    (Recipient, "550 No such user here", Suppress),
    (Recipient, "551 User not local", Suppress),
    (Recipient, "553 Mailbox name not allowed", Suppress),
    (Final, "550 5.1.1 User unknown", Suppress),
    (Final, "550 5.2.1 Disabled", Suppress),
    // Full, or no route: perhaps another day.
    (Recipient, "552 5.2.2 Over quota", Retry),
    (Recipient, "550 5.2.2 Mailbox full", Retry),
    (Recipient, "552 Storage exceeded", Retry),
    (Final, "552 5.2.2 Over quota", Retry),
    (Recipient, "550 5.4.4 Unable to route", Retry),
    (Recipient, "550 5.4.4 Host unknown", Retry),
    // This message, not this person.
    (Recipient, "552 5.2.3 Too long", Fail),
    (Recipient, "552 5.3.4 Too big", Fail),
    (Final, "552 5.2.3 Too long", Fail),
    (Final, "552 5.3.4 Too big", Fail),
    (Final, "554 5.6.0 Content", Fail),
    (Final, "550 5.6.1 Media", Fail),
    (Final, "552 Too much mail data", Fail),
    (Stage::Data, "552 Too big", Fail),
    (Sender, "552 5.3.4 Too big", Fail),
    // Us, not them.
    (Recipient, "550 5.7.1 Blocked", Fail),
    (Recipient, "550 5.7.20 No DKIM", Fail),
    (Recipient, "550 5.7.23 SPF", Fail),
    (Recipient, "550 5.7.26 Unauthenticated", Fail),
    (Recipient, "550 5.7.27 Sender", Fail),
    (Recipient, "554 5.7.1 Relay access denied", Fail),
    (Recipient, "550 Blocked by Spamhaus", Fail),
    (Recipient, "550 rejected: SPAM", Fail),
    (Recipient, "550 refused by local policy", Fail),
    (Recipient, "554 spam", Fail),
    (Recipient, "554 Transaction failed", Fail),
    (Recipient, "553 relaying denied", Fail),
    (Final, "550 5.7.515 Access denied", Fail),
    (Final, "550 5.7.26 DMARC", Fail),
    (Final, "554 5.7.1 spam", Fail),
    (Final, "550 Message looks like bulk", Fail),
    (Final, "554 no", Fail),
    (Sender, "550 5.1.1 sender unknown", Fail),
    (Sender, "550 5.1.8 Bad sender's domain", Fail),
    (Sender, "550 sender refused", Fail),
    (Sender, "553 5.1.7 Bad sender", Fail),
    (Sender, "553 5.7.1 not owned by user", Fail),
    // Us and the protocol.
    (Sender, "500 Unrecognised", Fail),
    (Sender, "501 5.5.4 Syntax", Fail),
    (Sender, "503 5.5.1 Sequence", Fail),
    (Recipient, "501 5.5.2 Syntax", Fail),
    (Recipient, "502 Not implemented", Fail),
    (Recipient, "503 Bad sequence", Fail),
    (Recipient, "504 Parameter", Fail),
    (Stage::Data, "503 5.5.1 No valid recipients", Fail),
    (Final, "500 5.5.1 Line too long", Fail),
    (Recipient, "521 no mail here", Fail),
    // Our login.
    (Login, "535 5.7.8 Bad credentials", Down),
    (Login, "535 no", Down),
    (Login, "530 5.7.0 STARTTLS first", Down),
    (Login, "534 5.7.9 Mechanism too weak", Down),
    (Login, "504 5.5.4 Mechanism", Down),
    (Sender, "530 5.7.0 Authentication required", Down),
    (Sender, "535 5.7.8 Authentication failed", Down),
    (Recipient, "530 5.7.57 Not authenticated", Down),
    (Greeting, "554 5.3.2 No service", Down),
    (Greeting, "521 no", Down),
    // The digits disagree: the basic code's class is right.
    (Recipient, "450 5.1.1 User unknown", Retry),
    (Recipient, "451 5.7.1 Greylisted", RetryAndSlow),
    (Recipient, "550 4.7.1 Greylisted", Fail),
    (Recipient, "550 4.1.1 User unknown", Suppress),
    (Recipient, "550 4.2.2 Full", Retry),
    (Final, "250 5.7.1 Ok", Sent),
    (Final, "250 4.0.0 Ok", Sent),
    // What only looks like an enhanced code is text.
    (Recipient, "550 5.1.1.9 strange", Suppress),
    (Recipient, "550 5.1 strange", Suppress),
    (Recipient, "550 7.7.1 strange", Suppress),
    (Recipient, "550 5.9999.1 strange", Suppress),
    (Recipient, "550 192.0.2.1 is on our blocklist", Fail),
    (Recipient, "550", Suppress),
    (Final, "250", Sent),
];

fn reply(text: &str) -> Reply {
    let (code, text) = text.split_at(3);
    Reply { code: code.parse().unwrap_or(0), text: text.trim_start().to_owned() }
}

#[test]
fn every_row_gives_its_verdict() {
    for (stage, text, expected) in ROWS {
        assert_eq!(Expect::of(&verdict(*stage, &reply(text))), *expected, "{stage:?} {text}");
    }
}

#[test]
fn a_full_mailbox_is_its_owners_affair_and_a_server_that_fails_everybodys() {
    let rows = [
        (Recipient, "452 4.2.2 Over quota", true),
        (Recipient, "450 4.2.0 Greylisted", true),
        (Recipient, "450 4.2.1 Receives too much", true),
        (Recipient, "450 4.1.1 Unverified address", true),
        (Recipient, "450 4.1.2 Domain not found", true),
        (Recipient, "552 5.2.2 Over quota", true),
        (Recipient, "550 5.4.4 Unable to route", true),
        (Recipient, "450 mailbox busy", true),
        (Recipient, "552 Storage exceeded", true),
        (Final, "552 5.2.2 Over quota", true),
        (Recipient, "450 4.1.8 Sender address rejected: Domain not found", false),
        (Recipient, "450 4.1.7 Sender address rejected: unverified", false),
        (Recipient, "451 4.3.0 Temporary lookup failure", false),
        (Recipient, "452 4.3.1 Insufficient system storage", false),
        (Recipient, "454 4.4.1 No answer from host", false),
        (Recipient, "451 4.4.3 Directory server failure", false),
        (Recipient, "451 local error", false),
        (Recipient, "452 too many recipients", false),
        (Recipient, "450 4.7.1 Rate limited", false),
        (Recipient, "421 4.2.1 Closing", false),
        (Sender, "450 4.1.1 sender unknown", false),
        (Sender, "452 4.2.2 Over quota", false),
        (Greeting, "450 no", false),
        (Login, "450 4.2.2 no", false),
        (Stage::Data, "451 4.3.0 later", false),
        (Stage::Data, "450 4.1.1 later", false),
        (Final, "450 no", false),
        (Final, "450 4.4.4 no route", false),
        (Final, "451 4.3.2 Shutting down", false),
        (Final, "450 4.2.0 Greylisted", false),
    ];
    for (stage, text, expected) in rows {
        let Outcome::Retry { about_recipient, .. } = verdict(stage, &reply(text)) else { panic!("{stage:?} {text}") };
        assert_eq!(about_recipient, expected, "{stage:?} {text}");
    }
    let Outcome::Retry { about_recipient, .. } = lost(Recipient, "eof") else { panic!() };
    assert!(!about_recipient, "no answer is none about the address");
}

#[test]
fn an_answer_that_fits_no_question_is_never_taken_for_an_acceptance() {
    assert_eq!(Expect::of(&verdict(Final, &reply("354 go on"))), Expect::Unknown);
    assert_eq!(Expect::of(&verdict(Recipient, &reply("220 hello"))), Retry);
    assert_eq!(Expect::of(&verdict(Final, &reply("999 what"))), Retry);
}

#[test]
fn a_lost_answer_is_unknown_only_after_the_final_dot() {
    let rows = [
        (Stage::Connect, Down),
        (Greeting, Down),
        (Login, Down),
        (Sender, Retry),
        (Recipient, Retry),
        (Stage::Data, Retry),
        (Stage::Body, Retry),
        (Final, Expect::Unknown),
    ];
    for (stage, expected) in rows {
        assert_eq!(Expect::of(&lost(stage, "eof")), expected, "{stage:?}");
    }
}

#[test]
fn causes_carry_no_address_and_no_control_characters() {
    let Outcome::Rejected { cause, .. } = verdict(Recipient, &reply("550 5.1.1 <ann@example.com>:\r\n\u{1b}[1m gone"))
    else {
        panic!()
    };
    assert_eq!(cause, "550 5.1.1 <address> [1m gone");
    let Outcome::Unknown { cause } = lost(Final, &"x".repeat(10_000)) else { panic!() };
    assert_eq!(cause.len(), CAUSE_CHARS_MAX);
}
