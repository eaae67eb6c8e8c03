//! What is being taken away for good, and how far that has come.

use crate::domain::erasure::Step;
use crate::domain::invitation::Invitation;
use crate::domain::user::User;
use crate::store::organization::Doomed;
use crate::store::{invitation, member, role, team};
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Error, Micros, Result, Uid};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::cursor::Cursor;
use clientele_store::jobs::JobScope;
use clientele_store::journal::scrub;
use clientele_store::tx::{Position, Tx};
use clientele_store::{Answer, Db, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Query, SelectStatement};
use sea_orm::{FromQueryResult, IntoActiveModel, QueryOrder, QuerySelect, QueryTrait};
use std::collections::BTreeSet;

/// How many rows a unit touches at most.
pub const MOST_ROWS: u64 = 1_000;
/// How many values a statement is given at most.
const MOST_VALUES: usize = 1_000;

/// An erasure.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "erasures")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// The workspace of all that goes.
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// The organization that goes. NULL: only users go.
    pub organization_uid: Option<Uuid>,
    /// The number of the step that is next.
    pub step: i32,
    /// How far a step that looks through the journal has come.
    pub epoch: i64,
    /// The second part of that.
    pub xid: i64,
    /// The third.
    pub seq: i64,
    /// When it was begun, in microseconds.
    pub create_time: i64,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub mod person {
    //! The users who go, and the invitations for them.

    use sea_orm::entity::prelude::*;

    /// A user who goes, or an invitation for one.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "erased_users")]
    pub struct Model {
        /// With this erasure.
        #[sea_orm(primary_key, auto_increment = false)]
        pub erasure_uid: Uuid,
        /// The user, or the invitation.
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_uid: Uuid,
        /// What the email of the user was compared by; empty: this is an invitation.
        pub email_key: String,
    }

    /// The row stands alone.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What is being taken away for good. Who has one, was admitted to begin it, or is the job that ends what was begun: its steps need no
/// other scope.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// Its identity; private, so that none is made elsewhere.
    uid: Uid,
    /// The workspace of all that goes.
    pub workspace: WorkspaceRef,
    /// The organization that goes; None: only users go.
    pub organization: Option<Uid>,
    /// What is next.
    pub step: Step,
    /// How far a step that looks through the journal has come.
    pub scanned: Cursor,
    /// When it was begun.
    pub time: Micros,
}

impl Erasure {
    /// Of an organization.
    pub fn of_organization(doomed: &Doomed, now: Micros) -> Self {
        let organization = doomed.organization();
        Self::of(organization.workspace.clone(), Some(organization.uid), Step::FIRST, now)
    }

    /// Of a user of the scope's workspace.
    pub fn of_user(scope: &Scope<WorkspaceRef>, now: Micros) -> Self {
        Self::of(scope.workspace().clone(), None, Step::FIRST_OF_USER, now)
    }

    fn of(workspace: WorkspaceRef, organization: Option<Uid>, step: Step, time: Micros) -> Self {
        Self {
            uid: Uid::new(),
            workspace,
            organization,
            step,
            scanned: scrub::BEGINNING,
            time,
        }
    }

    /// The uids of the users who go.
    pub(super) fn users(&self) -> SelectStatement {
        let people = self.people().select_only();
        people.column(person::Column::UserUid).into_query()
    }

    /// What their emails were compared by.
    pub(super) fn email_keys(&self) -> SelectStatement {
        let people = self.people().select_only();
        people.column(person::Column::EmailKey).into_query()
    }

    fn people(&self) -> Select<person::Entity> {
        person::Entity::find().filter(person::Column::ErasureUid.eq(self.uid.0))
    }
}

/// The uids of the organizations that are being purged.
pub(super) fn organizations() -> SelectStatement {
    Entity::find()
        .select_only()
        .column(Column::OrganizationUid)
        .filter(Column::OrganizationUid.is_not_null())
        .into_query()
}

