//! What may be set, made of each part's own settings: compiled-in defaults, then a file, then the environment.
//!
//! A wrong key or value is refused at the start by its name, with the nearest known one; nothing is accepted and
//! ignored. Values that may hold a password are never printed, not even when they are wrong.

mod layers;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use crate::channel::dkim::{BadKey, Dkim};
use crate::channel::sender::records::Net;
use crate::channel::smtp::Settings;
use crate::http::config::Config as Ingest;
use crate::ids::Span;
use crate::message::{Channel, RetryPolicy};
use crate::money::Currency;
use crate::render::{NotASender, Sender as MailSender};
use crate::store::Address;
use crate::worker::retention::Retention;

/// Every key with its default and its meaning.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub data: Data,
    pub database: Database,
    pub redis: Redis,
    pub workspace: Workspace,
    pub smtp: Smtp,
    pub ingest: Ingest,
    pub sender: Sender,
    pub links: Links,
    pub money: Money,
    pub segments: Segments,
    pub sending: Sending,
    pub retry: RetryPolicy,
    pub retention: Retention,
    pub log: Log,
    pub metrics: Metrics,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    /// 0: one for each processor.
    pub threads: usize,
    pub stop_within: Span,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    pub folder: PathBuf,
    /// None: in the data folder.
    #[serde(deserialize_with = "unless_empty")]
    pub backups: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    #[serde(deserialize_with = "unless_empty")]
    pub url: Option<SecretString>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    #[serde(deserialize_with = "unless_empty")]
    pub url: Option<SecretString>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    pub timezone: String,
    pub track_clicks: bool,
    pub track_opens: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    #[serde(deserialize_with = "unless_empty")]
    pub url: Option<SecretString>,
    pub connections: usize,
    pub messages_per_connection: u32,
    #[serde(deserialize_with = "unless_empty")]
    pub ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "unless_empty")]
    pub hello: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    pub name: String,
    pub address: String,
    #[serde(deserialize_with = "unless_empty")]
    pub reply_to: Option<String>,
    #[serde(deserialize_with = "unless_empty")]
    pub public_url: Option<String>,
    #[serde(deserialize_with = "unless_empty")]
    pub postal_address: Option<String>,
    #[serde(deserialize_with = "unless_empty")]
    pub dkim_key_file: Option<PathBuf>,
    pub dkim_selector: String,
    #[serde(deserialize_with = "unless_empty")]
    resolver: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    inside: Vec<String>,
}

