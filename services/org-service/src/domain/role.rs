//! Roles: named sets of permissions that members of an organization hold.

use super::grants::read_permissions;
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::mask::Mask;
use clientele_api::name::OrganizationRef;
use clientele_api::org::{self as api};
use clientele_api::permission::{BuiltInRole, Permission};
use clientele_api::{Error, Micros, Result, Uid, Violations, parse};
use sha2::{Digest, Sha256};
use uuid::Builder;

/// How many permissions a role may have.
const MOST_PERMISSIONS: usize = 200;
/// How many roles of its own an organization may have.
pub const MOST_ROLES: u64 = 100;

/// A role of an organization's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    /// Its identity.
    pub uid: Uid,
    /// The organization.
    pub organization: OrganizationRef,
    /// Its id in names.
    pub id: String,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was created.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// The title that people see.
    pub title: String,
    /// What its holders may do, in the order of the alphabet.
    pub permissions: Vec<Permission>,
}

/// A role that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRole {
    /// Its id in names.
    pub id: String,
    title: String,
    /// What its holders may do.
    pub permissions: Vec<Permission>,
}

impl NewRole {
    /// Reads the request.
    pub fn parse(request: &api::CreateRoleRequest) -> Result<Self> {
        let empty = api::Role::default();
        let message = request.role.as_ref().unwrap_or(&empty);
        let mut violations = Violations::new();
        let id = violations.check("role_id", parse::resource_id(&request.role_id));
        let new = Self {
            id: id.unwrap_or_default(),
            title: read_title(message, &mut violations),
            permissions: read_permissions(&message.permissions, MOST_PERMISSIONS, "role", &mut violations),
        };
        violations.finish(Some(new))
    }

    /// The role that comes of it.
    pub fn into_role(self, organization: &OrganizationRef, now: Micros) -> Role {
        Role {
            uid: Uid::new(),
            organization: organization.clone(),
            id: self.id,
            version: 1,
            create_time: now,
            update_time: now,
            title: self.title,
            permissions: self.permissions,
        }
    }
}

impl Role {
    /// `workspaces/{workspace}/organizations/{organization}/roles/{role}`.
    pub fn name(&self) -> String {
        role_name(&self.organization, &self.id)
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub fn update(&self, message: &api::Role, mask: &Mask, violations: &mut Violations, now: Micros) -> Role {
        let mut role = self.clone();
        if mask.has("title") {
            role.title = read_title(message, violations);
        }
        if mask.has("permissions") {
            role.permissions = read_permissions(&message.permissions, MOST_PERMISSIONS, "role", violations);
        }
        if role != *self {
            role.version += 1;
            role.update_time = now;
        }
        role
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Role) -> Vec<String> {
        [
            ("title", self.title != after.title),
            ("permissions", self.permissions != after.permissions),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// Refuses to take away what somebody holds, or was promised.
    pub fn require_unused(&self, members: u64, invitations: u64) -> Result<()> {
        if members + invitations == 0 {
            return Ok(());
        }
        let name = self.name();
        let message = format!(
            "{name:?} is held by {members} members and {invitations} pending invitations: take it from them first"
        );
        Err(Error::new(ErrorReason::RoleInUse, message)
            .with("members", members)
            .with("invitations", invitations)
            .about("Role", name))
    }
}

/// `workspaces/{workspace}/organizations/{organization}/roles/{role}`.
pub fn role_name(organization: &OrganizationRef, id: &str) -> String {
    format!("{}/roles/{id}", organization.name())
}

/// FAILED_PRECONDITION for a role that nobody can change.
pub fn require_custom(organization: &OrganizationRef, id: &str) -> Result<()> {
    if BuiltInRole::find(id).is_none() {
        return Ok(());
    }
    let name = role_name(organization, id);
    Err(Error::new(
        ErrorReason::RoleBuiltIn,
        format!("{name:?} is built in: nobody can change it"),
    )
    .about("Role", name))
}

fn read_title(message: &api::Role, violations: &mut Violations) -> String {
    let parsed: Result<String, Invalid> = parse::line(message.title(), 1..=100);
    violations.check("role.title", parsed).unwrap_or_default()
}

/// A built-in role, as an organization has it.
pub fn built_in(organization: &OrganizationRef, role: &BuiltInRole) -> api::Role {
    // The same for every service and at any time, without a row.
    let hash = Sha256::digest([organization.uid.0.as_bytes(), role.id.as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    let uid = Uid(Builder::from_custom_bytes(bytes).into_uuid());
    api::Role {
        name: role_name(organization, role.id),
        uid: uid.to_string(),
        etag: uid.etag(0),
        title: Some(role.title.to_owned()),
        permissions: role.permissions().iter().map(ToString::to_string).collect(),
        built_in: true,
        ..Default::default()
    }
}

impl From<&Role> for api::Role {
    fn from(role: &Role) -> Self {
        Self {
            name: role.name(),
            uid: role.uid.to_string(),
            version: role.version,
            etag: role.uid.etag(role.version),
            create_time: Some(role.create_time.into()),
            update_time: Some(role.update_time.into()),
            title: Some(role.title.clone()),
            permissions: role.permissions.iter().map(ToString::to_string).collect(),
            built_in: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::name::WorkspaceRef;
    use clientele_api::permission::BUILT_IN_ROLES;

    fn bakery() -> OrganizationRef {
        OrganizationRef {
            workspace: WorkspaceRef {
                uid: Uid::new(),
                id: "acme".to_owned(),
            },
            uid: Uid::new(),
            id: "bakery".to_owned(),
        }
    }

    #[test]
    fn every_violation_is_answered() {
        let role = api::Role {
            permissions: vec!["home.view".into(), "home.see".into()],
            ..Default::default()
        };
        let request = api::CreateRoleRequest {
            role_id: "S".into(),
            role: Some(role),
            ..Default::default()
        };
        let error = NewRole::parse(&request).unwrap_err();
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["role_id", "role.title", "role.permissions"]);
    }

    #[test]
    fn built_in_roles_are_the_same_at_any_time_and_nobody_s_to_change() {
        let bakery = bakery();
        let uids: std::collections::BTreeSet<String> =
            BUILT_IN_ROLES.iter().map(|role| built_in(&bakery, role).uid).collect();
        assert_eq!(uids.len(), BUILT_IN_ROLES.len());
        for role in BUILT_IN_ROLES {
            assert_eq!(built_in(&bakery, role), built_in(&bakery, role));
            assert_eq!(
                require_custom(&bakery, role.id).unwrap_err().reason(),
                ErrorReason::RoleBuiltIn
            );
        }
        assert!(require_custom(&bakery, "sales").is_ok());
    }
}
