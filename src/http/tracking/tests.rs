//! Unsubscribing over HTTP: what scanners do changes nothing, what mail providers do always works.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use actix_web::http::Method;
use actix_web::{App, test};

use super::*;
use crate::audience::consent::topic_name;
use crate::http::book::Told;
use crate::ids::{MessageId, ProfileId, WorkspaceId};
use crate::render::links::KeyRing;
use crate::worker::permission::{ChannelChoice, Choices, Confirmable, TopicChoice};

const ONE_CLICK: &str = "List-Unsubscribe=One-Click";
const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Clone, Default)]
struct World {
    answered: Arc<Mutex<Vec<(Link, Answer)>>>,
    refuses: Option<NotDone>,
    topic: Option<(String, String)>,
    choices: Choices,
    confirmable: Option<Confirmable>,
    hits: Arc<Mutex<Vec<String>>>,
}

impl Book for World {
    fn choices(&self, _: Link) -> Told<Choices> {
        let answer = self.refuses.map_or(Ok(self.choices.clone()), Err);
        Box::pin(async move { answer })
    }

    fn topic_of(&self, _: Link) -> Told<Option<(String, String)>> {
        let answer = self.refuses.map_or(Ok(self.topic.clone()), Err);
        Box::pin(async move { answer })
    }

    fn confirmable(&self, _: Link) -> Told<Confirmable> {
        let answer = self.refuses.map_or(Ok(self.confirmable.unwrap_or(Confirmable::No)), Err);
        Box::pin(async move { answer })
    }

    fn answer(&self, link: Link, answers: Vec<Answer>) -> Told<()> {
        let refuses = self.refuses;
        self.answered.lock().unwrap().extend(answers.into_iter().map(|answer| (link, answer)));
        Box::pin(async move { refuses.map_or(Ok(()), Err) })
    }

    fn hit(&self, link: Link, target: Option<String>, is_head: bool, user_agent: String) -> Told<()> {
        let refuses = self.refuses;
        assert_eq!(link, self::link());
        let what = target.unwrap_or_else(|| "picture".to_owned());
        self.hits.lock().unwrap().push(format!("{} {what} {user_agent}", if is_head { "HEAD" } else { "GET" }));
        Box::pin(async move { refuses.map_or(Ok(()), Err) })
    }
}

fn links() -> Links {
    Links::new("https://news.shop.example/", KeyRing::new(1, [7; 32]))
}

fn link() -> Link {
    Link {
        workspace: WorkspaceId(1),
        profile: ProfileId(42),
        channel: Channel::Email,
        message: MessageId::derive(&[b"m"]),
    }
}

fn path_of(kind: LinkKind) -> String {
    links().address(kind, &link()).trim_start_matches("https://news.shop.example").to_owned()
}

fn path() -> String {
    path_of(LinkKind::Unsubscribe)
}

impl World {
    /// Status, headers as text, and body.
    async fn ask(&self, method: Method, path: &str, kind: &str, body: &[u8]) -> (u16, String, String) {
        let request = test::TestRequest::with_uri(path).method(method).insert_header(("content-type", kind));
        self.call(request.set_payload(body.to_vec())).await
    }

    async fn call(&self, request: test::TestRequest) -> (u16, String, String) {
        let pages = web::Data::new(LinkPages::new(links(), Arc::new(self.clone())));
        let app = test::init_service(App::new().configure(configure(pages))).await;
        let response = test::call_service(&app, request.to_request()).await;
        let status = response.status().as_u16();
        let headers = format!("{:?}", response.headers());
        let body = String::from_utf8(test::read_body(response).await.to_vec()).unwrap();
        (status, headers, body)
    }

    async fn post(&self, kind: LinkKind, form: &str) -> (u16, String) {
        let (status, _, body) = self.ask(Method::POST, &path_of(kind), FORM, form.as_bytes()).await;
        (status, body)
    }

    /// What was answered, in words: about, state, way.
    fn acted(&self) -> Vec<String> {
        let answered = self.answered.lock().unwrap();
        let word = |(of, answer): &(Link, Answer)| {
            assert_eq!((*of, answer.message), (link(), Some(link().message)));
            let about = match &answer.about {
                About::Channel(channel) => channel.as_str().to_owned(),
                About::Topic(topic) => topic_name(topic),
            };
            format!("{about} {} by {}", answer.state.as_str(), answer.via.as_str())
        };
        answered.iter().map(word).collect()
    }
}

