//! A life that broke a promise: what was found, and the story up to there.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

#[derive(Debug)]
pub struct Failure {
    pub cause: String,
    pub story: Vec<String>,
}

thread_local! {
    /// Set while this thread's panics are caught; the last one's words.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs it; an error is the words of a panic and where it was.
pub fn catch<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_caught = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(words) => {
                    *words = info.to_string();
                    true
                }
                None => false,
            });
            if !is_caught {
                before(info);
            }
        }));
    });
    CAUGHT.set(Some(String::new()));
    let ran = catch_unwind(AssertUnwindSafe(run));
    let words = CAUGHT.take().unwrap_or_default();
    ran.map_err(|_| words)
}
