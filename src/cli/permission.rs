//! Permission: what a person has answered, an answer said for them, and the suppression list.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::client::{Client, segment};
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, Usage, print, print_json};
use crate::intake::Rejects;
use crate::intake::suppressions::{FILE_BYTES_MAX, List, NotAList, read};

/// Addresses sent in one request.
const SLICE: usize = 500;
/// Refused rows shown; the file of rejects has all of them.
const REFUSED_SHOWN: usize = 10;
/// Addresses of one page.
const PAGE: &str = "200";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon consent --profile ann                         every answer, by which way and when
  carillon consent --profile ann --set email=granted --source 'by telephone'
  carillon consent --profile ann --set topic:offers=denied
  carillon consent --profile ann --set sms=unknown       as if nothing had been said

Answers are granted, denied and unknown.")]
pub struct Consent {
    /// A person, by userId or anonymousId
    #[arg(long, value_name = "WHO")]
    profile: String,
    /// Say an answer for them: CHANNEL=STATE or topic:KEY=STATE
    #[arg(long, value_name = "ANSWER")]
    set: Option<String>,
    /// Where the answer came from
    #[arg(long, value_name = "TEXT", requires = "set")]
    source: Option<String>,
    /// Which wording was agreed to
    #[arg(long, value_name = "TEXT", requires = "set")]
    text_version: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Suppress {
    /// Show the list, or its part
    #[command(after_help = "\
Examples:
  carillon suppress list --kind bounced
  carillon suppress list --address ann@example.com --history     with what was removed, when and by whom")]
    List {
        /// email, sms, push, whatsapp or webhook
        #[arg(long, value_name = "CHANNEL")]
        channel: Option<String>,
        /// unsubscribed, complaint, bounced, manual or topic:KEY
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// One address, however it is written
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
        /// Removed ones too
        #[arg(long)]
        history: bool,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Send nothing more to an address
    #[command(after_help = "\
Examples:
  carillon suppress add ann@example.com --source 'asked by letter'
  carillon suppress add +442079460000 --channel sms --kind unsubscribed

Unsubscribed and topic:KEY stop marketing; the other kinds stop everything.")]
    Add(One),
    /// Take an address off the list; that it was there stays on record
    #[command(after_help = "\
Examples:
  carillon suppress remove ann@example.com --source 'mailbox exists again'
  carillon suppress remove ann@example.com --kind bounced")]
    Remove(One),
    /// Put all addresses of a CSV file onto the list
    #[command(after_help = "\
Examples:
  carillon suppress import ./bounced.csv --kind bounced
  carillon suppress import ./unsubscribed_members_export.csv

The first line names the columns: address (or email), and where they are wanted channel, kind and source. The file is in
UTF-8 or UTF-16, packed by gzip or not, with commas, semicolons or tabs. Exports of Mailchimp, SendGrid, Klaviyo, Braze,
Postmark and SES are known by their columns. A bad row is refused by itself, into FILE.rejects.csv; the exit code is 1 then.")]
    Import {
        /// The file
        file: PathBuf,
        /// Where the file does not say
        #[arg(long, default_value = "email", value_name = "CHANNEL")]
        channel: String,
        /// Where the file does not say [default: what its columns are known by, else manual]
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct One {
    /// However it is written
    address: String,
    /// email, sms, push, whatsapp or webhook
    #[arg(long, default_value = "email", value_name = "CHANNEL")]
    channel: String,
    /// unsubscribed, complaint, bounced, manual or topic:KEY
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Why, for whoever looks later
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// `carillon consent`.
pub async fn consent(client: &Client, asked: &Consent) -> anyhow::Result<Answer> {
    let path = format!("/api/v1/profiles/{}/consent", segment(&asked.profile));
    if let Some(set) = &asked.set {
        let (about, state) = set
            .split_once('=')
            .ok_or_else(|| Usage(format!("`{set}` is no answer such as email=granted or topic:offers=denied")))?;
        let (field, name) = about.strip_prefix("topic:").map_or(("channel", about), |topic| ("topic", topic));
        let mut body = json!({ "state": state, "source": asked.source, "text_version": asked.text_version });
        body[field] = name.into();
        let answer = client.post(&path, body).await?;
        let text =
            format!("stored at position {}: the ledger's rules decide what it changes", cell(&answer["position"]));
        say(&answer, asked.json, &text);
        return Ok(Answer::Yes);
    }
    let answer = client.get(&path, &[]).await?;
    if asked.json {
        print_json(&answer);
        return Ok(Answer::Yes);
    }
    let mut text = String::new();
    for (what, names) in [("channels", "CHANNEL"), ("topics", "TOPIC")] {
        let rows: Vec<[String; 3]> = answer[what].as_object().into_iter().flatten().map(now_row).collect();
        if !rows.is_empty() {
            text.push_str(&table([names, "NOW", "SINCE"], &rows));
            text.push('\n');
        }
    }
    let rows: Vec<[String; 6]> = list(&answer, "ledger").iter().map(ledger_row).collect();
    match rows.is_empty() {
        true => text.push_str("no answers: unknown on every channel\n"),
        false => text.push_str(&table(["POSITION", "AT", "ABOUT", "ANSWER", "BY", "SOURCE"], &rows)),
    }
    let stopped = list(&answer, "suppressions");
    if !stopped.is_empty() {
        text.push('\n');
        text.push_str(&listed(stopped));
    }
    if answer["is_behind"] == true {
        text.push_str("newer events of this person are not processed yet\n");
    }
    print(&text);
    Ok(Answer::Yes)
}

fn now_row((name, consent): (&String, &Value)) -> [String; 3] {
    [name.clone(), cell(&consent["state"]), cell(&consent["at"])]
}

fn ledger_row(row: &Value) -> [String; 6] {
    let source = match row["text_version"].as_str() {
        Some(version) => format!("{} (text {version})", cell(&row["source"])),
        None => cell(&row["source"]),
    };
    let text = |name: &str| cell(&row[name]);
    [text("position"), text("at"), text("about"), text("state"), text("via"), source]
}

/// `carillon suppress`.
pub async fn suppress(client: &Client, asked: &Suppress) -> anyhow::Result<Answer> {
    match asked {
        Suppress::List { channel, kind, address, history, json } => {
            let texts = [channel.as_deref(), kind.as_deref(), address.as_deref()];
            show_list(client, texts, *history, *json).await
        }
        Suppress::Add(one) => {
            let body = json!({ "suppressions": [body_of(one)] });
            let answer = client.post("/api/v1/suppressions", body).await?;
            let is_new = answer["added"] == 1;
            let text = if is_new { "is on the list" } else { "was on the list already" };
            say(&answer, one.json, &format!("{} {text}", one.address));
            Ok(Answer::Yes)
        }
        Suppress::Remove(one) => {
            let answer = client.post("/api/v1/suppressions/remove", body_of(one)).await?;
            let was_there = answer["removed"] == true;
            let text = if was_there { "is off the list" } else { "was not on the list" };
            say(&answer, one.json, &format!("{} {text}", one.address));
            Ok(if was_there { Answer::Yes } else { Answer::No })
        }
        Suppress::Import { file, channel, kind, json } => {
            put_on_list(client, file, (channel, kind.as_deref()), *json).await
        }
    }
}

async fn put_on_list(
    client: &Client,
    file: &Path,
    (channel, kind): (&str, Option<&str>),
    json: bool,
) -> anyhow::Result<Answer> {
    let List { mut rows, refused } =
        read(file, channel, kind, FILE_BYTES_MAX).map_err(|error| match error.downcast::<NotAList>() {
            Ok(error) => Usage(error.to_string()).into(),
            Err(error) => error,
        })?;
    let (mut added, mut known) = (0, 0);
    // Seen by who sits before it alone. Whoever stops it and begins again is told what was there already.
    let bar = ProgressBar::new(rows.len() as u64).with_message("putting addresses on the list");
    while !rows.is_empty() {
        bar.inc(rows.len().min(SLICE) as u64);
        let rest = rows.split_off(rows.len().min(SLICE));
        let body = json!({ "suppressions": std::mem::replace(&mut rows, rest) });
        let answer = client.post("/api/v1/suppressions", body).await?;
        added += answer["added"].as_u64().unwrap_or(0);
        known += answer["known"].as_u64().unwrap_or(0);
    }
    bar.finish_and_clear();
    let mut rejects = Rejects::of(file);
    let written: Result<(), _> = refused.iter().try_for_each(|it| rejects.add(Some(it.line), &it.reason, &it.text));
    let kept = written.and_then(|()| rejects.finish()).ok().flatten();
    let mut text = format!("{added} addresses are on the list, {known} were there already");
    if !refused.is_empty() {
        text.push_str(&format!(", {} rows were refused", refused.len()));
        let shown = refused.iter().take(REFUSED_SHOWN).map(|it| format!("\nline {}: {}", it.line, it.reason));
        text.extend(shown);
        text.extend(kept.iter().map(|path| format!("\nrefused rows are in {}", path.display())));
    }
    let faults: Vec<Value> =
        refused.iter().take(REFUSED_SHOWN).map(|it| json!({ "line": it.line, "reason": it.reason })).collect();
    say(
        &json!({ "added": added, "known": known, "refused": refused.len(), "faults": faults, "rejects": kept }),
        json,
        &text,
    );
    Ok(if refused.is_empty() { Answer::Yes } else { Answer::No })
}

fn body_of(one: &One) -> Value {
    json!({ "channel": one.channel, "address": one.address, "kind": one.kind, "source": one.source })
}

async fn show_list(
    client: &Client,
    [channel, kind, address]: [Option<&str>; 3],
    history: bool,
    json: bool,
) -> anyhow::Result<Answer> {
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let query = [
            ("channel", channel),
            ("kind", kind),
            ("address", address),
            ("history", history.then_some("true")),
            ("limit", Some(PAGE)),
            ("cursor", cursor.as_deref()),
        ];
        let answer = client.get("/api/v1/suppressions", &query).await?;
        found.extend_from_slice(list(&answer, "suppressions"));
        match answer["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    if json {
        print_json(&json!({ "suppressions": found }));
    } else if found.is_empty() {
        print("no addresses\n");
    } else {
        print(&listed(&found));
    }
    Ok(Answer::Yes)
}

fn listed(found: &[Value]) -> String {
    let row = |one: &Value| {
        let text = |name: &str| cell(&one[name]);
        let removed = match one["removed_at"].as_str() {
            Some(at) => format!("{at} by {}", text("removed_by")),
            None => String::new(),
        };
        [text("channel"), text("address"), text("kind"), text("at"), text("source"), removed]
    };
    let rows: Vec<[String; 6]> = found.iter().map(row).collect();
    table(["CHANNEL", "ADDRESS", "KIND", "SINCE", "SOURCE", "REMOVED"], &rows)
}

fn say(answer: &Value, json: bool, text: &str) {
    if json { print_json(answer) } else { print(&format!("{text}\n")) }
}
