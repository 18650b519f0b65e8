//! What failed for good, by cause: messages that can be put back into the queue, tries whose answer was lost, and entries
//! of the log that could not be applied. Putting back twice does nothing twice.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use crate::http::scope::Scope;
use crate::ids::Position;
use crate::message::Message;
use crate::store::controls::Parked;
use crate::store::overview::COUNTED_MAX;
use crate::store::trace::MessageFilter;
use crate::worker::dispatcher::redrive_message;
use crate::worker::processor::redrive as redrive_entry;

use super::frame::{Part, framed, status, table};
use super::html::{Html, encoded, html};
use super::looked_up::{self, Query, start_of};
use super::sign_in::{Form, Visitor, posted, redirect};
use super::words::{bounded, number, reason};
use super::{Desk, Nothing, Pages, messages, or_say};

/// Examples of one cause.
const EXAMPLES: u32 = 5;
/// Parked entries that are read.
const PARKED_MAX: u32 = 500;
/// Put back by one press; press again for more.
const REDRIVEN_MAX: usize = 2_000;
const SLICE: u32 = 200;

pub(super) async fn show(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let made = page(&desk, &visitor, &Query::of(&request)).await;
    or_say(&desk, &visitor, Part::DeadLetters, made).await
}

async fn page(desk: &Desk, visitor: &Visitor, query: &Query) -> Result<HttpResponse, Nothing> {
    visitor.must(Scope::MessagesRead)?;
    let may = visitor.may(Scope::ControlWrite);
    let parked = if visitor.may(Scope::EventsRead) {
        html!("<h2>Parked entries</h2>{}", parked(&desk.db().still_parked(PARKED_MAX).await?, may))
    } else {
        Html::default()
    };
    let done = query
        .get("redriven")
        .and_then(|count| count.parse::<i64>().ok())
        .map(|count| html!("<p class=\"notice ok\" role=\"status\">{} put back.</p>", number(count)));
    let body = html!(
        "<h1>Dead letters</h1>{}<p class=\"muted\">What was tried as often as it may be, or could not be made. Mend the cause \
         first, then put it back: it goes through every check once more.</p><h2>Messages that failed</h2>{}<h2>Answers that \
         were lost</h2>{}{}",
        done,
        failed(desk, may).await?,
        unknown(desk).await?,
        parked
    );
    Ok(framed(desk, visitor, Some(Part::DeadLetters), StatusCode::OK, "Dead letters", body).await)
}

/// With what puts them back, for whoever may.
async fn failed(desk: &Desk, may: bool) -> Result<Html, Nothing> {
    let mut causes: Vec<(String, i64)> = desk
        .db()
        .standing_by_reason("failed")
        .await?
        .into_iter()
        .map(|(reason, count)| (reason.unwrap_or_default(), count))
        .collect();
    causes.sort_by_key(|(_, count)| -count);
    if causes.is_empty() {
        return Ok(html!("<div class=\"panel empty\"><p>No message failed for good.</p></div>"));
    }
    let mut shown = Html::default();
    for (code, count) in causes {
        let examples = desk.db().failed_for(&code, EXAMPLES).await?;
        let put_back = may.then(|| {
            let href = format!("/dead-letters/redrive?reason={}", encoded(&code));
            html!("<a class=\"button\" href=\"{}\">Put back all of them</a>", href)
        });
        shown.push(html!(
            "<section class=\"cause\"><h3>{} <span class=\"count\">{}</span></h3>{}<p class=\"row\">{}<a \
             href=\"/why?status=failed&amp;reason={}\">See all</a></p></section>",
            reason(&code),
            bounded(count, COUNTED_MAX),
            examples_table(desk, &examples, may).await?,
            put_back,
            encoded(&code)
        ));
    }
    Ok(shown)
}

/// The way to put one thing back, where they may.
fn put_back_link(may: bool, which: &str, what: &str) -> Option<Html> {
    may.then(|| html!("<a href=\"/dead-letters/redrive?{}\" aria-label=\"Put back {}\">Put back</a>", which, what))
}

