//! For whoever watches the process: is it alive, is it ready (open to all), and what does it count (on this machine, or
//! with a token). Without any content.

use std::time::Duration;

use actix_web::http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::store::shards::{ShardSet, backlog};
use crate::telemetry;
use crate::telemetry::family::Format;
use crate::worker::restored::{Recognised, recognised};

use super::{Answer, Controls, gate, get};
use crate::http::scope::Scope;

/// Each check of readiness may take this long.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);
/// Entries waiting to be processed, beyond which others should be asked first.
const BACKLOG_MAX: i64 = 100_000;

pub fn routes(admin: &Controls) -> impl FnOnce(&mut ServiceConfig) {
    let admin = admin.clone();
    move |app| {
        app.service(get("/healthz", alive))
            .service(get("/readyz", ready).app_data(admin.clone()))
            .service(get("/metrics", metrics).app_data(admin));
    }
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(serde_json::json!({ "status": "ok" }))
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    checks: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Checked {
    fn new(name: &'static str, result: Result<Option<String>, String>) -> Self {
        match result {
            Ok(detail) => Self { name, ok: true, detail },
            Err(detail) => Self { name, ok: false, detail: Some(detail) },
        }
    }
}

async fn ready(admin: Controls) -> HttpResponse {
    let stopping = match admin.is_stopping() {
        true => Err("the service is stopping".to_owned()),
        false => Ok(None),
    };
    let reading = async {
        let behind = backlog(admin.store.reader(), ShardSet::EVERY).await?;
        Ok::<i64, crate::store::Error>(behind)
    };
    let (database, backlog) = match tokio::time::timeout(CHECK_DEADLINE, reading).await {
        Ok(Ok(behind)) if behind > BACKLOG_MAX => (Ok(None), Err(format!("{behind} entries wait to be processed"))),
        Ok(Ok(behind)) => (Ok(None), Ok(Some(format!("{behind} entries wait to be processed")))),
        Ok(Err(error)) => {
            tracing::error!(%error, "the database does not answer a readiness check");
            (Err("the database cannot be read".to_owned()), Ok(None))
        }
        Err(_) => (Err("the database did not answer in time".to_owned()), Ok(None)),
    };
    let writer = match tokio::time::timeout(CHECK_DEADLINE, admin.log.writer().check()).await {
        Ok(checked) => checked.map(|()| None),
        Err(_) => Err("the log's writer did not answer in time".to_owned()),
    };
    let mut checks = vec![
        Checked::new("stopping", stopping),
        Checked::new("database", database),
        Checked::new("writer", writer),
        Checked::new("backlog", backlog),
    ];
    let is_ready = checks.iter().all(|check| check.ok);
    // Events are taken and everything without a cap is sent: no other process should be asked for that.
    let caps = match tokio::time::timeout(CHECK_DEADLINE, (admin.check_caps)(())).await {
        Ok(Ok(Ok(_))) => Ok(None),
        Ok(Ok(Err(_))) => Err("the cap store cannot be asked; messages that obey caps wait".to_owned()),
        Ok(Err(_)) | Err(_) => Err("the cap store did not answer in time; messages that obey caps wait".to_owned()),
    };
    checks.push(Checked::new("frequency caps", caps));
    let restored = tokio::time::timeout(CHECK_DEADLINE, recognised(admin.store.reader())).await;
    checks.push(Checked::new("restore", held(restored)));
    let mut answer = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let status = if is_ready { "ready" } else { "not ready" };
    answer.insert_header((CACHE_CONTROL, "no-store")).json(Readiness { status, checks })
}

/// A restored backup takes events and sends what is not marketing: no other process should be asked for that either.
fn held(
    restored: Result<anyhow::Result<Option<Recognised>>, tokio::time::error::Elapsed>,
) -> Result<Option<String>, String> {
    match restored {
        Ok(Ok(Some(_))) => {
            Err("a restored backup was recognised; marketing waits for `carillon confirm-restore`".to_owned())
        }
        Ok(Ok(None)) => Ok(None),
        Ok(Err(_)) | Err(_) => Err("the database cannot be read".to_owned()),
    }
}

/// On an address that serves nothing else: whoever reaches it may read.
pub fn open_routes(admin: Controls) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        app.service(get("/healthz", alive))
            .service(get("/readyz", ready).app_data(admin.clone()))
            .service(get("/metrics", metrics).app_data(admin).app_data(Open));
    }
}

/// Beside the route of an address of its own.
#[derive(Clone, Copy)]
struct Open;

async fn metrics(request: HttpRequest, admin: Controls) -> Answer {
    let may = request.app_data::<Open>().is_some() || is_near(&request) || is_scraper(&admin, request.headers());
    if !may {
        gate::holds(&admin, request.headers(), Scope::SettingsRead).await?;
    }
    admin.scrape.gauges.refresh().await;
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (format, kind) = match accept.contains("application/openmetrics-text") {
        true => (Format::OpenMetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        false => (Format::Text, "text/plain; version=0.0.4; charset=utf-8"),
    };
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, kind)).body(telemetry::exposition(format)))
}

/// From this machine, and not through a proxy on it.
fn is_near(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let is_forwarded = headers.contains_key("forwarded") || headers.contains_key("x-forwarded-for");
    !is_forwarded && request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

fn is_scraper(admin: &super::Admin, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.trim().split_once(' '));
    let token = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    // `blake3::Hash` compares in constant time.
    admin.scrape.token.zip(token).is_some_and(|(hash, token)| super::Admin::hash_of(token) == hash)
}
