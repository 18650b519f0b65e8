//! Many people who are written to for the first time: the cap store knows nothing of them and reads the record of each,
//! while events go on coming and wake the loop.
//!
//! To see it fail, let `Dispatcher::inquire` keep the question as a future that only goes on while it is waited for.

use std::time::Duration;

use carillon::ids::Span;

use super::world::{World, campaign, is_sent};

const PEOPLE: usize = 40;

#[tokio::test]
async fn asking_for_the_slots_of_many_newcomers_takes_no_reader_from_whoever_is_woken_meanwhile() {
    let caps = "kind: caps\nrules: [ { at_most: 3, per: 1d } ]\n".to_owned();
    let mut world = World::with(&[campaign("cart", "Product Added", ""), caps]).await;
    for n in 0..PEOPLE {
        world.identify(&format!("p{n}"), &format!("p{n}@example.com")).await;
        world.track(&format!("p{n}"), "Product Added", "c1").await;
    }
    world.process().await;
    world.clock.advance(Span::from_seconds(3));
    let (dispatcher, now) = (&world.dispatcher, world.clock.now());
    let rounds = async {
        loop {
            // Woken by what comes, time and again before the answer is there.
            let changed = [dispatcher.advance(now).await.unwrap(), dispatcher.advance(now).await.unwrap()];
            if changed == [0, 0] && !dispatcher.answered().await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), rounds)
        .await
        .expect("the loop waits for readers that it holds itself");
    let sent = world.messages().await.iter().filter(|one| is_sent(&one.status)).count();
    assert_eq!(sent, PEOPLE);
}
