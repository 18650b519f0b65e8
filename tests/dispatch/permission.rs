//! Who said what about being written to, and whom it holds for.

use std::collections::BTreeMap;

use carillon::audience::consent::{Consent, ConsentState, Via, next};
use carillon::eventlog::Queue;
use carillon::ids::{MessageId, Span};
use carillon::message::{Channel, Message, Outcome, Reason, SuppressionKind};
use carillon::store::workspace;
use carillon::worker::permission::{About, Answer, ByHand, Confirmable, store_answers};

use super::world::{FAR, HERE, World, campaign, is_sent, reason_of};

const ADDRESS: &str = "ann@example.com";

fn cart(more: &str) -> String {
    campaign("cart", "Product Added", more)
}

fn receipt() -> String {
    campaign("receipt", "Order Completed", "purpose: transactional")
        .replace("exit: [ { event: Order Completed } ]\n", "")
}

fn answer(about: About, state: ConsentState, via: Via, message: Option<MessageId>) -> Answer {
    Answer { about, state, via, source: "test".into(), text_version: None, message }
}

fn email() -> About {
    About::Channel(Channel::Email)
}

/// Ann and Bob share a mailbox, each spells it in their own way.
async fn shared(documents: &[String]) -> World {
    let world = World::with(documents).await;
    world.identify("ann", ADDRESS).await;
    world.identify("bob", "ANN@Example.com").await;
    world
}

impl World {
    /// The newest message of a user.
    async fn last_of(&self, user: &str) -> Message {
        let profile = self.profile(user).await;
        self.messages().await.into_iter().rfind(|message| message.profile == profile).unwrap()
    }

    async fn answers(&mut self, user: &str, answer: Answer) {
        let profile = self.profile(user).await;
        self.desk().answer(HERE, profile, vec![answer]).await.unwrap();
        self.settle().await;
    }

    async fn state(&self, user: &str, about: &str) -> Option<ConsentState> {
        let person = self.store.workspace(HERE).person(self.profile(user).await).await.unwrap().unwrap();
        person.profile.consent.get(about).map(|answer| answer.state)
    }

    /// Why the newest message of a user was not sent.
    async fn why(&self, user: &str) -> String {
        self.last_of(user).await.status.reason().map(Reason::sentence).unwrap_or_default()
    }

    /// What becomes of a cart left behind now.
    async fn fate_of_a_cart(&mut self, user: &str) -> String {
        let n = self.log.appended().borrow().0;
        self.track(user, "Product Added", &format!("c{n}")).await;
        self.after(3).await;
        let message = self.last_of(user).await;
        if is_sent(&message.status) { "sent".to_owned() } else { reason_of(&message).to_owned() }
    }
}

#[tokio::test]
async fn a_no_by_link_holds_for_the_person_and_for_everybody_with_the_address() {
    let mut world = shared(&[cart(""), receipt()]).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "sent");
    let sent = world.last_of("ann").await;
    world.answers("ann", answer(email(), ConsentState::Denied, Via::Link, Some(sent.id))).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "consent_denied");
    assert_eq!(world.fate_of_a_cart("bob").await, "address_suppressed");
    let Some(Reason::AddressSuppressed { kind, source, .. }) = world.last_of("bob").await.status.reason().cloned()
    else {
        panic!()
    };
    assert_eq!((kind, source.as_str()), (SuppressionKind::Unsubscribed, "test"));
    assert_eq!(world.state("bob", "email").await, None, "bob himself said nothing");
    world.track("bob", "Order Completed", "o1").await;
    world.settle().await;
    assert!(is_sent(&world.last_of("bob").await.status), "what belongs to an order goes");
}

#[tokio::test]
async fn a_no_of_a_client_stops_the_address_too_and_a_yes_frees_only_its_own() {
    let mut world = shared(&[cart("")]).await;
    let denied = r#""properties":{"channel":"email","state":"denied","source":"account page"}"#;
    let granted = r#""properties":{"channel":"email","state":"granted","source":"form"}"#;
    world.tell("ann", "Consent Changed", denied).await;
    world.settle().await;
    assert_eq!(world.fate_of_a_cart("bob").await, "address_suppressed");
    world.tell("bob", "Consent Changed", granted).await;
    world.settle().await;
    assert_eq!(world.fate_of_a_cart("bob").await, "address_suppressed", "bob cannot speak for ann");
    world.tell("ann", "Consent Changed", granted).await;
    world.settle().await;
    assert_eq!(world.fate_of_a_cart("ann").await, "sent");
    assert_eq!(world.fate_of_a_cart("bob").await, "sent");
}

