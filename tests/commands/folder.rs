//! One process holds the data folder, says where it is, and leaves nothing behind; settings are refused by name.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::Value;

use crate::database::Backend;
use crate::program::{Folder, Server, get};

#[test]
fn a_second_server_on_the_folder_is_told_who_has_it() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["serve"]);
    let second = folder.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains(&format!("process {}", server.pid())), "{}", second.err);
    assert!(second.err.contains(&server.address()), "{}", second.err);
}

#[test]
fn the_address_and_token_are_for_the_owner_alone_and_gone_after_a_stop() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["serve"]);
    let left = folder.data().join("server.json");
    let mode = std::fs::metadata(&left).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::metadata(folder.data()).unwrap().permissions().mode() & 0o777, 0o700);
    for secret in ["carillon.db", "carillon.db-wal"] {
        let mode = std::fs::metadata(folder.data().join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{secret} in a folder that may be open to others");
    }
    let whereabouts: Value = serde_json::from_str(&std::fs::read_to_string(&left).unwrap()).unwrap();
    assert_eq!(whereabouts["address"], server.address());
    assert_eq!(whereabouts["pid"], server.pid());
    assert!(whereabouts["token"].as_str().unwrap().len() >= 32);
    assert_eq!(server.stop(), 0);
    assert!(!left.exists());
}

#[test]
fn a_server_keeps_freed_memory_for_a_while_and_is_still_the_process_that_was_started() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["serve"]);
    let environment = std::fs::read(format!("/proc/{}/environ", server.pid())).unwrap();
    let kept = environment.split(|byte| *byte == 0).find(|setting| setting.starts_with(b"MIMALLOC_PURGE_DELAY="));
    assert_eq!(kept, Some(&b"MIMALLOC_PURGE_DELAY=10000"[..]));
}

#[test]
fn a_server_that_was_killed_leaves_nothing_in_the_way() {
    let folder = Folder::new();
    drop(Server::start(&folder, &["serve"]));
    assert!(folder.data().join("server.json").exists(), "it had no time for a farewell");
    assert_eq!(folder.json(&["key", "list", "--json"])["keys"], Value::Array(Vec::new()));
    drop(Server::start(&folder, &["serve"]));
}

#[test]
fn a_command_waits_for_a_server_that_does_not_answer_yet_and_says_so() {
    let folder = Folder::new();
    let _server = Server::start(&folder, &["serve"]);
    // As a server that still builds its parts: it has the folder and has not said where it is.
    let (said, unsaid) = (folder.data().join("server.json"), folder.path("server.json"));
    std::fs::rename(&said, &unsaid).unwrap();
    let mut command = folder.command();
    let mut waiting = command.args(["key", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("does not answer yet; waiting for it"), "{line}");
    assert!(line.contains(folder.data().to_str().unwrap()), "{line}");
    assert!(waiting.try_wait().unwrap().is_none(), "it goes on waiting");
    std::fs::rename(&unsaid, &said).unwrap();
    let answer = waiting.wait_with_output().unwrap();
    assert!(answer.status.success() && String::from_utf8_lossy(&answer.stdout).contains("SOURCE"), "{answer:?}");
}

#[test]
fn a_server_started_held_sends_no_marketing_until_somebody_confirms() {
    let folder = Folder::new();
    let _server = Server::start(&folder, &["serve", "--held"]);
    let seen = folder.json(&["confirm-restore", "--look", "--json"]);
    assert_eq!(seen["is_held"], true, "{seen}");
    assert_eq!(folder.run(&["doctor"]).code, 1);
    let said = folder.ok(&["confirm-restore", "--by", "ann"]);
    assert!(said.contains("it was started with --held") && said.contains("confirmed: 0 messages"), "{said}");
    assert_eq!(folder.json(&["confirm-restore", "--look", "--json"])["is_held"], false);
    assert_eq!(folder.run(&["confirm-restore"]).code, 1, "there is nothing to confirm");
}

#[test]
fn a_running_server_shows_its_inbox() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["serve"]);
    assert!(get(&format!("{}/inbox", server.address())).contains("<html"));
}

#[test]
fn a_wrong_setting_is_named_with_the_nearest_and_nothing_is_made() {
    let folder = Folder::new();
    let file = folder.write("settings.toml", "[server]\nlisten_on = \"127.0.0.1:1\"\n[smpt]\nurl = \"\"\n");
    let said = folder.run(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("server.listen_on") && said.err.contains("did you mean `smtp`?"), "{}", said.err);
    assert!(!folder.data().exists());
}

#[test]
fn a_server_that_cannot_start_leaves_no_new_folder_behind_and_touches_none_that_was_there() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let wrong: [(&[&str], &str, &str); 3] = [
        (&["--listen", &port], "CARILLON_LOG__LEVEL", "info"),
        (&["--listen", "127.0.0.1:0"], "CARILLON_DATABASE__URL", "postgres://carillon@127.0.0.1:1/shop"),
        (&["--listen", "127.0.0.1:0"], "CARILLON_METRICS__LISTEN", &port),
    ];
    for (arguments, name, value) in wrong {
        let folder = Folder::new();
        let serve =
            |folder: &Folder| crate::program::said(folder.command().arg("serve").args(arguments).env(name, value));
        let said = serve(&folder);
        assert_ne!(said.code, 0, "{said:?}");
        assert!(!folder.data().exists(), "{said:?}");
        std::fs::create_dir_all(folder.data()).unwrap();
        std::fs::write(folder.data().join("mine"), "kept").unwrap();
        assert_ne!(serve(&folder).code, 0);
        assert!(folder.data().join("mine").exists());
    }
}

