//! Resource names: `workspaces/acme/organizations/bakery`.

use crate::error::Invalid;
use crate::uid::Uid;
use uuid::Uuid;

/// A workspace that a name was resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkspaceRef {
    /// Its identity.
    pub uid: Uid,
    /// Its id in names.
    pub id: String,
}

/// An organization that a name was resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrganizationRef {
    /// The workspace that holds it.
    pub workspace: WorkspaceRef,
    /// Its identity.
    pub uid: Uid,
    /// Its id in names.
    pub id: String,
}

impl WorkspaceRef {
    /// `workspaces/{workspace}`.
    pub fn name(&self) -> String {
        format!("workspaces/{}", self.id)
    }
}

impl OrganizationRef {
    /// As rows keep it: uid and id of the workspace and of the organization.
    pub fn of_row(workspace: (Uuid, String), organization: (Uuid, String)) -> Self {
        Self {
            workspace: WorkspaceRef {
                uid: Uid(workspace.0),
                id: workspace.1,
            },
            uid: Uid(organization.0),
            id: organization.1,
        }
    }

    /// `workspaces/{workspace}/organizations/{organization}`.
    pub fn name(&self) -> String {
        format!("workspaces/{}/organizations/{}", self.workspace.id, self.id)
    }
}

/// A name taken apart: the collections and ids in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'n>(Vec<(&'n str, &'n str)>);

impl<'n> Parts<'n> {
    /// Takes a name apart that must match one of the patterns, as in `workspaces/{workspace}/agents/{agent}`.
    pub fn parse(name: &'n str, patterns: &[&str]) -> Result<Self, Invalid> {
        patterns
            .iter()
            .find_map(|pattern| matches(name, pattern))
            .ok_or_else(|| Invalid::new(format!("must be of the form {}", patterns.join(" or "))))
    }

    /// The id in this collection.
    pub fn id(&self, collection: &str) -> Option<&'n str> {
        self.0.iter().find(|(known, _)| *known == collection).map(|(_, id)| *id)
    }

    /// The last id.
    pub fn last(&self) -> Option<&'n str> {
        self.0.last().map(|(_, id)| *id)
    }
}

/// The last segment of a name that admission has found well formed.
pub fn last_id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

fn matches<'n>(name: &'n str, pattern: &str) -> Option<Parts<'n>> {
    let mut names = name.split('/');
    let mut patterns = pattern.split('/');
    let mut parts = Vec::new();
    loop {
        let (collection, expected) = match (names.next(), patterns.next()) {
            (Some(collection), Some(expected)) => (collection, expected),
            (None, None) => return Some(Parts(parts)),
            _ => return None,
        };
        if collection != expected {
            return None;
        }
        // A singleton (`…/settings`) has no id behind it.
        match (names.next(), patterns.next()) {
            (Some(id), Some(_)) if is_id(id) => parts.push((collection, id)),
            (None, None) => return Some(Parts(parts)),
            _ => return None,
        }
    }
}

/// What any id is made of; each collection's own rule is narrower.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_their_pattern_or_are_refused() {
        let pattern = &["workspaces/{workspace}/organizations/{organization}/settings"];
        let parts = Parts::parse("workspaces/a/organizations/b/settings", pattern).unwrap();
        assert_eq!(
            (parts.id("workspaces"), parts.id("organizations")),
            (Some("a"), Some("b"))
        );
        for bad in [
            "",
            "workspaces/a",
            "workspaces/a/organizations/b",
            "workspaces//organizations/b/settings",
            "workspaces/a/organizations/b/settings/c",
            "workspaces/a\0/organizations/b/settings",
            "workspaces/ä/organizations/b/settings",
        ] {
            assert!(Parts::parse(bad, pattern).is_err(), "{bad:?}");
        }
    }
}
