//! E-mail over SMTP to a relay.
//!
//! One recipient per transaction, so every answer belongs to one message. The answer's meaning is in `reply`, the
//! connections in `pool`, the stream below them in `wire`.

mod pool;
mod reply;
mod settings;
mod wire;

use std::sync::Arc;

use futures::future::BoxFuture;
use lettre::Address;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::time::timeout;

use crate::channel::dkim::Dkim;
use crate::channel::{Channel, Unusable, mime};
use crate::message::Outcome;
use crate::render::{Content, Email, Rendered};
use pool::{Connection, Pool, Trouble};
use reply::{Reply, Stage, lost, verdict};
pub use settings::{BadSettings, Settings, Timeouts, Tls};

/// The SMTP channel. Clones share its connections.
#[derive(Clone)]
pub struct Smtp {
    pool: Arc<Pool>,
}

struct Letter {
    from: Address,
    to: Address,
    bytes: Vec<u8>,
}

impl Smtp {
    /// # Errors
    /// When the certificates to trust cannot be read.
    pub fn new(settings: Settings) -> Result<Self, BadSettings> {
        let connector = settings.connector()?;
        Ok(Self { pool: Arc::new(Pool::new(settings, connector)) })
    }

    /// Where it sends, and what it signs with.
    pub fn settings(&self) -> &Settings {
        &self.pool.settings
    }

    async fn deliver(&self, letter: &Letter) -> Outcome {
        let Some(_permit) = self.pool.permit().await else {
            return Outcome::TransportDown { cause: "the channel is closed".to_owned() };
        };
        if let Some(connection) = self.pool.take() {
            match self.converse(connection, letter).await {
                // The server closed an idle connection, as it may: nothing was said yet, so say it on a new one.
                Err(Trouble::Lost(Stage::Sender, _)) => {}
                Err(Trouble::Reply(Stage::Sender, Reply { code: 421, .. })) => {}
                answered => return outcome(answered),
            }
        }
        match self.pool.connect().await {
            Ok(connection) => outcome(self.converse(connection, letter).await),
            Err(trouble) => outcome(Err(trouble)),
        }
    }

    /// One transaction; afterwards the connection goes back to the pool if it is still good.
    async fn converse(&self, mut connection: Connection, letter: &Letter) -> Result<Reply, Trouble> {
        connection.passed.reset();
        connection.messages += 1;
        let answered = self.transact(&mut connection, letter).await;
        let reusable = match &answered {
            Ok(_) => connection.passed.is_in_step(),
            Err(Trouble::Reply(_, Reply { code: 421, .. }) | Trouble::Lost(..)) => false,
            Err(Trouble::Reply(..)) if connection.is_spoilt => false,
            Err(Trouble::Reply(..)) => self.pool.reset(&mut connection).await,
        };
        if reusable {
            self.pool.give_back(connection);
        }
        answered
    }

    async fn transact(&self, connection: &mut Connection, letter: &Letter) -> Result<Reply, Trouble> {
        let mut parameters = Vec::new();
        if !letter.bytes.is_ascii() || !letter.to.to_string().is_ascii() {
            if !connection.smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
                let text = "5.6.7 the server does not carry addresses outside ASCII".to_owned();
                return Err(Trouble::Reply(Stage::Sender, Reply { code: 553, text }));
            }
            parameters.push(MailParameter::SmtpUtfEight);
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let from = Mail::new(Some(letter.from.clone()), parameters);
        let to = Rcpt::new(letter.to.clone(), Vec::new());
        let ready = if connection.passed.may_pipeline() {
            self.announce_at_once(connection, format!("{from}{to}{Data}")).await?
        } else {
            taken(Stage::Sender, &self.command(connection, Stage::Sender, from).await?)?;
            taken(Stage::Recipient, &self.command(connection, Stage::Recipient, to).await?)?;
            self.command(connection, Stage::Data, Data).await?
        };
        if !ready.has_code(354) {
            return Err(Trouble::Lost(Stage::Data, "the server did not ask for the message".to_owned()));
        }
        let timeouts = &self.pool.settings.timeouts;
        connection.passed.begin_body();
        let sent = timeout(timeouts.data + timeouts.final_reply, connection.smtp.message(&letter.bytes)).await;
        let stage = if connection.passed.dot_is_out() { Stage::Final } else { Stage::Body };
        match sent {
            Ok(Ok(response)) => Ok(read(&response)),
            Ok(Err(error)) => Err(Trouble::of(stage, &error)),
            Err(_) => Err(Trouble::timed_out(stage)),
        }
    }

