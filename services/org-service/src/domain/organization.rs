//! Organizations: the containers of an agency's customers.

use super::id::{Form, IdChoice};
use super::logo::Logo;
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::mask::Mask;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org::{self as api, organization::State};
use clientele_api::{Error, Micros, Result, Uid, Violations, parse};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a deleted organization can be undeleted.
const UNDELETE_PERIOD: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What derived ids look like.
const ID: Form = Form {
    prefix: "org-",
    separator: '-',
    shortest: 3,
};

/// The container of one customer of the agency.
#[derive(Debug, Clone, PartialEq)]
pub struct Organization {
    /// Its identity.
    pub uid: Uid,
    /// The workspace that holds it.
    pub workspace: WorkspaceRef,
    /// Its id in names.
    pub id: String,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was created.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// The name that people see.
    pub display_name: String,
    /// The agency's own id of the customer, unique in the workspace.
    pub external_id: Option<String>,
    /// Where to write to the customer.
    pub contact_email: Option<String>,
    /// The agency's own notes.
    pub annotations: BTreeMap<String, String>,
    /// How many of each thing it may hold.
    pub limits: Limits,
    /// Whether its users may sign in.
    pub client_access_enabled: bool,
    /// Whether its own users may change name, contact email and logo.
    pub self_edit_enabled: bool,
    /// The logo.
    pub logo: Option<Logo>,
    /// Why it is suspended; kept while it is deleted.
    pub suspension: Option<Suspension>,
    /// When it was deleted.
    pub delete_time: Option<Micros>,
    /// When it is going to be purged.
    pub purge_time: Option<Micros>,
}

/// How many of each thing an organization may hold; none: no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Members.
    pub max_members: Option<i32>,
    /// Teams.
    pub max_teams: Option<i32>,
    /// Invitations that are pending.
    pub max_pending_invitations: Option<i32>,
    /// Assigned agents.
    pub max_agents: Option<i32>,
}

/// Why, by whom and since when an organization is suspended.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspension {
    /// The reason given.
    pub reason: String,
    /// Who suspended it.
    pub actor: String,
    /// Since when.
    pub time: Micros,
}

/// An organization that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOrganization {
    /// Its id in names.
    pub id: IdChoice,
    display_name: String,
    external_id: Option<String>,
    contact_email: Option<String>,
    annotations: BTreeMap<String, String>,
    limits: Limits,
    client_access_enabled: bool,
    self_edit_enabled: bool,
}

impl NewOrganization {
    /// Reads the request.
    pub fn parse(request: &api::CreateOrganizationRequest) -> Result<Self> {
        let empty = api::Organization::default();
        let message = request.organization.as_ref().unwrap_or(&empty);
        let limits = message.limits.unwrap_or_default();
        let mut violations = Violations::new();
        let display_name = read_display_name(message, &mut violations);
        let id = if request.organization_id.is_empty() {
            ID.derive(&display_name)
        } else {
            let id = violations.check("organization_id", parse::resource_id(&request.organization_id));
            IdChoice::Given(id.unwrap_or_default())
        };
        let new = Self {
            id,
            display_name,
            external_id: read_external_id(message, &mut violations),
            contact_email: read_contact_email(message, &mut violations),
            annotations: read_annotations(message, &mut violations),
            limits: Limits {
                max_members: read_limit("max_members", limits.max_members, &mut violations),
                max_teams: read_limit("max_teams", limits.max_teams, &mut violations),
                max_pending_invitations: read_limit(
                    "max_pending_invitations",
                    limits.max_pending_invitations,
                    &mut violations,
                ),
                max_agents: read_limit("max_agents", limits.max_agents, &mut violations),
            },
            client_access_enabled: read_client_access_enabled(message),
            self_edit_enabled: message.self_edit_enabled(),
        };
        violations.finish(Some(new))
    }

