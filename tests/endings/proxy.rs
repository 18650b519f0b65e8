//! A wire to PostgreSQL that is cut at the worst moment: the commit has happened, its answer has not arrived.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// In place of a password or a query: the client would like TLS.
const ASKS_FOR_TLS: u32 = 80_877_103;

/// Which commits lose their answers: those of a transaction in which this was said and that was not.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub says: &'static str,
    pub says_not: &'static str,
}

#[derive(Default)]
struct Armed {
    next: Mutex<Option<Cut>>,
    cuts: AtomicUsize,
}

pub struct Proxy {
    port: u16,
    armed: Arc<Armed>,
}

impl Proxy {
    /// Before the PostgreSQL at `127.0.0.1:port`.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let armed = Arc::<Armed>::default();
        let for_all = armed.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                join(&client, &server, &for_all);
            }
        });
        Self { port: own, armed }
    }

    pub fn url(&self) -> String {
        format!("postgres://carillon@127.0.0.1:{}", self.port)
    }

    /// The next commit of this kind is the connection's last.
    pub fn cut_next(&self, cut: Cut) {
        *self.armed.next.lock().unwrap() = Some(cut);
    }

    /// How many answers were lost so far.
    pub fn cuts(&self) -> usize {
        self.armed.cuts.load(Ordering::SeqCst)
    }
}

fn join(client: &TcpStream, server: &TcpStream, armed: &Arc<Armed>) {
    let doomed = Arc::new(AtomicBool::new(false));
    let ends = || (client.try_clone().unwrap(), server.try_clone().unwrap());
    let ((mut from, mut to), armed, marked) = (ends(), armed.clone(), doomed.clone());
    std::thread::spawn(move || {
        let mut talk = Talk::default();
        let mut chunk = [0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            for said in talk.hear(&chunk[..length]) {
                let mut next = armed.next.lock().unwrap();
                if next.is_some_and(|cut| said.contains(cut.says) && !said.contains(cut.says_not)) {
                    *next = None;
                    marked.store(true, Ordering::SeqCst);
                    armed.cuts.fetch_add(1, Ordering::SeqCst);
                }
            }
            if to.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut to, mut from) = ends();
    std::thread::spawn(move || {
        let mut chunk = [0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            // This is what the server says when it has committed, and nobody hears it.
            if doomed.load(Ordering::SeqCst) || to.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
}

/// What a client says over one connection, as far as it matters here.
#[derive(Default)]
struct Talk {
    unread: Vec<u8>,
    is_under_way: bool,
    prepared: BTreeMap<String, String>,
    /// Of the running transaction.
    statements: String,
}

impl Talk {
    /// For each commit in these bytes, what was said in its transaction.
    fn hear(&mut self, bytes: &[u8]) -> Vec<String> {
        self.unread.extend_from_slice(bytes);
        let mut committed = Vec::new();
        loop {
            let kind_bytes = usize::from(self.is_under_way);
            let Some(length) = self.unread.get(kind_bytes..kind_bytes + 4) else { break };
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if self.unread.len() < kind_bytes + length {
                break;
            }
            let message: Vec<u8> = self.unread.drain(..kind_bytes + length).collect();
            let body = &message[kind_bytes + 4..];
            if self.is_under_way {
                committed.extend(self.message(message[0], body));
            } else {
                self.is_under_way = !body.starts_with(&ASKS_FOR_TLS.to_be_bytes());
            }
        }
        committed
    }

    fn message(&mut self, kind: u8, body: &[u8]) -> Option<String> {
        let texts: Vec<String> = body.split(|byte| *byte == 0).map(|it| String::from_utf8_lossy(it).into()).collect();
        match kind {
            b'Q' if texts[0] == "COMMIT" => return Some(std::mem::take(&mut self.statements)),
            b'Q' if texts[0].starts_with("BEGIN") => self.statements.clear(),
            b'Q' => self.said(&texts[0].clone()),
            b'P' => {
                self.prepared.insert(texts[0].clone(), texts[1].clone());
            }
            b'B' => {
                let statement = self.prepared.get(&texts[1]).cloned().unwrap_or_default();
                self.said(&statement);
            }
            _ => {}
        }
        None
    }

    fn said(&mut self, statement: &str) {
        self.statements.push_str(statement);
        self.statements.push('\n');
    }
}
