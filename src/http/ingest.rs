//! The track API's door: who is it, may they, what did they send, is it on disk, then 200.
//!
//! The key in a header is checked before the body is touched. 200 is answered only after the log has the events; a
//! repeat is answered like the first time. Whatever is our trouble is 429 or 503, so that clients come again.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::clock::Clock;
use crate::event::track_api::{Arrival, BATCH_BYTES_MAX, BatchText, Endpoint, ItemFault, parse_batch, parse_single};
use crate::event::{EVENT_BYTES_MAX, Event, Kind};
use crate::eventlog::{Receipt, Taken};
use crate::ids::Span;
use crate::telemetry;
use crate::telemetry::traces::TraceSpan;

use super::append::Append;
use super::auth::{HeaderKey, KeysUnreadable, ReadAnew, WriteKey, WriteKeys, header_key};
use super::body;
use super::config::Config;
use super::correlation::{CorrelationId, FreshIds, trace_of};
use super::door::{self, DoorCounts};
use super::problem::Problem;
use super::rate::Rates;

/// What the door works with; one for the whole service.
pub struct Ingest {
    pub(super) config: Config,
    pub(super) keys: WriteKeys,
    log: Arc<dyn Append>,
    clock: Clock,
    counts: DoorCounts,
    rates: Rates,
    pub(super) ids: Arc<FreshIds>,
    read_anew: Option<ReadAnew>,
}

impl Ingest {
    pub fn new(config: Config, keys: WriteKeys, log: Arc<dyn Append>, clock: Clock, counts: DoorCounts) -> Self {
        let rates = Rates::new(&config, clock.clone());
        Self { config, keys, log, clock, counts, rates, ids: Arc::default(), read_anew: None }
    }

    /// Other processes make keys, too: before one is called wrong, all are read anew. Clients throw away what was
    /// answered 401.
    #[must_use]
    pub fn shared(self, read_anew: ReadAnew) -> Self {
        Self { read_anew: Some(read_anew), ..self }
    }

    /// The key's owner, if it is one; wrong guesses are counted by address.
    pub(super) async fn known(&self, request: &HttpRequest, key: &str) -> Result<Arc<WriteKey>, Problem> {
        if let Some(found) = self.keys.find(key)? {
            return Ok(found);
        }
        let wrong = self.wrong(request, Problem::UnknownKey);
        // Whoever guesses too often has nothing read for it.
        if let (Some(read_anew), Problem::UnknownKey) = (&self.read_anew, &wrong) {
            read_anew().await.map_err(|_| KeysUnreadable)?;
            return self.keys.find(key)?.ok_or(wrong);
        }
        Err(wrong)
    }

    /// The key's owner, within the key's rate.
    async fn admitted(&self, request: &HttpRequest, key: &str) -> Result<Arc<WriteKey>, Problem> {
        let known = self.known(request, key).await?;
        self.rates.known(&known.hash).map_err(Problem::TooManyRequests)?;
        Ok(known)
    }

    /// A wrong key's answer: the given one, or "stop guessing".
    fn wrong(&self, request: &HttpRequest, answer: Problem) -> Problem {
        let forwarded = || request.connection_info().realip_remote_addr()?.parse().ok();
        let address = self.config.trust_forwarded.then(forwarded).flatten();
        let Some(address) = address.or_else(|| request.peer_addr().map(|peer| peer.ip())) else { return answer };
        match self.rates.stranger(address) {
            Ok(()) => answer,
            Err(wait) => Problem::TooManyWrongKeys(wait),
        }
    }

    /// The caller as far as the request's head says; `None` when the key is to be found in the body.
    async fn admitted_by_head(&self, request: &HttpRequest) -> Result<Option<Arc<WriteKey>>, Problem> {
        if let Some(key) = key_in_query(request) {
            return self.admitted(request, &key).await.map(Some);
        }
        match header_key(request.headers()) {
            HeaderKey::InBody => Ok(None),
            HeaderKey::Key(key) => self.admitted(request, &key).await.map(Some),
            HeaderKey::Unreadable => Err(self.wrong(request, Problem::UnreadableAuthorization)),
        }
    }

    async fn stored(&self, key: &WriteKey, events: Vec<Event>) -> Result<Vec<Taken>, Problem> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut span = TraceSpan::within("append", events.iter().find_map(|event| event.trace));
        span.note("carillon.events", || i64::try_from(events.len()).unwrap_or(i64::MAX));
        let appended = self.log.append(key.workspace, events);
        match tokio::time::timeout(duration(self.config.append_deadline), appended).await {
            Ok(taken) => Ok(taken?),
            Err(_) => {
                span.failed(|| "the log did not answer in time".to_owned());
                Err(Problem::StorageSlow)
            }
        }
    }
}

fn repeats(taken: &[Taken]) -> usize {
    taken.iter().filter(|one| **one == Ok(Receipt::Duplicate)).count()
}

fn duration(span: Span) -> Duration {
    Duration::from_millis(u64::try_from(span.millis()).unwrap_or(0))
}

/// `POST /v1/{call}`
pub(super) async fn call(request: HttpRequest, mut payload: Payload, ingest: web::Data<Ingest>) -> HttpResponse {
    let answer = match request.match_info().get("call").and_then(Endpoint::parse) {
        Some(endpoint) => taken(&ingest, &request, &mut payload, endpoint).await,
        None => Err(Problem::NotFound),
    };
    answer.unwrap_or_else(|problem| body::refused(problem, payload))
}

