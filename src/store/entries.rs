//! Entries of the log as rows: one table holds every input, each stamped with the `now` at which it is decided.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sea_orm::{ConnectionTrait, QueryResult};
use serde::{Deserialize, Serialize};

use crate::event::{Body, Event, Kind, Origin};
use crate::ids::{EventId, MessageId, Position, ProfileId, Timestamp, TraceContext, WorkspaceId};
use crate::message::Status;
use crate::store::Workspace;
use crate::store::event_ids;
use crate::store::rows::{Error, Rows, Values, decode, encode, marks};
use crate::store::shards::{Layout, unprocessed};

/// What happened, as the log keeps it.
#[derive(Debug, Clone)]
pub enum Logged {
    /// Shared: the log keeps it in memory while it is decided on.
    Event(Arc<Event>),
    /// The profile's `wake_at` came.
    Timer,
    /// A message reached a last state.
    MessageEnded { message: MessageId, status: Status, tried: Tried },
    /// Definitions were applied; those with this position are in force from here on.
    DefinitionsApplied { documents: Vec<String> },
    /// A person paused or resumed sending: scope `all` or a campaign's key.
    Control { scope: String, paused: bool },
    /// A person did something to the whole that no decision looks at: `act` is its name.
    Administered { act: String, by: String, detail: String },
}

/// What it came to until its end: how often it was with a provider, the slot it holds, and for which address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_at: Option<Timestamp>,
    /// In its normal form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The provider knows no such mailbox: nothing more goes there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bounced: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub position: Position,
    pub workspace: WorkspaceId,
    pub profile: Option<ProfileId>,
    /// The instant at which it is decided.
    pub now: Timestamp,
    /// Another profile that this call says is the same person; it ends in `profile`.
    pub joins: Option<ProfileId>,
    pub logged: Logged,
}

/// The part of an event that is neither a column nor the client's body.
#[derive(Serialize, Deserialize)]
struct EventMeta<'e> {
    format: u8,
    message_id: Cow<'e, str>,
    version: u32,
    source: Cow<'e, str>,
    correlation_id: Cow<'e, str>,
    user_id: Option<Cow<'e, str>>,
    anonymous_id: Option<Cow<'e, str>>,
    previous_id: Option<Cow<'e, str>>,
    received_at: Timestamp,
    original_at: Option<Timestamp>,
    sent_at: Option<Timestamp>,
    origin: Cow<'e, Origin>,
    joins: Option<i64>,
}

/// First byte of packed event meta; a new shape gets a new number.
const EVENT_META_FORMAT: u8 = 2;

#[derive(Serialize, Deserialize)]
struct EndedBody {
    message: MessageId,
    state: Status,
    /// Absent in entries of releases that did not tell.
    #[serde(default)]
    tried: Tried,
}

#[derive(Serialize, Deserialize)]
struct ControlBody {
    scope: String,
    paused: bool,
}

#[derive(Serialize, Deserialize)]
struct ActBody {
    act: String,
    by: String,
    detail: String,
}

pub const COLUMNS: usize = 10;
pub const INSERT: &str =
    "INSERT INTO entries (position, workspace, profile, kind, name, event_id, at, now, meta, body)";
pub(super) const SELECT: &str =
    "SELECT position, workspace, profile, kind, name, event_id, at, now, meta, body FROM entries";

impl Logged {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Event(event) => event.kind.as_str(),
            Self::Timer => "timer",
            Self::MessageEnded { .. } => "message_ended",
            Self::DefinitionsApplied { .. } => "definitions",
            Self::Control { .. } => "control",
            Self::Administered { .. } => "administered",
        }
    }
}

