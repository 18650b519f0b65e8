//! The links in messages. GET and HEAD show a page and change nothing, because mail scanners open every link; POST
//! acts. `/c/TOKEN` and `/o/TOKEN` are the addresses by which clicks and opens are heard of. `/u/TOKEN` unsubscribes at once, because RFC 8058 sends the POST without cookies, login or a second step;
//! `/preferences/TOKEN` saves what a person chooses, `/confirm/TOKEN` confirms a double opt-in.

mod confirmation;
mod hits;
mod preferences;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, ResponseError};

use crate::audience::consent::{ConsentState, Via};
use crate::message::Channel;
use crate::render::links::{Link, LinkKind, Links};
use crate::worker::permission::{About, Answer};

use super::body;
use super::book::{Book, NotDone};
use super::page::{escape, page_in};
use super::problem::Problem;
use super::words::{Words, about};

/// Of a form with a thousand topics; more is not read.
const BODY_BYTES_MAX: usize = 256 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(10);
const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// What the pages need: how tokens are verified, and the book behind them.
pub struct LinkPages {
    links: Links,
    book: Arc<dyn Book>,
}

impl LinkPages {
    pub fn new(links: Links, book: Arc<dyn Book>) -> Self {
        Self { links, book }
    }

    fn asked(&self, kind: LinkKind, request: &HttpRequest) -> Option<Link> {
        self.links.verify(kind, request.match_info().get("token")?)
    }
}

type Pages = web::Data<LinkPages>;

/// Adds the pages. They must stand outside any login, origin or forgery guard.
pub fn configure(pages: Pages) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        let unsubscribe = resource(LinkKind::Unsubscribe).app_data(pages.clone());
        app.service(unsubscribe.route(web::get().to(show)).route(web::head().to(show)).route(web::post().to(act)));
        let choose = resource(LinkKind::Preferences).app_data(pages.clone());
        let (show, save) = (preferences::show, preferences::save);
        app.service(choose.route(web::get().to(show)).route(web::head().to(show)).route(web::post().to(save)));
        let click = resource(LinkKind::Click).app_data(pages.clone());
        app.service(click.route(web::get().to(hits::follow)).route(web::head().to(hits::follow)));
        let open = resource(LinkKind::Open).app_data(pages.clone());
        app.service(open.route(web::get().to(hits::picture)).route(web::head().to(hits::picture)));
        let confirm = resource(LinkKind::Confirm).app_data(pages);
        let (show, act) = (confirmation::show, confirmation::act);
        app.service(confirm.route(web::get().to(show)).route(web::head().to(show)).route(web::post().to(act)));
    }
}

fn resource(kind: LinkKind) -> Resource {
    web::resource(format!("/{}/{{token}}", kind.path())).default_service(web::to(other))
}

async fn other() -> HttpResponse {
    Problem::MethodNotAllowed { allow: "GET, HEAD, POST".into() }.error_response()
}

async fn show(pages: Pages, request: HttpRequest) -> HttpResponse {
    let words = Words::of(&request);
    let Some(link) = pages.asked(LinkKind::Unsubscribe, &request) else { return broken(words) };
    let no_more = escape(&about(words.no_more, words.name(link.channel)));
    // Unsubscribing works also where nothing can be read.
    let topic = pages.book.topic_of(link).await.unwrap_or_default();
    let only = topic.map_or_else(String::new, |(_, name)| {
        let only = escape(&about(words.only_topic, &name));
        format!("<p><button class=\"quiet\" name=\"scope\" value=\"topic\">{only}</button></p>")
    });
    let body = format!(
        "<main class=\"narrow\"><h1>{0}</h1><p>{no_more}</p><form method=\"post\"><input type=\"hidden\" \
         name=\"List-Unsubscribe\" value=\"One-Click\"><p><button>{0}</button></p>{only}</form>{1}</main>",
        words.unsubscribe,
        to_preferences(&pages, &link, words)
    );
    page_in(words.lang, StatusCode::OK, words.unsubscribe, &body)
}

