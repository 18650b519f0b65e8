//! How a template reads: wide, narrow, dark, as text and with its headers, for a sample or for a real person and event.
//! Read from a folder while it is being written, it is shown anew whenever a file is saved; what is wrong with it stands,
//! with line and column, in its place. Nothing of it can be sent from here.

mod checked;
mod drafts;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use crate::decision::Campaign;
use crate::demo::with_pictures;
use crate::http::scope::Scope as Permission;
use crate::http::tried::{Tried, newest_event};
use crate::message::{Channel, Purpose};
use crate::render::template::Template;
use crate::render::{Compiled, Content, RenderError, Scope, preview};

use super::frame::{Part, framed, table};
use super::html::{Html, encoded, html};
use super::looked_up::{self, Query, start_of};
use super::sign_in::Visitor;
use super::{Desk, Nothing, Pages, or_say};
pub(super) use checked::check;
use drafts::{Draft, draft, drafts, fingerprint};
use shapes::in_scheme;
pub(super) use shapes::{FRAME_POLICY, mailbox, push_card, sms_bubble, with_links_beside};

/// How long a page that waits for a change is held, and how often the folder is looked at meanwhile.
const HELD_FOR: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(300);

pub(super) async fn list(desk: Pages, visitor: Visitor) -> HttpResponse {
    let made = list_page(&desk, &visitor).await;
    or_say(&desk, &visitor, Part::Templates, made).await
}

async fn list_page(desk: &Desk, visitor: &Visitor) -> Result<HttpResponse, Nothing> {
    visitor.must(Permission::DefinitionsRead)?;
    let rows: Html = drafts(desk).await?.iter().map(|draft| list_row(desk, draft)).collect();
    let from = match &desk.folder {
        Some(folder) => html!(
            "<p class=\"muted\">Read from <code>{}</code> as it is saved, and from what is in force.</p>",
            folder.display().to_string()
        ),
        None => html!(
            "<p class=\"muted\">Start with <code>--templates FOLDER</code> to see templates as they are written.</p>"
        ),
    };
    let list = if rows.is_empty() {
        html!(
            "<div class=\"panel empty\"><p>There is no template yet. <code>carillon apply FOLDER</code> brings some into force.</p></div>"
        )
    } else {
        table("Templates", &["Template", "Channels", "Languages", "Sent by", "State"], rows)
    };
    let body = html!("<h1>Templates</h1>{}{}", from, list);
    Ok(framed(desk, visitor, Some(Part::Templates), StatusCode::OK, "Templates", body).await)
}

fn list_row(desk: &Desk, draft: &Draft) -> Html {
    let channels = draft.template.as_ref().map(|it| {
        let all: Vec<&str> =
            Channel::ALL.into_iter().filter(|channel| it.parts.has(*channel)).map(Channel::as_str).collect();
        all.join(", ")
    });
    let languages = draft.template.as_ref().map(|it| {
        let all: Vec<&str> = it.locale.iter().chain(it.variants.keys()).map(String::as_str).collect();
        all.join(", ")
    });
    let by: Vec<String> = senders(desk, &draft.key).iter().map(|it| it.key.clone()).collect();
    let state = match (&draft.template, draft.from_folder) {
        (None, _) => super::frame::status("bad", "Has problems"),
        (Some(_), true) => super::frame::status("wait", "In the folder"),
        (Some(it), false) => super::frame::status("ok", &format!("In force, version {}", it.version)),
    };
    html!(
        "<tr><td><a href=\"/preview/{}\">{}</a></td><td>{}</td><td>{}</td><td class=\"wide\">{}</td><td>{}</td></tr>",
        encoded(&draft.key),
        draft.key,
        channels,
        languages,
        by.join(", "),
        state
    )
}

/// The campaigns that send a template.
fn senders(desk: &Desk, key: &str) -> Vec<Arc<Campaign>> {
    let live = desk.admin.definitions.live(desk.admin.workspace);
    live.catalog.campaigns().filter(|campaign| campaign.send.template == key).cloned().collect()
}

/// What a template is shown with.
struct Look {
    draft: Draft,
    channel: Channel,
    with: Tried,
    campaigns: Vec<Arc<Campaign>>,
}

