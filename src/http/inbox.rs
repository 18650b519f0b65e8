//! The sandbox's inbox in a browser: what would have been sent, as its reader would see it, and the same as JSON.
//!
//! A message's HTML is shown in a frame without script, forms or origin of its own, from an address whose answer says
//! so itself: it stays harmless when opened directly.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};

use crate::demo::with_pictures;
use crate::ids::{MessageId, Timestamp};
use crate::render::kept::{Cursor, Kept, KeptMessages, KeptSummary, Unreadable};
use crate::render::{Content, Email, Mailbox};

use super::page::{escape, page};
use super::problem::{Problem, Refusal};

const PAGE_ROWS: usize = 50;
const PAGE_ROWS_MAX: usize = 200;

/// What a message's HTML may do: show its pictures and styles, and open what somebody clicks on in a tab of its own. It
/// has no origin and runs nothing.
const FRAME_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src https: data:; style-src \
     'unsafe-inline'; frame-ancestors 'self'";

type Inbox = web::Data<dyn KeptMessages>;

/// Adds `/inbox` and `/api/v1/inbox`, and leads there from `/`. Whoever can reach them reads every message: for the sandbox only.
pub fn configure(inbox: Inbox) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        let resource = |path: &str, route| web::resource(path).app_data(inbox.clone()).route(route);
        app.service(resource("/", web::get().to(home)))
            .service(resource("/inbox", web::get().to(list_page)))
            .service(resource("/inbox/{id}", web::get().to(message_page)))
            .service(resource("/inbox/{id}/html", web::get().to(html)))
            .service(resource("/inbox/{id}/source", web::get().to(source)))
            .service(resource("/api/v1/inbox", web::get().to(list_json)))
            .service(resource("/api/v1/inbox/{id}", web::get().to(message_json)));
    }
}

#[derive(Debug, Deserialize)]
struct Asked {
    limit: Option<usize>,
    /// Where the page before ended: milliseconds, a dash, the message's id.
    after: Option<String>,
}

impl Asked {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let read = web::Query::<Self>::from_query(request.query_string());
        Ok(read.map_err(|error| Refusal::Query { cause: error.to_string() })?.into_inner())
    }

    fn after(&self) -> Result<Option<Cursor>, Problem> {
        let Some(text) = &self.after else { return Ok(None) };
        let (millis, id) = text.rsplit_once('-').ok_or(Problem::NotFound)?;
        let millis = millis.parse().map_err(|_| Problem::NotFound)?;
        let id = id.parse().map_err(|_| Problem::NotFound)?;
        Ok(Some((Timestamp::from_millis(millis), id)))
    }
}

/// A page of the list and where the next begins.
#[derive(Serialize)]
struct Listed {
    messages: Vec<KeptSummary>,
    next: Option<String>,
}

async fn listed(inbox: Inbox, request: &HttpRequest) -> Result<Listed, Problem> {
    let asked = Asked::of(request)?;
    let limit = asked.limit.unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS_MAX);
    let after = asked.after()?;
    let mut messages = read(inbox, move |inbox| inbox.list(limit + 1, after)).await?;
    let more = messages.len() > limit;
    messages.truncate(limit);
    let last = messages.last().filter(|_| more);
    let next = last.map(|it| format!("{}-{}", it.at.millis(), it.message));
    Ok(Listed { messages, next })
}

/// Files are read away from the threads that answer.
async fn read<T: Send + 'static>(
    inbox: Inbox,
    work: impl FnOnce(&dyn KeptMessages) -> Result<T, Unreadable> + Send + 'static,
) -> Result<T, Problem> {
    let inbox: Arc<dyn KeptMessages> = inbox.into_inner();
    let done = web::block(move || work(inbox.as_ref())).await;
    match done {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(cause)) => {
            tracing::error!(%cause, "the inbox cannot be read");
            Err(Problem::StorageFailing)
        }
        Err(_) => Err(Problem::Stopping),
    }
}

async fn found(inbox: Inbox, id: &str) -> Result<Kept, Problem> {
    let id: MessageId = id.parse().map_err(|_| Problem::NotFound)?;
    read(inbox, move |inbox| inbox.get(id)).await?.ok_or(Problem::NotFound)
}

/// Who opens the bare address wants to see something.
async fn home() -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, "/inbox")).finish()
}

async fn list_json(inbox: Inbox, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(listed(inbox, &request).await?))
}

async fn message_json(inbox: Inbox, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(found(inbox, &id).await?))
}

async fn list_page(inbox: Inbox, request: HttpRequest) -> HttpResponse {
    let Listed { messages, next } = match listed(inbox, &request).await {
        Ok(listed) => listed,
        Err(problem) => return problem_page(&problem),
    };
    let rows: String = messages.iter().map(row).collect();
    let list = if rows.is_empty() {
        "<p>No messages yet. What the rules decide to send appears here.</p>".to_owned()
    } else {
        format!(
            "<div class=\"panel\"><table><thead><tr><th>Time (UTC)</th><th>Message</th><th>To</th><th>Channel</th>\
             <th>Campaign</th></tr></thead><tbody>{rows}</tbody></table></div>"
        )
    };
    let older =
        next.map_or_else(String::new, |at| format!("<nav><a href=\"/inbox?after={at}\">Older messages</a></nav>"));
    let intro = "<h1>Inbox</h1><p class=\"muted\">The sandbox keeps what would have been sent. Nothing here left this \
                 machine.</p>";
    page(StatusCode::OK, "Inbox", &format!("<main>{intro}{list}{older}</main>"))
}

