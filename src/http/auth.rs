//! Who is calling the track API: a write key in the Authorization header, in the body, or both.
//!
//! Keys are looked up by hash in memory, so a lookup leaks nothing by its timing. Before a key is called wrong all are
//! read anew, for another process may have made it; whoever guesses often has nothing read for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};

use crate::event::source::Source;
use crate::ids::WorkspaceId;

/// SHA-256 of a write key.
pub type KeyHash = [u8; 32];

/// A key that may write, and for whom.
#[derive(Clone)]
pub struct WriteKey {
    pub hash: KeyHash,
    pub id: String,
    pub workspace: WorkspaceId,
    /// Where its events come from, and what happens to them at the door.
    pub source: Arc<Source>,
}

impl WriteKey {
    pub fn hash_of(key: &str) -> KeyHash {
        Sha256::digest(key.as_bytes()).into()
    }
}

/// The keys cannot be known at present, so nobody may be told that theirs is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write keys cannot be read")]
pub struct KeysUnreadable;

/// Reads all keys anew into the table.
pub type ReadAnew = Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

#[derive(Default)]
struct Table {
    keys: BTreeMap<KeyHash, Arc<WriteKey>>,
    /// The table says all there is to say.
    complete: bool,
}

/// All live write keys, replaced as a whole when they change. Cheap to clone.
#[derive(Clone, Default)]
pub struct WriteKeys {
    table: Arc<ArcSwap<Table>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl WriteKeys {
    /// Empty and unread: until [`WriteKeys::replace`] every key is answered with [`KeysUnreadable`].
    pub fn unread() -> Self {
        Self::default()
    }

    /// Reads all keys anew, one after the other where several do: what was read before a key was made must not take the
    /// place of what was read after.
    ///
    /// # Errors
    /// They cannot be read: known keys go on working, unknown ones are no longer called wrong.
    pub async fn renew<E>(&self, read: impl Future<Output = Result<Vec<WriteKey>, E>>) -> Result<(), E> {
        let _turn = self.turn.lock().await;
        read.await.map(|keys| self.replace(keys)).inspect_err(|_| self.mark_unreadable())
    }

    pub fn replace(&self, keys: impl IntoIterator<Item = WriteKey>) {
        let keys = keys.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
        self.table.store(Arc::new(Table { keys, complete: true }));
    }

    /// The store could not be read: known keys go on working, unknown ones are no longer called wrong.
    pub fn mark_unreadable(&self) {
        self.table.rcu(|table| Table { keys: table.keys.clone(), complete: false });
    }

    pub fn find(&self, key: &str) -> Result<Option<Arc<WriteKey>>, KeysUnreadable> {
        let table = self.table.load();
        match table.keys.get(&WriteKey::hash_of(key)) {
            Some(found) => Ok(Some(found.clone())),
            None if table.complete => Ok(None),
            None => Err(KeysUnreadable),
        }
    }
}

/// What the Authorization header says about the key.
#[derive(Debug, PartialEq, Eq)]
pub enum HeaderKey {
    /// No header, or a bearer token: the key is in the body.
    InBody,
    Key(String),
    /// A Basic header that names no key.
    Unreadable,
}

/// Basic with the key as user name, with or without the colon and with or without padding.
pub fn header_key(headers: &HeaderMap) -> HeaderKey {
    let Some(value) = headers.get(AUTHORIZATION) else { return HeaderKey::InBody };
    let Ok(value) = value.to_str() else { return HeaderKey::Unreadable };
    let (scheme, credentials) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return HeaderKey::InBody;
    }
    let decoded = STANDARD_NO_PAD.decode(credentials.trim().trim_end_matches('=')).ok();
    let Some(user) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) else { return HeaderKey::Unreadable };
    match user.split_once(':').map_or(user.as_str(), |(name, _)| name) {
        "" => HeaderKey::Unreadable,
        key => HeaderKey::Key(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn key(text: &str) -> WriteKey {
        WriteKey {
            hash: WriteKey::hash_of(text),
            id: "k1".into(),
            workspace: WorkspaceId(1),
            source: Arc::new(Source { key: "shop".into(), name: None, rules: Vec::new() }),
        }
    }

    fn read(value: &str) -> HeaderKey {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        header_key(&headers)
    }

    #[test]
    fn a_basic_key_reads_with_and_without_colon_and_padding() {
        for value in ["Basic d2s6", "basic  d2s6", "Basic d2s=", "Basic d2s", "Basic d2s6cGFzcw=="] {
            assert_eq!(read(value), HeaderKey::Key("wk".into()), "{value}");
        }
        for value in ["Basic", "Basic !!!", "Basic Og==", "Basic //79"] {
            assert_eq!(read(value), HeaderKey::Unreadable, "{value}");
        }
        for value in ["Bearer abc", "Digest x", ""] {
            assert_eq!(read(value), HeaderKey::InBody, "{value}");
        }
        assert_eq!(header_key(&HeaderMap::new()), HeaderKey::InBody);
    }

    #[test]
    fn an_unreadable_store_never_calls_a_key_wrong() {
        let keys = WriteKeys::unread();
        assert!(keys.find("wk").is_err());
        keys.replace([key("wk")]);
        assert!(keys.find("wk").unwrap().is_some());
        assert!(keys.find("other").unwrap().is_none());
        keys.mark_unreadable();
        assert!(keys.find("wk").unwrap().is_some());
        assert!(keys.find("other").is_err());
    }

    #[tokio::test]
    async fn keys_that_were_read_before_one_was_made_do_not_take_the_place_of_those_read_after() {
        let (keys, made) = (WriteKeys::unread(), std::sync::Mutex::new(Vec::<&str>::new()));
        let stored = || made.lock().unwrap().iter().map(|text| key(text)).collect::<Vec<_>>();
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let mut slow = Box::pin(keys.renew(async {
            let read = stored();
            answered.await.map(|()| read)
        }));
        assert!(futures::poll!(slow.as_mut()).is_pending(), "it has read, and is not done");
        made.lock().unwrap().push("fresh");
        let mut quick = Box::pin(keys.renew(async { Ok::<_, ()>(stored()) }));
        let early = futures::poll!(quick.as_mut());
        answer.send(()).unwrap();
        slow.await.unwrap();
        if early.is_pending() {
            quick.await.unwrap();
        }
        assert!(keys.find("fresh").unwrap().is_some());
    }
}
