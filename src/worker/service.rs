//! The loops as the service runs them: each ticks while there is work, then waits for the pulse or instant that brings
//! the next. Tests and the demo pump the same ticks by hand.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, RwLock, watch};
use tokio::task::JoinSet;

use crate::event::Event;
use crate::eventlog::{EventLog, Taken};
use crate::ids::{Position, Span, Timestamp, WorkspaceId};
use crate::store::lost::may_go_well_again;
use crate::worker::backfill::Backfill;
use crate::worker::dispatcher::Dispatcher;
use crate::worker::inclusion::Inclusions;
use crate::worker::processors::Processors;
use crate::worker::reach::Tellings;
use crate::worker::scheduler::Scheduler;

/// How often whoever pumps by hand begins again where the connection was at fault; the loops do so for ever.
const TRIES_MAX: usize = 5;
/// After a failed tick; the work is still there.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// While messages are due that must wait for the processor.
const BLOCKED_PAUSE: Duration = Duration::from_millis(20);
/// What follows from the ends of messages nobody waits for: so long, or so many, are gathered for one transaction.
const ENDS_GATHERED: Duration = Duration::from_millis(20);
const ENDS_GATHERED_MAX: usize = 512;
/// Whoever looks for what is due looks at most so often, however many commits there are meanwhile.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Between slices of a pass over everybody.
const SLICE_PAUSE: Duration = Duration::from_millis(20);
/// The longest sleep: wall clocks are set, and a sleep knows nothing of it.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Rounds without an end mean a bug; a person who moves the clock is told instead of waiting for ever.
const ROUNDS_MAX: usize = 1_000_000;
/// Events of the past appended together.
const GROUP_EVENTS_MAX: usize = 1_000;

/// All loops over one database.
pub struct Workers {
    log: EventLog,
    processor: Mutex<Processors>,
    backfill: Mutex<Backfill>,
    inclusions: Inclusions,
    tellings: Tellings,
    scheduler: Scheduler,
    dispatcher: Dispatcher,
    /// Each loop holds it for a tick, together; whoever pumps by hand holds it alone, so that nothing is in another's
    /// hands when it says that nothing is due.
    turn: RwLock<()>,
}

impl Workers {
    pub fn new(log: EventLog, processor: Processors, scheduler: Scheduler, dispatcher: Dispatcher) -> Self {
        let (backfill, inclusions) = (Mutex::new(processor.backfill()), processor.inclusions());
        let tellings = processor.tellings();
        Self {
            log,
            processor: Mutex::new(processor),
            backfill,
            inclusions,
            tellings,
            scheduler,
            dispatcher,
            turn: RwLock::default(),
        }
    }

    /// So many people a second at most are looked at after segments have changed.
    #[must_use]
    pub fn paced(self, people_per_second: Option<NonZeroU32>) -> Self {
        Self { backfill: Mutex::new(self.backfill.into_inner().paced(people_per_second)), ..self }
    }

    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// One tick of each loop at the clock's present, until one has something to do; the answer is how much was done.
    ///
    /// # Errors
    /// The first error of a loop; what was not done is still due.
    pub async fn tick(&self) -> anyhow::Result<usize> {
        let processed = self.processor.lock().await.tick().await?;
        if processed > 0 {
            return Ok(processed);
        }
        let now = self.log.clock().now();
        let timers = self.scheduled(now).await? + self.backfill.lock().await.tick().await?;
        // Nothing is sent on the strength of a log that is only half read.
        let sent = if timers == 0 { self.dispatcher.tick(now).await? } else { 0 };
        Ok(timers + sent)
    }

