//! What was answered 200 is in the database, once, also when the log is opened again.

use crate::client::{Connection, Request};

use super::world::World;

#[test]
fn ids_posted_at_once_from_many_sides_are_one_event_each_in_the_database() {
    const IDS: usize = 50;
    const TIMES: usize = 20;
    let world = World::start();
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
    assert_eq!(world.log.events().len(), IDS);
    world.log.stop();
    let stopped = world.send(&Request::post("/v1/t", r#"{"event":"E","userId":"u"}"#).key("wk"));
    assert_eq!((stopped.status, stopped.code().as_str()), (503, "stopping"));
    assert_eq!(world.entries_when_opened_again(), IDS);
}
