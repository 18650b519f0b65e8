//! Looking into what happened: messages with their states and reasons, and why a campaign did or did not speak.

use std::num::NonZeroUsize;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use crate::cli::client::{Client, segment};
use crate::cli::outline::outline;
use crate::cli::table::{cell, list, table};
use crate::cli::{Answer, print, print_json, tell};
use crate::ids::Timestamp;

/// Messages that are shown to whoever does not say how many.
pub const SHOWN: NonZeroUsize = NonZeroUsize::new(50).unwrap();
/// Messages asked for at once.
const PAGE: usize = 200;
/// Messages that are counted, to say how many are not shown.
const COUNTED_MAX: usize = 2_000;
/// Events of one request that are explained at once.
const EVENTS_OF_REQUEST_MAX: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon messages --profile ann
  carillon messages --campaign cart_reminder --status suppressed --reason capped
  carillon messages ID                         one message with its whole path
  carillon messages --limit 1000 --json

States: queued, deferred, claimed, sending, retrying, sent, unknown, suppressed, cancelled, failed.")]
pub struct Messages {
    /// One message: everything about it
    #[arg(conflicts_with_all = ["profile", "campaign", "status", "reason", "limit"])]
    id: Option<String>,
    /// Of one person, by userId or anonymousId
    #[arg(long, value_name = "WHO")]
    profile: Option<String>,
    /// Of one campaign
    #[arg(long, value_name = "KEY")]
    campaign: Option<String>,
    /// In one state, such as sent or suppressed
    #[arg(long, value_name = "STATE")]
    status: Option<String>,
    /// With one reason, such as capped or consent_denied
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// How many, the newest first
    #[arg(long, default_value_t = SHOWN, value_name = "N")]
    limit: NonZeroUsize,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon explain --profile ann --campaign cart_reminder
  carillon explain --profile ann --campaign cart_reminder --at 2026-03-01T10:00Z
                                               where she stood then, condition by condition
  carillon explain --profile ann --campaign cart_reminder --now
                                               the same, evaluated by what is in force now
  carillon explain --event 1234                what an event led to; by position, id or messageId
  carillon explain --message ID                why a message was sent or not
  carillon explain --request ID                what came of a request, by its X-Request-Id or trace id")]
#[group(skip)]
#[command(group = ArgGroup::new("about").required(true).args(["profile", "event", "message", "request"]))]
pub struct Explain {
    /// A person, by userId or anonymousId
    #[arg(long, value_name = "WHO")]
    profile: Option<String>,
    /// A campaign, by key
    #[arg(long, value_name = "KEY", requires = "profile")]
    campaign: Option<String>,
    /// At an instant: what was in force then, every condition with its operands, and what would have changed the answer
    #[arg(long, value_name = "INSTANT", requires_all = ["profile", "campaign"])]
    at: Option<Timestamp>,
    /// The same, evaluated afresh by the present definitions
    #[arg(long, requires_all = ["profile", "campaign"], conflicts_with = "at")]
    now: bool,
    /// An event, by its position in the log, its id or its messageId
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// A message, by id
    #[arg(long, value_name = "ID")]
    message: Option<String>,
    /// A request that brought events, by its X-Request-Id or trace id, among the newest 200,000
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon caps --profile ann                  what is used of each cap, by which messages, and when it frees")]
pub struct Caps {
    /// A person, by userId or anonymousId
    #[arg(long, value_name = "WHO")]
    profile: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// `carillon messages`.
pub async fn messages(client: &Client, asked: &Messages) -> anyhow::Result<Answer> {
    if let Some(id) = &asked.id {
        let answer = client.get(&format!("/api/v1/messages/{}", segment(id)), &[]).await?;
        show(&answer, asked.json);
        return Ok(Answer::Yes);
    }
    let (found, next) = pages(client, asked).await?;
    if asked.json {
        print_json(&json!({ "messages": found }));
        return Ok(Answer::Yes);
    }
    if found.is_empty() {
        print("no messages\n");
        return Ok(Answer::Yes);
    }
    let rows: Vec<_> = found.iter().map(row).collect();
    print(&table(["ID", "CREATED", "PERSON", "CAMPAIGN", "CHANNEL", "STATE", "WHY"], &rows));
    tell_of_more(client, asked, found.len(), next).await?;
    Ok(Answer::Yes)
}

/// As many pages as it takes, and where the next one begins, if there is one.
async fn pages(client: &Client, asked: &Messages) -> anyhow::Result<(Vec<Value>, Option<String>)> {
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    while found.len() < asked.limit.get() {
        let limit = (asked.limit.get() - found.len()).min(PAGE);
        let (messages, next) = page(client, asked, limit, cursor.as_deref()).await?;
        found.extend(messages);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    Ok((found, cursor))
}

async fn page(
    client: &Client,
    asked: &Messages,
    limit: usize,
    cursor: Option<&str>,
) -> anyhow::Result<(Vec<Value>, Option<String>)> {
    let limit = limit.to_string();
    let query = [
        ("profile", asked.profile.as_deref()),
        ("campaign", asked.campaign.as_deref()),
        ("status", asked.status.as_deref()),
        ("reason", asked.reason.as_deref()),
        ("limit", Some(limit.as_str())),
        ("cursor", cursor),
    ];
    let answer = client.get("/api/v1/messages", &query).await?;
    Ok((list(&answer, "messages").to_vec(), answer["next"].as_str().map(str::to_owned)))
}

/// A list that is cut must not be taken for all there is.
async fn tell_of_more(client: &Client, asked: &Messages, shown: usize, mut next: Option<String>) -> anyhow::Result<()> {
    let mut all = shown;
    while let Some(cursor) = next.take_if(|_| all < COUNTED_MAX) {
        let (messages, more) = page(client, asked, PAGE, Some(&cursor)).await?;
        all += messages.len();
        next = more;
    }
    if all > shown {
        let at_least = if next.is_some() { "more than " } else { "" };
        tell(&format!("{shown} of {at_least}{all}; --limit N shows more\n"));
    }
    Ok(())
}

fn row(message: &Value) -> [String; 7] {
    let text = |name: &str| cell(&message[name]);
    let person = if message["user_id"].is_null() { text("profile") } else { text("user_id") };
    let why = cell(&message["reason"]["sentence"]);
    [text("id"), text("created_at"), person, text("campaign"), text("channel"), text("status"), why]
}

/// `carillon explain`.
pub async fn explain(client: &Client, asked: &Explain) -> anyhow::Result<Answer> {
    if let Some(request) = &asked.request {
        return explain_request(client, request, asked.json).await;
    }
    let (at, of) = (asked.at.map(|at| at.to_string()), ("profile", asked.profile.as_deref()));
    let campaign = ("campaign", asked.campaign.as_deref());
    let answer = if at.is_some() || asked.now {
        let query = [of, campaign, ("at", at.as_deref()), ("now", asked.now.then_some("true"))];
        client.get("/api/v1/explain/instant", &query).await?
    } else {
        let query = [of, campaign, ("event", asked.event.as_deref()), ("message", asked.message.as_deref())];
        client.get("/api/v1/explain", &query).await?
    };
    match answer["text"].as_str().filter(|_| !asked.json) {
        Some(text) => print(&format!("{}\n", text.trim_end())),
        None => show(&answer, asked.json),
    }
    Ok(Answer::Yes)
}

/// Event by event, as `--event` does.
async fn explain_request(client: &Client, request: &str, json: bool) -> anyhow::Result<Answer> {
    let limit = EVENTS_OF_REQUEST_MAX.to_string();
    let query = [("correlation_id", Some(request)), ("limit", Some(limit.as_str()))];
    let events = client.get("/api/v1/events", &query).await?;
    let mut answers = Vec::new();
    for event in list(&events, "events") {
        let position = cell(&event["position"]);
        answers.push(client.get("/api/v1/explain", &[("event", Some(position.as_str()))]).await?);
    }
    if answers.is_empty() {
        anyhow::bail!("no event among the newest came with request {request}");
    }
    if json {
        print_json(&json!({ "events": answers }));
        return Ok(Answer::Yes);
    }
    let texts = answers.iter().filter_map(|answer| answer["text"].as_str()).map(str::trim_end);
    print(&format!("{}\n", texts.collect::<Vec<_>>().join("\n\n")));
    if !events["next"].is_null() {
        print(&format!("\nThe request brought more; these are the first {limit}.\n"));
    }
    Ok(Answer::Yes)
}

fn show(answer: &Value, json: bool) {
    if json { print_json(answer) } else { print(&outline(answer)) }
}

/// `carillon caps`.
pub async fn caps(client: &Client, asked: &Caps) -> anyhow::Result<Answer> {
    let answer = client.get("/api/v1/caps", &[("profile", Some(asked.profile.as_str()))]).await?;
    if asked.json {
        print_json(&answer);
        return Ok(Answer::Yes);
    }
    print(&format!("at {}; days and weeks are those of {}\n", cell(&answer["at"]), cell(&answer["timezone"])));
    for subject in list(&answer, "subjects") {
        print(&format!("\n{}\n", cell(&subject["subject"])));
        let rules = list(subject, "rules");
        if rules.is_empty() {
            print("  no cap is in force\n");
        }
        for rule in rules {
            let [used, at_most, text] = ["used", "at_most", "rule"].map(|name| cell(&rule[name]));
            print(&format!("  {used} of {at_most} used: {text}\n"));
            for slot in list(rule, "by") {
                let [campaign, key, channel, taken, frees, message] =
                    ["campaign", "key", "channel", "slot_at", "frees_at", "message"].map(|name| cell(&slot[name]));
                let who = if key.is_empty() { campaign } else { format!("{campaign} {key}") };
                print(&format!("    {who} by {channel} at {taken}, frees at {frees} (message {message})\n"));
            }
        }
    }
    Ok(Answer::Yes)
}
