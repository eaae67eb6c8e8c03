//! Teams in the database. A team's row holds all of it; by which keys it is found, and who was picked when, stand beside it.

use super::erasure::{self, Erasure};
use super::{Texts, member, user};
use crate::domain::team::Team;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::org::member::State;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, SelectStatement};
use sea_orm::{IntoActiveModel, JoinType, QueryOrder, QuerySelect, QueryTrait, Set};

/// A team.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "teams")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// The workspace of its organization.
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// Its organization.
    pub organization_uid: Uuid,
    /// The id of the organization, which never changes.
    pub organization_id: String,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// Its id in names.
    pub team_key: String,
    /// The keys that it had before.
    #[sea_orm(column_type = "JsonBinary")]
    pub aliases: Texts,
    /// The name that people see.
    pub label: String,
    /// What it is for.
    pub description: String,
    /// The uids of the users who are in it.
    #[sea_orm(column_type = "JsonBinary")]
    pub members: Texts,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub mod key {
    //! The keys and aliases of teams: each once in an organization.

    use sea_orm::entity::prelude::*;

    /// A key or alias.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "team_keys")]
    pub struct Model {
        /// The organization.
        #[sea_orm(primary_key, auto_increment = false)]
        pub organization_uid: Uuid,
        /// The key.
        #[sea_orm(primary_key, auto_increment = false)]
        pub team_key: String,
        /// Whose it is.
        pub team_uid: Uuid,
    }

    /// The row stands alone.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod seat {
    //! Who is in which team, and when it was picked.

    use sea_orm::entity::prelude::*;

    /// A user in a team.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "team_members")]
    pub struct Model {
        /// The team.
        #[sea_orm(primary_key, auto_increment = false)]
        pub team_uid: Uuid,
        /// The user.
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_uid: Uuid,
        /// The organization of the team.
        pub organization_uid: Uuid,
        /// When it was picked last: the higher, the later. Never: 0.
        pub pick: i64,
    }

    /// The row stands alone.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How many teams are taken away in one unit at most,
const ERASED_AT_ONCE: u64 = 100;
/// and how many rows belong to one team at most: its members, its keys, itself.
const LARGEST_TEAM: usize = 522;

/// What a taken key breaks, by the field that asked for it.
const fn taken(field: &'static str) -> Constraint {
    Constraint {
        postgres: "team_keys_pkey",
        sqlite: "team_keys.organization_uid, team_keys.team_key",
        field,
        reason: ErrorReason::ResourceExists,
        message: "a team of the organization has this key, or had it before: choose another key",
    }
}

const CREATED: &[Constraint] = &[taken("team_id")];
const RENAMED: &[Constraint] = &[taken("team.key")];

/// Inserts a team.
pub fn insert(tx: &Tx, _scope: &Scope<OrganizationRef>, team: &Team) {
    let insert = Entity::insert(Model::from(team).into_active_model());
    tx.write(insert.into_query(), &[]);
    insert_key(tx, team, CREATED);
    let members: Vec<Uid> = team.members.iter().copied().collect();
    insert_seats(tx, team, &members);
}

/// Writes the next version of a team over the one it was made from, in a unit that has locked it.
pub fn update(tx: &Tx, scope: &Scope<OrganizationRef>, before: &Team, after: &Team) {
    write_over(tx, scope.organization().uid, before, after);
    if !before.answers_to(&after.key) {
        insert_key(tx, after, RENAMED);
    }
    insert_seats(tx, after, &before.joined(after));
    delete_seats(tx, after, &after.joined(before));
}

/// Writes a team without the users who are erased, in a unit that has locked it.
pub fn update_for_erasure(tx: &Tx, _erasure: &Erasure, before: &Team, after: &Team) {
    write_over(tx, before.organization.uid, before, after);
    delete_seats(tx, after, &after.joined(before));
}

fn write_over(tx: &Tx, organization: Uid, before: &Team, after: &Team) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::OrganizationUid.eq(organization.0))
        .filter(Column::Uid.eq(before.uid.0));
    tx.write(update.into_query(), &[]);
}

fn insert_key(tx: &Tx, team: &Team, constraints: &'static [Constraint]) {
    let key = key::Model {
        organization_uid: team.organization.uid.0,
        team_key: team.key.clone(),
        team_uid: team.uid.0,
    };
    tx.write(key::Entity::insert(key.into_active_model()).into_query(), constraints);
}

fn insert_seats(tx: &Tx, team: &Team, users: &[Uid]) {
    if users.is_empty() {
        return;
    }
    let seats = users.iter().map(|user| seat::ActiveModel {
        team_uid: Set(team.uid.0),
        user_uid: Set(user.0),
        organization_uid: Set(team.organization.uid.0),
        pick: Set(0),
    });
    tx.write(seat::Entity::insert_many(seats).into_query(), &[]);
}

fn delete_seats(tx: &Tx, team: &Team, users: &[Uid]) {
    if users.is_empty() {
        return;
    }
    let delete = seat::Entity::delete_many()
        .filter(seat::Column::TeamUid.eq(team.uid.0))
        .filter(seat::Column::UserUid.is_in(users.iter().map(|user| user.0)));
    tx.write(delete.into_query(), &[]);
}

