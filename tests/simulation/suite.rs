//! The days on every database. On PostgreSQL the shards' processors work side by side, so that what a fault meets is not
//! the same twice, and nor is the story.

mod invariants;
mod world;

use world::World;

use crate::database::Backend;

const BACKEND: Backend = Backend::of(module_path!());
/// Seeds of one test; two tests run side by side.
const SEEDS: u64 = match BACKEND {
    Backend::Sqlite => 10,
    Backend::Postgres => 3,
};
const STEPS: usize = 120;

#[test]
fn the_first_seeds_keep_the_invariants_and_tell_the_same_story_again() {
    live_all(0..asked("SEEDS").unwrap_or(SEEDS));
}

#[test]
fn the_next_seeds_keep_the_invariants_and_tell_the_same_story_again() {
    let count = asked("SEEDS").unwrap_or(SEEDS);
    live_all(count..2 * count);
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live_all(seeds: std::ops::Range<u64>) {
    let one = asked("SEED");
    let (mut sent, mut deaths, mut merges) = (0, 0, 0);
    let count = usize::try_from(seeds.end - seeds.start).unwrap();
    for seed in one.map_or(seeds, |seed| seed..seed + 1) {
        let first = live(seed);
        if one.is_some() {
            println!("{}", first.story.join("\n"));
        }
        if BACKEND == Backend::Sqlite {
            tells_again(seed, &first.story);
        }
        sent += first.sent;
        deaths += first.deaths;
        merges += first.merges;
    }
    if one.is_none() {
        assert!(sent > 5 * count, "the simulated days are too quiet to show anything: {sent} sent");
        assert!(deaths > count, "nothing ever died: {deaths}");
        assert!(merges > count, "nobody turned out to be somebody else: {merges}");
    }
}

fn tells_again(seed: u64, story: &[String]) {
    let again = live(seed).story;
    for (n, (told, told_again)) in story.iter().zip(&again).enumerate() {
        assert_eq!(told, told_again, "seed {seed} tells another story from line {n} on");
    }
    assert_eq!(story.len(), again.len(), "seed {seed}");
}

/// What one seed came to.
struct Life {
    story: Vec<String>,
    sent: usize,
    deaths: usize,
    merges: usize,
}

fn live(seed: u64) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed).await;
        for _ in 0..STEPS {
            world.step().await;
            world.check().await;
        }
        world.come_to_rest().await;
        world.check().await;
        world.check_rest().await;
        let (sent, deaths, merges) = (world.carrier.sent(), world.deaths, world.united.len());
        Life { sent, deaths, merges, story: std::mem::take(&mut world.story) }
    })
}
