//! A Redis that is there and cannot be heard, with the deadlines of the real connection: packets that are lost without a
//! word, answers that are lost, questions that arrive when nobody waits for the answer any more.

use carillon::caps::CapStore;

use crate::caps::faults::claim_at_last;
use crate::caps::record::{Book, Record};
use crate::caps::servers::{Passage, Redis, Wire};
use crate::caps::{at, claim, stores, try_claim};

const BOX: &str = "ann@example.com";

struct Apart {
    redis: Redis,
    wire: Wire,
    store: std::sync::Arc<dyn CapStore>,
    record: Record,
}

/// Two of three slots are used when it begins.
async fn apart(passage: Passage) -> Apart {
    let redis = Redis::start();
    let wire = Wire::to(&redis);
    let (store, record) = (stores::redis_at(&wire.url(), "apart"), Record::default());
    for name in 1..3 {
        assert!(claim(&*store, &record, at(0), 1, BOX, name).await);
    }
    wire.let_pass(passage);
    let error = try_claim(&*store, &record, at(1), 1, BOX, 3).await.unwrap_err();
    assert!(error.0.contains("in time") || error.0.contains("timed out"), "{error}");
    Apart { redis, wire, store, record }
}

#[tokio::test]
async fn what_was_silent_is_not_listened_to_for_ever() {
    let Apart { redis, wire, store, record } = apart(Passage::Lost).await;
    wire.let_pass(Passage::Open);
    assert!(redis.keys() > 0, "it was there all the time");
    // The connection on which packets were lost stays silent; nobody ends it.
    assert!(claim_at_last(&*store, &record, at(2), (1, BOX), 3).await);
    assert!(!claim_at_last(&*store, &record, at(2), (1, BOX), 4).await);
    assert_eq!(record.used(1, BOX), [3, 3]);
}

#[tokio::test]
async fn a_slot_whose_answer_was_lost_is_taken_once() {
    let Apart { redis, wire, store, record } = apart(Passage::AnswersLost).await;
    assert!(redis.keys() > 0);
    wire.let_pass(Passage::Open);
    assert!(claim_at_last(&*store, &record, at(2), (1, BOX), 4).await, "it was not taken in the record");
    for name in [3, 5] {
        assert!(!claim_at_last(&*store, &record, at(3), (1, BOX), name).await);
    }
    assert_eq!(record.used(1, BOX), [3, 3]);
}

#[tokio::test]
async fn a_question_that_arrives_late_takes_nothing_from_whoever_was_granted_meanwhile() {
    let Apart { redis, wire, store, record } = apart(Passage::Late).await;
    let beside = stores::redis_at(&redis.url(), "apart");
    assert!(claim(&*beside, &record, at(2), 1, BOX, 4).await);
    wire.let_pass(Passage::Open);
    for name in [3, 5, 6] {
        assert!(!claim_at_last(&*store, &record, at(3), (1, BOX), name).await);
        assert!(!claim(&*beside, &record, at(3), 1, BOX, name + 10).await);
    }
    assert_eq!(record.used(1, BOX), [3, 3]);
}
