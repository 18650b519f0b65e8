//! What is in force: applied all or none with every problem listed, and given back as it was written.

use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use crate::definition::SourceFile;
use crate::worker::apply::{apply, export};
use crate::worker::plan::plan;

use super::{Answer, Controls, Refusal, json_answer, query, read_json, resource};

const FILES_BYTES_MAX: usize = 8 * 1024 * 1024;
const FILES_MAX: usize = 5_000;
const FILE_NAME_CHARS_MAX: usize = 300;

pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/definitions", "GET, POST", [web::get().to(exported), web::post().to(applied)]))
        .service(resource("/definitions/plan", "POST", [web::post().to(planned)]));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    /// Says what would change and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesIn {
    files: Vec<FileIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIn {
    name: String,
    text: String,
}

async fn applied(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let how: How = query(&request)?;
    let files = match files_in(&request, payload).await? {
        Ok(files) => files,
        Err(answer) => return Ok(answer),
    };
    let (log, store, definitions) = (admin.log.clone(), admin.store.clone(), admin.definitions.clone());
    let id = admin.workspace;
    // Goes on when the caller goes away: applied, and then in force.
    let applied = tokio::spawn(async move { apply(&log, &store, &definitions, id, files, how.dry_run).await });
    match applied.await.map_err(anyhow::Error::from)?? {
        Ok(applied) => {
            if !how.dry_run {
                (admin.refresh_keys)(()).await?;
            }
            Ok(json_answer(&applied))
        }
        Err(problems) => Err(Refusal::Definitions(problems).into()),
    }
}

/// What applying would change and would have done; changes nothing.
async fn planned(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let files = match files_in(&request, payload).await? {
        Ok(files) => files,
        Err(answer) => return Ok(answer),
    };
    let now = admin.log.clock().now();
    match plan(&admin.store, &admin.definitions, admin.workspace, &files, now).await? {
        Ok(plan) => Ok(json_answer(&plan)),
        Err(problems) => Err(Refusal::Definitions(problems).into()),
    }
}

/// The files of a body, or the answer that refuses it.
async fn files_in(
    request: &HttpRequest,
    payload: Payload,
) -> Result<Result<Vec<SourceFile>, HttpResponse>, super::Problem> {
    let FilesIn { files } = match read_json(request, payload, FILES_BYTES_MAX).await {
        Ok(files) => files,
        Err(answer) => return Ok(Err(answer)),
    };
    if files.is_empty() || files.len() > FILES_MAX {
        let cause = format!("`files` holds 1 to {FILES_MAX} files");
        return Err(Refusal::Parameter { field: "files", cause }.into());
    }
    if files.iter().any(|file| file.name.is_empty() || file.name.chars().count() > FILE_NAME_CHARS_MAX) {
        let cause = format!("a file's `name` has 1 to {FILE_NAME_CHARS_MAX} characters");
        return Err(Refusal::Parameter { field: "files", cause }.into());
    }
    Ok(Ok(files.into_iter().map(|FileIn { name, text }| SourceFile { name, text }).collect()))
}

async fn exported(admin: Controls) -> Answer {
    let files = export(&admin.store, admin.workspace).await?;
    Ok(json_answer(&serde_json::json!({ "files": files })))
}
