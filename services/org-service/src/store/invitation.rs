//! Invitations in the database. Whether one has expired is not written, but said by the clock.

use super::Texts;
use super::erasure::{self, Erasure};
use super::user::former;
use crate::domain::grants::Grants;
use crate::domain::invitation::{Invitation, Inviter, Issued, invitation_name};
use crate::domain::secret::TokenHash;
use crate::domain::user::{Email, email_key};
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::org::invitation::State;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{IntoActiveModel, JoinType, QueryOrder, QuerySelect, QueryTrait};

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invitations")]
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
    /// The address as it was written.
    pub email: String,
    /// What is equal for addresses that differ in case only.
    pub email_key: String,
    /// The ids of the roles that the member gets.
    #[sea_orm(column_type = "JsonBinary")]
    pub roles: Texts,
    /// What the member may do besides.
    #[sea_orm(column_type = "JsonBinary")]
    pub permissions: Texts,
    /// The keys of the teams that the member joins.
    #[sea_orm(column_type = "JsonBinary")]
    pub team_keys: Texts,
    /// The number of `Invitation.State`; never that of EXPIRED.
    pub state: i32,
    /// In microseconds.
    pub expire_time: i64,
    /// How often its token was issued.
    pub sent_count: i32,
    /// When its token was issued last. NULL: never.
    pub token_time: Option<i64>,
    /// The hash of that token.
    pub token_hash: Option<Vec<u8>>,
    /// Who invited, as the journal names actors.
    pub inviter: String,
    /// The client user who invited. NULL: it was none.
    pub inviter_user_uid: Option<Uuid>,
    /// The user who accepted.
    pub member_user_uid: Option<Uuid>,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

const CONSTRAINTS: &[Constraint] = &[];

/// What must hold of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// It is in this state by now.
    State(State),
    /// It is for this email, whatever its case.
    Email(String),
}

/// Inserts invitations.
pub fn insert(tx: &Tx, _scope: &Scope<OrganizationRef>, invitations: &[Invitation]) {
    let models = invitations.iter().map(|one| Model::from(one).into_active_model());
    tx.write(Entity::insert_many(models).into_query(), CONSTRAINTS);
}

/// Writes the next version of an invitation over the one before, in a unit that has locked its organization.
pub fn update(tx: &Tx, scope: &Scope<OrganizationRef>, after: &Invitation) {
    let update = Entity::update_many()
        .set(Model::from(after).into_active_model().reset_all())
        .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(Column::Uid.eq(after.uid.0));
    tx.write(update.into_query(), CONSTRAINTS);
}

/// The invitation of the scope's organization with this uid, if there is one.
pub async fn find(tx: &Tx, scope: &Scope<OrganizationRef>, uid: Uid) -> Result<Option<Invitation>> {
    let row = in_organization(scope).filter(Column::Uid.eq(uid.0));
    let row = row.one(tx).await.map_err(db_error)?;
    row.map(Invitation::try_from).transpose()
}

/// The pending invitations of the scope's organization for these emails, in any order.
pub async fn find_pending(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    emails: &[Email],
    now: Micros,
) -> Result<Vec<Invitation>> {
    let rows = in_state(in_organization(scope), State::Pending, now);
    let rows = rows.filter(Column::EmailKey.is_in(emails.iter().map(Email::key)));
    let rows = rows.all(tx).await.map_err(db_error)?;
    rows.into_iter().map(Invitation::try_from).collect()
}

/// How many invitations of the scope's organization are pending.
pub async fn count_pending(tx: &Tx, scope: &Scope<OrganizationRef>, now: Micros) -> Result<u64> {
    let pending = in_state(in_organization(scope), State::Pending, now);
    pending.count(tx).await.map_err(db_error)
}

/// How many pending invitations of the scope's organization promise the role with this id.
pub async fn count_pending_with_role(tx: &Tx, scope: &Scope<OrganizationRef>, role: &str, now: Micros) -> Result<u64> {
    let roles = Column::Roles.into_expr().cast_as("text");
    let pending = in_state(in_organization(scope), State::Pending, now).filter(roles.like(Texts::holding(role)));
    pending.count(tx).await.map_err(db_error)
}

