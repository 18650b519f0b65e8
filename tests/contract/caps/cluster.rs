//! The same contract where three masters share the subjects.

use std::sync::Arc;

use carillon::caps::redis::Server;
use carillon::caps::{CapStore, Redis};
use carillon::ids::WorkspaceId;

use crate::caps::faults::claim_at_last;
use crate::caps::record::Record;
use crate::caps::servers::{Cluster, until};
use crate::caps::{at, claim, every_line, oracle, stores, try_claim};

#[tokio::test]
async fn every_line_of_the_contract_holds_on_three_masters() {
    let cluster = Cluster::start();
    let server = Server::new(&cluster.url()).unwrap();
    every_line(|| stores::corner_of(&server)).await;
    oracle::over_timelines(20, server).await;
    let kept = cluster.0.each_ref().map(super::servers::Redis::keys);
    assert!(kept.iter().all(|keys| *keys > 20), "each master has its share of the subjects: {kept:?}");
}

fn looking(url: &str) -> Arc<dyn CapStore> {
    Arc::new(Redis::new(Server::new(url).unwrap(), "looking", WorkspaceId(1)))
}

#[tokio::test]
async fn what_is_wrong_with_a_cluster_is_said_in_words() {
    let mut cluster = Cluster::start();
    let one = cluster.0[0].url();
    let of_all = looking(&cluster.url());
    assert!(of_all.check().await.unwrap().ends_with("answers, 3 masters"));
    // One node names the others.
    let by_one = looking(&one.replace("redis://", "redis+cluster://"));
    assert!(by_one.check().await.unwrap().ends_with("answers, 3 masters"));
    // Addressed as a Redis by itself, it says how to address it.
    let mut said = Vec::new();
    for node in &cluster.0 {
        said.extend(looking(&node.url()).check().await.err().map(|error| error.0));
    }
    assert_eq!(said.len(), 2, "only one of them has the key that is looked for: {said:?}");
    assert!(said.iter().all(|said| said.contains("write redis+cluster://")), "{said:?}");
    cluster.0[2].kill();
    assert!(of_all.check().await.is_err(), "a master is missing");
}

#[tokio::test]
async fn masters_that_lose_everything_let_no_cap_be_exceeded_and_the_rest_comes_through() {
    let mut cluster = Cluster::start();
    let (store, record) = (stores::redis_at(&cluster.url(), "lost"), Record::default());
    let person = |n: i64| (n, format!("box{n}@example.com"));
    for n in 0..30 {
        let (profile, address) = person(n);
        for name in 0..2 {
            assert!(claim(&*store, &record, at(n), profile, &address, n as u64 * 10 + name).await);
        }
    }
    cluster.flush();
    cluster.0[1].kill();
    let (profile, address) = person(0);
    let mut failed = 0;
    for name in 900..903 {
        failed += usize::from(try_claim(&*store, &record, at(60), profile, &address, name).await.is_err());
    }
    cluster.0[1].come_back();
    cluster.until_whole();
    for n in 0..30 {
        let (profile, address) = person(n);
        let mut granted = 0;
        for name in 2..6 {
            // Until the connection has found out who is there.
            let mut answer = Err(());
            while answer.is_err() {
                let name = n as u64 * 10 + name;
                answer = try_claim(&*store, &record, at(61 + n), profile, &address, name).await.map_err(drop);
            }
            granted += usize::from(answer.unwrap());
        }
        let room = if n == 0 && failed < 3 { 0 } else { 1 };
        assert_eq!(granted, room, "person {n} of whom two slots were used");
        record.at_most_three_a_day();
    }
}

#[tokio::test]
async fn a_master_replaced_by_a_replica_that_lost_its_last_second_lets_no_cap_be_exceeded() {
    let mut cluster = Cluster::start();
    let replicas = cluster.replicas();
    let url = [cluster.url(), replicas.each_ref().map(super::servers::Redis::url).join(",")].join(",");
    let (store, record) = (stores::redis_at(&url, "replaced"), Record::default());
    let people: Vec<(i64, String)> = (0..30).map(|n| (n, format!("box{n}@example.com"))).collect();
    for (n, address) in &people {
        assert!(claim(&*store, &record, at(*n), *n, address, *n as u64 * 10).await);
    }
    replicas.iter().zip(&cluster.0).for_each(|(replica, master)| replica.has_all_of(master));
    replicas.iter().zip(&cluster.0).for_each(|(replica, master)| replica.hears_no_more_of(master));
    for (n, address) in &people {
        assert!(claim(&*store, &record, at(30 + n), *n, address, *n as u64 * 10 + 1).await);
    }
    assert!(replicas[1].keys() > 10, "what it takes over with is a slot behind");
    cluster.0[1].kill();
    replicas[1].take_over();
    for (n, address) in &people {
        let mut granted = 0;
        for name in 2..5 {
            let who = (*n, address.as_str());
            granted += usize::from(claim_at_last(&*store, &record, at(61 + n), who, *n as u64 * 10 + name).await);
        }
        assert_eq!(granted, 1, "person {n} of whom two slots were used");
    }
    record.at_most_three_a_day();
    // The old one comes back with nothing, and follows.
    cluster.0[1].come_back();
    until("the old master to follow", || !cluster.0[1].is_master());
    for (n, address) in &people {
        assert!(!claim_at_last(&*store, &record, at(95 + n), (*n, address), *n as u64 * 10 + 9).await);
    }
    record.at_most_three_a_day();
}
