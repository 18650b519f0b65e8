//! `reachable`: an address for the channel that may be used. Whether the person agreed to hear from us on it is another
//! question (`consent`).

use crate::audience::address::SentTo;
use crate::audience::condition::{Evaluation, Facts};
use crate::audience::{Channel, Suppression};

/// How a person stands with a channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Reach<'a> {
    /// The trait is missing or empty.
    NoAddress,
    /// Nothing can be delivered to what the trait says.
    Invalid,
    /// On the suppression list; the first of why.
    Stopped(&'a Suppression),
    Open,
}

/// The address the guard would take, and what this person was told of it.
pub fn reach<'a>(channel: Channel, facts: &Facts<'a>) -> Reach<'a> {
    match facts.profile.sent_to(channel) {
        SentTo::Nowhere => Reach::NoAddress,
        SentTo::Invalid => Reach::Invalid,
        SentTo::Address(address) => {
            let stopped = facts.profile.remembered.stopped.get(&address.subject());
            stopped.and_then(|listed| listed.first()).map_or(Reach::Open, Reach::Stopped)
        }
    }
}

pub fn evaluate(channel: Channel, facts: &Facts<'_>) -> Evaluation {
    let (name, of, reach) = (channel.as_str(), channel.address_trait(), reach(channel, facts));
    facts.constant(reach == Reach::Open, || match reach {
        Reach::NoAddress => format!("no address for {name}: trait {of} is missing"),
        Reach::Invalid => format!("no address for {name}: nothing can be sent to what trait {of} says"),
        Reach::Stopped(Suppression { kind, source, at, .. }) => {
            format!("the address for {name} (trait {of}) is suppressed since {at}: {kind}, {source}")
        }
        Reach::Open => format!("reachable by {name}: trait {of} holds an address that is not suppressed"),
    })
}
