//! Where a message leads and what it shows: the addresses that its reader's program would ask for, found in the finished
//! text. What of them is right by its form says [`crate::render::inspection`]; whether anybody answers there is asked
//! elsewhere, of whoever is behind them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::render::dressing::unescaped;
use crate::render::markup::{Attribute, Part, parts};
use crate::render::{Content, Email};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    Link,
    Picture,
}

/// An `http` or `https` address in a message, without the place on its page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Linked {
    pub used_as: Use,
    pub url: String,
}

/// Ends of addresses in style sheets that are no pictures.
const NO_PICTURES: [&str; 6] = [".woff", ".woff2", ".ttf", ".otf", ".eot", ".css"];
/// What stands in an address behind which something is done by asking for it, as words of its path or query.
const ACTING: [&str; 12] = [
    "unsubscribe",
    "unsub",
    "optout",
    "opt-out",
    "opt_out",
    "abmelden",
    "desabonner",
    "logout",
    "log-out",
    "signout",
    "sign-out",
    "delete",
];

/// All of a message, each once.
pub fn linked(content: &Content) -> BTreeSet<Linked> {
    let mut found = Found::default();
    match content {
        Content::Email(email) => found.of_mail(email),
        Content::Sms { text, .. } => found.in_text(text),
        Content::Push { title, body, link, .. } => {
            found.in_text(title);
            found.in_text(body);
            found.add(Use::Link, link.as_deref().unwrap_or_default());
        }
        Content::Whatsapp { parameters, .. } => parameters.iter().for_each(|one| found.in_text(one)),
        // What it is posted to is no page, and what it carries is for a program.
        Content::Webhook { .. } => {}
    }
    found.0
}

/// Whether asking for an address may do something: whoever only looks leaves it alone. It errs on the side of leaving.
pub fn acts(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let told = format!("{}?{}", url.path(), url.query().unwrap_or_default()).to_ascii_lowercase();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    told.split(|c: char| !is_part(c)).any(|word| ACTING.contains(&word))
}

#[derive(Default)]
struct Found(BTreeSet<Linked>);

impl Found {
    fn add(&mut self, used_as: Use, written: &str) {
        let address = unescaped(written.trim());
        let start = address.get(..8).unwrap_or(&address).to_ascii_lowercase();
        if !(start.starts_with("https://") || start.starts_with("http://")) {
            return;
        }
        let url = match url::Url::parse(&address) {
            Ok(mut url) => {
                url.set_fragment(None);
                url.to_string()
            }
            // Told as it is written.
            Err(_) => address,
        };
        self.0.insert(Linked { used_as, url });
    }

    fn of_mail(&mut self, email: &Email) {
        for part in parts(&email.html) {
            let Part::Open { name, attributes, end, .. } = part else { continue };
            self.of_element(&name.to_ascii_lowercase(), &attributes);
            if name.eq_ignore_ascii_case("style") {
                let css = email.html[end..].split("</").next().unwrap_or_default();
                self.in_style(css);
            }
        }
        self.in_text(&email.text);
    }

    fn of_element(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        for Attribute { name: attribute, value, .. } in attributes {
            match (name, attribute.to_ascii_lowercase().as_str()) {
                ("a" | "area", "href") => self.add(Use::Link, value),
                ("img" | "v:image" | "v:fill", "src") | (_, "background") => self.add(Use::Picture, value),
                ("img" | "source", "srcset") => {
                    let each = value.split(", ").filter_map(|one| one.split_whitespace().next());
                    each.for_each(|one| self.add(Use::Picture, one.trim_end_matches(',')));
                }
                (_, "style") => self.in_style(&unescaped(value)),
                _ => {}
            }
        }
    }

    /// `url(…)`, whatever it is for.
    fn in_style(&mut self, css: &str) {
        for piece in css.split("url(").skip(1) {
            let Some((inside, _)) = piece.split_once(')') else { continue };
            let address = inside.trim().trim_matches(['"', '\'']);
            let path = address.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
            let is_elsewhere =
                path.contains("fonts.googleapis.com") || NO_PICTURES.iter().any(|end| path.ends_with(end));
            if !is_elsewhere {
                self.add(Use::Picture, address);
            }
        }
    }

    /// What a telephone or a mail program makes a link of by itself.
    fn in_text(&mut self, text: &str) {
        let lower = text.to_ascii_lowercase();
        let mut from = 0;
        while let Some(at) = lower[from..].find("http").map(|at| from + at) {
            let rest = &text[at..];
            let end = rest.find(|c: char| c.is_whitespace() || "<>\"|\\^`{}".contains(c)).unwrap_or(rest.len());
            let address = rest[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '\'', '”', '»']);
            self.add(Use::Link, address);
            from = at + end.max(4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::email;

    fn of(content: &Content) -> Vec<String> {
        linked(content).iter().map(|it| format!("{:?} {}", it.used_as, it.url)).collect()
    }

    #[test]
    fn every_address_a_mail_program_would_ask_for_is_found_once() {
        let html = "<style>.a { background: url('https://shop.example/tile.png') } @font-face { src: url(https://f.example/a.woff2) }\
                    </style><a href=\"https://shop.example/a?b=1&amp;c=2#top\">a</a><a href=\"https://shop.example/a?b=1&amp;c=2\">b</a>\
                    <a href=\"mailto:x@y.example\">c</a><a href=\"#x\">d</a><a href=\"/cart\">e</a>\
                    <img src=\"https://shop.example/a.png\" srcset=\"https://shop.example/a2.png 2x, https://shop.example/a3.png 3x\">\
                    <td background=\"http://shop.example/b.png\" style=\"background-image:url(&quot;https://shop.example/c.png&quot;)\">\
                    <img src=\"cid:logo\">";
        let mut mail = email("Hi", html).mail();
        mail.text = "See https://shop.example/text, or (https://shop.example/more).".to_owned();
        assert_eq!(
            of(&Content::Email(mail)),
            [
                "Link https://shop.example/a?b=1&c=2",
                "Link https://shop.example/more",
                "Link https://shop.example/text",
                "Picture http://shop.example/b.png",
                "Picture https://shop.example/a.png",
                "Picture https://shop.example/a2.png",
                "Picture https://shop.example/a3.png",
                "Picture https://shop.example/c.png",
                "Picture https://shop.example/tile.png",
            ]
        );
    }

    #[test]
    fn what_a_telephone_would_make_a_link_of_is_found() {
        let sms =
            Content::Sms { to: String::new(), text: "Ihr Korb: HTTPS://shop.example/c/1. http ist kürzer".into() };
        assert_eq!(of(&sms), ["Link https://shop.example/c/1"]);
        let link = Some("https://shop.example/p".to_owned());
        let push = Content::Push { to: String::new(), title: "Hi".into(), body: "at http://a.example/".into(), link };
        assert_eq!(of(&push), ["Link http://a.example/", "Link https://shop.example/p"]);
    }

    #[test]
    fn an_address_that_may_do_something_is_known_by_its_words() {
        for url in [
            "https://x.example/unsubscribe/abc",
            "https://x.example/list?action=opt-out&u=1",
            "https://x.example/Abmelden.html",
            "https://x.example/account/logout",
        ] {
            assert!(acts(url), "{url}");
        }
        for url in
            ["https://x.example/undelete-me", "https://unsubscribe.example/", "https://x.example/unsubscribed-tees"]
        {
            assert!(!acts(url), "{url}");
        }
    }
}
