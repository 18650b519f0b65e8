//! What is right as it is written and yet reads badly where mail is read: too long for Gmail, links that lead nowhere,
//! pictures nobody sees. A finished mail is looked at, made with a sample or with what really happened.

use std::collections::BTreeSet;

use crate::render::Email;
use crate::render::markup::{Attribute, Part, parts};

/// Gmail shows so many bytes of a mail's HTML and hides the rest behind a link.
pub const CLIP_BYTES: usize = 102 * 1024;
/// Room for what a longer name or another item adds.
const NEARLY: usize = CLIP_BYTES / 10 * 9;
/// Characters an inbox shows at most.
const PREHEADER_CHARS_MAX: usize = 150;
const SUBJECT_CHARS_MAX: usize = 120;

/// What to say of a mail; each once. `is_marketing`: somebody must find the way out of it.
pub fn remarks(email: &Email, is_marketing: bool) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let mut say = |text: String| {
        told.insert(text);
    };
    let bytes = email.html.len();
    if bytes > NEARLY {
        let (size, clip) = (bytes.div_ceil(1024), CLIP_BYTES / 1024);
        let what = if bytes > CLIP_BYTES { "which hides what is behind them" } else { "which others may pass" };
        say(format!("its HTML has {size} KB; Gmail shows the first {clip} KB, {what}"));
    }
    if email.subject.is_empty() {
        say("its subject is empty".to_owned());
    } else if email.subject.as_str().chars().count() > SUBJECT_CHARS_MAX {
        say(format!("its subject has more than {SUBJECT_CHARS_MAX} characters; no inbox shows them all"));
    }
    let mut leads_out = false;
    for part in parts(&email.html) {
        let Part::Open { name, attributes, .. } = part else { continue };
        let value = |wanted: &str| attributes.iter().find(|it| it.name.eq_ignore_ascii_case(wanted)).map(trimmed);
        if name.eq_ignore_ascii_case("a") && value("name").is_none() && value("id").is_none() {
            let href = value("href").unwrap_or_default();
            leads_out |= ["/u/", "/preferences/"].iter().any(|path| href.contains(path));
            if let Some(problem) = link_problem(href) {
                say(problem);
            }
        }
        if name.eq_ignore_ascii_case("img") {
            if let Some(problem) = picture_problem(value("src").unwrap_or_default()) {
                say(problem);
            }
            if value("alt").is_none() {
                let src: String = value("src").unwrap_or_default().chars().take(60).collect();
                say(format!("the picture `{src}` has no `alt`: nobody who sees no pictures knows what it shows"));
            }
        }
    }
    if is_marketing && !leads_out {
        say("no link of it leads to {{links.unsubscribe}} or {{links.preferences}}, which marketing mail must show"
            .into());
    }
    told
}

/// What is wrong with the line an inbox shows beside the subject.
pub fn preheader_remark(preheader: Option<&str>, subject: &str) -> Option<String> {
    let Some(preheader) = preheader.map(str::trim).filter(|it| !it.is_empty()) else {
        return Some("it has no preheader: an inbox shows the first words of the mail instead".to_owned());
    };
    if preheader == subject.trim() {
        return Some("its preheader says what its subject says".to_owned());
    }
    let is_long = preheader.chars().count() > PREHEADER_CHARS_MAX;
    is_long.then(|| format!("its preheader has more than {PREHEADER_CHARS_MAX} characters; no inbox shows them all"))
}

fn trimmed<'s>(attribute: &Attribute<'s>) -> &'s str {
    attribute.value.trim()
}

fn link_problem(href: &str) -> Option<String> {
    let shown: String = href.chars().take(60).collect();
    let lower = href.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once(':').unwrap_or(("", &lower));
    match scheme {
        _ if href.is_empty() => Some("a link of it leads nowhere: its `href` is empty".to_owned()),
        _ if href == "#" => Some("a link of it leads nowhere: its `href` is `#`".to_owned()),
        _ if href.starts_with('#') => None,
        "mailto" | "tel" if rest.is_empty() => Some(format!("the link `{shown}` leads nowhere")),
        "mailto" | "tel" => None,
        "http" | "https" => match url::Url::parse(href) {
            Ok(url) if is_of_one_machine(&url) => {
                Some(format!("the link `{shown}` leads to the reader's own machine or network, not to your shop"))
            }
            Ok(url) if url.host_str().is_some_and(|host| host.contains('.')) => None,
            _ => Some(format!("the link `{shown}` is no address of a page")),
        },
        _ => Some(format!("the link `{shown}` works on no page but one's own: write all of it, from https:// on")),
    }
}

