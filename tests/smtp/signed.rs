//! Where a whole run of tests keeps the mails that were signed, so that its last step has all of them verified by another
//! program (`tests/run`): a folder named by the environment. A test run by itself keeps none.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// With `mails`, and a key for those whose tests make none.
fn folder() -> Option<PathBuf> {
    std::env::var_os("CARILLON_TEST_SIGNED").map(PathBuf::from)
}

/// The settings by which a service signs what it sends.
pub fn settings() -> Option<(&'static str, String)> {
    folder().map(|folder| ("CARILLON_SENDER__DKIM_KEY_FILE", folder.join("ed.pem").display().to_string()))
}

/// Keeps a mail as it arrived, if it is signed.
pub fn keep(mail: &[u8]) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let Some(folder) = folder() else { return };
    if mail.windows(15).any(|part| part == b"DKIM-Signature:") {
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let part = folder.join("mails").join(format!("{name}.part"));
        std::fs::write(&part, mail).unwrap();
        std::fs::rename(&part, part.with_extension("eml")).unwrap();
    }
}
