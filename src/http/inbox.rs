//! The sandbox's inbox: what would have been sent, read page by page, and as JSON. The pages show the same.

use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, Timestamp};
use crate::render::kept::{Cursor, Kept, KeptMessages, KeptSummary, Unreadable};

use super::problem::{Problem, Refusal};

const PAGE_ROWS: usize = 50;
const PAGE_ROWS_MAX: usize = 200;

pub(super) type Inbox = Arc<dyn KeptMessages>;

/// Who may read it.
pub(super) type Admits = Arc<dyn Fn(&HttpRequest) -> bool + Send + Sync>;

/// Adds `/api/v1/inbox`. Who is admitted reads every message: for the sandbox only.
pub(super) fn configure(inbox: web::Data<dyn KeptMessages>, admits: Admits) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        let admits = web::Data::from(admits);
        let resource =
            |path: &str, route| web::resource(path).app_data(inbox.clone()).app_data(admits.clone()).route(route);
        app.service(resource("/api/v1/inbox", web::get().to(list_json)))
            .service(resource("/api/v1/inbox/{id}", web::get().to(message_json)));
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    limit: Option<usize>,
    /// Where the page before ended: milliseconds, a dash, the message's id.
    after: Option<String>,
}

impl Asked {
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
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
pub(super) struct Listed {
    pub(super) messages: Vec<KeptSummary>,
    pub(super) next: Option<String>,
}

pub(super) async fn listed(inbox: Inbox, asked: Asked) -> Result<Listed, Problem> {
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
    read(inbox, move |inbox| inbox.get(id)).await?.ok_or(Problem::NotFound)
}

/// A mail as it would go over the wire.
pub(super) async fn source_of(inbox: Inbox, id: &str) -> Result<Vec<u8>, Problem> {
    let id: MessageId = id.parse().map_err(|_| Problem::NotFound)?;
    read(inbox, move |inbox| inbox.source(id)).await?.ok_or(Problem::NotFound)
}

type Guarded = web::Data<dyn Fn(&HttpRequest) -> bool + Send + Sync>;

fn admitted(admits: &Guarded, request: &HttpRequest) -> Result<(), Problem> {
    if admits(request) { Ok(()) } else { Err(Refusal::MissingToken.into()) }
}

async fn list_json(
    inbox: web::Data<dyn KeptMessages>,
    admits: Guarded,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    admitted(&admits, &request)?;
    let listed = listed(inbox.into_inner(), Asked::of(&request)?).await?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(listed))
}

async fn message_json(
    inbox: web::Data<dyn KeptMessages>,
    admits: Guarded,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    admitted(&admits, &request)?;
    let kept = found(inbox.into_inner(), &id).await?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(kept))
}

#[cfg(test)]
mod tests;
