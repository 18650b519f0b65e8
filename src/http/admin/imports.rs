//! Imports over HTTP: a file of people, or of what they did, is taken in beside the live doors as history that starts
//! nothing. How far each is, and which rows were refused, is asked of any process.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::operation::{Operation, read, write};
use super::paging::{Paged, cut};
use super::{
    Admin, Answer, BODY_BYTES_MAX, Controls, Problem, Refusal, body, json_answer, json_page, query, read_json, repeats,
};
use crate::event::Event;
use crate::http::openapi::{AnyJson, ImportFormat, ImportStateName};
use crate::http::scope::Scope;
use crate::ids::Timestamp;
use crate::intake::imports::{Asked, BYTES_MAX, NotAsked, Previewed, Received, Refused, UNFINISHED_MAX};
use crate::message::Channel;
use crate::money::Currency;
use crate::store::imports::{ImportOptions, Reject, StoredImport};

/// Between two pieces of a file.
const PIECE_DEADLINE: Duration = Duration::from_secs(30);
/// Written to the disk at once.
const WRITTEN_BYTES: usize = 256 * 1024;
/// Of an id that is repeated to the caller.
const ASKED_CHARS_MAX: usize = 80;
/// Rejected rows that a preview tells.
const REJECTS_PREVIEWED: usize = 1_000;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/imports", Scope::ImportsRead, list)
            .says("listImports", "Imports with how far each is, the newest first")
            .query::<Paged>()
            .answers::<Listed>(),
        write("/imports", Scope::ImportsWrite, begin)
            .says("beginImport", "Take in a file of people, or of what they did, as history that starts nothing")
            .query::<Wanted>()
            .takes_file()
            .answers::<ImportOut>()
            .accepts(),
        write("/imports/preview", Scope::ImportsWrite, preview)
            .says("previewImport", "What a file would become: its rows, the rejected ones, its sums; nothing is stored")
            .query::<Wanted>()
            .takes_file()
            .answers::<PreviewOut>(),
        read("/imports/{id}", Scope::ImportsRead, one)
            .says("getImport", "One import: whether it is done, how far it is, what became of its rows")
            .answers::<ImportOut>(),
        read("/imports/{id}/rejects", Scope::ImportsRead, rejects)
            .says("listImportRejects", "The rows of a file that were refused, with line, field and what was expected")
            .query::<Paged>()
            .answers::<RejectsOut>(),
        write("/imports/{id}/stop", Scope::ImportsWrite, stop)
            .says("stopImport", "Stop an import; what was stored until then stays")
            .takes::<Nothing>()
            .answers::<ImportOut>(),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// What the file holds.
    #[param(value_type = ImportFormat)]
    format: String,
    /// What the file is called. The same file again changes nothing, under whatever name.
    #[param(min_length = 1, max_length = 200)]
    name: String,
    /// How a csv is read: the mapping, as YAML or JSON.
    map: Option<String>,
    /// An answer every person of the file gave elsewhere, such as `email=granted`.
    consent: Option<String>,
    /// Of a suppression list whose rows name none: email where it is not said.
    #[param(value_type = Option<Channel>)]
    channel: Option<String>,
    /// Of a suppression list, where its columns do not show it: unsubscribed, complaint, bounced, manual or topic:KEY.
    kind: Option<String>,
    /// The source the events are stored under; `import` where none is given.
    #[param(min_length = 1, max_length = 64)]
    source: Option<String>,
}

/// Says nothing.
#[derive(Deserialize, ToSchema)]
#[schema(as = StopImport)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, ToSchema)]
#[schema(as = ImportPage)]
struct Listed {
    imports: Vec<ImportOut>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Import)]
struct ImportOut {
    id: String,
    name: String,
    #[schema(value_type = ImportFormat)]
    format: String,
    source: String,
    #[schema(value_type = ImportStateName)]
    state: &'static str,
    /// Of the file, as it was sent.
    bytes: u64,
    /// How many of them are read; then its events are stored.
    bytes_read: u64,
    /// Rows read: each is in events (of a suppression list: an address), left out, or rejected.
    rows: u64,
    rows_in_events: u64,
    /// By intention: nobody's, or passed over by the mapping.
    rows_left_out: u64,
    rows_rejected: u64,
    /// Rows left out or rejected, by the code of the reason.
    reasons: BTreeMap<String, u64>,
    /// What the rows make.
    events: u64,
    /// Seen so far.
    people: u64,
    /// Events about the people that `consent` asked for.
    added: u64,
    /// Events stored, those that `consent` asked for among them; of a suppression list, addresses put onto it.
    stored: u64,
    /// Known already: of this file, from before a restart too, or by their `messageId`.
    repeated: u64,
    /// Events of sound rows that the database itself does not take, by a rule of its own; `/rejects` lists them too.
    refused: u64,
    /// Rejected rows that `/rejects` lists.
    rejects_listed: u64,
    /// What the file was called when the same was imported before; none where that is no other name.
    known_as: Option<String>,
    /// Why it failed.
    failure: Option<String>,
    created_at: Timestamp,
    began_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ImportRejectPage)]
