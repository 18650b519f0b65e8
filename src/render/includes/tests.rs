//! What is put in, what is refused, and where what is wrong is said to be.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::message::Channel;
use crate::render::Compiled;
use crate::render::tests::{Case, email, mjml, sms};

fn with(mut case: Case, partials: &[(&str, &str)]) -> Case {
    case.template.partials = partials.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    case
}

fn text(source: &str, partials: &[(&str, &str)]) -> String {
    with(sms(source), partials).text()
}

fn told(case: &Case) -> String {
    case.refused().to_string()
}

fn page(head: &str, body: &str) -> String {
    format!("<mjml>\n{head}<mj-body>\n{body}\n</mj-body>\n</mjml>")
}

#[test]
fn a_piece_is_put_in_wherever_it_is_named_and_sees_what_stands_there() {
    let partials = [
        ("partials/hello.txt", "Hello {{profile.traits.first_name}}\n"),
        ("partials/item.hbs", "{{name}} at {{price}};"),
        ("partials/both.txt", "{{> hello}}!"),
        ("partials/legal/foot.txt", "-- us"),
    ];
    assert_eq!(text("{{> hello}}, {{> both}}", &partials), "Hello Ann, Hello Ann!");
    assert_eq!(text("{{#each event.properties.items}}{{> item}}{{/each}}", &partials), "A at 1.10;B at 2.20;");
    assert_eq!(text("a {{~> legal/foot ~}}  b", &partials), "a-- usb");
    assert_eq!(text("a {{>\"hello\"}}", &partials), "a Hello Ann");
}

#[test]
fn what_a_piece_is_given_stands_in_it_escaped_as_its_part_is() {
    let button = [("partials/button.html", "<a href=\"{{url}}\">{{#if url}}{{label}}{{/if}} {{price}} {{n}}</a>")];
    let call = "{{> button url=profile.traits.url label=\"A & B\" price=(money event.properties.price \"EUR\") n=3}}";
    let case = with(email("s", call), &button).traits(json!({ "url": "https://a.example/?b&c" }));
    let mail = case.mail();
    assert_eq!(mail.html, "<a href=\"https://a.example/?b&amp;c\">A &amp; B €40.00 3</a>");
    let list = [("partials/list.txt", "{{#each event.properties.items}}{{name}} {{shop}} {{/each}}")];
    assert_eq!(text("{{> list shop=event.name}}", &list), "A Product Added B Product Added");
    let unused = told(&with(sms("\n {{> hello nmae=event.name}}"), &[("partials/hello.txt", "{{event.name}}")]));
    assert_eq!(unused, "sms, line 2, column 2: `nmae` is given here, and partials/hello.txt has no {{nmae}}");
    let missing = told(&with(sms("{{> hello}}"), &[("partials/hello.txt", "Dear\n {{name}}")]));
    assert!(missing.starts_with("partials/hello.txt, line 2, column 2: `name` is not known"), "{missing}");
    assert!(missing.ends_with("or are given where this is included: {{> … name=value}}"), "{missing}");
}

#[test]
fn a_reader_of_another_language_gets_the_piece_in_it() {
    let partials = [
        ("partials/bye.txt", "Bye"),
        ("partials/de/bye.txt", "Tschüss"),
        ("partials/de-AT/bye.txt", "Servus"),
        ("partials/name.txt", "Ann"),
    ];
    let mut case = with(sms("{{> bye}} {{> name}}"), &partials);
    for locale in ["de", "de-AT", "fr"] {
        case.template.variants.insert(locale.to_owned(), case.template.parts.clone());
    }
    for (locale, expected) in
        [("de", "Tschüss Ann"), ("de-CH", "Tschüss Ann"), ("de-AT", "Servus Ann"), ("fr", "Bye Ann")]
    {
        let case = case.clone().traits(json!({ "locale": locale, "first_name": "Ann" }));
        assert_eq!(case.text(), expected, "{locale}");
    }
}