#[tokio::test]
async fn a_yes_from_the_mailbox_itself_frees_it_for_all() {
    let mut world = shared(&[cart("")]).await;
    world.fate_of_a_cart("bob").await;
    let to_bob = world.last_of("bob").await;
    world.answers("ann", answer(email(), ConsentState::Denied, Via::Api, None)).await;
    assert_eq!(world.fate_of_a_cart("bob").await, "address_suppressed");
    world.answers("bob", answer(email(), ConsentState::Granted, Via::Page, Some(to_bob.id))).await;
    assert_eq!(world.fate_of_a_cart("bob").await, "sent");
    assert_eq!(world.fate_of_a_cart("ann").await, "consent_denied", "her own no stands");
}

#[tokio::test]
async fn a_no_after_the_guard_looked_is_in_time_also_for_another_with_the_address() {
    let mut world = shared(&[cart(""), FAR.to_owned()]).await;
    world.settle().await;
    let (log, ann, live) = (world.log.clone(), world.profile("ann").await, world.definitions.live(HERE));
    world.track("bob", "Product Added", "c1").await;
    world.process().await;
    let now = world.clock.now();
    world.before_the_claim(async move {
        let no = answer(email(), ConsentState::Denied, Via::Link, None);
        let stored = log.writer().change(Queue::Effects, move |tx, appender| {
            Box::pin(async move { store_answers(tx, appender, (HERE, ann), &live, now, &[no]).await })
        });
        stored.await.unwrap();
    });
    world.settle().await;
    assert_eq!(world.path(world.last_of("bob").await.id).await, ["queued", "suppressed"], "never claimed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_unsubscribes_racing_their_messages_none_is_claimed_after_it_commits() {
    const PEOPLE: usize = 1_000;
    let mut world = World::with(&[cart("")]).await;
    for n in 0..PEOPLE {
        world.identify(&format!("p{n}"), &format!("p{n}@example.com")).await;
        world.track(&format!("p{n}"), "Product Added", "c").await;
    }
    world.process().await;
    let live = world.definitions.live(HERE);
    let mut people = Vec::with_capacity(PEOPLE);
    for message in world.messages().await.iter().rev() {
        people.push((message.profile, message.id));
    }
    let (log, now) = (world.log.clone(), world.clock.now());
    // From the last to the first, while the dispatcher comes from the first to the last.
    let saying_no = tokio::spawn(async move {
        let mut unclaimed = Vec::new();
        for (profile, message) in people {
            let live = live.clone();
            let no = answer(email(), ConsentState::Denied, Via::Link, Some(message));
            let stored = log.writer().change(Queue::Effects, move |tx, appender| {
                Box::pin(async move {
                    store_answers(tx, appender, (HERE, profile), &live, now, &[no]).await?;
                    // In the commit of the no itself: whatever is claimed from here on came after it.
                    Ok(workspace(tx, HERE).message(message).await?.unwrap().status.name() == "queued")
                })
            });
            if stored.await.unwrap() {
                unclaimed.push(message);
            }
        }
        unclaimed
    });
    let sending = async {
        while !saying_no.is_finished() {
            world.dispatcher.tick(now).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    sending.await;
    let unclaimed = saying_no.await.unwrap();
    world.settle().await;
    let handed: Vec<MessageId> = world.carrier.handed().into_iter().map(|(message, _)| message).collect();
    for message in &unclaimed {
        assert_eq!(world.path(*message).await, ["queued", "suppressed"], "claimed after its no");
        assert!(!handed.contains(message));
    }
    assert!(!unclaimed.is_empty() && unclaimed.len() < PEOPLE, "no race: {} of {PEOPLE} in time", unclaimed.len());
    assert_eq!(handed.len() + world.statuses().await.iter().filter(|it| **it == "suppressed").count(), PEOPLE);
}

#[tokio::test]
async fn the_same_to_one_address_goes_once_even_in_one_batch() {
    let mut world = shared(&[cart(""), campaign("view", "Product Viewed", "")]).await;
    for user in ["ann", "bob"] {
        world.track(user, "Product Added", "c1").await;
        world.clock.advance(Span::from_seconds(1));
    }
    world.track("bob", "Product Viewed", "c1").await;
    // Two campaigns compete: each message waits two seconds for a rival.
    world.after(2).await;
    let (anns, bobs) = (world.messages().await.remove(0), world.messages().await.remove(1));
    assert!(is_sent(&anns.status));
    assert_eq!(world.path(bobs.id).await, ["queued", "suppressed"]);
    assert_eq!(bobs.status.reason(), Some(&Reason::SameAddress { message: anns.id, profile: anns.profile }));
    assert!(is_sent(&world.last_of("bob").await.status), "of another campaign");
}

#[tokio::test]
async fn a_refused_twin_leaves_the_address_to_the_other() {
    let mut world = shared(&[cart("")]).await;
    world.carrier.will([Outcome::Rejected { cause: "550 5.7.1 policy".into(), suppress: false }]);
    world.track("ann", "Product Added", "c1").await;
    world.track("bob", "Product Added", "c1").await;
    world.process().await;
    // Both in one batch: bob waits for what becomes of ann's.
    world.settle().await;
    let mut statuses = world.statuses().await;
    statuses.sort_unstable();
    assert_eq!(statuses, ["failed", "sent"]);
}

const OFFERS: &str = "kind: topic\nkey: offers\nname: Offers\n";

#[tokio::test]
async fn a_topic_is_left_alone_and_for_everybody_with_the_address() {
    let news = campaign("news", "Product Viewed", "topic: news");
    let mut world = shared(&[OFFERS.into(), cart("topic: offers"), news]).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "sent");
    let sent = world.last_of("ann").await;
    assert_eq!(sent.topic.as_deref(), Some("offers"));
    let offers = || About::Topic("offers".into());
    world.answers("ann", answer(offers(), ConsentState::Denied, Via::Link, Some(sent.id))).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "topic_unsubscribed");
    assert_eq!(world.fate_of_a_cart("bob").await, "topic_unsubscribed");
    assert!(matches!(
        world.last_of("bob").await.status.reason(),
        Some(Reason::TopicUnsubscribed { by_address: true, .. })
    ));
    world.track("ann", "Product Viewed", "v1").await;
    world.after(3).await;
    assert!(is_sent(&world.last_of("ann").await.status), "another topic goes on");
    world.answers("ann", answer(offers(), ConsentState::Granted, Via::Page, Some(sent.id))).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "sent");
    assert_eq!(world.fate_of_a_cart("bob").await, "sent");
}

