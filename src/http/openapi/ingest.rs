//! The track API in the document: what official clients send. They are tolerant and so are we, so only what is relied
//! on is promised.

use serde_json::{Value, json};

const STATUSES: [u16; 7] = [400, 401, 408, 413, 415, 429, 503];

/// Path, method and operation.
pub fn operations() -> Vec<(String, &'static str, Value)> {
    let calls = [
        ("track", "Something happened", json!(["event"])),
        ("identify", "What is known of a person", json!([])),
        ("page", "A page was seen", json!([])),
        ("screen", "A screen was seen", json!([])),
        ("group", "A person belongs to a group", json!(["groupId"])),
        ("alias", "A person has another id from now on", json!(["userId", "previousId"])),
    ];
    let single = calls.map(|(call, summary, required)| {
        let schema = json!({
            "type": "object",
            "required": required,
            "properties": {
                "userId": { "type": "string" },
                "anonymousId": { "type": "string" },
                "messageId": { "type": "string", "description": "The same again within seven days is the same event" },
                "event": { "type": "string" },
                "properties": { "type": "object" },
                "traits": { "type": "object" },
                "context": { "type": "object" },
                "timestamp": { "type": "string" },
            },
            "additionalProperties": true,
        });
        (format!("/v1/{call}"), "post", operation(call, summary, &schema))
    });
    let batch = json!({
        "type": "object",
        "required": ["batch"],
        "properties": { "batch": { "type": "array", "items": { "type": "object" } } },
        "additionalProperties": true,
    });
    let batch = ("/v1/batch".to_owned(), "post", operation("batch", "Several calls, each with its `type`", &batch));
    single.into_iter().chain([batch]).collect()
}

fn operation(call: &str, summary: &str, schema: &Value) -> Value {
    let mut responses = json!({
        "200": {
            "description": "Stored on disk; of a batch, what was not taken is listed",
            "content": { "application/json": { "schema": { "type": "object", "additionalProperties": true } } },
        }
    });
    if let Some(fields) = responses.as_object_mut() {
        for status in STATUSES {
            let response = json!({ "$ref": format!("#/components/responses/Problem{status}") });
            fields.insert(status.to_string(), response);
        }
    }
    json!({
        "operationId": call,
        "summary": summary,
        "tags": ["track"],
        "security": [{ "writeKey": [] }],
        "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
        "responses": responses,
    })
}