    /// The organization that comes of it, under this id.
    pub fn into_organization(self, workspace: &WorkspaceRef, id: String, now: Micros) -> Organization {
        Organization {
            uid: Uid::new(),
            workspace: workspace.clone(),
            id,
            version: 1,
            create_time: now,
            update_time: now,
            display_name: self.display_name,
            external_id: self.external_id,
            contact_email: self.contact_email,
            annotations: self.annotations,
            limits: self.limits,
            client_access_enabled: self.client_access_enabled,
            self_edit_enabled: self.self_edit_enabled,
            logo: None,
            suspension: None,
            delete_time: None,
            purge_time: None,
        }
    }
}

impl Organization {
    /// `workspaces/{workspace}/organizations/{organization}`.
    pub fn name(&self) -> String {
        self.reference().name()
    }

    /// What other resources know of it.
    pub fn reference(&self) -> OrganizationRef {
        OrganizationRef {
            workspace: self.workspace.clone(),
            uid: self.uid,
            id: self.id.clone(),
        }
    }

    /// What it may be used for.
    pub fn state(&self) -> State {
        if self.delete_time.is_some() {
            State::Deleted
        } else if self.suspension.is_some() {
            State::Suspended
        } else {
            State::Active
        }
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// Refuses what can't be done to a deleted organization.
    pub fn require_not_deleted(&self) -> Result<()> {
        match self.state() {
            State::Deleted => Err(self.refuse(ErrorReason::OrganizationDeleted, "is deleted: undelete it first")),
            _ => Ok(()),
        }
    }

    /// Refuses what needs an organization in use.
    pub fn require_active(&self) -> Result<()> {
        self.require_not_deleted()?;
        if self.suspension.is_some() {
            return Err(self.refuse(ErrorReason::OrganizationSuspended, "is suspended: resume it first"));
        }
        Ok(())
    }

    /// Refuses a client user where its own users may not edit it.
    pub fn require_self_edit(&self) -> Result<()> {
        if self.self_edit_enabled {
            return Ok(());
        }
        let state = "does not let its own users edit it: ask the agency";
        Err(self.refuse(ErrorReason::SelfEditDisabled, state))
    }

    /// Refuses more members than it may have; it has `used`.
    pub fn require_room_for_members(&self, used: u64, more: u64) -> Result<()> {
        self.require_room("max_members", "members", self.limits.max_members, used, more)
    }

    /// Refuses more teams than it may have; it has `used`.
    pub fn require_room_for_teams(&self, used: u64, more: u64) -> Result<()> {
        self.require_room("max_teams", "teams", self.limits.max_teams, used, more)
    }

    /// Refuses more pending invitations than it may have; it has `used`.
    pub fn require_room_for_invitations(&self, used: u64, more: u64) -> Result<()> {
        let limit = self.limits.max_pending_invitations;
        self.require_room("max_pending_invitations", "pending invitations", limit, used, more)
    }

    fn require_room(&self, field: &str, things: &str, limit: Option<i32>, used: u64, more: u64) -> Result<()> {
        let Some(limit) = limit
            .map(i64::from)
            .filter(|limit| (used + more).cast_signed() > *limit)
        else {
            return Ok(());
        };
        let name = self.name();
        let message = format!("{name:?} has {used} {things} and may have {limit}: raise its {field} first");
        Err(Error::new(ErrorReason::LimitReached, message)
            .with("limit", limit)
            .with("used", used)
            .about("Organization", name))
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub fn update(
        &self,
        message: &api::Organization,
        mask: &Mask,
        violations: &mut Violations,
        now: Micros,
    ) -> Organization {
        let limits = message.limits.unwrap_or_default();
        self.changed(now, |organization| {
            if mask.has("display_name") {
                organization.display_name = read_display_name(message, violations);
            }
            if mask.has("external_id") {
                organization.external_id = read_external_id(message, violations);
            }
            if mask.has("contact_email") {
                organization.contact_email = read_contact_email(message, violations);
            }
            if mask.has("annotations") {
                organization.annotations = read_annotations(message, violations);
            }
            if mask.has("limits.max_members") {
                organization.limits.max_members = read_limit("max_members", limits.max_members, violations);
            }
            if mask.has("limits.max_teams") {
                organization.limits.max_teams = read_limit("max_teams", limits.max_teams, violations);
            }
            if mask.has("limits.max_pending_invitations") {
                organization.limits.max_pending_invitations =
                    read_limit("max_pending_invitations", limits.max_pending_invitations, violations);
            }
            if mask.has("limits.max_agents") {
                organization.limits.max_agents = read_limit("max_agents", limits.max_agents, violations);
            }
            if mask.has("client_access_enabled") {
                organization.client_access_enabled = read_client_access_enabled(message);
            }
            if mask.has("self_edit_enabled") {
                organization.self_edit_enabled = message.self_edit_enabled();
            }
        })
    }

    /// Suspended.
    pub fn suspend(&self, reason: &str, actor: &str, now: Micros) -> Result<Organization> {
        let reason = parse::paragraphs(reason, 500).map_err(|Invalid(rule)| Error::field("reason", rule))?;
        self.require_not_deleted()?;
        if self.suspension.is_some() {
            return Err(self.refuse(ErrorReason::OrganizationSuspended, "is suspended already"));
        }
        let suspension = Suspension {
            reason,
            actor: actor.to_owned(),
            time: now,
        };
        Ok(self.changed(now, |organization| organization.suspension = Some(suspension)))
    }

    /// No longer suspended.
    pub fn resume(&self, now: Micros) -> Result<Organization> {
        self.require_not_deleted()?;
        if self.suspension.is_none() {
            return Err(self.refuse(ErrorReason::OrganizationNotSuspended, "is not suspended"));
        }
        Ok(self.changed(now, |organization| organization.suspension = None))
    }

    /// Deleted, to be purged in 30 days.
    pub fn delete(&self, now: Micros) -> Result<Organization> {
        self.require_not_deleted()?;
        Ok(self.changed(now, |organization| {
            organization.delete_time = Some(now);
            organization.purge_time = Some(now.plus(UNDELETE_PERIOD));
        }))
    }

    /// No longer deleted; suspended if it was.
    pub fn undelete(&self, now: Micros) -> Result<Organization> {
        self.require_deleted()?;
        Ok(self.changed(now, |organization| {
            organization.delete_time = None;
            organization.purge_time = None;
        }))
    }

    /// Whether it is deleted and its time has come to be purged.
    pub fn is_due(&self, now: Micros) -> bool {
        self.purge_time.is_some_and(|time| time <= now)
    }

    /// Gone for good. What is left is no organization any more: it only stands for the uid as long as something refers to it, under an
    /// id that no name can hold.
    pub fn purge(&self, now: Micros) -> Result<Organization> {
        self.require_deleted()?;
        Ok(Organization {
            id: format!("~{}", self.uid),
            version: self.version + 1,
            update_time: now,
            display_name: String::new(),
            external_id: None,
            contact_email: None,
            annotations: BTreeMap::new(),
            limits: Limits::default(),
            logo: None,
            suspension: None,
            purge_time: None,
            ..self.clone()
        })
    }

    /// Refuses what can only be done to a deleted organization.
    pub fn require_deleted(&self) -> Result<()> {
        match self.state() {
            State::Deleted => Ok(()),
            _ => Err(self.refuse(ErrorReason::OrganizationNotDeleted, "is not deleted")),
        }
    }

    /// With this logo or none; equal to this one if it has that already.
    pub fn with_logo(&self, logo: Option<Logo>, now: Micros) -> Result<Organization> {
        self.require_not_deleted()?;
        Ok(self.changed(now, |organization| organization.logo = logo))
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Organization) -> Vec<String> {
        let (limits, limits_after) = (&self.limits, &after.limits);
        [
            ("display_name", self.display_name != after.display_name),
            ("external_id", self.external_id != after.external_id),
            ("contact_email", self.contact_email != after.contact_email),
            ("annotations", self.annotations != after.annotations),
            ("limits.max_members", limits.max_members != limits_after.max_members),
            ("limits.max_teams", limits.max_teams != limits_after.max_teams),
            (
                "limits.max_pending_invitations",
                limits.max_pending_invitations != limits_after.max_pending_invitations,
            ),
            ("limits.max_agents", limits.max_agents != limits_after.max_agents),
            (
                "client_access_enabled",
                self.client_access_enabled != after.client_access_enabled,
            ),
            ("self_edit_enabled", self.self_edit_enabled != after.self_edit_enabled),
            ("logo", self.logo != after.logo),
            ("state", self.state() != after.state()),
            ("suspension", self.suspension != after.suspension),
            ("delete_time", self.delete_time != after.delete_time),
            ("purge_time", self.purge_time != after.purge_time),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// The next version, unless the change changes nothing.
    fn changed(&self, now: Micros, change: impl FnOnce(&mut Organization)) -> Organization {
        let mut organization = self.clone();
        change(&mut organization);
        if organization != *self {
            organization.version += 1;
            organization.update_time = now;
        }
        organization
    }

    fn refuse(&self, reason: ErrorReason, state: &str) -> Error {
        let name = self.name();
        Error::new(reason, format!("{name:?} {state}")).about("Organization", name)
    }
}

// What stands for a value that broke its rule never gets out: the violation refuses the request.

fn read_display_name(message: &api::Organization, violations: &mut Violations) -> String {
    let parsed = parse::line(message.display_name(), 1..=200);
    violations
        .check("organization.display_name", parsed)
        .unwrap_or_default()
}

fn read_external_id(message: &api::Organization, violations: &mut Violations) -> Option<String> {
    let given = Some(message.external_id()).filter(|id| !id.is_empty())?;
    violations.check("organization.external_id", parse::line(given, 1..=200))
}

fn read_contact_email(message: &api::Organization, violations: &mut Violations) -> Option<String> {
    let given = Some(message.contact_email()).filter(|email| !email.is_empty())?;
    violations.check("organization.contact_email", parse::email(given))
}

fn read_annotations(message: &api::Organization, violations: &mut Violations) -> BTreeMap<String, String> {
    let parsed = check_annotations(&message.annotations).map(|()| message.annotations.clone());
    violations.check("organization.annotations", parsed).unwrap_or_default()
}

/// Stops at the first that breaks a rule: what is answered stays small.
fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), Invalid> {
    if annotations.len() > 50 {
        return Err(Invalid::new(format!("must be at most 50, not {}", annotations.len())));
    }
    for (key, value) in annotations {
        parse::line(key, 1..=63).map_err(|Invalid(rule)| Invalid::new(format!("each key {rule}")))?;
        parse::paragraphs(value, 1000).map_err(|Invalid(rule)| Invalid::new(format!("the value of {key:?} {rule}")))?;
    }
    Ok(())
}

fn read_limit(limit: &str, given: Option<i32>, violations: &mut Violations) -> Option<i32> {
    let given = given?;
    if !(0..=1_000_000).contains(&given) {
        violations.add(
            format!("organization.limits.{limit}"),
            format!("must be 0 to 1,000,000, not {given}"),
        );
    }
    Some(given)
}

fn read_client_access_enabled(message: &api::Organization) -> bool {
    message.client_access_enabled.unwrap_or(true)
}

impl From<&Organization> for api::Organization {
    fn from(organization: &Organization) -> Self {
        Self {
            name: organization.name(),
            uid: organization.uid.to_string(),
            version: organization.version,
            etag: organization.uid.etag(organization.version),
            create_time: Some(organization.create_time.into()),
            update_time: Some(organization.update_time.into()),
            display_name: Some(organization.display_name.clone()),
            external_id: organization.external_id.clone(),
            contact_email: organization.contact_email.clone(),
            annotations: organization.annotations.clone(),
            limits: Some(api::OrganizationLimits {
                max_members: organization.limits.max_members,
                max_teams: organization.limits.max_teams,
                max_pending_invitations: organization.limits.max_pending_invitations,
                max_agents: organization.limits.max_agents,
            }),
            client_access_enabled: Some(organization.client_access_enabled),
            self_edit_enabled: Some(organization.self_edit_enabled),
            logo: organization.logo.as_ref().map(api::Logo::from),
            state: organization.state().into(),
            suspension: organization.suspension.as_ref().map(api::Suspension::from),
            delete_time: organization.delete_time.map(Into::into),
            purge_time: organization.purge_time.map(Into::into),
        }
    }
}

impl From<&Suspension> for api::Suspension {
    fn from(suspension: &Suspension) -> Self {
        Self {
            reason: suspension.reason.clone(),
            actor: suspension.actor.clone(),
            time: Some(suspension.time.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::logo::ContentType;
    use super::*;
    use clientele_api::request::{Behavior, Update};
    use prost_types::FieldMask;

    const NOW: Micros = Micros(1_000);
    const LATER: Micros = Micros(2_000);

    fn workspace() -> WorkspaceRef {
        WorkspaceRef {
            uid: Uid::new(),
            id: "acme".to_owned(),
        }
    }

    fn create(organization_id: &str, organization: api::Organization) -> Result<NewOrganization> {
        NewOrganization::parse(&api::CreateOrganizationRequest {
            parent: "workspaces/acme".to_owned(),
            organization_id: organization_id.to_owned(),
            organization: Some(organization),
            ..Default::default()
        })
    }

    fn named(display_name: &str) -> api::Organization {
        api::Organization {
            display_name: Some(display_name.to_owned()),
            ..Default::default()
        }
    }

    fn bakery() -> Organization {
        let new = create("bakery", named("Bakery")).unwrap();
        let id = new.id.id().to_owned();
        new.into_organization(&workspace(), id, NOW)
    }

    /// As the update method reads it, `paths` none: no mask.
    fn update(before: &Organization, message: api::Organization, paths: Option<&[&str]>) -> Result<Organization> {
        let request = api::UpdateOrganizationRequest {
            organization: Some(message.clone()),
            update_mask: paths.map(|paths| FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
            ..Default::default()
        };
        let mut violations = Violations::new();
        let mask = Mask::read(&request, &mut violations);
        let after = before.update(&message, &mask, &mut violations, LATER);
        violations.finish(Some(after))
    }

    fn violated(result: Result<impl std::fmt::Debug>) -> Vec<String> {
        let error = result.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::InvalidFields);
        error.violations().iter().map(|one| one.field.clone()).collect()
    }

    fn logo() -> Logo {
        Logo {
            content_type: ContentType::Png,
            width: 2,
            height: 3,
            size: 4,
            sha256: [0xab; 32],
        }
    }

    #[test]
    fn a_new_organization_has_the_defaults() {
        let organization = bakery();
        assert_eq!(organization.state(), State::Active);
        let message = api::Organization::from(&organization);
        assert_eq!(message.name, "workspaces/acme/organizations/bakery");
        assert_eq!(message.etag, organization.uid.etag(1));
        assert_eq!(message.client_access_enabled, Some(true));
        assert_eq!(message.self_edit_enabled, Some(false));
        assert_eq!((message.external_id, message.contact_email), (None, None));
        assert_eq!(message.limits, Some(api::OrganizationLimits::default()));
        assert_eq!(message.state, i32::from(State::Active));
    }

    #[test]
    fn output_only_fields_of_a_new_organization_are_ignored() {
        let given = api::Organization {
            name: "workspaces/other/organizations/other".to_owned(),
            uid: "uid".to_owned(),
            version: 7,
            state: State::Deleted.into(),
            ..named("Bakery")
        };
        assert_eq!(
            create("bakery", given).unwrap(),
            create("bakery", named("Bakery")).unwrap()
        );
    }

    #[test]
    fn every_violation_is_answered() {
        let given = api::Organization {
            display_name: None,
            external_id: Some(" x".to_owned()),
            contact_email: Some("nobody".to_owned()),
            annotations: BTreeMap::from([("key".to_owned(), "\0".to_owned())]),
            limits: Some(api::OrganizationLimits {
                max_members: Some(-1),
                max_agents: Some(1_000_001),
                max_teams: Some(0),
                max_pending_invitations: Some(1_000_000),
            }),
            ..Default::default()
        };
        assert_eq!(
            violated(create("No", given)),
            [
                "organization.display_name",
                "organization_id",
                "organization.external_id",
                "organization.contact_email",
                "organization.annotations",
                "organization.limits.max_members",
                "organization.limits.max_agents",
            ]
        );
        let nothing = NewOrganization::parse(&api::CreateOrganizationRequest::default());
        assert_eq!(violated(nothing), ["organization.display_name"]);
    }

    #[test]
    fn annotations_are_limited() {
        let with = |annotations| {
            create(
                "bakery",
                api::Organization {
                    annotations,
                    ..named("Bakery")
                },
            )
        };
        let many = |count: usize| (0..count).map(|at| (at.to_string(), "a\nb".to_owned())).collect();
        assert!(with(many(50)).is_ok());
        assert!(with(many(51)).is_err());
        assert!(with(BTreeMap::from([("k".repeat(63), "v".repeat(1000))])).is_ok());
        assert!(with(BTreeMap::from([("k".repeat(64), String::new())])).is_err());
        assert!(with(BTreeMap::from([(String::new(), String::new())])).is_err());
        assert!(with(BTreeMap::from([("k".to_owned(), "v".repeat(1001))])).is_err());
    }

    #[test]
    fn derived_ids_fit_their_pattern_also_with_a_suffix() {
        let names = [
            "a".repeat(200),
            "9".repeat(100) + "a",
            format!("{}-{}", "a".repeat(55), "b".repeat(50)),
            "東京".to_owned(),
            "42".to_owned(),
            "🍞".to_owned(),
            "-".to_owned(),
            "z".to_owned(),
        ];
        for name in names {
            let id = create("", named(&name)).unwrap().id;
            assert!(parse::resource_id(id.id()).is_ok(), "{id:?}");
            let other = id.with_suffix().unwrap();
            assert!(parse::resource_id(&other).is_ok(), "{other}");
            assert_ne!(id.with_suffix().unwrap(), other);
        }
        assert_eq!(create("bakery", named("Bakery")).unwrap().id.with_suffix(), None);
    }

    #[test]
    fn an_update_changes_what_the_mask_names() {
        let before = bakery();
        let limits = Some(api::OrganizationLimits {
            max_agents: Some(3),
            ..Default::default()
        });
        let message = api::Organization {
            display_name: Some("Baker".to_owned()),
            external_id: Some("e-1".to_owned()),
            client_access_enabled: Some(false),
            limits,
            ..Default::default()
        };
        let after = update(&before, message.clone(), None).unwrap();
        assert_eq!((after.version, after.update_time, after.create_time), (2, LATER, NOW));
        assert_eq!(
            before.changed_fields(&after),
            [
                "display_name",
                "external_id",
                "limits.max_agents",
                "client_access_enabled"
            ]
        );
        let after = update(&before, message, Some(&["external_id"])).unwrap();
        assert_eq!(before.changed_fields(&after), ["external_id"]);
    }

    /// A field that the mask accepts must not be forgotten.
    #[test]
    fn every_leaf_that_can_be_changed_is() {
        let full = api::Organization {
            external_id: Some("e-1".to_owned()),
            contact_email: Some("ann@example.com".to_owned()),
            annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            limits: Some(api::OrganizationLimits {
                max_members: Some(1),
                max_teams: Some(2),
                max_pending_invitations: Some(3),
                max_agents: Some(4),
            }),
            client_access_enabled: Some(false),
            self_edit_enabled: Some(true),
            ..named("Baker")
        };
        let before = bakery();
        for field in api::UpdateOrganizationRequest::FIELDS {
            if field.behavior == Behavior::Mutable {
                let after = update(&before, full.clone(), Some(&[field.path])).unwrap();
                assert_eq!(before.changed_fields(&after), [field.path]);
            }
        }
    }

    #[test]
    fn an_update_that_changes_nothing_is_equal() {
        let before = bakery();
        assert_eq!(update(&before, named("Bakery"), None).unwrap(), before);
        let message = api::Organization {
            client_access_enabled: Some(true),
            external_id: Some(String::new()),
            ..Default::default()
        };
        assert_eq!(update(&before, message, None).unwrap(), before);
    }

    #[test]
    fn clearing_restores_the_default() {
        let full = api::Organization {
            external_id: Some("e-1".to_owned()),
            contact_email: Some("ann@example.com".to_owned()),
            annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            limits: Some(api::OrganizationLimits {
                max_members: Some(1),
                max_teams: Some(2),
                max_pending_invitations: Some(3),
                max_agents: Some(4),
            }),
            client_access_enabled: Some(false),
            self_edit_enabled: Some(true),
            ..named("Bakery")
        };
        let before = update(&bakery(), full, None).unwrap();
        assert_eq!(before.limits.max_pending_invitations, Some(3));
        let cleared = update(&before, named("Bakery"), Some(&["*"])).unwrap();
        assert_eq!(cleared.version, 3);
        assert_eq!(
            Organization {
                version: 1,
                update_time: NOW,
                ..cleared
            },
            Organization {
                version: 1,
                update_time: NOW,
                uid: before.uid,
                workspace: before.workspace.clone(),
                ..bakery()
            }
        );
        let fields = violated(update(&before, api::Organization::default(), Some(&["*"])));
        assert_eq!(fields, ["organization.display_name"]);
    }

    #[test]
    fn etags_are_of_one_version() {
        let organization = bakery();
        assert!(organization.check_etag("").is_ok());
        assert!(organization.check_etag(&organization.uid.etag(1)).is_ok());
        for stale in [organization.uid.etag(2), "x".to_owned(), Uid::new().etag(1)] {
            let error = organization.check_etag(&stale).unwrap_err();
            assert_eq!(error.reason(), ErrorReason::EtagMismatch);
        }
    }

    #[test]
    fn a_suspension_is_kept_while_deleted() {
        let active = bakery();
        let suspended = active.suspend("unpaid\nbill", "users/ann", LATER).unwrap();
        assert_eq!((suspended.state(), suspended.version), (State::Suspended, 2));
        assert_eq!(active.changed_fields(&suspended), ["state", "suspension"]);
        let deleted = suspended.delete(LATER).unwrap();
        assert_eq!(deleted.state(), State::Deleted);
        assert_eq!(deleted.purge_time, Some(Micros(LATER.0 + 30 * 24 * 3600 * 1_000_000)));
        assert_eq!(
            suspended.changed_fields(&deleted),
            ["state", "delete_time", "purge_time"]
        );
        let restored = deleted.undelete(LATER).unwrap();
        assert_eq!((restored.state(), restored.version), (State::Suspended, 4));
        assert_eq!(restored.resume(LATER).unwrap().state(), State::Active);
    }

    #[test]
    fn verbs_refuse_the_wrong_state() {
        let active = bakery();
        let suspended = active.suspend("", "users/ann", NOW).unwrap();
        let deleted = active.delete(NOW).unwrap();
        let reason = |result: Result<Organization>| result.unwrap_err().reason();
        assert_eq!(
            reason(suspended.suspend("", "users/bob", NOW)),
            ErrorReason::OrganizationSuspended
        );
        assert_eq!(reason(active.resume(NOW)), ErrorReason::OrganizationNotSuspended);
        assert_eq!(reason(active.undelete(NOW)), ErrorReason::OrganizationNotDeleted);
        for refused in [
            deleted.suspend("", "users/ann", NOW),
            deleted.resume(NOW),
            deleted.delete(NOW),
            deleted.with_logo(None, NOW),
        ] {
            assert_eq!(reason(refused), ErrorReason::OrganizationDeleted);
        }
        let too_long = "x".repeat(501);
        assert_eq!(violated(active.suspend(&too_long, "users/ann", NOW)), ["reason"]);
    }

    #[test]
    fn a_logo_is_set_and_taken_away() {
        let before = bakery();
        let after = before.with_logo(Some(logo()), LATER).unwrap();
        assert_eq!(before.changed_fields(&after), ["logo"]);
        assert_eq!(after.with_logo(Some(logo()), LATER).unwrap(), after);
        assert_eq!(before.with_logo(None, LATER).unwrap(), before);
        assert_eq!(api::Organization::from(&after).logo.unwrap().sha256, "ab".repeat(32));
        assert_eq!(after.with_logo(None, LATER).unwrap().logo, None);
    }
}
