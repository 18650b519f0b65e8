//! An import prints what came of it, and every number opens with `messages`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use carillon::store::Rows;
use flate2::read::GzDecoder;
use sea_orm::ConnectionTrait;
use serde_json::Value;

use crate::database::Backend;
use crate::program::{Folder, root};
use crate::reminder::{SHARED, defs, written};
use crate::replayed::follows_from_its_log;

/// Who bought and did not come back within a day.
const COME_BACK: &str = "\
kind: campaign
key: come_back
name: Come back
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry:
  event: Order Completed
  key: properties.order_id
  match: { properties: { revenue: [ { numeric: [ '>=', 5 ] } ] } }
delay: 1d
exit: [ { event: [ Order Completed, Order Refunded ] } ]
send: { channel: email, template: item_reminder }
";

fn applied(backend: Backend) -> Folder {
    let folder = Folder::on(backend);
    written(&folder);
    folder.ok(&["apply", &defs(&folder)]);
    folder
}

/// One letter a month at most.
fn with_come_back(backend: Backend) -> Folder {
    let folder = Folder::on(backend);
    written(&folder);
    folder.write("defs/reminder.yaml", COME_BACK);
    folder.write("defs/item_reminder/subject", "Your order {{event.properties.order_id}}");
    folder.write("defs/item_reminder/email.html", "<p>Again?</p><a href=\"{{links.unsubscribe}}\">Unsubscribe</a>");
    folder.write(
        "defs/item_reminder/template.yaml",
        "kind: template\nsample: { event: { properties: { order_id: o1 } } }\n",
    );
    folder.write("defs/shared.yaml", &SHARED.replace("at_most: 2, per: 1d", "at_most: 1, per: 30d"));
    folder.ok(&["apply", &defs(&folder)]);
    folder
}

fn import(folder: &Folder, file: &str, consent: &str) -> Value {
    import_as(folder, file, "taobao", consent)
}

fn import_as(folder: &Folder, file: &str, format: &str, consent: &str) -> Value {
    let arguments =
        ["import", file, "--format", format, "--address-domain", "example.com", "--consent", consent, "--json"];
    folder.json(&arguments)
}

/// Every number of the answer is the number of messages that its command lists.
fn every_number_opens(folder: &Folder, answer: &Value) {
    let outcomes = answer["outcomes"].as_array().unwrap();
    for outcome in outcomes {
        let words: Vec<&str> = outcome["open"].as_str().unwrap().split(' ').skip(1).collect();
        let listed = folder.json(&[&words[..], &["--json"]].concat());
        let count = listed["messages"].as_array().unwrap().len();
        assert_eq!(outcome["count"], count, "{outcome}");
    }
    let sum = |fits: &dyn Fn(&Value) -> bool| -> u64 {
        outcomes.iter().filter(|it| fits(it)).map(|it| it["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(answer["messages"], sum(&|_| true));
    assert_eq!(answer["sent"], sum(&|it| it["status"] == "sent"));
    assert_eq!(answer["capped"], sum(&|it| it["reason"] == "capped"));
    assert_eq!(answer["suppressed"], sum(&|it| it["status"] == "suppressed" && it["reason"] != "capped"));
}

#[test]
fn clicks_lead_to_reminders_and_every_number_opens() {
    let folder = applied(Backend::Sqlite);
    clicks(&folder);
    follows_from_its_log(&folder);
}

#[test]
fn on_postgres_clicks_lead_to_the_same_reminders() {
    clicks(&applied(Backend::Postgres));
}

/// Ends the connection of whoever comes to write messages the second and the fifth time, in the middle of a transaction.
const HANGS_UP: &str = "CREATE SEQUENCE hang_ups;
    CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('hang_ups') IN (2, 5) THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER hang_up AFTER INSERT OR UPDATE ON messages FOR EACH STATEMENT EXECUTE FUNCTION hang_up()";

/// As with a program that was starved for so long that the database no longer waits for its next statement.
#[test]
fn on_postgres_a_connection_that_ends_within_a_transaction_ends_no_import() {
    let folder = applied(Backend::Postgres);
    let asked = |sql: &'static str| {
        let url = folder.database();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let conn = sea_orm::Database::connect(url).await.unwrap();
            conn.execute_unprepared(sql).await.unwrap();
            let counted = Rows(&conn).scalar::<i64>("SELECT last_value FROM hang_ups", vec![]).await.unwrap();
            conn.close().await.unwrap();
            counted.unwrap()
        })
    };
    asked(HANGS_UP);
    clicks(&folder);
    assert!(asked("SELECT 1") >= 5, "nothing was written so often that a connection could have ended twice");
}