/// The invitation of the scope's organization with this uid.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>, uid: Uid) -> Result<Answer<Invitation>> {
    let found = reader.one(in_organization(scope).filter(Column::Uid.eq(uid.0))).await?;
    found.try_map(|row| match row {
        Some(row) => row.try_into(),
        None => Err(not_found(scope.organization(), &uid.to_string())),
    })
}

/// At most `limit` invitations of the scope's organization after a uid, oldest first.
pub async fn list(
    reader: &Reader,
    scope: &Scope<OrganizationRef>,
    terms: &[Term],
    now: Micros,
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<Invitation>>> {
    let mut select = in_organization(scope).order_by_asc(Column::Uid).limit(limit);
    if let Some(after) = after {
        select = select.filter(Column::Uid.gt(after.0));
    }
    for term in terms {
        select = match term {
            Term::State(state) => in_state(select, *state, now),
            Term::Email(email) => select.filter(Column::EmailKey.eq(email_key(email))),
        };
    }
    let rows = reader.all(select).await?;
    rows.try_map(|rows| rows.into_iter().map(Invitation::try_from).collect())
}

/// Takes invitations of a purged organization away, as many as one unit may; answers whether there are more.
pub async fn erase(tx: &Tx, _erasure: &Erasure, organization: Uid) -> Result<bool> {
    let some = Entity::find()
        .select_only()
        .column(Column::Uid)
        .filter(Column::OrganizationUid.eq(organization.0))
        .limit(erasure::MOST_ROWS);
    let delete = Entity::delete_many().filter(Column::Uid.in_subquery(some.into_query()));
    let deleted = delete.exec(tx).await.map_err(db_error)?;
    Ok(deleted.rows_affected == erasure::MOST_ROWS)
}

/// At most `limit` invitations for the users of the erasure, under whatever email they had, or accepted by them. One that was made since
/// they had it is for somebody else who has it now.
pub async fn of_erased(tx: &Tx, erasure: &Erasure, limit: u64) -> Result<Vec<Invitation>> {
    let for_them = Entity::find()
        .filter(Column::WorkspaceUid.eq(erasure.workspace.uid.0))
        .filter(Column::EmailKey.in_subquery(erasure.email_keys()))
        .filter(Column::CreateTime.lte(erasure.time.0));
    let former_emails: RelationDef = Entity::belongs_to(former::Entity)
        .from(Column::EmailKey)
        .to(former::Column::EmailKey)
        .into();
    let formerly_for_them = Entity::find()
        .join(JoinType::InnerJoin, former_emails)
        .filter(Column::WorkspaceUid.eq(erasure.workspace.uid.0))
        .filter(former::Column::UserUid.in_subquery(erasure.users()))
        .filter(Column::CreateTime.into_expr().lte(former::Column::Until.into_expr()));
    let by_them = Entity::find().filter(Column::MemberUserUid.in_subquery(erasure.users()));
    for some in [for_them, formerly_for_them, by_them] {
        let found = some.limit(limit).all(tx).await.map_err(db_error)?;
        if !found.is_empty() {
            return found.into_iter().map(Invitation::try_from).collect();
        }
    }
    Ok(Vec::new())
}

/// Those of these invitations that there are, in a unit that has locked their organizations.
pub async fn read_for_erasure(tx: &Tx, _erasure: &Erasure, invitations: &[Invitation]) -> Result<Vec<Invitation>> {
    let rows = Entity::find().filter(Column::Uid.is_in(invitations.iter().map(|one| one.uid.0)));
    let rows = rows
        .order_by_asc(Column::OrganizationUid)
        .all(tx)
        .await
        .map_err(db_error)?;
    rows.into_iter().map(Invitation::try_from).collect()
}

/// Takes invitations away for good.
pub fn delete_for_erasure(tx: &Tx, _erasure: &Erasure, invitations: &[Invitation]) {
    let delete = Entity::delete_many().filter(Column::Uid.is_in(invitations.iter().map(|one| one.uid.0)));
    tx.write(delete.into_query(), CONSTRAINTS);
}

fn in_organization(scope: &Scope<OrganizationRef>) -> Select<Entity> {
    Entity::find().filter(Column::OrganizationUid.eq(scope.organization().uid.0))
}

fn in_state(select: Select<Entity>, state: State, now: Micros) -> Select<Entity> {
    let written = |state: State| Column::State.eq(i32::from(state));
    match state {
        State::Pending => select
            .filter(written(State::Pending))
            .filter(Column::ExpireTime.gt(now.0)),
        State::Expired => select
            .filter(written(State::Pending))
            .filter(Column::ExpireTime.lte(now.0)),
        state => select.filter(written(state)),
    }
}

/// NOT_FOUND for an invitation.
pub fn not_found(organization: &OrganizationRef, id: &str) -> Error {
    Error::not_found("Invitation", invitation_name(organization, id))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::OrganizationUid);

    fn present() -> Select<Self> {
        Entity::find().filter(Column::OrganizationUid.not_in_subquery(erasure::organizations()))
    }

    fn describe(row: Model) -> Result<Snapshot> {
        let invitation = Invitation::try_from(row)?;
        let change = Change::snapshot(&api::Invitation::from(&invitation));
        Ok(Snapshot::in_organization(
            invitation.uid,
            invitation.organization,
            change,
        ))
    }
}

