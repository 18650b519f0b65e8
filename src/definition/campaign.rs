//! `kind: campaign`: trigger campaigns as written, with their defaults filled in.

use crate::decision::campaign::{Campaign, CampaignStatus, Entry, Exit, Goal, OnRepeat, Reentry, Send};
use crate::definition::condition::{self, Scope};
use crate::definition::pattern;
use crate::definition::performed::{event_names, same};
use crate::definition::problem::Code;
use crate::definition::reader::{At, Map, Target};
use crate::definition::start;
use crate::ids::Span;
use crate::message::{CapUse, OnUnknownSend, PRIORITY_DEFAULT, Purpose, WhenCapped, WhenQuiet};

const FIELDS: [&str; 19] = [
    "kind",
    "key",
    "name",
    "owner",
    "type",
    "status",
    "purpose",
    "topic",
    "priority",
    "entry",
    "delay",
    "exit",
    "goal",
    "caps",
    "quiet_hours",
    "urgent",
    "max_lateness",
    "on_unknown_send",
    "send",
];
const LATER: [&str; 13] =
    ["group", "holdout", "steps", "audience", "at", "cron", "on", "pace", "split", "a", "b", "winner", "release"];
const ENTRY_LATER: [&str; 1] = ["each"];
const SEND_LATER: [&str; 3] = ["fallback", "coupon", "after_sent"];

const LATENESS_DEFAULT: Span = Span::from_days(1);
/// Repeats of an event are recognised this long, so an older one may not enter anybody.
pub const LATENESS_MAX: Span = Span::from_days(7);
pub const EXITS_MAX: usize = 100;

/// `version` is 0: the store counts versions when the text is applied.
pub fn read(at: &At<'_>, key: &str) -> Option<Campaign> {
    let map = at.map(&FIELDS, &LATER)?;
    let kind = map.required("type").and_then(|at| at.choice(&[("trigger", ())], &["journey", "broadcast"]));
    let name = map.required("name").and_then(|at| at.name());
    let status = map.optional("status", CampaignStatus::Draft, |at| {
        let choices = [
            ("draft", CampaignStatus::Draft),
            ("live", CampaignStatus::Live),
            ("paused", CampaignStatus::Paused),
            ("archived", CampaignStatus::Archived),
        ];
        at.choice(&choices, &[])
    });
    let owner = owner(&map, status == Some(CampaignStatus::Live));
    let purpose = map
        .required("purpose")
        .and_then(|at| at.choice(&[("marketing", Purpose::Marketing), ("transactional", Purpose::Transactional)], &[]));
    let topic = map.maybe("topic", |at| {
        let key = at.key()?;
        at.refers(Target::Topic(key.clone()));
        Some(key)
    });
    let priority = map.optional("priority", u32::from(PRIORITY_DEFAULT), |at| at.integer(0, 100));
    let entry = map.required("entry").and_then(|at| entry(&at));
    let delay = map.optional("delay", Span::ZERO, |at| at.span());
    let exit = map.optional("exit", Vec::new(), |at| exits(&at));
    let goal = map.maybe("goal", |at| goal(&at));
    let caps = caps(&map, purpose);
    let quiet = quiet(&map, purpose);
    let max_lateness = map.optional("max_lateness", LATENESS_DEFAULT, |at| lateness(&at));
    let on_unknown_send = on_unknown_send(&map, purpose);
    let send = map.required("send").and_then(|at| send(&at));
    kind?;
    Some(Campaign {
        key: key.to_owned(),
        version: 0,
        name: name?,
        owner: owner?,
        status: status?,
        purpose: purpose?,
        topic: topic?,
        priority: u8::try_from(priority?).unwrap_or(u8::MAX),
        entry: entry?,
        delay: delay?,
        exit: exit?,
        goal: goal?,
        caps: caps?,
        quiet: quiet?,
        max_lateness: max_lateness?,
        on_unknown_send: on_unknown_send?,
        send: send?,
    })
}

/// An e-mail address; only what is live must have one.
pub fn owner(map: &Map<'_>, required: bool) -> Option<String> {
    let field = if required {
        map.required("owner")?
    } else {
        match map.get("owner") {
            Some(field) => field,
            None => return Some(String::new()),
        }
    };
    let text = field.name()?;
    if !email_address::EmailAddress::is_valid(&text) {
        return field.wrong("wanted an e-mail address; alerts go there");
    }
    Some(text)
}

fn entry(at: &At<'_>) -> Option<Entry> {
    let fields = [
        "event",
        "segment",
        "on",
        "trait",
        "from",
        "to",
        "date",
        "match",
        "where",
        "key",
        "on_repeat",
        "reentry",
        "include_existing",
    ];
    let map = at.map(&fields, &ENTRY_LATER)?;
    let is_later = ENTRY_LATER.iter().any(|name| map.get(name).is_some());
    // What begins with each of several things is refused already.
    let started = if is_later { None } else { start::read(&map) };
    let pattern = map.maybe("match", pattern::read);
    let filter = map.maybe("where", |at| condition::read(at, Scope::ENTRY));
    let key = map.maybe("key", |at| at.path());
    let on_repeat = map.optional("on_repeat", OnRepeat::Ignore, |at| {
        let choices = [("ignore", OnRepeat::Ignore), ("update", OnRepeat::Update), ("restart", OnRepeat::Restart)];
        at.choice(&choices, &[])
    });
    let reentry = map.optional("reentry", Reentry::Always, |at| {
        if !at.is_map() {
            return at.choice(&[("always", Reentry::Always), ("never", Reentry::Never)], &[]);
        }
        at.map(&["after"], &[])?.required("after")?.span_above_zero().map(Reentry::After)
    });
    let existing = map.maybe("include_existing", |at| start::existing(&at, &map));
    let (event, start) = started?;
    Some(Entry {
        event,
        start,
        pattern: pattern?,
        filter: filter?,
        key: key?,
        on_repeat: on_repeat?,
        reentry: reentry?,
        existing: existing?,
    })
}

