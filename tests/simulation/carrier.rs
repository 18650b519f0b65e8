//! A provider that remembers everything it took, and behaves badly as often as it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use carillon::channel::{Channel, Unusable};
use carillon::ids::MessageId;
use carillon::message::{Outcome, Purpose};
use carillon::render::Rendered;
use futures::future::BoxFuture;

use crate::script::ProviderFault;

#[derive(Clone, Default)]
pub struct Carrier(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How often each message reached the recipient, and what for.
    taken: BTreeMap<MessageId, (usize, Purpose)>,
    /// What comes of the next messages; then all goes well.
    faults: VecDeque<ProviderFault>,
}

impl Carrier {
    pub fn sent(&self) -> usize {
        self.0.lock().unwrap().taken.len()
    }

    pub fn taken(&self) -> BTreeMap<MessageId, (usize, Purpose)> {
        self.0.lock().unwrap().taken.clone()
    }

    pub fn recover(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    pub fn fails(&self, fault: ProviderFault, times: u64) {
        self.0.lock().unwrap().faults.extend((0..times).map(|_| fault));
    }
}

impl Channel for Carrier {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        let mut state = self.0.lock().unwrap();
        let fault = state.faults.pop_front();
        if matches!(fault, None | Some(ProviderFault::TakenUnheard)) {
            state.taken.entry(rendered.message()).or_insert((0, rendered.purpose())).0 += 1;
        }
        let again = |cause: &str, slow_domain| Outcome::Retry {
            cause: cause.into(),
            after: None,
            slow_domain,
            about_recipient: false,
        };
        let outcome = match fault {
            None => Outcome::Accepted { reply: "250 ok".into() },
            Some(ProviderFault::Busy) => again("451 try again", false),
            Some(ProviderFault::DomainBusy) => again("421 too many from you", true),
            Some(ProviderFault::Refuses) => Outcome::Rejected { cause: "550 5.7.1 refused".into(), suppress: false },
            Some(ProviderFault::NoSuchMailbox) => {
                Outcome::Rejected { cause: "550 5.1.1 no such user".into(), suppress: true }
            }
            Some(ProviderFault::TakenUnheard | ProviderFault::LostUnheard) => {
                Outcome::Unknown { cause: "the connection was lost after the final dot".into() }
            }
            Some(ProviderFault::WrongLogin) => Outcome::TransportDown { cause: "535 wrong login".into() },
        };
        Box::pin(std::future::ready(outcome))
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        Box::pin(std::future::ready(Ok("a simulated provider".into())))
    }
}
