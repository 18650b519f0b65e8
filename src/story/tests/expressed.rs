//! What a story can say: somebody who is first seen in it, members of static segments, mails that were opened or led
//! somewhere; and what it cannot, which is refused with what to say instead.

use crate::definition::{SourceFile, cross_check, read};
use crate::story::{StoryReport, run_all};

const CAMPAIGNS: &str = "\
kind: template
key: hello
email: { subject: Hello, html: <p>Hello</p> }
---
kind: segment
key: noorder
name: Ordered nothing
owner: crm@shop.example
where: { not: { performed: { event: Order Completed, within: 30d } } }
---
kind: campaign
key: nudge
name: Nudge
owner: crm@shop.example
type: trigger
purpose: marketing
entry: { segment: noorder, on: entered }
send: { channel: email, template: hello }
---
kind: segment
key: staff
name: Staff
owner: crm@shop.example
static: true
---
kind: segment
key: clickers
name: Followed a link of the nudge
owner: crm@shop.example
where: { clicked: { campaign: nudge } }
---
kind: campaign
key: to_clickers
name: To those who looked
owner: crm@shop.example
type: trigger
purpose: marketing
entry: { event: Product Added, where: { all: [ { clicked: { campaign: nudge } }, { not: { in_segment: staff } } ] } }
send: { channel: email, template: hello }
---
kind: story
name: a story
";

fn files(story: &str) -> Vec<SourceFile> {
    vec![SourceFile { name: "test.yaml".to_owned(), text: format!("{CAMPAIGNS}{story}") }]
}

fn told(story: &str) -> StoryReport {
    let documents = read(&files(story)).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(cross_check(&documents, &crate::definition::Known::default()), []);
    run_all(&documents).remove(0)
}

