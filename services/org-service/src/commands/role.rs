//! What can be done with roles.

use super::App;
use super::member::require_may_give;
use crate::domain::grants::Grants;
use crate::domain::role::{MOST_ROLES, NewRole, Role, built_in, require_custom, role_name};
use crate::store;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::permission::{BUILT_IN_ROLES, BuiltInRole, CATALOGUE, ONE_TAB, Permission};
use clientele_api::{Error, Micros, Result, Violations, org as api, parse};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded, page};

/// Lists the roles of the organization: the built-in ones, then its own by id.
pub async fn list(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ListRolesRequest,
) -> Result<Answer<api::ListRolesResponse>> {
    let page = PageRequest::read(&request, scope.organization().uid)?;
    let after = page.after.as_deref().map(read_key).transpose()?;
    let passed = BUILT_IN_ROLES.iter().position(|role| Some(role.id) == after.as_deref());
    // Behind a role of its own there are only others of its own.
    let left = match (&after, passed) {
        (None, _) => BUILT_IN_ROLES,
        (Some(_), Some(at)) => &BUILT_IN_ROLES[at + 1..],
        (Some(_), None) => &[],
    };
    let own_after = after.as_deref().filter(|_| passed.is_none());
    let own = store::role::list(&app.reader, &scope, own_after, page.size + 1).await?;
    Ok(own.map(|own| {
        let built_in = left.iter().map(|role| built_in(scope.organization(), role));
        let rows = built_in.chain(own.iter().map(api::Role::from)).collect();
        let key = |last: &api::Role| last_id(&last.name).as_bytes().to_vec();
        let (roles, next_page_token) = page.fill(rows, Clone::clone, key);
        api::ListRolesResponse { roles, next_page_token }
    }))
}

fn read_key(key: &[u8]) -> Result<String> {
    let id = std::str::from_utf8(key).map_err(|_| page::invalid())?;
    parse::resource_id(id).map_err(|_| page::invalid())
}

/// Gets a role.
pub async fn get(app: &App, scope: Scope<OrganizationRef>, name: &str) -> Result<Answer<api::Role>> {
    let id = last_id(name);
    if let Some(role) = BuiltInRole::find(id) {
        let revision = app.reader.revision_now().await?;
        let value = built_in(scope.organization(), role);
        return Ok(Answer { value, revision });
    }
    let found = store::role::get(&app.reader, &scope, id).await?;
    Ok(found.map(|role| api::Role::from(&role)))
}

/// Lists the permissions that there are.
pub async fn list_permissions(app: &App) -> Result<Answer<api::ListPermissionsResponse>> {
    let permissions = CATALOGUE.iter().chain([&ONE_TAB]);
    let permissions = permissions.map(|(permission, description)| api::Permission {
        permission: (*permission).to_owned(),
        description: (*description).to_owned(),
    });
    Ok(Answer {
        value: api::ListPermissionsResponse {
            permissions: permissions.collect(),
        },
        revision: app.reader.revision_now().await?,
    })
}

/// Creates a role.
pub async fn create(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::CreateRoleRequest,
) -> Result<Answer<api::Role>> {
    let new = NewRole::parse(&request)?;
    let name = role_name(scope.organization(), &new.id);
    if BuiltInRole::find(&new.id).is_some() {
        let message = "a built-in role has this id: choose another id";
        return Err(Error::new(ErrorReason::ResourceExists, message)
            .with("field", "role_id")
            .about("Role", name));
    }
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (_, giver) = store::organization::lock(tx, &scope).await?;
        require_may_give(tx, &scope, giver.as_ref(), &permissions(&new.permissions)).await?;
        require_room(&scope, store::role::count(tx, &scope).await?)?;
        let role = new.into_role(scope.organization(), Micros::now());
        store::role::insert(tx, &scope, &role);
        let message = api::Role::from(&role);
        let change = Change::created(&message);
        Ok(Recorded::change(message, change))
    };
    app.journal
        .write(author, unit)
        .await
        .map_err(|error| match error.reason() {
            ErrorReason::ResourceExists => error.about("Role", name),
            _ => error,
        })
}

fn require_room(scope: &Scope<OrganizationRef>, used: u64) -> Result<()> {
    if used < MOST_ROLES {
        return Ok(());
    }
    let name = scope.organization().name();
    let message = format!("{name:?} has {used} roles of its own, and no organization has more: delete one first");
    Err(Error::new(ErrorReason::LimitReached, message)
        .with("limit", MOST_ROLES)
        .with("used", used)
        .about("Organization", name))
}

fn permissions(permissions: &[Permission]) -> Grants {
    Grants {
        roles: Vec::new(),
        permissions: permissions.to_vec(),
    }
}

/// Changes fields of a role.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateRoleRequest,
) -> Result<Answer<api::Role>> {
    let mask = scope.mask(&request)?;
    let message = request.role.unwrap_or_default();
    require_custom(scope.organization(), last_id(&message.name))?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (_, giver) = store::organization::lock(tx, &scope).await?;
        let before = store::role::read(tx, &scope, last_id(&message.name)).await?;
        before.check_etag(&message.etag)?;
        let after = read_update(&before, &message, &mask)?;
        let answer = api::Role::from(&after);
        if after == before {
            return Ok(Recorded::nothing(answer));
        }
        let added = permissions(&after.permissions).beyond(&permissions(&before.permissions));
        require_may_give(tx, &scope, giver.as_ref(), &added).await?;
        store::role::update(tx, &scope, &before, &after);
        let change = Change::updated(&api::Role::from(&before), &answer, before.changed_fields(&after));
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}

fn read_update(before: &Role, message: &api::Role, mask: &clientele_api::mask::Mask) -> Result<Role> {
    let mut violations = Violations::new();
    let after = before.update(message, mask, &mut violations, Micros::now());
    violations.finish(Some(after))
}

/// Deletes a role.
pub async fn delete(app: &App, scope: Scope<OrganizationRef>, request: api::DeleteRoleRequest) -> Result<Answer<()>> {
    let id = last_id(&request.name).to_owned();
    require_custom(scope.organization(), &id)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        store::organization::lock(tx, &scope).await?;
        let role = store::role::read(tx, &scope, &id).await?;
        role.check_etag(&request.etag)?;
        let members = store::member::count_with_role(tx, &scope, &id).await?;
        let invitations = store::invitation::count_pending_with_role(tx, &scope, &id, Micros::now()).await?;
        role.require_unused(members, invitations)?;
        store::role::delete(tx, &scope, &role);
        let change = Change::removed(&api::Role::from(&role), role.version + 1);
        Ok(Recorded::change((), change))
    };
    app.journal.write(author, unit).await
}
