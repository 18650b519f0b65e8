//! Will anybody believe our mail: what the DNS says of the sender's domain, and of the address mail leaves from.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use crate::channel::dkim::Dkim;
use crate::channel::sender::dns::{Dns, Silent};
use crate::channel::sender::records::{DkimRecord, Dmarc, Says, Wrong};
use crate::channel::sender::spf::{Followed, LOOKUPS_MAX, follow};

use super::Check;

/// All questions about one of the five.
const DEADLINE: Duration = Duration::from_secs(20);
/// Labels above a domain that are asked for a DMARC policy.
const PARENTS_MAX: usize = 6;
/// Never reached: asking the system which of its addresses it would take sends nothing. It is one for documentation.
const SOMEWHERE: (&str, u16) = ("192.0.2.1", 25);

/// Whose mail, and over which relay.
pub struct Mail<'a> {
    /// Of the sender's address, in lower case.
    pub domain: &'a str,
    pub dkim: Option<&'a Dkim>,
    /// The relay's host name or address.
    pub relay: &'a str,
}

/// Examines all of it at once.
pub async fn examine(dns: &Result<Dns, Silent>, mail: &Mail<'_>) -> Vec<Check> {
    let dns = match dns {
        Ok(dns) => dns,
        Err(error) => return vec![silent("DNS", error)],
    };
    let (spf, dkim, dmarc, mx, ptr) = tokio::join!(
        within("SPF", spf(dns, mail)),
        within("DKIM", dkim(dns, mail)),
        within("DMARC", dmarc(dns, mail)),
        within("MX", mx(dns, mail)),
        within("PTR", ptr(dns, mail)),
    );
    vec![spf, dkim, dmarc, mx, ptr]
}

fn silent(name: &'static str, error: &Silent) -> Check {
    let advice = "look at /etc/resolv.conf of this machine, or name a server in sender.resolver";
    Check::warning(name, error.to_string(), advice)
}

async fn within(name: &'static str, asked: impl Future<Output = Result<Check, Silent>>) -> Check {
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(check)) => check,
        Ok(Err(error)) => silent(name, &error),
        Err(_) => silent(name, &Silent { name: "it".to_owned(), cause: "no answer in time".to_owned() }),
    }
}

async fn spf(dns: &Dns, mail: &Mail<'_>) -> Result<Check, Silent> {
    let (name, domain) = ("SPF", mail.domain);
    let followed = follow(dns, domain).await?;
    let wrongs = || followed.wrong.iter().map(|Wrong(cause)| cause.as_str()).collect::<Vec<_>>().join("; ");
    let Some(record) = &followed.record else {
        let (detail, advice) = match followed.wrong.is_empty() {
            true => (format!("{domain} has no SPF record"), "publish a TXT record there, such as"),
            false => (wrongs(), "correct it; receivers treat it as if it permitted nobody. An example:"),
        };
        return Ok(Check::bad(name, detail, &format!("{advice} `v=spf1 include:YOUR-RELAY ~all`")));
    };
    if !followed.wrong.is_empty() {
        return Ok(Check::bad(name, wrongs(), "correct it: receivers stop reading there"));
    }
    let lookups = followed.lookups;
    if lookups > LOOKUPS_MAX {
        let detail = format!("following it takes {lookups} questions, and receivers stop at {LOOKUPS_MAX}");
        return Ok(Check::bad(name, detail, "remove includes of services that do not send any more, or name networks"));
    }
    if record.otherwise() == Some(Says::Pass) {
        return Ok(Check::bad(name, "it permits everybody (+all)", "end it with ~all or -all"));
    }
    let end = match record.otherwise() {
        Some(Says::Fail) => "-all",
        Some(Says::SoftFail) => "~all",
        _ if record.redirect.is_some() => "a redirect",
        _ => {
            let detail = "it does not say what to think of others: it ends with neither ~all nor -all";
            return Ok(Check::warning(name, detail, "end it with ~all or -all"));
        }
    };
    let seen = format!(
        "{domain} permits {} networks in {lookups} of {LOOKUPS_MAX} questions, and ends with {end}",
        followed.networks.len()
    );
    let leaving = leaving(dns, mail.relay).await?;
    Ok(permits(&followed, &leaving, seen))
}

