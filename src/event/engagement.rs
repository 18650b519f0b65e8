//! What people did with a mail, as far as it can be told from what machines do with it: scanners follow every link at
//! delivery, and mail programs fetch pictures before anybody looks.
//!
//! Each hit is kept; a machine's is told apart and starts, ends and counts nothing.

use std::collections::BTreeSet;

use crate::event::{Event, Kind};
use crate::ids::{Span, Timestamp};

/// The picture of a mail was fetched. It says little: many mail programs fetch it by themselves.
pub const EMAIL_OPENED: &str = "Email Opened";
/// A link of a mail was followed; property `url`.
pub const EMAIL_LINK_CLICKED: &str = "Email Link Clicked";
/// The property that says why a hit is a machine's.
pub const MACHINE: &str = "machine";

/// Nobody reads and clicks within this time of a mail's delivery.
const TOO_SOON: Span = Span::from_seconds(5);
/// Hits of one message that lie so near to each other are looked at together; each is judged when this has passed.
pub const BURST: Span = Span::from_seconds(3);
/// Different links within [`BURST`] that nobody follows by hand.
const BURST_LINKS: usize = 3;

/// One hit, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Where the link leads: empty for the one nobody sees. None: the picture.
    pub target: Option<String>,
    pub at: Timestamp,
    /// Asked without wanting an answer's content.
    pub is_head: bool,
    pub user_agent: String,
}

/// Why a hit is taken for a machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    Head,
    HiddenLink,
    UserAgent,
    TooSoon,
    Burst,
}

impl Machine {
    pub const ALL: [Self; 5] = [Self::Head, Self::HiddenLink, Self::UserAgent, Self::TooSoon, Self::Burst];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::HiddenLink => "hidden_link",
            Self::UserAgent => "user_agent",
            Self::TooSoon => "too_soon",
            Self::Burst => "burst",
        }
    }
}

/// Parts of the names of programs that fetch without a person, in small letters. Google's and Yahoo's picture proxies
/// are not among them: they fetch when somebody looks.
const PROGRAMS: [&str; 26] = [
    "barracuda",
    "bot",
    "cloudmark",
    "crawl",
    "curl/",
    "facebookexternalhit",
    "fireeye",
    "go-http-client",
    "headlesschrome",
    "ironport",
    "java/",
    "libwww",
    "mimecast",
    "monitor",
    "node-fetch",
    "okhttp",
    "preview",
    "proofpoint",
    "python",
    "safelinks",
    "scan",
    "sophos",
    "spider",
    "symantec",
    "trendmicro",
    "wget",
];

/// Whether a hit is a machine's, by itself, by when the message was delivered, and by the other hits of that message.
pub fn machine(hit: &Hit, delivered_at: Option<Timestamp>, others: &[Hit]) -> Option<Machine> {
    if hit.is_head {
        return Some(Machine::Head);
    }
    if hit.target.as_deref() == Some("") {
        return Some(Machine::HiddenLink);
    }
    if is_program(hit) {
        return Some(Machine::UserAgent);
    }
    if delivered_at.is_none_or(|delivered| hit.at < delivered.plus(TOO_SOON)) {
        return Some(Machine::TooSoon);
    }
    let is_near = |other: &&Hit| (other.at.millis() - hit.at.millis()).abs() <= BURST.millis();
    let near: Vec<&Hit> = others.iter().filter(is_near).collect();
    if near.iter().any(|other| other.target.as_deref() == Some("")) {
        return Some(Machine::HiddenLink);
    }
    near.iter().chain([&hit]).any(|first| begins_burst(first, hit, &near)).then_some(Machine::Burst)
}

/// Whether so many links were followed from the first hit on, this one among them. Each time on its own: several links may
/// be followed over a while, and are no burst because there is one before and one after.
fn begins_burst(first: &Hit, hit: &Hit, near: &[&Hit]) -> bool {
    let is_in = |it: &&&Hit| it.at >= first.at && it.at <= first.at.plus(BURST);
    let within = near.iter().chain([&hit]).filter(is_in);
    let targets: BTreeSet<&str> = within.filter_map(|it| it.target.as_deref()).collect();
    hit.at >= first.at && targets.len() >= BURST_LINKS
}

