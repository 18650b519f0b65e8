//! A page for each code of a problem: where its `type` leads.

use std::fmt::Write;

use actix_web::http::StatusCode;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};

use super::codes::Code;
use super::{Problem, body};
use crate::http::page::{escape, page};

/// Adds `/problems` and a page below it for each code.
pub fn configure(app: &mut ServiceConfig) {
    let other =
        |payload: Payload| async move { body::refused(Problem::MethodNotAllowed { allow: "GET".into() }, payload) };
    app.service(web::resource("/problems").route(web::get().to(all)).default_service(web::to(other)));
    app.service(web::resource("/problems/{code}").route(web::get().to(one)).default_service(web::to(other)));
}

async fn all() -> HttpResponse {
    let mut body = "<main><h1>Problems</h1><p>Every answer that is no success has one of these codes.</p>\
                    <div class=\"panel\"><table><thead><tr><th>Code</th><th>Status</th><th>Meaning</th></tr></thead><tbody>"
        .to_owned();
    for code in Code::ALL {
        let (name, status) = (code.as_str(), code.status().as_u16());
        let means = escape(code.means());
        let _ = write!(
            body,
            "<tr><td><a href=\"/problems/{name}\"><code>{name}</code></a></td><td>{status}</td><td>{means}</td></tr>"
        );
    }
    body.push_str("</tbody></table></div></main>");
    page(StatusCode::OK, "Problems", &body)
}

async fn one(code: web::Path<String>) -> HttpResponse {
    let Some(code) = Code::parse(&code) else { return Problem::NotFound.error_response() };
    let body = format!(
        "<main class=\"narrow\"><h1>{}</h1><p class=\"muted\"><code>{}</code>, status {}</p><p>{}</p><p>{}</p>\
         <nav><a href=\"/problems\">All problems</a></nav></main>",
        escape(code.title()),
        code.as_str(),
        code.status().as_u16(),
        escape(code.means()),
        escape(code.help())
    );
    page(StatusCode::OK, code.title(), &body)
}
