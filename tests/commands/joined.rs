//! A plan walks through logins and aliases where they happened: who turned out to be one was two until then, as it was
//! where the same definitions were in force.
//!
//! To see it fail, let `Kin::of` answer one profile whatever was joined.

use serde_json::{Value, json};

use crate::database::Backend;
use crate::program::Folder;
use crate::reminder::{defs, line_of, written};

const PEOPLE: u64 = 7;

struct Author {
    state: u64,
    /// When, in which order, and by whom.
    calls: Vec<(u64, usize, Value)>,
}

impl Author {
    fn draw(&mut self, most: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % most
    }

    fn call(&mut self, at: u64, who: &Value, what: Value) {
        let mut call = what;
        for (name, id) in who.as_object().unwrap() {
            call[name] = id.clone();
        }
        self.calls.push((at, self.calls.len(), call));
    }

    fn introduce(&mut self, at: u64, who: &Value, email: &str) {
        self.call(at, who, json!({ "type": "identify", "traits": { "email": email } }));
        let granted = json!({ "channel": "email", "state": "granted", "source": "form" });
        self.call(at, who, json!({ "type": "track", "event": "Consent Changed", "properties": granted }));
    }

    fn shop(&mut self, at: u64, who: &Value) {
        let product = format!("p{}", self.draw(5));
        let event = if self.draw(3) == 0 { "Order Completed" } else { "Product Added" };
        self.call(at, who, json!({ "type": "track", "event": event, "properties": { "product_id": product } }));
    }

    /// Somebody looks around as nobody or as a guest, and is one of the people at once, or weeks later.
    fn visit(&mut self, n: u64) {
        let (day, second) = (self.draw(44), self.draw(14_000));
        let begun = 86_400 * day + second;
        let is_guest = n.is_multiple_of(3);
        let visitor =
            if is_guest { json!({ "userId": format!("g{n}") }) } else { json!({ "anonymousId": format!("d{n}") }) };
        if self.draw(2) == 0 {
            self.introduce(begun, &visitor, &format!("v{n}@example.com"));
        }
        for _ in 0..=self.draw(3) {
            let later = self.draw(3_000);
            self.shop(begun + 1 + later, &visitor);
        }
        let days = [0, 0, 0, 1, 4, 11, 19][usize::try_from(self.draw(7)).unwrap()];
        let known = begun + 86_400 * days + 600 + self.draw(5_000);
        if known > 86_400 * 45 {
            return;
        }
        let person = format!("p{}", self.draw(PEOPLE));
        if is_guest {
            let alias = json!({ "type": "alias", "previousId": format!("g{n}") });
            self.call(known, &json!({ "userId": person }), alias);
        } else {
            let login = json!({ "anonymousId": format!("d{n}"), "userId": person });
            self.call(known, &login, json!({ "type": "identify", "traits": {} }));
        }
        let later = self.draw(2_000);
        self.shop(known + 1 + later, &visitor);
    }
}

/// Of 46 days, in the first hours of each: the time looked at begins at a noon when nobody does anything.
fn calls() -> String {
    let mut author = Author { state: 23, calls: Vec::new() };
    for person in 0..PEOPLE {
        author.introduce(person, &json!({ "userId": format!("p{person}") }), &format!("p{person}@example.com"));
    }
    for n in 0..160 {
        author.visit(n);
        let (at, person) = (86_400 * author.draw(45) + author.draw(20_000), author.draw(PEOPLE));
        author.shop(at, &json!({ "userId": format!("p{person}") }));
    }
    author.call(86_400 * 45 + 43_200, &json!({ "userId": "p0" }), json!({ "type": "track", "event": "Page Viewed" }));
    author.calls.sort_by_key(|(at, n, _)| (*at, *n));
    author.calls.into_iter().enumerate().map(|(n, (at, _, call))| line_of(n, at, call)).collect()
}

#[test]
fn who_turned_out_to_be_one_was_two_until_then() {
    two_until_then(Backend::Sqlite);
}

#[test]
fn on_postgres_who_turned_out_to_be_one_was_two_until_then() {
    two_until_then(Backend::Postgres);
}

fn two_until_then(backend: Backend) {
    let (lived, planned) = (Folder::on(backend), Folder::on(backend));
    for folder in [&lived, &planned] {
        written(folder);
        let file = folder.write("calls.jsonl", &calls());
        if std::ptr::eq(folder, &lived) {
            folder.ok(&["apply", &defs(folder)]);
        }
        folder.ok(&["import", file.to_str().unwrap(), "--format", "jsonl"]);
    }
    let plan = planned.json(&["plan", &defs(&planned), "--json"]);
    let from = plan["past"]["from"].as_str().unwrap().to_owned();
    assert_eq!(from, "2026-09-16T12:00:00Z");
    let messages = lived.json(&["messages", "--json", "--limit", "100000"]);
    let messages: Vec<&Value> = messages["messages"].as_array().unwrap().iter().collect();
    let of = |status: &str, capped: bool| -> u64 {
        let fits = |one: &&&Value| {
            one["status"] == status
                && (one["reason"]["code"] == "capped") == capped
                && one["created_at"].as_str().unwrap() >= from.as_str()
        };
        messages.iter().filter(fits).count() as u64
    };
    let was = [of("sent", false), of("suppressed", true), of("suppressed", false)];
    assert!(was.iter().all(|count| *count > 20), "that shows little: {was:?}");
    let ours = &plan["campaigns"][0];
    let told = ["sent", "capped", "blocked"].map(|name| ours["then"][name]["count"].as_u64().unwrap());
    assert_eq!(told, was, "sent, capped and blocked: {ours:#}");
}
