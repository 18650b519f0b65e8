//! A cap store outside the process, as a Redis with a replica: it outlives the process, is away, loses answers, forgets
//! everything, and fails over to a replica that has not heard of the last calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use carillon::caps::{Ask, CapStore, Embedded, History, Released, Reserved, Unreachable};
use carillon::guard::{CapVersion, Rule, Slot, Subject};
use carillon::ids::{MessageId, Span};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use jiff::tz::TimeZone;

use crate::script::CapsFault;

/// Calls that the replica has not heard of yet.
const LAG: usize = 3;

#[derive(Clone)]
pub struct Slots(Arc<Mutex<State>>);

struct State {
    master: Embedded,
    replica: Embedded,
    /// On their way to the replica.
    under_way: VecDeque<Wish>,
    away: u64,
    answers_lost: u64,
    is_lax: bool,
}

/// A call, kept for the replica.
enum Wish {
    Reserve {
        subject: Subject,
        expected: CapVersion,
        horizon: Span,
        rules: Vec<Rule>,
        slot: Slot,
        priority: u8,
        zone: TimeZone,
        counts: bool,
    },
    Reseed(Subject, History),
    Withdraw(Subject, MessageId, CapVersion, CapVersion),
    Release(Subject, MessageId, CapVersion),
}

impl Slots {
    pub fn new() -> Self {
        let (master, replica) = (Embedded::default(), Embedded::default());
        let state = State { master, replica, under_way: VecDeque::new(), away: 0, answers_lost: 0, is_lax: false };
        Self(Arc::new(Mutex::new(state)))
    }

    /// One that grants whatever it is asked: caps do not hold with it.
    pub fn lax() -> Self {
        let slots = Self::new();
        slots.lock().is_lax = true;
        slots
    }

    pub fn suffers(&self, fault: CapsFault) {
        let mut state = self.lock();
        match fault {
            CapsFault::Away(calls) => state.away += calls,
            CapsFault::AnswersLost(calls) => state.answers_lost += calls,
            CapsFault::Forgets => {
                state.master.forget();
                state.replica.forget();
                state.under_way.clear();
            }
            CapsFault::FailsOver => {
                state.under_way.clear();
                let state = &mut *state;
                std::mem::swap(&mut state.master, &mut state.replica);
            }
        }
    }

    /// Everything works from now on.
    pub fn recover(&self) {
        let mut state = self.lock();
        (state.away, state.answers_lost) = (0, 0);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn call<T: Send + 'static>(
        &self,
        wish: Wish,
        call: impl FnOnce(&Embedded) -> Option<Result<T, Unreachable>>,
    ) -> BoxFuture<'static, Result<T, Unreachable>> {
        let mut state = self.lock();
        if state.away > 0 {
            state.away -= 1;
            return ready(Err(Unreachable("connection refused".to_owned()))).boxed();
        }
        let answer = call(&state.master).expect("a store in memory answers at once");
        state.under_way.push_back(wish);
        if state.under_way.len() > LAG {
            let wish = state.under_way.pop_front();
            wish.into_iter().for_each(|wish| wish.reach(&state.replica));
        }
        if state.answers_lost > 0 {
            state.answers_lost -= 1;
            return ready(Err(Unreachable("connection reset".to_owned()))).boxed();
        }
        ready(answer).boxed()
    }
}

impl Wish {
    fn reach(self, store: &Embedded) {
        match self {
            Self::Reserve { subject, expected, horizon, rules, slot, priority, zone, counts } => {
                let (subject, rules, slot, zone) = (&subject, &rules[..], &slot, &zone);
                drop(
                    store
                        .reserve(Ask { subject, expected, horizon, rules, slot, priority, zone, counts })
                        .now_or_never(),
                );
            }
            Self::Reseed(subject, history) => drop(store.reseed(&subject, history).now_or_never()),
            Self::Withdraw(subject, message, reserved, before) => {
                drop(store.withdraw(&subject, message, reserved, before).now_or_never());
            }
            Self::Release(subject, message, expected) => {
                drop(store.release(&subject, message, expected).now_or_never());
            }
        }
    }
}

impl CapStore for Slots {
    fn reserve<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Reserved, Unreachable>> {
        let ask = if self.lock().is_lax { Ask { rules: &[], ..ask } } else { ask };
        let wish = Wish::Reserve {
            subject: ask.subject.clone(),
            expected: ask.expected,
            horizon: ask.horizon,
            rules: ask.rules.to_vec(),
            slot: ask.slot.clone(),
            priority: ask.priority,
            zone: ask.zone.clone(),
            counts: ask.counts,
        };
        self.call(wish, |store| store.reserve(ask).now_or_never())
    }

    fn reseed<'a>(&'a self, subject: &'a Subject, history: History) -> BoxFuture<'a, Result<(), Unreachable>> {
        let wish = Wish::Reseed(subject.clone(), history.clone());
        self.call(wish, |store| store.reseed(subject, history).now_or_never())
    }

    fn withdraw<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        reserved: CapVersion,
        before: CapVersion,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        let wish = Wish::Withdraw(subject.clone(), message, reserved, before);
        self.call(wish, |store| store.withdraw(subject, message, reserved, before).now_or_never())
    }

    fn release<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        expected: CapVersion,
    ) -> BoxFuture<'a, Result<Released, Unreachable>> {
        let wish = Wish::Release(subject.clone(), message, expected);
        self.call(wish, |store| store.release(subject, message, expected).now_or_never())
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unreachable>> {
        ready(Ok("a simulated cap store".to_owned())).boxed()
    }
}