impl Look {
    async fn of(desk: &Desk, visitor: &Visitor, request: &HttpRequest) -> Result<Self, Nothing> {
        visitor.must(Permission::DefinitionsRead)?;
        let key = request.match_info().query("template").to_owned();
        let query = Query::of(request);
        if query.get("person").or(query.get("as")).or(query.get("event")).is_some() {
            visitor.must(Permission::ProfilesRead)?;
        }
        if query.get("event").is_some() {
            visitor.must(Permission::EventsRead)?;
        }
        let unknown = || Nothing::Unknown(format!("There is no template {}.", start_of(&key)));
        let draft = draft(desk, &key).await?.ok_or_else(unknown)?;
        let campaigns = senders(desk, &key);
        let has = |channel: &Channel| draft.template.as_ref().is_none_or(|it| it.parts.has(*channel));
        let first = Channel::ALL.into_iter().find(has).unwrap_or(Channel::Email);
        let channel = match query.get("channel") {
            Some(name) => Channel::parse(name).filter(has).ok_or_else(|| {
                Nothing::Unknown(format!("Template {key} has no part for the channel {}.", start_of(name)))
            })?,
            None => first,
        };
        let person = match (query.get("person"), query.get("as")) {
            (Some(number), _) => looked_up::numbered(desk, number).await?,
            (None, Some(id)) => {
                let found = looked_up::profile(desk, id).await?;
                let unknown = || Nothing::Unknown(format!("There is no customer {}.", start_of(id)));
                Some(found.ok_or_else(unknown)?)
            }
            (None, None) => None,
        };
        let with = Tried { locale: query.get("locale").map(start_of), ..Tried::default() };
        let mut look = Self { draft, channel, with, campaigns };
        if let Some(asked) = query.get("event") {
            let unknown = || Nothing::Unknown(format!("There is no event {}.", start_of(asked)));
            let (entry, event) = looked_up::event(desk, asked).await?.ok_or_else(unknown)?;
            look.with.event = Some(event);
            if let (None, Some(of)) = (&person, entry.profile) {
                look.with.person = desk.db().person(desk.db().current_profile(of).await?).await?.map(|it| it.profile);
            }
        }
        if let Some(id) = person {
            look.with.person = desk.db().person(id).await?.map(|it| it.profile);
            if let (None, Some(person)) = (&look.with.event, &look.with.person)
                && visitor.may(Permission::EventsRead)
            {
                look.with.event = newest_event(desk.db(), person, &look.campaigns).await?;
            }
        }
        Ok(look)
    }

    fn is_marketing(&self) -> bool {
        let mine = || self.campaigns.iter().filter(|it| it.send.channel == self.channel);
        mine().count() == 0 || mine().any(|it| it.purpose == Purpose::Marketing)
    }

    fn variables(&self, desk: &Desk, template: &Template) -> Map<String, Value> {
        let campaign = self.campaigns.first().map(Arc::as_ref);
        let live = desk.admin.definitions.live(desk.admin.workspace);
        let exchange = &live.catalog.terms.exchange;
        self.with.variables(&template.sample, &desk.workspace, campaign, exchange)
    }

    /// As its reader would get it, or what is wrong.
    fn content(&self, desk: &Desk, template: &Template) -> Result<Content, String> {
        let compiled = Compiled::new(template).map_err(|error| error.to_string())?;
        let scope = Scope::sample(desk.admin.log.clock().now(), &self.variables(desk, template));
        let address = self.with.person.as_ref().and_then(|person| person.address(self.channel.address_trait()));
        let to = address.unwrap_or(match self.channel {
            Channel::Email => "sample@example.com",
            Channel::Sms | Channel::Whatsapp => "+44 7700 900123",
            Channel::Push => "a device",
            Channel::Webhook => "https://example.com/hook",
        });
        let shown = preview(&compiled, self.channel, &scope, &desk.sender, to);
        let mut content = shown.map_err(|error| self.explained(&error))?.content().clone();
        if let Content::Email(email) = &mut content
            && !self.is_marketing()
        {
            email.headers.retain(|(name, _)| !name.starts_with("List-Unsubscribe"));
        }
        Ok(content)
    }

    fn explained(&self, error: &RenderError) -> String {
        let with = match (&self.with.person, &self.with.event) {
            (Some(_), Some(_)) => "this customer and event: such a message would fail",
            (Some(_), None) => "this customer and the template's sample",
            _ => "the template's sample; name a customer and an event, or give it one",
        };
        format!("{error} (with {with})")
    }

    /// The same look at another address.
    fn query(&self) -> String {
        let mut query = format!("channel={}", self.channel.as_str());
        if let Some(person) = &self.with.person {
            query.push_str(&format!("&person={}", person.id));
        }
        if let Some(event) = &self.with.event {
            query.push_str(&format!("&event={}", event.id));
        }
        if let Some(locale) = &self.with.locale {
            query.push_str(&format!("&locale={}", encoded(locale)));
        }
        query
    }
}

pub(super) async fn show(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let made = look_page(&desk, &visitor, &request).await;
    or_say(&desk, &visitor, Part::Templates, made).await
}

async fn look_page(desk: &Desk, visitor: &Visitor, request: &HttpRequest) -> Result<HttpResponse, Nothing> {
    let look = Look::of(desk, visitor, request).await?;
    let key = &look.draft.key;
    let shown = match &look.draft.template {
        None => problems(&look.draft),
        Some(template) => match look.content(desk, template) {
            Ok(content) => html!(
                "{}{}",
                checked::button(visitor, &look.draft.key, &look.query()),
                shapes::shown(&look.draft.key, &look.query(), &content, template, look.is_marketing())
            ),
            Err(error) => html!(
                "<div class=\"notice bad\" role=\"alert\"><strong>It cannot be rendered.</strong> {}</div>",
                error
            ),
        },
    };
    let seen = fingerprint(desk).await?;
    let title = format!("Preview: {key}");
    let body = html!(
        "<p class=\"crumb\"><a href=\"/preview\">Templates</a></p><h1>{}</h1>{}<div id=\"watched\" data-changed=\"/preview/{}/changed?seen={}\">\
         {}</div><script src=\"/ui/preview.js\" defer></script>",
        key,
        choices(&look, visitor.may(Permission::ProfilesRead) && visitor.may(Permission::EventsRead)),
        encoded(key),
        seen,
        shown
    );
    Ok(framed(desk, visitor, Some(Part::Templates), StatusCode::OK, &title, body).await)
}

