//! Redis servers of one's own, for whoever flushes, kills, rolls back or cuts them off: each in a temporary folder on a
//! port that was free; several as one cluster; and a wire to them that can be cut.

#![allow(clippy::disallowed_methods, reason = "it runs beside other processes, so it waits by the wall clock")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(20);
const SLOTS: u16 = 16_384;
/// A cluster's nodes speak with each other this far above the port they serve on.
const BUS: u16 = 10_000;

pub struct Redis {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    running: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts it with these options, and returns when it answers.
    pub fn start_with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        for _ in 0..10 {
            let folder = tempfile::tempdir().unwrap();
            let mut own = Self { folder, port: free_port(), options: options.clone(), running: None };
            // Somebody may have taken the port meanwhile.
            if own.begins() {
                return own;
            }
        }
        panic!("redis-server did not start; is it installed? run: make services");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts again with what it last saved, and returns when it answers.
    pub fn come_back(&mut self) {
        assert!(self.begins(), "redis-server did not start again");
    }

    fn begins(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(self.folder.path()).args(&self.options);
        let mut running = command.stdout(Stdio::piped()).spawn().expect("redis-server is missing; run: make services");
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map_while(Result::ok);
        self.running = Some(running);
        // "Ready to accept connections tcp", in these words since Redis 5.
        let is_ready = lines.any(|line| line.to_lowercase().contains("ready to accept connections"));
        // It goes on speaking, and must be heard.
        std::thread::spawn(move || lines.for_each(drop));
        is_ready
    }

    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            // Already gone is as good as killed.
            drop(running.kill());
            running.wait().unwrap();
        }
    }

    /// `SHUTDOWN NOSAVE`: what it has learnt since it last saved is gone.
    pub fn shut_down(&mut self) {
        drop(self.try_say::<Value>("SHUTDOWN NOSAVE"));
        self.running.take().unwrap().wait().unwrap();
    }

    pub fn flush(&self) {
        self.say::<Value>("FLUSHALL");
    }

    pub fn keys(&self) -> u64 {
        self.say("DBSIZE")
    }

    /// A command of words.
    pub fn say<T: FromRedisValue>(&self, command: &str) -> T {
        self.try_say(command).unwrap()
    }

    fn try_say<T: FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let mut connection = redis::Client::open(self.url())?.get_connection_with_timeout(WITHIN)?;
        let mut words = command.split(' ');
        let mut call = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            call.arg(word);
        });
        call.query(&mut connection)
    }

    /// Follows a master, and returns when it has all of it.
    pub fn follow(&self, master: &Self) {
        self.say::<Value>(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        self.has_all_of(master);
    }

    /// Returns when it has all that its master has.
    pub fn has_all_of(&self, master: &Self) {
        until("the replica to have all", || {
            let said: String = self.say("INFO replication");
            let (master, own) = (master.replicated(), offset(&said, "slave_repl_offset:"));
            said.contains("master_link_status:up") && own == master
        });
    }

    /// As a replica: hears nothing more of what its master learns. It asks once a second and is refused for its name; one
    /// whose question for the data itself is refused asks again at once, for ever, and takes the machine's processors.
    pub fn hears_no_more_of(&self, master: &Self) {
        self.say::<Value>("CONFIG SET masteruser nobody masterauth nothing");
        master.say::<Value>("CLIENT KILL TYPE replica");
    }

    /// In a cluster: takes over from its master, whatever that has that it has not.
    pub fn take_over(&self) {
        self.say::<Value>("CLUSTER FAILOVER TAKEOVER");
        until("the replica to be master", || self.is_master());
    }

    pub fn is_master(&self) -> bool {
        self.try_say::<String>("INFO replication").is_ok_and(|said| said.contains("role:master"))
    }

    /// In a cluster that has every slot and so many nodes, as it knows.
    fn is_whole_with(&self, nodes: usize) -> bool {
        let said: String = self.try_say("CLUSTER INFO").unwrap_or_default();
        said.contains("cluster_state:ok") && said.contains(&format!("cluster_known_nodes:{nodes}\r"))
    }

    fn replicated(&self) -> Option<u64> {
        offset(&self.say::<String>("INFO replication"), "master_repl_offset:")
    }
}

fn offset(said: &str, name: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port.checked_add(BUS).is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return port;
        }
    }
}

/// Waits for what comes by itself.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn node() -> Redis {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "no"];
    Redis::start_with(&[&options[..], &["--repl-diskless-sync-delay", "0"]].concat())
}

