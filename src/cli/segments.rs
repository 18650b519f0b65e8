//! `carillon segments`: who is in which, and whether a person is in one and why.

use clap::Args;

use crate::cli::client::{Client, segment};
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon segments                            all of them, with their sizes
  carillon segments vip                        some of the people in it
  carillon segments vip --profile ann          is ann in it, and why (exit code 1: no)")]
pub struct Segments {
    /// One segment, by key
    key: Option<String>,
    /// A person, by userId or anonymousId
    #[arg(long, value_name = "WHO", requires = "key")]
    profile: Option<String>,
    /// How many people are shown
    #[arg(long, default_value_t = 10, value_name = "N", requires = "key")]
    limit: u32,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn segments(client: &Client, asked: &Segments) -> anyhow::Result<Answer> {
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
        let still = if answer["is_complete"].as_bool() == Some(true) { "" } else { " so far" };
        print(&format!("{}: {} people{still}\n", cell(&answer["name"]), cell(&answer["size"])));
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

fn row(one: &serde_json::Value) -> [String; 4] {
    let still = if one["is_complete"].as_bool() == Some(true) { "" } else { " so far" };
    [cell(&one["key"]), format!("{}{still}", cell(&one["size"])), cell(&one["name"]), cell(&one["version"])]
}
