//! Processes on machines whose clocks are ten minutes apart share one database: they go by its clock.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use crate::database::Backend;
use crate::house::{House, until};
use crate::load::Load;
use crate::redis_servers::Redis;
use crate::sink::Sink;

const OFF: i64 = 300;
/// As they are found apart at most, with all that happens in between.
const APART_MAX_MS: i64 = 100_000;

/// The machine's clock as a library that a program loads before its own.
fn library(folder: &Path) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/endings/skewed.c");
    let library = folder.join("skewed.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(made.expect("a C compiler is missing, which Rust links with").success());
    library.display().to_string()
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

#[test]
fn clocks_five_minutes_off_to_either_side_make_no_difference_to_what_is_stored_and_sent() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let shown =
        Command::new("date").arg("+%s").env("LD_PRELOAD", &library).env("SECONDS_OFF", OFF.to_string()).output();
    let shown: i64 = String::from_utf8(shown.unwrap().stdout).unwrap().trim().parse().unwrap();
    assert!((shown * 1_000 - now_ms()).abs() > APART_MAX_MS, "the clock is not off: {shown}");

    let sink = Sink::start();
    let redis = Redis::start();
    let mut ahead = House::new(&sink, Backend::Postgres);
    let mut behind = ahead.beside();
    for (house, off) in [(&mut ahead, OFF), (&mut behind, -OFF)] {
        house.settings.push(("LD_PRELOAD", library.clone()));
        house.settings.push(("SECONDS_OFF", off.to_string()));
        house.settings.push(("CARILLON_REDIS__URL", redis.url()));
        house.start_beside();
    }
    until("two shares", || ahead.shares() == [8, 8]);
    let began = now_ms();
    for n in 0..8 {
        for (house, name) in [(&ahead, "a"), (&behind, "b")] {
            Load::tell(house, &format!("{name}{n}"), "Order Completed", &format!("{name}{n}"));
        }
    }
    until("every mail of both", || sink.delivered().len() == 2 * 16);
    ahead.settle();
    let ended = now_ms();
    let instants = [
        ahead.query("SELECT now FROM entries WHERE event_id IS NOT NULL AND kind <> 'own'"),
        ahead.query("SELECT message_states.at FROM message_states JOIN messages ON message = id WHERE status = 'sent'"),
    ];
    for instants in instants {
        assert!(instants.len() >= 32, "{instants:?}");
        let off = instants.iter().map(|at| (began - at).max(at - ended)).max();
        assert!(off < Some(APART_MAX_MS), "{off:?} ms off");
    }
}