async fn examples_table(desk: &Desk, examples: &[Message], may: bool) -> Result<Html, Nothing> {
    let called = looked_up::names(desk, examples.iter().map(|message| message.profile)).await?;
    let rows: Html = examples
        .iter()
        .map(|message| {
            let cause = message.status.reason().map(|reason| reason.sentence());
            html!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"wide\">{}</td><td><a href=\"/why?message={}\" \
                 aria-label=\"Why message {} failed\">Why</a></td><td>{}</td></tr>",
                message.created_at,
                looked_up::person(&called, message.profile),
                message.campaign,
                cause,
                message.id,
                message.id,
                put_back_link(may, &format!("message={}", message.id), &format!("message {}", message.id))
            )
        })
        .collect();
    Ok(table("The newest that failed for this", &["Created", "Who", "Campaign", "Cause", "", ""], rows))
}

async fn unknown(desk: &Desk) -> Result<Html, Nothing> {
    let filter = MessageFilter { status: Some("unknown".to_owned()), limit: 20, ..MessageFilter::default() };
    let lost = desk.db().list_messages(&filter).await?;
    if lost.is_empty() {
        return Ok(html!("<div class=\"panel empty\"><p>No answer was lost.</p></div>"));
    }
    let count: i64 = desk.db().standing_by_reason("unknown").await?.values().sum();
    Ok(html!(
        "<p>{} began to be sent and no answer came. They may have arrived, so they are not repeated.</p>{}",
        bounded(count, COUNTED_MAX),
        messages::rows(desk, &lost).await?
    ))
}

fn parked(parked: &[Parked], may: bool) -> Html {
    if parked.is_empty() {
        return html!("<div class=\"panel empty\"><p>Every entry could be applied.</p></div>");
    }
    let mut causes: BTreeMap<&str, Vec<&Parked>> = BTreeMap::new();
    for one in parked {
        causes.entry(&one.cause).or_default().push(one);
    }
    let shown = causes.into_iter().map(|(cause, all)| {
        let rows = all.iter().take(EXAMPLES as usize).map(|one| {
            let who = one.profile.map(|id| html!("<a href=\"/customers/profile:{}\">profile {}</a>", id, id));
            html!(
                "<tr><td>{}</td><td><a href=\"/why?event={}\">{}</a></td><td class=\"wide\">{}</td><td>{}</td></tr>",
                one.parked_at,
                one.position,
                one.position,
                who,
                put_back_link(may, &format!("entry={}", one.position), &format!("entry {}", one.position))
            )
        });
        let put_back = may.then(|| {
            let href = format!("/dead-letters/redrive?cause={}", encoded(cause));
            html!("<p class=\"row\"><a class=\"button\" href=\"{}\">Put back all of them</a></p>", href)
        });
        html!(
            "<section class=\"cause\"><h3>{} <span class=\"count\">{}</span></h3>{}{}</section>",
            cause,
            all.len(),
            table("The newest entries parked for this", &["Parked", "Entry", "Who", ""], rows.collect()),
            put_back
        )
    });
    shown.collect()
}

/// What is to be put back.
enum Which {
    Message(Box<Message>),
    Reason(String),
    Entry(Position),
    Cause(String),
}

impl Which {
    async fn of(desk: &Desk, get: impl Fn(&str) -> Option<String>) -> Result<Self, Nothing> {
        if let Some(id) = get("message") {
            let message = looked_up::message(desk, &id).await?;
            let message = message.ok_or_else(|| Nothing::Unknown(format!("There is no message {}.", start_of(&id))))?;
            return Ok(Self::Message(Box::new(message)));
        }
        if let Some(entry) = get("entry") {
            let known = match entry.parse() {
                Ok(position) => desk.db().parked_at(Position(position)).await?,
                Err(_) => None,
            };
            let unknown = || Nothing::Unknown(format!("Entry {} is not parked.", start_of(&entry)));
            return Ok(Self::Entry(known.ok_or_else(unknown)?.position));
        }
        let all = get("reason").map(Self::Reason).or_else(|| get("cause").map(Self::Cause));
        all.ok_or_else(|| Nothing::Senseless("Nothing was named to put back.".to_owned()))
    }

