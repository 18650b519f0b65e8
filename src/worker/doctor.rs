//! What a person should know before trusting a running service: each check says what it found and what to do about it.

mod machine;
mod mail;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::channel::sender::dns::Dns;
use crate::channel::smtp::Smtp;
use crate::definition::DocumentKind;
use crate::eventlog::{EventLog, Queue};
use crate::ids::{Span, Timestamp, WorkspaceId};
use crate::render::links::Links;
use crate::store::Store;
use crate::store::controls::PAUSE_ALL;
use crate::store::leases::shared_by;
use crate::store::shards::{ShardSet, backlog as waiting};
use crate::store::soundness::{last_entry, quick_check, weaknesses};
use crate::worker::dispatcher::Dispatcher;
use crate::worker::live::{Definitions, read_stored};
use crate::worker::restored::recognised;

/// The file is read through once; beyond this the person is told to look with the service stopped.
const FILE_DEADLINE: Duration = Duration::from_secs(60);
const CHANNEL_DEADLINE: Duration = Duration::from_secs(20);
const WRITER_DEADLINE: Duration = Duration::from_secs(5);
const DATABASE_DEADLINE: Duration = Duration::from_secs(5);
/// Entries behind the end of the log that are no cause for worry.
const BACKLOG_MAX: i64 = 10_000;
/// 2026-01-01: no clock that is right shows less.
const EARLIEST: i64 = 1_767_225_600_000;
/// How far the log may be ahead of a clock that was set back.
const AHEAD_MAX: Span = Span::from_seconds(300);

/// Seconds in which the parts of a process that ended are taken by others.
const SHARED_WITHIN: u32 = 6;

/// Where the links in mails lead to this machine alone.
pub const LINKS_ADVICE: &str = "set sender.public_url (CARILLON_SENDER__PUBLIC_URL) to how mail readers reach this service, such as https://mail.shop.example";

/// One check and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Check {
    pub name: &'static str,
    /// A warning is ok: everything works, and something should be done all the same.
    pub ok: bool,
    pub status: Verdict,
    pub detail: String,
    /// What to do, where there is something.
    pub advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Warning,
    Failed,
}

impl Check {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, status: Verdict::Ok, detail: detail.into(), advice: None }
    }

    fn warning(name: &'static str, detail: impl Into<String>, advice: &str) -> Self {
        let advice = Some(advice.to_owned());
        Self { name, ok: true, status: Verdict::Warning, detail: detail.into(), advice }
    }

    fn bad(name: &'static str, detail: impl Into<String>, advice: &str) -> Self {
        let advice = Some(advice.to_owned());
        Self { name, ok: false, status: Verdict::Failed, detail: detail.into(), advice }
    }
}

/// What is examined.
#[derive(Clone, Copy)]
pub struct Patient<'a> {
    pub workspace: WorkspaceId,
    pub store: &'a Store,
    pub log: &'a EventLog,
    pub definitions: &'a Definitions,
    pub dispatcher: &'a Dispatcher,
    /// The data folder.
    pub folder: &'a Path,
    /// The relay that mail leaves through; none: nothing real is sent.
    pub smtp: Option<&'a Smtp>,
    /// Of unsubscribing, preferences and clicks, as they stand in mails.
    pub links: &'a Links,
    /// Which name server is asked; none: the system's.
    pub resolver: Option<SocketAddr>,
}

impl Patient<'_> {
    fn is_real(&self) -> bool {
        self.smtp.is_some()
    }
}

/// Runs every check; a part that cannot be examined is a bad check, never an error.
pub async fn doctor(patient: Patient<'_>) -> Vec<Check> {
    // The only ones that ask strangers.
    let (mail, mut checks) = tokio::join!(sender_domain(patient), within(patient));
    checks.extend(mail);
    checks
}

