//! Links and pictures of mails that lead by way of us: heard of, and answered at once, whatever becomes of the hearing.
//! Where a link leads is signed with it, so that nobody can make us lead elsewhere.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};

use super::{LinkKind, Pages, Words, broken, said};
use crate::render::links::Link;

/// One transparent pixel.
const PICTURE: &[u8] = &[
    b'G', b'I', b'F', b'8', b'9', b'a', 1, 0, 1, 0, 0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21, 0xf9, 4, 1, 0, 0, 0,
    0, 0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3b,
];

/// Leads on to where the link was written to lead.
pub async fn follow(pages: Pages, request: HttpRequest) -> HttpResponse {
    let words = Words::of(&request);
    let asked = request.match_info().get("token").and_then(|token| pages.links.verify_click(token));
    let Some((link, target)) = asked else { return broken(words) };
    hear(&pages, &request, link, Some(target.clone())).await;
    if target.is_empty() {
        // The link nobody sees.
        return said(words, StatusCode::OK, words.broken, words.broken_text);
    }
    // As a browser would write it: nothing in it can end the header or begin another.
    let Some(target) = url::Url::parse(&target).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return broken(words);
    };
    let Ok(location) = HeaderValue::from_str(target.as_str()) else { return broken(words) };
    let mut response = HttpResponse::build(StatusCode::FOUND);
    response.insert_header((LOCATION, location));
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.insert_header(("x-robots-tag", "noindex")).finish()
}

/// The picture; the answer is never kept, so that opening again is heard of again.
pub async fn picture(pages: Pages, request: HttpRequest) -> HttpResponse {
    let Some(link) = pages.asked(LinkKind::Open, &request) else { return broken(Words::of(&request)) };
    hear(&pages, &request, link, None).await;
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "image/gif")).insert_header((CACHE_CONTROL, "no-store, max-age=0"));
    response.body(PICTURE)
}

/// People are led on also where nothing can be stored.
async fn hear(pages: &Pages, request: &HttpRequest, link: Link, target: Option<String>) {
    let agent = request.headers().get(USER_AGENT).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let is_head = request.method() == Method::HEAD;
    if let Err(error) = pages.book.hit(link, target, is_head, agent.unwrap_or_default()).await {
        tracing::warn!(%error, "a hit of a mail was not stored");
    }
}
