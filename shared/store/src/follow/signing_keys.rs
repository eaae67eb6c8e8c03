//! The public keys of sessions that org-service gave last, kept so that its tokens are accepted while it is down.

use crate::connect::{Db, db_error};
use crate::tx::{self, Mode, Tx};
use clientele_api::Result;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{IntoActiveModel, QueryTrait};
use sea_orm_migration::prelude::{MigrationName, MigrationTrait, SchemaManager};

/// The service whose keys these are.
const ORG: &str = "org";

/// Keys of a service.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "follow_signing_keys")]
pub struct Model {
    /// The key of the service in revisions.
    #[sea_orm(primary_key, auto_increment = false)]
    pub service: String,
    /// The set (RFC 7517).
    pub jwks: String,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The set that was stored last.
pub async fn stored(db: &Db) -> Result<Option<String>> {
    let row = Entity::find_by_id(ORG).one(db.read()).await.map_err(db_error)?;
    Ok(row.map(|row| row.jwks))
}

/// Stores a set in the place of the one before.
pub async fn store(db: &Db, jwks: String) -> Result<()> {
    let row = Model {
        service: ORG.to_owned(),
        jwks,
    };
    let replace = OnConflict::column(Column::Service)
        .update_column(Column::Jwks)
        .to_owned();
    let insert = Entity::insert(row.into_active_model())
        .on_conflict(replace)
        .into_query();
    let unit = async move |tx: &Tx| {
        tx.write(insert, &[]);
        Ok(())
    };
    tx::run(db, Mode::Commit, unit).await.map(drop)
}

/// Creates the table.
#[derive(Debug)]
pub struct CreateSigningKeys;

impl MigrationName for CreateSigningKeys {
    fn name(&self) -> &str {
        "m20261124_000015_create_signing_keys"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateSigningKeys {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => "text COLLATE \"C\"",
            _ => "text",
        };
        let statement = format!("CREATE TABLE follow_signing_keys (service {text} PRIMARY KEY, jwks text NOT NULL)");
        manager.get_connection().execute_unprepared(&statement).await.map(drop)
    }
}
