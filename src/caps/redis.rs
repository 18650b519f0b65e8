//! The cap store that many processes share: one script call for each subject on one multiplexed connection.
//!
//! Redis may be flushed, restarted, failed over and back, or lose keys to its memory limit at any moment; the versions
//! in the database notice. What it holds is a hash of each subject's name, no address.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use ::redis::cluster::{ClusterClient, ClusterConfig};
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use ::redis::{
    Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation, ServerErrorKind, Value,
};
use arc_swap::ArcSwap;
use futures::future::{BoxFuture, FutureExt};

use crate::caps::{Ask, CapStore, History, Released, Reserved, Unreachable, packed};
use crate::guard::frequency_cap::{Full, NEVER};
use crate::guard::{CapVersion, Change, Subject};
use crate::ids::{MessageId, Timestamp, WorkspaceId};

/// A call that takes longer is given up; its message waits.
const CALL_DEADLINE: Duration = Duration::from_secs(2);
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Commands under way on the connection; more wait their turn here instead of in Redis.
const IN_FLIGHT_MAX: usize = 64;
/// Nothing is kept for a shorter time.
const KEPT_MIN_MS: i64 = 3_600_000;

/// In the scheme of an address: it is one of a cluster's nodes, which name each other.
const CLUSTER: &str = "+cluster";

/// A connection that comes back by itself, wherever its Redis is by then; cheap to clone.
#[derive(Clone)]
pub struct Server {
    link: Arc<ArcSwap<Link>>,
    nodes: Arc<Nodes>,
    /// Where it is, without credentials.
    place: Arc<str>,
}

#[derive(Clone)]
enum Link {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

enum Nodes {
    One(Box<Client>),
    Cluster(Vec<Client>),
}

/// An address that cannot be one of a Redis, in words without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongAddress(pub String);

impl Nodes {
    /// Connects with the first call. Must be called within a runtime.
    fn link(&self) -> RedisResult<Link> {
        match self {
            Self::One(one) => {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(CONNECT_DEADLINE))
                    .set_response_timeout(Some(CALL_DEADLINE))
                    .set_number_of_retries(1)
                    .set_pipeline_buffer_size(IN_FLIGHT_MAX)
                    .set_concurrency_limit(IN_FLIGHT_MAX);
                Ok(Link::One(ConnectionManager::new_lazy_with_config((**one).clone(), config)?))
            }
            Self::Cluster(nodes) => {
                let nodes = nodes.iter().map(|node| node.get_connection_info().clone());
                let cluster = ClusterClient::builder(nodes)
                    .connection_timeout(CONNECT_DEADLINE)
                    .response_timeout(CALL_DEADLINE)
                    .retries(2)
                    .build()?;
                Ok(Link::Cluster(cluster.get_pending_async_connection_with_config(ClusterConfig::new())))
            }
        }
    }
}

impl Server {
    /// `url` is `redis://[user:password@]host[:port][/database]` (`rediss://` for TLS). Several of them with commas
    /// between are nodes of one cluster; so is one alone that begins with `redis+cluster://` or `rediss+cluster://`.
    /// Nothing is connected before the first call. Must be called within a runtime.
    ///
    /// # Errors
    /// The address cannot be understood.
    pub fn new(url: &str) -> Result<Self, WrongAddress> {
        let (nodes, place) = nodes(url)?;
        let link = nodes.link().map_err(|error| wrong(&error))?;
        Ok(Self { link: Arc::new(ArcSwap::from_pointee(link)), nodes: Arc::new(nodes), place: place.into() })
    }

