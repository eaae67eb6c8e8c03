//! How users stand in organizations: everything that decides what they may do.

use super::{Texts, member, organization, role, session, user};
use crate::domain::grants::{CustomRoles, Grants};
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org::AccessDenial;
use clientele_api::org::organization::State;
use clientele_api::permission::Effective;
use clientele_api::{Error, Result, Uid, org as api};
use clientele_service::scope::Scope;
use clientele_service::standing::{Facts, SignedIn, Standing};
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Reader};
use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, SelectStatement};
use sea_orm::{FromQueryResult, JoinType, QueryOrder, QuerySelect, QueryTrait};

/// A user in an organization, as far as it decides.
#[derive(FromQueryResult)]
struct Row {
    workspace_uid: Uuid,
    roles: Texts,
    permissions: Texts,
    state: i32,
    disabled: bool,
    delete_time: Option<i64>,
    suspend_time: Option<i64>,
    client_access_enabled: bool,
    session_ended: bool,
}

/// An organization that a user is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The organization.
    pub organization: OrganizationRef,
    /// The name that people see.
    pub display_name: String,
    /// Why the user may do nothing there. Unspecified: it is not denied.
    pub denial: AccessDenial,
}

/// A membership with the name of its organization.
#[derive(FromQueryResult)]
struct PlaceRow {
    #[sea_orm(nested)]
    row: Row,
    workspace_id: String,
    organization_uid: Uuid,
    organization_id: String,
    display_name: String,
}

/// How many organizations a user can choose from.
const MOST_PLACES: u64 = 500;

/// The standing of a user. None: it never was a member.
pub fn load(reader: Reader, who: SignedIn) -> BoxFuture<'static, Result<Answer<Option<Standing>>>> {
    async move {
        let found = reader.one_of::<Row>(select(who)).await?;
        let Some(row) = found.value else {
            return Ok(found.map(|_| None));
        };
        let grants = row.grants();
        let ids: Vec<&str> = grants.custom_roles().collect();
        let custom = match role::select_custom(who.organization, &ids) {
            Some(select) => reader.all(select).await?.map(role::custom_roles),
            None => Answer {
                value: CustomRoles::new(),
                revision: found.revision.clone(),
            },
        };
        let mut revision = found.revision;
        revision.merge(&custom.revision);
        Ok(Answer {
            value: Some(row.standing(&grants, &custom.value)),
            revision,
        })
    }
    .boxed()
}

/// The client user who calls must still be allowed to, in the unit that does what it was admitted for. What it may give is answered;
/// None for those who may give everything.
pub async fn confirm<L>(tx: &Tx, scope: &Scope<L>) -> Result<Option<Effective>> {
    let Some(client) = scope.client() else {
        return Ok(None);
    };
    let standing = read(tx, client.signed_in()).await?;
    let standing = standing.ok_or_else(|| Error::not_found("Resource", format!("users/{}", client.user)))?;
    scope.require_still_allowed(&standing)?;
    Ok(Some(standing.permissions))
}

/// The standing of a user, in a unit that needs it to hold when it commits. None: it never was a member.
pub async fn read(tx: &Tx, who: SignedIn) -> Result<Option<Standing>> {
    let row = Row::find_by_statement(tx.get_database_backend().build(&select(who)));
    let Some(row) = row.one(tx).await.map_err(db_error)? else {
        return Ok(None);
    };
    let grants = row.grants();
    let ids: Vec<&str> = grants.custom_roles().collect();
    let custom = match role::select_custom(who.organization, &ids) {
        Some(select) => role::custom_roles(select.all(tx).await.map_err(db_error)?),
        None => CustomRoles::new(),
    };
    Ok(Some(row.standing(&grants, &custom)))
}

/// The organizations that a user of the scope's workspace is a member of, by their names; the one of this name only, if it is not empty.
pub async fn places(
    reader: &Reader,
    scope: &Scope<WorkspaceRef>,
    user: Uid,
    named: &str,
) -> Result<Answer<Vec<Place>>> {
    let query = select_places(scope.workspace(), user, named);
    let rows = reader.all_of::<PlaceRow>(query).await?;
    Ok(rows.map(|rows| rows.into_iter().map(PlaceRow::place).collect()))
}

