//! Caps, policies, sources, stories; files, languages and documents.

use crate::audience::ConsentState;
use crate::audience::consent::UnknownConsent;
use crate::definition::problem::nearest;
use crate::definition::reader::Target;
use crate::definition::story::{Expectation, Expected};
use crate::definition::tests::{CART, bad, campaign, file, good, lines};
use crate::definition::{Definition, DocumentKind, Known, Story, check, cross_check, read};
use crate::event::source::{Door, DoorRule};
use crate::guard::Window;
use crate::guard::frequency_cap::{Keep, Scope};
use crate::ids::Span;
use crate::message::Channel;

#[test]
fn caps_are_read_by_scope() {
    let text = "
kind: caps
rules:
  - { at_most: 3, per: 1d }
  - { at_most: 1, per: 16h, channel: email }
  - { at_most: 1, per: 7d, campaign: each }
  - { at_most: 2, per: 2w, campaign: each, per_step: true }
  - { at_most: 2, per: 7d, campaign: cart_reminder }
  - { at_most: 2, per: calendar_day, topic: offers }
  - { at_most: 5, per: calendar_week, keep: { slots: 2, priority: 60 } }
";
    let document = good(text).remove(0);
    assert_eq!((document.kind, document.key.as_str()), (DocumentKind::Caps, "default"));
    let Definition::Caps(rules) = document.definition else { panic!() };
    let day = Window::Rolling(Span::from_days(1));
    assert_eq!((rules[0].per, rules[5].per, rules[6].per), (day, Window::CalendarDay, Window::CalendarWeek));
    assert_eq!((rules[5].keep, rules[6].keep), (None, Some(Keep { slots: 2, priority: 60 })));
    let scopes: Vec<Scope> = rules.into_iter().map(|rule| rule.scope).collect();
    let each = |per_step| Scope::EachCampaign { per_step };
    let one = Scope::Campaign("cart_reminder".to_owned());
    let offers = Scope::Topic("offers".to_owned());
    let mail = Scope::Channel(Channel::Email);
    assert_eq!(scopes, [Scope::Any, mail, each(false), each(true), one, offers, Scope::Any]);
    for (rule, told) in [
        ("{ at_most: 3, per: 1d, keep: { slots: 4, priority: 60 } }", "wanted a whole number from 1 to 3, found 4"),
        ("{ at_most: 3, per: 1d, keep: { slots: 1 } }", "missing_field test.yaml:3:34: rules[0].keep.priority"),
        ("{ at_most: 3, per: calendar_month }", "wrong_value test.yaml:3:24: rules[0].per"),
        ("{ at_most: 3, per: 1d, topic: offers, channel: sms }", "one scope a rule"),
        ("{ at_most: 3 }", "missing_field test.yaml:3:5: rules[0].per"),
        ("{ at_most: -1, per: 1d }", "wrong_value test.yaml:3:16: rules[0].at_most"),
        ("{ at_most: 1, per: 1d, per_step: true }", "`per_step` belongs to `campaign: each`"),
        ("{ at_most: 1, per: 1d, channel: email, campaign: x }", "one scope a rule"),
    ] {
        let answer = bad(&format!("kind: caps\nrules:\n  - {rule}\n"));
        assert!(answer.contains(told), "{rule}: {answer}");
    }
}

