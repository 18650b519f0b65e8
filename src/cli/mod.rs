//! The command line: every command finds the service, asks it one thing over HTTP, and prints the answer.
//!
//! Exit codes: 0 done, 1 the answer is no or it failed, 2 the command or the settings make no sense.

mod backtest;
mod backup;
mod check_links;
mod client;
mod controls;
mod definitions;
mod demo;
mod import;
mod outline;
mod permission;
mod place;
mod plan;
mod privacy;
mod restore;
mod seed;
mod segments;
mod serving;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod trace;
mod traits;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::cli::client::{Client, Found};
use crate::cli::place::Place;
use crate::config::Refused;
use crate::store::newest_schema;

/// What customers do becomes the message that helps them, and the reason is always known.
#[derive(Debug, Parser)]
#[command(
    name = "carillon",
    version,
    about,
    arg_required_else_help = true,
    after_help = "\
Examples:
  carillon demo                                   a shop with customers and history, to look around
  carillon serve --data ./shop --listen :8080     the service
  carillon plan ./definitions                     what applying them would change and would have done
  carillon apply ./definitions                    campaigns and templates into force
  carillon explain --profile ann --campaign cart_reminder
  carillon doctor                                 is everything as it should be?"
)]
pub struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Shared {
    /// The data folder [default: data.folder of the settings, carillon-data]
    #[arg(long, global = true, env = "CARILLON_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// A settings file; config/default.toml has every key
    #[arg(long, global = true, env = "CARILLON_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    #[command(after_help = "\
Examples:
  carillon serve --data ./shop --listen 127.0.0.1:8080
  CARILLON_SMTP__URL=smtps://user:password@relay.example carillon serve

The folder is locked; its server.json holds the address and a token for the other commands.
SIGTERM and Ctrl-C stop gracefully: what was accepted is stored, what is in hand is finished.")]
    Serve {
        /// ADDRESS:PORT; port 0 takes a free one [default: server.listen of the settings, 127.0.0.1:8080]
        #[arg(long, value_name = "ADDR", value_parser = listen_address)]
        listen: Option<SocketAddr>,
        /// Let marketing wait until `carillon confirm-restore`: for a folder or machine that was copied back as a whole
        #[arg(long)]
        held: bool,
        /// A folder of templates that are being written: /preview shows each as it is saved
        #[arg(long, value_name = "FOLDER")]
        templates: Option<PathBuf>,
    },
    /// Run the service with a demo shop: customers, 90 days of history, live visitors
    Demo(demo::Demo),
    /// Bring the database's schema up to date; serve does it by itself, and one that runs is asked
    #[command(after_help = "Examples:\n  carillon migrate --data ./shop")]
    Migrate {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Put campaigns, templates, caps and policies into force, all or none
    Apply(definitions::Apply),
    /// Say what applying would change, and what it would have done over the stored last 30 days
    Plan(plan::Plan),
    /// Live through stored events again by definitions: who would have got what, and where that differs
    Backtest(backtest::Backtest),
    /// Write everything that is in force to a folder
    Export(definitions::Export),
    /// Live through the events of a file, on its own clock, into the sandbox
    Import(import::Import),
    /// Run the stories beside the definitions
    Test(definitions::Test),
    /// Create, list and revoke the write keys storefronts send events with
    #[command(subcommand)]
    Key(controls::Key),
    /// Create, list, rotate and revoke API tokens: for programs, each with the scopes it needs
    #[command(
        subcommand,
        after_help = "\
Examples:
  carillon token create --name dashboard --scope read
  carillon token rotate ID --grace 1h"
    )]
    Token(token::Token),
    /// List messages with their states and reasons, or show one with its whole path
    Messages(trace::Messages),
    /// List segments with their sizes, look into one, or say why a person is in it or not
    Segments(segments::Segments),
    /// List computed traits, or say what they come to for a person and why
    Traits(traits::Traits),
    /// Say why a campaign did or did not speak to someone
    Explain(trace::Explain),
    /// Show what a person has answered on channels and topics, or say an answer for them
    Consent(permission::Consent),
    /// The suppression list: addresses nothing, or no marketing, is sent to
    #[command(
        subcommand,
        after_help = "\
Examples:
  carillon suppress list --kind bounced
  carillon suppress add ann@example.com --source 'asked by letter'"
    )]
    Suppress(permission::Suppress),
    /// Hand a person all that is stored of them, or erase it
    #[command(
        subcommand,
        after_help = "\
Examples:
  carillon privacy export --profile ann --out ann.json
  carillon privacy erase --profile ann --reason 'request of 2026-11-20'"
    )]
    Privacy(privacy::Privacy),
    /// Show what someone has used of the frequency caps, and when it frees
    Caps(trace::Caps),
    /// Stop all sending, or one campaign, within a second
    Pause(controls::Scope),
    /// Send again what a pause stopped
    Resume(controls::Scope),
    /// Give failed messages and parked entries another chance
    Redrive(controls::Redrive),
    /// Ask whether anybody answers behind the links and pictures of templates
    CheckLinks(check_links::CheckLinks),
    /// Send a template's sample to an address
    SendTest(controls::SendTest),
    /// Copy the database, the key of its links and a manifest into a new folder, while the service goes on
    Backup(backup::Backup),
    /// Put a backup in place; marketing waits until it is confirmed
    Restore(restore::Restore),
    /// Let marketing go again after a restored backup was recognised
    ConfirmRestore(restore::ConfirmRestore),
    /// Check that everything is as it should be, with advice where it is not
    #[command(after_help = "Examples:\n  carillon doctor\n  carillon doctor --json     exit code 1 if a check fails")]
    Doctor {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// The caller is told how to ask rightly; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Whether the answer was yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
}

