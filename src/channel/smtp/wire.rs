//! The byte stream under an SMTP connection: a no-delay socket, plain or TLS, that knows whether the final dot went out.
//!
//! It also bounds what a server may say between two of our commands, makes its lines regular for the reader above, and
//! counts answers against questions: one too many would be taken for that of the next message.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Bytes of a message that leaves in one piece with its dot.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// Bytes a server may send in answer to one command.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const DOT: &[u8] = b"\r\n.\r\n";

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is known of a connection below the dialogue; shared with whoever speaks it.
#[derive(Debug, Clone, Default)]
pub struct Passed(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    dot: AtomicBool,
    body: AtomicBool,
    pipelining: AtomicBool,
    begun: AtomicBool,
    /// Nothing of a transaction was said yet.
    idle: AtomicBool,
    asked: AtomicUsize,
    told: AtomicUsize,
}

impl Passed {
    /// A new transaction begins.
    pub fn reset(&self) {
        self.0.begun.store(true, Ordering::SeqCst);
        self.0.idle.store(true, Ordering::SeqCst);
        self.0.dot.store(false, Ordering::SeqCst);
        self.0.body.store(false, Ordering::SeqCst);
    }

    /// What is written next is a message and its final dot.
    pub fn begin_body(&self) {
        self.0.body.store(true, Ordering::SeqCst);
    }

    /// Whether the end of a message has begun to leave.
    pub fn dot_is_out(&self) -> bool {
        self.0.dot.load(Ordering::SeqCst)
    }

    /// Whether the server said no more than it was asked.
    pub fn is_in_step(&self) -> bool {
        self.0.told.load(Ordering::SeqCst) <= self.0.asked.load(Ordering::SeqCst)
    }

    /// Whether the server takes commands before it has answered those before (RFC 2920).
    pub fn may_pipeline(&self) -> bool {
        self.0.pipelining.load(Ordering::SeqCst)
    }
}

pub struct Wire {
    stream: Stream,
    /// Read before the stream itself.
    ahead: &'static [u8],
    answered: usize,
    lines: Lines,
    /// A message that waits for its dot, to leave with it at once.
    held: Vec<u8>,
    /// The dot is behind it.
    is_sealed: bool,
    passed: Passed,
    peer: SocketAddr,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = matches!(self.stream, Stream::Tls(_));
        f.debug_struct("Wire").field("peer", &self.peer).field("encrypted", &encrypted).finish_non_exhaustive()
    }
}

impl Wire {
    pub fn plain(stream: TcpStream, passed: Passed) -> io::Result<Self> {
        let peer = stream.peer_addr()?;
        Ok(Self::over(Stream::Plain(stream), peer, passed))
    }

    pub fn tls(stream: TlsStream<TcpStream>, passed: Passed) -> io::Result<Self> {
        let peer = stream.get_ref().0.peer_addr()?;
        Ok(Self::over(Stream::Tls(Box::new(stream)), peer, passed))
    }

    fn over(stream: Stream, peer: SocketAddr, passed: Passed) -> Self {
        // The greeting.
        passed.0.asked.store(1, Ordering::SeqCst);
        Self {
            stream,
            ahead: b"",
            answered: 0,
            lines: Lines::default(),
            held: Vec::new(),
            is_sealed: false,
            passed,
            peer,
        }
    }

    /// Shows the reader above a greeting of ours: the server's was read before.
    #[must_use]
    pub fn already_greeted(mut self) -> Self {
        self.ahead = b"220 greeted before\r\n";
        self.passed.0.asked.store(0, Ordering::SeqCst);
        self
    }
}

impl Wire {
    /// Writes some of the held message, and of its dot where that is behind it.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Encryption may send what it was given although the write fails.
        if self.is_sealed && matches!(self.stream, Stream::Tls(_)) {
            self.passed.0.dot.store(true, Ordering::SeqCst);
        }
        let written = ready!(self.stream.poll_write(cx, &self.held))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.held.drain(..written);
        if self.is_sealed && self.held.len() < DOT.len() {
            self.passed.0.dot.store(true, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    /// Before a command: a server that spoke unasked, or is gone, is not asked anything.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let wrong = || io::Error::other("the server speaks before it is asked");
        if !self.passed.is_in_step() {
            return Err(wrong());
        }
        if self.passed.0.idle.swap(false, Ordering::SeqCst) {
            let mut some = [0; 1];
            let mut some = ReadBuf::new(&mut some);
            match self.stream.poll_read(cx, &mut some) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) if some.filled().is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Ok(())) => return Err(wrong()),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A server's lines, each ended by CRLF, with a code that is followed by something, in ASCII: the reader above knows no
/// others, and an acceptance must not be lost for a letter.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    whole: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], passed: &Flags) {
        const NAME: &[u8] = b"PIPELINING";
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(if byte.is_ascii() { *byte } else { b'?' });
                continue;
            }
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
            if self.line.len() == 3 {
                self.line.push(b' ');
            }
            if self.line.get(3) != Some(&b'-') {
                passed.told.fetch_add(1, Ordering::SeqCst);
            }
            // The one extension that lettre does not tell of, in what is said before the first message.
            let is_named = self.line.get(4..).is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(NAME));
            if is_named && !passed.begun.load(Ordering::SeqCst) {
                passed.pipelining.store(true, Ordering::SeqCst);
            }
            self.whole.append(&mut self.line);
            self.whole.extend_from_slice(b"\r\n");
        }
    }
}

