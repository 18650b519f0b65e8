//! The words for what happens to people and messages: stories and explanations say the same of the same.

/// A campaign, or an enrollment in it.
pub fn of_key(campaign: &str, key: &str) -> String {
    if key.is_empty() { campaign.to_owned() } else { format!("{campaign} with key {key}") }
}

/// `until`: the end of a delay, where there is one.
pub fn entered(which: &str, until: Option<&str>) -> String {
    let delay = until.map_or_else(String::new, |until| format!("; its delay ends at {until}"));
    format!("entered {which}{delay}")
}

pub fn repeated(which: &str, until: Option<&str>) -> String {
    match until {
        Some(until) => format!("repeated {which}; its delay now ends at {until}"),
        None => format!("repeated {which}; the newest event counts"),
    }
}

pub fn did_not_enter(which: &str, why: &str) -> String {
    format!("did not enter {which}: {why}")
}

/// `at`: where no time stands beside it.
pub fn exited(by: &str, at: Option<&str>, campaign: &str, key: &str) -> String {
    let at = at.map_or_else(String::new, |at| format!(" at {at}"));
    let key = if key.is_empty() { String::new() } else { format!(", key {key}") };
    format!("exited: {by}{at} ({campaign}{key})")
}

pub fn converted(campaign: &str, after: &str) -> String {
    format!("converted: the goal of {campaign} was reached after {after}")
}

pub fn queued(message: &str) -> String {
    format!("queued {message}")
}

pub fn deferred(message: &str, until: &str, why: &str) -> String {
    format!("deferred {message} until {until}: {why}")
}

pub fn not_sent(message: &str, why: &str) -> String {
    format!("not sent {message}: {why}")
}

pub fn sent(message: &str) -> String {
    format!("sent {message}")
}

pub fn of_segment(segment: &str, entered: bool, how: &str, because: &str) -> String {
    let verb = if entered { "entered" } else { "left" };
    format!("{verb} segment {segment}{how}: {because}")
}

pub fn of_trait(name: &str, (from, to): (&str, &str), how: &str, because: &str) -> String {
    format!("{name} changed from {from} to {to}{how}: {because}")
}
