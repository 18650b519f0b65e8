//! Unsubscribe links under load: scanners open them by GET, HEAD and OPTIONS while mail programs post, and reminders go
//! out meanwhile. Opening changes nothing, each post is taken, and whoever was told so gets nothing more.
//! `RACING=10000` asks for more; by default it is a size for every day.
//!
//! To see it fail, let `unsubscribe` answer a GET as it answers a POST.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use carillon::channel::{Channel, Unusable};
use carillon::message::Outcome;
use carillon::render::{Content, Rendered};
use futures::future::{BoxFuture, ready};
use futures::{FutureExt, StreamExt};
use serde_json::json;

use super::world::World;

const SHOP: &str = "kind: campaign\nkey: reminder\nname: Reminder\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
    purpose: marketing\nentry: { event: Product Added, key: properties.cart_id }\n\
    caps: { obey: false, count: false }\nsend: { channel: email, template: reminder }\n---\nkind: template\nkey: reminder\n\
    email: { subject: Still there, html: '<p>{{event.properties.cart_id}} <a href=\"{{links.unsubscribe}}\">stop</a></p>' }\n\
    ---\nkind: consent_policy\nrules: [ { channel: email, unknown: allowed } ]\n";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str =
    "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
const AT_ONCE: usize = 16;

fn racing() -> usize {
    std::env::var("RACING").ok().map_or(60, |text| text.parse().expect("RACING is a number"))
}

/// Takes everything, and remembers each address's link and the order in which things happened.
#[derive(Default)]
struct Provider {
    links: Mutex<BTreeMap<String, String>>,
    steps: AtomicUsize,
    /// When each letter was begun.
    begun: Mutex<Vec<(String, usize)>>,
}

impl Provider {
    fn step(&self) -> usize {
        self.steps.fetch_add(1, Ordering::SeqCst)
    }
}

impl Channel for Provider {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        let Content::Email(email) = rendered.content() else { panic!("not an e-mail") };
        let link = email.headers.iter().find(|(name, _)| name == "List-Unsubscribe").unwrap().1.to_string();
        let path = link.trim_matches(['<', '>']).strip_prefix("http://shop.example").unwrap().to_owned();
        let to = email.to.address.clone();
        self.begun.lock().unwrap().push((to.clone(), self.step()));
        self.links.lock().unwrap().insert(to, path);
        ready(Outcome::Accepted { reply: "250 ok".to_owned() }).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        ready(Ok("a script".to_owned())).boxed()
    }
}

impl World {
    async fn visit(&self, method: &str, path: &str, kind: &str, body: &str) -> u16 {
        let request = self.request(method, path).header("content-type", kind).body(body.to_owned());
        self.ask(request).await.status
    }

    async fn count(&self, status: &str) -> usize {
        let books = self.get("/api/v1/accounting").await.ok();
        usize::try_from(books["messages"]["by_status"][status].as_u64().unwrap_or(0)).unwrap()
    }