/// `POST /beacon/v1/batch?writeKey=…`: a browser that is leaving the page can set no header.
pub(super) async fn beacon(request: HttpRequest, mut payload: Payload, ingest: web::Data<Ingest>) -> HttpResponse {
    let answer = taken(&ingest, &request, &mut payload, Endpoint::Batch).await;
    answer.unwrap_or_else(|problem| body::refused(problem, payload))
}

async fn taken(
    ingest: &Ingest,
    request: &HttpRequest,
    payload: &mut Payload,
    endpoint: Endpoint,
) -> Result<HttpResponse, Problem> {
    let key = match ingest.admitted_by_head(request).await {
        Ok(key) => key,
        Err(problem) => {
            body::skip(request, payload).await;
            return Err(problem);
        }
    };
    let limit = if let Endpoint::Single(_) = endpoint { EVENT_BYTES_MAX } else { BATCH_BYTES_MAX };
    let body = body::read(request, payload, limit, duration(ingest.config.body_deadline)).await?;
    match endpoint {
        Endpoint::Single(kind) => single(ingest, request, kind, key, &body).await,
        Endpoint::Batch | Endpoint::Import => batch(ingest, request, endpoint, key, &body).await,
    }
}

/// `?writeKey=…`, which only the beacon's address has.
fn key_in_query(request: &HttpRequest) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Query {
        write_key: String,
    }
    let is_beacon = request.path().starts_with("/beacon/");
    let query = is_beacon.then(|| web::Query::<Query>::from_query(request.query_string()).ok()).flatten()?;
    Some(query.into_inner().write_key)
}

async fn single(
    ingest: &Ingest,
    request: &HttpRequest,
    kind: Kind,
    key: Option<Arc<WriteKey>>,
    body: &[u8],
) -> Result<HttpResponse, Problem> {
    let call = parse_single(body)?;
    let key = match key {
        Some(key) => key,
        None => ingest.admitted(request, &call.write_key().ok_or(Problem::MissingKey)?).await?,
    };
    let correlation_id = CorrelationId::of(request);
    let event = call.event(kind, &arrival((ingest, request), &key, &correlation_id, Endpoint::Single(kind)), || {
        ingest.ids.next()
    })?;
    let event = door::pass(&key.source, &ingest.counts, event);
    if event.is_none() {
        telemetry::events_dropped(1);
    }
    for taken in ingest.stored(&key, event.into_iter().collect()).await? {
        taken.map_err(Problem::NotStorable)?;
    }
    Ok(success())
}

async fn batch(
    ingest: &Ingest,
    request: &HttpRequest,
    endpoint: Endpoint,
    key: Option<Arc<WriteKey>>,
    body: &[u8],
) -> Result<HttpResponse, Problem> {
    let text = BatchText::of(body);
    let batch = parse_batch(&text)?;
    let key = match key {
        Some(key) => key,
        None => ingest.admitted(request, &batch.write_key().ok_or(Problem::MissingKey)?).await?,
    };
    let correlation_id = CorrelationId::of(request);
    let results = batch.events(&arrival((ingest, request), &key, &correlation_id, endpoint), || ingest.ids.next())?;
    let (mut events, mut rejected, mut dropped) = (Vec::with_capacity(results.len()), Vec::new(), 0_usize);
    // Where in the batch each event stood.
    let mut places = Vec::with_capacity(results.len());
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(event) => match door::pass(&key.source, &ingest.counts, event) {
                Some(event) => {
                    places.push(index);
                    events.push(event);
                }
                None => dropped += 1,
            },
            Err(fault) => rejected.push(Rejected::from(fault)),
        }
    }
    let taken = ingest.stored(&key, events).await?;
    let duplicates = repeats(&taken);
    let accepted = taken.iter().filter(|one| one.is_ok()).count() - duplicates;
    for (one, index) in taken.into_iter().zip(places) {
        if let Err(unstorable) = one {
            let (message_id, problem) = (unstorable.message_id.clone(), Problem::NotStorable(unstorable));
            let (code, message) = (problem.code().as_str(), problem.to_string());
            rejected.push(Rejected { index, message_id, code, field: None, message });
        }
    }
    if dropped > 0 {
        telemetry::events_dropped(dropped as u64);
    }
    if rejected.is_empty() {
        return Ok(success());
    }
    rejected.iter().for_each(|item| telemetry::event_refused(item.code));
    rejected.sort_by_key(|item| item.index);
    Ok(HttpResponse::Ok().json(Partial { success: true, accepted, duplicates, dropped, rejected }))
}

fn arrival<'a>(
    (ingest, request): (&Ingest, &HttpRequest),
    key: &'a WriteKey,
    correlation_id: &'a str,
    endpoint: Endpoint,
) -> Arrival<'a> {
    Arrival {
        workspace: key.workspace,
        source: &key.source.key,
        correlation_id,
        trace: trace_of(request),
        received_at: ingest.clock.now(),
        times: endpoint.times(),
    }
}

fn success() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"success":true}"#)
}

/// The answer to a batch of which some items were refused.
#[derive(Serialize)]
struct Partial {
    success: bool,
    accepted: usize,
    duplicates: usize,
    #[serde(skip_serializing_if = "is_zero")]
    dropped: usize,
    rejected: Vec<Rejected>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rejected {
    index: usize,
    message_id: Option<String>,
    code: &'static str,
    field: Option<&'static str>,
    message: String,
}

impl From<ItemFault> for Rejected {
    fn from(fault: ItemFault) -> Self {
        let ItemFault { index, message_id, code, field, message } = fault;
        Self { index, message_id, code, field, message }
    }
}
