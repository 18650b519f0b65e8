//! A PostgreSQL of one's own, for whoever stops it or measures it: in a temporary folder, on a port that was free.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use tempfile::TempDir;

pub struct OwnPostgres {
    folder: TempDir,
    port: u16,
    start_script: fn(&Path) -> Command,
    running: Option<Child>,
}

impl OwnPostgres {
    /// Starts it, and returns when it answers.
    ///
    /// # Errors
    /// PostgreSQL is missing, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, |script| Command::new(script))
    }

    /// The same in this folder, its script started in this way.
    ///
    /// # Errors
    /// As for `start`.
    pub fn start_in(folder: TempDir, start_script: fn(&Path) -> Command) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut own = Self { folder, port, start_script, running: None };
        own.come_back()?;
        Ok(own)
    }

    /// The server's address; a path makes it a database's.
    pub fn url(&self) -> String {
        format!("postgres://carillon@127.0.0.1:{}", self.port)
    }

    /// Starts it with what it had before.
    ///
    /// # Errors
    /// As for `start`.
    pub fn come_back(&mut self) -> anyhow::Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/servers");
        let mut command = (self.start_script)(&script);
        command.arg("postgres").arg(self.folder.path().canonicalize()?).arg(self.port.to_string());
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let said = running.stderr.take().context("no output")?;
        self.running = Some(running);
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let is_ready =
            lines.by_ref().inspect(|line| said.push(line.clone())).any(|line| line.contains("is ready to accept"));
        ensure!(is_ready, "PostgreSQL did not start; run: make services\n{}", said.join("\n"));
        // It goes on speaking, and must be heard.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(())
    }

    /// Ends it and every connection: by `INT` as a machine does that is restarted, by `QUIT` as one that falls, with
    /// whatever is in its memory alone.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn end(&mut self, signal: &str) -> anyhow::Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        Command::new("kill").args(["-s", signal, &running.id().to_string()]).status()?;
        running.wait()?;
        Ok(())
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        if let Err(error) = self.end("INT") {
            eprintln!("PostgreSQL was not stopped: {error}");
        }
    }
}
