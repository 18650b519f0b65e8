//! Which addresses go by way of us, and what else each mail carries.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::render::links::Links;
use crate::render::tests::{Case, email};

const CLICKS: Tracks = Tracks { clicks: true, opens: false };
const OPENS: Tracks = Tracks { clicks: false, opens: true };

/// Where the links of a mail lead in the end, and whether by way of us.
fn targets(links: &Links, html: &str) -> Vec<(bool, String)> {
    let opens = parts(html).filter_map(|part| match part {
        Part::Open { name, attributes, .. } if name != "img" => Some(attributes),
        _ => None,
    });
    let hrefs = opens.flatten().filter(|it| it.name.eq_ignore_ascii_case("href")).map(|it| it.value);
    let ends = hrefs.map(|href| match href.strip_prefix("https://news.shop.example/c/") {
        Some(token) => (true, links.verify_click(token).unwrap().1),
        None => (false, href.to_owned()),
    });
    ends.collect()
}

fn case(html: &str) -> Case {
    email("s", html).traits(serde_json::json!({ "page": "https://shop.example/?a=1&b=\"<ü" }))
}

#[test]
fn links_to_pages_go_by_way_of_us_and_lead_where_they_were_written() {
    let case = case(
        "<body><a href=\"https://shop.example/a?x=1&amp;y=2\">a</a><A class=b HREF = 'HTTP://shop.example/{{event.properties.currency}}'>b</A>\
         <a href=\"{{profile.traits.page}}\">c</a>\
         {{#if event.name}}<a href=\"{{#if profile.traits.none}}https://no.example{{else}}https://yes.example{{/if}}\">d</a>{{/if}}\
         <!--[if mso]><v:roundrect href=\"https://shop.example/o\"></v:roundrect><![endif]--></body>",
    );
    let case = case.tracked(CLICKS);
    let found = targets(&case.links(), &case.mail().html);
    let ends: Vec<&str> = found.iter().filter(|(tracked, _)| *tracked).map(|(_, end)| end.as_str()).collect();
    assert_eq!(
        ends,
        [
            "https://shop.example/a?x=1&y=2",
            "HTTP://shop.example/EUR",
            "https://shop.example/?a=1&b=\"<ü",
            "https://yes.example",
            "https://shop.example/o",
            "",
        ],
        "the last is the link nobody sees"
    );
}

#[test]
fn what_leads_to_no_page_or_to_ours_stays_as_it_is() {
    let html = "<link href=\"https://a.example/f.css\"><a href=\"mailto:a@shop.example\">a</a><a href=\"#top\">b</a>\
                <a href=\"{{links.unsubscribe}}\">c</a><a href=\"{{~links.preferences}}\">d</a><a href=\"tel:1\">e</a>\
                <a href=\"{{default profile.traits.none \"mailto:b@shop.example\"}}\">f</a>\
                {{#if event.name}}<a href=\"https://x.example{{else}}<a href=\"https://y.example{{/if}}\">g</a>";
    let long = format!("{html}<a href=\"https://shop.example/{}\">h</a>", "x".repeat(2_048));
    let case = case(&long).tracked(CLICKS);
    let (tracked, plain): (Vec<_>, Vec<_>) =
        targets(&case.links(), &case.mail().html).into_iter().partition(|(tracked, _)| *tracked);
    assert_eq!(tracked.len(), 1, "the link nobody sees: {tracked:?}");
    assert_eq!(plain.len(), 9, "{plain:?}");
}

#[test]
fn a_mail_is_untouched_where_workspace_or_template_track_nothing() {
    let html = "<body><a href=\"https://shop.example\">a</a></body>";
    assert_eq!(case(html).mail().html, html);
    let mut silent = case(html).tracked(Tracks::ALL);
    silent.template_tracks(Tracks::NONE);
    assert_eq!(silent.mail().html, html);
    let mut clicks = case(html).tracked(Tracks::ALL);
    clicks.template_tracks(CLICKS);
    assert!(!clicks.mail().html.contains("<img") && clicks.mail().html.contains("/c/"));
    let mut nothing_left = case(html).tracked(OPENS);
    nothing_left.template_tracks(CLICKS);
    assert_eq!(nothing_left.mail().html, html);
}

#[test]
fn the_picture_stands_last_in_the_body_and_the_text_part_has_the_plain_addresses() {
    let html = "<html><body><p>Hi</p><a href=\"https://shop.example/a\">shop</a></body></html>";
    let mail = case(html).tracked(Tracks::ALL).mail();
    assert!(mail.html.contains("<img src=\"https://news.shop.example/o/"), "{}", mail.html);
    assert!(mail.html.ends_with("border:0\"></body></html>"), "{}", mail.html);
    assert_eq!(mail.text, "Hi\n\nshop (https://shop.example/a)\n");
    let undecided =
        "{{#if event.name}}<a href=\"https://a.example\">{{else}}<a href=\"https://b.example\">{{/if}}x</a>";
    assert_eq!(case(undecided).tracked(Tracks::ALL).mail().text, "x (https://a.example)\n");
    assert_eq!(case("no body").tracked(OPENS).mail().html.matches("<img").count(), 1);
}

#[test]
fn no_data_leads_a_tracked_link_to_anything_but_a_page() {
    for hostile in ["javascript:alert(1)", " java\tscript:x", "data:text/html,x"] {
        let case = email("s", "<a href=\"{{profile.traits.page}}\">x</a>").tracked(Tracks::ALL);
        let case = case.traits(serde_json::json!({ "page": hostile }));
        assert!(case.try_mail().is_err(), "{hostile}");
    }
    let broken = email("s", "<a href=\"{{profile.traits.page}}\">x</a>").tracked(CLICKS);
    let broken = broken.traits(serde_json::json!({ "page": "https://a.example/\r\nSet-Cookie: x" }));
    let found = targets(&broken.links(), &broken.mail().html);
    assert!(!found[0].0, "what has a line break in it is not signed: {found:?}");
}

#[test]
fn places_of_problems_are_those_of_the_authors_text() {
    let case = case(
        "<body>\n<a href=\"https://x.example\">a</a> <a href=\"{{profile.traits.page}}\">{{profile.traits.none}}</a>",
    );
    let told = case.tracked(Tracks::ALL).try_mail().unwrap_err().to_string();
    assert!(told.starts_with("email.html, line 2, column 69:"), "{told}");
}
