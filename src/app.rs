//! The composition root: builds every part, gives each what it needs, starts the loops and the server, and stops them
//! so that nothing is lost or doubled.

mod controls;
mod doors;
mod outside;
mod part;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use anyhow::Context;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::caps::redis::Server;
use crate::channel::Channel;
use crate::channel::sandbox::Sandbox;
use crate::channel::sender::records::Net;
use crate::channel::smtp::{self, Smtp};
use crate::clock::Clock;
use crate::config::Config;
use crate::decision::campaign::CampaignStatus;
use crate::eventlog::EventLog;
use crate::fault::Faults;
use crate::http::auth::WriteKeys;
use crate::http::door::DoorCounts;
use crate::http::tracking::{self, LinkPages};
use crate::http::{self, Ingest};
use crate::ids::{Span, WorkspaceId};
use crate::intake::imports::{Imports, Suppress};
use crate::message::{self, RetryPolicy};
use crate::money::Currency;
use crate::render::links::{KeyRing, Links, Tracks};
use crate::render::{Sender, Workspace};
use crate::store::controls::setting;
use crate::store::{Address, Database, Store, open};
use crate::worker::backup::kept::Backups;
use crate::worker::dispatcher::{Channels, Dispatcher, Parts};
use crate::worker::leases::Leases;
use crate::worker::live::Definitions;
use crate::worker::permission::{ByHand, Desk};
use crate::worker::privacy::Privacy;
use crate::worker::processors::Processors;
use crate::worker::restored::Boots;
use crate::worker::retention::Retention;
use crate::worker::scheduler::Scheduler;
use crate::worker::service::Workers;
use crate::worker::sharing::{Sharing, set_clock};
use crate::worker::{janitor, secret};
use doors::{counted, follow_keys, read_anew, refresh_keys};
use outside::{cap_stores, channels, signing};
use part::Part;

/// The workspace everything belongs to until there are more.
pub const WORKSPACE: WorkspaceId = WorkspaceId(1);

/// The setting that remembers how far the demo has moved the clock.
const CLOCK_OFFSET: &str = "clock_offset_ms";

/// What the composition root needs to know; `config` reads it from files and the environment.
pub struct Options {
    /// Holds the database, the sandbox's inbox and the signing key.
    pub data: PathBuf,
    /// None: `carillon.db` in the data folder.
    pub database: Option<Address>,
    pub ingest: http::config::Config,
    /// None: everything goes to the sandbox.
    pub smtp: Option<smtp::Settings>,
    pub sender: Sender,
    pub workspace: Workspace,
    /// Of amounts that name none.
    pub currency: Currency,
    /// How customers reach us: the base of unsubscribe links.
    pub public_url: String,
    /// What the workspace wants to hear of its mails.
    pub tracks: Tracks,
    /// None: frequency caps are kept in this process.
    pub redis: Option<SecretString>,
    /// The zone of people whose own is unknown.
    pub zone: TimeZone,
    pub settle: Span,
    /// Messages a second a channel's provider takes at most; a channel without a limit is unlimited.
    pub per_second: BTreeMap<message::Channel, NonZeroU32>,
    /// People a second that are looked at after segments have changed; none: as many as there is room for.
    pub looked_at_per_second: Option<NonZeroU32>,
    /// Threads that answer requests; 0: one for each processor.
    pub threads: usize,
    pub retry: RetryPolicy,
    /// None: the system's clock, moved by what the demo has moved it.
    pub clock: Option<Clock>,
    pub faults: Faults,
    /// The name server `doctor` and checks of links ask; none: the system's.
    pub resolver: Option<SocketAddr>,
    /// Networks of our own that checks of links may ask.
    pub inside: Vec<Net>,
    /// Takes every message in place of the sandbox and the relay: for tests and the simulator.
    pub carrier: Option<Arc<dyn Channel>>,
}

