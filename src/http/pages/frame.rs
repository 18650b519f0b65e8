//! What every page has: the way to the others, what state the workspace is in, and headers that let it run nothing but
//! what is ours.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use crate::http::scope::Scope;
use crate::message::Channel;
use crate::store::Error;
use crate::store::controls::{PAUSE_ALL, setting};
use crate::store::dispatch::RESTORE_UNCONFIRMED;
use crate::worker::dispatcher::Stopped;

use super::html::{Html, html, linked};
use super::sign_in::Visitor;
use super::{Desk, FOOT};

/// Our own style and script, our own frames, and forms to ourselves.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub const STYLE: &str = include_str!("pages.css");
pub const SCRIPT: &str = include_str!("preview.js");

/// Of which part of the site a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Overview,
    Customers,
    Messages,
    Templates,
    DeadLetters,
    Inbox,
}

/// With the scope that reads it.
const PARTS: [(Part, &str, &str, Scope); 6] = [
    (Part::Overview, "/", "Overview", Scope::MessagesRead),
    (Part::Customers, "/customers", "Customers", Scope::ProfilesRead),
    (Part::Messages, "/why", "Messages", Scope::MessagesRead),
    (Part::Templates, "/preview", "Templates", Scope::DefinitionsRead),
    (Part::DeadLetters, "/dead-letters", "Dead letters", Scope::MessagesRead),
    (Part::Inbox, "/inbox", "Inbox", Scope::MessagesRead),
];

/// What holds sending up, if anything.
#[derive(Debug, Default)]
pub struct Standing {
    pub all_paused: bool,
    pub paused: Vec<String>,
    pub stopped: Vec<Stopped>,
    pub caps_unreachable: bool,
    pub restore_unconfirmed: bool,
}

impl Standing {
    pub(super) async fn of(desk: &Desk) -> Result<Self, Error> {
        let mut paused = desk.db().pauses().await?;
        let all_paused = paused.remove(PAUSE_ALL);
        let restore = setting(desk.admin.store.reader(), RESTORE_UNCONFIRMED).await?;
        let (stopped, caps_unreachable) = (desk.transports)();
        Ok(Self {
            all_paused,
            paused: paused.into_iter().collect(),
            stopped,
            caps_unreachable,
            restore_unconfirmed: restore.as_deref() == Some("true"),
        })
    }

    /// The word in every page's head, and whether it is good news.
    fn word(&self) -> (&'static str, &'static str) {
        if self.all_paused {
            ("bad", "Sending is paused")
        } else if self.restore_unconfirmed {
            ("bad", "Marketing waits: restored")
        } else if self.stopped.iter().any(|it| it.channel == Channel::Email) {
            ("bad", "Mail transport stopped")
        } else if !self.stopped.is_empty() {
            ("bad", "A transport stopped")
        } else if self.caps_unreachable {
            ("warn", "Caps unreachable")
        } else if !self.paused.is_empty() {
            ("warn", "Some campaigns paused")
        } else {
            ("ok", "Running")
        }
    }

    /// What to know of it, on every page where something is wrong.
    fn notices(&self) -> Html {
        let mut all = Html::default();
        let mut say = |class: &str, text: Html| all.push(html!("<p class=\"notice {}\">{}</p>", class, text));
        if self.all_paused {
            say(
                "bad",
                html!(
                    "<strong>All sending is paused.</strong> Nothing leaves before somebody resumes it. <a href=\"/#sending\">Resume</a>"
                ),
            );
        }
        if self.restore_unconfirmed {
            say(
                "bad",
                html!(
                    "<strong>A restored backup was recognised.</strong> Marketing waits until somebody confirms it with <code>carillon confirm-restore</code>."
                ),
            );
        }
        for one in &self.stopped {
            let channel = one.channel.as_str();
            say(
                "bad",
                html!(
                    "<strong>The {} transport cannot be used:</strong> {}. Its messages wait, no try is spent; tried again at {}.",
                    channel,
                    one.cause,
                    one.until
                ),
            );
        }
        if self.caps_unreachable {
            say(
                "warn",
                html!(
                    "<strong>The frequency caps cannot be asked.</strong> What obeys or counts them waits; everything else goes on."
                ),
            );
        }
        if !self.paused.is_empty() && !self.all_paused {
            say("warn", html!("<strong>Paused campaigns:</strong> {}.", self.paused.join(", ")));
        }
        all
    }
}