fn clicks(folder: &Folder) {
    let file = root().join("tests/fixtures/intake/clicks.csv");
    let answer = import(folder, file.to_str().unwrap(), "email=granted");
    assert_eq!(
        (&answer["events"], &answer["matched"], &answer["sent"]),
        (&9.into(), &2.into(), &1.into()),
        "{answer:#}"
    );
    every_number_opens(folder, &answer);
    // Under another name, and packed, it is the same.
    let other = folder.path("what they did.csv.gz");
    let mut packed = flate2::write::GzEncoder::new(File::create(&other).unwrap(), flate2::Compression::fast());
    packed.write_all(&std::fs::read(&file).unwrap()).unwrap();
    packed.finish().unwrap();
    for (again, known_as) in [(&file, Value::Null), (&other, "clicks.csv".into())] {
        let again = import(folder, again.to_str().unwrap(), "email=granted");
        let run = &again["this_run"];
        assert_eq!((&run["events"], &run["matched"], &run["sent"]), (&0.into(), &0.into(), &0.into()), "{again:#}");
        assert_eq!((&again["file"]["repeated"], &again["file"]["known_as"]), (&9.into(), &known_as), "{again:#}");
        assert_eq!((&again["events"], &again["matched"], &again["sent"]), (&9.into(), &2.into(), &1.into()));
        every_number_opens(folder, &again);
    }
}

/// 400 people who leave a cart ten minutes apart.
fn many_carts() -> String {
    let cart = |person: u32| format!("{person},i{person},c1,cart,{}\n", 1_511_658_000 + 600 * person);
    "user_id,item_id,category_id,behavior,ts\n".to_owned() + &(0..400).map(cart).collect::<String>()
}

#[test]
fn a_history_waits_for_shards_that_were_lost_on_the_way() {
    let (here, there) = (applied(Backend::Sqlite), applied(Backend::Postgres));
    let file = here.write("carts.csv", &many_carts());
    let answer = import(&here, file.to_str().unwrap(), "email=granted");
    assert_eq!((&answer["matched"], &answer["sent"]), (&400.into(), &400.into()), "{answer:#}");
    let url = there.database();
    let kept_waiting = std::thread::spawn(move || keep_renewals_waiting(&url));
    let after = import(&there, file.to_str().unwrap(), "email=granted");
    kept_waiting.join().unwrap();
    assert_eq!(after, answer, "whoever holds no shard moves no clock");
}

/// Once letters are under way, nobody can say that they live, for longer than a lease holds. To see letters expire, let
/// `Leases::are_sure` say yes.
#[tokio::main(flavor = "current_thread")]
async fn keep_renewals_waiting(url: &str) {
    let conn = sea_orm::Database::connect(url).await.unwrap();
    let under_way = || async { Rows(&conn).scalar::<i64>("SELECT count(*) FROM messages", vec![]).await.unwrap() };
    while under_way().await < Some(5) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    conn.execute_unprepared("BEGIN; LOCK TABLE nodes IN EXCLUSIVE MODE; SELECT pg_sleep(5); COMMIT").await.unwrap();
    assert!(under_way().await < Some(400), "the import was over before a lease was");
    conn.close().await.unwrap();
}

#[test]
fn a_file_of_which_no_row_is_an_event_is_a_failure_and_says_so() {
    let folder = applied(Backend::Sqlite);
    let file = folder.write("calls.jsonl", "{\"no\": \"call\"}\nnot even JSON\n");
    let arguments = ["import", file.to_str().unwrap(), "--format", "jsonl"];
    let said = folder.run(&arguments);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("Nothing was imported: no row is an event of the format jsonl"), "{}", said.out);
    assert!(!said.out.contains("No campaign matched"), "{}", said.out);
    let said = folder.run(&[&arguments[..], &["--json"]].concat());
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &answer["file"]["rows"], &answer["events"]), (1, &2.into(), &0.into()), "{answer:#}");
}

#[test]
fn without_consent_the_same_clicks_are_suppressed() {
    let folder = applied(Backend::Sqlite);
    let file = root().join("tests/fixtures/intake/clicks.csv");
    let answer = import(&folder, file.to_str().unwrap(), "email=denied");
    assert_eq!((&answer["sent"], &answer["suppressed"]), (&0.into(), &1.into()), "{answer:#}");
    every_number_opens(&folder, &answer);
}

#[test]
fn invoices_lead_to_the_same_letters_on_both_databases() {
    let file = root().join("tests/fixtures/intake/invoices.csv");
    invoices(file.to_str().unwrap());
}

/// The answer on SQLite, which is that on PostgreSQL.
fn invoices(file: &str) -> Value {
    let folder = with_come_back(Backend::Sqlite);
    let answer = import_as(&folder, file, "uci-retail", "email=granted");
    for number in ["events", "matched", "sent"] {
        assert!(answer[number].as_u64().unwrap() > 0, "{number}: {answer:#}");
    }
    every_number_opens(&folder, &answer);
    follows_from_its_log(&folder);
    let there = import_as(&with_come_back(Backend::Postgres), file, "uci-retail", "email=granted");
    assert_eq!(there, answer, "on PostgreSQL the figures are the same");
    answer
}

