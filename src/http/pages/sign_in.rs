//! Who sees the pages: they show personal data. On the machine itself, while nothing real is sent, whoever sits there;
//! everybody else signs in with a token of the controls and is known by a cookie until they sign out; what they see and
//! may do is what that token may.
//!
//! "On the machine" is asked of the connection and of the name that was asked for: a page elsewhere that has its name
//! lead to this machine, or a proxy that stands in front of it, does not count. Every POST must come from a page of ours
//! and carry what only such a page knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::header::{
    AUTHORIZATION, COOKIE, FORWARDED, HOST, HeaderMap, HeaderValue, LOCATION, ORIGIN, SET_COOKIE,
};
use actix_web::http::{StatusCode, Uri};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use futures::future::LocalBoxFuture;

use crate::http::admin::gate::{by_hash, by_secret, holds};
use crate::http::admin::tokens::hash_of;
use crate::http::body;
use crate::http::problem::{Problem, Refusal};
use crate::http::scope::Scope;

use super::frame::bare;
use super::html::{Html, encoded, html};
use super::{Desk, Nothing, Pages};

const SESSION: &str = "carillon_session";
/// Without a request for so long, a session has ended.
const IDLE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
const SESSIONS_MAX: usize = 1_000;
/// The pages keep no answers that would be sealed.
const NO_SEAL: [u8; 32] = [0; 32];
const FORM_BYTES_MAX: usize = 16 * 1024;
const FORM_DEADLINE: Duration = Duration::from_secs(10);

/// Those who signed in at this process, by the hash of their cookie.
#[derive(Default)]
pub struct Sessions(Mutex<BTreeMap<[u8; 32], Session>>);

struct Session {
    holder: Holder,
    /// What its forms carry.
    form_token: String,
    last_used: Duration,
}

/// Whose session it is: what they may do is asked anew with every request, for a token may end or be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// Of the token of the data folder, which ends with the process as sessions do.
    Local,
    /// Of an API token, by the hash of its secret.
    Token(Vec<u8>),
}

fn random() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

impl Sessions {
    /// The cookie of a new session; the one that was idle longest makes room.
    fn begin(&self, holder: Holder, now: Duration) -> String {
        let (cookie, form_token) = (random(), random());
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| now.saturating_sub(session.last_used) < IDLE_MAX);
        while sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.last_used).map(|(key, _)| *key);
            oldest.and_then(|key| sessions.remove(&key));
        }
        sessions.insert(key_of(&cookie), Session { holder, form_token, last_used: now });
        cookie
    }

    /// Whose it is, and what its forms carry.
    fn of(&self, cookie: &str, now: Duration) -> Option<(Holder, String)> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get_mut(&key_of(cookie))?;
        if now.saturating_sub(session.last_used) >= IDLE_MAX {
            return None;
        }
        session.last_used = now;
        Some((session.holder.clone(), session.form_token.clone()))
    }

    fn end(&self, cookie: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key_of(cookie));
    }
}

fn key_of(cookie: &str) -> [u8; 32] {
    *blake3::hash(cookie.as_bytes()).as_bytes()
}

/// What the forms of those carry who need no session.
pub struct OpenToken(String);

impl Default for OpenToken {
    fn default() -> Self {
        Self(random())
    }
}

/// Somebody who may see the pages.
pub struct Visitor {
    form_token: String,
    session: bool,
    scopes: BTreeSet<Scope>,
}

impl Visitor {
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// # Errors
    /// Their token lacks the scope.
    pub fn must(&self, scope: Scope) -> Result<(), Nothing> {
        if self.may(scope) { Ok(()) } else { Err(Nothing::NotAllowed(scope)) }
    }

    pub fn has_session(&self) -> bool {
        self.session
    }

    /// The hidden field every form of ours has.
    pub fn token_field(&self) -> Html {
        html!("<input type=\"hidden\" name=\"token\" value=\"{}\">", self.form_token)
    }
}

/// Not let in.
#[derive(Debug, thiserror::Error)]
pub enum NotLetIn {
    /// The way to the form that lets in.
    #[error("sign in first")]
    SignInFirst { to: String },
    /// Whose session it is cannot be asked at present: it has not ended.
    #[error("the database could not be read")]
    NotNow,
}

impl ResponseError for NotLetIn {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::SignInFirst { .. } => StatusCode::SEE_OTHER,
            Self::NotNow => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        match self {
            Self::SignInFirst { to } => redirect(&format!("/sign-in?to={}", encoded(to))),
            Self::NotNow => {
                let body = html!(
                    "<h1>Temporarily unavailable</h1><p>The database could not be read, and nothing was changed. You are \
                     still signed in: reload this page in a moment.</p>"
                );
                bare(self.status_code(), "Temporarily unavailable", &body)
            }
        }
    }
}

