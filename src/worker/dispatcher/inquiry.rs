//! Asking for slots beside everything else: while the cap store takes its time, or says nothing at all, whatever obeys no
//! cap is claimed and sent. One question is open at a time, about the messages of one look; what no cap forbids takes its
//! slots in the record and asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::task::JoinSet;

use crate::caps::Unreachable;
use crate::guard::{Verdict, VersionMove, capped};
use crate::ids::{MessageId, Span, Timestamp, WorkspaceId};
use crate::message::{Message, Reason, Status};
use crate::store::shards::Heads;
use crate::worker::dispatcher::asking::{Answered, Asked, Asking, ask_all};
use crate::worker::dispatcher::claim::Plan;
use crate::worker::dispatcher::line::Line;
use crate::worker::dispatcher::outlook::Sight;
use crate::worker::dispatcher::slots::{CapStores, GivenUp, give_back, withdraw};
use crate::worker::dispatcher::{Dispatcher, step};

/// How long a message waits when its caps could not be settled.
const UNSETTLED_WAIT: Span = Span::from_seconds(1);
/// What the cap stores were not told beyond this they find out when next asked.
const WORDS_MAX: usize = 1_024;

/// What a batch was decided by.
pub struct Look {
    pub heads: Arc<Heads>,
    pub sights: BTreeMap<WorkspaceId, Sight>,
    /// Messages looked at only because another of their person was due.
    pub beside: BTreeSet<MessageId>,
}

/// Something the cap stores should know before they are asked again. Untold, it costs a reseed.
pub enum Word {
    /// What was granted was not claimed.
    Withdrawn(WorkspaceId, Box<Message>, Vec<VersionMove>),
    GivenUp(GivenUp),
}

type Answer = anyhow::Result<Vec<Answered>>;

/// The question that is open, if one is.
#[derive(Default)]
pub struct Inquiry {
    /// From the question until its answer is taken.
    is_open: AtomicBool,
    question: tokio::sync::Mutex<Option<Question>>,
    words: Mutex<Vec<Word>>,
}

struct Question {
    look: Look,
    state: State,
}

enum State {
    /// A task of its own, which goes on whoever waits for it: it holds readers of the database while it asks, and the
    /// loop that would wait for it may wait for one of those. It ends with whoever asked.
    Asked(JoinSet<Answer>),
    Answered(Answer),
}

/// The answer of the one task there is.
fn told(joined: Option<Result<Answer, tokio::task::JoinError>>) -> Answer {
    match joined {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => Err(anyhow::Error::new(error).context("asking for slots came to no end")),
        None => Err(anyhow::anyhow!("nobody asked for slots")),
    }
}

impl Inquiry {
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    fn words(&self) -> MutexGuard<'_, Vec<Word>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the cap stores before they are next asked.
    pub fn tell(&self, words: impl Iterator<Item = Word>) {
        let mut kept = self.words();
        kept.extend(words);
        let over = kept.len().saturating_sub(WORDS_MAX);
        kept.drain(..over);
    }

    /// Waits until the open question has its answer. Whoever stops waiting leaves it as it is.
    pub async fn finished(&self) {
        let mut question = self.question.lock().await;
        let Some(Question { state, .. }) = question.as_mut() else { return };
        if let State::Asked(asked) = state {
            let answer = told(asked.join_next().await);
            *state = State::Answered(answer);
        }
    }

    /// The answer, if it has come.
    async fn take(&self) -> Option<(Look, Answer)> {
        // Who holds it waits for the answer, and will tell.
        let mut question = self.question.try_lock().ok()?;
        let Question { look, state } = question.take()?;
        let state = match state {
            State::Asked(mut asked) => match futures::poll!(Box::pin(asked.join_next())) {
                Poll::Ready(joined) => State::Answered(told(joined)),
                Poll::Pending => State::Asked(asked),
            },
            answered => answered,
        };
        match state {
            State::Answered(answer) => {
                self.is_open.store(false, Ordering::Release);
                Some((look, answer))
            }
            asked => {
                *question = Some(Question { look, state: asked });
                None
            }
        }
    }

