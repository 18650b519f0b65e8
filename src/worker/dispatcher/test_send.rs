//! One message to one address, on demand, to see a template arrive: through the same guard, renderer and channel as
//! every other, and nowhere in the books. It is for the operator's own eyes, so it counts against no cap.

use sea_orm::ConnectionTrait;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::audience::Profile;
use crate::definition::problem::nearest;
use crate::definition::{Definition, DocumentKind};
use crate::guard::{self, Cleared, Draft, GuardState, Verdict, address_of};
use crate::ids::{MessageId, Position, ProfileId, Span, Timestamp, WorkspaceId};
use crate::message::{Channel, Message, OnUnknownSend, Outcome, Purpose};
use crate::render::{Rendered, Scope, render};
use crate::store::controls::PAUSE_ALL;
use crate::store::{self, Workspace};
use crate::worker::dispatcher::Dispatcher;
use crate::worker::dispatcher::slots::subject_name;
use crate::worker::live::read_stored;

/// What its messages name as their campaign.
const CAMPAIGN: &str = "send-test";

/// What to send, to whom.
#[derive(Debug, Clone)]
pub struct TestSend {
    pub template: String,
    pub channel: Channel,
    pub to: String,
    /// None: the template's own sample.
    pub sample: Option<Map<String, Value>>,
}

/// What came of handing it over.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TestSent {
    pub message: MessageId,
    pub template_version: u32,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Why nothing was handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    #[error("there is no template `{asked}`")]
    UnknownTemplate { asked: String, nearest: Option<String> },
    #[error("{0}")]
    Refused(String),
}

impl Dispatcher {
    /// Renders a template with a sample and hands it to the channel. Nothing is stored, and nothing is tried again.
    ///
    /// # Errors
    /// The outer error is the database's; the inner one says why nothing was handed over.
    pub async fn send_test(&self, id: WorkspaceId, test: TestSend) -> anyhow::Result<Result<TestSent, NotSent>> {
        let (key, by) = (test.template.clone(), test.channel);
        let rendered = match self.rendered_test(id, test, true).await? {
            Ok(rendered) => rendered,
            Err(refused) => return Ok(Err(refused)),
        };
        let Some(channel) = self.parts.channels.of(by) else {
            return Ok(Err(NotSent::Refused("no provider is set up for this channel".to_owned())));
        };
        let outcome = channel.send(&rendered).await;
        let message = rendered.message();
        tracing::info!(%message, template = key, "a test message was handed over");
        Ok(Ok(TestSent { message, template_version: rendered.template_version(), outcome }))
    }

    /// The message a template makes of a sample, for eyes alone: no pause or suppression stands against looking.
    ///
    /// # Errors
    /// As for [`Dispatcher::send_test`].
    pub async fn preview(&self, id: WorkspaceId, test: TestSend) -> anyhow::Result<Result<Rendered, NotSent>> {
        self.rendered_test(id, test, false).await
    }

    async fn rendered_test(
        &self,
        id: WorkspaceId,
        test: TestSend,
        leaves: bool,
    ) -> anyhow::Result<Result<Rendered, NotSent>> {
        let now = self.parts.log.clock().now();
        let live = self.parts.definitions.live(id);
        let Some(template) = live.templates.get(&test.template) else {
            let nearest = nearest(&test.template, live.templates.keys());
            return Ok(Err(NotSent::UnknownTemplate { asked: test.template, nearest }));
        };
        let cleared = match self.clear_test(now, id, &test, leaves).await? {
            Ok(cleared) => cleared,
            Err(refused) => return Ok(Err(refused)),
        };
        let sample = match test.sample {
            Some(sample) => sample,
            None => sample_of(self.parts.store.workspace(id), &test.template).await?,
        };
        let rendered = render(&cleared, template, &Scope::sample(now, &sample), &self.parts.sender);
        Ok(rendered.map_err(|error| NotSent::Refused(error.to_string())))
    }

    async fn clear_test(
        &self,
        now: Timestamp,
        id: WorkspaceId,
        test: &TestSend,
        leaves: bool,
    ) -> anyhow::Result<Result<Cleared, NotSent>> {
        let mut profile = Profile::new(ProfileId(0), now);
        profile.traits.insert(test.channel.address_trait().to_owned(), test.to.clone().into());
        let mut suppressions = Vec::new();
        // Where there is no address the guard finds the same and says so.
        if let Ok(address) = address_of(&profile, test.channel) {
            let subject = subject_name(test.channel, address.normalised());
            let mut listed = self.parts.store.workspace(id).suppressions_of(&[subject.clone()].into()).await?;
            suppressions = listed.remove(&subject).unwrap_or_default();
        }
        let mut all_paused = self.parts.store.workspace(id).pauses().await?.contains(PAUSE_ALL);
        if !leaves {
            suppressions.clear();
            all_paused = false;
        }
        let zone = self.parts.zone.clone();
        let state = GuardState { suppressions: &suppressions, all_paused, zone, ..GuardState::of(&profile) };
        Ok(match guard::check(now, &state, Draft(message(now, test))) {
            Verdict::Clear(cleared) => Ok(cleared),
            Verdict::Suppress { reason } | Verdict::Defer { reason, .. } => Err(NotSent::Refused(reason.sentence())),
            Verdict::NeedsSlots(_) => Err(NotSent::Refused("a test message may not take slots".to_owned())),
        })
    }
}

/// The sample that a template in force has of its own.
///
/// # Errors
/// The database cannot be read.
pub async fn sample_of<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    key: &str,
) -> Result<Map<String, Value>, store::Error> {
    let stored = store.definitions().await?;
    let kind = DocumentKind::Template.as_str();
    let templates = stored.iter().filter(|one| one.kind == kind && one.key == key).flat_map(read_stored);
    let mut samples = templates.filter_map(|definition| match definition {
        Definition::Template(template) => Some(template.sample),
        _ => None,
    });
    Ok(samples.next().unwrap_or_default())
}

fn message(now: Timestamp, test: &TestSend) -> Message {
    let chance = uuid::Uuid::new_v4();
    let cause = [CAMPAIGN.as_bytes(), chance.as_bytes()];
    Message {
        campaign: CAMPAIGN.to_owned(),
        template: test.template.clone(),
        priority: 0,
        on_unknown_send: OnUnknownSend::Skip,
        expires_at: now.plus(Span::from_hours(1)),
        ..Message::queued(&cause, ProfileId(0), test.channel, Purpose::Transactional, Position(0), now)
    }
}