impl FromRequest for Visitor {
    type Error = NotLetIn;
    type Future = LocalBoxFuture<'static, Result<Self, NotLetIn>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (desk, request) = (request.app_data::<Pages>().cloned(), request.clone());
        let to = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        // What was sent with a form is lost; the page it came from is where to begin again.
        let to = if request.method().is_safe() { to } else { "/".to_owned() };
        Box::pin(async move {
            let visitor = match &desk {
                Some(desk) => known(desk, &request).await.map_err(|problem| {
                    tracing::error!(error = %problem, "whose session it is could not be read");
                    NotLetIn::NotNow
                })?,
                None => None,
            };
            visitor.ok_or(NotLetIn::SignInFirst { to })
        })
    }
}

/// Who asks, as far as they may see the pages.
///
/// # Errors
/// It cannot be asked at present.
async fn known(desk: &Desk, request: &HttpRequest) -> Result<Option<Visitor>, Problem> {
    let now = desk.admin.log.clock().monotonic();
    let cookie = session_of(request.headers());
    if let Some((holder, form_token)) = cookie.and_then(|cookie| desk.sessions.of(cookie, now)) {
        let scopes = match holder {
            Holder::Local => Some(Scope::ALL.into()),
            Holder::Token(hash) => match by_hash(&desk.admin, &hash, NO_SEAL).await {
                Ok(caller) => Some(caller.scopes),
                // The token has ended; whatever else it is may be over in a moment.
                Err(Problem::Control(why)) if matches!(*why, Refusal::WrongToken | Refusal::ExpiredToken) => None,
                Err(problem) => return Err(problem),
            },
        };
        if let Some(scopes) = scopes {
            return Ok(Some(Visitor { form_token, session: true, scopes }));
        }
    }
    let open = desk.inbox.is_some() && is_local(request);
    let visitor = || Visitor { form_token: desk.open_token.0.clone(), session: false, scopes: Scope::ALL.into() };
    Ok(open.then(visitor))
}

/// Whether somebody may read messages as JSON: who sees the pages of them, and who has a token for them.
pub(super) async fn admits(desk: &Desk, request: &HttpRequest) -> Result<(), Problem> {
    if request.headers().contains_key(AUTHORIZATION) {
        return holds(&desk.admin, request.headers(), Scope::MessagesRead).await;
    }
    match known(desk, request).await? {
        Some(visitor) if visitor.may(Scope::MessagesRead) => Ok(()),
        Some(_) => Err(Refusal::MissingScope { scope: Scope::MessagesRead }.into()),
        None => Err(Refusal::MissingToken.into()),
    }
}

/// What the browser kept of a session.
fn session_of(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIE).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut named = all.filter_map(|pair| pair.trim().split_once('='));
    named.find(|(name, _)| *name == SESSION).map(|(_, value)| value)
}

/// The header that makes the browser keep it, or forget it where there is none.
fn keep(request: &HttpRequest, session: Option<&str>) -> Option<HeaderValue> {
    let secure = if request.connection_info().scheme() == "https" { "; Secure" } else { "" };
    let (value, age) = session.map_or(("", "; Max-Age=0"), |session| (session, ""));
    HeaderValue::from_str(&format!("{SESSION}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")).ok()
}

/// Whether somebody at this machine asked for this machine.
fn is_local(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let from_here = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let passed_on = ["x-forwarded-for", "x-forwarded-host", "via"].iter().any(|name| headers.contains_key(*name))
        || headers.contains_key(FORWARDED);
    from_here && !passed_on && host_of(headers).is_some_and(|host| is_this_machine(&host))
}

fn host_of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(HOST)?.to_str().ok()?.to_ascii_lowercase())
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The fields of a form.
#[derive(Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim());
        found.filter(|value| !value.is_empty())
    }
}

async fn read(request: &HttpRequest, mut payload: web::Payload) -> Result<Form, HttpResponse> {
    match body::read(request, &mut payload, FORM_BYTES_MAX, FORM_DEADLINE).await {
        Ok(bytes) => Ok(Form(url::form_urlencoded::parse(&bytes).into_owned().collect())),
        Err(problem) => Err(body::refused(problem, payload)),
    }
}

/// The form of a page of ours; anything else is answered with what this returns.
pub async fn posted(visitor: &Visitor, request: &HttpRequest, payload: web::Payload) -> Result<Form, HttpResponse> {
    let form = read(request, payload).await?;
    let sent = form.get("token").unwrap_or_default();
    // `blake3::Hash` compares in constant time.
    let knows = blake3::hash(sent.as_bytes()) == blake3::hash(visitor.form_token.as_bytes());
    if is_from_here(request) && knows { Ok(form) } else { Err(not_from_here()) }
}

/// By what browsers say of where a request comes from; what says nothing is no browser of today.
fn is_from_here(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let site = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or_default());
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let authority = origin.as_ref().and_then(|origin| origin.authority()).map(|it| it.as_str().to_ascii_lowercase());
    authority.is_some() && authority == host_of(headers)
}

fn not_from_here() -> HttpResponse {
    let body = html!(
        "<h1>Nothing was changed</h1><p>This order did not come from a page of this service, or the page was older than \
         its session. Open the page again and repeat it there.</p><p><a href=\"/\">Overview</a></p>"
    );
    bare(StatusCode::FORBIDDEN, "Nothing was changed", &body)
}

