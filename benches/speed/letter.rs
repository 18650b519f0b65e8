//! The mail of the bench, and how fast it renders beside bare Handlebars over the same text.

use anyhow::bail;
use carillon::audience::Profile;
use carillon::audience::cart::View;
use carillon::clock::Clock;
use carillon::event::Event;
use carillon::guard::{Cleared, Draft, GuardState, Verdict, check};
use carillon::ids::{Position, ProfileId, Span, Timestamp, WorkspaceId};
use carillon::message::{Channel, Message, Purpose};
use carillon::money::Exchange;
use carillon::render::links::{KeyRing, Link, Links, MessageLinks, Tracks};
use carillon::render::template::{EmailPart, Markup, Parts, Template};
use carillon::render::{Compiled, Content, Occasion, Rendered, Scope, Sender, Workspace, render};
use handlebars::{Context, Handlebars};

use crate::Plan;
use crate::report::{Figures, Row, Target};

pub const SUBJECT: &str = "Your cart, {{profile.traits.first_name}}";

/// A template, and everything one message of it is about.
pub struct Letter {
    now: Timestamp,
    profile: Profile,
    message: Message,
    event: Event,
    workspace: Workspace,
    sender: Sender,
    html: String,
    compiled: Compiled,
    links: Links,
}

impl Letter {
    /// A mail of about this many bytes when it is sent; without `text` its text part is derived from the HTML.
    ///
    /// # Errors
    /// Its template does not compile.
    pub fn new(bytes: usize, text: Option<&str>) -> anyhow::Result<Self> {
        let now: Timestamp = "2026-03-01T11:00Z".parse()?;
        let mut profile = Profile::new(ProfileId(7), now);
        profile.traits.insert("email".to_owned(), "ann@example.com".into());
        profile.traits.insert("first_name".to_owned(), "Ann".into());
        let event = shop_event(now);
        let html = html(bytes);
        let compiled = Compiled::new(&template(&html, text))?;
        let workspace = Workspace { name: "Shop".to_owned(), postal_address: None, timezone: String::new() };
        let sender = Sender::new(Some("The Shop"), "hello@shop.example", None)?;
        let links = Links::new("https://news.shop.example", KeyRing::new(1, [7; 32]));
        Ok(Self { now, profile, message: message(now), event, workspace, sender, html, compiled, links })
    }

    /// In a workspace that wants to hear of clicks and opens.
    fn tracked(mut self) -> Self {
        self.links = self.links.with_tracking(Tracks::ALL);
        self
    }

    fn link(&self) -> Link {
        let (profile, message) = (self.profile.id, self.message.id);
        Link { workspace: WorkspaceId(1), profile, channel: Channel::Email, message }
    }

    fn scope(&self) -> Scope {
        let about = Occasion {
            profile: &self.profile,
            event: &self.event,
            entry: &self.event,
            cart: &View::default(),
            exchange: &Exchange::default(),
            message: &self.message,
            campaign_name: "Cart reminder",
            workspace: &self.workspace,
            links: &MessageLinks {
                unsubscribe: "https://news.shop.example/u/TOKEN".to_owned(),
                preferences: "https://news.shop.example/preferences/TOKEN".to_owned(),
                ..self.links.of_message(&self.link(), false)
            },
        };
        Scope::new(self.now, &about)
    }

    fn cleared(&self) -> anyhow::Result<Cleared> {
        let state = GuardState { unknown_consent: Ok(()), ..GuardState::of(&self.profile) };
        match check(self.now, &state, Draft(self.message.clone())) {
            Verdict::Clear(cleared) => Ok(cleared),
            other => bail!("the guard does not clear it: {other:?}"),
        }
    }

    /// # Errors
    /// It does not render.
    pub fn render(&self) -> anyhow::Result<Rendered> {
        Ok(render(&self.cleared()?, &self.compiled, &self.scope(), &self.sender)?)
    }
}

