//! The log's shards: how people, positions and advisory locks are divided among them.
//!
//! A profile belongs to one of 1,024 partitions, a partition to a shard. A position is `sequence * shards + shard`; the
//! next one of a shard is taken and committed under its lock, so a shard has no holes and nothing in it commits late.
//! PostgreSQL has 16 shards. SQLite has one writer, which is all a shard is for: there is one, and positions are 1, 2, 3.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

use crate::ids::{Position, ProfileId, Timestamp};
use crate::store::rows::{Error, Rows, Values};

/// Shards of the log on PostgreSQL.
const SHARDS: i64 = 16;
const PARTITIONS: u64 = 1_024;

/// One shard of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// SQLite's only one.
    pub const FIRST: Self = Self(0);

    /// # Errors
    /// There is no shard of this number.
    pub fn read(number: i64) -> Result<Self, Error> {
        let number = u8::try_from(number).ok().filter(|number| i64::from(*number) < SHARDS);
        number.map(Self).ok_or_else(|| Error::unreadable("shard", "its number is out of range"))
    }

    pub fn number(self) -> i64 {
        i64::from(self.0)
    }

    /// Where its cursor stands before its first entry.
    pub fn start(self) -> Position {
        Position(self.number())
    }
}

/// How a database divides its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    count: i64,
}

impl Layout {
    /// One process, one shard.
    pub const ALONE: Self = Self { count: 1 };

    pub fn of(backend: DbBackend) -> Self {
        Self { count: if backend == DbBackend::Postgres { SHARDS } else { 1 } }
    }

    pub fn is_shared(self) -> bool {
        self.count > 1
    }

    pub fn all(self) -> ShardSet {
        (0..self.count).filter_map(|number| Shard::read(number).ok()).collect()
    }

    /// The shard of everything about a person.
    pub fn shard_of(self, profile: ProfileId) -> Shard {
        let partition = spread(profile.0.cast_unsigned()) % PARTITIONS;
        let shard = partition % self.count.cast_unsigned();
        Shard(u8::try_from(shard).unwrap_or(0))
    }

    pub fn shard_at(self, position: Position) -> Shard {
        Shard(u8::try_from(position.0.rem_euclid(self.count)).unwrap_or(0))
    }

    /// The position that follows in the same shard.
    pub fn next(self, position: Position) -> Position {
        Position(position.0 + self.count)
    }

    /// Entries from one position of a shard to another.
    pub fn between(self, from: Position, to: Position) -> i64 {
        (to.0 - from.0) / self.count
    }
}

/// Neighbouring numbers go to different partitions (the last step of splitmix64).
fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Some of the shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardSet(u16);

impl ShardSet {
    pub const NONE: Self = Self(0);
    pub const EVERY: Self = Self(u16::MAX);

    pub fn insert(&mut self, shard: Shard) {
        self.0 |= 1 << shard.0;
    }

    pub fn remove(&mut self, shard: Shard) {
        self.0 &= !(1 << shard.0);
    }

