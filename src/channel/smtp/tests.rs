//! The channel against a scripted server on a real socket: every verdict, every break, what reuse looks like.
#![allow(clippy::unwrap_used)]

mod dialogues;
mod script;

use std::time::Duration;

use proptest::prelude::*;
use script::{Script, Server};

use super::reply::tests::{Expect, ROWS};
use super::*;
use crate::render::tests::email;

fn channel(server: &Server, change: impl FnOnce(&mut Settings)) -> Smtp {
    let mut settings = Settings::from_url(&format!("smtp://127.0.0.1:{}?tls=none", server.port)).unwrap();
    settings.hello = Some("client.example".to_owned());
    change(&mut settings);
    Smtp::new(settings).unwrap()
}

fn hello(seed: &str) -> Rendered {
    email("Your cart", "<p>It waits.</p>").seed(seed).done()
}

fn quick(settings: &mut Settings) {
    let moment = Duration::from_millis(150);
    settings.timeouts = Timeouts { connect: moment, command: moment, data: moment, final_reply: moment };
}

#[tokio::test]
async fn every_row_of_the_table_holds_over_a_socket() {
    let rows = || ROWS.iter();
    let in_turn = rows().map(|row| (Script::default(), row));
    for (script, (stage, line, expected)) in
        in_turn.chain(rows().map(|row| (Script::default().offer("PIPELINING"), row)))
    {
        let server = Server::start(script.answer(*stage, line)).await;
        let smtp = channel(&server, |settings| {
            if *stage == Stage::Login {
                settings.credentials = Some(("ann".to_owned(), "secret".to_owned().into()));
            }
        });
        let outcome = smtp.send(&hello("one")).await;
        assert_eq!(Expect::of(&outcome), *expected, "{stage:?} {line}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("ann@example.com"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_dropped_connection_is_unknown_only_after_the_dot() {
    let rows = [
        (Stage::Greeting, Expect::Down),
        (Stage::Sender, Expect::Retry),
        (Stage::Recipient, Expect::Retry),
        (Stage::Data, Expect::Retry),
        (Stage::Final, Expect::Unknown),
    ];
    for (stage, expected) in rows {
        for script in [Script::default(), Script::default().offer("PIPELINING")] {
            let server = Server::start(script.drop_at(stage)).await;
            let outcome = channel(&server, |_| {}).send(&hello("one")).await;
            assert_eq!(Expect::of(&outcome), expected, "{stage:?}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn where_the_server_pipelines_a_refusal_is_of_its_message_alone() {
    let script = Script::default().offer("PIPELINING").refuse("bob@example.com", "550 5.1.1 no such user");
    let server = Server::start(script).await;
    let smtp = channel(&server, |_| {});
    for (to, expected) in [("ann@example.com", true), ("bob@example.com", false), ("cid@example.com", true)] {
        let letter = email("Your cart", "<p>It waits.</p>").to(to).seed(to).done();
        let outcome = smtp.send(&letter).await;
        assert_eq!(matches!(outcome, Outcome::Accepted { .. }), expected, "{to}: {outcome:?}");
    }
    // The scripted server asks for the refused message all the same: that connection is not used again.
    assert_eq!((server.messages().len(), server.connections()), (2, 2));
    assert!(server.messages().iter().all(|message| message.contains("It waits.") && !message.contains("bob@")));
}

#[tokio::test]
async fn a_connection_dropped_within_the_body_leaves_the_message_unsent() {
    // Longer than the sockets can hold, or the body and its dot are out before the server is gone.
    let bytes = b"Subject: x\r\n\r\n".iter().copied().chain(b"It waits.\r\n".repeat(2_000_000)).collect();
    let address: Address = "ann@example.com".parse().unwrap();
    let letter = Letter { from: address.clone(), to: address, bytes };
    for script in [Script::default().drop_at(Stage::Body), Script::default().silent_at(Stage::Body)] {
        let server = Server::start(script).await;
        let outcome = channel(&server, quick).deliver(&letter).await;
        assert_eq!(Expect::of(&outcome), Expect::Retry, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_every_stage() {
    let rows = [
        (Stage::Greeting, Expect::Down),
        (Stage::Sender, Expect::Retry),
        (Stage::Recipient, Expect::Retry),
        (Stage::Data, Expect::Retry),
        (Stage::Final, Expect::Unknown),
    ];
    for (stage, expected) in rows {
        let server = Server::start(Script::default().silent_at(stage)).await;
        let outcome = channel(&server, quick).send(&hello("one")).await;
        assert_eq!(Expect::of(&outcome), expected, "{stage:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let endless = format!("250-{}", "x".repeat(1_000_000));
    let server = Server::start(Script::default().answer(Stage::Recipient, &endless)).await;
    let outcome = channel(&server, |_| {}).send(&hello("one")).await;
    assert_eq!(Expect::of(&outcome), Expect::Retry, "{outcome:?}");
}

#[tokio::test]
async fn nobody_listening_spends_no_attempt() {
    let server = Server::start(Script::default()).await;
    let smtp = channel(&server, |settings| settings.port = 1);
    assert_eq!(Expect::of(&smtp.send(&hello("one")).await), Expect::Down);
    assert!(smtp.check().await.is_err());
}

#[tokio::test]
async fn connections_are_reused_and_replaced_in_time() {
    let server = Server::start(Script::default()).await;
    let smtp = channel(&server, |settings| settings.messages_max = 3);
    for n in 0..7 {
        assert_eq!(Expect::of(&smtp.send(&hello(&n.to_string())).await), Expect::Sent);
    }
    assert_eq!(server.connections(), 3);
    assert_eq!(server.messages().len(), 7);
    let aged = channel(&server, |settings| settings.age_max = Duration::ZERO);
    aged.send(&hello("a")).await;
    aged.send(&hello("b")).await;
    assert_eq!(server.connections(), 5);
    assert_eq!(aged.check().await.unwrap(), format!("smtp 127.0.0.1:{}, no encryption", server.port));
}

#[tokio::test]
async fn no_more_connections_than_allowed_are_open_at_once() {
    let server = Server::start(Script::default()).await;
    let smtp = channel(&server, |settings| settings.connections = 2);
    let letters: Vec<Rendered> = (0..20).map(|n| hello(&n.to_string())).collect();
    let outcomes = futures::future::join_all(letters.iter().map(|it| smtp.send(it))).await;
    assert!(outcomes.iter().all(|it| Expect::of(it) == Expect::Sent));
    assert_eq!((server.connections(), server.messages().len()), (2, 20));
}

#[tokio::test]
async fn a_refused_recipient_leaves_the_connection_for_the_next() {
    let refused = Script::default().refuse("gone@example.com", "554 5.1.1 no such user");
    let server = Server::start(refused).await;
    let smtp = channel(&server, |_| {});
    let mut outcomes = Vec::new();
    for n in 0..10 {
        let to = if n == 4 { "gone@example.com".to_owned() } else { format!("p{n}@example.com") };
        let rendered = email("x", "<p>x</p>").seed(&n.to_string()).to(&to).done();
        outcomes.push(Expect::of(&smtp.send(&rendered).await));
    }
    let mut expected = [Expect::Sent; 10];
    expected[4] = Expect::Suppress;
    assert_eq!(outcomes, expected);
    assert_eq!((server.connections(), server.messages().len()), (1, 9));
    assert!(server.commands().contains(&"RSET".to_owned()));
}

#[tokio::test]
async fn a_connection_the_server_closed_while_idle_costs_nothing() {
    for script in [Script::default().close_after_message(), Script::default().goodbye_after_message()] {
        let server = Server::start(script).await;
        let smtp = channel(&server, |_| {});
        for n in 0..3 {
            assert_eq!(Expect::of(&smtp.send(&hello(&n.to_string())).await), Expect::Sent);
        }
        assert_eq!((server.connections(), server.messages().len()), (3, 3));
    }
}

#[tokio::test]
async fn idle_connections_are_closed_when_nothing_happens() {
    let server = Server::start(Script::default()).await;
    let smtp = channel(&server, |settings| settings.idle_max = Duration::from_millis(50));
    smtp.send(&hello("one")).await;
    server.until(|server| server.commands().last().is_some_and(|it| it == "QUIT")).await;
}

#[tokio::test]
async fn text_behind_the_starttls_answer_is_an_attack_and_ends_the_talk() {
    for (answer, tls) in [
        ("220 go\r\n250 injected", Tls::StartTls),
        ("220 go\r\n250 injected", Tls::Opportunistic),
        ("454 no TLS today", Tls::StartTls),
    ] {
        let server = Server::start(Script::default().offer_starttls(answer)).await;
        let outcome = channel(&server, |settings| settings.tls = tls).send(&hello("one")).await;
        assert!(matches!(Expect::of(&outcome), Expect::Down | Expect::Retry), "{outcome:?}");
        assert_eq!(server.messages().len(), 0);
    }
    let plain = Server::start(Script::default()).await;
    let strict = channel(&plain, |settings| settings.tls = Tls::StartTls);
    assert_eq!(Expect::of(&strict.send(&hello("one")).await), Expect::Down);
    let lenient = channel(&plain, |settings| settings.tls = Tls::Opportunistic);
    assert_eq!(Expect::of(&lenient.send(&hello("one")).await), Expect::Sent);
}

#[tokio::test]
async fn bodies_never_reach_the_wire_unstuffed() {
    let server = Server::start(Script::default()).await;
    let smtp = channel(&server, |_| {});
    let hostile = [
        "\n.\nMAIL FROM:<eve@example.com>\nRCPT TO:<victim@example.com>\nDATA\n.\n",
        "\r.\r",
        "\r\n.\r\n",
        ".",
        "..",
        "\n..\n",
        ".\r",
        "\n.",
        "a\n.\r\nQUIT\r\n",
        "\0\n.\n",
        "é\n.\n",
    ];
    for (n, body) in hostile.into_iter().enumerate() {
        let rendered = email("x", "<p>{{profile.traits.b}}</p>").traits(serde_json::json!({ "b": body }));
        let outcome = smtp.send(&rendered.seed(&n.to_string()).done()).await;
        assert_eq!(Expect::of(&outcome), Expect::Sent, "{body:?}");
    }
    assert_eq!(server.messages().len(), hostile.len());
    assert_eq!(server.commands().iter().filter(|it| it.starts_with("MAIL")).count(), hostile.len());
    for message in server.messages() {
        assert!(!message.replace("\r\n", "").contains(['\r', '\n']), "{message:?}");
    }
}

#[tokio::test]
async fn a_customers_name_with_line_breaks_adds_no_header() {
    let server = Server::start(Script::default()).await;
    let smtp = channel(&server, |_| {});
    for (n, name) in ["Ann\r\nBcc: eve@example.com", "Ann\nBcc: q", "Ann\rBcc: q", "Ann\0"].into_iter().enumerate() {
        let rendered = email("Hi {{profile.traits.name}}", "<p>x</p>").traits(serde_json::json!({ "name": name }));
        let outcome = smtp.send(&rendered.seed(&n.to_string()).done()).await;
        assert_eq!(Expect::of(&outcome), Expect::Sent, "{name:?}");
    }
    for message in server.messages() {
        assert!(!message.lines().any(|line| line.starts_with("Bcc")), "{message}");
    }
    assert!(!server.commands().iter().any(|it| it.contains("eve@")));
}

#[tokio::test]
async fn addresses_outside_ascii_need_a_server_that_carries_them() {
    let rendered = email("x", "<p>x</p>").to("änn@example.com").done();
    let old = Server::start(Script::default()).await;
    assert_eq!(Expect::of(&channel(&old, |_| {}).send(&rendered).await), Expect::Fail);
    let new = Server::start(Script::default().offer("SMTPUTF8")).await;
    assert_eq!(Expect::of(&channel(&new, |_| {}).send(&rendered).await), Expect::Sent);
    assert!(new.commands().iter().any(|it| it.ends_with("SMTPUTF8 BODY=8BITMIME")), "{:?}", new.commands());
}

#[tokio::test]
async fn what_is_no_mail_is_not_carried() {
    let server = Server::start(Script::default()).await;
    let text = crate::render::tests::sms("x").done();
    assert_eq!(Expect::of(&channel(&server, |_| {}).send(&text).await), Expect::Fail);
}

/// Not a benchmark: it shows the order of magnitude, and that no message waits 40 ms for an acknowledgement.
#[tokio::test]
async fn a_reused_connection_carries_messages_without_waiting() {
    let server = Server::start(Script::default()).await;
    let smtp = channel(&server, |settings| settings.messages_max = u32::MAX);
    let letters: Vec<Rendered> = (0..500).map(|n| hello(&n.to_string())).collect();
    let start = tokio::time::Instant::now();
    for letter in &letters {
        assert_eq!(Expect::of(&smtp.send(letter).await), Expect::Sent);
    }
    println!("{:?} a message over one connection", start.elapsed() / 500);
    assert_eq!((server.connections(), server.messages().len()), (1, 500));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_server_says_there_is_an_outcome(line in "([2-5][0-9]{2}[ -])?[ -~\u{80}-\u{ff}]{0,40}", at in 0..5usize) {
        let stages = [Stage::Greeting, Stage::Sender, Stage::Recipient, Stage::Data, Stage::Final];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::start(Script::default().answer(stages[at], &line)).await;
            let outcome = channel(&server, quick).send(&hello("one")).await;
            if Expect::of(&outcome) == Expect::Sent {
                assert!(line.starts_with('2') || at < 4, "{line}");
            }
        });
    }
}
