//! Every dialogue of `dialogues.txt` over a socket: what a server says or does once, and what must come of the letter to
//! Ann, whether it cost a try, whether her address is suppressed, and that the letter to Bob behind it suffers nothing.
//!
//! To see it fail, let `poll_silence` in `wire` ask nothing, or `Lines` pass bytes as they came.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::super::reply::tests::Expect;
use super::{Outcome, Settings, Smtp, Timeouts, Tls};
use crate::channel::Channel;
use crate::render::tests::email;

const TABLE: &str = include_str!("dialogues.txt");
/// Patience with a server that says nothing: long enough for a busy machine, and all dialogues wait together.
const PATIENCE: Duration = Duration::from_secs(2);

/// One line of the table.
struct Dialogue {
    name: &'static str,
    /// What the server does at each stage, once.
    tricks: BTreeMap<&'static str, &'static str>,
    verdict: &'static str,
    tries: usize,
    suppressed: bool,
}

impl Dialogue {
    fn all() -> Vec<Self> {
        let lines = TABLE.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        lines.map(|line| Self::read(line).unwrap_or_else(|| panic!("{line}"))).collect()
    }

    fn read(line: &'static str) -> Option<Self> {
        let mut columns = line.split(" | ").map(str::trim);
        let (name, tricks, verdict) = (columns.next()?, columns.next()?, columns.next()?);
        let tries = columns.next()?.parse().ok()?;
        let suppressed = match columns.next()? {
            "yes" => true,
            "no" => false,
            _ => return None,
        };
        let tricks = tricks.split(" ; ").map(|trick| trick.split_once('=').unwrap_or((trick, ""))).collect();
        Some(Self { name, tricks, verdict, tries, suppressed })
    }

    fn has(&self, stage: &str) -> bool {
        self.tricks.contains_key(stage)
    }
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let (escape, after) = after.split_at(1);
        rest = after;
        match escape {
            "r" => bytes.push(b'\r'),
            "n" => bytes.push(b'\n'),
            "x" => {
                let (hex, after) = after.split_at(2);
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                rest = after;
            }
            other => panic!("unknown escape {other}"),
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// A server that plays its tricks on the first letter and serves every other one well.
struct Server {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
    /// Recipients whose letter was taken whole.
    taken: Arc<Mutex<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(dialogue: Arc<Dialogue>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::<Mutex<Vec<String>>>::default();
        let (kept, played) = (taken.clone(), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (read, write) = stream.into_split();
                let (dialogue, played) = (dialogue.clone(), played.clone());
                let talk =
                    Talk { read: BufReader::new(read), write, dialogue, played, taken: kept.clone(), held: Vec::new() };
                tokio::spawn(talk.run());
            }
        });
        Self { address, task, taken }
    }
}

struct Talk {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    dialogue: Arc<Dialogue>,
    /// The trick of this server was played; it is good from now on.
    played: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<String>>>,
    /// Answers that leave with the next one.
    held: Vec<u8>,
}

impl Talk {
    async fn run(mut self) -> Option<()> {
        self.say("greeting", "220 server.example").await?;
        let mut to = String::new();
        loop {
            let mut line = String::new();
            if self.read.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.split([' ', '\r']).next()? {
                "EHLO" => {
                    let offers = self.offers();
                    self.say("ehlo", &offers).await?;
                }
                "STARTTLS" => self.say("starttls", "220 go").await?,
                "AUTH" => self.say("auth", "235 2.7.0 welcome").await?,
                "MAIL" => self.say("mail", "250 2.1.0 sender").await?,
                "RCPT" => {
                    to = line.trim().to_owned();
                    self.say("rcpt", "250 2.1.5 recipient").await?;
                }
                "DATA" => {
                    let refuses = self.will("data").is_some_and(|trick| !trick.starts_with("354"));
                    self.say("data", "354 go on").await?;
                    if !refuses {
                        self.body().await?;
                        self.taken.lock().unwrap().push(to.clone());
                        self.say("dot", "250 2.0.0 queued as 1").await?;
                    }
                }
                "RSET" => self.say("rset", "250 2.0.0 reset").await?,
                "QUIT" => {
                    self.say("quit", "221 bye").await?;
                    return None;
                }
                _ => self.write.write_all(b"500 5.5.1 what\r\n").await.ok()?,
            }
        }
    }

