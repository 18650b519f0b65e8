//! Metrics as Prometheus, Grafana and the alerts read them.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use carillon::telemetry::family::Kind;
use carillon::telemetry::table::ALL;
use serde_json::Value;

use crate::program::{get, root};
use crate::shop::{Beside, Shop};

const UNITS: [&str; 9] =
    ["seconds", "bytes", "entries", "messages", "timers", "shards", "processes", "connections", "position"];
const STATES: [&str; 2] = ["stopped", "paused"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_written_table_is_what_the_program_registers() {
    let guide = read("docs/metrics.md");
    let (_, table) = guide.split_once("## Every metric").unwrap();
    let written: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let registered: Vec<String> = ALL
        .iter()
        .map(|family| {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
            format!("| `{}` | {} | {labels} | {} |", family.name, family.kind.name(), family.help)
        })
        .collect();
    assert_eq!(written, registered, "docs/metrics.md and src/telemetry/table.rs differ");
    let (_, labels) = guide.split_once("## Labels").unwrap();
    for label in ALL.iter().flat_map(|family| family.labels) {
        assert!(labels.contains(&format!("`{label}`")), "docs/metrics.md does not explain the label {label}");
    }
}

#[test]
fn every_name_obeys_the_grammar() {
    let mut names = BTreeSet::new();
    for family in ALL {
        let name = family.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        if name.starts_with("process_") {
            continue;
        }
        let words: Vec<&str> = name.strip_prefix("carillon_").expect(name).split('_').collect();
        assert!(words.len() >= 2 && words.iter().all(|word| !word.is_empty()), "{name}");
        let last = words[words.len() - 1];
        match family.kind {
            Kind::Counter | Kind::Reading => {
                let done = words[words.len() - 2];
                let is_done = done.ends_with("ed") || ["made", "forgotten"].contains(&done);
                assert!(last == "total" && is_done && words.len() >= 3, "{name}");
            }
            Kind::Gauge => assert!(last == "info" || UNITS.contains(&last) || STATES.contains(&last), "{name}"),
            Kind::Histogram(bounds) => {
                assert!(last == "seconds", "{name}");
                assert!(bounds.is_sorted() && !bounds.is_empty(), "{name}");
            }
        }
    }
}

/// The metrics an expression asks for: words outside strings that are no function, keyword, label or range.
fn names_in(expression: &str) -> BTreeSet<String> {
    let outside = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("carillon_") || word.starts_with("process_")).map(str::to_owned).collect()
}

fn is_known(name: &str) -> bool {
    ALL.iter().any(|family| match family.kind {
        Kind::Histogram(_) => ["_bucket", "_sum", "_count"].iter().any(|it| name == format!("{}{it}", family.name)),
        Kind::Counter | Kind::Reading | Kind::Gauge => name == family.name,
    })
}

/// Every question of the dashboard, as Grafana asks it of all processes.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("config/grafana/carillon.json")).unwrap();
    let mut asked = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$instance", ".*").replace("$__rate_interval", "1m");
            asked.push((panel["title"].as_str().unwrap().to_owned(), expression.replace("$__range", "1h")));
        }
    }
    asked
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_exist() {
    let mut asked = dashboard();
    assert!(asked.len() > 30, "{}", asked.len());
    asked.push(("alerts".to_owned(), read("config/prometheus/alerts.yaml").replace(['\'', '`'], " ")));
    let mut used = BTreeSet::new();
    for (panel, expression) in asked {
        for name in names_in(&expression) {
            assert!(is_known(&name), "{panel} asks for {name}, which does not exist");
            used.insert(name);
        }
    }
    assert!(used.len() > 25, "{used:?}");
}

/// Runs a tool of Prometheus with this on its standard input.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is missing: run tests/services/install");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn the_alerts_fire_when_they_should_and_are_quiet_when_not() {
    promtool(&["check", "rules", "config/prometheus/alerts.yaml"], "");
    promtool(&["test", "rules", "tests/watching/alerts.yaml"], "");
}

/// A Prometheus that scrapes this address each second.
fn prometheus(folder: &Path, target: &str) -> (Beside, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nrule_files: [{}]\nscrape_configs:\n  - job_name: carillon\n    \
         static_configs: [ {{ targets: ['{target}'] }} ]\n",
        root().join("config/prometheus/alerts.yaml").display()
    );
    std::fs::write(folder.join("prometheus.yaml"), config).unwrap();
    let address = format!("127.0.0.1:{port}");
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yaml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("prometheus.txt")).unwrap())
        .spawn()
        .expect("prometheus is missing: run tests/services/install");
    (Beside(child), format!("http://{address}"))
}

