//! The whole way: a file, the real log on disk, and the same file again after a restart.

use super::*;
use crate::clock::Clock;
use crate::eventlog::EventLog;
use crate::ids::Span;

async fn log(path: &Path, clock: &Clock) -> EventLog {
    let database = crate::store::connect::open(path).await.unwrap();
    EventLog::start(&database, clock.clone()).await.unwrap()
}

#[tokio::test]
async fn a_file_imported_again_a_year_later_adds_nothing_to_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("carillon.sqlite");
    let clock = Clock::fixed("2026-11-01T00:00Z".parse().unwrap());
    let asked = Options {
        consent: Some("email=granted".parse().unwrap()),
        address_domain: Some("example.com".to_owned()),
        ..options()
    };
    let file = fixture("clicks.csv");
    let first_log = log(&path, &clock).await;
    let first =
        import(&file, Format::Taobao, &asked, &mut LogSink::new(first_log.clone(), WorkspaceId(1))).await.unwrap();
    first_log.stop().await;
    assert_eq!((first.stored, first.repeated), (9, 0));
    clock.advance(Span::from_days(365));
    let second_log = log(&path, &clock).await;
    let again =
        import(&file, Format::Taobao, &asked, &mut LogSink::new(second_log.clone(), WorkspaceId(1))).await.unwrap();
    assert_eq!((again.stored, again.repeated), (0, 9));
    second_log.stop().await;
}