impl Links {
    /// Networks of our own that may be asked whether they answer.
    ///
    /// # Errors
    /// One is none.
    pub fn inside(&self) -> Result<Vec<Net>, String> {
        let named = self.inside.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        let net = |text: &str| {
            Net::parse(text).ok_or_else(|| format!("links.inside: `{text}` is no network such as 10.20.0.0/16"))
        };
        named.map(net).collect()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    pub currency: Currency,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segments {
    /// 0: as many as there is room for.
    pub looked_at_per_second: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sending {
    pub settle: Span,
    email_per_second: u32,
    sms_per_second: u32,
    push_per_second: u32,
    whatsapp_per_second: u32,
    webhook_per_second: u32,
}

impl Sending {
    /// Providers' limits; a channel without one is unlimited.
    pub fn per_second(&self) -> BTreeMap<Channel, NonZeroU32> {
        let of = |channel| match channel {
            Channel::Email => self.email_per_second,
            Channel::Sms => self.sms_per_second,
            Channel::Push => self.push_per_second,
            Channel::Whatsapp => self.whatsapp_per_second,
            Channel::Webhook => self.webhook_per_second,
        };
        Channel::ALL.into_iter().filter_map(|channel| Some((channel, NonZeroU32::new(of(channel))?))).collect()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    #[serde(deserialize_with = "unless_empty")]
    pub token: Option<SecretString>,
    #[serde(deserialize_with = "unless_empty")]
    listen: Option<String>,
}

impl Metrics {
    /// The address that serves metrics alone.
    ///
    /// # Errors
    /// It is none.
    pub fn listen(&self) -> Result<Option<SocketAddr>, String> {
        let parsed = self.listen.as_ref().map(|text| text.parse()).transpose();
        parsed.map_err(|_| "is an ADDRESS:PORT such as 127.0.0.1:9464".to_owned())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Text that may be missing: empty means not set.
fn unless_empty<'de, D: Deserializer<'de>, T: From<String>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(if text.is_empty() { None } else { Some(T::from(text)) })
}

/// A setting that is refused: where it stands, its key, what is wrong, and what was probably meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The file's name, the environment variable's, or empty.
    pub place: String,
    pub key: String,
    pub message: String,
    pub nearest: Option<String>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the settings are not accepted:{}", lines(.0))]
pub struct Refused(pub Vec<Wrong>);

fn lines(wrong: &[Wrong]) -> String {
    wrong.iter().map(|one| format!("\n  {one}")).collect()
}

impl Config {
    /// Defaults, then `file`, then `environment` (its `CARILLON_…` variables).
    ///
    /// # Errors
    /// Every wrong key and value, by name.
    pub fn load(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Refused> {
        let (config, variables) = layers::read(file, environment)?;
        let mut wrong = values::wrong_in(&config);
        for one in &mut wrong {
            one.place = variables.get(&one.key).cloned().unwrap_or_default();
        }
        if wrong.is_empty() { Ok(config) } else { Err(Refused(wrong)) }
    }

    /// The environment of this process.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn of_process(file: Option<&Path>) -> Result<Self, Refused> {
        // A variable that is not UTF-8 cannot be one of ours by its name, or is wrong by its value.
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        Self::load(file, environment)
    }

    /// Where everything is stored; where nothing is set, a SQLite file in the data folder.
    pub fn database_address(&self) -> Address {
        let named = self.database.url.as_ref().and_then(|url| database_address(url).ok());
        named.unwrap_or_else(|| Address::Sqlite(self.data.folder.join("carillon.db")))
    }
}

/// Says what is wrong without repeating it: addresses carry passwords.
fn database_address(secret: &SecretString) -> Result<Address, String> {
    let url = secret.expose_secret();
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match (scheme, url.strip_prefix("sqlite://")) {
        (_, Some(path)) if !path.is_empty() && !path.contains(['?', '%', '#']) => {
            Ok(Address::Sqlite(PathBuf::from(path)))
        }
        (_, Some(_)) => Err("names no file: write sqlite://PATH, without ? % #".to_owned()),
        (Some("postgres" | "postgresql"), None) => match url::Url::parse(url) {
            Ok(parsed) if parsed.host_str().is_some_and(|host| !host.is_empty()) && parsed.path().len() > 1 => {
                Ok(Address::Postgres(secret.clone()))
            }
            _ => Err("names no database: write postgres://user:password@host:5432/database".to_owned()),
        },
        _ => Err("is written postgres://user:password@host:5432/database, or sqlite://PATH".to_owned()),
    }
}

impl Workspace {
    /// # Errors
    /// A name that is no zone's.
    pub fn zone(&self) -> Result<TimeZone, String> {
        TimeZone::get(&self.timezone).map_err(|_| "is the name of a zone, such as Europe/Berlin or UTC".to_owned())
    }
}

impl Smtp {
    /// The relay; none where e-mail goes to the sandbox.
    ///
    /// # Errors
    /// What is wrong with the address, without repeating it.
    pub fn settings(&self) -> Result<Option<Settings>, String> {
        let Some(url) = &self.url else { return Ok(None) };
        let mut settings = Settings::from_url(url.expose_secret()).map_err(|error| error.to_string())?;
        settings.connections = self.connections;
        settings.messages_max = self.messages_per_connection;
        settings.ca_file.clone_from(&self.ca_file);
        settings.hello.clone_from(&self.hello);
        Ok(Some(settings))
    }
}

impl Sender {
    /// What mail is signed with; none where no key is given.
    ///
    /// # Errors
    /// The key or its selector is none.
    pub fn dkim(&self) -> Result<Option<Dkim>, BadKey> {
        let Some(file) = &self.dkim_key_file else { return Ok(None) };
        let domain = self.address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
        Dkim::from_file(&domain, &self.dkim_selector, file).map(Some)
    }

    /// The name server that is asked about the sender's domain; none: the system's.
    ///
    /// # Errors
    /// It is no address.
    pub fn resolver(&self) -> Result<Option<SocketAddr>, String> {
        let Some(text) = &self.resolver else { return Ok(None) };
        let alone = || text.parse().map(|ip: std::net::IpAddr| SocketAddr::new(ip, 53));
        text.parse()
            .or_else(|_| alone())
            .map(Some)
            .map_err(|_| "is an address such as 9.9.9.9 or 127.0.0.1:5353".to_owned())
    }

    /// Who mail is from.
    ///
    /// # Errors
    /// An address nothing can be sent from, or answered to.
    pub fn mailbox(&self) -> Result<MailSender, NotASender> {
        let name = Some(self.name.as_str()).filter(|name| !name.is_empty());
        MailSender::new(name, &self.address, self.reply_to.as_deref())
    }

    /// What unsubscribe links begin with; `listening` is where the service listens.
    pub fn links_base(&self, listening: &str) -> String {
        self.public_url.clone().unwrap_or_else(|| listening.to_owned())
    }
}

impl Server {
    pub fn stop_within(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.stop_within.millis()).unwrap_or(0))
    }
}