    /// MAIL, RCPT and DATA in one piece; the first refusal is the answer, and those after it follow from it.
    async fn announce_at_once(&self, connection: &mut Connection, commands: String) -> Result<Response, Trouble> {
        let sender = self.command(connection, Stage::Sender, commands).await;
        let mut refused = sender.and_then(|answer| taken(Stage::Sender, &answer)).err();
        for stage in [Stage::Recipient, Stage::Data] {
            if let Some(Trouble::Lost(..) | Trouble::Reply(_, Reply { code: 421, .. })) = &refused {
                break;
            }
            let answer = timeout(self.pool.settings.timeouts.command, connection.smtp.read_response()).await;
            let answer = match answer {
                Ok(answer) => answer.map_err(|error| Trouble::of(stage, &error)),
                Err(_) => Err(Trouble::timed_out(stage)),
            };
            match (answer, &refused) {
                (Ok(ready), None) if stage == Stage::Data => return Ok(ready),
                // It would take whatever comes next for the message it was not to get.
                (Ok(ready), Some(_)) => connection.is_spoilt |= ready.has_code(354),
                (Ok(answer), None) => refused = taken(stage, &answer).err(),
                (Err(trouble), None) => refused = Some(trouble),
                // Nothing can be said on a connection that broke.
                (Err(trouble), Some(_)) => connection.is_spoilt |= matches!(trouble, Trouble::Lost(..)),
            }
        }
        Err(refused.unwrap_or_else(|| Trouble::timed_out(Stage::Data)))
    }

    async fn command(
        &self,
        connection: &mut Connection,
        stage: Stage,
        command: impl std::fmt::Display,
    ) -> Result<Response, Trouble> {
        let answer = timeout(self.pool.settings.timeouts.command, connection.smtp.command(command)).await;
        answer.map_err(|_| Trouble::timed_out(stage))?.map_err(|error| Trouble::of(stage, &error))
    }
}

async fn letter(email: &Email, dkim: Option<&Dkim>) -> Result<Letter, String> {
    let (from, to) = (mime::parse(&email.from.address)?, mime::parse(&email.to.address)?);
    let bytes = mime::bytes(email)?;
    let Some(dkim) = dkim.cloned() else { return Ok(Letter { from, to, bytes }) };
    // Half a millisecond with an RSA key: not on the thread that speaks with all servers.
    let at = email.date;
    let signed = tokio::task::spawn_blocking(move || dkim.sign(&bytes, at)).await;
    let bytes = signed.map_err(|_| "the message could not be signed".to_owned())??;
    Ok(Letter { from, to, bytes })
}

/// MAIL and RCPT are taken by a 2xx; a server that asks for more here is out of step.
fn taken(stage: Stage, answer: &Response) -> Result<(), Trouble> {
    let fits = u16::from(answer.code()) / 100 == 2;
    fits.then_some(()).ok_or_else(|| Trouble::Lost(stage, "the answer fits no question".to_owned()))
}

fn read(response: &Response) -> Reply {
    Reply { code: u16::from(response.code()), text: response.message().collect::<Vec<_>>().join(" ") }
}

fn outcome(answered: Result<Reply, Trouble>) -> Outcome {
    match answered {
        Ok(reply) => verdict(Stage::Final, &reply),
        Err(Trouble::Reply(stage, reply)) => verdict(stage, &reply),
        Err(Trouble::Lost(stage, cause)) => lost(stage, &cause),
    }
}

impl Channel for Smtp {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match rendered.content() {
                Content::Email(email) => match letter(email, self.pool.settings.dkim.as_ref()).await {
                    Ok(letter) => self.deliver(&letter).await,
                    Err(cause) => Outcome::Rejected { cause, suppress: false },
                },
                _ => Outcome::Rejected { cause: "SMTP carries e-mail alone".to_owned(), suppress: false },
            }
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        Box::pin(async move {
            let settings = &self.pool.settings;
            match self.pool.probe().await {
                Ok(()) => Ok(settings.to_string()),
                Err(Trouble::Reply(_, reply)) => Err(Unusable(format!("{settings}: {} {}", reply.code, reply.text))),
                Err(Trouble::Lost(_, cause)) => Err(Unusable(format!("{settings}: {cause}"))),
            }
        })
    }
}

#[cfg(test)]
mod tests;
