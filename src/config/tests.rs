//! Settings are what the file and the environment say, or refused by name.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn from_env(pairs: &[(&str, &str)]) -> Result<Config, Refused> {
    Config::load(None, env(pairs))
}

fn from_file(text: &str) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Config::load(Some(file.path()), env(&[]))
        .map_err(|refused| refused.to_string().replace(&file.path().display().to_string(), "FILE"))
}

#[test]
fn the_defaults_are_the_parts_own() {
    let config = from_env(&[]).unwrap();
    assert_eq!(config.ingest, Ingest::default());
    assert_eq!(config.retry, RetryPolicy::default());
    assert_eq!(config.database_address().shown(), "carillon-data/carillon.db");
    assert!(config.smtp.settings().unwrap().is_none());
    let smtp = Settings::from_url("smtp://relay").unwrap();
    assert_eq!((config.smtp.connections, config.smtp.messages_per_connection), (smtp.connections, smtp.messages_max));
}

#[test]
fn the_example_for_production_is_accepted() {
    let config = Config::load(Some(Path::new("config/production.example.toml")), env(&[])).unwrap();
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(config.ingest.trust_forwarded);
}

#[test]
fn the_environment_wins_over_the_file_and_keeps_each_type() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[server]\nlisten = \"127.0.0.1:1\"\nthreads = 3\n").unwrap();
    let pairs = [
        ("CARILLON_SERVER__LISTEN", "127.0.0.1:2"),
        ("CARILLON_SENDER__NAME", "2026"),
        ("CARILLON_RETRY__DELAYS", "1m, 2m"),
        ("CARILLON_INGEST__TRUST_FORWARDED", "true"),
        ("HOME", "a folder"),
    ];
    let config = Config::load(Some(file.path()), env(&pairs)).unwrap();
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.threads, 3);
    assert_eq!(config.sender.name, "2026");
    assert_eq!(config.retry.delays, [Span::from_seconds(60), Span::from_seconds(120)]);
    assert!(config.ingest.trust_forwarded);
}

#[test]
fn a_wrong_name_is_refused_with_the_nearest_known_one() {
    let error = from_file("[server]\nlisen = \"127.0.0.1:1\"\n[smpt]\nurl = \"x\"\n").unwrap_err();
    assert!(error.contains("FILE: server.lisen: there is no such setting; did you mean `server.listen`?"), "{error}");
    assert!(error.contains("FILE: smpt: there is no such section; did you mean `smtp`?"), "{error}");
    let error = from_env(&[("CARILLON_DATABASE_URL", "sqlite://x")]).unwrap_err().to_string();
    assert!(
        error.contains("CARILLON_DATABASE_URL: there is no such setting; did you mean `CARILLON_DATABASE__URL`?"),
        "{error}"
    );
}

#[test]
fn a_wrong_value_is_refused_by_its_key() {
    for (variable, value, key) in [
        ("CARILLON_SERVER__LISTEN", "nowhere", "server.listen"),
        ("CARILLON_SERVER__THREADS", "many", "server.threads"),
        ("CARILLON_SENDING__SETTLE", "soon", "sending.settle"),
        ("CARILLON_SENDING__SETTLE", "2h", "sending.settle"),
        ("CARILLON_LOG__FORMAT", "jsn", "log.format"),
        ("CARILLON_SENDER__ADDRESS", "nobody", "sender.address"),
        ("CARILLON_SENDER__PUBLIC_URL", "ftp://x", "sender.public_url"),
        ("CARILLON_REDIS__URL", "memcached://x", "redis.url"),
        ("CARILLON_WORKSPACE__TIMEZONE", "Mars/Olympus", "workspace.timezone"),
        ("CARILLON_INGEST__REQUESTS_BURST", "0", "ingest.requests_burst"),
        ("CARILLON_SENDER__REPLY_TO", "garbage", "sender.reply_to"),
        ("CARILLON_SMTP__HELLO", "a b", "smtp.hello"),
        ("CARILLON_SMTP__CA_FILE", "no/such/file.pem", "smtp.ca_file"),
        ("CARILLON_RETRY__AGE_MAX", "0s", "retry.age_max"),
        ("CARILLON_RETRY__DELAYS", "1m, soon", "retry.delays"),
        ("CARILLON_LOG__LEVEL", "", "log.level"),
        ("CARILLON_LOG__LEVEL", "infoo", "log.level"),
        ("CARILLON_LOG__LEVEL", "info,carillon=debgu", "log.level"),
    ] {
        let error = from_env(&[(variable, value)]).unwrap_err().to_string();
        assert!(error.contains(&format!("\n  {variable}: {key}")), "{variable}={value}: {error}");
        assert!(!error.contains(".rs:"), "{error}");
    }
    let error = from_env(&[("CARILLON_LOG__LEVEL", "infoo")]).unwrap_err().to_string();
    assert!(error.contains("error, warn, info") && error.contains("did you mean `info`?"), "{error}");
    for level in ["info", "OFF", "info,carillon::worker=debug", "warn,carillon=trace"] {
        from_env(&[("CARILLON_LOG__LEVEL", level)]).unwrap();
    }
    let error = from_file("[sender]\nreply_to = \"garbage\"\n").unwrap_err();
    assert!(error.contains("\n  sender.reply_to: "), "{error}");
    assert!(from_file("[server\n").unwrap_err().contains("FILE: "));
    assert!(Config::load(Some(Path::new("no/such/file.toml")), env(&[])).is_err());
}

#[test]
fn a_providers_limit_is_set_by_channel_and_none_is_set_by_itself() {
    use crate::message::Channel;
    assert!(from_env(&[]).unwrap().sending.per_second().is_empty());
    let set = from_env(&[("CARILLON_SENDING__EMAIL_PER_SECOND", "14"), ("CARILLON_SENDING__SMS_PER_SECOND", "1")]);
    let limits = set.unwrap().sending.per_second();
    assert_eq!(
        limits.iter().map(|(channel, n)| (*channel, n.get())).collect::<Vec<_>>(),
        [(Channel::Email, 14), (Channel::Sms, 1)]
    );
    let error = from_env(&[("CARILLON_SENDING__EMAIL_PER_SECOND", "-1")]).unwrap_err().to_string();
    assert!(error.contains("sending.email_per_second: "), "{error}");
}

#[test]
fn a_database_is_a_file_or_a_server_and_its_password_is_not_shown() {
    let shown =
        |url: &str| from_env(&[("CARILLON_DATABASE__URL", url)]).map(|config| config.database_address().shown());
    assert_eq!(shown("postgres://ann:s3cret@db:5433/shop").unwrap(), "postgres://db:5433/shop");
    assert_eq!(shown("sqlite://a/b.db").unwrap(), "a/b.db");
    for wrong in ["postgres://ann:s3cret@db", "postgres://", "mysql://ann:s3cret@db/shop", "sqlite://", "s3cret"] {
        let error = shown(wrong).unwrap_err().to_string();
        assert!(error.contains("database.url: "), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn secrets_are_not_printed_whether_right_or_wrong() {
    let right = from_env(&[("CARILLON_SMTP__URL", "smtp://ann:s3cret@relay.example")]).unwrap();
    assert!(!format!("{right:?}").contains("s3cret"));
    let wrong = from_env(&[("CARILLON_SMTP__URL", "smtp//ann:s3cret@relay")]).unwrap_err();
    assert!(wrong.to_string().contains("smtp.url: "), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains("s3cret"));
    let wrong = from_file("[smtp]\nurl = [\"s3cret\"]\n").unwrap_err();
    assert!(wrong.contains("smtp.url") && !wrong.contains("s3cret"), "{wrong}");
}