#[actix_web::test]
async fn looking_never_unsubscribes() {
    let world = World { confirmable: Some(Confirmable::Yes), ..shop() };
    for kind in LinkKind::PAGES {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::PATCH] {
            let form = b"do=none&shown=channel:email&scope=topic";
            let (status, ..) = world.ask(method.clone(), &path_of(kind), FORM, form).await;
            let looks = method == Method::GET || method == Method::HEAD;
            assert_eq!(status, if looks { 200 } else { 405 }, "{kind:?} {method}");
        }
    }
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::PATCH] {
        let (status, headers, body) = world.ask(method.clone(), &path(), FORM, ONE_CLICK.as_bytes()).await;
        let looks = method == Method::GET || method == Method::HEAD;
        assert_eq!(status, if looks { 200 } else { 405 }, "{method}");
        assert_eq!(body.contains("<button>Unsubscribe</button>"), looks, "{method}: {body}");
        assert!(!headers.contains("location"), "{headers}");
    }
    assert!(world.acted().is_empty());
}

#[actix_web::test]
async fn a_post_unsubscribes_at_once_whatever_its_body() {
    let world = World::default();
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
    let long = "x".repeat(BODY_BYTES_MAX * 3);
    let bodies = [
        (FORM, ONE_CLICK),
        ("multipart/form-data; boundary=b", multipart),
        ("multipart/form-data", "no boundary"),
        ("text/plain", ""),
        ("application/json", "{\"more\": 1"),
        (FORM, &long),
    ];
    for (kind, body) in bodies {
        let (status, headers, page) = world.ask(Method::POST, &path(), kind, body.as_bytes()).await;
        assert_eq!(status, 200, "{kind}");
        assert!(page.contains("Unsubscribed") && !headers.contains("location"), "{page}");
    }
    assert_eq!(world.acted(), ["email denied by link"; 6]);
}

#[actix_web::test]
async fn a_link_that_was_not_made_here_is_not_found_and_says_no_more() {
    let world = World::default();
    let good = path();
    // A good token of another kind opens nothing.
    let elsewhere = path_of(LinkKind::Preferences).replace("/preferences/", "/confirm/");
    let flipped = format!("{}{}", &good[..good.len() - 1], if good.ends_with('A') { 'B' } else { 'A' });
    let pages: Vec<String> = futures::future::join_all(
        [flipped.as_str(), &good[..40], "/u/x", "/u/%00", "/u/%ff", &elsewhere, "/preferences/x", "/confirm/x"].map(
            |path| {
                let world = world.clone();
                async move {
                    let (status, _, shown) = world.ask(Method::GET, path, FORM, b"").await;
                    assert_eq!(status, 404, "{path}");
                    let (status, _, acted) = world.ask(Method::POST, path, FORM, ONE_CLICK.as_bytes()).await;
                    assert_eq!((status, &acted), (404, &shown), "{path}");
                    shown
                }
            },
        ),
    )
    .await;
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(world.acted().is_empty());
}

#[actix_web::test]
async fn what_could_not_be_stored_is_never_called_done() {
    for (answer, expected) in [(NotDone::Unavailable, 503), (NotDone::Unknown, 404)] {
        let world = World { refuses: Some(answer), ..World::default() };
        let (status, headers, body) = world.ask(Method::POST, &path(), FORM, ONE_CLICK.as_bytes()).await;
        assert_eq!((status, body.contains("Unsubscribed")), (expected, false));
        assert_eq!(headers.contains("retry-after"), expected == 503);
    }
}

#[actix_web::test]
async fn the_page_loads_nothing_leaks_nothing_and_is_not_kept() {
    let (_, headers, body) = World::default().ask(Method::GET, &path(), FORM, b"").await;
    for header in ["default-src 'none'", "no-referrer", "no-store", "nosniff", "noindex", "frame-ancestors 'none'"] {
        assert!(headers.contains(header), "{header}: {headers}");
    }
    assert!(!body.contains("<script") && !body.contains("src=") && !body.contains("http"), "{body}");
}

/// Ann gets e-mail and the news, not text messages and not the offers.
fn shop() -> World {
    let channel = |channel, on| ChannelChoice { channel, on, address: Some("a***@example.com".into()) };
    let topic =
        |key: &str, on| TopicChoice { key: key.into(), name: format!("The <{key}>"), description: "Weekly".into(), on };
    let choices = Choices {
        channels: vec![channel(Channel::Email, true), channel(Channel::Sms, false)],
        topics: vec![topic("news", true), topic("offers", false)],
    };
    World { choices, topic: Some(("news".into(), "The <news>".into())), ..World::default() }
}

