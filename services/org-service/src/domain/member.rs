//! Members: users in an organization.

use super::grants::{Grants, read_permissions, read_roles};
use super::user::{NewUser, user_name};
use clientele_api::error::ErrorReason;
use clientele_api::mask::Mask;
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::org::member::notification::{About, Through};
use clientele_api::org::member::{Presence, State};
use clientele_api::org::{self as api};
use clientele_api::{Error, Micros, Result, Uid, Violations, parse};

/// A user in an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its identity; it stays when the member is removed and comes back.
    pub uid: Uid,
    /// The organization.
    pub organization: OrganizationRef,
    /// The user, whose id is the member's.
    pub user: Uid,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When the user first became a member.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// What it is given.
    pub grants: Grants,
    /// How it wants to hear of conversations.
    pub notification: Notification,
    /// What it may do: active, suspended or removed.
    pub state: State,
}

/// How a member wants to hear of conversations, and of which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// By which way.
    pub through: Through,
    /// About what.
    pub about: About,
}

impl Default for Notification {
    fn default() -> Self {
        Self {
            through: Through::Email,
            about: About::All,
        }
    }
}

/// A member that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMember {
    /// Who is to be a member.
    pub who: Who,
    /// What it is given.
    pub grants: Grants,
    /// How it wants to hear of conversations.
    pub notification: Notification,
}

/// Who is to be a member.
#[derive(Debug, Clone, PartialEq)]
pub enum Who {
    /// A user of the workspace.
    User(Uid),
    /// Somebody who must not be a user yet.
    New(NewUser),
}

impl NewMember {
    /// Reads a request; in a batch at a path that ends with a dot, else at an empty one.
    pub fn parse(request: &api::CreateMemberRequest, path: &str, violations: &mut Violations) -> Option<Self> {
        let who = match (&request.new_user, request.user.as_str()) {
            (Some(new), "") => NewUser::parse(new, &format!("{path}new_user"), violations).map(Who::New),
            (None, user) if !user.is_empty() => {
                let user = violations.check(&format!("{path}user"), parse::uuid(last_id(user)));
                user.map(|uuid| Who::User(Uid(uuid)))
            }
            _ => {
                violations.add(format!("{path}user"), "must be given, or new_user, and not both");
                None
            }
        };
        let empty = api::Member::default();
        let message = request.member.as_ref().unwrap_or(&empty);
        let path = format!("{path}member");
        let grants = Grants::parse(&message.roles, &message.permissions, &path, violations);
        let asked = message.notification.unwrap_or_default();
        Some(Self {
            who: who?,
            grants,
            notification: Notification {
                through: read_through(asked.through, &path, violations),
                about: read_about(asked.about, &path, violations),
            },
        })
    }

    /// The member that comes of it.
    pub fn into_member(self, organization: &OrganizationRef, user: Uid, now: Micros) -> Member {
        Member {
            uid: Uid::new(),
            organization: organization.clone(),
            user,
            version: 1,
            create_time: now,
            update_time: now,
            grants: self.grants,
            notification: self.notification,
            state: State::Active,
        }
    }
}

