//! Something that happens in the middle of a claim.

use std::sync::{Arc, Mutex};

use carillon::caps::{Ask, CapStore, History, Released, Reserved, Unreachable};
use carillon::guard::{CapVersion, Subject};
use carillon::ids::MessageId;
use futures::FutureExt;
use futures::future::BoxFuture;

/// A cap store beside which something happens once, when it has granted a message all its slots: after the guard
/// looked, before the claim.
pub struct Meddled {
    inner: Arc<dyn CapStore>,
    meanwhile: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Meddled {
    pub fn new(inner: Arc<dyn CapStore>, happens: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { inner, meanwhile: Mutex::new(Some(happens.boxed())) }
    }
}

impl CapStore for Meddled {
    fn reserve<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Reserved, Unreachable>> {
        async move {
            let answer = self.inner.reserve(ask).await;
            let is_last = matches!((ask.subject, &answer), (Subject::Address(..), Ok(Reserved::Granted { .. })));
            let meanwhile = if is_last { self.meanwhile.lock().unwrap().take() } else { None };
            if let Some(happens) = meanwhile {
                happens.await;
            }
            answer
        }
        .boxed()
    }

    fn reseed<'a>(&'a self, subject: &'a Subject, history: History) -> BoxFuture<'a, Result<(), Unreachable>> {
        self.inner.reseed(subject, history)
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unreachable>> {
        self.inner.check()
    }

    fn withdraw<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        reserved: CapVersion,
        before: CapVersion,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        self.inner.withdraw(subject, message, reserved, before)
    }

    fn release<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        expected: CapVersion,
    ) -> BoxFuture<'a, Result<Released, Unreachable>> {
        self.inner.release(subject, message, expected)
    }
}