/// Whether the addresses mail leaves from are permitted, as far as they are known.
fn permits(followed: &Followed, leaving: &Leaving, seen: String) -> Check {
    let name = "SPF";
    let known = match leaving {
        Leaving::Relay(addresses) | Leaving::Here(addresses) => addresses,
        Leaving::Unknown => return Check::good(name, seen),
    };
    if known.is_empty() || known.iter().any(|address| followed.passes(*address)) {
        return Check::good(name, seen);
    }
    let all = known.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    match leaving {
        Leaving::Here(_) if !followed.is_partial => Check::bad(
            name,
            format!("{seen}; {all}, which mail leaves from, is not among them"),
            "add it as ip4: or ip6:",
        ),
        _ => Check::warning(
            name,
            format!("{seen}; {all}, the relay's own address, is not among them"),
            "relays may send from other addresses: compare with the `include:` that yours tells you to use",
        ),
    }
}

async fn dkim(dns: &Dns, mail: &Mail<'_>) -> Result<Check, Silent> {
    let name = "DKIM";
    let Some(key) = mail.dkim else {
        let detail = format!("mail is not signed here; receivers want a signature of {}", mail.domain);
        let advice = "set sender.dkim_key_file, or see that your relay signs in the name of your domain";
        return Ok(Check::warning(name, detail, advice));
    };
    let place = key.place();
    let publish = format!("publish this TXT record at {place}: `{}`", key.record());
    let texts = dns.texts(&place).await?;
    let [text] = texts.as_slice() else {
        let detail = match texts.len() {
            0 => format!("there is no record at {place}: no signature of ours can be verified"),
            many => format!("there are {many} records at {place}, and receivers want one"),
        };
        return Ok(Check::bad(name, detail, &publish));
    };
    Ok(match DkimRecord::parse(text) {
        Err(Wrong(cause)) => Check::bad(name, format!("{place}: {cause}"), &publish),
        Ok(record) if record.key.is_empty() => {
            Check::bad(name, format!("{place}: the key is revoked (p= is empty)"), "sign with a new key and selector")
        }
        Ok(record) if !key.is_published_as(&record) => Check::bad(
            name,
            format!("{place} has another key than the one mail is signed with"),
            &format!("{publish}; or sign with the key that belongs to it"),
        ),
        Ok(record) if record.testing => {
            let detail = format!("{place} is marked as a test (t=y): receivers treat mail as unsigned");
            Check::warning(name, detail, "remove t=y when mail arrives as it should")
        }
        Ok(_) => Check::good(name, format!("{place} has the key that mail is signed with")),
    })
}

async fn dmarc(dns: &Dns, mail: &Mail<'_>) -> Result<Check, Silent> {
    let (name, domain) = ("DMARC", mail.domain);
    let mut asked = domain;
    for _ in 0..=PARENTS_MAX {
        let place = format!("_dmarc.{asked}");
        let texts = dns.texts(&place).await?;
        let found: Vec<&String> = texts.iter().filter(|text| text.trim_start().starts_with("v=DMARC1")).collect();
        match found.as_slice() {
            [] => {}
            [text] => {
                return Ok(match Dmarc::parse(text) {
                    Ok(policy) => judged(&place, asked == domain, &policy, mail),
                    Err(Wrong(cause)) => Check::bad(name, format!("{place}: {cause}"), "correct it"),
                });
            }
            many => {
                let detail = format!("there are {} policies at {place}, and receivers want one", many.len());
                return Ok(Check::bad(name, detail, "remove all but one"));
            }
        }
        match asked.split_once('.') {
            Some((_, parent)) if parent.contains('.') => asked = parent,
            _ => break,
        }
    }
    let detail = format!("{domain} has no DMARC policy; large mailbox providers refuse bulk mail without one");
    let advice = format!("publish a TXT record at _dmarc.{domain}: `v=DMARC1; p=none; rua=mailto:YOU@{domain}`");
    Ok(Check::bad(name, detail, &advice))
}

