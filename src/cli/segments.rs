//! `carillon segments`: who is in which, whether a person is in one and why, and the members of static ones.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::cli::client::{Client, segment};
use crate::cli::definitions::{body, files, warn};
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json, tell};
use crate::definition::SourceFile;
use crate::intake::members::{Limits, read};
use crate::worker::lists::{MEMBERS_MAX, UPLOAD_BYTES_MAX};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon segments                            all of them, with their sizes
  carillon segments vip                        some of the people in it
  carillon segments vip --profile ann          is ann in it, and why (exit code 1: no)
  carillon segments --count big_spenders.yaml  how many people a segment would have; nothing is saved
  carillon segments staff --upload staff.csv   the members of a static segment, and nobody else
  carillon segments staff --upload new.csv --mode add")]
pub struct Segments {
    /// One segment, by key
    key: Option<String>,
    /// A person, by userId or anonymousId
    #[arg(long, value_name = "WHO", requires = "key")]
    profile: Option<String>,
    /// How many people are shown
    #[arg(long, default_value_t = 10, value_name = "N", requires = "key")]
    limit: u32,
    /// Members of a static segment: CSV with a column user_id or id (else the first), or a JSON list of ids
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "profile")]
    upload: Option<PathBuf>,
    /// What the file does to the list
    #[arg(long, value_enum, default_value = "replace", requires = "upload")]
    mode: Mode,
    /// Count the people of segments that are not saved yet: files, or folders with definitions in them
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["key", "profile", "limit", "upload"])]
    count: Vec<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Replace,
    Add,
    Remove,
}

impl Segments {
    /// What is to be counted; nothing where something else is asked.
    pub fn files(&self) -> anyhow::Result<Vec<SourceFile>> {
        if self.count.is_empty() { Ok(Vec::new()) } else { files(&self.count) }
    }
}

/// `carillon segments`; files are read before the service is asked.
pub async fn segments(client: &Client, asked: &Segments, files: Vec<SourceFile>) -> anyhow::Result<Answer> {
    if !files.is_empty() {
        return counted(client, asked, &files).await;
    }
    let Some(key) = &asked.key else {
        let answer = client.get_all("/api/v1/segments", "segments").await?;
        if asked.json {
            print_json(&answer);
            return Ok(Answer::Yes);
        }
        let rows: Vec<_> = list(&answer, "segments").iter().map(row).collect();
        match rows.is_empty() {
            true => print("no segments\n"),
            false => print(&table(["KEY", "PEOPLE", "NAME", "VERSION"], &rows)),
        }
        return Ok(Answer::Yes);
    };
    if let Some(file) = &asked.upload {
        return upload(client, key, file, asked).await;
    }
    let limit = asked.limit.to_string();
    let query = [("profile", asked.profile.as_deref()), ("limit", Some(limit.as_str()))];
    let answer = client.get(&format!("/api/v1/segments/{}", segment(key)), &query).await?;
    let person = &answer["person"];
    let is_in = person["is_member"].as_bool();
    if asked.json {
        print_json(&answer);
    } else if let Some(is_in) = is_in {
        let verb = if is_in { "is in" } else { "is not in" };
        let since = person["since"].as_str().map_or_else(String::new, |since| format!(" since {since}"));
        print(&format!("{} {verb} {key}{since}: {}\n", cell(&person["asked"]), cell(&person["because"])));
        if let Some(until) = person["until"].as_str() {
            print(&format!("this may change by itself at {until}\n"));
        }
    } else {
        let still = still(&answer);
        print(&format!("{}: {} people{still}\n", cell(&answer["name"]), cell(&answer["size"])));
        for one in list(&answer, "included_by") {
            let next = one["next_at"].as_str().map_or_else(String::new, |at| format!(", the next not before {at}"));
            print(&format!(
                "{} includes who was in it already: {} had their turn, {} wait{next}\n",
                cell(&one["campaign"]),
                one["given"],
                one["waiting"]
            ));
        }
        let people = list(&answer, "sample").iter().map(|one| {
            let who = if one["user_id"].is_null() { cell(&one["profile"]) } else { cell(&one["user_id"]) };
            [who, cell(&one["since"])]
        });
        let people: Vec<_> = people.collect();
        if !people.is_empty() {
            print(&table(["PERSON", "SINCE"], &people));
        }
    }
    Ok(if is_in == Some(false) { Answer::No } else { Answer::Yes })
}