/// An address that means another machine to everybody: what worked while it was tried, and nowhere else.
fn is_of_one_machine(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => {
            name == "localhost" || name.ends_with(".localhost") || name.ends_with(".local")
        }
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local(),
        None => false,
    }
}

fn picture_problem(src: &str) -> Option<String> {
    let shown: String = src.chars().take(60).collect();
    let lower = src.to_ascii_lowercase();
    if src.is_empty() {
        return Some("a picture of it has no `src`".to_owned());
    }
    if lower.starts_with("http://") {
        return Some(format!("the picture `{shown}` is fetched without TLS; mail programs show https:// alone"));
    }
    if lower.starts_with("cid:") {
        return Some(format!(
            "the picture `{shown}` is none: mails carry no pictures, write its address from https:// on"
        ));
    }
    if lower.starts_with("https://") {
        let is_seen_here_alone = url::Url::parse(src).is_ok_and(|url| is_of_one_machine(&url));
        return is_seen_here_alone
            .then(|| format!("the picture `{shown}` is on the reader's own machine or network, where it is not"));
    }
    Some(format!("the picture `{shown}` has no whole address: write all of it, from https:// on"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::email;

    fn told(html: &str) -> Vec<String> {
        remarks(&email("Hi", html).mail(), false).into_iter().collect()
    }

    #[test]
    fn a_good_mail_is_not_remarked_on() {
        let good = "<a href=\"https://shop.example/a?b=1\">a</a><a href=\"mailto:a@shop.example\">b</a><a name=\"x\"></a>\
                    <a href=\"#x\">c</a><img src=\"https://shop.example/x.png\" alt=\"\">";
        assert_eq!(told(good), Vec::<String>::new());
        let mail = email("Hi", "<a href=\"{{links.preferences}}\">Choose</a>").mail();
        assert!(remarks(&mail, true).is_empty(), "{:?}", remarks(&mail, true));
    }

    #[test]
    fn links_that_lead_nowhere_and_pictures_nobody_sees_are_told() {
        for (html, says) in [
            ("<a>x</a>", "its `href` is empty"),
            ("<a href=\"#\">x</a>", "its `href` is `#`"),
            ("<a href=\"/cart\">x</a>", "the link `/cart` works on no page but one's own"),
            ("<a href=\"www.shop.example\">x</a>", "the link `www.shop.example` works on no page"),
            ("<a href=\"https://\">x</a>", "is no address of a page"),
            ("<a href=\"https://shop/x\">x</a>", "is no address of a page"),
            ("<a href=\"mailto:\">x</a>", "the link `mailto:` leads nowhere"),
            ("<a href=\"http://localhost:3000/cart\">x</a>", "leads to the reader's own machine"),
            ("<a href=\"https://192.168.0.7/cart\">x</a>", "leads to the reader's own machine"),
            ("<a href=\"http://[::1]/cart\">x</a>", "leads to the reader's own machine"),
            ("<a href=\"https://laptop.local/cart\">x</a>", "leads to the reader's own machine"),
            ("<img alt=\"x\">", "no `src`"),
            ("<img alt=\"x\" src=\"cid:logo\">", "mails carry no pictures"),
            ("<img alt=\"x\" src=\"https://127.0.0.1/x.png\">", "on the reader's own machine"),
            ("<img alt=\"x\" src=\"/x.png\">", "no whole address"),
            ("<img alt=\"x\" src=\"http://shop.example/x.png\">", "without TLS"),
            ("<img src=\"https://shop.example/x.png\">", "has no `alt`"),
        ] {
            let told = told(html);
            assert!(told.len() == 1 && told[0].contains(says), "{html}: {told:?}");
        }
        let mail = email("Hi", "<a href=\"https://shop.example\">x</a>").mail();
        assert!(remarks(&mail, true).iter().any(|it| it.contains("{{links.unsubscribe}}")));
    }

    #[test]
    fn what_gmail_would_hide_is_told_before_it_is() {
        let of = |bytes: usize| told(&"x".repeat(bytes));
        assert!(of(80 * 1024).is_empty());
        assert!(of(100 * 1024)[0].contains("100 KB") && of(100 * 1024)[0].contains("others may pass"));
        assert!(of(103 * 1024)[0].contains("hides what is behind them"));
    }

    #[test]
    fn the_line_beside_the_subject_is_there_short_and_says_something_else() {
        let remark = |preheader| preheader_remark(preheader, "Your cart");
        assert_eq!(remark(Some("The lamp waits.")), None);
        assert!(remark(None).is_some_and(|it| it.contains("no preheader")));
        assert!(remark(Some(" Your cart ")).is_some_and(|it| it.contains("says what its subject says")));
        assert!(remark(Some(&"x".repeat(151))).is_some_and(|it| it.contains("150 characters")));
    }
}