impl Entry {
    /// The row, in the order of [`INSERT`].
    pub fn values(&self) -> Values {
        let (mut name, mut event_id, mut at, mut meta) = ("", None, self.now, Vec::new());
        let body = match &self.logged {
            Logged::Event(event) => {
                (name, event_id, at, meta) =
                    (&event.name, Some(event.id.as_bytes().to_vec()), event.at, pack_meta(event, self.joins));
                event.body.text().to_owned()
            }
            Logged::Timer => String::new(),
            Logged::MessageEnded { message, status, tried } => {
                encode(&EndedBody { message: *message, state: status.clone(), tried: tried.clone() })
            }
            Logged::DefinitionsApplied { documents } => encode(documents),
            Logged::Control { scope, paused } => encode(&ControlBody { scope: scope.clone(), paused: *paused }),
            Logged::Administered { act, by, detail } => {
                encode(&ActBody { act: act.clone(), by: by.clone(), detail: detail.clone() })
            }
        };
        vec![
            self.position.0.into(),
            self.workspace.0.into(),
            self.profile.map(|profile| profile.0).into(),
            self.logged.kind().into(),
            name.into(),
            event_id.into(),
            at.millis().into(),
            self.now.millis().into(),
            meta.into(),
            body.into(),
        ]
    }

    /// The same without anything personal: where it stands, whose it was by number, when, and of what class.
    #[must_use]
    pub fn blank(mut self) -> Self {
        self.logged = match self.logged {
            Logged::Event(event) => {
                let names = matches!(event.kind, Kind::Page | Kind::Screen);
                Logged::Event(Arc::new(Event {
                    name: if names { String::new() } else { event.name.clone() },
                    message_id: String::new(),
                    correlation_id: String::new(),
                    user_id: None,
                    anonymous_id: None,
                    previous_id: None,
                    body: Body::new("{}".to_owned()),
                    ..(*event).clone()
                }))
            }
            Logged::MessageEnded { message, status, tried } => {
                let tried = Tried { address: None, ..tried };
                Logged::MessageEnded { message, status: status.blank(self.now), tried }
            }
            other => other,
        };
        self
    }

    /// Name, meta and body, as they stand in the row.
    pub fn personal_values(&self) -> (sea_orm::Value, sea_orm::Value, sea_orm::Value) {
        let mut values = self.values().into_iter().skip(4);
        let name = values.next();
        let (meta, body) = (values.nth(3), values.next());
        (name.unwrap_or("".into()), meta.unwrap_or(Vec::<u8>::new().into()), body.unwrap_or("".into()))
    }

    pub fn read(row: &QueryResult) -> Result<Self, Error> {
        let kind: String = row.try_get_by_index(3)?;
        let body: String = row.try_get_by_index(9)?;
        let now = Timestamp::from_millis(row.try_get_by_index(7)?);
        let mut joins = None;
        let logged = match kind.as_str() {
            "timer" => Logged::Timer,
            "message_ended" => {
                let EndedBody { message, state, tried } = decode("log entry", &body)?;
                Logged::MessageEnded { message, status: state, tried }
            }
            "definitions" => Logged::DefinitionsApplied { documents: decode("log entry", &body)? },
            "control" => {
                let ControlBody { scope, paused } = decode("log entry", &body)?;
                Logged::Control { scope, paused }
            }
            "administered" => {
                let ActBody { act, by, detail } = decode("log entry", &body)?;
                Logged::Administered { act, by, detail }
            }
            _ => {
                let event;
                (event, joins) = read_event(row, &kind, body)?;
                Logged::Event(Arc::new(event))
            }
        };
        Ok(Self {
            position: Position(row.try_get_by_index(0)?),
            workspace: WorkspaceId(row.try_get_by_index(1)?),
            profile: row.try_get_by_index::<Option<i64>>(2)?.map(ProfileId),
            now,
            joins,
            logged,
        })
    }
}

/// The id of an event that must be new, as the log holds it.
pub struct LoggedId {
    pub id: EventId,
    /// Its range in the table of ids.
    pub range: i64,
    pub position: Position,
}

