//! What is decided, as it is decided: a stream of server-sent events from the log, which a watcher who was away takes
//! up where they had come to.
//!
//! Every watcher has a task that reads ahead by a few pieces and no further. One whose connection takes nothing for a
//! while is let go: they come back with `Last-Event-ID` and miss nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use utoipa::IntoParams;

use super::events::FindingOut;
use super::gate::by_hash;
use super::messages::shown;
use super::operation::{Operation, read};
use super::{Admin, Answer, Controls, Problem, Refusal, query};
use crate::http::cursor;
use crate::http::scope::{Caller, Scope};
use crate::ids::{MessageId, Position, ProfileId, Timestamp};
use crate::store::entries::{Entry, Logged};
use crate::store::newest::Reached;

pub(super) const STREAMS_MAX: usize = 64;
/// Pieces that wait for a slow reader.
const AHEAD_MAX: usize = 8;
/// Entries of one piece.
const PIECE_ENTRIES: u32 = 50;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Looks without anything to say, after which a line says that the stream lives.
const QUIET_LOOKS: u32 = 60;
/// Looks between two counts, at least.
const LOOKS_PER_COUNT: u32 = 4;
/// How often a watcher's token is looked at again.
const ASKED_EVERY: Duration = Duration::from_secs(1);
const ID: &str = "live";

pub fn operations() -> Vec<Operation> {
    vec![
        read("/live", Scope::EventsRead, live)
            .says("watch", "Events as they are decided, messages as they end, and counts: server-sent events")
            .query::<Asked>()
            .answers_text("text/event-stream", "`event`, `message` and `counts`, each with an id to go on from")
            .may(&[429]),
    ]
}

/// The streams of one process.
pub struct Streams {
    free: Arc<Semaphore>,
    /// The last counts, and when they were made: they are the same for all.
    counts: tokio::sync::Mutex<Option<(Duration, Bytes)>>,
}

impl Streams {
    /// A place for one more, given back when it is dropped; none where all are taken.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(STREAMS_MAX)), counts: tokio::sync::Mutex::default() }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Go on behind this id, as the header `Last-Event-ID` says it.
    last_event_id: Option<String>,
}

async fn live(admin: Controls, caller: ReqData<Arc<Caller>>, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    let header = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
    let decided = admin.db().decided().await?;
    let from = match header.filter(|id| !id.is_empty()).or(asked.last_event_id) {
        Some(id) => reached(&id, &decided)?,
        None => decided,
    };
    let Some(place) = admin.streams.place() else {
        return Err(Refusal::TooManyStreams { limit: STREAMS_MAX }.into());
    };
    let (told, mut hears) = mpsc::channel(AHEAD_MAX);
    let asked_at = admin.log.clock().boot_time();
    let watcher = Watcher { admin, caller: caller.into_inner(), asked_at, from, told, _place: place };
    actix_web::rt::spawn(watcher.run());
    let pieces = futures::stream::poll_fn(move |context| hears.poll_recv(context));
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(futures::StreamExt::map(pieces, Ok::<Bytes, actix_web::Error>)))
}

fn reached(id: &str, decided: &Reached) -> Result<Reached, Problem> {
    let wrong = || {
        let cause = "`Last-Event-ID` is the id of an event of this stream".to_owned();
        Refusal::Parameter { field: "last_event_id", cause }
    };
    let from: Vec<i64> = cursor::read(ID, id).map_err(|_| wrong())?;
    if from.len() != decided.0.len() { Err(wrong().into()) } else { Ok(Reached(from)) }
}

