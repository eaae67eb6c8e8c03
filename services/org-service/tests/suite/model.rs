//! Random sequences over members, roles, invitations and teams, against a small model of them.

use crate::World;
use clientele_api::permission::CATALOGUE;
use clientele_testkit::{Caller, for_random_cases, on_both_engines, reason};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PEOPLE: usize = 4;
const BUILT_IN: &[&str] = &["org-admin", "viewer", "billing-manager"];
const OWN: &[&str] = &["one-role", "two-role"];
const KEYS: &[&str] = &["a", "b", "c"];
const MAX_MEMBERS: usize = 3;
const MAX_TEAMS: usize = 2;
const MAX_INVITATIONS: usize = 2;

/// Who calls: the workspace's staff, or one of the people.
#[derive(Debug, Clone, Copy)]
enum By {
    Staff,
    Person(usize),
}

type Ids = Vec<&'static str>;

#[derive(Debug, Clone)]
enum Op {
    Add(usize, Ids),
    Give(By, usize, Ids),
    Suspend(By, usize, bool),
    Resume(By, usize),
    Remove(By, usize, bool),
    Disable(usize),
    Enable(usize),
    MakeRole(By, &'static str, Ids),
    ChangeRole(By, &'static str, Ids),
    DropRole(By, &'static str),
    Invite(By, usize, Ids, Ids),
    Accept(usize),
    Decline(usize),
    Revoke(By, usize),
    MakeTeam(By, &'static str, Vec<usize>),
    RenameTeam(By, &'static str, &'static str),
    Join(By, &'static str, usize),
    Leave(By, &'static str, usize),
    DropTeam(By, &'static str),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let by = || prop_oneof![2 => Just(By::Staff), 1 => (0..PEOPLE).prop_map(By::Person)];
    let person = || 0..PEOPLE;
    let force = any::<bool>;
    let roles = || subsequence([BUILT_IN, OWN].concat(), 0..=2);
    let own = || select(OWN);
    let permissions = || {
        subsequence(
            vec!["billing.view", "leads.view", "members.manage", "teams.manage"],
            0..=3,
        )
    };
    let key = || select(KEYS);
    let keys = || subsequence(KEYS.to_vec(), 0..=2);
    let op = prop_oneof![
        4 => (person(), roles()).prop_map(|(person, roles)| Op::Add(person, roles)),
        4 => (by(), person(), roles()).prop_map(|(by, person, roles)| Op::Give(by, person, roles)),
        2 => (by(), person(), force()).prop_map(|(by, person, force)| Op::Suspend(by, person, force)),
        2 => (by(), person()).prop_map(|(by, person)| Op::Resume(by, person)),
        2 => (by(), person(), force()).prop_map(|(by, person, force)| Op::Remove(by, person, force)),
        1 => person().prop_map(Op::Disable),
        1 => person().prop_map(Op::Enable),
        2 => (by(), own(), permissions()).prop_map(|(by, role, permissions)| Op::MakeRole(by, role, permissions)),
        2 => (by(), own(), permissions()).prop_map(|(by, role, permissions)| Op::ChangeRole(by, role, permissions)),
        1 => (by(), own()).prop_map(|(by, role)| Op::DropRole(by, role)),
        3 => (by(), person(), roles(), keys()).prop_map(|(by, person, roles, keys)| Op::Invite(by, person, roles, keys)),
        3 => (0..4_usize).prop_map(Op::Accept),
        1 => (0..4_usize).prop_map(Op::Decline),
        1 => (by(), 0..4_usize).prop_map(|(by, nth)| Op::Revoke(by, nth)),
        2 => (by(), key(), subsequence(vec![0, 1, 2, 3], 0..=2)).prop_map(|(by, key, people)| Op::MakeTeam(by, key, people)),
        2 => (by(), key(), key()).prop_map(|(by, team, key)| Op::RenameTeam(by, team, key)),
        2 => (by(), key(), person()).prop_map(|(by, team, person)| Op::Join(by, team, person)),
        1 => (by(), key(), person()).prop_map(|(by, team, person)| Op::Leave(by, team, person)),
        1 => (by(), key()).prop_map(|(by, team)| Op::DropTeam(by, team)),
    ];
    vec(op, 1..40)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Suspended,
    Removed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    state: State,
    roles: Ids,
    version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Team {
    key: &'static str,
    aliases: Ids,
    people: BTreeSet<usize>,
    version: u64,
}

#[derive(Debug, Clone)]
struct Invitation {
    by: By,
    person: usize,
    roles: Ids,
    keys: Ids,
    state: &'static str,
}

/// What an organization should be.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Users, and whether they are disabled.
    users: BTreeMap<usize, bool>,
    members: BTreeMap<usize, Member>,
    roles: BTreeMap<&'static str, Ids>,
    invitations: Vec<Invitation>,
    teams: Vec<Team>,
}

/// Why a call must be refused: any of these. None: it must be answered.
type Refusals = BTreeSet<&'static str>;

impl Model {
    fn permissions(&self, roles: &[&'static str]) -> BTreeSet<&'static str> {
        let all = || CATALOGUE.iter().map(|(permission, _)| *permission);
        let gives = |role: &&'static str| -> BTreeSet<&'static str> {
            match *role {
                "org-admin" => all().filter(|one| !one.starts_with("billing.")).collect(),
                "viewer" => all()
                    .filter(|one| one.ends_with(".view") && *one != "billing.view")
                    .collect(),
                "billing-manager" => ["home.view", "billing.view", "billing.manage"].into(),
                own => self.roles.get(own).into_iter().flatten().copied().collect(),
            }
        };
        roles.iter().flat_map(gives).collect()
    }

    /// What a person may do now; None: nothing at all.
    fn holds(&self, person: usize) -> Option<BTreeSet<&'static str>> {
        let member = self.members.get(&person)?;
        let usable = member.state == State::Active && self.users.get(&person) == Some(&false);
        usable.then(|| self.permissions(&member.roles))
    }

    fn present(&self, person: usize) -> Option<&Member> {
        self.members
            .get(&person)
            .filter(|member| member.state != State::Removed)
    }

    fn count(&self) -> usize {
        (0..PEOPLE).filter(|person| self.present(*person).is_some()).count()
    }

    fn known(&self, role: &str) -> bool {
        BUILT_IN.contains(&role) || self.roles.contains_key(role)
    }

    fn team(&self, key: &str) -> Option<usize> {
        self.teams
            .iter()
            .position(|team| team.key == key || team.aliases.contains(&key))
    }

    /// Whether the caller may call what needs this permission.
    fn may(&self, by: By, permission: &str, why: &mut Refusals) {
        if let By::Person(person) = by {
            match self.holds(person) {
                None => why.insert("ACCESS_DENIED"),
                Some(held) => !held.contains(permission) && why.insert("PERMISSION_MISSING"),
            };
        }
    }

    fn may_give(&self, by: By, given: &BTreeSet<&'static str>, why: &mut Refusals) {
        if let By::Person(person) = by
            && self.holds(person).is_some_and(|held| !given.is_subset(&held))
        {
            why.insert("GRANT_NOT_HELD");
        }
    }

    fn leaves_no_org_admin(&self, person: usize) -> bool {
        let admin = |person: usize, member: &Member| {
            member.state == State::Active
                && member.roles.contains(&"org-admin")
                && self.users.get(&person) == Some(&false)
        };
        let others = self
            .members
            .iter()
            .any(|(other, member)| *other != person && admin(*other, member));
        let member = &self.members[&person];
        member.state == State::Active && member.roles.contains(&"org-admin") && !others
    }

    fn join_organization(&mut self, person: usize, roles: &[&'static str]) {
        self.users.entry(person).or_insert(false);
        let version = self.members.get(&person).map_or(0, |member| member.version) + 1;
        let member = Member {
            state: State::Active,
            roles: roles.to_vec(),
            version,
        };
        self.members.insert(person, member);
    }

    /// Why the call must be refused; if it must not, what comes of it.
    fn apply(&mut self, op: &Op) -> Refusals {
        let mut why = Refusals::new();
        match op {
            Op::Add(person, roles) => {
                if !roles.iter().all(|role| self.known(role)) {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                if self.present(*person).is_some() {
                    why.insert("RESOURCE_EXISTS");
                }
                if self.count() == MAX_MEMBERS {
                    why.insert("LIMIT_REACHED");
                }
                if why.is_empty() {
                    self.join_organization(*person, roles);
                }
            }
            Op::Give(by, person, roles) => {
                self.may(*by, "members.manage", &mut why);
                let Some(before) = self.members.get(person).cloned() else {
                    why.insert("RESOURCE_NOT_FOUND");
                    return why;
                };
                if before.state == State::Removed {
                    why.insert("MEMBER_REMOVED");
                }
                let added: Ids = roles
                    .iter()
                    .copied()
                    .filter(|role| !before.roles.contains(role))
                    .collect();
                if !added.iter().all(|role| self.known(role)) {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                self.may_give(*by, &self.permissions(&added), &mut why);
                if !roles.contains(&"org-admin") && self.leaves_no_org_admin(*person) {
                    why.insert("LAST_ORG_ADMIN");
                }
                if why.is_empty() && before.roles != *roles {
                    let member = Member {
                        roles: roles.clone(),
                        version: before.version + 1,
                        ..before
                    };
                    self.members.insert(*person, member);
                }
            }
            Op::Suspend(by, person, force) | Op::Remove(by, person, force) => {
                self.may(*by, "members.manage", &mut why);
                let Some(before) = self.members.get(person).cloned() else {
                    why.insert("RESOURCE_NOT_FOUND");
                    return why;
                };
                let removes = matches!(op, Op::Remove(..));
                match before.state {
                    State::Removed => why.insert("MEMBER_REMOVED"),
                    State::Suspended if !removes => why.insert("MEMBER_SUSPENDED"),
                    _ => false,
                };
                let forced = *force && matches!(by, By::Staff);
                if !forced && self.leaves_no_org_admin(*person) {
                    why.insert("LAST_ORG_ADMIN");
                }
                if !why.is_empty() {
                    return why;
                }
                let (state, roles) = if removes {
                    (State::Removed, Ids::new())
                } else {
                    (State::Suspended, before.roles)
                };
                let version = before.version + 1;
                self.members.insert(*person, Member { state, roles, version });
                if removes {
                    for team in self.teams.iter_mut().filter(|team| team.people.contains(person)) {
                        team.people.remove(person);
                        team.version += 1;
                    }
                }
            }
            Op::Resume(by, person) => {
                self.may(*by, "members.manage", &mut why);
                match self.members.get_mut(person) {
                    None => why.insert("RESOURCE_NOT_FOUND"),
                    Some(member) if member.state == State::Removed => why.insert("MEMBER_REMOVED"),
                    Some(member) if member.state == State::Active => why.insert("MEMBER_NOT_SUSPENDED"),
                    Some(member) if why.is_empty() => {
                        member.state = State::Active;
                        member.version += 1;
                        false
                    }
                    Some(_) => false,
                };
            }
            Op::Disable(person) | Op::Enable(person) => {
                let disable = matches!(op, Op::Disable(_));
                match self.users.get_mut(person) {
                    None => why.insert("RESOURCE_NOT_FOUND"),
                    Some(disabled) if *disabled == disable => {
                        why.insert(if disable { "USER_DISABLED" } else { "USER_NOT_DISABLED" })
                    }
                    Some(disabled) => {
                        *disabled = disable;
                        false
                    }
                };
            }
            Op::MakeRole(by, role, permissions) => {
                self.may(*by, "members.manage", &mut why);
                self.may_give(*by, &permissions.iter().copied().collect(), &mut why);
                if self.roles.contains_key(role) {
                    why.insert("RESOURCE_EXISTS");
                }
                if why.is_empty() {
                    self.roles.insert(role, permissions.clone());
                }
            }
            Op::ChangeRole(by, role, permissions) => {
                self.may(*by, "members.manage", &mut why);
                let Some(before) = self.roles.get(role) else {
                    why.insert("RESOURCE_NOT_FOUND");
                    return why;
                };
                let added = permissions
                    .iter()
                    .copied()
                    .filter(|one| !before.contains(one))
                    .collect();
                self.may_give(*by, &added, &mut why);
                if why.is_empty() {
                    self.roles.insert(role, permissions.clone());
                }
            }
            Op::DropRole(by, role) => {
                self.may(*by, "members.manage", &mut why);
                if !self.roles.contains_key(role) {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                let promised = |one: &Invitation| one.state == "PENDING" && one.roles.contains(role);
                if self.members.values().any(|member| member.roles.contains(role))
                    || self.invitations.iter().any(promised)
                {
                    why.insert("ROLE_IN_USE");
                }
                if why.is_empty() {
                    self.roles.remove(role);
                }
            }
            Op::Invite(by, person, roles, keys) => {
                self.may(*by, "members.manage", &mut why);
                self.may_give(*by, &self.permissions(roles), &mut why);
                if !roles.iter().all(|role| self.known(role)) || keys.iter().any(|key| self.team(key).is_none()) {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                let pending = || self.invitations.iter().filter(|one| one.state == "PENDING");
                if self.present(*person).is_some() || pending().any(|one| one.person == *person) {
                    why.insert("RESOURCE_EXISTS");
                }
                if pending().count() == MAX_INVITATIONS {
                    why.insert("LIMIT_REACHED");
                }
                if why.is_empty() {
                    self.invitations.push(Invitation {
                        by: *by,
                        person: *person,
                        roles: roles.clone(),
                        keys: keys.clone(),
                        state: "PENDING",
                    });
                }
            }
            Op::Accept(nth) => {
                let invitation = self.invitations[*nth].clone();
                if invitation.state != "PENDING" {
                    why.insert("INVITATION_NOT_PENDING");
                }
                if let By::Person(inviter) = invitation.by {
                    let held = self.holds(inviter).unwrap_or_default();
                    if !held.contains("members.manage") || !self.permissions(&invitation.roles).is_subset(&held) {
                        why.insert("INVITER_LOST_RIGHT");
                    }
                }
                if self.users.get(&invitation.person) == Some(&true) {
                    why.insert("USER_DISABLED");
                }
                if self.present(invitation.person).is_some() {
                    why.insert("RESOURCE_EXISTS");
                }
                if self.count() == MAX_MEMBERS {
                    why.insert("LIMIT_REACHED");
                }
                if why.is_empty() {
                    self.join_organization(invitation.person, &invitation.roles);
                    let teams: BTreeSet<usize> = invitation.keys.iter().filter_map(|key| self.team(key)).collect();
                    for team in teams {
                        self.teams[team].people.insert(invitation.person);
                        self.teams[team].version += 1;
                    }
                    self.invitations[*nth].state = "ACCEPTED";
                }
            }
            Op::Decline(nth) => match self.invitations[*nth].state {
                "PENDING" => self.invitations[*nth].state = "DECLINED",
                _ => drop(why.insert("INVITATION_NOT_PENDING")),
            },
            Op::Revoke(by, nth) => {
                self.may(*by, "members.manage", &mut why);
                if self.invitations[*nth].state != "PENDING" {
                    why.insert("INVITATION_NOT_PENDING");
                }
                if why.is_empty() {
                    self.invitations[*nth].state = "REVOKED";
                }
            }
            Op::MakeTeam(by, key, people) => {
                self.may(*by, "teams.manage", &mut why);
                if self.team(key).is_some() {
                    why.insert("RESOURCE_EXISTS");
                }
                if people.iter().any(|person| self.present(*person).is_none()) {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                if self.teams.len() == MAX_TEAMS {
                    why.insert("LIMIT_REACHED");
                }
                if why.is_empty() {
                    self.teams.push(Team {
                        key,
                        aliases: Ids::new(),
                        people: people.iter().copied().collect(),
                        version: 1,
                    });
                }
            }
            Op::RenameTeam(by, team, key) => {
                self.may(*by, "teams.manage", &mut why);
                let Some(at) = self.team(team) else {
                    why.insert("RESOURCE_NOT_FOUND");
                    return why;
                };
                if self.team(key).is_some_and(|other| other != at) {
                    why.insert("RESOURCE_EXISTS");
                }
                let team = &mut self.teams[at];
                if why.is_empty() && team.key != *key {
                    team.aliases.retain(|alias| alias != key);
                    team.aliases.push(team.key);
                    team.key = key;
                    team.version += 1;
                }
            }
            Op::Join(by, team, person) | Op::Leave(by, team, person) => {
                self.may(*by, "teams.manage", &mut why);
                let joins = matches!(op, Op::Join(..));
                if joins && self.present(*person).is_none() {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                let Some(at) = self.team(team) else {
                    why.insert("RESOURCE_NOT_FOUND");
                    return why;
                };
                let team = &mut self.teams[at];
                if why.is_empty() && team.people.contains(person) != joins {
                    team.version += 1;
                    if joins {
                        team.people.insert(*person);
                    } else {
                        team.people.remove(person);
                    }
                }
            }
            Op::DropTeam(by, team) => {
                self.may(*by, "teams.manage", &mut why);
                match self.team(team) {
                    None => drop(why.insert("RESOURCE_NOT_FOUND")),
                    Some(at) if why.is_empty() => drop(self.teams.remove(at)),
                    Some(_) => {}
                }
            }
        }
        why
    }
}

/// The organization as it is, and how it is called.
struct Real<'w> {
    world: &'w World,
    /// Makes the emails of this sequence its own.
    number: usize,
    parent: String,
    uid: String,
    users: BTreeMap<usize, String>,
    invitations: Vec<(String, String)>,
}

impl<'w> Real<'w> {
    async fn create(world: &'w World, number: usize) -> Self {
        let organization = world.create_organization(&format!("bakery-{number}")).await;
        let limits =
            json!({ "maxMembers": MAX_MEMBERS, "maxTeams": MAX_TEAMS, "maxPendingInvitations": MAX_INVITATIONS });
        let update = json!({ "organization": { "name": organization.name, "limits": limits } });
        world.done("OrganizationService/UpdateOrganization", update).await;
        Self {
            world,
            number,
            parent: organization.name,
            uid: organization.uid,
            users: BTreeMap::new(),
            invitations: Vec::new(),
        }
    }

    fn email(&self, person: usize) -> String {
        format!("p{person}-{}@example.com", self.number)
    }

    /// Somebody who is no user yet has an id that nobody has.
    fn user(&self, person: usize) -> String {
        let nobody = || format!("01a20cb6-3a63-755b-9f1d-4c93df7357b{person}");
        self.users.get(&person).cloned().unwrap_or_else(nobody)
    }

    fn member(&self, person: usize) -> String {
        format!("{}/members/{}", self.parent, self.user(person))
    }

    fn caller(&self, by: By) -> Caller {
        match by {
            By::Staff => self.world.admin.clone(),
            By::Person(person) => Caller::with(self.world.tokens.user(&self.user(person), &self.uid)),
        }
    }

    async fn call(&mut self, op: &Op) -> Result<(), String> {
        let parent = &self.parent;
        let name = |person: usize| self.member(person);
        let team = |key: &str| format!("{parent}/teams/{key}");
        let role = |id: &str| format!("{parent}/roles/{id}");
        let users = |people: &[usize]| people.iter().map(|person| self.user(*person)).collect::<Vec<_>>();
        let user = |person: usize| format!("workspaces/acme/users/{}", self.user(person));
        let titled = |permissions: &Ids| json!({ "title": "T", "permissions": permissions });
        let invitation = |nth: usize| self.invitations[nth].0.clone();
        let token = |nth: usize| self.invitations[nth].1.clone();
        let (by, method, request) = match op {
            Op::Add(person, roles) => {
                let who = match self.users.contains_key(person) {
                    true => ("user", json!(user(*person))),
                    false => ("newUser", json!({ "email": self.email(*person) })),
                };
                (
                    By::Staff,
                    "MemberService/CreateMember",
                    json!({ "parent": parent, who.0: who.1, "member": { "roles": roles } }),
                )
            }
            Op::Give(by, person, roles) => {
                let member = json!({ "name": name(*person), "roles": roles });
                (
                    *by,
                    "MemberService/UpdateMember",
                    json!({ "member": member, "updateMask": "roles" }),
                )
            }
            Op::Suspend(by, person, force) => (
                *by,
                "MemberService/SuspendMember",
                json!({ "name": name(*person), "force": force }),
            ),
            Op::Resume(by, person) => (*by, "MemberService/ResumeMember", json!({ "name": name(*person) })),
            Op::Remove(by, person, force) => (
                *by,
                "MemberService/RemoveMember",
                json!({ "name": name(*person), "force": force }),
            ),
            Op::Disable(person) => (By::Staff, "UserService/DisableUser", json!({ "name": user(*person) })),
            Op::Enable(person) => (By::Staff, "UserService/EnableUser", json!({ "name": user(*person) })),
            Op::MakeRole(by, id, permissions) => (
                *by,
                "RoleService/CreateRole",
                json!({ "parent": parent, "roleId": id, "role": titled(permissions) }),
            ),
            Op::ChangeRole(by, id, permissions) => {
                let changed = json!({ "name": role(id), "permissions": permissions });
                (
                    *by,
                    "RoleService/UpdateRole",
                    json!({ "role": changed, "updateMask": "permissions" }),
                )
            }
            Op::DropRole(by, id) => (*by, "RoleService/DeleteRole", json!({ "name": role(id) })),
            Op::Invite(by, person, roles, keys) => {
                let invitation = json!({ "email": self.email(*person), "roles": roles, "teamKeys": keys });
                (
                    *by,
                    "InvitationService/CreateInvitation",
                    json!({ "parent": parent, "invitation": invitation }),
                )
            }
            Op::Accept(nth) => {
                let request = json!({ "name": invitation(*nth), "token": token(*nth) });
                (By::Staff, "InvitationService/AcceptInvitation", request)
            }
            Op::Decline(nth) => {
                let request = json!({ "name": invitation(*nth), "token": token(*nth) });
                (By::Staff, "InvitationService/DeclineInvitation", request)
            }
            Op::Revoke(by, nth) => (
                *by,
                "InvitationService/RevokeInvitation",
                json!({ "name": invitation(*nth) }),
            ),
            Op::MakeTeam(by, key, people) => {
                let team = json!({ "label": "T", "members": users(people) });
                (
                    *by,
                    "TeamService/CreateTeam",
                    json!({ "parent": parent, "teamId": key, "team": team }),
                )
            }
            Op::RenameTeam(by, key, new) => (
                *by,
                "TeamService/UpdateTeam",
                json!({ "team": { "name": team(key), "key": new } }),
            ),
            Op::Join(by, key, person) => (
                *by,
                "TeamService/AddTeamMembers",
                json!({ "name": team(key), "members": users(&[*person]) }),
            ),
            Op::Leave(by, key, person) => (
                *by,
                "TeamService/RemoveTeamMembers",
                json!({ "name": team(key), "members": users(&[*person]) }),
            ),
            Op::DropTeam(by, key) => (*by, "TeamService/DeleteTeam", json!({ "name": team(key) })),
        };
        let answer = self
            .world
            .call(&self.caller(by), method, request)
            .await
            .map_err(|status| reason(&status))?;
        self.remember(op, &answer).await;
        Ok(())
    }

    async fn remember(&mut self, op: &Op, answer: &Value) {
        match op {
            Op::Add(person, _) => {
                let user = answer["user"].as_str().unwrap().rsplit('/').next().unwrap();
                self.users.insert(*person, user.to_owned());
            }
            Op::Invite(..) => {
                let issue = json!({ "name": answer["name"] });
                let issued = self.world.done("InvitationService/IssueInvitationToken", issue).await;
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                self.invitations.push((text(&answer["name"]), text(&issued["token"])));
            }
            Op::Accept(_) => {
                let email = answer["email"].as_str().unwrap();
                let person = (0..PEOPLE).find(|person| self.email(*person) == email).unwrap();
                let user = answer["member"].as_str().unwrap().rsplit('/').next().unwrap();
                self.users.insert(person, user.to_owned());
            }
            _ => {}
        }
    }

    async fn listed(&self, method: &str, field: &str, request: Value) -> Vec<Value> {
        let answer = self.world.call(&self.world.admin, method, request).await.unwrap();
        answer[field].as_array().unwrap().clone()
    }

    /// Everything that can be read must be what the model says.
    async fn check(&self, model: &Model) -> Result<(), TestCaseError> {
        let members = json!({ "parent": self.parent, "showRemoved": true });
        let members = self.listed("MemberService/ListMembers", "members", members).await;
        let by_user: BTreeMap<&str, &Value> = members
            .iter()
            .map(|member| (member["name"].as_str().unwrap().rsplit('/').next().unwrap(), member))
            .collect();
        prop_assert_eq!(by_user.len(), model.members.len());
        for (person, expected) in &model.members {
            let member = by_user[self.user(*person).as_str()];
            let state = format!("STATE_{:?}", expected.state).to_uppercase();
            prop_assert_eq!(
                (&member["state"], &member["roles"]),
                (&json!(state), &json!(expected.roles))
            );
            prop_assert_eq!(&member["version"], &json!(expected.version.to_string()));
            self.check_permissions(model, *person).await?;
        }
        let teams = self
            .listed("TeamService/ListTeams", "teams", json!({ "parent": self.parent }))
            .await;
        prop_assert_eq!(teams.len(), model.teams.len());
        for (team, expected) in teams.iter().zip(&model.teams) {
            let mut people: Vec<String> = expected.people.iter().map(|person| self.user(*person)).collect();
            people.sort();
            prop_assert_eq!(
                (&team["key"], &team["aliases"]),
                (&json!(expected.key), &json!(expected.aliases))
            );
            prop_assert_eq!(
                (&team["members"], &team["version"]),
                (&json!(people), &json!(expected.version.to_string()))
            );
        }
        let invitations = self
            .listed(
                "InvitationService/ListInvitations",
                "invitations",
                json!({ "parent": self.parent }),
            )
            .await;
        let states: Vec<String> = model
            .invitations
            .iter()
            .map(|one| format!("STATE_{}", one.state))
            .collect();
        prop_assert_eq!(
            invitations
                .iter()
                .map(|one| one["state"].as_str().unwrap())
                .collect::<Vec<_>>(),
            states
        );
        let roles = self
            .listed("RoleService/ListRoles", "roles", json!({ "parent": self.parent }))
            .await;
        prop_assert_eq!(
            roles.iter().filter(|role| role["builtIn"] == false).count(),
            model.roles.len()
        );
        Ok(())
    }

    async fn check_permissions(&self, model: &Model, person: usize) -> Result<(), TestCaseError> {
        let all: Vec<&str> = CATALOGUE.iter().map(|(permission, _)| *permission).collect();
        let test = json!({ "name": self.member(person), "permissions": all });
        let service = Caller::with(self.world.tokens.service("dashboard"));
        let held = self
            .world
            .call(&service, "MemberService/TestPermissions", test)
            .await
            .unwrap();
        let expected: Vec<&str> = model.holds(person).unwrap_or_default().into_iter().collect();
        prop_assert_eq!(&held["permissions"], &json!(expected));
        Ok(())
    }
}

async fn run(world: &World, number: usize, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut real = Real::create(world, number).await;
    let mut model = Model::default();
    for op in ops {
        let op = match op {
            Op::Accept(_) | Op::Decline(_) | Op::Revoke(..) if model.invitations.is_empty() => continue,
            Op::Accept(nth) => Op::Accept(nth % model.invitations.len()),
            Op::Decline(nth) => Op::Decline(nth % model.invitations.len()),
            Op::Revoke(by, nth) => Op::Revoke(by, nth % model.invitations.len()),
            op => op,
        };
        let expected = model.apply(&op);
        match real.call(&op).await {
            Ok(()) => prop_assert!(
                expected.is_empty(),
                "{op:?} was answered and not refused with {expected:?}"
            ),
            Err(why) => prop_assert!(
                expected.contains(why.as_str()),
                "{op:?} was refused with {why} and not {expected:?}"
            ),
        }
    }
    real.check(&model).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_the_organization_is_as_the_model_says() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for_random_cases(24, &ops(), |number, ops| run(&world, number, ops));
    })
    .await;
}