fn problems(draft: &Draft) -> Html {
    let rows: Html = draft
        .problems
        .iter()
        .map(|one| {
            let place = format!("{}:{}:{}", one.file, one.line, one.column);
            let meant = one.nearest.as_ref().map(|nearest| html!("; did you mean <code>{}</code>?", nearest));
            html!("<tr><td><code>{}</code></td><td class=\"wide\">{}{}</td></tr>", place, one.message, meant)
        })
        .collect();
    html!(
        "<div class=\"notice bad\" role=\"alert\"><strong>It cannot be read.</strong> Mend this and save; the page follows.\
         </div>{}",
        table("Problems", &["Where", "What"], rows)
    )
}

/// The form that chooses with what it is shown.
fn choices(look: &Look, for_whom: bool) -> Html {
    let option = |value: &str, name: &str, chosen: bool| {
        let chosen = if chosen { html!(" selected") } else { Html::default() };
        html!("<option value=\"{}\"{}>{}</option>", value, chosen, name)
    };
    let template = look.draft.template.as_ref();
    let channels: Html = Channel::ALL
        .into_iter()
        .filter(|channel| template.is_some_and(|it| it.parts.has(*channel)))
        .map(|channel| option(channel.as_str(), channel.as_str(), channel == look.channel))
        .collect();
    let mut locales: Vec<&str> =
        template.into_iter().flat_map(|it| it.locale.iter().chain(it.variants.keys())).map(String::as_str).collect();
    locales.extend(look.with.locale.as_deref().filter(|chosen| !locales.contains(chosen)));
    let languages = if locales.is_empty() {
        Html::default()
    } else {
        let options: Html = locales.iter().map(|it| option(it, it, look.with.locale.as_deref() == Some(it))).collect();
        html!(
            "<label for=\"locale\">Language</label><select id=\"locale\" name=\"locale\"><option value=\"\">the \
             reader’s</option>{}</select>",
            options
        )
    };
    let who = look.with.person.as_ref().map(|it| it.user_id.clone().unwrap_or_else(|| it.id.to_string()));
    let event = look.with.event.as_ref().map(|it| it.message_id.clone());
    let whom = for_whom.then(|| {
        html!(
            "<label for=\"as\">As customer</label><input id=\"as\" name=\"as\" value=\"{}\" placeholder=\"the sample\" \
             spellcheck=\"false\" size=\"14\"><label for=\"event\">Event</label><input id=\"event\" name=\"event\" \
             value=\"{}\" placeholder=\"the newest that fits\" spellcheck=\"false\" size=\"20\">",
            who,
            event
        )
    });
    html!(
        "<form class=\"row\">{}<label for=\"channel\">Channel</label><select id=\"channel\" name=\"channel\">{}</select>{}\
         <button class=\"plain\">Show</button></form>",
        whom,
        channels,
        languages
    )
}

/// The mail's HTML alone, for the frames.
pub(super) async fn html(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let content = match Look::of(&desk, &visitor, &request).await {
        Ok(look) => look
            .draft
            .template
            .as_ref()
            .map_or_else(|| Err("It cannot be read.".to_owned()), |it| look.content(&desk, it)),
        Err(nothing) => Err(nothing.to_string()),
    };
    let (status, text) = match content {
        Ok(Content::Email(email)) => {
            let html = match Query::of(&request).get("scheme") {
                Some(scheme) => in_scheme(&email.html, scheme == "dark"),
                None => email.html,
            };
            (StatusCode::OK, with_links_beside(&with_pictures(&html)))
        }
        Ok(_) => (StatusCode::NOT_FOUND, "<p>This channel has no HTML.</p>".to_owned()),
        Err(error) => (StatusCode::NOT_FOUND, html!("<p>{}</p>", error).as_str().to_owned()),
    };
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, FRAME_POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text)
}

/// Answers when what was seen is no longer what there is, or after a while that it still is.
pub(super) async fn changed(desk: Pages, visitor: Visitor, request: HttpRequest) -> HttpResponse {
    if let Err(nothing) = visitor.must(Permission::DefinitionsRead) {
        return or_say(&desk, &visitor, Part::Templates, Err(nothing)).await;
    }
    let query = Query::of(&request);
    let seen = query.get("seen").unwrap_or_default();
    let waiting = async {
        loop {
            match fingerprint(&desk).await {
                Ok(now) if now != seen => return true,
                Ok(_) if desk.admin.is_stopping() => return false,
                Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
                Err(_) => return false,
            }
        }
    };
    let changed = tokio::time::timeout(HELD_FOR, waiting).await.unwrap_or(false);
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(json!({ "changed": changed }))
}
