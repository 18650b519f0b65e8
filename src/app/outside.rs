//! What stands outside the process: the relay, and the Redis that keeps the slots of frequency caps.

use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::app::Options;
use crate::caps::redis::Server;
use crate::channel::sandbox::Sandbox;
use crate::channel::smtp::{self, Smtp};
use crate::config::Config;
use crate::eventlog::{EventLog, Queue};
use crate::store::controls::keep_setting;
use crate::worker::dispatcher::{CapStores, Channels};

/// The setting that names this database to what is kept elsewhere of it.
const INSTALLATION: &str = "installation";

/// The relay, and what mail to it is signed with.
pub(super) fn signing(config: &Config) -> anyhow::Result<Option<smtp::Settings>> {
    let settings = config.smtp.settings().map_err(anyhow::Error::msg)?;
    let dkim = config.sender.dkim()?;
    Ok(settings.map(|settings| smtp::Settings { dkim, ..settings }))
}

/// The sandbox has what no provider carries.
pub(super) fn channels(options: &Options, sandbox: &Sandbox, smtp: &Option<Arc<Smtp>>) -> Channels {
    let everything = options.carrier.clone().unwrap_or_else(|| Arc::new(sandbox.clone()));
    let mut channels = Channels::sandboxed(everything);
    if let Some(smtp) = smtp.as_ref().filter(|_| options.carrier.is_none()) {
        channels.route(crate::message::Channel::Email, smtp.clone());
    }
    channels
}

/// Slots in this process, or in the Redis every process of this installation shares. A Redis that is away now is found
/// when it is back.
pub(super) async fn cap_stores(
    options: &Options,
    log: &EventLog,
) -> anyhow::Result<(CapStores, Option<(Server, String)>)> {
    let Some(url) = &options.redis else { return Ok((CapStores::embedded(), None)) };
    let server = Server::new(url.expose_secret())?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let installation = log
        .writer()
        .change(Queue::Effects, move |tx, _| Box::pin(async move { Ok(keep_setting(tx, INSTALLATION, &id).await?) }))
        .await?;
    Ok((CapStores::on_redis(server.clone(), installation.clone()), Some((server, installation))))
}
