//! `carillon traits`: the computed traits there are, and what they come to for a person and why.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon traits                  all of them, and whether anything names them
  carillon traits --profile ann    what they come to for ann, and why")]
pub struct Traits {
    /// A person, by userId or anonymousId
    #[arg(long, value_name = "WHO")]
    profile: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn traits(client: &Client, asked: &Traits) -> anyhow::Result<Answer> {
    let answer = client.get("/api/v1/traits", &[("profile", asked.profile.as_deref())]).await?;
    if asked.json {
        print_json(&answer);
        return Ok(Answer::Yes);
    }
    let all = list(&answer, "traits");
    if asked.profile.is_none() {
        let rows: Vec<_> = all.iter().map(|one| [cell(&one["key"]), kept(one), cell(&one["name"])]).collect();
        print(&table(["KEY", "KEPT", "NAME"], &rows));
        return Ok(Answer::Yes);
    }
    for one in all {
        let unit = one["currency"].as_str().map_or_else(String::new, |unit| format!("{unit} "));
        let value = if one["value"].is_null() { "missing".to_owned() } else { cell(&one["value"]) };
        print(&format!("{}: {unit}{value}\n  {}\n", cell(&one["key"]), cell(&one["because"])));
        if let Some(until) = one["until"].as_str() {
            print(&format!("  this may change by itself at {until}\n"));
        }
        if !one["hides"].is_null() {
            print(&format!("  it hides the trait of this name that was set: {}\n", cell(&one["hides"])));
        }
    }
    Ok(Answer::Yes)
}

fn kept(one: &serde_json::Value) -> String {
    let words = match (one["in_force"].as_bool(), one["version"].as_u64()) {
        (Some(true), Some(0)) => "shipped, named",
        (Some(true), _) => "defined",
        _ => "shipped, not named",
    };
    words.to_owned()
}