/// Twelve people who put things into their carts over three days and buy some.
fn many_clicks() -> String {
    let mut text = String::from("user_id,item_id,category_id,behavior,ts\n");
    for n in 0..600_u64 {
        let (user, item) = (n * 7 % 12, n * 11 % 300);
        let behavior = ["pv", "cart", "pv", "buy"][usize::try_from(n * 13 % 9 % 4).unwrap()];
        text.push_str(&format!("{user},{item},1,{behavior},{}\n", 1_511_658_000 + n * 432));
    }
    text
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_was_and_ends_as_if_nothing_had_happened() {
    let (whole, killed) = (applied(Backend::Sqlite), applied(Backend::Sqlite));
    let told = |folder: &Folder| folder.json(&["messages", "--json", "--limit", "100000"])["messages"].clone();
    let file = whole.write("clicks.csv", &many_clicks());
    let answer = import(&whole, file.to_str().unwrap(), "email=granted");
    assert!(answer["sent"].as_u64().unwrap() > 10 && answer["capped"].as_u64().unwrap() > 10, "{answer:#}");
    let file = killed.write("clicks.csv", &many_clicks());
    let arguments = ["--format", "taobao", "--address-domain", "example.com", "--consent", "email=granted", "--json"];
    for events in [120, 450] {
        let mut command = killed.command();
        let mut running = command.arg("import").arg(&file).args(arguments).stdout(Stdio::null()).spawn().unwrap();
        let database = rusqlite::Connection::open(killed.data().join("carillon.db")).unwrap();
        let stored = || -> i64 {
            let sql = "SELECT count(*) FROM entries WHERE event_id IS NOT NULL";
            database.query_row(sql, [], |row| row.get(0)).unwrap_or(0)
        };
        while stored() < events {
            assert!(running.try_wait().unwrap().is_none(), "it ended before it was killed");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let resumed = import(&killed, file.to_str().unwrap(), "email=granted");
    assert_eq!(
        answer["file"]["stored"],
        resumed["file"]["stored"].as_u64().unwrap() + resumed["file"]["repeated"].as_u64().unwrap()
    );
    assert!(resumed["file"]["repeated"].as_u64().unwrap() >= 450, "{resumed:#}");
    every_number_opens(&killed, &resumed);
    assert_eq!(resumed["sent"], answer["sent"]);
    assert!(resumed["this_run"]["sent"].as_u64().unwrap() < answer["sent"].as_u64().unwrap(), "{resumed:#}");
    assert_eq!(told(&killed), told(&whole));
}

#[test]
fn a_table_is_guessed_looked_at_corrected_and_imported() {
    let folder = applied(Backend::Sqlite);
    let text = "customer_id;order_date;order_id;total\nann;01.03.2026 09:12;A1;49,90\nbob;gestern;A2;5,00\n";
    let file = folder.write("shop.csv", text);
    let file = file.to_str().unwrap();
    let map = format!("{file}.map.yaml");
    let said = folder.ok(&["import", file, "--format", "csv", "--map", "guess"]);
    assert!(said.contains("user_id: customer_id") && said.contains("--dry-run"), "{said}");
    assert_ne!(folder.run(&["import", file, "--format", "csv", "--map", "guess"]).code, 0, "nothing is overwritten");
    let corrected = std::fs::read_to_string(&map).unwrap().replace("%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M");
    std::fs::write(&map, corrected).unwrap();
    let shown = folder.run(&["import", file, "--format", "csv", "--map", &map, "--dry-run"]);
    assert_eq!(shown.code, 1, "a row would be refused: {shown:?}");
    for words in
        ["2026-03-01T09:12:00Z  ann  Order Completed", "line 3: order_date: `gestern` is no time", "Nothing was stored"]
    {
        assert!(shown.out.contains(words), "{shown:?}");
    }
    let said = folder.ok(&["import", file, "--format", "csv", "--map", &map]);
    assert!(said.contains("shop.csv.rejects.csv"), "{said}");
    let rejects = std::fs::read_to_string(folder.path("shop.csv.rejects.csv")).unwrap();
    assert!(rejects.starts_with("line,reason,row\n3,") && rejects.ends_with("\"bob;gestern;A2;5,00\"\n"), "{rejects}");
    let wrong = folder.run(&[
        "import",
        file,
        "--format",
        "csv",
        "--map",
        "{ event: x, user_id: a, timestamp: b, colour: red }",
    ]);
    assert!(wrong.code == 2 && wrong.err.contains("--map:1:39: colour: unknown field"), "{wrong:?}");
    let none = folder.run(&["import", file, "--format", "csv"]);
    assert!(none.code != 0 && none.err.contains("--map guess"), "{none:?}");
}

/// Whoever appears is greeted.
const GREETING: &str = "\
kind: campaign
key: greeting
name: Greeting
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Identified }
send: { channel: email, template: item_reminder }
";

#[test]
fn people_of_a_file_are_stored_as_of_today_start_nothing_and_no_stays_no() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let folder = Folder::on(backend);
        written(&folder);
        folder.write("defs/greeting.yaml", GREETING);
        folder.ok(&["apply", &defs(&folder)]);
        let people = folder.write(
            "people.jsonl",
            "{\"userId\":\"ann\",\"traits\":{\"email\":\"ann@example.com\"},\"consent\":{\"email\":\"granted\"}}\n\
             {\"userId\":\"bob\",\"traits\":{\"email\":\"bob@example.com\"},\"consent\":{\"email\":\"granted\"}}\n\
             {\"name\":\"nobody\"}\n",
        );
        let arguments = ["import", people.to_str().unwrap(), "--format", "profiles", "--json"];
        let answer = folder.json(&arguments);
        let counts = |answer: &Value| (answer["file"]["stored"].clone(), answer["file"]["repeated"].clone());
        assert_eq!(counts(&answer), (4.into(), 0.into()), "{answer:#}");
        assert_eq!(counts(&folder.json(&arguments)), (0.into(), 4.into()));
        folder.ok(&["consent", "--profile", "bob", "--set", "email=denied", "--source", "by telephone"]);
        // Another file that says yes once more.
        let again = folder.write("again.jsonl", &(std::fs::read_to_string(&people).unwrap() + "\n"));
        folder.ok(&["import", again.to_str().unwrap(), "--format", "profiles"]);
        let state =
            |who: &str| folder.json(&["consent", "--profile", who, "--json"])["channels"]["email"]["state"].clone();
        assert_eq!((state("ann"), state("bob")), ("granted".into(), "denied".into()));
        let shown = folder.ok(&["consent", "--profile", "ann"]);
        assert!(shown.contains("import people.jsonl"), "{shown}");
        assert!(folder.json(&["messages", "--json"])["messages"].as_array().unwrap().is_empty());
        let why = folder.ok(&["explain", "--profile", "ann", "--campaign", "greeting"]);
        assert!(why.contains("starts nothing"), "{why}");
    }
}

