//! How every command speaks to the service: over HTTP, to the server of the folder, or where none runs to one of its
//! own that answers and does nothing else.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write, stderr};
use std::net::TcpListener;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Waiting, Poll};
use std::time::Duration;

use actix_web::web::Bytes;
use anyhow::Context;
use http_body::{Body, Frame, SizeHint};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;

use crate::app::{Carillon, Options};
use crate::cli::Usage;
use crate::cli::place::{Held, Place, Whereabouts, new_token};
use crate::cli::serving::pages;

/// Whoever has the folder's lock lives, for the lock goes with its process: one that has just started builds its parts
/// first, and a large log or a busy machine takes a while.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(180);
/// After which the person at the terminal is told what is waited for.
const TOLD_AFTER: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The service, wherever it runs.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
    own: Option<Own>,
}

/// A server for this command alone.
struct Own {
    carillon: Arc<Carillon>,
    stop: oneshot::Sender<()>,
    answering: JoinHandle<anyhow::Result<()>>,
    held: Held,
}

/// Who serves the folder.
pub enum Found {
    There(Whereabouts),
    /// Nobody: it is ours now.
    Free(Held),
}

/// The service understood and said no.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Refused {
    pub status: StatusCode,
    pub answer: Value,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.answer["detail"].as_str().or(self.answer["title"].as_str()) {
            Some(detail) => f.write_str(detail)?,
            None => write!(f, "the service answers {}", self.status)?,
        }
        match self.answer["nearest"].as_str() {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl Client {
    /// Finds the server of the folder or becomes one.
    ///
    /// # Errors
    /// The folder is held by something that does not answer, or cannot be used.
    pub async fn connect(place: &Place) -> anyhow::Result<Self> {
        match Self::look_for(place, "a command").await? {
            Found::There(there) => Self::to(&there),
            // However long opening takes, nobody else holds the folder.
            Found::Free(held) => Self::alone(place, held).await,
        }
    }

    /// Finds the server of the folder, or takes the folder for `command`; whoever is about to answer is waited for.
    ///
    /// # Errors
    /// The folder is held by something that does not answer.
    pub async fn look_for(place: &Place, command: &str) -> anyhow::Result<Found> {
        let folder = place.folder().display();
        let mut find = pin!(Self::find(place, command));
        let found = match tokio::time::timeout(TOLD_AFTER, &mut find).await {
            Ok(found) => found?,
            Err(_) => {
                // Answers go to stdout. Who closed the other has no use for this.
                let _ = writeln!(stderr(), "{folder} is held by a process that does not answer yet; waiting for it");
                let Ok(found) = tokio::time::timeout(ANNOUNCED_WITHIN, find).await else {
                    anyhow::bail!(
                        "{folder} is held by a process that has not answered for {} seconds: look at its log, or end it \
                         and try again",
                        ANNOUNCED_WITHIN.as_secs()
                    )
                };
                found?
            }
        };
        Ok(found)
    }

    async fn find(place: &Place, command: &str) -> anyhow::Result<Found> {
        loop {
            let holder = match place.take(command)? {
                Ok(held) => return Ok(Found::Free(held)),
                Err(holder) => holder,
            };
            if holder.command == "import" {
                anyhow::bail!("{holder} is importing into {}: wait until it is done", place.folder().display());
            }
            if let Some(there) = place.whereabouts()
                && answers(&there.address).await
            {
                return Ok(Found::There(there));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Speaks to a server that is known to run.
    ///
    /// # Errors
    /// The address is none.
    pub fn to(there: &Whereabouts) -> anyhow::Result<Self> {
        // A proxy named in the environment has no business on the way to our own machine.
        // Nor have the authorities of the web, which take a while to read.
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let http = builder.connect_timeout(CONNECT_WITHIN).build()?;
        let base = there.address.parse().with_context(|| format!("{} is no address", there.address))?;
        Ok(Self { http, base, token: there.token.clone(), own: None })
    }

    async fn alone(place: &Place, held: Held) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port is free on the loopback")?;
        listener.set_nonblocking(true)?;
        let address = format!("http://{}", listener.local_addr()?);
        let carillon = Arc::new(Carillon::open(Options::of(&place.config, &address)?).await?);
        let there = Whereabouts { address, token: new_token(), pid: std::process::id() };
        let (stop, stopped) = oneshot::channel();
        let answering = tokio::spawn({
            let (carillon, token) = (carillon.clone(), there.token.clone());
            async move {
                let pages = pages(&carillon, carillon.admin(&token), None);
                carillon.answer(listener, pages, async { drop(stopped.await) }).await
            }
        });
        Ok(Self { own: Some(Own { carillon, stop, answering, held }), ..Self::to(&there)? })
    }

    /// # Errors
    /// [`Refused`], or the service cannot be reached.
    pub async fn get(&self, path: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<Value> {
        self.call(Method::GET, self.url(path, query)?, None).await
    }

    fn url(&self, path: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<Url> {
        let mut url = self.address(path)?;
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(url)
    }

    /// All pages of a list as one answer, by the name its rows stand under.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub async fn get_all(&self, path: &str, name: &str) -> anyhow::Result<Value> {
        let (mut all, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
        loop {
            let mut page = self.get(path, &[("limit", Some("200")), ("cursor", cursor.as_deref())]).await?;
            if let Value::Array(rows) = page[name].take() {
                all.extend(rows);
            }
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(json!({ name: all })),
            }
        }
    }

    /// # Errors
    /// As for [`Client::get`].
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, self.address(path)?, Some(body)).await
    }

    /// Sends a file as it is.
    ///
    /// # Errors
    /// As for [`Client::get`], or the file cannot be read.
    pub async fn send_file(&self, path: &str, query: &[(&str, Option<&str>)], file: &Path) -> anyhow::Result<Value> {
        let cannot = || format!("{} cannot be read", file.display());
        let content = File::open(file).with_context(cannot)?;
        let left = content.metadata().with_context(cannot)?.len();
        let body = reqwest::Body::wrap(FileBody { content, left });
        let request = self.http.post(self.url(path, query)?).bearer_auth(&self.token).body(body);
        Self::answered(request).await
    }

    /// An answer of many lines of JSON, each told as it comes.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub async fn post_lines(&self, path: &str, body: Value, mut tell: impl FnMut(Value)) -> anyhow::Result<()> {
        let request = self.http.post(self.address(path)?).bearer_auth(&self.token).json(&body);
        let mut answer = request.send().await.context("the server cannot be reached; is it still running?")?;
        let status = answer.status();
        let mut waiting: Vec<u8> = Vec::new();
        while let Some(piece) = answer.chunk().await.context("the server's answer broke off")? {
            waiting.extend_from_slice(&piece);
            while let (true, Some(end)) = (status.is_success(), waiting.iter().position(|byte| *byte == b'\n')) {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                tell(serde_json::from_slice(&line).unwrap_or(Value::Null));
            }
        }
        if status.is_success() {
            return Ok(());
        }
        Err(Refused { status, answer: serde_json::from_slice(&waiting).unwrap_or(Value::Null) }.into())
    }

    /// The report at the end of an answer that tells how far it is, as a bar of so many `things`.
    ///
    /// # Errors
    /// As for [`Client::get`], or the answer ends with an error and no report.
    pub async fn report(&self, path: &str, body: Value, things: &str) -> anyhow::Result<Value> {
        let style = format!("{{wide_bar}} {{human_pos}} of {{human_len}} {things}, {{eta}} left");
        let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(&style)?);
        let mut last = Value::Null;
        let told = self.post_lines(path, body, |line| match line["of"].as_u64() {
            Some(of) => {
                bar.set_length(of);
                bar.set_position(line["done"].as_u64().unwrap_or(0));
            }
            None => last = line,
        });
        told.await?;
        bar.finish_and_clear();
        if last["report"].is_null() {
            anyhow::bail!("{}", last["error"].as_str().unwrap_or("the answer broke off"));
        }
        Ok(last["report"].take())
    }

    /// # Errors
    /// As for [`Client::get`].
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, self.address(path)?, None).await
    }

    fn address(&self, path: &str) -> anyhow::Result<Url> {
        // However they are written, an address is another without them.
        if let Some(part) = path.split('/').skip(1).find(|part| matches!(*part, "" | "." | "..")) {
            return Err(Usage(format!("`{part}` cannot be asked for: no address holds it")).into());
        }
        Ok(self.base.join(path)?)
    }

    async fn call(&self, method: Method, url: Url, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = &body {
            request = request.json(body);
        }
        Self::answered(request).await
    }

    async fn answered(request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.context("the server cannot be reached; is it still running?")?;
        let status = answer.status();
        let text = answer.text().await.context("the server's answer broke off")?;
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() { Ok(value) } else { Err(Refused { status, answer: value }.into()) }
    }

    /// Ends a server of our own; others go on.
    pub async fn close(self) -> anyhow::Result<()> {
        let Some(Own { carillon, stop, answering, held }) = self.own else { return Ok(()) };
        // An idle connection of ours would keep the server waiting.
        drop(self.http);
        drop(stop);
        let ended = answering.await.context("the server panicked")?;
        carillon.close().await;
        drop(held);
        ended
    }
}

