//! What a bomb costs: the server runs as a process of its own, and its peak memory is read from outside.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use carillon::event::track_api::BATCH_BYTES_MAX;

use crate::client::{Connection, Request};
use crate::on_sqlite::world::World;

const AS_SERVER: &str = "CARILLON_TEST_AS_SERVER";

/// Not a test of its own: the body of the server process.
#[test]
fn server_process() {
    if std::env::var_os(AS_SERVER).is_none() {
        return;
    }
    let world = World::start();
    println!("\nlistening {}", world.address);
    std::io::stdout().flush().unwrap();
    // Until the other side closes our input, that is, ends.
    let _ = std::io::stdin().read_line(&mut String::new());
}

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::server_process", "--nocapture"])
            .env(AS_SERVER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.map_while(Result::ok).find(|line| line.starts_with("listening ")).unwrap();
        Self { process, address: line["listening ".len()..].parse().unwrap() }
    }

    /// Peak resident memory in bytes.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn zeros_gzipped(mebibytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let zeros = vec![0; 1 << 20];
    for _ in 0..mebibytes {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn a_bomb_of_two_hundred_mebibytes_costs_at_most_twice_the_limit() {
    let bomb = Request::post("/v1/batch", zeros_gzipped(200)).header("Content-Encoding", "gzip").key("wk");
    let small = Request::post("/v1/batch", r#"{"batch":[]}"#).key("wk");
    let server = Server::start();
    // What one connection and one answer cost anyway is not the bomb's.
    let full = Request::post("/v1/batch", vec![b' '; BATCH_BYTES_MAX]).key("nope");
    Connection::open(server.address).send(&full);
    Connection::open(server.address).send(&small);
    let before = server.peak();
    let answer = Connection::open(server.address).send(&bomb);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let grown = server.peak() - before;
    assert!(grown <= 2 * BATCH_BYTES_MAX, "{grown} bytes");

    let threads: Vec<_> = (0..16)
        .map(|_| {
            let (bomb, address) = (bomb.clone(), server.address);
            std::thread::spawn(move || {
                (0..4).for_each(|_| assert_eq!(Connection::open(address).send(&bomb).status, 413))
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let grown = server.peak() - before;
    assert!(grown < 32 << 20, "{grown} bytes for 64 bombs, 16 at once");
    assert_eq!(Connection::open(server.address).send(&small).status, 200);
}
