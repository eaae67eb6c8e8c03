//! Sessions in the database. Whether one has expired is not written, but said by the clock.

use super::erasure::Erasure;
use crate::domain::secret::TokenHash;
use crate::domain::session::{MOST, Session, session_name};
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::jobs::JobScope;
use clientele_store::tx::{self, Mode, Tx};
use clientele_store::{Answer, Db, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect, QueryTrait};

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// The workspace of its user.
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// Who is signed in.
    pub user_uid: Uuid,
    /// Where.
    pub organization_uid: Uuid,
    /// The id of the organization, which never changes.
    pub organization_id: String,
    /// Staff who logged in as the user, as the journal names actors. NULL: it signed in itself.
    pub staff: Option<String>,
    /// How many refresh tokens there have been.
    pub generation: i32,
    /// The hash of the refresh token.
    pub token_hash: Vec<u8>,
    /// The hash of the one before. NULL: it is the first.
    pub previous_hash: Option<Vec<u8>>,
    /// When it was refreshed last, in microseconds.
    pub last_use_time: i64,
    /// Until when it can be refreshed, in microseconds.
    pub expire_time: i64,
    /// Whether it was ended.
    pub revoked: bool,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// How many rows are taken away in one transaction.
const CHUNK: u64 = 1_000;

/// Inserts a session. In a unit that has locked its user.
pub fn insert<L>(tx: &Tx, _scope: &Scope<L>, session: &Session) {
    let insert = Entity::insert(Model::from(session).into_active_model());
    tx.write(insert.into_query(), &[]);
}

/// Writes what has become of a session that the unit has locked.
pub fn update<L>(tx: &Tx, _scope: &Scope<L>, after: &Session) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::Uid.eq(after.uid.0));
    tx.write(update.into_query(), &[]);
}

/// A session of the scope's workspace, which no other unit changes until this one has ended. Client users have none but their own.
pub async fn lock(tx: &Tx, scope: &Scope<WorkspaceRef>, uid: Uid) -> Result<Session> {
    let mut select = Entity::find_by_id(uid.0).filter(Column::WorkspaceUid.eq(scope.workspace().uid.0));
    if let Some(client) = scope.client() {
        select = select.filter(Column::UserUid.eq(client.user.0));
    }
    let row = select.lock_exclusive().one(tx).await.map_err(db_error)?;
    let row = row.ok_or_else(|| not_found(scope.workspace(), uid))?;
    row.try_into()
}

/// A session of the scope's workspace, if there is one.
pub async fn find(reader: &Reader, scope: &Scope<WorkspaceRef>, uid: Uid) -> Result<Answer<Option<Session>>> {
    let select = Entity::find_by_id(uid.0).filter(Column::WorkspaceUid.eq(scope.workspace().uid.0));
    let row = reader.one(select).await?;
    row.try_map(|row| row.map(Session::try_from).transpose())
}

/// The sessions of a user that can be used, which no other unit changes until this one has ended; the least recently used first. In a
/// unit that has locked the user, so that there can't be more of them.
pub async fn lock_active<L>(tx: &Tx, _scope: &Scope<L>, user: Uid, now: Micros) -> Result<Vec<Session>> {
    let rows = active(user, now)
        .order_by_asc(Column::LastUseTime)
        .order_by_asc(Column::Uid)
        .limit(MOST as u64)
        .lock_exclusive();
    let rows = rows.all(tx).await.map_err(db_error)?;
    rows.into_iter().map(Session::try_from).collect()
}

/// Whether this session of a user was not ended, for a unit that needs that to hold.
pub async fn is_open(tx: &Tx, session: Uid, user: Uid) -> Result<bool> {
    let row = open(session, user).one(tx).await.map_err(db_error)?;
    Ok(row.is_some())
}

/// The row of a session, if it was not ended.
pub(super) fn open(session: Uid, user: Uid) -> Select<Entity> {
    Entity::find_by_id(session.0)
        .filter(Column::UserUid.eq(user.0))
        .filter(Column::Revoked.eq(false))
}

