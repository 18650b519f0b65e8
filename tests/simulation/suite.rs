//! The days on every database. On PostgreSQL the shards' processors work side by side, so that what a fault meets is not
//! the same twice, and nor is the story.

mod illness;
mod invariants;
mod turns;
mod world;

use carillon::app::WORKSPACE;
use carillon::message::Status;
use carillon::worker::plan::backtest::{Asked, backtest};
use world::{Shop, Story, World, beginning};

use crate::database::Backend;
use crate::failure::{Failure, catch};
use crate::fold;
use crate::progress::Progress;
use crate::script::{self, Step};
use crate::shrink::{shrink, told};
use crate::slots::Slots;

const BACKEND: Backend = Backend::of(module_path!());
/// Seeds in all, over the tests below.
const SEEDS: u64 = match BACKEND {
    Backend::Sqlite => 300,
    Backend::Postgres => 6,
};
/// Tests that share them, side by side.
pub const PARTS: u64 = 6;
/// Every so-manieth seed is lived twice.
const TWICE_EVERY: u64 = 5;

static PROGRESS: Progress = Progress::new();

macro_rules! parts {
    ($($name:ident: $part:literal,)*) => {
        $(
            #[test]
            fn $name() {
                live_part($part);
            }
        )*
    };
}

parts! {
    the_first_sixth_of_all_seeds_keeps_every_promise: 0,
    the_second_sixth_of_all_seeds_keeps_every_promise: 1,
    the_third_sixth_of_all_seeds_keeps_every_promise: 2,
    the_fourth_sixth_of_all_seeds_keeps_every_promise: 3,
    the_fifth_sixth_of_all_seeds_keeps_every_promise: 4,
    the_last_sixth_of_all_seeds_keeps_every_promise: 5,
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live_part(part: u64) {
    if let Some(seed) = asked("SEED") {
        let is_first = part == 0;
        return if is_first {
            println!("{}", live_seed(&shop(), seed).story.join("\n"));
        };
    }
    let (from, seeds) = (asked("FROM").unwrap_or(0), asked("SEEDS").unwrap_or(SEEDS));
    let (mut sent, mut deaths, mut merges, mut conversions, mut turns) = (0, 0, 0, 0, 0);
    let (mut refused, mut count) = (0, 0_usize);
    let shop = shop();
    // Side by side through all of them, so that whatever is below where the last of them stands is done.
    for seed in (from..from + seeds).filter(|seed| seed % PARTS == part) {
        let life = live_seed(&shop, seed);
        sent += life.sent;
        deaths += life.deaths;
        merges += life.merges;
        conversions += life.conversions;
        turns += life.turns;
        refused += life.refused;
        count += 1;
        PROGRESS.done(part, seed, from, seeds);
    }
    PROGRESS.done(part, from + seeds, from, seeds);
    // A few may be of the quiet kind; of a handful all may.
    if count < 50 {
        return;
    }
    let many = count.saturating_sub(5);
    assert!(sent >= 3 * many, "the simulated days are too quiet to show anything: {sent} sent");
    assert!(deaths >= many / 2, "hardly anything ever died: {deaths}");
    assert!(conversions >= many / 5, "hardly any message led to an order: {conversions}");
    assert!(merges >= many / 5, "hardly anybody turned out to be somebody else: {merges}");
    assert!(refused >= many / 25, "hardly anything was refused for good: {refused}");
    assert!(turns >= many / 5, "hardly anybody was a member before and had a turn: {turns}");
}

/// What one seed came to.
#[derive(Debug)]
pub struct Life {
    pub story: Vec<String>,
    sent: usize,
    deaths: usize,
    merges: usize,
    conversions: usize,
    turns: usize,
    refused: usize,
}

fn live_seed(shop: &Shop, seed: u64) -> Life {
    let steps = script::of(seed);
    let life = match live(shop, &steps, &Slots::new()) {
        Ok(life) => life,
        // Another time it would go otherwise.
        Err(failure) if BACKEND == Backend::Postgres => panic!("{}", told(seed, steps.len(), &steps, &failure)),
        Err(failure) => {
            let (fewest, failure) = shrink(&steps, failure, |steps| live(shop, steps, &Slots::new()).map(drop));
            panic!("{}", told(seed, steps.len(), &fewest, &failure));
        }
    };
    if BACKEND == Backend::Sqlite && seed.is_multiple_of(TWICE_EVERY) {
        let again = live(shop, &steps, &Slots::new()).expect("it does not fail the second time alone");
        for (n, (told, told_again)) in life.story.iter().zip(&again.story).enumerate() {
            assert_eq!(told, told_again, "seed {seed} tells another story from line {n} on");
        }
        assert_eq!(life.story.len(), again.story.len(), "seed {seed}");
    }
    life
}

pub fn shop() -> Shop {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(Shop::new())
}

pub fn live(shop: &Shop, steps: &[Step], slots: &Slots) -> Result<Life, Failure> {
    let story = Story::default();
    let lived = catch(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(shop, story.clone(), slots.clone()).await;
            for step in steps {
                world.take(step).await;
                world.check().await;
            }
            world.come_to_rest().await;
            world.check().await;
            world.check_rest().await;
            world.check_all_had_a_turn().await;
            let (sent, deaths, merges) = (world.carrier.sent(), world.deaths, world.united.len());
            let (turns, refused) = (world.turns_given(), world.refused);
            check_backtest(&world).await;
            let conversions = check_replay(&world).await;
            Life { sent, deaths, merges, conversions, turns, refused, story: Vec::new() }
        })
    });
    match lived {
        Ok(life) => Ok(Life { story: story.lines(), ..life }),
        Err(cause) => Err(Failure { cause, story: story.lines() }),
    }
}

/// What is in force, tested against what happened, differs nowhere, and sends as much.
async fn check_backtest(world: &World) {
    let asked = Asked { files: Vec::new(), from: beginning(), to: world.clock.now(), against_live: true };
    let house = &world.house;
    let told = backtest(&house.store, &house.definitions, WORKSPACE, &asked, &|_, _| true).await.unwrap().unwrap();
    assert!(told.listed.is_empty() && told.unreadable + told.cut_short == 0, "a backtest differs: {:#?}", told.listed);
    let messages = world.messages().await;
    let sent = messages.iter().filter(|one| matches!(one.status, Status::Sent { .. })).count() as u64;
    assert_eq!(told.campaigns.iter().map(|one| one.totals.sent.count).sum::<u64>(), sent, "{told:#?}");
    assert_eq!(told.events, world.happened.len() as u64);
}

/// The log, folded from zero, gives the state that was lived to. The answer is how many goals were reached.
async fn check_replay(world: &World) -> usize {
    let live = fold::State::read(&world.house.database.reader).await;
    assert_eq!(live.unnoted(), Vec::<String>::new(), "sent, and no goal would know");
    let (again, _place) = world.again().await;
    fold::fold(&again.database.writer, async || assert!(again.workers.decide().await.unwrap() > 0)).await;
    let folded = fold::State::read(&again.database.reader).await;
    again.close().await;
    let differences = fold::differences(&live, &folded);
    assert!(differences.is_empty(), "folding the log gives another state:\n{}", differences.join("\n"));
    live.rows_of("conversions")
}
