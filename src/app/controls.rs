//! What the controls reach: the pieces of a running service that a person at the switches may use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web;

use crate::app::doors::read_anew;
use crate::app::{CLOCK_OFFSET, Carillon, Options, WORKSPACE};
use crate::caps::Unreachable;
use crate::channel::outside::Outside;
use crate::channel::probe::{Limits, Probe};
use crate::channel::sender::dns::Dns;
use crate::eventlog::{EventLog, Queue};
use crate::http::admin::{Admin, Doing, Scrape};
use crate::http::pages::{Desk, OpenToken, Sessions};
use crate::ids::Span;
use crate::render::Rendered;
use crate::render::kept::KeptMessages;
use crate::store::Address;
use crate::store::controls::set_setting;
use crate::telemetry;
use crate::worker::dispatcher::{NotSent, Stopped, TestSend, TestSent};
use crate::worker::doctor::{Check, Patient, doctor};
use crate::worker::gauges::Gauges;
use crate::worker::link_check::{self, LinkCheck, LinkReport};
use crate::worker::service::Workers;

impl Options {
    /// The settings for whoever asks what is in force: no secret, and of an address with a password only its place.
    pub(super) fn shown(&self) -> serde_json::Value {
        let database = self.database.as_ref().map_or_else(|| "carillon.db".to_owned(), Address::shown);
        let per_second: BTreeMap<&str, u32> =
            self.per_second.iter().map(|(channel, most)| (channel.as_str(), most.get())).collect();
        serde_json::json!({
            "database": database,
            "sending": if self.smtp.is_some() { "smtp" } else { "sandbox" },
            "caps": if self.redis.is_some() { "redis" } else { "in process" },
            "public_url": self.public_url,
            "workspace": {
                "name": self.workspace.name,
                "postal_address": self.workspace.postal_address,
                "timezone": self.zone.iana_name(),
                "track_clicks": self.tracks.clicks,
                "track_opens": self.tracks.opens,
            },
            "currency": self.currency.to_string(),
            "settle": self.settle,
            "per_second": per_second,
            "looked_at_per_second": self.looked_at_per_second.map_or(0, std::num::NonZeroU32::get),
            "threads": self.threads,
        })
    }
}

impl Carillon {
    /// What the controls reach, for whoever holds `token`; [`crate::http::admin::configure`] makes it pages for
    /// [`Carillon::serve`].
    pub fn admin(&self, token: &str) -> web::Data<Admin> {
        self.admin_scraped(token, None)
    }

    /// The same, with the metrics for whoever holds `scraper` too.
    pub fn admin_scraped(&self, token: &str, scraper: Option<&str>) -> web::Data<Admin> {
        let (workers, log, turn) = (self.workers.clone(), self.log.clone(), self.forwarding.clone());
        let part = self.part.clone();
        let forward: Doing<Span, usize> = Arc::new(move |by| {
            let (workers, log, turn, part) = (workers.clone(), log.clone(), turn.clone(), part.clone());
            Box::pin(async move {
                part.take_all().await?;
                forward(workers, log, turn, by).await
            })
        });
        let read_keys = read_anew(&self.store, &self.definitions, &self.keys);
        web::Data::new(Admin {
            workspace: WORKSPACE,
            store: self.store.clone(),
            log: self.log.clone(),
            definitions: self.definitions.clone(),
            zone: self.workers.dispatcher().zone().clone(),
            token: Admin::hash_of(token),
            // Whether this is a demo is asked when somebody wants it: it is filled after it was opened.
            forward: self.smtp.is_none().then_some(forward),
            refresh_keys: Arc::new(move |()| read_keys()),
            send_test: self.sending_tests(),
            preview: self.previewing(),
            doctor: self.examining(),
            check_links: self.checking_links(),
            stopped: self.stopped_channels(),
            check_caps: self.checking_caps(),
            house: self.workspace.clone(),
            settings: self.settings.clone(),
            streams: Arc::default(),
            privacy: self.privacy.clone(),
            imports: self.imports.clone(),
            backups: self.backups.clone(),
            scrape: self.scrape(scraper),
            stopping: self.stopping.clone(),
        })
    }

    /// The pages beside the controls, for those who know what the controls ask for; `folder` holds templates that are
    /// being written.
    pub fn pages(&self, admin: &web::Data<Admin>, folder: Option<PathBuf>) -> web::Data<Desk> {
        let workers = self.workers.clone();
        web::Data::new(Desk {
            admin: admin.clone(),
            transports: Arc::new(move || (workers.dispatcher().stopped(), workers.dispatcher().caps_unreachable())),
            inbox: self.smtp.is_none().then(|| -> Arc<dyn KeptMessages> { Arc::new(self.sandbox.clone()) }),
            sender: self.sender.clone(),
            workspace: self.workspace.clone(),
            folder,
            sessions: Sessions::default(),
            open_token: OpenToken::default(),
        })
    }

