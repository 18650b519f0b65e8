//! Quiet hours from the person's clock to the hour at which what waited goes.

use carillon::definition::SourceFile;
use carillon::message::{Reason, Status};
use carillon::worker::apply::apply;

use super::world::{HERE, World, campaign, is_sent, reason_of};

/// The clock stands at 06:13:20Z.
const MORNING: &str = "kind: quiet_hours\nwindows: [ { channels: [ email ], from: \"21:00\", to: \"09:00\", purposes: [ marketing ] } ]\n";
const UNTIL_NINE: i64 = (2 * 60 + 46) * 60 + 40;

#[tokio::test]
async fn what_waits_for_the_morning_goes_at_its_first_instant_and_the_most_important_first() {
    let caps = "kind: caps\nrules: [ { at_most: 1, per: 1d } ]\n".to_owned();
    let (weak, strong) = (campaign("weak", "Viewed", "priority: 10"), campaign("strong", "Added", "priority: 90"));
    let mut world = World::with(&[weak, strong, caps, MORNING.to_owned()]).await;
    world.tell_of("ann", r#"{"email":"ann@example.com","timezone":"UTC"}"#).await;
    for event in ["Viewed", "Added"] {
        world.track("ann", event, "c1").await;
        world.after(3).await;
    }
    let nine = "2026-02-25T09:00:00Z".parse().unwrap();
    for message in world.messages().await {
        let Status::Deferred { until, reason: Reason::QuietHours { window, zone, .. } } = &message.status else {
            panic!("{:?}", message.status)
        };
        assert_eq!((*until, window.as_str()), (nine, "21:00–09:00 for email, marketing only"));
        assert_eq!(zone, "UTC, by the trait `timezone`");
    }
    assert_eq!(world.dispatcher.next_due().await.unwrap(), Some(nine), "and nothing wakes before");
    world.after(UNTIL_NINE - 7).await;
    assert!(world.carrier.handed().is_empty(), "a second before");
    world.after(1).await;
    let messages = world.messages().await;
    let sent: Vec<&str> = messages.iter().filter(|one| is_sent(&one.status)).map(|one| one.campaign.as_str()).collect();
    assert_eq!(sent, ["strong"]);
    let weak = messages.iter().find(|one| one.campaign == "weak").unwrap();
    assert_eq!(reason_of(weak), "capped");
}

#[tokio::test]
async fn each_waits_by_their_own_clock_and_what_drops_or_is_transactional_does_not_wait() {
    let drops = campaign("drops", "Viewed", "quiet_hours: drop");
    let receipt = campaign("receipt", "Paid", "purpose: transactional");
    let mut world = World::with(&[campaign("cart", "Added", ""), drops, receipt, MORNING.to_owned()]).await;
    world.tell_of("ann", r#"{"email":"ann@example.com","timezone":"Europe/London"}"#).await;
    world.tell_of("bob", r#"{"email":"bob@example.com","phone":"+81312345678"}"#).await;
    world.identify("cas", "cas@example.com").await;
    world.tell("cas", "Seen", r#""context":{"timezone":"Asia/Tokyo"}"#).await;
    world.settle().await;
    for user in ["ann", "bob", "cas"] {
        for event in ["Added", "Viewed", "Paid"] {
            world.track(user, event, user).await;
            world.after(3).await;
        }
    }
    let mut came: Vec<(String, String)> = Vec::new();
    for message in world.messages().await {
        let said = if is_sent(&message.status) { "sent" } else { reason_of(&message) };
        came.push((message.campaign.clone(), format!("{} {said}", message.status.name())));
    }
    came.sort();
    let told: Vec<String> = came.into_iter().map(|(campaign, said)| format!("{campaign}: {said}")).collect();
    assert_eq!(
        told,
        [
            "cart: deferred quiet_hours",
            "cart: sent sent",
            "cart: sent sent",
            "drops: sent sent",
            "drops: sent sent",
            "drops: suppressed quiet_hours",
            "receipt: sent sent",
            "receipt: sent sent",
            "receipt: sent sent",
        ],
        "in Tokyo it is three in the afternoon"
    );
}

#[tokio::test]
async fn quiet_hours_that_are_changed_let_go_at_once_what_waits() {
    let mut world = World::with(&[campaign("cart", "Added", ""), MORNING.to_owned()]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Added", "c1").await;
    world.settle().await;
    assert_eq!(reason_of(&world.messages().await[0]), "quiet_hours");
    let text = MORNING.replace("kind: quiet_hours", "kind: quiet_hours\nkey: the_one").replace("09:00", "05:00");
    let files = vec![SourceFile { name: "quiet.yaml".to_owned(), text }];
    apply(&world.log, &world.store, &world.definitions, HERE, files, false).await.unwrap().unwrap();
    world.settle().await;
    assert!(is_sent(&world.messages().await[0].status));
}

#[tokio::test]
async fn what_waited_in_the_line_until_its_time_was_over_does_not_go() {
    let evening = MORNING.replace("21:00", "06:14").replace("09:00", "07:00");
    for (more, reason) in [("", "quiet_hours"), ("send: { channel: email, template: hello, expires: 30s }", "expired")]
    {
        let cart = campaign("cart", "Added", "");
        let cart = if more.is_empty() { cart } else { cart.replace("send: { channel: email, template: hello }", more) };
        let evening = if more.is_empty() { evening.clone() } else { "kind: quiet_hours\nwindows: []\n".to_owned() };
        let mut world = World::with(&[cart, evening]).await;
        // One connection: the second waits until the first has its answer, which takes 45 seconds.
        world.carried_by(std::sync::Arc::new(world.carrier.clone()), 1);
        for user in ["ann", "bob", "cas", "dan"] {
            world.identify(user, &format!("{user}@example.com")).await;
            world.track(user, "Added", user).await;
        }
        let clock = world.clock.clone();
        world.carrier.meanwhile(async move {
            clock.advance(carillon::ids::Span::from_seconds(45));
        });
        world.settle().await;
        let messages = world.messages().await;
        let late: Vec<&str> = messages.iter().filter(|one| !is_sent(&one.status)).map(|one| reason_of(one)).collect();
        assert!(late.len() >= 2 && late.iter().all(|one| *one == reason), "{late:?}");
        // What was marked already is with its provider.
        assert_eq!(world.carrier.handed().len() + late.len(), 4);
    }
}
