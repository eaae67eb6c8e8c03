//! A client user in a service that follows a played org-service, and everything that shuts it out.

use crate::calls::{Caller, Calls, reason};
use crate::org_feed::{Counted, OrgFeed};
use crate::tokens::Tokens;
use crate::until::until;
use clientele_api::journal::{Change, ChangeKind};
use clientele_api::org::organization::State;
use clientele_api::org::{Member, Organization, Role, Session, User, member, session, user};
use clientele_api::{Micros, Uid};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Status;
use tonic_types::StatusExt as _;

/// What every service has and `members.manage` opens.
const LIST: &str = "/clientele.journal.v1.JournalService/ListEntries";

/// A client user, and all that its standing comes from: its organization, its membership, and a role of the organization's own.
#[derive(Debug, Clone)]
pub struct ClientUser {
    feed: OrgFeed,
    workspace: Uid,
    /// The organization.
    pub organization: Organization,
    /// The person.
    pub user: User,
    /// The person in the organization.
    pub member: Member,
    /// The role that it holds; it gives `members.manage`.
    pub role: Role,
}

impl ClientUser {
    /// Tells that a person was added to an organization, who holds a role of its own.
    pub fn create(feed: &OrgFeed, workspace: Uid, organization: &Organization) -> Self {
        let role = Role {
            name: format!("{}/roles/hosts", organization.name),
            uid: Uid::new().to_string(),
            version: 1,
            permissions: vec!["members.manage".into()],
            ..Role::default()
        };
        let held = vec!["hosts".into()];
        let created = Self::holding(feed, workspace, organization, held, role);
        created.tell(vec![Change::created(&created.role)]);
        created
    }

    /// Tells that a person was added to an organization with these built-in roles.
    pub fn with_roles(feed: &OrgFeed, workspace: Uid, organization: &Organization, roles: &[&str]) -> Self {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Self::holding(feed, workspace, organization, roles, Role::default())
    }

    fn holding(feed: &OrgFeed, workspace: Uid, organization: &Organization, roles: Vec<String>, role: Role) -> Self {
        let (user, member) = person(organization, roles);
        let created = Self {
            feed: feed.clone(),
            workspace,
            organization: organization.clone(),
            user,
            member,
            role,
        };
        created.tell(vec![Change::created(&created.user), Change::created(&created.member)]);
        created
    }

    /// Another person and its membership of the organization with the same roles, of whom nothing is told yet.
    pub fn another(&self) -> (User, Member) {
        person(&self.organization, self.member.roles.clone())
    }

    /// The user with its token.
    pub fn caller(&self, tokens: &Tokens) -> Caller {
        Caller::with(tokens.user(&self.user.uid, &self.organization.uid))
    }

    /// The user with a token of a session.
    pub fn caller_in(&self, tokens: &Tokens, session: &Session) -> Caller {
        Caller::with(tokens.user_in_session(&self.user.uid, &self.organization.uid, &session.uid))
    }

    /// Tells that the user signed in.
    pub fn sign_in(&self) -> Session {
        let (within, _) = self.user.name.split_once("/users/").unwrap();
        let uid = Uid::new().to_string();
        let session = Session {
            name: format!("{within}/sessions/{uid}"),
            uid,
            version: 1,
            update_time: Some(Micros::now().into()),
            user: self.user.name.clone(),
            organization: self.organization.name.clone(),
            organization_uid: self.organization.uid.clone(),
            state: session::State::Active.into(),
            ..Session::default()
        };
        self.tell(vec![Change::created(&session)]);
        session
    }

    /// Tells that a session was ended.
    pub fn revoke(&self, session: &mut Session) {
        let change = session.change(|session| {
            session.set_state(session::State::Revoked);
            session.update_time = Some(Micros::now().into());
        });
        self.tell(vec![change]);
    }

    /// Tells of changes in the organization.
    pub fn tell(&self, changes: Vec<Change>) {
        let workspace = self.workspace.to_string();
        self.feed.tell_all(&workspace, &self.organization.uid, changes);
    }

    /// Tells of a change of the organization.
    pub fn change_organization(&mut self, change: impl FnOnce(&mut Organization)) {
        let change = self.organization.change(change);
        self.tell(vec![change]);
    }

    /// Tells of a change of the person, which is not in any organization.
    pub fn change_user(&mut self, change: impl FnOnce(&mut User)) {
        let change = self.user.change(change);
        self.feed.tell(&self.workspace.to_string(), change);
    }

    /// Tells of a change of the membership.
    pub fn change_member(&mut self, change: impl FnOnce(&mut Member)) {
        let change = self.member.change(change);
        self.tell(vec![change]);
    }

    /// Tells of a change of the role.
    pub fn change_role(&mut self, change: impl FnOnce(&mut Role)) {
        let change = self.role.change(change);
        self.tell(vec![change]);
    }

    /// Tells that the role is there no more.
    pub fn remove_role(&mut self) {
        self.tell(vec![Change::removed(&self.role, self.role.version + 1)]);
    }

    /// Tells that there is a new role with the same id.
    pub fn create_role_again(&mut self) {
        self.role.uid = Uid::new().to_string();
        self.role.version = 1;
        self.tell(vec![Change::created(&self.role)]);
    }

