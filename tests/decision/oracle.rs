//! Conditions beside an independent reading of the definitions: the same answer at every instant, nothing that changes
//! before the promised one, and nobody woken for nothing more often than is allowed.

mod asks;
mod baskets;
mod promises;
mod reach;
pub mod time;
mod world;

use carillon::audience::Condition;
use carillon::audience::condition::Evaluation;
use carillon::audience::condition::annotated::Node;
use carillon::audience::segment::{Bases, SegmentSet};
use carillon::decision::campaign::Exit;
use carillon::definition::{Definition, SourceFile, read};
use carillon::ids::{Position, Timestamp};

use asks::{Ask, SEGMENTS};
use time::Dice;
use world::{World, end, start};

/// Instants looked at of one tree and one past.
const INSTANTS: usize = 90;

/// A tree as the service reads it: the condition of an exit sees an event and an enrollment.
fn condition(ask: &Ask) -> Condition {
    let text = format!(
        "kind: campaign\nkey: c\nname: C\nowner: crm@shop.example\ntype: trigger\nstatus: live\npurpose: marketing\n\
         entry: {{ event: A }}\nsend: {{ channel: email, template: t }}\n\
         exit: [ {{ event: X, where: {} }} ]\n",
        ask.text()
    );
    let documents = read(&[SourceFile { name: "c.yaml".into(), text }]);
    let documents = documents.unwrap_or_else(|problems| panic!("{}\n{problems:?}", ask.text()));
    let Some(Definition::Campaign(campaign)) = documents.into_iter().next().map(|it| it.definition) else { panic!() };
    match campaign.exit.into_iter().next() {
        Some(Exit::Event { filter: Some(filter), .. }) => filter,
        other => panic!("{other:?}"),
    }
}

fn segments(asks: &[Ask]) -> SegmentSet {
    let read_one = |(key, ask): (&&str, &Ask)| {
        let text = format!("kind: segment\nkey: {key}\nname: {key}\nowner: crm@shop.example\nwhere: {}\n", ask.text());
        let documents = read(&[SourceFile { name: "s.yaml".into(), text }]).unwrap();
        let Some(Definition::Segment(segment)) = documents.into_iter().next().map(|it| it.definition) else { panic!() };
        (segment, Position(1))
    };
    SegmentSet::new(SEGMENTS.iter().zip(asks).map(read_one).collect(), &Bases::default())
}

