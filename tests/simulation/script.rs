//! What a seed makes happen, written down before any of it does: so a life can be lived again with fewer steps, and what
//! is left still means the same.

use std::collections::BTreeSet;
use std::fmt;

use carillon::event::Kind;

use crate::chance::Chance;

pub const PEOPLE: [&str; 4] = ["ann", "bob", "cem", "dot"];
/// Browsers, each anybody's: who uses one is anonymous until the login.
const DEVICES: u64 = 5;
/// User ids of guests, who may turn out to be one of the people.
const GUESTS: u64 = 4;
const STEPS: usize = 60;
/// So many carts make a regular in the beginning.
pub const CARTS_AT_FIRST: u64 = 3;
const POINTS: [&str; 8] = [
    "processor.decided",
    "processor.stored",
    "scheduler.due",
    "dispatcher.claimed",
    "dispatcher.rendered",
    "dispatcher.sending",
    "dispatcher.sent",
    "dispatcher.outcome",
];
/// What a turn of each loop writes to.
const TABLES: [&str; 8] =
    ["entries", "profiles", "enrollments", "messages", "message_states", "attempts", "cap_subjects", "inclusions"];

/// Who calls: a user id, a device, or both.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    pub user: Option<String>,
    pub device: Option<String>,
}

impl Caller {
    pub fn user(id: &str) -> Self {
        Self { user: Some(id.to_owned()), device: None }
    }

    fn device(id: &str) -> Self {
        Self { user: None, device: Some(id.to_owned()) }
    }

    pub fn name(&self) -> String {
        [&self.user, &self.device].into_iter().flatten().cloned().collect::<Vec<_>>().join(" on ")
    }
}

