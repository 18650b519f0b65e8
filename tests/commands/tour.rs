//! The README's five-minute tour, as it is written there, on the demo.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::database::Backend;
use crate::program::{Folder, PROGRAM, Server, ask, get, root, said};

/// The blocks of the README that are part of the tour.
fn blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh tour\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_tour_of_the_readme_goes_as_it_says() {
    tour(&Folder::new());
}

#[test]
fn on_postgres_and_redis_the_tour_goes_as_it_says() {
    let folder = Folder::on(Backend::Postgres);
    tour(&folder);
    let compose = std::fs::read_to_string("compose.yaml").unwrap();
    for (name, value) in [("DATABASE", folder.database()), ("REDIS", folder.redis())] {
        let scheme = value.split("://").next().unwrap();
        assert!(compose.contains(&format!("CARILLON_{name}__URL: {scheme}://")), "compose.yaml runs on the same parts");
    }
    assert!(!folder.data().join("carillon.db").exists() && !folder.data().join("signing.key").exists());
}

fn tour(folder: &Folder) {
    let mut server = Server::start(folder, &["demo"]);
    let address = server.address();
    let key = server.wait_for(folder, "write key ").split_whitespace().last().unwrap().to_owned();
    let run = |block: &str| {
        let mut bash = Command::new("bash");
        let path = format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
        bash.args(["-euo", "pipefail", "-c", block]).env("PATH", path).env("CARILLON_DATA", folder.data());
        bash.env("CARILLON_DATABASE__URL", folder.database()).env("CARILLON_REDIS__URL", folder.redis());
        bash.env("KEY", &key).env("SHOP", &address).env("no_proxy", "127.0.0.1").env("NO_PROXY", "127.0.0.1");
        let said = said(&mut bash);
        assert_eq!(said.code, 0, "{block}\n{}{}", said.out, said.err);
        said.out
    };
    let blocks = blocks();
    assert_eq!(blocks.len(), 4, "the tour has four stops");

    run(&blocks[0]);
    let c1 = of_ann(folder, "sent");
    assert_eq!(c1.len(), 1, "{c1:?}");
    let reader = folder.json(&["token", "create", "--name", "tour", "--scope", "read", "--json"]);
    let secret = reader["secret"].as_str().unwrap();
    let inbox: Value = serde_json::from_str(&ask(&format!("{address}/api/v1/inbox?limit=200"), secret)).unwrap();
    let reminder = get(&format!("{address}/inbox/{}/html", c1[0]));
    assert!(inbox.to_string().contains(&c1[0]), "{inbox}");
    assert!(reminder.contains("Copper kettle") && reminder.contains("49.00"), "{reminder}");
    assert!(reminder.contains(&format!("{address}/preferences/")), "{reminder}");

    let told = run(&blocks[1]);
    assert!(told.contains("exited: Order Completed"), "{told}");
    assert_eq!(of_ann(folder, "sent"), c1, "nothing was sent for c2");

    let told = run(&blocks[2]);
    let sent = of_ann(folder, "sent");
    assert_eq!(sent.len(), 3, "{told}");
    let capped = folder.json(&["messages", "--profile", "ann", "--reason", "capped", "--json"]);
    assert_eq!(capped["messages"].as_array().unwrap().len(), 1, "{capped}");
    for id in &sent {
        assert!(capped["messages"][0].to_string().contains(id.as_str()), "{id} is not named by {capped}");
        assert!(told.contains(id.as_str()), "{id} is not named in what was printed:\n{told}");
    }

    let told = run(&blocks[3]);
    assert_eq!(of_ann(folder, "sent"), sent, "{told}");
    let left = folder.json(&["messages", "--profile", "ann", "--reason", "topic_unsubscribed", "--json"]);
    assert_eq!(left["messages"].as_array().unwrap().len(), 1, "{left}");
    for part in ["topic:cart_reminders", "by telephone", "cart_reminders"] {
        assert!(told.contains(part), "{part} is not in what was printed:\n{told}");
    }
    assert_eq!(server.stop(), 0);
}

/// Commands beside the tour; those that start a service of their own, or all of the tests, are shown by other tests.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines =
        blocks.flat_map(str::lines).filter(|line| !line.starts_with("make ") && !line.contains("carillon serve "));
    lines.filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_other_command_of_the_readme_does_what_it_says() {
    let folder = Folder::new();
    let mut server = Server::start(&folder, &["demo"]);
    let (address, place) = (server.address(), folder.path("reader"));
    let key = server.wait_for(&folder, "write key ").split_whitespace().last().unwrap().to_owned();
    std::fs::create_dir_all(place.join("backups")).unwrap();
    let run = |command: &str| {
        let mut bash = Command::new("bash");
        let path = format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
        bash.args(["-euo", "pipefail", "-c", command]).current_dir(&place).env("PATH", path);
        bash.env("CARILLON_DATA", folder.data()).env("KEY", &key).env("SHOP", &address);
        bash.env("no_proxy", "127.0.0.1").env("NO_PROXY", "127.0.0.1");
        let said = said(&mut bash);
        assert_eq!(said.code, 0, "{command}\n{}{}", said.out, said.err);
        said.out
    };
    // What a reader brings along.
    run("carillon export ./definitions");
    run("echo address > old-list.csv; echo gone@example.com >> old-list.csv");
    run("printf 'Customer ID;Order Date;Event Type;Total Price\\n7;01.07.2026 09:00;purchase;12,50\\n' > shop.csv");
    run("printf '%s\\n' InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country \
         '536365,85123A,LAMP,6,2010-12-01 08:26:00,2.55,17850,United Kingdom' | gzip > invoices.csv.gz");
    // The folder of the service that is started there.
    run("ln -s \"$CARILLON_DATA\" real-shop");
    run(&format!("curl -sf -u '{key}:' {address}/v1/identify -d '{{\"userId\":\"ann\"}}'"));
    let commands = commands();
    assert!(commands.len() >= 14, "{commands:#?}");
    for command in &commands {
        let out = run(command);
        assert!(!command.starts_with("curl ") || out.contains("\"success\":true"), "{command}: {out}");
    }
    for left in ["backups/monday", "ann.json", "shop.csv.map.yaml"] {
        assert!(place.join(left).exists(), "{left}");
    }
    assert_eq!(server.stop(), 0);
}

/// The ids of ann's messages in a state, in order.
fn of_ann(folder: &Folder, status: &str) -> Vec<String> {
    let listed = folder.json(&["messages", "--profile", "ann", "--status", status, "--json"]);
    let mut ids: Vec<String> =
        listed["messages"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}