/// What this installation knows of itself.
async fn within(patient: Patient<'_>) -> Vec<Check> {
    let database = match tokio::time::timeout(DATABASE_DEADLINE, machine::database(patient.store)).await {
        Ok(check) => check,
        Err(_) => Check::bad(
            "database",
            format!("no answer within {DATABASE_DEADLINE:?}; what only it knows is not examined"),
            "see that it runs and can be reached; events are answered 503 until then, and clients keep them",
        ),
    };
    if !database.ok {
        // Whatever asks it waits as long, one check after the other.
        let mut checks = vec![database];
        checks.extend(machine::disk(patient.folder).await);
        checks.extend([sender(patient), links(patient)]);
        checks.extend(channels(patient).await);
        return checks;
    }
    let mut checks = vec![database, file(patient).await, writer(patient).await];
    checks.extend(machine::disk(patient.folder).await);
    checks.extend(books(patient).await);
    checks.push(backlog(patient).await);
    checks.extend(processes(patient).await);
    checks.push(definitions(patient).await);
    checks.push(clock(patient).await);
    checks.extend(machine::drift(patient.store, patient.log.clock().machine()).await);
    checks.push(pauses(patient).await);
    checks.push(restored(patient).await);
    checks.extend([sender(patient), links(patient)]);
    checks.push(caps(patient).await);
    checks.extend(channels(patient).await);
    checks
}

fn unreadable(name: &'static str, error: &dyn std::fmt::Display) -> Check {
    Check::bad(name, format!("cannot be examined: {error}"), "look at the log of the service")
}

async fn file(patient: Patient<'_>) -> Check {
    let name = "database file";
    match tokio::time::timeout(FILE_DEADLINE, quick_check(patient.store.reader())).await {
        Ok(Ok(complaints)) if complaints.is_empty() => Check::good(name, "the database finds itself whole"),
        Ok(Ok(complaints)) => {
            Check::bad(name, complaints.join("; "), "stop the service, keep a copy of the file, restore a backup")
        }
        Ok(Err(error)) => unreadable(name, &error),
        Err(_) => Check::bad(
            name,
            "it is too large to be read through in a minute",
            "stop the service and run `PRAGMA integrity_check` on the file",
        ),
    }
}

async fn writer(patient: Patient<'_>) -> Check {
    let name = "durability";
    let asking = patient.log.writer().change(Queue::Sends, |tx, _| Box::pin(async move { Ok(weaknesses(tx).await?) }));
    match tokio::time::timeout(WRITER_DEADLINE, asking).await {
        Ok(Ok(weak)) if weak.is_empty() => Check::good(name, "every commit is synced to disk before it is answered"),
        Ok(Ok(weak)) => Check::bad(
            name,
            format!("{}: accepted events could be lost", weak.join(" and ")),
            "set it right and restart the service; it refuses weaker settings",
        ),
        Ok(Err(error)) => unreadable(name, &error),
        Err(_) => Check::bad(name, "the writer did not answer in time", "look at the load and at the disk"),
    }
}

/// Where several processes may share the work: that somebody does every part of it.
async fn processes(patient: Patient<'_>) -> Option<Check> {
    let name = "processes";
    let layout = patient.store.layout();
    if !layout.is_shared() {
        return None;
    }
    let all = i64::try_from(layout.all().len()).unwrap_or(i64::MAX);
    let mut said = shared_by(patient.store.reader()).await;
    for _ in 0..SHARED_WITHIN {
        if !matches!(said, Ok((nodes, owned)) if nodes > 0 && owned < all) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        said = shared_by(patient.store.reader()).await;
    }
    Some(match said {
        Ok((0, _)) => Check::good(name, "none runs on this database at present"),
        Ok((nodes, owned)) if owned == all => Check::good(name, format!("{nodes} share the {all} parts of the work")),
        Ok((nodes, owned)) => Check::bad(
            name,
            format!("{nodes} run, and only {owned} of the {all} parts of the work are taken"),
            "look at the logs of every process: one may hold on to a part without doing it",
        ),
        Err(error) => unreadable(name, &error),
    })
}

