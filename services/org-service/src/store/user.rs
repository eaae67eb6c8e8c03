//! Users in the database.

use super::erasure::Erasure;
use crate::domain::password::{PasswordHash, Resets};
use crate::domain::secret::TokenHash;
use crate::domain::user::{Email, User, email_key, user_name};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::WorkspaceRef;
use clientele_api::org::user::State;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, LockType};
use sea_orm::{DbBackend, DeriveValueType, IntoActiveModel, QueryOrder, QuerySelect, QueryTrait};
use std::fmt;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its workspace.
    pub workspace_uid: Uuid,
    /// The id of its workspace, which never changes.
    pub workspace_id: String,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// The address as it was written.
    pub email: String,
    /// What is equal for addresses that differ in case only.
    pub email_key: String,
    /// Empty: none.
    pub display_name: String,
    /// Empty: none.
    pub photo_uri: String,
    /// Empty: none.
    pub locale: String,
    /// Whether the person is shut out.
    pub disabled: bool,
    /// NULL: the person has no password.
    pub password_hash: Option<KeptHash>,
    /// How often a token to reset it was issued.
    pub reset_count: i32,
    /// When that was last, in microseconds. NULL: never.
    pub reset_time: Option<i64>,
    /// The hash of that token. NULL: it is dead.
    pub reset_hash: Option<Vec<u8>>,
}

/// What is kept of a password, in a row that anybody may log.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub struct KeptHash(String);

impl fmt::Debug for KeptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptHash(***)")
    }
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What breaks if another call takes an email at the same moment.
pub const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "users_email",
    sqlite: "users.workspace_uid, users.email_key",
    field: "email",
    reason: ErrorReason::EmailTaken,
    message: "another user of the workspace has this email",
}];

/// The email of what is left of a user who is being erased.
const NOBODY: &str = "";

pub mod former {
    //! The emails that users had before others were given to them: who is erased is erased under these, too.

    use sea_orm::entity::prelude::*;

    /// An email that a user had.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "former_emails")]
    pub struct Model {
        /// The user.
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_uid: Uuid,
        /// Until when, in microseconds.
        #[sea_orm(primary_key, auto_increment = false)]
        pub until: i64,
        /// What it was compared by.
        pub email_key: String,
    }

    /// The row stands alone.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What must hold of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// It is in this state.
    State(State),
    /// It has this email, whatever its case.
    Email(String),
}

/// Inserts users, if there are any.
pub fn insert<L>(tx: &Tx, _scope: &Scope<L>, users: &[User]) {
    if !users.is_empty() {
        let models = users.iter().map(|user| Model::from(user).into_active_model());
        tx.write(Entity::insert_many(models).into_query(), CONSTRAINTS);
    }
}

/// Writes the next version of a user over the one it was made from, and notes the email that it had if it has another one now.
pub fn update<L>(tx: &Tx, _scope: &Scope<L>, before: &User, after: &User) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::WorkspaceUid.eq(before.workspace.uid.0))
        .filter(Column::Uid.eq(before.uid.0))
        .filter(Column::Version.eq(before.version));
    tx.guard(update.into_query(), CONSTRAINTS);
    if before.email.key() != after.email.key() {
        let former = former::Model {
            user_uid: before.uid.0,
            until: after.update_time.0,
            email_key: before.email.key(),
        };
        tx.write(former::Entity::insert(former.into_active_model()).into_query(), &[]);
    }
}

/// The user of the scope's workspace with this uid, in a unit that is about to change it.
pub async fn read(tx: &Tx, scope: &Scope<WorkspaceRef>, uid: Uid) -> Result<User> {
    let row = in_workspace(scope.workspace()).filter(Column::Uid.eq(uid.0));
    let row = row.one(tx).await.map_err(db_error)?;
    row.map(User::from).ok_or_else(|| not_found(scope.workspace(), uid))
}

/// The user of a workspace with this uid, if there is one, in a unit that begins or ends sessions of it or changes its password: these
/// go one after the other. Others may make it a member meanwhile.
pub async fn lock_for_sessions(tx: &Tx, workspace: &WorkspaceRef, uid: Uid) -> Result<Option<User>> {
    let row = in_workspace(workspace).filter(Column::Uid.eq(uid.0));
    let row = row.lock(LockType::NoKeyUpdate).one(tx).await.map_err(db_error)?;
    Ok(row.map(User::from))
}

