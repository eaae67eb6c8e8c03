//! Agents in the database.

use super::assignment;
use crate::domain::agent::{Agent, agent_name};
use clientele_api::assignment::{self as api, agent::State};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Micros, Result, Uid};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::search::{self, Findings, Index, Keys, Place, Text};
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{
    self, BinOper, Cond, DynIden, ExprTrait, InsertStatement, IntoIden, OnConflict, SelectStatement,
};
use sea_orm::{
    ConnectionTrait, DbBackend, FromQueryResult, IntoActiveModel, Iterable, QueryOrder, QuerySelect, QueryTrait, Select,
};
use std::collections::{BTreeMap, HashMap};

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only those in this state.
    pub states: Vec<State>,
    /// Only those built there.
    pub platforms: Vec<String>,
    /// Only those with this tag.
    pub tags: Vec<String>,
    /// Only those that this organization is not assigned.
    pub not_assigned_to: Option<Uid>,
    /// Only those that no organization is assigned.
    pub assigned_nowhere: bool,
}

impl Query {
    /// What must hold of an agent.
    fn condition(&self, backend: DbBackend) -> Cond {
        let mut all = Cond::all();
        for &state in &self.states {
            let archived = state == State::Archived;
            all = all.add(Column::Archived.eq(archived));
            all = all.add_option((!archived).then(|| Column::State.eq(i32::from(state))));
        }
        for platform in &self.platforms {
            all = all.add(Column::Platform.eq(platform.as_str()));
        }
        for tag in &self.tags {
            all = all.add(is_tagged(tag, backend));
        }
        if let Some(organization) = self.not_assigned_to {
            let there = assignment::Column::OrganizationUid.eq(organization.0);
            all = all.add(is_assigned(Some(there)).is_null());
        }
        if self.assigned_nowhere {
            all = all.add(is_assigned(None).is_null());
        }
        all
    }
}

fn is_tagged(tag: &str, backend: DbBackend) -> Expr {
    match backend {
        DbBackend::Postgres => {
            let tags = Column::Tags.into_expr();
            tags.binary(BinOper::Custom("@>"), Expr::val(Json::from(vec![tag])))
        }
        _ => Expr::cust_with_values("EXISTS (SELECT 1 FROM json_each(agents.tags) WHERE value = ?)", [tag]),
    }
}

/// An assignment of the agent, NULL if there is none. Looked for agent by agent: as EXISTS, PostgreSQL might choose to read the assignments
/// of everybody instead.
fn is_assigned(there: Option<Expr>) -> Expr {
    let assignment = assignment::Entity::find()
        .select_only()
        .column(assignment::Column::Uid)
        .filter(
            assignment::Column::AgentUid
                .into_expr()
                .equals(Column::Uid.as_column_ref()),
        )
        // As the index has it.
        .filter(assignment::Column::Removed.into_expr().not())
        // One that was purged has none, whatever is still there of it.
        .filter(there.unwrap_or_else(assignment::of_known_organization))
        .limit(1);
    Expr::from(assignment.into_query())
}

/// What agents are found by.
pub const SEARCH: Index = Index { table: "agents" };

/// What is read of an agent to see how well it fits a search.
#[derive(Debug, FromQueryResult)]
pub struct Searched {
    uid: Uuid,
    id: String,
    title: String,
    description: String,
    platform: String,
    tags: Json,
    state: i32,
    archived: bool,
}

impl Searched {
    /// What is searched of it.
    pub fn text(&self) -> Text<'_> {
        Text {
            uid: Uid(self.uid),
            title: &self.title,
            ids: vec![&self.id],
            others: self.tags().collect(),
            prose: Some(&self.description),
        }
    }

    /// What it is ready for, as others see it.
    pub fn state(&self) -> State {
        match State::try_from(self.state) {
            _ if self.archived => State::Archived,
            Ok(state) => state,
            Err(_) => State::Unspecified,
        }
    }

    /// Where it was built.
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// Its tags.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.as_array().into_iter().flatten().filter_map(Json::as_str)
    }
}

