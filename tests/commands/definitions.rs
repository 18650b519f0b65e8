//! Definitions by the command line: applied all or none, exported as they were written, tried on their stories.

use std::collections::BTreeMap;
use std::path::Path;

use crate::program::{Folder, root};

fn shop() -> String {
    root().join("templates").display().to_string()
}

#[test]
fn a_problem_is_named_by_file_line_and_field_and_nothing_is_applied() {
    let folder = Folder::new();
    let file = folder.write(
        "defs/reminder.yaml",
        "kind: campaign\nkey: late\nname: Late\nowner: crm\ntype: trigger\nstatus: live\npurpose: marketing\n\
         entry: { event: Product Added }\ndelay: soon\nsend: { channel: email, template: nothing }\n",
    );
    let defs = file.parent().unwrap().to_str().unwrap();
    for extra in [&[][..], &["--dry-run"]] {
        let said = folder.run(&[&["apply", defs, &shop()], extra].concat());
        assert_eq!(said.code, 1, "{said:?}");
        let line = said.err.lines().find(|line| line.contains("reminder.yaml:9:8: delay: "));
        assert!(line.is_some(), "{}", said.err);
    }
    folder.ok(&["export", folder.path("out").to_str().unwrap()]);
    assert!(!folder.path("out").join("campaigns").exists());
}

#[test]
fn a_file_that_is_no_text_is_refused_with_its_line() {
    let folder = Folder::new();
    for (bytes, words) in [
        (&b"kind: topic\nkey: a\nname: x\0y\n"[..], "a NUL character"),
        (b"kind: topic\nkey: a\nname: \xff\n", "not UTF-8"),
    ] {
        let file = folder.write("topic.yaml", "");
        std::fs::write(&file, bytes).unwrap();
        for command in ["apply", "plan", "test"] {
            let said = folder.run(&[command, file.to_str().unwrap()]);
            assert_eq!(said.code, 2, "{said:?}");
            assert!(said.err.contains("topic.yaml:3: ") && said.err.contains(words), "{}", said.err);
        }
    }
    std::fs::write(folder.write("another.yaml", ""), b"kind: topic\nkey: \xff\n").unwrap();
    let said = folder.run(&["apply", folder.path(".").to_str().unwrap()]);
    assert!(said.err.contains("topic.yaml:3: ") && said.err.contains("another.yaml:2: "), "{}", said.err);
    // What is wrong elsewhere is told as well, and no template is blamed for a part that cannot be read.
    folder.write("caps.yaml", "kind: caps\nrule: []\n");
    folder.write("hello/template.yaml", "kind: template\n");
    std::fs::write(folder.write("hello/sms.hbs", ""), b"Hi \xff\n").unwrap();
    let said = folder.run(&["apply", folder.path(".").to_str().unwrap()]);
    assert_eq!(said.code, 2, "{said:?}");
    for words in ["topic.yaml:3: ", "another.yaml:2: ", "hello/sms.hbs:1: ", "caps.yaml:2:1: rule: "] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(!said.err.contains("template.yaml"), "{}", said.err);
}

#[test]
fn a_campaign_without_its_template_says_where_to_put_it() {
    let folder = Folder::new();
    let recipe = std::fs::read_to_string(root().join("templates/recipes/cart_reminder.yaml")).unwrap();
    let file = folder.write("mine/cart_reminder.yaml", &recipe);
    for command in ["test", "apply"] {
        let said = folder.run(&[command, file.to_str().unwrap()]);
        let place = format!("at {}/cart_reminder/", file.parent().unwrap().display());
        assert!(said.code == 1 && said.err.contains(&place), "{said:?}");
        let said = folder.run(&[command, file.to_str().unwrap(), "--json"]);
        let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        let problem = &answer["problems"][0];
        assert!(said.code == 1 && problem["line"].is_u64() && problem["message"].is_string(), "{answer}");
    }
}

