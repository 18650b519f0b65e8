//! `carillon token`: API tokens for programs that speak to the service as this command line does.

use std::collections::BTreeSet;

use clap::Subcommand;
use serde_json::json;

use crate::cli::client::{Client, segment};
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json, tell};
use crate::http::scope::Scope;

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; its secret is shown this once
    #[command(after_help = "\
Examples:
  carillon token create --name dashboard --scope read
  carillon token create --name deploy --scope definitions:read --scope definitions:write --expires-in 90d
  export TOKEN=$(carillon token create --name script --scope events:read --json | jq -r .secret)

Scopes: events:read messages:read profiles:read permission:read permission:write definitions:read
definitions:write control:write keys:write tokens:write privacy:write imports:read imports:write backups:write settings:read.
`read` stands for every scope that ends so, `all` for every scope.")]
    Create {
        /// Who or what uses it
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it may do; several times for several
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// How long it is taken, as 30d [default: until it is revoked]
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<String>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tokens, without their secrets
    #[command(after_help = "Examples:\n  carillon token list\n  carillon token list --json")]
    List {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a token a new secret; the old one is taken for a while
    #[command(after_help = "\
Examples:
  carillon token rotate ID                     the old secret is taken for another 24 hours
  carillon token rotate ID --grace 0s          it has leaked: refused from now on")]
    Rotate {
        /// The token's id, or the first characters of its secret
        id: String,
        /// How long the old secret is taken, at most 30d [default: 24h]
        #[arg(long, value_name = "DURATION")]
        grace: Option<String>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// End a token at once, with all its secrets
    #[command(after_help = "Examples:\n  carillon token revoke ID     the ID that `carillon token list` shows")]
    Revoke {
        /// The token's id, or the first characters of its secret
        id: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// The names asked for, with `read` and `all` spelled out.
fn spelled_out(scopes: &[String]) -> BTreeSet<&str> {
    let known = Scope::ALL.map(Scope::as_str);
    let out = scopes.iter().flat_map(|scope| match scope.as_str() {
        "all" => known.to_vec(),
        "read" => known.into_iter().filter(|name| name.ends_with(":read")).collect(),
        other => vec![other],
    });
    out.collect()
}

pub async fn token(client: &Client, token: Token) -> anyhow::Result<Answer> {
    match token {
        Token::Create { name, scopes, expires_in, json } => {
            let body = json!({ "name": name, "scopes": spelled_out(&scopes), "expires_in": expires_in });
            show_secret(&client.post("/api/v1/tokens", body).await?, json);
        }
        Token::List { json } => show_list(client, json).await?,
        Token::Rotate { id, grace, json } => {
            let path = format!("/api/v1/tokens/{}/rotate", segment(&id));
            show_secret(&client.post(&path, json!({ "grace": grace })).await?, json);
        }
        Token::Revoke { id, json } => {
            let answer = client.delete(&format!("/api/v1/tokens/{}", segment(&id))).await?;
            if json {
                print_json(&answer);
            } else {
                print(&format!("revoked {id}\n"));
            }
        }
    }
    Ok(Answer::Yes)
}

fn show_secret(made: &serde_json::Value, json: bool) {
    if json {
        print_json(made);
        return;
    }
    print(&format!("{}\n", cell(&made["secret"])));
    let (id, name) = (cell(&made["id"]), cell(&made["name"]));
    tell(&format!("secret of token {id} ({name}); it is stored as a hash and not shown again\n"));
}

async fn show_list(client: &Client, json: bool) -> anyhow::Result<()> {
    let all = client.get_all("/api/v1/tokens", "tokens").await?;
    if json {
        print_json(&all);
        return Ok(());
    }
    let rows: Vec<_> = list(&all, "tokens")
        .iter()
        .map(|token| {
            let scopes = list(token, "scopes").iter().map(cell).collect::<Vec<String>>().join(" ");
            let at = |name: &str| cell(&token[name]);
            [at("id"), at("name"), at("prefix"), scopes, at("last_used_at"), at("expires_at"), at("revoked_at")]
        })
        .collect();
    print(&table(["ID", "NAME", "BEGINS", "SCOPES", "LAST USED", "EXPIRES", "REVOKED"], &rows));
    Ok(())
}
