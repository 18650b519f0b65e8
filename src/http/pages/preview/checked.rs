//! Whether anybody answers behind the links and pictures of what is previewed: asked when somebody presses the button, for
//! what they see, and never by itself.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::Look;
use crate::http::pages::frame::{Part, framed, status, table};
use crate::http::pages::html::{Html, encoded, html};
use crate::http::pages::sign_in::{Visitor, posted};
use crate::http::pages::{Desk, Nothing, Pages, or_say};
use crate::http::scope::Scope;
use crate::worker::link_check::{Checked, LinkCheck, LinkReport, Trial, Verdict};

/// The button beside the remarks.
pub fn button(visitor: &Visitor, key: &str, query: &str) -> Html {
    if !visitor.may(Scope::ControlWrite) {
        return Html::default();
    }
    html!(
        "<form method=\"post\" action=\"/preview/{}/links?{}\" class=\"row\">{}<button class=\"plain\">Check links and \
         pictures</button><span class=\"muted\">asks the hosts in this message whether they answer</span></form>",
        encoded(key),
        query,
        visitor.token_field()
    )
}

pub async fn check(desk: Pages, visitor: Visitor, request: HttpRequest, payload: Payload) -> HttpResponse {
    if let Err(answer) = posted(&visitor, &request, payload).await {
        return answer;
    }
    let made = checked_page(&desk, &visitor, &request).await;
    or_say(&desk, &visitor, Part::Templates, made).await
}

async fn checked_page(desk: &Pages, visitor: &Visitor, request: &HttpRequest) -> Result<HttpResponse, Nothing> {
    visitor.must(Scope::ControlWrite)?;
    let look = Look::of(desk, visitor, request).await?;
    let (key, query) = (look.draft.key.clone(), look.query());
    let Some(template) = &look.draft.template else {
        return Err(Nothing::Senseless(format!("Template {key} cannot be read.")));
    };
    let trial = Trial {
        sample: look.variables(desk, template),
        template: Arc::new(template.clone()),
        locale: look.with.locale.clone(),
        channel: Some(look.channel),
    };
    let here = desk.clone();
    let told = Arc::new(move |_, _| !here.admin.is_stopping());
    let report = (desk.admin.check_links)(LinkCheck { trials: vec![trial], told }).await?;
    let body = html!(
        "<p class=\"crumb\"><a href=\"/preview\">Templates</a> / <a href=\"/preview/{}?{}\">{}</a></p>\
         <h1>Links and pictures</h1>{}",
        encoded(&key),
        query,
        key,
        shown(&report)
    );
    Ok(page(desk, visitor, &format!("Links: {key}"), body).await)
}

async fn page(desk: &Desk, visitor: &Visitor, title: &str, body: Html) -> HttpResponse {
    framed(desk, visitor, Some(Part::Templates), StatusCode::OK, title, body).await
}

fn shown(report: &LinkReport) -> Html {
    let unrendered: Html = report
        .unrendered
        .iter()
        .map(|one| {
            html!(
                "<div class=\"notice bad\" role=\"alert\"><strong>It cannot be rendered.</strong> {}</div>",
                one.cause
            )
        })
        .collect();
    if report.addresses.is_empty() {
        return html!("{}<p class=\"panel empty\">There is no link and no picture in it.</p>", unrendered);
    }
    let (class, sum) = match (report.broken, report.warnings) {
        (0, 0) => ("ok", "Everybody who was asked answers as they should.".to_owned()),
        (0, 1) => ("warn", "1 address deserves a look.".to_owned()),
        (0, some) => ("warn", format!("{some} addresses deserve a look.")),
        (1, _) => ("bad", "1 address is broken.".to_owned()),
        (some, _) => ("bad", format!("{some} addresses are broken.")),
    };
    let rows = report.addresses.iter().map(row).collect();
    html!(
        "{}<p class=\"notice {}\">{}</p>{}<p class=\"muted\">Addresses behind which something is done, such as \
         unsubscribing, are not asked; nor is anybody inside this network.</p>",
        unrendered,
        class,
        sum,
        table("Links and pictures", &["State", "For", "Address", "What was found"], rows)
    )
}

fn row(one: &Checked) -> Html {
    let (class, word) = match one.verdict {
        Verdict::Ok => ("ok", "Answers"),
        Verdict::Warning => ("warn", "Look"),
        Verdict::Broken => ("bad", "Broken"),
        Verdict::NotAsked => ("wait", "Not asked"),
    };
    let mut says: Vec<String> = one.found.findings.iter().map(|finding| finding.says.clone()).collect();
    says.extend(one.found.leads_to.iter().map(|next| format!("leads to {next}")));
    if says.is_empty() {
        says.extend(one.found.bytes.map(|bytes| format!("{} KB", bytes.div_ceil(1024))));
    }
    html!(
        "<tr><td>{}</td><td>{}</td><td class=\"wide\"><code>{}</code></td><td class=\"wide\">{}</td></tr>",
        status(class, word),
        one.used_as,
        one.url,
        says.join("; ")
    )
}