/// A file of the folder of real data; without it a line past the harness, which shows nothing of tests that pass.
pub fn real(test: &str, file: &str) -> Option<PathBuf> {
    let data = std::env::var_os("CARILLON_TEST_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let path = root().join(data).join(file);
    if path.exists() {
        return Some(path);
    }
    let mut errors = std::io::stderr();
    writeln!(errors, "NOT RUN (no CARILLON_TEST_DATA): {test}").unwrap();
    None
}

#[test]
fn real_data_of_taobao_drives_a_cart_reminder_keyed_by_item() {
    let name = "real_data_of_taobao_drives_a_cart_reminder_keyed_by_item";
    let Some(file) = real(name, "A_behaviour/taobao_userbehavior_full_histories.csv.gz") else { return };
    let folder = applied(Backend::Sqlite);
    let answer = import(&folder, file.to_str().unwrap(), "email=granted");
    for number in ["events", "matched", "sent", "capped"] {
        assert!(answer[number].as_u64().unwrap() > 0, "{number}: {answer:#}");
    }
    every_number_opens(&folder, &answer);
    follows_from_its_log(&folder);
    let there = import(&applied(Backend::Postgres), file.to_str().unwrap(), "email=granted");
    assert_eq!(there, answer, "on PostgreSQL the figures are the same");
}

/// How many lines of the invoices are lived through: unoptimised programs take many minutes for the whole, which
/// `make imports` asks for.
pub fn invoice_lines() -> usize {
    let asked = std::env::var("INVOICE_LINES").ok();
    asked.map_or(7_000, |lines| lines.parse().expect("INVOICE_LINES is a number"))
}

#[test]
fn real_data_of_uci_brings_the_same_invoices_to_both_databases() {
    let name = "real_data_of_uci_brings_the_same_invoices_to_both_databases";
    let Some(file) = real(name, "A_purchases/uci_online_retail_2010-12_to_2011-08.csv.gz") else { return };
    let lines = BufReader::new(GzDecoder::new(File::open(file).unwrap())).lines();
    let days: Vec<String> = lines.take(invoice_lines()).collect::<Result<_, _>>().unwrap();
    let folder = Folder::new();
    let answer = invoices(folder.write("days.csv", &days.join("\n")).to_str().unwrap());
    assert_eq!(answer["file"]["rows"], days.len() - 1);
    assert!(answer["capped"].as_u64().unwrap() > 0, "{answer:#}");
}