impl Member {
    /// `workspaces/{workspace}/organizations/{organization}/members/{user}`.
    pub fn name(&self) -> String {
        member_name(&self.organization, self.user)
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// Whether it counts against `max_members`: suspended members do.
    pub fn present(&self) -> bool {
        self.state != State::Removed
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub fn update(
        &self,
        message: &api::Member,
        mask: &Mask,
        violations: &mut Violations,
        now: Micros,
    ) -> Result<Member> {
        self.require_present()?;
        let asked = message.notification.unwrap_or_default();
        Ok(self.changed(now, |member| {
            if mask.has("roles") {
                member.grants.roles = read_roles(&message.roles, "member", violations);
            }
            if mask.has("permissions") {
                member.grants.permissions = read_permissions(&message.permissions, 100, "member", violations);
            }
            if mask.has("notification.through") {
                member.notification.through = read_through(asked.through, "member", violations);
            }
            if mask.has("notification.about") {
                member.notification.about = read_about(asked.about, "member", violations);
            }
        }))
    }

    /// Shut out.
    pub fn suspend(&self, now: Micros) -> Result<Member> {
        match self.state {
            State::Suspended => Err(self.refuse(ErrorReason::MemberSuspended, "is suspended already")),
            _ => {
                self.require_present()?;
                Ok(self.changed(now, |member| member.state = State::Suspended))
            }
        }
    }

    /// No longer shut out.
    pub fn resume(&self, now: Micros) -> Result<Member> {
        self.require_present()?;
        match self.state {
            State::Suspended => Ok(self.changed(now, |member| member.state = State::Active)),
            _ => Err(self.refuse(ErrorReason::MemberNotSuspended, "is not suspended")),
        }
    }

    /// Removed: what is left is who it was.
    pub fn remove(&self, now: Micros) -> Result<Member> {
        self.require_present()?;
        Ok(self.changed(now, |member| {
            member.state = State::Removed;
            member.grants = Grants::default();
        }))
    }

    /// The same member again, as it is asked for now.
    pub fn revive(&self, new: NewMember, now: Micros) -> Result<Member> {
        if self.present() {
            return Err(self.refuse(ErrorReason::ResourceExists, "is a member already"));
        }
        Ok(self.changed(now, |member| {
            member.state = State::Active;
            member.grants = new.grants;
            member.notification = new.notification;
        }))
    }

    /// Refuses what only an active member can do.
    pub fn require_active(&self) -> Result<()> {
        self.require_present()?;
        match self.state {
            State::Suspended => Err(self.refuse(ErrorReason::MemberSuspended, "is suspended: resume it first")),
            _ => Ok(()),
        }
    }

    fn require_present(&self) -> Result<()> {
        if self.present() {
            return Ok(());
        }
        Err(self.refuse(ErrorReason::MemberRemoved, "is removed: add it again first"))
    }

    /// Whether it is an org admin, and in use.
    pub fn active_org_admin(&self) -> bool {
        self.state == State::Active && self.grants.org_admin()
    }

    /// The refusal of what would leave the organization without an org admin.
    pub fn last_org_admin(&self) -> Error {
        let state =
            "is the last active org admin: make another one first, or let the workspace's staff do it with force";
        self.refuse(ErrorReason::LastOrgAdmin, state)
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Member) -> Vec<String> {
        let (notification, notification_after) = (self.notification, after.notification);
        [
            ("roles", self.grants.roles != after.grants.roles),
            ("permissions", self.grants.permissions != after.grants.permissions),
            (
                "notification.through",
                notification.through != notification_after.through,
            ),
            ("notification.about", notification.about != notification_after.about),
            ("state", self.state != after.state),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// The next version, unless the change changes nothing.
    fn changed(&self, now: Micros, change: impl FnOnce(&mut Member)) -> Member {
        let mut member = self.clone();
        change(&mut member);
        if member != *self {
            member.version += 1;
            member.update_time = now;
        }
        member
    }

    fn refuse(&self, reason: ErrorReason, state: &str) -> Error {
        let name = self.name();
        Error::new(reason, format!("{name:?} {state}")).about("Member", name)
    }

    /// With what belongs to no version: who the person is, and whether it is there.
    pub fn seen(&self, person: api::Person, online: bool) -> api::Member {
        let presence = if online { Presence::Online } else { Presence::Offline };
        api::Member {
            person: Some(person),
            presence: presence.into(),
            ..self.into()
        }
    }
}

/// `workspaces/{workspace}/organizations/{organization}/members/{user}`.
pub fn member_name(organization: &OrganizationRef, user: Uid) -> String {
    format!("{}/members/{user}", organization.name())
}

fn read_through(given: Option<i32>, path: &str, violations: &mut Violations) -> Through {
    let default = Notification::default().through;
    let Some(number) = given else { return default };
    let parsed = violations.check(&format!("{path}.notification.through"), parse::enum_value(number));
    parsed.unwrap_or(default)
}

fn read_about(given: Option<i32>, path: &str, violations: &mut Violations) -> About {
    let default = Notification::default().about;
    let Some(number) = given else { return default };
    let parsed = violations.check(&format!("{path}.notification.about"), parse::enum_value(number));
    parsed.unwrap_or(default)
}

/// As the journal tells it.
impl From<&Member> for api::Member {
    fn from(member: &Member) -> Self {
        Self {
            name: member.name(),
            uid: member.uid.to_string(),
            version: member.version,
            etag: member.uid.etag(member.version),
            create_time: Some(member.create_time.into()),
            update_time: Some(member.update_time.into()),
            user: user_name(&member.organization.workspace, member.user),
            person: None,
            roles: member.grants.roles.clone(),
            permissions: member.grants.permissions.iter().map(ToString::to_string).collect(),
            notification: Some(api::member::Notification {
                through: Some(member.notification.through.into()),
                about: Some(member.notification.about.into()),
            }),
            presence: Presence::Unspecified.into(),
            state: member.state.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::name::WorkspaceRef;

    const NOW: Micros = Micros(1);
    const LATER: Micros = Micros(2);

    fn request(user: &str, new_user: Option<&str>, roles: &[&str]) -> api::CreateMemberRequest {
        api::CreateMemberRequest {
            user: user.to_owned(),
            new_user: new_user.map(|email| api::NewUser {
                email: email.to_owned(),
                ..Default::default()
            }),
            member: Some(api::Member {
                roles: roles.iter().map(|role| (*role).to_owned()).collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn parse(request: &api::CreateMemberRequest) -> Result<NewMember> {
        let mut violations = Violations::new();
        let new = NewMember::parse(request, "", &mut violations);
        violations.finish(new)
    }

    fn member(roles: &[&str]) -> Member {
        let workspace = WorkspaceRef {
            uid: Uid::new(),
            id: "acme".to_owned(),
        };
        let bakery = OrganizationRef {
            workspace,
            uid: Uid::new(),
            id: "bakery".to_owned(),
        };
        let new = parse(&request("", Some("ann@x.de"), roles)).unwrap();
        new.into_member(&bakery, Uid::new(), NOW)
    }

    #[test]
    fn a_member_is_a_user_or_somebody_new() {
        let user = format!("workspaces/acme/users/{}", Uid::new());
        assert!(parse(&request(&user, None, &[])).is_ok());
        for bad in [
            request("", None, &[]),
            request(&user, Some("ann@x.de"), &[]),
            request("workspaces/acme/users/ann", None, &[]),
            request("", Some("ann"), &[]),
            request(&user, None, &["Viewer"]),
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        let mut unknown = request(&user, None, &[]);
        let notification = api::member::Notification {
            through: Some(0),
            about: Some(9),
        };
        unknown.member.as_mut().unwrap().notification = Some(notification);
        let error = parse(&unknown).unwrap_err();
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["member.notification.through", "member.notification.about"]);
    }

    #[test]
    fn the_same_member_comes_back_with_what_it_is_given_then() {
        let before = member(&["org-admin"]);
        let removed = before.remove(LATER).unwrap();
        assert_eq!((removed.version, removed.state), (2, State::Removed));
        assert_eq!(removed.grants, Grants::default());
        for refused in [removed.remove(LATER), removed.suspend(LATER), removed.resume(LATER)] {
            assert_eq!(refused.unwrap_err().reason(), ErrorReason::MemberRemoved);
        }
        let again = parse(&request("", Some("ann@x.de"), &["viewer"])).unwrap();
        let revived = removed.revive(again.clone(), LATER).unwrap();
        assert_eq!(
            (revived.uid, revived.version, revived.state),
            (before.uid, 3, State::Active)
        );
        assert_eq!(revived.grants.roles, ["viewer"]);
        assert_eq!(
            revived.revive(again, LATER).unwrap_err().reason(),
            ErrorReason::ResourceExists
        );
    }

    #[test]
    fn a_suspension_is_begun_and_ended_once() {
        let before = member(&["org-admin"]);
        let suspended = before.suspend(LATER).unwrap();
        assert!(before.active_org_admin() && !suspended.active_org_admin());
        assert_eq!(
            suspended.suspend(LATER).unwrap_err().reason(),
            ErrorReason::MemberSuspended
        );
        assert_eq!(
            suspended.require_active().unwrap_err().reason(),
            ErrorReason::MemberSuspended
        );
        let resumed = suspended.resume(LATER).unwrap();
        assert_eq!(
            resumed.resume(LATER).unwrap_err().reason(),
            ErrorReason::MemberNotSuspended
        );
        assert_eq!(before.changed_fields(&suspended), ["state"]);
    }
}