    fn scrape(&self, token: Option<&str>) -> Scrape {
        telemetry::begin(if self.database.is_postgres() { "postgresql" } else { "sqlite" });
        let (database, leases) = (self.database.clone(), self.workers.dispatcher().leases().clone());
        let gauges = Gauges::new(WORKSPACE, database, self.store.clone(), self.log.clone(), leases);
        Scrape { gauges, token: token.map(Admin::hash_of) }
    }

    fn stopped_channels(&self) -> Arc<dyn Fn() -> Vec<Stopped> + Send + Sync> {
        let workers = self.workers.clone();
        Arc::new(move || workers.dispatcher().stopped())
    }

    fn sending_tests(&self) -> Doing<TestSend, Result<TestSent, NotSent>> {
        let workers = self.workers.clone();
        Arc::new(move |test| {
            let workers = workers.clone();
            Box::pin(async move { workers.dispatcher().send_test(WORKSPACE, test).await })
        })
    }

    fn previewing(&self) -> Doing<TestSend, Result<Rendered, NotSent>> {
        let workers = self.workers.clone();
        Arc::new(move |test| {
            let workers = workers.clone();
            Box::pin(async move { workers.dispatcher().preview(WORKSPACE, test).await })
        })
    }

    fn checking_caps(&self) -> Doing<(), Result<String, Unreachable>> {
        let workers = self.workers.clone();
        Arc::new(move |()| {
            let workers = workers.clone();
            Box::pin(async move { Ok(workers.dispatcher().check_caps(WORKSPACE).await) })
        })
    }

    /// Each check with a client of its own, so that nothing of one stays for the next.
    fn checking_links(&self) -> Doing<LinkCheck, LinkReport> {
        let (sender, links, clock) = (self.sender.clone(), self.links.clone(), self.clock.clone());
        let (resolver, inside) = (self.resolver, self.inside.clone());
        Arc::new(move |asked| {
            let (sender, links, clock, inside) = (sender.clone(), links.clone(), clock.clone(), inside.clone());
            Box::pin(async move {
                let outside = Outside::new(Dns::new(resolver)?, inside);
                let ours = links.clone();
                let probe = Probe::new(outside, Limits::default(), Arc::new(move |url| ours.is_ours(url)))?;
                Ok(link_check::check(&probe, &sender, &links, clock.now(), asked).await)
            })
        })
    }

    fn examining(&self) -> Doing<(), Vec<Check>> {
        let (store, log, definitions) = (self.store.clone(), self.log.clone(), self.definitions.clone());
        let (workers, folder, smtp) = (self.workers.clone(), self.folder.clone(), self.smtp.clone());
        let (resolver, links) = (self.resolver, self.links.clone());
        Arc::new(move |()| {
            let (store, log, definitions) = (store.clone(), log.clone(), definitions.clone());
            let (workers, folder, smtp, links) = (workers.clone(), folder.clone(), smtp.clone(), links.clone());
            Box::pin(async move {
                Ok(doctor(Patient {
                    workspace: WORKSPACE,
                    store: &store,
                    log: &log,
                    definitions: &definitions,
                    dispatcher: workers.dispatcher(),
                    folder: &folder,
                    smtp: smtp.as_deref(),
                    links: &links,
                    resolver,
                })
                .await)
            })
        })
    }

    /// Examines the service; see [`doctor`].
    pub async fn doctor(&self) -> Vec<Check> {
        (self.examining())(()).await.unwrap_or_default()
    }

    /// Moves the demo's clock and remembers where it stands.
    ///
    /// # Errors
    /// The loops or the database fail.
    pub async fn forward(&self, by: Span) -> anyhow::Result<usize> {
        self.take_all().await?;
        forward(self.workers.clone(), self.log.clone(), self.forwarding.clone(), by).await
    }
}

async fn forward(
    workers: Arc<Workers>,
    log: EventLog,
    turn: Arc<tokio::sync::Mutex<()>>,
    by: Span,
) -> anyhow::Result<usize> {
    let _turn = turn.lock().await;
    // Remembered before it moves: after a crash on the way the log must not be ahead of the clock.
    let target = log.clock().offset().millis().saturating_add(by.millis());
    remember_offset(&log, Span::from_millis(target)).await?;
    let done = workers.forward(by).await;
    remember_offset(&log, log.clock().offset()).await?;
    done
}

async fn remember_offset(log: &EventLog, offset: Span) -> anyhow::Result<()> {
    let offset = offset.millis().to_string();
    log.writer()
        .change(Queue::Effects, move |tx, _| Box::pin(async move { Ok(set_setting(tx, CLOCK_OFFSET, &offset).await?) }))
        .await
}
