//! What the demo shop starts with: its history, and then the definitions, so that the past sends nothing.

use indicatif::{ProgressBar, ProgressStyle};

use crate::app::{Carillon, WORKSPACE};
use crate::cli::Usage;
use crate::definition::SourceFile;
use crate::demo;
use crate::eventlog::Queue;
use crate::ids::Timestamp;
use crate::intake::{BATCH_EVENTS_MAX, LogSink, Sink};
use crate::store::controls::{set_setting, setting};
use crate::store::soundness::last_entry;

/// The seed and the instant the history ends, kept from the first start: `SEED UNTIL`.
const SHOP: &str = "demo_shop";
/// Set when the history is complete.
const DONE: &str = "demo_seeded";

/// Fills a fresh folder with the shop's history and processes it; the answer is the shop's seed. An interrupted start
/// is finished, and a complete one left alone.
///
/// # Errors
/// The folder holds something else, or cannot be written.
pub async fn history(carillon: &Carillon, seed: u64) -> anyhow::Result<u64> {
    let reader = carillon.store.reader();
    let (seed, until) = match setting(reader, SHOP).await?.as_deref().and_then(read_shop) {
        Some(begun) => begun,
        None if last_entry(reader).await?.is_some() => {
            let message = "this folder holds a shop that is not the demo's: name an empty one with --data";
            return Err(Usage(message.to_owned()).into());
        }
        None => {
            let until = carillon.clock.now();
            keep(carillon, SHOP, format!("{seed} {}", until.millis())).await?;
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
        ($($name:literal),* $(,)?) => {
            [$(($name, include_str!(concat!("../../", $name)))),*]
        };
    }
    let files = files![
        "demo/definitions/caps.yaml",
        "templates/cart_reminder/template.yaml",
        "templates/cart_reminder/email.html",
        "templates/cart_reminder/email.txt",
        "templates/cart_reminder/preheader",
        "templates/cart_reminder/sms.hbs",
        "templates/cart_reminder/subject",
        "templates/order_thanks/template.yaml",
        "templates/order_thanks/email.html",
        "templates/order_thanks/email.txt",
        "templates/order_thanks/preheader",
        "templates/order_thanks/subject",
        "templates/recipes/cart_reminder.yaml",
        "templates/recipes/newsletter.yaml",
        "templates/recipes/vip.yaml",
    ];
    files.map(|(name, text)| SourceFile { name: name.to_owned(), text: text.to_owned() }).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::definition::{Known, cross_check, read};

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
}