/// Reads the command line of this process and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let ended = runtime.block_on(run(cli));
    // What still runs was told to stop and had its time.
    runtime.shutdown_background();
    match ended {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let mut said = format!("{error:#}");
    if let Some(refused) = error.downcast_ref::<client::Refused>() {
        said.push_str(&refused.problems());
    }
    tell(&format!("carillon: {said}\n"));
    let is_usage = error.is::<Usage>() || error.is::<Refused>();
    ExitCode::from(if is_usage { 2 } else { 1 })
}

async fn run(cli: Cli) -> anyhow::Result<Answer> {
    let place = Place::find(cli.shared.data, cli.shared.config.as_deref())?;
    match cli.command {
        Command::Serve { listen, held, templates } => {
            serving::serve(&place, listen, held, templates).await.map(|()| Answer::Yes)
        }
        Command::Demo(demo) => demo::run(&place, demo).await,
        Command::Migrate { json } => migrate(&place, json).await,
        Command::Apply(asked) => {
            let files = asked.files()?;
            asking(&place, async |client| definitions::apply(client, &asked, files).await).await
        }
        Command::Plan(asked) => {
            let files = asked.files()?;
            place.must_exist()?;
            asking(&place, async |client| plan::plan(client, &asked, files).await).await
        }
        Command::Segments(asked) => {
            let files = asked.files()?;
            place.must_exist()?;
            asking(&place, async |client| segments::segments(client, &asked, files).await).await
        }
        Command::Backtest(asked) => {
            let files = asked.files()?;
            place.must_exist()?;
            asking(&place, async |client| backtest::backtest(client, &asked, files).await).await
        }
        Command::Export(asked) => {
            asked.check()?;
            place.must_exist()?;
            asking(&place, async |client| definitions::export(client, &asked).await).await
        }
        Command::Import(asked) => import::import(&place, &asked).await,
        Command::Test(asked) => definitions::test(&asked),
        Command::Token(token) => asking(&place, async |client| token::token(client, token).await).await,
        Command::Backup(asked) => backup::backup(&place, &asked).await,
        Command::Restore(asked) => restore::restore(&place, &asked).await,
        Command::Key(key) => asking(&place, async |client| controls::key(client, key).await).await,
        look_or_control => {
            place.must_exist()?;
            asking(&place, async |client| ask(client, look_or_control).await).await
        }
    }
}