#[test]
fn a_database_that_is_not_there_is_told_at_once_and_by_its_place() {
    let folder = Folder::new();
    let url = "postgres://carillon:hunter2@127.0.0.1:1/shop";
    let said = crate::program::said(
        folder.command().args(["serve", "--listen", "127.0.0.1:0"]).env("CARILLON_DATABASE__URL", url),
    );
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("postgres://127.0.0.1:1/shop") && said.err.contains("refused"), "{}", said.err);
    assert!(!said.err.contains("hunter2"), "{}", said.err);
}

#[test]
fn the_folder_of_a_service_on_postgres_never_passes_for_an_empty_shop() {
    let folder = Folder::on(Backend::Postgres);
    Server::start(&folder, &["serve"]).stop();
    for arguments in [&["messages"][..], &["doctor"], &["backup", folder.path("copy").to_str().unwrap()]] {
        let said = crate::program::said(folder.command().args(arguments).env_remove("CARILLON_DATABASE__URL"));
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("is postgres://") && said.err.contains("set CARILLON_DATABASE__URL"), "{}", said.err);
    }
    assert!(!folder.data().join("carillon.db").exists());
    folder.ok(&["messages"]);
}

#[test]
fn a_redis_that_is_none_is_told_at_the_start_with_what_waits_and_the_service_runs() {
    use std::io::{Read, Write};
    // It answers like a web server, whatever is asked.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 512]));
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    for place in [format!("127.0.0.1:{port}"), "127.0.0.1:1".to_owned()] {
        let folder = Folder::new();
        let url = format!("redis://:hunter2@{place}");
        let server = Server::start_with(&folder, &["serve"], &[("CARILLON_REDIS__URL", &url)]);
        let ready: Value = serde_json::from_str(&get(&format!("{}/readyz", server.address()))).unwrap();
        assert_eq!(ready["status"], "ready");
        let caps = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "frequency caps").unwrap();
        assert!(caps["ok"] == false && caps["detail"].as_str().unwrap().contains("wait"), "{caps}");
        assert_eq!(server.stop(), 0);
        let log = std::fs::read_to_string(folder.path("stderr.txt")).unwrap();
        let line = log.lines().find(|line| line.contains("cannot be reached")).unwrap_or_else(|| panic!("{log}"));
        let why = if place.ends_with(":1") { "refused" } else { "no Redis" };
        for words in [why, "WARN", &place, "frequency caps wait", "CARILLON_REDIS__URL"] {
            assert!(line.contains(words), "{words}: {line}");
        }
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[test]
fn who_reads_no_further_ends_a_command_quietly() {
    let folder = Folder::new();
    let file = folder.write("wrong.yaml", &"kind: nothing\n---\n".repeat(900));
    for arguments in [&["test"][..], &["apply"], &["--help"], &["plan", "--help"]] {
        let named = if arguments.contains(&"--help") { None } else { Some(&file) };
        let mut child = folder
            .command()
            .args(arguments)
            .args(named)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        drop(child.stderr.take());
        let code = child.wait().unwrap().code();
        assert!(code.is_some_and(|code| code < 100), "{arguments:?}: {code:?}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let folder = Folder::new();
    for url in ["smtp://user:hunter2@", "hunter2", "postgres://carillon:hunter2@db/carillon"] {
        for name in ["CARILLON_SMTP__URL", "CARILLON_DATABASE__URL"] {
            let said = crate::program::said(folder.command().arg("doctor").env(name, url));
            assert_eq!(said.code, 2, "{name}={url}: {said:?}");
            assert!(!format!("{}{}", said.out, said.err).contains("hunter2"), "{said:?}");
        }
    }
}

#[test]
fn looking_never_makes_a_folder() {
    let folder = Folder::new();
    for arguments in
        [&["messages"][..], &["doctor"], &["export", "nowhere"], &["explain", "--profile", "ann", "--campaign", "c"]]
    {
        let said = folder.run(arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert!(said.err.contains("--data"), "{}", said.err);
        assert!(!folder.data().exists());
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let folder = Folder::new();
    let help = folder.ok(&["--help"]);
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    for needed in [
        "serve",
        "demo",
        "migrate",
        "apply",
        "plan",
        "backtest",
        "export",
        "import",
        "test",
        "key",
        "messages",
        "explain",
        "send-test",
        "doctor",
    ] {
        assert!(commands.contains(&needed), "{needed} is not in {commands:?}");
    }
    for command in commands {
        let help = folder.ok(&[command, "--help"]);
        assert!(help.contains("Examples:") || command == "key", "{command}:\n{help}");
    }
}
