//! What an explanation can no longer tell, because retention took it, and when.

use sea_orm::ConnectionTrait;

use crate::ids::{Position, ProfileId, Span, Timestamp};
use crate::store::log_pruning::Class;
use crate::store::{Error, Workspace};

/// What is gone of one person's past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// Decisions and messages of before this instant, and the day on which they last went.
    decisions: Option<(Timestamp, Option<i64>)>,
    /// The day on which what their newest such event carried went.
    bodies: Option<i64>,
    /// The day on which their newest such event left the log.
    entries: Option<i64>,
}

/// What is gone of a person who did something at these positions.
///
/// # Errors
/// The database cannot be read.
pub async fn gone<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    profile: ProfileId,
    past: &[Position],
) -> Result<Gone, Error> {
    let decisions = match store.pruned_before().await? {
        Some((before, on)) => {
            let person = store.person(profile).await?;
            person.is_none_or(|person| person.profile.created_at < before).then_some((before, on))
        }
        None => None,
    };
    let bodies = store.past_pruned_on(Class::Bodies, past).await?;
    let entries = store.past_pruned_on(Class::Entries, past).await?;
    Ok(Gone { decisions, bodies, entries })
}

impl Gone {
    pub fn words(&self, person: &str) -> String {
        let mut text = String::new();
        if let Some((before, on)) = self.decisions {
            let on = on.map_or_else(String::new, |day| format!(" on {}", date(day)));
            text.push_str(&format!(
                "Decisions and messages of before {before} were pruned by retention{on}; why is no longer known.\n"
            ));
        }
        if let Some(day) = self.bodies {
            text.push_str(&format!(
                "What older events of {person} carried was pruned by retention on {}, and before.\n",
                date(day)
            ));
        }
        if let Some(day) = self.entries {
            text.push_str(&format!(
                "Older events of {person} were pruned by retention on {}, and before: their history has name and time.\n",
                date(day)
            ));
        }
        text
    }
}

/// A day since 1970, as people write it.
fn date(day: i64) -> String {
    let midnight = Timestamp::default().plus(Span::from_days(day)).to_string();
    midnight.split('T').next().unwrap_or_default().to_owned()
}