/// The row about rendering: subject, HTML and text part with scope and links, beside the HTML alone by Handlebars.
///
/// # Errors
/// The template does not render.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let text = "Hello {{profile.traits.first_name}}, your cart waits: {{links.unsubscribe}}";
    let (letter, derived) = (Letter::new(8_000, Some(text))?, Letter::new(8_000, None)?);
    let Content::Email(email) = letter.render()?.content().clone() else { bail!("not an e-mail") };
    let (mut whole, mut scoped, mut bare) = (Figures::default(), Figures::default(), Figures::default());
    let (mut from_html, mut followed) = (Figures::default(), Figures::default());
    let tracked = Letter::new(8_000, Some(text))?.tracked();
    let tracked_scope = tracked.scope();
    let (cleared, scope) = (letter.cleared()?, letter.scope());
    let mut handlebars = Handlebars::new();
    handlebars.register_template_string("mail", &letter.html)?;
    let context = Context::wraps(serde_json::json!({
        "profile": { "traits": letter.profile.traits },
        "event": letter.event.body.document(),
        "links": { "unsubscribe": "https://news.shop.example/u/TOKEN" },
    }))?;
    for _ in 0..plan.repetitions {
        whole.0.push(per_second(plan, || made(letter.render()))?);
        scoped.0.push(per_second(plan, || made(render(&cleared, &letter.compiled, &scope, &letter.sender)))?);
        followed
            .0
            .push(per_second(plan, || made(render(&cleared, &tracked.compiled, &tracked_scope, &tracked.sender)))?);
        from_html.0.push(per_second(plan, || made(derived.render()))?);
        bare.0.push(per_second(plan, || made(handlebars.render_with_context("mail", &context)))?);
    }
    let row = |what: String, ours, target| Row {
        what,
        unit: "mails/s per core",
        ours,
        yardstick: Some(("Handlebars, the HTML alone".to_owned(), bare.clone())),
        target,
    };
    let size = email.html.len();
    Ok(vec![
        row(
            format!("render {size} bytes of HTML with subject and text part, scope built before"),
            scoped,
            Target::RatioAtLeast(0.70),
        ),
        row("the same with five links and the open tracked".to_owned(), followed, Target::None),
        row("the same as the first with guard and scope".to_owned(), whole, Target::None),
        row("the same, the text part derived from the HTML of each mail".to_owned(), from_html, Target::None),
    ])
}

/// Whether it was made; what was made is not looked at, and not optimised away either.
fn made<T, E: Into<anyhow::Error>>(made: Result<T, E>) -> anyhow::Result<()> {
    made.map(|made| drop(std::hint::black_box(made))).map_err(Into::into)
}

fn per_second(plan: &Plan, mut once: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let clock = Clock::system(Span::ZERO);
    let started = clock.monotonic();
    let mut count = 0;
    loop {
        for _ in 0..100 {
            once()?;
        }
        count += 100;
        let seconds = (clock.monotonic() - started).as_secs_f64();
        if seconds >= plan.seconds / 4.0 {
            return Ok(f64::from(count) / seconds);
        }
    }
}

/// Five items in a loop, and prose up to the size.
pub fn html(bytes: usize) -> String {
    let prose = "<p>It is still there, and it would look good beside the window.</p>\n";
    let mut html = String::from(
        "<html><body><h1>Hello {{profile.traits.first_name}}</h1>\n<table>{{#each event.properties.products}}\
         <tr><td><a href=\"{{url}}\">{{name}}</a></td><td>{{price}}</td></tr>{{/each}}</table>\n",
    );
    while html.len() * 2 < bytes {
        html.push_str(prose);
    }
    html.push_str("<p><a href=\"{{links.unsubscribe}}\">No more of this</a></p></body></html>\n");
    html
}

fn template(html: &str, text: Option<&str>) -> Template {
    let email = EmailPart {
        subject: SUBJECT.to_owned(),
        preheader: None,
        markup: Markup::Html(html.to_owned()),
        text: text.map(ToOwned::to_owned),
    };
    Template {
        key: "cart_reminder".to_owned(),
        version: 1,
        topic: None,
        name: None,
        defaults: serde_json::Map::new(),
        sample: serde_json::Map::new(),
        tracks: Tracks::ALL,
        locale: None,
        parts: Parts { email: Some(email), ..Parts::default() },
        variants: std::collections::BTreeMap::new(),
        partials: std::collections::BTreeMap::new(),
    }
}

fn shop_event(now: Timestamp) -> Event {
    let mut event = crate::shop::event("letter", 1, 7, 1, now);
    let product = r#"{"name":"Walnut desk lamp","url":"https://shop.test/p/1","price":"40.50"}"#;
    let products = [product; 5].join(",");
    event.body = carillon::event::Body::new(format!(r#"{{"properties":{{"products":[{products}]}}}}"#));
    event
}

fn message(now: Timestamp) -> Message {
    Message {
        campaign: "cart_reminder".to_owned(),
        template: "cart_reminder".to_owned(),
        ..Message::queued(&[b"letter"], ProfileId(7), Channel::Email, Purpose::Marketing, Position(1), now)
    }
}
