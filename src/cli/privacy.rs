//! `carillon privacy`: hand a person everything that is stored of them, or erase it.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::client::{Client, segment};
use crate::cli::place::write_private;
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json};

#[derive(Debug, Subcommand)]
pub enum Privacy {
    /// Write all that is stored of a person into a JSON file
    #[command(after_help = "Examples:\n  carillon privacy export --profile ann --out ann.json")]
    Export(Export),
    /// Erase a person for good: everywhere, their past in the log included
    #[command(after_help = "\
Examples:
  carillon privacy erase --profile ann --reason 'request of 2026-11-20'

Nothing more is sent to them; their ids lead to nobody, and a later event begins a new, empty
profile. What stays: numbers, the class of each event, and a keyed hash of addresses that asked
for no mail. It cannot be undone. Backups hold the person until they are deleted; one that is
restored into this folder is erased again at its start.")]
    Erase(Erase),
    /// List erasures, newest first
    #[command(after_help = "Examples:\n  carillon privacy list --json")]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct Export {
    /// By user id, anonymous id or number (profile:17)
    #[arg(long, value_name = "ID")]
    profile: String,
    /// The file to write, for its owner alone [default: to the terminal]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Erase {
    /// By user id, anonymous id or number (profile:17)
    #[arg(long, value_name = "ID")]
    profile: String,
    /// Why; it is kept, so without the person's name
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who does it, for the log [default: your user name]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn privacy(client: &Client, asked: Privacy) -> anyhow::Result<Answer> {
    match asked {
        Privacy::Export(asked) => {
            let data = client.get(&format!("/api/v1/profiles/{}/export", segment(&asked.profile)), &[]).await?;
            match &asked.out {
                None => print_json(&data),
                Some(file) => {
                    write_private(file, &format!("{data:#}\n")).context("the export")?;
                    let count = |name: &str| list(&data, name).len();
                    let (events, messages) = (count("events"), count("messages"));
                    print(&format!("{}: {events} events, {messages} messages\n", file.display()));
                }
            }
        }
        Privacy::Erase(asked) => {
            let by = asked.by.or_else(|| std::env::var("USER").ok()).filter(|by| !by.trim().is_empty());
            let body = json!({ "by": by.unwrap_or_else(|| "the command line".to_owned()), "reason": asked.reason });
            let done = client.post(&format!("/api/v1/profiles/{}/erase", segment(&asked.profile)), body).await?;
            match asked.json {
                true => print_json(&done),
                false => {
                    print(&format!("erased: profile {}, at {}\n", cell(&done["profile"]), cell(&done["erased_at"])))
                }
            }
        }
        Privacy::List { json } => {
            let answer = client.get_all("/api/v1/erasures", "erasures").await?;
            if json {
                print_json(&answer);
            } else {
                let fields = ["profile", "erased_at", "finished_at", "by", "reason"];
                let rows: Vec<_> =
                    list(&answer, "erasures").iter().map(|one| fields.map(|field| cell(&one[field]))).collect();
                print(&table(["PROFILE", "ERASED", "FINISHED", "BY", "REASON"], &rows));
            }
        }
    }
    Ok(Answer::Yes)
}