pub(super) fn redirect(to: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, to)).insert_header(("cache-control", "no-store")).finish()
}

/// Where to go after signing in: a page of ours, whatever the address says.
fn own_page(asked: Option<&str>) -> String {
    let is_own = |to: &&str| {
        to.starts_with('/') && !to.starts_with("//") && to.bytes().all(|b| b > b' ' && b != b'\\' && b < 127)
    };
    asked.filter(is_own).unwrap_or("/").to_owned()
}

fn sign_in_page(status: StatusCode, to: &str, wrong: &str) -> HttpResponse {
    let wrong =
        if wrong.is_empty() { Html::default() } else { html!("<p class=\"notice bad\" role=\"alert\">{}</p>", wrong) };
    let body = html!(
        "<h1>Carillon</h1><p>These pages show customers' data. Sign in with an API token, and see what it may \
         read: <code>carillon token create --name me --scope read</code> makes one. The one a running service leaves in \
         <code>server.json</code> of its data folder may do everything.</p>{}<form method=\"post\" action=\"/sign-in\">\
         <input type=\"hidden\" name=\"to\" value=\"{}\"><p><label for=\"secret\">Token</label><input id=\"secret\" \
         name=\"secret\" type=\"password\" autocomplete=\"current-password\" required spellcheck=\"false\"></p>\
         <p><button>Sign in</button></p></form><p class=\"muted\">Came here by a link and signed in already? \
         <a href=\"{}\">Go on</a></p>",
        wrong,
        to,
        to
    );
    bare(status, "Sign in", &body)
}

pub(super) async fn show(request: HttpRequest) -> HttpResponse {
    let query = url::form_urlencoded::parse(request.query_string().as_bytes());
    let to = query.into_owned().find(|(name, _)| name == "to").map(|(_, value)| value);
    sign_in_page(StatusCode::OK, &own_page(to.as_deref()), "")
}

pub(super) async fn sign_in(desk: Pages, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let form = match read(&request, payload).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let to = own_page(form.get("to"));
    if !is_from_here(&request) {
        return not_from_here();
    }
    let secret = form.get("secret").unwrap_or_default();
    let holder = match by_secret(&desk.admin, secret).await {
        Ok(caller) if caller.token.is_none() => Holder::Local,
        Ok(_) => Holder::Token(hash_of(secret)),
        Err(Problem::Control(refusal)) if matches!(*refusal, Refusal::ExpiredToken) => {
            return sign_in_page(StatusCode::FORBIDDEN, &to, "This token has expired.");
        }
        Err(Problem::Control(refusal)) if matches!(*refusal, Refusal::WrongToken) => {
            return sign_in_page(StatusCode::FORBIDDEN, &to, "This is not a token of this service.");
        }
        Err(_) => {
            let says = "The database could not be read. Try again in a moment.";
            return sign_in_page(StatusCode::SERVICE_UNAVAILABLE, &to, says);
        }
    };
    let session = desk.sessions.begin(holder, desk.admin.log.clock().monotonic());
    let mut answer = redirect(&to);
    if let Some(kept) = keep(&request, Some(&session)) {
        answer.headers_mut().insert(SET_COOKIE, kept);
    }
    answer
}

pub(super) async fn sign_out(
    desk: Pages,
    visitor: Visitor,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    if let Err(answer) = posted(&visitor, &request, payload).await {
        return answer;
    }
    let mut answer = redirect("/sign-in");
    if let Some(session) = session_of(request.headers()) {
        desk.sessions.end(session);
    }
    if let Some(forgotten) = keep(&request, None) {
        answer.headers_mut().insert(SET_COOKIE, forgotten);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_this_machine() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["", "shop.example", "localhost.shop.example", "10.0.0.1:8080", "127.0.0.1.nip.io", "[::2]"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn after_signing_in_nobody_is_led_elsewhere() {
        for own in ["/", "/why?profile=ann&campaign=a", "/customers/1"] {
            assert_eq!(own_page(Some(own)), own);
        }
        for other in
            ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a b", "javascript:alert(1)", "/\n"]
        {
            assert_eq!(own_page(Some(other)), "/", "{other}");
        }
    }

    #[test]
    fn a_session_ends_when_it_was_idle_and_the_oldest_makes_room() {
        let sessions = Sessions::default();
        let first = sessions.begin(Holder::Local, Duration::ZERO);
        assert!(sessions.of(&first, Duration::from_secs(60)).is_some());
        assert!(sessions.of("another", Duration::ZERO).is_none());
        assert!(sessions.of(&first, IDLE_MAX + Duration::from_secs(60)).is_none());
        let all: Vec<String> =
            (0..=SESSIONS_MAX as u64).map(|n| sessions.begin(Holder::Local, Duration::from_millis(n))).collect();
        assert!(sessions.of(&all[0], Duration::from_secs(2)).is_none());
        assert!(sessions.of(&all[2], Duration::from_secs(2)).is_some());
        sessions.end(&all[2]);
        assert!(sessions.of(&all[2], Duration::from_secs(2)).is_none());
    }
}
