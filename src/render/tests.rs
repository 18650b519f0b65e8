//! Rendering end to end in memory: what comes out, what is refused, and what it may cost.
#![allow(clippy::unwrap_used)]

mod case;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::budget::{OUTPUT_BYTES_MAX, STEPS_MAX};
use super::template::{Parts, PushPart, WhatsappPart};
use super::*;
pub(crate) use case::{Case, at, case, email, mjml, sms};

#[test]
fn numbers_print_as_the_client_wrote_them() {
    assert_eq!(sms("{{event.properties.price}} x {{event.properties.quantity}}").text(), "40.00 x 2");
    assert_eq!(sms("{{#each event.properties.items}}{{name}} {{price}};{{/each}}").text(), "A 1.10;B 2.20;");
}

#[test]
fn functions_format_money_dates_counts_and_lengths() {
    let rows = [
        ("{{money event.properties.price event.properties.currency}}", "€40.00"),
        ("{{money 1234567.005 \"USD\"}} {{money 1234567.015 \"USD\"}}", "$1,234,567.00 $1,234,567.02"),
        ("{{money -0.5 \"JPY\"}} {{money -1.5 \"JPY\"}} {{money \"7\" \"kwd\"}}", "¥0 -¥2 7.000 KWD"),
        ("{{date event.at}}", "1 March 2026"),
        ("{{date event.at \"%d.%m.%Y %H:%M\" zone=\"Europe/Berlin\"}}", "01.03.2026 11:00"),
        ("{{date \"2026-12-24\" zone=\"Asia/Tokyo\"}}", "24 December 2026"),
        ("{{plural event.properties.quantity \"item\" \"items\"}}, {{plural 1.0 \"item\" \"items\"}}", "items, item"),
        ("{{plural event.properties.items \"thing\" \"things\"}}", "things"),
        ("{{truncate event.properties.title 6}}", "Shoes…"),
        ("{{truncate \"äöü\" 3}}", "äöü"),
        ("Hi {{default profile.traits.nick \"there\"}}, {{default profile.traits.first_name \"x\"}}", "Hi there, Ann"),
        ("{{money (default event.properties.gone 5) \"EUR\"}}", "€5.00"),
        ("{{#if (gt event.properties.quantity 1)}}many{{else}}one{{/if}}", "many"),
    ];
    for (source, expected) in rows {
        assert_eq!(sms(source).text(), expected, "{source}");
    }
    for wrong in [
        "{{money event.properties.title \"EUR\"}}",
        "{{date event.at zone=\"Mars\"}}",
        "{{date event.name}}",
        "{{date event.at \"%!\"}}",
        "{{truncate event.name 0}}",
        "{{event.properties}}",
    ] {
        assert!(matches!(sms(wrong).render(), Err(RenderError::Failed { .. })), "{wrong}");
    }
}

#[test]
fn amounts_dates_and_counts_are_written_as_the_reader_writes_them() {
    let source = "{{money 1234.5 \"EUR\"}}; {{date event.at}}; {{date event.at \"time\"}}; {{date event.at \"%A %d. %b\"}}; \
                  {{plural 3 one=\"produkt\" few=\"produkty\" many=\"produktów\" other=\"produktu\"}}";
    for (traits, expected) in [
        (
            json!({ "locale": "de-DE", "timezone": "Asia/Tokyo" }),
            "1.234,50 €; 1. März 2026; 19:00; Sonntag 01. März; produktu",
        ),
        (
            json!({ "locale": "en_US", "timezone": "America/New_York" }),
            "€1,234.50; March 1, 2026; 5:00 AM; Sunday 01. Mar; produktu",
        ),
        (json!({ "locale": "pl", "timezone": "Mars" }), "1234,50 €; 1 marca 2026; 10:00; niedziela 01. mar; produkty"),
        (json!({ "locale": "tlh" }), "€1,234.50; 1 March 2026; 10:00; Sunday 01. Mar; produktu"),
    ] {
        assert_eq!(sms(source).traits(traits.clone()).text(), expected, "{traits}");
    }
    let of_event = r#"{"properties":{},"context":{"locale":"fr-FR"}}"#;
    let mut french = sms("{{money 5 \"CHF\"}}");
    french.event = of_event.to_owned();
    assert_eq!(french.text(), "5,00 CHF");
    assert_eq!(sms("{{money 5 \"CHF\" locale=\"de-CH\"}}").text(), "CHF 5.00");
    assert!(sms("{{money 5 \"CHF\" locale=\"Swiss\"}}").render().is_err());
}

