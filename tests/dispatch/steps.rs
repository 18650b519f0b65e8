//! Steps of many messages in one statement: each is told apart from one that its message has left behind, and from one
//! that was stored before. SQLite only counts what it changed, and must know all the same.

use std::collections::BTreeSet;

use carillon::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use carillon::message::{Channel, Message, Purpose, Status};
use carillon::store::steps::Step;
use carillon::store::{open, workspace};
use sea_orm::TransactionTrait;

use crate::database::Place;

use super::BACKEND;

fn sent(now: Timestamp, message: &Message) -> Message {
    Message { status: Status::Sent { at: now, reply: "250 ok".to_owned() }, ..message.clone() }
}

#[tokio::test]
async fn of_many_steps_in_one_statement_those_that_came_too_late_or_twice_are_not_taken() {
    let now = Timestamp::from_millis(1_772_000_000_000);
    let place = Place::new(BACKEND).await;
    let database = open(place.address()).await.unwrap();
    let tx = database.writer.begin().await.unwrap();
    let here = workspace(&tx, WorkspaceId(1));
    let status = Status::Sending { attempt: 1, token: 7, since: now };
    let messages: Vec<Message> = (0..6_u8)
        .map(|n| Message {
            status: status.clone(),
            ..Message::queued(&[&[n]], ProfileId(7), Channel::Email, Purpose::Marketing, Position(1), now)
        })
        .collect();
    here.add_messages(&messages.iter().collect::<Vec<_>>()).await.unwrap();
    let after: Vec<Message> = messages.iter().map(|message| sent(now, message)).collect();
    let steps: Vec<Step> = after.iter().map(|message| Step { expected: &status, message }).collect();
    // One was stored before with the very same words, and one went back into the queue.
    assert!(here.advance_message(&status, &after[1], now).await.unwrap());
    let queued = Message { status: Status::Queued { due_at: now }, ..messages[4].clone() };
    assert!(here.advance_message(&status, &queued, now).await.unwrap());

    let expected = messages.iter().map(|message| (message.id, &status)).collect();
    let ours: BTreeSet<_> = [0, 2, 3, 5].map(|n| messages[n].id).into();
    assert_eq!(here.still(&expected).await.unwrap(), ours);
    assert_eq!(here.conclude_sent(&steps, now).await.unwrap(), ours);
    assert!(here.conclude_sent(&steps, now).await.unwrap().is_empty(), "all of them are stored");
    for message in &after {
        let stored = here.steps_of(message.id).await.unwrap();
        let times = stored.iter().filter(|step| step.state == message.status).count();
        assert_eq!(times, usize::from(message.id != queued.id), "each once on its path");
    }
    tx.commit().await.unwrap();
    database.close().await;
}