fn question(prometheus: &str, expression: &str) -> Option<Value> {
    let url = format!("{prometheus}/api/v1/query");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = url::Url::parse_with_params(&url, [("query", expression)]).unwrap();
        let answer = client.get(url).send().await.ok()?;
        if answer.status() == 503 {
            // It listens before it is ready.
            return None;
        }
        let text = answer.text().await.ok()?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    })
}

#[test]
fn a_real_prometheus_reads_the_metrics_and_answers_every_question_of_the_dashboard() {
    let shop = Shop::open(&[
        ("CARILLON_METRICS__LISTEN", "127.0.0.1:0"),
        ("CARILLON_METRICS__TOKEN", "a scraper's own token"),
    ]);
    shop.order("o1", "ann@example.com", &[]);
    shop.order("o2", "gone@example.com", &[]);
    shop.until("sent", 1);
    shop.until("failed", 1);
    let address = shop.server.address();
    let text = get(&format!("{address}/metrics"));
    promtool(&["check", "metrics"], &text);
    for line in [
        "carillon_requests_answered_total{route=\"batch\",status=\"200\"} 2",
        "carillon_request_duration_seconds_count{route=\"batch\"} 2",
        "carillon_events_accepted_total 4",
        "carillon_events_deduplicated_total 0",
        "carillon_decisions_made_total{campaign=\"thanks\",verdict=\"entered\",reason=\"\"} 2",
        "carillon_messages_created_total{campaign=\"thanks\",channel=\"email\"} 2",
        "carillon_messages_reached_total{channel=\"email\",status=\"sent\",reason=\"\"} 1",
        "carillon_messages_reached_total{channel=\"email\",status=\"failed\",reason=\"provider_refused\"} 1",
        "carillon_attempts_ended_total{channel=\"email\",outcome=\"accepted\"} 1",
        "carillon_attempts_ended_total{channel=\"email\",outcome=\"rejected\"} 1",
        "carillon_lease_shards 1",
        "carillon_lease_processes 1",
    ] {
        assert!(text.lines().any(|it| it == line), "`{line}` is not in\n{text}");
    }
    assert!(!text.contains("example.com"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let lines = shop.log_with("metrics are served here too");
    let target = lines[0]["address"].as_str().unwrap();
    assert!(text.contains("carillon_build_info") && !get(&format!("http://{target}/readyz")).is_empty());
    let (_running, prometheus) = prometheus(folder.path(), target);
    let deadline = Instant::now() + Duration::from_secs(120);
    // Prometheus asks for OpenMetrics, and says `up` only of what it could read to the end.
    let seen = "count(count_over_time(carillon_build_info[1m]) > 2) and on () up{job=\"carillon\"} == 1";
    while question(&prometheus, seen).is_none_or(|answer| answer["data"]["result"] == serde_json::json!([])) {
        let log = || std::fs::read_to_string(folder.path().join("prometheus.txt")).unwrap_or_default();
        assert!(Instant::now() < deadline, "Prometheus never read the metrics: {}", log());
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut silent = Vec::new();
    for (panel, expression) in dashboard() {
        let answer = question(&prometheus, &expression).expect(&expression);
        assert_eq!(answer["status"], "success", "{panel}: {expression}: {answer}");
        if answer["data"]["result"] == serde_json::json!([]) {
            silent.push(panel);
        }
    }
    // Nothing was suppressed for a cap and nothing is paused: these have nothing to show.
    silent.dedup();
    assert!(silent.len() < 8, "{silent:?}");
    assert_eq!(question(&prometheus, "count(ALERTS)").unwrap()["data"]["result"], serde_json::json!([]));
}

#[test]
fn metrics_are_for_this_machine_and_for_whoever_has_the_token() {
    let shop = Shop::open(&[("CARILLON_METRICS__TOKEN", "a scraper's own token")]);
    let url = format!("{}/metrics", shop.server.address());
    let ask = |headers: &[(&str, &str)]| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = headers.iter().fold(client.get(&url), |request, (name, value)| request.header(*name, *value));
            let answer = request.send().await.unwrap();
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            (answer.status().as_u16(), kind, answer.text().await.unwrap())
        })
    };
    let far = ("x-forwarded-for", "203.0.113.9");
    assert_eq!(ask(&[]).0, 200);
    assert_eq!(ask(&[far]).0, 401);
    assert_eq!(ask(&[far, ("authorization", "Bearer something else")]).0, 401);
    assert_eq!(ask(&[far, ("authorization", "Bearer a scraper's own token")]).0, 200);
    let (_, kind, text) = ask(&[("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")]);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(ask(&[("accept", "*/*")]).1, "text/plain; version=0.0.4; charset=utf-8");
}
