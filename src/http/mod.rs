//! The doors: the track API. Each request gets an id, a bounded body, and an answer that clients act on rightly.

pub mod admin;
pub mod append;
pub mod auth;
mod body;
pub mod book;
mod caps;
pub mod config;
pub mod correlation;
mod cursor;
pub mod door;
pub mod inbox;
pub mod ingest;
pub mod openapi;
mod page;
pub mod pages;
pub mod problem;
mod rate;
pub mod scope;
mod settings;
pub mod tracking;
mod tried;
mod words;

use std::time::Duration;

use actix_cors::Cors;
use actix_web::HttpResponse;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Payload, ServiceConfig};

pub use ingest::Ingest;
pub use problem::Problem;

/// A request's head must have arrived within this time; for `HttpServer::client_request_timeout`.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// How long a refused client may go on sending before the connection is cut; for `client_disconnect_timeout`.
pub const DISCONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// Adds the track API's routes: everything under `/v1` and `/beacon/v1`.
pub fn configure(ingest: web::Data<Ingest>) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        let ids = web::Data::from(ingest.ids.clone());
        app.configure(problem::pages::configure);
        app.service(
            web::scope("/v1")
                .app_data(ingest.clone())
                .app_data(ids.clone())
                .wrap(from_fn(correlation::correlate))
                .wrap(cors())
                .service(resource("/projects/{key}/settings", web::get().to(settings::settings), "GET"))
                .service(resource("/{call}", web::post().to(ingest::call), "POST"))
                .default_service(web::to(not_found)),
        );
        app.service(
            web::scope("/beacon/v1")
                .app_data(ingest)
                .app_data(ids)
                .wrap(from_fn(correlation::correlate))
                .wrap(cors())
                .service(resource("/batch", web::post().to(ingest::beacon), "POST"))
                .default_service(web::to(not_found)),
        );
    }
}

fn resource(path: &str, route: actix_web::Route, allow: &'static str) -> actix_web::Resource {
    let other = move |payload: Payload| async move {
        body::refused(Problem::MethodNotAllowed { allow: allow.into() }, payload)
    };
    web::resource(path).route(route).default_service(web::to(other))
}

/// What every address answers that is none.
pub async fn not_found(payload: Payload) -> HttpResponse {
    body::refused(Problem::NotFound, payload)
}

/// Any page may send events: the write key, not the origin, says whose they are.
fn cors() -> Cors {
    Cors::default()
        .allow_any_origin()
        .send_wildcard()
        .allowed_methods(["GET", "POST", "OPTIONS"])
        .allowed_headers([
            "authorization",
            "content-type",
            "content-encoding",
            "x-retry-count",
            "x-request-id",
            "traceparent",
            // RudderStack's browser client.
            "anonymousid",
        ])
        .expose_headers(["retry-after", "x-ratelimit-reset", "x-request-id"])
        .max_age(86_400)
}
