//! The machine under the service: its disk, who may read the folder, and whether it and the database agree on the time.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::ids::{Span, Timestamp};
use crate::store::Store;
use crate::store::soundness::{about, database_now};

use super::{Check, unreadable};

/// Written and deleted again, to see that there is room.
const PROBE_BYTES: usize = 4 * 1024 * 1024;
/// One small block, as a commit writes it.
const BLOCK_BYTES: usize = 4_096;
const BLOCKS: u32 = 5;
/// A disk that is slower answers tens of commits a second.
const SYNC_MAX: Duration = Duration::from_millis(50);
const FREE_MIN: u64 = 1024 * 1024 * 1024;
/// In hundredths of all.
const FREE_SHARE_MIN: u64 = 5;
const DRIFT_MAX: Span = Span::from_seconds(5);

pub async fn database(store: &Store) -> Check {
    let name = "database";
    match about(store.reader()).await {
        Ok(about) => Check::good(
            name,
            format!("{}, {} changes of the schema, {} MiB", about.version, about.migrations, about.bytes / 1024 / 1024),
        ),
        Err(error) => unreadable(name, &error),
    }
}

/// Two machines that disagree on the time: what is decided and sent goes by the database's, what others sign and log by
/// this machine's.
pub async fn drift(store: &Store, now: Timestamp) -> Option<Check> {
    let name = "clocks";
    Some(match database_now(store.reader()).await {
        Ok(None) => return None,
        Ok(Some(theirs)) => {
            let apart = Span::from_millis((theirs.millis() - now.millis()).abs());
            if apart <= DRIFT_MAX {
                Check::good(name, format!("this machine and the database are {} ms apart", apart.millis()))
            } else {
                let detail = format!("the database shows {theirs}, by which all goes, and this machine {now}");
                Check::bad(name, detail, "let both follow a time server (chrony, systemd-timesyncd)")
            }
        }
        Err(error) => unreadable(name, &error),
    })
}

pub async fn disk(folder: &Path) -> Vec<Check> {
    let folder = folder.to_owned();
    let looked = tokio::task::spawn_blocking(move || vec![write(&folder), room(&folder), permissions(&folder)]);
    looked.await.unwrap_or_else(|error| vec![unreadable("disk", &error)])
}

fn write(folder: &Path) -> Check {
    let name = "disk";
    let path = folder.join(format!("probe-{}", uuid::Uuid::new_v4().simple()));
    let written = fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_all()?;
        let watch = Stopwatch::start();
        for _ in 0..BLOCKS {
            file.write_all(&[0; BLOCK_BYTES])?;
            file.sync_data()?;
        }
        Ok(watch.elapsed() / BLOCKS)
    });
    let removed = fs::remove_file(&path);
    match written.and_then(|sync| removed.map(|()| sync)) {
        Ok(sync) => {
            let millis = sync.as_secs_f64() * 1_000.0;
            let seen =
                format!("{} MiB could be written and synced; a sync takes {millis:.1} ms", PROBE_BYTES / 1024 / 1024);
            if sync <= SYNC_MAX {
                Check::good(name, seen)
            } else {
                Check::warning(
                    name,
                    seen,
                    "every commit waits for one: use a faster disk, or look at what else writes to it",
                )
            }
        }
        Err(error) => Check::bad(name, format!("the data folder cannot be written: {error}"), "make room"),
    }
}

fn room(folder: &Path) -> Check {
    let name = "disk space";
    let stat = match rustix::fs::statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => return unreadable(name, &error),
    };
    let (free, all) = (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
    let gibibytes = |bytes: u64| bytes as f64 / 1024.0 / 1024.0 / 1024.0;
    let seen = format!("{:.1} of {:.1} GiB are free", gibibytes(free), gibibytes(all));
    // Some file systems make inodes as they need them, and say 0.
    let is_short_of_inodes = stat.f_files > 0 && stat.f_favail < stat.f_files / 100 * FREE_SHARE_MIN;
    if free < FREE_MIN {
        Check::bad(name, seen, "make room: where the disk is full, events are refused")
    } else if free < all / 100 * FREE_SHARE_MIN {
        Check::warning(name, seen, "make room before it is full: then events are refused")
    } else if is_short_of_inodes {
        let seen = format!("{seen}, and {} of {} inodes", stat.f_favail, stat.f_files);
        Check::warning(name, seen, "remove small files from this disk: without inodes no file can be made")
    } else {
        Check::good(name, seen)
    }
}

/// People's addresses are in there, and the token of the operator.
#[cfg(unix)]
fn permissions(folder: &Path) -> Check {
    use std::os::unix::fs::PermissionsExt;
    let name = "permissions";
    let mut open = Vec::new();
    let mode = |path: &Path| fs::metadata(path).map(|about| about.permissions().mode() & 0o777);
    match mode(folder) {
        // Nobody else comes in, so what is in it is nobody else's.
        Ok(bits) if bits & 0o007 == 0 => {
            return Check::good(name, format!("the data folder is open to nobody else ({bits:o})"));
        }
        Ok(_) => {}
        Err(error) => return unreadable(name, &error),
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_file() && mode(&path).is_ok_and(|bits| bits & 0o006 != 0) {
            open.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if open.is_empty() {
        return Check::good(name, "no file of the data folder is open to others");
    }
    open.sort();
    let more = open.len().saturating_sub(5);
    open.truncate(5);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let advice = format!("chmod 700 {}", folder.display());
    Check::warning(name, format!("every user of this machine can read {}{rest}", open.join(", ")), &advice)
}

#[cfg(not(unix))]
fn permissions(_: &Path) -> Check {
    Check::good("permissions", "not examined on this system")
}
