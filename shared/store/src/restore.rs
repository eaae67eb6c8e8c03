//! Restoring a backup of an embedded database. (PostgreSQL tells by itself that it was restored: see [`crate::journal::state`].)

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Error, SqliteConnection};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Puts a backup in the place of a SQLite database, which nobody may have open, as another life of it: every cursor that was given out
/// is refused, also those that the backup seems to know. The backup is left as it is. Answers the new epoch.
pub async fn restore(backup: &Path, database: &Path) -> Result<i64, Error> {
    let mut source = open(backup).read_only(true).connect().await?;
    let last = match database.exists() {
        true => replaced(database, &migrations(&mut source).await?).await?,
        false => 0,
    };
    let aside = database.with_extension("restored");
    if aside.exists() {
        fs::remove_file(&aside)?; // of a restoration that was interrupted
    }
    let copy = sqlx::query("VACUUM INTO ?").bind(aside.to_string_lossy());
    copy.execute(&mut source).await?;
    source.close().await?;

    let mut restored = open(&aside).connect().await?;
    let enter = "UPDATE journal_state SET epoch = max(epoch, ?) + 1, floor_xid = 0, floor_seq = 0 RETURNING epoch";
    let epoch = sqlx::query_scalar(enter).bind(last).fetch_one(&mut restored).await?;
    restored.close().await?;

    File::open(&aside)?.sync_all()?;
    fs::rename(&aside, database)?;
    File::open(database.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(epoch)
}

/// The last epoch of the database that is to be replaced, if it is of the same service.
async fn replaced(database: &Path, migrations_of_backup: &[String]) -> Result<i64, Error> {
    let mut connection = open(database).connect().await?;
    // It leaves its write-ahead log, which would be taken for the restored one's; and that only if it is alone.
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = DELETE")
        .fetch_one(&mut connection)
        .await?;
    if mode != "delete" {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the database is in use").into());
    }
    let known = migrations(&mut connection).await?;
    if let Some(unknown) = migrations_of_backup.iter().find(|name| !known.contains(name)) {
        let message = format!(
            "the backup is of another service, or newer: {} does not know {unknown}",
            database.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, message).into());
    }
    let epoch = sqlx::query_scalar("SELECT epoch FROM journal_state")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(epoch)
}

async fn migrations(connection: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    sqlx::query_scalar("SELECT version FROM seaql_migrations")
        .fetch_all(connection)
        .await
}

fn open(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(Duration::ZERO)
        .disable_statement_logging()
}
