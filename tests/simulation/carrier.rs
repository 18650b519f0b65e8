//! A provider that remembers everything it took, refuses some, and whose answers get lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use carillon::channel::{Channel, Unusable};
use carillon::ids::{EventId, MessageId};
use carillon::message::{Outcome, Purpose};
use carillon::render::Rendered;
use futures::future::BoxFuture;

#[derive(Clone, Default)]
pub struct Carrier(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How often each message reached the recipient, and what for.
    taken: BTreeMap<MessageId, (usize, Purpose)>,
    tries: BTreeMap<MessageId, u64>,
}

impl Carrier {
    pub fn sent(&self) -> usize {
        self.0.lock().unwrap().taken.len()
    }

    pub fn taken(&self) -> BTreeMap<MessageId, (usize, Purpose)> {
        self.0.lock().unwrap().taken.clone()
    }
}

impl Channel for Carrier {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        let mut state = self.0.lock().unwrap();
        let id = rendered.message();
        let tries = state.tries.entry(id).or_default();
        *tries += 1;
        // The answer depends on the message and the try alone, so that every run of a seed gets the same.
        let luck = EventId::derive(&[id.as_bytes(), &tries.to_le_bytes()]).as_bytes()[0];
        let outcome = match luck {
            0..20 => Outcome::Retry { cause: "451 try again".into(), after: None, slow_domain: luck < 5 },
            20..28 => Outcome::Rejected { cause: "550 5.7.1 refused".into(), suppress: false },
            28..36 => Outcome::Unknown { cause: "the connection was lost after the final dot".into() },
            36..40 => Outcome::TransportDown { cause: "535 wrong login".into() },
            _ => Outcome::Accepted { reply: "250 ok".into() },
        };
        if matches!(outcome, Outcome::Accepted { .. } | Outcome::Unknown { .. }) {
            state.taken.entry(id).or_insert((0, rendered.purpose())).0 += 1;
        }
        Box::pin(std::future::ready(outcome))
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        Box::pin(std::future::ready(Ok("a simulated provider".into())))
    }
}
