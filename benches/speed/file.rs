//! The floor of what is durable: the events' texts, appended to a file and synced, once for all that waits.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use carillon::ids::Position;

use crate::queued::Queued;

/// # Errors
/// The file cannot be made.
pub fn log(path: &Path) -> anyhow::Result<Queued> {
    let (mut file, mut lines) = (File::create(path)?, Vec::new());
    Ok(Queued::start(move |events| {
        lines.clear();
        for event in events {
            lines.extend_from_slice(event.body.text().as_bytes());
            lines.push(b'\n');
        }
        file.write_all(&lines)?;
        file.sync_data()?;
        Ok(Position(1))
    }))
}