fn refused(story: &str) -> Vec<String> {
    read(&files(story)).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn somebody_new_enters_what_they_meet_and_whoever_was_there_before_has_entered_it_before() {
    let story = |nell: &str| {
        format!(
            "campaigns: [ nudge ]
profiles: {{ nell: {nell} }}
given: [ {{ at: \"2026-03-01T10:00Z\", nell: Identified, traits: {{ email: nell@shop.example }} }} ]
expect: [ {{ nell: never sent }} ]
"
        )
    };
    let new = told(&story("{ new: true }"));
    assert!(!new.passed, "{}", new.timeline);
    assert_eq!(
        new.timeline,
        "2026-03-01T10:00Z nell Identified
  → email changed from nothing to `nell@shop.example`: identified by Identified
  → entered segment noorder: not (Order Completed performed 0 times within 30d, wanted at least 1)
  → entered nudge@v1
  → queued email hello
  → sent email hello
"
    );
    assert_eq!(new.hints, [""; 0]);
    let known = told(&story("{}"));
    assert!(known.passed, "{}", known.timeline);
    assert_eq!(
        known.hints,
        [
            "nell was in segment noorder before the story began, so nudge does not begin with them; somebody who is first \
          seen in it is written `nell: { new: true }`"
        ]
    );
}

#[test]
fn whoever_comes_into_the_segment_within_the_story_gives_no_hint() {
    let story = "campaigns: [ nudge ]
profiles: { ann: { traits: { email: ann@shop.example } } }
given: [ { at: \"2026-03-01T10:00Z\", ann: Order Completed } ]
expect: [ { ann: sent, at: \"2026-03-31T10:00Z\" } ]
";
    let report = told(story);
    assert!(report.passed && report.hints.is_empty(), "{report:#?}");
}

#[test]
fn of_somebody_new_nothing_is_known_before_and_they_come_by_a_line() {
    let story = |profile: &str, given: &str| format!("campaigns: [ nudge ]\nprofiles: {profile}\n{given}expect: []\n");
    let given = "given: [ { at: \"2026-03-01T10:00Z\", nell: Identified } ]\n";
    for (text, says) in [
        (story("{ nell: { new: true, traits: { a: 1 } } }", given), "profiles.nell.traits: of somebody new nothing is"),
        (story("{ nell: { new: true, lists: [ staff ] } }", given), "profiles.nell.lists: of somebody new nothing is"),
        (story("{ nell: { new: true } }", ""), "profiles.nell: is new and does nothing in `given`"),
    ] {
        let problems = refused(&text);
        assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
    }
}

#[test]
fn a_link_of_ours_is_followed_by_a_line_that_names_the_campaign_and_a_machine_counts_for_nothing() {
    let story = |more: &str| {
        format!(
            "campaigns: [ to_clickers ]
profiles: {{ ann: {{ traits: {{ email: ann@shop.example }} }} }}
given:
  - {{ at: \"2026-03-01T10:00Z\", ann: Email Link Clicked, properties: {{ campaign: nudge{more} }} }}
  - {{ at: \"2026-03-02T10:00Z\", ann: Product Added }}
expect:
  - {{ ann: entered, segment: clickers, at: \"2026-03-01T10:00Z\" }}
  - {{ ann: sent, template: hello, at: \"2026-03-02T10:00Z\" }}
"
        )
    };
    let clicked = told(&story(""));
    assert!(clicked.passed, "{:#?}\n{}", clicked.failures, clicked.timeline);
    let scanned = told(&story(", machine: too_soon"));
    assert_eq!(scanned.failures.len(), 2, "{}", scanned.timeline);
    let problems = refused(&story(", machine: robot"));
    assert!(
        problems.len() == 1 && problems[0].contains("given[0].properties.machine: wanted as machine"),
        "{problems:?}"
    );
}

#[test]
fn people_are_on_a_list_as_the_story_begins_or_come_onto_it_and_that_starts_nothing() {
    let report = told(
        "campaigns: [ to_clickers ]
profiles: { ann: { lists: [ staff ] }, bob: { traits: { email: bob@shop.example } } }
given:
  - { at: \"2026-03-01T10:00Z\", ann: Email Link Clicked, properties: { campaign: nudge } }
  - { at: \"2026-03-01T11:00Z\", ann: Product Added }
  - { at: \"2026-03-02T10:00Z\", ann: List Changed, properties: { segment: staff, listed: false } }
  - { at: \"2026-03-02T10:00Z\", bob: List Changed, properties: { segment: staff, listed: true } }
expect:
  - { ann: not_sent, reason: condition_not_met }
  - { ann: left, segment: staff, at: \"2026-03-02T10:00Z\" }
  - { bob: entered, segment: staff, at: \"2026-03-02T10:00Z\" }
",
    );
    assert!(report.passed, "{:#?}\n{}", report.failures, report.timeline);
    let of_a_condition = told(
        "campaigns: [ nudge ]
profiles: { ann: { lists: [ noorder ] } }
given: [ { at: \"2026-03-01T10:00Z\", ann: List Changed, properties: { segment: noorder, listed: true } } ]
expect: []
",
    );
    assert_eq!(of_a_condition.failures.len(), 2, "{of_a_condition:#?}");
    assert!(of_a_condition.failures[0].contains("line 45: segment `noorder` has no list"), "{of_a_condition:#?}");
}

#[test]
fn an_address_that_nobody_has_by_then_cannot_be_put_on_the_list() {
    let story = |first: &str| {
        format!(
            "campaigns: [ nudge ]
profiles: {{ nell: {{ new: true }} }}
given:
  - {{ at: \"2026-03-01T10:00Z\", {first} }}
  - {{ at: \"2026-03-01T11:00Z\", nell: Address Suppressed, properties: {{ channel: email }} }}
expect: [ {{ nell: sent }} ]
"
        )
    };
    let nowhere = told(&story("nell: Product Viewed"));
    assert!(nowhere.failures[0].contains("nell has no address for email by then"), "{nowhere:#?}");
    let known = told(&story("nell: Identified, traits: { email: nell@shop.example }"));
    assert!(known.passed, "{known:#?}");
}

#[test]
fn what_follows_by_itself_or_says_too_little_is_refused_with_what_to_say() {
    for (line, says) in [
        ("Segment Entered, properties: { segment: staff }", "`Segment Entered` follows by itself"),
        ("Trait Changed, properties: { trait: plan }", "give `Identified` with the new `traits`"),
        ("Reachability Changed", "give `Address Suppressed` or `Suppression Removed`"),
        ("Date Reached", "give the trait that holds the date"),
        ("Email Opened", "wanted the campaign whose mail it is: properties: { campaign: KEY }"),
        ("Email Link Clicked, properties: { url: a }", "wanted the campaign whose mail it is"),
        ("List Changed, properties: { segment: staff, change: added }", "wanted listed: true"),
        ("List Changed, properties: { listed: true }", "wanted the static segment"),
        ("Consent Changed, properties: { chanel: email, state: granted }", "wanted what the answer is about"),
        ("Consent Changed, properties: { channel: email, state: yep }", "wanted as state granted, denied"),
        (
            "Identified, traits: { timezone: Europe/Berln }",
            "traits.timezone: there is no time zone `Europe/Berln`; \
          wanted one such as Europe/Berlin; did you mean `Europe/Berlin`?",
        ),
    ] {
        let story = format!(
            "campaigns: [ nudge ]\nprofiles: {{ ann: {{}} }}\ngiven: [ {{ at: \"2026-03-01T10:00Z\", ann: {line} }} ]\n\
             expect: []\n"
        );
        let problems = refused(&story);
        assert!(problems.len() == 1 && problems[0].contains(says), "{line}: {problems:?}");
        assert!(problems[0].starts_with("test.yaml:45:"), "{problems:?}");
    }
    let unknown = files(
        "campaigns: [ nudge ]\nprofiles: { ann: { lists: [ staf ] } }\ngiven: [ { at: \"2026-03-01T10:00Z\", ann: Email \
         Opened, properties: { campaign: nuge } } ]\nexpect: []\n",
    );
    let problems = cross_check(&read(&unknown).unwrap(), &crate::definition::Known::default());
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.iter().any(|it| it.contains("did you mean `staff`?")), "{problems:?}");
    assert!(problems.iter().any(|it| it.contains("did you mean `nudge`?")), "{problems:?}");
    let profile = "campaigns: [ nudge ]\nprofiles: { ann: { traits: { timezone: 7 } } }\nexpect: []\n";
    assert!(refused(profile)[0].contains("profiles.ann.traits.timezone"), "{:?}", refused(profile));
}
