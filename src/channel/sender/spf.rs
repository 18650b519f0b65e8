//! What receivers find when they follow a domain's SPF record: whether it can be read, in how many questions, and what
//! it says of an address. The limits are those of RFC 7208, section 4.6.4.

use std::net::IpAddr;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::dns::{Dns, Silent};
use super::records::{Mechanism, Net, Says, Spf, Wrong, is_spf};

/// Questions a receiver asks before it gives up.
pub const LOOKUPS_MAX: usize = 10;
/// We look a little further, to say how many they are.
const FOLLOWED_MAX: usize = 40;

/// What came of following a record.
#[derive(Debug, Clone, Default)]
pub struct Followed {
    /// The domain's own record; none: it has none.
    pub record: Option<Spf>,
    pub lookups: usize,
    /// What receivers cannot read, in the order they come to it.
    pub wrong: Vec<Wrong>,
    /// Networks that may send, as far as they are known without knowing the message.
    pub networks: Vec<(Says, Net)>,
    /// A rule depends on the message (macros, `ptr`), so nothing can be said of an address it alone permits.
    pub is_partial: bool,
}

impl Followed {
    pub fn passes(&self, address: IpAddr) -> bool {
        let first = self.networks.iter().find(|(_, net)| net.contains(address));
        first.is_some_and(|(says, _)| *says == Says::Pass)
    }
}

/// Follows the record of a domain through everything it includes.
///
/// # Errors
/// The DNS does not answer.
pub async fn follow(dns: &Dns, domain: &str) -> Result<Followed, Silent> {
    let mut followed = Followed::default();
    let mut visited = vec![domain.to_owned()];
    followed.record = read(dns, domain, true, &mut followed, &mut visited).await?;
    Ok(followed)
}

fn read<'a>(
    dns: &'a Dns,
    domain: &'a str,
    is_own: bool,
    followed: &'a mut Followed,
    visited: &'a mut Vec<String>,
) -> BoxFuture<'a, Result<Option<Spf>, Silent>> {
    async move {
        let mut records: Vec<String> = dns.texts(domain).await?.into_iter().filter(|text| is_spf(text)).collect();
        let record = match (records.pop(), records.is_empty()) {
            (None, _) if is_own => return Ok(None),
            (None, _) => {
                followed.wrong.push(Wrong(format!("{domain} has no SPF record")));
                return Ok(None);
            }
            (Some(_), false) => {
                followed
                    .wrong
                    .push(Wrong(format!("{domain} has {} SPF records, and receivers want one", records.len() + 1)));
                return Ok(None);
            }
            (Some(text), true) => match Spf::parse(&text) {
                Ok(record) => record,
                Err(Wrong(cause)) => {
                    followed.wrong.push(Wrong(format!("{domain}: {cause}")));
                    return Ok(None);
                }
            },
        };
        for (says, mechanism) in &record.rules {
            apply(dns, domain, *says, mechanism, followed, visited).await?;
        }
        if let Some(next) = record.redirect.as_deref().filter(|_| record.otherwise().is_none()) {
            go_on(dns, next, followed, visited).await?;
        }
        Ok(Some(record))
    }
    .boxed()
}

/// The record of another domain, once.
async fn go_on(dns: &Dns, next: &str, followed: &mut Followed, visited: &mut Vec<String>) -> Result<(), Silent> {
    followed.lookups += 1;
    if next.contains("%{") {
        followed.is_partial = true;
    } else if visited.iter().any(|seen| seen == next) {
        followed.wrong.push(Wrong(format!("{next} is asked for twice")));
    } else if followed.lookups <= FOLLOWED_MAX {
        visited.push(next.to_owned());
        read(dns, next, false, followed, visited).await?;
    }
    Ok(())
}

async fn apply(
    dns: &Dns,
    domain: &str,
    says: Says,
    mechanism: &Mechanism,
    followed: &mut Followed,
    visited: &mut Vec<String>,
) -> Result<(), Silent> {
    match mechanism {
        Mechanism::All => {}
        Mechanism::Ip(net) => followed.networks.push((says, *net)),
        Mechanism::Include(next) => go_on(dns, next, followed, visited).await?,
        Mechanism::Exists(_) | Mechanism::Ptr => {
            followed.lookups += 1;
            followed.is_partial = true;
        }
        Mechanism::A(host, v4, v6) | Mechanism::Mx(host, v4, v6) => {
            followed.lookups += 1;
            let host = host.as_deref().unwrap_or(domain);
            if host.contains("%{") || followed.lookups > FOLLOWED_MAX {
                followed.is_partial = true;
                return Ok(());
            }
            let hosts = match mechanism {
                Mechanism::Mx(..) => dns.exchangers(host).await?,
                _ => vec![host.to_owned()],
            };
            for host in hosts.iter().take(LOOKUPS_MAX) {
                let nets = dns.addresses(host).await?.into_iter();
                followed.networks.extend(nets.map(|ip| (says, Net { ip, bits: if ip.is_ipv4() { *v4 } else { *v6 } })));
            }
        }
    }
    Ok(())
}
