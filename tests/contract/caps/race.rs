//! Claimants that race each other for slots: threads over the embedded store, processes over one Redis and one record in
//! a file.

use std::process::{Command, Stdio};
use std::sync::Arc;

use carillon::caps::{CapStore, Embedded, History};
use carillon::guard::Subject;
use carillon::ids::ProfileId;

use futures::StreamExt;

use crate::caps::record::{Book, FileRecord, Record};
use crate::caps::servers::Cluster;
use crate::caps::{ZERO, ask, at, claim, granted, seeded, slot, stores, three_a_day, wish};

/// Spread without chance.
fn mixed(name: u64) -> u64 {
    name.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33
}

/// Eight threads race 10,000 messages each for 40 people who share 30 mailboxes.
fn race(store: &Arc<dyn CapStore>) {
    let record = Arc::new(Record::default());
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (store, record) = (Arc::clone(store), Arc::clone(&record));
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for n in 0..10_000_u64 {
                    let name = thread * 10_000 + n;
                    let mix = mixed(name);
                    let (profile, address) = ((mix % 40) as i64, format!("box{}@example.com", mix % 30));
                    // Each thread's clock is a few minutes off the others'.
                    let now = at((thread as i64) * 2 + (n as i64) / 100);
                    runtime.block_on(claim(&*store, &*record, now, profile, &address, name));
                }
            });
        }
    });
    let mut subjects = record.subjects();
    subjects.retain(|subject| matches!(subject, Subject::Address(..)));
    assert_eq!(subjects.len(), 30);
    for subject in subjects {
        assert_eq!(record.history(&subject).1.len(), 3, "{subject}");
    }
    for profile in 0..40 {
        let used = record.history(&Subject::Profile(ProfileId(profile))).1.len();
        assert!(used <= 3, "profile {profile} has {used}");
    }
}

#[test]
fn racing_threads_fill_each_subject_exactly() {
    race(&stores::embedded());
}

#[test]
fn a_store_that_keeps_forgetting_lets_no_cap_be_exceeded() {
    let store = Arc::new(Embedded::bounded(5, 12));
    let shared: Arc<dyn CapStore> = Arc::clone(&store) as Arc<dyn CapStore>;
    race(&shared);
    let (subjects, slots) = store.held();
    assert!(subjects <= 5 && slots <= 12, "{subjects} subjects, {slots} slots");
}

/// What a process that races is told: its number, its attempts, the folder of the record, its corner of which Redis.
const RACER: &str = "CARILLON_TEST_RACER";
const PEOPLE: u64 = 40;

/// One of the eight: messages for 40 people with a mailbox each.
async fn attempts(racer: &str) {
    let [number, attempts, folder, corner, url] = racer.split('|').collect::<Vec<_>>().try_into().unwrap();
    let [number, of_each] = [number, attempts].map(|text| text.parse::<u64>().unwrap());
    let record = FileRecord::open(&std::path::Path::new(folder).join("record.db"));
    let store = stores::redis_at(url, corner);
    let attempts = (0..of_each).map(|n| {
        let (store, record) = (&store, &record);
        async move {
            let name = number * of_each + n;
            let who = mixed(name) % PEOPLE;
            let now = at((number as i64) * 2 + (n as i64) / 100);
            claim(&**store, record, now, who as i64, &format!("box{who}@example.com"), name).await
        }
    });
    // A process races itself too: thirty-two of its attempts are under way at once.
    futures::stream::iter(attempts).buffer_unordered(32).collect::<Vec<bool>>().await;
}

/// The program of a test starts itself eight times; a copy that finds its number is a racer.
async fn eight_processes(test: &str, of_each: u64, url: impl FnOnce() -> String) {
    if let Ok(racer) = std::env::var(RACER) {
        return attempts(&racer).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let record = FileRecord::open(&folder.path().join("record.db"));
    let (test, url) = (format!("caps::race::{test}"), url());
    let mut racing: Vec<_> = (0..8)
        .map(|number| {
            let (folder, corner) = (folder.path().display(), std::process::id());
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &test])
                .env(RACER, format!("{number}|{of_each}|{folder}|race-{corner}|{url}"))
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    assert!(racing.iter_mut().all(|racer| racer.wait().unwrap().success()));
    let used = record.used_by_subject();
    assert_eq!(used.len() as u64, 2 * PEOPLE, "each person and each mailbox");
    assert!(used.values().all(|slots| *slots == 3), "{used:?}");
}

#[tokio::test]
async fn eight_processes_with_ten_thousand_attempts_each_fill_every_subject_exactly() {
    let test = "eight_processes_with_ten_thousand_attempts_each_fill_every_subject_exactly";
    eight_processes(test, 10_000, stores::url).await;
}

#[tokio::test]
async fn eight_processes_over_three_masters_of_a_cluster_fill_every_subject_exactly() {
    let mut cluster = None;
    let test = "eight_processes_over_three_masters_of_a_cluster_fill_every_subject_exactly";
    eight_processes(test, 500, || cluster.insert(Cluster::start()).url()).await;
}

#[tokio::test]
async fn memory_stays_bounded_and_a_forgotten_subject_is_stale() {
    let store = Embedded::bounded(3, 1_000);
    let history = || History { version: ZERO, since: at(-2_000), slots: vec![slot(1, 0)] };
    for n in 0..10 {
        store.reseed(&Subject::Profile(ProfileId(n)), history()).await.unwrap();
        // The first stays in use, so it is never the idle one.
        let kept = Subject::Profile(ProfileId(0));
        granted(store.reserve(wish(&kept, ZERO, &three_a_day(), &slot(1, 0))).await.unwrap());
    }
    assert_eq!(store.held(), (3, 3));
    store.forget();
    assert_eq!(store.held(), (0, 0));
}

#[tokio::test]
async fn a_subject_larger_than_the_whole_store_is_still_served() {
    let store: Arc<dyn CapStore> = Arc::new(Embedded::bounded(3, 2));
    let store = seeded(store, ZERO, (0..50).map(|n| slot(n, 0)).collect()).await;
    assert!(matches!(ask(&store, ZERO, &three_a_day(), &slot(99, 1)).await, carillon::caps::Reserved::Full(_)));
}
