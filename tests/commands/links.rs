//! `check-links` over TLS: a host that proves who it is is as it should be, and one that does not is reported.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::program::{Folder, Server, root};

/// Hosts that end with this.
struct Hosts {
    child: Child,
    /// Of the good one, of one that nobody known vouches for, and of one that is called otherwise.
    ports: Vec<u16>,
}

impl Hosts {
    fn start(folder: &Path) -> Self {
        let python = root().join("target/test-services/python/bin/python");
        assert!(python.exists(), "the tests' services are missing: run tests/services/install, or make test");
        let mut command = Command::new(python);
        command.arg(root().join("tests/commands/https.py")).arg(folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports = line.split_whitespace().skip(1).map(|port| port.parse().unwrap()).collect();
        Self { child, ports }
    }

    fn at(&self, host: usize, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.ports[host])
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn one<'r>(report: &'r Value, url: &str) -> &'r Value {
    let all = report["addresses"].as_array().unwrap();
    all.iter().find(|one| one["url"] == url).unwrap_or_else(|| panic!("{url} is not in {report:#}"))
}

#[test]
fn over_tls_a_host_must_prove_who_it_is() {
    let folder = Folder::new();
    let hosts = Hosts::start(folder.path("").as_path());
    let [good, gone] = [hosts.at(0, "/sale"), hosts.at(0, "/gone")];
    let [stranger, misnamed] = [hosts.at(1, "/sale"), hosts.at(2, "/sale")];
    folder.write("defs/hello/template.yaml", "kind: template\nlocale: en\nsample: { event: { properties: {} } }\n");
    folder.write("defs/hello/subject", "Hello");
    let links = [&good, &gone, &stranger, &misnamed].map(|url| format!("<a href=\"{url}\">Look</a>")).join(" ");
    folder.write("defs/hello/email.html", &format!("<p>{links}</p>"));
    let settings = folder.write("settings.toml", "[links]\ninside = [\"127.0.0.1\"]\n");
    let authority = folder.path("ca.pem");
    let arguments = ["serve", "--config", settings.to_str().unwrap()];
    let trusting = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    let _server = Server::start_with(&folder, &arguments, &trusting);
    folder.ok(&["apply", folder.path("defs").to_str().unwrap()]);
    let said = folder.run(&["check-links", "--all", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let found = one(&report, &good);
    assert_eq!((&found["verdict"], &found["status"]), (&"ok".into(), &200.into()), "{found}");
    assert!(found["findings"].as_array().unwrap().is_empty(), "{found}");
    // Past TLS, what it answers is looked at.
    assert_eq!((&one(&report, &gone)["verdict"], &one(&report, &gone)["status"]), (&"broken".into(), &404.into()));
    for (url, words) in [(&stranger, "UnknownIssuer"), (&misnamed, "not valid for")] {
        let found = one(&report, url);
        assert_eq!((&found["verdict"], &found["findings"][0]["code"]), (&"broken".into(), &"tls".into()), "{found}");
        let says = found["findings"][0]["says"].as_str().unwrap();
        assert!(says.contains("cannot prove who it is") && says.contains(words), "{says}");
    }
    let shown = folder.run(&["check-links"]);
    assert!(shown.out.contains("3 broken, 0 to look at, 1 as they should be"), "{}", shown.out);
}
