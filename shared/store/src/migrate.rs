//! Bringing a database to the schema that the code expects.

use crate::connect::{Db, Options, connect_to_migrate, db_error};
use clientele_api::Result;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use sea_orm_migration::MigratorTrait;

/// Held while migrating, so that two migrators do not meet. Any number will do; this one is "cli" and "mig" as bytes.
const LOCK: i64 = 0x636c_696d_6967;

/// Applies the steps that are missing, one migrator at a time.
pub async fn up<M: MigratorTrait>(options: &Options) -> Result<()> {
    let connection = connect_to_migrate(options).await?;
    let migrated = locked_up::<M>(&connection).await;
    connection.close().await.map_err(db_error)?;
    migrated
}

async fn locked_up<M: MigratorTrait>(connection: &DatabaseConnection) -> Result<()> {
    // The pool has one connection, so the session that locks is the one that migrates; closing it unlocks.
    if connection.get_database_backend() == DbBackend::Postgres {
        connection
            .execute_unprepared(&format!("SELECT pg_advisory_lock({LOCK})"))
            .await
            .map_err(db_error)?;
    }
    M::up(connection, None).await.map_err(db_error)
}

/// Whether all steps have been applied.
pub async fn is_at_head<M: MigratorTrait>(db: &Db) -> Result<bool> {
    Ok(M::get_pending_migrations_read_only(db.read())
        .await
        .map_err(db_error)?
        .is_empty())
}