/// Instants at which something may turn, those beside them, and some between; in order.
fn instants(dice: &mut Dice, critical: &[i64]) -> Vec<i64> {
    let mut all: Vec<i64> = critical.iter().flat_map(|t| [t - 1, *t, t + 1]).collect();
    all.extend((0..20).map(|_| world::any_instant(dice)));
    all.retain(|t| start() <= *t && *t < end());
    while all.len() > INSTANTS {
        let n = dice.below(all.len());
        all.swap_remove(n);
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Lives through one tree and one past; the answer is how many cases that were.
fn live(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let one = Ask::any(&mut dice, 1, true, 0);
    let two = Ask::any(&mut dice, 2, true, 1);
    let asked = [one, two];
    let ask = if dice.one_in(3) { Ask::leaf(&mut dice, false, 2) } else { Ask::any(&mut dice, 3, false, 2) };
    let world = World::any(&mut dice);
    let (tree, segments) = (condition(&ask), segments(&asked));
    let mut known = world.known(segments.clone());
    let negated = Condition::Not(Box::new(tree.clone()));
    let lived = || world.moves.iter().map(|(at, _)| *at).chain([i64::MIN]).map(|since| world.settled(since));
    let mut critical: Vec<i64> = lived().flat_map(|here| ask.instants(&here, &asked)).collect();
    critical.extend(world.moves.iter().map(|(at, _)| *at));
    let instants = instants(&mut dice, &critical);
    let truth: Vec<bool> = instants.iter().map(|t| ask.holds(&world.settled(*t), &asked, *t)).collect();
    let told = |t: i64| format!("seed {seed} at {}: {}\n{world:?}", Timestamp::from_millis(t), ask.text());
    for (n, (t, expected)) in instants.iter().zip(&truth).enumerate() {
        let here = world.settled(*t);
        known.lives_in(here.zones.0);
        let answer = known.ask(&tree, *t);
        assert_eq!(answer.holds, *expected, "{}\n{}", told(*t), answer.because);
        let no = known.ask(&negated, *t);
        assert_eq!((no.holds, no.until), (!answer.holds, answer.until), "{}", told(*t));
        let until = answer.until.map_or(i64::MAX, Timestamp::millis);
        assert!(until > *t, "{}", told(*t));
        // Whoever moves is asked anew.
        let promised = until.min(world.next_move(*t));
        for (later, holds) in instants.iter().zip(&truth).skip(n).take_while(|(later, _)| **later < promised) {
            assert_eq!(holds, expected, "{}\npromised until {until}, turned by {later}", told(*t));
        }
        // A condition by itself turns at exactly the instant it names.
        if ask.leaves(&asked) == 1 && until < end() {
            assert_ne!(ask.holds(&here, &asked, until), *expected, "{}\nwoken for nothing at {until}", told(*t));
        }
    }
    if seed.is_multiple_of(4) {
        wake((&ask, ask.leaves(&asked)), &world, &tree, &segments);
    }
    instants.len()
}

/// Lets events come one by one and time pass between them: whoever is woken sees another answer, or spends one of the
/// wakes that what is stored has for each condition.
fn wake((ask, leaves): (&Ask, usize), world: &World, tree: &Condition, segments: &SegmentSet) {
    if world.deeds.len() > 12 {
        return;
    }
    let (mut fruitless, mut wakes) = (0, 0);
    let mut comes: Vec<i64> = world.deeds.iter().map(|deed| deed.at).collect();
    comes.extend(world.received.iter().map(|(_, at)| *at));
    comes.extend(world.moves.iter().map(|(at, _)| *at));
    comes.extend([start(), end()]);
    comes.sort_unstable();
    for (now, next) in comes.iter().zip(comes.iter().skip(1)) {
        let known = world.until(*now).known(segments.clone());
        let mut answer = known.ask(tree, *now);
        while let Some(until) = answer.until.filter(|until| until.millis() < *next) {
            let then = known.ask(tree, until.millis());
            fruitless += usize::from(then.holds == answer.holds);
            wakes += 1;
            answer = then;
        }
    }
    // A date comes up and goes by, and that of every year does so twice in such a time.
    let dates = world.dates.len() + world.deeds.iter().filter(|deed| deed.due.is_some()).count();
    let stored = world.deeds.len() + world.received.len() + world.moves.len() + 4 * dates;
    assert!(fruitless <= stored * leaves, "{fruitless} of {wakes} wakes for nothing: {}", ask.text());
}

const LIVES: u64 = 1_200;
/// In each of the tests below; together they are more than a hundred thousand cases.
const CASES: usize = 25_500;

/// So many lives from a seed on.
fn lives(from: u64) {
    let cases: usize = (from..from + LIVES).map(live).sum();
    assert!(cases > CASES, "only {cases} cases");
}

#[test]
fn conditions_agree_with_the_definitions_word_for_word() {
    lives(0);
}

#[test]
fn conditions_agree_with_the_definitions_over_other_pasts() {
    lives(1_000_000);
}

#[test]
fn conditions_agree_with_the_definitions_wherever_people_live() {
    lives(2_000_000);
}

#[test]
fn conditions_agree_with_the_definitions_whatever_came_late_or_twice() {
    lives(3_000_000);
}

/// Every node of an annotated tree is what its condition comes to by itself, and no node is left out.
fn agrees(node: &Node, condition: &Condition, ask: &dyn Fn(&Condition) -> Evaluation) {
    let answer = ask(condition);
    assert_eq!((node.holds, node.until), (answer.holds, answer.until), "{}: {}", node.condition, answer.because);
    let children: Vec<Condition> = match condition {
        Condition::All(children) | Condition::Any(children) => children.clone(),
        Condition::Not(child) => vec![(**child).clone()],
        Condition::Trait(tests) if tests.len() > 1 => {
            tests.iter().map(|test| Condition::Trait(vec![test.clone()])).collect()
        }
        Condition::Event(tests) if tests.len() > 1 => {
            tests.iter().map(|test| Condition::Event(vec![test.clone()])).collect()
        }
        Condition::Item { .. } => {
            assert!(node.children.len() >= 5 || node.holds == node.children.iter().any(|element| element.holds));
            return;
        }
        _ => return,
    };
    assert_eq!(node.children.len(), children.len(), "{}", node.condition);
    node.children.iter().zip(&children).for_each(|(node, child)| agrees(node, child, ask));
}

#[test]
fn an_annotated_tree_says_at_every_node_what_the_evaluation_says() {
    let (mut cases, mut changes, mut unfolded) = (0, 0, 0);
    for seed in 4_000_000..4_000_500 {
        let mut dice = Dice(seed);
        let asked = [Ask::any(&mut dice, 1, true, 0), Ask::any(&mut dice, 2, true, 1)];
        let ask = Ask::any(&mut dice, 3, false, 2);
        let world = World::any(&mut dice).settled(end());
        let (tree, known) = (condition(&ask), world.known(segments(&asked)));
        for t in instants(&mut dice, &ask.instants(&world, &asked)).into_iter().step_by(7) {
            let node = known.annotate(&tree, t);
            assert_eq!(node.holds, ask.holds(&world, &asked, t), "seed {seed} at {t}: {}", ask.text());
            agrees(&node, &tree, &|condition| known.ask(condition, t));
            let mut text = String::new();
            node.outline(0, &mut text);
            assert!(
                text.lines().count() >= 1 && node.apart >= 1 || matches!(tree, Condition::All(_) | Condition::Any(_))
            );
            cases += 1;
            changes += usize::from(node.change.is_some());
            unfolded += usize::from(text.contains("in_segment"));
        }
    }
    assert!(
        cases > 2_000 && changes > 1_000 && unfolded > 100,
        "{cases} cases, {changes} changes, {unfolded} segments"
    );
}
