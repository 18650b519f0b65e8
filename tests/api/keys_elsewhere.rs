//! A write key opens the door of every process from the moment somebody holds it, and a wrong one stays wrong.

use serde_json::json;

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_in_one_process_is_never_called_wrong_by_another() {
    let world = World::new().await;
    let neighbour = world.neighbour().await;
    for n in 0..3 {
        let made = world.post("/api/v1/keys", json!({ "source": format!("shop{n}") })).await.ok();
        let body = json!({ "userId": "ann", "event": "Product Viewed" }).to_string();
        let track = |key: &str| {
            let house = neighbour.as_ref().unwrap_or(&world.house);
            let request = house.request("POST", "/v1/track").basic_auth(key, Some(""));
            house.ask(request.header("content-type", "application/json").body(body.clone()))
        };
        assert_eq!(track(made["key"].as_str().unwrap()).await.status, 200, "{made}");
        assert_eq!(track("nobodys").await.status, 401);
    }
    if let Some(house) = neighbour {
        house.close().await;
    }
    world.close().await;
}