#[test]
fn a_reader_gets_what_is_written_for_their_place_in_one_language_throughout() {
    let mut case = sms("Hello {{date event.at}}");
    case.template.locale = Some("en-GB".to_owned());
    for (locale, text) in
        [("de", "Hallo {{date event.at}}"), ("de-AT", "Servus {{money (default event.properties.gone 5) \"EUR\"}}")]
    {
        let parts = Parts { sms: Some(text.to_owned()), ..Parts::default() };
        case.template.variants.insert(locale.to_owned(), parts);
    }
    for (reader, expected) in [
        ("de-DE", "Hallo 1. März 2026"),
        ("de_CH", "Hallo 1. März 2026"),
        ("DE-at", "Servus € 5,00"),
        ("fr-FR", "Hello 1 March 2026"),
        ("en-US", "Hello March 1, 2026"),
        ("", "Hello 1 March 2026"),
    ] {
        case.traits = json!({ "locale": reader });
        assert_eq!(case.text(), expected, "{reader}");
    }
    case.template.variants.insert("it".to_owned(), Parts { sms: Some("{{nobody}}".to_owned()), ..Parts::default() });
    assert_eq!(case.refused().part, "it/sms");
}

#[test]
fn a_missing_or_null_variable_is_an_error_with_its_place() {
    for (variable, source) in [
        ("profile.traits.last_name", "Hi\n  {{profile.traits.last_name}}"),
        ("event.properties.gone", "Hi\n  {{event.properties.gone}}"),
        ("event.properties.gone", "Hi\n  {{money event.properties.gone \"EUR\"}}"),
        ("event.name.first", "Hi\n  {{event.name.first}}"),
        ("colour", "{{#each event.properties.items}}\n  {{colour}}{{/each}}"),
        ("event.properties.none", "\n  {{#each event.properties.none}}x{{/each}}"),
    ] {
        let expected =
            RenderError::Missing { part: "sms".to_owned(), variable: variable.to_owned(), line: 2, column: 3 };
        assert_eq!(sms(source).render(), Err(expected), "{source}");
    }
    assert_eq!(sms("{{#if profile.traits.nick}}a{{else}}b{{/if}}").text(), "b");
    assert!(sms("{{event.properties.tags}}").render().is_err());
}

#[test]
fn declared_defaults_fill_what_is_absent_or_null_and_nothing_else() {
    let case = sms("{{profile.traits.first_name}} {{event.properties.gone}} {{profile.traits.size.eu}}")
        .default("profile.traits.first_name", "there")
        .default("event.properties.gone", 3)
        .default("profile.traits.size.eu", "42");
    assert_eq!(case.text(), "Ann 3 42");
    let under_a_number = sms("{{profile.traits.size.eu}}").default("profile.traits.size.eu", "42");
    assert!(under_a_number.traits(json!({ "size": 9 })).render().is_err());
}

#[test]
fn html_is_escaped_and_text_is_not() {
    let mut case =
        email("For {{profile.traits.first_name}}: {{event.properties.title}}", "<p>{{profile.traits.x}}</p>");
    case = case.traits(json!({ "first_name": "A<b>&", "x": "\"><img src=x onerror=alert(1)>" }));
    let mail = case.mail();
    assert_eq!(mail.subject.as_str(), "For A<b>&: Shoes & <b>more</b>");
    assert!(!mail.html.contains("<img"), "{}", mail.html);
    assert!(mail.text.contains("<img src=x"), "the text shows the data as text: {}", mail.text);
    assert_eq!(sms("{{event.properties.title}}").text(), "Shoes & <b>more</b>");
}

#[test]
fn webhook_json_stays_json_whatever_the_data_says() {
    let source = r#"{"name": "{{profile.traits.x}}", "price": {{event.properties.price}}}"#;
    let hostile = "a\"},\\ \n\u{1}{";
    let case = case(Parts { webhook: Some(source.to_owned()), ..Parts::default() }, Channel::Webhook)
        .to("https://hooks.example/x");
    let case = case.traits(json!({ "x": hostile }));
    let Content::Webhook { json, .. } = case.render().unwrap().content else { panic!() };
    let parsed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["name"], hostile);
    assert_eq!(parsed["price"].to_string(), "40.00");
    let mut unquoted = case;
    unquoted.template.parts.webhook = Some(r#"{"name": {{profile.traits.x}}}"#.to_owned());
    assert!(matches!(unquoted.render(), Err(RenderError::Failed { .. })));
}