/// The keys of the search of an agent, as the value of [`SEARCH`]'s column. They are no part of the model: they are many, and nobody reads
/// them.
pub fn search_keys(agent: &Agent, backend: DbBackend) -> Expr {
    let text = Text {
        uid: agent.uid,
        title: &agent.title,
        ids: vec![&agent.id],
        others: agent.tags.iter().map(String::as_str).collect(),
        prose: Some(&agent.description),
    };
    Keys::of(agent.workspace.uid, &text).value(backend)
}

/// Inserts an agent.
pub fn insert(tx: &Tx, _scope: &Scope<WorkspaceRef>, agent: &Agent) {
    tx.write(
        inserted(tx.get_database_backend(), std::slice::from_ref(agent)),
        CONSTRAINTS,
    );
}

fn inserted(backend: DbBackend, agents: &[Agent]) -> InsertStatement {
    let mut insert = sea_query::Query::insert();
    insert.into_table(Entity).columns(columns());
    for agent in agents {
        // As many values as columns: it does not panic.
        insert.values_panic(written(agent, backend).map(|(_, value)| value));
    }
    insert
}

/// All columns that are written.
fn columns() -> impl Iterator<Item = DynIden> {
    let columns = Column::iter().map(IntoIden::into_iden);
    columns.chain([SEARCH.column().into_iden()])
}

/// Writes the next version of an agent over the one it was made from.
pub fn update(tx: &Tx, scope: &Scope<WorkspaceRef>, before: &Agent, after: &Agent) {
    let mut update = sea_query::Query::update();
    update
        .table(Entity)
        .values(written(after, tx.get_database_backend()))
        .and_where(Column::WorkspaceUid.eq(scope.workspace().uid.0))
        .and_where(Column::Uid.eq(before.uid.0))
        .and_where(Column::Version.eq(before.version));
    tx.guard(update, CONSTRAINTS);
}

/// All columns with their values, and the keys of the search.
fn written(agent: &Agent, backend: DbBackend) -> impl Iterator<Item = (DynIden, Expr)> {
    let keys = search_keys(agent, backend);
    let row = Model::from(agent).into_active_model();
    let columns = Column::iter().filter_map(move |column| {
        let value = row.get(column).into_value()?;
        Some((column.into_iden(), Expr::val(value)))
    });
    columns.chain([(SEARCH.column().into_iden(), keys)])
}

/// Writes agents: new ones, and next versions of ones that are locked.
pub fn upsert(tx: &Tx, _scope: &Scope<WorkspaceRef>, agents: &[Agent]) {
    if agents.is_empty() {
        return;
    }
    let changed = columns().filter(|column| column.to_string() != "uid");
    let mut insert = inserted(tx.get_database_backend(), agents);
    insert.on_conflict(OnConflict::column(Column::Uid).update_columns(changed).to_owned());
    tx.write(insert, CONSTRAINTS);
}

/// Takes an agent away.
pub fn delete(tx: &Tx, scope: &Scope<WorkspaceRef>, agent: &Agent) {
    let delete = Entity::delete_many()
        .filter(Column::WorkspaceUid.eq(scope.workspace().uid.0))
        .filter(Column::Uid.eq(agent.uid.0))
        .filter(Column::Version.eq(agent.version));
    tx.guard(delete.into_query(), CONSTRAINTS);
}

/// The agent with this id, which no other unit changes or assigns until this one has ended.
pub async fn lock(tx: &Tx, scope: &Scope<WorkspaceRef>, id: &str) -> Result<Agent> {
    let select = by_id(scope.workspace(), id).lock_exclusive();
    let row = select.one(tx).await.map_err(db_error)?;
    found(row, scope, id)
}

/// The agents with these ids, by id, in a unit that is about to change some of them.
pub async fn read_all(tx: &Tx, scope: &Scope<WorkspaceRef>, ids: &[&str]) -> Result<BTreeMap<String, Agent>> {
    read_by_id(tx, by_ids(scope.workspace(), ids)).await
}

