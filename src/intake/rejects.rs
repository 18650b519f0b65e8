//! The rows that were refused, in a file beside the one they came from: corrected there, they are imported by themselves.

use std::fs::File;
use std::path::{Path, PathBuf};

/// Written once there is something to write.
pub struct Rejects {
    path: PathBuf,
    writer: Option<csv::Writer<File>>,
}

impl Rejects {
    /// For a file: `FILE.rejects.csv`.
    pub fn of(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".rejects.csv");
        Self { path: name.into(), writer: None }
    }

    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, line: Option<u64>, reason: &str, row: &str) -> csv::Result<()> {
        if self.writer.is_none() {
            let mut writer = csv::Writer::from_path(&self.path)?;
            writer.write_record(["line", "reason", "row"])?;
            self.writer = Some(writer);
        }
        if let Some(writer) = &mut self.writer {
            writer.write_record([&line.map(|line| line.to_string()).unwrap_or_default(), reason, row])?;
        }
        Ok(())
    }

    /// Where they are; none: no row was refused.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> csv::Result<Option<PathBuf>> {
        let Some(mut writer) = self.writer else { return Ok(None) };
        writer.flush()?;
        Ok(Some(self.path))
    }
}
