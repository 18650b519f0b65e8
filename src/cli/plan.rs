//! `carillon plan`: what applying would change, and what it would have done.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::definitions::{body, files, warn};
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json};
use crate::definition::SourceFile;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon plan ./definitions
  carillon plan cart_reminder.yaml templates/cart_reminder
  carillon plan ./definitions --json

Nothing is applied. New and changed campaigns live through the stored last 30 days again, drafts as if they were
live, under the segments, caps and policies as they would be; NOW is the same under what is in force.")]
pub struct Plan {
    /// Files, or folders with definitions in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub fn files(&self) -> anyhow::Result<Vec<SourceFile>> {
        files(&self.paths)
    }
}

/// What is told of a campaign, in this order.
const FIGURES: [&str; 8] = ["carried_over", "matched", "sent", "capped", "blocked", "exited", "waiting", "not_entered"];

/// `carillon plan`; the files are read before the service is asked.
pub async fn plan(client: &Client, asked: &Plan, files: Vec<SourceFile>) -> anyhow::Result<Answer> {
    let answer = client.post("/api/v1/definitions/plan", body(&files)).await?;
    if asked.json {
        print_json(&answer);
        return Ok(Answer::Yes);
    }
    print(&documents(&answer));
    warn(&answer);
    print(&looked(&answer["past"]));
    for campaign in list(&answer, "campaigns") {
        print(&of_campaign(campaign));
    }
    for segment in list(&answer, "segments") {
        print(&of_segment(segment));
    }
    Ok(Answer::Yes)
}

fn documents(answer: &Value) -> String {
    let mut text = String::new();
    let (mut new, mut changed, mut same) = (0, 0, 0);
    for document in list(answer, "documents") {
        let mark = match document["change"].as_str() {
            Some("created") => ("+", &mut new),
            Some("changed") => ("~", &mut changed),
            _ => ("=", &mut same),
        };
        *mark.1 += 1;
        if mark.0 != "=" {
            text.push_str(&format!(
                "{} {}, version {}\n",
                mark.0,
                cell(&document["document"]),
                cell(&document["version"])
            ));
        }
        for difference in list(document, "differences") {
            text.push_str(&format!("    {}\n", cell(difference)));
        }
    }
    let kept = list(answer, "kept").len();
    text + &format!("{new} new, {changed} changed, {same} as before, {kept} more in force stay; nothing was applied\n")
}

fn looked(past: &Value) -> String {
    if past.is_null() {
        return String::new();
    }
    let whom = match past["people"] == past["sample"] {
        true => format!("{} people concerned", cell(&past["people"])),
        false => format!("{} of {} people concerned, evenly spread", cell(&past["sample"]), cell(&past["people"])),
    };
    let told = |figure: &str, words: &str| match past[figure].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!("; {count} {words}"),
    };
    let unreadable = told("unreadable", "could not be read")
        + &told(
            "crowded",
            "share an address with very many, of whom 1,000 at a time were looked at together: its caps may hold back more",
        )
        + &told("cut_short", "never came to rest, and are told from their beginning");
    let (from, to, events) = (cell(&past["from"]), cell(&past["to"]), cell(&past["events"]));
    format!("\nLooked at {from} to {to}: {events} events, {whom}{unreadable}\n")
}

fn of_campaign(campaign: &Value) -> String {
    let status = match campaign["status"].as_str() {
        Some(status @ ("draft" | "paused")) => format!(", {status}: as if it were live"),
        _ => String::new(),
    };
    let (now, then) = (&campaign["now"], &campaign["then"]);
    let counted =
        |tally: &Value, name: &str| if tally.is_null() { "-".to_owned() } else { cell(&tally[name]["count"]) };
    let is_empty = |tally: &Value| FIGURES.iter().all(|name| tally[name]["count"].as_u64().unwrap_or(0) == 0);
    let existing = &campaign["existing"];
    let existing = match existing["count"].as_u64() {
        None => String::new(),
        Some(count) => {
            let names: Vec<String> = list(existing, "names").iter().map(cell).collect();
            let such = if names.is_empty() { String::new() } else { format!(", such as {}", names.join(", ")) };
            format!("{count} people are in its segment now and would enter at its pace{such}\n")
        }
    };
    if is_empty(now) && is_empty(then) {
        return format!("\ncampaign {}{status}: nobody\n{existing}", cell(&campaign["campaign"]));
    }
    let told = FIGURES.iter().filter(|name| {
        // Nearly always empty.
        **name != "carried_over" || [now, then].iter().any(|tally| tally[**name]["count"].as_u64() > Some(0))
    });
    let rows: Vec<[String; 4]> = told
        .map(|name| {
            let names: Vec<String> = list(&then[name], "names").iter().map(cell).collect();
            let people = then[name]["people"].as_u64().unwrap_or(0);
            let who = match people.saturating_sub(names.len() as u64) {
                0 => names.join(", "),
                more => format!("{} and {more} more", names.join(", ")),
            };
            [name.replace('_', " "), counted(now, name), counted(then, name), who]
        })
        .collect();
    let mut text =
        format!("\ncampaign {}{status}\n{}", cell(&campaign["campaign"]), table(["", "NOW", "THEN", "WHO"], &rows));
    let reasons: Vec<String> = then["reasons"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(code, count)| format!("{} {}", cell(count), code.replace('_', " ")))
        .collect();
    if !reasons.is_empty() {
        text.push_str(&format!("reasons: {}\n", reasons.join(", ")));
    }
    text + &existing
}

fn of_segment(segment: &Value) -> String {
    let named = |figure: &Value| {
        let names: Vec<String> = list(figure, "names").iter().map(cell).collect();
        let count = cell(&figure["count"]);
        if names.is_empty() {
            count
        } else {
            format!(
                "{count} ({}{})",
                names.join(", "),
                if figure["people"].as_u64() > Some(names.len() as u64) { ", …" } else { "" }
            )
        }
    };
    let now = if segment["now"].is_null() { "-".to_owned() } else { cell(&segment["now"]) };
    format!(
        "\nsegment {}: {now} people now, {} then; {} would enter, {} would leave\n",
        cell(&segment["segment"]),
        cell(&segment["then"]),
        named(&segment["entering"]),
        named(&segment["leaving"])
    )
}
