//! What the controls reach: the pieces of a running service that a person at the switches may use.

use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web;

use crate::app::{CLOCK_OFFSET, Carillon, WORKSPACE, refresh_keys};
use crate::caps::Unreachable;
use crate::eventlog::{EventLog, Queue};
use crate::http::admin::{Admin, Doing, Scrape};
use crate::http::pages::{Desk, OpenToken, Sessions};
use crate::ids::Span;
use crate::render::kept::KeptMessages;
use crate::store::controls::set_setting;
use crate::telemetry;
use crate::worker::dispatcher::{NotSent, TestSend, TestSent};
use crate::worker::doctor::{Check, Patient, doctor};
use crate::worker::gauges::Gauges;
use crate::worker::service::Workers;

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
        let (store, definitions, keys) = (self.store.clone(), self.definitions.clone(), self.keys.clone());
        web::Data::new(Admin {
            workspace: WORKSPACE,
            store: self.store.clone(),
            log: self.log.clone(),
            definitions: self.definitions.clone(),
            zone: self.workers.dispatcher().zone().clone(),
            token: Admin::hash_of(token),
            forward: self.smtp.is_none().then_some(forward),
            refresh_keys: Arc::new(move |()| {
                let (store, definitions, keys) = (store.clone(), definitions.clone(), keys.clone());
                Box::pin(async move { refresh_keys(&store, &definitions, &keys).await })
            }),
            send_test: self.sending_tests(),
            doctor: self.examining(),
            check_caps: self.checking_caps(),
            privacy: self.privacy.clone(),
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

    fn sending_tests(&self) -> Doing<TestSend, Result<TestSent, NotSent>> {
        let workers = self.workers.clone();
        Arc::new(move |test| {
            let workers = workers.clone();
            Box::pin(async move { workers.dispatcher().send_test(WORKSPACE, test).await })
        })
    }

    fn checking_caps(&self) -> Doing<(), Result<String, Unreachable>> {
        let workers = self.workers.clone();
        Arc::new(move |()| {
            let workers = workers.clone();
            Box::pin(async move { Ok(workers.dispatcher().check_caps(WORKSPACE).await) })
        })
    }

    fn examining(&self) -> Doing<(), Vec<Check>> {
        let (store, log, definitions) = (self.store.clone(), self.log.clone(), self.definitions.clone());
        let (workers, folder, is_real) = (self.workers.clone(), self.folder.clone(), self.smtp.is_some());
        Arc::new(move |()| {
            let (store, log, definitions) = (store.clone(), log.clone(), definitions.clone());
            let (workers, folder) = (workers.clone(), folder.clone());
            Box::pin(async move {
                Ok(doctor(Patient {
                    workspace: WORKSPACE,
                    store: &store,
                    log: &log,
                    definitions: &definitions,
                    dispatcher: workers.dispatcher(),
                    folder: &folder,
                    is_real,
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