    /// In words, and the hidden field that names it again.
    fn named(&self) -> (Html, Html) {
        let hidden = |name: &str, value: String| html!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", name, value);
        match self {
            Self::Message(it) => {
                let what = html!("message <code>{}</code> of {}", it.id, it.campaign);
                (what, hidden("message", it.id.to_string()))
            }
            Self::Reason(code) => {
                let what = html!("every message that failed for “{}”", reason(code));
                (what, hidden("reason", code.clone()))
            }
            Self::Entry(position) => (html!("entry {}", *position), hidden("entry", position.to_string())),
            Self::Cause(cause) => (html!("every entry parked for “{}”", cause), hidden("cause", cause.clone())),
        }
    }
}

/// Asks before it is done.
pub(super) async fn confirm(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let query = Query::of(&request);
    let made = confirmation(&desk, &visitor, &query).await;
    or_say(&desk, &visitor, Part::DeadLetters, made).await
}

async fn confirmation(desk: &Desk, visitor: &Visitor, query: &Query) -> Result<HttpResponse, Nothing> {
    visitor.must(Scope::ControlWrite)?;
    let which = Which::of(desk, |name| query.get(name).map(ToOwned::to_owned)).await?;
    let (what, field) = which.named();
    let stands = match &which {
        Which::Message(message) => {
            let (class, word) = super::words::outcome(&message.status);
            Some(html!("<p>It stands at: {}</p>", status(class, word)))
        }
        _ => None,
    };
    let body = html!(
        "<p class=\"crumb\"><a href=\"/dead-letters\">Dead letters</a></p><h1>Put back?</h1><p>This puts back {}. It is checked \
         again: consent, caps, expiry and all else decide whether it goes.</p>{}<form method=\"post\" \
         action=\"/dead-letters/redrive\">{}{}<p class=\"row\"><button>Put back</button><a href=\"/dead-letters\">Leave \
         it</a></p></form>",
        what,
        stands,
        visitor.token_field(),
        field
    );
    Ok(framed(desk, visitor, Some(Part::DeadLetters), StatusCode::OK, "Put back?", body).await)
}

pub(super) async fn redrive(desk: Pages, visitor: Visitor, request: HttpRequest, payload: Payload) -> HttpResponse {
    let form = match posted(&visitor, &request, payload).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let made = match visitor.must(Scope::ControlWrite) {
        Ok(()) => put_back(&desk, &form).await,
        Err(nothing) => Err(nothing),
    };
    let to = |count: usize| redirect(&format!("/dead-letters?redriven={count}"));
    or_say(&desk, &visitor, Part::DeadLetters, made.map(to)).await
}

async fn put_back(desk: &Desk, form: &Form) -> Result<usize, Nothing> {
    let (log, store, id) = (&desk.admin.log, &desk.admin.store, desk.admin.workspace);
    let now = log.clock().now();
    Ok(match Which::of(desk, |name| form.get(name).map(ToOwned::to_owned)).await? {
        Which::Message(message) => usize::from(redrive_message(log, id, message.id, now).await?),
        Which::Reason(code) => {
            let (mut count, mut seen) = (0, 0);
            let mut filter = MessageFilter {
                status: Some("failed".to_owned()),
                reason: Some(code),
                limit: SLICE,
                ..MessageFilter::default()
            };
            while seen < REDRIVEN_MAX {
                let slice = desk.db().list_messages(&filter).await?;
                let Some(last) = slice.last() else { break };
                filter.before = Some((last.created_at, last.id));
                seen += slice.len();
                for message in &slice {
                    count += usize::from(redrive_message(log, id, message.id, now).await?);
                }
            }
            count
        }
        Which::Entry(position) => usize::from(redrive_entry(log, store, id, position).await?),
        Which::Cause(cause) => {
            let mut count = 0;
            // Forms have their own ends of lines.
            let plain = |text: &str| text.replace('\r', "").trim().to_owned();
            let all = desk.db().still_parked(PARKED_MAX).await?;
            for one in all.iter().filter(|one| plain(&one.cause) == plain(&cause)) {
                count += usize::from(redrive_entry(log, store, id, one.position).await?);
            }
            count
        }
    })
}
