//! The definitions in force, compiled once and shared: what the processor decides by and the dispatcher sends with.

pub mod book;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;

use crate::audience::computed::SHIPPED;
use crate::audience::condition::Terms;
use crate::decision::Catalog;
use crate::decision::shared_map::SharedMap;
use crate::definition::{self, Definition, DocumentKind, SourceFile};
use crate::event::source::Source;
use crate::guard::{Rule, quiet_hours};
use crate::ids::{Position, WorkspaceId};
use crate::money::{Currency, Exchange};
use crate::render::Compiled;
use crate::store::Store;
use crate::store::controls::{ids_by_time_after, workspaces};
use crate::store::definitions::StoredDefinition;
use crate::worker::warnings::Seen;
use book::Book;

/// Books of one workspace kept at once.
const BOOKS_MAX: usize = 8;

/// Everything in force in one workspace; a copy costs little.
#[derive(Debug, Clone, Default)]
pub struct Live {
    pub catalog: Catalog,
    /// Every frequency cap.
    pub rules: Vec<Rule>,
    /// Every window of quiet hours; the shipped ones where nobody said any.
    pub quiet: Vec<quiet_hours::Window>,
    /// The newest version of every template.
    pub templates: SharedMap<Arc<Compiled>>,
    pub sources: BTreeMap<String, Arc<Source>>,
    pub all_paused: bool,
}

/// The definitions of every workspace; readers never wait.
#[derive(Debug)]
pub struct Definitions {
    store: Store,
    home: Currency,
    /// Where people live who do not say so; none: UTC.
    zone: Option<TimeZone>,
    ids_by_time_after: Position,
    live: ArcSwap<BTreeMap<WorkspaceId, Arc<Live>>>,
    /// The newest few of each workspace, the newest last: what is decided lags behind what is in force.
    books: Mutex<BTreeMap<WorkspaceId, Vec<Arc<Book>>>>,
    generation: AtomicU64,
    /// What warnings know of the events that came.
    seen: Seen,
    /// Held from reading definitions until they are in force here: older ones must not take the place of newer ones.
    turn: tokio::sync::Mutex<()>,
}

