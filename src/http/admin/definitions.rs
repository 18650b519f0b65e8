//! What is in force: applied all or none with every problem listed, and given back as it was written.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::definition::SourceFile;
use crate::worker::apply::{apply, export};
use crate::worker::head_count::{HeadCount, head_count};
use crate::worker::mass_entries::mass_entries;
use crate::worker::plan::{Plan, plan};

use super::operation::{Operation, read, write};
use super::{Answer, Controls, Refusal, json_answer, query, read_json};
use crate::http::scope::Scope;
use crate::story::{self, StoryReport};
use crate::worker::apply::Applied;

pub(super) const FILES_BYTES_MAX: usize = 8 * 1024 * 1024;
const FILES_MAX: usize = 5_000;
const FILE_NAME_CHARS_MAX: usize = 300;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/definitions", Scope::DefinitionsRead, exported)
            .says("exportDefinitions", "Everything that is in force, as the files it was written in")
            .answers::<Files>(),
        write("/definitions", Scope::DefinitionsWrite, applied)
            .says("applyDefinitions", "Put definitions into force, all or none; every problem is listed")
            .query::<How>()
            .takes::<FilesIn>()
            .answers::<Applied>(),
        write("/definitions/plan", Scope::DefinitionsRead, planned)
            .says("planDefinitions", "What applying would change, and would have done over the stored last 30 days")
            .takes::<FilesIn>()
            .answers::<Plan>(),
        write("/definitions/count", Scope::ProfilesRead, counted)
            .says("countSegments", "How many people the segments of some files would have; nothing is applied")
            .takes::<FilesIn>()
            .answers::<HeadCount>(),
        write("/definitions/test", Scope::DefinitionsRead, tested)
            .says("testDefinitions", "The stories of some files, told; what is in force plays no part in them")
            .takes::<FilesIn>()
            .answers::<Stories>(),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct How {
    /// Says what would change and changes nothing.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
    /// Campaigns may take in more than a thousand people who are in their segments already.
    #[serde(default)]
    #[param(required = false)]
    yes: bool,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = DefinitionFiles)]
#[serde(deny_unknown_fields)]
struct FilesIn {
    #[schema(min_items = 1, max_items = 5000)]
    files: Vec<FileIn>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewDefinitionFile)]
#[serde(deny_unknown_fields)]
pub(super) struct FileIn {
    #[schema(min_length = 1, max_length = 300)]
    name: String,
    text: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DefinitionsInForce)]
struct Files {
    files: Vec<FileOut>,
}

/// A file as it was applied.
#[derive(Serialize, ToSchema)]
#[schema(as = DefinitionFile)]
pub(super) struct FileOut {
    /// Relative to the folder that was applied.
    pub name: String,
    pub text: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StoriesTold)]
struct Stories {
    stories: Vec<StoryOut>,
    passed: usize,
    failed: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StoryTold)]
struct StoryOut {
    name: String,
    passed: bool,
    /// What was expected and did not happen, each with its line in the file.
    failures: Vec<String>,
    /// Everything that happened, in order, a line each.
    timeline: Vec<String>,
    /// What its author may not have meant, whether it passed or not.
    hints: Vec<String>,
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
    let now = log.clock().now();
    let applied = aside(async move {
        let meant = if how.yes { Vec::new() } else { mass_entries(&store, &definitions, id, &files, now).await? };
        if !how.dry_run && !meant.is_empty() {
            return Ok(Err(meant));
        }
        let applied = apply(&log, &store, &definitions, id, files, how.dry_run).await?;
        Ok(applied.map(|mut applied| {
            applied.warnings.extend(meant.iter().map(ToString::to_string));
            applied
        }))
    });
    match applied.await? {
        Ok(applied) => {
            if !how.dry_run {
                (admin.refresh_keys)(()).await?;
            }
            Ok(json_answer(&applied))
        }
        Err(problems) => Err(Refusal::Definitions(problems).into()),
    }
}

/// Reading and trying templates takes a while: on a thread of its own, and not on one that answers others.
async fn aside<T: Send + 'static>(work: impl Future<Output = anyhow::Result<T>> + Send + 'static) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work)).await?
}

/// What applying would change and would have done; changes nothing.
async fn planned(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let files = match files_in(&request, payload).await? {
        Ok(files) => files,
        Err(answer) => return Ok(answer),
    };
    let now = admin.log.clock().now();
    let planned = aside(async move { plan(&admin.store, &admin.definitions, admin.workspace, &files, now).await });
    match planned.await? {
        Ok(plan) => Ok(json_answer(&plan)),
        Err(problems) => Err(Refusal::Definitions(problems).into()),
    }
}

/// How many people its segments would have; changes nothing.
async fn counted(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let files = match files_in(&request, payload).await? {
        Ok(files) => files,
        Err(answer) => return Ok(answer),
    };
    let now = admin.log.clock().now();
    let counted =
        aside(async move { head_count(&admin.store, &admin.definitions, admin.workspace, &files, now).await });
    match counted.await? {
        Ok(count) => Ok(json_answer(&count)),
        Err(problems) => Err(Refusal::Definitions(problems).into()),
    }
}

/// Tells the stories of some files, all by themselves.
async fn tested(request: HttpRequest, payload: Payload) -> Answer {
    let files = match files_in(&request, payload).await? {
        Ok(files) => files,
        Err(answer) => return Ok(answer),
    };
    match aside(async move { Ok(story::tell(&files)) }).await? {
        Ok(reports) => {
            let told = |it: StoryReport| StoryOut {
                timeline: it.timeline.lines().map(str::to_owned).collect(),
                name: it.name,
                passed: it.passed,
                failures: it.failures,
                hints: it.hints,
            };
            let passed = reports.iter().filter(|report| report.passed).count();
            let failed = reports.len() - passed;
            Ok(json_answer(&Stories { stories: reports.into_iter().map(told).collect(), passed, failed }))
        }
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
    if files.is_empty() {
        let cause = format!("`files` holds 1 to {FILES_MAX} files");
        return Err(Refusal::Parameter { field: "files", cause }.into());
    }
    Ok(Ok(sources(files)?))
}

/// The files of a body, as definitions are read from.
pub(super) fn sources(files: Vec<FileIn>) -> Result<Vec<SourceFile>, super::Problem> {
    if files.len() > FILES_MAX {
        let cause = format!("`files` holds 1 to {FILES_MAX} files");
        return Err(Refusal::Parameter { field: "files", cause }.into());
    }
    if files.iter().any(|file| file.name.is_empty() || file.name.chars().count() > FILE_NAME_CHARS_MAX) {
        let cause = format!("a file's `name` has 1 to {FILE_NAME_CHARS_MAX} characters");
        return Err(Refusal::Parameter { field: "files", cause }.into());
    }
    Ok(files.into_iter().map(|FileIn { name, text }| SourceFile { name, text }).collect())
}

async fn exported(admin: Controls) -> Answer {
    let files = export(&admin.store, admin.workspace).await?;
    let files = files.into_iter().map(|file| FileOut { name: file.name, text: file.text }).collect();
    Ok(json_answer(&Files { files }))
}
