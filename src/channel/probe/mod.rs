//! Whether anybody answers behind the links and pictures of a message. Each address is asked once, as a stranger would
//! (no cookie, no login), within limits of time, bytes and redirects, a few at a time of one host, and nobody that only
//! this machine reaches. What may act is not asked: an address of that kind is not followed to, either.

mod found;
mod picture;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Client, Response, StatusCode, redirect};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::outside::{Closed, Outside, Resolver};
use crate::render::linked::{Linked, Use, acts};
pub use found::{Finding, Found, Trouble, Verdict};

/// What one look may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// To connect.
    pub connect: Duration,
    /// From one request to the end of its answer.
    pub answer: Duration,
    /// All addresses together; what is left then is not asked.
    pub whole: Duration,
    pub redirects: usize,
    /// A picture is heavy beyond these, and nothing more is read of it.
    pub picture_bytes: usize,
    /// Asked at the same time.
    pub hosts: usize,
    pub per_host: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            whole: Duration::from_secs(120),
            redirects: 5,
            picture_bytes: 1024 * 1024,
            hosts: 8,
            per_host: 2,
        }
    }
}

/// Says whether asking for an address of our own would do something.
pub type LeftOut = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Asks addresses.
pub struct Probe {
    http: Client,
    outside: Arc<Outside>,
    limits: Limits,
    left_out: LeftOut,
    /// By host.
    turns: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    /// Hosts nobody can be reached at: whoever else is there is not asked again.
    away: Mutex<BTreeMap<String, Trouble>>,
}