fn row(message: &KeptSummary) -> String {
    let title = if message.title.trim().is_empty() { "(no subject)" } else { &message.title };
    format!(
        "<tr><td>{}</td><td><a href=\"/inbox/{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>",
        time(message.at),
        message.message,
        escape(title),
        escape(&message.to),
        message.channel.as_str(),
        escape(&message.campaign),
    )
}

fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let shown = text.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ");
    format!("<time datetime=\"{text}\">{shown}</time>")
}

async fn message_page(inbox: Inbox, id: web::Path<String>) -> HttpResponse {
    let kept = match found(inbox, &id).await {
        Ok(kept) => kept,
        Err(problem) => return problem_page(&problem),
    };
    let title = KeptSummary::from(&kept).title;
    let mut body = format!("<nav><a href=\"/inbox\">Inbox</a></nav><h1>{}</h1>", escape(&title));
    let mut facts = vec![
        ("Time", time(kept.at)),
        ("Channel", kept.channel.as_str().to_owned()),
        ("Campaign", escape(&kept.campaign)),
        ("Template", format!("{}, version {}", escape(&kept.template), kept.template_version)),
        ("Purpose", kept.purpose.as_str().to_owned()),
        ("Profile", kept.profile.to_string()),
        ("Message", kept.message.to_string()),
    ];
    let parts = content(&kept.content, kept.message, &mut facts);
    body.push_str("<div class=\"panel\"><dl>");
    for (name, value) in facts {
        body.push_str(&format!("<dt>{}</dt><dd>{value}</dd>", escape(name)));
    }
    body.push_str("</dl></div>");
    body.push_str(&parts);
    page(StatusCode::OK, &title, &format!("<main>{body}</main>"))
}

/// Adds the channel's own facts and gives its parts as HTML.
fn content<'a>(content: &'a Content, id: MessageId, facts: &mut Vec<(&'a str, String)>) -> String {
    match content {
        Content::Email(email) => {
            email_facts(email, facts);
            format!(
                "<h2>As HTML</h2><div class=\"panel\"><iframe sandbox=\"allow-popups \
                 allow-popups-to-escape-sandbox\" src=\"/inbox/{id}/html\" \
                 title=\"The message as HTML\"></iframe></div>{}<nav><a href=\"/inbox/{id}/source\">Source</a></nav>",
                block("As text", &email.text)
            )
        }
        Content::Sms { to, text } => {
            facts.push(("To", escape(to)));
            block("Text", text)
        }
        Content::Push { to, title, body, link } => {
            facts.push(("To", escape(to)));
            facts.extend(link.iter().map(|link| ("Link", escape(link))));
            block(title, body)
        }
        Content::Whatsapp { to, name, language, parameters } => {
            facts.extend([("To", escape(to)), ("Provider's template", escape(name)), ("Language", escape(language))]);
            block("Parameters", &parameters.join("\n"))
        }
        Content::Webhook { url, json } => {
            facts.push(("To", escape(url)));
            block("JSON", json)
        }
    }
}

fn email_facts<'a>(email: &'a Email, facts: &mut Vec<(&'a str, String)>) {
    facts.push(("From", mailbox(&email.from)));
    facts.push(("To", mailbox(&email.to)));
    facts.extend(email.reply_to.iter().map(|address| ("Reply-To", escape(address))));
    facts.push(("Subject", escape(email.subject.as_str())));
    facts.push(("Message-ID", escape(&email.message_id)));
    facts.extend(email.headers.iter().map(|(name, value)| (name.as_str(), escape(value.as_str()))));
}

fn mailbox(mailbox: &Mailbox) -> String {
    match &mailbox.name {
        Some(name) => escape(&format!("{name} <{}>", mailbox.address)),
        None => escape(&mailbox.address),
    }
}

fn block(title: &str, text: &str) -> String {
    format!("<h2>{}</h2><div class=\"panel\"><pre>{}</pre></div>", escape(title), escape(text))
}

/// A page does not let itself be framed, so a link opens beside the inbox, as in a mail program.
fn with_links_beside(html: &str) -> String {
    let head = html.find("<head>").map_or(0, |at| at + "<head>".len());
    let (before, after) = html.split_at(head);
    format!("{before}<base target=\"_blank\">{after}")
}

async fn html(inbox: Inbox, id: web::Path<String>) -> HttpResponse {
    match found(inbox, &id).await {
        Ok(Kept { content: Content::Email(email), .. }) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((CONTENT_SECURITY_POLICY, FRAME_POLICY))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(with_links_beside(&with_pictures(&email.html))),
        Ok(_) => problem_page(&Problem::NotFound),
        Err(problem) => problem_page(&problem),
    }
}

async fn source(inbox: Inbox, id: web::Path<String>) -> HttpResponse {
    let Ok(id) = id.parse::<MessageId>() else { return problem_page(&Problem::NotFound) };
    match read(inbox, move |inbox| inbox.source(id)).await {
        Ok(Some(bytes)) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
            .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(bytes),
        Ok(None) => problem_page(&Problem::NotFound),
        Err(problem) => problem_page(&problem),
    }
}

fn problem_page(problem: &Problem) -> HttpResponse {
    let says = match problem {
        Problem::NotFound => "There is no such message here.".to_owned(),
        other => other.to_string(),
    };
    let body =
        format!("<main><nav><a href=\"/inbox\">Inbox</a></nav><h1>Nothing to show</h1><p>{}</p></main>", escape(&says));
    page(problem.status_code(), "Nothing to show", &body)
}

#[cfg(test)]
mod tests;