/// At most `limit` sessions of a user of the scope's workspace after a uid, oldest first.
pub async fn list(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    user: Uid,
    ended: bool,
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<Session>>> {
    let select = match ended {
        true => Entity::find().filter(Column::UserUid.eq(user.0)),
        false => active(user, Micros::now()),
    };
    let mut select = select
        .filter(Column::WorkspaceUid.eq(scope.workspace().uid.0))
        .order_by_asc(Column::Uid)
        .limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Uid.gt(after.0));
    }
    let rows = reader.all(select).await?;
    rows.try_map(|rows| rows.into_iter().map(Session::try_from).collect())
}

fn active(user: Uid, now: Micros) -> Select<Entity> {
    Entity::find()
        .filter(Column::UserUid.eq(user.0))
        .filter(Column::Revoked.eq(false))
        .filter(Column::ExpireTime.gt(now.0))
}

/// Takes the rows of sessions away that have expired before this time, all of their tokens included; how many.
pub async fn sweep(_scope: &JobScope, db: &Db, before: Micros) -> Result<u64> {
    let mut swept = 0;
    loop {
        let expired = Entity::find()
            .select_only()
            .column(Column::Uid)
            .filter(Column::ExpireTime.lt(before.0))
            .limit(CHUNK);
        let delete = Entity::delete_many().filter(Column::Uid.in_subquery(expired.into_query()));
        let unit = async move |tx: &Tx| Ok(delete.exec(tx).await.map_err(db_error)?.rows_affected);
        let chunk = tx::run(db, Mode::Commit, unit).await?.value;
        swept += chunk;
        if chunk < CHUNK {
            return Ok(swept);
        }
    }
}

/// Takes sessions of the erasure's users away, as many as one unit may; how many.
pub async fn erase(tx: &Tx, erasure: &Erasure) -> Result<u64> {
    let some = Entity::find()
        .select_only()
        .column(Column::Uid)
        .filter(Column::UserUid.in_subquery(erasure.users()))
        .limit(CHUNK);
    let delete = Entity::delete_many().filter(Column::Uid.in_subquery(some.into_query()));
    Ok(delete.exec(tx).await.map_err(db_error)?.rows_affected)
}

/// NOT_FOUND for a session.
pub fn not_found(workspace: &WorkspaceRef, uid: Uid) -> Error {
    Error::not_found("Session", session_name(workspace, uid))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = None;

    /// Whoever starts anew needs to know which of them were ended, and nothing of the others.
    fn present() -> Select<Self> {
        Self::find().filter(Column::Revoked.eq(true))
    }

    fn describe(row: Model) -> Result<Snapshot> {
        let session = Session::try_from(row)?;
        Ok(Snapshot {
            uid: session.uid,
            workspace: Some(session.organization.workspace.clone()),
            organization: None,
            change: Change::snapshot(&api::Session::from(&session)),
        })
    }
}

impl From<&Session> for Model {
    fn from(session: &Session) -> Self {
        let organization = &session.organization;
        Self {
            uid: session.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            version: session.version,
            create_time: session.create_time.0,
            update_time: session.update_time.0,
            user_uid: session.user.0,
            organization_uid: organization.uid.0,
            organization_id: organization.id.clone(),
            staff: session.staff.clone(),
            generation: session.generation,
            token_hash: session.token.0.to_vec(),
            previous_hash: session.previous.map(|hash| hash.0.to_vec()),
            last_use_time: session.last_use_time.0,
            expire_time: session.expire_time.0,
            revoked: session.revoked,
        }
    }
}

impl TryFrom<Model> for Session {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let organization = OrganizationRef::of_row(
            (row.workspace_uid, row.workspace_id),
            (row.organization_uid, row.organization_id),
        );
        Ok(Self {
            uid: Uid(row.uid),
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            user: Uid(row.user_uid),
            organization,
            staff: row.staff,
            generation: row.generation,
            token: hash(&row.token_hash)?,
            previous: row.previous_hash.as_deref().map(hash).transpose()?,
            last_use_time: Micros(row.last_use_time),
            expire_time: Micros(row.expire_time),
            revoked: row.revoked,
        })
    }
}

fn hash(bytes: &[u8]) -> Result<TokenHash> {
    let bytes = bytes.try_into();
    let bytes = bytes.map_err(|_| Error::internal("the hash of a refresh token is not 32 bytes"))?;
    Ok(TokenHash(bytes))
}
