//! Processes of the bench: this program again in another role, each pinned to a core where there are two.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::server::Behind;

/// Where a process runs.
#[derive(Debug, Clone, Copy)]
pub enum On {
    Server,
    Load,
    AllCores,
}

/// Whether processes can be kept apart: two cores and `taskset`.
pub fn can_pin() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores > 1 && Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// `program`, kept to its core.
pub fn pinned(on: On, program: &Path) -> Command {
    let core = match on {
        On::AllCores => None,
        On::Server => Some("0"),
        On::Load => Some("1"),
    };
    match core.filter(|_| can_pin()) {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", core]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

fn own(on: On) -> anyhow::Result<Command> {
    let mut command = pinned(on, &std::env::current_exe()?);
    // As the service does for itself.
    command.env("MIMALLOC_PURGE_DELAY", "10000");
    Ok(command)
}

/// Runs a role to its end and reads what it printed.
///
/// # Errors
/// It failed, or printed something else.
pub fn ask<T: DeserializeOwned>(on: On, role: &str, order: &impl Serialize) -> anyhow::Result<T> {
    let output = own(on)?.args([role, &serde_json::to_string(order)?]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`{role}` failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("`{role}` printed no answer"))
}

/// A server in its own process, stopped when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Its database is in this folder, or at this `postgres://` address.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(behind: Behind, place: &Path) -> anyhow::Result<Self> {
        Self::role("server", &(behind, place))
    }

    /// Starts a role that prints its address first.
    ///
    /// # Errors
    /// It does not start.
    pub fn role(role: &str, order: &impl Serialize) -> anyhow::Result<Self> {
        let mut command = own(On::Server)?;
        command.args([role, &serde_json::to_string(order)?]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("`{role}` did not start"))?;
        Ok(Self { child, address, _output: output })
    }

    /// # Errors
    /// The process has gone.
    pub fn memory(&self) -> anyhow::Result<(f64, f64)> {
        memory_of(self.child.id())
    }
}

/// Resident memory of a process now and at its highest, MiB.
///
/// # Errors
/// It has gone.
pub fn memory_of(process: u32) -> anyhow::Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no memory figure")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1_024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Processor time this process has used, seconds: what others do on the same machine does not count, so it is steadier
/// than a clock.
///
/// # Errors
/// The system does not tell.
pub fn processor_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything: the 12th and 13th field, in ticks of ten milliseconds.
    let (_, fields) = stat.rsplit_once(')').context("no process figures")?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