#[test]
fn what_is_not_there_includes_itself_or_never_ends_is_told_where_it_is_named() {
    let partials = [
        ("partials/hello.txt", "Hello"),
        ("partials/a.txt", "x\n{{> b}}"),
        ("partials/b.txt", "{{> a}}"),
        ("partials/head.mjml", "<mj-title>x</mj-title>"),
    ];
    for (source, says) in [
        (
            "a\n b {{> helo}}",
            "sms, line 2, column 4: there is no partials/helo.txt and no partials/helo.hbs; did you mean `hello`?",
        ),
        ("{{> head}}", "sms, line 1, column 1: there is no partials/head.txt"),
        (
            "{{> a}}",
            "partials/b.txt, line 1, column 1: partials/a.txt includes itself: partials/a.txt → partials/b.txt → partials/a.txt",
        ),
        ("{{> ../secret}}", "sms, line 1, column 1: write {{> name}}"),
        ("{{> /etc/passwd}}", "write {{> name}}"),
        ("{{> (lookup event \"x\")}}", "write {{> name}}"),
        ("{{> hello event.properties}}", "behind the name stand values such as"),
        ("{{#> hello}}x{{/hello}}", "a piece is included by {{> name}}"),
        ("\\{{> hello}} {{event.name}}", "ok"),
    ] {
        let case = with(sms(source), &partials);
        let said = Compiled::new(&case.template).map_or_else(|told| told.to_string(), |_| "ok".to_owned());
        assert!(said.contains(says), "{source}: {said}");
    }
}

#[test]
fn what_is_wrong_in_a_piece_is_told_at_its_own_line_when_read_and_when_sent() {
    let partials = [("partials/é.txt", ""), ("partials/deep.txt", "one\n two {{profile.traits.none}} {{event.name}}")];
    let case = with(sms("first\n\nsecond {{> deep}} and {{profile.traits.nix}}"), &partials);
    let missing = |case: &Case| case.render().unwrap_err().to_string();
    assert_eq!(
        missing(&case),
        "partials/deep.txt, line 2, column 6: `profile.traits.none` has no value and no default"
    );
    let case = case.traits(json!({ "none": "x" }));
    assert_eq!(missing(&case), "sms, line 3, column 23: `profile.traits.nix` has no value and no default");
    let broken = [("partials/deep.txt", "one\n {{#if event.name}}")];
    assert!(told(&with(sms("{{> deep}}"), &broken)).starts_with("partials/deep.txt, line 2, column 2: "));
    let raw = [("partials/deep.html", "one\n {{{event.name}}}")];
    assert!(told(&with(email("s", "{{> deep}}"), &raw)).starts_with("partials/deep.html, line 2, column 2: "));
    let unsafe_link = [("partials/deep.html", "\n<a href=\"javascript:x\">x</a>")];
    assert!(told(&with(email("s", "{{> deep}}"), &unsafe_link)).starts_with("partials/deep.html, line 2, column 9: "));
    let odd = [("partials/deep.mjml", "\n<mj-txt>x</mj-txt>")];
    let source = page("", "<mj-section><mj-column>{{> deep}}</mj-column></mj-section>");
    let said = told(&with(mjml(&source), &odd));
    assert!(said.starts_with("partials/deep.mjml, line 2, column 1: `mj-txt` is not an element"), "{said}");
}

#[test]
fn mjml_includes_what_stands_beside_it_heads_and_styles_too() {
    let partials = [
        (
            "partials/look.mjml",
            "<mjml><mj-head><mj-attributes><mj-text color=\"#123456\" /></mj-attributes></mj-head>\
                                <mj-body><mj-section><mj-column><mj-text>Top</mj-text></mj-column></mj-section></mj-body></mjml>",
        ),
        ("foot.mjml", "<mj-section><mj-column><mj-text>Foot of {{event.name}}</mj-text></mj-column></mj-section>"),
        ("partials/style.css", ".a > b { color: red }"),
        ("partials/raw.html", "<p>Raw {{event.name}}</p>"),
    ];
    let body = "<mj-include path=\"../partials/look.mjml\" />\n<mj-include path=\"./foot\"></mj-include>\n\
                <mj-include path=\"./partials/style.css\" type=\"css\" /><mj-include path=\"partials/raw.html\" type=\"html\" />";
    for head in ["", "<mj-head><mj-title>T</mj-title></mj-head>\n"] {
        let html = with(mjml(&page(head, body)), &partials).mail().html;
        for part in
            ["color:#123456", "Top", "Foot of Product Added", ".a > b { color: red }", "<p>Raw Product Added</p>"]
        {
            assert!(html.contains(part), "{part} is not in\n{html}");
        }
        assert!(html.find("Top") < html.find("Foot of"), "{html}");
    }
    let by_name = [("partials/head.mjml", "<mj-head>\n<mj-title>{{event.name}}</mj-title></mj-head>"), partials[2]];
    let both = "<mjml>\n{{> head}}<mj-body><mj-include path=\"../partials/style.css\" type=\"css\" /></mj-body></mjml>";
    let html = with(mjml(both), &by_name).mail().html;
    assert!(html.contains("<title>Product Added</title>") && html.contains(".a > b"), "{html}");
}

