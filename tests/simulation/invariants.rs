//! What must hold at every step, computed from what is stored by plain loops.

use std::collections::BTreeMap;

use carillon::app::WORKSPACE;
use carillon::ids::{Span, Timestamp};
use carillon::message::{Message, Purpose, Status};
use carillon::store::trace::MessageFilter;

use crate::world::World;

impl World {
    pub async fn messages(&self) -> Vec<Message> {
        let filter = MessageFilter { limit: 100_000, ..MessageFilter::default() };
        self.house.store.workspace(WORKSPACE).list_messages(&filter).await.unwrap()
    }

    pub async fn check(&self) {
        let store = self.house.store.workspace(WORKSPACE);
        let broken = store.accounts().await.unwrap().imbalances();
        assert!(broken.is_empty(), "{broken:?}\n{}", self.story.join("\n"));
        let messages = self.messages().await;
        self.caps_hold(&messages);
        self.nothing_is_doubled(&messages);
    }

    /// No window of any length-`per` holds more than `at_most`, per person and per address.
    fn caps_hold(&self, messages: &[Message]) {
        let mut subjects: BTreeMap<String, Vec<(Timestamp, &str)>> = BTreeMap::new();
        for message in messages.iter().filter(|message| message.purpose == Purpose::Marketing) {
            let Some(at) = message.slot_at else { continue };
            let address = message.address.clone().unwrap_or_default().to_lowercase();
            for subject in [format!("profile {}", message.profile), address] {
                subjects.entry(subject).or_default().push((at, &message.campaign));
            }
        }
        for (subject, slots) in subjects {
            for (end, _) in &slots {
                let within = |per: Span| slots.iter().filter(move |(at, _)| *at > end.minus(per) && at <= end);
                let day = within(Span::from_days(1)).count();
                let carts = within(Span::from_hours(3)).filter(|(_, campaign)| *campaign == "cart").count();
                assert!(day <= 2, "{subject} has {day} within a day until {end}\n{}", self.story.join("\n"));
                assert!(carts <= 1, "{subject} has {carts} carts until {end}\n{}", self.story.join("\n"));
            }
        }
    }

    /// Marketing reaches a person at most once, transactional mail twice only where an answer was lost; and nothing
    /// is recorded as sent that no provider took.
    fn nothing_is_doubled(&self, messages: &[Message]) {
        let taken = self.carrier.taken();
        for message in messages {
            let times = taken.get(&message.id).map_or(0, |(times, _)| *times);
            match message.purpose {
                Purpose::Marketing => assert!(times <= 1, "{} went out {times} times", message.id),
                Purpose::Transactional => {
                    assert!(times <= 1 || (times == 2 && message.answer_lost_at.is_some()), "{message:?}: {times}");
                }
            }
            if matches!(message.status, Status::Sent { .. }) {
                assert!(times >= 1, "{} is recorded as sent and was not", message.id);
            }
            if matches!(message.status, Status::Cancelled { .. }) {
                let tried = message.attempts > 0 || times == 0;
                assert!(tried, "{} was cancelled and went out", message.id);
            }
        }
        let known: usize = taken.keys().filter(|id| messages.iter().any(|message| message.id == **id)).count();
        assert_eq!(known, taken.len(), "the provider got a message we do not know");
    }

    /// When nothing is due any more: every entry is processed, every message has reached its end.
    pub async fn check_rest(&self) {
        let accounts = self.house.store.workspace(WORKSPACE).accounts().await.unwrap();
        assert_eq!(accounts.events.unprocessed, 0);
        for message in self.messages().await {
            assert!(message.status.is_final(), "{message:?}\n{}", self.story.join("\n"));
        }
    }
}
