//! What somebody who applies is told of events that came, asked again and again while more come.

use carillon::definition::SourceFile;
use carillon::worker::apply::apply;

use super::support::{House, WORKSPACE, event};

async fn warned(house: &House) -> Vec<String> {
    let text = "kind: segment\nkey: paid\nname: P\nowner: crm@shop.example\nwhere: { performed: { event: Paid } }\n";
    let files = vec![SourceFile { name: "shop.yaml".into(), text: text.into() }];
    apply(&house.log, &house.store, &house.definitions, WORKSPACE, files, true).await.unwrap().unwrap().warnings
}

#[tokio::test]
async fn an_event_that_came_since_is_known_however_far_the_other_shards_are() {
    let house = House::new().await;
    // One person's shard is far ahead of those of the others.
    let many = (0..200).map(|n| event(&format!("e{n}"), "ann", "Paidd"));
    house.append(many.collect()).await;
    house.process().await;
    let told = ["shop.yaml:5: segment paid: no `Paid` has come; did you mean `Paidd`?"];
    assert_eq!(warned(&house).await, told);
    for n in 0..8 {
        house.append(vec![event(&format!("p{n}"), &format!("user{n}"), "Paid")]).await;
        house.process().await;
        assert_eq!(warned(&house).await, [""; 0], "after user{n}");
    }
}