fn is_program(hit: &Hit) -> bool {
    let name = hit.user_agent.trim().to_ascii_lowercase();
    // Apple's mail proxy calls itself no more than this, and fetches every picture at delivery.
    let is_proxy = hit.target.is_none() && name == "mozilla/5.0";
    // A make of telephones.
    let name = name.replace("cubot", "");
    name.trim().is_empty() || is_proxy || PROGRAMS.iter().any(|part| name.contains(part))
}

/// Whether an event of ours tells what a machine did.
pub fn is_machines(event: &Event) -> bool {
    event.kind == Kind::Own
        && (event.name == EMAIL_OPENED || event.name == EMAIL_LINK_CLICKED)
        && event.lookup("properties.machine").is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

    fn hit(target: Option<&str>, second: i64) -> Hit {
        let at = Timestamp::from_millis(1_000_000 + second * 1_000);
        Hit { target: target.map(str::to_owned), at, is_head: false, user_agent: FIREFOX.to_owned() }
    }

    fn judged(hit: &Hit, others: &[Hit]) -> Option<&'static str> {
        machine(hit, Some(Timestamp::from_millis(1_000_000)), others).map(Machine::as_str)
    }

    #[test]
    fn a_person_who_takes_a_moment_is_a_person() {
        assert_eq!(judged(&hit(None, 60), &[]), None);
        let two = [hit(Some("https://a.example"), 61), hit(None, 60)];
        assert_eq!(judged(&hit(Some("https://b.example"), 62), &two), None);
        let proxy = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";
        let telephone = "Mozilla/5.0 (Linux; Android 12; CUBOT P60) Chrome/141.0 Mobile Safari/537.36";
        for agent in [proxy, telephone] {
            assert_eq!(judged(&Hit { user_agent: agent.to_owned(), ..hit(None, 60) }, &[]), None);
        }
    }

    #[test]
    fn what_only_machines_do_is_a_machines() {
        let page = Some("https://a.example");
        for (case, says) in [
            (Hit { is_head: true, ..hit(page, 60) }, "head"),
            (hit(Some(""), 60), "hidden_link"),
            (hit(page, 4), "too_soon"),
            (hit(None, 1), "too_soon"),
            (hit(None, -1), "too_soon"),
            (Hit { user_agent: "Mozilla/5.0".to_owned(), ..hit(None, 60) }, "user_agent"),
            (Hit { user_agent: String::new(), ..hit(page, 60) }, "user_agent"),
            (
                Hit { user_agent: "Mozilla/5.0 (compatible; Barracuda Sentinel)".to_owned(), ..hit(page, 60) },
                "user_agent",
            ),
            (Hit { user_agent: "python-requests/2.34".to_owned(), ..hit(page, 60) }, "user_agent"),
        ] {
            assert_eq!(judged(&case, &[]), Some(says), "{case:?}");
        }
        assert_eq!(machine(&hit(page, 60), None, &[]).unwrap().as_str(), "too_soon", "it was never delivered");
    }

    #[test]
    fn many_links_at_once_are_a_machines_all_of_them() {
        let links = ["https://a.example", "https://b.example", "https://c.example"];
        let all: Vec<Hit> = links.iter().zip(60..).map(|(link, at)| hit(Some(link), at)).collect();
        for one in &all {
            assert_eq!(judged(one, &all), Some("burst"));
        }
        assert_eq!(judged(&hit(None, 61), &all), Some("burst"), "the picture, too");
        let slowly: Vec<Hit> = links.iter().zip([60, 63, 66]).map(|(link, at)| hit(Some(link), at)).collect();
        assert_eq!(judged(&slowly[1], &slowly), None, "one before and one after are not at once");
        assert_eq!(judged(&hit(Some(links[0]), 90), &all), None, "and later it may be somebody");
        assert_eq!(judged(&hit(Some(links[0]), 60), &[hit(Some(""), 62)]), Some("hidden_link"));
        assert_eq!(judged(&all[0], &vec![all[0].clone(); 9]), None, "one link again and again is no burst");
    }
}
