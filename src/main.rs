//! The program: the command line over the library.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Decisions allocate many small things in many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// For how many milliseconds the allocator keeps what is freed.
const KEPT: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10000");

fn main() -> ExitCode {
    keep_memory();
    carillon::cli::main()
}

/// Unasked, the allocator gives freed memory back after a second, and the system clears it again for the next batch: a
/// sixth of what an event costs. It is asked by the environment alone and before `main`, so the program begins anew.
fn keep_memory() {
    let Ok(program) = std::env::current_exe() else { return };
    if std::env::var_os(KEPT.0).is_none() {
        // It only returns where it could not begin anew; then all works as before, slower.
        let _ = Command::new(program).args(std::env::args_os().skip(1)).env(KEPT.0, KEPT.1).exec();
    }
}
