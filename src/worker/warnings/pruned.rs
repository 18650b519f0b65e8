//! Definitions that look back further than what retention left.

use std::collections::BTreeSet;

use sea_orm::DatabaseConnection;

use crate::audience::condition::needs::{self, Needs, direct};
use crate::decision::catalog::Permissions;
use crate::decision::{Catalog, needs_of_all};
use crate::definition::{Definition, Document};
use crate::guard::frequency_cap::horizon;
use crate::ids::Timestamp;
use crate::store::Workspace;
use crate::store::retention::Kind;

/// What to say now of documents that count, or look into, what is pruned; nothing where nothing is.
pub(super) async fn of_documents(
    store: Workspace<'_, DatabaseConnection>,
    documents: &[&Document],
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let (bodies, slots) = (store.pruned_to(Kind::Bodies).await?, store.pruned_to(Kind::Slots).await?);
    if bodies.is_none() && slots.is_none() {
        return Ok(Vec::new());
    }
    let held: BTreeSet<String> = store.reasons_to_hold().await?.into_iter().collect();
    let mut told = Vec::new();
    for document in documents {
        let name = format!("{} {}", document.kind, document.key);
        if let (Definition::Caps(rules), Some(pruned_to)) = (&document.definition, slots) {
            let back = horizon(rules);
            let exact_at = pruned_to.plus(back);
            if exact_at > now {
                told.push(format!(
                    "{name}: counts the messages of {back}, and those of before {} are pruned: until {} it may count \
                     too few, and let more through",
                    day(pruned_to),
                    day(exact_at)
                ));
            }
        }
        let Some(pruned_to) = bodies else { continue };
        for (event, reach) in needs_of(&document.definition).reach {
            let exact_at = (!reach.ever).then(|| pruned_to.plus(reach.within));
            // What was looked back at all the time is still there.
            if exact_at.is_none_or(|at| at > now) && !held.contains(&event) {
                let back = if reach.ever { "for ever".to_owned() } else { reach.within.to_string() };
                let until = exact_at.map_or_else(String::new, |at| format!("until {} ", day(at)));
                told.push(format!(
                    "{name}: looks into {event} events {back} back, and what those of before {} carried is pruned: \
                     {until}it may find too few",
                    day(pruned_to)
                ));
            }
        }
    }
    Ok(told)
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take_while(|c| *c != 'T').collect()
}

fn needs_of(definition: &Definition) -> Needs {
    let mut needs = Needs::default();
    match definition {
        Definition::Campaign(campaign) => {
            let catalog = Catalog::new(vec![campaign.clone()], BTreeSet::new(), Permissions::default());
            needs.add(&needs_of_all(&catalog));
        }
        Definition::Segment(segment) => direct(&segment.filter, &mut needs),
        Definition::ComputedTrait(computed) => needs::of_performed(computed.compute.over(), &mut needs),
        Definition::ConsentPolicy(rules) => {
            let asked = rules.iter().filter_map(|rule| rule.policy.condition());
            asked.for_each(|condition| direct(condition, &mut needs));
        }
        Definition::Rates(_)
        | Definition::Caps(_)
        | Definition::QuietHours(_)
        | Definition::Template(_)
        | Definition::Topic(_)
        | Definition::Source(_)
        | Definition::Story(_) => {}
    }
    needs
}