impl Probe {
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(outside: Outside, limits: Limits, left_out: LeftOut) -> reqwest::Result<Self> {
        let outside = Arc::new(outside);
        let http = Client::builder()
            // A proxy would look names up by itself, inside.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .dns_resolver(Resolver(outside.clone()))
            .connect_timeout(limits.connect)
            .user_agent(concat!("carillon-link-check/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, outside, limits, left_out, turns: Mutex::default(), away: Mutex::default() })
    }

    /// Asks all of them, some at a time; `told` hears how many are done and says whether to go on.
    pub async fn ask_all(&self, all: BTreeSet<Linked>, told: impl Fn(usize) -> bool + Sync) -> Vec<(Linked, Found)> {
        let end = Instant::now() + self.limits.whole;
        let mut by_host: BTreeMap<String, Vec<Linked>> = BTreeMap::new();
        for one in all {
            by_host.entry(host_of(&one.url)).or_default().push(one);
        }
        let found: Mutex<Vec<(Linked, Found)>> = Mutex::default();
        let (asked, found_here, told) = (self, &found, &told);
        let hosts = futures::stream::iter(by_host.into_values());
        hosts
            .for_each_concurrent(self.limits.hosts, async |of_host| {
                let each = futures::stream::iter(of_host);
                each.for_each_concurrent(asked.limits.per_host, async |one| {
                    let goes_on = told(found_here.lock().unwrap_or_else(PoisonError::into_inner).len());
                    // A deadline that has passed would still let a request begin.
                    let answer = match goes_on && Instant::now() < end {
                        true => timeout_at(end, asked.ask(&one)).await.ok(),
                        false => None,
                    };
                    let answer = answer.unwrap_or_else(|| Found::of(Trouble::NoTimeLeft));
                    let mut found = found_here.lock().unwrap_or_else(PoisonError::into_inner);
                    found.push((one, answer));
                    told(found.len());
                })
                .await;
            })
            .await;
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    /// Asks one, and whoever it leads on to.
    pub async fn ask(&self, one: &Linked) -> Found {
        let Ok(mut url) = Url::parse(&one.url) else { return Found::of(Trouble::NoAddress) };
        if self.may_act(&url) {
            return Found::of(Trouble::Acts);
        }
        let mut found = Found::default();
        if url.scheme() == "http" {
            found.note(Trouble::PlainHttp);
        }
        let mut seen = BTreeSet::from([url.to_string()]);
        loop {
            let next = match self.ask_once(one.used_as, &url, &mut found).await {
                Ok(Some(next)) => next,
                Ok(None) => return found,
                Err(trouble) => {
                    found.note(trouble);
                    return found;
                }
            };
            found.leads_on(&next);
            if !matches!(next.scheme(), "http" | "https") || self.may_act(&next) {
                return found;
            }
            if !seen.insert(next.to_string()) {
                found.note(Trouble::RedirectLoop);
                return found;
            }
            if seen.len() > self.limits.redirects + 1 {
                found.note(Trouble::TooManyRedirects { most: self.limits.redirects });
                return found;
            }
            url = next;
        }
    }

    fn may_act(&self, url: &Url) -> bool {
        (self.left_out)(url.as_str()) || acts(url.as_str())
    }

    fn turn_of(&self, url: &Url) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those nobody waits for or holds.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        let host = host_of(url.as_str());
        turns.entry(host).or_insert_with(|| Arc::new(Semaphore::new(self.limits.per_host))).clone()
    }

    /// Where an answer leads on to; none where it is the last.
    async fn ask_once(&self, used_as: Use, url: &Url, found: &mut Found) -> Result<Option<Url>, Trouble> {
        self.outside.admit(url).map_err(of_closed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Trouble::CarriesLogin);
        }
        let turn = self.turn_of(url);
        let Ok(_mine) = turn.acquire().await else { return Err(Trouble::NoTimeLeft) };
        let host = host_of(url.as_str());
        if let Some(away) = self.away.lock().unwrap_or_else(PoisonError::into_inner).get(&host) {
            return Err(away.clone());
        }
        let asking = async {
            let accept = if used_as == Use::Picture { "image/*,*/*;q=0.5" } else { "text/html,*/*;q=0.5" };
            let answer =
                self.http.get(url.clone()).header(ACCEPT, accept).send().await.map_err(|error| of_error(&error))?;
            found.status = Some(answer.status().as_u16());
            if let Some(next) = next_of(url, &answer) {
                return Ok(Some(next));
            }
            self.judge(used_as, answer, found).await.map(|()| None)
        };
        let answered = timeout(self.limits.answer, asking).await.unwrap_or(Err(Trouble::TimedOut));
        if let Err(trouble) = &answered
            && trouble.is_of_host()
        {
            self.away.lock().unwrap_or_else(PoisonError::into_inner).insert(host, trouble.clone());
        }
        answered
    }

    async fn judge(&self, used_as: Use, answer: Response, found: &mut Found) -> Result<(), Trouble> {
        let status = answer.status();
        found.content_type = text_of(answer.headers(), CONTENT_TYPE.as_str());
        match (used_as, status.as_u16()) {
            (_, 200..=299) => {}
            // Who looks by itself is often not let in where a reader is.
            (Use::Link, 401 | 403 | 405 | 406 | 429) | (Use::Picture, 429) => {
                return Err(Trouble::NotAdmitted { status });
            }
            (_, 400..=499) => return Err(Trouble::ClientError { status }),
            (_, 500..=599) => return Err(Trouble::ServerError { status }),
            _ => return Err(Trouble::NoAnswer { cause: format!("it answers {}, which is none", told_of(status)) }),
        }
        if used_as == Use::Link {
            return Ok(());
        }
        let announced = text_of(answer.headers(), CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        let bytes = self.read(answer).await?;
        let is_cut = bytes.len() > self.limits.picture_bytes;
        found.bytes = if is_cut { announced } else { Some(bytes.len() as u64) };
        if is_cut {
            found.note(Trouble::TooHeavy { most: self.limits.picture_bytes, bytes: announced });
        }
        picture::look(&bytes, found.content_type.clone().as_deref())
            .into_iter()
            .for_each(|trouble| found.note(trouble));
        Ok(())
    }

    /// At most one byte more than a picture may have.
    async fn read(&self, mut answer: Response) -> Result<Vec<u8>, Trouble> {
        let most = self.limits.picture_bytes + 1;
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| of_error(&error))? {
            bytes.extend_from_slice(&piece[..piece.len().min(most - bytes.len())]);
            if bytes.len() == most {
                break;
            }
        }
        Ok(bytes)
    }
}

fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    url.and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))).unwrap_or_default()
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}

fn next_of(url: &Url, answer: &Response) -> Option<Url> {
    let is_onward = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = answer.headers().get(LOCATION).filter(|_| is_onward)?;
    // What servers write there is often UTF-8.
    let mut next = url.join(std::str::from_utf8(location.as_bytes()).ok()?).ok()?;
    next.set_fragment(None);
    Some(next)
}

fn told_of(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

fn of_closed(closed: Closed) -> Trouble {
    let says = closed.to_string();
    match closed {
        Closed::Unknown(_) => Trouble::Unresolved { says },
        Closed::Silent(_) => Trouble::DnsSilent { says },
        Closed::Inside(..) => Trouble::Inside { says },
    }
}

/// The innermost cause that says what it is.
fn of_error(error: &reqwest::Error) -> Trouble {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut innermost = error.to_string();
    while let Some(this) = cause {
        if let Some(closed) = this.downcast_ref::<Closed>() {
            return of_closed(closed.clone());
        }
        if let Some(tls) = this.downcast_ref::<rustls::Error>() {
            return Trouble::Tls { cause: tls.to_string() };
        }
        innermost = this.to_string();
        // An error of input or output passes over what it holds when it is asked for its source.
        let held = this.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = held.map(|held| held as &(dyn Error + 'static)).or_else(|| this.source());
    }
    if error.is_timeout() { Trouble::TimedOut } else { Trouble::NoAnswer { cause: innermost } }
}
