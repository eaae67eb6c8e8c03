//! What agents are found by: in searches, by title, and where they are assigned.

use clientele_api::Uid;
use clientele_store::search::{Index, Keys, Text};
use sea_orm::{ConnectionTrait, FromQueryResult};
use sea_orm_migration::prelude::*;
use serde_json::Value;
use uuid::Uuid;

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261128_000015_search_agents"
    }
}

const SEARCH: Index = Index { table: "agents" };

#[derive(FromQueryResult)]
struct Row {
    uid: Uuid,
    workspace_uid: Uuid,
    id: String,
    title: String,
    description: String,
    tags: Value,
}

impl Row {
    fn keys(&self) -> Keys {
        let tags = self.tags.as_array().into_iter().flatten();
        let text = Text {
            uid: Uid(self.uid),
            title: &self.title,
            ids: vec![&self.id],
            others: tags.filter_map(Value::as_str).collect(),
            prose: Some(&self.description),
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
        let columns = ["uid", "workspace_uid", "id", "title", "description", "tags"];
        let keys = |row: &Row| (row.uid, row.keys());
        SEARCH.fill(connection, &columns, keys).await?;
        connection.execute_unprepared(&SEARCH.add_index(backend)).await?;
        connection
            .execute_unprepared(
                "CREATE INDEX agents_by_title ON agents (workspace_uid, title, uid);
                CREATE INDEX assignments_by_agent ON assignments (agent_uid, uid) WHERE NOT removed;",
            )
            .await
            .map(drop)
    }
}