#[tokio::test]
async fn a_topic_nobody_gets_without_asking_is_asked_for() {
    let asked = format!("{OFFERS}default: unsubscribed\n");
    let mut world = shared(&[asked, cart("topic: offers")]).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "topic_unsubscribed");
    let wish = r#""properties":{"topic":"offers","state":"subscribed"}"#;
    world.tell("ann", "Consent Changed", wish).await;
    world.settle().await;
    assert_eq!(world.fate_of_a_cart("ann").await, "sent");
}

const DOUBLE: &str = "kind: consent_policy\nrules: [ { channel: email, double_opt_in: { template: confirm } } ]\n";
const CONFIRM: &str = "kind: template\nkey: confirm\nemail: { subject: 'Please confirm', html: '<a href=\"{{links.confirm}}\">yes</a> <a href=\"{{links.preferences}}\">all</a>' }\n";
const YES: &str =
    r#""properties":{"channel":"email","state":"granted","source":"newsletter form","text_version":"v2"}"#;

#[tokio::test]
async fn a_yes_from_a_form_counts_when_the_mailbox_confirms_it() {
    let mut world = shared(&[DOUBLE.into(), CONFIRM.into(), cart("")]).await;
    world.tell("ann", "Consent Changed", YES).await;
    world.settle().await;
    assert_eq!(world.state("ann", "email").await, Some(ConsentState::Pending));
    let asking = world.last_of("ann").await;
    assert_eq!((asking.campaign.as_str(), is_sent(&asking.status)), ("confirm:email", true));
    assert_eq!(world.fate_of_a_cart("ann").await, "consent_pending");
    let ann = world.profile("ann").await;
    let confirmable = |world: &World| {
        let desk = world.desk();
        async move { desk.confirmable(HERE, ann, Channel::Email, asking.id).await.unwrap() }
    };
    assert_eq!(confirmable(&world).await, Confirmable::Yes);
    world.answers("ann", answer(email(), ConsentState::Granted, Via::Confirmation, Some(asking.id))).await;
    assert_eq!(confirmable(&world).await, Confirmable::Done);
    assert_eq!(world.fate_of_a_cart("ann").await, "sent");
    let ledger = world.store.workspace(HERE).ledger_of(ann, 10).await.unwrap();
    let steps: Vec<_> = ledger.iter().map(|row| (row.consent.state, row.consent.via)).collect();
    assert_eq!(steps, [(ConsentState::Pending, Via::Event), (ConsentState::Granted, Via::Confirmation)]);
    assert_eq!(ledger[0].consent.text_version.as_deref(), Some("v2"));
    // Who has confirmed is not asked again.
    world.tell("ann", "Consent Changed", YES).await;
    world.settle().await;
    assert_eq!(world.last_of("ann").await.campaign, "cart");
}

