//! The links in messages. `/u/TOKEN` unsubscribes: GET and HEAD show a page and change nothing, because mail scanners
//! open every link; POST acts at once, because RFC 8058 sends it without cookies, login or a second step.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use futures::StreamExt;
use futures::future::BoxFuture;

use crate::message::Channel;
use crate::render::links::{Links, Unsubscribe};

use super::page::page;
use super::problem::Problem;

/// Of a body nobody reads; more is not waited for.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Why an unsubscribe did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotUnsubscribed {
    /// No such workspace or person (any more).
    #[error("nobody to unsubscribe")]
    Unknown,
    /// It could not be stored; the same request may come again.
    #[error("cannot be stored at the moment")]
    Unavailable,
}

/// Records that a person no longer wants a channel; `Ok` means stored. Doing it again is fine.
pub type Act = dyn Fn(Unsubscribe) -> BoxFuture<'static, Result<(), NotUnsubscribed>> + Send + Sync;

/// What the unsubscribe pages need: how tokens are verified and what acting means.
pub struct UnsubscribePages {
    links: Links,
    act: Arc<Act>,
}

impl UnsubscribePages {
    pub fn new(links: Links, act: Arc<Act>) -> Self {
        Self { links, act }
    }
}

/// Adds `/u/{token}`. It must stand outside any login, origin or forgery guard.
pub fn configure(pages: web::Data<UnsubscribePages>) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        app.service(
            web::resource("/u/{token}")
                .app_data(pages)
                .route(web::get().to(show))
                .route(web::head().to(show))
                .route(web::post().to(act))
                .default_service(web::to(other)),
        );
    }
}

async fn other() -> HttpResponse {
    Problem::MethodNotAllowed { allow: "GET, HEAD, POST" }.error_response()
}

async fn show(pages: web::Data<UnsubscribePages>, request: HttpRequest) -> HttpResponse {
    let Some(link) = asked(&pages, &request) else { return unknown() };
    let channel = name(link.channel);
    let body = format!(
        "<main class=\"narrow\"><h1>Unsubscribe</h1><p>You will get no more {channel} from this sender, except what \
         belongs to your orders and your account.</p><form method=\"post\"><input type=\"hidden\" \
         name=\"List-Unsubscribe\" value=\"One-Click\"><button>Unsubscribe</button></form></main>"
    );
    page(StatusCode::OK, "Unsubscribe", &body)
}

async fn act(pages: web::Data<UnsubscribePages>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let Some(link) = asked(&pages, &request) else { return unknown() };
    // Form or multipart, with whatever in it: the token says all. Read, so that the connection can be used again.
    let _ = tokio::time::timeout(BODY_DEADLINE, drain(payload)).await;
    match (pages.act)(link).await {
        Ok(()) => {
            let channel = name(link.channel);
            let body = format!(
                "<main class=\"narrow\"><h1>Unsubscribed</h1><p>You will get no more {channel} from this sender, \
                 except what belongs to your orders and your account.</p></main>"
            );
            page(StatusCode::OK, "Unsubscribed", &body)
        }
        Err(NotUnsubscribed::Unknown) => unknown(),
        Err(NotUnsubscribed::Unavailable) => {
            let body = "<main class=\"narrow\"><h1>Not yet</h1><p>This could not be stored just now. Please try again \
                        in a minute.</p></main>";
            let mut response = page(StatusCode::SERVICE_UNAVAILABLE, "Not yet", body);
            response.headers_mut().insert(RETRY_AFTER, actix_web::http::header::HeaderValue::from_static("60"));
            response
        }
    }
}

fn asked(pages: &UnsubscribePages, request: &HttpRequest) -> Option<Unsubscribe> {
    pages.links.verify_unsubscribe(request.match_info().get("token")?)
}

async fn drain(mut payload: web::Payload) {
    let mut read = 0;
    while let Some(Ok(chunk)) = payload.next().await {
        read += chunk.len();
        if read > BODY_BYTES_MAX {
            return;
        }
    }
}

/// The same answer whatever is wrong with the link.
fn unknown() -> HttpResponse {
    let body = "<main class=\"narrow\"><h1>This link does not work</h1><p>It may have been cut off by a mail program. \
                Please use the link in the message itself.</p></main>";
    page(StatusCode::NOT_FOUND, "This link does not work", body)
}

const fn name(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "e-mail",
        Channel::Sms => "text messages",
        Channel::Push => "notifications",
        Channel::Whatsapp => "WhatsApp messages",
        Channel::Webhook => "messages",
    }
}

#[cfg(test)]
mod tests;
