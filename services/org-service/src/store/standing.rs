//! How users stand in organizations: everything that decides what they may do.

use super::{Texts, member, organization, role, user};
use crate::domain::grants::{CustomRoles, Grants};
use clientele_api::org::AccessDenial;
use clientele_api::org::member::State;
use clientele_api::permission::Effective;
use clientele_api::{Error, Result, Uid};
use clientele_service::scope::Scope;
use clientele_service::standing::{SignedIn, Standing};
use clientele_store::connect::db_error;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Reader};
use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::SelectStatement;
use sea_orm::{FromQueryResult, JoinType, QuerySelect, QueryTrait};

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
}

/// The standing of a user. None: it never was a member.
pub fn load(reader: Reader, who: SignedIn) -> BoxFuture<'static, Result<Answer<Option<Standing>>>> {
    async move {
        let found = reader.one_of::<Row>(select(who.organization, who.user)).await?;
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
    let standing = read(tx, client.organization, client.user).await?;
    let standing = standing.ok_or_else(|| Error::not_found("Resource", format!("users/{}", client.user)))?;
    scope.require_still_allowed(&standing)?;
    Ok(Some(standing.permissions))
}

/// The standing of a user in an organization, in a unit that needs it to hold when it commits. None: it never was a member.
pub async fn read(tx: &Tx, organization: Uid, user: Uid) -> Result<Option<Standing>> {
    let query = select(organization, user);
    let row = Row::find_by_statement(tx.get_database_backend().build(&query));
    let Some(row) = row.one(tx).await.map_err(db_error)? else {
        return Ok(None);
    };
    let grants = row.grants();
    let ids: Vec<&str> = grants.custom_roles().collect();
    let custom = match role::select_custom(organization, &ids) {
        Some(select) => role::custom_roles(select.all(tx).await.map_err(db_error)?),
        None => CustomRoles::new(),
    };
    Ok(Some(row.standing(&grants, &custom)))
}

fn select(organization: Uid, user: Uid) -> SelectStatement {
    let organizations: RelationDef = member::Entity::belongs_to(organization::Entity)
        .from(member::Column::OrganizationUid)
        .to(organization::Column::Uid)
        .into();
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
        .join(JoinType::InnerJoin, member::Relation::User.def())
        .join(JoinType::InnerJoin, organizations)
        .filter(member::Column::OrganizationUid.eq(organization.0))
        .filter(member::Column::UserUid.eq(user.0))
        .into_query()
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
            session_ended: false,
            denial: self.denial(),
            permissions: grants.effective(custom),
        }
    }

    /// The organization is looked at first: what is wrong with it is wrong for all.
    fn denial(&self) -> AccessDenial {
        if self.delete_time.is_some() {
            AccessDenial::OrganizationDeleted
        } else if self.suspend_time.is_some() {
            AccessDenial::OrganizationSuspended
        } else if !self.client_access_enabled {
            AccessDenial::AccessOff
        } else if self.disabled {
            AccessDenial::UserDisabled
        } else {
            match State::try_from(self.state) {
                Ok(State::Active) => AccessDenial::Unspecified,
                Ok(State::Suspended) => AccessDenial::MemberSuspended,
                // A state of a newer version may do nothing, whatever else it is.
                _ => AccessDenial::MemberRemoved,
            }
        }
    }
}