    /// Tells that the person was erased; nothing but a trace of it is left.
    pub fn purge_user(&self) {
        let trace = User {
            name: self.user.name.clone(),
            uid: self.user.uid.clone(),
            version: self.user.version + 1,
            ..User::default()
        };
        self.feed.tell(&self.workspace.to_string(), purged(&trace));
    }

    /// Tells that the organization was purged; nothing but a trace of it is left.
    pub fn purge_organization(&self) {
        let trace = Organization {
            name: self.organization.name.clone(),
            uid: self.organization.uid.clone(),
            version: self.organization.version + 1,
            ..Organization::default()
        };
        self.tell(vec![purged(&trace)]);
    }
}

/// A person, and its membership of an organization.
fn person(organization: &Organization, roles: Vec<String>) -> (User, Member) {
    let (within, _) = organization.name.split_once("/organizations/").unwrap();
    let uid = Uid::new().to_string();
    let user = User {
        name: format!("{within}/users/{uid}"),
        uid: uid.clone(),
        version: 1,
        email: Some(format!("{uid}@example.com")),
        state: user::State::Active.into(),
        ..User::default()
    };
    let member = Member {
        name: format!("{}/members/{uid}", organization.name),
        uid: Uid::new().to_string(),
        version: 1,
        roles,
        state: member::State::Active.into(),
        ..Member::default()
    };
    (user, member)
}

fn purged<R: Counted>(trace: &R) -> Change {
    Change {
        kind: ChangeKind::Purged.into(),
        ..Change::created(trace)
    }
}

/// A way to be shut out: what is told, what is then answered, and what is told to undo it.
struct Way {
    out: fn(&mut ClientUser),
    answer: &'static str,
    back: fn(&mut ClientUser),
}

const WAYS: &[Way] = &[
    Way {
        out: |it| it.change_organization(|organization| organization.set_state(State::Suspended)),
        answer: "ACCESS_DENIED ORGANIZATION_SUSPENDED",
        back: |it| it.change_organization(|organization| organization.set_state(State::Active)),
    },
    Way {
        out: |it| it.change_organization(|organization| organization.set_state(State::Deleted)),
        answer: "ACCESS_DENIED ORGANIZATION_DELETED",
        back: |it| it.change_organization(|organization| organization.set_state(State::Active)),
    },
    Way {
        out: |it| it.change_organization(|organization| organization.client_access_enabled = Some(false)),
        answer: "ACCESS_DENIED ACCESS_OFF",
        back: |it| it.change_organization(|organization| organization.client_access_enabled = Some(true)),
    },
    Way {
        out: |it| it.change_user(|user| user.set_state(user::State::Disabled)),
        answer: "ACCESS_DENIED USER_DISABLED",
        back: |it| it.change_user(|user| user.set_state(user::State::Active)),
    },
    Way {
        out: |it| it.change_member(|member| member.set_state(member::State::Suspended)),
        answer: "ACCESS_DENIED MEMBER_SUSPENDED",
        back: |it| it.change_member(|member| member.set_state(member::State::Active)),
    },
    Way {
        out: |it| it.change_member(|member| member.set_state(member::State::Removed)),
        answer: "ACCESS_DENIED MEMBER_REMOVED",
        back: |it| it.change_member(|member| member.set_state(member::State::Active)),
    },
    // In a state of a newer version.
    Way {
        out: |it| it.change_member(|member| member.state = 77),
        answer: "ACCESS_DENIED MEMBER_REMOVED",
        back: |it| it.change_member(|member| member.set_state(member::State::Active)),
    },
    Way {
        out: |it| it.change_organization(|organization| organization.state = 77),
        answer: "ACCESS_DENIED ORGANIZATION_SUSPENDED",
        back: |it| it.change_organization(|organization| organization.set_state(State::Active)),
    },
    // What is wrong with the organization is told first.
    Way {
        out: |it| {
            it.change_member(|member| member.set_state(member::State::Suspended));
            it.change_user(|user| user.set_state(user::State::Disabled));
            it.change_organization(|organization| organization.client_access_enabled = Some(false));
        },
        answer: "ACCESS_DENIED ACCESS_OFF",
        back: |it| {
            it.change_organization(|organization| organization.client_access_enabled = Some(true));
            it.change_member(|member| member.set_state(member::State::Active));
            it.change_user(|user| user.set_state(user::State::Active));
        },
    },
    Way {
        out: |it| it.change_role(|role| role.permissions = vec!["home.view".into(), "pages.unheard-of".into()]),
        answer: "PERMISSION_MISSING",
        back: |it| it.change_role(|role| role.permissions = vec!["members.manage".into()]),
    },
    Way {
        out: ClientUser::remove_role,
        answer: "PERMISSION_MISSING",
        back: ClientUser::create_role_again,
    },
    Way {
        out: |it| {
            it.change_member(|member| {
                member.roles = vec!["viewer".into(), "nobodys".into()];
                member.permissions.clear();
            });
        },
        answer: "PERMISSION_MISSING",
        back: |it| it.change_member(|member| member.permissions = vec!["members.manage".into()]),
    },
    Way {
        out: |it| {
            it.change_member(|member| {
                member.roles = vec!["member".into()];
                member.permissions = vec!["home.manage".into()];
            });
        },
        answer: "PERMISSION_MISSING",
        back: |it| it.change_member(|member| member.roles = vec!["org-admin".into()]),
    },
];

