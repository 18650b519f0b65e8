//! `carillon check-links`: whether anybody answers behind the links and pictures of templates.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon check-links                          every template in force
  carillon check-links cart_reminder welcome
  carillon check-links --json                   every address, for a job that runs each night

Each template is made of its own sample, on each channel and in each language, and each address in it is asked once:
who answers 4xx or 5xx, does not resolve, hangs, has no good certificate, leads elsewhere, or is no picture or a heavy
one. Links that act (unsubscribe, preferences, clicks) are not asked, nor is anything inside this network
(`links.inside` allows some). Exit code 1 if an address is broken.")]
pub struct CheckLinks {
    /// Keys of templates; without any, all that are in force
    #[arg(value_name = "TEMPLATE")]
    templates: Vec<String>,
    /// List the addresses that are as they should be, too
    #[arg(long)]
    all: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn check_links(client: &Client, asked: &CheckLinks) -> anyhow::Result<Answer> {
    let body = json!({ "templates": asked.templates });
    let report = client.report("/api/v1/templates/check-links", body, "addresses").await?;
    if asked.json {
        print_json(&report);
    } else {
        print(&shown(&report, asked.all));
    }
    let is_good = report["broken"] == 0 && list(&report, "unrendered").is_empty();
    Ok(if is_good { Answer::Yes } else { Answer::No })
}

fn shown(report: &Value, all: bool) -> String {
    let mut text = String::new();
    let rows: Vec<[String; 4]> = list(report, "addresses")
        .iter()
        .filter(|one| all || !matches!(one["verdict"].as_str(), Some("ok" | "not_asked")))
        .map(|one| {
            let mut says: Vec<String> = list(one, "findings").iter().map(|finding| cell(&finding["says"])).collect();
            says.extend(one["leads_to"].as_str().map(|next| format!("leads to {next}")));
            let state = cell(&one["verdict"]).replace('_', " ");
            [state, cell(&one["url"]), places(list(one, "places")), says.join("; ")]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&table(["STATE", "ADDRESS", "IN", "WHAT"], &rows));
    }
    for one in list(report, "unrendered") {
        text.push_str(&format!("not made: {}: {}\n", place(one), cell(&one["cause"])));
    }
    let [broken, warnings, ok, left] = ["broken", "warnings", "ok", "not_asked"].map(|name| cell(&report[name]));
    text.push_str(&format!("{broken} broken, {warnings} to look at, {ok} as they should be, {left} not asked\n"));
    if let Some(more) = report["more"].as_u64().filter(|more| *more > 0) {
        text.push_str(&format!("{more} more were not asked: name fewer templates\n"));
    }
    text
}

/// `cart_reminder email de`.
fn place(one: &Value) -> String {
    ["template", "channel", "locale"].map(|name| cell(&one[name])).join(" ").trim_end().to_owned()
}

fn places(all: &[Value]) -> String {
    let first = all.first().map(place).unwrap_or_default();
    if all.len() > 1 { format!("{first} and {} more", all.len() - 1) } else { first }
}