    /// Whether an address can be understood; nothing is connected.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_address(url: &str) -> Result<(), WrongAddress> {
        nodes(url).map(drop)
    }

    /// Where it is, without credentials.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// A number kept beside the slots; none where it was never set, or lost.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn number(&self, key: &str) -> Result<Option<i64>, Unreachable> {
        let mut call = ::redis::cmd("GET");
        call.arg(key);
        self.run(Call::Plain(call)).await
    }

    /// # Errors
    /// Redis cannot be asked.
    pub async fn set_number(&self, key: &str, number: i64) -> Result<(), Unreachable> {
        let mut call = ::redis::cmd("SET");
        call.arg(key).arg(number);
        self.run(Call::Plain(call)).await
    }

    async fn run<T: FromRedisValue>(&self, call: Call<'_>) -> Result<T, Unreachable> {
        let link = self.link.load_full();
        let answered = tokio::time::timeout(CALL_DEADLINE, async {
            match (*link).clone() {
                Link::One(mut one) => call.on(&mut one).await,
                Link::Cluster(mut cluster) => call.on(&mut cluster).await,
            }
        });
        match answered.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if leads_nowhere(&error) {
                    self.connect_anew(&link);
                }
                Err(Unreachable(format!("Redis at {}: {}", self.place, in_words(&error))))
            }
            Err(_) => {
                self.connect_anew(&link);
                Err(Unreachable(format!("Redis at {} did not answer in time", self.place)))
            }
        }
    }

    /// The next call opens another connection. One on which packets are lost without a word would be silent for a
    /// quarter of an hour, and one to a server that has become a replica would stay there: its name may lead to
    /// another server by now.
    fn connect_anew(&self, used: &Arc<Link>) {
        match self.nodes.link() {
            // Of many calls that fail together, the first does it.
            Ok(link) => drop(self.link.compare_and_swap(used, Arc::new(link))),
            Err(error) => tracing::debug!(%error, "the connection to Redis stays the old one"),
        }
    }

    /// How many masters a cluster has, where it is one and whole.
    async fn masters(&self) -> Result<Option<usize>, Unreachable> {
        let Link::Cluster(mut cluster) = (**self.link.load()).clone() else { return Ok(None) };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let mut call = ::redis::cmd("CLUSTER");
        call.arg("INFO");
        let wrong = |what: &str| Unreachable(format!("Redis at {}: {what}", self.place));
        let said = tokio::time::timeout(CALL_DEADLINE, cluster.route_command(call, everywhere));
        let said =
            said.await.map_err(|_| wrong("did not answer in time"))?.map_err(|error| wrong(&in_words(&error)))?;
        let Value::Map(nodes) = said else { return Err(wrong("it does not tell of its masters")) };
        for (node, said) in &nodes {
            let said = String::from_redis_value_ref(said).unwrap_or_default();
            if !said.contains("cluster_state:ok") {
                let node = String::from_redis_value_ref(node).unwrap_or_default();
                return Err(wrong(&format!("the master {node} says that the cluster is not whole")));
            }
        }
        Ok(Some(nodes.len()))
    }
}

/// Whether this connection will go on failing although the Redis may be there.
fn leads_nowhere(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => true,
        _ => error.is_timeout(),
    }
}

/// On one line; what people get wrong most, in words of ours.
fn in_words(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::Parse => "what answers there is no Redis".to_owned(),
        ErrorKind::AuthenticationFailed => "it does not take this user and password".to_owned(),
        ErrorKind::Server(ServerErrorKind::Moved) => {
            "it is a node of a cluster, and the address is of one Redis: write redis+cluster://".to_owned()
        }
        _ => error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

enum Call<'c> {
    Script(ScriptInvocation<'c>),
    Plain(Cmd),
}

impl Call<'_> {
    async fn on<T: FromRedisValue>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        match self {
            Call::Script(script) => script.invoke_async(link).await,
            Call::Plain(command) => command.query_async(link).await,
        }
    }
}

fn nodes(url: &str) -> Result<(Nodes, String), WrongAddress> {
    let mut clients = Vec::new();
    let mut places = Vec::new();
    let mut is_cluster = false;
    for one in url.split(',').map(str::trim) {
        let plain = match one.split_once("://") {
            Some((scheme, rest)) if scheme.ends_with(CLUSTER) => {
                is_cluster = true;
                format!("{}://{rest}", scheme.trim_end_matches(CLUSTER))
            }
            _ => one.to_owned(),
        };
        let client = Client::open(plain).map_err(|error| wrong(&error))?;
        places.push(client.get_connection_info().addr().to_string());
        clients.push(client);
    }
    let place = places.join(", ");
    match <[Client; 1]>::try_from(clients) {
        Ok([one]) if !is_cluster => Ok((Nodes::One(Box::new(one)), place)),
        Ok(one) => Ok((Nodes::Cluster(one.into()), place)),
        Err(several) => Ok((Nodes::Cluster(several), place)),
    }
}

fn wrong(error: &RedisError) -> WrongAddress {
    // The library's own words may repeat the address with its password.
    WrongAddress(format!(
        "is written redis://HOST:PORT or rediss://, for a cluster redis+cluster:// or several nodes with commas ({:?})",
        error.kind()
    ))
}

/// The slots of one workspace of one installation in a Redis.
pub struct Redis {
    server: Server,
    prefix: String,
    reserve: Script,
    remove: Script,
}

impl Redis {
    /// `installation` is the id of the database the slots are the image of: two databases share nothing.
    pub fn new(server: Server, installation: &str, workspace: WorkspaceId) -> Self {
        Self {
            server,
            prefix: format!("carillon:{installation}:{}", workspace.0),
            reserve: Script::new(include_str!("redis/reserve.lua")),
            remove: Script::new(include_str!("redis/remove.lua")),
        }
    }

