//! A commit that succeeds while its answer is lost: PostgreSQL has it, and the program cannot know.

use std::time::{Duration, Instant};

use crate::database::{Place, server};
use crate::house::{House, until};
use crate::load::Load;
use crate::proxy::{Cut, Proxy};
use crate::sink::Sink;

/// How often each kind of commit loses its answer.
const TIMES: usize = 2;
/// Shorter than a claim holds: what was claimed unheard does not wait for its end.
const SOON: Duration = Duration::from_secs(50);
/// No transaction says this.
const NOTHING: &str = "\u{0}";

const APPEND: Cut = Cut { says: "INSERT INTO entries", says_not: "INSERT INTO cursors" };
const EFFECTS: Cut = Cut { says: "INSERT INTO cursors", says_not: NOTHING };
const CLAIM: Cut = Cut { says: "nextval('claim_tokens')", says_not: NOTHING };
const BEGINNING: Cut = Cut { says: "INSERT INTO attempts", says_not: NOTHING };
const OUTCOME: Cut = Cut { says: "UPDATE attempts SET finished_at", says_not: NOTHING };

/// Orders under way while such commits lose their answers; afterwards everything is there, once.
fn nothing_is_lost_or_doubled(cut: Cut) {
    let sink = Sink::start();
    let port = server().rsplit(':').next().unwrap().parse().unwrap();
    let proxy = Proxy::before(port);
    let mut house = House::over(&sink, Place::on(&proxy.url()));
    house.start();
    let mut load = Load::default();
    for time in 1..=TIMES {
        load.run(&[&house], Duration::from_millis(200), || {
            proxy.cut_next(cut);
            until("an answer to be lost", || proxy.cuts() == time);
        });
        until("the door to open again", || load.is_open(&house));
    }
    load.finish(&[&house]);
    let begun = Instant::now();
    house.settle();
    assert!(begun.elapsed() < SOON, "it came to rest only after {:?}", begun.elapsed());
    load.check_stored(&house);
    load.check_delivered(&sink, || house.log());
    assert_eq!(house.count_by_status("unknown"), 0, "{}", house.log());
    assert_eq!(house.count_by_status("sent"), 2 * load.orders().len());
}

#[test]
fn events_whose_commit_was_not_heard_of_are_stored_once() {
    nothing_is_lost_or_doubled(APPEND);
}

#[test]
fn effects_whose_commit_was_not_heard_of_happen_once() {
    nothing_is_lost_or_doubled(EFFECTS);
}

#[test]
fn messages_whose_claim_was_not_heard_of_go_out_once_and_soon() {
    nothing_is_lost_or_doubled(CLAIM);
}

#[test]
fn messages_whose_beginning_was_not_heard_of_go_out_once() {
    nothing_is_lost_or_doubled(BEGINNING);
}

#[test]
fn messages_whose_outcome_was_not_heard_to_be_stored_go_out_once() {
    nothing_is_lost_or_doubled(OUTCOME);
}