/// The organization of this name, if a user of the workspace is a member of it.
pub async fn place(tx: &Tx, workspace: &WorkspaceRef, user: Uid, named: &str) -> Result<Option<Place>> {
    let query = select_places(workspace, user, named);
    let row = PlaceRow::find_by_statement(tx.get_database_backend().build(&query));
    Ok(row.one(tx).await.map_err(db_error)?.map(PlaceRow::place))
}

fn select_places(workspace: &WorkspaceRef, user: Uid, named: &str) -> SelectStatement {
    let mut places = standings(None);
    if !named.is_empty() {
        let prefix = format!("{}/organizations/", workspace.name());
        // What lies elsewhere has no id here.
        places = places.filter(member::Column::OrganizationId.eq(named.strip_prefix(&prefix).unwrap_or_default()));
    }
    places
        .columns([
            member::Column::WorkspaceId,
            member::Column::OrganizationUid,
            member::Column::OrganizationId,
        ])
        .column(organization::Column::DisplayName)
        .filter(member::Column::WorkspaceUid.eq(workspace.uid.0))
        .filter(member::Column::UserUid.eq(user.0))
        .filter(member::Column::State.ne(i32::from(api::member::State::Removed)))
        .filter(organization::purged().not())
        .order_by_asc(organization::Column::DisplayName)
        .order_by_asc(organization::Column::Uid)
        .limit(MOST_PLACES)
        .into_query()
}

fn select(who: SignedIn) -> SelectStatement {
    standings(who.session.map(|session| session::open(session, who.user)))
        .filter(member::Column::OrganizationUid.eq(who.organization.0))
        .filter(member::Column::UserUid.eq(who.user.0))
        .into_query()
}

/// Members with what decides; None: whatever their sessions.
fn standings(open_session: Option<Select<session::Entity>>) -> Select<member::Entity> {
    let organizations: RelationDef = member::Entity::belongs_to(organization::Entity)
        .from(member::Column::OrganizationUid)
        .to(organization::Column::Uid)
        .into();
    let session_ended = match open_session {
        Some(open) => Expr::exists(open.into_query()).not(),
        None => Expr::val(false),
    };
    member::Entity::find()
        .select_only()
        .columns([
            member::Column::WorkspaceUid,
            member::Column::Roles,
            member::Column::Permissions,
            member::Column::State,
        ])
        .column(user::Column::Disabled)
        .columns([
            organization::Column::DeleteTime,
            organization::Column::SuspendTime,
            organization::Column::ClientAccessEnabled,
        ])
        .expr_as(session_ended, "session_ended")
        .join(JoinType::InnerJoin, member::Relation::User.def())
        .join(JoinType::InnerJoin, organizations)
}

impl PlaceRow {
    fn place(self) -> Place {
        Place {
            denial: self.row.denial(),
            organization: OrganizationRef::of_row(
                (self.row.workspace_uid, self.workspace_id),
                (self.organization_uid, self.organization_id),
            ),
            display_name: self.display_name,
        }
    }
}

impl From<&Place> for api::OrganizationChoice {
    fn from(place: &Place) -> Self {
        Self {
            organization: place.organization.name(),
            display_name: place.display_name.clone(),
        }
    }
}

impl Row {
    fn grants(&self) -> Grants {
        Grants {
            roles: self.roles.0.clone(),
            permissions: self.permissions.permissions(),
        }
    }

    fn standing(&self, grants: &Grants, custom: &CustomRoles) -> Standing {
        Standing {
            workspace: Uid(self.workspace_uid),
            session_ended: self.session_ended,
            denial: self.denial(),
            permissions: grants.effective(custom),
        }
    }

    fn denial(&self) -> AccessDenial {
        let organization = if self.delete_time.is_some() {
            State::Deleted
        } else if self.suspend_time.is_some() {
            State::Suspended
        } else {
            State::Active
        };
        let facts = Facts {
            organization,
            client_access_enabled: self.client_access_enabled,
            user_disabled: self.disabled,
            member: self.state,
        };
        facts.denial()
    }
}
