//! Messages in a list, newest first, narrowed down by campaign, outcome and reason, a page at a time.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use crate::ids::MessageId;
use crate::message::{Message, Status};
use crate::store::trace::MessageFilter;
use crate::worker::explain::words::sentence as reason_sentence;
use crate::worker::explain::{blocking, names_of};

use super::frame::{Part, framed, sentence, status, table};
use super::html::{Html, encoded, html};
use super::looked_up::{Query, cursor, names, person, start_of};
use super::sign_in::Visitor;
use super::words::{by_name, outcome, reason};
use super::{Desk, Nothing, why};

const ROWS: u32 = 50;

pub(super) async fn page(desk: &Desk, visitor: &Visitor, query: &Query) -> Result<HttpResponse, Nothing> {
    let (campaign, state, because) = (query.get("campaign"), query.get("status"), query.get("reason"));
    if let Some(unknown) = state.filter(|state| !Status::NAMES.contains(state)) {
        return Err(Nothing::Senseless(format!("“{}” is no status of a message.", start_of(unknown))));
    }
    let filter = MessageFilter {
        campaign: campaign.map(ToOwned::to_owned),
        status: state.map(ToOwned::to_owned),
        reason: because.map(ToOwned::to_owned),
        before: query.get("before").map(cursor).transpose()?,
        limit: ROWS + 1,
        ..MessageFilter::default()
    };
    let mut messages = desk.db().list_messages(&filter).await?;
    let more = messages.len() > ROWS as usize;
    messages.truncate(ROWS as usize);
    let list = if messages.is_empty() {
        html!("<div class=\"panel empty\"><p>No message is like this.</p></div>")
    } else {
        rows(desk, &messages).await?
    };
    let older = messages.last().filter(|_| more).map(|last| {
        let keep: String = [("campaign", campaign), ("status", state), ("reason", because)]
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}&", encoded(value?))))
            .collect();
        let href = format!("/why?{keep}before={}-{}", last.created_at.millis(), last.id);
        html!("<p class=\"pager\"><a href=\"{}\">Older messages</a></p>", href)
    });
    let body =
        html!("<h1>Messages</h1>{}{}{}{}", why::search_box(""), narrow(desk, campaign, state, because), list, older);
    Ok(framed(desk, visitor, Some(Part::Messages), StatusCode::OK, "Messages", body).await)
}

/// The form that narrows the list down.
fn narrow(desk: &Desk, campaign: Option<&str>, state: Option<&str>, because: Option<&str>) -> Html {
    let option = |value: &str, name: &str, chosen: Option<&str>| {
        let chosen = if chosen == Some(value) { html!(" selected") } else { Html::default() };
        html!("<option value=\"{}\"{}>{}</option>", value, chosen, name)
    };
    let live = desk.admin.definitions.live(desk.admin.workspace);
    let campaigns: Html = live.catalog.campaigns().map(|one| option(&one.key, &one.key, campaign)).collect();
    let states: Html =
        Status::NAMES.into_iter().map(|name| option(name, &format!("{} ({name})", by_name(name).1), state)).collect();
    let because = because.map(|code| {
        html!(
            "<label class=\"check\"><input type=\"checkbox\" name=\"reason\" value=\"{}\" checked> {}</label>",
            code,
            reason(code)
        )
    });
    html!(
        "<form class=\"row\" action=\"/why\"><label for=\"campaign\">Campaign</label><select id=\"campaign\" name=\"campaign\">\
         <option value=\"\">All</option>{}</select><label for=\"status\">Outcome</label><select id=\"status\" name=\"status\">\
         <option value=\"\">All</option>{}</select>{}<button class=\"plain\">Show</button></form>",
        campaigns,
        states,
        because
    )
}

/// A table of messages, each leading to why it is what it is.
pub(super) async fn rows(desk: &Desk, messages: &[Message]) -> Result<Html, Nothing> {
    let called = names(desk, messages.iter().map(|message| message.profile)).await?;
    let blocked: Vec<MessageId> =
        messages.iter().filter_map(|message| message.status.reason()).flat_map(blocking).copied().collect();
    let named = names_of(desk.db(), &blocked).await?;
    let rows: Html = messages
        .iter()
        .map(|message| {
            let (class, word) = outcome(&message.status);
            let because = message.status.reason().map(|reason| sentence(&reason_sentence(reason, &named)));
            let label = format!("Why: {word}, {}", message.campaign);
            html!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"wide\">{}</td><td><a \
                 href=\"/why?message={}\" aria-label=\"{}\">Why</a></td></tr>",
                message.created_at,
                person(&called, message.profile),
                message.campaign,
                message.channel.as_str(),
                status(class, word),
                because,
                message.id,
                label
            )
        })
        .collect();
    Ok(table("Messages", &["Created", "Who", "Campaign", "Channel", "Outcome", "Because", ""], rows))
}
