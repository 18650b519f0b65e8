//! Customers: found by what they are called, and one with all that is known: traits, ids, segments, consent, what stops
//! their addresses, the frequency caps used, and their timeline.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::audience::Profile;
use crate::decision::Person;
use crate::http::cursor;
use crate::http::scope::Scope;
use crate::ids::ProfileId;
use crate::message::{Channel, address_of};
use crate::store::search::Sought;
use crate::store::suppressions::subject;
use crate::worker::cap_report::{RuleUse, cap_report};

use super::frame::{Part, facts, framed, status, table};
use super::html::{Html, Shown, encoded, html};
use super::looked_up::{self, Query, start_of};
use super::sign_in::{Visitor, redirect};
use super::{Desk, Nothing, Pages, carts, or_say, timeline};

const FOUND_MAX: u32 = 50;
/// Rows of the consent ledger.
const LEDGER_MAX: u32 = 50;

pub(super) async fn search(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let made = searched(&desk, &visitor, &Query::of(&request)).await;
    or_say(&desk, &visitor, Part::Customers, made).await
}

async fn searched(desk: &Desk, visitor: &Visitor, query: &Query) -> Result<HttpResponse, Nothing> {
    visitor.must(Scope::ProfilesRead)?;
    let asked = query.get("q");
    let list = match asked {
        None => html!(
            "<div class=\"panel empty\"><p>Type a customer’s id, e-mail address, telephone number, or the beginning of a name.</p></div>"
        ),
        Some(asked) => {
            let list = format!("customers called {asked}");
            let wrong = |_| Nothing::Senseless("This page of the list is not known; begin with the first.".to_owned());
            let from = query.get("after").map(|text| cursor::read::<Sought>(&list, text)).transpose().map_err(wrong)?;
            let (found, next) = desk.db().people_called(asked, from.as_ref(), FOUND_MAX).await?;
            let more = next.map(|place| {
                let after = cursor::write(&list, &place);
                html!("<p class=\"pager\"><a href=\"/customers?q={}&amp;after={}\">More</a></p>", encoded(asked), after)
            });
            if found.is_empty() && from.is_none() && more.is_none() {
                let start = start_of(asked);
                html!(
                    "<div class=\"panel empty\"><p>Nobody is known by “{}”. Names and addresses are found from their beginning.</p></div>",
                    start
                )
            } else {
                html!("{}{}", found_table(&found), more)
            }
        }
    };
    let body = html!(
        "<h1>Customers</h1><form class=\"search\" role=\"search\" action=\"/customers\"><label for=\"q\">Find a customer\
         </label><div><input id=\"q\" name=\"q\" value=\"{}\" placeholder=\"Id, e-mail, telephone or name\" \
         autocomplete=\"off\" spellcheck=\"false\"><button>Find</button></div></form>{}",
        asked,
        list
    );
    Ok(framed(desk, visitor, Some(Part::Customers), StatusCode::OK, "Customers", body).await)
}

fn text_trait<'p>(profile: &'p Profile, name: &str) -> Option<&'p str> {
    profile.traits.get(name)?.as_str()
}

/// What a person is called by those who know them.
fn name_of(profile: &Profile) -> Option<String> {
    let first = text_trait(profile, "first_name").or_else(|| text_trait(profile, "firstName"));
    let last = text_trait(profile, "last_name").or_else(|| text_trait(profile, "lastName"));
    let both = [first, last].into_iter().flatten().collect::<Vec<_>>().join(" ");
    text_trait(profile, "name").map(ToOwned::to_owned).or_else(|| (!both.is_empty()).then_some(both))
}

fn found_table(found: &[Person]) -> Html {
    let rows: Html = found
        .iter()
        .map(|person| {
            let profile = &person.profile;
            let id = profile.user_id.clone().unwrap_or_else(|| format!("anonymous {}", profile.id));
            html!(
                "<tr><td><a href=\"/customers/profile:{}\">{}</a></td><td>{}</td><td class=\"wide\">{}</td><td>{}</td><td>{}</td></tr>",
                profile.id,
                id,
                name_of(profile),
                text_trait(profile, "email"),
                text_trait(profile, "phone"),
                profile.last_seen_at
            )
        })
        .collect();
    table("Customers found", &["Customer", "Name", "E-mail", "Telephone", "Last seen"], rows)
}

/// The caps of a person have their place on the person's page.
pub(super) async fn caps(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let query = Query::of(&request);
    let made = match visitor.must(Scope::ProfilesRead) {
        Ok(()) => found_by(&desk, query.get("profile").unwrap_or_default()).await,
        Err(nothing) => Err(nothing),
    };
    or_say(&desk, &visitor, Part::Customers, made.map(|id| redirect(&format!("/customers/{}#caps", id.spelled()))))
        .await
}

async fn found_by(desk: &Desk, asked: &str) -> Result<ProfileId, Nothing> {
    let found = looked_up::profile(desk, asked).await?;
    found.ok_or_else(|| Nothing::Unknown(format!("There is no customer {}.", start_of(asked))))
}

