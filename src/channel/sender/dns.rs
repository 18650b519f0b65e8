//! Questions to the DNS, each with an end: what is not there is an answer, a server that does not answer is an error.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

/// Of one server, tried twice.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const TRIES: usize = 2;

/// The DNS could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the DNS does not answer about {name}: {cause}")]
pub struct Silent {
    pub name: String,
    pub cause: String,
}

/// Asks the system's name servers, or one of our choice.
pub struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// # Errors
    /// The system names no server.
    pub fn new(server: Option<SocketAddr>) -> Result<Self, Silent> {
        let silent = |error: NetError| Silent { name: "anything".to_owned(), cause: error.to_string() };
        let mut builder = match server {
            None => TokioResolver::builder_tokio().map_err(silent)?,
            Some(address) => {
                let mut one = NameServerConfig::udp_and_tcp(address.ip());
                one.connections.iter_mut().for_each(|connection| connection.port = address.port());
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![one]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.timeout = ANSWER_WITHIN;
        options.attempts = TRIES;
        // Receivers do not read our hosts file.
        options.use_hosts_file = ResolveHosts::Never;
        Ok(Self { resolver: builder.build().map_err(silent)? })
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, Silent> {
        let silent = |cause: String| Silent { name: name.to_owned(), cause };
        let mut asked = Name::from_utf8(name).map_err(|error| silent(error.to_string()))?;
        asked.set_fqdn(true);
        match self.resolver.lookup(asked, kind).await {
            Ok(found) => {
                let answers = found.answers().iter().map(|record| record.data.clone());
                Ok(answers.filter(|data| data.record_type() == kind).collect())
            }
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Err(error) => Err(silent(error.to_string())),
        }
    }

    /// Texts, each joined from its parts.
    ///
    /// # Errors
    /// The DNS does not answer.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, Silent> {
        let texts = self.ask(name, RecordType::TXT).await?.into_iter().filter_map(|data| match data {
            RData::TXT(text) => Some(text.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect()),
            _ => None,
        });
        Ok(texts.collect())
    }

    /// # Errors
    /// The DNS does not answer.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Silent> {
        let mut found = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            found.extend(self.ask(name, kind).await?.into_iter().filter_map(|data| data.ip_addr()));
        }
        Ok(found)
    }

    /// Who takes mail for a domain, the preferred first; `.` alone says that nobody does.
    ///
    /// # Errors
    /// The DNS does not answer.
    pub async fn exchangers(&self, name: &str) -> Result<Vec<String>, Silent> {
        let mut found: Vec<(u16, String)> = Vec::new();
        for data in self.ask(name, RecordType::MX).await? {
            if let RData::MX(mx) = data {
                found.push((mx.preference, mx.exchange.to_utf8().to_ascii_lowercase()));
            }
        }
        found.sort();
        let without_dot = |name: String| if name == "." { name } else { name.trim_end_matches('.').to_owned() };
        Ok(found.into_iter().map(|(_, name)| without_dot(name)).collect())
    }

    /// The names of an address.
    ///
    /// # Errors
    /// The DNS does not answer.
    pub async fn names(&self, address: IpAddr) -> Result<Vec<String>, Silent> {
        let reversed = Name::from(address).to_utf8();
        let names = self.ask(&reversed, RecordType::PTR).await?.into_iter().filter_map(|data| match data {
            RData::PTR(name) => Some(name.to_utf8().trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        });
        Ok(names.collect())
    }
}
