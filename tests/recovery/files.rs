//! A backup as files: damaged ones are refused, and a name stands for a whole one.

use carillon::ids::Timestamp;
use carillon::worker::backup::{DATABASE, Draft, MANIFEST, copy_sqlite, unpack_sqlite, verify};
use tempfile::TempDir;

use crate::house::START;

async fn made(folder: &TempDir) -> std::path::PathBuf {
    let file = folder.path().join("carillon.db");
    carillon::store::open(&file).await.unwrap().close().await;
    let to = folder.path().join("backup");
    let draft = Draft::begin(&to).unwrap();
    let at = Timestamp::from_millis(START);
    let contents = copy_sqlite(&draft, &file, &folder.path().join("signing.key"), at).await.unwrap();
    assert!(!to.exists(), "not before it is whole");
    draft.finish("sqlite", at, contents, |_| ()).unwrap();
    to
}

#[tokio::test]
async fn one_changed_byte_is_found_by_its_file() {
    let folder = TempDir::new().unwrap();
    let backup = made(&folder).await;
    verify(&backup, |_| ()).unwrap();
    let file = backup.join(DATABASE);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = verify(&backup, |_| ()).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains(DATABASE), "{error}");
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_one_that_failed_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let backup = made(&folder).await;
    assert!(Draft::begin(&backup).is_err());
    let second = folder.path().join("second");
    drop(Draft::begin(&second).unwrap());
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("second")), "{names:?}");
}

#[tokio::test]
async fn a_folder_that_is_no_backup_or_of_another_format_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    assert!(verify(folder.path(), |_| ()).unwrap_err().to_string().contains("is no backup"));
    let backup = made(&folder).await;
    let manifest = std::fs::read_to_string(backup.join(MANIFEST)).unwrap();
    std::fs::write(backup.join(MANIFEST), manifest.replace("\"format\": 1", "\"format\": 9")).unwrap();
    assert!(verify(&backup, |_| ()).unwrap_err().to_string().contains("format 9"));
    std::fs::write(backup.join(MANIFEST), manifest.replace(DATABASE, "../carillon.db")).unwrap();
    assert!(verify(&backup, |_| ()).is_err(), "names lead nowhere else");
}

#[tokio::test]
async fn a_database_that_is_damaged_inside_is_not_put_in_place() {
    let folder = TempDir::new().unwrap();
    let backup = made(&folder).await;
    std::fs::write(backup.join(DATABASE), b"no database at all, whatever its checksum").unwrap();
    let to = TempDir::new().unwrap();
    let file = to.path().join("carillon.db");
    assert!(unpack_sqlite(&backup, &file, &to.path().join("signing.key")).await.is_err());
    assert!(!file.exists());
}
