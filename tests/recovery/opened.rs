//! Opening a database works on nothing: what waits for a transport waits on while commands look at it, and is tried when
//! the service starts.
//!
//! To see it fail, let `Carillon::open` put back what waits for a transport.

use std::time::Duration;

use carillon::message::{Message, Status};
use carillon::store::Rows;
use sea_orm::ConnectionTrait;

use super::BACKEND;
use crate::database::Place;
use crate::house::{START, Shop};

async fn messages_and_steps<C: ConnectionTrait>(conn: &C) -> (Vec<Message>, Option<i64>) {
    let sql = format!("{} ORDER BY created_at, id", carillon::store::messages::SELECT);
    let rows = Rows(conn).all(&sql, vec![]).await.unwrap();
    let messages = rows.iter().map(|row| carillon::store::messages::read(row).unwrap()).collect();
    (messages, Rows(conn).scalar("SELECT count(*) FROM message_states", vec![]).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_changes_nothing_of_what_waits_for_a_transport_and_a_start_tries_it() {
    let place = Place::new(BACKEND).await;
    let shop = Shop::open(place.folder.path(), place.address(), START, None).await;
    shop.furnish().await;
    shop.carrier.is_away(true);
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    shop.track("ann", "Order Placed", "c1").await;
    shop.after(1).await;
    let before = messages_and_steps(shop.house.store.reader()).await;
    let [Message { status: Status::Deferred { reason, .. }, .. }] = &before.0[..] else { panic!("{before:?}") };
    assert_eq!(reason.code(), "transport_stopped");
    let (now, carrier) = (shop.clock.now().millis(), shop.carrier.clone());
    shop.close().await;

    let open =
        async || Shop::opened(place.folder.path(), place.address(), now + 1_000, None, Some(carrier.clone())).await.0;
    let command = open().await;
    assert_eq!(messages_and_steps(command.store.reader()).await, before);
    command.close().await;

    carrier.is_away(false);
    let service = open().await;
    let mut stored = service.log.stored();
    let running = service.start();
    while carrier.taken().1 == 0 {
        tokio::time::timeout(Duration::from_secs(30), stored.changed()).await.expect("it is tried at once").unwrap();
    }
    running.stop().await;
    let (messages, _) = messages_and_steps(service.store.reader()).await;
    assert!(matches!(messages[..], [Message { status: Status::Sent { .. }, .. }]), "{messages:?}");
    service.close().await;
}
