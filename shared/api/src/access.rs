//! Who may call a method: `clientele.policy.v1.access` as Rust values.

use std::time::Duration;

/// A method and its policy.
#[derive(Debug)]
pub struct Method {
    /// As it travels: `/clientele.org.v1.OrganizationService/GetOrganization`.
    pub path: &'static str,
    /// The request fields that hold names; none: the method stands above workspaces.
    pub names: &'static [Name],
    /// The least staff role that may call.
    pub role: Option<StaffRole>,
    /// The permissions of which each lets a client user call: one of the catalogue, `*` or `self`.
    pub permissions: &'static [&'static str],
    /// The mask paths open to client users; empty: all.
    pub client_paths: &'static [&'static str],
    /// Whether internal services may call.
    pub service: bool,
    /// Whether no token is needed.
    pub public: bool,
    /// The longest a call may take; streams have none.
    pub deadline: Option<Duration>,
}

/// A request field that holds a resource name.
#[derive(Debug)]
pub struct Name {
    /// Its path in the request.
    pub field: &'static str,
    /// The patterns of which the value matches one.
    pub patterns: &'static [&'static str],
    /// Whether it may be empty.
    pub optional: bool,
}

/// The roles of a workspace's staff; a later one holds what the ones before it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StaffRole {
    /// Any member of the staff.
    Member,
    /// Administrators.
    Admin,
    /// Owners.
    Owner,
}