async fn books(patient: Patient<'_>) -> Vec<Check> {
    let books = match patient.store.workspace(patient.workspace).accounts().await {
        Ok(books) => books,
        Err(error) => return vec![unreadable("books", &error)],
    };
    let events = &books.events;
    let imbalances = books.imbalances();
    let balance = if imbalances.is_empty() {
        let text = format!(
            "accepted {} = processed {} + unprocessed {} + parked {}; created messages {} = the sum over all states",
            events.accepted, events.processed, events.unprocessed, events.parked, books.messages.created
        );
        Check::good("books", text)
    } else {
        Check::bad("books", imbalances.join("; "), "report this with the output of `carillon doctor --json`")
    };
    let parked = match events.parked {
        0 => Check::good("parked entries", "none"),
        count => Check::bad(
            "parked entries",
            format!("{count} entries could not be applied"),
            "GET /api/v1/parked tells why; redrive them when the cause is gone",
        ),
    };
    let dead = books.messages.by_status.get("failed").copied().unwrap_or(0);
    let letters = match dead {
        0 => Check::good("dead letters", "none"),
        _ => Check::warning(
            "dead letters",
            format!("{dead} messages failed for good"),
            "`carillon messages --status failed` tells why; they can be redriven",
        ),
    };
    vec![balance, parked, letters]
}

async fn backlog(patient: Patient<'_>) -> Check {
    let name = "backlog";
    match waiting(patient.store.reader(), ShardSet::EVERY).await {
        Ok(behind) if behind <= BACKLOG_MAX => Check::good(name, format!("{behind} entries wait to be processed")),
        Ok(behind) => Check::bad(
            name,
            format!("{behind} entries wait to be processed"),
            "while the service runs it works them off; if the number grows, it has too little to work with",
        ),
        Err(error) => unreadable(name, &error),
    }
}

async fn definitions(patient: Patient<'_>) -> Check {
    let name = "definitions";
    let stored = match patient.store.workspace(patient.workspace).definitions().await {
        Ok(stored) => stored,
        Err(error) => return unreadable(name, &error),
    };
    let live = patient.definitions.live(patient.workspace);
    let template = DocumentKind::Template.as_str();
    let broken: Vec<String> = stored
        .iter()
        .filter(|one| read_stored(one).is_empty() || one.kind == template && !live.templates.contains_key(&one.key))
        .map(|one| format!("{} {}", one.kind, one.key))
        .collect();
    if broken.is_empty() {
        return Check::good(name, format!("{} documents are read, every template compiles", stored.len()));
    }
    let detail = format!("this release cannot read or compile: {}", broken.join(", "));
    Check::bad(name, detail, "correct and apply them again; until then they are not in force")
}

async fn clock(patient: Patient<'_>) -> Check {
    let name = "clock";
    let (now, offset) = (patient.log.clock().now(), patient.log.clock().offset());
    if now < Timestamp::from_millis(EARLIEST) {
        return Check::bad(name, format!("it shows {now}"), "set the machine's clock");
    }
    if patient.is_real() && offset != Span::ZERO {
        let detail = format!("a demo moved it {offset} ahead, and messages leave through a real provider");
        return Check::bad(name, detail, "use a fresh data folder for real messages");
    }
    match last_entry(patient.store.reader()).await {
        Ok(Some((_, last))) if last > now.plus(AHEAD_MAX) => Check::bad(
            name,
            format!("it shows {now}, and the log was already at {last}"),
            "the clock was set back: set it right; until then time stands still in the log",
        ),
        Ok(_) if offset == Span::ZERO => Check::good(name, format!("it shows {now}")),
        Ok(_) => {
            let ahead = Span::from_seconds((offset.millis() + 500) / 1_000);
            Check::good(name, format!("it shows {now}, {ahead} ahead of the machine's, moved by the demo"))
        }
        Err(error) => unreadable(name, &error),
    }
}

/// A pause is a person's wish and nothing wrong; who wonders why nothing is sent must be told all the same.
async fn pauses(patient: Patient<'_>) -> Check {
    let name = "pauses";
    match patient.store.workspace(patient.workspace).pauses().await {
        Ok(scopes) if scopes.is_empty() => Check::good(name, "nothing is paused"),
        Ok(scopes) if scopes.contains(PAUSE_ALL) => {
            let advice = "`carillon resume --all` sends again".to_owned();
            Check { advice: Some(advice), ..Check::good(name, "all sending is paused") }
        }
        Ok(scopes) => {
            let campaigns = scopes.into_iter().collect::<Vec<_>>().join(", ");
            let advice = "`carillon resume --campaign KEY` sends again".to_owned();
            Check { advice: Some(advice), ..Check::good(name, format!("paused: {campaigns}")) }
        }
        Err(error) => unreadable(name, &error),
    }
}