/// Every part, built and not yet running.
pub struct Carillon {
    pub database: Database,
    pub store: Store,
    pub log: EventLog,
    pub clock: Clock,
    pub definitions: Arc<Definitions>,
    pub workers: Arc<Workers>,
    pub keys: WriteKeys,
    pub counts: DoorCounts,
    pub sandbox: Sandbox,
    pub links: Links,
    pub smtp: Option<Arc<Smtp>>,
    /// Who mail is from and who writes, for previews.
    sender: Sender,
    workspace: Workspace,
    ingest: web::Data<Ingest>,
    threads: usize,
    /// Without their secrets.
    settings: serde_json::Value,
    part: Part,
    boots: Arc<Boots>,
    pub privacy: Privacy,
    imports: Imports,
    backups: Backups,
    retention: Retention,
    /// The data folder.
    folder: PathBuf,
    resolver: Option<SocketAddr>,
    inside: Vec<Net>,
    stopping: Arc<AtomicBool>,
    /// One person at a time moves the clock.
    forwarding: Arc<tokio::sync::Mutex<()>>,
}

/// The loops, running.
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Options {
    /// What the settings ask for; `listening` is the address links lead to where none is set.
    ///
    /// # Errors
    /// A setting that makes no sense, in words for the person who made it.
    pub fn of(config: &Config, listening: &str) -> anyhow::Result<Self> {
        Ok(Self {
            data: config.data.folder.clone(),
            database: Some(config.database_address()),
            ingest: config.ingest.clone(),
            smtp: signing(config)?,
            sender: config.sender.mailbox().map_err(anyhow::Error::msg)?,
            workspace: Workspace {
                name: config.sender.name.clone(),
                postal_address: config.sender.postal_address.clone(),
                timezone: config.workspace.timezone.clone(),
            },
            currency: config.money.currency,
            public_url: config.sender.links_base(listening),
            tracks: Tracks { clicks: config.workspace.track_clicks, opens: config.workspace.track_opens },
            redis: config.redis.url.clone(),
            zone: config.workspace.zone().map_err(anyhow::Error::msg)?,
            settle: config.sending.settle,
            per_second: config.sending.per_second(),
            looked_at_per_second: NonZeroU32::new(config.segments.looked_at_per_second),
            threads: config.server.threads,
            retry: config.retry.clone(),
            clock: None,
            faults: Faults::none(),
            resolver: config.sender.resolver().map_err(anyhow::Error::msg)?,
            inside: config.links.inside().map_err(anyhow::Error::msg)?,
            carrier: None,
        })
    }
}

impl Carillon {
    /// Opens the database, recovers what a crash left, and builds every part.
    ///
    /// # Errors
    /// The data folder or database cannot be used, or a setting makes no sense.
    pub async fn open(options: Options) -> anyhow::Result<Self> {
        let (data, settings) = (&options.data, options.shown());
        std::fs::create_dir_all(data).with_context(|| format!("the data folder {} cannot be made", data.display()))?;
        let address = options.database.clone().unwrap_or_else(|| Address::Sqlite(data.join("carillon.db")));
        let backups = Backups::new(data, address.clone());
        let database = open(address).await?;
        let clock = match &options.clock {
            Some(clock) => clock.clone(),
            None => clock_of(&database).await?,
        };
        let (store, log) = (Store::new(database.reader.clone()), EventLog::start(&database, clock.clone()).await?);
        let definitions =
            Arc::new(Definitions::load_with(store.clone(), options.currency, Some(options.zone.clone())).await?);
        let sandbox = Sandbox::open(data).context("the sandbox's inbox cannot be made")?;
        let smtp = options.smtp.clone().map(Smtp::new).transpose()?.map(Arc::new);
        let ring = KeyRing::new(1, secret::of(&database, data).await?);
        let links = Links::new(&options.public_url, ring).with_tracking(options.tracks);
        let leases = if database.is_postgres() { Leases::none() } else { Leases::alone(store.layout()) };
        let channels = channels(&options, &sandbox, &smtp);
        let (workers, redis) = build_workers(&options, &leases, &log, &store, &definitions, channels, &links).await?;
        let boots = Arc::new(Boots::begin(&database, &log, data, redis).await?);
        workers.dispatcher().expect(boots.counted(), boots.is_unasked());
        let part = Part::new(Sharing::new(&database, leases, log.clone(), workers.clone()));
        let (keys, counts, threads) = (WriteKeys::unread(), DoorCounts::default(), options.threads);
        let ingest = Ingest::new(options.ingest, keys.clone(), Arc::new(log.clone()), clock.clone(), counts.clone());
        let ingest = web::Data::new(ingest.shared(read_anew(&store, &definitions, &keys)));
        let (folder, resolver, inside) = (options.data.clone(), options.resolver, options.inside);
        let imports = imports(&folder, &log, &store, &definitions);
        let privacy = Privacy {
            log: log.clone(),
            store: store.clone(),
            database: database.clone(),
            sandbox: sandbox.clone(),
            caps: workers.dispatcher().cap_stores().clone(),
            folder: folder.clone(),
            turn: Arc::default(),
        };
        let carillon = Self {
            database,
            store,
            log,
            clock,
            definitions,
            workers,
            keys,
            counts,
            sandbox,
            links,
            smtp,
            sender: options.sender,
            workspace: options.workspace,
            ingest,
            folder,
            resolver,
            inside,
            stopping: Arc::default(),
            forwarding: Arc::default(),
            threads,
            settings,
            part,
            boots,
            privacy,
            imports,
            backups,
            retention: Retention::default(),
        };
        carillon.refresh_keys().await?;
        carillon.workers.dispatcher().recover(carillon.clock.now()).await?;
        Ok(carillon)
    }