/// Of a file that is sent, at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A file on its way, read piece by piece.
struct FileBody {
    content: File,
    left: u64,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Waiting<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let wanted = usize::try_from(self.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        if wanted == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; wanted];
        let read = self.content.read_exact(&mut piece);
        self.left -= wanted as u64;
        Poll::Ready(Some(read.map(|()| Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Whether somebody listens at the address.
async fn answers(address: &str) -> bool {
    let authority = address.strip_prefix("http://").unwrap_or(address);
    let connect = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(authority));
    matches!(connect.await, Ok(Ok(_)))
}

/// A part of a path, with whatever it holds made harmless.
pub fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

impl Refused {
    /// Every single problem of a refused set of files, a line each.
    pub fn problems(&self) -> String {
        let problems = self.answer["problems"].as_array().map_or(&[][..], Vec::as_slice);
        problems.iter().map(|problem| format!("\n{}", problem_line(problem))).collect()
    }
}

/// `file:line:column: field: message; did you mean `nearest`?`
fn problem_line(problem: &Value) -> String {
    let text = |name: &str| problem[name].as_str().unwrap_or_default();
    let number = |name: &str| problem[name].as_u64().unwrap_or(0);
    let field = if text("field").is_empty() { String::new() } else { format!("{}: ", text("field")) };
    let nearest = match text("nearest") {
        "" => String::new(),
        nearest => format!("; did you mean `{nearest}`?"),
    };
    format!("{}:{}:{}: {field}{}{nearest}", text("file"), number("line"), number("column"), text("message"))
}