/// The agents with these ids, by id, which no other unit changes or assigns until this one has ended.
pub async fn lock_all(tx: &Tx, scope: &Scope<WorkspaceRef>, ids: &[&str]) -> Result<BTreeMap<String, Agent>> {
    let select = by_ids(scope.workspace(), ids).order_by_asc(Column::Id).lock_exclusive();
    read_by_id(tx, select).await
}

async fn read_by_id(tx: &Tx, select: Select<Entity>) -> Result<BTreeMap<String, Agent>> {
    let rows = select.all(tx).await.map_err(db_error)?;
    let agent = |row: Model| Agent::try_from(row).map(|agent| (agent.id.clone(), agent));
    rows.into_iter().map(agent).collect()
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

/// Those agents of the scope's workspace that have one of these ids.
pub async fn get_all(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    ids: &[&str],
) -> Result<Answer<HashMap<String, Agent>>> {
    let rows = reader.all(by_ids(scope.workspace(), ids)).await?;
    let by_id = |row: Model| Ok((row.id.clone(), Agent::try_from(row)?));
    rows.try_map(|rows| rows.into_iter().map(by_id).collect())
}

/// At most `limit` agents of the scope's workspace after a uid, oldest first.
pub async fn list(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    query: &Query,
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<Agent>>> {
    let select = listed(reader.backend(), scope.workspace().uid, query, after, limit);
    let rows = reader.all(select).await?;
    rows.try_map(|rows| rows.into_iter().map(Agent::try_from).collect())
}

/// Reads what [`list`] lists.
pub fn listed(backend: DbBackend, workspace: Uid, query: &Query, after: Option<Uid>, limit: u64) -> Select<Entity> {
    Entity::find()
        .filter(Column::WorkspaceUid.eq(workspace.0))
        .filter(Cond::all().add_option(after.map(|after| Column::Uid.gt(after.0))))
        .filter(query.condition(backend))
        .order_by_asc(Column::Uid)
        .limit(limit)
}

/// The agents of the scope's workspace that fit what was typed and meet the query, the best first. Where nothing was typed, all that meet
/// it, by title.
pub async fn search(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    typed: &str,
    query: &Query,
) -> Result<Answer<Findings<Searched>>> {
    let workspace = scope.workspace().uid;
    let select = searched(reader.backend(), query);
    if typed.is_empty() {
        return SEARCH.browse(reader, workspace, (&select, TITLE), Searched::text).await;
    }
    let Some(typed) = search::Query::new(workspace, typed) else {
        return Ok(Answer {
            value: Findings::default(),
            revision: reader.revision_now().await?,
        });
    };
    SEARCH.find(reader, &typed, &select, Searched::text).await
}

/// By which agents are ordered where nothing was typed.
pub const TITLE: &str = "title";

/// Reads what a search reads of agents.
pub fn searched(backend: DbBackend, query: &Query) -> SelectStatement {
    let mut select = sea_query::Query::select();
    select
        .columns(
            [
                Column::Uid,
                Column::Id,
                Column::Title,
                Column::Description,
                Column::Platform,
                Column::Tags,
                Column::State,
                Column::Archived,
            ]
            .map(|column| column.as_column_ref()),
        )
        .cond_where(query.condition(backend));
    select
}

/// The agents at these places, in this order; without those that are gone meanwhile, or no longer meet the query.
pub async fn read_found(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    places: &[Place],
    query: &Query,
) -> Result<Answer<Vec<(Place, Agent)>>> {
    let select = Entity::find()
        .filter(Column::WorkspaceUid.eq(scope.workspace().uid.0))
        .filter(Column::Uid.is_in(places.iter().map(|place| place.uid().0)))
        .filter(query.condition(reader.backend()));
    let rows = reader.all(select).await?;
    rows.try_map(|rows| {
        let agents = rows.into_iter().map(|row| Ok((Uid(row.uid), Agent::try_from(row)?)));
        let mut agents: HashMap<Uid, Agent> = agents.collect::<Result<_>>()?;
        let found = places
            .iter()
            .filter_map(|place| Some((place.clone(), agents.remove(&place.uid())?)));
        Ok(found.collect())
    })
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