#[test]
fn quiet_hours_are_windows_of_local_time() {
    let text = "
kind: quiet_hours
windows:
  - { channels: [ sms ], from: \"21:00\", to: \"09:00\" }
  - { channels: [ email, push ], purposes: [ marketing ], from: \"00:00\", to: \"24:00\", countries: [ DE ],
      regions: [ US-FL ], days: [ sun ], dates: [ 2026-12-24, \"--12-25\" ] }
";
    let document = good(text).remove(0);
    assert_eq!((document.kind, document.key.as_str()), (DocumentKind::QuietHours, "default"));
    let Definition::QuietHours(windows) = document.definition else { panic!() };
    let told: Vec<String> = windows.iter().map(ToString::to_string).collect();
    let christmas = "00:00–24:00 for email, push, marketing only in DE, US-FL on sun on --12-25, 2026-12-24";
    assert_eq!(told, ["21:00–09:00 for sms", christmas]);
    let none = good("kind: quiet_hours\nwindows: []\n").remove(0);
    assert_eq!(none.definition, Definition::QuietHours(Vec::new()), "nothing waits");
    let all = "channels: [ sms ], from: \"21:00\", to: \"09:00\"";
    for (window, told) in [
        ("{ from: \"21:00\", to: \"09:00\" }".to_owned(), "missing_field test.yaml:3:5: windows[0].channels"),
        (all.replace("[ sms ]", "[]"), "name at least one channel"),
        (all.replace("21:00", "9pm"), "windows[0].from: wanted a time of day"),
        (all.replace("21:00", "09:00"), "from 09:00 to 09:00 is no time at all"),
        (all.replace("21:00", "00:00").replace("09:00", "24:00"), "no time at all for marketing by sms"),
        (format!("{all}, countries: [ Germany ]"), "wanted a country by its two letters"),
        (format!("{all}, regions: [ Florida ]"), "wanted a region as ISO 3166-2"),
        (format!("{all}, days: [ sunday ]"), "`sunday` is not one of mon, tue"),
        (format!("{all}, dates: [ 12-25 ]"), "wanted a date such as"),
        (format!("{all}, zone: UTC"), "windows[0].zone: unknown field"),
    ] {
        let window = if window.starts_with('{') { window } else { format!("{{ {window} }}") };
        let answer = bad(&format!("kind: quiet_hours\nwindows:\n  - {window}\n"));
        assert!(answer.contains(told), "{window}: {answer}");
    }
}

#[test]
fn a_consent_policy_may_allow_unknown_only_for_email() {
    let policy = |rule: &str| format!("kind: consent_policy\nrules:\n  - {rule}\n");
    let Definition::ConsentPolicy(rules) = good(&policy("{ channel: email, unknown: allowed }")).remove(0).definition
    else {
        panic!()
    };
    assert_eq!((rules[0].channel, rules[0].policy.unknown), (Channel::Email, UnknownConsent::Allowed));
    assert!(bad(&policy("{ channel: sms, unknown: allowed }")).contains("only e-mail may be allowed"));
    let soft = "soft_opt_in: { countries: [ GB ], where: { performed: { event: Order Completed } } }";
    let Definition::ConsentPolicy(rules) = good(&policy(&format!("{{ channel: email, {soft} }}"))).remove(0).definition
    else {
        panic!()
    };
    let read = rules[0].policy.soft_opt_in.as_ref().unwrap();
    assert!(read.countries.contains("GB") && read.condition.is_some());
    assert_eq!(rules[0].policy.unknown, UnknownConsent::Blocked);
    assert!(bad(&policy(&format!("{{ channel: whatsapp, {soft} }}"))).contains("only e-mail may be allowed"));
    for country in ["[]", "[ G8 ]", "[ Britain ]", "GB"] {
        let wrong = bad(&policy(&format!("{{ channel: email, soft_opt_in: {{ countries: {country} }} }}")));
        assert!(wrong.contains("countries"), "{country}: {wrong}");
    }
    let unknown = policy("{ channel: email, double_opt_in: { template: confirm } }");
    let documents = good(&unknown);
    assert_eq!(documents[0].references[0].to, Target::Template("confirm".into(), Some(Channel::Email)));
    let twice = policy("{ channel: email, unknown: blocked }\n  - { channel: email, unknown: allowed }");
    assert!(bad(&twice).contains("a second rule for email"));
}

#[test]
fn a_topic_says_who_gets_it_without_asking() {
    let read = |more: &str| match good(&format!("kind: topic\nkey: offers\nname: Offers\n{more}")).remove(0).definition
    {
        Definition::Topic(topic) => topic,
        other => panic!("{other:?}"),
    };
    assert!(read("").by_default && read("").is_on(Channel::Sms));
    let asked = read("default: unsubscribed\nchannels: [ email ]\ndescription: At most weekly.");
    assert!(!asked.by_default && asked.is_on(Channel::Email) && !asked.is_on(Channel::Sms));
    assert!(bad("kind: topic\nkey: offers").contains("name"));
    assert!(bad("kind: topic\nkey: offers\nname: O\nchannels: []").contains("at least one channel"));
    assert!(bad("kind: topic\nkey: offers\nname: O\ndefault: maybe").contains("default"));
}

#[test]
fn a_source_drops_and_renames() {
    let text = "
kind: source
key: web
rules:
  - { drop: { event: [ { prefix: Debug } ] } }
  - { rename: { from: Viewed Product, to: Product Viewed } }
";
    let Definition::Source(source) = good(text).remove(0).definition else { panic!() };
    assert_eq!((source.key.as_str(), source.rules.len()), ("web", 2));
    assert!(matches!(source.rules[1], DoorRule::Rename { .. }));
    let renamed = source.at_the_door("Viewed Product", &serde_json::Value::Null);
    assert_eq!(renamed, Door::Renamed { rule: 1, to: "Product Viewed".to_owned() });
    assert!(bad("kind: source\nkey: web\nrules: [ { drop: {} } ]").contains("rules[0].drop: an empty mapping"));
}

const STORY: &str = r#"
kind: story
name: A cart, bought within the hour
campaigns: [ cart_reminder ]
profiles: { ann: { traits: { email: ann@example.com } }, bob: { consent: { sms: denied } } }
consent: { ann: { push: unknown } }
given:
  - { at: "2026-03-01T10:00Z", ann: Product Added, properties: { cart_id: c1, price: 40.00 } }
  - { at: "2026-03-01T10:30Z", ann: Order Completed }
expect:
  - { ann: exited, reason: "Order Completed" }
  - { ann: never sent, template: cart_reminder }
  - { at: "2026-03-01T11:00Z", bob: sent, template: cart_reminder, channel: email }
  - { bob: not_sent, reason: capped }
  - { bob: { not_sent: { reason: capped } }, template: cart_reminder }
  - { ann: enrolled, campaign: cart_reminder }
"#;

fn story(text: &str) -> Story {
    match good(text).remove(0).definition {
        Definition::Story(story) => story,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_story_is_read_line_by_line() {
    let story = story(STORY);
    assert_eq!(story.key, "a_cart_bought_within_the_hour");
    let consent = |name: &str, channel| {
        let person = story.profiles.iter().find(|person| person.name == name).unwrap();
        person.consent.iter().find(|(of, _)| *of == channel).unwrap().1
    };
    assert_eq!(consent("ann", Channel::Email), Some(ConsentState::Granted));
    assert_eq!(consent("ann", Channel::Push), None);
    assert_eq!(consent("bob", Channel::Sms), Some(ConsentState::Denied));
    assert_eq!(story.given[0].properties["price"].to_string(), "40.00");
    let capped = |template: Option<&str>| Expected::NotSent {
        reason: Some("capped".to_owned()),
        template: template.map(str::to_owned),
        at: None,
    };
    assert_eq!(story.expect[3], Expectation { person: "bob".to_owned(), what: capped(None), line: 14 });
    assert_eq!(story.expect[4].what, capped(Some("cart_reminder")));
}

#[test]
fn a_story_that_makes_no_sense_is_refused() {
    for (from, to, told) in [
        ("ann: Product Added", "anne: Product Added", "given[0].anne: unknown field; did you mean `ann`?"),
        ("ann: exited", "ann: exitd", "did you mean `exited`?"),
        ("ann: never sent, template", "ann: never sent, reason", "this says nothing"),
        ("10:30Z", "09:30Z", "line 2 of it happens before"),
        ("bob: not_sent,", "bob: not_sent, ann: sent,", "about one person"),
        ("name: A", "holdout: in\nname: A", "not_yet_supported test.yaml:3:1: holdout"),
        ("name: A", "arm: { a: b }\nname: A", "not_yet_supported test.yaml:3:1: arm"),
        ("{ sms: denied }", "{ sms: no }", "not one of granted, denied, unknown"),
        ("email: ann@example.com", "phone: +4477", "in quotes"),
    ] {
        let answer = bad(&STORY.replace(from, to));
        assert!(answer.contains(told), "{to}: {answer}");
    }
}

#[test]
fn kinds_that_come_later_and_kinds_nobody_knows_are_told_apart() {
    for kind in ["catalog", "coupons", "notify_policy"] {
        let answer = bad(&format!("kind: {kind}\nkey: x\n"));
        assert!(answer.starts_with("not_yet_supported test.yaml:1:7: kind: "), "{answer}");
    }
    assert!(bad("kind: campain\nkey: x\n").contains("did you mean `campaign`?"));
    assert!(bad("key: x\n").starts_with("missing_field test.yaml:1:1: kind"));
    assert!(bad("hello\n").starts_with("wrong_type test.yaml:1:1: wanted a mapping"));
}

#[test]
fn several_documents_keep_their_own_text() {
    let text = format!("# first\n{CART}---\n# second\nkind: caps\nrules: []\n...\n--- {{ kind: source, key: wéb }}\n");
    assert!(bad(&text).contains("test.yaml:18:26: key"));
    let documents = good(&text.replace("wéb", "web"));
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[0].text, format!("# first\n{CART}"));
    assert_eq!(documents[1].text, "# second\nkind: caps\nrules: []\n");
    assert_eq!(documents[2].text.trim(), "{ kind: source, key: web }");
    for document in documents {
        let again = good(&document.text).remove(0);
        assert_eq!((again.definition, again.key, again.text), (document.definition, document.key, document.text));
    }
}

#[test]
fn json_is_read_as_itself() {
    let json = "{\n\t\"kind\": \"source\",\n\t\"key\": \"web\", \"name\": \"Shop \\ud83d\\ude00 \\\\ud83d \\u00e9\"\n}";
    let Definition::Source(source) = good(json).remove(0).definition else { panic!() };
    assert_eq!(source.name.as_deref(), Some("Shop 😀 \\ud83d é"));
    let listed = "[ { \"kind\": \"source\", \"key\": \"a\" }, { \"kind\": \"source\", \"key\": \"b\" } ]";
    let documents = good(listed);
    assert_eq!(documents[1].text, "{ \"kind\": \"source\", \"key\": \"b\" }");
    assert!(bad("- kind: source\n  key: a\n").contains("separated by lines of ---"));
}

#[test]
fn what_would_mean_something_else_than_it_seems_is_refused() {
    for (text, told) in [
        ("kind: source\nkey: a\nkey: b\n", "duplicate_key test.yaml:3:1: key: `key` is written twice"),
        ("kind: &x source\nkey: a\n", "syntax test.yaml:1:7: kind: anchors"),
        ("kind: source\nkey: a\0b\n", "syntax test.yaml:2:7: the character U+0000 does not belong into a text"),
        ("kind: source\n# \u{1b}[2J\nkey: a\n", "syntax test.yaml:2:3: the character U+001B"),
        ("kind: !!str source\n", "syntax test.yaml:1:7: kind: tags"),
        ("kind: source\n<<: { key: a }\n", "syntax test.yaml:2:1: <<: merge keys"),
        ("kind: source\nname: {{x}}\n", "text that starts with {{ goes in quotes"),
        ("kind: [ source\n", "syntax test.yaml"),
        ("kind: @source\n", "syntax test.yaml:1:7: kind: this is not YAML"),
    ] {
        assert!(bad(text).contains(told), "{text}: {}", bad(text));
    }
}

#[test]
fn a_cap_on_a_topic_or_campaign_that_does_not_exist_is_refused() {
    let caps = "kind: caps\nrules:\n  - { at_most: 1, per: 1d, topic: nosuch }\n  - { at_most: 1, per: 1d, campaign: nobody }\n  - { at_most: 1, per: 1d, campaign: each }\n";
    let told = lines(&cross_check(&good(caps), &Known::default()));
    assert!(told.contains("there is no topic `nosuch`") && told.contains("there is no campaign `nobody`"), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn names_that_lead_nowhere_are_found_across_documents() {
    let story = STORY.trim_start();
    let documents = good(&format!("{CART}---\n{story}"));
    let told = lines(&cross_check(&documents, &Known::default()));
    assert!(told.contains("unknown_reference test.yaml:11:35: send.template: there is no template `cart_reminder`"));
    assert_eq!(told.lines().count(), 4, "{told}");
    let mut known = Known::default();
    known.templates.insert("cart_reminder", [Channel::Sms].into());
    let told = lines(&cross_check(&documents, &known));
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("template `cart_reminder` has no part for email"));
    known.templates.insert("cart_reminder", [Channel::Email].into());
    assert_eq!(cross_check(&documents, &known), []);
    let twice = good(&format!("{CART}---\n{CART}"));
    let told = lines(&cross_check(&twice, &known));
    assert!(told.contains("duplicate_key test.yaml:13:1: key: campaign `cart_reminder` is also at test.yaml:1"));
}

#[test]
fn files_that_are_no_definitions_are_told() {
    let problems = read(&[file("a/notes.txt", "x"), file("a/email.html", "x")]).unwrap_err();
    let told = lines(&problems);
    assert!(told.contains("a/notes.txt:1:1: not a definition"));
    assert!(told.contains("a/email.html:1:1: a part of a template, but there is no template.yaml"));
    assert_eq!(read(&[]).unwrap(), []);
    assert_eq!(good("# nothing\n"), []);
    assert_eq!(campaign(CART).key, "cart_reminder");
}

#[test]
fn a_country_or_region_that_there_is_none_of_is_told_with_the_nearest_and_uk_is_gb() {
    let window = |places: &str| {
        format!("kind: quiet_hours\nwindows:\n  - {{ channels: [ sms ], from: \"21:00\", to: \"09:00\", {places} }}\n")
    };
    let policy = |country: &str| {
        format!("kind: consent_policy\nrules:\n  - {{ channel: email, soft_opt_in: {{ countries: [ {country} ] }} }}\n")
    };
    let told = |text: &str| lines(&cross_check(&good(text), &Known::default()));
    assert_eq!(told(&window("countries: [ UK, de ], regions: [ US-FL, uk-lnd, CA-QC ]")), "");
    assert_eq!(told(&policy("UK, no")), "");
    let Definition::QuietHours(windows) = good(&window("countries: [ UK ]")).remove(0).definition else { panic!() };
    assert!(windows[0].countries.contains("GB"), "as people's countries are read: {windows:?}");
    let Definition::ConsentPolicy(rules) = good(&policy("UK")).remove(0).definition else { panic!() };
    assert!(rules[0].policy.soft_opt_in.as_ref().unwrap().countries.contains("GB"));
    for (text, says) in [
        (
            window("countries: [ EN ]"),
            "test.yaml:3:67: windows[0].countries[0]: there is no country `EN`; wanted one of \
          ISO 3166-1, such as GB; did you mean `GB`?",
        ),
        (
            window("regions: [ US-ZZ ]"),
            "windows[0].regions[0]: there is no region `US-ZZ`; wanted one of ISO 3166-2, such as \
          US-FL; did you mean `US-AZ`?",
        ),
        (window("regions: [ XX-FL ]"), "there is no country `XX`"),
        (
            policy("EL"),
            "rules[0].soft_opt_in.countries[0]: there is no country `EL`; wanted one of ISO 3166-1, such as GB; \
          did you mean `GR`?",
        ),
    ] {
        let told = told(&text);
        assert!(told.starts_with("unknown_reference ") && told.contains(says), "{told}");
    }
}

#[test]
fn an_empty_name_is_never_the_nearest() {
    assert_eq!(nearest("X", ["", "Order Completed"]), None);
    assert_eq!(nearest("X", ["", "Y"]).as_deref(), Some("Y"));
}

#[test]
fn a_cap_by_the_month_is_refused_with_what_to_write() {
    let caps = |per: &str| bad(&format!("kind: caps\nrules:\n  - {{ at_most: 3, per: {per} }}\n"));
    for (per, write) in [("1mo", "30d"), ("2mo", "60d"), ("1y", "365d"), ("9y", "365d")] {
        let told = caps(per);
        assert!(told.starts_with("not_yet_supported") && told.contains(&format!("write `{write}`")), "{told}");
    }
}

#[test]
fn names_that_lead_nowhere_are_told_with_all_other_problems_at_once() {
    let told = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(name, text)| file(name, text)).collect();
        lines(&check(&files, &Known::default()).unwrap_err())
    };
    let broken = CART.replace("delay: 1h", "delay: soon").replace("template: cart_reminder", "template: cart_remindr");
    let template = "kind: template\nkey: cart_reminder\nemail: { subject: Hi, html: <p>Hi</p> }\n";
    let segment = "kind: segment\nkey: a\nname: A\nowner: crm@shop.example\nwhere: { any: [ { in_segment: b }, \
                   { received: { campaign: cart_reminder } } ] }\n";
    let all = told(&[("cart.yaml", &broken), ("hi.yaml", template), ("a.yaml", segment)]);
    assert_eq!(all.lines().count(), 3, "{all}");
    for says in ["`soon` is not a duration", "did you mean `cart_reminder`?", "there is no segment `b`"] {
        assert!(all.contains(says), "{says}: {all}");
    }
    // Who is named by it is not known where a document has no name.
    let nameless =
        told(&[("cart.yaml", &broken.replace("key: cart_reminder", "kee: cart_reminder")), ("a.yaml", segment)]);
    assert!(!nameless.contains("there is no"), "{nameless}");
}

#[test]
fn a_document_with_a_wrong_key_or_none_tells_its_other_faults_too() {
    let answer = bad("kind: segment\nkey: Not A Key\nname: A\nwhere: { trait: tier, equels: gold }\n");
    assert!(answer.contains("wrong_value test.yaml:2:6: key") && answer.contains("equels"), "{answer}");
    let answer = bad("kind: caps\nkey: Not A Key\nrules:\n  - { at_most: -1, per: 1d }\n");
    assert!(answer.contains("wrong_value test.yaml:2:6: key") && answer.contains("rules[0].at_most"), "{answer}");
    let answer = bad("kind: segment\nname: A\nwhere: { trait: tier, equels: gold }\n");
    assert!(answer.contains("missing_field") && answer.contains("equels"), "{answer}");
}

#[test]
fn a_document_that_is_no_yaml_hides_no_problem_of_the_others() {
    let text = "\
kind: caps
rules: [ { at_most: 1 }
---
kind: source
key: a
nmae: A
---
kind: source
key: \"b
--- # é
kind: source
key: [ c ]
---
kind: source
\tkey: d
...
kind: source
key: e
name: { of: \u{7} }
---
kind: source
key: f
color: red
";
    let told = bad(text);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 7, "{told}");
    for (line, begins) in lines.iter().zip([
        "syntax test.yaml:3:1: rules[1]: ",
        "unknown_field test.yaml:6:1: nmae: ",
        "syntax test.yaml:9:6: ",
        "wrong_value test.yaml:12:6: key: ",
        "syntax test.yaml:15:1: ",
        "syntax test.yaml:19:13: the character U+0007",
        "unknown_field test.yaml:23:1: color: ",
    ]) {
        assert!(line.starts_with(begins), "{begins}: {told}");
    }
}

#[test]
fn what_is_not_used_here_is_told_wherever_it_stands_and_hides_nothing() {
    let told = bad("kind: &x source\nkey: *x\nname: !!str A\ncolor: red\n---\nkind: source\nkey: a\nkey: a\nnmae: B\n");
    let places = ["1:7: kind: anchors", "2:6: key: aliases", "3:7: name: tags", "8:1: key: `key`", "9:1: nmae"];
    assert_eq!(told.lines().count(), places.len(), "{told}");
    for place in places {
        assert!(told.contains(place), "{place}: {told}");
    }
}

#[test]
fn files_that_are_no_yaml_are_all_told_and_names_in_others_are_not_missed() {
    let template = "kind: template\nkey: note\nemail: { subject: S, html: '<p>x</p>' }\nsample: [\n";
    let files =
        [file("a.yaml", template), file("b.yaml", "key: 'b\n"), file("c.yaml", CART), file("d.json", "{ \"kind\": ")];
    let told = lines(&crate::definition::check(&files, &Known::default()).unwrap_err());
    let of = |name: &str| told.lines().filter(|line| line.starts_with(&format!("syntax {name}:"))).count();
    assert_eq!(["a.yaml", "b.yaml", "c.yaml", "d.json"].map(of), [1, 1, 0, 1], "{told}");
    assert_eq!(told.lines().count(), 3, "the template may be in one that cannot be read: {told}");
}
