//! The sandbox's inbox in a browser: what would have been sent, as its reader would see it.
//!
//! A message's HTML is shown in a frame without script, forms or origin of its own, from an address whose answer says
//! so itself: it stays harmless when opened directly.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse};

use crate::demo::with_pictures;
use crate::http::inbox::{Asked, Listed, PAGE_ROWS, found, listed, source_of};
use crate::http::problem::{Problem, Refusal};
use crate::http::scope::Scope;
use crate::render::kept::{Kept, KeptSummary};
use crate::render::{Content, Email};

use super::frame::{Part, facts, framed, table};
use super::html::{Html, Shown, html};
use super::looked_up::Query;
use super::preview::{FRAME_POLICY, mailbox, push_card, sms_bubble, with_links_beside};
use super::sign_in::Visitor;
use super::{Desk, Nothing, Pages, or_say};

const INTRO: &str = "The sandbox keeps what would have been sent. Nothing here left this machine.";

/// In a sentence for a page.
fn nothing(problem: Problem) -> Nothing {
    match problem {
        Problem::NotFound => Nothing::Unknown("There is no such message here.".to_owned()),
        Problem::Control(refusal) if matches!(*refusal, Refusal::Parameter { .. }) => {
            Nothing::Senseless(refusal.to_string())
        }
        other => Nothing::Failed(anyhow::anyhow!("{other}")),
    }
}

pub(super) async fn list(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let made = list_page(&desk, &visitor, &request).await;
    or_say(&desk, &visitor, Part::Inbox, made).await
}

async fn list_page(desk: &Desk, visitor: &Visitor, request: &HttpRequest) -> Result<HttpResponse, Nothing> {
    visitor.must(Scope::MessagesRead)?;
    let inbox = desk.inbox.clone().ok_or_else(|| nothing(Problem::NotFound))?;
    let query = Query::of(request);
    let wrong = |_| Nothing::Senseless("A page of the list has 1 to 200 messages.".to_owned());
    let limit = query.get("limit").map(str::parse).transpose().map_err(wrong)?.unwrap_or(PAGE_ROWS);
    let asked = Asked::new(limit, query.get("after")).map_err(nothing)?;
    let Listed { messages, next } = listed(inbox, asked).await.map_err(nothing)?;
    let rows: Html = messages.iter().map(row).collect();
    let list = if rows.is_empty() {
        html!("<div class=\"panel empty\"><p>No messages yet. What the rules decide to send appears here.</p></div>")
    } else {
        table("Messages kept", &["When", "Message", "To", "Channel", "Campaign", ""], rows)
    };
    let older = next.map(|at| html!("<p class=\"pager\"><a href=\"/inbox?after={}\">Older messages</a></p>", at));
    let body = html!("<h1>Inbox</h1><p class=\"muted\">{}</p>{}{}", INTRO, list, older);
    Ok(framed(desk, visitor, Some(Part::Inbox), StatusCode::OK, "Inbox", body).await)
}

fn row(message: &KeptSummary) -> Html {
    let title = if message.title.trim().is_empty() { "(no subject)" } else { &message.title };
    html!(
        "<tr><td>{}</td><td class=\"wide\"><a href=\"/inbox/{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td><a \
         href=\"/why?message={}\" aria-label=\"Why this message\">Why</a></td></tr>",
        message.at,
        message.message,
        title,
        message.to,
        message.channel.as_str(),
        message.campaign,
        message.message
    )
}

pub(super) async fn message(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let made = message_page(&desk, &visitor, request.match_info().query("id")).await;
    or_say(&desk, &visitor, Part::Inbox, made).await
}

async fn message_page(desk: &Desk, visitor: &Visitor, id: &str) -> Result<HttpResponse, Nothing> {
    visitor.must(Scope::MessagesRead)?;
    let inbox = desk.inbox.clone().ok_or_else(|| nothing(Problem::NotFound))?;
    let kept = found(inbox, id).await.map_err(nothing)?;
    let title = KeptSummary::from(&kept).title;
    let heading = match &kept.content {
        Content::Email(_) if !title.trim().is_empty() => title.clone(),
        content => format!("{} to {}", kept.channel.as_str(), address_of(content)),
    };
    let mut rows = envelope(&kept.content);
    rows.extend([
        ("Time", kept.at.shown()),
        ("Campaign", kept.campaign.shown()),
        (
            "Template",
            html!("<a href=\"/preview/{}\">{}</a>, version {}", kept.template, kept.template, kept.template_version),
        ),
        ("Purpose", kept.purpose.as_str().shown()),
        ("Profile", html!("<a href=\"/customers/profile:{}\">{}</a>", kept.profile, kept.profile)),
        ("Message", html!("<a href=\"/why?message={}\"><code>{}</code></a>", kept.message, kept.message)),
    ]);
    let body = html!(
        "<p class=\"crumb\"><a href=\"/inbox\">Inbox</a></p><h1>{}</h1>{}{}",
        heading,
        facts(&rows),
        parts(&kept)
    );
    Ok(framed(desk, visitor, Some(Part::Inbox), StatusCode::OK, &title, body).await)
}

