//! The preference page: channels and topics as they stand, saved as answers where they were changed.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::audience::consent::{ConsentState, Via, topic_name};
use crate::render::links::{Link, LinkKind};
use crate::worker::permission::{About, Answer, Choices};

use super::{Form, Pages, broken, field_of, no, not_done, said};
use crate::http::page::{escape, page_in};
use crate::http::words::Words;

const SOURCE: &str = "preference page";

/// Something on the page that is on or off.
struct Line {
    field: String,
    about: About,
    on: bool,
    name: String,
    detail: String,
}

pub(super) async fn show(pages: Pages, request: HttpRequest) -> HttpResponse {
    let words = Words::of(&request);
    let Some(link) = pages.asked(LinkKind::Preferences, &request) else { return broken(words) };
    match pages.book.choices(link).await {
        Ok(choices) => shown(words, &lines(words, choices), ""),
        Err(error) => not_done(words, error),
    }
}

pub(super) async fn save(pages: Pages, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let words = Words::of(&request);
    let Some(link) = pages.asked(LinkKind::Preferences, &request) else { return broken(words) };
    let form = match Form::read(&request, payload).await {
        Ok(form) => form,
        Err(unread) => return unread.page(words),
    };
    if !(form.has("do", "none") || form.has("do", "save") && form.names("shown")) {
        return said(words, StatusCode::BAD_REQUEST, words.unchanged, &format!("{} {}", words.no_form, words.again));
    }
    let mut lines = match pages.book.choices(link).await {
        Ok(choices) => lines(words, choices),
        Err(error) => return not_done(words, error),
    };
    let answers = answers(&form, &link, &mut lines);
    if !answers.is_empty()
        && let Err(error) = pages.book.answer(link, answers).await
    {
        return not_done(words, error);
    }
    let saved = format!("<p role=\"status\"><strong>{}</strong> {}</p>", words.saved, words.saved_text);
    shown(words, &lines, &saved)
}

/// What was changed, noted in the lines too. What the page did not show (a topic that came since) stays.
fn answers(form: &Form, link: &Link, lines: &mut [Line]) -> Vec<Answer> {
    let nothing = form.has("do", "none");
    let mut answers = Vec::new();
    for line in lines {
        let wanted = match &line.about {
            // Whoever leaves everything leaves every channel; what the topics were is theirs to come back to.
            About::Topic(_) if nothing => continue,
            About::Channel(_) if nothing => false,
            About::Topic(_) | About::Channel(_) if form.has("shown", &line.field) => form.has("on", &line.field),
            About::Topic(_) | About::Channel(_) => continue,
        };
        // Leaving is said even where nothing was on: nobody may turn it on by a policy afterwards.
        if wanted == line.on && !nothing {
            continue;
        }
        line.on = wanted;
        let state = if wanted { ConsentState::Granted } else { ConsentState::Denied };
        answers.push(Answer { state, source: SOURCE.to_owned(), ..no(line.about.clone(), link, Via::Page) });
    }
    answers
}

fn lines(words: &Words, choices: Choices) -> Vec<Line> {
    let channels = choices.channels.into_iter().map(|one| Line {
        field: field_of(one.channel),
        about: About::Channel(one.channel),
        on: one.on,
        name: first_upper(words.name(one.channel)),
        detail: one.address.unwrap_or_default(),
    });
    let topics = choices.topics.into_iter().map(|one| Line {
        field: topic_name(&one.key),
        about: About::Topic(one.key),
        on: one.on,
        name: one.name,
        detail: one.description,
    });
    channels.chain(topics).collect()
}

fn shown(words: &Words, lines: &[Line], status: &str) -> HttpResponse {
    let is_topic = |line: &&Line| matches!(line.about, About::Topic(_));
    let topics: String = lines.iter().filter(is_topic).map(row).collect();
    let channels: String = lines.iter().filter(|line| !is_topic(line)).map(row).collect();
    let group = |legend: &str, rows: String| {
        if rows.is_empty() { rows } else { format!("<fieldset><legend>{legend}</legend>{rows}</fieldset>") }
    };
    let body = format!(
        "<main class=\"narrow\"><h1>{}</h1>{status}<form method=\"post\">{}{}<p class=\"muted\">{}</p>\
         <p><button name=\"do\" value=\"save\">{}</button></p>\
         <p><button class=\"quiet\" name=\"do\" value=\"none\">{}</button></p></form></main>",
        words.preferences,
        group(words.topics, topics),
        group(words.channels, channels),
        words.orders_stay,
        words.save,
        words.from_all
    );
    page_in(words.lang, StatusCode::OK, words.preferences, &body)
}

fn row(line: &Line) -> String {
    let (field, name, detail) = (escape(&line.field), escape(&line.name), escape(&line.detail));
    let checked = if line.on { " checked" } else { "" };
    let detail = if detail.is_empty() { detail } else { format!("<span class=\"muted\">{detail}</span>") };
    format!(
        "<label><input type=\"checkbox\" name=\"on\" value=\"{field}\"{checked}><span>{name}{detail}</span></label>\
         <input type=\"hidden\" name=\"shown\" value=\"{field}\">"
    )
}

fn first_upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
