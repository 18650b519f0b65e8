//! What the demo shop starts with: its history, and then the definitions, so that the past sends nothing.

use indicatif::{ProgressBar, ProgressStyle};

use crate::app::{Carillon, WORKSPACE};
use crate::cli::Usage;
use crate::definition::SourceFile;
use crate::demo;
use crate::eventlog::Queue;
use crate::ids::Timestamp;
use crate::intake::{BATCH_EVENTS_MAX, LogSink, Sink};
use crate::store::controls::{DEMO_SHOP, set_setting, setting};
use crate::store::soundness::last_entry;

/// Set when the history is complete.
const DONE: &str = "demo_seeded";

/// Fills a fresh folder with the shop's history and processes it; the answer is the shop's seed. An interrupted start
/// is finished, and a complete one left alone.
///
/// # Errors
/// The folder holds something else, or cannot be written.
pub async fn history(carillon: &Carillon, seed: u64) -> anyhow::Result<u64> {
    let reader = carillon.store.reader();
    // The seed and the instant the history ends, kept from the first start: `SEED UNTIL`.
    let (seed, until) = match setting(reader, DEMO_SHOP).await?.as_deref().and_then(read_shop) {
        Some(begun) => begun,
        None if last_entry(reader).await?.is_some() => {
            let message = "this folder holds a shop that is not the demo's: name an empty one with --data";
            return Err(Usage(message.to_owned()).into());
        }
        None => {
            let until = carillon.clock.now();
            keep(carillon, DEMO_SHOP, format!("{seed} {}", until.millis())).await?;
            (seed, until)
        }
    };
    if setting(reader, DONE).await?.is_some() {
        return Ok(seed);
    }
    let events: Vec<_> = demo::history(WORKSPACE, seed, until)?.collect();
    let style = ProgressStyle::with_template("{msg} {bar:30} {human_pos} of {human_len} events")?;
    let bar = ProgressBar::new(events.len() as u64).with_style(style).with_message("90 days of a shop");
    let mut sink = LogSink::new(carillon.log.clone(), WORKSPACE);
    for batch in events.chunks(BATCH_EVENTS_MAX) {
        sink.accept(batch.to_vec()).await?;
        carillon.take_all().await?;
        carillon.workers.settle().await?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    keep(carillon, DONE, "yes".to_owned()).await?;
    Ok(seed)
}

fn read_shop(text: &str) -> Option<(u64, Timestamp)> {
    let (seed, until) = text.split_once(' ')?;
    Some((seed.parse().ok()?, Timestamp::from_millis(until.parse().ok()?)))
}

async fn keep(carillon: &Carillon, name: &'static str, value: String) -> anyhow::Result<()> {
    let change = carillon
        .log
        .writer()
        .change(Queue::Effects, move |tx, _| Box::pin(async move { Ok(set_setting(tx, name, &value).await?) }));
    change.await
}

/// Caps, templates and recipes (with topics, segments and the consent policy), as they stand in the repository.
pub fn definitions() -> Vec<SourceFile> {
    macro_rules! files {
        ($folder:literal: $($name:literal),*) => {
            &[$((concat!($folder, "/", $name), include_str!(concat!("../../", $folder, "/", $name)))),*][..]
        };
    }
    macro_rules! template {
        ($key:literal; mail) => {
            files![$key: "template.yaml", "email.mjml", "subject", "preheader"]
        };
        ($key:literal; language) => {
            files![$key: "email.mjml", "email.txt", "subject", "preheader", "sms.hbs", "push.hbs"]
        };
        ($key:literal; all) => {
            files![$key: "template.yaml", "email.mjml", "email.txt", "subject", "preheader", "sms.hbs", "push.hbs"]
        };
    }
    let folders: &[&[(&str, &str)]] = &[
        files!["demo/definitions": "caps.yaml"],
        template!["templates/back_in_stock"; all],
        template!["templates/birthday"; all],
        template!["templates/browse_reminder"; all],
        template!["templates/cart_reminder"; all],
        template!["templates/cart_reminder/de"; language],
        template!["templates/confirm_email"; mail],
        template!["templates/new_product"; mail],
        template!["templates/newsletter"; all],
        template!["templates/newsletter_welcome"; mail],
        template!["templates/order_confirmation"; all],
        template!["templates/order_confirmation/de"; language],
        template!["templates/order_thanks"; mail],
        template!["templates/review_request"; all],
        template!["templates/shipping_update"; all],
        template!["templates/vip_welcome"; mail],
        template!["templates/welcome"; all],
        template!["templates/welcome/de"; language],
        template!["templates/win_back"; all],
        files!["templates/partials":
            "brand.mjml", "foot.mjml", "foot.txt", "foot_order.mjml", "foot_order.txt", "foot_plain.mjml", "head.mjml",
            "product.mjml"],
        files!["templates/partials/de": "foot.mjml", "foot.txt", "foot_order.mjml", "foot_order.txt"],
        files!["templates/recipes":
            "back_in_stock.yaml", "birthday.yaml", "browse_reminder.yaml", "cart_reminder.yaml", "newsletter.yaml", "order_confirmation.yaml", "review_request.yaml", "shipping_update.yaml", "vip.yaml", "welcome.yaml", "win_back.yaml"],
    ];
    let files = folders.concat().into_iter();
    files.map(|(name, text)| SourceFile { name: name.to_owned(), text: text.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::definition::{Definition, Known, cross_check, read};
    use crate::ids::Timestamp;
    use crate::message::Channel;
    use crate::render::inspection::{CLIP_BYTES, preheader_remark, remarks};
    use crate::render::template::Template;
    use crate::render::{Compiled, Content, Scope, Sender, preview};
    use crate::story::run_all;

    #[test]
    fn the_compiled_in_definitions_are_all_there_are_and_fit_together() {
        let files = definitions();
        let documents = read(&files).unwrap();
        assert_eq!(cross_check(&documents, &Known::default()), []);
        let mut on_disk = BTreeSet::new();
        let mut folders = vec![Path::new("demo/definitions").to_owned(), Path::new("templates").to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    on_disk.insert(path.display().to_string());
                }
            }
        }
        assert_eq!(files.into_iter().map(|file| file.name).collect::<BTreeSet<_>>(), on_disk);
    }

    fn templates() -> Vec<Template> {
        let documents = read(&definitions()).unwrap();
        let template = |definition| if let Definition::Template(it) = definition { Some(it) } else { None };
        documents.into_iter().filter_map(|document| template(document.definition)).collect()
    }

    /// Made with its own sample, for everybody and for the readers of each language.
    fn made(template: &Template, channel: Channel) -> Vec<Content> {
        let compiled = Compiled::new(template).unwrap();
        let sender = Sender::new(Some("The Shop"), "hello@shop.example", None).unwrap();
        let locales = std::iter::once("en").chain(template.variants.keys().map(String::as_str));
        let written = locales.map(|locale| {
            let mut sample = template.sample.clone();
            sample["profile"]["traits"]["locale"] = locale.into();
            let scope = Scope::sample(Timestamp::from_millis(0), &sample);
            preview(&compiled, channel, &scope, &sender, "ann@example.com").unwrap().content().clone()
        });
        written.collect()
    }

    #[test]
    fn the_recipes_tell_the_truth() {
        let reports = run_all(&read(&definitions()).unwrap());
        // Three for each of the ten, one more for the cart and the birthday, and those of the best customers.
        assert_eq!(reports.len(), 35);
        for report in reports {
            assert!(report.passed, "{}: {:?}\n{}", report.name, report.failures, report.timeline);
        }
    }

    #[test]
    fn the_starter_set_speaks_on_every_channel_and_nothing_is_to_be_remarked_on_it() {
        let all = templates();
        let ten = ["welcome", "cart_reminder", "browse_reminder", "order_confirmation", "shipping_update"];
        let more = ["review_request", "win_back", "back_in_stock", "birthday", "newsletter"];
        for key in ten.into_iter().chain(more) {
            let template = all.iter().find(|template| template.key == key).unwrap();
            assert!(
                [Channel::Email, Channel::Sms, Channel::Push].into_iter().all(|it| template.parts.has(it)),
                "{key}"
            );
        }
        let german: Vec<&str> = all.iter().filter(|it| it.variants.contains_key("de")).map(|it| &*it.key).collect();
        assert_eq!(german, ["cart_reminder", "order_confirmation", "welcome"]);
        for template in &all {
            // What is sent whatever somebody chose needs no way out.
            let is_marketing = !["order_confirmation", "shipping_update", "confirm_email"].contains(&&*template.key);
            let part = template.parts.email.as_ref().unwrap();
            for content in made(template, Channel::Email) {
                let Content::Email(email) = content else { panic!() };
                let told: Vec<String> = remarks(&email, is_marketing).into_iter().collect();
                assert_eq!(told, Vec::<String>::new(), "{}", template.key);
                assert_eq!(
                    preheader_remark(part.preheader.as_deref(), email.subject.as_str()),
                    None,
                    "{}",
                    template.key
                );
                assert!(email.html.len() < CLIP_BYTES / 3, "{}: {} bytes", template.key, email.html.len());
                assert!(email.html.contains("prefers-color-scheme: dark"), "{}", template.key);
                assert!(email.text.contains("Ann") || email.text.len() > 100, "{}: {}", template.key, email.text);
            }
        }
    }

    #[test]
    fn text_messages_are_short_say_the_way_out_and_need_no_wider_alphabet() {
        // The euro sign takes two places in it.
        let basic = "€@£$¥èéùìòÇØøÅåÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                     abcdefghijklmnopqrstuvwxyzäöñüà";
        for template in templates().iter().filter(|template| template.parts.has(Channel::Sms)) {
            for content in made(template, Channel::Sms) {
                let Content::Sms { text, .. } = content else { panic!() };
                assert!(text.chars().all(|c| basic.contains(c)), "{}: {text}", template.key);
                assert!(text.chars().count() <= 160, "{}: {text}", template.key);
                // A signed link is about as long as all the rest; together that is two messages' worth.
                let signed = text.replace("https://example.com/u/preview", &"x".repeat(110));
                assert!(signed.chars().count() <= 2 * 153, "{}: {text}", template.key);
                let is_marketing = !["order_confirmation", "shipping_update"].contains(&&*template.key);
                assert_eq!(text.contains("/u/preview"), is_marketing, "{}: {text}", template.key);
            }
            for content in made(template, Channel::Push) {
                let Content::Push { title, body, link, .. } = content else { panic!() };
                assert!(title.chars().count() <= 50 && body.chars().count() <= 120, "{}", template.key);
                assert!(link.is_some_and(|link| link.starts_with("https://shop.example/")), "{}", template.key);
            }
        }
    }

    #[test]
    fn all_mails_have_one_look() {
        let all: Vec<Template> = templates();
        let heads: BTreeSet<&String> = all.iter().filter_map(|it| it.partials.get("partials/head.mjml")).collect();
        assert_eq!(heads.len(), 1);
        for template in &all {
            let parts = std::iter::once(&template.parts).chain(template.variants.values());
            for email in parts.filter_map(|parts| parts.email.as_ref()) {
                for piece in ["{{> head}}", "{{> brand}}", "{{> foot"] {
                    assert!(email.markup.source().contains(piece), "{}: {piece}", template.key);
                }
            }
        }
    }
}
