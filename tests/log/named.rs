//! Requests that are named: one try has each in hand, its answer is kept for a day, and what a dead process left is
//! taken over.

use carillon::eventlog::Queue;
use carillon::ids::Span;
use carillon::store::idempotency::{Known, Named, forget_answers};
use carillon::store::workspace;

use super::support::{House, WORKSPACE};

fn try_of(turn: u8, fingerprint: u8) -> Named {
    Named { key: [7; 32], fingerprint: [fingerprint; 32], turn: [turn; 16] }
}

impl House {
    async fn begin(&self, named: &Named) -> Known {
        let (named, now) = (named.clone(), self.clock.now());
        let begin = self.log.writer().change(Queue::Effects, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, WORKSPACE).begin_named(&named, now).await?) })
        });
        begin.await.unwrap()
    }

    async fn answer(&self, named: &Named) {
        let named = named.clone();
        let answer = self.log.writer().change(Queue::Effects, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, WORKSPACE).answer_named(&named, 200, vec![1, 2], false).await?) })
        });
        answer.await.unwrap();
    }

    async fn forget(&self) -> u64 {
        let now = self.clock.now();
        let forget = self
            .log
            .writer()
            .change(Queue::Effects, move |tx, _| Box::pin(async move { Ok(forget_answers(tx, now, 100).await?) }));
        forget.await.unwrap()
    }
}

#[tokio::test]
async fn one_try_has_a_request_in_hand_and_all_others_get_its_answer() {
    let house = House::new().await;
    assert_eq!(house.begin(&try_of(1, 1)).await, Known::Ours);
    assert_eq!(house.begin(&try_of(2, 1)).await, Known::InHand);
    assert_eq!(house.begin(&try_of(2, 9)).await, Known::Other);
    house.answer(&try_of(2, 1)).await;
    assert_eq!(house.begin(&try_of(3, 1)).await, Known::InHand, "the answer of a try that had nothing in hand");
    house.answer(&try_of(1, 1)).await;
    assert_eq!(house.begin(&try_of(3, 1)).await, Known::Answered { status: 200, sealed: vec![1, 2] });
}

#[tokio::test]
async fn what_a_dead_process_had_in_hand_is_taken_over_and_its_late_answer_is_not_kept() {
    let house = House::new().await;
    assert_eq!(house.begin(&try_of(1, 1)).await, Known::Ours);
    house.clock.advance(Span::from_seconds(599));
    assert_eq!(house.begin(&try_of(2, 1)).await, Known::InHand);
    house.clock.advance(Span::from_seconds(1));
    assert_eq!(house.begin(&try_of(2, 1)).await, Known::Ours);
    house.answer(&try_of(1, 1)).await;
    assert_eq!(house.begin(&try_of(3, 1)).await, Known::InHand);
}

#[tokio::test]
async fn answers_are_forgotten_after_a_day_and_not_before() {
    let house = House::new().await;
    house.begin(&try_of(1, 1)).await;
    house.answer(&try_of(1, 1)).await;
    house.clock.advance(Span::from_hours(23));
    assert_eq!(house.forget().await, 0);
    house.clock.advance(Span::from_hours(1));
    assert_eq!(house.forget().await, 1);
    assert_eq!(house.begin(&try_of(2, 9)).await, Known::Ours);
}