/// The commands that need a folder with something in it.
async fn ask(client: &Client, command: Command) -> anyhow::Result<Answer> {
    match command {
        Command::Messages(asked) => trace::messages(client, &asked).await,
        Command::Traits(asked) => traits::traits(client, &asked).await,
        Command::Explain(asked) => trace::explain(client, &asked).await,
        Command::Consent(asked) => permission::consent(client, &asked).await,
        Command::Suppress(asked) => permission::suppress(client, &asked).await,
        Command::Caps(asked) => trace::caps(client, &asked).await,
        Command::Privacy(asked) => privacy::privacy(client, asked).await,
        Command::Pause(scope) => controls::pause(client, &scope, true).await,
        Command::Resume(scope) => controls::pause(client, &scope, false).await,
        Command::Redrive(asked) => controls::redrive(client, &asked).await,
        Command::CheckLinks(asked) => check_links::check_links(client, &asked).await,
        Command::SendTest(asked) => controls::send_test(client, &asked).await,
        Command::ConfirmRestore(asked) => restore::confirm_restore(client, &asked).await,
        Command::Doctor { json } => controls::doctor(client, json).await,
        other => anyhow::bail!("{other:?} is not asked of a server"),
    }
}

async fn migrate(place: &Place, json: bool) -> anyhow::Result<Answer> {
    let shown = place.config.database_address().shown();
    let there = match Client::look_for(place, "migrate").await? {
        Found::Free(held) => {
            let database = crate::store::open(place.config.database_address()).await?;
            database.close().await;
            drop(held);
            None
        }
        Found::There(there) => Some(there),
    };
    // A service that runs has done it at its start, as far as its own program knows.
    let (schema, by) = match &there {
        None => (newest_schema(), String::new()),
        Some(there) => {
            let settings = Client::to(there)?.get("/api/v1/settings", &[]).await?;
            (table::cell(&settings["schema"]), format!(": the service at {} saw to it at its start", there.address))
        }
    };
    let is_newest = schema == newest_schema();
    if json {
        let state = if is_newest { "up to date" } else { "another program's" };
        let service = there.as_ref().map(|there| &there.address);
        print_json(&serde_json::json!({ "database": shown, "state": state, "schema": schema, "service": service }));
    } else if is_newest {
        print(&format!("{shown} is up to date{by}\n"));
    } else {
        let newest = newest_schema();
        print(&format!(
            "{shown} stands at {schema}, and this program's newest change is {newest}: another version serves it. Start \
             the service again with this one, which changes the schema at its start\n"
        ));
    }
    Ok(if is_newest { Answer::Yes } else { Answer::No })
}

/// Connects, asks, and leaves nothing behind.
async fn asking(place: &Place, ask: impl AsyncFnOnce(&Client) -> anyhow::Result<Answer>) -> anyhow::Result<Answer> {
    serving::log_to_stderr(&place.config, "warn")?;
    let client = Client::connect(place).await?;
    let answer = ask(&client).await;
    // What went wrong first is what matters.
    let closed = client.close().await;
    let answer = answer?;
    closed?;
    Ok(answer)
}

/// `:8080` is short for all addresses of this machine.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.replace("localhost:", "127.0.0.1:") };
    full.parse().map_err(|_| "is written ADDRESS:PORT, such as 127.0.0.1:8080".to_owned())
}

/// Writes for people to stdout: instants to the second, nothing that a terminal would obey.
fn print(text: &str) {
    write(std::io::stdout().lock(), &table::to_the_second(&table::on_its_lines(text)));
}

/// The same to stderr, for what is beside the answer.
fn tell(text: &str) {
    write(std::io::stderr().lock(), &table::on_its_lines(text));
}

/// A reader that has gone is no error of ours.
fn write(mut out: impl Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn print_json(value: &Value) {
    write(std::io::stdout().lock(), &format!("{value:#}\n"));
}