struct RejectsOut {
    rejects: Vec<RejectOut>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ImportReject)]
struct RejectOut {
    /// The line of the file in which the row begins, from 1; none where that was not at hand.
    line: Option<i64>,
    /// The row, from 1 after the header.
    row: i64,
    /// How many rows share this fate: the lines of one order stand or fall together.
    rows: i64,
    /// The column or field.
    field: Option<String>,
    /// Stable: for programs.
    code: String,
    /// What is wrong and what was expected; none once somebody was erased, for it may quote their row.
    message: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ImportPreview)]
struct PreviewOut {
    name: String,
    #[schema(value_type = ImportFormat)]
    format: String,
    /// Of the file, as it was sent.
    bytes: u64,
    /// Rows read: each is in events (of a suppression list: an address), left out, or rejected.
    rows: u64,
    rows_in_events: u64,
    /// By intention: nobody's, or passed over by the mapping.
    rows_left_out: u64,
    rows_rejected: u64,
    /// Rows left out or rejected, by the code of the reason.
    reasons: BTreeMap<String, u64>,
    /// What the rows make; whether some of them are known already is found when they are stored.
    events: u64,
    /// Whom they are of.
    people: u64,
    /// Events that `consent` asks for, one for each of them.
    added: u64,
    /// What the amounts of the rows come to.
    sums: Vec<ImportSum>,
    /// The first events as they would be stored, in the order of the file.
    first_events: Vec<ImportedEvent>,
    /// The first 1,000 rejected rows.
    rejects: Vec<RejectOut>,
}

#[derive(Serialize, ToSchema)]
struct ImportSum {
    /// What the rows have in common, such as `net`.
    sum: &'static str,
    #[schema(value_type = String)]
    currency: Currency,
    rows: u64,
    /// To the last digit.
    exact: String,
}

#[derive(Serialize, ToSchema)]
struct ImportedEvent {
    at: Timestamp,
    r#type: &'static str,
    name: String,
    user_id: Option<String>,
    anonymous_id: Option<String>,
    /// The call it is stored as.
    #[schema(value_type = AnyJson)]
    body: Option<Box<RawValue>>,
}

impl From<Event> for ImportedEvent {
    fn from(event: Event) -> Self {
        let body = RawValue::from_string(event.body.text().to_owned()).ok();
        let Event { at, kind, name, user_id, anonymous_id, .. } = event;
        Self { at, r#type: kind.as_str(), name, user_id, anonymous_id, body }
    }
}

impl From<Reject> for RejectOut {
    fn from(Reject { line, row, rows, field, code, message, .. }: Reject) -> Self {
        Self { line, row, rows, field, code, message }
    }
}

fn out(admin: &Admin, import: StoredImport) -> ImportOut {
    let state = if admin.imports.is_interrupted(&import) { "interrupted" } else { import.state.as_str() };
    let StoredImport { id, name, format, options, bytes, progress, failure, created_at, began_at, ended_at, .. } =
        import;
    let rows_without: u64 = progress.rows_without_event.values().sum();
    ImportOut {
        id,
        name,
        format,
        source: options.source,
        state,
        bytes,
        bytes_read: progress.bytes_read,
        rows: progress.rows,
        rows_in_events: progress.rows_in_events,
        rows_left_out: rows_without.saturating_sub(progress.rows_rejected),
        rows_rejected: progress.rows_rejected,
        reasons: progress.rows_without_event,
        events: progress.events,
        people: progress.people,
        added: progress.added,
        stored: progress.stored,
        repeated: progress.repeated,
        refused: progress.refused,
        rejects_listed: progress.rejects_listed,
        known_as: progress.known_as,
        failure,
        created_at,
        began_at,
        ended_at,
    }
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    const LIST: &str = "imports";
    let (limit, before) = query::<Paged>(&request)?.read::<(i64, String)>(LIST)?;
    let mut found = admin.db().imports(before, limit + 1).await?;
    let next = cut(&mut found, limit, LIST, |last| (last.created_at.millis(), last.id.clone()));
    let imports = found.into_iter().map(|import| out(&admin, import)).collect();
    Ok(json_page(&request, &Listed { imports, next: next.clone() }, next.as_deref()))
}

async fn found(admin: &Admin, id: &str) -> Result<StoredImport, Problem> {
    let found = admin.db().import(id).await?;
    Ok(found.ok_or_else(|| Refusal::UnknownImport { asked: id.chars().take(ASKED_CHARS_MAX).collect() })?)
}

async fn one(admin: Controls, id: web::Path<String>) -> Answer {
    let import = found(&admin, &id).await?;
    Ok(json_answer(&out(&admin, import)))
}

async fn rejects(admin: Controls, id: web::Path<String>, request: HttpRequest) -> Answer {
    let paged = query::<Paged>(&request)?;
    let import = found(&admin, &id).await?;
    let list = format!("rejects of import {}", import.id);
    let (limit, after) = paged.read::<i64>(&list)?;
    let mut found = admin.db().rejects(&import.id, after.unwrap_or(0), limit + 1).await?;
    let next = cut(&mut found, limit, &list, |last| last.n);
    let rejects = found.into_iter().map(RejectOut::from).collect();
    Ok(json_page(&request, &RejectsOut { rejects, next: next.clone() }, next.as_deref()))
}

async fn stop(admin: Controls, id: web::Path<String>, request: HttpRequest, payload: Payload) -> Answer {
    let Nothing {} = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(nothing) => nothing,
        Err(answer) => return Ok(answer),
    };
    let import = found(&admin, &id).await?;
    admin.imports.stop(&import.id).await?;
    let import = found(&admin, &id).await?;
    Ok(json_answer(&out(&admin, import)))
}

