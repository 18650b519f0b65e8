//! The service as a process: it takes its folder, says where it is, and goes when it is asked to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, HttpServer};
use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{Carillon, Options, WORKSPACE};
use crate::cli::place::{Held, Place, Whereabouts, new_token};
use crate::cli::print;
use crate::config::{Config, LogFormat};
use crate::http::admin::{self, Admin};
use crate::http::pages as shown;
use crate::telemetry::traces::{self, Exporter};
use crate::worker::doctor::LINKS_ADVICE;
use crate::worker::restored::hold_by_hand;
use crate::worker::service::Workers;

/// A server that holds its folder and its port, and does not answer yet.
pub struct Server {
    pub carillon: Arc<Carillon>,
    pub whereabouts: Whereabouts,
    /// Templates that are being written, for the previews.
    pub templates: Option<PathBuf>,
    listener: TcpListener,
    /// For metrics alone.
    scraped: Option<TcpListener>,
    /// What sends traces, where somebody wants them.
    traced: Option<Exporter>,
    held: Held,
}

/// `carillon serve`; `held`: marketing waits until a person has confirmed that this is the data it should be. `templates`
/// are previewed as they are written.
pub async fn serve(
    place: &Place,
    listen: Option<SocketAddr>,
    held: bool,
    templates: Option<PathBuf>,
) -> anyhow::Result<()> {
    log_to_stderr(&place.config, &place.config.log.level)?;
    let options = |address: &str| Options::of(&place.config, address);
    let mut server = Server::open(place, listen, "serve", options).await?;
    server.templates = templates;
    if let Some(offset) = server.carillon.unreal_time() {
        let folder = place.folder().display();
        anyhow::bail!(
            "a demo moved the clock of {folder} {offset} ahead, and messages would leave through a real provider: use a \
             fresh data folder for them"
        );
    }
    let links = &server.carillon.links;
    if server.carillon.smtp.is_some() && links.lead_home_only() {
        tracing::warn!(
            base = links.base(),
            "nobody who gets a mail can follow its links, that of unsubscribing among them: {LINKS_ADVICE}"
        );
    }
    let address = server.whereabouts.address.clone();
    if held {
        // No loop runs yet.
        hold_by_hand(&server.carillon.log).await?;
    }
    server
        .run(place, async move {
            print(&format!("listening on {address}\n"));
            std::future::pending().await
        })
        .await
}

impl Server {
    /// Takes the folder and the port and builds every part.
    pub async fn open(
        place: &Place,
        listen: Option<SocketAddr>,
        command: &str,
        options: impl FnOnce(&str) -> anyhow::Result<Options>,
    ) -> anyhow::Result<Self> {
        let traced = tokio::task::spawn_blocking(|| traces::start(|name| std::env::var(name).ok())).await?;
        let traced = traced.map_err(anyhow::Error::msg)?;
        let held = place.take_or_explain(command)?;
        match Self::parts(place, listen, options).await {
            Ok((listener, scraped, carillon, address)) => {
                let carillon = Arc::new(carillon);
                tokio::spawn(look_for_caps(carillon.workers.clone()));
                let whereabouts = Whereabouts { address, token: new_token(), pid: std::process::id() };
                Ok(Self { carillon, whereabouts, templates: None, listener, scraped, traced, held })
            }
            Err(error) => {
                held.abandon();
                Err(error)
            }
        }
    }

    /// Its port, that of the metrics, everything behind them, and its address.
    async fn parts(
        place: &Place,
        listen: Option<SocketAddr>,
        options: impl FnOnce(&str) -> anyhow::Result<Options>,
    ) -> anyhow::Result<(TcpListener, Option<TcpListener>, Carillon, String)> {
        let listen = listen.unwrap_or(place.config.server.listen);
        let listener = TcpListener::bind(listen)
            .with_context(|| format!("cannot listen on {listen}; another address is given with --listen"))?;
        listener.set_nonblocking(true)?;
        let scraped = place.config.metrics.listen().map_err(anyhow::Error::msg)?.map(scrape_listener).transpose()?;
        let address = format!("http://{}", reachable(listener.local_addr()?));
        let carillon = Carillon::open(options(&address)?).await?.keeping(place.config.retention);
        let carillon = carillon.backing_up_to(place.config.data.backups.clone());
        Ok((listener, scraped, carillon, address))
    }

