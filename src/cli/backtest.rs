//! `carillon backtest`: what files would have done over what is logged.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::definitions::files;
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json};
use crate::definition::SourceFile;
use crate::ids::Timestamp;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon backtest cart_reminder.yaml templates/cart_reminder
  carillon backtest ./definitions --from 2026-10-01 --to 2026-11-01 --against live
  carillon backtest --against live            what is in force beside what happened

Everything that is logged of this time comes in again, by the rules and the guard as they would be; slots are taken in
memory. Nothing is sent and nothing is written.")]
pub struct Backtest {
    /// Files, or folders with definitions in them
    #[arg(value_name = "PATH", required_unless_present = "against")]
    paths: Vec<PathBuf>,
    /// The beginning: a day (UTC) or an instant; without it 30 days before the end
    #[arg(long, value_name = "WHEN", value_parser = when)]
    from: Option<Timestamp>,
    /// The end: that instant, or the first of that day, is not looked at any more; without it now
    #[arg(long, value_name = "WHEN", value_parser = when)]
    to: Option<Timestamp>,
    /// Compare with what really happened
    #[arg(long, value_name = "live", value_parser = ["live"])]
    against: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Of those who are in the answer.
const CUSTOMERS_SHOWN: usize = 20;

/// A day stands for its first instant.
fn when(text: &str) -> Result<Timestamp, String> {
    let instant = text.parse().or_else(|_| format!("{text}T00:00Z").parse::<Timestamp>());
    instant
        .map_err(|_| format!("`{text}` is neither a day such as 2026-03-01 nor an instant such as 2026-03-01T10:00Z"))
}

impl Backtest {
    pub fn files(&self) -> anyhow::Result<Vec<SourceFile>> {
        if self.paths.is_empty() { Ok(Vec::new()) } else { files(&self.paths) }
    }
}

/// `carillon backtest`; the files are read before the service is asked.
pub async fn backtest(client: &Client, asked: &Backtest, files: Vec<SourceFile>) -> anyhow::Result<Answer> {
    let body = json!({ "files": files, "from": asked.from, "to": asked.to, "against": asked.against });
    let report = client.report("/api/v1/definitions/backtest", body, "people").await?;
    if asked.json {
        print_json(&report);
        return Ok(Answer::Yes);
    }
    print(&heading(&report));
    list(&report, "campaigns").iter().for_each(|campaign| print(&of_campaign(campaign)));
    print(&beside(&report));
    Ok(Answer::Yes)
}

fn heading(report: &Value) -> String {
    let [from, to, events, people] = ["from", "to", "events", "people"].map(|name| cell(&report[name]));
    let told = |name: &str, words: &str| match report[name].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!("; {count} {words}"),
    };
    let rest = told("unreadable", "could not be read")
        + &told("cut_short", "never came to rest")
        + &told("crowded", "share an address with a crowd, of which caps hold back at least what is told");
    let mut text =
        format!("{from} to {to}: {events} events, {people} people concerned{rest}; nothing was sent or changed\n");
    match report["stored_since"].as_str() {
        None => text.push_str("nothing is stored yet\n"),
        // Written alike, instants stand in their order.
        Some(since) if since > to.as_str() => {
            text.push_str(&format!("what is stored begins at {since}, after this time\n"));
        }
        Some(since) if since > from.as_str() => text.push_str(&format!("what is stored begins at {since}\n")),
        Some(_) if events == "0" => text.push_str("nothing came in during this time\n"),
        Some(_) => {}
    }
    text
}

fn of_campaign(campaign: &Value) -> String {
    let totals = &campaign["totals"];
    let count = |name: &str| cell(&totals[name]["count"]);
    let mut text = format!(
        "\ncampaign {}: {} entered, {} sent, {} capped, {} blocked, {} exited, {} waiting; {} followed\n",
        cell(&campaign["campaign"]),
        count("matched"),
        count("sent"),
        count("capped"),
        count("blocked"),
        count("exited"),
        count("waiting"),
        cell(&campaign["followed"]["count"])
    );
    if let Some(waiting) = campaign["existing"]["count"].as_u64() {
        text.push_str(&format!(
            "{waiting} people are in its segment already and wait for a turn at the end; a backtest gives none\n"
        ));
    }
    let reasons = stopped(&totals["reasons"]);
    if !reasons.is_empty() {
        text.push_str(&format!("why not: {reasons}\n"));
    }
    let days = campaign["days"].as_object().into_iter().flatten();
    let rows: Vec<[String; 5]> = days
        .map(|(day, it)| {
            [day.clone(), cell(&it["entered"]), cell(&it["sent"]), cell(&it["followed"]), stopped(&it["stopped"])]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&table(["DAY", "ENTERED", "SENT", "FOLLOWED", "STOPPED"], &rows));
    }
    text
}

/// `3 capped, 1 expired`.
fn stopped(reasons: &Value) -> String {
    let each = reasons.as_object().into_iter().flatten().map(|(code, count)| format!("{} {code}", cell(count)));
    each.collect::<Vec<_>>().join(", ")
}

fn beside(report: &Value) -> String {
    let mut text = String::new();
    for (campaign, figure) in report["slots_taken"].as_object().into_iter().flatten() {
        let (count, people) = (cell(&figure["count"]), cell(&figure["people"]));
        text.push_str(&format!(
            "\nslots taken: {count} messages of {campaign} to {people} people went out and would have been capped\n"
        ));
    }
    let customers = list(report, "customers");
    let rows: Vec<[String; 5]> = customers
        .iter()
        .take(CUSTOMERS_SHOWN)
        .map(|one| {
            let [name, entered, sent, followed] = ["name", "entered", "sent", "followed"].map(|of| cell(&one[of]));
            [name, entered, sent, followed, stopped(&one["stopped"])]
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(["CUSTOMER", "ENTERED", "SENT", "FOLLOWED", "STOPPED"], &rows));
        let more = customers.len() as u64 - rows.len() as u64 + report["more_customers"].as_u64().unwrap_or(0);
        if more > 0 {
            text.push_str(&format!("and {more} more customers; the first thousand are in --json\n"));
        }
    }
    let Some(differences) = report["differences"].as_u64() else { return text };
    text.push_str(&format!("\n{differences} differences from what really happened\n"));
    for one in list(report, "listed").iter().take(50) {
        let said = |name: &str| if one[name].is_null() { "nothing".to_owned() } else { cell(&one[name]) };
        let [customer, campaign, key, at] = ["customer", "campaign", "key", "entered_at"].map(|name| cell(&one[name]));
        let key = if key.is_empty() { key } else { format!(" {key}") };
        let (was, is) = (said("recorded"), said("backtest"));
        text.push_str(&format!("{at} {customer} {campaign}{key}: it was {was}, it would be {is}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_stands_for_its_first_instant() {
        let shown = |text| when(text).map(|at| at.to_string());
        assert_eq!(shown("2026-03-01"), Ok("2026-03-01T00:00:00Z".to_owned()));
        assert_eq!(shown("2026-03-01T10:00+02:00"), Ok("2026-03-01T08:00:00Z".to_owned()));
        assert!(shown("2026-02-30").is_err_and(|error| error.contains("2026-02-30")), "there is no such day");
        assert!(shown("yesterday").is_err());
    }
}
