//! Commands that change how the service runs: write keys.

use clap::Subcommand;
use serde_json::json;

use crate::cli::client::{Client, segment};
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json};

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
                eprintln!("write key {id} for source {source}; it is stored as a hash and not shown again");
            }
        }
        Key::List { json } => {
            let answer = client.get("/api/v1/keys", &[]).await?;
            if json {
                print_json(&answer);
            } else {
                let rows: Vec<_> = list(&answer, "keys")
                    .iter()
                    .map(|key| ["id", "source", "name", "prefix", "created_at", "revoked_at"].map(|name| cell(&key[name])))
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
