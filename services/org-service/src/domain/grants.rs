//! What a member is given: roles and permissions. Members hold grants, invitations promise them.

use clientele_api::error::Invalid;
use clientele_api::permission::{BuiltInRole, Effective, ORG_ADMIN, Permission};
use clientele_api::{Violations, parse};
use std::collections::BTreeMap;

/// How many roles at most.
const MOST_ROLES: usize = 20;
/// How many permissions besides at most.
const MOST_PERMISSIONS: usize = 100;

/// Roles of the organization by id, and permissions besides; each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The ids of the roles, in the order in which they were given.
    pub roles: Vec<String>,
    /// The permissions, in the order of the alphabet.
    pub permissions: Vec<Permission>,
}

/// The permissions of an organization's own roles, by id.
pub type CustomRoles = BTreeMap<String, Vec<Permission>>;

impl Grants {
    /// Reads roles and permissions that stand at a path of the request.
    pub fn parse(roles: &[String], permissions: &[String], path: &str, violations: &mut Violations) -> Self {
        Self {
            roles: read_roles(roles, path, violations),
            permissions: read_permissions(permissions, MOST_PERMISSIONS, path, violations),
        }
    }

    /// All of several, each once: they come to what the several come to.
    pub fn all<'g>(several: impl IntoIterator<Item = &'g Self>) -> Self {
        several.into_iter().fold(Self::default(), |mut all, one| {
            let more = one.beyond(&all);
            all.roles.extend(more.roles);
            all.permissions.extend(more.permissions);
            all
        })
    }

    /// What they come to.
    pub fn effective(&self, custom: &CustomRoles) -> Effective {
        let roles = self.roles.iter().map(String::as_str);
        Effective::of(roles, &self.permissions, |id| {
            custom.get(id).cloned().unwrap_or_default()
        })
    }

    /// Whether they make an org admin.
    pub fn org_admin(&self) -> bool {
        self.roles.iter().any(|role| role == ORG_ADMIN)
    }

    /// The ids of the roles that are the organization's own.
    pub fn custom_roles(&self) -> impl Iterator<Item = &str> {
        let roles = self.roles.iter().map(String::as_str);
        roles.filter(|id| BuiltInRole::find(id).is_none())
    }

    /// What these have and the others have not.
    #[must_use]
    pub fn beyond(&self, others: &Self) -> Self {
        Self {
            roles: missing(&self.roles, &others.roles),
            permissions: missing(&self.permissions, &others.permissions),
        }
    }
}

fn missing<T: Clone + PartialEq>(mine: &[T], others: &[T]) -> Vec<T> {
    mine.iter().filter(|one| !others.contains(one)).cloned().collect()
}

/// Reads ids of roles.
pub fn read_roles(roles: &[String], path: &str, violations: &mut Violations) -> Vec<String> {
    let parsed = each_once(roles, MOST_ROLES, parse::resource_id);
    violations.check(&format!("{path}.roles"), parsed).unwrap_or_default()
}

/// Reads permissions, and puts them in order.
pub fn read_permissions(
    permissions: &[String],
    most: usize,
    path: &str,
    violations: &mut Violations,
) -> Vec<Permission> {
    let parsed = each_once(permissions, most, Permission::parse);
    let mut permissions = violations
        .check(&format!("{path}.permissions"), parsed)
        .unwrap_or_default();
    permissions.sort();
    permissions
}

/// Reads a list whose values are given once each. Stops at the first that breaks a rule: what is answered stays small.
pub fn each_once<T: PartialEq>(
    texts: &[String],
    most: usize,
    read: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    if texts.len() > most {
        return Err(Invalid::new(format!("must be at most {most}, not {}", texts.len())));
    }
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        let value = read(text).map_err(|Invalid(rule)| Invalid::new(format!("{text:?}: {rule}")))?;
        if values.contains(&value) {
            return Err(Invalid::new(format!("must hold {text:?} once")));
        }
        values.push(value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn parse(roles: &[&str], permissions: &[&str]) -> clientele_api::Result<Grants> {
        let mut violations = Violations::new();
        let grants = Grants::parse(&texts(roles), &texts(permissions), "member", &mut violations);
        violations.finish(Some(grants))
    }

    #[test]
    fn every_violation_is_answered() {
        let many: Vec<String> = (0..21).map(|at| format!("role-{at}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (roles, permissions) in [
            (&["A"][..], &["x"][..]),
            (&["viewer", "viewer"], &["home.view", "home.view"]),
            (&many, &["home.see"]),
        ] {
            let error = parse(roles, permissions).unwrap_err();
            let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
            assert_eq!(fields, ["member.roles", "member.permissions"]);
        }
    }

    #[test]
    fn they_come_to_what_roles_and_permissions_give() {
        let grants = parse(&["sales", "member"], &["leads.view", "billing.view"]).unwrap();
        assert_eq!(grants.permissions[0].as_str(), "billing.view", "in order");
        assert_eq!(grants.custom_roles().collect::<Vec<_>>(), ["sales"]);
        let sales = Permission::parse("prompt.view").unwrap();
        let custom = CustomRoles::from([("sales".to_owned(), vec![sales])]);
        let effective = grants.effective(&custom);
        for held in ["prompt.view", "home.view", "billing.view"] {
            assert!(effective.holds(held), "{held}");
        }
        assert!(!grants.org_admin() && parse(&["org-admin"], &[]).unwrap().org_admin());
    }

    #[test]
    fn what_is_added_is_what_was_not_there() {
        let before = parse(&["member", "viewer"], &["leads.view"]).unwrap();
        let after = parse(&["viewer", "org-admin"], &["leads.view", "home.view"]).unwrap();
        assert_eq!(after.beyond(&before), parse(&["org-admin"], &["home.view"]).unwrap());
        assert_eq!(before.beyond(&before), Grants::default());
    }
}