impl Stream {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let (now, later) = self.ahead.split_at(self.ahead.len().min(buf.remaining()));
            buf.put_slice(now);
            self.ahead = later;
            return Poll::Ready(Ok(()));
        }
        while self.lines.whole.is_empty() {
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(self.stream.poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.answered += read.filled().len();
            if self.answered > ANSWER_BYTES_MAX {
                return Poll::Ready(Err(io::Error::other("the answer is too long")));
            }
            let Self { lines, passed, .. } = &mut *self;
            lines.take(read.filled(), &passed.0);
        }
        let some = self.lines.whole.len().min(buf.remaining());
        buf.put_slice(&self.lines.whole[..some]);
        self.lines.whole.drain(..some);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answered = 0;
        // The connection writes the dot by itself, and a stuffed body has no such line: see `ClientCodec` of lettre.
        let is_dot = bytes == DOT;
        let is_body = self.passed.0.body.load(Ordering::SeqCst);
        if is_dot {
            // Whatever comes after it is said and not held.
            self.passed.0.body.store(false, Ordering::SeqCst);
        } else if is_body && self.held.is_empty() && bytes.len() <= HELD_BYTES_MAX {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        if is_dot && !self.held.is_empty() && !self.is_sealed {
            self.held.extend_from_slice(DOT);
            self.is_sealed = true;
        }
        while !self.held.is_empty() {
            ready!(self.poll_held(cx))?;
        }
        if std::mem::take(&mut self.is_sealed) {
            self.passed.0.asked.fetch_add(1, Ordering::SeqCst);
            return Poll::Ready(Ok(bytes.len()));
        }
        if is_dot {
            self.passed.0.dot.store(true, Ordering::SeqCst);
        } else if !is_body {
            self.poll_silence(cx)?;
        }
        let written = ready!(self.stream.poll_write(cx, bytes))?;
        if is_dot {
            self.passed.0.asked.fetch_add(1, Ordering::SeqCst);
        } else if !is_body {
            let commands = bytes[..written].iter().filter(|byte| **byte == b'\n').count();
            self.passed.0.asked.fetch_add(commands, Ordering::SeqCst);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

/// The start of a dialogue on the plain socket, before TLS.
pub enum Offer {
    /// The server is ready for the TLS handshake.
    StartTls,
    /// It does not offer STARTTLS; greeting and EHLO are done.
    None,
    /// It answered with another code.
    Refused { code: u16, text: String },
}

/// Reads the greeting and asks for STARTTLS. Reads no byte further than the last answer: what a man in the middle put
/// behind it in plain text is an error, not the first answer inside TLS.
pub async fn ask_for_tls(stream: &mut TcpStream, hello: &str) -> io::Result<Offer> {
    let (code, text) = answer(stream).await?;
    if code != 220 {
        return Ok(Offer::Refused { code, text });
    }
    stream.write_all(format!("EHLO {hello}\r\n").as_bytes()).await?;
    let (code, text) = answer(stream).await?;
    if code != 250 {
        return Ok(Offer::Refused { code, text });
    }
    if !text.lines().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
        return Ok(Offer::None);
    }
    stream.write_all(b"STARTTLS\r\n").await?;
    match answer(stream).await? {
        (220, _) => Ok(Offer::StartTls),
        (code, text) => Ok(Offer::Refused { code, text }),
    }
}

/// One answer: its code and its lines.
async fn answer(stream: &mut TcpStream) -> io::Result<(u16, String)> {
    let wrong = || io::Error::other("the answer is not SMTP");
    let mut bytes = Vec::new();
    let mut start = 0;
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend(&chunk[..n]);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
        while let Some(end) = bytes[start..].iter().position(|b| *b == b'\n').map(|n| start + n + 1) {
            let line = &bytes[start..end];
            if line.len() < 4 || !line[..3].iter().all(u8::is_ascii_digit) {
                return Err(wrong());
            }
            start = end;
            if line[3] != b'-' {
                if end != bytes.len() {
                    return Err(io::Error::other("the server speaks before it is asked"));
                }
                let code = std::str::from_utf8(&line[..3]).ok().and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
                return Ok((code, lines(&bytes)));
            }
        }
    }
}

fn lines(answer: &[u8]) -> String {
    let lines = answer.split(|b| *b == b'\n').filter_map(|line| line.get(4..));
    lines.map(|line| String::from_utf8_lossy(line).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