/// Takes a team away, in a unit that has locked it.
pub fn delete(tx: &Tx, scope: &Scope<OrganizationRef>, team: &Team) {
    // SQLite runs them in this order, and refuses to take away what others refer to.
    let seats = seat::Entity::delete_many().filter(seat::Column::TeamUid.eq(team.uid.0));
    tx.write(seats.into_query(), &[]);
    let keys = key::Entity::delete_many().filter(key::Column::TeamUid.eq(team.uid.0));
    tx.write(keys.into_query(), &[]);
    let delete = Entity::delete_many()
        .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(Column::Uid.eq(team.uid.0));
    tx.write(delete.into_query(), &[]);
}

/// The team of the scope's organization with this key or alias, which no other unit locks until this one has ended: who is picked of it
/// is picked one after the other. Every unit that writes to a team locks it first, so that none waits for another in a circle.
pub async fn lock(tx: &Tx, scope: &Scope<OrganizationRef>, key: &str) -> Result<Option<Team>> {
    let select = with_keys(scope, [key]).lock_exclusive();
    let row = select.one(tx).await.map_err(db_error)?;
    row.map(Team::try_from).transpose()
}

/// The same for all teams that have one of these keys or aliases.
pub async fn lock_all(tx: &Tx, scope: &Scope<OrganizationRef>, keys: &[String]) -> Result<Vec<Team>> {
    let select = with_keys(scope, keys.iter().map(String::as_str));
    lock_in_order(tx, select).await
}

/// The same for all teams that this user is in.
pub async fn lock_all_with(tx: &Tx, scope: &Scope<OrganizationRef>, user: Uid) -> Result<Vec<Team>> {
    lock_in_order(tx, with_member(in_organization(scope), scope, user)).await
}

/// The same for at most `limit` teams of these organizations that the user is in, who is being erased.
pub async fn lock_of_erased(
    tx: &Tx,
    _erasure: &Erasure,
    user: Uid,
    organizations: &[Uid],
    limit: u64,
) -> Result<Vec<Team>> {
    let teams = seat::Entity::find()
        .select_only()
        .column(seat::Column::TeamUid)
        .filter(seat::Column::UserUid.eq(user.0))
        .filter(seat::Column::OrganizationUid.is_in(organizations.iter().map(|uid| uid.0)));
    let teams = Entity::find().filter(Column::Uid.in_subquery(teams.into_query()));
    lock_in_order(tx, teams.limit(limit)).await
}

/// Takes teams of a purged organization away, as many as one unit may; answers whether there are more.
pub async fn erase(tx: &Tx, _erasure: &Erasure, organization: Uid) -> Result<bool> {
    let teams = Entity::find()
        .filter(Column::OrganizationUid.eq(organization.0))
        .order_by_asc(Column::Uid)
        .limit(ERASED_AT_ONCE);
    let found = teams.all(tx).await.map_err(db_error)?;
    let mut rows = 0;
    let fitting = found.iter().take_while(|team| {
        let fits = rows == 0 || rows + LARGEST_TEAM <= erasure::MOST_ROWS as usize;
        rows += team.members.0.len() + team.aliases.0.len() + 2;
        fits
    });
    let teams: Vec<Uuid> = fitting.map(|team| team.uid).collect();
    let seats = seat::Entity::delete_many().filter(seat::Column::TeamUid.is_in(teams.iter().copied()));
    seats.exec(tx).await.map_err(db_error)?;
    let keys = key::Entity::delete_many().filter(key::Column::TeamUid.is_in(teams.iter().copied()));
    keys.exec(tx).await.map_err(db_error)?;
    let delete = Entity::delete_many().filter(Column::Uid.is_in(teams.iter().copied()));
    delete.exec(tx).await.map_err(db_error)?;
    Ok(teams.len() < found.len() || found.len() as u64 == ERASED_AT_ONCE)
}

async fn lock_in_order(tx: &Tx, select: Select<Entity>) -> Result<Vec<Team>> {
    let select = select.order_by_asc(Column::Uid).lock_exclusive();
    let rows = select.all(tx).await.map_err(db_error)?;
    rows.into_iter().map(Team::try_from).collect()
}

