//! A running service on a free port, with the demo's definitions, and somebody who asks.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carillon::app::{Carillon, Options};
use carillon::channel::{Channel, Unusable};
use carillon::clock::Clock;
use carillon::eventlog::Queue;
use carillon::fault::Faults;
use carillon::http;
use carillon::ids::Span;
use carillon::message::{Outcome, RetryPolicy};
use carillon::render::{Rendered, Sender, Workspace};
use carillon::store::controls::{DEMO_SHOP, set_setting};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const TOKEN: &str = "the operator's token";

pub struct House {
    address: String,
    client: reqwest::Client,
    stop: oneshot::Sender<()>,
    served: JoinHandle<anyhow::Result<()>>,
    store: carillon::store::Store,
    folder: TempDir,
    database: Option<carillon::store::Address>,
    clock: Clock,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The body of a 200.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Status and stable code of a problem.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.kind, "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

/// Refuses every message for good until it is told to take them.
#[derive(Default)]
pub struct Moody(pub AtomicBool);

impl Channel for Moody {
    fn send<'a>(&'a self, _: &'a Rendered) -> BoxFuture<'a, Outcome> {
        let outcome = match self.0.load(Ordering::SeqCst) {
            true => Outcome::Accepted { reply: "250 ok".to_owned() },
            false => Outcome::Rejected { cause: "550 no such mailbox".to_owned(), suppress: false },
        };
        futures::future::ready(outcome).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        futures::future::ready(Ok("moody".to_owned())).boxed()
    }
}

impl House {
    pub async fn new() -> Self {
        Self::with(None).await
    }

    /// With the demo's templates, campaign, cap and policy in force.
    pub async fn furnished() -> Self {
        let house = Self::new().await;
        house.furnish().await;
        house
    }

    pub async fn with(carrier: Option<Arc<dyn Channel>>) -> Self {
        Self::built(None, carrier, None).await
    }

    /// On this database, or one in its own folder.
    #[allow(dead_code, reason = "for other programs")]
    pub async fn on(database: Option<carillon::store::Address>, carrier: Option<Arc<dyn Channel>>) -> Self {
        Self::built(database, carrier, None).await
    }

    /// `templates` are previewed from this folder.
    pub async fn built(
        database: Option<carillon::store::Address>,
        carrier: Option<Arc<dyn Channel>>,
        templates: Option<std::path::PathBuf>,
    ) -> Self {
        let clock = Clock::fixed("2026-03-01T10:00:00Z".parse().unwrap());
        Self::open(tempfile::tempdir().unwrap(), database, clock, carrier, templates).await
    }

    /// Stopped and started again, with another provider.
    #[allow(dead_code, reason = "for other programs")]
    pub async fn again(self, carrier: Arc<dyn Channel>) -> Self {
        let Self { stop, served, folder, database, clock, .. } = self;
        let _ = stop.send(());
        served.await.unwrap().unwrap();
        Self::open(folder, database, clock, Some(carrier), None).await
    }

