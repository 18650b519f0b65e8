//! What must hold at every step, computed from what is stored by plain loops.

use std::collections::{BTreeMap, BTreeSet};

use carillon::app::WORKSPACE;
use carillon::ids::{Position, ProfileId, Span, Timestamp};
use carillon::message::{Message, Purpose, Status};
use carillon::store::Rows;
use carillon::store::trace::MessageFilter;

use super::world::World;

impl World {
    pub async fn messages(&self) -> Vec<Message> {
        let filter = MessageFilter { limit: 100_000, ..MessageFilter::default() };
        self.house.store.workspace(WORKSPACE).list_messages(&filter).await.unwrap()
    }

    pub async fn check(&mut self) {
        let store = self.house.store.workspace(WORKSPACE);
        let books = store.accounts().await.unwrap();
        let broken = books.imbalances();
        assert!(broken.is_empty(), "{broken:?}");
        assert_eq!(books.events.accepted, self.accepted().await);
        assert_eq!(
            books.events.accepted,
            i64::try_from(self.happened.len()).unwrap(),
            "what was answered is what is stored"
        );
        self.read_turns().await;
        self.check_turns().await;
        let messages = self.messages().await;
        self.caps_hold_per_address(&messages);
        self.caps_hold_per_person(&messages);
        self.nothing_is_doubled(&messages);
        self.nobody_is_reminded_after_an_order(&messages, &self.merges().await);
        self.slots = messages.iter().filter_map(|message| Some((message.id, message.slot_at?))).collect();
        self.united = self.merged().await;
    }

    /// Clients' events in the log, each once: what was parked and redriven stands in it twice.
    async fn accepted(&self) -> i64 {
        let sql = "SELECT (SELECT count(*) FROM entries WHERE event_id IS NOT NULL AND kind <> 'own')
                   - (SELECT count(*) FROM parked JOIN entries USING (position)
                      WHERE event_id IS NOT NULL AND kind <> 'own' AND redriven_at IS NOT NULL)";
        Rows(self.house.store.reader()).scalar(sql, vec![]).await.unwrap().unwrap()
    }

    /// Whose event the log says a message began with.
    fn first_profile(&self, message: &Message) -> ProfileId {
        self.beginning_of(message).0
    }

    /// The event it began with: a client's, or one of our own.
    fn beginning_of(&self, message: &Message) -> (ProfileId, Timestamp) {
        let found = self.happened.get(&message.entry).or_else(|| self.turns.own.get(&message.entry));
        *found.expect("no event stands where the message began")
    }

    /// No window of any length-`per` holds more than `at_most` of an address.
    fn caps_hold_per_address(&self, messages: &[Message]) {
        let mut subjects: BTreeMap<String, Vec<(Timestamp, &str)>> = BTreeMap::new();
        for (message, at) in marketing(messages) {
            let address = message.address.clone().unwrap_or_default().to_lowercase();
            subjects.entry(address).or_default().push((at, &message.campaign));
        }
        for (subject, slots) in subjects {
            for (end, _) in &slots {
                self.fits(&subject, *end, &slots);
            }
        }
    }

    /// Whenever a message takes a slot, no window of the person holds more than `at_most`: of all profiles that were
    /// theirs before. Two profiles may together have used more than one person may.
    fn caps_hold_per_person(&self, messages: &[Message]) {
        let person = |message: &Message| current(&self.united, self.first_profile(message));
        for (message, at) in marketing(messages).filter(|(message, at)| self.slots.get(&message.id) != Some(at)) {
            let theirs = marketing(messages).filter(|(other, _)| person(other) == person(message));
            let slots: Vec<_> = theirs.map(|(other, at)| (at, other.campaign.as_str())).collect();
            self.fits(&format!("profile {}", person(message)), at, &slots);
        }
    }

    fn fits(&self, subject: &str, end: Timestamp, slots: &[(Timestamp, &str)]) {
        let within = |per: Span| slots.iter().filter(move |(at, _)| *at > end.minus(per) && *at <= end);
        let day = within(Span::from_days(1)).count();
        let carts = within(Span::from_hours(3)).filter(|(_, campaign)| *campaign == "cart").count();
        assert!(day <= 2, "{subject} has {day} within a day until {end}");
        assert!(carts <= 1, "{subject} has {carts} carts until {end}");
    }

    /// From the moment an order is accepted, no reminder goes out that began before it, under whichever profile of
    /// the person who ordered. What somebody was found to have ordered later stops nothing.
    fn nobody_is_reminded_after_an_order(&self, messages: &[Message], merges: &[Merge]) {
        let taken = self.carrier.taken();
        let out = |message: &&Message| message.campaign != "thanks" && taken.contains_key(&message.id);
        for message in messages.iter().filter(out) {
            let (profile, began) = self.beginning_of(message);
            let after = self.orders.iter().find(|order| {
                let known = merges.iter().filter(|merge| merge.position <= order.position);
                let known = known.map(|merge| (merge.loser, merge.winner)).collect();
                order.profile == current(&known, profile)
                    && order.at >= began
                    && order.position > message.entry
                    && !order.taken_before.contains(&message.id)
            });
            if let Some(order) = after {
                panic!("{message:?} went out after the order of {}", order.at);
            }
        }
    }

