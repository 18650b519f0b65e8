//! A message as its reader's device would show it: a mail in frames of several widths, a text and a notification on a
//! telephone. What a template or a customer wrote runs nothing: frames have neither script nor an origin.

use crate::http::pages::frame::{facts, table};
use crate::http::pages::html::{Html, Shown, encoded, html};
use crate::render::inspection::{CLIP_BYTES, preheader_remark, remarks};
use crate::render::template::Template;
use crate::render::{Content, Email, Mailbox};

/// What a message's HTML may do: show its pictures and styles, and open what somebody clicks on in a tab of its own.
pub const FRAME_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src https: data:; style-src \
     'unsafe-inline'; frame-ancestors 'self'";

/// Letters a text message carries seven bits each of; any other takes sixteen.
const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Those that take two places.
const GSM_TWO: &str = "^{}\\[~]|€";

/// A page does not let itself be framed, so a link opens beside it, as in a mail program.
pub fn with_links_beside(html: &str) -> String {
    let head = html.find("<head>").map_or(0, |at| at + "<head>".len());
    let (before, after) = html.split_at(head);
    format!("{before}<base target=\"_blank\">{after}")
}

/// The mail as a mailbox of this scheme shows it. A frame without an origin is always in the browser's own scheme, so
/// what the mail asks of the scheme is answered in its text.
pub fn in_scheme(html: &str, dark: bool) -> String {
    const ASKED: &str = "color-scheme";
    let chosen = if dark { "dark" } else { "light" };
    let lower = html.to_ascii_lowercase();
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = lower[html.len() - rest.len()..].find(ASKED) {
        let (before, after) = (&rest[..at], &rest[at + ASKED.len()..]);
        let value = after.trim_start().strip_prefix(':').map(str::trim_start);
        let end =
            value.map(|value| value.find(|c: char| !(c.is_ascii_alphabetic() || c == ' ')).unwrap_or(value.len()));
        match (before.len().checked_sub("prefers-".len()).filter(|from| before.is_char_boundary(*from)), value, end) {
            (Some(from), Some(value), Some(end)) if before[from..].eq_ignore_ascii_case("prefers-") => {
                let holds = value[..end].trim().eq_ignore_ascii_case(chosen);
                out.push_str(&before[..from]);
                out.push_str(if holds { "min-width:0px" } else { "max-width:0px" });
                rest = &value[end..];
            }
            (_, Some(value), Some(end)) if value[..end].contains("dark") => {
                out.push_str(before);
                out.push_str(&format!("{ASKED}:{chosen}"));
                rest = &value[end..];
            }
            _ => {
                out.push_str(&rest[..at + ASKED.len()]);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.replace("content=\"light dark\"", &format!("content=\"{chosen}\""))
}

/// `Name <address>`.
pub fn mailbox(mailbox: &Mailbox) -> Html {
    match &mailbox.name {
        Some(name) => format!("{name} <{}>", mailbox.address).shown(),
        None => mailbox.address.shown(),
    }
}

/// A telephone with something on its screen.
fn phone(inside: Html) -> Html {
    html!("<div class=\"phone\"><div class=\"screen\">{}</div></div>", inside)
}

pub fn sms_bubble(text: &str) -> Html {
    let (length, parts) = sms_parts(text);
    let plural = if parts == 1 { "" } else { "s" };
    html!(
        "{}<p class=\"muted\">{} characters, {} part{}</p>",
        phone(html!("<p class=\"bubble\">{}</p>", text)),
        length,
        parts,
        plural
    )
}

pub fn push_card(title: &str, body: &str, link: Option<&str>) -> Html {
    let link = link.map(|link| html!("<p class=\"muted\">Opens {}</p>", link));
    html!("{}{}", phone(html!("<div class=\"push\"><strong>{}</strong><span>{}</span></div>", title, body)), link)
}

/// Characters, and the messages a text is charged as.
fn sms_parts(text: &str) -> (usize, usize) {
    let places = |c: char| {
        if GSM.contains(c) {
            Some(1)
        } else if GSM_TWO.contains(c) {
            Some(2)
        } else {
            None
        }
    };
    let (length, one, many) = match text.chars().map(places).sum::<Option<usize>>() {
        Some(length) => (length, 160, 153),
        None => (text.encode_utf16().count(), 70, 67),
    };
    (text.chars().count(), if length <= one { 1 } else { length.div_ceil(many) })
}

/// Everything there is to see of a message.
pub fn shown(key: &str, query: &str, content: &Content, template: &Template, is_marketing: bool) -> Html {
    match content {
        Content::Email(email) => mail(key, query, email, template, is_marketing),
        Content::Sms { to, text } => {
            html!("{}<h2>On a telephone</h2>{}", facts(&[("To", to.shown())]), sms_bubble(text))
        }
        Content::Push { to, title, body, link } => {
            html!("{}<h2>On a telephone</h2>{}", facts(&[("To", to.shown())]), push_card(title, body, link.as_deref()))
        }
        Content::Whatsapp { to, name, language, parameters } => {
            let parameters: Html = parameters.iter().map(|one| html!("<li>{}</li>", one)).collect();
            let rows = [("To", to.shown()), ("Provider’s template", name.shown()), ("Language", language.shown())];
            html!("{}<h2>Parameters</h2><ol class=\"panel plainlist\">{}</ol>", facts(&rows), parameters)
        }
        Content::Webhook { url, json } => {
            html!("{}<h2>JSON</h2><pre class=\"panel\" tabindex=\"0\">{}</pre>", facts(&[("To", url.shown())]), json)
        }
    }
}

fn mail(key: &str, query: &str, email: &Email, template: &Template, is_marketing: bool) -> Html {
    let mut told = remarks(email, is_marketing);
    let own = template.parts.email.as_ref().and_then(|part| part.preheader.as_deref());
    let own = own.or_else(|| email.html.contains("display:none").then_some("written in the HTML"));
    told.extend(preheader_remark(own, email.subject.as_str()));
    let told: Html = told.iter().map(|one| html!("<li>{}</li>", one)).collect();
    let told = if told.is_empty() {
        html!("<p class=\"notice ok\">Nothing to remark on.</p>")
    } else {
        html!("<ul class=\"notice warn remarks\">{}</ul>", told)
    };
    let size = format!("{} KB of the {} KB that Gmail shows", email.html.len().div_ceil(1024), CLIP_BYTES / 1024);
    let frame = |class: &str, name: &str, scheme: &str| {
        let src = format!("/preview/{}/html?{query}&scheme={scheme}", encoded(key));
        html!(
            "<figure class=\"{}\"><figcaption>{}</figcaption><iframe sandbox=\"allow-popups allow-popups-to-escape-sandbox\" \
             src=\"{}\" title=\"The mail: {}\"></iframe></figure>",
            class,
            name,
            src,
            name
        )
    };
    html!(
        "<h2>Remarks</h2>{}<p class=\"muted\">{}</p><h2>In a mailbox</h2><div class=\"frames\" tabindex=\"0\" role=\"region\" aria-label=\"In a mailbox\">{}{}</div><h2>In a dark \
         mailbox</h2><div class=\"frames dark\" tabindex=\"0\" role=\"region\" aria-label=\"In a dark mailbox\">{}{}</div><div class=\"columns\"><section><h2>As text</h2><pre \
         class=\"panel tall\" tabindex=\"0\">{}</pre></section><section><h2>Headers</h2>{}</section></div>",
        told,
        size,
        frame("wide", "wide, 680", "light"),
        frame("narrow", "narrow, 390", "light"),
        frame("wide", "wide, dark", "dark"),
        frame("narrow", "narrow, dark", "dark"),
        email.text,
        headers(email)
    )
}

/// As they would leave.
fn headers(email: &Email) -> Html {
    let mut rows = vec![
        ("From", mailbox(&email.from)),
        ("To", mailbox(&email.to)),
        ("Subject", email.subject.as_str().shown()),
        ("Date", email.date.shown()),
        ("Message-ID", email.message_id.shown()),
    ];
    rows.extend(email.reply_to.iter().map(|address| ("Reply-To", address.shown())));
    rows.extend(email.headers.iter().map(|(name, value)| (name.as_str(), value.as_str().shown())));
    let rows: Html = rows
        .iter()
        .map(|(name, value)| html!("<tr><th scope=\"row\">{}</th><td class=\"wide\">{}</td></tr>", name, value))
        .collect();
    table("Headers", &["Header", "Value"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_as_it_is_charged() {
        assert_eq!(sms_parts(&"a".repeat(160)), (160, 1));
        assert_eq!(sms_parts(&"a".repeat(161)), (161, 2));
        assert_eq!(sms_parts(&"€".repeat(80)), (80, 1));
        assert_eq!(sms_parts(&"€".repeat(81)), (81, 2));
        assert_eq!(sms_parts(&"ł".repeat(71)), (71, 2));
        assert_eq!(sms_parts("👍"), (1, 1));
        assert_eq!(sms_parts(""), (0, 1));
    }

    #[test]
    fn a_mail_is_shown_in_the_scheme_that_is_asked_for() {
        let mail = "<meta name=\"color-scheme\" content=\"light dark\"><style>:root{color-scheme: light dark}\
                    @media (prefers-color-scheme: dark) {a{}} @media(Prefers-Color-Scheme:light){b{}}</style>é color-scheme";
        let dark = "<meta name=\"color-scheme\" content=\"dark\"><style>:root{color-scheme:dark}\
                    @media (min-width:0px) {a{}} @media(max-width:0px){b{}}</style>é color-scheme";
        let light = "<meta name=\"color-scheme\" content=\"light\"><style>:root{color-scheme:light}\
                     @media (max-width:0px) {a{}} @media(min-width:0px){b{}}</style>é color-scheme";
        assert_eq!((in_scheme(mail, true).as_str(), in_scheme(mail, false).as_str()), (dark, light));
    }

    #[test]
    fn links_open_beside_the_page() {
        assert_eq!(with_links_beside("<html><head><title>x"), "<html><head><base target=\"_blank\"><title>x");
        assert_eq!(with_links_beside("<p>x"), "<base target=\"_blank\"><p>x");
    }
}