/// Three masters that share the slots.
pub struct Cluster(pub [Redis; 3]);

impl Cluster {
    /// Starts it, and returns when it is whole.
    pub fn start() -> Self {
        let nodes = [(); 3].map(|()| node());
        for (n, node) in (0_u16..).zip(&nodes) {
            let (first, last) = (SLOTS / 3 * n, if n == 2 { SLOTS } else { SLOTS / 3 * (n + 1) });
            let slots: Vec<String> = (first..last).map(|slot| slot.to_string()).collect();
            node.say::<Value>(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")));
            node.say::<Value>(&format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1));
        }
        for node in &nodes[1..] {
            nodes[0].say::<Value>(&format!("CLUSTER MEET 127.0.0.1 {}", node.port));
        }
        let cluster = Self(nodes);
        cluster.until_whole();
        cluster
    }

    pub fn until_whole(&self) {
        until("the cluster to be whole", || self.0.iter().all(|node| node.is_whole_with(3)));
    }

    /// A replica for each master, in their order, with all that they have.
    pub fn replicas(&self) -> [Redis; 3] {
        let replicas = [(); 3].map(|()| node());
        for replica in &replicas {
            self.0[0].say::<Value>(&format!("CLUSTER MEET 127.0.0.1 {}", replica.port));
        }
        until("everybody to know each other", || self.0.iter().chain(&replicas).all(|node| node.is_whole_with(6)));
        for (replica, master) in replicas.iter().zip(&self.0) {
            let id: String = master.say("CLUSTER MYID");
            replica.say::<Value>(&format!("CLUSTER REPLICATE {id}"));
        }
        replicas.iter().zip(&self.0).for_each(|(replica, master)| replica.has_all_of(master));
        replicas
    }

    /// The addresses of its masters.
    pub fn url(&self) -> String {
        self.0.each_ref().map(Redis::url).join(",")
    }

    pub fn flush(&self) {
        self.0.iter().for_each(Redis::flush);
    }
}

/// What becomes of bytes on a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// They wait, and arrive when it opens.
    Late,
    /// They are lost without a word, and so is everything else on a connection that lost some.
    Lost,
    /// Questions arrive, answers are lost.
    AnswersLost,
}

/// A way to a server on this machine: to whichever it leads at present.
pub struct Wire {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    leads_to: u16,
    passage: Passage,
    open: Vec<TcpStream>,
}

impl Wire {
    pub fn to(server: &Redis) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State { leads_to: server.port, passage: Passage::Open, open: Vec::new() };
        let wire =
            Self { port: door.local_addr().unwrap().port(), state: Arc::new((Mutex::new(state), Condvar::new())) };
        let state = wire.state.clone();
        std::thread::spawn(move || {
            for client in door.incoming().map_while(Result::ok) {
                let state = state.clone();
                std::thread::spawn(move || carry(client, &state));
            }
        });
        wire
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    pub fn let_pass(&self, passage: Passage) {
        self.lock().passage = passage;
        self.state.1.notify_all();
    }

    /// Connections from now on lead there; those there are stay.
    pub fn lead_to(&self, server: &Redis) {
        self.lock().leads_to = server.port;
    }

    /// Ends every connection there is.
    pub fn cut(&self) {
        for open in self.lock().open.drain(..) {
            drop(open.shutdown(Shutdown::Both));
        }
    }
}

fn carry(client: TcpStream, state: &Arc<(Mutex<State>, Condvar)>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", state.0.lock().unwrap().leads_to)) else { return };
    let ways = [(client.try_clone(), server.try_clone(), false), (server.try_clone(), client.try_clone(), true)];
    state.0.lock().unwrap().open.extend([client, server]);
    for (from, to, is_answer) in ways {
        let (Ok(from), Ok(to), state) = (from, to, state.clone()) else { return };
        std::thread::spawn(move || pass(from, to, is_answer, &state));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_answer: bool, (state, changed): &(Mutex<State>, Condvar)) {
    let mut bytes = [0; 16 * 1024];
    let mut is_dead = false;
    while let Ok(size @ 1..) = from.read(&mut bytes) {
        let now = changed.wait_while(state.lock().unwrap(), |state| state.passage == Passage::Late).unwrap().passage;
        is_dead |= now == Passage::Lost || (now == Passage::AnswersLost && is_answer);
        if !is_dead && to.write_all(&bytes[..size]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}
