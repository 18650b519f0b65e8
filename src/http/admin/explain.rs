//! Why somebody got a message, or did not: by person and campaign, by event, or by message. And all that is known of a
//! person.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::audience::{Consent, Traits};
use crate::decision::{Enrollment, Person};
use crate::definition::problem::nearest;
use crate::ids::{Position, ProfileId, Timestamp};
use crate::store::profiles::Meant;
use crate::store::trace::MessageFilter;
use crate::worker::explain::instant::{Asked as InstantAsked, How, Instant, at_instant};
use crate::worker::explain::{Explanation, Question, explain};

use super::messages::{MessageOut, shown};
use super::operation::{Operation, read};
use super::{Admin, Answer, Controls, Problem, ROWS_DEFAULT, Refusal, events, json_answer, messages, query};
use crate::http::openapi::AnyObject;
use crate::http::scope::Scope;

/// Events of the history that are listed.
const HISTORY_MAX: usize = 100;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/explain", Scope::ProfilesRead, answer)
            .says("explain", "Why a campaign did or did not speak to someone, or what came of an event or message")
            .query::<Asked>()
            .answers::<Explained>()
            .may(&[404]),
        read("/explain/instant", Scope::ProfilesRead, at_one_instant)
            .says("explainInstant", "Where somebody stood with a campaign at an instant, condition by condition")
            .query::<AskedOfInstant>()
            .answers::<Instant>()
            .may(&[404]),
        read("/profiles/{id}", Scope::ProfilesRead, profile)
            .says("getProfile", "All that is known of a person; by user id, anonymous id or number (profile:17)")
            .answers::<ProfileOut>(),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// By user id, anonymous id or number (profile:17).
    profile: Option<String>,
    campaign: Option<String>,
    /// A position, an event's id or its messageId.
    event: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct AskedOfInstant {
    /// By user id, anonymous id or number (profile:17).
    profile: String,
    campaign: String,
    /// By what was in force and recorded at this instant, RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<String>,
    /// Evaluates the present definitions now instead.
    #[serde(default)]
    #[param(required = false)]
    now: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Explained)]
struct Explained {
    /// As they were asked for.
    profile: String,
    campaign: Option<String>,
    #[serde(flatten)]
    explanation: Explanation,
}

async fn answer(admin: Controls, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    if let Some(key) = &asked.campaign {
        campaign_known(&admin, key)?;
    }
    let question = question(&admin, &asked).await?;
    let explanation = explain(admin.db(), &question).await?;
    Ok(json_answer(&Explained { profile: question.person, campaign: question.campaign, explanation }))
}

async fn at_one_instant(admin: Controls, request: HttpRequest) -> Answer {
    let asked: AskedOfInstant = query(&request)?;
    let now = admin.log.clock().now();
    let refused = |cause: String| Problem::from(Refusal::Parameter { field: "at", cause });
    let (at, how) = match (&asked.at, asked.now) {
        (None, true) => (now, How::Afresh),
        (Some(at), false) => {
            let at: Timestamp = at.parse().map_err(|error: crate::ids::NotAnInstant| refused(error.to_string()))?;
            if at > now {
                return Err(refused(format!("`at` is {at}, and it is {now}: what is to come is not recorded")));
            }
            (at, How::Recorded)
        }
        _ => return Err(refused("name either an instant as `at`, or `now=true`".to_owned())),
    };
    let profile = profile_known(&admin, &asked.profile).await?;
    // One that is not in force any more may have been then; one that never was is a slip of the pen.
    if admin.db().definition_versions("campaign", &asked.campaign).await?.is_empty() {
        campaign_known(&admin, &asked.campaign)?;
    }
    let question = InstantAsked { profile, person: asked.profile, campaign: asked.campaign, at, how };
    let here = (admin.workspace, &admin.zone);
    Ok(json_answer(&at_instant(&admin.store, &admin.definitions, here, &question).await?))
}

async fn question(admin: &Admin, asked: &Asked) -> Result<Question, Problem> {
    let campaign = asked.campaign.clone();
    if let Some(id) = &asked.message {
        let message = messages::find(admin, id).await?;
        let person = called(admin, message.profile).await?;
        let campaign = campaign.or(Some(message.campaign));
        return Ok(Question { profile: message.profile, person, campaign, event: None, message: Some(message.id) });
    }
    if let Some(id) = &asked.event {
        let (entry, _) = events::find(admin, id).await?;
        let Some(profile) = entry.profile else {
            let cause = "this event belongs to no profile, so nothing was decided on it".to_owned();
            return Err(Refusal::Parameter { field: "event", cause }.into());
        };
        let person = called(admin, profile).await?;
        let profile = admin.db().current_profile(profile).await?;
        return Ok(Question { profile, person, campaign, event: Some(entry.position), message: None });
    }
    let Some(person) = &asked.profile else {
        let cause = "name a `profile` (and a `campaign`), an `event` or a `message`".to_owned();
        return Err(Refusal::Parameter { field: "profile", cause }.into());
    };
    let profile = profile_known(admin, person).await?;
    Ok(Question { profile, person: person.clone(), campaign, event: None, message: None })
}

