//! A mail server that we did not write: aiosmtpd, with logins, TLS both ways and answers per recipient.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use carillon::channel::smtp::{Settings, Smtp};

/// Ends with whoever started it.
pub struct Real {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    /// `mode` is plain, starttls or tls.
    pub fn start(mode: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/test-services/python/bin/python");
        assert!(python.exists(), "the tests' services are missing: run tests/services/install, or make test");
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(python)
            .arg(root.join("tests/smtp/server.py"))
            .args([Path::new(mode), folder.path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();
        Self { child, port, folder }
    }

    /// Where it keeps what it took.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on this is the password of its one account.
    pub fn takes(&self, password: &str) {
        std::fs::write(self.folder.path().join("password"), password).unwrap();
    }

    /// `URL` with `PORT` filled in, trusting the server's authority.
    pub fn channel(&self, url: &str) -> Smtp {
        let mut settings = Settings::from_url(&url.replace("PORT", &self.port.to_string())).unwrap();
        settings.ca_file = Some(self.folder.path().join("ca.pem"));
        Smtp::new(settings).unwrap()
    }

    /// The `n`th mail it took, with its envelope before it.
    pub fn message(&self, n: usize) -> Option<String> {
        let path: PathBuf = self.folder.path().join(format!("{n}.eml"));
        std::fs::read_to_string(path).ok()
    }
}