    /// What was granted and not claimed is unknown to the record, and no slot.
    pub async fn forget(&self) {
        *self.question.lock().await = None;
        self.is_open.store(false, Ordering::Release);
    }
}

async fn tell(caps: &CapStores, words: Vec<Word>) -> Result<(), Unreachable> {
    for word in words {
        match word {
            Word::Withdrawn(id, message, moves) => withdraw(caps.of(id).as_ref(), &message, &moves).await?,
            Word::GivenUp(given) => give_back(caps, &given).await?,
        }
    }
    Ok(())
}

impl Dispatcher {
    /// Begins to ask for the slots of a batch; `taken` are messages of it that have theirs, by priority. While another
    /// question is open they stay due.
    pub(super) async fn inquire(
        &self,
        now: Timestamp,
        look: Look,
        asking: Vec<Asking>,
        taken: BTreeMap<MessageId, u8>,
    ) {
        if asking.is_empty() || self.inquiry.is_open() {
            return;
        }
        let is_shut = self.caps_gate.is_shut(now);
        let words = std::mem::take(&mut *self.inquiry.words());
        let (store, caps) = (self.parts.store.clone(), self.parts.caps.clone());
        let mut asked = JoinSet::new();
        asked.spawn(async move {
            let unreachable = match is_shut {
                true => Some(Unreachable("it is not asked at present".to_owned())),
                false => tell(&caps, words).await.err(),
            };
            ask_all((&store, &caps), now, unreachable, asking, &taken).await
        });
        *self.inquiry.question.lock().await = Some(Question { look, state: State::Asked(asked) });
        self.inquiry.is_open.store(true, Ordering::Release);
    }

    /// Claims what no cap forbids; the cap stores read the record before they answer again.
    pub(super) async fn take_free(
        &self,
        now: Timestamp,
        free: Vec<Asking>,
        look: &Look,
        plan: &mut Plan,
    ) -> anyhow::Result<()> {
        if free.is_empty() {
            return Ok(());
        }
        let nobody = Some(Unreachable("it need not be asked".to_owned()));
        let answered = ask_all((&self.parts.store, &self.parts.caps), now, nobody, free, &BTreeMap::new()).await?;
        self.settle_asked(now, answered, look, plan);
        Ok(())
    }

    /// Carries out what the cap store answered, if it has.
    pub(super) async fn claim_answered(&self, now: Timestamp, line: &mut Line) -> anyhow::Result<usize> {
        let Some((look, answered)) = self.inquiry.take().await else { return Ok(0) };
        let mut plan = Plan::default();
        self.settle_asked(now, answered?, &look, &mut plan);
        self.carry_out(now, &look, plan, line).await
    }

    /// Whoever has the higher priority asked first; of equals, whoever was due first.
    fn settle_asked(&self, now: Timestamp, answered: Vec<Answered>, look: &Look, plan: &mut Plan) {
        for Answered { turn, workspace: id, asked } in answered {
            if let Asked::Cleared(_) | Asked::Full(..) = &asked {
                self.caps_gate.answered();
            }
            let (message, status) = match asked {
                Asked::Cleared(cleared) | Asked::Unasked(cleared) => {
                    let live = self.parts.definitions.live(id);
                    plan.claims.push(self.to_claim(turn, id, cleared, &live));
                    continue;
                }
                Asked::Full(message, full, winner) => {
                    let status = match capped(now, &message, full, winner) {
                        Verdict::Suppress { reason } => Status::Suppressed { at: now, reason },
                        Verdict::Defer { until, reason } => Status::Deferred { until, reason },
                        Verdict::NeedsSlots(_) | Verdict::Clear(_) => continue,
                    };
                    (Message { capped_at: message.capped_at.or(Some(now)), ..message }, status)
                }
                Asked::Unsettled(message) => {
                    let until = now.plus(UNSETTLED_WAIT);
                    (message, Status::Deferred { until, reason: Reason::CapsUnsettled })
                }
                Asked::Unreachable(message, error) => {
                    let until = self.caps_gate.failed(now, &error);
                    (message, Status::Deferred { until, reason: Reason::CapsUnreachable { cause: error.0 } })
                }
                Asked::Later => continue,
            };
            plan.moves.extend(step(id, message, status, &look.beside));
        }
    }
}