pub(super) async fn show(
    desk: Pages,
    visitor: Visitor,
    request: HttpRequest,
    asked: web::Path<String>,
) -> HttpResponse {
    let made = shown(&desk, &visitor, &asked, &Query::of(&request)).await;
    or_say(&desk, &visitor, Part::Customers, made).await
}

/// The number of a profile; whatever else somebody is known by leads there.
async fn shown(desk: &Desk, visitor: &Visitor, asked: &str, query: &Query) -> Result<HttpResponse, Nothing> {
    visitor.must(Scope::ProfilesRead)?;
    let to = |id: ProfileId| redirect(&format!("/customers/{}", id.spelled()));
    let known = match ProfileId::of_spelled(asked) {
        Some(number) => looked_up::numbered(desk, &number.to_string()).await?,
        None => None,
    };
    let Some(id) = known else { return found_by(desk, asked).await.map(to) };
    if id.spelled() != asked {
        return Ok(to(id));
    }
    let now = desk.admin.log.clock().now();
    let person = desk.db().person(id).await?.unwrap_or_else(|| Person::new(id, now));
    page(desk, visitor, &person, query).await
}

async fn page(desk: &Desk, visitor: &Visitor, person: &Person, query: &Query) -> Result<HttpResponse, Nothing> {
    let profile = &person.profile;
    let called = profile.user_id.clone().unwrap_or_else(|| format!("anonymous {}", profile.id));
    let reads_answers = visitor.may(Scope::PermissionRead);
    let name = name_of(profile).map(|name| html!(" <span class=\"h\">{}</span>", name));
    let behind = if desk.db().is_behind(profile.id).await? {
        html!("<p class=\"notice warn\">Newer events of this customer are not processed yet.</p>")
    } else {
        Html::default()
    };
    let body = html!(
        "<p class=\"crumb\"><a href=\"/customers\">Customers</a></p><h1>{}{}</h1><p><a href=\"/why?person={}\">Why they got \
         what they got</a></p>{}<div class=\"columns\"><section><h2 id=\"timeline\">Timeline, \
         newest first</h2>{}</section><div>{}{}{}{}{}{}</div></div>",
        called,
        name,
        profile.id,
        behind,
        timeline::shown(desk, person, query.get("before")).await?,
        known(desk, profile).await?,
        traits(profile),
        carts::card(profile, &desk.admin.definitions.live(desk.admin.workspace).catalog.terms.exchange),
        if reads_answers { consent(desk, profile).await? } else { Html::default() },
        if reads_answers { stops(desk, profile).await? } else { Html::default() },
        cap_card(desk, profile.id).await?
    );
    Ok(framed(desk, visitor, Some(Part::Customers), StatusCode::OK, &called, body).await)
}

async fn known(desk: &Desk, profile: &Profile) -> Result<Html, Nothing> {
    let ids: Html = desk
        .db()
        .identifiers_of(profile.id)
        .await?
        .into_iter()
        .map(|(anonymous, id)| {
            html!(
                "<li>{}{}</li>",
                id,
                if anonymous { html!(" <span class=\"muted\">anonymous id</span>") } else { Html::default() }
            )
        })
        .collect();
    let segments: Html = profile.segments.memberships().into_iter().map(|key| html!("<li>{}</li>", key)).collect();
    let list = |items: Html| if items.is_empty() { html!("none") } else { html!("<ul>{}</ul>", items) };
    Ok(html!(
        "<h2>Known by</h2>{}",
        facts(&[
            ("Profile", profile.id.shown()),
            ("Ids", list(ids)),
            ("Segments", list(segments)),
            ("First seen", profile.created_at.shown()),
            ("Last seen", profile.last_seen_at.shown()),
        ])
    ))
}

fn traits(profile: &Profile) -> Html {
    let row = |name: &str, value: &serde_json::Value, computed: bool| {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let how = if computed { html!(" (computed)") } else { Html::default() };
        html!("<dt>{}{}</dt><dd>{}</dd>", name, how, text)
    };
    let computed = profile.remembered.values().map(|(name, value)| row(name, value, true));
    let said = profile.traits.iter().filter(|(name, _)| !profile.remembered.computed.contains_key(*name));
    let rows: Html = computed.chain(said.map(|(name, value)| row(name, value, false))).collect();
    let rows = if rows.is_empty() { html!("<p class=\"empty\">None.</p>") } else { html!("<dl>{}</dl>", rows) };
    html!(
        "<h2>Traits</h2><div class=\"panel tall\" tabindex=\"0\" role=\"region\" aria-label=\"Traits\">{}</div>",
        rows
    )
}