#[test]
fn what_is_exported_is_what_was_applied() {
    let folder = Folder::new();
    let dry = folder.json(&["apply", &shop(), "--dry-run", "--json"]);
    let applied = folder.json(&["apply", &shop(), "--json"]);
    assert_eq!(dry, applied);
    assert!(applied["created"].as_array().unwrap().contains(&"campaign cart_reminder".into()), "{applied}");
    let out = folder.path("out");
    let out = out.to_str().unwrap();
    folder.ok(&["export", out]);
    let again = folder.json(&["apply", out, "--json"]);
    assert_eq!(
        (again["created"].as_array().unwrap().len(), again["changed"].as_array().unwrap().len()),
        (0, 0),
        "{again}"
    );
    let refused = folder.run(&["export", out]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("--force"), "{}", refused.err);
    let before = files(Path::new(out));
    folder.ok(&["export", out, "--force"]);
    assert_eq!(files(Path::new(out)), before);
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn stories_pass_and_fail_with_what_happened() {
    let folder = Folder::new();
    let passed = folder.ok(&["test", &shop()]);
    let written: usize = files(&root().join("templates"))
        .iter()
        .filter(|(file, _)| file.ends_with(".yaml"))
        .map(|(_, text)| text.lines().filter(|line| *line == "kind: story").count())
        .sum();
    assert!(written > 30 && passed.ends_with(&format!("\n{written} passed, 0 failed\n")), "{passed}");
    let text = std::fs::read_to_string(root().join("templates/recipes/cart_reminder.yaml")).unwrap();
    let stories: Vec<&str> = text.split("---\n").filter(|one| one.starts_with("kind: story")).collect();
    let stories = stories.join("---\n").replace("11:00Z\", ann: sent", "11:05Z\", ann: sent");
    assert!(stories.contains("11:05Z"));
    let file = folder.write("wrong.yaml", &stories.replace("name: ", "name: wrongly "));
    let failed = folder.run(&["test", &shop(), file.to_str().unwrap()]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.out.contains("FAILED  wrongly an abandoned cart"), "{}", failed.out);
    assert!(failed.out.contains("11:00"), "the timeline says when it was sent: {}", failed.out);
    assert!(!folder.data().exists(), "stories need no folder");
}

#[test]
fn a_campaign_that_takes_in_more_than_a_thousand_people_at_once_is_applied_when_somebody_says_so() {
    let folder = Folder::new();
    let people: Vec<String> = (0..1_001).map(|n| format!(r#"{{"userId":"u{n}","traits":{{"plan":"pro"}}}}"#)).collect();
    let people = folder.write("people.jsonl", &people.join("\n"));
    folder.ok(&["import", people.to_str().unwrap(), "--format", "profiles"]);
    let file = folder.write(
        "hello.yaml",
        "kind: segment\nkey: pros\nname: Pros\nowner: crm@shop.example\nwhere: { trait: { plan: pro } }\n\
         ---\nkind: campaign\nkey: hello\nname: Hello\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
         purpose: marketing\nentry: { segment: pros, on: entered, include_existing: { pace: 1/s } }\n\
         send: { channel: email, template: hello }\n\
         ---\nkind: template\nkey: hello\nemail: { subject: Hi, html: '<p>Hi</p>' }\n",
    );
    let file = file.to_str().unwrap();
    let asked = "1001 people are in `pros` already";
    let dry = folder.run(&["apply", file, "--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.err.contains(asked), "{dry:?}");
    let said = folder.run(&["apply", file]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(asked) && said.err.contains("--yes"), "{said:?}");
    assert!(!folder.ok(&["apply", file, "--dry-run"]).contains("3 as before"), "nothing was applied");
    folder.ok(&["apply", file, "--yes"]);
    // It asks for them already: another text of it needs no second yes.
    folder.write("hello.yaml", &std::fs::read_to_string(file).unwrap().replace("name: Hello", "name: Good day"));
    folder.ok(&["apply", file]);
}
