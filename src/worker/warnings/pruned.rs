//! Definitions that look back further than what retention left.

use std::collections::BTreeSet;

use sea_orm::DatabaseConnection;

use crate::audience::condition::needs::{Needs, direct};
use crate::decision::catalog::Permissions;
use crate::decision::{Catalog, needs_of_all};
use crate::definition::{Definition, Document};
use crate::guard::frequency_cap::horizon;
use crate::store::Workspace;
use crate::store::retention::Kind;

/// What to say of documents that count, or look into, what is pruned; nothing where nothing is.
pub(super) async fn of_documents(
    store: Workspace<'_, DatabaseConnection>,
    documents: &[&Document],
) -> anyhow::Result<Vec<String>> {
    let (bodies, slots) = (store.left_of(Kind::Bodies).await?, store.left_of(Kind::Slots).await?);
    if bodies.is_none() && slots.is_none() {
        return Ok(Vec::new());
    }
    let held: BTreeSet<String> = store.reasons_to_hold().await?.into_iter().collect();
    let mut told = Vec::new();
    for document in documents {
        let name = format!("{} {}", document.kind, document.key);
        if let (Definition::Caps(rules), Some(left)) = (&document.definition, slots)
            && horizon(rules) > left
        {
            told.push(format!(
                "{name}: counts messages of {}, and those of before the last {left} were pruned: it is exact from then on",
                horizon(rules)
            ));
        }
        let Some(left) = bodies else { continue };
        for (event, reach) in needs_of(&document.definition).reach {
            // What was looked back at all the time is still there.
            if (reach.ever || reach.within > left) && !held.contains(&event) {
                let back = if reach.ever { "for ever".to_owned() } else { reach.within.to_string() };
                told.push(format!(
                    "{name}: looks into {event} events {back} back, and what those of before the last {left} carried was pruned"
                ));
            }
        }
    }
    Ok(told)
}

fn needs_of(definition: &Definition) -> Needs {
    let mut needs = Needs::default();
    match definition {
        Definition::Campaign(campaign) => {
            let catalog = Catalog::new(vec![campaign.clone()], BTreeSet::new(), Permissions::default());
            needs.add(&needs_of_all(&catalog));
        }
        Definition::Segment(segment) => direct(&segment.filter, &mut needs),
        Definition::Rates(_)
        | Definition::Caps(_)
        | Definition::ConsentPolicy(_)
        | Definition::Template(_)
        | Definition::Topic(_)
        | Definition::Source(_)
        | Definition::Story(_) => {}
    }
    needs
}
