//! `kind: topic`: what one may subscribe to, as people read it on the preference page.

use crate::definition::reader::At;
use crate::message::{Channel, Topic};

pub fn read(at: &At<'_>, key: &str) -> Option<Topic> {
    let map = at.map(&["kind", "key", "name", "owner", "description", "default", "channels"], &[])?;
    let name = map.required("name").and_then(|at| at.name());
    let description = map.optional("description", String::new(), |at| at.name());
    let by_default =
        map.optional("default", true, |at| at.choice(&[("subscribed", true), ("unsubscribed", false)], &[]));
    let channels = map.optional("channels", Vec::new(), |at| {
        let items = at.list()?;
        if items.is_empty() {
            return at.wrong("name at least one channel, or leave `channels` out for all of them");
        }
        let read: Vec<Option<Channel>> = items.iter().map(|item| item.channel()).collect();
        read.into_iter().collect()
    });
    Some(Topic {
        key: key.to_owned(),
        name: name?,
        description: description?,
        by_default: by_default?,
        channels: channels?,
    })
}
