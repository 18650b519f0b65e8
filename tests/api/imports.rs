//! Imports over HTTP: files taken in beside the live doors, with what became of every row; they start nothing, go on
//! after a restart, and are one however often they are asked for.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use carillon::store::Rows;
use serde_json::{Value, json};

use super::BACKEND;
use super::world::World;
use crate::database::Backend;
use crate::house::{Answer, Moody, TOKEN};

const MAP: &str = "{ event: { column: What, names: { cart: Product Added, order: Order Completed } }, user_id: Who, \
                   timestamp: When, properties: { cart_id: Cart } }";
/// Two of ann, one of nobody, one without a time, and a word that is no event.
const ACTS: &str = "Who,When,What,Cart\n\
                    ann,2026-03-01T09:59:00Z,cart,c1\n\
                    ,2026-02-01T10:00:00Z,cart,c2\n\
                    ann,yesterday,cart,c3\n\
                    ann,2025-12-24T10:00:00Z,order,c0\n\
                    ann,2026-02-01T10:00:00Z,sneeze,c4\n";

fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    format!("/api/v1/imports?{}", query.finish())
}

async fn post(world: &World, pairs: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
    world.ask(world.request("POST", &query(pairs)).bearer_auth(TOKEN).body(body.into())).await
}

fn accepted(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.kind.as_str()), (202, "application/json"), "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Once it is over.
pub async fn ended(world: &World, id: &str) -> Value {
    for _ in 0..24_000 {
        let import = world.get(&format!("/api/v1/imports/{id}")).await.ok();
        if !import["ended_at"].is_null() {
            return import;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("an import does not end: {}", world.get("/api/v1/imports").await.text)
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Ann, who may be written to, and a campaign that writes an hour after something is put in a cart.
async fn furnished() -> (World, String) {
    let world = World::small().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    (world, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_tells_is_in_peoples_histories_and_starts_nothing_however_recent_it_is() {
    let (world, key) = furnished().await;
    let asked = [("format", "csv"), ("name", "acts.csv"), ("map", MAP)];
    let id = accepted(&post(&world, &asked, ACTS).await);
    let import = ended(&world, &id).await;
    assert_eq!((&import["state"], &import["failure"]), (&json!("done"), &Value::Null), "{import}");
    let counted =
        ["rows", "rows_in_events", "rows_left_out", "rows_rejected", "events", "people", "stored", "repeated"];
    let counts: Vec<u64> = counted.iter().map(|name| import[*name].as_u64().unwrap()).collect();
    assert_eq!(counts, [5, 2, 1, 2, 2, 1, 2, 0], "{import}");
    assert_eq!((&import["bytes"], &import["bytes_read"]), (&json!(ACTS.len()), &json!(ACTS.len())));
    world.forward("3h").await;
    let events = world.get("/api/v1/events?profile=ann").await.ok();
    let mut told: Vec<(&str, &str)> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["source"] == "import")
        .map(|event| (event["at"].as_str().unwrap(), event["name"].as_str().unwrap()))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [("2025-12-24T10:00:00Z", "Order Completed"), ("2026-03-01T09:59:00Z", "Product Added")]);
    assert_eq!(world.listed("profile=ann").await, [] as [Value; 0], "a file started a campaign");
    let why = world.get("/api/v1/explain?profile=ann&campaign=cart").await.ok();
    assert!(why["text"].as_str().unwrap().contains("import"), "{why}");
    // The same from the storefront does.
    world.put_in_cart(&key, "c9").await;
    world.forward("2h").await;
    assert_eq!(world.listed("profile=ann").await.len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rejected_row_is_told_with_line_field_and_what_was_expected_until_somebody_is_erased() {
    let (world, _) = furnished().await;
    let asked = [("format", "csv"), ("name", "acts.csv"), ("map", MAP)];
    let id = accepted(&post(&world, &asked, ACTS).await);
    ended(&world, &id).await;
    let first = world.get(&format!("/api/v1/imports/{id}/rejects?limit=1")).await.ok();
    let row = &first["rejects"][0];
    assert_eq!((&row["line"], &row["row"], &row["field"]), (&json!(4), &json!(3), &json!("When")), "{first}");
    assert_eq!(row["code"], "not_a_time");
    assert!(row["message"].as_str().unwrap().contains("`yesterday` is no time"), "{row}");
    let next = first["next"].as_str().unwrap();
    let rest = world.get(&format!("/api/v1/imports/{id}/rejects?limit=1&cursor={next}")).await.ok();
    assert_eq!((&rest["rejects"][0]["line"], &rest["next"]), (&json!(6), &Value::Null), "{rest}");
    world.post("/api/v1/profiles/ann/erase", json!({ "by": "me", "reason": "asked" })).await.ok();
    let after = world.get(&format!("/api/v1/imports/{id}/rejects")).await.ok();
    let after: Vec<&Value> = after["rejects"].as_array().unwrap().iter().collect();
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|row| row["message"].is_null() && row["line"].is_u64()), "{after:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_again_changes_nothing_packed_or_not_and_one_request_by_one_name_is_one_import() {
    let (world, _) = furnished().await;
    let asked = [("format", "csv"), ("name", "acts.csv"), ("map", MAP)];
    let named = |key: &'static str, body: Vec<u8>| {
        let request = world.request("POST", &query(&asked)).bearer_auth(TOKEN).header("Idempotency-Key", key);
        world.ask(request.header("content-encoding", "gzip").body(body))
    };
    let first = named("nightly", gzipped(ACTS)).await;
    let id = accepted(&first);
    assert_eq!(ended(&world, &id).await["stored"], 2);
    let again = named("nightly", gzipped(ACTS)).await;
    assert_eq!((again.status, &again.text), (202, &first.text));
    let other = named("nightly", gzipped(&ACTS.replace("c1", "c7"))).await;
    assert_eq!(other.problem(), (422, "idempotency_key_reused".to_owned()));
    assert_eq!(world.get("/api/v1/imports").await.ok()["imports"].as_array().unwrap().len(), 1);
    world.forward("1s").await;
    let second = ended(&world, &accepted(&named("weekly", gzipped(ACTS)).await)).await;
    assert_eq!((&second["stored"], &second["repeated"]), (&json!(0), &json!(2)), "{second}");
    world.forward("1s").await;
    // What was packed before it was sent.
    let third = ended(&world, &accepted(&named("yearly", gzipped_twice(ACTS)).await)).await;
    assert_eq!((&third["stored"], &third["repeated"]), (&json!(0), &json!(2)), "{third}");
    let newest = world.get("/api/v1/imports?limit=2").await.ok();
    assert_eq!((&newest["imports"][0]["id"], &newest["imports"][1]["id"]), (&third["id"], &second["id"]));
    let cursor = newest["next"].as_str().unwrap();
    let last = world.get(&format!("/api/v1/imports?limit=2&cursor={cursor}")).await.ok();
    assert_eq!((&last["imports"][0]["id"], &last["next"]), (&json!(id), &Value::Null));
    assert_eq!(files_left(&world), 0, "the file of an import that is over is kept");
    world.close().await;
}

fn gzipped_twice(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&gzipped(text)).unwrap();
    encoder.finish().unwrap()
}

/// Beside what the folder is called.
fn files_left(world: &World) -> usize {
    std::fs::read_dir(world.folder().join("imports")).unwrap().count() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_in_with_their_answers_and_a_no_stays_a_no() {
    let (world, _) = furnished().await;
    let no = json!({ "channel": "email", "state": "denied", "source": "by telephone" });
    world.post("/api/v1/profiles/ann/consent", no).await.ok();
    let people = "{\"userId\":\"ann\",\"traits\":{\"city\":\"Lyon\"},\"consent\":{\"email\":\"granted\"}}\n\
                  {\"userId\":\"bob\",\"traits\":{\"email\":\"bob@example.com\"},\"consent\":{\"email\":\"granted\"}}\n\
                  {\"userId\":\"eve\",\"consent\":{\"fax\":\"granted\"}}\n";
    let id =
        accepted(&post(&world, &[("format", "profiles"), ("name", "people.jsonl"), ("source", "crm")], people).await);
    let import = ended(&world, &id).await;
    assert_eq!(
        (&import["state"], &import["rows_rejected"], &import["source"]),
        (&json!("done"), &json!(1), &json!("crm"))
    );
    world.forward("1s").await;
    let email = async |who: &str| world.get(&format!("/api/v1/profiles/{who}/consent")).await.ok().to_string();
    let (ann, bob) = (email("ann").await, email("bob").await);
    assert!(ann.contains("\"denied\"") && bob.contains("import people.jsonl"), "{ann} {bob}");
    let ann = world.get("/api/v1/profiles/ann").await.ok();
    assert!(ann.to_string().contains("Lyon"), "{ann}");
    let events = world.get("/api/v1/events?profile=bob").await.ok();
    assert!(events["events"].as_array().unwrap().iter().any(|event| event["source"] == "crm"), "{events}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_list_as_another_system_exports_it_stops_what_goes_to_its_addresses() {
    let (world, key) = furnished().await;
    world.put_in_cart(&key, "c1").await;
    let list = "Email Address,First Name,UNSUB_TIME\nAnn@Example.com,Ann,2026-01-10\nnowhere,,2026-01-11\n\
                old@example.com,Otto,2026-01-12\n";
    let asked = [("format", "suppressions"), ("name", "mailchimp.csv")];
    let import = ended(&world, &accepted(&post(&world, &asked, gzipped(list)).await)).await;
    let counts = ["rows", "rows_in_events", "rows_rejected", "stored", "repeated"];
    let counts = counts.map(|name| import[name].as_u64().unwrap());
    assert_eq!((counts, &import["state"]), ([3, 2, 1, 2, 0], &json!("done")), "{import}");
    let rejects = world.get(&format!("/api/v1/imports/{}/rejects", import["id"].as_str().unwrap())).await.ok();
    let row = &rejects["rejects"][0];
    assert_eq!((&row["line"], &row["code"]), (&json!(3), &json!("not_an_address")), "{rejects}");
    assert!(row["message"].as_str().unwrap().contains("`nowhere` is no address for email"));
    let listed = world.get("/api/v1/suppressions?address=ann@example.com").await.ok();
    let ann = &listed["suppressions"][0];
    assert_eq!((&ann["kind"], &ann["source"]), (&json!("unsubscribed"), &json!("import mailchimp.csv")), "{listed}");
    world.forward("2h").await;
    let messages = world.listed("profile=ann").await;
    assert!(messages.iter().all(|message| message["status"] == "suppressed"), "{messages:?}");
    let again = ended(&world, &accepted(&post(&world, &asked, list).await)).await;
    assert_eq!((&again["stored"], &again["repeated"]), (&json!(0), &json!(2)), "{again}");
    for (asked, body, expected) in [
        (vec![("format", "suppressions"), ("name", "a"), ("kind", "tired")], list, (400, "invalid_parameter")),
        (vec![("format", "suppressions"), ("name", "a"), ("channel", "fax")], list, (400, "invalid_parameter")),
        (vec![("format", "profiles"), ("name", "a"), ("kind", "manual")], list, (400, "invalid_parameter")),
        (vec![("format", "suppressions"), ("name", "a")], "name\nann\n", (422, "unreadable_file")),
    ] {
        let answer = post(&world, &asked, body).await;
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{asked:?}: {answer:?}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_in_is_refused_before_anything_is_stored() {
    let (world, _) = furnished().await;
    let csv = |more: &[(&'static str, &'static str)]| [&[("format", "csv"), ("name", "a.csv")], more].concat();
    let code = |text: &str| text.to_owned();
    for (asked, body, expected) in [
        (vec![("format", "xls"), ("name", "a")], ACTS, (400, code("invalid_parameter"))),
        (vec![("format", "jsonl"), ("name", "../a")], ACTS, (400, code("invalid_parameter"))),
        (vec![("format", "jsonl")], ACTS, (400, code("invalid_query"))),
        (csv(&[]), ACTS, (400, code("invalid_parameter"))),
        (csv(&[("map", "{ event: Signed Up }")]), ACTS, (422, code("invalid_mapping"))),
        (csv(&[("map", "{ event: A, user_id: Nobody, timestamp: When }")]), ACTS, (422, code("unreadable_file"))),
        (csv(&[("map", MAP), ("consent", "fax=granted")]), ACTS, (400, code("invalid_parameter"))),
        (vec![("format", "jsonl"), ("name", "a")], "", (422, code("unreadable_file"))),
        (vec![("format", "taobao"), ("name", "a")], "PK\u{3}\u{4}", (422, code("unreadable_file"))),
        (vec![("format", "jsonl"), ("name", "a"), ("colour", "red")], "", (400, code("unknown_parameter"))),
    ] {
        let answer = post(&world, &asked, body).await;
        assert_eq!(answer.problem(), expected, "{asked:?}: {answer:?}");
    }
    let encoded = |encoding: &'static str| {
        let request = world.request("POST", &query(&[("format", "jsonl"), ("name", "a")])).bearer_auth(TOKEN);
        world.ask(request.header("content-encoding", encoding).body("{}"))
    };
    assert_eq!(encoded("gzip").await.problem(), (400, code("invalid_gzip")));
    assert_eq!(encoded("br").await.problem(), (415, code("unsupported_encoding")));
    let large = world.request("POST", &query(&[("format", "jsonl"), ("name", "a")])).bearer_auth(TOKEN);
    let large = large.header("content-length", "2000000000").body(reqwest::Body::from("{}"));
    assert_eq!(world.ask(large).await.problem(), (413, code("body_too_large")));
    let (_, reads) = world.token(&["imports:read"]).await;
    let refused = world.ask(world.request("POST", &query(&[("format", "jsonl"), ("name", "a")])).bearer_auth(&reads));
    assert_eq!(refused.await.problem(), (403, code("missing_scope")));
    assert_eq!(world.as_bearer(&reads, "GET", "/api/v1/imports", None).await.ok()["imports"], json!([]));
    for path in ["/api/v1/imports/nothing", "/api/v1/imports/nothing/rejects"] {
        assert_eq!(world.get(path).await.problem(), (404, code("unknown_import")));
    }
    assert_eq!(world.post("/api/v1/imports/nothing/stop", json!({})).await.problem(), (404, code("unknown_import")));
    assert_eq!(files_left(&world), 0);
    world.close().await;
}

/// As `carillon import --dry-run`, and as the import that follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_tells_what_the_import_then_does_and_stores_nothing() {
    let (world, _) = furnished().await;
    let before = viewed(&world).await;
    let asked = [("format", "csv"), ("name", "acts.csv"), ("map", MAP), ("consent", "email=granted")];
    let path = query(&asked).replace("/imports?", "/imports/preview?");
    let preview = async |body: Vec<u8>| {
        let request = world.request("POST", &path).bearer_auth(TOKEN).header("Idempotency-Key", "preview");
        world.ask(request.body(body)).await
    };
    let told = preview(gzipped(ACTS)).await.ok();
    assert_eq!(preview(gzipped(ACTS)).await.ok(), told, "it may be asked again");
    assert_eq!(viewed(&world).await, before);
    assert_eq!(world.get("/api/v1/imports").await.ok()["imports"], json!([]));
    assert_eq!(files_left(&world), 0);
    let rejects: Vec<(&Value, &Value)> =
        told["rejects"].as_array().unwrap().iter().map(|row| (&row["line"], &row["code"])).collect();
    assert_eq!(rejects, [(&json!(4), &json!("not_a_time")), (&json!(6), &json!("unknown_event"))], "{told}");
    let events: Vec<(&Value, &Value, &Value)> = told["first_events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (&event["at"], &event["name"], &event["body"]["properties"]["cart_id"]))
        .collect();
    let [cart, order] =
        [("2026-03-01T09:59:00Z", "Product Added", "c1"), ("2025-12-24T10:00:00Z", "Order Completed", "c0")];
    let expected = [cart, order].map(|(at, name, cart)| (json!(at), json!(name), json!(cart)));
    assert_eq!(events, expected.iter().map(|(at, name, cart)| (at, name, cart)).collect::<Vec<_>>());
    // What is told and then done differs in nothing.
    let id = accepted(&post(&world, &asked, gzipped(ACTS)).await);
    let import = ended(&world, &id).await;
    let counted = ["bytes", "rows", "rows_in_events", "rows_left_out", "rows_rejected", "reasons", "events", "people"];
    for name in counted {
        assert_eq!(told[name], import[name], "{name}");
    }
    assert_eq!(told["events"].as_u64().unwrap() + told["added"].as_u64().unwrap(), import["stored"].as_u64().unwrap());
    let listed = world.get(&format!("/api/v1/imports/{id}/rejects")).await.ok();
    assert_eq!(told["rejects"], listed["rejects"]);
    // Sums where a file has amounts, and lists of addresses.
    let invoices = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
                    536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n\
                    536366,85123A,HEART,2,2010-12-01 08:28:00,1.10,,United Kingdom\n";
    let uci = world.request("POST", "/api/v1/imports/preview?format=uci-retail&name=uci.csv").bearer_auth(TOKEN);
    let uci = world.ask(uci.body(invoices)).await.ok();
    let net = uci["sums"].as_array().unwrap().iter().find(|one| one["sum"] == "net").unwrap();
    assert_eq!(net, &json!({ "sum": "net", "currency": "GBP", "rows": 2, "exact": "17.5" }), "{uci}");
    let list = world.request("POST", "/api/v1/imports/preview?format=suppressions&name=list.csv").bearer_auth(TOKEN);
    let list = world.ask(list.body("Email Address\nold@example.com\nnowhere\n")).await.ok();
    assert_eq!((&list["rows"], &list["events"], &list["rows_rejected"]), (&json!(2), &json!(1), &json!(1)), "{list}");
    // What an import would refuse at once, a preview does.
    let odd = preview(b"PK\x03\x04".to_vec()).await;
    assert_eq!(odd.problem(), (422, "unreadable_file".to_owned()), "{odd:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_database_does_not_take_is_one_of_the_rejects_and_the_rest_of_the_file_is_stored() {
    let (world, _) = furnished().await;
    let rule = match BACKEND {
        Backend::Sqlite => {
            "CREATE TRIGGER refused BEFORE INSERT ON entries WHEN NEW.name = 'Order Completed'
             BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        }
        Backend::Postgres => "ALTER TABLE entries ADD CONSTRAINT refused CHECK (name <> 'Order Completed')",
    };
    world.change(rule).await;
    let asked = [("format", "csv"), ("name", "acts.csv"), ("map", MAP)];
    let id = accepted(&post(&world, &asked, ACTS).await);
    let import = ended(&world, &id).await;
    assert_eq!((&import["state"], &import["stored"], &import["refused"]), (&json!("done"), &json!(1), &json!(1)));
    let listed = world.get(&format!("/api/v1/imports/{id}/rejects")).await.ok();
    let rejects: Vec<(&Value, &Value)> =
        listed["rejects"].as_array().unwrap().iter().map(|row| (&row["row"], &row["code"])).collect();
    assert!(rejects.contains(&(&json!(4), &json!("not_storable"))) && rejects.len() == 3, "{listed}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_are_kept_may_wait_and_one_whose_file_is_gone_says_so() {
    let (world, _) = furnished().await;
    let asked = [("format", "profiles"), ("name", "people.jsonl")];
    let id = accepted(&post(&world, &asked, "{\"userId\":\"bob\"}\n").await);
    ended(&world, &id).await;
    // Waiting, as if this process had just taken them.
    for n in 0..10 {
        let sql = format!(
            "INSERT INTO imports (id, workspace, home, name, format, options, state, bytes, progress, stop_asked, created_at, told_at)
             SELECT 'copy-{n}', workspace, home, name, format, options, 'waiting', bytes, progress, 0, created_at + {n}, told_at
             FROM imports WHERE id = '{id}'"
        );
        world.change(&sql).await;
    }
    let answer = post(&world, &asked, "{\"userId\":\"eve\"}\n").await;
    assert_eq!(answer.problem(), (409, "too_many_imports".to_owned()), "{answer:?}");
    // A word to one of them wakes the loop, which finds that the others have no file.
    let stopped = world.post("/api/v1/imports/copy-9/stop", json!({})).await.ok();
    assert_eq!(stopped["state"], "stopped");
    let gone = ended(&world, "copy-0").await;
    assert_eq!(gone["state"], "failed");
    assert!(gone["failure"].as_str().unwrap().contains("not in the data folder"), "{gone}");
    ended(&world, "copy-8").await;
    assert_eq!(ended(&world, "copy-9").await["state"], "stopped");
    accepted(&post(&world, &asked, "{\"userId\":\"eve\"}\n").await);
    world.close().await;
}

fn many(rows: u32) -> String {
    let mut text = String::new();
    for n in 0..rows {
        let (who, minute, second) = (n % 500, n / 60 % 60, n % 60);
        writeln!(
            text,
            "{{\"type\":\"track\",\"event\":\"Page Viewed\",\"userId\":\"u{who}\",\"messageId\":\"m{n}\",\
             \"timestamp\":\"2026-01-{:02}T10:{minute:02}:{second:02}Z\"}}",
            n / 3_600 + 1
        )
        .unwrap();
    }
    text
}

async fn viewed(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM entries WHERE event_id IS NOT NULL AND kind <> 'own' AND workspace = 1";
    Rows(world.house.store().reader()).scalar::<i64>(sql, vec![]).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_a_stop_of_the_service_cut_short_goes_on_and_stores_each_row_once() {
    const ROWS: u32 = 15_000;
    let world = World::small().await;
    let before = viewed(&world).await;
    let id = accepted(&post(&world, &[("format", "jsonl"), ("name", "views.jsonl")], many(ROWS)).await);
    let begun = world.get(&format!("/api/v1/imports/{id}")).await.ok();
    assert!(begun["ended_at"].is_null(), "it was over before the service stopped: {begun}");
    let world = world.again(Arc::new(Moody::default())).await;
    let import = ended(&world, &id).await;
    assert_eq!((&import["state"], &import["rows"]), (&json!("done"), &json!(ROWS)), "{import}");
    let told = import["stored"].as_u64().unwrap() + import["repeated"].as_u64().unwrap();
    assert_eq!(told, u64::from(ROWS), "{import}");
    assert_eq!(viewed(&world).await - before, i64::from(ROWS));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_stopped_where_it_stands_and_one_whose_process_is_silent_is_called_interrupted() {
    let world = World::small().await;
    let first = accepted(&post(&world, &[("format", "jsonl"), ("name", "views.jsonl")], many(30_000)).await);
    let second = accepted(&post(&world, &[("format", "jsonl"), ("name", "others.jsonl")], many(10)).await);
    world.post(&format!("/api/v1/imports/{first}/stop"), json!({})).await.ok();
    let import = ended(&world, &first).await;
    assert_eq!(import["state"], "stopped");
    assert!(import["stored"].as_u64() < Some(30_000), "{import}");
    let stored = ended(&world, &second).await;
    assert_eq!(stored["state"], "done", "the next one goes on");
    // A file goes once its end is stored.
    for _ in 0..2_000 {
        if files_left(&world) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(files_left(&world), 0);
    // Of another process, which has not spoken for an hour.
    let sql = format!(
        "INSERT INTO imports (id, workspace, home, name, format, options, state, bytes, progress, stop_asked, created_at, told_at)
         SELECT 'elsewhere', workspace, 'another folder', name, format, options, 'running', bytes, progress, 0, created_at, told_at - 3600000
         FROM imports WHERE id = '{second}'"
    );
    world.change(&sql).await;
    let other = world.get("/api/v1/imports/elsewhere").await.ok();
    assert_eq!((&other["state"], &other["ended_at"]), (&json!("interrupted"), &Value::Null));
    let stopped = world.post("/api/v1/imports/elsewhere/stop", json!({})).await.ok();
    assert_eq!(stopped["state"], "stopped");
    world.close().await;
}
