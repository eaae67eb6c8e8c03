//! Which fields an update changes.

use crate::error::Violations;
use crate::request::{Behavior, Field, Update};

/// The leaves that an update changes, by path. A leaf that is in the mask and absent from the resource is cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(Vec<&'static str>);

impl Mask {
    /// Reads the mask of a request: absent, the fields present; `*`, all; a path, the leaf or all leaves below it.
    /// Notes paths that are unknown or output-only, and an update that names nothing.
    pub fn read<U: Update>(request: &U, violations: &mut Violations) -> Self {
        let Some(mask) = request.update_mask() else {
            let present = request.present();
            if present.is_empty() {
                violations.add(
                    "update_mask",
                    format!("must name what to change, or `{}` must hold it", U::RESOURCE),
                );
            }
            return Self(present);
        };
        let mut leaves = Vec::new();
        if mask.paths.is_empty() {
            violations.add("update_mask", "must name at least one field");
        }
        for path in &mask.paths {
            let named: Vec<&Field> = U::FIELDS.iter().filter(|field| is_below(field.path, path)).collect();
            if named.is_empty() {
                violations.add("update_mask", format!("{path:?} must be a field of `{}`", U::RESOURCE));
            }
            if path != "*" && named.iter().any(|field| field.behavior == Behavior::OutputOnly) {
                violations.add("update_mask", format!("{path:?} must not be output-only"));
            }
            leaves.extend(
                named
                    .iter()
                    .filter(|field| field.behavior == Behavior::Mutable)
                    .map(|field| field.path),
            );
        }
        leaves.sort_unstable();
        leaves.dedup();
        if leaves.is_empty() && violations.is_empty() {
            violations.add("update_mask", "must name at least one field that can be changed");
        }
        Self(leaves)
    }

    /// All leaves that can be changed, as `*`.
    pub fn all<U: Update>() -> Self {
        let mutable = U::FIELDS.iter().filter(|field| field.behavior == Behavior::Mutable);
        Self(mutable.map(|field| field.path).collect())
    }

    /// Whether the update changes this leaf.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains(&path)
    }

    /// The leaves, by path.
    pub fn paths(&self) -> &[&'static str] {
        &self.0
    }
}

fn is_below(leaf: &str, path: &str) -> bool {
    path == "*" || leaf == path || leaf.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::org::{Organization, OrganizationLimits, UpdateOrganizationRequest};
    use prost_types::FieldMask;

    fn read(organization: Organization, paths: Option<&[&str]>) -> Result<Vec<&'static str>, String> {
        let update_mask = paths.map(|paths| FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        });
        let request = UpdateOrganizationRequest {
            organization: Some(organization),
            update_mask,
            ..Default::default()
        };
        let mut violations = Violations::new();
        let mask = Mask::read(&request, &mut violations);
        violations
            .finish(Some(mask.0))
            .map_err(|error| error.violations()[0].description.clone())
    }

    #[test]
    fn absent_means_the_leaves_that_are_present() {
        let limits = Some(OrganizationLimits {
            max_agents: Some(0),
            ..Default::default()
        });
        let organization = Organization {
            display_name: Some(String::new()),
            limits,
            version: 7,
            ..Default::default()
        };
        assert_eq!(read(organization, None).unwrap(), ["display_name", "limits.max_agents"]);
        assert!(
            read(
                Organization {
                    version: 7,
                    name: "n".into(),
                    ..Default::default()
                },
                None
            )
            .is_err()
        );
    }

    #[test]
    fn paths_name_leaves_or_what_is_above_them() {
        let limits = [
            "limits.max_agents",
            "limits.max_members",
            "limits.max_pending_invitations",
            "limits.max_teams",
        ];
        assert_eq!(read(Organization::default(), Some(&["limits"])).unwrap(), limits);
        let mut all = Mask::all::<UpdateOrganizationRequest>().0;
        all.sort_unstable();
        assert_eq!(read(Organization::default(), Some(&["*"])).unwrap(), all);
        assert_eq!(all.len(), 10);
        for bad in [
            "nothing",
            "uid",
            "limit",
            "limits.max_agents.x",
            "logo.width",
            "",
            "name",
            "etag",
        ] {
            assert!(read(Organization::default(), Some(&[bad])).is_err(), "{bad:?}");
        }
        assert!(read(Organization::default(), Some(&[])).is_err());
    }
}
