//! The pages a person looks at: what was sent and what was not, why, to whom; how a template reads; what failed for
//! good. Made on the server, for a browser that runs no script; each asks indexes alone and a bounded number of rows.

mod carts;
mod customers;
mod dead_letters;
mod frame;
mod html;
mod inbox;
mod looked_up;
mod messages;
mod overview;
mod preview;
mod sign_in;
mod timeline;
mod why;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Route};

use crate::render::kept::KeptMessages;
use crate::render::{Sender, Workspace};
use crate::store;
use crate::worker::dispatcher::Stopped;

use super::admin::Admin;
use super::body;
use super::problem::Problem;
use super::scope::Scope;
use frame::{Part, framed};
use html::html;
use sign_in::Visitor;
pub use sign_in::{OpenToken, Sessions};

const FOOT: &str = "<footer>Times are UTC. <a href=\"/healthz\">Health</a></footer>";
const BELL: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><path fill=\"#4f46c8\" d=\"M8 1a1 1 0 0 1 1 1v.6A4.5 4.5 0 0 1 12.5 7v3l1.5 2v1H2v-1l1.5-2V7A4.5 4.5 0 0 1 7 2.6V2a1 1 0 0 1 1-1zm-2 13h4a2 2 0 0 1-4 0z\"/></svg>";

/// Transports that cannot be used, and whether the cap store cannot be asked.
pub type Transports = Arc<dyn Fn() -> (Vec<Stopped>, bool) + Send + Sync>;

/// What the pages reach.
pub struct Desk {
    pub admin: web::Data<Admin>,
    pub transports: Transports,
    /// The sandbox's, while nothing real is sent.
    pub inbox: Option<Arc<dyn KeptMessages>>,
    pub sender: Sender,
    pub workspace: Workspace,
    /// Templates are read from here as they are being written, before those in force.
    pub folder: Option<PathBuf>,
    pub sessions: Sessions,
    pub open_token: OpenToken,
}

impl Desk {
    fn db(&self) -> store::Workspace<'_, sea_orm::DatabaseConnection> {
        self.admin.store.workspace(self.admin.workspace)
    }
}

pub type Pages = web::Data<Desk>;

/// Adds every page. None of them stands where another route does.
pub fn configure(pages: Pages) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        let add = |path: &str, routes: Vec<Route>| at(path, routes).app_data(pages.clone());
        let (get, post) = (web::get, web::post);
        // Monitors ask whether it is there without wanting to read it.
        app.service(add("/", vec![get().to(overview::show), web::head().to(overview::show)]))
            .service(add("/pause", vec![post().to(overview::pause)]))
            .service(add("/resume", vec![post().to(overview::resume)]))
            .service(add("/why", vec![get().to(why::show)]))
            .service(add("/customers", vec![get().to(customers::search)]))
            .service(add("/customers/{id}", vec![get().to(customers::show)]))
            .service(add("/caps", vec![get().to(customers::caps)]))
            .service(add("/dead-letters", vec![get().to(dead_letters::show)]))
            .service(add(
                "/dead-letters/redrive",
                vec![get().to(dead_letters::confirm), post().to(dead_letters::redrive)],
            ))
            .service(add("/preview", vec![get().to(preview::list)]))
            .service(add("/preview/{template}", vec![get().to(preview::show)]))
            .service(add("/preview/{template}/links", vec![post().to(preview::check)]))
            .service(add("/preview/{template}/html", vec![get().to(preview::html)]))
            .service(add("/preview/{template}/changed", vec![get().to(preview::changed)]))
            .service(add("/sign-in", vec![get().to(sign_in::show), post().to(sign_in::sign_in)]))
            .service(add("/sign-out", vec![post().to(sign_in::sign_out)]))
            .service(add("/ui/pages.css", vec![get().to(style)]))
            .service(add("/ui/preview.js", vec![get().to(script)]))
            .service(add("/ui/bell.svg", vec![get().to(bell)]));
        if let Some(kept) = pages.inbox.clone() {
            let desk = pages.clone();
            let admits: super::inbox::Admits = Arc::new(move |request: HttpRequest| {
                let desk = desk.clone();
                Box::pin(async move { sign_in::admits(&desk, &request).await })
            });
            app.configure(super::inbox::configure(web::Data::from(kept), admits));
            app.service(add("/inbox", vec![get().to(inbox::list)]))
                .service(add("/inbox/{id}", vec![get().to(inbox::message)]))
                .service(add("/inbox/{id}/html", vec![get().to(inbox::html)]))
                .service(add("/inbox/{id}/source", vec![get().to(inbox::source)]));
        }
    }
}

fn at(path: &str, routes: Vec<Route>) -> Resource {
    let other = |payload: Payload| async move {
        body::refused(Problem::MethodNotAllowed { allow: "GET, POST".into() }, payload)
    };
    routes.into_iter().fold(web::resource(path), Resource::route).default_service(web::to(other))
}

async fn style() -> HttpResponse {
    frame::asset("text/css; charset=utf-8", frame::STYLE)
}

async fn script() -> HttpResponse {
    frame::asset("text/javascript; charset=utf-8", frame::SCRIPT)
}

async fn bell() -> HttpResponse {
    frame::asset("image/svg+xml", BELL)
}

/// Why there is no page to show.
#[derive(Debug, thiserror::Error)]
enum Nothing {
    /// What was asked for is not known; says so in a sentence.
    #[error("{0}")]
    Unknown(String),
    /// The question makes no sense; says why.
    #[error("{0}")]
    Senseless(String),
    /// Their token lacks this scope.
    #[error("Your token may not do this: it lacks the scope `{0}`. Sign in with one that has it.")]
    NotAllowed(Scope),
    #[error("{0}")]
    Failed(anyhow::Error),
}

impl From<store::Error> for Nothing {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<anyhow::Error> for Nothing {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// A page, or one that says why there is none.
async fn or_say(desk: &Desk, visitor: &Visitor, part: Part, made: Result<HttpResponse, Nothing>) -> HttpResponse {
    let (status, title, says) = match made {
        Ok(page) => return page,
        Err(Nothing::Unknown(says)) => (StatusCode::NOT_FOUND, "Nothing found", says),
        Err(Nothing::Senseless(says)) => (StatusCode::BAD_REQUEST, "Not understood", says),
        Err(nothing @ Nothing::NotAllowed(_)) => (StatusCode::FORBIDDEN, "Not allowed", nothing.to_string()),
        Err(Nothing::Failed(error)) => {
            tracing::error!(error = format!("{error:#}"), "a page could not be made");
            let says =
                "The database could not be read. Try again in a moment; `carillon doctor` tells more.".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable", says)
        }
    };
    let ask = visitor.may(Scope::ProfilesRead).then(|| why::search_box(""));
    let body = html!("<h1>{}</h1><p>{}</p>{}", title, says, ask);
    framed(desk, visitor, Some(part), status, title, body).await
}
