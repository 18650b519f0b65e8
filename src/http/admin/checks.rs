//! For the operator: the service examined, and a template sent to see it arrive.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::web::{self, Payload, ReqData};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::decision::Campaign;
use crate::ids::{EventId, ProfileId};
use crate::message::Channel;
use crate::worker::dispatcher::{NotSent, TestSend, TestSent, sample_of};

use super::explain::profile_known;
use super::operation::{Operation, read, write};
use super::permission::channel_of;
use super::{Admin, Answer, BODY_BYTES_MAX, Controls, Problem, Refusal, events, json_answer, read_json};
use crate::http::openapi::AnyObject;
use crate::http::scope::{Caller, Scope};
use crate::http::tried::{Tried, newest_event};
use crate::render::Content;
use crate::worker::doctor::Check;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/doctor", Scope::SettingsRead, doctor)
            .says("examine", "The service examined: every check, and what to do where one fails")
            .answers::<Examined>(),
        write("/send-test", Scope::ControlWrite, send_test)
            .says("sendTest", "Send a template's sample to an address; consent and caps are not asked")
            .takes::<TestIn>()
            .answers::<TestSent>()
            .may(&[404]),
        write("/templates/{key}/render", Scope::DefinitionsRead, render)
            .says(
                "renderTemplate",
                "The message a template makes of a sample, or of a real person and event; sent nowhere",
            )
            .takes::<RenderIn>()
            .answers::<RenderOut>(),
    ]
}

#[derive(Deserialize, ToSchema)]
#[schema(as = RenderTemplate)]
#[serde(deny_unknown_fields)]
struct RenderIn {
    #[schema(value_type = Channel)]
    channel: String,
    /// In place of the template's own sample; without `profile` and `event`.
    #[schema(value_type = Option<AnyObject>)]
    sample: Option<Map<String, Value>>,
    /// Rendered for this person: a user id, an anonymous id or the number of a profile (profile:17). Needs `profiles:read`.
    profile: Option<String>,
    /// About this event: a position, an id or a messageId; without it, the person's newest that begins a campaign with
    /// this template. Needs `profiles:read` and `events:read`.
    event: Option<String>,
    /// In this language, whatever the person's is.
    #[schema(max_length = 80)]
    locale: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RenderedTemplate)]
struct RenderOut {
    template: String,
    version: u32,
    /// Whom and what it is rendered for; none: the sample.
    profile: Option<ProfileId>,
    event: Option<EventId>,
    content: Content,
}

/// To whom a message is made that goes nowhere.
fn example_address(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "reader@example.com",
        Channel::Sms | Channel::Whatsapp => "+447700900123",
        Channel::Push => "an-example-device",
        Channel::Webhook => "https://example.com/hook",
    }
}

const LOCALE_CHARS_MAX: usize = 80;

/// Whom and what it is to be rendered for, as far as the caller may read it.
async fn tried(admin: &Admin, caller: &Caller, asked: &RenderIn, by: &[Arc<Campaign>]) -> Result<Tried, Problem> {
    let is_named = asked.profile.is_some() || asked.event.is_some();
    if is_named && asked.sample.is_some() {
        let cause = "give a `sample`, or a `profile` and an `event`: not both".to_owned();
        return Err(Refusal::Parameter { field: "sample", cause }.into());
    }
    if asked.locale.as_ref().is_some_and(|locale| locale.chars().count() > LOCALE_CHARS_MAX) {
        let cause = format!("`locale` has at most {LOCALE_CHARS_MAX} characters");
        return Err(Refusal::Parameter { field: "locale", cause }.into());
    }
    let needs = [(is_named, Scope::ProfilesRead), (asked.event.is_some(), Scope::EventsRead)];
    if let Some((_, scope)) = needs.into_iter().find(|(needed, scope)| *needed && !caller.scopes.contains(scope)) {
        return Err(Refusal::MissingScope { scope }.into());
    }
    let mut tried = Tried { locale: asked.locale.clone(), ..Tried::default() };
    let mut whose = match &asked.profile {
        Some(person) => Some(profile_known(admin, person).await?),
        None => None,
    };
    if let Some(event) = &asked.event {
        let (entry, event) = events::find(admin, event).await?;
        whose = whose.or(entry.profile);
        tried.event = Some(event);
    }
    if let Some(profile) = whose {
        let person = admin.db().person(admin.db().current_profile(profile).await?).await?;
        tried.person = person.map(|person| person.profile);
    }
    if let (Some(person), None) = (&tried.person, &tried.event)
        && caller.scopes.contains(&Scope::EventsRead)
    {
        tried.event = newest_event(admin.db(), person, by).await?;
    }
    Ok(tried)
}

async fn render(
    admin: Controls,
    caller: ReqData<Arc<Caller>>,
    key: web::Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Answer {
    let asked: RenderIn = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let (channel, template) = (channel_of(&asked.channel)?, key.into_inner());
    let live = admin.definitions.live(admin.workspace);
    let by: Vec<Arc<Campaign>> =
        live.catalog.campaigns().filter(|campaign| campaign.send.template == template).cloned().collect();
    let tried = tried(&admin, &caller, &asked, &by).await?;
    let sample = if tried.person.is_none() && tried.event.is_none() && tried.locale.is_none() {
        asked.sample
    } else {
        let own = match asked.sample {
            Some(sample) => sample,
            None => sample_of(admin.db(), &template).await?,
        };
        Some(tried.variables(&own, &admin.house, by.first().map(Arc::as_ref), &live.catalog.terms.exchange))
    };
    let address = tried.person.as_ref().and_then(|person| person.address(channel.address_trait()));
    let to = address.unwrap_or(example_address(channel)).to_owned();
    match (admin.preview)(TestSend { template, channel, to, sample }).await? {
        Ok(made) => Ok(json_answer(&RenderOut {
            template: made.template().to_owned(),
            version: made.template_version(),
            profile: tried.person.as_ref().map(|person| person.id),
            event: tried.event.as_ref().map(|event| event.id),
            content: made.content().clone(),
        })),
        Err(NotSent::UnknownTemplate { asked, nearest }) => Err(Refusal::UnknownTemplate { asked, nearest }.into()),
        Err(NotSent::Refused(cause)) => Err(Refusal::NotRendered { cause }.into()),
    }
}

#[derive(Serialize, ToSchema)]
struct Examined {
    /// Every check passed.
    ok: bool,
    checks: Vec<Check>,
}

async fn doctor(admin: Controls) -> Answer {
    let checks = (admin.doctor)(()).await?;
    let ok = checks.iter().all(|check| check.ok);
    Ok(json_answer(&Examined { ok, checks }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = TestMessage)]
#[serde(deny_unknown_fields)]
struct TestIn {
    template: String,
    #[schema(value_type = Channel)]
    channel: String,
    /// The address it goes to.
    to: String,
    /// In place of the template's own sample.
    #[schema(value_type = Option<AnyObject>)]
    sample: Option<Map<String, Value>>,
}

async fn send_test(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let TestIn { template, channel, to, sample } = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let channel = channel_of(&channel)?;
    match (admin.send_test)(TestSend { template, channel, to, sample }).await? {
        Ok(sent) => Ok(json_answer(&sent)),
        Err(NotSent::UnknownTemplate { asked, nearest }) => Err(Refusal::UnknownTemplate { asked, nearest }.into()),
        Err(NotSent::Refused(cause)) => Err(Refusal::TestNotSent { cause }.into()),
    }
}
