//! A shop that thanks for each order by mail, over a real SMTP server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{Folder, Server, root};

const DEFINITIONS: &str = "\
kind: campaign
key: thanks
name: Thanks
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Order Completed, key: properties.order_id }
delay: 0s
send: { channel: email, template: thanks }
";

/// A program of the tests' services that ends with this.
pub struct Beside(pub Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a script with the tests' Python until dropped; the answer is the port it says it is ready on.
pub fn beside(script: &str, arguments: &[&Path]) -> (Beside, u16) {
    let python = root().join("target/test-services/python/bin/python");
    assert!(python.exists(), "the tests' services are missing: run tests/services/install, or make test");
    let mut command = Command::new(python);
    command.arg(root().join(script)).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Beside(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{script} said {line}")).parse().unwrap();
    (child, port)
}

pub struct Shop {
    pub folder: Folder,
    pub server: Server,
    pub key: String,
    _mail: Beside,
}

impl Shop {
    pub fn open(settings: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        folder.write("defs/thanks.yaml", DEFINITIONS);
        folder.write(
            "defs/thanks/template.yaml",
            "kind: template\nsample: { event: { properties: { order_id: o1 } } }\n",
        );
        folder.write("defs/thanks/subject", "Order {{event.properties.order_id}}");
        folder.write("defs/thanks/email.html", "<p>Thank you for {{event.properties.order_id}}</p>");
        let mail = folder.path("mail");
        std::fs::create_dir(&mail).unwrap();
        let (server, port) = beside("tests/smtp/server.py", &[Path::new("plain"), &mail]);
        let url = format!("smtp://localhost:{port}?tls=none");
        let mut all = vec![
            ("CARILLON_SMTP__URL", url.as_str()),
            ("CARILLON_LOG__FORMAT", "json"),
            ("CARILLON_LOG__LEVEL", "info,carillon::worker=debug"),
        ];
        all.extend(settings);
        let signs = crate::signed::settings();
        all.extend(signs.iter().map(|(name, value)| (*name, value.as_str())));
        let running = Server::start_with(&folder, &["serve"], &all);
        folder.ok(&["apply", &folder.path("defs").display().to_string()]);
        let key = folder.json(&["key", "create", "--source", "web", "--json"]);
        let key = key["key"].as_str().unwrap().to_owned();
        Self { folder, server: running, key, _mail: server }
    }

    /// An order of somebody with this address, in a request with these headers; the answer's headers.
    pub fn order(&self, order: &str, email: &str, headers: &[(&str, &str)]) -> reqwest::header::HeaderMap {
        let body = json!({
            "batch": [
                { "type": "identify", "userId": email, "traits": { "email": email } },
                { "type": "track", "userId": email, "event": "Order Completed", "properties": { "order_id": order } },
            ]
        });
        let url = format!("{}/v1/batch", self.server.address());
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut request = client.post(url).basic_auth(&self.key, None::<&str>).body(body.to_string());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.headers().clone()
        })
    }

    /// Waits until so many messages are in this state.
    pub fn until(&self, status: &str, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let found = self.folder.json(&["messages", "--status", status, "--json"]);
            let found = found["messages"].as_array().unwrap().clone();
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < deadline, "{count} messages never were {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The lines of the service's log that have this in them.
    pub fn log_with(&self, text: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.path("stderr.txt")).unwrap();
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}
