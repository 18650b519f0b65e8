//! SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 7489) as text: what a record says, and what is wrong with it. No I/O.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a rule of SPF says of the addresses it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// A network, or an address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    pub ip: IpAddr,
    pub bits: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    All,
    Include(String),
    /// The host's addresses; none: of the domain itself. With the sizes of networks around them.
    A(Option<String>, u8, u8),
    Mx(Option<String>, u8, u8),
    Ptr,
    Ip(Net),
    Exists(String),
}

/// One SPF record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spf {
    pub rules: Vec<(Says, Mechanism)>,
    /// Whose record counts where no rule fits.
    pub redirect: Option<String>,
}

/// What is wrong with a record, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub String);

fn wrong<T>(text: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(text.into()))
}

impl Net {
    /// `10.0.0.0/8`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let name = if text.contains(':') { "ip6" } else { "ip4" };
        net(text, name, text).ok()
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                net.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                net.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// Whether a TXT record is an SPF record at all.
pub fn is_spf(text: &str) -> bool {
    let (version, rest) = (text.get(..6).unwrap_or_default(), text.get(6..).unwrap_or_default());
    version.eq_ignore_ascii_case("v=spf1") && (rest.is_empty() || rest.starts_with(' '))
}

impl Spf {
    /// # Errors
    /// What receivers could not read: they treat the domain as if it permitted nobody.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        if !is_spf(text) {
            return wrong("it does not begin with v=spf1");
        }
        let (mut rules, mut redirect) = (Vec::new(), None);
        for term in text[6..].split(' ').filter(|term| !term.is_empty()) {
            if let Some((name, value)) = modifier(term) {
                match name.to_ascii_lowercase().as_str() {
                    "redirect" if redirect.is_some() => return wrong("it has two redirects"),
                    "redirect" => redirect = Some(domain(term, value)?),
                    // `exp` and what nobody knows change nothing.
                    _ => {}
                }
                continue;
            }
            rules.push(rule(term)?);
        }
        Ok(Self { rules, redirect })
    }

    /// How the record ends: what it says of addresses no other rule fits.
    pub fn otherwise(&self) -> Option<Says> {
        self.rules.iter().find(|(_, mechanism)| *mechanism == Mechanism::All).map(|(says, _)| *says)
    }
}

/// `name=value`, where the name comes before any of the signs a mechanism has.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_name)).then_some((name, value))
}

fn rule(term: &str) -> Result<(Says, Mechanism), Wrong> {
    let (says, rest) = match term.as_bytes().first() {
        Some(b'+') => (Says::Pass, &term[1..]),
        Some(b'-') => (Says::Fail, &term[1..]),
        Some(b'~') => (Says::SoftFail, &term[1..]),
        Some(b'?') => (Says::Neutral, &term[1..]),
        _ => (Says::Pass, term),
    };
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, argument) = rest.split_at(end);
    let after_colon = argument.strip_prefix(':');
    let needed = || after_colon.ok_or_else(|| Wrong(format!("`{term}` names no domain")));
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if argument.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(domain(term, needed()?)?),
        "exists" => Mechanism::Exists(domain(term, needed()?)?),
        "ptr" => Mechanism::Ptr,
        "ip4" | "ip6" => Mechanism::Ip(net(term, name, needed()?)?),
        "a" | "mx" => {
            let (host, sizes) = match argument.find('/') {
                Some(slash) => argument.split_at(slash),
                None => (argument, ""),
            };
            let host = host.strip_prefix(':').map(|host| domain(term, host)).transpose()?;
            let (v4, v6) = sizes_of(term, sizes)?;
            if name.eq_ignore_ascii_case("a") { Mechanism::A(host, v4, v6) } else { Mechanism::Mx(host, v4, v6) }
        }
        _ => return wrong(format!("`{term}` is no mechanism of SPF")),
    };
    Ok((says, mechanism))
}

/// A domain, which may hold macros (`%{i}`).
fn domain(term: &str, text: &str) -> Result<String, Wrong> {
    let is_fine = |c: char| c.is_ascii_graphic() && c != '/' || c == '%';
    let without_macros = text.split("%{").next().unwrap_or_default();
    if text.is_empty() || text.len() > 253 || !without_macros.chars().all(is_fine) {
        return wrong(format!("`{term}` names no domain"));
    }
    Ok(text.trim_end_matches('.').to_ascii_lowercase())
}

