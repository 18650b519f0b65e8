//! The demo: the service with a shop that lives, and the way to the future.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::app::{Options, WORKSPACE};
use crate::cli::client::Client;
use crate::cli::place::{Place, Whereabouts, write_private};
use crate::cli::serving::{Server, log_to_stderr};
use crate::cli::table::cell;
use crate::cli::{Answer, Usage, asking, definitions, listen_address, print, print_json, seed};
use crate::clock::Clock;
use crate::demo::trickle;
use crate::eventlog::EventLog;
use crate::ids::{Span, Timestamp};

/// The file that keeps the demo's write key: the database has only its hash.
const KEY_FILE: &str = "demo-key";
/// How often live visitors' events are told.
const TRICKLE_EVERY: Duration = Duration::from_secs(2);
/// A longer gap was a jump of the clock or a sleep of the machine; nobody lived through it.
const JUMP: Span = Span::from_seconds(10);

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  carillon demo                     serve the demo shop from ./carillon-data
  carillon demo --seed 7 --data ./other-shop
  carillon demo forward 1h          an hour passes; everything due in it is done
  carillon demo curl                the call that leaves a cart behind, once more

Nothing real is ever sent: everything goes to the inbox at /inbox."
)]
pub struct Demo {
    #[command(subcommand)]
    what: Option<What>,
    /// ADDRESS:PORT; port 0 takes a free one [default: server.listen of the settings, 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Another seed makes another shop; counts on a fresh folder
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// A folder of templates that are being written: /preview shows each as it is saved
    #[arg(long, value_name = "FOLDER")]
    templates: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Move the clock; everything that becomes due is done before this returns
    #[command(after_help = "Examples:\n  carillon demo forward 1h\n  carillon demo forward 2d --json")]
    Forward {
        /// How far: 30s, 5m, 1h, 2d
        by: Span,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the call that leaves a cart behind, with this demo's address and write key
    #[command(after_help = "Examples:\n  carillon demo curl | sh")]
    Curl,
}

/// `carillon demo …`.
pub async fn run(place: &Place, demo: Demo) -> anyhow::Result<Answer> {
    match demo.what {
        None => serve(place, demo.listen, demo.seed, demo.templates).await.map(|()| Answer::Yes),
        Some(What::Forward { by, json }) => {
            place.must_exist()?;
            must_be_a_demo(place)?;
            asking(place, async |client| forward(client, by, json).await).await
        }
        Some(What::Curl) => {
            let (Some(there), Ok(key)) = (place.whereabouts(), std::fs::read_to_string(key_file(place))) else {
                let folder = place.folder().display();
                return Err(Usage(format!("no demo runs in {folder}: start it with `carillon demo`")).into());
            };
            print(&format!("{}\n", curl(&there.address, key.trim())));
            Ok(Answer::Yes)
        }
    }
}

/// A real shop's clock is not ours to move, and a folder named by mistake would be left with another time.
fn must_be_a_demo(place: &Place) -> anyhow::Result<()> {
    // A server that runs knows by itself whether it serves a demo.
    if key_file(place).is_file() || place.take("demo forward")?.is_err() {
        return Ok(());
    }
    let folder = place.folder().display();
    Err(Usage(format!(
        "{folder} is not a demo's folder, and only a demo's clock can be moved: name the demo's folder with --data, or \
         start one with `carillon demo --data FOLDER`"
    ))
    .into())
}

async fn forward(client: &Client, by: Span, json: bool) -> anyhow::Result<Answer> {
    let answer = client.post("/api/v1/demo/forward", json!({ "by": by })).await?;
    if json {
        print_json(&answer);
    } else {
        print(&format!("it is now {}\n", cell(&answer["now"])));
    }
    Ok(Answer::Yes)
}

async fn serve(place: &Place, listen: Option<SocketAddr>, seed: u64, templates: Option<PathBuf>) -> anyhow::Result<()> {
    log_to_stderr(&place.config, &place.config.log.level)?;
    // A relay in the environment is for real shops: the demo's people have addresses that reach nobody.
    let options = |address: &str| Ok(Options { smtp: None, ..Options::of(&place.config, address)? });
    let mut server = Server::open(place, listen, "demo", options).await?;
    server.templates = templates;
    let seed = seed::history(&server.carillon, seed).await?;
    let (log, there) = (server.carillon.log.clone(), server.whereabouts.clone());
    server
        .run(place, async move {
            let key = prepare(place, &there).await?;
            print(&welcome(place, &there.address, &key));
            live(&log, seed).await
        })
        .await
}

/// Definitions into force, and a key to write with; both only once.
async fn prepare(place: &Place, there: &Whereabouts) -> anyhow::Result<String> {
    if let Ok(key) = std::fs::read_to_string(key_file(place)) {
        return Ok(key.trim().to_owned());
    }
    let client = Client::to(there)?;
    // Only now: people who left carts behind last month are not written to today.
    client.post("/api/v1/definitions", definitions::body(&seed::definitions())).await?;
    let made = client.post("/api/v1/keys", json!({ "source": "web", "name": "the demo's storefront" })).await?;
    let key = cell(&made["key"]);
    write_private(&key_file(place), &key)?;
    Ok(key)
}

fn key_file(place: &Place) -> PathBuf {
    place.folder().join(KEY_FILE)
}

/// What happens in the shop while one looks.
async fn live(log: &EventLog, seed: u64) -> anyhow::Result<()> {
    let clock: &Clock = log.clock();
    let mut told = clock.now();
    loop {
        tokio::time::sleep(TRICKLE_EVERY).await;
        let now = clock.now();
        let events = trickle(WORKSPACE, seed, since(told, now), now)?;
        told = now;
        if let Err(error) = log.append(WORKSPACE, events).await {
            tracing::warn!(%error, "some of the demo's visitors were not seen");
        }
    }
}

fn since(told: Timestamp, now: Timestamp) -> Timestamp {
    if told.plus(JUMP) < now { now.minus(Span::from_seconds(2)) } else { told }
}

fn curl(address: &str, key: &str) -> String {
    // Written out: a price keeps its digits.
    let cart = r#"{"userId":"ann","event":"Product Added","properties":{"cart_id":"c1","product_id":"p1","name":"Copper kettle","price":49.00,"currency":"EUR"}}"#;
    format!("curl -s -u '{key}:' {address}/v1/track -d '{cart}'")
}

fn welcome(place: &Place, address: &str, key: &str) -> String {
    let data = match place.folder() {
        folder if folder == std::path::Path::new("carillon-data") => String::new(),
        folder => format!(" --data {}", folder.display()),
    };
    format!(
        "
listening on {address}

  write key   {key}
  pages       {address}/             what was sent and what was not, and why; previews; customers
  inbox       {address}/inbox        what would have been sent; nothing real ever is
  data        {}

Ann leaves a cart behind. In another terminal:

  {}
  carillon demo forward 1h{data}

The hour has passed: her reminder is in the inbox. Why, and why not the others?

  carillon explain --profile ann --campaign cart_reminder{data}
  carillon messages --profile ann{data}
  carillon segments vip{data}
  carillon doctor{data}

\"Choose what you get\", at the foot of the reminder, is Ann's preference page. What she chose:

  carillon consent --profile ann{data}

The README's tour goes on from here. Ctrl-C stops the demo; the next start goes on in the same folder.
",
        place.folder().display(),
        curl(address, key),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_that_was_skipped_is_not_told_as_if_it_had_been_lived() {
        let start = Timestamp::from_millis(0);
        let later = |seconds| start.plus(Span::from_seconds(seconds));
        assert_eq!(since(start, later(2)), start);
        assert_eq!(since(start, later(3_600)), later(3_598));
    }
}
