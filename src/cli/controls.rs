//! Commands that change how the service runs: write keys, pauses, second chances, test messages; and its check-up.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::client::{Client, segment};
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json, tell};

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a write key; it is shown this once
    #[command(after_help = "\
Examples:
  carillon key create --source web --name 'the storefront'
  export KEY=$(carillon key create --json | jq -r .key)")]
    Create {
        /// Where the events come from: the key of a source definition, or a new name
        #[arg(long, default_value = "web", value_name = "SOURCE")]
        source: String,
        /// Who uses it, for the list
        #[arg(long, default_value = "", value_name = "NAME")]
        name: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the write keys, without the keys themselves
    #[command(after_help = "Examples:\n  carillon key list --json")]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// End a write key: what is sent with it is refused from now on
    #[command(after_help = "Examples:\n  carillon key revoke ID     the ID that `carillon key list` shows")]
    Revoke {
        /// The key's id
        id: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

pub async fn key(client: &Client, key: Key) -> anyhow::Result<Answer> {
    match key {
        Key::Create { source, name, json } => {
            let made = client.post("/api/v1/keys", json!({ "source": source, "name": name })).await?;
            if json {
                print_json(&made);
            } else {
                let (key, id) = (cell(&made["key"]), cell(&made["id"]));
                print(&format!("{key}\n"));
                tell(&format!("write key {id} for source {source}; it is stored as a hash and not shown again\n"));
            }
        }
        Key::List { json } => {
            let answer = client.get_all("/api/v1/keys", "keys").await?;
            if json {
                print_json(&answer);
            } else {
                let rows: Vec<_> = list(&answer, "keys")
                    .iter()
                    .map(|key| {
                        ["id", "source", "name", "prefix", "created_at", "revoked_at"].map(|name| cell(&key[name]))
                    })
                    .collect();
                print(&table(["ID", "SOURCE", "NAME", "BEGINS", "CREATED", "REVOKED"], &rows));
            }
        }
        Key::Revoke { id, json } => {
            let answer = client.delete(&format!("/api/v1/keys/{}", segment(&id))).await?;
            if json {
                print_json(&answer);
            } else {
                print(&format!("revoked {id}\n"));
            }
        }
    }
    Ok(Answer::Yes)
}

/// What to stop or start again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon pause --all                         nothing is sent any more, within a second
  carillon pause --campaign cart_reminder
  carillon resume --all

What is due while paused waits, and is sent after resuming if it has not expired. While all is paused, people go on
entering campaigns. While one campaign is paused, nobody new enters it: the events of that time begin nothing, and
resuming does not make up for them; `carillon explain` says campaign_paused.")]
#[group(skip)]
#[command(group = ArgGroup::new("scope").required(true).args(["all", "campaign"]))]
pub struct Scope {
    /// Everything
    #[arg(long)]
    all: bool,
    /// One campaign, by key
    #[arg(long, value_name = "KEY")]
    campaign: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon redrive --message ID                a failed message is tried again
  carillon redrive --parked 1234               an entry that could not be applied, by its position
  carillon redrive --all                       everything that failed, and the last 200 parked")]
#[group(skip)]
#[command(group = ArgGroup::new("which").required(true).args(["message", "parked", "all"]))]
pub struct Redrive {
    /// A failed message, by id
    #[arg(long, value_name = "ID")]
    message: Option<String>,
    /// A parked entry, by its position in the log
    #[arg(long, value_name = "POSITION")]
    parked: Option<i64>,
    /// Failed messages and parked entries, the last ones parked first
    #[arg(long)]
    all: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon send-test --template cart_reminder --channel email --to me@example.com

The template's own sample is rendered. Consent and caps are not asked, nothing is counted.")]
pub struct SendTest {
    /// The template's key
    #[arg(long, value_name = "KEY")]
    template: String,
    /// email, sms, push or whatsapp
    #[arg(long, default_value = "email")]
    channel: String,
    /// The address it goes to
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// `carillon pause` and `carillon resume`.
pub async fn pause(client: &Client, scope: &Scope, paused: bool) -> anyhow::Result<Answer> {
    let body = json!({ "scope": scope.campaign.as_deref().unwrap_or("all") });
    let answer = client.post(if paused { "/api/v1/pause" } else { "/api/v1/resume" }, body).await?;
    let what = scope.campaign.as_deref().unwrap_or("all sending");
    say(&answer, scope.json, &format!("{what} {}", if paused { "is paused" } else { "goes on" }));
    Ok(Answer::Yes)
}

/// `carillon redrive`.
pub async fn redrive(client: &Client, asked: &Redrive) -> anyhow::Result<Answer> {
    let (messages, parked) = match (&asked.message, asked.parked) {
        (Some(id), _) => {
            client.post(&format!("/api/v1/messages/{}/redrive", segment(id)), json!({})).await?;
            (1, 0)
        }
        (None, Some(position)) => {
            client.post(&format!("/api/v1/parked/{position}/redrive"), json!({})).await?;
            (0, 1)
        }
        (None, None) => (redrive_messages(client).await?, redrive_parked(client).await?),
    };
    let text = format!("another chance: {messages} messages, {parked} parked entries");
    say(&json!({ "messages": messages, "parked": parked }), asked.json, &text);
    Ok(Answer::Yes)
}

async fn redrive_messages(client: &Client) -> anyhow::Result<u64> {
    let answer = client.post("/api/v1/messages/redrive", json!({})).await?;
    Ok(answer["redriven"].as_u64().unwrap_or_else(|| list(&answer, "redriven").len() as u64))
}

async fn redrive_parked(client: &Client) -> anyhow::Result<u64> {
    let answer = client.get("/api/v1/parked", &[("limit", Some("200"))]).await?;
    let mut count = 0;
    for parked in list(&answer, "parked").iter().filter(|parked| parked["redriven_at"].is_null()) {
        client.post(&format!("/api/v1/parked/{}/redrive", cell(&parked["position"])), json!({})).await?;
        count += 1;
    }
    Ok(count)
}

/// `carillon send-test`.
pub async fn send_test(client: &Client, asked: &SendTest) -> anyhow::Result<Answer> {
    let body = json!({ "template": asked.template, "channel": asked.channel, "to": asked.to });
    let answer = client.post("/api/v1/send-test", body).await?;
    let is_sent = answer["outcome"] == "accepted";
    let text = match is_sent {
        true => format!("sent to {}: {}", asked.to, cell(&answer["reply"])),
        false => format!("not sent ({}): {}", cell(&answer["outcome"]), cell(&answer["cause"])),
    };
    say(&answer, asked.json, &text);
    Ok(if is_sent { Answer::Yes } else { Answer::No })
}

/// `carillon doctor`.
pub async fn doctor(client: &Client, json: bool) -> anyhow::Result<Answer> {
    let waiting =
        ProgressBar::new_spinner().with_message("examining the service, its machine and what the DNS says of it");
    waiting.enable_steady_tick(Duration::from_millis(120));
    let answer = client.get("/api/v1/doctor", &[]).await;
    waiting.finish_and_clear();
    let answer = answer?;
    let checks = list(&answer, "checks");
    let count = |status: &str| checks.iter().filter(|check| check["status"] == status).count();
    let (failed, warnings) = (count("failed"), count("warning"));
    if json {
        print_json(&answer);
    } else {
        for check in checks {
            let mark = match check["status"].as_str() {
                Some("ok") => "\u{2713}",
                Some("warning") => "!",
                _ => "\u{2717}",
            };
            print(&format!("{mark} {}: {}\n", cell(&check["name"]), cell(&check["detail"])));
            if let Some(advice) = check["advice"].as_str() {
                print(&format!("  {advice}\n"));
            }
        }
        print(&match (failed, warnings) {
            (0, 0) => "all is well\n".to_owned(),
            (0, 1) => "all is well, with one warning\n".to_owned(),
            (0, many) => format!("all is well, with {many} warnings\n"),
            _ => "not all is well\n".to_owned(),
        });
    }
    Ok(if failed == 0 { Answer::Yes } else { Answer::No })
}

fn say(answer: &Value, json: bool, text: &str) {
    if json { print_json(answer) } else { print(&format!("{text}\n")) }
}
