//! A person's frequency caps as a page: what is used of each, by which messages, and when it frees.

use std::fmt::Write;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use crate::ids::Timestamp;
use crate::worker::cap_report::{CapReport, RuleUse};

use super::page::{escape, page};

/// The page of one person.
pub(super) fn caps_page(report: &CapReport) -> HttpResponse {
    let person = report.user_id.clone().unwrap_or_else(|| report.profile.to_string());
    let mut body = format!(
        "<main><h1>Frequency caps of {}</h1><p class=\"muted\">At {}; days and weeks are those of {}. A message needs room \
         under every rule, for the person and for the address.</p>",
        escape(&person),
        time(report.at),
        escape(&report.timezone)
    );
    for subject in &report.subjects {
        let _ = write!(body, "<h2>{}</h2>", escape(&subject.subject));
        if subject.rules.is_empty() {
            body.push_str("<p>No cap is in force.</p>");
        }
        for rule in &subject.rules {
            write_rule(&mut body, rule);
        }
    }
    body.push_str("</main>");
    page(StatusCode::OK, &format!("Frequency caps of {person}"), &body)
}

fn write_rule(body: &mut String, rule: &RuleUse) {
    let _ = write!(body, "<p><strong>{} of {}</strong> used: {}</p>", rule.used, rule.at_most, escape(&rule.rule));
    if rule.by.is_empty() {
        return;
    }
    body.push_str(
        "<div class=\"panel\"><table><thead><tr><th>Campaign</th><th>Channel</th><th>Slot taken</th><th>Frees</th>\
         <th>Message</th></tr></thead><tbody>",
    );
    for slot in &rule.by {
        let campaign = format!("{} {}", slot.campaign, slot.key);
        let _ = write!(
            body,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(campaign.trim_end()),
            slot.channel.as_str(),
            time(slot.slot_at),
            time(slot.frees_at),
            slot.message
        );
    }
    body.push_str("</tbody></table></div>");
}

fn time(at: Timestamp) -> String {
    format!("<time datetime=\"{at}\">{at}</time>")
}
