//! Keeps Dockerfile and compose.yaml true to the program, without a Docker engine: what they copy exists, what they
//! run is a command of the program with its options, the keys they set are keys of the configuration, ports and
//! folders agree, and nothing runs as root.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

/// One instruction of the Dockerfile, continuation lines joined, with the number of the stage it belongs to.
#[derive(Debug)]
struct Instruction {
    stage: usize,
    word: String,
    rest: String,
}

fn dockerfile() -> Vec<Instruction> {
    let text = fs::read_to_string("Dockerfile").unwrap();
    let kept: Vec<&str> = text.lines().filter(|it| !it.trim_start().starts_with('#')).collect();
    let mut stage = 0;
    kept.join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter(|it| !it.trim().is_empty())
        .map(|line| {
            let (word, rest) = line.trim().split_once(' ').unwrap();
            stage += usize::from(word == "FROM");
            Instruction { stage, word: word.to_owned(), rest: rest.trim().to_owned() }
        })
        .collect()
}

/// The arguments of the last instruction of that word in the last stage, which is what the image does.
fn last(word: &str) -> String {
    let file = dockerfile();
    let stages = file.last().unwrap().stage;
    let found = file.into_iter().rfind(|it| it.word == word && it.stage == stages);
    found.unwrap_or_else(|| panic!("the last stage has no {word}")).rest
}

fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: write it as a JSON list: {error}"))
}

/// Sources of the `COPY`s from the repository.
fn copied() -> Vec<PathBuf> {
    dockerfile()
        .into_iter()
        .filter(|it| it.word == "COPY" && !it.rest.starts_with("--from="))
        .flat_map(|it| {
            let paths: Vec<PathBuf> = it.rest.split_whitespace().map(PathBuf::from).collect();
            paths[..paths.len() - 1].to_vec()
        })
        .collect()
}

#[test]
fn what_the_image_copies_exists_and_is_not_ignored() {
    let sources = copied();
    assert!(!sources.is_empty());
    let ignore = fs::read_to_string(".dockerignore").unwrap();
    for source in sources {
        assert!(source.exists(), "COPY {}: not in the repository", source.display());
        let kept = format!("!{}", source.display());
        assert!(ignore.lines().any(|it| it == kept), ".dockerignore leaves {} out", source.display());
    }
}

