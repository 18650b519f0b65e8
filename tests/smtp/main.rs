//! The SMTP channel against aiosmtpd, a server we did not write: logins, TLS both ways, answers per recipient.
#![allow(clippy::unwrap_used)]

mod dkim;
mod letter;
#[allow(dead_code, reason = "some of it serves other tests")]
mod server;

use carillon::channel::Channel;
use carillon::channel::smtp::{Settings, Smtp};
use carillon::message::Outcome;
use letter::mail_to;
use server::Real;

fn verdict(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted { .. } => "sent",
        Outcome::Retry { slow_domain: true, .. } => "retry, slower",
        Outcome::Retry { about_recipient: true, .. } => "retry, theirs",
        Outcome::Retry { .. } => "retry",
        Outcome::Rejected { suppress: true, .. } => "suppress",
        Outcome::Rejected { .. } => "fail",
        Outcome::TransportDown { .. } => "down",
        Outcome::Unknown { .. } => "unknown",
    }
}

#[tokio::test]
async fn each_recipient_has_an_answer_of_its_own() {
    let server = Real::start("plain");
    let smtp = server.channel("smtp://localhost:PORT?tls=none");
    let rows = [
        ("ann@example.com", "sent"),
        ("gone@example.com", "suppress"),
        ("full@example.com", "retry, theirs"),
        ("policy@example.com", "fail"),
        ("slow@example.com", "retry, slower"),
        ("bob@example.com", "sent"),
    ];
    for (address, expected) in rows {
        assert_eq!(verdict(&smtp.send(&mail_to(address)).await), expected, "{address}");
    }
    let first = server.message(1).unwrap();
    assert!(first.starts_with("hello@shop.example\r\nann@example.com\r\n"), "{first}");
    assert!(first.contains("List-Unsubscribe: <https://news.shop.example/u/TOKEN>\r\n"), "{first}");
    assert!(server.message(2).unwrap().contains("bob@example.com"));
    assert!(server.message(3).is_none());
}

#[tokio::test]
async fn mail_goes_over_starttls_and_tls_after_a_login() {
    for (mode, url) in [
        ("starttls", "smtp://shop:pass%20w%C3%B6rd@localhost:PORT"),
        ("starttls", "smtp://shop:pass%20w%C3%B6rd@localhost:PORT?tls=opportunistic"),
        ("tls", "smtps://shop:pass%20w%C3%B6rd@localhost:PORT"),
    ] {
        let server = Real::start(mode);
        let smtp = server.channel(url);
        for n in ["a@example.com", "b@example.com"] {
            assert_eq!(verdict(&smtp.send(&mail_to(n)).await), "sent", "{mode}");
        }
        assert!(server.message(2).is_some());
        let said = smtp.check().await.unwrap();
        assert!(said.ends_with("logged in") && !said.contains("pass"), "{said}");
    }
}

#[tokio::test]
async fn a_wrong_login_stops_the_transport_and_no_message() {
    let server = Real::start("tls");
    for url in ["smtps://shop:wrong@localhost:PORT", "smtps://localhost:PORT"] {
        let smtp = server.channel(url);
        assert_eq!(verdict(&smtp.send(&mail_to("ann@example.com")).await), "down", "{url}");
    }
    assert!(server.channel("smtps://shop:wrong@localhost:PORT").check().await.is_err());
    assert!(server.message(1).is_none());
}

#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_gets_nothing() {
    let server = Real::start("starttls");
    for url in ["smtp://shop:x@localhost:PORT", "smtp://localhost:PORT?tls=opportunistic"] {
        let stranger = Settings::from_url(&url.replace("PORT", &server.port().to_string())).unwrap();
        let outcome = Smtp::new(stranger).unwrap().send(&mail_to("ann@example.com")).await;
        assert!(matches!(&outcome, Outcome::TransportDown { cause } if cause.starts_with("TLS")), "{outcome:?}");
    }
    let other_name = server.channel("smtp://shop:x@127.0.0.1:PORT");
    assert_eq!(verdict(&other_name.send(&mail_to("ann@example.com")).await), "down");
}
