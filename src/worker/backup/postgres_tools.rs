//! PostgreSQL's own tools make and read its archives: they know every version of its catalogue, and we do not.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::ids::Timestamp;
use crate::store::controls::set_setting;
use crate::store::copy::{self, Contents};
use crate::store::rows::Rows;
use crate::worker::restored::MADE_AT;

/// Writes a consistent archive of the database while others write to it.
pub async fn dump(url: &SecretString, to: &Path) -> anyhow::Result<()> {
    let mut command = tool("pg_dump", url)?;
    command.args(["--format=custom", "--no-owner", "--no-privileges"]).arg(format!("--file={}", to.display()));
    run(command, "pg_dump").await
}

/// Reads an archive into an empty database, all of it or nothing, and says there that it is a copy.
pub async fn restore(url: &SecretString, from: &Path, made_at: Timestamp) -> anyhow::Result<()> {
    let mut command = tool("pg_restore", url)?;
    command.args(["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]);
    let name = percent_decoded(Url::parse(url.expose_secret())?.path().trim_start_matches('/'));
    command.arg(format!("--dbname={name}")).arg(from);
    run(command, "pg_restore").await?;
    let conn = connect(url).await?;
    set_setting(&conn, MADE_AT, &made_at.millis().to_string()).await?;
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

/// Keeps what is in the database under another name; the answer is the schema's.
pub async fn move_aside(url: &SecretString, stamp: &str) -> anyhow::Result<String> {
    let conn = connect(url).await?;
    let schema: String = Rows(&conn)
        .scalar("SELECT current_schema()", vec![])
        .await?
        .context("the database has no schema to restore into")?;
    let kept = format!("before_restore_{}", stamp.to_lowercase().replace(['-', ':'], "_"));
    conn.execute_unprepared(&format!(r#"ALTER SCHEMA "{schema}" RENAME TO "{kept}"; CREATE SCHEMA "{schema}""#))
        .await
        .context("what is in the database cannot be moved aside; is the user the owner of its schema?")?;
    conn.close().await?;
    Ok(kept)
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