    /// Decides on everything in the log, and sends nothing.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn decide(&self) -> anyhow::Result<usize> {
        let _alone = self.turn.write().await;
        let (leases, layout, clock) = (self.dispatcher.leases(), self.dispatcher.layout(), self.log.clock());
        let (mut done, mut tries) = (0, 0);
        loop {
            let whole = leases.whole(layout, clock).await?;
            loop {
                let ticked = self.processor.lock().await.tick().await;
                match ticked {
                    Ok(0) => break,
                    Ok(count) => (done, tries) = (done + count, 0),
                    Err(error) => self.begin_again(&mut tries, error).await?,
                }
            }
            if leases.still_whole(whole, layout, clock) {
                return Ok(done);
            }
        }
    }

    /// Ticks until nothing is due at the clock's present.
    ///
    /// # Errors
    /// As for `tick`, or the work does not end.
    pub async fn settle(&self) -> anyhow::Result<usize> {
        let _alone = self.turn.write().await;
        self.settle_alone().await
    }

    /// Whether what failed is begun again: where a shared database ended the connection, as it does with whoever is starved
    /// in the middle of a transaction that others wait for.
    async fn begin_again(&self, tries: &mut usize, error: anyhow::Error) -> anyhow::Result<()> {
        *tries += 1;
        if *tries >= TRIES_MAX || !self.dispatcher.layout().is_shared() || !may_go_well_again(&error) {
            return Err(error);
        }
        tracing::warn!(error = format!("{error:#}"), "the connection was lost; it is tried again");
        tokio::time::sleep(RETRY_AFTER).await;
        Ok(())
    }

    async fn settle_alone(&self) -> anyhow::Result<usize> {
        let (mut done, mut tries) = (0, 0);
        for _ in 0..ROUNDS_MAX {
            match self.tick().await {
                Ok(0) => return Ok(done),
                Ok(count) => (done, tries) = (done + count, 0),
                Err(error) => self.begin_again(&mut tries, error).await?,
            }
        }
        anyhow::bail!("the loops do not come to rest")
    }

    /// Ticks until nothing is due for anybody, then says what is due next. A process that has lost a shard for a moment
    /// sees nothing of its people: had it moved the clock meanwhile, their messages would have come too late.
    async fn settle_whole(&self) -> anyhow::Result<(usize, Option<Timestamp>)> {
        let (leases, layout, clock) = (self.dispatcher.leases(), self.dispatcher.layout(), self.log.clock());
        let mut done = 0;
        for _ in 0..ROUNDS_MAX {
            let whole = leases.whole(layout, clock).await?;
            done += self.settle_alone().await?;
            let next = self.next_due().await?;
            if leases.still_whole(whole, layout, clock) {
                return Ok((done, next));
            }
        }
        anyhow::bail!("the leases do not hold")
    }

    /// Moves the clock by `by`, stopping at every instant at which something is due, and runs the loops there.
    ///
    /// # Errors
    /// As for `settle`.
    pub async fn forward(&self, by: Span) -> anyhow::Result<usize> {
        let _alone = self.turn.write().await;
        let target = self.log.clock().now().plus(by);
        let (mut done, mut next) = self.settle_whole().await?;
        for _ in 0..ROUNDS_MAX {
            let Some(due) = next.filter(|next| *next <= target) else { break };
            let moved = due > self.log.clock().now();
            self.log.clock().advance_to(due);
            let (count, then) = self.settle_whole().await?;
            (done, next) = (done + count, then);
            if !moved && count == 0 {
                // Due, and nothing can be done about it now: what it waits for lies further on.
                break;
            }
        }
        self.log.clock().advance_to(target);
        Ok(done + self.settle_whole().await?.0)
    }

    /// Lives through events of the past, oldest first, on a clock of their own time: before each group of events that
    /// nothing can come between, whatever became due is done at its instant. `reaction` is the shortest time in which
    /// an event can have a consequence.
    ///
    /// # Errors
    /// As for `settle`; what was appended stays, and the same events again are recognised.
    pub async fn live_through(
        &self,
        workspace: WorkspaceId,
        events: Vec<Event>,
        reaction: Span,
    ) -> anyhow::Result<Vec<Taken>> {
        let _alone = self.turn.write().await;
        let clock = self.log.clock();
        let mut taken = Vec::with_capacity(events.len());
        let mut events = events.into_iter().peekable();
        let mut next = self.settle_whole().await?.1;
        while let Some(first) = events.peek().map(|event| event.at) {
            if let Some(due) = next.filter(|next| *next <= first) {
                let moved = due > clock.now();
                clock.advance_to(due);
                let (done, then) = self.settle_whole().await?;
                next = then;
                if done > 0 || moved {
                    continue;
                }
            }
            clock.advance_to(first);
            let next_after = next.filter(|next| *next > first);
            let end = next_after.map_or(first.plus(reaction), |next| next.min(first.plus(reaction)));
            let mut group = Vec::new();
            while let Some(event) = events.next_if(|event| event.at == first || event.at < end) {
                group.push(event);
                if group.len() == GROUP_EVENTS_MAX {
                    break;
                }
            }
            taken.extend(self.log.append_apart(workspace, group).await?);
            next = self.settle_whole().await?.1;
        }
        Ok(taken)
    }

    /// The next instant at which something happens by itself.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self) -> anyhow::Result<Option<Timestamp>> {
        let scheduled = self.next_scheduled().await?;
        let message = self.dispatcher.next_due().await?;
        Ok([scheduled, message].into_iter().flatten().min())
    }

    /// What is due by the clock alone comes into the log: timers, turns of who is in a segment already, and what people are
    /// told of the suppression list.
    async fn scheduled(&self, now: Timestamp) -> anyhow::Result<usize> {
        let given = self.scheduler.tick(now).await? + self.inclusions.tick(now).await?;
        Ok(given + self.tellings.tick(now).await?)
    }

    async fn next_scheduled(&self) -> anyhow::Result<Option<Timestamp>> {
        let (timer, turn) = (self.scheduler.next_due().await?, self.inclusions.next_due().await?);
        let telling = self.tellings.next_due(self.log.clock().now()).await?;
        Ok([timer, turn, telling].into_iter().flatten().min())
    }

    /// Runs every loop until `stop` turns true, then finishes what each has in hand.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let mut loops = JoinSet::new();
        loops.spawn(self.clone().process(stop.clone()));
        loops.spawn(self.clone().schedule(stop.clone()));
        loops.spawn(self.clone().look_at_everybody(stop.clone()));
        loops.spawn(self.clone().dispatch(stop));
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a loop ended unexpectedly");
            }
        }
    }

    async fn process(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut appended = self.log.appended();
        while !*stop.borrow() {
            self.gather_ends(&mut appended, &mut stop).await;
            let turn = self.turn.read().await;
            let mut processor = self.processor.lock().await;
            let result = processor.tick().await;
            let sleep = if processor.is_waiting() { BLOCKED_PAUSE } else { SLEEP_MAX };
            drop((processor, turn));
            match result {
                Ok(0) => wait(&mut stop, async { drop(appended.changed().await) }, sleep).await,
                Ok(_) => {}
                Err(error) => self.failed("processor", &error, &mut stop).await,
            }
        }
    }

    /// Waits a moment while nothing but the ends of messages is logged; whatever else comes ends it at once.
    async fn gather_ends(&self, appended: &mut watch::Receiver<Position>, stop: &mut watch::Receiver<bool>) {
        let mut enough = std::pin::pin!(tokio::time::sleep(ENDS_GATHERED));
        loop {
            appended.borrow_and_update();
            if self.log.recent().only_ends().is_none_or(|count| count >= ENDS_GATHERED_MAX) || *stop.borrow() {
                return;
            }
            tokio::select! {
                () = &mut enough => return,
                _ = appended.changed() => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn schedule(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut stored = self.log.stored();
        while !*stop.borrow() {
            stored.borrow_and_update();
            let now = self.log.clock().now();
            let turn = self.turn.read().await;
            let ticked = self.scheduled(now).await;
            drop(turn);
            let next = match ticked {
                Ok(0) => self.next_scheduled().await,
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match next {
                Ok(next) => wait(&mut stop, async { drop(stored.changed().await) }, until(now, next)).await,
                Err(error) => self.failed("scheduler", &error, &mut stop).await,
            }
            wait(&mut stop, std::future::pending(), LOOK_PAUSE).await;
        }
    }

    async fn look_at_everybody(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut stored = self.log.stored();
        while !*stop.borrow() {
            stored.borrow_and_update();
            let turn = self.turn.read().await;
            let mut backfill = self.backfill.lock().await;
            let ticked = backfill.tick().await;
            let is_under_way = backfill.is_under_way();
            drop((backfill, turn));
            match ticked {
                // Slices leave room for what arrives meanwhile.
                Ok(_) if is_under_way => wait(&mut stop, std::future::pending(), SLICE_PAUSE).await,
                Ok(_) => wait(&mut stop, async { drop(stored.changed().await) }, SLEEP_MAX).await,
                Err(error) => self.failed("backfill", &error, &mut stop).await,
            }
        }
    }

    async fn dispatch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut stored = self.log.stored();
        while !*stop.borrow() {
            stored.borrow_and_update();
            let now = self.log.clock().now();
            let turn = self.turn.read().await;
            let ticked = self.dispatcher.advance(now).await;
            drop(turn);
            let next = match ticked {
                Ok(0) if self.dispatcher.is_full() => Ok(None),
                Ok(0) => self.dispatcher.next_due().await,
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match next {
                Ok(next) => {
                    let sleep = until(now, next).max(BLOCKED_PAUSE);
                    let answered = async {
                        if !self.dispatcher.answered().await {
                            std::future::pending::<()>().await;
                        }
                    };
                    let pulse = async {
                        tokio::select! {
                            _ = stored.changed() => {}
                            () = answered => {}
                        }
                    };
                    wait(&mut stop, pulse, sleep).await;
                }
                Err(error) => self.failed("dispatcher", &error, &mut stop).await,
            }
        }
        if let Err(error) = self.dispatcher.finish().await {
            tracing::error!(error = format!("{error:#}"), "what became of the last messages is not stored");
        }
    }

    async fn failed(&self, who: &str, error: &anyhow::Error, stop: &mut watch::Receiver<bool>) {
        tracing::error!(worker = who, error = format!("{error:#}"), "a tick failed; it will be tried again");
        wait(stop, std::future::pending(), RETRY_AFTER).await;
    }
}

fn until(now: Timestamp, next: Option<Timestamp>) -> Duration {
    let millis = next.map_or(i64::MAX, |next| (next.millis() - now.millis()).max(0));
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(SLEEP_MAX)
}

/// Whichever comes first: the pulse, the end of the sleep, or the stop.
async fn wait(stop: &mut watch::Receiver<bool>, pulse: impl Future<Output = ()>, sleep: Duration) {
    tokio::select! {
        () = pulse => {}
        () = tokio::time::sleep(sleep) => {}
        _ = stop.changed() => {}
    }
}