/// What goes with an organization.
#[derive(Debug, FromQueryResult)]
pub struct Counts {
    /// Members, removed ones too.
    pub members: i64,
    /// Users who are present nowhere else.
    pub users: i64,
    /// Roles of its own.
    pub roles: i64,
    /// Teams.
    pub teams: i64,
    /// Invitations.
    pub invitations: i64,
}

/// What goes with the scope's organization if it is purged now.
pub async fn count_contents(reader: &Reader, scope: &Scope<OrganizationRef>) -> Result<Answer<Counts>> {
    let organization = scope.organization().uid.0;
    let members = member::Entity::find().filter(member::Column::OrganizationUid.eq(organization));
    let elsewhere = member::present_somewhere()
        .select_only()
        .column(member::Column::UserUid)
        .filter(member::Column::OrganizationUid.ne(organization));
    let users = members
        .clone()
        .filter(member::Column::UserUid.not_in_subquery(elsewhere.into_query()));
    let roles = role::Entity::find().filter(role::Column::OrganizationUid.eq(organization));
    let teams = team::Entity::find().filter(team::Column::OrganizationUid.eq(organization));
    let invitations = invitation::Entity::find().filter(invitation::Column::OrganizationUid.eq(organization));
    let mut counts = Query::select();
    for (name, rows) in [
        ("members", number_of(members)),
        ("users", number_of(users)),
        ("roles", number_of(roles)),
        ("teams", number_of(teams)),
        ("invitations", number_of(invitations)),
    ] {
        counts.expr_as(Expr::SubQuery(None, Box::new(rows.into())), name);
    }
    let counted = reader.one_of::<Counts>(counts).await?;
    counted.try_map(|counts| counts.ok_or_else(|| Error::internal("counting answers one row")))
}

fn number_of<E: EntityTrait>(rows: Select<E>) -> SelectStatement {
    rows.select_only().expr(Expr::cust("count(*)")).into_query()
}

/// Begins an erasure. From here on it goes on to its end, whatever happens to who began it.
pub fn begin(tx: &Tx, erasure: &Erasure) {
    let insert = Entity::insert(Model::from(erasure).into_active_model());
    tx.write(insert.into_query(), &[]);
}

/// Notes the users who go with it.
pub fn add(tx: &Tx, erasure: &Erasure, users: &[User]) {
    if users.is_empty() {
        return;
    }
    let people = users.iter().map(|user| {
        let person = person::Model {
            erasure_uid: erasure.uid.0,
            user_uid: user.uid.0,
            email_key: user.email.key(),
        };
        person.into_active_model()
    });
    tx.write(person::Entity::insert_many(people).into_query(), &[]);
}

/// The erasure as it is, on which no other unit works until this one has ended. None: it has come to its end.
pub async fn lock(tx: &Tx, erasure: &Erasure) -> Result<Option<Erasure>> {
    let row = Entity::find_by_id(erasure.uid.0).lock_exclusive();
    let row = row.one(tx).await.map_err(db_error)?;
    row.map(Erasure::try_from).transpose()
}

/// Notes that this step is next, and where it goes on in the journal.
pub fn move_on(tx: &Tx, erasure: &Erasure, step: Step, scanned: Cursor) {
    let update = Entity::update_many()
        .col_expr(Column::Step, Expr::value(step as i32))
        .col_expr(Column::Epoch, Expr::value(scanned.epoch))
        .col_expr(Column::Xid, Expr::value(scanned.position.xid))
        .col_expr(Column::Seq, Expr::value(scanned.position.seq))
        .filter(Column::Uid.eq(erasure.uid.0));
    tx.write(update.into_query(), &[]);
}

/// It is done.
pub async fn end(tx: &Tx, erasure: &Erasure) -> Result<()> {
    let delete = Entity::delete_by_id(erasure.uid.0);
    delete.exec(tx).await.map(drop).map_err(db_error)
}