#[test]
fn what_could_escape_the_rules_is_refused_at_compile_time() {
    let rows = [
        ("a\n b {{{event.name}}}", "not allowed"),
        ("a\n b {{&event.name}}", "not allowed"),
        ("a\n b {{> header}}", "there is no partials/header"),
        ("a\n b {{* inline}}", "decorators"),
        ("a\n b {{first_name}}", "`first_name` is not known"),
        ("a\n b {{upper event.name}}", "`upper` is not a function"),
        ("a\n b {{log event.name}}", "`log` is not a function"),
        ("a\n b {{lookup event \"name\"}}", "`lookup` is not a function"),
        ("a\n b {{#items}}x{{/items}}", "`{{#items}}` is not known"),
        ("a\n b {{@index}}", "inside `each`"),
        ("a\n b {{money}}", "needs something"),
        ("a\n b {{money 5 \"XXZ\"}}", "not a currency code of ISO 4217"),
        ("a\n b {{print event.name}}", "`print` is not a function"),
        ("a\n b {{#if (foo event.name)}}x{{/if}}", "`foo` is not a function"),
    ];
    for (source, says) in rows {
        let error = sms(source).refused();
        assert!(error.message.contains(says), "{source}: {error}");
        assert_eq!((error.line, error.column), (2, 4), "{source}: {error}");
    }
    assert_eq!(sms("one\ntwo {{#if event.name}}").refused().line, 2);
    assert!(sms("{{event.name").refused().message.contains("}}"));
}

#[test]
fn deep_and_long_templates_are_refused_before_they_are_parsed() {
    let deep = |n: usize| format!("{}x{}", "{{#if event.name}}".repeat(n), "{{/if}}".repeat(n));
    assert_eq!(sms(&deep(40)).text(), "x");
    for source in [
        deep(100_000),
        "{{#if event.name}}".repeat(10_000),
        format!("{{{{#if event.name}}}}{}{{{{/if}}}}", "{{else if event.name}}".repeat(10_000)),
        format!("{{{{money {}", "(".repeat(100_000)),
        format!("{{{{money {}", "[".repeat(100_000)),
        "x".repeat(syntax::SOURCE_BYTES_MAX + 1),
        "{{".repeat(100_000),
        "{{ ".repeat(80_000),
        "{{!--".repeat(50_000),
        "{{! {{#if".repeat(20_000),
        format!("{{{{#if event.name}}}}{}", "{{!--".repeat(50_000)),
    ] {
        sms(&source).refused();
    }
}

#[test]
fn a_long_template_with_many_tags_compiles_and_more_is_refused() {
    let line = format!("{{{{event.name}}}} {}\n", "x".repeat(80));
    assert_eq!(sms(&line.repeat(800)).text().lines().count(), 800);
    assert!(sms(&line.repeat(2_000)).refused().message.contains("2000 tags"));
}

#[test]
fn loops_stop_at_the_step_budget_and_output_at_its_limit() {
    let mut case = sms("{{#each event.properties.n}}{{#each ../n}}{{#each ../../n}}x{{/each}}{{/each}}{{/each}}");
    case.event = json!({ "properties": { "n": vec![1; 200] } }).to_string();
    case.template.parts.sms = Some(
        "{{#each event.properties.n}}{{#each @root.event.properties.n}}{{#each @root.event.properties.n}}x{{/each}}\
         {{/each}}{{/each}}"
            .to_owned(),
    );
    let Err(RenderError::Limit { limit, .. }) = case.render() else { panic!() };
    assert!(limit.contains(&STEPS_MAX.to_string()), "{limit}");
    case.template.parts.sms = Some(format!("{{{{#each event.properties.n}}}}{}{{{{/each}}}}", "y".repeat(10_000)));
    let Err(RenderError::Limit { limit, .. }) = case.render() else { panic!() };
    assert!(limit.contains(&OUTPUT_BYTES_MAX.to_string()), "{limit}");
}