struct Watcher {
    admin: Controls,
    caller: Arc<Caller>,
    /// When their token was looked at last.
    asked_at: Duration,
    from: Reached,
    told: mpsc::Sender<Bytes>,
    /// Given back when the watcher goes.
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    async fn run(mut self) {
        // How soon to come back.
        let mut piece = "retry: 2000\n\n".to_owned();
        let (mut quiet, mut since_count, mut is_counted) = (0, LOOKS_PER_COUNT, false);
        while !self.admin.is_stopping() && !self.told.is_closed() && self.may_still().await {
            let more = match self.next(&mut piece).await {
                Ok(more) => more,
                Err(error) => {
                    tracing::warn!(error = %error, "a live stream cannot be read");
                    return;
                }
            };
            since_count += 1;
            if (more || !is_counted) && since_count >= LOOKS_PER_COUNT {
                piece.push_str(&self.counts().await);
                (since_count, is_counted) = (0, true);
            } else if more {
                is_counted = false;
            }
            if piece.is_empty() && quiet >= QUIET_LOOKS {
                piece.push_str(": still here\n\n");
            }
            quiet = if piece.is_empty() { quiet + 1 } else { 0 };
            if !piece.is_empty() && !hand_over(&self.told, std::mem::take(&mut piece).into(), PATIENCE).await {
                return;
            }
            if !more {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Whether the token that opened the stream still may: one that is revoked, expires or is replaced ends it, and where
    /// nobody can tell it goes on.
    async fn may_still(&mut self) -> bool {
        let (Some(secret), now) = (&self.caller.secret, self.admin.log.clock().boot_time()) else { return true };
        if now.saturating_sub(self.asked_at) < ASKED_EVERY {
            return true;
        }
        self.asked_at = now;
        match by_hash(&self.admin, secret, self.caller.seal).await {
            Ok(caller) => caller.scopes.contains(&Scope::EventsRead),
            Err(Problem::Control(_)) => false,
            Err(_) => true,
        }
    }

    /// Adds what was decided since; whether there was any.
    async fn next(&mut self, piece: &mut String) -> Result<bool, Problem> {
        let (entries, reached) = self.admin.db().decided_after(&self.from, PIECE_ENTRIES).await?;
        let any = !entries.is_empty();
        write_entries(&self.admin, entries, piece).await?;
        self.from = reached;
        Ok(any)
    }

    /// How much of everything there is: made once for all streams, and seldom where it takes long.
    async fn counts(&self) -> String {
        let now = self.admin.log.clock().boot_time();
        let mut kept = self.admin.streams.counts.lock().await;
        let is_old = kept.as_ref().is_none_or(|(due, _)| *due <= now);
        if is_old {
            let Ok(accounts) = self.admin.db().accounts().await else { return String::new() };
            let took = self.admin.log.clock().boot_time().saturating_sub(now);
            let text = serde_json::to_string(&accounts).unwrap_or_default();
            *kept = Some((now + LOOK_EVERY.max(took * 20), text.into()));
        }
        let text = kept.as_ref().map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
        format!("event: counts\ndata: {text}\n\n")
    }
}

/// False where the reader has gone, or takes nothing for as long as we have patience.
async fn hand_over(told: &mpsc::Sender<Bytes>, piece: Bytes, patience: Duration) -> bool {
    told.send_timeout(piece, patience).await.is_ok()
}

/// An event as a watcher is told of it: without its body, which `GET /events/{position}` has.
#[derive(Serialize)]
struct Decided {
    position: Position,
    id: crate::ids::EventId,
    r#type: &'static str,
    name: String,
    user_id: Option<String>,
    profile: Option<ProfileId>,
    at: Timestamp,
    decided_as_of: Timestamp,
    findings: Vec<FindingOut>,
}

async fn write_entries(admin: &Admin, entries: Vec<(Reached, Entry)>, piece: &mut String) -> Result<(), Problem> {
    let positions: Vec<Position> = entries.iter().map(|(_, entry)| entry.position).collect();
    let mut found = admin.db().findings_at(&positions).await?;
    let mut ended = messages_of(admin, &entries).await?;
    for (reached, entry) in entries {
        let id = cursor::write(ID, &reached.0);
        match &entry.logged {
            Logged::Event(event) => {
                let findings = found.remove(&entry.position).map(|one| [(entry.position, one)].into());
                let decided = Decided {
                    position: entry.position,
                    id: event.id,
                    r#type: event.kind.as_str(),
                    name: event.name.clone(),
                    user_id: event.user_id.clone(),
                    profile: entry.profile,
                    at: event.at,
                    decided_as_of: entry.now,
                    findings: FindingOut::all(&findings.unwrap_or_default(), None),
                };
                write_one(piece, "event", &id, &decided);
            }
            Logged::MessageEnded { message, .. } => {
                if let Some(message) = ended.remove(message) {
                    write_one(piece, "message", &id, &message);
                }
            }
            Logged::Timer
            | Logged::DefinitionsApplied { .. }
            | Logged::Control { .. }
            | Logged::Administered { .. } => {}
        }
    }
    Ok(())
}

async fn messages_of(
    admin: &Admin,
    entries: &[(Reached, Entry)],
) -> Result<BTreeMap<MessageId, super::messages::MessageOut>, Problem> {
    let mut messages = Vec::new();
    for (_, entry) in entries {
        if let Logged::MessageEnded { message, .. } = &entry.logged {
            messages.extend(admin.db().message(*message).await?);
        }
    }
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    Ok(ids.into_iter().zip(shown(admin, messages).await?).collect())
}

fn write_one(piece: &mut String, name: &str, id: &str, data: &impl Serialize) {
    // JSON has no line breaks of its own.
    let data = serde_json::to_string(data).unwrap_or_default();
    piece.push_str(&format!("event: {name}\nid: {id}\ndata: {data}\n\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_reader_who_takes_nothing_is_let_go_and_one_who_does_is_not() {
        let (told, mut hears) = mpsc::channel(1);
        let soon = Duration::from_millis(20);
        assert!(hand_over(&told, Bytes::from_static(b"1"), soon).await, "there is room");
        assert!(!hand_over(&told, Bytes::from_static(b"2"), soon).await, "nobody reads");
        assert_eq!(hears.recv().await, Some(Bytes::from_static(b"1")));
        assert!(hand_over(&told, Bytes::from_static(b"3"), soon).await);
        drop(hears);
        assert!(!hand_over(&told, Bytes::from_static(b"4"), soon).await, "they have gone");
    }
}