impl From<&Invitation> for Model {
    fn from(invitation: &Invitation) -> Self {
        let organization = &invitation.organization;
        Self {
            uid: invitation.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            organization_uid: organization.uid.0,
            organization_id: organization.id.clone(),
            version: invitation.version,
            create_time: invitation.create_time.0,
            update_time: invitation.update_time.0,
            email: invitation.email.as_str().to_owned(),
            email_key: invitation.email.key(),
            roles: Texts(invitation.grants.roles.clone()),
            permissions: Texts::of_permissions(&invitation.grants.permissions),
            team_keys: Texts(invitation.team_keys.clone()),
            state: invitation.state.into(),
            expire_time: invitation.expire_time.0,
            sent_count: invitation.sent_count,
            token_time: invitation.token.map(|issued| issued.time.0),
            token_hash: invitation.token.map(|issued| issued.hash.0.to_vec()),
            inviter: invitation.inviter.actor.clone(),
            inviter_user_uid: invitation.inviter.user.map(|user| user.0),
            member_user_uid: invitation.member.map(|user| user.0),
        }
    }
}

impl TryFrom<Model> for Invitation {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let token = issued(&row)?;
        let organization = OrganizationRef::of_row(
            (row.workspace_uid, row.workspace_id),
            (row.organization_uid, row.organization_id),
        );
        Ok(Self {
            uid: Uid(row.uid),
            organization,
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            email: Email::known(row.email),
            grants: Grants {
                permissions: row.permissions.permissions(),
                roles: row.roles.0,
            },
            team_keys: row.team_keys.0,
            state: row
                .state
                .try_into()
                .map_err(|_| Error::internal("an invitation has a state that this version does not know"))?,
            expire_time: Micros(row.expire_time),
            sent_count: row.sent_count,
            token,
            inviter: Inviter {
                actor: row.inviter,
                user: row.inviter_user_uid.map(Uid),
            },
            member: row.member_user_uid.map(Uid),
        })
    }
}

fn issued(row: &Model) -> Result<Option<Issued>> {
    let Some((time, hash)) = row.token_time.zip(row.token_hash.as_deref()) else {
        return Ok(None);
    };
    let hash = hash.try_into();
    let hash = hash.map_err(|_| Error::internal("the hash of an invitation's token is damaged"))?;
    Ok(Some(Issued {
        time: Micros(time),
        hash: TokenHash(hash),
    }))
}
