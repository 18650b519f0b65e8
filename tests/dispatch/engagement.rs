//! Hits of a mail's links and picture on their way from the door to the log.

use carillon::ids::Span;
use carillon::message::Channel;
use carillon::render::links::Link;
use carillon::store::{self, hits::HITS_PER_MESSAGE_MAX};
use carillon::worker::engagement::Hits;

use super::world::{HERE, World, campaign};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

async fn mailed() -> (World, Link) {
    let mut world = World::with(&[campaign("cart", "Product Added", "")]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    let (message, profile) = (world.only().await.id, world.profile("ann").await);
    world.after(60).await;
    let link = Link { workspace: HERE, profile, channel: Channel::Email, message };
    (world, link)
}

impl World {
    /// What the log says of hits: name, and why it is a machine's.
    async fn heard(&self) -> Vec<String> {
        let sql = "SELECT name, body FROM entries WHERE name LIKE 'Email %' ORDER BY position";
        let rows = store::Rows(self.store.reader()).all(sql, vec![]).await.unwrap();
        let told = rows.iter().map(|row| {
            let (name, body): (String, String) = (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let properties = &body["properties"];
            assert_eq!((&properties["campaign"], &properties["template"]), (&"cart".into(), &"hello".into()));
            format!("{name} {}", properties["machine"].as_str().unwrap_or("by hand"))
        });
        told.collect()
    }
}

#[tokio::test]
async fn a_hit_becomes_one_event_when_what_came_beside_it_is_known() {
    let (mut world, link) = mailed().await;
    let desk = world.desk();
    desk.hit(link, Some("https://a.example".to_owned()), false, FIREFOX).await.unwrap();
    world.after(2).await;
    assert!(world.heard().await.is_empty(), "it waits for others");
    assert_eq!(world.scheduler.next_due().await.unwrap(), Some(world.clock.now().plus(Span::from_seconds(1))));
    world.after(1).await;
    assert_eq!(world.heard().await, ["Email Link Clicked by hand"]);
    // All at once, then one by one.
    world.after(60).await;
    for target in [None, Some("https://a.example"), Some("https://b.example"), Some("https://c.example")] {
        desk.hit(link, target.map(str::to_owned), false, FIREFOX).await.unwrap();
    }
    world.clock.advance(Span::from_seconds(5));
    let leases = carillon::worker::leases::Leases::alone(world.store.layout());
    let (now, here, there) = (world.clock.now(), Hits::default(), Hits::default());
    let (one, two) = tokio::join!(
        here.settle(&world.log, &world.store, &leases, now),
        there.settle(&world.log, &world.store, &leases, now)
    );
    assert_eq!(one.unwrap() + two.unwrap(), 4, "each is said once, however many look");
    let heard = world.heard().await;
    assert_eq!(heard[1..].iter().filter(|it| it.ends_with(" burst")).count(), 4, "{heard:?}");
    world.settle().await;
    let person = world.store.workspace(HERE).person(link.profile).await.unwrap().unwrap().profile;
    let counted = person.history.iter().filter(|past| past.name.starts_with("Email ")).count();
    assert_eq!(counted, 1, "what machines did is no part of what a person did");
}

#[tokio::test]
async fn hits_of_one_message_are_bounded_and_of_no_message_are_no_event() {
    let (mut world, link) = mailed().await;
    let desk = world.desk();
    for _ in 0..HITS_PER_MESSAGE_MAX + 5 {
        desk.hit(link, None, true, "").await.unwrap();
    }
    let stranger = Link { message: carillon::ids::MessageId::derive(&[b"none"]), ..link };
    desk.hit(stranger, None, false, &"x".repeat(5_000)).await.unwrap();
    world.after(10).await;
    assert_eq!(world.heard().await.len(), usize::try_from(HITS_PER_MESSAGE_MAX).unwrap());
    let kept = world.store.workspace(HERE).hits_of(stranger.message).await.unwrap();
    assert_eq!(kept[0].hit.user_agent.len(), 300);
    assert_eq!(world.scheduler.next_due().await.unwrap(), None);
}

async fn standings(world: &World) -> String {
    let profile = world.profile("ann").await;
    let person = world.store.workspace(HERE).person(profile).await.unwrap().unwrap().profile;
    person.segments.memberships().into_iter().map(str::to_owned).collect::<Vec<_>>().join(" ")
}

fn segment(key: &str, filter: &str) -> String {
    format!("kind: segment\nkey: {key}\nname: {key}\nowner: crm@shop.example\nwhere: {filter}\n")
}

#[tokio::test]
async fn what_became_of_a_message_moves_people_between_segments_as_it_happens() {
    let mut world = World::with(&[
        campaign("cart", "Product Added", ""),
        campaign("other", "Product Viewed", "delay: 1d")
            .replace("Completed }", "Completed }, { clicked: { campaign: cart } }"),
        segment("written", "{ received: { campaign: cart, within: 1h } }"),
        segment("interested", "{ any: [ { opened: { campaign: cart } }, { clicked: { campaign: cart } } ] }"),
        segment("silent", "{ all: [ { in_segment: written }, { not: { in_segment: interested } } ] }"),
    ])
    .await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Viewed", "c1").await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    assert_eq!(standings(&world).await, "", "two campaigns compete: it settles first");
    world.after(5).await;
    assert_eq!(standings(&world).await, "silent written", "once the provider has it");
    let message = world.messages().await.into_iter().find(|one| one.campaign == "cart").unwrap().id;
    let link = Link { workspace: HERE, profile: world.profile("ann").await, channel: Channel::Email, message };
    // A machine follows every link at delivery, and a shop may call its own events as it likes.
    world.desk().hit(link, Some("https://a.example".to_owned()), true, FIREFOX).await.unwrap();
    world.tell("ann", "Email Link Clicked", r#""properties":{"campaign":"cart"}"#).await;
    world.after(60).await;
    assert_eq!(standings(&world).await, "silent written");
    world.desk().hit(link, Some("https://a.example".to_owned()), false, FIREFOX).await.unwrap();
    world.after(10).await;
    assert_eq!(standings(&world).await, "interested written");
    let ended = world.store.workspace(HERE).active_enrollments(&[link.profile]).await.unwrap();
    assert!(ended.is_empty(), "the click ended the other wait: {ended:?}");
    world.after(3_600).await;
    assert_eq!(standings(&world).await, "interested", "the hour is over");
}

#[tokio::test]
async fn an_answer_moves_people_between_segments_and_ends_what_waits_for_it() {
    let mut world = World::with(&[
        campaign("cart", "Product Added", "delay: 1h")
            .replace("Completed }", "Completed }, { consent: { email: denied } }"),
        "kind: topic\nkey: offers\nname: Offers\ndefault: subscribed\n".to_owned(),
        segment("yes", "{ consent: { email: granted } }"),
        segment("no", "{ consent: { email: denied } }"),
        segment("offered", "{ subscribed: { topic: offers } }"),
    ])
    .await;
    let said = |what: &str, state: &str| format!(r#""properties":{{{what},"state":"{state}"}}"#);
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    assert_eq!(standings(&world).await, "offered");
    world.tell("ann", "Consent Changed", &said(r#""channel":"email""#, "granted")).await;
    world.settle().await;
    assert_eq!(standings(&world).await, "offered yes");
    // Said beside something else, and about a topic.
    world.tell("ann", "Page Viewed", r#""context":{"consent":{"email":false}}"#).await;
    world.tell("ann", "Consent Changed", &said(r#""topic":"offers""#, "unsubscribed")).await;
    world.settle().await;
    assert_eq!(standings(&world).await, "no");
    let waits = world.store.workspace(HERE).active_enrollments(&[world.profile("ann").await]).await.unwrap();
    assert!(waits.is_empty(), "{waits:?}");
}
