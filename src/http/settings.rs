//! What the browser client asks for before its first event: where to send.
//!
//! With this route a page needs only its write key and our address as `cdnURL`.

use actix_web::http::header::{CACHE_CONTROL, HOST, HeaderMap, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::ingest::Ingest;
use super::problem::Problem;

/// `GET /v1/projects/{key}/settings`
pub(super) async fn settings(request: HttpRequest, ingest: web::Data<Ingest>) -> Result<HttpResponse, Problem> {
    let key = request.match_info().get("key").unwrap_or_default();
    ingest.known(&request, key).await.map_err(|problem| match problem {
        // The page is asking for a thing by its name, not identifying itself.
        Problem::UnknownKey => Problem::NotFound,
        other => other,
    })?;
    let (protocol, host) = match &ingest.config.public_url {
        Some(url) => split(url),
        None => as_asked(request.headers(), request.uri().authority().map(|authority| authority.as_str())),
    };
    let answer = json!({
        "integrations": {
            "Segment.io": {
                "apiKey": key,
                "apiHost": format!("{host}/v1"),
                "protocol": protocol,
                "addBundledMetadata": true,
                "unbundledIntegrations": [],
                "bundledConfigIds": [],
                "unbundledConfigIds": [],
                "maybeBundledConfigIds": {},
            }
        },
        "plan": {
            "track": { "__default": { "enabled": true, "integrations": {} } },
            "identify": { "__default": { "enabled": true } },
            "group": { "__default": { "enabled": true } },
        },
        "edgeFunction": {},
        "analyticsNextEnabled": true,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "legacyVideoPluginsEnabled": false,
        "remotePlugins": [],
    });
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((VARY, "Host, X-Forwarded-Proto"))
        .json(answer))
}

/// Protocol and host of a configured address, without the slash at its end.
fn split(url: &str) -> (&'static str, String) {
    let (protocol, rest) = match url.strip_prefix("https://") {
        Some(rest) => ("https", rest),
        None => ("http", url.strip_prefix("http://").unwrap_or(url)),
    };
    (protocol, rest.trim_end_matches('/').to_owned())
}

/// Protocol and host as the client itself sees them.
fn as_asked(headers: &HeaderMap, authority: Option<&str>) -> (&'static str, String) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = headers.get("X-Forwarded-Proto").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = forwarded.split(',').next().unwrap_or_default().trim();
    let protocol = if first.eq_ignore_ascii_case("https") { "https" } else { "http" };
    (protocol, text(HOST).or(authority).unwrap_or("localhost").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_address_loses_only_its_scheme_and_last_slash() {
        assert_eq!(split("https://events.shop.example/in/"), ("https", "events.shop.example/in".into()));
        assert_eq!(split("http://127.0.0.1:8080"), ("http", "127.0.0.1:8080".into()));
    }
}
