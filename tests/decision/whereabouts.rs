//! The zone of a person's device, as their events say it.

use carillon::decision::Input;

use crate::support::{Life, at, event};

fn seen(life: &mut Life, happened: i64, received: i64, zone: &str) -> Option<String> {
    let body = format!(r#"{{"context":{{"timezone":"{zone}"}}}}"#);
    let event = event("Viewed", at(happened), at(received), &body);
    life.decide(at(received), &Input::Event(event.into()));
    life.person.profile.last_zone.clone()
}

#[test]
fn the_first_event_tells_it_also_where_it_took_a_moment_to_arrive() {
    let mut life = Life::with("");
    // Whoever is new was created as it arrived, after it happened.
    assert_eq!(seen(&mut life, -1, 0, "Asia/Tokyo").as_deref(), Some("Asia/Tokyo"));
}

#[test]
fn the_newest_that_names_one_counts_and_a_late_one_says_where_somebody_was() {
    let mut life = Life::with("");
    assert_eq!(seen(&mut life, 10, 10, "Asia/Tokyo").as_deref(), Some("Asia/Tokyo"));
    assert_eq!(seen(&mut life, 20, 20, "Europe/Paris").as_deref(), Some("Europe/Paris"));
    assert_eq!(seen(&mut life, 15, 30, "America/New_York").as_deref(), Some("Europe/Paris"));
    assert_eq!(seen(&mut life, 40, 40, "Mars/Olympus").as_deref(), Some("Europe/Paris"));
}
