//! An SMTP server that does as a test tells it: answers, falls silent or hangs up at any stage, and remembers all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::Stage;

#[derive(Clone, Default)]
pub struct Script {
    answers: BTreeMap<Stage, String>,
    drop_at: Option<Stage>,
    silent_at: Option<Stage>,
    refused: Option<(String, String)>,
    starttls: Option<String>,
    offers: Vec<String>,
    close_after_message: bool,
    goodbye_after_message: bool,
}

impl Script {
    pub fn answer(mut self, stage: Stage, line: &str) -> Self {
        self.answers.insert(stage, line.to_owned());
        self
    }

    pub fn drop_at(mut self, stage: Stage) -> Self {
        self.drop_at = Some(stage);
        self
    }

    pub fn silent_at(mut self, stage: Stage) -> Self {
        self.silent_at = Some(stage);
        self
    }

    pub fn refuse(mut self, recipient: &str, line: &str) -> Self {
        self.refused = Some((recipient.to_owned(), line.to_owned()));
        self
    }

    pub fn offer_starttls(mut self, answer: &str) -> Self {
        self.starttls = Some(answer.to_owned());
        self
    }

    pub fn offer(mut self, extension: &str) -> Self {
        self.offers.push(extension.to_owned());
        self
    }

    pub fn close_after_message(mut self) -> Self {
        self.close_after_message = true;
        self
    }

    pub fn goodbye_after_message(mut self) -> Self {
        self.goodbye_after_message = true;
        self
    }
}

#[derive(Default)]
struct Seen {
    connections: usize,
    commands: Vec<String>,
    messages: Vec<String>,
}

pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                stream.set_nodelay(true).unwrap();
                let (script, seen) = (script.clone(), Arc::clone(&shared));
                tokio::spawn(async move { Talk::new(stream, script, seen).run().await });
            }
        });
        Self { port, seen, task }
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }

    /// As on the wire, dots still stuffed.
    pub fn messages(&self) -> Vec<String> {
        self.seen.lock().unwrap().messages.clone()
    }

    pub async fn until(&self, reached: impl Fn(&Self) -> bool) {
        let wait = async {
            while !reached(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    }
}

/// One connection's dialogue; `None` ends it.
struct Talk {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    script: Script,
    seen: Arc<Mutex<Seen>>,
}

impl Talk {
    fn new(stream: TcpStream, script: Script, seen: Arc<Mutex<Seen>>) -> Self {
        let (read, write) = stream.into_split();
        Self { read: BufReader::new(read), write, script, seen }
    }

    async fn run(mut self) -> Option<()> {
        self.say(Stage::Greeting, "220 server.example").await?;
        loop {
            let mut line = String::new();
            if self.read.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            self.seen.lock().unwrap().commands.push(line.clone());
            match line.split(' ').next()? {
                "EHLO" => self.extensions().await?,
                "STARTTLS" => {
                    let answer = self.script.starttls.clone()?;
                    self.line(&answer).await?;
                }
                "AUTH" => self.say(Stage::Login, "235 2.7.0 welcome").await?,
                "MAIL" => self.say(Stage::Sender, "250 2.1.0 sender").await?,
                "RCPT" => self.recipient(&line).await?,
                "DATA" => self.data().await?,
                "QUIT" => {
                    self.line("221 bye").await?;
                    return None;
                }
                _ => self.line("250 2.0.0 well").await?,
            }
        }
    }

    async fn extensions(&mut self) -> Option<()> {
        let mut lines = vec!["server.example", "8BITMIME", "AUTH PLAIN LOGIN"];
        lines.extend(self.script.starttls.as_ref().map(|_| "STARTTLS"));
        lines.extend(self.script.offers.iter().map(String::as_str));
        let last = lines.pop()?;
        let text: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
        let text = format!("{text}250 {last}");
        self.line(&text).await
    }

    async fn recipient(&mut self, line: &str) -> Option<()> {
        match self.script.refused.clone() {
            Some((recipient, answer)) if line.contains(&recipient) => self.line(&answer).await,
            _ => self.say(Stage::Recipient, "250 2.1.5 recipient").await,
        }
    }

    async fn data(&mut self) -> Option<()> {
        self.say(Stage::Data, "354 go on").await?;
        if self.script.answers.contains_key(&Stage::Data) {
            return Some(());
        }
        if self.script.drop_at == Some(Stage::Body) {
            let mut some = [0; 100];
            self.read.read_exact(&mut some).await.ok()?;
            return None;
        }
        if self.script.silent_at == Some(Stage::Body) {
            std::future::pending::<()>().await;
        }
        let mut message = Vec::new();
        while !message.ends_with(b"\r\n.\r\n") {
            if self.read.read_until(b'\n', &mut message).await.ok()? == 0 {
                return None;
            }
        }
        self.seen.lock().unwrap().messages.push(String::from_utf8(message).ok()?);
        self.say(Stage::Final, "250 2.0.0 queued as 1").await?;
        if self.script.goodbye_after_message {
            self.line("421 4.4.2 idle for too long").await?;
        }
        (!self.script.close_after_message && !self.script.goodbye_after_message).then_some(())
    }

    async fn say(&mut self, stage: Stage, usual: &str) -> Option<()> {
        if self.script.drop_at == Some(stage) {
            return None;
        }
        if self.script.silent_at == Some(stage) {
            // Silent until the client has had enough.
            let mut rest = Vec::new();
            self.read.read_to_end(&mut rest).await.ok()?;
            return None;
        }
        let line = self.script.answers.get(&stage).cloned().unwrap_or_else(|| usual.to_owned());
        self.line(&line).await
    }

    async fn line(&mut self, line: &str) -> Option<()> {
        self.write.write_all(format!("{line}\r\n").as_bytes()).await.ok()
    }
}
