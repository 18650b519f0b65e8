//! Every mail of the starter set and its recipes, made with its sample as it would be for a reader, and looked at.

use std::path::{Path, PathBuf};

use carillon::definition::{Definition, SourceFile, read};
use carillon::demo::with_pictures;
use carillon::ids::Timestamp;
use carillon::message::Channel;
use carillon::render::template::Template;
use carillon::render::{Compiled, Content, Scope, Sender, preview};
use serde_json::json;

use crate::browser::{Browser, Look, NARROW, Scheme, WIDE};

/// A mail and what it is called: `welcome`, `welcome-de`.
struct Mail {
    name: String,
    html: String,
}

fn files_in(folder: &Path, files: &mut Vec<SourceFile>) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files_in(&path, files);
        } else {
            files.push(SourceFile { name: path.display().to_string(), text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

fn mails() -> Vec<Mail> {
    let mut files = Vec::new();
    files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"), &mut files);
    let documents = read(&files).unwrap();
    let templates = documents.iter().filter_map(|document| match &document.definition {
        Definition::Template(template) if template.parts.has(Channel::Email) => Some(template),
        _ => None,
    });
    let mails: Vec<Mail> = templates.flat_map(written).collect();
    assert!(mails.len() >= 14, "{} mails", mails.len());
    mails
}

/// As everybody gets it, and as those get it for whom it is written in their own language.
fn written(template: &Template) -> Vec<Mail> {
    let compiled = Compiled::new(template).unwrap();
    let sender = Sender::new(Some("The Shop"), "hello@shop.example", None).unwrap();
    let locales = template.variants.keys().map(String::as_str);
    let mut mails = Vec::new();
    for locale in std::iter::once("en").chain(locales) {
        let mut sample = template.sample.clone();
        let traits = sample.entry("profile").or_insert_with(|| json!({}));
        traits["traits"]["locale"] = json!(locale);
        let scope = Scope::sample(Timestamp::from_millis(1_772_359_200_000), &sample);
        let made = preview(&compiled, Channel::Email, &scope, &sender, "ann@example.com").unwrap();
        let Content::Email(email) = made.content() else { panic!("{}", template.key) };
        let name = if locale == "en" { template.key.clone() } else { format!("{}-{locale}", template.key) };
        mails.push(Mail { name, html: with_pictures(&email.html).into_owned() });
    }
    mails
}

/// Looks at all of them and tells what is wrong.
fn look_at_all(way: &str, how: impl Fn(Look) -> Look) {
    let mut browser = Browser::start();
    let only = std::env::var("MAIL").ok();
    let mut told = Vec::new();
    for mail in mails().iter().filter(|mail| only.as_ref().is_none_or(|only| mail.name.contains(only))) {
        let look = how(Look::at_mail(&mail.html)).picture(&format!("mails/{}-{way}", mail.name));
        let sight = browser.look(&look);
        told.extend(sight.faults().into_iter().map(|fault| format!("{}: {fault}", mail.name)));
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn every_mail_reads_well_on_a_desk() {
    look_at_all("wide", |look| look.width(WIDE));
}

#[test]
fn every_mail_reads_well_in_a_hand() {
    look_at_all("narrow", |look| look.width(NARROW));
}

#[test]
fn every_mail_reads_well_in_the_dark() {
    look_at_all("dark", |look| look.width(WIDE).scheme(Scheme::Dark));
}

#[test]
fn every_mail_reads_well_in_a_hand_in_the_dark() {
    look_at_all("narrow-dark", |look| look.width(NARROW).scheme(Scheme::Dark));
}

#[test]
fn every_mail_reads_well_without_its_pictures() {
    look_at_all("no-pictures", |look| look.width(NARROW).without_images());
}