/// Whatever the template, the text made once is the text of the finished mail.
#[test]
fn a_text_derived_once_is_the_text_of_each_finished_mail() {
    let starter = |source: &str| {
        let mut case = mjml(source);
        let pieces = [
            ("partials/head.mjml", include_str!("../../templates/partials/head.mjml")),
            ("partials/brand.mjml", include_str!("../../templates/partials/brand.mjml")),
            ("partials/foot.mjml", include_str!("../../templates/partials/foot.mjml")),
        ];
        case.template.partials = pieces.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        case
    };
    let cart = starter(include_str!("../../templates/cart_reminder/email.mjml"));
    let thanks = starter(include_str!("../../templates/order_thanks/email.mjml"));
    let items = "{{#each event.properties.items}}<tr><td>{{name}}</td>\n<td>{{price}}</td></tr>{{/each}}";
    let sources = [
        "<p>Hi {{profile.traits.first_name}},</p>{{#if event.properties.none}}<p>never</p>{{else}}<div>A</div>{{/if}}<p>B</p>",
        &format!("<table>\n{items}\n</table>"),
        "<ul>{{#each event.properties.tags}}<li>{{#if this}}{{this}}{{/if}}</li>{{/each}}</ul>",
        "a{{#if event.name}}<br>b{{/if}}<br><br>{{event.properties.title}} &amp; &lt;c&gt; <a href=\"{{links.unsubscribe}}\">stop</a>",
        "{{#if event.name}} <b> x </b> {{/if}} <a href=\"{{links.unsubscribe}}\">{{links.unsubscribe}}</a>",
    ];
    for case in sources.map(|html| email("s", html)).into_iter().chain([cart, thanks]) {
        let html = case.template.parts.email.as_ref().unwrap().markup.source().to_owned();
        let mut case = case.traits(json!({ "first_name": "Ann", "firstName": "A  <b>&" }));
        case.event = r#"{"properties":{"cart_id":"c1","name":"Lamp \"L\"","price":40.00,"currency":"EUR","total":9,
            "revenue":9,"order_id":"o1","url":"https://shop.example/c?a=1&b=2","title":"Shoes & <b>more</b>","products":[],
            "image_url":"https://shop.example/i.png","items":[{"name":"A","price":1.10},{"name":"B","price":2.20}],
            "tags":["x",null,"y"]}}"#
            .to_owned();
        let compiled = Compiled::new(&case.template).unwrap();
        assert!(
            matches!(compiled.pieces(Channel::Email, &Value::Null).email.as_ref().unwrap().text, Text::Derived(_)),
            "{html}"
        );
        let mail = case.mail();
        assert_eq!(mail.text, plain_text::of_html(&mail.html).unwrap(), "{html}");
    }
    let undecided =
        "{{#if event.name}}<a href=\"https://a.example\">{{else}}<a href=\"https://b.example\">{{/if}}x</a>";
    assert_eq!(email("s", undecided).mail().text, "x (https://a.example)\n");
}

#[test]
fn marketing_mail_carries_one_click_unsubscribe_and_transactional_does_not() {
    let mut case = email("Hi", "<p>{{links.unsubscribe}}</p>");
    let mail = case.mail();
    assert_eq!(mail.headers[0].1.as_str(), "<https://news.shop.example/u/TOKEN>");
    assert_eq!(mail.headers[1].1.as_str(), "List-Unsubscribe=One-Click");
    assert_eq!(mail.message_id, format!("<{}@shop.example>", MessageId::derive(&[b"one"])));
    assert_eq!(mail, case.mail(), "rendering again gives the same mail");
    case.purpose = Purpose::Transactional;
    assert_eq!(case.mail().headers, []);
}

#[test]
fn the_recipient_is_named_as_official_clients_and_others_spell_it() {
    for (traits, expected) in [
        (json!({ "firstName": "Zoë", "lastName": "Müller" }), Some("Zoë Müller")),
        (json!({ "first_name": "Zoë", "last_name": "Müller" }), Some("Zoë Müller")),
        (json!({ "firstName": " ", "lastName": "Müller" }), Some("Müller")),
        (json!({ "name": "Dr. Müller", "firstName": "Zoë" }), Some("Dr. Müller")),
        (json!({ "firstName": 5 }), None),
    ] {
        let mail = email("x", "<p>x</p>").traits(traits.clone()).mail();
        assert_eq!(mail.to.name.as_ref().map(|name| name.as_str()), expected, "{traits}");
    }
}

#[test]
fn a_customers_name_with_line_breaks_stays_one_line() {
    let case = email("Dear {{profile.traits.name}}", "<p>x</p>");
    let mail = case.traits(json!({ "name": "Ann\r\nBcc: eve@example.com\0" })).mail();
    assert_eq!(mail.to.name.unwrap().as_str(), "Ann Bcc: eve@example.com");
    assert_eq!(mail.subject.as_str(), "Dear Ann Bcc: eve@example.com");
}

