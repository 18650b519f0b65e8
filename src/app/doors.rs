//! What the doors go by, the write keys and the sources they are of, read anew when either changes; and what they counted.

use std::sync::Arc;

use tokio::sync::watch;

use crate::app::WORKSPACE;
use crate::app::part::Part;
use crate::event::source::{DoorRule, Source};
use crate::eventlog::EventLog;
use crate::http::auth::{ReadAnew, WriteKey, WriteKeys};
use crate::http::door::DoorCounts;
use crate::store::Store;
use crate::store::keys::all_keys;
use crate::worker::janitor;
use crate::worker::live::Definitions;

/// What the doors counted, under the counters' names: what a rule did, which rule, of which source.
pub(super) fn counted(counts: DoorCounts, definitions: Arc<Definitions>) -> janitor::Counts {
    Arc::new(move || {
        let live = definitions.live(WORKSPACE);
        let name = |source: &str, rule: usize| {
            let did = match live.sources.get(source).and_then(|source| source.rules.get(rule)) {
                Some(DoorRule::Rename { .. }) => "renamed",
                Some(DoorRule::Drop(_)) | None => "dropped",
            };
            format!("door_{did}:{source}/{}", rule + 1)
        };
        let taken = counts.take();
        taken.into_iter().map(|((source, rule), count)| (name(&source, rule), count)).collect()
    })
}

/// Sources are definitions: when those change, so may what a key's door does.
pub(super) async fn follow_keys(
    log: EventLog,
    store: Store,
    definitions: Arc<Definitions>,
    keys: WriteKeys,
    part: Part,
    mut stop: watch::Receiver<bool>,
) {
    let mut stored = log.stored();
    let mut known = Some(definitions.generation());
    let mut revision = None;
    while !*stop.borrow() {
        tokio::select! {
            _ = stored.changed() => {}
            () = part.revised(&mut revision) => match definitions.refresh_all().await {
                // A key may have been made or revoked elsewhere while the definitions are as they were.
                Ok(()) => known = None,
                Err(error) => tracing::error!(%error, "the definitions cannot be read"),
            },
            _ = stop.changed() => {}
        }
        let generation = Some(definitions.generation());
        if generation != known {
            match refresh_keys(&store, &definitions, &keys).await {
                Ok(()) => known = generation,
                Err(error) => tracing::error!(%error, "the write keys cannot be read"),
            }
        }
    }
}

/// How a door reads the keys anew that does not know one.
pub(super) fn read_anew(store: &Store, definitions: &Arc<Definitions>, keys: &WriteKeys) -> ReadAnew {
    let (store, definitions, keys) = (store.clone(), definitions.clone(), keys.clone());
    Arc::new(move || {
        let (store, definitions, keys) = (store.clone(), definitions.clone(), keys.clone());
        Box::pin(async move { refresh_keys(&store, &definitions, &keys).await })
    })
}

pub(super) async fn refresh_keys(store: &Store, definitions: &Definitions, keys: &WriteKeys) -> anyhow::Result<()> {
    keys.renew(async {
        let stored = all_keys(store.reader()).await?;
        let live = stored.into_iter().filter(|(_, key)| key.revoked_at.is_none());
        let read = live.filter_map(|(id, key)| {
            let source = definitions.live(id).sources.get(&key.source).cloned();
            let source = source.unwrap_or_else(|| Arc::new(Source { key: key.source, name: None, rules: Vec::new() }));
            Some(WriteKey { hash: key.hash.try_into().ok()?, id: key.id, workspace: id, source })
        });
        Ok(read.collect())
    })
    .await
}
