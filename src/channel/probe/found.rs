//! What was found behind an address, in words for whoever wrote it and codes for programs.

use reqwest::StatusCode;
use serde::Serialize;
use url::Url;

use super::told_of;

/// How bad it is; the worst of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// On purpose, or because the time was over.
    NotAsked,
    /// It works for somebody, or nobody knows.
    Warning,
    Broken,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    NoAddress,
    Acts,
    CarriesLogin,
    NoTimeLeft,
    Inside { says: String },
    Unresolved { says: String },
    DnsSilent { says: String },
    TimedOut,
    Tls { cause: String },
    NoAnswer { cause: String },
    ClientError { status: StatusCode },
    ServerError { status: StatusCode },
    NotAdmitted { status: StatusCode },
    PlainHttp,
    Redirected,
    RedirectLoop,
    TooManyRedirects { most: usize },
    NotAPicture { what: String },
    WrongType { form: &'static str, said: String },
    RarelyShown { form: &'static str },
    TooHeavy { most: usize, bytes: Option<u64> },
}

impl Trouble {
    /// Stable: for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::Acts => "acts",
            Self::CarriesLogin => "carries_login",
            Self::NoTimeLeft => "no_time_left",
            Self::Inside { .. } => "inside",
            Self::Unresolved { .. } => "unresolved",
            Self::DnsSilent { .. } => "dns_silent",
            Self::TimedOut => "timed_out",
            Self::Tls { .. } => "tls",
            Self::NoAnswer { .. } => "no_answer",
            Self::ClientError { .. } => "client_error",
            Self::ServerError { .. } => "server_error",
            Self::NotAdmitted { .. } => "not_admitted",
            Self::PlainHttp => "plain_http",
            Self::Redirected => "redirected",
            Self::RedirectLoop => "redirect_loop",
            Self::TooManyRedirects { .. } => "too_many_redirects",
            Self::NotAPicture { .. } => "not_a_picture",
            Self::WrongType { .. } => "wrong_type",
            Self::RarelyShown { .. } => "rarely_shown",
            Self::TooHeavy { .. } => "too_heavy",
        }
    }

    /// Of everybody there, and not of one page.
    pub(super) fn is_of_host(&self) -> bool {
        matches!(
            self,
            Self::Inside { .. } | Self::Unresolved { .. } | Self::DnsSilent { .. } | Self::TimedOut | Self::Tls { .. }
        )
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Acts | Self::NoTimeLeft => Verdict::NotAsked,
            Self::DnsSilent { .. }
            | Self::NotAdmitted { .. }
            | Self::PlainHttp
            | Self::Redirected
            | Self::WrongType { .. }
            | Self::RarelyShown { .. }
            | Self::TooHeavy { .. } => Verdict::Warning,
            _ => Verdict::Broken,
        }
    }

    fn says(&self) -> String {
        match self {
            Self::NoAddress => "is no address of a page".to_owned(),
            Self::Acts => "is not asked: whoever asks for it may do something, such as unsubscribe".to_owned(),
            Self::CarriesLogin => "carries a name or password, which every reader would see".to_owned(),
            Self::NoTimeLeft => "was not asked: the time for all of them was over".to_owned(),
            Self::Inside { says } | Self::Unresolved { says } | Self::DnsSilent { says } => says.clone(),
            Self::TimedOut => "did not answer in time".to_owned(),
            Self::Tls { cause } => format!("cannot prove who it is (TLS): {cause}"),
            Self::NoAnswer { cause } => format!("nobody answers: {cause}"),
            Self::ClientError { status } | Self::ServerError { status } => format!("answers {}", told_of(*status)),
            Self::NotAdmitted { status } => {
                format!("answers {} to a program; see in a browser whether readers are let in", told_of(*status))
            }
            Self::PlainHttp => "is asked for without TLS; write https://".to_owned(),
            Self::Redirected => "leads on to another place; write that one, if it is for good".to_owned(),
            Self::RedirectLoop => "leads on in a circle".to_owned(),
            Self::TooManyRedirects { most } => format!("leads on more than {most} times"),
            Self::NotAPicture { what } => format!("is no picture: {what}"),
            Self::WrongType { form, said } => {
                format!("is a {form} and says it is {said}; some programs do not show that")
            }
            Self::RarelyShown { form } => {
                format!("is a {form}, which many mail programs do not show; use PNG, JPEG or GIF")
            }
            Self::TooHeavy { most, bytes } => {
                let size = |bytes: u64| format!("{} KB", bytes.div_ceil(1024));
                let has = bytes.map_or_else(|| format!("more than {}", size(*most as u64)), size);
                format!("has {has}; readers on the road wait for more than {}", size(*most as u64))
            }
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: &'static str,
    pub verdict: Verdict,
    /// The rest of a sentence about the address.
    pub says: String,
}

/// What was found behind one address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Of the last answer.
    pub status: Option<u16>,
    /// Where it led on to in the end.
    pub leads_to: Option<String>,
    pub content_type: Option<String>,
    /// Of a picture.
    pub bytes: Option<u64>,
    pub findings: Vec<Finding>,
}

impl Found {
    pub fn of(trouble: Trouble) -> Self {
        let mut found = Self::default();
        found.note(trouble);
        found
    }

    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }

    pub(super) fn note(&mut self, trouble: Trouble) {
        let code = trouble.code();
        if !self.findings.iter().any(|finding| finding.code == code) {
            self.findings.push(Finding { code, verdict: trouble.verdict(), says: trouble.says() });
        }
    }

    pub(super) fn leads_on(&mut self, next: &Url) {
        self.leads_to = Some(next.to_string());
        self.note(Trouble::Redirected);
    }
}