async fn restored(patient: Patient<'_>) -> Check {
    let name = "restore";
    match recognised(patient.store.reader()).await {
        Ok(Some(recognised)) => Check::bad(
            name,
            format!(
                "this looks like a restored backup: {}; marketing waits since {}",
                recognised.because, recognised.at
            ),
            "`carillon confirm-restore --look` tells what would go out; when nothing else sends from this data, \
             `carillon confirm-restore` lets it go",
        ),
        Ok(None) => Check::good(name, "no restored backup waits for a person"),
        Err(error) => unreadable(name, &error),
    }
}

/// The only part of sending that another server can hold back.
async fn caps(patient: Patient<'_>) -> Check {
    let name = "frequency caps";
    match tokio::time::timeout(CHANNEL_DEADLINE, patient.dispatcher.check_caps(patient.workspace)).await {
        Ok(Ok(said)) => Check::good(name, said),
        Ok(Err(error)) => Check::bad(
            name,
            format!("{error}; messages that obey caps wait, everything else goes on"),
            "start Redis or correct redis.url; nothing needs to be restored into it, and sending goes on by itself",
        ),
        Err(_) => Check::bad(name, "the cap store did not answer in time", "look at the load of Redis"),
    }
}

fn sender(patient: Patient<'_>) -> Check {
    let name = "sender";
    let address = patient.dispatcher.sender().address();
    if patient.is_real() && is_reserved(&domain_of(patient)) {
        let detail = format!("mail is sent from {address}, a domain nobody can own");
        return Check::bad(name, detail, "set CARILLON_SENDER__ADDRESS to an address of your own");
    }
    Check::good(name, format!("mail is from {address}"))
}

/// A mail whose way out leads nowhere may not be sent, and what was sent cannot be mended.
fn links(patient: Patient<'_>) -> Check {
    let name = "links in mails";
    let base = patient.links.base();
    if patient.is_real() && patient.links.lead_home_only() {
        let detail =
            format!("they begin with {base}: nobody who gets a mail can unsubscribe, and no click is heard of");
        return Check::bad(name, detail, LINKS_ADVICE);
    }
    Check::good(name, format!("they begin with {base}"))
}

fn domain_of(patient: Patient<'_>) -> String {
    let address = patient.dispatcher.sender().address();
    address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase()
}

fn is_reserved(domain: &str) -> bool {
    let reserved = ["example", "example.com", "example.org", "example.net", "invalid", "localhost", "test", "local"];
    reserved.iter().any(|name| domain == *name || domain.ends_with(&format!(".{name}")))
}

/// Only where real mail is sent from a domain that somebody can own.
async fn sender_domain(patient: Patient<'_>) -> Vec<Check> {
    let Some(smtp) = patient.smtp else { return Vec::new() };
    let domain = domain_of(patient);
    if is_reserved(&domain) {
        return Vec::new();
    }
    let settings = smtp.settings();
    let mail = mail::Mail { domain: &domain, dkim: settings.dkim.as_ref(), relay: &settings.host };
    mail::examine(&Dns::new(patient.resolver), &mail).await
}

async fn channels(patient: Patient<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    for (channel, transport) in patient.dispatcher.transports() {
        let name = "channel";
        let check = match tokio::time::timeout(CHANNEL_DEADLINE, transport.check()).await {
            Ok(Ok(said)) => Check::good(name, format!("{}: {said}", channel.as_str())),
            Ok(Err(error)) => Check::bad(
                name,
                format!("{}: {error}", channel.as_str()),
                "correct the provider's settings; messages wait until then",
            ),
            Err(_) => Check::bad(
                name,
                format!("{}: no answer in time", channel.as_str()),
                "look at the network and at the provider",
            ),
        };
        checks.push(check);
    }
    for stopped in patient.dispatcher.stopped() {
        checks.push(Check::bad(
            "channel stopped",
            format!("{}: {}; tried again at {}", stopped.channel.as_str(), stopped.cause, stopped.until),
            "correct the provider's settings; messages wait and no try is spent",
        ));
    }
    checks
}
