//! Whether an address may be used, as decisions know it: what the log told the person of the suppression list.
//!
//! The list itself changes outside of anybody's decision, and one address is of several people. So each change is told to
//! each of them by an event of our own (`Reachability Changed`) that says all there is by then, and decisions look at
//! nothing else: the same log leads to the same answers. What a decision itself says of the list holds for its person at
//! once.

use serde_json::Value;

use crate::audience::suppression::REACH_CHANGED;
use crate::audience::{Address, Profile};
use crate::decision::{Effect, Turn};
use crate::event::{Event, Kind};
use crate::ids::{ProfileId, Timestamp};
use crate::message::{Channel, Suppression, SuppressionKind};

impl Turn<'_> {
    /// What an event of our own says of an address.
    pub(super) fn learn_reach(&mut self, event: &Event) {
        if event.kind != Kind::Own || event.name != REACH_CHANGED {
            return;
        }
        let Some((subject, suppressions)) = told(event) else { return };
        let known = self.person.profile.remembered.stopped.get(&subject).map_or(&[][..], Vec::as_slice);
        if known != suppressions {
            self.push(Effect::Reach { subject, suppressions });
        }
    }
}

/// The address and what stands on the list for it.
fn told(event: &Event) -> Option<(String, Vec<Suppression>)> {
    let text = |path: &str| event.lookup(path).and_then(Value::as_str);
    let address = Address::parse(Channel::parse(text("properties.channel")?)?, text("properties.address")?)?;
    let listed = event.lookup("properties.suppressions")?.as_array()?;
    Some((address.subject(), listed.iter().filter_map(read).collect()))
}

fn read(one: &Value) -> Option<Suppression> {
    let kind = SuppressionKind::parse(one.get("kind")?.as_str()?)?;
    let at: Timestamp = one.get("at")?.as_str()?.parse().ok()?;
    let source = one.get("source").and_then(Value::as_str).unwrap_or_default().to_owned();
    let profile = one.get("profile").and_then(Value::as_i64).map(ProfileId);
    kind.closes_channel().then_some(Suppression { kind, source, at, profile })
}

impl Profile {
    /// Keeps what an effect says of the suppression list.
    pub(super) fn follow_list(&mut self, effect: &Effect) {
        let whose = self.id;
        match effect {
            Effect::Reach { subject, suppressions } => {
                self.remembered.tell_stopped(subject, suppressions.clone());
            }
            Effect::Suppress { channel, address, kind, source, at } if kind.closes_channel() => {
                let why = Suppression { kind: kind.clone(), source: source.clone(), at: *at, profile: Some(whose) };
                self.remembered.stop(&format!("{}:{address}", channel.as_str()), why);
            }
            Effect::LiftSuppression { channel, address, kind, source: _, at, of_anybody } => {
                let whose = (!of_anybody).then_some(whose);
                self.remembered.free(&format!("{}:{address}", channel.as_str()), kind, whose, *at);
            }
            _ => {}
        }
    }
}