#[test]
fn the_preheader_stands_first_in_the_body_and_not_in_the_text() {
    let mut case = email("s", "<html><BODY class=a><p>Body</p></BODY></html>");
    case.template.parts.email.as_mut().unwrap().preheader = Some("Only {{event.properties.title}}".to_owned());
    let mail = case.mail();
    assert!(mail.html.contains("<BODY class=a><div style"), "{}", mail.html);
    let (line, _) = mail.html.split_once("</div>").unwrap();
    let (_, behind) = line.split_once("Only Shoes &amp; &lt;b&gt;more&lt;/b&gt;").unwrap();
    assert_eq!(behind, "&#847;&zwnj;&nbsp;".repeat(100), "the words of the mail do not follow in the same line");
    assert_eq!(mail.text.trim(), "Body");
}

#[test]
fn every_channel_gets_its_own_content_and_a_missing_part_is_said() {
    let push = PushPart { title: "T {{event.name}}".into(), body: "B".into(), link: Some("https://x.example".into()) };
    let whatsapp =
        WhatsappPart { name: "cart".into(), language: "de".into(), parameters: vec!["{{event.name}}".into()] };
    let parts = Parts { push: Some(push), whatsapp: Some(whatsapp), ..Parts::default() };
    let mut case = case(parts, Channel::Push);
    let Content::Push { title, .. } = case.render().unwrap().content else { panic!() };
    assert_eq!(title, "T Product Added");
    case.template.parts.push.as_mut().unwrap().link = Some(" {{default event.properties.url \"\"}} ".to_owned());
    assert!(
        matches!(case.render().unwrap().content, Content::Push { link: None, .. }),
        "what leads nowhere is no link"
    );
    (case.channel, case.to) = (Channel::Whatsapp, "+491701234567".to_owned());
    let Content::Whatsapp { parameters, .. } = case.render().unwrap().content else { panic!() };
    assert_eq!(parameters, ["Product Added"]);
    (case.channel, case.to) = (Channel::Email, "ann@example.com".to_owned());
    assert!(matches!(case.render(), Err(RenderError::NoPart { channel: "email", .. })));
}

#[test]
fn an_amount_in_an_sms_keeps_it_in_the_alphabet_that_telephones_count_in() {
    let german = sms("{{money event.properties.price \"EUR\"}}").traits(json!({ "locale": "de" }));
    assert_eq!(german.text(), "40,00 €");
}

#[test]
fn a_sample_previews_without_a_person() {
    let mut template = email("Hi {{profile.traits.name}} {{entry.name}}", "<p>{{campaign.name}}</p>").template;
    let sample = json!({ "profile": { "traits": { "name": "Sam" } }, "event": { "name": "Cart" } });
    template.sample = sample.as_object().unwrap().clone();
    let compiled = Compiled::new(&template).unwrap();
    let sender = Sender::new(None, "a@shop.example", None).unwrap();
    let scope = Scope::sample(at(), &template.sample);
    let shown = preview(&compiled, Channel::Email, &scope, &sender, "sam@example.com").unwrap();
    let Content::Email(email) = shown.content() else { panic!() };
    assert_eq!(email.subject.as_str(), "Hi Sam Cart");
}

#[test]
fn senders_need_a_real_address() {
    for wrong in ["", "shop", "a@b\r\nBcc: c@d.example", "a b@c.example"] {
        assert!(Sender::new(None, wrong, None).is_err(), "{wrong}");
    }
    assert!(Sender::new(None, "a@shop.example", Some("nobody")).is_err());
}

proptest! {
    #[test]
    fn no_template_text_panics(source in ".{0,200}|(\\{\\{[#/~&>^!]?(if|each|else|event|\\(|\\)|\\.| |x|\\}\\}){0,6}){0,8}") {
        let mut template = sms("").template;
        template.parts.sms = Some(source.clone());
        if let Ok(compiled) = Compiled::new(&template) {
            let sender = Sender::new(None, "a@shop.example", None).unwrap();
            let scope = Scope::sample(at(), json!({ "event": { "name": "x" } }).as_object().unwrap());
            let _ = preview(&compiled, Channel::Sms, &scope, &sender, "1");
        }
    }

    #[test]
    fn no_data_reaches_html_unescaped(value in any::<String>()) {
        let case = email("s", "<i title=\"{{profile.traits.v}}\">{{profile.traits.v}}</i>").default("profile.traits.v", "");
        let mail = case.traits(json!({ "v": value })).mail();
        prop_assert_eq!(mail.html.matches('<').count(), 2);
        prop_assert_eq!(mail.html.matches('"').count(), 2);
    }
}
