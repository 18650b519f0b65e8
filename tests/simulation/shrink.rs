//! From a failing life to the fewest steps that still fail: delta debugging (Zeller's ddmin).

use crate::failure::Failure;
use crate::on_sqlite::{live, shop};
use crate::script::{self, Step};
use crate::slots::Slots;

/// Lives lived for one answer.
const TRIES_MAX: usize = 600;

/// Removes ever smaller parts as long as what is left fails, in whatever way.
pub fn shrink(steps: &[Step], failure: Failure, live: impl Fn(&[Step]) -> Result<(), Failure>) -> (Vec<Step>, Failure) {
    let (mut steps, mut failure) = (steps.to_vec(), failure);
    let mut part = steps.len().div_ceil(2);
    let mut tries = 0;
    loop {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < steps.len() && tries < TRIES_MAX {
            let to = (from + part).min(steps.len());
            let rest: Vec<Step> = steps[..from].iter().chain(&steps[to..]).cloned().collect();
            tries += 1;
            match live(&rest) {
                Err(fails) => (steps, failure, has_shrunk) = (rest, fails, true),
                Ok(()) => from = to,
            }
        }
        if tries >= TRIES_MAX || (part == 1 && !has_shrunk) {
            return (steps, failure);
        }
        part = part.div_ceil(2).max(1);
    }
}

/// What is told of a failure: the steps, and the story as a timeline.
pub fn told(seed: u64, of: usize, steps: &[Step], failure: &Failure) -> String {
    let listed: Vec<String> = steps.iter().map(|step| format!("  {step}")).collect();
    format!(
        "seed {seed} breaks a promise:\n{}\n\n{} of its {of} steps are enough:\n{}\n\nwhat happens then:\n  {}\n",
        failure.cause,
        steps.len(),
        listed.join("\n"),
        failure.story.join("\n  ")
    )
}

#[test]
fn a_seed_that_breaks_a_promise_is_told_with_the_fewest_steps_that_still_do() {
    // A cap store that grants whatever it is asked.
    let shop = shop();
    let broken = |steps: &[Step]| live(&shop, steps, &Slots::lax()).map(drop);
    let (seed, steps, failure) = (0..50)
        .find_map(|seed| {
            let steps = script::of(seed);
            let failure = broken(&steps).err()?;
            Some((seed, steps, failure))
        })
        .expect("the invariants do not see that caps are not held");
    let (fewest, failure) = shrink(&steps, failure, broken);
    let told = told(seed, steps.len(), &fewest, &failure);
    assert!(told.contains(" within a day until ") || told.contains(" carts until "), "{told}");
    assert!(fewest.len() <= 10, "{} steps are too many\n{told}", fewest.len());
    // No step is among them without need.
    for without in 0..fewest.len() {
        let rest: Vec<Step> = (0..fewest.len()).filter(|n| *n != without).map(|n| fewest[n].clone()).collect();
        assert!(broken(&rest).is_ok(), "{} is not needed\n{told}", fewest[without]);
    }
    println!("{told}");
}
