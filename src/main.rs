//! The program: the command line over the library.

use std::process::ExitCode;

/// Decisions allocate many small things in many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    carillon::cli::main()
}
