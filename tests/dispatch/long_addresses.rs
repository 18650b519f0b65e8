//! Push tokens as long as they may be are written to, counted, stopped and freed like any other address, where an index
//! of the database takes no row of their length.

use carillon::audience::{Address, Channel};
use carillon::ids::Span;
use carillon::message::{Outcome, SuppressionKind};
use carillon::store::suppressions::ListFilter;
use carillon::worker::permission::ByHand;

use super::world::{HERE, World, reason_of};

const CALL: &str = "kind: campaign\nkey: call\nname: Call\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
    purpose: marketing\nentry: { event: Product Added, key: properties.cart_id }\n\
    send: { channel: push, template: short }\n---\nkind: template\nkey: short\n\
    push: { title: Hi, body: '{{event.properties.cart_id}}' }\n";
const ONCE_A_DAY: &str = "kind: caps\nrules: [ { at_most: 1, per: 1d } ]\n";
const YES: &str = r#""properties":{"channel":"push","state":"granted","source":"app"}"#;

/// 4,096 characters that no compression makes shorter by much.
fn token() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let letters = (0..4_096).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[usize::try_from(state >> 58).unwrap()])
    });
    letters.collect()
}

#[tokio::test]
async fn a_token_of_four_thousand_characters_is_sent_to_capped_stopped_and_freed() {
    let token = token();
    let mut world = World::with(&[CALL.to_owned(), ONCE_A_DAY.to_owned()]).await;
    // No push goes at night.
    world.after(Span::from_hours(4).millis() / 1_000).await;
    // Two people share the device: their slots are the address's.
    for user in ["ann", "bob"] {
        world.tell_of(user, &format!(r#"{{"push_token":"{token}"}}"#)).await;
        world.tell(user, "Consent Changed", YES).await;
    }
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    assert_eq!(world.statuses().await, ["sent"], "{:?}", world.messages().await);
    world.track("bob", "Product Added", "c2").await;
    world.settle().await;
    assert_eq!(reason_of(&world.messages().await[1]), "same_address", "the same goes to the device once");
    // The provider says that the device is gone.
    world.carrier.will([Outcome::Rejected { cause: "unregistered".into(), suppress: true }]);
    world.after(Span::from_days(1).millis() / 1_000).await;
    world.track("ann", "Product Added", "c3").await;
    world.settle().await;
    world.after(Span::from_days(1).millis() / 1_000).await;
    world.track("ann", "Product Added", "c4").await;
    world.settle().await;
    let reasons: Vec<_> = world.messages().await.iter().map(reason_of).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == "address_suppressed").count(), 1, "{reasons:?}");
    let address = Address::parse(Channel::Push, &token).unwrap();
    let filter = ListFilter { address: Some(token.clone()), limit: 10, ..ListFilter::default() };
    let listed = world.store.workspace(HERE).list_suppressions(&filter).await.unwrap();
    assert!(listed.len() == 1 && listed[0].suppression.kind == SuppressionKind::Bounced, "{listed:?}");
    let by_hand = || ByHand { address: address.clone(), kind: None, source: "a new telephone".to_owned() };
    assert_eq!(world.desk().unsuppress(HERE, vec![by_hand()]).await.unwrap(), 1);
    world.after(Span::from_days(1).millis() / 1_000).await;
    world.track("ann", "Product Added", "c5").await;
    world.settle().await;
    assert_eq!(world.statuses().await.iter().filter(|status| **status == "sent").count(), 2);
}