impl Definitions {
    /// Loads what is in force at the start.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn load(store: Store) -> anyhow::Result<Self> {
        Self::load_with(store, Currency::EUR, None).await
    }

    /// The same with the currency of amounts that name none, and the zone of people who name none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn load_with(store: Store, home: Currency, zone: Option<TimeZone>) -> anyhow::Result<Self> {
        let (live, books, generation) = (ArcSwap::default(), Mutex::default(), AtomicU64::new(0));
        let (seen, turn) = (Seen::default(), tokio::sync::Mutex::default());
        let ids_by_time_after = ids_by_time_after(store.reader()).await?;
        let definitions = Self { store, home, zone, ids_by_time_after, live, books, generation, seen, turn };
        definitions.refresh_all().await?;
        Ok(definitions)
    }

    /// # Errors
    /// As for [`refresh`](Self::refresh).
    pub async fn refresh_all(&self) -> anyhow::Result<()> {
        for id in workspaces(self.store.reader()).await? {
            self.refresh(id).await?;
        }
        Ok(())
    }

    /// What conditions know of a workspace before its definitions are read.
    fn terms(&self, workspace: WorkspaceId) -> Terms {
        let exchange = Exchange { home: self.home, ..Exchange::default() };
        let (zone, ids_by_time_after) = (self.zone.clone(), self.ids_by_time_after);
        Terms { workspace, exchange, zone, ids_by_time_after, ..Terms::default() }
    }

    pub fn live(&self, id: WorkspaceId) -> Arc<Live> {
        self.live.load().get(&id).cloned().unwrap_or_default()
    }

    /// Everything in force, by workspace.
    pub fn all(&self) -> Arc<BTreeMap<WorkspaceId, Arc<Live>>> {
        self.live.load_full()
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Grows with every change of what is in force.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The book as of a position of the log, with what was paused there, whatever was applied, paused or resumed later.
    /// It goes on from `before`, the book of an earlier position, where one is at hand.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn book_at(
        &self,
        id: WorkspaceId,
        position: Position,
        before: Option<&Arc<Book>>,
    ) -> anyhow::Result<Arc<Book>> {
        let store = self.store.workspace(id);
        let until = store.definitions_position(position).await?;
        let kept = self.kept(id);
        let candidates = kept.iter().chain(before).filter(|book| book.read_to() <= until);
        let from = candidates.max_by_key(|book| book.read_to()).cloned();
        let paused = store.pauses_at(position).await?;
        let (book, _) = self.gone_on(id, from, until, paused).await?;
        Ok(book)
    }

    /// Goes on from a book to what is stored until `until`; the answer is also whether anything is another.
    async fn gone_on(
        &self,
        id: WorkspaceId,
        from: Option<Arc<Book>>,
        until: Position,
        paused: BTreeSet<String>,
    ) -> anyhow::Result<(Arc<Book>, bool)> {
        let read_to = from.as_ref().map_or(Position(i64::MIN), |book| book.read_to());
        let rows = self.store.workspace(id).definitions_between(read_to, until).await?;
        if let Some(from) = from.as_ref().filter(|from| from.has(&rows, &paused)) {
            return Ok((from.clone(), false));
        }
        let terms = self.terms(id);
        // Whoever starts reads thousands of texts.
        let read = move || {
            let mut book = from.unwrap_or_else(|| Arc::new(Book::new(terms)));
            let fresh = Arc::make_mut(&mut book);
            let is_changed = fresh.add(&rows) | fresh.set_paused(paused);
            (book, is_changed)
        };
        Ok(tokio::task::spawn_blocking(read).await?)
    }

    fn kept(&self, id: WorkspaceId) -> Vec<Arc<Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default()
    }

    /// The newest book, with what other processes applied until now in it, and in force.
    ///
    /// # Errors
    /// As for [`refresh`](Self::refresh).
    pub async fn book(&self, id: WorkspaceId) -> anyhow::Result<Arc<Book>> {
        let _turn = self.turn.lock().await;
        let kept = self.kept(id);
        let is_first = kept.is_empty();
        let paused = self.store.workspace(id).pauses().await?;
        let (book, is_changed) = self.gone_on(id, kept.last().cloned(), Position(i64::MAX), paused).await?;
        if is_first || is_changed {
            self.put_in_force(id, book.clone());
        }
        Ok(book)
    }

    fn put_in_force(&self, id: WorkspaceId, book: Arc<Book>) {
        self.live.rcu(|known| {
            let mut all = BTreeMap::clone(known);
            all.insert(id, book.live().clone());
            all
        });
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = books.entry(id).or_default();
        // Of one position the pauses differ alone, and those are read each time.
        kept.retain(|known| known.read_to() != book.read_to());
        kept.push(book);
        let surplus = kept.len().saturating_sub(BOOKS_MAX);
        kept.drain(..surplus);
        drop(books);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The campaigns in force at a position of the log, or one alone where one is named.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn catalog_of(
        &self,
        id: WorkspaceId,
        position: Position,
        campaign: Option<&str>,
    ) -> anyhow::Result<Catalog> {
        let store = self.store.workspace(id);
        let mut stored = store.definitions_until(position).await?;
        // Reading a template takes a while, and a decision asks for its topic and the computed traits in it alone.
        let names = |text: &str| text.contains("topic") || SHIPPED.iter().any(|key| text.contains(key));
        let is_about = |one: &StoredDefinition| one.files.iter().any(|file| names(&file.text));
        let about: BTreeSet<String> = stored.iter().filter(|one| is_about(one)).map(|one| one.key.clone()).collect();
        stored.retain(|one| {
            let kind = DocumentKind::parse(&one.kind);
            kind.is_some_and(|kind| match kind {
                DocumentKind::Campaign => campaign.is_none_or(|asked| asked == one.key),
                DocumentKind::Segment
                | DocumentKind::ComputedTrait
                | DocumentKind::Rates
                | DocumentKind::ConsentPolicy
                | DocumentKind::Topic => true,
                DocumentKind::Template => about.contains(&one.key),
                DocumentKind::Caps | DocumentKind::QuietHours | DocumentKind::Source | DocumentKind::Story => false,
            })
        });
        Ok(compile(self.terms(id), &stored, store.pauses_at(position).await?).catalog)
    }

    /// Reads what was applied and paused in a workspace since it was last read.
    ///
    /// # Errors
    /// The database cannot be read; what was in force stays.
    pub async fn refresh(&self, id: WorkspaceId) -> anyhow::Result<()> {
        self.book(id).await.map(drop)
    }
}

/// What is in force by every stored version. A text an older release accepted and this one cannot read is left out,
/// loudly.
fn compile(terms: Terms, stored: &[StoredDefinition], paused: BTreeSet<String>) -> Live {
    let mut book = Book::new(terms);
    book.add(stored);
    book.set_paused(paused);
    Live::clone(book.live())
}

/// The definitions of a stored text; none where this release cannot read it, which is logged.
pub fn read_stored(stored: &StoredDefinition) -> Vec<Definition> {
    let files: Vec<SourceFile> =
        stored.files.iter().map(|file| SourceFile { name: file.name.clone(), text: file.text.clone() }).collect();
    match definition::read(&files) {
        Ok(documents) => documents.into_iter().map(|document| document.definition).collect(),
        Err(problems) => {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            tracing::error!(
                kind = stored.kind,
                key = stored.key,
                problem = first,
                "a stored definition cannot be read"
            );
            Vec::new()
        }
    }
}
