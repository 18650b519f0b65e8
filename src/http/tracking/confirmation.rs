//! The confirmation of a double opt-in: a page with a button, so that a scanner that opens the link confirms nothing.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::audience::consent::{ConsentState, Via};
use crate::render::links::{Link, LinkKind};
use crate::worker::permission::{About, Answer, Confirmable};

use super::{Form, LinkPages, Pages, broken, no, not_done, said, to_preferences};
use crate::http::page::{escape, page_in};
use crate::http::words::{Words, about};

pub(super) async fn show(pages: Pages, request: HttpRequest) -> HttpResponse {
    let words = Words::of(&request);
    let Some(link) = pages.asked(LinkKind::Confirm, &request) else { return broken(words) };
    match pages.book.confirmable(link).await {
        Ok(Confirmable::Yes) => {
            let body = format!(
                "<main class=\"narrow\"><h1>{0}</h1><p>{1}</p><form method=\"post\"><p><button>{0}</button></p></form></main>",
                words.confirm,
                escape(&about(words.confirm_text, words.name(link.channel)))
            );
            page_in(words.lang, StatusCode::OK, words.confirm, &body)
        }
        Ok(Confirmable::Done) => confirmed(&pages, words, &link),
        Ok(Confirmable::No) => said(words, StatusCode::OK, words.over, words.over_text),
        Err(error) => not_done(words, error),
    }
}

pub(super) async fn act(pages: Pages, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let words = Words::of(&request);
    let Some(link) = pages.asked(LinkKind::Confirm, &request) else { return broken(words) };
    // The token says all; the body is read so that the connection can be used again.
    let _ = Form::read(&request, payload).await;
    match pages.book.confirmable(link).await {
        Ok(Confirmable::Yes) => {}
        Ok(Confirmable::Done) => return confirmed(&pages, words, &link),
        Ok(Confirmable::No) => return said(words, StatusCode::OK, words.over, words.over_text),
        Err(error) => return not_done(words, error),
    }
    let answer = Answer {
        state: ConsentState::Granted,
        source: "confirmation link".to_owned(),
        ..no(About::Channel(link.channel), &link, Via::Confirmation)
    };
    match pages.book.answer(link, vec![answer]).await {
        Ok(()) => confirmed(&pages, words, &link),
        Err(error) => not_done(words, error),
    }
}

fn confirmed(pages: &LinkPages, words: &Words, link: &Link) -> HttpResponse {
    let body = format!(
        "<main class=\"narrow\"><h1>{}</h1><p>{}</p>{}</main>",
        words.confirmed,
        escape(&about(words.confirmed_text, words.name(link.channel))),
        to_preferences(pages, link, words)
    );
    page_in(words.lang, StatusCode::OK, words.confirmed, &body)
}