#[tokio::test]
async fn a_confirmation_ends_after_seven_days_and_with_the_address() {
    for late in [true, false] {
        let mut world = shared(&[DOUBLE.into(), CONFIRM.into(), cart("")]).await;
        world.tell("ann", "Consent Changed", YES).await;
        world.settle().await;
        let asking = world.last_of("ann").await;
        match late {
            true => world.after(7 * 86_400).await,
            false => world.identify("ann", "another@example.com").await,
        }
        world.settle().await;
        let ann = world.profile("ann").await;
        let told = world.desk().confirmable(HERE, ann, Channel::Email, asking.id).await.unwrap();
        assert_eq!(told, Confirmable::No, "late: {late}");
        world.answers("ann", answer(email(), ConsentState::Granted, Via::Confirmation, Some(asking.id))).await;
        assert_eq!(world.state("ann", "email").await, Some(ConsentState::Pending), "late: {late}");
    }
}

#[tokio::test]
async fn a_form_cannot_flood_a_mailbox() {
    let mut world = World::with(&[DOUBLE.into(), CONFIRM.into()]).await;
    for n in 0..5 {
        world.identify(&format!("p{n}"), ADDRESS).await;
        world.tell(&format!("p{n}"), "Consent Changed", YES).await;
    }
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 3);
    let refused = world.messages().await.into_iter().filter(|message| reason_of(message) == "too_many_confirmations");
    assert_eq!(refused.count(), 2);
    world.after(86_400).await;
    world.tell("p0", "Consent Changed", YES).await;
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 4, "a day later there is room");
}