/// One event as its client writes it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its `messageId` is made of it.
    pub number: u64,
    pub caller: Caller,
    pub kind: Kind,
    pub name: &'static str,
    pub body: String,
    /// How long before its arrival it happened.
    pub late_seconds: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFault {
    /// A statement that writes to the table is refused.
    Refuses,
    /// The statements succeed, the commit does not.
    CommitFails,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapsFault {
    /// The next calls are not answered, and nothing happens.
    Away(u64),
    /// The next calls are done, and their answers are lost.
    AnswersLost(u64),
    /// `FLUSHALL`.
    Forgets,
    /// The replica has not heard of the last calls, and takes over; later the old master comes back as it was.
    FailsOver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderFault {
    Busy,
    DomainBusy,
    Refuses,
    /// It knows no such mailbox: nothing more goes there.
    NoSuchMailbox,
    /// Taken, and nobody hears of it.
    TakenUnheard,
    /// Not taken, and nobody knows.
    LostUnheard,
    WrongLogin,
}

#[derive(Debug, Clone)]
pub enum Step {
    Call(Call),
    /// It happens now and leaves its device later.
    Write(Call),
    /// What was written leaves its devices, the newest first.
    Connect,
    /// A client that never saw the answer sends the same again.
    Repeat(u64),
    Pump,
    Minutes(i64),
    /// The point fails at its so-manieth hit.
    Arm(&'static str, u64),
    Kill,
    Stop,
    Database(DatabaseFault, &'static str),
    /// What this person's clients send, and their timers, is refused for what it is, whenever it comes.
    RefusesOne(&'static str),
    DatabaseWell,
    Caps(CapsFault),
    Provider(ProviderFault, u64),
    /// From now on so many carts make a regular.
    Publish(u64),
    /// The campaign for regulars, or its end.
    Pause(bool),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "{call}"),
            Self::Write(call) => write!(f, "{call}, which leaves its device later"),
            Self::Connect => f.write_str("what was written arrives, the newest first"),
            Self::Repeat(number) => write!(f, "m{number} comes again"),
            Self::Pump => f.write_str("the loops run"),
            Self::Minutes(minutes) => write!(f, "{minutes} minutes pass"),
            Self::Arm(point, hit) => write!(f, "{point} will fail at hit {hit}"),
            Self::Kill => f.write_str("the process is killed"),
            Self::Stop => f.write_str("the process is stopped and started"),
            Self::Database(DatabaseFault::Refuses, table) => write!(f, "the database refuses to write {table}"),
            Self::Database(DatabaseFault::CommitFails, table) => {
                write!(f, "the database cannot commit what writes {table}")
            }
            Self::RefusesOne(person) => write!(f, "the database refuses calls and timers of {person}"),
            Self::DatabaseWell => f.write_str("the database is well"),
            Self::Caps(fault) => write!(f, "the cap store: {fault:?}"),
            Self::Publish(carts) => write!(f, "{carts} carts make a regular"),
            Self::Pause(true) => f.write_str("the campaign for regulars is paused"),
            Self::Pause(false) => f.write_str("the campaign for regulars goes on"),
            Self::Provider(fault, times) => write!(f, "the provider, {times} times: {fault:?}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, body, late_seconds, .. } = self;
        write!(f, "m{number} {}: {name} {body}", self.caller.name())?;
        if *late_seconds > 0 { write!(f, " ({late_seconds} s late)") } else { Ok(()) }
    }
}

/// The steps of a seed.
pub fn of(seed: u64) -> Vec<Step> {
    let mut author = Author {
        chance: Chance::new(seed),
        steps: Vec::new(),
        calls: 0,
        introduced: BTreeSet::new(),
        is_ill: false,
        is_paused: false,
    };
    author.introduce();
    while author.steps.len() < STEPS {
        author.step();
    }
    author.steps
}

struct Author {
    chance: Chance,
    steps: Vec<Step>,
    calls: u64,
    /// Devices and guests that have an address.
    introduced: BTreeSet<String>,
    /// The database is.
    is_ill: bool,
    /// The campaign for regulars is.
    is_paused: bool,
}

impl Author {
    /// Everyone gets an address; all but one say yes to mail. Two share an address.
    fn introduce(&mut self) {
        for person in PEOPLE {
            let address = if person == "dot" { "ann" } else { person };
            let body = format!(r#"{{"traits":{{"email":"{address}@example.com"}}}}"#);
            self.call(&Caller::user(person), Kind::Identify, "Identified", body);
            if person != "cem" {
                self.consent(&Caller::user(person), "granted");
            }
        }
    }

    fn write_call(&mut self, caller: &Caller, kind: Kind, name: &'static str, body: String) -> Call {
        self.calls += 1;
        Call { number: self.calls, caller: caller.clone(), kind, name, body, late_seconds: 0 }
    }

    fn call(&mut self, caller: &Caller, kind: Kind, name: &'static str, body: String) {
        let call = self.write_call(caller, kind, name, body);
        self.steps.push(Step::Call(call));
    }

    fn consent(&mut self, caller: &Caller, state: &str) {
        let body = format!(r#"{{"properties":{{"channel":"email","state":"{state}"}}}}"#);
        self.call(caller, Kind::Track, "Consent Changed", body);
    }

    /// Something a shop tells: now, late, or kept by the device for a while.
    fn tell(&mut self, caller: &Caller, name: &'static str, body: String) {
        let mut call = self.write_call(caller, Kind::Track, name, body);
        self.steps.push(match self.chance.below(100) {
            0..12 => {
                call.late_seconds = i64::try_from(self.chance.below(36 * 3600)).unwrap();
                Step::Call(call)
            }
            12..20 => Step::Write(call),
            _ => Step::Call(call),
        });
    }

    /// Mostly somebody known; else somebody on a device, who left an address there, or a guest.
    fn caller(&mut self) -> Caller {
        let caller = match self.chance.below(10) {
            0..2 => Caller::device(&format!("d{}", self.chance.below(DEVICES))),
            2 => Caller::user(&format!("g{}", self.chance.below(GUESTS))),
            _ => {
                let person = *self.chance.pick(&PEOPLE);
                return Caller::user(person);
            }
        };
        if self.introduced.insert(caller.name()) {
            let address = self.chance.below(8);
            let body = format!(r#"{{"traits":{{"email":"a{address}@example.com","seen":{}}}}}"#, self.calls);
            self.call(&caller, Kind::Identify, "Identified", body);
            self.consent(&caller, "granted");
        }
        caller
    }

    /// Somebody says who they are: by a login on a device, or a guest by alias.
    fn say_who(&mut self) {
        let person = *self.chance.pick(&PEOPLE);
        if self.chance.percent(70) {
            let device = format!("d{}", self.chance.below(DEVICES));
            let caller = Caller { device: Some(device), ..Caller::user(person) };
            self.call(&caller, Kind::Identify, "Identified", "{}".into());
        } else {
            let guest = format!("g{}", self.chance.below(GUESTS));
            let body = format!(r#"{{"previousId":"{guest}"}}"#);
            self.call(&Caller::user(person), Kind::Alias, "Aliased", body);
        }
    }

    fn step(&mut self) {
        match self.chance.below(100) {
            0..45 => self.shop(),
            45..49 => {
                let number = 1 + self.chance.below(self.calls);
                self.steps.push(Step::Repeat(number));
            }
            49..52 => self.steps.push(Step::Connect),
            52..58 => self.say_who(),
            58..68 => self.fault(),
            68..71 => self.shopkeeper(),
            71..79 => self.steps.push(Step::Pump),
            _ => {
                let minutes = 1 + i64::try_from(self.chance.below(180)).unwrap();
                self.steps.extend([Step::Minutes(minutes), Step::Pump]);
            }
        }
    }

    fn shop(&mut self) {
        let caller = self.caller();
        match self.chance.below(45) {
            0..19 => {
                let (cart, product, quantity) = (self.chance.below(6), self.calls % 3, 1 + self.calls % 2);
                let body = format!(
                    r#"{{"properties":{{"cart_id":"c{cart}","price":12.50,"product_id":"p{product}","quantity":{quantity}}}}}"#
                );
                self.tell(&caller, "Product Added", body);
            }
            // Some of what was looked at is taken out again.
            19..30 if self.calls.is_multiple_of(3) => {
                let body = format!(r#"{{"properties":{{"cart_id":"c{}","product_id":"p0"}}}}"#, self.calls % 6);
                self.tell(&caller, "Product Removed", body);
            }
            19..30 => self.tell(&caller, "Product Viewed", "{}".into()),
            30..39 => {
                let body = format!(r#"{{"properties":{{"order_id":"o{}","revenue":20}}}}"#, self.calls);
                self.tell(&caller, "Order Completed", body);
            }
            39..42 => self.consent(&caller, "denied"),
            _ => self.consent(&caller, "granted"),
        }
    }

    /// Whoever runs the shop changes their mind.
    fn shopkeeper(&mut self) {
        let step = if self.chance.percent(60) {
            Step::Publish(1 + self.chance.below(CARTS_AT_FIRST + 1))
        } else {
            self.is_paused = !self.is_paused;
            Step::Pause(self.is_paused)
        };
        self.steps.push(step);
    }

    fn fault(&mut self) {
        let times = 1 + self.chance.below(3);
        let step = match self.chance.below(20) {
            0..5 => Step::Arm(self.chance.pick::<&'static str>(&POINTS), times),
            5..7 => Step::Kill,
            7 => Step::Stop,
            8..11 => self.database(),
            11..15 => Step::Caps(match self.chance.below(4) {
                0 => CapsFault::Away(times),
                1 => CapsFault::AnswersLost(times),
                2 => CapsFault::Forgets,
                _ => CapsFault::FailsOver,
            }),
            _ => {
                let faults = [
                    ProviderFault::Busy,
                    ProviderFault::DomainBusy,
                    ProviderFault::Refuses,
                    ProviderFault::NoSuchMailbox,
                    ProviderFault::TakenUnheard,
                    ProviderFault::LostUnheard,
                    ProviderFault::WrongLogin,
                ];
                Step::Provider(*self.chance.pick(&faults), times)
            }
        };
        self.steps.push(step);
    }

    /// Ill for a while, then well.
    fn database(&mut self) -> Step {
        self.is_ill = !self.is_ill;
        if !self.is_ill {
            return Step::DatabaseWell;
        }
        if self.chance.percent(60) {
            return Step::RefusesOne(self.chance.pick::<&'static str>(&PEOPLE));
        }
        let fault = *self.chance.pick(&[DatabaseFault::Refuses, DatabaseFault::CommitFails]);
        Step::Database(fault, self.chance.pick::<&'static str>(&TABLES))
    }
}