#[test]
fn an_include_leads_nowhere_else() {
    let partials =
        [("partials/x.mjml", "<mj-section>\n</mj-secton>"), ("partials/me.mjml", "<mj-include path=\"me.mjml\" />")];
    for (include, place, says) in [
        ("<mj-include path=\"/etc/passwd\" />", (4, 19), "a path leads from the file it stands in"),
        ("<mj-include path=\"../../../x.mjml\" />", (4, 19), "leads out of the template's folder"),
        ("<mj-include path=\"../other/email.mjml\" />", (4, 19), "leads out of the template's folder"),
        ("<mj-include path=\"https://a.example/x\" />", (4, 19), "a path leads from"),
        ("<mj-include path=\"{{event.name}}\" />", (4, 19), "a path names a file"),
        ("<mj-include path=\"nix.mjml\" />", (4, 19), "there is no file nix.mjml"),
        ("<mj-include />", (4, 1), "needs a `path`"),
        ("<mj-include path=\"partials/x\" typ=\"css\" />", (4, 31), "no attribute `typ`"),
        ("<mj-include path=\"partials/x\" type=\"js\" />", (4, 37), "mjml, html or css"),
        ("<mj-include path=\"partials/x\">", (4, 1), "is not closed"),
    ] {
        let error = with(mjml(&page("", &format!("\n{include}"))), &partials).refused();
        assert!(error.message.contains(says), "{include}: {error}");
        assert_eq!((error.part.as_str(), (error.line, error.column)), ("email.mjml", place), "{include}: {error}");
    }
    let inner = with(mjml(&page("", "<mj-include path=\"partials/x\" />")), &partials).refused();
    assert_eq!((inner.part.as_str(), inner.line, inner.column), ("partials/x.mjml", 2, 1), "{inner}");
    let itself = with(mjml(&page("", "<mj-include path=\"partials/me\" />")), &partials).refused();
    assert!(itself.message.contains("partials/me.mjml includes itself"), "{itself}");
}

#[test]
fn no_pieces_grow_without_end() {
    let ten = |name: &str| format!("{{{{> {name}}}}}").repeat(10);
    let mut partials: Vec<(String, String)> =
        (0..9).map(|n| (format!("partials/p{n}.txt"), ten(&format!("p{}", n + 1)))).collect();
    partials.push(("partials/p9.txt".to_owned(), String::new()));
    let refs: Vec<(&str, &str)> = partials.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert!(told(&with(sms("{{> p0}}"), &refs)).contains("more than 1000 files are put into one part"));
    let long = "x".repeat(SOURCE_BYTES_MAX / 4);
    let said = told(&with(sms(&"{{> long}}".repeat(6)), &[("partials/long.txt", &long)]));
    assert!(said.contains("longer than 262144 bytes"), "{said}");
    let chain: Vec<(String, String)> =
        (0..20).map(|n| (format!("partials/p{n}.txt"), format!("{{{{> p{}}}}}", n + 1))).collect();
    let refs: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert!(told(&with(sms("{{> p0}}"), &refs)).contains("more than 10 deep"));
    let bomb = "{{#each event.properties.items}}{{> more}}{{/each}}";
    let more = ("partials/more.txt", "{{#each ../items}}{{#each ../items}}x{{/each}}{{/each}}");
    let _ = with(sms(bomb), &[more]).render();
}

#[test]
fn only_what_is_included_belongs_to_a_template() {
    let partials = [
        ("partials/a.mjml", "{{> b}}<mj-include path=\"../own.mjml\" />"),
        ("partials/b.mjml", ""),
        ("partials/b.txt", "x"),
        ("partials/c.mjml", ""),
        ("own.mjml", ""),
    ];
    let case = with(mjml(&page("", "{{> a}}")), &partials);
    assert_eq!(
        included(&case.template).into_iter().collect::<Vec<_>>(),
        ["own.mjml", "partials/a.mjml", "partials/b.mjml"]
    );
    assert!(case.template.parts.has(Channel::Email) && case.render().is_ok());
}
