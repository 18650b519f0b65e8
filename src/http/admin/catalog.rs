//! Definitions one by one: what is in force of a kind, and each version of one with its text.

use actix_web::HttpRequest;
use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::operation::{Operation, read};
use super::paging::{Paged, behind, cut};
use super::{Answer, Controls, Problem, ROWS_DEFAULT, ROWS_MAX, Refusal, json_page, query, rows};
use crate::definition::DocumentKind;
use crate::definition::problem::nearest;
use crate::http::scope::Scope;
use crate::ids::{Position, Timestamp};
use crate::store::definitions::StoredDefinition;

/// Stands for every kind.
const ALL: &str = "all";

pub fn operations() -> Vec<Operation> {
    vec![
        read("/definitions/{kind}", Scope::DefinitionsRead, list)
            .says("listDefinitions", "What is in force of a kind (campaign, template, segment, ...), or of `all`")
            .query::<Paged>()
            .answers::<Listed>(),
        read("/definitions/{kind}/{key}", Scope::DefinitionsRead, one)
            .says("getDefinition", "One definition with its text and the list of its versions")
            .query::<Asked>()
            .answers::<Shown>(),
    ]
}

#[derive(Serialize, ToSchema)]
#[schema(as = DefinitionPage)]
struct Listed {
    definitions: Vec<VersionOut>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DefinitionVersion)]
struct VersionOut {
    kind: String,
    key: String,
    version: u32,
    applied_at: Timestamp,
    /// The entry of the log from which on it is in force.
    position: Position,
}

impl From<&StoredDefinition> for VersionOut {
    fn from(one: &StoredDefinition) -> Self {
        Self {
            kind: one.kind.clone(),
            key: one.key.clone(),
            version: one.version,
            applied_at: one.applied_at,
            position: one.position,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The newest without it.
    #[param(minimum = 1)]
    version: Option<u32>,
    /// Rows of the list of versions.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "super::paging::rows_asked")]
    limit: Option<u32>,
    /// What `next` said: the versions before those.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Definition)]
struct Shown {
    #[serde(flatten)]
    version_shown: VersionOut,
    files: Vec<super::definitions::FileOut>,
    /// Every version that was applied, the newest first.
    versions: Vec<VersionOut>,
    /// There are older versions behind this cursor.
    next: Option<String>,
}

fn kind_known(asked: &str) -> Result<&str, Problem> {
    let names = DocumentKind::ALL.map(DocumentKind::as_str);
    if asked == ALL || names.contains(&asked) {
        return Ok(asked);
    }
    let nearest = nearest(asked, names);
    Err(Refusal::UnknownDefinition { kind: "kind".to_owned(), key: clipped(asked), nearest }.into())
}

fn clipped(text: &str) -> String {
    text.chars().take(80).collect()
}

async fn list(admin: Controls, kind: web::Path<String>, request: HttpRequest) -> Answer {
    let kind = kind_known(&kind)?;
    let list = format!("definitions {kind}");
    let (limit, after) = query::<Paged>(&request)?.read::<(String, String)>(&list)?;
    let stored = admin.db().definitions().await?;
    let place = |kind: &str, key: &str| (kind.to_owned(), key.to_owned());
    let shown = stored.iter().filter(|one| kind == ALL || one.kind == kind);
    let shown = shown.filter(|one| after.as_ref().is_none_or(|after| place(&one.kind, &one.key) > *after));
    let mut definitions: Vec<VersionOut> = shown.map(VersionOut::from).collect();
    definitions.sort_by(|one, other| (&one.kind, &one.key).cmp(&(&other.kind, &other.key)));
    let next = cut(&mut definitions, limit, &list, |last| place(&last.kind, &last.key));
    Ok(json_page(&request, &Listed { definitions, next: next.clone() }, next.as_deref()))
}

async fn one(admin: Controls, names: web::Path<(String, String)>, request: HttpRequest) -> Answer {
    let (kind, key) = names.into_inner();
    let asked: Asked = query(&request)?;
    let kind = kind_known(&kind)?;
    let versions = admin.db().definition_versions(kind, &key).await?;
    let shown = versions.iter().find(|one| asked.version.is_none_or(|version| version == one.version));
    let Some(shown) = shown else {
        let stored = admin.db().definitions().await?;
        let keys = stored.iter().filter(|one| one.kind == kind).map(|one| one.key.as_str());
        let nearest = nearest(&key, keys).filter(|near| *near != key);
        return Err(Refusal::UnknownDefinition { kind: kind.to_owned(), key: clipped(&key), nearest }.into());
    };
    let list = format!("versions of {kind} {key}");
    let limit = rows(asked.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let before = behind(&list, asked.cursor.as_deref())?.unwrap_or(u32::MAX);
    let mut listed: Vec<VersionOut> =
        versions.iter().filter(|one| one.version < before).map(VersionOut::from).collect();
    let next = cut(&mut listed, limit, &list, |last| last.version);
    let file = |file: &crate::store::definitions::StoredFile| super::definitions::FileOut {
        name: file.name.clone(),
        text: file.text.clone(),
    };
    let shown = Shown {
        version_shown: shown.into(),
        files: shown.files.iter().map(file).collect(),
        versions: listed,
        next: next.clone(),
    };
    Ok(json_page(&request, &shown, next.as_deref()))
}