    pub fn contains(self, shard: Shard) -> bool {
        self.0 & (1 << shard.0) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Shard> {
        (0..16).map(Shard).filter(move |shard| self.contains(*shard))
    }

    pub fn bits(self) -> i64 {
        i64::from(self.0)
    }

    pub fn of_bits(bits: i64) -> Self {
        Self(u16::try_from(bits).unwrap_or(u16::MAX))
    }

    /// ` AND shard IN (…)`, for tables with a column `shard`; nothing where these are all.
    pub fn condition(self, backend: DbBackend) -> String {
        if Layout::of(backend).all().without(self).is_empty() {
            return String::new();
        }
        let numbers: Vec<String> = self.iter().map(|shard| shard.number().to_string()).collect();
        // There is no shard -1.
        format!(" AND shard IN ({})", if numbers.is_empty() { "-1".to_owned() } else { numbers.join(", ") })
    }
}

impl FromIterator<Shard> for ShardSet {
    fn from_iter<I: IntoIterator<Item = Shard>>(shards: I) -> Self {
        let mut set = Self::NONE;
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

/// Where each shard ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads(BTreeMap<Shard, Position>);

impl Heads {
    pub fn of(&self, shard: Shard) -> Position {
        self.0.get(&shard).copied().unwrap_or(shard.start())
    }

    pub fn set(&mut self, shard: Shard, position: Position) {
        self.0.insert(shard, position);
    }

    /// Whether these cursors have come as far, each in its shard.
    pub fn are_reached_by(&self, cursors: &Self) -> bool {
        self.0.iter().all(|(shard, head)| cursors.of(*shard) >= *head)
    }

    /// `WHERE` this: positions of the column that come after these, each in its shard.
    pub fn before(&self, backend: DbBackend, column: &str) -> String {
        let layout = Layout::of(backend);
        if !layout.is_shared() {
            return format!("{column} > {}", self.of(Shard::FIRST).0);
        }
        // In the words of the index.
        let after = |shard: Shard| format!("{column} % 16 = {} AND {column} > {}", shard.number(), self.of(shard).0);
        format!("({})", layout.all().iter().map(after).collect::<Vec<_>>().join(" OR "))
    }

    /// The same with the positions as values: asked again of others, it is the same statement.
    pub fn passed(&self, backend: DbBackend, column: &str) -> (String, Values) {
        let layout = Layout::of(backend);
        if !layout.is_shared() {
            return (format!("{column} > ?"), vec![self.of(Shard::FIRST).0.into()]);
        }
        let after = |shard: Shard| format!("{column} % 16 = {} AND {column} > ?", shard.number());
        let shards = layout.all();
        let text = shards.iter().map(after).collect::<Vec<_>>().join(" OR ");
        (format!("({text})"), shards.iter().map(|shard| self.of(shard).0.into()).collect())
    }

    /// The highest position of all.
    pub fn last(&self) -> Position {
        self.0.values().copied().max().unwrap_or_default()
    }
}

/// Where these shards end, and the latest instant at which one of their last entries is decided. To be trusted for
/// appending, their locks must be held by an earlier statement.
pub async fn heads<C: ConnectionTrait>(conn: &C, shards: ShardSet) -> Result<(Heads, Timestamp), Error> {
    let rows = if Layout::of(conn.get_database_backend()).is_shared() {
        let sql = "SELECT shard, last.position, last.now FROM generate_series(CAST(0 AS BIGINT), 15) AS shard
                   LEFT JOIN LATERAL (SELECT position, now FROM entries WHERE position % 16 = shard
                     ORDER BY position % 16 DESC, position DESC LIMIT 1) AS last ON true
                   WHERE (CAST(? AS BIGINT) >> CAST(shard AS INTEGER)) & 1 = 1";
        Rows(conn).all(sql, vec![shards.bits().into()]).await?
    } else {
        Rows(conn).all("SELECT 0, position, now FROM entries ORDER BY position DESC LIMIT 1", vec![]).await?
    };
    read_heads(&rows)
}

/// Of rows with the shard, its last position and the instant of that.
pub(super) fn read_heads(rows: &[QueryResult]) -> Result<(Heads, Timestamp), Error> {
    let (mut heads, mut last_now) = (Heads::default(), Timestamp::default());
    for row in rows {
        let shard = Shard::read(row.try_get_by_index(0)?)?;
        let position: Option<i64> = row.try_get_by_index(1)?;
        let now: Option<i64> = row.try_get_by_index(2)?;
        heads.set(shard, position.map_or(shard.start(), Position));
        last_now = last_now.max(Timestamp::from_millis(now.unwrap_or(0)));
    }
    Ok((heads, last_now))
}

/// The last positions whose effects are stored.
pub async fn cursors<C: ConnectionTrait>(conn: &C) -> Result<Heads, Error> {
    let rows = Rows(conn).all("SELECT shard, position FROM cursors WHERE name LIKE 'processed%'", vec![]).await?;
    let mut cursors = Heads::default();
    for row in &rows {
        cursors.set(Shard::read(row.try_get_by_index(0)?)?, Position(row.try_get_by_index(1)?));
    }
    Ok(cursors)
}

/// Moves a shard's cursor, in the transaction of the effects; false if another moved it since `from`.
pub async fn advance_cursor<C: ConnectionTrait>(
    conn: &C,
    shard: Shard,
    from: Position,
    to: Position,
) -> Result<bool, Error> {
    let name = match Layout::of(conn.get_database_backend()).is_shared() {
        true => format!("processed/{}", shard.number()),
        false => "processed".to_owned(),
    };
    let sql = "INSERT INTO cursors (name, shard, position) VALUES (?, ?, ?)
               ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE cursors.position = ?";
    let values = vec![name.into(), shard.number().into(), to.0.into(), from.0.into()];
    Ok(Rows(conn).run(sql, values).await? == 1)
}

/// How many entries of these shards wait to be processed.
pub async fn backlog<C: ConnectionTrait>(conn: &C, shards: ShardSet) -> Result<i64, Error> {
    let layout = Layout::of(conn.get_database_backend());
    let ((heads, _), cursors) = (heads(conn, shards.and(layout.all())).await?, cursors(conn).await?);
    Ok(heads.0.iter().map(|(shard, head)| layout.between(cursors.of(*shard), *head).max(0)).sum())
}

/// `FROM` these rows of a table that has positions of the log: those that are not processed yet; conditions are added
/// with AND.
pub fn unprocessed(backend: DbBackend, table: &str) -> String {
    match backend {
        DbBackend::Postgres => format!(
            // Not to be flattened: each shard is a walk along the index, whatever the planner knows of the table.
            "cursors CROSS JOIN LATERAL (SELECT * FROM {table} WHERE {table}.position % 16 = cursors.shard
                AND {table}.position > cursors.position OFFSET 0) AS {table} WHERE true"
        ),
        _ => format!(
            "{table} WHERE position > (SELECT coalesce(max(position), 0) FROM cursors WHERE name = 'processed')"
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn people_are_spread_evenly_over_the_shards() {
        let layout = Layout::of(DbBackend::Postgres);
        let mut counts = [0_i64; 16];
        for id in 0..160_000 {
            counts[usize::try_from(layout.shard_of(ProfileId(id)).number()).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_position_names_its_shard_and_the_next_is_in_it_too() {
        let layout = Layout::of(DbBackend::Postgres);
        for shard in layout.all().iter() {
            let first = layout.next(shard.start());
            assert_eq!((layout.shard_at(first), layout.between(shard.start(), first)), (shard, 1));
        }
        let alone = Layout::of(DbBackend::Sqlite);
        assert_eq!(alone.next(Shard::FIRST.start()), Position(1));
        assert_eq!(alone.next(Position(1)), Position(2));
    }
}