#[actix_web::test]
async fn a_mail_about_a_topic_offers_to_leave_that_topic_alone_and_one_click_leaves_all() {
    let world = shop();
    let (_, _, page) = world.ask(Method::GET, &path(), FORM, b"").await;
    assert!(page.contains("Only from “The &lt;news&gt;”") && page.contains("../preferences/"), "{page}");
    let (status, page) = world.post(LinkKind::Unsubscribe, "List-Unsubscribe=One-Click&scope=topic").await;
    assert!(status == 200 && page.contains("no more messages about “The &lt;news&gt;”"), "{page}");
    world.post(LinkKind::Unsubscribe, ONE_CLICK).await;
    world.post(LinkKind::Unsubscribe, "scope=everything").await;
    assert_eq!(world.acted(), ["topic:news denied by link", "email denied by link", "email denied by link"]);
    let plain = World::default();
    plain.post(LinkKind::Unsubscribe, "scope=topic").await;
    assert_eq!(plain.acted(), ["email denied by link"], "of no topic: all");
}

#[actix_web::test]
async fn the_preference_page_shows_what_is_and_stores_what_was_changed() {
    let world = shop();
    let (status, _, page) = world.ask(Method::GET, &path_of(LinkKind::Preferences), FORM, b"").await;
    assert_eq!(status, 200);
    for (field, checked) in
        [("channel:email", true), ("channel:sms", false), ("topic:news", true), ("topic:offers", false)]
    {
        let box_of = format!("value=\"{field}\"{}>", if checked { " checked" } else { "" });
        assert!(page.contains(&box_of), "{box_of}: {page}");
    }
    assert!(page.contains("The &lt;news&gt;") && page.contains("<legend>") && !page.contains("<script"), "{page}");
    let shown = "shown=channel:email&shown=channel:sms&shown=topic:news&shown=topic:offers&do=save";
    let (status, page) = world.post(LinkKind::Preferences, &format!("{shown}&on=channel:email&on=topic:news")).await;
    assert!(status == 200 && page.contains("Saved"));
    assert!(world.acted().is_empty(), "nothing was changed");
    let (_, page) = world.post(LinkKind::Preferences, &format!("{shown}&on=channel:email&on=topic:offers")).await;
    assert_eq!(world.acted(), ["topic:news denied by page", "topic:offers granted by page"]);
    assert!(page.contains("value=\"topic:offers\" checked>") && page.contains("value=\"topic:news\">"), "{page}");
}

#[actix_web::test]
async fn what_is_no_form_of_the_page_changes_nothing_and_is_never_called_saved() {
    let world = shop();
    let (shown, path) = ("shown=topic:offers&on=topic:offers&do=save", path_of(LinkKind::Preferences));
    let long = format!("{shown}&x={}", "x".repeat(BODY_BYTES_MAX));
    let cases = [
        (FORM, long.as_bytes(), 413, "larger than a form"),
        ("multipart/form-data; boundary=b", shown.as_bytes(), 415, "is not a form"),
        ("application/json", b"{}", 415, "is not a form"),
        (FORM, b"shown=topic:offers&on=topic:%FFoffers&do=save", 400, "cannot be read"),
        (FORM, b"", 400, "is not a form"),
        (FORM, b"do=save", 400, "is not a form"),
        (FORM, b"shown=topic:offers&on=topic:offers", 400, "is not a form"),
    ];
    for (kind, body, wanted, words) in cases {
        let (status, _, page) = world.ask(Method::POST, &path, kind, body).await;
        assert_eq!(status, wanted, "{kind} {words}");
        assert!(page.contains("Nothing was changed") && page.contains(words) && !page.contains("Saved"), "{page}");
    }
    assert!(world.acted().is_empty(), "{:?}", world.acted());
    let (status, _, page) =
        world.ask(Method::POST, &path, "Application/x-www-form-urlencoded; charset=UTF-8", shown.as_bytes()).await;
    assert!(status == 200 && page.contains("Saved"), "{page}");
    assert_eq!(world.acted(), ["topic:offers granted by page"]);
}

#[actix_web::test]
async fn a_form_changes_only_what_its_page_showed() {
    let world = shop();
    world.post(LinkKind::Preferences, "shown=topic:offers&shown=topic:gone&on=topic:gone&do=save").await;
    assert!(world.acted().is_empty(), "{:?}", world.acted());
    world.post(LinkKind::Preferences, "do=none").await;
    assert_eq!(world.acted(), ["email denied by page", "sms denied by page"], "leaving all needs nothing else");
}

#[actix_web::test]
async fn a_confirmation_needs_the_button_and_what_is_over_confirms_nothing() {
    for (is, word, acts) in [
        (Confirmable::Yes, "<button>Confirm your subscription</button>", true),
        (Confirmable::Done, "Confirmed", false),
        (Confirmable::No, "This confirmation is over", false),
    ] {
        let world = World { confirmable: Some(is), ..World::default() };
        let (_, _, page) = world.ask(Method::GET, &path_of(LinkKind::Confirm), FORM, b"").await;
        assert!(page.contains(word), "{is:?}: {page}");
        assert!(world.acted().is_empty());
        let (_, page) = world.post(LinkKind::Confirm, "").await;
        assert_eq!(page.contains("Confirmed"), is != Confirmable::No, "{is:?}: {page}");
        let expected: &[&str] = if acts { &["email granted by confirmation"] } else { &[] };
        assert_eq!(world.acted(), expected, "{is:?}");
    }
}

