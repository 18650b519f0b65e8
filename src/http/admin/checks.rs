//! For the operator: the service examined, and a template sent to see it arrive.

use actix_web::HttpRequest;
use actix_web::web::{self, Payload};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::message::Channel;
use crate::worker::dispatcher::{NotSent, TestSend};

use super::operation::{Operation, read, write};
use super::permission::channel_of;
use super::{Answer, BODY_BYTES_MAX, Controls, Refusal, json_answer, read_json};
use crate::http::openapi::AnyObject;
use crate::http::scope::Scope;
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
            .answers::<AnyObject>()
            .may(&[404]),
        write("/templates/{key}/render", Scope::DefinitionsRead, render)
            .says(
                "renderTemplate",
                "The message a template makes of a sample: subject, HTML, text, headers; sent nowhere",
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
    /// In place of the template's own sample.
    #[schema(value_type = Option<AnyObject>)]
    sample: Option<Map<String, Value>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RenderedTemplate)]
struct RenderOut {
    template: String,
    version: u32,
    /// `kind` is the channel; the other fields are its own.
    #[schema(value_type = AnyObject)]
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

async fn render(admin: Controls, key: web::Path<String>, request: HttpRequest, payload: Payload) -> Answer {
    let RenderIn { channel, sample } = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let (channel, template) = (channel_of(&channel)?, key.into_inner());
    let to = example_address(channel).to_owned();
    match (admin.preview)(TestSend { template, channel, to, sample }).await? {
        Ok(made) => Ok(json_answer(&RenderOut {
            template: made.template().to_owned(),
            version: made.template_version(),
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