/// The users of a workspace with these uids; those that it has. None of them is erased until the unit has ended, so that it can give
/// them something.
pub async fn read_all(tx: &Tx, workspace: &WorkspaceRef, uids: &[Uid]) -> Result<Vec<User>> {
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = in_workspace(workspace).filter(Column::Uid.is_in(uids.iter().map(|uid| uid.0)));
    let rows = rows.order_by_asc(Column::Uid).lock(LockType::KeyShare);
    let rows = rows.all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// The users of a workspace with these emails; those that it has. None of them is erased until the unit has ended.
pub async fn read_by_email(tx: &Tx, workspace: &WorkspaceRef, emails: &[Email]) -> Result<Vec<User>> {
    if emails.is_empty() {
        return Ok(Vec::new());
    }
    let rows = in_workspace(workspace).filter(Column::EmailKey.is_in(emails.iter().map(Email::key)));
    let rows = rows.order_by_asc(Column::Uid).lock(LockType::KeyShare);
    let rows = rows.all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// The user of the scope's workspace with this uid, in a unit that erases it: until that has ended nobody gives it anything.
pub async fn lock(tx: &Tx, scope: &Scope<WorkspaceRef>, uid: Uid) -> Result<User> {
    let row = in_workspace(scope.workspace()).filter(Column::Uid.eq(uid.0));
    let row = row.lock_exclusive().one(tx).await.map_err(db_error)?;
    row.map(User::from).ok_or_else(|| not_found(scope.workspace(), uid))
}

/// The same for several users of the erasure's workspace; those that it has.
pub async fn lock_all(tx: &Tx, erasure: &Erasure, uids: &[Uid]) -> Result<Vec<User>> {
    let rows = in_workspace(&erasure.workspace).filter(Column::Uid.is_in(uids.iter().map(|uid| uid.0)));
    let rows = rows.order_by_asc(Column::Uid).lock_exclusive();
    let rows = rows.all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// Takes users out of use at once, in a unit that has locked them: what is left is nobody, who may do nothing, and has no email. Some
/// rows may still refer to it.
pub fn withdraw(tx: &Tx, _erasure: &Erasure, users: &[User], now: Micros) {
    if users.is_empty() {
        return;
    }
    let nobody = match tx.get_database_backend() {
        DbBackend::Postgres => Expr::cust("'~' || uid::text"),
        _ => Expr::cust("'~' || hex(uid)"),
    };
    let update = Entity::update_many()
        .col_expr(Column::Version, Column::Version.into_expr().add(1))
        .col_expr(Column::UpdateTime, Expr::value(now.0))
        .col_expr(Column::Email, Expr::value(NOBODY))
        .col_expr(Column::EmailKey, nobody)
        .col_expr(Column::DisplayName, Expr::value(""))
        .col_expr(Column::PhotoUri, Expr::value(""))
        .col_expr(Column::Locale, Expr::value(""))
        .col_expr(Column::Disabled, Expr::value(true))
        .col_expr(Column::PasswordHash, Expr::value(Option::<String>::None))
        .col_expr(Column::ResetHash, Expr::value(Option::<Vec<u8>>::None))
        .filter(Column::Uid.is_in(users.iter().map(|user| user.uid.0)));
    tx.write(update.into_query(), CONSTRAINTS);
}

/// Deletes what is left of users, to whom no member refers any more, and who have no sessions.
pub async fn erase(tx: &Tx, _erasure: &Erasure, users: &[Uid]) -> Result<()> {
    let former = former::Entity::delete_many().filter(former::Column::UserUid.is_in(users.iter().map(|uid| uid.0)));
    former.exec(tx).await.map_err(db_error)?;
    let delete = Entity::delete_many().filter(Column::Uid.is_in(users.iter().map(|uid| uid.0)));
    delete.exec(tx).await.map(drop).map_err(db_error)
}

/// How many users the scope's workspace has.
pub async fn count(tx: &Tx, scope: &Scope<WorkspaceRef>) -> Result<u64> {
    in_workspace(scope.workspace()).count(tx).await.map_err(db_error)
}

/// The user of the scope's workspace with this uid.
pub async fn get(reader: &Reader, scope: &Scope<WorkspaceRef>, uid: Uid) -> Result<Answer<User>> {
    let found = reader
        .one(in_workspace(scope.workspace()).filter(Column::Uid.eq(uid.0)))
        .await?;
    found.try_map(|row| row.map(User::from).ok_or_else(|| not_found(scope.workspace(), uid)))
}

/// The user of the scope's workspace with this uid, if there is one.
pub async fn find(reader: &Reader, scope: &Scope<WorkspaceRef>, uid: Uid) -> Result<Option<User>> {
    let found = in_workspace(scope.workspace()).filter(Column::Uid.eq(uid.0));
    Ok(reader.one(found).await?.value.map(User::from))
}

/// The user of the scope's workspace that has this email, whatever its case.
pub async fn find_by_email(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    email: &Email,
) -> Result<Answer<Option<User>>> {
    let found = in_workspace(scope.workspace()).filter(Column::EmailKey.eq(email.key()));
    Ok(reader.one(found).await?.map(|row| row.map(User::from)))
}

/// At most `limit` users of the scope's workspace after a uid, oldest first.
pub async fn list(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    terms: &[Term],
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<User>>> {
    let mut select = in_workspace(scope.workspace()).order_by_asc(Column::Uid).limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Uid.gt(after.0));
    }
    for term in terms {
        select = match term {
            Term::State(state) => select.filter(Column::Disabled.eq(*state == State::Disabled)),
            Term::Email(email) => select.filter(Column::EmailKey.eq(email_key(email))),
        };
    }
    let rows = reader.all(select).await?;
    Ok(rows.map(|rows| rows.into_iter().map(User::from).collect()))
}

/// Who is not being erased.
pub(super) fn is_somebody() -> Expr {
    Column::Email.ne(NOBODY)
}

fn in_workspace(workspace: &WorkspaceRef) -> Select<Entity> {
    Entity::find()
        .filter(is_somebody())
        .filter(Column::WorkspaceUid.eq(workspace.uid.0))
}

/// NOT_FOUND for a user.
pub fn not_found(workspace: &WorkspaceRef, uid: Uid) -> Error {
    Error::not_found("User", user_name(workspace, uid))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = None;

    fn present() -> Select<Self> {
        Entity::find().filter(is_somebody())
    }

    fn describe(row: Model) -> Result<Snapshot> {
        let user = User::from(row);
        Ok(Snapshot {
            uid: user.uid,
            workspace: Some(user.workspace.clone()),
            organization: None,
            change: Change::snapshot(&api::User::from(&user)),
        })
    }
}

impl From<&User> for Model {
    fn from(user: &User) -> Self {
        Self {
            uid: user.uid.0,
            workspace_uid: user.workspace.uid.0,
            workspace_id: user.workspace.id.clone(),
            version: user.version,
            create_time: user.create_time.0,
            update_time: user.update_time.0,
            email: user.email.as_str().to_owned(),
            email_key: user.email.key(),
            display_name: user.display_name.clone(),
            photo_uri: user.photo_uri.clone(),
            locale: user.locale.clone(),
            disabled: user.disabled,
            password_hash: user.password.as_ref().map(|hash| KeptHash(hash.as_str().to_owned())),
            reset_count: user.resets.count,
            reset_time: user.resets.time.map(|time| time.0),
            reset_hash: user.resets.hash.map(|hash| hash.0.to_vec()),
        }
    }
}

impl From<Model> for User {
    fn from(row: Model) -> Self {
        Self {
            uid: Uid(row.uid),
            workspace: WorkspaceRef {
                uid: Uid(row.workspace_uid),
                id: row.workspace_id,
            },
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            email: Email::known(row.email),
            display_name: row.display_name,
            photo_uri: row.photo_uri,
            locale: row.locale,
            disabled: row.disabled,
            password: row.password_hash.map(|KeptHash(hash)| PasswordHash::known(hash)),
            resets: Resets {
                count: row.reset_count,
                time: row.reset_time.map(Micros),
                // A damaged one is none: it proves nothing.
                hash: row.reset_hash.and_then(|hash| hash.try_into().ok()).map(TokenHash),
            },
        }
    }
}