/// Erasures that have not come to their end, oldest first.
pub async fn unfinished(_scope: &JobScope, db: &Db, limit: u64) -> Result<Vec<Erasure>> {
    let rows = Entity::find().order_by_asc(Column::Uid).limit(limit);
    let rows = rows.all(db.read()).await.map_err(db_error)?;
    rows.into_iter().map(Erasure::try_from).collect()
}

/// How many erasures of the scope's workspace have not come to their end.
pub async fn count(tx: &Tx, scope: &Scope<WorkspaceRef>) -> Result<u64> {
    let rows = Entity::find().filter(Column::WorkspaceUid.eq(scope.workspace().uid.0));
    rows.count(tx).await.map_err(db_error)
}

/// Notes the invitations that go with it: by them is known what the journal tells of them.
pub fn add_invitations(tx: &Tx, erasure: &Erasure, invitations: &[Invitation]) {
    if invitations.is_empty() {
        return;
    }
    let invitations = invitations.iter().map(|invitation| {
        let invitation = person::Model {
            erasure_uid: erasure.uid.0,
            user_uid: invitation.uid.0,
            email_key: String::new(),
        };
        invitation.into_active_model()
    });
    tx.write(person::Entity::insert_many(invitations).into_query(), &[]);
}

/// At most `limit` users who go with the erasure.
pub async fn users(tx: &Tx, erasure: &Erasure, limit: u64) -> Result<Vec<Uid>> {
    let rows = erasure.people().select_only().column(person::Column::UserUid);
    let rows: Vec<Uuid> = rows.limit(limit).into_tuple().all(tx).await.map_err(db_error)?;
    Ok(rows.into_iter().map(Uid).collect())
}

/// Forgets who these users were.
pub async fn forget(tx: &Tx, erasure: &Erasure, users: &[Uid]) -> Result<()> {
    let delete = person::Entity::delete_many()
        .filter(person::Column::ErasureUid.eq(erasure.uid.0))
        .filter(person::Column::UserUid.is_in(users.iter().map(|uid| uid.0)));
    delete.exec(tx).await.map(drop).map_err(db_error)
}

/// Those of these uids that are of users who go, or of invitations for them.
pub async fn users_among(tx: &Tx, erasure: &Erasure, uids: &BTreeSet<Uid>) -> Result<BTreeSet<Uid>> {
    let mut found = BTreeSet::new();
    for some in Vec::from_iter(uids).chunks(MOST_VALUES) {
        let people = erasure.people().select_only().column(person::Column::UserUid);
        let people = people.filter(person::Column::UserUid.is_in(some.iter().map(|uid| uid.0)));
        let people: Vec<Uuid> = people.into_tuple().all(tx).await.map_err(db_error)?;
        found.extend(people.into_iter().map(Uid));
    }
    Ok(found)
}

impl From<&Erasure> for Model {
    fn from(erasure: &Erasure) -> Self {
        Self {
            uid: erasure.uid.0,
            workspace_uid: erasure.workspace.uid.0,
            workspace_id: erasure.workspace.id.clone(),
            organization_uid: erasure.organization.map(|uid| uid.0),
            step: erasure.step as i32,
            epoch: erasure.scanned.epoch,
            xid: erasure.scanned.position.xid,
            seq: erasure.scanned.position.seq,
            create_time: erasure.time.0,
        }
    }
}

impl TryFrom<Model> for Erasure {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let step = Step::of(row.step);
        Ok(Self {
            uid: Uid(row.uid),
            workspace: WorkspaceRef {
                uid: Uid(row.workspace_uid),
                id: row.workspace_id,
            },
            organization: row.organization_uid.map(Uid),
            step: step.ok_or_else(|| Error::internal("an erasure has a step that this version does not know"))?,
            scanned: Cursor {
                epoch: row.epoch,
                position: Position {
                    xid: row.xid,
                    seq: row.seq,
                },
            },
            time: Micros(row.create_time),
        })
    }
}