/// A page in the frame.
pub(super) async fn framed(
    desk: &Desk,
    visitor: &Visitor,
    part: Option<Part>,
    status: StatusCode,
    title: &str,
    body: Html,
) -> HttpResponse {
    // A page that tells why the database cannot be read must not need it.
    let standing = Standing::of(desk).await.ok();
    let links: Html = PARTS
        .iter()
        .filter(|(one, .., scope)| visitor.may(*scope) && (*one != Part::Inbox || desk.inbox.is_some()))
        .map(|(one, path, name, _)| {
            let current = if part == Some(*one) { html!(" aria-current=\"page\"") } else { Html::default() };
            html!("<li><a href=\"{}\"{}>{}</a></li>", path, current, name)
        })
        .collect();
    let (class, word) = standing.as_ref().map_or(("bad", "Database unreadable"), Standing::word);
    let leave = if visitor.has_session() {
        html!(
            "<form method=\"post\" action=\"/sign-out\">{}<button class=\"plain\">Sign out</button></form>",
            visitor.token_field()
        )
    } else {
        Html::default()
    };
    let head = html!(
        "<a class=\"skip\" href=\"#main\">Skip to content</a><header class=\"top\"><div class=\"bar\">\
         <a class=\"brand\" href=\"/\">Carillon</a><span class=\"state {}\">{}</span>{}</div>\
         <nav aria-label=\"Main\"><ul>{}</ul></nav></header>",
        class,
        word,
        leave,
        links
    );
    let notices = standing.map(|standing| standing.notices());
    let body = html!("{}<main id=\"main\">{}{}</main>{}", head, notices, body, Html::finished(FOOT.to_owned()));
    document(status, title, &body)
}

/// A page without the frame: for those who are not let in yet.
pub(super) fn bare(status: StatusCode, title: &str, body: &Html) -> HttpResponse {
    document(status, title, &html!("<main id=\"main\" class=\"narrow\">{}</main>", body))
}

fn document(status: StatusCode, title: &str, body: &Html) -> HttpResponse {
    let page = html!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{} · Carillon</title><link rel=\"stylesheet\" href=\"/ui/pages.css\"><link rel=\"icon\" \
         href=\"/ui/bell.svg\"></head><body>{}</body></html>",
        title,
        body
    );
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((REFERRER_POLICY, "same-origin"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("X-Robots-Tag", "noindex"))
        .body(page.as_str().to_owned())
}

/// Style and script: the same for everybody.
pub(super) fn asset(kind: &'static str, text: &'static str) -> HttpResponse {
    let tag = blake3::hash(text.as_bytes()).to_hex();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, kind))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((ETAG, format!("\"{}\"", &tag[..16])))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(text)
}

/// A dot and a word: never colour alone.
pub(super) fn status(class: &str, word: &str) -> Html {
    html!("<span class=\"state {}\">{}</span>", class, word)
}

/// A table that scrolls inside itself where it is too wide; `label` is for those who do not see it.
pub(super) fn table(label: &str, heads: &[&str], rows: Html) -> Html {
    // A column of links needs no name: each link has its own.
    let head = |name: &&str| match *name {
        "" => html!("<td></td>"),
        name => html!("<th scope=\"col\">{}</th>", name),
    };
    let heads: Html = heads.iter().map(head).collect();
    html!(
        "<div class=\"panel scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead><tr>{}</tr></thead>\
         <tbody>{}</tbody></table></div>",
        label,
        heads,
        rows
    )
}

/// Names with their values.
pub(super) fn facts(rows: &[(&str, Html)]) -> Html {
    let rows: Html = rows.iter().map(|(name, value)| html!("<dt>{}</dt><dd>{}</dd>", name, value)).collect();
    html!("<div class=\"panel\"><dl>{}</dl></div>", rows)
}

/// The sentence of a reason.
pub(super) fn sentence(text: &str) -> Html {
    linked(text)
}
