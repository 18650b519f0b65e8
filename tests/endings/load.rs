//! Shoppers who order until the house goes away, remember what was answered, and send the rest again at the end.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;

use crate::house::House;
use crate::sink::Sink;

const SHOPPERS: usize = 6;
/// However slow the machine is, in each round so many of their orders are answered, or the round shows little.
const ORDERS_A_ROUND: usize = 30;
/// A round in which they are not ends all the same.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// Whoever is refused orders something else a moment later.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);
/// People each of them orders for: enough to be in every part of the log.
const MEMBERS: usize = 16;

/// Orders by id: true where a 200 came back.
#[derive(Default)]
pub struct Load {
    orders: Mutex<BTreeMap<String, bool>>,
    round: usize,
}

impl Load {
    /// Shoppers order for `time`, each at one of the houses, then `end` happens and they notice.
    pub fn run(&mut self, houses: &[&House], time: Duration, end: impl FnOnce()) {
        self.round += 1;
        let (over, before) = (AtomicBool::new(false), self.answered());
        std::thread::scope(|scope| {
            for shopper in 0..SHOPPERS {
                let (over, this) = (&over, &*self);
                scope.spawn(move || {
                    for n in 0.. {
                        let order = format!("o{}-{shopper}-{n}", this.round);
                        this.orders.lock().unwrap().insert(order.clone(), false);
                        let is_answered = this.order(houses[shopper % houses.len()], &order);
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        if !is_answered {
                            std::thread::sleep(REFUSED_PAUSE);
                        }
                    }
                });
            }
            let begun = Instant::now();
            let is_little = || self.answered() < before + ORDERS_A_ROUND && begun.elapsed() < ROUND_MAX;
            while begun.elapsed() < time || is_little() {
                std::thread::sleep(Duration::from_millis(5));
            }
            end();
            over.store(true, Ordering::Relaxed);
        });
        assert!(self.answered() > before, "nothing was answered\n{}", houses[0].log());
    }

    fn answered(&self) -> usize {
        self.orders.lock().unwrap().values().filter(|answered| **answered).count()
    }

    /// What was not answered is sent again with the same ids, as every client does.
    pub fn finish(&self, houses: &[&House]) {
        let open: Vec<String> =
            self.orders.lock().unwrap().iter().filter(|(_, done)| !**done).map(|(order, _)| order.clone()).collect();
        for (n, order) in open.iter().enumerate() {
            assert!(self.order(houses[n % houses.len()], order), "{order} is refused by a house at rest");
        }
    }

    fn order(&self, house: &House, order: &str) -> bool {
        let (user, n) = (Self::person_of(order), number_of(order));
        let body = serde_json::json!({
            "userId": user, "messageId": order, "event": "Order Completed",
            "properties": { "order_id": order, "revenue": 10 } });
        let key = base64::engine::general_purpose::STANDARD.encode(format!("{}:", house.key));
        if n < MEMBERS {
            let traits = serde_json::json!({ "userId": user, "messageId": format!("i{order}"),
                "traits": { "email": format!("{user}@example.com") } });
            if post(house, "/v1/identify", &key, &traits) != Some(200) {
                return false;
            }
        }
        let stored = post(house, "/v1/track", &key, &body) == Some(200);
        if stored {
            self.orders.lock().unwrap().insert(order.to_owned(), true);
        }
        stored
    }

    /// For whom an order is.
    pub fn person_of(order: &str) -> String {
        format!("shopper-{}-{}", order.split('-').nth(1).unwrap(), number_of(order) % MEMBERS)
    }

    /// An event of a person whose address is known, all of its own.
    pub fn tell(house: &House, user: &str, event: &str, id: &str) {
        let key = base64::engine::general_purpose::STANDARD.encode(format!("{}:", house.key));
        let traits = serde_json::json!({ "userId": user, "messageId": format!("i{id}"),
            "traits": { "email": format!("{user}@example.com") } });
        let body = serde_json::json!({ "userId": user, "messageId": id, "event": event,
            "properties": { "order_id": id } });
        for (path, body) in [("/v1/identify", traits), ("/v1/track", body)] {
            assert_eq!(post(house, path, &key, &body), Some(200), "{body}");
        }
    }

    /// Those of the last round.
    pub fn orders_of_round(&self) -> Vec<String> {
        let prefix = format!("o{}-", self.round);
        self.orders().into_iter().filter(|order| order.starts_with(&prefix)).collect()
    }

    /// Whether the house takes what is sent with its key.
    pub fn is_open(&self, house: &House) -> bool {
        self.knock(house).status == 200
    }

    /// What the house answers to an event that is sent with its key.
    pub fn knock(&self, house: &House) -> Answer {
        let key = base64::engine::general_purpose::STANDARD.encode(format!("{}:", house.key));
        let body = serde_json::json!({ "userId": "passer-by", "messageId": "hello", "event": "Page Viewed" });
        exchange(&house.address, "POST", "/v1/track", &format!("Basic {key}"), &body.to_string()).unwrap()
    }

    pub fn orders(&self) -> Vec<String> {
        self.orders.lock().unwrap().keys().cloned().collect()
    }

    /// Every order is in the log exactly once.
    pub fn check_stored(&self, house: &House) {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = house.get(&format!("/api/v1/events?after={after}&limit=1000"));
            let events = page["events"].as_array().unwrap();
            for event in events {
                *found.entry(event["message_id"].as_str().unwrap().to_owned()).or_default() += 1;
                after = event["position"].as_i64().unwrap();
            }
            if events.is_empty() || page["next"].is_null() {
                break;
            }
        }
        let orders = self.orders();
        assert!(orders.len() > 50, "only {} orders: that shows nothing", orders.len());
        for order in orders {
            assert_eq!(found.get(&order), Some(&1), "{order}");
        }
    }

    /// Every order led to both of its mails, each once; `log` is what the processes said, where one did not.
    pub fn check_delivered(&self, sink: &Sink, log: impl Fn() -> String) {
        let delivered = sink.delivered();
        for order in self.orders() {
            for kind in ["thanks", "offer"] {
                let times = delivered.get(&(kind.to_owned(), order.clone())).copied();
                assert_eq!(times, Some(1), "{kind} {order}\n{}", log());
            }
        }
    }
}

/// Which order of its shopper's round it is.
fn number_of(order: &str) -> usize {
    order.split('-').nth(2).unwrap().parse().unwrap()
}

fn post(house: &House, path: &str, key: &str, body: &serde_json::Value) -> Option<u16> {
    exchange(&house.address, "POST", path, &format!("Basic {key}"), &body.to_string()).ok().map(|answer| answer.status)
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Its first line and its headers.
    pub head: String,
    pub body: String,
}

/// One request on a connection of its own.
pub fn exchange(address: &str, method: &str, path: &str, auth: &str, body: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {auth}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Ok(Answer { status, head: head.to_owned(), body })
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        whole.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}