    /// For how long its rows are kept.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Where its backups stand; none: in the data folder.
    #[must_use]
    pub fn backing_up_to(self, folder: Option<PathBuf>) -> Self {
        Self { backups: self.backups.kept_in(folder), ..self }
    }

    /// Reads the write keys and their sources again, after a change of either.
    ///
    /// # Errors
    /// The database cannot be read; the doors answer 503 until it can.
    pub async fn refresh_keys(&self) -> anyhow::Result<()> {
        refresh_keys(&self.store, &self.definitions, &self.keys).await
    }

    /// Starts the loops.
    pub fn start(&self) -> Running {
        let (stop, stopped) = watch::channel(false);
        self.part.take();
        let loops = tokio::spawn(part::work(self.workers.clone(), self.clock.now(), stopped.clone()));
        let chores = janitor::Janitor {
            log: self.log.clone(),
            store: self.store.clone(),
            counts: counted(self.counts.clone(), self.definitions.clone()),
            boots: self.boots.clone(),
            workers: self.workers.clone(),
            privacy: self.privacy.clone(),
            definitions: self.definitions.clone(),
            retention: self.retention,
        };
        let chores = tokio::spawn(chores.run(stopped.clone()));
        let keys = tokio::spawn(follow_keys(
            self.log.clone(),
            self.store.clone(),
            self.definitions.clone(),
            self.keys.clone(),
            self.part.clone(),
            stopped.clone(),
        ));
        let imports = tokio::spawn(self.imports.clone().run(stopped));
        Running { stop, tasks: vec![loops, chores, keys, imports] }
    }

    /// Serves until `stop` resolves: the loops run, requests are answered; then the doors close, what is in hand is
    /// finished, and the database is left clean. `pages` adds the routes of the controls.
    ///
    /// # Errors
    /// The server cannot run on the listener.
    pub async fn serve<F>(&self, listener: TcpListener, pages: F, stop: impl Future<Output = ()>) -> anyhow::Result<()>
    where
        F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        let running = self.start();
        let answered = self.answer(listener, pages, stop).await;
        running.stop().await;
        self.close().await;
        answered
    }

    /// Answers requests until `stop` resolves, without the loops: nothing is decided or sent by itself.
    ///
    /// # Errors
    /// The server cannot run on the listener.
    pub async fn answer<F>(&self, listener: TcpListener, pages: F, stop: impl Future<Output = ()>) -> anyhow::Result<()>
    where
        F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        let (ingest, public) = (self.ingest.clone(), self.public_pages());
        let server = HttpServer::new(move || {
            App::new()
                .configure(public.clone())
                .configure(pages.clone())
                .configure(http::configure(ingest.clone()))
                .default_service(web::to(http::not_found))
        })
        .client_request_timeout(http::HEAD_DEADLINE)
        .client_disconnect_timeout(http::DISCONNECT_DEADLINE)
        .shutdown_timeout(20)
        .workers(match self.threads {
            0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            threads => threads,
        })
        .disable_signals()
        .listen(listener)?
        .run();
        let handle = server.handle();
        let server = tokio::spawn(server);
        stop.await;
        self.stopping.store(true, Ordering::Release);
        handle.stop(true).await;
        server.await.context("the server panicked")??;
        Ok(())
    }

    /// What customers reach.
    fn public_pages(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
        let links = web::Data::new(LinkPages::new(self.links.clone(), Arc::new(self.desk())));
        move |app| tracking::configure(links.clone())(app)
    }

    /// Where people's answers are heard.
    pub fn desk(&self) -> Desk {
        Desk { log: self.log.clone(), store: self.store.clone(), definitions: self.definitions.clone() }
    }

    /// How far a demo has moved the clock, where messages leave through a real provider: they would go out early, and to
    /// people who do not exist.
    pub fn unreal_time(&self) -> Option<Span> {
        let offset = self.clock.offset();
        (self.smtp.is_some() && offset != Span::ZERO).then_some(offset)
    }

    /// The shortest time in which an event can lead to a message: the shortest delay of a campaign that runs.
    pub fn reaction(&self) -> Span {
        let live = self.definitions.live(WORKSPACE);
        let running = live.catalog.campaigns().filter(|campaign| campaign.status == CampaignStatus::Live);
        running.map(|campaign| campaign.delay).min().unwrap_or(Span::from_days(1))
    }

    /// Finishes what was accepted and closes the database. Call after the loops have stopped.
    pub async fn close(&self) {
        if let Err(error) =
            janitor::store_counts(&self.log, &counted(self.counts.clone(), self.definitions.clone())).await
        {
            tracing::warn!(%error, "the last door counts were not stored");
        }
        self.part.give_back().await;
        self.log.stop().await;
        self.database.close().await;
    }

    /// Where processes share a database: this one has all of it from now on.
    ///
    /// # Errors
    /// Others work on it.
    pub async fn take_all(&self) -> anyhow::Result<()> {
        self.part.take_all().await
    }
}

