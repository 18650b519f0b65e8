//! The sandbox's inbox: what would have been sent, read page by page, and as JSON. The pages show the same.

use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ids::{MessageId, Timestamp};
use crate::render::kept::{Cursor, Kept, KeptMessages, KeptSummary, Unreadable};

use super::admin::operation::{Operation, read};
use super::admin::{json_page, query, rows};
use super::body;
use super::problem::{Problem, Refusal};
use super::scope::Scope;

pub(super) const PAGE_ROWS: u32 = 50;
const PAGE_ROWS_MAX: u32 = 200;

pub(super) type Inbox = Arc<dyn KeptMessages>;

/// Who may read it, or why somebody may not.
pub(super) type Admits = Arc<dyn Fn(HttpRequest) -> LocalBoxFuture<'static, Result<(), Problem>> + Send + Sync>;

/// Adds `/api/v1/inbox`. Who is admitted reads every message: for the sandbox only.
pub(super) fn configure(inbox: web::Data<dyn KeptMessages>, admits: Admits) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        let admits = web::Data::new(admits);
        let other =
            |payload: Payload| async move { body::refused(Problem::MethodNotAllowed { allow: "GET".into() }, payload) };
        let resource = |path: &str, route| {
            let resource = web::resource(path).app_data(inbox.clone()).app_data(admits.clone());
            resource.route(route).default_service(web::to(other))
        };
        app.service(resource("/api/v1/inbox", web::get().to(list_json)))
            .service(resource("/api/v1/inbox/{id}", web::get().to(message_json)));
    }
}

/// The same for the list of everything that can be asked; where something real is sent there is no inbox.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        read("/inbox", Scope::MessagesRead, list_json)
            .says("listInbox", "While nothing real is sent: what would have been, newest first")
            .query::<AskedJson>()
            .answers::<Listed>()
            .open_here()
            .may(&[404]),
        read("/inbox/{id}", Scope::MessagesRead, message_json)
            .says("getInboxMessage", "One message of the sandbox as its channel would have carried it")
            .answers::<Kept>()
            .open_here(),
    ]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct AskedJson {
    /// Messages of the page.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "super::admin::rows_asked")]
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

/// A part of the list.
#[derive(Debug)]
pub(super) struct Asked {
    limit: usize,
    /// Where the page before ended.
    after: Option<Cursor>,
}

impl Asked {
    /// `after`: milliseconds, a dash, the message's id.
    pub(super) fn new(limit: u32, after: Option<&str>) -> Result<Self, Problem> {
        let read = |text: &str| -> Option<Cursor> {
            let (millis, id) = text.rsplit_once('-')?;
            Some((Timestamp::from_millis(millis.parse().ok()?), id.parse().ok()?))
        };
        let cause = "`cursor` is what `next` of a page said";
        let wrong = || Refusal::Parameter { field: "cursor", cause: cause.to_owned() };
        let after = after.map(|text| read(text).ok_or_else(wrong)).transpose()?;
        Ok(Self { limit: rows(Some(limit), PAGE_ROWS, PAGE_ROWS_MAX)? as usize, after })
    }
}

/// A page of the list and where the next begins.
#[derive(Serialize, ToSchema)]
#[schema(as = InboxPage)]
pub(super) struct Listed {
    pub(super) messages: Vec<KeptSummary>,
    /// None on the last page.
    pub(super) next: Option<String>,
}

pub(super) async fn listed(inbox: Inbox, asked: Asked) -> Result<Listed, Problem> {
    let Asked { limit, after } = asked;
    let mut messages = on_disk(inbox, move |inbox| inbox.list(limit + 1, after)).await?;
    let more = messages.len() > limit;
    messages.truncate(limit);
    let last = messages.last().filter(|_| more);
    let next = last.map(|it| format!("{}-{}", it.at.millis(), it.message));
    Ok(Listed { messages, next })
}

/// Files are read away from the threads that answer.
async fn on_disk<T: Send + 'static>(
    inbox: Inbox,
    work: impl FnOnce(&dyn KeptMessages) -> Result<T, Unreadable> + Send + 'static,
) -> Result<T, Problem> {
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

pub(super) async fn found(inbox: Inbox, id: &str) -> Result<Kept, Problem> {
    let id: MessageId = id.parse().map_err(|_| Problem::NotFound)?;
    on_disk(inbox, move |inbox| inbox.get(id)).await?.ok_or(Problem::NotFound)
}

/// A mail as it would go over the wire.
pub(super) async fn source_of(inbox: Inbox, id: &str) -> Result<Vec<u8>, Problem> {
    let id: MessageId = id.parse().map_err(|_| Problem::NotFound)?;
    on_disk(inbox, move |inbox| inbox.source(id)).await?.ok_or(Problem::NotFound)
}

type Kepts = Option<web::Data<dyn KeptMessages>>;
type Guard = Option<web::Data<Admits>>;

/// The inbox, for whoever may read it.
async fn opened(inbox: Kepts, guard: Guard, request: &HttpRequest) -> Result<Inbox, Problem> {
    let (Some(inbox), Some(guard)) = (inbox, guard) else { return Err(Problem::NotFound) };
    guard(request.clone()).await?;
    Ok(inbox.into_inner())
}

async fn list_json(inbox: Kepts, guard: Guard, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let inbox = opened(inbox, guard, &request).await?;
    let asked: AskedJson = query(&request)?;
    let asked = Asked::new(asked.limit.unwrap_or(PAGE_ROWS), asked.cursor.as_deref())?;
    let listed = listed(inbox, asked).await?;
    Ok(json_page(&request, &listed, listed.next.as_deref()))
}

async fn message_json(
    inbox: Kepts,
    guard: Guard,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let kept = found(opened(inbox, guard, &request).await?, &id).await?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(kept))
}

#[cfg(test)]
mod tests;