    /// Everything of a subject stands under one hash tag, so that a cluster keeps it on one node.
    fn key(&self, subject: &Subject) -> String {
        let subject = MessageId::derive(&[b"cap subject", subject.to_string().as_bytes()]);
        format!("{}:{{{subject}}}", self.prefix)
    }

    async fn remove(
        &self,
        subject: &Subject,
        message: MessageId,
        from: CapVersion,
        to: CapVersion,
    ) -> Result<u8, Unreachable> {
        let mut call = self.remove.prepare_invoke();
        call.key(self.key(subject));
        call.arg(&packed::version(from)[..]).arg(&packed::version(to)[..]).arg(&message.as_bytes()[..]);
        self.server.run(Call::Script(call)).await
    }
}

impl CapStore for Redis {
    fn reserve<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Reserved, Unreachable>> {
        async move {
            let slot = ask.slot;
            let next = ask.expected.next(&Change::Taken { message: slot.message, at: slot.at });
            let next = if ask.counts { next } else { ask.expected };
            let after = if ask.counts { &packed::version(next)[..] } else { &[] };
            let (conditions, limits) = packed::conditions(&ask);
            let mut call = self.reserve.prepare_invoke();
            call.key(self.key(ask.subject));
            call.arg(&packed::version(ask.expected)[..]).arg(after).arg(packed::wish(slot)).arg(conditions);
            call.arg(ask.reach().millis().max(KEPT_MIN_MS));
            let answer: Value = self.server.run(Call::Script(call)).await?;
            let strange = || Unreachable(format!("Redis at {} gave a strange answer", self.server.place));
            let fields = match answer {
                Value::Int(0) => return Ok(Reserved::Stale),
                Value::Int(1) => return Ok(Reserved::Granted { version: next, at: slot.at }),
                Value::Array(fields) => fields,
                _ => return Err(strange()),
            };
            match &fields[..] {
                [Value::Int(2), Value::Int(at)] => {
                    Ok(Reserved::Granted { version: ask.expected, at: Timestamp::from_millis(*at) })
                }
                [Value::Int(3), Value::Int(last)] => Ok(Reserved::Behind { last: Timestamp::from_millis(*last) }),
                [Value::Int(4), Value::Int(limit), Value::Int(frees_at), Value::BulkString(used)] => {
                    let limit = usize::try_from(*limit).ok().and_then(|at| limits.get(at)).ok_or_else(strange)?;
                    Ok(Reserved::Full(Full {
                        rule: limit.rule.text_for(&slot.campaign),
                        by: packed::used(used).ok_or_else(strange)?,
                        frees_at: Timestamp::from_millis(if *frees_at < 0 { NEVER } else { *frees_at }),
                    }))
                }
                _ => Err(strange()),
            }
        }
        .boxed()
    }

    fn reseed<'a>(&'a self, subject: &'a Subject, history: History) -> BoxFuture<'a, Result<(), Unreachable>> {
        async move {
            let last = history.slots.iter().map(|slot| slot.at).max().unwrap_or(history.since);
            let kept = last.millis().saturating_sub(history.since.millis()).max(KEPT_MIN_MS);
            let mut call = ::redis::cmd("SET");
            call.arg(self.key(subject)).arg(packed::history(history)).arg("PX").arg(kept);
            self.server.run(Call::Plain(call)).await
        }
        .boxed()
    }

    fn withdraw<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        reserved: CapVersion,
        before: CapVersion,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        async move { self.remove(subject, message, reserved, before).await.map(drop) }.boxed()
    }

    fn release<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        expected: CapVersion,
    ) -> BoxFuture<'a, Result<Released, Unreachable>> {
        async move {
            let version = expected.next(&Change::Released { message });
            Ok(match self.remove(subject, message, expected, version).await? {
                1 => Released::Done { version },
                2 => Released::Absent,
                _ => Released::Stale,
            })
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unreachable>> {
        async move {
            let said: String = self.server.run(Call::Plain(::redis::cmd("PING"))).await?;
            if said != "PONG" {
                return Err(Unreachable(format!("Redis at {} answered PING with {said}", self.server.place)));
            }
            // A replica, a full memory or a user without the rights answers PING and takes nothing.
            let script = Script::new("return redis.call('SET', KEYS[1], '1', 'PX', 1000)");
            let mut call = script.prepare_invoke();
            call.key(format!("{}:check", self.prefix));
            let _: Value = self.server.run(Call::Script(call)).await?;
            Ok(match self.server.masters().await? {
                None => format!("Redis at {} answers", self.server.place),
                Some(masters) => format!("the Redis Cluster at {} answers, {masters} masters", self.server.place),
            })
        }
        .boxed()
    }
}
