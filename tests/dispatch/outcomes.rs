//! What becomes of a message after its provider answered.

use carillon::message::Outcome;

use super::world::{HERE, World, campaign, is_sent, reason_of, retry};

async fn shop() -> World {
    let world = World::with(&[campaign("cart", "Product Added", "")]).await;
    world.identify("ann", "ann@example.com").await;
    world
}

#[tokio::test]
async fn retries_end_as_a_dead_letter_that_a_person_can_redrive_once() {
    let mut world = shop().await;
    world.carrier.will((0..40).map(|_| retry("451 4.3.0 later")));
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    assert_eq!(world.statuses().await, ["retrying"]);
    while let Some(next) = world.next_due().await {
        world.clock.advance_to(next);
        world.settle().await;
    }
    let message = world.only().await;
    assert_eq!(reason_of(&message), "retries_exhausted");
    let tries = world.carrier.handed().len();
    assert!(tries > 3 && usize::try_from(message.attempts).unwrap() == tries);

    let now = world.clock.now();
    let (one, two) = tokio::join!(
        world.dispatcher.redrive_message(HERE, message.id, now),
        world.dispatcher.redrive_message(HERE, message.id, now)
    );
    assert_eq!(usize::from(one.unwrap()) + usize::from(two.unwrap()), 1, "pressed twice, done once");
    let redriven = world.only().await;
    assert_eq!((redriven.attempts, redriven.attempts_forgiven), (message.attempts, message.attempts));
    // It has all its tries again, and their numbers go on.
    world.settle().await;
    let again = world.only().await;
    assert_eq!((again.status.name(), again.attempts), ("retrying", message.attempts + 1));
    let attempts = world.store.workspace(HERE).attempts_of(message.id).await.unwrap();
    assert_eq!(attempts.iter().map(|one| one.attempt).collect::<Vec<_>>(), (1..=again.attempts).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_mail_that_would_lead_to_code_is_parked_and_says_so() {
    let template =
        "kind: template\nkey: hello\nemail: { subject: Hi, html: '<a href=\"{{event.properties.cart_id}}\">x</a>' }\n";
    let mut world = World::with(&[campaign("cart", "Product Added", ""), template.to_owned()]).await;
    world.identify("ann", "ann@example.com").await;
    for target in ["JavaScript:alert(1)", "https://shop.example/c"] {
        world.track("ann", "Product Added", target).await;
    }
    world.settle().await;
    let messages = world.messages().await;
    let parked: Vec<_> = messages.iter().filter(|message| message.status.name() == "failed").collect();
    assert_eq!((parked.len(), reason_of(parked[0]), world.carrier.handed().len()), (1, "unsafe_address", 1));
    let sentence = parked[0].status.reason().unwrap().sentence();
    assert!(sentence.contains("email.html") && sentence.contains("`javascript:`"), "{sentence}");
}

#[tokio::test]
async fn a_redriven_dead_letter_is_sent_with_the_same_message_id() {
    let mut world = shop().await;
    world.carrier.will([Outcome::Rejected { cause: "550 5.7.1 policy".into(), suppress: false }]);
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    let message = world.only().await;
    assert_eq!(reason_of(&message), "provider_refused");
    assert!(world.dispatcher.redrive_message(HERE, message.id, world.clock.now()).await.unwrap());
    world.settle().await;
    assert_eq!(world.statuses().await, ["sent"]);
    let handed = world.carrier.handed();
    assert_eq!((handed.len(), &handed[0]), (2, &handed[1]));
}

#[tokio::test]
async fn a_dead_address_is_suppressed_for_everyone_who_has_it() {
    let mut world = shop().await;
    world.identify("bob", "Ann@example.com").await;
    world.carrier.will([Outcome::Rejected { cause: "550 5.1.1 no such user".into(), suppress: true }]);
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    world.track("bob", "Product Added", "c2").await;
    world.settle().await;
    let reasons: Vec<_> = world.messages().await.iter().map(reason_of).collect();
    assert_eq!(reasons, ["provider_refused", "address_suppressed"]);
}

#[tokio::test]
async fn a_transport_that_is_down_keeps_everything_and_spends_no_try() {
    let mut world = shop().await;
    world.identify("bob", "bob@example.com").await;
    let down = || Outcome::TransportDown { cause: "535 wrong password".into() };
    world.carrier.will([down(), down(), down()]);
    for n in 0..9 {
        let user = if n % 2 == 0 { "ann" } else { "bob" };
        world.track(user, "Product Added", &format!("c{n}")).await;
    }
    world.settle().await;
    while let Some(next) = world.next_due().await {
        world.clock.advance_to(next);
        world.settle().await;
    }
    assert!(world.messages().await.iter().all(|message| message.status.name() == "sent" && message.attempts == 1));
}

#[tokio::test]
async fn after_a_stop_one_message_tries_the_transport_and_the_rest_wait_for_it() {
    let mut world = shop().await;
    let down = || Outcome::TransportDown { cause: "535 wrong password".into() };
    world.carrier.will((0..3).map(|_| down()));
    for n in 0..12 {
        world.track("ann", "Product Added", &format!("c{n}")).await;
    }
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 1, "nobody of that domain has had an answer yet");
    assert_eq!(world.dispatcher.stopped()[0].cause, "535 wrong password");
    world.after(61).await;
    assert_eq!(world.carrier.handed().len(), 2, "one probe");
    world.after(121).await;
    assert_eq!(world.carrier.handed().len(), 3, "another, after twice the pause");
    world.after(241).await;
    assert_eq!(world.carrier.handed().len(), 15, "it works: all twelve");
    assert!(world.dispatcher.stopped().is_empty());
}

#[tokio::test]
async fn full_mailboxes_wait_for_their_owners_and_everybody_else_gets_mail() {
    let mut world = shop().await;
    let full = || Outcome::Retry {
        cause: "452 4.2.2 Over quota".into(),
        after: None,
        slow_domain: false,
        about_recipient: true,
    };
    world.carrier.will((0..12).map(|_| full()));
    for n in 0..12 {
        world.identify(&format!("g{n}"), &format!("g{n}@f{n}.example")).await;
        world.track(&format!("g{n}"), "Product Added", &format!("c{n}")).await;
    }
    world.settle().await;
    assert_eq!((world.carrier.handed().len(), world.dispatcher.stopped().len()), (12, 0));
    world.track("ann", "Product Added", "c12").await;
    world.settle().await;
    let messages = world.messages().await;
    let sent: Vec<_> = messages.iter().filter(|message| is_sent(&message.status)).collect();
    assert_eq!((world.carrier.handed().len(), sent.len()), (13, 1));
    assert_eq!(sent[0].address.as_deref(), Some("ann@example.com"));
    assert_eq!(messages.iter().filter(|message| message.status.name() == "retrying").count(), 12);
}

#[tokio::test]
async fn a_domain_that_asks_for_patience_slows_its_own_people_only() {
    let mut world = shop().await;
    world.identify("eve", "eve@example.com").await;
    world.identify("bob", "bob@example.org").await;
    world.carrier.will([Outcome::Retry {
        cause: "421 too fast".into(),
        after: None,
        slow_domain: true,
        about_recipient: false,
    }]);
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    world.track("eve", "Product Added", "c2").await;
    world.track("bob", "Product Added", "c3").await;
    world.settle().await;
    let messages = world.messages().await;
    let mut statuses: Vec<_> = messages.iter().map(|message| message.status.name()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, ["deferred", "retrying", "sent"]);
    assert!(messages.iter().any(|message| reason_of(message) == "domain_slow" && message.attempts == 0));
    let sent = messages.iter().find(|message| message.status.name() == "sent").unwrap();
    assert_eq!(sent.address.as_deref(), Some("bob@example.org"));
    world.after(150).await;
    assert_eq!(world.statuses().await, ["sent", "sent", "sent"]);
}

#[tokio::test]
async fn what_cannot_be_rendered_is_a_dead_letter_with_line_and_column() {
    let mut world = shop().await;
    let broken = "kind: template\nkey: hello\nemail: { subject: 'Hi', html: '<p>{{event.properties.absent}}</p>' }\n";
    world.apply(&[broken.to_owned()]).await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    let message = world.only().await;
    assert_eq!((message.status.name(), reason_of(&message)), ("failed", "render_failed"));
    let sentence = message.status.reason().unwrap().sentence();
    assert!(sentence.contains("line 1") && sentence.contains("absent"), "{sentence}");
    assert_eq!((message.slot_at, message.template_version), (None, Some(2)));
    assert_eq!(world.path(message.id).await, ["queued", "claimed", "failed"]);
    let fixed = "kind: template\nkey: hello\nemail: { subject: 'Hi', html: '<p>fixed</p>' }\n";
    world.apply(&[fixed.to_owned()]).await;
    assert!(world.dispatcher.redrive_message(HERE, message.id, world.clock.now()).await.unwrap());
    world.settle().await;
    assert_eq!(world.statuses().await, ["sent"]);
}

#[tokio::test]
async fn a_missing_template_is_a_dead_letter() {
    let missing = campaign("cart", "Product Added", "").replace("template: hello", "template: nowhere");
    let mut world = World::with(&[missing]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    assert_eq!(reason_of(&world.only().await), "template_missing");
}
