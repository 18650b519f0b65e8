//! Values of the right type that cannot be meant: each is refused at the start, by its key and with what is expected.

use std::path::Path;

use secrecy::ExposeSecret;
use tracing_subscriber::EnvFilter;

use super::{Config, Wrong, database_address};
use crate::caps::redis;
use crate::channel::dkim::BadKey;
use crate::definition::problem::nearest;
use crate::ids::Span;

/// What a part of the log may be told.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
const SETTLE_MAX: Span = Span::from_seconds(60);

/// Everything of `config` that makes no sense. Where it was set is for the caller to say.
pub(super) fn wrong_in(config: &Config) -> Vec<Wrong> {
    let mut found = Found(Vec::new());
    found.in_addresses(config);
    found.in_mail(config);
    found.in_times(config);
    found.in_telemetry(config);
    found.0
}

struct Found(Vec<Wrong>);

impl Found {
    fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Wrong { place: String::new(), key: key.to_owned(), message: message.into(), nearest: None });
    }

    fn check<T, E: ToString>(&mut self, key: &str, read: Result<T, E>) {
        if let Err(error) = read {
            self.refuse(key, error.to_string());
        }
    }

    fn in_addresses(&mut self, config: &Config) {
        if let Some(url) = &config.database.url {
            self.check("database.url", database_address(url));
        }
        if let Some(url) = &config.redis.url {
            self.check("redis.url", redis::Server::check_address(url.expose_secret()));
        }
        self.check("workspace.timezone", config.workspace.zone());
        for (key, url) in
            [("sender.public_url", &config.sender.public_url), ("ingest.public_url", &config.ingest.public_url)]
        {
            if url.as_ref().is_some_and(|url| !is_web_address(url)) {
                self.refuse(key, "is an address such as https://events.shop.example");
            }
        }
    }

    fn in_mail(&mut self, config: &Config) {
        let smtp = &config.smtp;
        self.check("smtp.url", smtp.settings());
        if smtp.connections == 0 || smtp.connections > 1_000 {
            self.refuse("smtp.connections", "is a number from 1 to 1000");
        }
        if smtp.messages_per_connection == 0 {
            self.refuse("smtp.messages_per_connection", "is at least 1");
        }
        // Also while there is no relay: whoever sets one later should not find out then.
        if let Some(error) = smtp.ca_file.as_deref().and_then(unreadable) {
            self.refuse("smtp.ca_file", error);
        }
        if smtp.hello.as_deref().is_some_and(|hello| !is_host(hello)) {
            self.refuse(
                "smtp.hello",
                "is the name of a host such as mail.shop.example, or an address such as [192.0.2.1]",
            );
        }
        if let Err(error) = config.sender.mailbox() {
            let is_reply_to = config.sender.reply_to.as_deref() == Some(error.address());
            let is_reply_to = is_reply_to && config.sender.address != error.address();
            self.refuse(if is_reply_to { "sender.reply_to" } else { "sender.address" }, error.to_string());
        }
        self.check("sender.resolver", config.sender.resolver());
        if let Err(error) = config.sender.dkim() {
            let is_selector = matches!(error, BadKey::Selector(_));
            self.refuse(if is_selector { "sender.dkim_selector" } else { "sender.dkim_key_file" }, error.to_string());
        }
    }

    fn in_times(&mut self, config: &Config) {
        let retry = &config.retry;
        if retry.delays.is_empty() {
            self.refuse("retry.delays", "needs at least one");
        }
        if retry.attempts_max == 0 {
            self.refuse("retry.attempts_max", "is at least 1: the first try counts");
        }
        if retry.age_max <= Span::ZERO {
            self.refuse("retry.age_max", "is longer than 0s: no message would ever be tried");
        }
        if config.sending.settle > SETTLE_MAX {
            self.refuse("sending.settle", "is at most 60s: every marketing message may wait as long");
        }
        for (name, message) in config.retention.wrong() {
            self.refuse(&format!("retention.{name}"), message);
        }
    }

    fn in_telemetry(&mut self, config: &Config) {
        self.check("metrics.listen", config.metrics.listen());
        if config.metrics.token.as_ref().is_some_and(|token| token.expose_secret().len() < 16) {
            self.refuse("metrics.token", "has 16 characters or more");
        }
        if let Some((message, nearest)) = wrong_level(&config.log.level) {
            self.0.push(Wrong { place: String::new(), key: "log.level".to_owned(), message, nearest });
        }
    }
}

/// The filter takes a bare word it does not know for the name of a module, and then says nothing of all others.
fn wrong_level(text: &str) -> Option<(String, Option<String>)> {
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let expected =
        || format!("{} or {}, also by module: `info,carillon::worker=debug`", LEVELS[..5].join(", "), LEVELS[5]);
    let mut parts = text.split(',').map(str::trim).filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return Some((format!("is empty: say {}", expected()), None));
    }
    // What is in brackets has commas and equals signs of its own; the filter reads it.
    let of = |part: &'_ str| part.rsplit_once('=').map_or(part, |(_, level)| level).trim().to_owned();
    if !text.contains('[')
        && let Some(word) = parts.map(of).find(|word| !is_level(word))
    {
        let near = nearest(&word, LEVELS.iter().copied());
        return Some((format!("`{word}` is no level; expected {}", expected()), near));
    }
    text.parse::<EnvFilter>().err().map(|error| (format!("is not a level or a list of them: {error}"), None))
}

fn unreadable(file: &Path) -> Option<String> {
    std::fs::read(file).err().map(|error| format!("{} cannot be read: {error}", file.display()))
}

/// What may stand after EHLO: no blank and no control character, or the relay refuses every message.
fn is_host(text: &str) -> bool {
    text.len() <= 255 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
}

fn is_web_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
    })
}
