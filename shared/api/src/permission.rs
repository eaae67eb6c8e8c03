//! What client users may do: the catalogue of permissions, the built-in roles, and what roles and grants come to.

use crate::error::Invalid;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

/// A permission of the catalogue, as roles and grants hold it: `conversations.view`, `tabs.{id}.view`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(String);

/// Every custom tab, those to come included.
const ALL_TABS: &str = "tabs.*.view";
/// The role whose holders run their organization.
pub const ORG_ADMIN: &str = "org-admin";

/// The permissions that are not about one custom tab, and what each allows; in the order of the alphabet.
pub const CATALOGUE: &[(&str, &str)] = &[
    ("analytics.manage", "Export and configure analytics."),
    ("analytics.view", "See the performance and the use of agents."),
    ("billing.manage", "Buy credits and manage payments of the organization."),
    ("billing.view", "See credits, prices and payments of the organization."),
    ("canned-responses.manage", "Write the organization's canned responses."),
    ("channels.manage", "Connect and configure channels."),
    ("channels.view", "See the channels."),
    (
        "conversations.manage",
        "Take part in conversations and manage transcripts.",
    ),
    ("conversations.view", "Read conversations."),
    ("home.manage", "Arrange the overview."),
    ("home.view", "See the overview."),
    ("integrations.manage", "Connect and configure integrations."),
    ("integrations.view", "See the integrations."),
    ("knowledge-base.manage", "Change the documents of the knowledge base."),
    ("knowledge-base.view", "Read the knowledge base."),
    ("leads.manage", "Work on leads."),
    ("leads.view", "See the leads."),
    (
        "members.manage",
        "Invite people, and manage members and roles of the organization.",
    ),
    (
        "organization.manage",
        "Change the organization's own data, where it lets its users do so.",
    ),
    ("prompt.manage", "Change prompts, models and tools of agents."),
    ("prompt.view", "See prompts, models and tools of agents."),
    ("settings.manage", "Change the exposed part of agents' settings."),
    ("settings.view", "See the exposed part of agents' settings."),
    (ALL_TABS, "See every custom tab."),
    ("teams.manage", "Manage the organization's teams."),
];

/// One custom tab, for those who list the catalogue.
pub const ONE_TAB: (&str, &str) = ("tabs.{id}.view", "See the custom tab with this id.");

impl Permission {
    /// The permission of this text, if the catalogue has it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = CATALOGUE.binary_search_by(|(known, _)| (*known).cmp(text)).is_ok();
        if known || tab(text).is_some() {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "must be permissions as ListPermissions lists them, such as conversations.view",
        ))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Borrow<str> for Permission {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The id of the custom tab in `tabs.{id}.view`.
fn tab(permission: &str) -> Option<&str> {
    let id = permission.strip_prefix("tabs.")?.strip_suffix(".view")?;
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let begins = id.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    ((1..=63).contains(&id.len()) && begins && id.as_bytes().iter().all(inner)).then_some(id)
}

/// A role that every organization has and nobody can change.
#[derive(Debug)]
pub struct BuiltInRole {
    /// Its id.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    gives: fn(&str) -> bool,
}

/// The built-in roles.
pub const BUILT_IN_ROLES: &[BuiltInRole] = &[
    BuiltInRole {
        id: ORG_ADMIN,
        title: "Org Admin",
        gives: |permission| !permission.starts_with("billing."),
    },
    BuiltInRole {
        id: "member",
        title: "Member",
        gives: |permission| matches!(permission, "home.view" | "conversations.view"),
    },
    BuiltInRole {
        id: "viewer",
        title: "Viewer",
        gives: |permission| permission.ends_with(".view") && permission != "billing.view",
    },
    BuiltInRole {
        id: "billing-manager",
        title: "Billing Manager",
        gives: |permission| permission == "home.view" || permission.starts_with("billing."),
    },
];

impl BuiltInRole {
    /// The one with this id.
    pub fn find(id: &str) -> Option<&'static Self> {
        BUILT_IN_ROLES.iter().find(|role| role.id == id)
    }

    /// What its holders may do.
    pub fn permissions(&self) -> Vec<Permission> {
        let given = CATALOGUE.iter().filter(|(permission, _)| (self.gives)(permission));
        given
            .map(|(permission, _)| Permission((*permission).to_owned()))
            .collect()
    }
}

/// What gives a permission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The ids of the roles that give it.
    pub roles: Vec<String>,
    /// Whether it is granted by itself.
    pub granted: bool,
}

/// What a member may do in its organization, and what gives each permission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective(BTreeMap<Permission, Sources>);

