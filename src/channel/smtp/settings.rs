//! Where the relay is and how it is spoken to, from one URL.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use secrecy::SecretString;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::channel::dkim::Dkim;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte: `smtps://`.
    Implicit,
    /// STARTTLS or nothing is sent.
    StartTls,
    /// STARTTLS where the server offers it.
    Opportunistic,
    None,
}

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// TCP, and the TLS handshake.
    pub connect: Duration,
    /// Each command and its answer, the greeting and the login.
    pub command: Duration,
    /// Writing the message.
    pub data: Duration,
    /// From the final dot to its answer. RFC 5321 asks for ten minutes: giving up early makes the send unknown.
    pub final_reply: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(10), command: seconds(30), data: seconds(120), final_reply: seconds(600) }
    }
}

/// All about the relay.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub credentials: Option<(String, SecretString)>,
    /// PEM certificates trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// What EHLO says; by default the host's name.
    pub hello: Option<String>,
    /// What mail is signed with; none: it is not.
    pub dkim: Option<Dkim>,
    /// Connections at most.
    pub connections: usize,
    /// A connection is replaced after this long, this many messages, or this long without one.
    pub age_max: Duration,
    pub messages_max: u32,
    pub idle_max: Duration,
    pub timeouts: Timeouts,
}

/// What is wrong with the relay's settings. Never repeats the URL: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    #[error("the SMTP address must look like smtp://user:password@host:587?tls=starttls or smtps://host")]
    NotAUrl,
    #[error("`tls={0}` is not known; there are starttls, opportunistic and none")]
    Tls(String),
    #[error("`{0}` in the SMTP address is not known; there is tls")]
    Option(String),
    #[error("certificates in {0}: {1}")]
    Certificates(String, String),
}

impl Settings {
    /// `smtp://user:password@host:port?tls=starttls|opportunistic|none` or `smtps://…`. Without `tls`, a login asks for
    /// STARTTLS and no login takes it where offered. Ports by default: 465 for smtps, 587 with a login, 25 without.
    ///
    /// # Errors
    /// When the URL is not of this form.
    pub fn from_url(text: &str) -> Result<Self, BadSettings> {
        let url = Url::parse(text).map_err(|_| BadSettings::NotAUrl)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BadSettings::NotAUrl)?;
        let login = !url.username().is_empty();
        let mut tls = match url.scheme() {
            "smtps" => Tls::Implicit,
            "smtp" if login => Tls::StartTls,
            "smtp" => Tls::Opportunistic,
            _ => return Err(BadSettings::NotAUrl),
        };
        for (name, value) in url.query_pairs() {
            tls = match (name.as_ref(), value.as_ref()) {
                ("tls", _) if tls == Tls::Implicit => return Err(BadSettings::Tls(value.into_owned())),
                ("tls", "starttls") => Tls::StartTls,
                ("tls", "opportunistic") => Tls::Opportunistic,
                ("tls", "none") => Tls::None,
                ("tls", other) => return Err(BadSettings::Tls(other.to_owned())),
                (other, _) => return Err(BadSettings::Option(other.to_owned())),
            };
        }
        let port = match (tls, login) {
            (Tls::Implicit, _) => 465,
            (_, true) => 587,
            (_, false) => 25,
        };
        let secret = decoded(url.password().unwrap_or_default()).ok_or(BadSettings::NotAUrl)?;
        let user = decoded(url.username()).ok_or(BadSettings::NotAUrl)?;
        Ok(Self {
            // An IPv6 address stands in brackets in a URL and without them everywhere else.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            tls,
            credentials: login.then(|| (user, SecretString::from(secret))),
            ca_file: None,
            hello: None,
            dkim: None,
            connections: 8,
            age_max: Duration::from_secs(300),
            messages_max: 1_000,
            idle_max: Duration::from_secs(30),
            timeouts: Timeouts::default(),
        })
    }

    pub(super) fn connector(&self) -> Result<TlsConnector, BadSettings> {
        let mut roots = RootCertStore::empty();
        let mut source = "the system".to_owned();
        if self.tls != Tls::None {
            // A machine without certificates is no problem until it meets a server that needs one.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Some(path) = &self.ca_file {
            source = path.display().to_string();
            let wrong = |cause: String| BadSettings::Certificates(source.clone(), cause);
            let certificates = CertificateDer::pem_file_iter(path).map_err(|cause| wrong(cause.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|cause| wrong(cause.to_string()))?;
                roots.add(certificate).map_err(|cause| wrong(cause.to_string()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| BadSettings::Certificates(source, cause.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// What a person is told when it works; never the password.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = match self.tls {
            Tls::Implicit => "TLS",
            Tls::StartTls => "STARTTLS",
            Tls::Opportunistic => "STARTTLS if offered",
            Tls::None => "no encryption",
        };
        write!(f, "smtp {}:{}, {tls}", self.host, self.port)?;
        if self.credentials.is_some() { f.write_str(", logged in") } else { Ok(()) }
    }
}

/// Percent-decodes a part of a URL.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn one_url_says_it_all_and_the_safe_choice_is_the_default() {
        let rows = [
            ("smtp://mail.example", Tls::Opportunistic, 25),
            ("smtp://u:p@mail.example", Tls::StartTls, 587),
            ("smtp://u:p@mail.example:2525?tls=none", Tls::None, 2525),
            ("smtp://mail.example?tls=starttls", Tls::StartTls, 25),
            ("smtps://u:p@mail.example", Tls::Implicit, 465),
        ];
        for (text, tls, port) in rows {
            let settings = Settings::from_url(text).unwrap();
            assert_eq!((settings.tls, settings.port, settings.host.as_str()), (tls, port, "mail.example"), "{text}");
        }
        let settings = Settings::from_url("smtp://ann%40shop:p%C3%A4%3A%2F@[::1]:25").unwrap();
        let (user, password) = settings.credentials.clone().unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("ann@shop", "pä:/"));
        assert_eq!(settings.host, "::1");
        assert!(!format!("{settings} {settings:?}").contains("pä"));
    }

    #[test]
    fn other_urls_are_refused_without_repeating_the_password() {
        for wrong in [
            "",
            "mail.example",
            "http://u:secret@mail.example",
            "smtp://u:secret@mail.example?tls=yes",
            "smtp://u:secret@mail.example?ssl=1",
            "smtps://u:secret@mail.example?tls=none",
            "smtp://%zz:secret@m.example",
        ] {
            let error = Settings::from_url(wrong).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