    fn offers(&self) -> String {
        let mut lines = vec!["server.example", "8BITMIME", "AUTH PLAIN LOGIN"];
        lines.extend(self.dialogue.has("pipelining").then_some("PIPELINING"));
        lines.extend(self.dialogue.has("starttls").then_some("STARTTLS"));
        let last = lines.pop().unwrap_or_default();
        let before: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
        format!("{before}250 {last}")
    }

    /// What is done at this stage, if it was not done before.
    fn will(&self, stage: &str) -> Option<&'static str> {
        (!self.played.load(Ordering::SeqCst)).then(|| self.dialogue.tricks.get(stage).copied())?
    }

    async fn body(&mut self) -> Option<()> {
        if let Some(trick) = self.will("body") {
            self.played.store(true, Ordering::SeqCst);
            let mut some = [0; 20];
            self.read.read_exact(&mut some).await.ok()?;
            self.play(trick, "").await?;
        }
        let mut message = Vec::new();
        while !message.ends_with(b"\r\n.\r\n") {
            if self.read.read_until(b'\n', &mut message).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    }

    async fn say(&mut self, stage: &'static str, usual: &str) -> Option<()> {
        if self.dialogue.has("merged") && matches!(stage, "mail" | "rcpt") && !self.played.load(Ordering::SeqCst) {
            let trick = self.will(stage).unwrap_or(usual);
            self.held.extend(bytes(trick));
            self.held.extend(b"\r\n");
            return Some(());
        }
        let Some(trick) = self.will(stage) else {
            self.held.extend(usual.as_bytes());
            self.held.extend(b"\r\n");
            let all = std::mem::take(&mut self.held);
            return self.write.write_all(&all).await.ok();
        };
        // Only what is done last is over: a script of several stages goes on.
        let order = ["greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "dot", "rset", "quit"];
        let is_last = order.iter().rev().find(|one| self.dialogue.has(one)) == Some(&stage);
        if is_last && !self.dialogue.has("always") {
            self.played.store(true, Ordering::SeqCst);
        }
        self.play(trick, usual).await
    }

    async fn play(&mut self, trick: &'static str, usual: &str) -> Option<()> {
        let (how, text) = trick.split_once(':').unwrap_or((trick, ""));
        match how {
            "drop" => None,
            "silent" => {
                let mut rest = Vec::new();
                self.read.read_to_end(&mut rest).await.ok()?;
                None
            }
            // Half a line, and gone.
            "half" => {
                self.write.write_all(&bytes(text)).await.ok()?;
                None
            }
            // Half a line, and nothing more.
            "hang" => {
                self.write.write_all(&bytes(text)).await.ok()?;
                let mut rest = Vec::new();
                self.read.read_to_end(&mut rest).await.ok()?;
                None
            }
            // Byte by byte, each in a packet.
            "split" => {
                for byte in bytes(&format!("{text}\\r\\n")) {
                    self.write.write_all(&[byte]).await.ok()?;
                    self.write.flush().await.ok()?;
                    tokio::task::yield_now().await;
                }
                Some(())
            }
            "raw" => self.write.write_all(&bytes(text)).await.ok(),
            "late" => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.write.write_all(format!("{usual}\r\n").as_bytes()).await.ok()
            }
            // So many times the letter x.
            "long" => {
                let (count, line) = text.split_once(' ')?;
                let line = format!("{line} {}\r\n", "x".repeat(count.parse().unwrap()));
                self.write.write_all(line.as_bytes()).await.ok()
            }
            "last" => {
                self.write.write_all(&bytes(&format!("{text}\\r\\n"))).await.ok()?;
                None
            }
            _ => {
                self.held.extend(bytes(trick));
                self.held.extend(b"\r\n");
                let all = std::mem::take(&mut self.held);
                self.write.write_all(&all).await.ok()
            }
        }
    }
}

