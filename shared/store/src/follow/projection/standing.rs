//! How users stand in organizations, as far as was told: everything that decides what they may do.

use super::{members, organizations, roles, sessions, users};
use crate::cursor::Answer;
use crate::read::Reader;
use clientele_api::org::organization::State;
use clientele_api::permission::{BuiltInRole, Effective, Permission};
use clientele_api::{Result, Uid};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::SelectStatement;
use sea_orm::{FromQueryResult, JoinType, QueryOrder, QuerySelect, QueryTrait};
use std::collections::BTreeMap;

/// How a user stands in an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The workspace of the organization.
    pub workspace: Uid,
    /// The state of the organization. Unspecified: one that this version does not know.
    pub organization: State,
    /// Whether the organization's users may sign in.
    pub client_access_enabled: bool,
    /// Whether the person may use nothing.
    pub user_disabled: bool,
    /// The number of `Member.State`.
    pub member: i32,
    /// What its roles and grants come to.
    pub permissions: Effective,
    /// Whether the session is known to be over.
    pub session_ended: bool,
}

/// A user in an organization.
#[derive(FromQueryResult)]
struct Row {
    workspace_uid: Uuid,
    organization_state: i32,
    client_access_enabled: bool,
    disabled: bool,
    state: i32,
    roles: String,
    permissions: String,
    session_ended: bool,
}

/// How a user stands in an organization, and in a session. None: it is not known to be or have been a member.
pub async fn get(reader: &Reader, organization: Uid, user: Uid, session: Option<Uid>) -> Result<Answer<Option<Known>>> {
    let found = reader.one_of::<Row>(select(organization, user, session)).await?;
    let Some(row) = found.value else {
        return Ok(found.map(|_| None));
    };
    let mut revision = found.revision;
    let held = || row.roles.split_whitespace();
    let own: Vec<&str> = held().filter(|id| BuiltInRole::find(id).is_none()).collect();
    let mut custom = BTreeMap::new();
    if !own.is_empty() {
        let found = reader.all(select_roles(organization, &own)).await?;
        revision.merge(&found.revision);
        // An id that was given out again means its newest role.
        custom.extend(
            found
                .value
                .into_iter()
                .filter_map(|role| Some((role.id?, role.permissions))),
        );
    }
    let given = |id: &str| custom.get(id).map(|text| permissions(text)).unwrap_or_default();
    let known = Known {
        workspace: Uid(row.workspace_uid),
        organization: State::try_from(row.organization_state).unwrap_or(State::Unspecified),
        client_access_enabled: row.client_access_enabled,
        user_disabled: row.disabled,
        member: row.state,
        permissions: Effective::of(held(), &permissions(&row.permissions), given),
        session_ended: row.session_ended,
    };
    Ok(Answer {
        value: Some(known),
        revision,
    })
}

/// What this version does not know gives nothing.
fn permissions(text: &str) -> Vec<Permission> {
    text.split_whitespace()
        .filter_map(|word| Permission::parse(word).ok())
        .collect()
}

fn select(organization: Uid, user: Uid, session: Option<Uid>) -> SelectStatement {
    let organizations: RelationDef = members::Entity::belongs_to(organizations::Entity)
        .from(members::Column::OrganizationUid)
        .to(organizations::Column::Uid)
        .into();
    let users: RelationDef = members::Entity::belongs_to(users::Entity)
        .from(members::Column::UserUid)
        .to(users::Column::Uid)
        .into();
    let over = sessions::Entity::find_by_id(session.unwrap_or(Uid::NIL).0)
        .select_only()
        .column(sessions::Column::Uid)
        .filter(sessions::Column::Id.is_not_null());
    members::Entity::find()
        .select_only()
        .columns([
            members::Column::State,
            members::Column::Roles,
            members::Column::Permissions,
        ])
        .columns([
            organizations::Column::WorkspaceUid,
            organizations::Column::ClientAccessEnabled,
        ])
        .column_as(organizations::Column::State, "organization_state")
        .column(users::Column::Disabled)
        .expr_as(Expr::exists(over.into_query()), "session_ended")
        .join(JoinType::InnerJoin, organizations)
        .join(JoinType::InnerJoin, users)
        .filter(members::Column::OrganizationUid.eq(organization.0))
        .filter(members::Column::UserUid.eq(user.0))
        .filter(members::Column::Id.is_not_null())
        .filter(organizations::Column::Id.is_not_null())
        .filter(users::Column::Id.is_not_null())
        .order_by_desc(members::Column::Uid)
        .limit(1)
        .into_query()
}

fn select_roles(organization: Uid, ids: &[&str]) -> Select<roles::Entity> {
    roles::Entity::find()
        .filter(roles::Column::OrganizationUid.eq(organization.0))
        .filter(roles::Column::Id.is_in(ids.iter().copied()))
        .order_by_asc(roles::Column::Uid)
}
