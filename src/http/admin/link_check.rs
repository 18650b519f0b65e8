//! Whether anybody answers behind the links and pictures of templates, asked for over HTTP: a line of JSON for how far
//! it is, now and then, and a last one with the report. Whoever goes away ends it.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::live::STREAMS_MAX;
use super::operation::{Operation, write};
use super::repeats::LINES;
use super::{Admin, Answer, BODY_BYTES_MAX, Controls, Problem, Refusal, read_json};
use crate::decision::Campaign;
use crate::definition::problem::nearest;
use crate::definition::{Definition, DocumentKind};
use crate::http::scope::Scope;
use crate::http::tried::Tried;
use crate::render::template::Template;
use crate::worker::link_check::{LinkCheck, LinkReport, Trial};
use crate::worker::live::read_stored;

const AHEAD_MAX: usize = 64;
const TEMPLATES_MAX: usize = 200;

pub fn operations() -> Vec<Operation> {
    vec![
        write("/templates/check-links", Scope::ControlWrite, check)
            .says("checkLinks", "Ask whether anybody answers behind the links and pictures of templates in force")
            .takes::<CheckIn>()
            .answers_text(
                LINES,
                "A line of JSON each: `done` and `of` count addresses; the last one has the `report`, or an `error`",
            )
            .may(&[404, 429]),
    ]
}

#[derive(Deserialize, ToSchema)]
#[schema(as = LinkCheckRequest)]
#[serde(deny_unknown_fields)]
struct CheckIn {
    /// None: all that are in force. Each is made of its own sample, in each of its languages.
    #[serde(default)]
    #[schema(max_items = 200)]
    templates: Vec<String>,
}

async fn check(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let asked: CheckIn = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    if asked.templates.len() > TEMPLATES_MAX {
        let cause = format!("`templates` names at most {TEMPLATES_MAX}; without any, all are looked at");
        return Err(Refusal::Parameter { field: "templates", cause }.into());
    }
    let trials = trials(&admin, &asked.templates).await?;
    let Some(place) = admin.streams.place() else {
        return Err(Refusal::TooManyStreams { limit: STREAMS_MAX }.into());
    };
    let (told, mut hears) = mpsc::channel(AHEAD_MAX);
    actix_web::rt::spawn(async move {
        let (progress, here) = (told.clone(), admin.clone());
        let goes_on = move |done: usize, of: usize| {
            // Whoever reads slowly hears of it less often.
            let _ = progress.try_send(json!({ "done": done, "of": of }));
            !progress.is_closed() && !here.is_stopping()
        };
        let report = (admin.check_links)(LinkCheck { trials, told: Arc::new(goes_on) }).await;
        let last = report.map_or_else(failed, |report: LinkReport| json!({ "report": report }));
        drop(place);
        let _ = told.send(last).await;
    });
    let lines = futures::stream::poll_fn(move |context| hears.poll_recv(context));
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, LINES))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(lines.map(|line| Ok::<Bytes, actix_web::Error>(Bytes::from(format!("{line}\n"))))))
}

fn failed(error: anyhow::Error) -> serde_json::Value {
    tracing::warn!(error = format!("{error:#}"), "links could not be checked");
    json!({ "error": format!("nobody could be asked: {error:#}") })
}

/// Each of these templates by its own sample, in each of its languages.
async fn trials(admin: &Admin, keys: &[String]) -> Result<Vec<Trial>, Problem> {
    let mut templates: Vec<Template> = Vec::new();
    for stored in admin.db().definitions().await?.iter().filter(|one| one.kind == DocumentKind::Template.as_str()) {
        if keys.is_empty() || keys.contains(&stored.key) {
            templates.extend(read_stored(stored).into_iter().filter_map(|definition| match definition {
                Definition::Template(template) => Some(template),
                _ => None,
            }));
        }
    }
    let live = admin.definitions.live(admin.workspace);
    if let Some(asked) = keys.iter().find(|key| !templates.iter().any(|template| template.key == **key)) {
        let nearest = nearest(asked, live.templates.keys());
        return Err(Refusal::UnknownTemplate { asked: asked.clone(), nearest }.into());
    }
    let mut trials = Vec::new();
    for template in templates.into_iter().map(Arc::new) {
        let campaign: Option<&Campaign> =
            live.catalog.campaigns().find(|it| it.send.template == template.key).map(Arc::as_ref);
        let languages = std::iter::once(None).chain(template.variants.keys().cloned().map(Some));
        for locale in languages {
            let tried = Tried { locale: locale.clone(), ..Tried::default() };
            let sample = tried.variables(&template.sample, &admin.house, campaign, &live.catalog.terms.exchange);
            trials.push(Trial { template: template.clone(), locale, sample, channel: None });
        }
    }
    Ok(trials)
}