    /// Serves until a signal comes; `beside` runs as soon as requests are taken, and its failure stops the server.
    pub async fn run(self, place: &Place, beside: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        let Self { carillon, whereabouts, templates, listener, scraped, traced, held } = self;
        let mut stop = Stop::listen()?;
        held.announce(&whereabouts)?;
        let (ask, asked) = tokio::sync::oneshot::channel::<()>();
        let scraper = place.config.metrics.token.as_ref().map(|token| token.expose_secret().to_owned());
        let admin = carillon.admin_scraped(&whereabouts.token, scraper.as_deref());
        let scraped = scraped.map(|listener| Scraped::serve(admin.clone(), listener)).transpose()?;
        let serving = tokio::spawn({
            let (carillon, pages) = (carillon.clone(), pages(&carillon, admin, templates));
            async move { carillon.serve(listener, pages, async { drop(asked.await) }).await }
        });
        let mut failed = Ok(());
        tokio::select! {
            () = stop.asked() => {}
            ended = beside => failed = ended,
        }
        tracing::info!("stopping: what is in hand is finished first");
        held.withdraw();
        drop(ask);
        if let Some(Scraped { server }) = scraped {
            server.stop(false).await;
        }
        let within = place.config.server.stop_within();
        let ended = match tokio::time::timeout(within, serving).await {
            Ok(ended) => ended.context("the server panicked").and_then(|ended| failed.and(ended)),
            Err(_) => {
                tracing::warn!("not everything stopped in time; the rest is recovered at the next start");
                failed
            }
        };
        if let Some(exporter) = traced {
            tokio::task::spawn_blocking(|| exporter.stop()).await?;
        }
        ended
    }
}

/// Says at the start what waits while the cap store cannot be asked; the service runs without.
async fn look_for_caps(workers: Arc<Workers>) {
    if let Err(error) = workers.dispatcher().check_caps(WORKSPACE).await {
        tracing::warn!(
            "{error}. Messages that obey frequency caps wait (caps_unreachable), everything else goes on. Start \
             that Redis, or correct redis.url (CARILLON_REDIS__URL) and start again; sending then goes on by itself"
        );
    }
}

/// The signals that end a server.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Where a listener is reached from this machine: one on all addresses is on the loopback too.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Logs go to stderr: stdout is for answers.
///
/// # Errors
/// The level is none.
pub fn log_to_stderr(config: &Config, level: &str) -> anyhow::Result<()> {
    let filter = log_filter(level)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It would say so on stderr, and panic where that is what has gone.
    let log = log.log_internal_errors(false);
    match config.log.format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// A client that goes away in the middle of a call is its own affair; the HTTP library calls that an error. What
/// libraries say of going on is for who asks for more.
fn log_filter(level: &str) -> anyhow::Result<tracing_subscriber::EnvFilter> {
    let quiet = if level.contains("actix_http") { "" } else { ",actix_http::h1=off" };
    let libraries = if level == "info" { ",actix_server=warn,sea_orm_migration=warn" } else { "" };
    format!("{level}{quiet}{libraries}").parse().context("log.level")
}

fn scrape_listener(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address} (metrics.listen)"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The pages and the routes of the controls, for the holder of the token; `templates` are previewed as they are written.
pub fn pages(
    carillon: &Carillon,
    admin: Data<Admin>,
    templates: Option<PathBuf>,
) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    let pages = carillon.pages(&admin, templates);
    move |app| {
        shown::configure(pages.clone())(app);
        admin::configure(admin.clone())(app);
    }
}

/// An address of its own for metrics, until the service stops.
struct Scraped {
    server: actix_web::dev::ServerHandle,
}

impl Scraped {
    fn serve(admin: Data<Admin>, listener: TcpListener) -> anyhow::Result<Self> {
        tracing::info!(address = %listener.local_addr()?, "metrics are served here too");
        let app = move || App::new().configure(admin::health::open_routes(admin.clone()));
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener)?.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self { server: handle })
    }
}
