//! What stands behind the links of messages: what a person has chosen, and where they are heard.

use futures::future::BoxFuture;

use crate::render::links::Link;
use crate::worker::permission::{Answer, Choices, Confirmable, Desk};

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// No such workspace or person (any more).
    #[error("nobody is known by this link")]
    Unknown,
    /// It could not be read or stored; the same request may come again.
    #[error("cannot be done at the moment")]
    Unavailable,
}

pub type Told<T> = BoxFuture<'static, Result<T, NotDone>>;

/// Reads choices and stores answers; `Ok` of an answer means that it is on disk. Answering again is fine.
pub trait Book: Send + Sync {
    fn choices(&self, link: Link) -> Told<Choices>;

    /// The topic of the link's message, by key and name.
    fn topic_of(&self, link: Link) -> Told<Option<(String, String)>>;

    fn confirmable(&self, link: Link) -> Told<Confirmable>;

    fn answer(&self, link: Link, answers: Vec<Answer>) -> Told<()>;

    /// A link was followed, or with no target a picture fetched.
    fn hit(&self, link: Link, target: Option<String>, is_head: bool, user_agent: String) -> Told<()>;
}

impl Book for Desk {
    fn choices(&self, link: Link) -> Told<Choices> {
        let desk = self.clone();
        Box::pin(async move {
            let choices = desk.choices(link.workspace, link.profile).await.map_err(|error| unavailable(&error))?;
            choices.ok_or(NotDone::Unknown)
        })
    }

    fn topic_of(&self, link: Link) -> Told<Option<(String, String)>> {
        let desk = self.clone();
        Box::pin(async move { desk.topic_of(link.workspace, link.message).await.map_err(|error| unavailable(&error)) })
    }

    fn confirmable(&self, link: Link) -> Told<Confirmable> {
        let desk = self.clone();
        Box::pin(async move {
            let told = desk.confirmable(link.workspace, link.profile, link.channel, link.message).await;
            told.map_err(|error| unavailable(&error))
        })
    }

    fn answer(&self, link: Link, answers: Vec<Answer>) -> Told<()> {
        let desk = self.clone();
        Box::pin(async move {
            match desk.is_erased(link.workspace, link.profile).await {
                Ok(false) => {}
                // Whoever has the address now gets mail for which this link says nothing: they must not hear that it is over.
                Ok(true) => return Err(NotDone::Unknown),
                // A no is stored also where nothing can be read.
                Err(error) => {
                    unavailable(&error);
                }
            }
            let stored = desk.answer(link.workspace, link.profile, answers).await;
            stored.map(drop).map_err(|error| unavailable(&error))
        })
    }

    fn hit(&self, link: Link, target: Option<String>, is_head: bool, user_agent: String) -> Told<()> {
        let desk = self.clone();
        Box::pin(async move {
            let kept = desk.hit(link, target, is_head, &user_agent).await;
            kept.map_err(|error| unavailable(&error))
        })
    }
}

fn unavailable(error: &anyhow::Error) -> NotDone {
    tracing::error!(%error, "a link could not be followed");
    NotDone::Unavailable
}