    async fn open(
        folder: TempDir,
        database: Option<carillon::store::Address>,
        clock: Clock,
        carrier: Option<Arc<dyn Channel>>,
        templates: Option<std::path::PathBuf>,
    ) -> Self {
        let options = Options {
            data: folder.path().to_owned(),
            database: database.clone(),
            ingest: http::config::Config::default(),
            smtp: None,
            sender: Sender::new(Some("The Shop"), "hello@shop.example", None).unwrap(),
            workspace: Workspace { name: "The Shop".to_owned(), postal_address: None, timezone: String::new() },
            currency: carillon::money::Currency::EUR,
            public_url: "http://shop.example".to_owned(),
            tracks: carillon::render::links::Tracks::ALL,
            redis: None,
            zone: jiff::tz::TimeZone::UTC,
            settle: Span::from_seconds(2),
            looked_at_per_second: None,
            per_second: std::collections::BTreeMap::new(),
            threads: 1,
            retry: RetryPolicy::default(),
            clock: Some(clock.clone()),
            faults: Faults::none(),
            resolver: None,
            // The little shops of the tests are on this machine.
            inside: vec![carillon::channel::sender::records::Net::parse("127.0.0.1").unwrap()],
            carrier,
        };
        let carillon = Carillon::open(options).await.unwrap();
        // So that its clock may be moved.
        let writer = carillon.log.writer();
        let demo = writer
            .change(Queue::Effects, |tx, _| Box::pin(async move { Ok(set_setting(tx, DEMO_SHOP, "1 0").await?) }));
        demo.await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let admin = carillon.admin(TOKEN);
        let shown = carillon.pages(&admin, templates);
        let store = carillon.store.clone();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let pages = move |app: &mut actix_web::web::ServiceConfig| {
                http::pages::configure(shown.clone())(app);
                http::admin::configure(admin.clone())(app);
            };
            carillon.serve(listener, pages, async move { drop(stopped.await) }).await
        });
        Self { address, client: reqwest::Client::new(), stop, served, store, folder, database, clock }
    }

    /// Where it is reached.
    #[allow(dead_code, reason = "for other programs")]
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Its data folder.
    #[allow(dead_code, reason = "for other programs")]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// What is stored, read behind everybody's back.
    #[allow(dead_code, reason = "for those who look for what must not be there")]
    pub fn store(&self) -> &carillon::store::Store {
        &self.store
    }

    pub async fn furnish(&self) {
        let files = ["templates", "demo/definitions"];
        let files: Vec<Value> = files.iter().flat_map(|folder| files_in(folder)).collect();
        let applied = self.post("/api/v1/definitions", json!({ "files": files })).await.ok();
        assert!(applied["created"].as_array().unwrap().contains(&json!("campaign cart_reminder")), "{applied}");
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(self.client.get(self.url(path)).bearer_auth(TOKEN)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(self.client.post(self.url(path)).bearer_auth(TOKEN).body(body.to_string())).await
    }

    /// Without a token, unless the caller adds one.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    pub async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        Answer { status, kind: kind.unwrap_or_default(), text: answer.text().await.unwrap() }
    }

    /// A page as somebody at this machine sees it.
    pub async fn page(&self, path: &str) -> String {
        let answer = self.ask(self.request("GET", path)).await;
        assert_eq!((answer.status, answer.kind.as_str()), (200, "text/html; charset=utf-8"), "{path}: {}", answer.text);
        answer.text
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// A key that the track API takes.
    pub async fn key(&self) -> String {
        let made = self.post("/api/v1/keys", json!({ "source": "web", "name": "the shop" })).await.ok();
        made["key"].as_str().unwrap().to_owned()
    }

    /// A track API call that must be taken.
    pub async fn send(&self, key: &str, call: &str, body: Value) {
        let request = self.request("POST", &format!("/v1/{call}")).basic_auth(key, Some("")).body(body.to_string());
        let answer = self.ask(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Ann, who may be written to.
    pub async fn meet_ann(&self, key: &str) {
        self.send(
            key,
            "identify",
            json!({ "userId": "ann", "messageId": "i1", "traits": {
            "email": "ann@example.com", "first_name": "Ann" } }),
        )
        .await;
        let yes = json!({ "channel": "email", "state": "granted", "source": "by telephone" });
        self.post("/api/v1/profiles/ann/consent", yes).await.ok();
    }

    pub async fn put_in_cart(&self, key: &str, cart: &str) {
        self.send(
            key,
            "track",
            json!({ "userId": "ann", "messageId": format!("add-{cart}"), "event": "Product Added",
            "properties": { "cart_id": cart, "product_id": "p1", "name": "Walnut desk lamp", "price": 40,
                "currency": "EUR" } }),
        )
        .await;
    }

    pub async fn forward(&self, by: &str) -> Value {
        self.post("/api/v1/demo/forward", json!({ "by": by })).await.ok()
    }

    pub async fn explain(&self) -> String {
        let told = self.get("/api/v1/explain?profile=ann&campaign=cart_reminder").await.ok();
        assert!(!told["timeline"].as_array().unwrap().is_empty());
        told["text"].as_str().unwrap().to_owned()
    }

    /// Messages by status.
    pub async fn listed(&self, query: &str) -> Vec<Value> {
        let listed = self.get(&format!("/api/v1/messages?{query}")).await.ok();
        listed["messages"].as_array().unwrap().clone()
    }

    pub async fn close(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap().unwrap();
    }
}

fn files_in(folder: &str) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| match path.is_dir() {
        true => files_in(path.to_str().unwrap()),
        false => vec![json!({ "name": path.to_str().unwrap(), "text": std::fs::read_to_string(path).unwrap() })],
    };
    files.iter().flat_map(read).collect()
}
