//! Addresses and what was said of them on the suppression list, told to one or two profiles of a person; and a plain
//! reading of it: rows that come and go.

use carillon::audience::Profile;
use carillon::decision::{Effect, Person};
use carillon::ids::{ProfileId, Timestamp};
use carillon::message::{Channel, Suppression, SuppressionKind};

use super::time::Dice;

/// As people write them, and what they come to; none: nothing can be sent there.
const MAILS: [(&str, Option<&str>); 4] = [
    ("Ann@Example.COM", Some("ann@example.com")),
    (" ann@example.com", Some("ann@example.com")),
    ("bob@example.com", Some("bob@example.com")),
    ("nobody", None),
];
const PHONES: [(&str, Option<&str>); 4] = [
    ("+44 20 7946-0000", Some("+442079460000")),
    ("0044 2079460000", Some("+442079460000")),
    ("+33 1 00 00 00 00", Some("+33100000000")),
    ("12", None),
];
const KINDS: [&str; 4] = ["unsubscribed", "bounced", "manual", "topic:offers"];
pub const CHANNELS: [&str; 3] = ["email", "sms", "push"];

#[derive(Debug, Clone)]
enum Said {
    /// Everything there is, from the list itself.
    All(Vec<&'static str>),
    /// By an answer of the person.
    Stopped(&'static str),
    Freed(&'static str, bool),
}

#[derive(Debug, Clone)]
pub struct Reach {
    pub mail: Option<(&'static str, Option<&'static str>)>,
    pub phone: Option<(&'static str, Option<&'static str>)>,
    /// Which of the two profiles was told what of which address, in order.
    told: Vec<(usize, &'static str, &'static str, Said)>,
}

impl Reach {
    pub fn any(dice: &mut Dice) -> Self {
        let told = (0..dice.below(6)).map(|_| {
            let (channel, written) =
                if dice.one_in(2) { ("email", dice.of(&MAILS)) } else { ("sms", dice.of(&PHONES)) };
            let address = written.1.unwrap_or("ann@example.com");
            let said = match dice.below(4) {
                0 => Said::All(Vec::new()),
                1 => Said::All(vec![dice.of(&KINDS[..3]), "bounced"]),
                2 => Said::Stopped(dice.of(&KINDS)),
                _ => Said::Freed(dice.of(&KINDS), dice.one_in(2)),
            };
            (dice.below(2), channel, address, said)
        });
        let told = told.collect();
        let mail = (!dice.one_in(4)).then(|| dice.of(&MAILS));
        Self { mail, phone: (!dice.one_in(3)).then(|| dice.of(&PHONES)), told }
    }

    /// Whether there is an address that may be used: of rows (address, kind, whose answer) one side has.
    pub fn is_open(&self, channel: &str, is_merged: bool) -> bool {
        let address = match channel {
            "email" => self.mail.and_then(|(_, normal)| normal),
            "sms" => self.phone.and_then(|(_, normal)| normal),
            _ => None,
        };
        let Some(address) = address else { return false };
        let mut rows: Vec<(usize, &str, &str, bool)> = Vec::new();
        for (side, of, told, said) in &self.told {
            let side = if is_merged { *side } else { 0 };
            if *of != channel || *told != address {
                continue;
            }
            match said {
                Said::All(kinds) => {
                    rows.retain(|row| row.0 != side);
                    rows.extend(kinds.iter().map(|kind| (side, *told, *kind, false)));
                }
                Said::Stopped(kind) => rows.push((side, told, kind, true)),
                Said::Freed(kind, anybody) => {
                    rows.retain(|row| row.0 != side || row.2 != *kind || !(*anybody || row.3));
                }
            }
        }
        !rows.iter().any(|row| !row.2.starts_with("topic:"))
    }

    /// Tells the two profiles, as decisions do.
    pub fn tell(&self, sides: &mut [Profile; 2], is_merged: bool) {
        for (n, (side, channel, address, said)) in (0..).zip(&self.told) {
            let profile = &mut sides[if is_merged { *side } else { 0 }];
            let mut person = Person::new(profile.id, profile.created_at);
            person.profile = profile.clone();
            let at = Timestamp::from_millis(n);
            let channel = Channel::parse(channel).unwrap();
            let (address, source) = ((*address).to_owned(), String::new());
            let kind = |text: &str| SuppressionKind::parse(text).unwrap();
            person.apply(&match said {
                Said::All(kinds) => Effect::Reach {
                    subject: format!("{}:{address}", channel.as_str()),
                    suppressions: kinds
                        .iter()
                        .map(|text| Suppression { kind: kind(text), source: source.clone(), at, profile: None })
                        .collect(),
                },
                Said::Stopped(text) => Effect::Suppress { channel, address, kind: kind(text), source, at },
                Said::Freed(text, of_anybody) => {
                    let (kind, of_anybody) = (kind(text), *of_anybody);
                    Effect::LiftSuppression { channel, address, kind, source, at, of_anybody }
                }
            });
            *profile = person.profile;
        }
        debug_assert_eq!(sides[1].id, ProfileId(2));
    }
}
