//! A small HTTP proxy that misbehaves on purpose, between a real client and our server.
//!
//! Each POST takes the next fault of the script; when the script is used up everything passes. One request per
//! connection keeps the proxy simple: the client is told `Connection: close`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Forwarded, and the answer given back.
    Pass,
    /// Answered by the proxy with this status, never forwarded; 429 carries `Retry-After: 1`.
    Answer(u16),
    /// The connection is cut before anything was forwarded.
    CutBefore,
    /// Forwarded and stored, then the connection is cut: the client cannot know and sends again.
    CutAnswer,
    /// Nothing is answered until the client gives up, or `HANG_MAX` for clients that never do.
    Hang,
}

/// Longest time a hanging request is held. A browser's `fetch` has no time limit of its own.
const HANG_MAX: Duration = Duration::from_secs(2);
/// Longest wait for a peer that stopped in the middle.
const STALLED: Duration = Duration::from_secs(15);

/// One request as the client sent it.
#[derive(Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    /// Lower-case name, value as sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub fault: Fault,
    /// The server's status, if the request was forwarded.
    pub answered: Option<u16>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, path, body, fault, answered, .. } = self;
        write!(out, "{method} {path} ({} bytes) {fault:?} {answered:?}", body.len())
    }
}

struct Shared {
    upstream: String,
    script: Mutex<std::vec::IntoIter<Fault>>,
    seen: Mutex<Vec<Seen>>,
}

pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// `upstream` is `host:port`. The listener's thread ends with the test process.
    pub fn start(upstream: &str, script: Vec<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            script: Mutex::new(script.into_iter()),
            seen: Mutex::new(Vec::new()),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_thread);
                // A client that cuts its own connection is part of the game, so errors end the request quietly.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self { address, shared }
    }

    /// Every request so far, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The faults that no request has met.
    pub fn unused(&self) -> Vec<Fault> {
        lock(&self.shared.script).as_slice().to_vec()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    client.set_read_timeout(Some(STALLED))?;
    let Some((head, body)) = read_request(&mut client)? else { return Ok(()) };
    let mut lines = head.split("\r\n");
    let mut request_line = lines.next().unwrap_or_default().split(' ');
    let method = request_line.next().unwrap_or_default().to_owned();
    let path = request_line.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let fault = if method == "POST" { lock(&shared.script).next().unwrap_or(Fault::Pass) } else { Fault::Pass };
    let place = {
        let mut seen = lock(&shared.seen);
        seen.push(Seen { method, path, headers, body: body.clone(), fault, answered: None });
        seen.len() - 1
    };
    match fault {
        Fault::Pass => {
            let answer = forward(&head, &body, &shared.upstream)?;
            lock(&shared.seen)[place].answered = status_of(&answer);
            client.write_all(&answer)?;
        }
        Fault::CutAnswer => {
            let answer = forward(&head, &body, &shared.upstream)?;
            lock(&shared.seen)[place].answered = status_of(&answer);
        }
        Fault::Answer(status) => {
            let retry_after = if status == 429 { "Retry-After: 1\r\n" } else { "" };
            write!(
                client,
                "HTTP/1.1 {status} Injected\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\n{retry_after}\
                 Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            )?;
        }
        Fault::CutBefore => {}
        Fault::Hang => {
            client.set_read_timeout(Some(HANG_MAX))?;
            // Returns when the client closes, or when the time is up.
            let _ = client.read(&mut [0]);
        }
    }
    client.shutdown(Shutdown::Both)
}

/// The head without its empty line, and the body; `None` when the peer closed without a word.
fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let end_of_head = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at;
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end_of_head]).into_owned();
    let mut body = bytes.split_off(end_of_head + 4);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    assert!(!chunked, "no client is known to send chunked bodies; teach the proxy when one does");
    let length = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    while body.len() < length {
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            n => body.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(Some((head, body)))
}

/// The whole answer, its connection header replaced so that the client opens a new connection for the next request.
fn forward(head: &str, body: &[u8], upstream: &str) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    server.set_read_timeout(Some(STALLED))?;
    let keeps = |line: &&str| !line.to_ascii_lowercase().starts_with("connection:");
    let head: Vec<&str> = head.split("\r\n").filter(keeps).collect();
    server.write_all(format!("{}\r\nConnection: close\r\n\r\n", head.join("\r\n")).as_bytes())?;
    server.write_all(body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

fn status_of(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|it| it == needle)
}