/// How many teams the scope's organization has.
pub async fn count(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<u64> {
    in_organization(scope).count(tx).await.map_err(db_error)
}

/// Those of these keys that teams of the scope's organization have, also as aliases.
pub async fn taken_keys(tx: &Tx, scope: &Scope<OrganizationRef>, keys: &[&str]) -> Result<Vec<String>> {
    let select = keys_among(scope, keys.iter().copied()).select_only();
    let taken = select.column(key::Column::TeamKey).into_tuple();
    taken.all(tx).await.map_err(db_error)
}

/// Who is to be picked of a team: of those who are there, the one who was picked longest ago.
pub async fn next_assignee(tx: &Tx, scope: &Scope<OrganizationRef>, team: &Team) -> Result<Option<Uid>> {
    let members: RelationDef = seat::Entity::belongs_to(member::Entity)
        .from(seat::Column::UserUid)
        .to(member::Column::UserUid)
        .into();
    let next = seat::Entity::find()
        .select_only()
        .column(seat::Column::UserUid)
        .join(JoinType::InnerJoin, members)
        .join(JoinType::InnerJoin, member::Relation::User.def())
        .filter(seat::Column::TeamUid.eq(team.uid.0))
        .filter(member::Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(member::Column::State.eq(i32::from(State::Active)))
        .filter(member::Column::Online.eq(true))
        .filter(user::Column::Disabled.eq(false))
        .order_by_asc(seat::Column::Pick)
        .order_by_asc(seat::Column::UserUid)
        .limit(1);
    let next = next.into_tuple::<Uuid>().one(tx).await.map_err(db_error)?;
    Ok(next.map(Uid))
}

/// Remembers that a user was picked of a team, in a unit that has locked the team.
pub fn pick(tx: &Tx, _scope: &Scope<OrganizationRef>, team: &Team, user: Uid) {
    let later_than_all: SelectStatement = seat::Entity::find()
        .select_only()
        .expr(seat::Column::Pick.max().add(1))
        .filter(seat::Column::TeamUid.eq(team.uid.0))
        .into_query();
    let update = seat::Entity::update_many()
        .col_expr(seat::Column::Pick, later_than_all.into())
        .filter(seat::Column::TeamUid.eq(team.uid.0))
        .filter(seat::Column::UserUid.eq(user.0));
    tx.write(update.into_query(), &[]);
}

/// The team of the scope's organization with this key or alias.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>, key: &str) -> Result<Answer<Option<Team>>> {
    let found = reader.one(with_keys(scope, [key])).await?;
    found.try_map(|row| row.map(Team::try_from).transpose())
}

/// At most `limit` teams of the scope's organization after a uid, in the order of their creation: those that all of these users are in.
pub async fn list(
    reader: &Reader,
    scope: &Scope<OrganizationRef>,
    members: &[Uid],
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<Team>>> {
    let mut select = in_organization(scope).order_by_asc(Column::Uid).limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Uid.gt(after.0));
    }
    for member in members {
        select = with_member(select, scope, *member);
    }
    let rows = reader.all(select).await?;
    rows.try_map(|rows| rows.into_iter().map(Team::try_from).collect())
}

fn in_organization(scope: &Scope<OrganizationRef>) -> Select<Entity> {
    Entity::find().filter(Column::OrganizationUid.eq(scope.organization().uid.0))
}

fn with_keys<'k>(scope: &Scope<OrganizationRef>, keys: impl IntoIterator<Item = &'k str>) -> Select<Entity> {
    let teams = keys_among(scope, keys).select_only().column(key::Column::TeamUid);
    in_organization(scope).filter(Column::Uid.in_subquery(teams.into_query()))
}

fn keys_among<'k>(scope: &Scope<OrganizationRef>, keys: impl IntoIterator<Item = &'k str>) -> Select<key::Entity> {
    key::Entity::find()
        .filter(key::Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(key::Column::TeamKey.is_in(keys))
}

fn with_member(select: Select<Entity>, scope: &Scope<OrganizationRef>, user: Uid) -> Select<Entity> {
    let teams = seat::Entity::find()
        .select_only()
        .column(seat::Column::TeamUid)
        .filter(seat::Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(seat::Column::UserUid.eq(user.0));
    select.filter(Column::Uid.in_subquery(teams.into_query()))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::OrganizationUid);

    fn present() -> Select<Self> {
        Entity::find().filter(Column::OrganizationUid.not_in_subquery(erasure::organizations()))
    }

    fn describe(row: Model) -> Result<Snapshot> {
        let team = Team::try_from(row)?;
        let change = Change::snapshot(&api::Team::from(&team));
        Ok(Snapshot::in_organization(team.uid, team.organization, change))
    }
}

impl From<&Team> for Model {
    fn from(team: &Team) -> Self {
        let organization = &team.organization;
        Self {
            uid: team.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            organization_uid: organization.uid.0,
            organization_id: organization.id.clone(),
            version: team.version,
            create_time: team.create_time.0,
            update_time: team.update_time.0,
            team_key: team.key.clone(),
            aliases: Texts(team.aliases.clone()),
            label: team.label.clone(),
            description: team.description.clone(),
            members: Texts(team.members.iter().map(ToString::to_string).collect()),
        }
    }
}

impl TryFrom<Model> for Team {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let organization = OrganizationRef::of_row(
            (row.workspace_uid, row.workspace_id),
            (row.organization_uid, row.organization_id),
        );
        let members: Option<_> = row.members.0.iter().map(|text| Uid::parse(text)).collect();
        Ok(Self {
            uid: Uid(row.uid),
            organization,
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            key: row.team_key,
            aliases: row.aliases.0,
            label: row.label,
            description: row.description,
            members: members.ok_or_else(|| Error::internal("a member of a team is no uid"))?,
        })
    }
}