fn address_of(content: &Content) -> &str {
    match content {
        Content::Email(email) => &email.to.address,
        Content::Sms { to, .. } | Content::Push { to, .. } | Content::Whatsapp { to, .. } => to,
        Content::Webhook { url, .. } => url,
    }
}

/// The channel's own facts.
fn envelope(content: &Content) -> Vec<(&str, Html)> {
    match content {
        Content::Email(email) => mail_envelope(email),
        Content::Whatsapp { to, name, language, .. } => {
            vec![("To", to.shown()), ("Provider’s template", name.shown()), ("Language", language.shown())]
        }
        other => vec![("To", address_of(other).shown())],
    }
}

fn mail_envelope(email: &Email) -> Vec<(&str, Html)> {
    let mut rows = vec![("From", mailbox(&email.from)), ("To", mailbox(&email.to))];
    rows.extend(email.reply_to.iter().map(|address| ("Reply-To", address.shown())));
    rows.push(("Message-ID", email.message_id.shown()));
    rows.extend(email.headers.iter().map(|(name, value)| (name.as_str(), value.as_str().shown())));
    rows
}

fn parts(kept: &Kept) -> Html {
    match &kept.content {
        Content::Email(email) => html!(
            "<h2>As HTML</h2><div class=\"frames\" tabindex=\"0\" role=\"region\" aria-label=\"As HTML\"><figure class=\"wide\"><iframe sandbox=\"allow-popups \
             allow-popups-to-escape-sandbox\" src=\"/inbox/{}/html\" title=\"The message as HTML\"></iframe></figure></div>\
             <h2>As text</h2><pre class=\"panel\" tabindex=\"0\">{}</pre><p><a href=\"/inbox/{}/source\">Source</a></p>",
            kept.message,
            email.text,
            kept.message
        ),
        Content::Sms { text, .. } => html!("<h2>On a telephone</h2>{}", sms_bubble(text)),
        Content::Push { title, body, link, .. } => {
            html!("<h2>On a telephone</h2>{}", push_card(title, body, link.as_deref()))
        }
        Content::Whatsapp { parameters, .. } => {
            let items: Html = parameters.iter().map(|one| html!("<li>{}</li>", one)).collect();
            html!("<h2>Parameters</h2><ol class=\"panel plainlist\">{}</ol>", items)
        }
        Content::Webhook { json, .. } => html!("<h2>JSON</h2><pre class=\"panel\" tabindex=\"0\">{}</pre>", json),
    }
}

/// An answer that is not ours to style.
fn raw(kind: &'static str, policy: &'static str, body: impl Into<Vec<u8>>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, kind))
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body.into())
}

pub(super) async fn html(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    if let Err(nothing) = visitor.must(Scope::MessagesRead) {
        return or_say(&desk, &visitor, Part::Inbox, Err(nothing)).await;
    }
    let made = match desk.inbox.clone() {
        Some(inbox) => match found(inbox, request.match_info().query("id")).await {
            Ok(Kept { content: Content::Email(email), .. }) => {
                Ok(raw("text/html; charset=utf-8", FRAME_POLICY, with_links_beside(&with_pictures(&email.html))))
            }
            Ok(_) => Err(Problem::NotFound),
            Err(problem) => Err(problem),
        },
        None => Err(Problem::NotFound),
    };
    or_say(&desk, &visitor, Part::Inbox, made.map_err(nothing)).await
}

pub(super) async fn source(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    if let Err(nothing) = visitor.must(Scope::MessagesRead) {
        return or_say(&desk, &visitor, Part::Inbox, Err(nothing)).await;
    }
    let made = match desk.inbox.clone() {
        Some(inbox) => source_of(inbox, request.match_info().query("id")).await,
        None => Err(Problem::NotFound),
    };
    let made = made.map(|bytes| raw("text/plain; charset=utf-8", "default-src 'none'", bytes));
    or_say(&desk, &visitor, Part::Inbox, made.map_err(nothing)).await
}
