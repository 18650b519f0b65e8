//! What is said to turn an answer is done, and the definitions are asked whether it turned: so many more events happen, or
//! time passes. Where nothing but time is named, one more event turns nothing before.

use super::asks::{Ask, Performed, price_fits};
use super::time::Dice;
use super::world::{Deed, World, any_stamp, end};
use super::{condition, instants, segments};
use carillon::ids::Timestamp;

const OTHER_SKUS: [&str; 14] = ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "y0", "y1", "y2", "y3"];

/// An instant as explanations write it, after these words.
fn instant(way: &str, after: &str) -> Option<i64> {
    let (_, rest) = way.split_once(after)?;
    let text: String = rest.chars().take_while(|c| !c.is_whitespace() && *c != ',').collect();
    Some(text.parse::<Timestamp>().unwrap_or_else(|_| panic!("{way}")).millis())
}

/// An event that counts by what is asked of it; none where chance finds none.
fn counting(dice: &mut Dice, asked: &Performed, world: &World, at: i64) -> Option<Deed> {
    let zone = world.zone();
    let mut deed = Deed { name: asked.names[0], at, own: false, machine: false, ..Deed::any(dice, 0) };
    deed.price_is_text = false;
    deed.price = (0..=9).find(|price| price_fits(&Deed { price: Some(*price), ..deed.clone() }, asked.price));
    deed.skus = vec!["a"];
    if asked.same {
        deed.skus = vec![*world.entry.as_ref()?.skus.first()?];
    }
    if let Some(test) = asked.due {
        deed.due = Some((0..300).map(|_| any_stamp(dice)).find(|due| test.holds(*due, at, &zone))?);
    }
    Some(deed)
}

/// The events that are promised to turn it, done; none where chance finds none that counts.
fn done(dice: &mut Dice, way: &str, asked: &Performed, world: &World, t: i64) -> Option<(World, i64)> {
    let count = match way.split_once(" more ")?.0 {
        "one" => 1,
        many => many.parse().unwrap(),
    };
    let from = instant(way, ", which counts from ");
    let (at, seen) = match instant(way, " at ").filter(|_| way.contains(" or later")) {
        Some(at) => (at, at),
        None => (t, from.unwrap_or(t)),
    };
    let mut world = world.clone();
    let known: Vec<&str> = world.deeds.iter().flat_map(|deed| deed.skus.clone()).collect();
    let mut others = ["a", "b", "c"].into_iter().filter(|sku| !known.contains(sku)).chain(OTHER_SKUS);
    for n in 0..count {
        // The date has to be as wanted when the event counts.
        let mut deed = Deed { at, position: 10_000 + n, ..counting(dice, asked, &world, seen)? };
        if let Some((_, having)) = way.split_once(", for example with ") {
            match having.strip_prefix("properties.price ") {
                Some(price) => deed.price = Some(price.split([' ', ',']).next()?.parse().ok()?),
                None if having.starts_with("no properties.price") => deed.price = None,
                None if having.starts_with("no ") => deed.skus.clear(),
                // Where it has to be that of the entry, there is no choice.
                None if asked.same => {}
                None => deed.skus = vec![others.next()?],
            }
        }
        world.deeds.push(deed);
    }
    Some((world, seen))
}

#[test]
fn what_is_said_to_turn_an_answer_turns_it() {
    let (mut by_events, mut by_time, mut silent, mut none) = (0, 0, 0, 0);
    for seed in 7_000_000..7_004_000 {
        let mut dice = Dice(seed);
        let ask = match seed % 2 {
            0 => Ask::Performed(Performed::any(&mut dice, false)),
            _ => Ask::leaf(&mut dice, false, 0),
        };
        let world = World::any(&mut dice);
        if world.deeds.len() > 12 {
            continue;
        }
        let (tree, known) = (condition(&ask), world.known(segments(&[])));
        let is_asked_once = matches!(ask, Ask::Price(..) | Ask::Item(..));
        for t in instants(&mut dice, &ask.instants(&world, &[])).into_iter().step_by(17) {
            let holds = ask.holds(&world, &[], t);
            let node = known.annotate(&tree, t);
            let told = |what: &str| {
                format!(
                    "seed {seed} at {}: {what}\n{}\n{:?}\n{world:?}",
                    Timestamp::from_millis(t),
                    ask.text(),
                    node.change
                )
            };
            let change = node.change.as_deref().unwrap_or_default();
            let ways: Vec<&str> = change.split("; or ").collect();
            let in_time = ways.iter().find_map(|way| instant(way, "nothing until ").or(instant(way, "by itself at ")));
            if let Some(at) = in_time {
                assert_ne!(ask.holds(&world, &[], at), holds, "{}", told("time does not turn it"));
                by_time += 1;
            }
            let turns = node.until.map(Timestamp::millis).filter(|at| *at < end() && !is_asked_once);
            if turns.is_some_and(|at| ask.holds(&world, &[], at) != holds) {
                assert_eq!(in_time, turns, "{}", told("nothing says that time turns it"));
            }
            let Ask::Performed(asked) = &ask else { continue };
            match ways.iter().find(|way| way.contains(" more ")) {
                Some(way) => {
                    let Some((after, at)) = done(&mut dice, way, asked, &world, t) else { continue };
                    // What happens meanwhile is told apart.
                    assert_eq!(ask.holds(&world, &[], at), holds, "{}", told("it turned by itself before"));
                    assert_ne!(ask.holds(&after, &[], at), holds, "{}", told(&format!("it does not turn: {way}")));
                    by_events += 1;
                }
                None => {
                    none += usize::from(change.is_empty());
                    for price in 0..12 {
                        let Some(mut deed) = counting(&mut dice, asked, &world, t) else { continue };
                        deed.position = 10_000;
                        if asked.price.is_none() {
                            deed.price = Some(price);
                        }
                        let mut after = world.clone();
                        after.deeds.push(deed);
                        assert_eq!(ask.holds(&after, &[], t), holds, "{}", told(&format!("one at {price} turns it")));
                        silent += 1;
                    }
                }
            }
        }
    }
    assert!(
        by_events > 3_000 && by_time > 900 && silent > 3_000 && none > 100,
        "{by_events} by events, {by_time} by time, {silent} where no event does, {none} for ever"
    );
}