async fn upload(client: &Client, key: &str, file: &Path, asked: &Segments) -> anyhow::Result<Answer> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let limits = Limits { bytes: UPLOAD_BYTES_MAX, members: MEMBERS_MAX };
    let lines = read(&bytes, limits).with_context(|| file.display().to_string())?;
    let members: Vec<&str> = lines.iter().map(|(_, id)| id.as_str()).collect();
    let mode = match asked.mode {
        Mode::Replace => "replace",
        Mode::Add => "add",
        Mode::Remove => "remove",
    };
    let path = format!("/api/v1/segments/{}/members", segment(key));
    let answer = client.post(&path, json!({ "mode": mode, "members": members })).await?;
    if asked.json {
        print_json(&answer);
        return Ok(Answer::Yes);
    }
    let (added, removed, unchanged) = (cell(&answer["added"]), cell(&answer["removed"]), cell(&answer["unchanged"]));
    print(&format!("{key}: {added} added, {removed} removed, {unchanged} unchanged\n"));
    let problems = list(&answer, "problems");
    for bad in problems {
        let place = bad["place"].as_u64().and_then(|place| usize::try_from(place).ok()).unwrap_or(0);
        let line = place.checked_sub(1).and_then(|place| lines.get(place)).map_or(0, |(line, _)| *line);
        print(&format!("{}:{line}: {}\n", file.display(), cell(&bad["problem"])));
    }
    let bad = answer["bad"].as_u64().unwrap_or(0);
    let more = bad.saturating_sub(problems.len() as u64);
    if more > 0 {
        print(&format!("and {more} more\n"));
    }
    Ok(if bad > 0 { Answer::No } else { Answer::Yes })
}

async fn counted(client: &Client, asked: &Segments, files: &[SourceFile]) -> anyhow::Result<Answer> {
    let answer = client.post("/api/v1/definitions/count", body(files)).await?;
    if asked.json {
        print_json(&answer);
        return Ok(Answer::Yes);
    }
    for segment in list(&answer, "segments") {
        let sample: Vec<String> = list(segment, "sample").iter().map(cell).collect();
        let such = if sample.is_empty() { String::new() } else { format!(", such as {}", sample.join(", ")) };
        print(&format!(
            "{} ({}): {} of {} people{such}\n",
            cell(&segment["segment"]),
            cell(&segment["name"]),
            cell(&segment["people"]),
            answer["people"]
        ));
    }
    warn(&answer);
    if answer["unreadable"].as_u64() != Some(0) {
        tell(&format!("{} people could not be read\n", answer["unreadable"]));
    }
    Ok(Answer::Yes)
}

/// How far everybody has been looked at, while not everybody has.
fn still(one: &serde_json::Value) -> String {
    if one["is_complete"].as_bool() == Some(true) {
        return String::new();
    }
    let (people, of) = (one["looked_at"]["people"].as_u64().unwrap_or(0), one["looked_at"]["of"].as_u64().unwrap_or(0));
    let percent = (people * 100).checked_div(of).map_or_else(String::new, |percent| format!(", {percent}%"));
    format!(" so far ({people} of {of} looked at{percent})")
}

fn row(one: &serde_json::Value) -> [String; 4] {
    let still = still(one);
    [cell(&one["key"]), format!("{}{still}", cell(&one["size"])), cell(&one["name"]), cell(&one["version"])]
}