#[tokio::test]
async fn own_customers_in_some_countries_are_written_to_until_they_say_no() {
    let soft = "kind: consent_policy\nrules: [ { channel: email, soft_opt_in: { countries: [ GB ],\
                where: { performed: { event: Order Completed, where: { properties.paid: true } } } } } ]\n";
    let mut world = shared(&[soft.into(), cart("")]).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "consent_unknown");
    assert!(world.why("ann").await.contains("country is missing, wanted one of GB"));
    world.tell_of("ann", r#"{"email":"ann@example.com","country":"gb"}"#).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "consent_unknown");
    assert!(world.why("ann").await.contains("Order Completed"));
    world.tell("ann", "Order Completed", r#""properties":{"order_id":"o1","paid":true}"#).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "sent");
    world.answers("ann", answer(email(), ConsentState::Denied, Via::Api, None)).await;
    assert_eq!(world.fate_of_a_cart("ann").await, "consent_denied");
}

#[tokio::test]
async fn an_event_whose_context_denies_marketing_starts_none() {
    let mut world = shared(&[cart(""), receipt()]).await;
    for (n, context) in [
        r#""consent":{"marketing":false}"#,
        r#""consent":{"marketing":"denied"}"#,
        r#""consent":{"categoryPreferences":{"Analytics":true,"Advertising":false}}"#,
        r#""consentManagement":{"deniedConsentIds":["Marketing"]}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let rest = format!(r#""context":{{{context}}},"properties":{{"cart_id":"c{n}"}}"#);
        world.tell("ann", "Product Added", &rest).await;
        world.settle().await;
        assert!(world.messages().await.is_empty(), "{context}");
    }
    let rest = r#""context":{"consent":{"marketing":false}},"properties":{"cart_id":"o1"}"#;
    world.tell("ann", "Order Completed", rest).await;
    world.settle().await;
    assert_eq!(world.only().await.campaign, "receipt");
    let rest = r#""context":{"consent":{"marketing":true,"categoryPreferences":{"Analytics":false}}},"properties":{"cart_id":"c9"}"#;
    world.tell("ann", "Product Added", rest).await;
    world.settle().await;
    assert!(is_sent(&world.last_of("ann").await.status));
}

#[tokio::test]
async fn a_context_may_say_an_answer_once_and_never_turn_a_no() {
    let mut world = shared(&[cart("")]).await;
    let seen = |answer: &str| format!(r#""context":{{"consent":{{"email":{answer}}}}},"properties":{{}}"#);
    for answer in [r#""granted""#, "true", r#"{"state":"granted","source":"banner"}"#] {
        world.tell("ann", "Seen", &seen(answer)).await;
    }
    world.tell("ann", "Seen", &seen("false")).await;
    world.tell("ann", "Seen", &seen("true")).await;
    world.settle().await;
    let ledger = world.store.workspace(HERE).ledger_of(world.profile("ann").await, 10).await.unwrap();
    let states: Vec<_> = ledger.iter().map(|row| row.consent.state).collect();
    assert_eq!(states, [ConsentState::Granted, ConsentState::Denied]);
    assert_eq!(world.fate_of_a_cart("ann").await, "consent_denied");
}

#[tokio::test]
async fn the_stored_ledger_gives_the_stored_answers() {
    let mut world = shared(&[OFFERS.into()]).await;
    let states = ["granted", "denied", "granted", "unknown", "pending", "nonsense", "denied"];
    for (n, state) in states.iter().enumerate() {
        let about = if n % 3 == 0 { r#""topic":"offers""# } else { r#""channel":"email""# };
        world.tell("ann", "Consent Changed", &format!(r#""properties":{{{about},"state":"{state}"}}"#)).await;
    }
    world.settle().await;
    world.answers("ann", answer(email(), ConsentState::Unknown, Via::Api, None)).await;
    let store = world.store.workspace(HERE);
    let ann = world.profile("ann").await;
    let mut folded: BTreeMap<String, Consent> = BTreeMap::new();
    let ledger = store.ledger_of(ann, 100).await.unwrap();
    for row in &ledger {
        let known = folded.remove(&row.about);
        folded.extend(next(known, row.consent.clone()).map(|answer| (row.about.clone(), answer)));
    }
    assert_eq!(folded, store.person(ann).await.unwrap().unwrap().profile.consent);
    assert_eq!(folded["email"].state, ConsentState::Unknown);
    assert!(ledger.windows(2).all(|two| two[0].position < two[1].position) && ledger.len() >= 5);
}

#[tokio::test]
async fn an_address_on_the_list_by_hand_gets_nothing_until_it_is_taken_off() {
    let mut world = shared(&[cart(""), receipt()]).await;
    let by_hand = |kind| ByHand {
        address: carillon::message::Address::parse(Channel::Email, "Ann@example.com").unwrap(),
        kind,
        source: "asked by letter".into(),
    };
    assert_eq!(world.desk().suppress(HERE, vec![by_hand(None), by_hand(None)]).await.unwrap(), 1);
    world.track("bob", "Order Completed", "o1").await;
    world.settle().await;
    assert_eq!(reason_of(&world.last_of("bob").await), "address_suppressed", "everything stops");
    let bounced = Some(SuppressionKind::Bounced);
    assert_eq!(world.desk().unsuppress(HERE, vec![by_hand(bounced)]).await.unwrap(), 0, "of another kind");
    assert_eq!(world.desk().unsuppress(HERE, vec![by_hand(None)]).await.unwrap(), 1);
    assert_eq!(world.fate_of_a_cart("ann").await, "sent");
    let filter = carillon::store::suppressions::ListFilter { history: true, limit: 10, ..Default::default() };
    let listed = world.store.workspace(HERE).list_suppressions(&filter).await.unwrap();
    assert!(listed.len() == 1 && listed[0].removed_by.as_deref() == Some("asked by letter"), "{listed:?}");
    let entries = world.store.workspace(HERE).events_page(carillon::ids::Position(0), 100, true).await.unwrap();
    let names: Vec<String> = entries
        .into_iter()
        .filter_map(|entry| match entry.logged {
            carillon::store::entries::Logged::Event(event) => Some(event.name.clone()),
            _ => None,
        })
        .filter(|name| name.contains("Suppress"))
        .collect();
    assert_eq!(names, ["Address Suppressed", "Suppression Removed"]);
}

#[tokio::test]
async fn a_bounce_says_what_the_provider_said_and_whose_fault_it_was() {
    let mut world = shared(&[cart("")]).await;
    world.carrier.will([Outcome::Rejected { cause: "550 5.1.1 no such user".into(), suppress: true }]);
    world.fate_of_a_cart("ann").await;
    assert_eq!(world.fate_of_a_cart("bob").await, "address_suppressed");
    let said = world.why("bob").await;
    assert!(said.contains("bounced") && said.contains("550 5.1.1 no such user"), "{said}");
}