impl Effective {
    /// What roles and grants come to: the one place that says so. `custom` gives the permissions of the organization's own role with an
    /// id; one that it does not know gives nothing.
    pub fn of<'r>(
        roles: impl IntoIterator<Item = &'r str>,
        grants: &[Permission],
        custom: impl Fn(&str) -> Vec<Permission>,
    ) -> Self {
        let mut effective = Self::default();
        for role in roles {
            let given = BuiltInRole::find(role).map_or_else(|| custom(role), BuiltInRole::permissions);
            for permission in given {
                effective.0.entry(permission).or_default().roles.push(role.to_owned());
            }
        }
        for permission in grants {
            effective.0.entry(permission.clone()).or_default().granted = true;
        }
        effective
    }

    /// Whether it holds the permission: that one, or all of its kind.
    pub fn holds(&self, permission: &str) -> bool {
        self.0.contains_key(permission) || (tab(permission).is_some() && self.0.contains_key(ALL_TABS))
    }

    /// The first permission of `other` that it does not hold.
    pub fn lacks<'o>(&self, other: &'o Self) -> Option<&'o Permission> {
        other.0.keys().find(|permission| !self.holds(permission.as_str()))
    }

    /// Each permission with what gives it, in the order of the alphabet.
    pub fn iter(&self) -> impl Iterator<Item = (&Permission, &Sources)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(id: &str) -> Effective {
        Effective::of([id], &[], |_| Vec::new())
    }

    fn permission(text: &str) -> Permission {
        Permission::parse(text).unwrap()
    }

    #[test]
    fn the_catalogue_is_in_order_and_parses() {
        assert!(CATALOGUE.is_sorted_by(|a, b| a.0 < b.0));
        for (text, _) in CATALOGUE {
            assert_eq!(permission(text).as_str(), *text);
        }
        assert!(Permission::parse("tabs.my-tab_2.view").is_ok());
        for bad in [
            "",
            "home",
            "home.delete",
            "tabs..view",
            "tabs.A.view",
            "tabs.1.view",
            "tabs.a.manage",
            "tabs.{id}.view",
            "*",
        ] {
            assert!(Permission::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn built_in_roles_hold_what_they_are_for() {
        let admin = role(ORG_ADMIN);
        let all_but_billing = |text: &str| admin.holds(text) != text.starts_with("billing.");
        assert!(CATALOGUE.iter().all(|(text, _)| all_but_billing(text)));
        assert!(admin.holds("tabs.anything.view"));
        let texts = |effective: &Effective| effective.iter().map(|(held, _)| held.to_string()).collect::<Vec<_>>();
        assert_eq!(texts(&role("member")), ["conversations.view", "home.view"]);
        assert_eq!(
            texts(&role("billing-manager")),
            ["billing.manage", "billing.view", "home.view"]
        );
        let viewer = role("viewer");
        assert!(viewer.holds("leads.view") && viewer.holds("tabs.x.view"));
        assert!(!viewer.holds("billing.view") && !viewer.holds("leads.manage"));
        assert!(texts(&role("no-such-role")).is_empty());
    }

    #[test]
    fn every_permission_says_what_gives_it() {
        let custom = |id: &str| {
            if id == "sales" {
                vec![permission("leads.view"), permission("home.view")]
            } else {
                Vec::new()
            }
        };
        let effective = Effective::of(
            ["member", "sales"],
            &[permission("home.view"), permission("tabs.a.view")],
            custom,
        );
        let sources = |text: &str| effective.0[text].clone();
        let from = |roles: &[&str], granted| Sources {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            granted,
        };
        assert_eq!(sources("home.view"), from(&["member", "sales"], true));
        assert_eq!(sources("leads.view"), from(&["sales"], false));
        assert_eq!(sources("tabs.a.view"), from(&[], true));
        assert!(effective.holds("tabs.a.view") && !effective.holds("tabs.b.view"));
    }

    #[test]
    fn what_is_lacking_is_found() {
        let (admin, billing) = (role(ORG_ADMIN), role("billing-manager"));
        assert_eq!(admin.lacks(&billing), Some(&permission("billing.manage")));
        assert_eq!(admin.lacks(&role("viewer")), None);
        let one_tab = Effective::of([], &[permission("tabs.a.view")], |_| Vec::new());
        let all_tabs = Effective::of([], &[permission(ALL_TABS)], |_| Vec::new());
        assert_eq!(all_tabs.lacks(&one_tab), None);
        assert_eq!(one_tab.lacks(&all_tabs), Some(&permission(ALL_TABS)));
    }

    #[test]
    fn methods_ask_for_permissions_of_the_catalogue() {
        for method in crate::METHODS {
            for asked in method.permissions {
                let known = matches!(*asked, "*" | "self") || Permission::parse(asked).is_ok();
                assert!(known, "{} asks for {asked}", method.path);
            }
        }
    }
}
