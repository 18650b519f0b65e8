//! The controls: what happened and why, what is in force, and the switches a person needs. Every route under `/api/v1`
//! but the sandbox's inbox and the documentation asks for a token with the scope of what it does: one that was made for
//! it, or the one that `serve` leaves in its data folder. Health does not, nor do metrics on this
//! machine.

mod backtest;
mod backups;
mod caps;
mod catalog;
mod checks;
mod control;
mod definitions;
mod events;
mod explain;
pub mod gate;
pub mod health;
pub mod keys;
mod imports;
mod link_check;
mod live;
mod messages;
pub mod operation;
mod paging;
pub(super) use paging::rows_asked;
mod parked;
mod people;
mod permission;
mod privacy;
mod repeats;
mod restore;
mod segments;
mod statistics;
pub mod tokens;
mod traits;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, HeaderValue, LINK};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Route};
use futures::future::BoxFuture;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use crate::caps::Unreachable;
use crate::event::json;
use crate::eventlog::EventLog;
use crate::ids::{Span, WorkspaceId};
use crate::intake::imports::Imports;
use crate::message::{Message, Reason, Status};
use crate::render::Rendered;
use crate::store::{Store, Workspace};
use crate::worker::backup::kept::Backups;
use crate::worker::dispatcher::{NotSent, Stopped, TestSend, TestSent};
use crate::worker::doctor::Check;
use crate::worker::gauges::Gauges;
use crate::worker::link_check::{LinkCheck, LinkReport};
use crate::worker::live::Definitions;
use crate::worker::privacy::Privacy;

use super::body;
use super::correlation;
use super::problem::{Problem, Refusal};
pub use live::Streams;
use operation::{Operation, Rules};

/// Rows of one page, and of the list of events.
const ROWS_MAX: u32 = 200;
const ROWS_DEFAULT: u32 = 50;
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// A thing done elsewhere, called from here.
pub type Doing<A, T> = Arc<dyn Fn(A) -> BoxFuture<'static, anyhow::Result<T>> + Send + Sync>;

/// What the controls reach.
pub struct Admin {
    pub workspace: WorkspaceId,
    pub store: Store,
    pub log: EventLog,
    pub definitions: Arc<Definitions>,
    /// The zone of people whose own is unknown.
    pub zone: TimeZone,
    /// Hash of the token; the token itself is kept nowhere.
    pub token: blake3::Hash,
    /// Moves the clock and runs the loops; none where nobody may.
    pub forward: Option<Doing<Span, usize>>,
    /// Reads the write keys again.
    pub refresh_keys: Doing<(), ()>,
    /// Sends one message to see a template arrive.
    pub send_test: Doing<TestSend, Result<TestSent, NotSent>>,
    /// Makes the message of a template and a sample, which goes nowhere.
    pub preview: Doing<TestSend, Result<Rendered, NotSent>>,
    pub doctor: Doing<(), Vec<Check>>,
    /// Asks whether anybody answers behind the links of templates.
    pub check_links: Doing<LinkCheck, LinkReport>,
    /// Channels whose provider cannot be used at present, as far as this process knows.
    pub stopped: Arc<dyn Fn() -> Vec<Stopped> + Send + Sync>,
    /// What the cap store says of itself, or why it cannot be asked.
    pub check_caps: Doing<(), Result<String, Unreachable>>,
    /// Who writes, as templates may say it.
    pub house: crate::render::Workspace,
    /// The settings in force, without their secrets.
    pub settings: serde_json::Value,
    /// Of live streams that are open.
    pub streams: Arc<Streams>,
    pub privacy: Privacy,
    pub imports: Imports,
    pub backups: Backups,
    pub scrape: Scrape,
    pub stopping: Arc<AtomicBool>,
}

/// Who may read the metrics beside whoever is on this machine, and what is read for them.
pub struct Scrape {
    pub gauges: Arc<Gauges>,
    /// Hash of the token of a Prometheus elsewhere.
    pub token: Option<blake3::Hash>,
}