/// Of the entries behind a position.
pub async fn ids_after<C: ConnectionTrait>(conn: &C, after: Position) -> Result<Vec<LoggedId>, Error> {
    let sql = "SELECT position, event_id, now, meta FROM entries WHERE position > ? AND event_id IS NOT NULL";
    let rows = Rows(conn).many(sql, vec![after.0.into()], usize::MAX).await?;
    let mut ids = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, packed): (Vec<u8>, Vec<u8>) = (row.try_get_by_index(1)?, row.try_get_by_index(3)?);
        let received =
            || event_ids::range_of(Timestamp::from_millis(row.try_get_by_index(2).unwrap_or_default()).day());
        // A damaged row stops nobody: what is left of it is recognised.
        let range = match meta_of(&packed).as_ref().map(|meta| meta.origin.as_ref()) {
            Ok(origin) if origin.is_redriven() => continue,
            Ok(origin) if origin.is_of_a_file() => event_ids::FOR_EVER,
            _ => received(),
        };
        let Ok(id) = EventId::try_from(id.as_slice()) else { continue };
        ids.push(LoggedId { id, range, position: Position(row.try_get_by_index(0)?) });
    }
    Ok(ids)
}

fn pack_meta(event: &Event, joins: Option<ProfileId>) -> Vec<u8> {
    fn lent(text: &Option<String>) -> Option<Cow<'_, str>> {
        text.as_deref().map(Cow::Borrowed)
    }
    let meta = EventMeta {
        format: EVENT_META_FORMAT,
        message_id: Cow::Borrowed(&event.message_id),
        version: event.version,
        source: Cow::Borrowed(&event.source),
        correlation_id: Cow::Borrowed(&event.correlation_id),
        user_id: lent(&event.user_id),
        anonymous_id: lent(&event.anonymous_id),
        previous_id: lent(&event.previous_id),
        received_at: event.received_at,
        original_at: event.original_at,
        sent_at: event.sent_at,
        origin: Cow::Borrowed(&event.origin),
        joins: joins.map(|profile| profile.0),
    };
    // Plain strings and integers into memory: cannot fail.
    let mut packed = postcard::to_stdvec(&meta).unwrap_or_default();
    // Rare, and read by whoever knows of it.
    packed.extend(event.trace.iter().flat_map(|trace| trace.to_bytes()));
    packed
}

fn meta_of(packed: &[u8]) -> Result<EventMeta<'_>, Error> {
    postcard::from_bytes(packed).map_err(|error| Error::unreadable("log entry", error))
}

/// When an event was received, by its packed meta; none for other inputs.
pub fn received_at(packed: &[u8]) -> Option<Timestamp> {
    meta_of(packed).ok().map(|meta| meta.received_at)
}

fn read_event(row: &QueryResult, kind: &str, body: String) -> Result<(Event, Option<ProfileId>), Error> {
    let what = "log entry";
    let kind = Kind::parse(kind).ok_or_else(|| Error::unreadable(what, format!("unknown kind {kind}")))?;
    let packed: Vec<u8> = row.try_get_by_index(8)?;
    let (meta, rest): (EventMeta, _) =
        postcard::take_from_bytes(&packed).map_err(|error| Error::unreadable(what, error))?;
    let id: Vec<u8> = row.try_get_by_index(5)?;
    let event = Event {
        id: EventId::try_from(id.as_slice()).map_err(|error| Error::unreadable(what, error))?,
        kind,
        name: row.try_get_by_index(4)?,
        message_id: meta.message_id.into_owned(),
        version: meta.version,
        source: meta.source.into_owned(),
        correlation_id: meta.correlation_id.into_owned(),
        trace: TraceContext::from_bytes(rest),
        user_id: meta.user_id.map(Cow::into_owned),
        anonymous_id: meta.anonymous_id.map(Cow::into_owned),
        previous_id: meta.previous_id.map(Cow::into_owned),
        at: Timestamp::from_millis(row.try_get_by_index(6)?),
        received_at: meta.received_at,
        original_at: meta.original_at,
        sent_at: meta.sent_at,
        origin: meta.origin.into_owned(),
        body: Body::new(body),
    };
    Ok((event, meta.joins.map(ProfileId)))
}

/// An entry, or a row that cannot be read (it is parked, the log goes on).
pub type ReadEntry = Result<Entry, Damaged>;

/// Where a row stands that cannot be read, and why.
#[derive(Debug)]
pub struct Damaged {
    pub position: Position,
    pub workspace: WorkspaceId,
    pub profile: Option<ProfileId>,
    pub error: Error,
}

