//! The OpenAPI document, made of the operations that are served: what is documented is what there is. It is served, has
//! a page for people, and stands in `docs/openapi.json` for whoever makes a client of it.

mod ingest;
pub mod types;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{self, Payload, ServiceConfig};
use serde_json::{Map, Value, json};

use super::admin::operation::{Answers, Operation};
use super::admin::operations;
use super::body;
use super::page::{escape, page};
use super::problem::Problem;
use super::problem::codes::Code;
pub use types::{AnyJson, AnyObject, ImportFormat, ImportStateName, ScopeName, SpanText};

const TITLE: &str = "Carillon";
const ABOUT: &str = "What customers do becomes the message that helps them, and the reason is always known. Every answer \
    that is no success is a problem of RFC 9457 with a stable `code`. Lists are paged by `cursor`: `next` of a page, and \
    its `Link` header, lead to the next one. Writes take an `Idempotency-Key`: the same request with the same key within \
    24 hours is done once and answered alike.";

/// What every request may be refused with, what every write, and what those that name something.
const ALWAYS: [u16; 4] = [400, 401, 403, 503];
const WRITES: [u16; 6] = [408, 409, 413, 415, 422, 429];

static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));

/// The document as it is served, and as it stands in `docs/openapi.json`.
pub fn as_json() -> &'static str {
    TEXT.as_str()
}

/// Adds `/api/v1/openapi.json` and `/api`, which ask for no token. Before the controls, which ask for one everywhere.
pub fn configure(app: &mut ServiceConfig) {
    let other =
        |payload: Payload| async move { body::refused(Problem::MethodNotAllowed { allow: "GET".into() }, payload) };
    let resource = |path: &str, route| web::resource(path).route(route).default_service(web::to(other));
    app.service(resource("/api/v1/openapi.json", web::get().to(served)))
        .service(resource("/api", web::get().to(shown)));
}

async fn served() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(as_json())
}

/// The document, with its parts in the order of their names.
pub fn document() -> Value {
    let operations = operations();
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for one in &operations {
        for described in one.takes.iter().chain(one.answers.iter().filter_map(Answers::described)) {
            for (name, schema) in &described.named {
                schemas.insert(name.clone(), value(schema));
            }
        }
        let methods = paths.entry(format!("/api/v1{}", one.path)).or_default();
        methods.insert(one.method.as_str().to_ascii_lowercase(), described(one));
    }
    for (path, method, operation) in ingest::operations() {
        paths.entry(path).or_default().insert(method.to_owned(), operation);
    }
    for name in ["Timestamp", "ProfileId", "Position", "EnrollmentId"] {
        schemas.entry(name.to_owned()).or_insert_with(|| types::by_name(name));
    }
    schemas.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "An API token: `carillon token create`" },
                "writeKey": { "type": "http", "scheme": "basic",
                    "description": "A write key as user name, without a password: `carillon key create`" },
            },
            "responses": problem_responses(),
            "schemas": schemas,
        },
    })
}

fn value(thing: &impl serde::Serialize) -> Value {
    // Documents in memory serialise without fail.
    serde_json::to_value(thing).unwrap_or_default()
}

