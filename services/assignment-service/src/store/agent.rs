//! Agents in the database.

use crate::domain::agent::{Agent, agent_name};
use clientele_api::assignment::{self as api, agent::State};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Micros, Result, Uid};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect, QueryTrait, Select};

/// An agent.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "agents")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its workspace.
    pub workspace_uid: Uuid,
    /// The id of its workspace, which never changes.
    pub workspace_id: String,
    /// Its id in names.
    pub id: String,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// The name that people see.
    pub title: String,
    /// What it does.
    pub description: String,
    /// Where it was built.
    pub platform: String,
    /// A list of texts.
    pub channels: Json,
    /// A list of texts.
    pub tags: Json,
    /// The number of `Agent.State`; never that of ARCHIVED.
    pub state: i32,
    /// Whether it is archived; the state is kept meanwhile.
    pub archived: bool,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "agents_name",
    sqlite: "agents.workspace_uid, agents.id",
    field: "agent_id",
    reason: ErrorReason::ResourceExists,
    message: "an agent with this id exists: choose another id",
}];

/// Which agents of a workspace: those that meet all of it, so none if it contradicts itself.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only those in this state.
    pub states: Vec<State>,
    /// Only those built there.
    pub platforms: Vec<String>,
}

/// Inserts an agent.
pub fn insert(tx: &Tx, _scope: &Scope<WorkspaceRef>, agent: &Agent) {
    let insert = Entity::insert(Model::from(agent).into_active_model());
    tx.write(insert.into_query(), CONSTRAINTS);
}

/// Writes the next version of an agent over the one it was made from.
pub fn update(tx: &Tx, scope: &Scope<WorkspaceRef>, before: &Agent, after: &Agent) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::WorkspaceUid.eq(scope.workspace().uid.0))
        .filter(Column::Uid.eq(before.uid.0))
        .filter(Column::Version.eq(before.version));
    tx.guard(update.into_query(), CONSTRAINTS);
}

/// The agent with this id, in a unit that is about to change it.
pub async fn read(tx: &Tx, scope: &Scope<WorkspaceRef>, id: &str) -> Result<Agent> {
    let row = by_id(scope.workspace(), id).one(tx).await.map_err(db_error)?;
    found(row, scope, id)
}

/// The agent with this id.
pub async fn get(reader: &Reader, scope: &Scope<WorkspaceRef>, id: &str) -> Result<Answer<Agent>> {
    let row = reader.one(by_id(scope.workspace(), id)).await?;
    row.try_map(|row| found(row, scope, id))
}

fn found(row: Option<Model>, scope: &Scope<WorkspaceRef>, id: &str) -> Result<Agent> {
    row.map(Agent::try_from)
        .transpose()?
        .ok_or_else(|| not_found(scope.workspace(), id))
}

/// NOT_FOUND for an agent of this workspace.
pub fn not_found(workspace: &WorkspaceRef, id: &str) -> Error {
    Error::not_found("Agent", agent_name(workspace, id))
}

/// The agent of the workspace with this id.
pub(super) fn by_id(workspace: &WorkspaceRef, id: &str) -> Select<Entity> {
    Entity::find()
        .filter(Column::WorkspaceUid.eq(workspace.uid.0))
        .filter(Column::Id.eq(id))
}

/// The agents of the workspace with these ids.
pub(super) fn by_ids(workspace: &WorkspaceRef, ids: &[&str]) -> Select<Entity> {
    Entity::find()
        .filter(Column::WorkspaceUid.eq(workspace.uid.0))
        .filter(Column::Id.is_in(ids.iter().copied()))
}

/// The identity of the agent of this workspace with this id.
pub(super) async fn uid(reader: &Reader, workspace: &WorkspaceRef, id: &str) -> Result<Uid> {
    let row = reader.one(by_id(workspace, id)).await?.value;
    row.map(|row| Uid(row.uid)).ok_or_else(|| not_found(workspace, id))
}

/// At most `limit` agents of the scope's workspace after a uid, oldest first.
pub async fn list(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    query: &Query,
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<Agent>>> {
    let mut select = Entity::find()
        .filter(Column::WorkspaceUid.eq(scope.workspace().uid.0))
        .order_by_asc(Column::Uid)
        .limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Uid.gt(after.0));
    }
    for &state in &query.states {
        select = match state {
            State::Archived => select.filter(Column::Archived.eq(true)),
            state => select
                .filter(Column::Archived.eq(false))
                .filter(Column::State.eq(i32::from(state))),
        };
    }
    for platform in &query.platforms {
        select = select.filter(Column::Platform.eq(platform.as_str()));
    }
    let rows = reader.all(select).await?;
    rows.try_map(|rows| rows.into_iter().map(Agent::try_from).collect())
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = None;

    fn describe(row: Model) -> Result<Snapshot> {
        let agent = Agent::try_from(row)?;
        Ok(Snapshot {
            uid: agent.uid,
            change: Change::snapshot(&api::Agent::from(&agent)),
            workspace: Some(agent.workspace),
            organization: None,
        })
    }
}

impl From<&Agent> for Model {
    fn from(agent: &Agent) -> Self {
        Self {
            uid: agent.uid.0,
            workspace_uid: agent.workspace.uid.0,
            workspace_id: agent.workspace.id.clone(),
            id: agent.id.clone(),
            version: agent.version,
            create_time: agent.create_time.0,
            update_time: agent.update_time.0,
            title: agent.title.clone(),
            description: agent.description.clone(),
            platform: agent.platform.clone(),
            channels: agent.channels.iter().map(String::as_str).collect(),
            tags: agent.tags.iter().map(String::as_str).collect(),
            state: agent.state.into(),
            archived: agent.archived,
        }
    }
}

impl TryFrom<Model> for Agent {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        Ok(Self {
            uid: Uid(row.uid),
            workspace: WorkspaceRef {
                uid: Uid(row.workspace_uid),
                id: row.workspace_id,
            },
            id: row.id,
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            title: row.title,
            description: row.description,
            platform: row.platform,
            channels: texts(row.channels)?,
            tags: texts(row.tags)?,
            state: State::try_from(row.state).map_err(Error::internal)?,
            archived: row.archived,
        })
    }
}

fn texts(list: Json) -> Result<Vec<String>> {
    let damaged = || Error::internal("the channels or tags of an agent are no list of texts");
    let Json::Array(values) = list else {
        return Err(damaged());
    };
    let text = |value| match value {
        Json::String(text) => Ok(text),
        _ => Err(damaged()),
    };
    values.into_iter().map(text).collect()
}