    /// Marketing reaches a person at most once, transactional mail twice only where an answer was lost; and nothing
    /// is recorded as sent that no provider took.
    fn nothing_is_doubled(&self, messages: &[Message]) {
        let taken = self.carrier.taken();
        for message in messages {
            let times = taken.get(&message.id).map_or(0, |(times, _)| *times);
            match message.purpose {
                Purpose::Marketing => assert!(times <= 1, "{} went out {times} times", message.id),
                Purpose::Transactional => {
                    assert!(times <= 1 || (times == 2 && message.answer_lost_at.is_some()), "{message:?}: {times}");
                }
            }
            if matches!(message.status, Status::Sent { .. }) {
                assert!(times >= 1, "{} is recorded as sent and was not", message.id);
            }
            if matches!(message.status, Status::Cancelled { .. }) {
                let tried = message.attempts > 0 || times == 0;
                assert!(tried, "{} was cancelled and went out", message.id);
            }
        }
        let known: usize = taken.keys().filter(|id| messages.iter().any(|message| message.id == **id)).count();
        assert_eq!(known, taken.len(), "the provider got a message we do not know");
    }

    /// When nothing is due any more: every entry is processed, every message has reached its end, and everybody has
    /// done what the log says under all their profiles, once.
    pub async fn check_rest(&self) {
        let store = self.house.store.workspace(WORKSPACE);
        let accounts = store.accounts().await.unwrap();
        assert_eq!(accounts.events.unprocessed, 0);
        let united: BTreeMap<_, _> = self.merges().await.iter().map(|merge| (merge.loser, merge.winner)).collect();
        assert_eq!(self.merged().await, united, "each merge of the log has happened, and no other");
        for message in self.messages().await {
            assert!(message.status.is_final(), "{message:?}");
            assert_eq!(message.profile, current(&united, self.first_profile(&message)));
        }
        let mut expected: BTreeMap<ProfileId, BTreeSet<Position>> = BTreeMap::new();
        let happened = self.happened.iter().map(|(position, (profile, _))| (*position, *profile));
        for (position, profile) in happened.chain(self.told().await) {
            expected.entry(current(&united, profile)).or_default().insert(position);
        }
        for (profile, expected) in expected {
            let person = store.person(profile).await.unwrap().unwrap();
            let mut pages = store.history_pages(profile).await.unwrap();
            pages.push(person.profile.history);
            let all: Vec<_> = pages.iter().flat_map(|page| page.iter()).map(|past| past.position).collect();
            assert_eq!((all.len(), BTreeSet::from_iter(all)), (expected.len(), expected), "profile {profile}");
        }
        for loser in united.keys() {
            assert!(store.enrollments_of(*loser, None, 9).await.unwrap().is_empty());
            assert!(store.identifiers_of(*loser).await.unwrap().is_empty());
        }
    }

    /// What Carillon itself told people in the log.
    async fn told(&self) -> Vec<(Position, ProfileId)> {
        let sql = "SELECT position, profile FROM entries WHERE kind = 'own' AND profile IS NOT NULL";
        let rows = Rows(self.house.store.reader()).all(sql, vec![]).await.unwrap();
        let number = |row: &sea_orm::QueryResult, n| row.try_get_by_index::<i64>(n).unwrap();
        rows.iter().map(|row| (Position(number(row, 0)), ProfileId(number(row, 1)))).collect()
    }

    /// What the log says about who is who.
    async fn merges(&self) -> Vec<Merge> {
        let rows = Rows(self.house.store.reader());
        let sql = "SELECT loser, winner, position FROM merges ORDER BY position";
        let rows = rows.all(sql, vec![]).await.unwrap();
        let number = |row: &sea_orm::QueryResult, n| row.try_get_by_index::<i64>(n).unwrap();
        let one = |row| Merge {
            loser: ProfileId(number(row, 0)),
            winner: ProfileId(number(row, 1)),
            position: Position(number(row, 2)),
        };
        rows.iter().map(one).collect()
    }

    /// Profiles whose state is in another.
    async fn merged(&self) -> BTreeMap<ProfileId, ProfileId> {
        let sql = "SELECT id, merged_into FROM profiles WHERE merged_into IS NOT NULL";
        let rows = Rows(self.house.store.reader()).all(sql, vec![]).await.unwrap();
        let number = |row: &sea_orm::QueryResult, n| ProfileId(row.try_get_by_index::<i64>(n).unwrap());
        rows.iter().map(|row| (number(row, 0), number(row, 1))).collect()
    }
}

pub struct Merge {
    loser: ProfileId,
    winner: ProfileId,
    position: Position,
}

pub fn current(united: &BTreeMap<ProfileId, ProfileId>, profile: ProfileId) -> ProfileId {
    united.get(&profile).map_or(profile, |winner| current(united, *winner))
}

/// Marketing messages that use a slot.
fn marketing(messages: &[Message]) -> impl Iterator<Item = (&Message, Timestamp)> {
    let marketing = messages.iter().filter(|message| message.purpose == Purpose::Marketing);
    marketing.filter_map(|message| Some((message, message.slot_at?)))
}
