//! Hits of a mail's links and picture on their way from the door to the log.

use carillon::ids::Span;
use carillon::message::Channel;
use carillon::render::links::Link;
use carillon::store::{self, hits::HITS_PER_MESSAGE_MAX};
use carillon::worker::engagement::settle_hits;

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
    let now = world.clock.now();
    let (one, two) = tokio::join!(
        settle_hits(&world.log, &world.store, &leases, now),
        settle_hits(&world.log, &world.store, &leases, now)
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