/// How to ask for them: the person's user id, else the number of the profile.
async fn called(admin: &Admin, profile: ProfileId) -> Result<String, Problem> {
    let profile = admin.db().current_profile(profile).await?;
    let person = admin.db().person(profile).await?;
    Ok(person.and_then(|person| person.profile.user_id).unwrap_or_else(|| profile.spelled()))
}

/// By user id, by anonymous id, or by the number of the profile or of one that was merged into it.
pub(super) async fn profile_known(admin: &Admin, asked: &str) -> Result<ProfileId, Problem> {
    match admin.db().meant(asked).await? {
        Meant::One(profile) => Ok(profile),
        Meant::Nobody => Err(Refusal::UnknownProfile { asked: asked.chars().take(80).collect() }.into()),
        Meant::Two { called } => {
            let called = called.spelled();
            let cause = format!("`{asked}` is the number of one profile and an id of another, which is {called}");
            Err(Refusal::Parameter { field: "profile", cause }.into())
        }
    }
}

pub(super) fn campaign_known(admin: &Admin, asked: &str) -> Result<(), Problem> {
    let live = admin.definitions.live(admin.workspace);
    if live.catalog.campaign(asked).is_some() {
        return Ok(());
    }
    let nearest = nearest(asked, live.catalog.campaigns().map(|campaign| campaign.key.as_str()));
    Err(Refusal::UnknownCampaign { asked: asked.chars().take(80).collect(), nearest }.into())
}

/// All that is known of a person.
#[derive(Serialize, ToSchema)]
#[schema(as = Profile)]
struct ProfileOut {
    id: ProfileId,
    user_id: Option<String>,
    user_ids: Vec<String>,
    anonymous_ids: Vec<String>,
    #[schema(value_type = AnyObject)]
    traits: Traits,
    /// By channel; absent: unknown.
    consent: BTreeMap<String, Consent>,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    /// The next instant at which something may happen by itself.
    wake_at: Option<Timestamp>,
    /// Newer events are not processed yet.
    is_behind: bool,
    /// Newest first.
    history: Vec<PastOut>,
    enrollments: Vec<Enrollment>,
    messages: Vec<MessageOut>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PastEvent)]
struct PastOut {
    name: String,
    at: Timestamp,
    position: Position,
}

async fn profile(admin: Controls, id: web::Path<String>) -> Answer {
    let profile = profile_known(&admin, &id).await?;
    let db = admin.db();
    // Known from the log, and not processed yet: nothing more is known.
    let person = db.person(profile).await?.unwrap_or_else(|| Person::new(profile, admin.log.clock().now()));
    let (anonymous, users): (Vec<_>, Vec<_>) =
        db.identifiers_of(profile).await?.into_iter().partition(|(anonymous, _)| *anonymous);
    let ids = |list: Vec<(bool, String)>| list.into_iter().map(|(_, id)| id).collect();
    let past = person.profile.history.iter().map(|past| PastOut {
        name: past.name.to_owned(),
        at: past.at,
        position: past.position,
    });
    let mut history: Vec<PastOut> = past.collect();
    history.reverse();
    history.truncate(HISTORY_MAX);
    let enrollments = db.enrollments_of(profile, None, ROWS_DEFAULT).await?;
    let filter = MessageFilter { profile: Some(profile), limit: ROWS_DEFAULT, ..MessageFilter::default() };
    let messages = shown(&admin, db.list_messages(&filter).await?).await?;
    Ok(json_answer(&ProfileOut {
        id: profile,
        user_id: person.profile.user_id,
        user_ids: ids(users),
        anonymous_ids: ids(anonymous),
        traits: person.profile.traits,
        consent: person.profile.consent,
        created_at: person.profile.created_at,
        last_seen_at: person.profile.last_seen_at,
        wake_at: person.wake_at,
        is_behind: db.is_behind(profile).await?,
        history,
        enrollments,
        messages,
    }))
}