fn channel(address: SocketAddr, dialogue: &Dialogue) -> Smtp {
    let mut settings = Settings::from_url(&format!("smtp://{address}?tls=none")).unwrap();
    settings.hello = Some("client.example".to_owned());
    settings.connections = 1;
    if dialogue.has("login") {
        settings.credentials = Some(("ann".to_owned(), "secret".to_owned().into()));
    }
    if dialogue.has("starttls") {
        settings.tls = Tls::StartTls;
    }
    let is_silent = dialogue.tricks.values().any(|trick| trick.starts_with("silent") || trick.starts_with("hang"));
    if is_silent {
        settings.timeouts = Timeouts { connect: PATIENCE, command: PATIENCE, data: PATIENCE, final_reply: PATIENCE };
    }
    Smtp::new(settings).unwrap()
}

fn words(outcome: &Outcome) -> &'static str {
    match Expect::of(outcome) {
        Expect::Sent => "accepted",
        Expect::Retry => "retry",
        Expect::RetryAndSlow => "retry, slow domain",
        Expect::Suppress => "suppressed",
        Expect::Fail => "rejected",
        Expect::Down => "transport down",
        Expect::Unknown => "unknown",
    }
}

/// What went wrong with a dialogue, if anything did.
async fn hold(dialogue: Dialogue) -> Result<(), String> {
    let dialogue = Arc::new(dialogue);
    let server = Server::start(dialogue.clone()).await;
    let address = if dialogue.has("connect") { closed_port().await } else { server.address };
    let smtp = channel(address, &dialogue);
    let ann = email("Your cart", "<p>It waits.</p>").to("ann@example.com").seed("ann").done();
    let bob = email("Your cart", "<p>It waits.</p>").to("bob@example.com").seed("bob").done();
    let outcome = smtp.send(&ann).await;
    let tries = usize::from(outcome.spends_attempt());
    let suppressed = matches!(outcome, Outcome::Rejected { suppress: true, .. });
    let seen = (words(&outcome), tries, suppressed);
    if seen != (dialogue.verdict, dialogue.tries, dialogue.suppressed) {
        return Err(format!("{}: {seen:?}, {outcome:?}", dialogue.name));
    }
    let was_taken = server.taken.lock().unwrap().iter().any(|to| to.contains("ann@"));
    if words(&outcome) == "accepted" && !was_taken {
        return Err(format!("{}: accepted, and the server never had it", dialogue.name));
    }
    if dialogue.has("always") || dialogue.has("starttls") || dialogue.has("connect") {
        return Ok(());
    }
    let behind = smtp.send(&bob).await;
    if words(&behind) != "accepted" || !server.taken.lock().unwrap().iter().any(|to| to.contains("bob@")) {
        return Err(format!("{}: the next letter: {behind:?}", dialogue.name));
    }
    Ok(())
}

async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn every_scripted_dialogue_has_its_verdict_and_harms_no_other_letter() {
    let dialogues = Dialogue::all();
    let count = dialogues.len();
    let names: std::collections::BTreeSet<_> = dialogues.iter().map(|dialogue| dialogue.name).collect();
    assert_eq!(names.len(), count, "each has its own name");
    let wrong: Vec<String> = futures::stream::iter(dialogues.into_iter().map(hold))
        .buffer_unordered(64)
        .filter_map(|held| async { held.err() })
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} of {count} dialogues:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 120, "{count}");
    println!("{count} dialogues, {count} right verdicts, 0 addresses suppressed wrongly");
}
