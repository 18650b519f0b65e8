//! The same door over the real log: what was answered 200 is in the file, once.

use std::sync::Arc;

use carillon::clock::Clock;
use carillon::eventlog::EventLog;
use carillon::ids::{Position, Span};
use carillon::store;

use crate::client::{Connection, Request};
use crate::world::World;

#[test]
fn ids_posted_at_once_from_many_sides_are_one_event_each_in_the_file() {
    const IDS: usize = 50;
    const TIMES: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("carillon.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(store::connect::open(&path)).unwrap();
    let log = runtime.block_on(EventLog::start(&database, Clock::system(Span::ZERO))).unwrap();
    let world = World::over(Arc::new(log.clone()));

    let threads: Vec<_> = (0..TIMES)
        .map(|turn| {
            let address = world.address;
            std::thread::spawn(move || {
                let mut connection = Connection::open(address);
                for n in 0..IDS {
                    let n = (n + turn * 7) % IDS;
                    let body =
                        format!(r#"{{"event":"Product Added","userId":"u{n}","messageId":"m{n}","turn":{turn}}}"#);
                    let answer = connection.send(&Request::post("/v1/t", body).key("wk"));
                    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());

    runtime.block_on(log.stop());
    let again = runtime.block_on(store::connect::open(&path)).unwrap();
    let entries = runtime.block_on(store::entries::read_after(&again.reader, Position(0), 10_000)).unwrap();
    assert_eq!(entries.len(), IDS);
    let stopped = world.send(&Request::post("/v1/t", r#"{"event":"E","userId":"u"}"#).key("wk"));
    assert_eq!((stopped.status, stopped.code().as_str()), (503, "stopping"));
}