async fn begin(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let mut payload = payload;
    let arrived = match wanted(&request) {
        Ok(asked) => arrive(&admin, &request, &mut payload).await.map(|received| (asked, received)),
        Err(problem) => Err(problem),
    };
    let (asked, received) = match arrived {
        Ok(arrived) => arrived,
        Err(problem) => return Ok(body::refused(problem, payload)),
    };
    let digest = received.digest();
    let taking = admin.clone();
    repeats::once(admin, &request, digest.as_bytes(), async move {
        let import = taking.imports.submit(&asked, received).await?.map_err(|refused| match refused {
            Refused::Full => Refusal::TooManyImports { limit: UNFINISHED_MAX },
            refused => Refusal::UnreadableFile { cause: refused.to_string() },
        })?;
        let mut answer = json_answer(&out(&taking, import));
        *answer.status_mut() = StatusCode::ACCEPTED;
        Ok::<HttpResponse, Problem>(answer)
    })
    .await
}

async fn preview(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let mut payload = payload;
    let arrived = match wanted(&request) {
        Ok(asked) => receive(&admin, &request, &mut payload).await.map(|received| (asked, received)),
        Err(problem) => Err(problem),
    };
    let (asked, received) = match arrived {
        Ok(arrived) => arrived,
        Err(problem) => return Ok(body::refused(problem, payload)),
    };
    let bytes = received.bytes();
    let found = admin.imports.preview(&asked, received).await?;
    let Previewed { progress, rejects, events, sums } =
        found.map_err(|refused| Refusal::UnreadableFile { cause: refused.to_string() })?;
    let rows_without: u64 = progress.rows_without_event.values().sum();
    let told = |(sum, currency, rows, exact)| ImportSum { sum, currency, rows, exact };
    Ok(json_answer(&PreviewOut {
        name: asked.name,
        format: asked.holds.as_str().to_owned(),
        bytes,
        rows: progress.rows,
        rows_in_events: progress.rows_in_events,
        rows_left_out: rows_without.saturating_sub(progress.rows_rejected),
        rows_rejected: progress.rows_rejected,
        reasons: progress.rows_without_event,
        events: progress.events,
        people: progress.people,
        added: progress.added,
        sums: sums.into_iter().map(told).collect(),
        first_events: events.into_iter().map(ImportedEvent::from).collect(),
        rejects: rejects.into_iter().take(REJECTS_PREVIEWED).map(RejectOut::from).collect(),
    }))
}

fn wanted(request: &HttpRequest) -> Result<Asked, Problem> {
    let Wanted { format, name, map, consent, channel, kind, source } = query(request)?;
    let source = source.unwrap_or_else(|| "import".to_owned());
    let asked = Asked::read(name, &format, ImportOptions { source, map, consent, channel, kind });
    Ok(asked.map_err(|error| {
        let cause = error.to_string();
        let field = match error {
            NotAsked::Map(_) => return Refusal::Mapping { cause },
            NotAsked::MapMissing | NotAsked::MapNotNeeded(_) => "map",
            NotAsked::Name => "name",
            NotAsked::Format(_) => "format",
            NotAsked::Consent(_) => "consent",
            NotAsked::Source => "source",
            NotAsked::Channel => "channel",
            NotAsked::Kind => "kind",
            NotAsked::NotOfFormat { field, .. } => field,
        };
        Refusal::Parameter { field, cause }
    })?)
}

/// The file, in the data folder, where there is room for an import.
async fn arrive(admin: &Admin, request: &HttpRequest, payload: &mut Payload) -> Result<Received, Problem> {
    if admin.imports.is_full().await? {
        return Err(Refusal::TooManyImports { limit: UNFINISHED_MAX }.into());
    }
    receive(admin, request, payload).await
}

async fn receive(admin: &Admin, request: &HttpRequest, payload: &mut Payload) -> Result<Received, Problem> {
    let full = || Problem::from(Refusal::TooManyImports { limit: UNFINISHED_MAX });
    let mut received = admin.imports.receive().await?.ok_or_else(full)?;
    let mut pieces = body::Pieces::of(request, payload, BYTES_MAX, PIECE_DEADLINE)?;
    loop {
        let piece = pieces.next(WRITTEN_BYTES).await?;
        if piece.is_empty() {
            return Ok(received);
        }
        received = written(received, piece).await?;
    }
}

/// Files are written where waiting holds nobody up.
async fn written(mut received: Received, piece: Bytes) -> Result<Received, Problem> {
    let writing = web::block(move || received.write(&piece).map(|()| received)).await;
    Ok(writing.map_err(anyhow::Error::from)??)
}
