//! Unsubscribing over HTTP: what scanners do changes nothing, what mail providers do always works.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use actix_web::http::Method;
use actix_web::{App, test};

use super::*;
use crate::ids::{MessageId, ProfileId, WorkspaceId};
use crate::render::links::KeyRing;

const ONE_CLICK: &str = "List-Unsubscribe=One-Click";
const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Clone, Default)]
struct World {
    acted: Arc<Mutex<Vec<Unsubscribe>>>,
    answer: Option<NotUnsubscribed>,
}

fn links() -> Links {
    Links::new("https://news.shop.example/", KeyRing::new(1, [7; 32]))
}

fn link() -> Unsubscribe {
    Unsubscribe {
        workspace: WorkspaceId(1),
        profile: ProfileId(42),
        channel: Channel::Email,
        message: MessageId::derive(&[b"m"]),
    }
}

fn path() -> String {
    links().unsubscribe(&link()).trim_start_matches("https://news.shop.example").to_owned()
}

impl World {
    /// Status, headers as text, and body.
    async fn ask(&self, method: Method, path: &str, kind: &str, body: &[u8]) -> (u16, String, String) {
        let (acted, answer) = (Arc::clone(&self.acted), self.answer);
        let act: Arc<Act> = Arc::new(move |link| {
            let acted = Arc::clone(&acted);
            Box::pin(async move {
                acted.lock().unwrap().push(link);
                answer.map_or(Ok(()), Err)
            })
        });
        let pages = web::Data::new(UnsubscribePages::new(links(), act));
        let app = test::init_service(App::new().configure(configure(pages))).await;
        let request = test::TestRequest::with_uri(path).method(method).insert_header(("content-type", kind));
        let response = test::call_service(&app, request.set_payload(body.to_vec()).to_request()).await;
        let status = response.status().as_u16();
        let headers = format!("{:?}", response.headers());
        let body = String::from_utf8(test::read_body(response).await.to_vec()).unwrap();
        (status, headers, body)
    }

    fn acted(&self) -> Vec<Unsubscribe> {
        self.acted.lock().unwrap().clone()
    }
}

#[actix_web::test]
async fn looking_never_unsubscribes() {
    let world = World::default();
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::PATCH] {
        let (status, headers, body) = world.ask(method.clone(), &path(), FORM, ONE_CLICK.as_bytes()).await;
        let looks = method == Method::GET || method == Method::HEAD;
        assert_eq!(status, if looks { 200 } else { 405 }, "{method}");
        assert_eq!(body.contains("<button>Unsubscribe</button>"), looks, "{method}: {body}");
        assert!(!headers.contains("location"), "{headers}");
    }
    assert_eq!(world.acted(), []);
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
    assert_eq!(world.acted(), [link(); 6]);
}

#[actix_web::test]
async fn a_link_that_was_not_made_here_is_not_found_and_says_no_more() {
    let world = World::default();
    let good = path();
    let flipped = format!("{}{}", &good[..good.len() - 1], if good.ends_with('A') { 'B' } else { 'A' });
    let pages: Vec<String> =
        futures::future::join_all([flipped.as_str(), &good[..40], "/u/x", "/u/%00", "/u/%ff"].map(|path| {
            let world = world.clone();
            async move {
                let (status, _, shown) = world.ask(Method::GET, path, FORM, b"").await;
                assert_eq!(status, 404, "{path}");
                let (status, _, acted) = world.ask(Method::POST, path, FORM, ONE_CLICK.as_bytes()).await;
                assert_eq!((status, &acted), (404, &shown), "{path}");
                shown
            }
        }))
        .await;
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(world.acted(), []);
}

#[actix_web::test]
async fn what_could_not_be_stored_is_never_called_done() {
    for (answer, expected) in [(NotUnsubscribed::Unavailable, 503), (NotUnsubscribed::Unknown, 404)] {
        let world = World { answer: Some(answer), ..World::default() };
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
