//! What organizations are found by.

use clientele_api::Uid;
use clientele_store::search::{Index, Keys, Text};
use sea_orm::{ConnectionTrait, FromQueryResult};
use sea_orm_migration::prelude::*;
use uuid::Uuid;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261124_000013_search_organizations"
    }
}

const SEARCH: Index = Index { table: "organizations" };

#[derive(FromQueryResult)]
struct Row {
    uid: Uuid,
    workspace_uid: Uuid,
    id: String,
    display_name: String,
    external_id: Option<String>,
    contact_email: Option<String>,
}

impl Row {
    fn keys(&self) -> Keys {
        let others = [&self.external_id, &self.contact_email].into_iter().flatten();
        let text = Text {
            uid: Uid(self.uid),
            title: &self.display_name,
            ids: [&self.id].into_iter().chain(others).map(String::as_str).collect(),
            others: Vec::new(),
            prose: None,
        };
        Keys::of(Uid(self.workspace_uid), &text)
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    /// All of it or nothing, on SQLite too: a migrator that is killed can be started again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    /// What a replica of the version before writes meanwhile is not found, or as it was, until it changes again.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (connection, backend) = (manager.get_connection(), manager.get_database_backend());
        connection.execute_unprepared(&SEARCH.add_column(backend)).await?;
        let columns = [
            "uid",
            "workspace_uid",
            "id",
            "display_name",
            "external_id",
            "contact_email",
        ];
        let keys = |row: &Row| (row.uid, row.keys());
        SEARCH.fill(connection, &columns, keys).await?;
        connection
            .execute_unprepared(&SEARCH.add_index(backend))
            .await
            .map(drop)
    }
}
