//! A mail server that takes everything and counts what arrived, by its subject.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::signed;

/// (campaign, order) → how often.
type Delivered = BTreeMap<(String, String), usize>;

pub struct Sink {
    pub address: String,
    delivered: Arc<Mutex<Delivered>>,
}

/// Until the first mail after a start.
const FIRST_WITHIN: Duration = Duration::from_secs(60);

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let delivered = Arc::<Mutex<Delivered>>::default();
        let counted = delivered.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = counted.clone();
                // A client that was killed ends the conversation in the middle.
                std::thread::spawn(move || drop(converse(&stream, &counted)));
            }
        });
        Self { address, delivered }
    }

    /// How long it takes from now to the next mail.
    pub fn until_the_next(&self) -> Duration {
        let (begun, before) = (Instant::now(), self.count());
        while self.count() == before {
            assert!(begun.elapsed() < FIRST_WITHIN, "nothing is sent");
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }

    fn count(&self) -> usize {
        self.delivered.lock().unwrap().values().sum()
    }

    pub fn delivered(&self) -> Delivered {
        self.delivered.lock().unwrap().clone()
    }
}

fn converse(stream: &TcpStream, delivered: &Mutex<Delivered>) -> std::io::Result<()> {
    let mut write = stream;
    write.write_all(b"220 sink\r\n")?;
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Some(line) = lines.next().transpose()? {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        match line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase().as_str() {
            "EHLO" => write.write_all(b"250-sink\r\n250 8BITMIME\r\n")?,
            "DATA" => {
                write.write_all(b"354 go on\r\n")?;
                let mut subject = String::new();
                let mut mail = Vec::new();
                for line in lines.by_ref() {
                    let raw = line?;
                    let line = String::from_utf8_lossy(&raw).trim_end().to_owned();
                    if line == "." {
                        signed::keep(&mail);
                        break;
                    }
                    // A dot that begins a line was sent twice.
                    mail.extend_from_slice(if raw.starts_with(b".") { &raw[1..] } else { &raw });
                    mail.push(b'\n');
                    if let Some(text) = line.strip_prefix("Subject: ") {
                        subject = text.to_owned();
                    }
                }
                // Taken is taken, whether or not the client lives to hear it.
                let (campaign, order) = subject.split_once(' ').unwrap_or_default();
                *delivered.lock().unwrap().entry((campaign.to_owned(), order.to_owned())).or_default() += 1;
                write.write_all(b"250 taken\r\n")?;
            }
            "QUIT" => return write.write_all(b"221 bye\r\n"),
            _ => write.write_all(b"250 ok\r\n")?,
        }
    }
    Ok(())
}