fn judged(place: &str, is_own: bool, policy: &Dmarc, mail: &Mail<'_>) -> Check {
    let applied = policy.subdomains.as_ref().filter(|_| !is_own).unwrap_or(&policy.policy);
    // Both carry the very domain of the address mail is from, so the strict modes hold too.
    let aligned = match mail.dkim {
        Some(_) => format!("SPF and DKIM vouch for {} itself (aligned)", mail.domain),
        None => format!("SPF vouches for {} itself (aligned); DKIM is up to the relay", mail.domain),
    };
    let detail = format!("{place} asks for {applied}; {aligned}");
    let advice = match (applied.as_str(), &policy.reports) {
        ("none", _) => Some("when reports show that your own mail passes, move on to p=quarantine"),
        (_, None) => Some("add rua=mailto:… to hear who sends in your name"),
        _ => None,
    };
    let check = Check::good("DMARC", detail);
    Check { advice: advice.map(str::to_owned), ..check }
}

async fn mx(dns: &Dns, mail: &Mail<'_>) -> Result<Check, Silent> {
    let (name, domain) = ("MX", mail.domain);
    let hosts = dns.exchangers(domain).await?;
    let advice = "receivers refuse senders that take no mail: publish an MX record for it";
    Ok(match hosts.as_slice() {
        [null] if null == "." => Check::bad(
            name,
            format!("{domain} says that it takes no mail (null MX): answers and bounces are lost"),
            advice,
        ),
        [] if dns.addresses(domain).await?.is_empty() => {
            Check::bad(name, format!("{domain} has neither MX nor address: answers and bounces are lost"), advice)
        }
        [] => Check::warning(name, format!("{domain} has no MX; mail to it goes to its address"), advice),
        [first, ..] => Check::good(name, format!("{first} takes answers and bounces of {domain}")),
    })
}

/// Where mail leaves from, as far as that can be known from here.
#[derive(Debug)]
enum Leaving {
    /// The relay is elsewhere: its addresses.
    Relay(Vec<IpAddr>),
    /// The relay is on this machine, which has this address on the internet.
    Here(Vec<IpAddr>),
    /// On this machine, behind addresses of a private network.
    Unknown,
}

async fn leaving(dns: &Dns, relay: &str) -> Result<Leaving, Silent> {
    let addresses = match (relay.parse(), relay) {
        (Ok(address), _) => vec![address],
        (Err(_), "localhost") => vec![IpAddr::from([127, 0, 0, 1])],
        (Err(_), name) => dns.addresses(name).await?,
    };
    if !addresses.iter().any(|address| address.to_canonical().is_loopback()) {
        return Ok(match addresses.into_iter().all(is_private) {
            true => Leaving::Unknown,
            false => Leaving::Relay(dns.addresses(relay).await.unwrap_or_default()),
        });
    }
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect(SOMEWHERE)?;
        socket.local_addr()
    });
    Ok(match own.map(|address| address.ip()) {
        Ok(address) if !is_private(address) => Leaving::Here(vec![address]),
        _ => Leaving::Unknown,
    })
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            // 100.64.0.0/10 is shared by customers of one provider.
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0b1100_0000 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

async fn ptr(dns: &Dns, mail: &Mail<'_>) -> Result<Check, Silent> {
    let name = "PTR";
    let (addresses, whose) = match leaving(dns, mail.relay).await? {
        Leaving::Here(addresses) => (addresses, "this machine"),
        Leaving::Relay(addresses) => (addresses, mail.relay),
        Leaving::Unknown => {
            let detail =
                "mail leaves through a relay in this network; its address on the internet is not known from here";
            return Ok(Check::good(name, detail));
        }
    };
    let Some(address) = addresses.first().copied() else {
        let detail = format!("{} has no address in the DNS", mail.relay);
        return Ok(Check::warning(name, detail, "correct smtp.url, unless your hosts file names it"));
    };
    let names = dns.names(address).await?;
    let mut confirmed = None;
    for one in names.iter().take(5) {
        if dns.addresses(one).await?.contains(&address) {
            confirmed = Some(one);
            break;
        }
    }
    let advice = "ask whoever gives you the address to set its name, and let that name lead back to it";
    Ok(match (confirmed, names.first()) {
        (Some(one), _) => Check::good(name, format!("{address} of {whose} is {one}, and {one} leads back to it")),
        (None, Some(one)) => Check::warning(
            name,
            format!("{address} of {whose} is called {one}, which does not lead back to it"),
            advice,
        ),
        (None, None) => Check::warning(name, format!("{address} of {whose} has no name (PTR)"), advice),
    })
}
