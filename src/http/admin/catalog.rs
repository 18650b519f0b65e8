//! Definitions one by one: what is in force of a kind, and each version of one with its text.

use actix_web::HttpRequest;
use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::operation::{Operation, read};
use super::{Answer, Controls, Problem, Refusal, json_answer, query};
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
            .answers::<Listed>(),
        read("/definitions/{kind}/{key}", Scope::DefinitionsRead, one)
            .says("getDefinition", "One definition with its text and the list of its versions")
            .query::<Asked>()
            .answers::<Shown>(),
    ]
}

#[derive(Serialize, ToSchema)]
#[schema(as = DefinitionList)]
struct Listed {
    definitions: Vec<VersionOut>,
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
}

#[derive(Serialize, ToSchema)]
#[schema(as = Definition)]
struct Shown {
    #[serde(flatten)]
    version_shown: VersionOut,
    files: Vec<super::definitions::FileOut>,
    /// Every version that was applied, the newest first.
    versions: Vec<VersionOut>,
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

async fn list(admin: Controls, kind: web::Path<String>) -> Answer {
    let kind = kind_known(&kind)?;
    let stored = admin.db().definitions().await?;
    let of_kind = stored.iter().filter(|one| kind == ALL || one.kind == kind);
    Ok(json_answer(&Listed { definitions: of_kind.map(VersionOut::from).collect() }))
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
    let file = |file: &crate::store::definitions::StoredFile| super::definitions::FileOut {
        name: file.name.clone(),
        text: file.text.clone(),
    };
    Ok(json_answer(&Shown {
        version_shown: shown.into(),
        files: shown.files.iter().map(file).collect(),
        versions: versions.iter().map(VersionOut::from).collect(),
    }))
}