    async fn carts(&self, key: &str, round: &str) {
        let carts = (0..racing()).map(|n| {
            let cart = json!({ "userId": format!("p{n}"), "messageId": format!("{round}{n}"), "event": "Product Added",
                "properties": { "cart_id": format!("{round}{n}") } });
            self.send(key, "track", cart)
        });
        futures::stream::iter(carts).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_opening_a_link_changes_nothing_and_after_a_post_nothing_goes() {
    let provider = Arc::new(Provider::default());
    let world = World::carried_by(provider.clone()).await;
    let files = json!([{ "name": "shop.yaml", "text": SHOP }]);
    world.post("/api/v1/definitions", json!({ "files": files })).await.ok();
    let key = world.key().await;
    for n in 0..racing() {
        let traits = json!({ "email": format!("p{n}@d{}.example", n % 20) });
        world
            .send(
                &key,
                "identify",
                json!({ "userId": format!("p{n}"), "messageId": format!("i{n}"), "traits": traits }),
            )
            .await;
    }
    world.carts(&key, "first").await;
    world.forward("1m").await;
    let links = provider.links.lock().unwrap().clone();
    assert_eq!(links.len(), racing(), "everybody has a link");

    // Everything is scanned while the next reminders go out: they all do.
    let scans = links.values().flat_map(|path| ["GET", "HEAD", "OPTIONS"].map(|method| (method, path)));
    let scans = scans.map(|(method, path)| world.visit(method, path, FORM, "List-Unsubscribe=One-Click"));
    let scanned = futures::stream::iter(scans).buffer_unordered(AT_ONCE).collect::<Vec<u16>>();
    let (statuses, ()) = tokio::join!(scanned, async {
        world.carts(&key, "second").await;
        world.forward("1m").await;
    });
    assert!(statuses.iter().all(|status| *status < 500), "{statuses:?}");
    assert_eq!(world.count("sent").await, 2 * racing(), "opening a link stops nothing");

    // Everybody leaves while the third reminders go out.
    world.carts(&key, "third").await;
    let left: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let posts = links.iter().enumerate().map(|(n, (to, path))| {
        let (world, left, provider) = (&world, &left, &provider);
        async move {
            let (kind, body) = match n % 2 {
                0 => (FORM, "List-Unsubscribe=One-Click"),
                _ => ("multipart/form-data; boundary=b", MULTIPART),
            };
            assert_eq!(world.visit("POST", path, kind, body).await, 200, "no redirect, no login");
            left.lock().unwrap().insert(to.clone(), provider.step());
        }
    });
    let posted = futures::stream::iter(posts).buffer_unordered(AT_ONCE).collect::<Vec<()>>();
    tokio::join!(posted, world.forward("1m"));
    world.carts(&key, "fourth").await;
    world.forward("1m").await;
    let left = left.into_inner().unwrap();
    assert_eq!(left.len(), racing());
    for (to, begun) in provider.begun.lock().unwrap().iter() {
        assert!(*begun < left[to], "{to} was written to after the answer to the post");
    }
    let stopped = world.count("suppressed").await;
    assert!(stopped >= racing(), "the fourth cart of each: {stopped}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_somebody_erased_says_that_it_stops_nothing_and_what_stands_on_the_list_is_found_by_its_address() {
    let provider = Arc::new(Provider::default());
    let world = World::carried_by(provider.clone()).await;
    world.post("/api/v1/definitions", json!({ "files": [{ "name": "shop.yaml", "text": SHOP }] })).await.ok();
    let key = world.key().await;
    let arrives = async |user: &str| {
        let person = json!({ "userId": user, "messageId": user, "traits": { "email": "Ann@shop.example" } });
        world.send(&key, "identify", person).await;
        let cart = json!({ "userId": user, "messageId": format!("c {user}"), "event": "Product Added",
            "properties": { "cart_id": user } });
        world.send(&key, "track", cart).await;
        world.forward("1m").await;
        provider.links.lock().unwrap().remove("Ann@shop.example")
    };
    let erase = async |user: &str| {
        let why = json!({ "by": "me", "reason": "asked" });
        world.post(&format!("/api/v1/profiles/{user}/erase"), why).await.ok();
        world.forward("1m").await;
    };
    let old = arrives("ann").await.expect("the first letter");
    erase("ann").await;
    let newer = arrives("anna").await.expect("who registers anew is written to");
    let answer = world.ask(world.request("POST", &old).header("content-type", FORM).body("")).await;
    assert_eq!((answer.status, answer.text.contains("Unsubscribed")), (404, false));
    assert!(answer.text.contains("data that was erased"), "{}", answer.text);
    let asked = "/api/v1/suppressions?address=ann%40shop.example";
    assert_eq!(world.get(asked).await.ok()["suppressions"], json!([]));
    assert_eq!(world.visit("POST", &newer, FORM, "").await, 200);
    assert_eq!(world.get(asked).await.ok()["suppressions"][0]["address"], "ann@shop.example");
    erase("anna").await;
    let kept = world.get(asked).await.ok()["suppressions"].clone();
    assert!(kept[0]["address"].as_str().is_some_and(|kept| kept.starts_with('#')), "{kept}");
    assert_eq!(world.get("/api/v1/suppressions?address=eve%40shop.example").await.ok()["suppressions"], json!([]));
    assert_eq!(arrives("annabel").await, None, "the address is still stopped");
    world.close().await;
}
