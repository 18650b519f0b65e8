//! The sandbox on a real folder.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::render::tests::{email, sms};

#[tokio::test]
async fn every_channel_is_kept_and_read_back_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::open(folder.path()).unwrap();
    let mail = email("Your cart", "<p>x</p>").done();
    let text = sms("Your cart waits").seed("two").done();
    for rendered in [&mail, &text] {
        assert!(matches!(sandbox.send(rendered).await, Outcome::Accepted { .. }));
    }
    let listed = sandbox.list(10, None).unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.windows(2).all(|pair| (pair[0].at, pair[0].message) > (pair[1].at, pair[1].message)));
    let rest = sandbox.list(10, Some((listed[0].at, listed[0].message))).unwrap();
    assert_eq!(rest, listed[1..]);
    assert_eq!(sandbox.get(mail.message()).unwrap().unwrap(), Kept::from(&mail));
    assert!(sandbox.source(mail.message()).unwrap().unwrap().starts_with(b"From: "));
    assert_eq!(sandbox.source(text.message()).unwrap(), None);
    assert_eq!(sandbox.get(MessageId::derive(&[b"other"])).unwrap(), None);
    assert_eq!(sandbox.check().await.unwrap(), "sandbox: nothing leaves this machine");
}

#[tokio::test]
async fn sending_again_overwrites_and_a_restart_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::open(folder.path()).unwrap();
    let first = email("One", "<p>x</p>").done();
    sandbox.send(&first).await;
    sandbox.send(&email("Two", "<p>x</p>").done()).await;
    fs::write(folder.path().join("inbox/notes.json"), "{}").unwrap();
    for inbox in [sandbox, Sandbox::open(folder.path()).unwrap()] {
        let listed = inbox.list(10, None).unwrap();
        assert_eq!(listed.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["Two"]);
    }
}

#[tokio::test]
async fn only_the_newest_stay() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::keeping(folder.path(), 3).unwrap();
    for n in 0..7 {
        sandbox.send(&email("x", "<p>x</p>").seed(&n.to_string()).done()).await;
    }
    assert_eq!(sandbox.list(10, None).unwrap().len(), 3);
    assert_eq!(fs::read_dir(folder.path().join("inbox")).unwrap().count(), 6);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_keeps_messages_queued() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::open(folder.path()).unwrap();
    fs::remove_dir(folder.path().join("inbox")).unwrap();
    fs::write(folder.path().join("inbox"), "in the way").unwrap();
    assert!(matches!(sandbox.send(&sms("x").done()).await, Outcome::TransportDown { .. }));
    assert!(sandbox.check().await.is_err());
}