fn net(term: &str, name: &str, text: &str) -> Result<Net, Wrong> {
    let bad = || Wrong(format!("`{term}` is no network"));
    let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
    let ip: IpAddr = ip.parse().map_err(|_| bad())?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    if ip.is_ipv4() != name.eq_ignore_ascii_case("ip4") {
        return Err(bad());
    }
    let bits = bits.map_or(Ok(most), |bits| size(bits).ok_or_else(bad))?;
    if bits > most { Err(bad()) } else { Ok(Net { ip, bits }) }
}

fn size(text: &str) -> Option<u8> {
    (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty()).then(|| text.parse().ok()).flatten()
}

/// `/24`, `//64` or `/24//64`.
fn sizes_of(term: &str, text: &str) -> Result<(u8, u8), Wrong> {
    let bad = || Wrong(format!("`{term}` has no such size of a network"));
    let (v4, v6) = match text.split_once("//") {
        Some((v4, v6)) => (v4, Some(v6)),
        None => (text, None),
    };
    let v4 = match v4.strip_prefix('/') {
        Some(bits) => size(bits).filter(|bits| *bits <= 32).ok_or_else(bad)?,
        None if v4.is_empty() => 32,
        None => return Err(bad()),
    };
    let v6 = v6.map_or(Some(128), |bits| size(bits).filter(|bits| *bits <= 128)).ok_or_else(bad)?;
    Ok((v4, v6))
}

/// `name=value; …` as DKIM and DMARC write it. Names in lower case; blanks around values are gone.
///
/// # Errors
/// A part that is no such pair, or a name twice.
pub fn tags(text: &str) -> Result<BTreeMap<String, String>, Wrong> {
    let mut found = BTreeMap::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, value)) = part.split_once('=') else { return wrong(format!("`{part}` is no name=value")) };
        if found.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned()).is_some() {
            return wrong(format!("`{}` is there twice", name.trim()));
        }
    }
    Ok(found)
}

/// A public key as the DNS has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimRecord {
    /// `rsa` or `ed25519`.
    pub kind: String,
    /// Empty: the key was revoked.
    pub key: Vec<u8>,
    /// Receivers are asked to treat signed mail as unsigned.
    pub testing: bool,
}

impl DkimRecord {
    /// # Errors
    /// What receivers could not read: no signature would be believed.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let tags = tags(text)?;
        if tags.get("v").is_some_and(|version| version != "DKIM1") {
            return wrong("its version is not DKIM1");
        }
        let Some(key) = tags.get("p") else { return wrong("it has no key (p=)") };
        let packed: String = key.split_whitespace().collect();
        let Ok(key) = STANDARD.decode(packed) else { return wrong("its key (p=) is no base64") };
        let kind = tags.get("k").map_or("rsa", String::as_str).to_ascii_lowercase();
        let testing = tags.get("t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y"));
        Ok(Self { kind, key, testing })
    }

    /// Whether it is this public key, given as SubjectPublicKeyInfo: whole, or the key in it alone, as both are written.
    pub fn is(&self, public: &[u8]) -> bool {
        self.key.len() >= 32 && (self.key == public || public.ends_with(&self.key))
    }
}

/// What a domain asks receivers to do with mail that nobody vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmarc {
    /// `none`, `quarantine` or `reject`.
    pub policy: String,
    /// The same for subdomains, where it differs.
    pub subdomains: Option<String>,
    /// The very domain must be in SPF or DKIM, not only one of the same owner.
    pub strict_dkim: bool,
    pub strict_spf: bool,
    /// Where reports go.
    pub reports: Option<String>,
}

impl Dmarc {
    /// # Errors
    /// What receivers could not read: they treat the domain as if it had no policy.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        if !text.trim_start().starts_with("v=DMARC1") {
            return wrong("it does not begin with v=DMARC1");
        }
        let tags = tags(text)?;
        let policy = |name: &str| match tags.get(name).map(|policy| policy.to_ascii_lowercase()) {
            Some(policy) if ["none", "quarantine", "reject"].contains(&policy.as_str()) => Ok(Some(policy)),
            Some(policy) => Err(Wrong(format!("`{name}={policy}` is none of none, quarantine and reject"))),
            None => Ok(None),
        };
        let strict = |name: &str| tags.get(name).is_some_and(|mode| mode.eq_ignore_ascii_case("s"));
        let Some(own) = policy("p")? else { return wrong("it has no policy (p=)") };
        Ok(Self {
            policy: own,
            subdomains: policy("sp")?,
            strict_dkim: strict("adkim"),
            strict_spf: strict("aspf"),
            reports: tags.get("rua").cloned(),
        })
    }
}

#[cfg(test)]
mod tests;
