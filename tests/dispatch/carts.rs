//! Carts on their way through the log, the rows and the mail: of a guest who logs in, of people stored before carts were
//! kept, and of two carts at once.

use carillon::event::{Body, Event, Kind};
use carillon::store::{self, Rows};

use super::world::{HERE, World};

const CAMPAIGN: &str = "kind: campaign\nkey: cart\nname: cart\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
    purpose: marketing\nentry: { event: Product Added, key: properties.cart_id }\ndelay: 1h\n\
    exit: [ { cart: empty }, { cart: { value: { lt: EUR 5 } } } ]\nsend: { channel: email, template: hello }\n";
const FULL: &str = "kind: segment\nkey: full\nname: Full carts\nowner: crm@shop.example\n\
    where: { cart: { value: { gte: EUR 45 } } }\n";
const TEMPLATE: &str = "kind: template\nkey: hello\n\
    sample: { cart: { items: 1, value: 5, currency: EUR, lines: [ { name: Kettle, quantity: 1 } ] } }\n\
    email: { subject: Hi, html: '<p>{{#each cart.lines}}{{quantity}} {{name}}, {{/each}}{{cart.items}} for {{cart.value}}</p>' }\n";

async fn shop() -> World {
    World::with(&[CAMPAIGN, FULL, TEMPLATE].map(str::to_owned)).await
}

fn on_device(world: &World, kind: Kind, name: &str, user: Option<&str>, body: &str) -> Event {
    let mut call = world.call("nobody", name, "none");
    call.kind = kind;
    call.user_id = user.map(ToOwned::to_owned);
    call.anonymous_id = Some("d1".to_owned());
    call.body = Body::new(body.to_owned());
    call
}

async fn add(world: &World, user: &str, properties: &str) {
    world.tell(user, "Product Added", &format!(r#""properties":{properties}"#)).await;
}

async fn members(world: &World) -> usize {
    world.store.workspace(HERE).members("full", carillon::ids::ProfileId(0), 10).await.unwrap().len()
}

#[tokio::test]
async fn a_guest_who_logs_in_brings_their_cart_to_what_was_in_it_and_the_mail_shows_it_as_it_is() {
    let mut world = shop().await;
    world.identify("ann", "ann@example.com").await;
    add(&world, "ann", r#"{"product_id":"p1","name":"Kettle","price":30}"#).await;
    world.after(1).await;
    let body = r#"{"properties":{"product_id":"p2","name":"Cup","price":8,"quantity":2}}"#;
    world.log.append(HERE, vec![on_device(&world, Kind::Track, "Product Added", None, body)]).await.unwrap();
    world.settle().await;
    assert_eq!(members(&world).await, 0, "neither cart is worth so much");
    world.log.append(HERE, vec![on_device(&world, Kind::Identify, "Identified", Some("ann"), "{}")]).await.unwrap();
    add(&world, "ann", r#"{"product_id":"p3","name":"Spoon","price":0.5}"#).await;
    world.settle().await;
    assert_eq!(members(&world).await, 1, "all three together are");
    for product in ["p2", "p3"] {
        world.tell("ann", "Product Removed", &format!(r#""properties":{{"product_id":"{product}"}}"#)).await;
    }
    world.after(3_600).await;
    let texts = world.carrier.texts();
    assert!(texts.len() == 1 && texts[0].contains("1 Kettle, 1 Cup, 2 for 38"), "{texts:?}");
    assert_eq!(members(&world).await, 0);
}

#[tokio::test]
async fn each_of_two_carts_is_mailed_as_it_is_and_what_was_bought_of_neither() {
    let mut world = shop().await;
    world.identify("ann", "ann@example.com").await;
    for (cart, name) in [("c1", "Kettle"), ("c2", "Cup"), ("c3", "Pan")] {
        add(&world, "ann", &format!(r#"{{"cart_id":"{cart}","product_id":"{name}","name":"{name}","price":9}}"#)).await;
    }
    world.tell("ann", "Order Completed", r#""properties":{"cart_id":"c3"}"#).await;
    world.after(3_600).await;
    let mut texts = world.carrier.texts();
    texts.sort_unstable();
    assert!(texts.len() == 2 && texts[0].contains("1 Cup, 1 for 9") && texts[1].contains("1 Kettle, 1 for 9"));
    add(&world, "ann", r#"{"cart_id":"c4","product_id":"q","name":"Pot","price":9}"#).await;
    world.tell("ann", "Order Completed", r#""properties":{"order_id":"o1"}"#).await;
    world.after(3_600).await;
    assert_eq!(world.carrier.texts().len(), 2, "an order that names no cart empties all");
}

#[tokio::test]
async fn of_rows_from_before_carts_were_kept_the_history_tells() {
    let mut world = shop().await;
    world.identify("ann", "ann@example.com").await;
    for name in ["Kettle", "Cup"] {
        add(&world, "ann", &format!(r#"{{"product_id":"{name}","name":"{name}","price":9}}"#)).await;
    }
    world.settle().await;
    let forget = "UPDATE profiles SET carts = NULL";
    let forgotten = world.log.writer().change(carillon::eventlog::Queue::Effects, move |tx, _| {
        Box::pin(async move { Ok(Rows(tx).run(forget, vec![]).await?) })
    });
    assert!(forgotten.await.unwrap() > 0);
    world.tell("ann", "Product Removed", r#""properties":{"product_id":"Cup"}"#).await;
    world.after(3_600).await;
    let texts = world.carrier.texts();
    assert!(texts.len() == 1 && texts[0].contains("1 Kettle, 1 for 9"), "{texts:?}");
    let person = store::Workspace::person(&world.store.workspace(HERE), world.profile("ann").await).await;
    assert!(person.unwrap().unwrap().profile.carts.is_some(), "from then on it is kept");
}
