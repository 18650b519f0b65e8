//! How far many lives are: a bar where a terminal shows it, else a line now and then. It says from where to go on.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// However slow the machine is, whoever waits sees that it goes on.
const LINE_EVERY: Duration = Duration::from_secs(10);
const PARTS: usize = crate::on_sqlite::PARTS as usize;

pub struct Progress(Mutex<Option<State>>);

struct State {
    bar: Option<ProgressBar>,
    begun: Instant,
    told: Instant,
    /// The next seed of each part.
    next: [u64; PARTS],
    done: u64,
}

impl Progress {
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// This part has lived `seed`, or has come to the end, of so many from `from` on.
    pub fn done(&self, part: u64, seed: u64, from: u64, seeds: u64) {
        let mut state = self.0.lock().unwrap();
        let state = state.get_or_insert_with(|| State::begin(from, seeds));
        let is_over = seed == from + seeds;
        state.next[usize::try_from(part).unwrap()] = if is_over { seed } else { seed + 1 };
        state.done += u64::from(!is_over);
        // Below it every seed is done.
        let go_on = state.next.iter().min().copied().unwrap_or(from);
        if let Some(bar) = &state.bar {
            bar.set_position(state.done);
            bar.set_message(format!("FROM={go_on} would go on"));
        } else if state.told.elapsed() >= LINE_EVERY {
            state.told = Instant::now();
            let a_seed = state.begun.elapsed() / u32::try_from(state.done.max(1)).unwrap_or(u32::MAX);
            let left = a_seed * u32::try_from(seeds - state.done).unwrap_or(u32::MAX);
            println!("{} of {seeds} seeds, {} min left; FROM={go_on} would go on", state.done, left.as_secs() / 60);
        }
    }
}

impl State {
    fn begin(from: u64, seeds: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} seeds, {eta} left; {msg}");
        // Not where a test's own lines are caught.
        let is_seen = std::io::stderr().is_terminal() && seeds > 1_000;
        let bar = style.ok().filter(|_| is_seen).map(|style| ProgressBar::new(seeds).with_style(style));
        Self { bar, begun: Instant::now(), told: Instant::now(), next: [from; PARTS], done: 0 }
    }
}
