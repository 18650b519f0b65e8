//! The browser's own judgement: what is wrong with a page is seen, and nothing else is.

use crate::browser::{Browser, Look, NARROW, Scheme, Step, WIDE, pictures};

const DOT: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn page(body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><title>A page</title><meta name=\"viewport\" \
         content=\"width=device-width\"><style>body {{ background: #fff; color: #222 }} @media (prefers-color-scheme: \
         dark) {{ body {{ background: #111; color: #eee }} .faint {{ color: #444 }} }}</style></head><body>{body}</body></html>"
    )
}

#[test]
fn what_is_wrong_with_a_page_is_seen() {
    let mut browser = Browser::start();
    let mut faults = |look: Look| browser.look(&look).faults();

    let good = page(&format!("<h1>Hello</h1><p>All is well.</p><img alt=\"\" src=\"{DOT}\"><p hidden>Away</p>"));
    assert_eq!(faults(Look::at_mail(&good)), Vec::<String>::new());
    assert_eq!(faults(Look::at_mail(&good).scheme(Scheme::Dark).width(NARROW)), Vec::<String>::new());

    let cut = page("<p style=\"width: 60px; overflow: hidden; white-space: nowrap\">Far too long for it</p>");
    assert_eq!(faults(Look::at_mail(cut)), ["cut off: <p> Far too long for it"]);
    let low = page("<p style=\"height: 10px; line-height: 20px; overflow: hidden\">Half of me</p>");
    assert_eq!(faults(Look::at_mail(low)), ["cut off: <p> Half of me"]);
    let aside = |more: &str| page(&format!("<div tabindex=\"0\" style=\"width: 90px; overflow-x: auto\">{more}</div>"));
    let words = "<p style=\"margin-left: 120px; width: 60px\">To the right</p>";
    assert_eq!(faults(Look::at_mail(aside(words))), ["cut off: <p> To the right"], "who does not scroll never sees it");
    assert_eq!(faults(Look::at_mail(aside("<p>Here</p>"))), Vec::<String>::new());
    let wide = page("<p style=\"width: 900px\">Read me</p>");
    assert_eq!(faults(Look::at_mail(&wide).width(WIDE)), Vec::<String>::new());
    let narrow = faults(Look::at_mail(&wide).width(NARROW));
    assert_eq!(narrow, ["cut off: the page is 908 px wide in a window of 390"]);

    let elsewhere = page("<img alt=\"A lamp\" src=\"https://shop.example/lamp.png\">");
    let seen = faults(Look::at_mail(&elsewhere));
    assert!(seen[0].starts_with("picture missing: https://shop.example/lamp.png"), "{seen:?}");
    let nameless = faults(Look::at_mail(page(&format!("<img src=\"{DOT}\">"))));
    assert!(nameless[0].starts_with("picture without alt: data:image/png"), "{nameless:?}");
    assert!(nameless[1].starts_with("image-alt (critical)"), "{nameless:?}");

    let faint = page("<p class=\"faint\">Can you read me?</p>");
    assert_eq!(faults(Look::at_mail(&faint)), Vec::<String>::new());
    let dark = faults(Look::at_mail(&faint).scheme(Scheme::Dark));
    assert!(dark[0].starts_with("color-contrast (serious)"), "{dark:?}");

    let broken = faults(Look::at_mail(page("<script>throw new Error(\"oh\")</script>")));
    assert_eq!(broken, ["error: Error: oh"]);
}

#[test]
fn frames_are_judged_too_whatever_they_forbid() {
    let mut browser = Browser::start();
    let inner = "<!doctype html><html lang='en'><title>x</title><body style='background:#fff'>\
                 <p style='color:#ccc'>Faint</p></body></html>";
    let outer = page(&format!("<iframe title=\"A mail\" sandbox srcdoc=\"{inner}\"></iframe>"));
    let seen = browser.look(&Look::at_mail(outer));
    assert!(seen.faults()[0].starts_with("color-contrast (serious)"), "{:?}", seen.faults());
    assert!(seen.text.contains("Faint"));
}

#[test]
fn a_picture_is_kept_of_the_page_after_what_was_done_there() {
    let mut browser = Browser::start();
    let body = page("<details><summary>More</summary><p id=\"more\">Here I am</p></details>");
    let look = Look::at_mail(body).after(Step::Click("summary".to_owned())).after(Step::Wait("#more".to_owned()));
    let kept = pictures().join("sights/opened.png");
    let _ = std::fs::remove_file(&kept);
    let seen = browser.look(&look.picture("sights/opened"));
    assert!(seen.text.contains("Here I am"));
    let picture = image_size(&std::fs::read(kept).unwrap());
    assert_eq!(picture, (WIDE, 800));
}

/// Width and height as a PNG says them.
fn image_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(&bytes[1..4], b"PNG");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}
