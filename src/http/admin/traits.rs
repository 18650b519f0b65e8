//! Computed traits: which there are, and what they come to for a person and why.

use actix_web::HttpRequest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ids::ProfileId;
use crate::worker::computed::{Told, computed_traits};

use super::explain::profile_known;
use super::operation::{Operation, read};
use super::{Answer, Controls, Refusal, json_answer, query};
use crate::http::scope::Scope;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/traits", Scope::ProfilesRead, list)
            .says("listComputedTraits", "All computed traits, and what they come to for a person and why")
            .query::<Asked>()
            .answers::<Listed>()
            .may(&[404]),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Say what they come to for this person, and why: by user id, anonymous id or number (profile:17).
    profile: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ComputedTraits)]
struct Listed {
    /// The person asked about.
    profile: Option<ProfileId>,
    traits: Vec<Told>,
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    let Asked { profile: who } = query(&request)?;
    let profile = match &who {
        Some(who) => Some(profile_known(&admin, who).await?),
        None => None,
    };
    let live = admin.definitions.live(admin.workspace);
    let now = admin.log.clock().now();
    match computed_traits(admin.db(), &live.catalog, profile, now).await? {
        Some(traits) => Ok(json_answer(&Listed { profile, traits })),
        None => Err(Refusal::UnknownProfile { asked: who.unwrap_or_default().chars().take(80).collect() }.into()),
    }
}