/// Tells of everything that shuts a client user out, one after the other, and undoes it: whoever knows that it was told gets what holds,
/// and so does everybody else from then on. `open` is a method that any client user of the organization may call.
pub async fn shut_out_and_let_in(calls: &Calls, tokens: &Tokens, it: &mut ClientUser, open: Option<(&str, Value)>) {
    let who = Access {
        calls: calls.clone(),
        feed: it.feed.clone(),
        caller: it.caller(tokens),
        organization: it.organization.name.clone(),
        open: open.map(|(path, request)| (path.to_owned(), request)),
    };
    who.gets("OK").await;
    for way in WAYS {
        (way.out)(it);
        who.gets(way.answer).await;
        (way.back)(it);
        who.gets("OK").await;
    }
    // The trace of a person that is gone is no person, nor is there one for its membership.
    it.purge_user();
    who.gets("ACCESS_DENIED MEMBER_REMOVED").await;
}

/// Tells that sessions of a client user end: their tokens are refused from then on, those of others not.
pub async fn end_sessions(calls: &Calls, tokens: &Tokens, it: &ClientUser) {
    let mut sessions = [it.sign_in(), it.sign_in()];
    let who = |session: &Session| Access {
        calls: calls.clone(),
        feed: it.feed.clone(),
        caller: it.caller_in(tokens, session),
        organization: it.organization.name.clone(),
        open: None,
    };
    let [one, two] = [who(&sessions[0]), who(&sessions[1])];
    one.gets("OK").await;
    two.gets("OK").await;
    it.revoke(&mut sessions[0]);
    one.gets("SESSION_ENDED").await;
    two.gets("OK").await;
    // What is told late, and that nothing is left of it, bring no session back.
    let begun = Session {
        version: 1,
        state: session::State::Active.into(),
        ..sessions[0].clone()
    };
    it.tell(vec![Change::created(&begun)]);
    one.gets("SESSION_ENDED").await;
    for session in &sessions {
        let trace = Session {
            name: session.name.clone(),
            uid: session.uid.clone(),
            version: session.version + 1,
            ..Session::default()
        };
        it.tell(vec![purged(&trace)]);
    }
    one.gets("SESSION_ENDED").await;
    two.gets("SESSION_ENDED").await;
}

/// Tells the first of two replicas alone of everything that shuts a client user out, and lets it in again. The other one, which
/// remembers what held before, finds what the first has written: at once for who knows of it, soon for everybody else.
pub async fn hear_of_another(other: &Calls, tokens: &Tokens, it: &mut ClientUser) {
    let limit = Duration::from_secs(10);
    until(limit, "each replica has a stream", async || it.feed.opened() == 2).await;
    let who = Access {
        calls: other.clone(),
        feed: it.feed.clone(),
        caller: it.caller(tokens),
        organization: it.organization.name.clone(),
        open: None,
    };
    who.gets("OK").await;
    it.feed.hold();
    it.feed.allow(1, usize::MAX);
    for way in WAYS {
        (way.out)(it);
        let noticed = async || who.asks(&who.caller).await == way.answer;
        until(limit, way.answer, noticed).await;
        (way.back)(it);
        who.gets("OK").await;
        (way.out)(it);
        who.gets(way.answer).await;
        (way.back)(it);
        let noticed = async || who.asks(&who.caller).await == "OK";
        until(limit, "let in again", noticed).await;
    }
    it.feed.release();
}

/// A client user who calls.
struct Access {
    calls: Calls,
    feed: OrgFeed,
    caller: Caller,
    organization: String,
    open: Option<(String, Value)>,
}

impl Access {
    /// What needs a permission, as this caller.
    async fn asks(&self, caller: &Caller) -> String {
        let list = json!({ "parent": self.organization });
        told(self.calls.call(LIST, caller, list).await)
    }

    /// What is told is in force for who knows of it, then for who does not, and stays so.
    async fn gets(&self, expected: &str) {
        let informed = Caller {
            min_revision: Some(self.feed.revision()),
            ..self.caller.clone()
        };
        for caller in [&informed, &self.caller, &self.caller] {
            assert_eq!(self.asks(caller).await, expected);
            let Some((path, request)) = &self.open else { continue };
            let expected = if expected == "PERMISSION_MISSING" {
                "OK"
            } else {
                expected
            };
            assert_eq!(told(self.calls.call(path, caller, request.clone()).await), expected);
        }
    }
}

/// `OK`, or the reason of the refusal with its denial.
fn told<T>(answer: Result<T, Status>) -> String {
    let Err(status) = answer else { return "OK".into() };
    let info = status.get_details_error_info();
    let denial = info.and_then(|info| info.metadata.get("denial").cloned());
    [Some(reason(&status)), denial]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}