#[actix_web::test]
async fn the_pages_speak_the_browsers_language() {
    for (header, lang, word) in [
        ("de-AT,de;q=0.9,en;q=0.5", "de", "Abmelden"),
        ("tlh, FR;q=0.4", "fr", "Se désabonner"),
        ("es", "es", "Darse de baja"),
        ("tlh", "en", "Unsubscribe"),
        (",;;--,", "en", "Unsubscribe"),
    ] {
        let request = test::TestRequest::with_uri(&path()).insert_header(("accept-language", header));
        let (_, _, page) = World::default().call(request).await;
        assert!(page.contains(&format!("<html lang=\"{lang}\">")) && page.contains(word), "{header}: {page}");
    }
}

fn click(target: &str) -> String {
    let links = links().with_tracking(crate::render::links::Tracks::ALL).of_message(&link(), false);
    let address = links.tracking.unwrap().click(target).unwrap();
    address.trim_start_matches("https://news.shop.example").to_owned()
}

#[actix_web::test]
async fn a_click_is_heard_of_and_led_on_and_a_picture_is_one_pixel() {
    let world = World::default();
    for (target, location) in [
        ("https://shop.example/a?b=1&c=%20#d", "https://shop.example/a?b=1&c=%20#d"),
        ("https://shop.example/ä b\"<", "https://shop.example/%C3%A4%20b%22%3C"),
        ("HTTP://Shop.Example", "http://shop.example/"),
    ] {
        let (status, headers, _) = world.ask(Method::GET, &click(target), FORM, b"").await;
        assert_eq!(status, 302, "{target}");
        assert!(headers.contains(&format!("{location:?}")) && headers.contains("no-store"), "{headers}");
    }
    let (status, headers, _) = world.ask(Method::HEAD, &click("https://shop.example/"), FORM, b"").await;
    assert!(status == 302 && headers.contains("shop.example"), "{headers}");
    let agent = test::TestRequest::with_uri(&path_of(LinkKind::Open)).insert_header(("user-agent", "Mail 1"));
    let app = web::Data::new(LinkPages::new(links(), Arc::new(world.clone())));
    let app = test::init_service(App::new().configure(configure(app))).await;
    let response = test::call_service(&app, agent.to_request()).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "image/gif");
    assert!(test::read_body(response).await.starts_with(b"GIF89a"));
    let hits = world.hits.lock().unwrap().clone();
    assert_eq!(hits.len(), 5);
    assert_eq!((hits[3].as_str(), hits[4].as_str()), ("HEAD https://shop.example/ ", "GET picture Mail 1"));
    assert_eq!(world.acted(), Vec::<String>::new());
}

#[actix_web::test]
async fn people_are_led_on_where_nothing_can_be_stored() {
    let world = World { refuses: Some(NotDone::Unavailable), ..World::default() };
    assert_eq!(world.ask(Method::GET, &click("https://shop.example/"), FORM, b"").await.0, 302);
}

#[actix_web::test]
async fn an_altered_click_leads_nowhere() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let world = World::default();
    let token = click("https://shop.example/").trim_start_matches("/c/").to_owned();
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    let mut altered: Vec<Vec<u8>> = (0..bytes.len() * 8)
        .map(|bit| {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        })
        .collect();
    for other in ["//evil.example", "javascript:alert(1)", "https://evil.example/", "\r\nSet-Cookie: a", ""] {
        altered.push([&bytes[..51], other.as_bytes()].concat());
    }
    // A token for something else leads nowhere, either.
    for kind in LinkKind::ALL.into_iter().filter(|kind| *kind != LinkKind::Click) {
        altered.push(URL_SAFE_NO_PAD.decode(path_of(kind).rsplit('/').next().unwrap()).unwrap());
    }
    for bytes in altered {
        let path = format!("/c/{}", URL_SAFE_NO_PAD.encode(bytes));
        let (status, headers, _) = world.ask(Method::GET, &path, FORM, b"").await;
        assert!(status == 404 && !headers.contains("evil"), "{path}: {status} {headers}");
    }
    assert_eq!(world.ask(Method::GET, &format!("/o/{token}"), FORM, b"").await.0, 404);
    assert_eq!(world.ask(Method::GET, &format!("/c/{token}x"), FORM, b"").await.0, 404);
    assert_eq!(world.ask(Method::POST, &click("https://shop.example/"), FORM, b"").await.0, 405);
    assert!(world.hits.lock().unwrap().is_empty());
}