fn exits(at: &At<'_>) -> Option<Vec<Exit>> {
    let items = at.list()?;
    if items.len() > EXITS_MAX {
        at.problem(Code::Limit, format!("has {} items; at most {EXITS_MAX} are allowed", items.len()));
    }
    let read: Vec<_> = items.iter().map(exit).collect();
    read.into_iter().collect()
}

/// `{ event: NAME or list, match, where, same }`, or a condition that uses no triggering event.
fn exit(at: &At<'_>) -> Option<Exit> {
    let is_event = at.open_map()?.get("event").is_some_and(|event| !event.is_map());
    if !is_event {
        let condition = condition::read(at.clone(), Scope::EXIT)?;
        return Some(Exit::Condition { condition, text: at.as_written() });
    }
    let map = at.map(&["event", "match", "where", "same"], &[])?;
    let events = map.required("event").and_then(|at| event_names(&at));
    let pattern = map.maybe("match", pattern::read);
    let filter = map.maybe("where", |at| condition::read(at, Scope::EXIT_EVENT));
    let same = map.maybe("same", |at| same(&at, "entry"));
    Some(Exit::Event { events: events?, pattern: pattern?, filter: filter?, same: same? })
}

fn goal(at: &At<'_>) -> Option<Goal> {
    let map = at.map(&["event", "match", "where", "within", "after", "value"], &["same"])?;
    let event = map.required("event").and_then(|at| at.name());
    let pattern = map.maybe("match", pattern::read);
    let filter = map.maybe("where", |at| condition::read(at, Scope::GOAL));
    let within = map.required("within").and_then(|at| at.span_above_zero());
    let after = map.optional("after", (), |at| at.choice(&[("sent", ())], &["delivered", "opened", "clicked"]));
    let value = map.maybe("value", |at| at.path());
    after?;
    Some(Goal { event: event?, pattern: pattern?, filter: filter?, within: within?, value: value? })
}

/// Marketing obeys and counts unless it says otherwise; transactional does neither.
fn caps(map: &Map<'_>, purpose: Option<Purpose>) -> Option<CapUse> {
    let marketing = purpose != Some(Purpose::Transactional);
    let default = CapUse { obey: marketing, count: marketing, when_capped: WhenCapped::Drop };
    map.optional("caps", default, |at| {
        let map = at.map(&["obey", "count", "when_capped"], &[])?;
        let obey = map.optional("obey", default.obey, |at| at.boolean());
        let count = map.optional("count", default.count, |at| at.boolean());
        let when_capped = map.optional("when_capped", default.when_capped, |at| {
            if !at.is_map() {
                return at.choice(&[("drop", WhenCapped::Drop), ("exit", WhenCapped::Exit)], &[]);
            }
            at.map(&["defer"], &[])?.required("defer")?.span_above_zero().map(WhenCapped::Defer)
        });
        Some(CapUse { obey: obey?, count: count?, when_capped: when_capped? })
    })
}

/// `quiet_hours: wait | drop`, or `urgent: true` for what may wake people.
fn quiet(map: &Map<'_>, purpose: Option<Purpose>) -> Option<WhenQuiet> {
    let choices = [("wait", WhenQuiet::Wait), ("drop", WhenQuiet::Drop)];
    let when = map.optional("quiet_hours", WhenQuiet::Wait, |at| at.choice(&choices, &[]));
    let urgent = map.optional("urgent", false, |at| {
        let urgent = at.boolean()?;
        match (urgent, purpose) {
            (true, Some(Purpose::Marketing)) => {
                at.wrong("marketing is never urgent; only a transactional campaign may be")
            }
            (true, _) if map.get("quiet_hours").is_some() => {
                at.wrong("what is urgent obeys no quiet hours: leave `quiet_hours` out")
            }
            _ => Some(urgent),
        }
    });
    let when = when?;
    Some(if urgent? { WhenQuiet::Ignore } else { when })
}

fn lateness(at: &At<'_>) -> Option<Span> {
    match at.span()? {
        span if span > LATENESS_MAX => {
            at.problem(Code::Limit, format!("is {span}; at most {LATENESS_MAX} is allowed"));
            None
        }
        span => Some(span),
    }
}

fn on_unknown_send(map: &Map<'_>, purpose: Option<Purpose>) -> Option<OnUnknownSend> {
    let default = purpose.unwrap_or(Purpose::Marketing).on_unknown_send_default();
    map.optional("on_unknown_send", default, |at| {
        at.choice(&[("skip", OnUnknownSend::Skip), ("repeat", OnUnknownSend::Repeat)], &[])
    })
}

fn send(at: &At<'_>) -> Option<Send> {
    let map = at.map(&["channel", "template", "expires"], &SEND_LATER)?;
    let channel = map.required("channel").and_then(|at| at.channel());
    let template = map.required("template").and_then(|at| {
        let key = at.key()?;
        at.refers(Target::Template(key.clone(), channel));
        Some(key)
    });
    let expires = map.maybe("expires", |at| {
        if at.is_map() {
            return at.later("an expiry by reference (`ref`)");
        }
        at.span_above_zero()
    });
    Some(Send { channel: channel?, template: template?, expires: expires? })
}