impl Admin {
    fn db(&self) -> Workspace<'_, sea_orm::DatabaseConnection> {
        self.store.workspace(self.workspace)
    }

    /// Why a message waits, where its own state does not say it.
    pub fn holds(&self, message: &Message) -> Option<Reason> {
        let Status::Queued { due_at } = &message.status else { return None };
        let stopped = (self.stopped)().into_iter().find(|it| it.channel == message.channel)?;
        // One that was put back when the transport stopped is due when it is tried again.
        let waits = *due_at <= self.log.clock().now().max(stopped.until);
        waits.then_some(Reason::TransportStopped { cause: stopped.cause })
    }

    pub fn hash_of(token: &str) -> blake3::Hash {
        blake3::hash(token.as_bytes())
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

type Controls = web::Data<Admin>;
type Answer = Result<HttpResponse, Problem>;

/// Adds `/api/v1`, `/healthz`, `/readyz` and `/metrics`. What else lives under `/api/v1` must be added before.
pub fn configure(admin: Controls) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        let operations = operations();
        let scope = web::scope("/api/v1")
            .app_data(admin.clone())
            .app_data(web::Data::new(Rules::of(&operations)))
            .wrap(from_fn(gate::admitted))
            .wrap(from_fn(correlation::correlate))
            .configure(|app| operation::serve(app, operations))
            .default_service(web::to(super::not_found));
        app.configure(super::openapi::configure).configure(health::routes(&admin)).service(scope);
    }
}

/// Everything that can be asked.
pub fn operations() -> Vec<Operation> {
    [
        events::operations(),
        parked::operations(),
        messages::operations(),
        explain::operations(),
        people::operations(),
        permission::operations(),
        caps::operations(),
        definitions::operations(),
        backtest::operations(),
        catalog::operations(),
        statistics::operations(),
        live::operations(),
        segments::operations(),
        traits::operations(),
        keys::operations(),
        tokens::operations(),
        control::operations(),
        restore::operations(),
        privacy::operations(),
        imports::operations(),
        backups::operations(),
        checks::operations(),
        link_check::operations(),
        super::inbox::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A resource with its methods; every other method is told which.
fn resource(path: &str, allow: &'static str, routes: impl IntoIterator<Item = Route>) -> Resource {
    let other = move |payload: Payload| async move {
        body::refused(Problem::MethodNotAllowed { allow: allow.into() }, payload)
    };
    routes.into_iter().fold(web::resource(path), Resource::route).default_service(web::to(other))
}

fn get<F, Args>(path: &str, answer: F) -> Resource
where
    F: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    resource(path, "GET, HEAD", [web::get().to(answer.clone()), web::head().to(answer)])
}

/// The query, of which every part must be known.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let read = web::Query::<T>::from_query(request.query_string());
    Ok(read.map_err(|error| Refusal::Query { cause: error.to_string() })?.into_inner())
}

/// The rows asked for, refused where out of range.
pub(super) fn rows(asked: Option<u32>, default: u32, most: u32) -> Result<u32, Problem> {
    match asked.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(Refusal::Parameter { field: "limit", cause: format!("`limit` is 1 to {most}") }.into()),
    }
}

/// A JSON body, of which every field must be known; an empty one is `{}`. The error is the finished answer.
async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<T, HttpResponse> {
    let mut payload = payload;
    let bytes = match body::read(request, &mut payload, limit, BODY_DEADLINE).await {
        Ok(bytes) => bytes,
        Err(problem) => return Err(body::refused(problem, payload)),
    };
    let text = if bytes.is_empty() { Ok("{}") } else { json::check(&bytes) };
    let read = text.map_err(|fault| Problem::from(Refusal::Json(fault))).and_then(|text| {
        serde_json::from_str(text).map_err(|error| Problem::from(Refusal::Body { cause: error.to_string() }))
    });
    read.map_err(|problem| body::refused(problem, payload))
}

/// A page of a list, with the way to the next one where there is one.
pub(super) fn json_page(request: &HttpRequest, body: &impl Serialize, next: Option<&str>) -> HttpResponse {
    let mut answer = json_answer(body);
    if let Some(link) = next.and_then(|next| link_to(request, next)) {
        answer.headers_mut().insert(LINK, link);
    }
    answer
}

/// RFC 8288: the same question with another cursor.
fn link_to(request: &HttpRequest, next: &str) -> Option<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(form_urlencoded::parse(request.query_string().as_bytes()).filter(|(name, _)| name != "cursor"));
    let query = query.append_pair("cursor", next).finish();
    HeaderValue::from_str(&format!("<{}?{query}>; rel=\"next\"", request.path())).ok()
}

fn json_answer(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(body)
}
