//! PostgreSQL's own tools make and read its archives: they know every version of its catalogue, and we do not.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::clock::Stopwatch;
use crate::ids::Timestamp;
use crate::store::Address;
use crate::store::copy::{self, Contents};
use crate::store::leases;
use crate::store::rows::Rows;
use crate::store::sessions;
use crate::worker::restored::put_back;

/// How long somebody who was just stopped may take to be gone: what a lease lasts, and a little.
const GOING: Duration = Duration::from_millis(leases::LEASE_MS.unsigned_abs() + 1_000);
/// How the names of schemas begin that were moved aside.
const ASIDE: &str = "before_restore_";
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Writes a consistent archive of the database while others write to it.
pub async fn dump(url: &SecretString, to: &Path) -> anyhow::Result<()> {
    let mut command = tool("pg_dump", url)?;
    command.args(["--format=custom", "--no-owner", "--no-privileges"]).arg(format!("--file={}", to.display()));
    // What an earlier `restore` moved aside is not of the shop any more, and stands in the way where it stands already.
    command.arg(format!("--exclude-schema={ASIDE}*"));
    run(command, "pg_dump").await
}

/// Reads an archive into an empty database, all of it or nothing, and says there that marketing waits.
pub async fn restore(url: &SecretString, from: &Path, made_at: Timestamp, now: Timestamp) -> anyhow::Result<()> {
    let mut command = tool("pg_restore", url)?;
    command.args(["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]);
    let name = percent_decoded(Url::parse(url.expose_secret())?.path().trim_start_matches('/'));
    command.arg(format!("--dbname={name}")).arg(from);
    run(command, "pg_restore").await?;
    let conn = connect(url).await?;
    put_back(&conn, made_at, now).await?;
    conn.close().await?;
    Ok(())
}

/// Whether anything of ours is in the database.
pub async fn is_used(url: &SecretString) -> anyhow::Result<bool> {
    let conn = connect(url).await?;
    let used = Rows(&conn).one("SELECT 1 FROM pg_tables WHERE schemaname = current_schema() LIMIT 1", vec![]).await?;
    conn.close().await?;
    Ok(used.is_some())
}

/// Nobody may work with the database while another is put in its place: whoever did would go on in that one.
///
/// # Errors
/// Somebody does, and who; or the database cannot be asked.
pub async fn must_be_idle(url: &SecretString) -> anyhow::Result<()> {
    let conn = connect(url).await?;
    let since = Stopwatch::start();
    let found = loop {
        let found = sessions::at_work(&conn).await?;
        if found.is_empty() || since.elapsed() >= GOING {
            break found;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    conn.close().await?;
    ensure!(
        found.is_empty(),
        "{} is in use: {}. Stop every `carillon serve` on it first, whatever data folder it has, on this machine or \
         another: it would go on in the database that is put back, and send again what was sent since",
        Address::Postgres(url.clone()).shown(),
        found.join("; ")
    );
    Ok(())
}

/// What was in the database, out of the way.
pub struct Aside {
    schema: String,
    /// The name it has now.
    pub kept: String,
}

/// Keeps what is in the database under another name.
pub async fn move_aside(url: &SecretString, stamp: &str) -> anyhow::Result<Aside> {
    let conn = connect(url).await?;
    let schema: String = Rows(&conn)
        .scalar("SELECT current_schema()", vec![])
        .await?
        .context("the database has no schema to restore into")?;
    let mut kept = format!("{ASIDE}{}", stamp.to_lowercase().replace(['-', ':'], "_"));
    let same = "SELECT count(*) FROM pg_namespace WHERE starts_with(nspname::text, ?)";
    if let Some(before @ 1..) = Rows(&conn).scalar::<i64>(same, vec![kept.as_str().into()]).await? {
        // In the same second.
        kept = format!("{kept}_{}", before + 1);
    }
    conn.execute_unprepared(&format!(r#"ALTER SCHEMA "{schema}" RENAME TO "{kept}"; CREATE SCHEMA "{schema}""#))
        .await
        .context("what is in the database cannot be moved aside; is the user the owner of its schema?")?;
    conn.close().await?;
    Ok(Aside { schema, kept })
}

/// Undoes [`move_aside`], where nothing was put in its place.
pub async fn move_back(url: &SecretString, aside: &Aside) -> anyhow::Result<()> {
    let Aside { schema, kept } = aside;
    let conn = connect(url).await?;
    conn.execute_unprepared(&format!(r#"DROP SCHEMA "{schema}"; ALTER SCHEMA "{kept}" RENAME TO "{schema}""#))
        .await
        .with_context(|| format!("what was in the database is kept as the schema {kept} and cannot be moved back"))?;
    conn.close().await?;
    Ok(())
}

/// What is in the database.
pub async fn contents(url: &SecretString) -> anyhow::Result<Contents> {
    let conn = connect(url).await?;
    let contents = copy::contents(&conn).await?;
    conn.close().await?;
    Ok(contents)
}

async fn connect(url: &SecretString) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url.expose_secret());
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options).await.context("the database cannot be opened")
}

/// The tool with its address in the environment, where other users do not read the password.
fn tool(name: &str, url: &SecretString) -> anyhow::Result<Command> {
    let url = Url::parse(url.expose_secret()).context("the database's address")?;
    let mut command = Command::new(name);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("PGHOST", url.host_str().unwrap_or("localhost")).env("PGPORT", url.port().unwrap_or(5432).to_string());
    command.env("PGDATABASE", percent_decoded(url.path().trim_start_matches('/')));
    if !url.username().is_empty() {
        command.env("PGUSER", percent_decoded(url.username()));
    }
    if let Some(password) = url.password() {
        command.env("PGPASSWORD", percent_decoded(password));
    }
    for (name, value) in url.query_pairs() {
        let variable = match name.as_ref() {
            "sslmode" => "PGSSLMODE",
            "sslrootcert" => "PGSSLROOTCERT",
            "sslcert" => "PGSSLCERT",
            "sslkey" => "PGSSLKEY",
            _ => continue,
        };
        command.env(variable, value.as_ref());
    }
    Ok(command)
}

fn percent_decoded(text: &str) -> String {
    // A form's decoding reads `+` as a space, which an address means as itself.
    let escaped = text.replace('+', "%2B");
    url::form_urlencoded::parse(format!("x={escaped}").as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

async fn run(mut command: Command, name: &'static str) -> anyhow::Result<()> {
    let ran = tokio::task::spawn_blocking(move || command.output()).await.context("the tool's thread")?;
    let output = match ran {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "{name} is not installed here. Install PostgreSQL's client of the server's version (Debian: \
             postgresql-client), or run on the database's machine `pg_dump --format=custom --file=carillon.dump \
             DATABASE`, and put it back with `pg_restore`; docs/keeping.md tells how"
        ),
        Err(error) => return Err(error).with_context(|| format!("{name} cannot be started")),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} did not succeed: {}", said.trim().lines().take(5).collect::<Vec<_>>().join("; "));
    }
    Ok(())
}
