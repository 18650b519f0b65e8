//! The probe against little servers on this machine: each says one thing to whoever asks.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::channel::sender::dns::Dns;
use crate::channel::sender::records::Net;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on";

/// How a server answers.
#[derive(Clone)]
enum Says {
    Text(String),
    /// Head and body.
    Bytes(&'static str, Vec<u8>),
    /// Takes the connection and never says a word.
    Nothing,
    /// A head, and bytes without an end.
    Endless(&'static str),
    /// No HTTP.
    Noise,
}

struct Little {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// As many as were asked at the same time.
    most: Arc<AtomicUsize>,
}

impl Little {
    /// Answers by path.
    async fn answering(says: impl Fn(&str) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, now, most) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (says, counts) = (Arc::new(says), (asked.clone(), now, most.clone()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (says, (asked, now, most)) = (says.clone(), counts.clone());
                tokio::spawn(async move {
                    asked.fetch_add(1, Ordering::SeqCst);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let _ = answer(stream, &*says, &now).await;
                });
            }
        });
        Self { address, asked, most }
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn answer(
    mut stream: TcpStream,
    says: &(dyn Fn(&str) -> Says + Send + Sync),
    now: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0u8]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await? == 0 {
            break;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let said = says(text.split_whitespace().nth(1).unwrap_or_default());
    let close = "connection: close\r\n";
    // Whoever waits for a turn begins after this.
    tokio::task::yield_now().await;
    now.fetch_sub(1, Ordering::SeqCst);
    match said {
        Says::Text(head) => {
            stream.write_all(format!("HTTP/1.1 {head}\r\n{close}content-length: 0\r\n\r\n").as_bytes()).await?
        }
        Says::Bytes(head, body) => {
            let head = format!("HTTP/1.1 {head}\r\n{close}content-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Says::Nothing => futures::future::pending().await,
        Says::Endless(head) => {
            stream.write_all(format!("HTTP/1.1 {head}\r\n{close}\r\n").as_bytes()).await?;
            stream.write_all(PNG).await?;
            while stream.write_all(&[7; 4096]).await.is_ok() {}
        }
        Says::Noise => stream.write_all(b"220 mail.shop.example ESMTP\r\n").await?,
    }
    stream.shutdown().await
}

fn probe_with(inside: &[&str], dns: SocketAddr, limits: Limits) -> Probe {
    let inside = inside.iter().map(|net| Net::parse(net).unwrap()).collect();
    let outside = Outside::new(Dns::new(Some(dns)).unwrap(), inside);
    Probe::new(outside, limits, Arc::new(|url| url.contains("/u/"))).unwrap()
}

/// May ask this machine; waits as long as such a machine needs, and no test waits for it but the one of the silent server.
fn probe() -> Probe {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    probe_with(&["127.0.0.1"], nobody, Limits { picture_bytes: 64 * 1024, ..Limits::default() })
}

fn link(url: &str) -> Linked {
    Linked { used_as: Use::Link, url: url.to_owned() }
}

fn picture(url: &str) -> Linked {
    Linked { used_as: Use::Picture, url: url.to_owned() }
}

/// Beside that nothing here speaks TLS.
fn codes(found: &Found) -> Vec<&'static str> {
    found.findings.iter().map(|finding| finding.code).filter(|code| *code != "plain_http").collect()
}

#[tokio::test]
async fn each_answer_of_a_page_is_told() {
    let server = Little::answering(|path| match path {
        "/good" => Says::Text("200 OK".into()),
        "/gone" => Says::Text("404 Not Found".into()),
        "/fails" => Says::Text("503 Service Unavailable".into()),
        "/private" => Says::Text("403 Forbidden".into()),
        "/moved" => Says::Text("301 Moved\r\nlocation: /good".into()),
        "/lost" => Says::Text("302 Found\r\nlocation: /gone".into()),
        "/nowhere" => Says::Text("302 Found".into()),
        "/app" => Says::Text("302 Found\r\nlocation: itms-apps://x".into()),
        "/out" => Says::Text("302 Found\r\nlocation: /u/token".into()),
        "/noise" => Says::Noise,
        other => panic!("{other} was asked"),
    })
    .await;
    let probe = probe();
    for (path, verdict, says) in [
        ("/good", Verdict::Warning, &[][..]),
        ("/gone", Verdict::Broken, &["client_error"]),
        ("/fails", Verdict::Broken, &["server_error"]),
        ("/private", Verdict::Warning, &["not_admitted"]),
        ("/moved", Verdict::Warning, &["redirected"]),
        ("/lost", Verdict::Broken, &["redirected", "client_error"]),
        ("/nowhere", Verdict::Broken, &["no_answer"]),
        ("/app", Verdict::Warning, &["redirected"]),
        // Neither asked nor followed to.
        ("/out", Verdict::Warning, &["redirected"]),
        ("/u/token", Verdict::NotAsked, &["acts"]),
        ("/list/unsubscribe?u=1", Verdict::NotAsked, &["acts"]),
        ("/noise", Verdict::Broken, &["no_answer"]),
    ] {
        let found = probe.ask(&link(&server.at(path))).await;
        assert_eq!((found.verdict(), codes(&found).as_slice()), (verdict, says), "{path}: {found:?}");
    }
    let moved = probe.ask(&link(&server.at("/moved"))).await;
    assert_eq!((moved.status, moved.leads_to), (Some(200), Some(server.at("/good"))));
}

#[tokio::test]
async fn pictures_are_looked_at_and_a_heavy_one_is_not_read_to_its_end() {
    let server = Little::answering(|path| match path {
        "/good.png" => Says::Bytes("200 OK\r\ncontent-type: image/png", PNG.to_vec()),
        "/page.png" => Says::Bytes("200 OK\r\ncontent-type: text/html", b"<html>Not here".to_vec()),
        "/heavy.png" => Says::Bytes("200 OK\r\ncontent-type: image/png", [PNG, &[0; 200_000]].concat()),
        "/endless.png" => Says::Endless("200 OK\r\ncontent-type: image/png"),
        "/private.png" => Says::Text("403 Forbidden".into()),
        other => panic!("{other} was asked"),
    })
    .await;
    let probe = probe();
    for (path, says) in [
        ("/good.png", &[][..]),
        ("/page.png", &["not_a_picture"]),
        ("/heavy.png", &["too_heavy"]),
        ("/endless.png", &["too_heavy"]),
        ("/private.png", &["client_error"]),
    ] {
        let found = probe.ask(&picture(&server.at(path))).await;
        assert_eq!(codes(&found), says, "{path}: {found:?}");
    }
    let heavy = probe.ask(&picture(&server.at("/heavy.png"))).await;
    assert_eq!(heavy.bytes, Some(200_000 + PNG.len() as u64));
    // Of a page nothing is read, so that it may be as long as it likes.
    assert_eq!(codes(&probe.ask(&link(&server.at("/endless.png"))).await), Vec::<&str>::new());
}

#[tokio::test]
async fn a_circle_and_a_long_way_come_to_an_end() {
    let server = Little::answering(|path| {
        let onward = match path.rsplit_once('/') {
            Some(("/circle", "a")) => "/circle/b".to_owned(),
            Some(("/circle", _)) => "/circle/a".to_owned(),
            Some((way, n)) => format!("{way}/{}", n.parse::<u32>().unwrap() + 1),
            None => panic!("{path}"),
        };
        Says::Text(format!("302 Found\r\nlocation: {onward}"))
    })
    .await;
    let probe = probe();
    assert_eq!(codes(&probe.ask(&link(&server.at("/circle/a"))).await), ["redirected", "redirect_loop"]);
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    assert_eq!(codes(&probe.ask(&link(&server.at("/way/0"))).await), ["redirected", "too_many_redirects"]);
    assert_eq!(server.asked.load(Ordering::SeqCst), 2 + 6);
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_and_the_time_of_all_has_an_end() {
    let server = Little::answering(|_| Says::Nothing).await;
    let short = Duration::from_millis(200);
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let probe = probe_with(&["127.0.0.1"], nobody, Limits { answer: short, ..Limits::default() });
    assert_eq!(codes(&probe.ask(&link(&server.at("/"))).await), ["timed_out"]);
    let probe = probe_with(&["127.0.0.1"], nobody, Limits { whole: short, ..Limits::default() });
    let all: BTreeSet<Linked> = (0..9).map(|n| link(&server.at(&format!("/{n}")))).collect();
    let found = probe.ask_all(all, |_| true).await;
    assert!(found.len() == 9 && found.iter().all(|(_, it)| codes(it) == ["no_time_left"]), "{found:?}");
    // A host that hangs costs the time of two requests, not of all.
    let asked_before = server.asked.load(Ordering::SeqCst);
    let probe = probe_with(&["127.0.0.1"], nobody, Limits { answer: short, ..Limits::default() });
    let all: BTreeSet<Linked> = (0..40).map(|n| link(&server.at(&format!("/{n}")))).collect();
    let found = probe.ask_all(all, |_| true).await;
    assert!(found.len() == 40 && found.iter().all(|(_, it)| codes(it) == ["timed_out"]), "{found:?}");
    assert_eq!(server.asked.load(Ordering::SeqCst), asked_before + 2);
}

#[tokio::test]
async fn nobody_inside_is_asked_whichever_way_an_address_leads_there() {
    let inner = Little::answering(|path| panic!("{path} was asked")).await;
    let port = inner.address.port();
    let onward = format!("302 Found\r\nlocation: http://127.0.0.2:{port}/metadata");
    let outer = Little::answering(move |_| Says::Text(onward.clone())).await;
    let limits = || Limits { answer: Duration::from_secs(3), ..Limits::default() };
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let closed = probe_with(&[], nobody, limits());
    for url in [inner.at("/"), format!("http://localhost:{port}/"), format!("http://2130706433:{port}/")] {
        let found = closed.ask(&link(&url)).await;
        assert_eq!(codes(&found), ["inside"], "{url}: {found:?}");
    }
    // Only 127.0.0.1 is allowed here, and it leads on to its neighbour.
    let found = probe_with(&["127.0.0.1"], nobody, limits()).ask(&link(&outer.at("/"))).await;
    assert_eq!(codes(&found), ["redirected", "inside"]);
    let found = closed.ask(&link("https://ann:secret@1.1.1.1/")).await;
    assert_eq!(codes(&found), ["carries_login"]);
    assert_eq!(inner.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn where_nobody_listens_that_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    assert_eq!(codes(&probe().ask(&link(&format!("http://{address}/"))).await), ["no_answer"]);
    // One that speaks no TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        stream.write_all(b"220 mail.shop.example ESMTP\r\n").await?;
        // Until the other side has gone.
        stream.read_to_end(&mut Vec::new()).await
    });
    let found = probe().ask(&link(&url)).await;
    assert_eq!(codes(&found), ["tls"], "{found:?}");
}

#[tokio::test]
async fn all_are_asked_once_and_few_of_a_host_at_a_time() {
    let server = Little::answering(|_| Says::Text("200 OK".into())).await;
    let all: BTreeSet<Linked> = (0..40).map(|n| link(&server.at(&format!("/{n}")))).collect();
    let done = AtomicUsize::new(0);
    let found = probe()
        .ask_all(all.clone(), |so_far| {
            done.fetch_max(so_far, Ordering::SeqCst);
            true
        })
        .await;
    assert_eq!(found.iter().map(|(one, _)| one.clone()).collect::<BTreeSet<_>>(), all);
    assert_eq!((done.load(Ordering::SeqCst), server.asked.load(Ordering::SeqCst)), (40, 40));
    assert!(server.most.load(Ordering::SeqCst) <= 2, "{:?}", server.most);
    // Whoever goes away is asked for no more.
    let found = probe().ask_all(all, |so_far| so_far < 3).await;
    assert!(found.iter().filter(|(_, it)| it.status.is_some()).count() <= 4);
}