/// Entries of the shard that follow `after`, which is in it, in log order, whatever their workspace.
pub async fn read_after<C: ConnectionTrait>(conn: &C, after: Position, limit: usize) -> Result<Vec<ReadEntry>, Error> {
    let layout = Layout::of(conn.get_database_backend());
    let shard = layout.shard_at(after).number();
    let (place, order) = match layout.is_shared() {
        true => (format!("position % 16 = {shard} AND "), "position % 16, position"),
        false => (String::new(), "position"),
    };
    let sql = format!("{SELECT} WHERE {place}position > ? ORDER BY {order} LIMIT ?");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = Rows(conn).all(&sql, vec![after.0.into(), limit.into()]).await?;
    rows.iter()
        .map(|row| {
            let position = Position(row.try_get_by_index(0)?);
            let workspace = WorkspaceId(row.try_get_by_index(1).unwrap_or_default());
            let profile = row.try_get_by_index::<Option<i64>>(2).ok().flatten().map(ProfileId);
            Ok(Entry::read(row).map_err(|error| Damaged { position, workspace, profile, error }))
        })
        .collect()
}

/// Where the newest event stands, and the newest instant among the last ones: shards of a log end at different ones.
pub async fn newest_event<C: ConnectionTrait>(conn: &C) -> Result<Option<(Position, Timestamp)>, Error> {
    let sql = "SELECT max(position), max(now) FROM
               (SELECT position, now FROM entries WHERE event_id IS NOT NULL ORDER BY position DESC LIMIT 1000) AS last";
    let Some(row) = Rows(conn).one(sql, vec![]).await? else { return Ok(None) };
    let (position, now) = (row.try_get_by_index::<Option<i64>>(0)?, row.try_get_by_index::<Option<i64>>(1)?);
    Ok(position.zip(now).map(|(position, now)| (Position(position), Timestamp::from_millis(now))))
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// A page of what people did, decided at `since` or later; what decisions made happen is left out. The position is
    /// that of the last row, and none where there are no more; rows that cannot be read are passed over.
    pub async fn acts_since(
        &self,
        since: Timestamp,
        after: Position,
        limit: u32,
    ) -> Result<(Vec<Entry>, Option<Position>), Error> {
        let sql = format!(
            "{SELECT} WHERE position > ? AND workspace = ? AND event_id IS NOT NULL AND now >= ?
             ORDER BY position LIMIT ?"
        );
        let values = vec![after.0.into(), self.id.0.into(), since.millis().into(), limit.into()];
        let rows = Rows(self.conn).all(&sql, values).await?;
        let last = rows.last().map(|row| row.try_get_by_index(0).map(Position)).transpose()?;
        let decided = |entry: &Entry| matches!(&entry.logged, Logged::Event(event) if matches!(event.origin, Origin::Decided { .. }));
        let entries = rows.iter().filter_map(|row| Entry::read(row).ok()).filter(|entry| !decided(entry));
        Ok((entries.collect(), last))
    }

    /// A page of events after `after`, other inputs left out; those Carillon made itself (consent changed by a link)
    /// only where `own` asks. Shard by shard: nothing that is in the log when the first page is read is skipped.
    pub async fn events_page(&self, after: Position, limit: u32, own: bool) -> Result<Vec<Entry>, Error> {
        let layout = Layout::of(self.conn.get_database_backend());
        let (place, order) = match (layout.is_shared(), layout.shard_at(after).number()) {
            (false, _) => ("position > ?".to_owned(), "position"),
            (true, 15) => ("position % 16 = 15 AND position > ?".to_owned(), "position"),
            (true, shard) => {
                let place = format!("(position % 16 = {shard} AND position > ? OR position % 16 > {shard})");
                (place, "position % 16, position")
            }
        };
        let sql = format!(
            "{SELECT} WHERE {place} AND workspace = ? AND event_id IS NOT NULL AND (? OR kind <> 'own')
             ORDER BY {order} LIMIT ?"
        );
        let values = vec![after.0.into(), self.id.0.into(), own.into(), limit.into()];
        Rows(self.conn).all(&sql, values).await?.iter().map(Entry::read).collect()
    }

    /// The requests that events at these positions came with.
    pub async fn correlations_at(&self, positions: &[Position]) -> Result<BTreeMap<Position, String>, Error> {
        let mut found = BTreeMap::new();
        for chunk in positions.chunks(500) {
            let sql = format!(
                "SELECT position, meta FROM entries WHERE workspace = ? AND event_id IS NOT NULL AND position IN ({})",
                marks(chunk.len())
            );
            let mut values: Values = vec![self.id.0.into()];
            values.extend(chunk.iter().map(|position| position.0.into()));
            for row in Rows(self.conn).all(&sql, values).await? {
                let packed: Vec<u8> = row.try_get_by_index(1)?;
                let meta = meta_of(&packed)?;
                found.insert(Position(row.try_get_by_index(0)?), meta.correlation_id.into_owned());
            }
        }
        Ok(found)
    }

    /// The events that came with a request, among those of the newest `looked_at` entries, oldest first: the log has no
    /// index of them.
    pub async fn entries_of_request(&self, correlation: &str, looked_at: u32) -> Result<Vec<Entry>, Error> {
        const PAGE: u32 = 10_000;
        let (mut before, mut left, mut found) = (i64::MAX, looked_at, Vec::new());
        while left > 0 {
            let sql = "SELECT position, meta FROM entries WHERE position < ? AND workspace = ?
                       AND event_id IS NOT NULL ORDER BY position DESC LIMIT ?";
            let page = left.min(PAGE);
            let values = vec![before.into(), self.id.0.into(), page.into()];
            let rows = Rows(self.conn).all(sql, values).await?;
            for row in &rows {
                before = row.try_get_by_index(0)?;
                let packed: Vec<u8> = row.try_get_by_index(1)?;
                if meta_of(&packed).is_ok_and(|meta| meta.correlation_id == correlation) {
                    found.push(Position(before));
                }
            }
            if rows.len() < page as usize {
                break;
            }
            left -= page;
        }
        Ok(self.entries_at(&found).await?.into_values().collect())
    }

    /// Whether something is logged about this person that is not processed yet.
    pub async fn is_behind(&self, profile: ProfileId) -> Result<bool, Error> {
        let unprocessed = unprocessed(self.conn.get_database_backend(), "entries");
        let sql = format!("SELECT 1 FROM {unprocessed} AND profile = ? LIMIT 1");
        Ok(Rows(self.conn).one(&sql, vec![profile.0.into()]).await?.is_some())
    }

    /// Entries at these positions; missing ones are missing in the answer.
    pub async fn entries_at(&self, positions: &[Position]) -> Result<BTreeMap<Position, Entry>, Error> {
        let mut found = BTreeMap::new();
        for chunk in positions.chunks(512) {
            let (is_one_of_these, keys) =
                Rows(self.conn).among("position", chunk.iter().map(|position| position.0.into()).collect());
            let sql = format!("{SELECT} WHERE workspace = ? AND {is_one_of_these}");
            let values = std::iter::once(self.id.0.into()).chain(keys).collect();
            for row in Rows(self.conn).many(&sql, values, chunk.len()).await? {
                let entry = Entry::read(&row).map_err(|error| Error::unreadable("log entry", error))?;
                found.insert(entry.position, entry);
            }
        }
        Ok(found)
    }

    /// The entry that stored this event. On SQLite, where the log has no index of ids, those are found whose id is
    /// remembered or on which something was decided; another stands in its person's history.
    pub async fn entry_of_event(&self, id: EventId) -> Result<Option<Entry>, Error> {
        if let Some(position) = event_ids::position_of(self.conn, id).await? {
            return Ok(self.entries_at(&[position]).await?.remove(&position));
        }
        if !Layout::of(self.conn.get_database_backend()).is_shared() {
            return Ok(None);
        }
        let sql = format!("{SELECT} WHERE workspace = ? AND event_id = ? LIMIT 1");
        let values = vec![self.id.0.into(), id.as_bytes().to_vec().into()];
        Rows(self.conn).one(&sql, values).await?.as_ref().map(Entry::read).transpose()
    }
}
