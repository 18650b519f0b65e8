//! Backups over HTTP: made while the service goes on, listed, fetched file by file and removed. Putting one back needs a
//! stopped service, so it stays a command: `carillon restore`.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{self, Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::operation::{Operation, read, remove, write};
use super::repeats::{LINES, OfNobody};
use super::{Answer, BODY_BYTES_MAX, Controls, Problem, Refusal, json_answer, read_json};
use crate::http::openapi::AnyObject;
use crate::http::scope::Scope;
use crate::worker::backup::kept::KeptBackup;
use crate::worker::backup::make::Step;

const AHEAD_MAX: usize = 64;
/// Of a file that is fetched, at once.
const CHUNK: usize = 256 * 1024;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/backups", Scope::BackupsWrite, list)
            .says("listBackups", "The backups that stand in its folder, whoever made them, the newest first")
            .answers::<BackupsOut>(),
        write("/backups", Scope::BackupsWrite, make)
            .says("makeBackup", "Copy the database and the key of its links while the service goes on")
            .takes::<Nothing>()
            .answers_text(
                LINES,
                "A line of JSON each: `copying` or `checking`, with bytes `done` and `of`; the last one has the `backup`, or an `error`",
            )
            .may(&[409]),
        read("/backups/{name}", Scope::BackupsWrite, one).says("getBackup", "One backup").answers::<BackupOut>(),
        remove("/backups/{name}", Scope::BackupsWrite, gone)
            .says("removeBackup", "Delete a backup")
            .answers::<BackupOut>(),
        read("/backups/{name}/files/{file}", Scope::BackupsWrite, file)
            .says("getBackupFile", "A file of a backup; its manifest has the checksums")
            .answers_text("application/octet-stream", "The file"),
    ]
}

/// Says nothing.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeBackup)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, ToSchema)]
#[schema(as = Backup)]
struct BackupOut {
    name: String,
    /// What is in it, and the checksum of each file.
    #[schema(value_type = AnyObject)]
    manifest: crate::worker::backup::Manifest,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Backups)]
struct BackupsOut {
    backups: Vec<BackupOut>,
}

impl From<KeptBackup> for BackupOut {
    fn from(KeptBackup { name, manifest }: KeptBackup) -> Self {
        Self { name, manifest }
    }
}

/// Files are read where waiting holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> Result<T, Problem> {
    Ok(web::block(work).await.map_err(anyhow::Error::from)??)
}

async fn list(admin: Controls) -> Answer {
    let backups = admin.backups.clone();
    let found = blocking(move || backups.list()).await?;
    Ok(json_answer(&BackupsOut { backups: found.into_iter().map(BackupOut::from).collect() }))
}

async fn found(admin: &Controls, name: String) -> Result<KeptBackup, Problem> {
    let backups = admin.backups.clone();
    let (asked, found) = blocking(move || Ok((name.clone(), backups.find(&name)))).await?;
    Ok(found.ok_or(Refusal::UnknownBackup { asked })?)
}

async fn one(admin: Controls, name: web::Path<String>) -> Answer {
    Ok(json_answer(&BackupOut::from(found(&admin, name.into_inner()).await?)))
}

async fn gone(admin: Controls, name: web::Path<String>) -> Answer {
    let backup = found(&admin, name.into_inner()).await?;
    let backups = admin.backups.clone();
    let backup = blocking(move || backups.remove(&backup).map(|()| backup)).await?;
    Ok(json_answer(&BackupOut::from(backup)))
}

async fn make(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let Nothing {} = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(nothing) => nothing,
        Err(answer) => return Ok(answer),
    };
    let (told, mut hears) = mpsc::channel(AHEAD_MAX);
    let backups = admin.backups.clone();
    let at = admin.log.clock().machine();
    // Goes on when the caller goes away: it is in the list then.
    tokio::spawn(async move {
        let progress = told.clone();
        let making = backups.make(at, move |step| {
            let line = match step {
                Step::Copying { done, of } => json!({ "step": "copying", "done": done, "of": of }),
                Step::Checking { done, of } => json!({ "step": "checking", "done": done, "of": of }),
            };
            // Whoever reads slowly hears of it less often.
            let _ = progress.try_send(Ok(line));
        });
        let last = match making.await {
            Ok(Some(backup)) => Ok(json!({ "backup": BackupOut::from(backup) })),
            Ok(None) => Err(Refusal::BackupUnderWay),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "a backup was not made");
                Ok(json!({ "error": format!("{error:#}") }))
            }
        };
        let _ = told.send(last).await;
    });
    // That another is being made is known before anything is copied.
    let first = match hears.recv().await {
        Some(Err(refusal)) => return Err(refusal.into()),
        Some(Ok(line)) => Some(line),
        None => None,
    };
    let rest = futures::stream::poll_fn(move |context| hears.poll_recv(context))
        .filter_map(|line| std::future::ready(line.ok()));
    let lines = futures::stream::iter(first).chain(rest);
    let mut answer = HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, LINES))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(lines.map(|line| Ok::<Bytes, actix_web::Error>(Bytes::from(format!("{line}\n")))).boxed_local());
    answer.extensions_mut().insert(OfNobody);
    Ok(answer)
}

async fn file(admin: Controls, path: web::Path<(String, String)>) -> Answer {
    let (name, file) = path.into_inner();
    let backup = found(&admin, name).await?;
    let (backups, asked) = (admin.backups.clone(), file.clone());
    let opened = blocking(move || backups.open(&backup, &file)).await?;
    let (opened, bytes) = opened.ok_or(Refusal::UnknownBackup { asked })?;
    let reading = futures::stream::unfold(tokio::fs::File::from_std(opened), async |mut file| {
        let mut piece = vec![0; CHUNK];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(Bytes::from(piece)), file))
            }
            Err(error) => Some((Err(actix_web::Error::from(error)), file)),
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_LENGTH, bytes))
        .no_chunking(bytes)
        .streaming(reading.boxed_local()))
}
