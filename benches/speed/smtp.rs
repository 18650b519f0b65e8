//! E-mail out: our channel into `smtp-sink`, beside `smtp-source` into the same one.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail};
use carillon::channel::Channel;
use carillon::channel::smtp::{Settings, Smtp};
use carillon::clock::Clock;
use carillon::ids::Span;
use carillon::message::Outcome;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::Plan;
use crate::child::{On, ask, pinned};
use crate::report::{Figures, Row, Target};

/// Where `benches/install` puts Postfix's test programs.
const POSTFIX: &str = "target/bench-data/postfix";
const LETTER_BYTES: usize = 6 * 1024;

/// What our side is to send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub address: SocketAddr,
    pub connections: usize,
    pub messages: usize,
}

/// All rows of the channel.
///
/// # Errors
/// Postfix's programs are missing, or a message was not accepted.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (connections, messages) in [(1, 6_000), (8, 40_000)] {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for _ in 0..plan.repetitions {
            let sink = Sink::start()?;
            theirs.0.push(source(&sink, connections, messages)?);
            let order = Order { address: sink.address, connections, messages };
            ours.0.push(ask(On::Server, "smtp", &order)?);
        }
        eprintln!("SMTP, {connections} connections: {:.0} of {:.0} messages/s", ours.median(), theirs.median());
        rows.push(Row {
            what: format!("SMTP channel, {connections} connection(s), 6 KB messages, each composed anew"),
            unit: "messages/s",
            ours,
            yardstick: Some(("`smtp-source -d`".to_owned(), theirs)),
            target: Target::RatioAtLeast(0.75),
        });
    }
    Ok(rows)
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(POSTFIX).join("usr/sbin").join(name);
    anyhow::ensure!(path.exists(), "{name} is missing: run benches/install, which `make bench` does");
    Ok(path)
}

fn with_libraries(command: &mut Command) -> &mut Command {
    command.env("LD_LIBRARY_PATH", Path::new(POSTFIX).join("usr/lib/postfix"))
}

/// A running `smtp-sink`, stopped when dropped.
pub struct Sink {
    child: Child,
    pub address: SocketAddr,
}

impl Sink {
    /// # Errors
    /// Postfix's programs are missing.
    pub fn start() -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = pinned(On::Load, &program("smtp-sink")?);
        if Command::new("id").arg("-u").output()?.stdout == b"0\n" {
            command.args(["-u", "nobody"]);
        }
        command.args([&address.to_string(), "256"]).stdout(Stdio::null());
        let child = with_libraries(&mut command).spawn()?;
        let sink = Self { child, address };
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Ok(sink);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        bail!("smtp-sink does not answer")
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages a second of `smtp-source` on the server's core.
fn source(sink: &Sink, connections: usize, messages: usize) -> anyhow::Result<f64> {
    let clock = Clock::system(Span::ZERO);
    let mut command = pinned(On::Server, &program("smtp-source")?);
    command.args(["-d", "-l", &LETTER_BYTES.to_string(), "-m", &messages.to_string(), "-s", &connections.to_string()]);
    command.args(["-f", "shop@shop.test", "-t", "ann@example.com", &sink.address.to_string()]);
    let started = clock.monotonic();
    let status = with_libraries(&mut command).status()?;
    anyhow::ensure!(status.success(), "smtp-source failed: {status}");
    Ok(messages as f64 / (clock.monotonic() - started).as_secs_f64())
}

/// Messages a second of our channel: one rendered mail, composed and sent again and again.
///
/// # Errors
/// A message was not accepted.
pub fn ours(order: &Order) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut settings = Settings::from_url(&format!("smtp://{}?tls=none", order.address))?;
        settings.connections = order.connections;
        settings.messages_max = u32::MAX;
        let smtp = Smtp::new(settings)?;
        let mail = Arc::new(crate::letter::Letter::new(LETTER_BYTES, None)?.render()?);
        let clock = Clock::system(Span::ZERO);
        let started = clock.monotonic();
        let mut lanes = JoinSet::new();
        for _ in 0..order.connections {
            let (smtp, mail, share) = (smtp.clone(), mail.clone(), order.messages / order.connections);
            lanes.spawn(async move {
                for _ in 0..share {
                    match smtp.send(&mail).await {
                        Outcome::Accepted { .. } => {}
                        other => bail!("not accepted: {other:?}"),
                    }
                }
                Ok(())
            });
        }
        while let Some(lane) = lanes.join_next().await {
            lane.context("a sender panicked")??;
        }
        Ok(order.messages as f64 / (clock.monotonic() - started).as_secs_f64())
    })
}
