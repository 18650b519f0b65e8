//! The program: the command line over the library.

use std::process::ExitCode;

/// Decisions allocate many small things in many threads.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    carillon::cli::main()
}
