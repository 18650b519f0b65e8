//! Open SMTP connections, reused: at most N, each for a limited time and number of messages.
//!
//! lettre has a pool, but its sockets leave Nagle's algorithm on, which costs 44 ms a message; ours do not. lettre
//! still speaks the dialogue once the stream stands.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Noop, Rset};
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::reply::{Reply, Stage};
use super::wire::{Offer, Passed, Wire, ask_for_tls};
use super::{Settings, Tls};

/// Why a dialogue stopped.
#[derive(Debug)]
pub enum Trouble {
    Reply(Stage, Reply),
    /// No answer, or none that can be read.
    Lost(Stage, String),
}

impl Trouble {
    pub fn of(stage: Stage, error: &lettre::transport::smtp::Error) -> Self {
        use std::error::Error;
        let text = error.source().map(ToString::to_string);
        match error.status() {
            Some(code) => Self::Reply(stage, Reply { code: u16::from(code), text: text.unwrap_or_default() }),
            None => Self::Lost(stage, text.unwrap_or_else(|| error.to_string())),
        }
    }

    pub fn timed_out(stage: Stage) -> Self {
        Self::Lost(stage, "no answer in time".to_owned())
    }
}

/// One open, logged-in connection.
pub struct Connection {
    pub smtp: AsyncSmtpConnection,
    pub passed: Passed,
    born: Instant,
    used: Instant,
    pub messages: u32,
    /// The server waits for a message that will not come.
    pub is_spoilt: bool,
}

/// Connections and the right to have them. Cheap to share.
pub struct Pool {
    pub settings: Settings,
    connector: TlsConnector,
    hello: ClientId,
    permits: Semaphore,
    idle: Arc<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: Mutex<Vec<Connection>>,
    swept: AtomicBool,
}

impl Pool {
    pub fn new(settings: Settings, connector: TlsConnector) -> Self {
        let hello = settings.hello.clone().map_or_else(ClientId::default, ClientId::Domain);
        let permits = Semaphore::new(settings.connections.max(1));
        Self { settings, connector, hello, permits, idle: Arc::default() }
    }