async fn act(pages: Pages, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let words = Words::of(&request);
    let Some(link) = pages.asked(LinkKind::Unsubscribe, &request) else { return broken(words) };
    // Form or multipart, with whatever in it: the token says all. Only our own page asks for less than all.
    let form = Form::read(&request, payload).await.unwrap_or_default();
    let topic = match form.has("scope", "topic") {
        true => pages.book.topic_of(link).await.unwrap_or_default(),
        false => None,
    };
    let (what, text) = match topic {
        Some((key, name)) => (About::Topic(key), about(words.no_more_topic, &name)),
        None => (About::Channel(link.channel), about(words.no_more, words.name(link.channel))),
    };
    let answer = Answer { source: "unsubscribe link".to_owned(), ..no(what, &link, Via::Link) };
    match pages.book.answer(link, vec![answer]).await {
        Ok(()) => {
            let body = format!(
                "<main class=\"narrow\"><h1>{}</h1><p>{}</p>{}</main>",
                words.unsubscribed,
                escape(&text),
                to_preferences(&pages, &link, words)
            );
            page_in(words.lang, StatusCode::OK, words.unsubscribed, &body)
        }
        Err(error) => not_done(words, error),
    }
}

/// A person's no.
fn no(about: About, link: &Link, via: Via) -> Answer {
    let source = String::new();
    Answer { about, state: ConsentState::Denied, via, source, text_version: None, message: Some(link.message) }
}

fn to_preferences(pages: &LinkPages, link: &Link, words: &Words) -> String {
    format!("<p><a href=\"{}\">{}</a></p>", pages.links.beside(LinkKind::Preferences, link), words.choose)
}

fn not_done(words: &Words, error: NotDone) -> HttpResponse {
    match error {
        NotDone::Unknown => said(words, StatusCode::NOT_FOUND, words.broken, words.gone_text),
        NotDone::Unavailable => {
            let mut response = said(words, StatusCode::SERVICE_UNAVAILABLE, words.not_yet, words.not_yet_text);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
            response
        }
    }
}

/// The same answer whatever is wrong with the link.
fn broken(words: &Words) -> HttpResponse {
    said(words, StatusCode::NOT_FOUND, words.broken, words.broken_text)
}

/// A page of one sentence, both as text.
fn said(words: &Words, status: StatusCode, title: &str, text: &str) -> HttpResponse {
    let body = format!("<main class=\"narrow\"><h1>{}</h1><p>{}</p></main>", escape(title), escape(text));
    page_in(words.lang, status, title, &body)
}

/// The fields of a form.
#[derive(Default)]
struct Form(Vec<(String, String)>);

/// Why a form could not be read, and the rest of its body.
struct Unread {
    status: StatusCode,
    why: fn(&Words) -> &'static str,
    payload: web::Payload,
}

impl Unread {
    /// A page that says what is wrong, that nothing was changed, and what to do.
    fn page(self, words: &Words) -> HttpResponse {
        let text = format!("{} {}", (self.why)(words), words.again);
        body::unread(said(words, self.status, words.unchanged, &text), self.payload)
    }
}

impl Form {
    /// Read to its bound and within its deadline.
    async fn read(request: &HttpRequest, mut payload: web::Payload) -> Result<Self, Unread> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let is_form = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM_TYPE));
        let (status, why): (_, fn(&Words) -> &'static str) =
            match body::read(request, &mut payload, BODY_BYTES_MAX, BODY_DEADLINE).await {
                Ok(_) if !is_form => (StatusCode::UNSUPPORTED_MEDIA_TYPE, |words| words.no_form),
                Ok(bytes) => {
                    let fields: Vec<_> = url::form_urlencoded::parse(&bytes).into_owned().collect();
                    // What is no UTF-8 becomes this letter, which no field of ours has.
                    let broken = |text: &String| text.contains('\u{FFFD}');
                    if !fields.iter().any(|(name, value)| broken(name) || broken(value)) {
                        return Ok(Self(fields));
                    }
                    (StatusCode::BAD_REQUEST, |words| words.garbled)
                }
                Err(problem @ Problem::BodyTooLarge { .. }) => (problem.status_code(), |words| words.too_large),
                Err(problem @ Problem::BodyTooSlow { .. }) => (problem.status_code(), |words| words.too_slow),
                Err(problem) => (problem.status_code(), |words| words.garbled),
            };
        Err(Unread { status, why, payload })
    }

    fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.0.iter().any(|(known, said)| known == name && said == value)
    }
}

/// A channel's own word in a form's field.
fn field_of(channel: Channel) -> String {
    format!("channel:{}", channel.as_str())
}

#[cfg(test)]
mod tests;