/// A file that the program includes when it is compiled has to be there when the image is built.
#[test]
fn what_the_program_includes_is_copied() {
    let copied = copied();
    let mut pending = vec![PathBuf::from("src"), PathBuf::from("migrations/src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        for call in ["include_str!(\"", "include_bytes!(\""] {
            for rest in text.split(call).skip(1) {
                let included = plain(&path.parent().unwrap().join(rest.split('"').next().unwrap()));
                let there = copied.iter().any(|it| included.starts_with(it));
                assert!(there, "{} includes {}, which the image lacks", path.display(), included.display());
            }
        }
    }
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    for (section, folder) in [("[[bench]]", "benches"), ("[[test]]", "tests"), ("[[example]]", "examples")] {
        let needed = manifest.lines().any(|it| it == section);
        assert!(!needed || copied.iter().any(|it| it.starts_with(folder)), "Cargo.toml has {section}; copy {folder}");
    }
    assert!(!Path::new("build.rs").exists() || copied.contains(&PathBuf::from("build.rs")), "copy build.rs");
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

#[test]
fn the_stages_fit_together() {
    let file = dockerfile();
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for it in &file {
        if it.word == "FROM" {
            let words: Vec<&str> = it.rest.split_whitespace().collect();
            assert!(words[0].contains(':') && !words[0].ends_with(":latest"), "FROM {}: pin a version", it.rest);
            if let [_, "AS", name] = words[..] {
                named.insert(name.to_owned(), it.stage);
            }
        } else if let Some(rest) = it.rest.strip_prefix("--from=") {
            let [from, source, target] = rest.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{rest}") };
            let stage = named.get(from).unwrap_or_else(|| panic!("COPY --from={from}: no such stage"));
            assert!(*stage < it.stage, "COPY --from={from}: not an earlier stage");
            let made = file.iter().any(|it| it.stage == *stage && it.word == "RUN" && it.rest.contains(source));
            assert!(made, "stage {from} never makes {source}");
            assert!(target.ends_with(&format!("/{}", program())), "{target} is not the program");
        }
    }
    assert!(file.last().unwrap().stage >= 2, "building and running are stages of their own");
    let built = file.iter().any(|it| it.word == "RUN" && it.rest.contains(&format!("--bin {}", program())));
    assert!(built, "no stage builds the program");
    assert_eq!(words(&last("ENTRYPOINT")), [program()]);
}

#[test]
fn the_image_builds_with_a_rust_that_is_new_enough() {
    let file = dockerfile();
    let image = file.iter().find_map(|it| it.rest.strip_prefix("rust:")).unwrap();
    let version = |text: &str| -> (u32, u32) {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|it| it.parse().unwrap());
        (parts.next().unwrap(), parts.next().unwrap())
    };
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let needed = manifest.lines().find_map(|it| it.strip_prefix("rust-version = \"")).unwrap();
    let (image, needed) = (version(image.split('-').next().unwrap()), version(needed.trim_end_matches('"')));
    assert!(image >= needed, "the image has Rust {image:?}, Cargo.toml asks for {needed:?}");
}

#[test]
fn the_image_runs_as_nobody_special_and_owns_its_data_folder() {
    let user = last("USER");
    assert!(user.parse::<u32>().is_ok_and(|it| it > 0), "USER {user}: a number other than 0, so that anyone can check");
    let file = dockerfile();
    let made = file.iter().rfind(|it| it.word == "RUN" && it.rest.contains("useradd")).unwrap();
    assert!(made.rest.contains(&format!("--uid {user}")), "{}", made.rest);
    assert!(made.rest.contains(&format!("--home-dir {} --create-home", last("VOLUME"))), "{}", made.rest);
    let user_at = file.iter().rposition(|it| it.word == "USER").unwrap();
    assert!(file[user_at..].iter().all(|it| it.word != "RUN"), "nothing is done to the image after USER");
}

#[test]
fn port_and_folder_are_the_same_everywhere() {
    let command = words(&last("CMD"));
    let listen = value_of(&command, "--listen");
    let port = listen.strip_prefix("0.0.0.0:").unwrap_or_else(|| panic!("{listen} cannot be reached from outside"));
    assert_eq!(last("EXPOSE"), port);
    let (_, health) = last("HEALTHCHECK").split_once("CMD ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let health = words(&health).join(" ");
    assert!(health.contains(&format!("/127.0.0.1/{port} ")), "{health}");
    assert_eq!(last("VOLUME"), value_of(&command, "--data"));

    let compose = compose();
    let ours = &compose["services"]["carillon"];
    assert_eq!(strings(&ours["command"]), command, "compose runs what the image runs");
    let (_, published) = ours["ports"][0].as_str().unwrap().rsplit_once(':').unwrap();
    assert_eq!(published, port);
    let (volume, mounted) = ours["volumes"][0].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(mounted, last("VOLUME"));
    assert!(compose["volumes"].as_object().unwrap().contains_key(volume), "volume {volume} is not declared");
}

#[test]
fn the_health_check_asks_a_route_that_exists() {
    let health = last("HEALTHCHECK");
    let route = health.split("GET ").nth(1).unwrap().split(' ').next().unwrap();
    let served = rust_below("src/http").iter().any(|it| it.contains(&format!("\"{route}\"")));
    assert!(served, "nothing in src/http serves {route}");
}

#[test]
fn the_commands_and_options_are_those_of_the_program() {
    let compose = compose();
    for command in [words(&last("CMD")), strings(&compose["services"]["carillon"]["command"])] {
        let commands = help(&[]);
        let is_command = commands.lines().any(|it| it.split_whitespace().next() == Some(&command[0]));
        assert!(is_command, "`{}` is no command of the program:\n{commands}", command[0]);
        let options = help(&command[..1]);
        for option in command.iter().filter(|it| it.starts_with("--")) {
            let is_option = options.split(|c: char| c.is_whitespace() || c == ',').any(|it| it == option);
            assert!(is_option, "`{option}` is no option of `{}`:\n{options}", command[0]);
        }
    }
}

#[test]
fn the_environment_sets_keys_of_the_configuration() {
    let keys = configuration_keys();
    let compose = compose();
    let mut set: Vec<String> =
        compose["services"]["carillon"]["environment"].as_object().unwrap().keys().cloned().collect();
    set.extend(
        dockerfile().iter().filter(|it| it.word == "ENV").map(|it| it.rest.split('=').next().unwrap().to_owned()),
    );
    for name in set {
        let Some(path) = name.strip_prefix("CARILLON_") else { panic!("{name} is not ours to set") };
        let path = path.to_ascii_lowercase().replace("__", ".");
        assert!(keys.contains(&path), "{name}: config/default.toml has no {path}");
    }
}

#[test]
fn compose_is_well_made() {
    let known = [
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "environment",
        "image",
        "ports",
        "read_only",
        "restart",
        "security_opt",
        "stop_grace_period",
        "tmpfs",
        "volumes",
    ];
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        for key in service.as_object().unwrap().keys() {
            assert!(known.contains(&key.as_str()), "{name}: unknown key {key}");
        }
        match (service["build"].as_str(), service["image"].as_str()) {
            (Some(folder), None) => assert!(Path::new(folder).join("Dockerfile").exists(), "{name}: build {folder}"),
            (None, Some(image)) => {
                assert!(image.contains(':') && !image.ends_with(":latest"), "{image}: pin a version")
            }
            both => panic!("{name}: either build or image, not {both:?}"),
        }
        for other in strings(&service["depends_on"]) {
            assert!(services.contains_key(&other), "{name} depends on {other}, which is no service");
        }
        for port in strings(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
        }
        for (key, value) in service["environment"].as_object().unwrap_or(&Map::new()) {
            let place = value.as_str().unwrap().split("://").nth(1);
            let host = place.map(|it| it.rsplit('@').next().unwrap().split([':', '/']).next().unwrap());
            assert!(host.is_none_or(|it| services.contains_key(it)), "{name}: {key} points at no service: {value}");
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------

fn program() -> &'static str {
    env!("CARGO_PKG_NAME")
}

fn help(command: &[String]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_carillon")).args(command).arg("--help").output().unwrap();
    assert!(said.status.success(), "{command:?} --help: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

fn value_of<'a>(command: &'a [String], option: &str) -> &'a str {
    let at = command.iter().position(|it| it == option).unwrap_or_else(|| panic!("{command:?} has no {option}"));
    &command[at + 1]
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// `section.key` of every key, also of those that are named in a comment because they have no default.
fn configuration_keys() -> BTreeSet<String> {
    let text = fs::read_to_string("config/default.toml").unwrap();
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.split(']').next()) {
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once('=') {
            keys.insert(format!("{section}.{}", key.trim()));
        }
    }
    assert!(keys.len() > 3, "config/default.toml has next to no keys: {keys:?}");
    keys
}

fn rust_below(folder: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut pending = vec![PathBuf::from(folder)];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        } else if path.extension().is_some_and(|it| it == "rs") {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

fn compose() -> Value {
    yaml(&fs::read_to_string("compose.yaml").unwrap())
}

/// A YAML document with every scalar as a string: enough for a file whose values we only compare.
fn yaml(text: &str) -> Value {
    enum Open {
        List(Vec<Value>),
        Map(Map<String, Value>, Option<String>),
    }
    let mut open: Vec<Open> = Vec::new();
    let mut done = Value::Null;
    for event in Parser::new_from_str(text) {
        let value = match event.unwrap().0 {
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => match open.pop().unwrap() {
                Open::List(list) => Value::Array(list),
                Open::Map(map, _) => Value::Object(map),
            },
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::Alias(_) => panic!("no anchors, please"),
            _ => continue,
        };
        match open.last_mut() {
            None => done = value,
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(_, key @ None)) => *key = value.as_str().map(ToOwned::to_owned),
            Some(Open::Map(map, key)) => {
                let key = key.take().unwrap();
                assert!(map.insert(key.clone(), value).is_none(), "{key} stands twice");
            }
        }
    }
    done
}
