//! The guides in `docs/`, followed to the letter: their files are written, their commands run, and what they say is
//! printed is printed.
//!
//! A block of a guide says by its first line what it is:
//! - `sh server`: the service, in a terminal of its own; the guide's commands begin after it.
//! - `sh`: commands, in one folder and one shell from the first block to the last.
//! - `text` right after them: what they print. Each line is found, in order; `…` stands for anything.
//! - any language with `file=NAME`: a file the reader saves.
//! - `sh install`: what the tests have installed from the same registry; only its names are compared.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Folder, PROGRAM, Said, Server, root, said};

/// Where a guide says the service is.
const WRITTEN_ADDRESS: &str = "http://127.0.0.1:8080";

macro_rules! guides {
    ($($name:ident: $file:literal),+ $(,)?) => {
        const GUIDES: &[&str] = &[$($file),+];
        $(#[test] fn $name() { follow($file); })+
    };
}

guides! {
    a_first_campaign_goes_as_the_guide_says: "first-campaign.md",
    every_client_connects_as_the_guide_says: "connect.md",
    caps_work_as_the_guide_says: "caps.md",
    quiet_hours_hold_as_the_guide_says: "quiet-hours.md",
    consent_works_as_the_guide_says: "consent.md",
    conditions_mean_what_the_guide_says: "conditions.md",
    carts_hold_what_the_guide_says: "carts.md",
    what_is_known_of_people_is_what_the_guide_says: "traits.md",
    templates_work_as_the_guide_says: "templates.md",
    the_api_answers_as_the_guide_says: "api.md",
    imports_come_in_as_the_guide_says: "imports.md",
    it_is_watched_as_the_guide_says: "operating.md",
    data_is_kept_and_goes_as_the_guide_says: "keeping.md",
    why_and_why_not_is_answered_as_the_guide_says: "explaining.md",
    a_draft_is_tried_on_the_past_as_the_guide_says: "backtesting.md",
}

#[test]
fn every_guide_with_commands_is_followed() {
    let files = std::fs::read_dir(root().join("docs")).unwrap().map(|it| it.unwrap().path());
    let with_commands = files.filter(|it| {
        let has_command = |block: &Block| {
            block.language == "sh" || block.text.lines().any(|line| line.trim_start().starts_with("carillon "))
        };
        it.extension().is_some_and(|it| it == "md")
            && blocks(&std::fs::read_to_string(it).unwrap()).iter().any(has_command)
    });
    let mut names: Vec<String> = with_commands.map(|it| it.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let mut followed: Vec<&str> = GUIDES.to_vec();
    names.sort_unstable();
    followed.sort_unstable();
    assert_eq!(names, followed);
}

/// A block of a guide: the words after the language, and what is in it.
struct Block {
    language: String,
    about: String,
    text: String,
    /// The line of the guide it begins at.
    line: usize,
}

fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (n, line) in guide.lines().enumerate() {
        match (open.take(), line.strip_prefix("```")) {
            (None, Some(first)) => {
                let (language, about) = first.split_once(' ').unwrap_or((first, ""));
                let (language, about) = (language.to_owned(), about.to_owned());
                open = Some(Block { language, about, text: String::new(), line: n + 1 });
            }
            (Some(block), Some(_)) => blocks.push(block),
            (Some(mut block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

fn follow(file: &str) {
    let guide = std::fs::read_to_string(root().join("docs").join(file)).unwrap();
    let folder = Folder::new();
    let place = folder.path("reader");
    std::fs::create_dir_all(&place).unwrap();
    let mut server: Option<Server> = None;
    let mut printed = String::new();
    for block in blocks(&guide) {
        let place_in_guide = format!("docs/{file}:{}", block.line);
        match (block.language.as_str(), block.about.as_str()) {
            ("sh", "server") => {
                let words: Vec<&str> = block.text.split_whitespace().collect();
                assert_eq!(words[0], "carillon", "{place_in_guide}");
                let mut started = Server::start(&folder, &words[1..]);
                if words[1] == "demo" {
                    started.wait_for(&folder, "write key ");
                    if guide.contains("per: calendar_day") {
                        away_from_midnight(&folder);
                    }
                }
                server = Some(started);
            }
            ("sh", "install") => is_installed(&block.text, &place_in_guide),
            ("sh", "") => {
                let address = server.as_ref().map_or_else(|| WRITTEN_ADDRESS.to_owned(), Server::address);
                let ran = run(&folder, &place, &block.text.replace(WRITTEN_ADDRESS, &address));
                assert_eq!(ran.code, 0, "{place_in_guide}\n{}\n{}{}", block.text, ran.out, ran.err);
                printed = format!("{}{}", ran.out, ran.err);
            }
            ("text", "") => is_printed(&block.text, &printed, &place_in_guide),
            (_, about) => {
                if let Some(name) = about.strip_prefix("file=") {
                    let path = place.join(name);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, &block.text).unwrap();
                }
            }
        }
    }
    if let Some(server) = server {
        assert_eq!(server.stop(), 0);
    }
}

/// A day of the demo's shop, in Paris, ends while nobody follows its guide.
fn away_from_midnight(folder: &Folder) {
    let hour = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    if hour >= 18 {
        folder.ok(&["demo", "forward", &format!("{}h", 32 - hour)]);
    }
}

/// One block; what it exports and defines is there in the next.
fn run(folder: &Folder, place: &Path, block: &str) -> Said {
    let services = root().join("target/test-services");
    let kept = folder.path("shell");
    let script = format!(
        "set -euo pipefail\n[ ! -e '{kept}' ] || . '{kept}'\n{block}\n{{ export -p; declare -f; }} > '{kept}'",
        kept = kept.display()
    );
    let ours = Path::new(PROGRAM).parent().unwrap().display();
    let path = format!("{ours}:{}:{}", services.join("python/bin").display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(place).stdin(Stdio::null()).env("PATH", path);
    bash.env("CARILLON_DATA", folder.data()).env("NODE_PATH", services.join("node_modules"));
    bash.env("no_proxy", "127.0.0.1").env("NO_PROXY", "127.0.0.1");
    said(&mut bash)
}

/// `…` is anything within a line; other lines may stand between.
fn is_printed(wanted: &str, printed: &str, place: &str) {
    let mut lines = printed.lines();
    for wanted in wanted.lines().filter(|line| !line.trim().is_empty()) {
        let mut parts = wanted.split('…').map(str::trim);
        let fits = |line: &str| {
            let mut rest = line;
            parts.clone().all(|part| match rest.find(part) {
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    true
                }
                None => false,
            })
        };
        assert!(lines.any(fits), "{place}: `{wanted}` is not printed, or not there:\n{printed}");
        assert!(parts.any(|part| !part.is_empty()), "{place}: a line of nothing but … says nothing");
    }
}

/// The packages a reader is told to install are those the tests have.
fn is_installed(command: &str, place: &str) {
    let lists = ["tests/services/package.json", "tests/services/requirements.txt"];
    let listed: String = lists.iter().map(|it| std::fs::read_to_string(root().join(it)).unwrap()).collect();
    let names: Vec<&str> = command.split_whitespace().skip(2).collect();
    assert!(!names.is_empty(), "{place}");
    for name in names {
        assert!(listed.contains(name), "{place}: {name} is not among what the tests install");
    }
}
