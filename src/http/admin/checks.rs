//! For the operator: the service examined, and a template sent to see it arrive.

use actix_web::HttpRequest;
use actix_web::web::{Payload, ServiceConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::message::Channel;
use crate::worker::dispatcher::{NotSent, TestSend};

use super::{Answer, BODY_BYTES_MAX, Controls, Refusal, get, json_answer, post, read_json};

pub fn routes(app: &mut ServiceConfig) {
    app.service(get("/doctor", doctor)).service(post("/send-test", send_test));
}

async fn doctor(admin: Controls) -> Answer {
    let checks = (admin.doctor)(()).await?;
    let ok = checks.iter().all(|check| check.ok);
    Ok(json_answer(&serde_json::json!({ "ok": ok, "checks": checks })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestIn {
    template: String,
    channel: String,
    to: String,
    sample: Option<Map<String, Value>>,
}

async fn send_test(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let TestIn { template, channel, to, sample } = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let channel = Channel::parse(&channel).ok_or_else(|| {
        let known = Channel::ALL.map(Channel::as_str).join(", ");
        Refusal::Parameter { field: "channel", cause: format!("`channel` is one of {known}") }
    })?;
    match (admin.send_test)(TestSend { template, channel, to, sample }).await? {
        Ok(sent) => Ok(json_answer(&sent)),
        Err(NotSent::UnknownTemplate { asked, nearest }) => Err(Refusal::UnknownTemplate { asked, nearest }.into()),
        Err(NotSent::Refused(cause)) => Err(Refusal::TestNotSent { cause }.into()),
    }
}