async fn consent(desk: &Desk, profile: &Profile) -> Result<Html, Nothing> {
    if profile.consent.is_empty() {
        return Ok(html!(
            "<h2>Consent and topics</h2><div class=\"panel\"><p class=\"empty\">No answer on any channel or topic.</p></div>"
        ));
    }
    let rows: Html = profile
        .consent
        .iter()
        .map(|(about, answer)| {
            let class = match answer.state.as_str() {
                "granted" => "ok",
                "denied" => "bad",
                _ => "warn",
            };
            html!(
                "<tr><td>{}</td><td>{}</td><td class=\"wide\">{}</td><td>{}</td></tr>",
                about.replace(':', " "),
                status(class, answer.state.as_str()),
                answer.source,
                answer.at
            )
        })
        .collect();
    let ledger = desk.db().ledger_of(profile.id, LEDGER_MAX).await?;
    let history: Html = ledger
        .iter()
        .rev()
        .map(|row| {
            html!(
                "<li>{}<span>{}: {} ({})</span></li>",
                row.consent.at,
                row.about,
                row.consent.state.as_str(),
                row.consent.source
            )
        })
        .collect();
    Ok(html!(
        "<h2>Consent and topics</h2>{}<details><summary>Every answer</summary><ol class=\"story\">{}</ol></details>",
        table("Consent and topics", &["About", "Answer", "From", "When"], rows),
        history
    ))
}

/// What stops their addresses.
async fn stops(desk: &Desk, profile: &Profile) -> Result<Html, Nothing> {
    let addresses: Vec<(Channel, String)> = Channel::ALL
        .into_iter()
        .filter_map(|channel| Some((channel, address_of(profile, channel).ok()?.normalised().to_owned())))
        .collect();
    let subjects: BTreeSet<String> = addresses.iter().map(|(channel, address)| subject(*channel, address)).collect();
    let listed = desk.db().suppressions_of(&subjects).await?;
    let rows: Html = addresses
        .iter()
        .flat_map(|(channel, address)| {
            listed.get(&subject(*channel, address)).into_iter().flatten().map(move |one| (channel, address, one))
        })
        .map(|(channel, address, one)| {
            html!(
                "<tr><td class=\"wide\">{} {}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                channel.as_str(),
                address,
                status("bad", &one.kind.to_string()),
                one.source,
                one.at
            )
        })
        .collect();
    let shown = if rows.is_empty() {
        html!("<div class=\"panel\"><p class=\"empty\">Nothing stops their addresses.</p></div>")
    } else {
        table("Suppressions", &["Address", "Kind", "From", "Since"], rows)
    };
    Ok(html!("<h2>Suppressions</h2>{}", shown))
}

/// What they used of every frequency cap, by which messages, and when each frees.
async fn cap_card(desk: &Desk, id: ProfileId) -> Result<Html, Nothing> {
    let live = desk.admin.definitions.live(desk.admin.workspace);
    let now = desk.admin.log.clock().now();
    let report = cap_report(desk.db(), &live, id, now, &desk.admin.zone).await?;
    let mut shown = html!(
        "<h2 id=\"caps\">Frequency caps</h2><p class=\"muted\">Days and weeks are those of {}. A message needs room under \
         every rule, for the person and for the address.</p>",
        report.timezone
    );
    for one in &report.subjects {
        let rules: Html = one.rules.iter().map(rule).collect();
        let rules = if rules.is_empty() { html!("<p>No cap is in force.</p>") } else { rules };
        shown.push(html!("<div class=\"panel caps\"><h3>{}</h3>{}</div>", one.subject, rules));
    }
    Ok(shown)
}

fn rule(rule: &RuleUse) -> Html {
    let most = usize::try_from(rule.at_most).unwrap_or(usize::MAX).max(1);
    let width = rule.used.min(most) * 120 / most;
    let class = if rule.used >= most { "failed" } else { "sent" };
    let slots: Html = rule
        .by
        .iter()
        .map(|slot| {
            let which = format!("{} {}", slot.campaign, slot.key);
            html!(
                "<tr><td><a href=\"/why?message={}\">{}</a></td><td>{}</td><td>{}</td></tr>",
                slot.message,
                which.trim_end(),
                slot.slot_at,
                slot.frees_at
            )
        })
        .collect();
    let slots = if slots.is_empty() { slots } else { table("Slots used", &["By", "Slot taken", "Frees"], slots) };
    html!(
        "<p><strong>{} of {}</strong> used: {} <svg class=\"gauge\" width=\"120\" height=\"8\" aria-hidden=\"true\"><rect \
         width=\"120\" height=\"8\" rx=\"2\" class=\"fill none\"/><rect width=\"{}\" height=\"8\" rx=\"2\" class=\"fill {}\"/></svg></p>{}",
        rule.used,
        rule.at_most,
        rule.rule,
        width,
        class,
        slots
    )
}

/// The address of the next page of somebody's timeline.
pub(super) fn older(id: ProfileId, before: &str) -> Html {
    html!("<p class=\"pager\"><a href=\"/customers/profile:{}?before={}#timeline\">Older</a></p>", id, encoded(before))
}