/// The first name of the path.
fn tag_of(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

fn tags() -> Vec<Value> {
    let mut names: Vec<String> = operations().iter().map(|one| tag_of(one.path).to_owned()).collect();
    names.push("track".to_owned());
    names.sort();
    names.dedup();
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

/// A parameter that is not given is not there: nobody writes null into an address.
fn parameter(parameter: &utoipa::openapi::path::Parameter) -> Value {
    let mut parameter = value(parameter);
    let is_null = |schema: &Value| schema["type"] == "null";
    let schema = &mut parameter["schema"];
    if let Some(other) = schema["oneOf"].as_array().and_then(|all| all.iter().find(|one| !is_null(one))) {
        *schema = other.clone();
    } else if let Some(kind) = schema["type"].as_array().and_then(|all| all.iter().find(|kind| *kind != "null")) {
        schema["type"] = kind.clone();
    }
    parameter
}

fn described(one: &Operation) -> Value {
    let mut parameters: Vec<Value> = one.parameters.iter().map(parameter).collect();
    if one.is_write() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "A fresh text for each thing to be done, such as a UUID",
            "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" },
        }));
    }
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    let mut content = Map::new();
    let mut says = String::new();
    for answer in &one.answers {
        match answer {
            Answers::Json(described) => {
                content.insert("application/json".to_owned(), json!({ "schema": value(&described.schema) }));
            }
            Answers::Text(media_type, about) => {
                content.insert((*media_type).to_owned(), json!({ "schema": { "type": "string" } }));
                says = (*about).to_owned();
            }
        }
    }
    let says = if says.is_empty() { "Done".to_owned() } else { says };
    responses.insert(one.success.to_string(), json!({ "description": says, "content": content }));
    let names_something = one.path.contains('{');
    let writes: &[u16] = if one.is_write() { &WRITES } else { &[] };
    let named: &[u16] = if names_something { &[404] } else { &[] };
    for status in ALWAYS.iter().chain(writes).chain(named).chain(&one.statuses) {
        responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/Problem{status}") }));
    }
    let mut operation = json!({
        "operationId": one.id,
        "summary": one.summary,
        "description": format!("Needs the scope `{}`.", one.scope),
        "tags": [tag_of(one.path)],
        "parameters": parameters,
        "security": [{ "token": [one.scope.as_str()] }],
        "responses": responses,
    });
    if one.is_open_here
        && let Some(ways) = operation["security"].as_array_mut()
    {
        ways.push(json!({}));
    }
    if let (Some(takes), Some(fields)) = (&one.takes, operation.as_object_mut()) {
        let content = json!({ "application/json": { "schema": value(&takes.schema) } });
        // Without a body is with an empty one.
        let needs = takes.named.first().is_some_and(|(_, schema)| value(schema)["required"].is_array());
        fields.insert("requestBody".to_owned(), json!({ "required": needs, "content": content }));
    }
    if let Some(fields) = operation.as_object_mut().filter(|_| one.takes_file) {
        let content = json!({ "application/octet-stream": { "schema": {} } });
        let says = "The file: as it is, or packed by gzip";
        fields.insert("requestBody".to_owned(), json!({ "required": true, "description": says, "content": content }));
    }
    operation
}

/// A response for each status that a code has, with the codes it may carry.
fn problem_responses() -> BTreeMap<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in Code::ALL {
        by_status.entry(code.status().as_u16()).or_default().push(code.as_str());
    }
    let content = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let response = |(status, codes): (u16, Vec<&str>)| {
        (format!("Problem{status}"), json!({ "description": codes.join(", "), "content": content }))
    };
    by_status.into_iter().map(response).collect()
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "description": "The address of the code's page" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "code": { "type": "string", "enum": codes, "description": "Stable: for programs" },
            "detail": { "type": "string", "description": "For people" },
            "field": { "type": "string", "description": "The parameter or field it is about" },
            "expected": { "type": "string" },
            "nearest": { "type": "string", "description": "The known name nearest to an unknown one" },
            "scope": { "type": "string", "description": "What a token would need to be allowed" },
            "problems": { "type": "array", "description": "Every mistake in definitions",
                "items": { "type": "object", "additionalProperties": true } },
        },
        "additionalProperties": false,
    })
}

/// The operations as a page for people.
async fn shown() -> HttpResponse {
    let mut rows = operations();
    rows.sort_by_key(|one| (one.path, one.method.to_string()));
    let mut body = format!(
        "<main><h1>{TITLE} API</h1><p>{}</p><p><a href=\"/api/v1/openapi.json\">openapi.json</a> · \
         <a href=\"/problems\">problems</a></p><div class=\"panel\"><table><thead><tr><th>Request</th><th>What for</th>\
         <th>Scope</th></tr></thead><tbody>",
        escape(ABOUT)
    );
    for one in rows {
        let names: Vec<&str> = one.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let _ = write!(
            body,
            "<tr><td><code>{} /api/v1{}</code></td><td>{}<br><span class=\"muted\">{}</span></td><td class=\"whole\"><code>{}</code></td></tr>",
            one.method,
            escape(one.path),
            escape(one.summary),
            escape(&names.join(", ")),
            one.scope
        );
    }
    body.push_str("</tbody></table></div></main>");
    page(StatusCode::OK, "API", &body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_is_named_once_and_says_what_it_is_for_and_answers() {
        let operations = operations();
        let names: BTreeSet<&str> = operations.iter().map(|one| one.id).collect();
        assert_eq!(names.len(), operations.len());
        for one in &operations {
            assert!(!one.id.is_empty() && !one.summary.is_empty() && !one.answers.is_empty(), "{}", one.path);
            assert!(!one.summary.ends_with('.'), "{}", one.summary);
        }
    }

    #[test]
    fn two_things_of_one_name_are_one_thing_and_what_is_spoken_of_is_there() {
        let mut known: BTreeMap<String, Value> = BTreeMap::new();
        for one in operations() {
            for described in one.takes.iter().chain(one.answers.iter().filter_map(Answers::described)) {
                for (name, schema) in &described.named {
                    let schema = value(schema);
                    assert_eq!(known.entry(name.clone()).or_insert_with(|| schema.clone()), &schema, "{name}");
                }
            }
        }
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