    /// Waits for the right to one more dialogue.
    pub async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so always there.
        self.permits.acquire().await.ok()
    }

    /// An open connection that may carry another message.
    pub fn take(&self) -> Option<Connection> {
        let stale = self.idle.drain(|it| !self.settings.is_fresh(it));
        retire(stale, self.settings.timeouts.command);
        self.idle.lock().pop()
    }

    /// Keeps the connection for the next message, or closes it when it has served long enough.
    pub fn give_back(&self, mut connection: Connection) {
        connection.used = Instant::now();
        if !self.settings.is_fresh(&connection) {
            retire(vec![connection], self.settings.timeouts.command);
            return;
        }
        self.idle.lock().push(connection);
        if !self.idle.swept.swap(true, Ordering::SeqCst) {
            tokio::spawn(sweep(Arc::downgrade(&self.idle), self.settings.clone()));
        }
    }

    /// Opens a connection: TCP, TLS as set, EHLO, login.
    pub async fn connect(&self) -> Result<Connection, Trouble> {
        let timeouts = &self.settings.timeouts;
        let passed = Passed::default();
        let wire = self.stream(passed.clone()).await?;
        let greet = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &self.hello);
        let greeted = timeout(timeouts.command, greet).await.map_err(|_| Trouble::timed_out(Stage::Greeting))?;
        let mut smtp = greeted.map_err(|error| Trouble::of(Stage::Greeting, &error))?;
        if let Some((user, password)) = &self.settings.credentials {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            let login = smtp.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            let answer = timeout(timeouts.command, login).await.map_err(|_| Trouble::timed_out(Stage::Login))?;
            answer.map_err(|error| Trouble::of(Stage::Login, &error))?;
        }
        Ok(Connection { smtp, passed, is_spoilt: false, born: Instant::now(), used: Instant::now(), messages: 0 })
    }

    async fn stream(&self, passed: Passed) -> Result<Wire, Trouble> {
        let Settings { host, port, tls, timeouts, .. } = &self.settings;
        let failed = |cause: std::io::Error| Trouble::Lost(Stage::Connect, cause.to_string());
        let connect = timeout(timeouts.connect, TcpStream::connect((host.as_str(), *port))).await;
        let mut tcp = connect.map_err(|_| Trouble::timed_out(Stage::Connect))?.map_err(failed)?;
        // Without this a message waits for the acknowledgement of the one before.
        tcp.set_nodelay(true).map_err(failed)?;
        match tls {
            Tls::None => Wire::plain(tcp, passed).map_err(failed),
            Tls::Implicit => self.handshake(tcp, passed).await,
            Tls::StartTls | Tls::Opportunistic => {
                let ask = timeout(timeouts.command, ask_for_tls(&mut tcp, &self.hello.to_string())).await;
                let offer = ask.map_err(|_| Trouble::timed_out(Stage::Greeting))?;
                match offer.map_err(|cause| Trouble::Lost(Stage::Greeting, cause.to_string()))? {
                    Offer::StartTls => self.handshake(tcp, passed).await.map(Wire::already_greeted),
                    Offer::None if *tls == Tls::Opportunistic => {
                        Wire::plain(tcp, passed).map(Wire::already_greeted).map_err(failed)
                    }
                    Offer::None => Err(Trouble::Lost(Stage::Connect, "the server does not offer STARTTLS".to_owned())),
                    Offer::Refused { code, text } => Err(Trouble::Reply(Stage::Greeting, Reply { code, text })),
                }
            }
        }
    }

    async fn handshake(&self, tcp: TcpStream, passed: Passed) -> Result<Wire, Trouble> {
        let failed = |cause: String| Trouble::Lost(Stage::Connect, format!("TLS: {cause}"));
        let name = ServerName::try_from(self.settings.host.clone()).map_err(|cause| failed(cause.to_string()))?;
        let shake = timeout(self.settings.timeouts.connect, self.connector.connect(name, tcp)).await;
        let tls = shake.map_err(|_| Trouble::timed_out(Stage::Connect))?.map_err(|cause| failed(cause.to_string()))?;
        Wire::tls(tls, passed).map_err(|cause| failed(cause.to_string()))
    }

    /// Ends a transaction the server refused; false when the connection is of no more use.
    pub async fn reset(&self, connection: &mut Connection) -> bool {
        let answer = timeout(self.settings.timeouts.command, connection.smtp.command(Rset)).await;
        matches!(answer, Ok(Ok(_)))
    }

    /// Asks a fresh connection whether it lives, and closes it.
    pub async fn probe(&self) -> Result<(), Trouble> {
        let mut connection = self.connect().await?;
        let answer = timeout(self.settings.timeouts.command, connection.smtp.command(Noop)).await;
        answer
            .map_err(|_| Trouble::timed_out(Stage::Greeting))?
            .map_err(|error| Trouble::of(Stage::Greeting, &error))?;
        retire(vec![connection], self.settings.timeouts.command);
        Ok(())
    }
}

impl Settings {
    fn is_fresh(&self, connection: &Connection) -> bool {
        connection.messages < self.messages_max
            && connection.born.elapsed() < self.age_max
            && connection.used.elapsed() < self.idle_max
    }
}

impl Idle {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&self, gone: impl Fn(&Connection) -> bool) -> Vec<Connection> {
        self.lock().extract_if(.., |it| gone(it)).collect()
    }
}

/// Closes idle connections when their time is up; ends when none are left.
async fn sweep(idle: std::sync::Weak<Idle>, settings: Settings) {
    loop {
        tokio::time::sleep(settings.idle_max).await;
        let Some(idle) = idle.upgrade() else { return };
        retire(idle.drain(|it| !settings.is_fresh(it)), settings.timeouts.command);
        let rest = idle.lock();
        if rest.is_empty() {
            idle.swept.store(false, Ordering::SeqCst);
            return;
        }
    }
}

/// Says goodbye in the background; nothing waits for the answer.
fn retire(connections: Vec<Connection>, patience: Duration) {
    for mut connection in connections {
        tokio::spawn(async move {
            let _ = timeout(patience, connection.smtp.quit()).await;
        });
    }
}
