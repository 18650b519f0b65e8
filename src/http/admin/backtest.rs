//! A backtest, asked for over HTTP: a line of JSON for how far it is, now and then, and a last one with the report. Whoever
//! goes away ends it.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::definitions::{FILES_BYTES_MAX, FileIn, sources};
use super::live::STREAMS_MAX;
use super::operation::{Operation, write};
use super::repeats::LINES;
use super::{Answer, Controls, Refusal, read_json};
use crate::definition::Problem as Wrong;
use crate::http::scope::Scope;
use crate::ids::{Span, Timestamp};
use crate::worker::plan::backtest::{Asked, Backtest, backtest};

/// How far back is looked where nothing is said.
const LOOKED_BACK: Span = Span::from_days(30);
/// People between two lines on how far it is.
const TOLD_EVERY: u64 = 100;
const AHEAD_MAX: usize = 64;

pub fn operations() -> Vec<Operation> {
    vec![
        write("/definitions/backtest", Scope::DefinitionsRead, backtested)
            .says("backtestDefinitions", "What definitions would have done over stored events, and where that differs")
            .takes::<BacktestIn>()
            .answers_text(
                LINES,
                "A line of JSON each: `done` and `of` count people; the last one has the `report`, or an `error`",
            )
            .may(&[429]),
    ]
}

#[derive(Deserialize, ToSchema)]
#[schema(as = BacktestRequest)]
#[serde(deny_unknown_fields)]
struct BacktestIn {
    /// None: what is in force, as it was at each moment.
    #[serde(default)]
    #[schema(max_items = 5000)]
    files: Vec<FileIn>,
    /// 30 days before the end, where nothing is said.
    from: Option<Timestamp>,
    /// Now, where nothing is said.
    to: Option<Timestamp>,
    /// `live`: also compare with what really happened.
    #[schema(pattern = "^live$")]
    against: Option<String>,
}

enum Told {
    Progress(u64, u64),
    Done(Box<anyhow::Result<Result<Backtest, Vec<Wrong>>>>),
}

async fn backtested(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let asked: BacktestIn = match read_json(&request, payload, FILES_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let wrong = |field: &'static str, cause: &str| Refusal::Parameter { field, cause: cause.to_owned() };
    let now = admin.log.clock().now();
    let to = asked.to.unwrap_or(now.plus_millis(1)).min(now.plus_millis(1));
    let from = asked.from.unwrap_or(to.minus(LOOKED_BACK));
    if from > now {
        return Err(wrong("from", "`from` is in the future").into());
    }
    if from >= to {
        return Err(wrong("to", "`to` does not lie after `from`: there is nothing in between").into());
    }
    let against_live = match asked.against.as_deref() {
        None => false,
        Some("live") => true,
        Some(_) => return Err(wrong("against", "`against` is `live`").into()),
    };
    if asked.files.is_empty() && !against_live {
        return Err(wrong("files", "`files` holds 1 to 5000 files, unless it is asked against live").into());
    }
    let files = sources(asked.files)?;
    let Some(place) = admin.streams.place() else {
        return Err(Refusal::TooManyStreams { limit: STREAMS_MAX }.into());
    };
    let (told, mut hears) = mpsc::channel(AHEAD_MAX);
    let asked = Asked { files, from, to, against_live };
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let last = AtomicU64::new(0);
        let progress = |done: u64, of: u64| {
            if done >= last.load(Ordering::Relaxed) + TOLD_EVERY || done == of {
                last.store(done, Ordering::Relaxed);
                // Whoever reads slowly hears of it less often.
                let _ = told.try_send(Told::Progress(done, of));
            }
            !told.is_closed() && !admin.is_stopping()
        };
        let done = runtime.block_on(backtest(&admin.store, &admin.definitions, admin.workspace, &asked, &progress));
        drop(place);
        let _ = runtime.block_on(told.send(Told::Done(Box::new(done))));
    });
    // What is wrong with the files is known before anything is lived through.
    let first = hears.recv().await;
    if let Some(Told::Done(done)) = first {
        return match *done {
            Ok(Ok(report)) => Ok(lines(futures::stream::iter([line(&json!({ "report": report }))]))),
            Ok(Err(problems)) => Err(Refusal::Definitions(problems).into()),
            Err(error) => Err(error.into()),
        };
    }
    let rest = futures::stream::poll_fn(move |context| hears.poll_recv(context));
    let all = futures::stream::iter(first).chain(rest);
    Ok(lines(all.map(|told| match told {
        Told::Progress(done, of) => line(&json!({ "done": done, "of": of })),
        Told::Done(done) => match *done {
            Ok(Ok(report)) => line(&json!({ "report": report })),
            Ok(Err(problems)) => line(&json!({ "error": format!("{problems:?}") })),
            Err(error) => {
                tracing::warn!(error = %error, "a backtest came to no end");
                line(&json!({ "error": "the backtest came to no end; the log of the service says why" }))
            }
        },
    })))
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

fn lines(pieces: impl futures::Stream<Item = Bytes> + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, LINES))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(pieces.map(Ok::<Bytes, actix_web::Error>))
}