impl Running {
    /// Lets every loop finish what it has in hand.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            if tokio::time::timeout(Duration::from_secs(25), task).await.is_err() {
                tracing::warn!("a loop did not stop in time; what it had in hand is recovered at the next start");
            }
        }
    }
}

/// The imports, with where their suppression lists go.
fn imports(folder: &Path, log: &EventLog, store: &Store, definitions: &Arc<Definitions>) -> Imports {
    let desk = Desk { log: log.clone(), store: store.clone(), definitions: definitions.clone() };
    let suppress: Suppress = Arc::new(move |stops| {
        let desk = desk.clone();
        Box::pin(async move {
            let all = stops.into_iter().filter_map(|stop| {
                let address = message::Address::parse(message::Channel::parse(&stop.channel)?, &stop.address)?;
                Some(ByHand { address, kind: message::SuppressionKind::parse(&stop.kind), source: stop.source })
            });
            desk.suppress(WORKSPACE, all.collect()).await
        })
    });
    Imports::new(folder, log.clone(), store.clone(), WORKSPACE, suppress)
}

async fn clock_of(database: &Database) -> anyhow::Result<Clock> {
    let ahead = setting(&database.reader, CLOCK_OFFSET).await?.and_then(|text| text.parse().ok());
    let clock = Clock::system(ahead.map_or(Span::ZERO, Span::from_millis));
    set_clock(&clock, &database.reader).await?;
    Ok(clock)
}

async fn build_workers(
    options: &Options,
    leases: &Leases,
    log: &EventLog,
    store: &Store,
    definitions: &Arc<Definitions>,
    channels: Channels,
    links: &Links,
) -> anyhow::Result<(Arc<Workers>, Option<(Server, String)>)> {
    let (caps, redis) = cap_stores(options, log).await?;
    let (faults, settle, shared) = (options.faults.clone(), options.settle, leases.clone());
    let processor = Processors::new(log.clone(), store.clone(), definitions.clone(), faults.clone(), settle, shared);
    let scheduler = Scheduler::new(log.clone(), store.clone(), faults.clone()).sharing(leases.clone());
    let dispatcher = Dispatcher::new(Parts {
        log: log.clone(),
        store: store.clone(),
        definitions: definitions.clone(),
        caps,
        zone: options.zone.clone(),
        channels,
        links: links.clone(),
        sender: options.sender.clone(),
        workspace: options.workspace.clone(),
        retry: options.retry.clone(),
        faults,
        connections: options.smtp.as_ref().map_or(8, |smtp| smtp.connections),
    })
    .limited(&options.per_second)
    .sharing(leases.clone());
    let workers = Workers::new(log.clone(), processor, scheduler, dispatcher).paced(options.looked_at_per_second);
    Ok((Arc::new(workers), redis))
}
