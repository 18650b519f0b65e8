//! Whoever buys, or wants no more, while reminders go out: nothing is claimed for them after their word is stored.
//! `RACING=100000` races so many; by default it is a size for every day.
//!
//! To see it fail, let neither `Held::holds` nor `due_ids` look at people with newer entries.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use carillon::audience::consent::{ConsentState, Via};
use carillon::ids::{MessageId, ProfileId, Span};
use carillon::message::{Channel, Status};
use carillon::worker::permission::{About, Answer};
use futures::StreamExt;

use super::world::{HERE, World, campaign};

/// Words said at once.
const AT_ONCE: usize = 16;

fn racing() -> usize {
    std::env::var("RACING").ok().map_or(1_500, |text| text.parse().expect("RACING is a number"))
}

/// So many people with a reminder each, all due now.
async fn due(count: usize) -> World {
    let mut world = World::with(&[campaign("cart", "Product Added", "")]).await;
    for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
        let known = chunk.iter().map(|n| world.introduced(&format!("p{n}"), &format!("p{n}@d{}.example", n % 50)));
        world.log.append(HERE, known.collect()).await.unwrap();
        let carts = chunk.iter().map(|n| world.call(&format!("p{n}"), "Product Added", "c"));
        world.log.append(HERE, carts.collect()).await.unwrap();
    }
    world.process().await;
    world.clock.advance(Span::from_seconds(10));
    world
}

/// Everybody says a word, the last first, while reminders go out. Returns messages that waited when the word of their
/// person was stored, and how many had gone by then.
async fn race<F: Future<Output = ()>>(world: &mut World, say: impl Fn(usize) -> F) -> (BTreeSet<MessageId>, usize) {
    let count = racing();
    let messages: Vec<(MessageId, ProfileId)> =
        world.messages().await.into_iter().map(|message| (message.id, message.profile)).collect();
    assert_eq!(messages.len(), count);
    let mut of = Vec::with_capacity(count);
    for n in 0..count {
        let profile = world.profile(&format!("p{n}")).await;
        of.push(profile);
    }
    let by_profile: std::collections::BTreeMap<_, _> = messages.into_iter().map(|(id, of)| (of, id)).collect();
    let (waited, gone, said) = (Mutex::new(BTreeSet::new()), Mutex::new(0), AtomicBool::new(false));
    let store = world.store.clone();
    let World { processor, dispatcher, clock, .. } = world;
    let words = async {
        let each = (0..count).rev().map(|n| {
            let (id, said) = (by_profile[&of[n]], say(n));
            let (store, waited, gone) = (&store, &waited, &gone);
            async move {
                said.await;
                let message = store.workspace(HERE).message(id).await.unwrap().unwrap();
                if matches!(
                    message.status,
                    Status::Queued { .. }
                        | Status::Deferred { .. }
                        | Status::Cancelled { .. }
                        | Status::Suppressed { .. }
                ) {
                    waited.lock().unwrap().insert(id);
                } else {
                    *gone.lock().unwrap() += 1;
                }
            }
        });
        futures::stream::iter(each).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        said.store(true, Ordering::SeqCst);
    };
    let sending = async {
        loop {
            let over = said.load(Ordering::SeqCst);
            if dispatcher.tick(clock.now()).await.unwrap() == 0 && over {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let deciding = async {
        loop {
            let over = said.load(Ordering::SeqCst);
            if processor.tick().await.unwrap() == 0 && over {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    futures::join!(words, sending, deciding);
    (waited.into_inner().unwrap(), gone.into_inner().unwrap())
}

/// None of those that waited is claimed from then on, and the race was one.
async fn check(mut world: World, waited: &BTreeSet<MessageId>, gone: usize) {
    world.settle().await;
    world.after(3_600).await;
    let claimed: Vec<MessageId> = world
        .messages()
        .await
        .into_iter()
        .filter(|message| {
            waited.contains(&message.id)
                && !matches!(message.status, Status::Cancelled { .. } | Status::Suppressed { .. })
        })
        .map(|message| message.id)
        .collect();
    assert!(claimed.is_empty(), "{} of {} were claimed afterwards", claimed.len(), waited.len());
    let handed: BTreeSet<MessageId> = world.carrier.handed().into_iter().map(|(id, _)| id).collect();
    assert_eq!(handed.intersection(waited).count(), 0, "nothing went to whoever had said no");
    assert!(waited.len() > racing() / 20 && gone > racing() / 20, "{} waited, {gone} had gone", waited.len());
    println!(
        "{} words raced {} reminders: 0 claimed after the word, {gone} sent before",
        racing(),
        waited.len() + gone
    );
}

#[tokio::test]
async fn no_reminder_is_claimed_after_the_purchase_is_stored() {
    let mut world = due(racing()).await;
    let log = world.log.clone();
    let bought: Vec<_> = (0..racing()).map(|n| world.call(&format!("p{n}"), "Order Completed", "c")).collect();
    let (waited, gone) = race(&mut world, |n| {
        let (log, bought) = (log.clone(), bought[n].clone());
        async move { drop(log.append(HERE, vec![bought]).await.unwrap()) }
    })
    .await;
    check(world, &waited, gone).await;
}

#[tokio::test]
async fn nothing_is_claimed_for_whoever_unsubscribed() {
    let mut world = due(racing()).await;
    let desk = world.desk();
    let mut profiles = Vec::new();
    for n in 0..racing() {
        profiles.push(world.profile(&format!("p{n}")).await);
    }
    let (waited, gone) = race(&mut world, |n| {
        let (desk, profile) = (desk.clone(), profiles[n]);
        async move {
            let about = About::Channel(Channel::Email);
            let (source, state) = ("test".to_owned(), ConsentState::Denied);
            let no = Answer { about, state, via: Via::Link, source, text_version: None, message: None };
            desk.answer(HERE, profile, vec![no]).await.unwrap();
        }
    })
    .await;
    check(world, &waited, gone).await;
}
