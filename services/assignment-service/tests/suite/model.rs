//! Random sequences over agents, assignments, scopes, and what is heard of organizations and people, against a small model of them.

use crate::{ACME, World, agent_name};
use clientele_api::assignment::{Assignment, MemberScope};
use clientele_api::journal::Change;
use clientele_api::org::{Organization, member, organization, user};
use clientele_testkit::{Caller, ClientUser, for_random_cases, on_both_engines, reason};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const AGENTS: usize = 3;
const ORGANIZATIONS: usize = 2;
/// Of each organization.
const PEOPLE: usize = 2;

/// Who calls: the workspace's staff, or one of the organization's people.
#[derive(Debug, Clone, Copy)]
enum By {
    Staff,
    Person(usize),
}

#[derive(Debug, Clone)]
enum Op {
    Create(usize),
    Retitle(usize),
    Archive(usize),
    Unarchive(usize),
    Delete(usize),
    Assign(usize, usize),
    Batch(usize, Vec<usize>),
    Unassign(usize, usize),
    Move(usize, usize, usize),
    Reorder(usize, Vec<usize>),
    Rename(usize, usize, &'static str),
    /// None: all agents.
    Scope(By, usize, usize, Option<Vec<usize>>),
    Organization(usize, organization::State),
    Access(usize, bool),
    Limit(usize, Option<i32>),
    Member(usize, usize, member::State),
    User(usize, usize, bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let by = || prop_oneof![2 => Just(By::Staff), 1 => (0..PEOPLE).prop_map(By::Person)];
    let agent = || 0..AGENTS;
    let at = || 0..ORGANIZATIONS;
    let person = || 0..PEOPLE;
    let agents = |least: usize| subsequence((0..AGENTS).collect::<Vec<_>>(), least..=AGENTS).prop_shuffle();
    let listed = move || prop_oneof![1 => Just(None), 3 => agents(0).prop_map(Some)];
    let state = || {
        use organization::State::{Active, Deleted, Suspended};
        prop_oneof![6 => Just(Active), 1 => Just(Suspended), 1 => Just(Deleted)]
    };
    let member = || {
        use member::State::{Active, Removed, Suspended};
        prop_oneof![6 => Just(Active), 1 => Just(Suspended), 1 => Just(Removed)]
    };
    let limit = || prop_oneof![3 => Just(None), 1 => (0..3).prop_map(Some)];
    let seldom = || prop_oneof![3 => Just(false), 1 => Just(true)];
    let alias = || prop_oneof![Just(""), Just("x")];
    let op = prop_oneof![
        2 => agent().prop_map(Op::Create),
        1 => agent().prop_map(Op::Retitle),
        1 => agent().prop_map(Op::Archive),
        3 => agent().prop_map(Op::Unarchive),
        1 => agent().prop_map(Op::Delete),
        8 => (at(), agent()).prop_map(|(at, agent)| Op::Assign(at, agent)),
        3 => (at(), agents(1)).prop_map(|(at, agents)| Op::Batch(at, agents)),
        6 => (at(), agent()).prop_map(|(at, agent)| Op::Unassign(at, agent)),
        4 => (at(), agent(), at()).prop_map(|(from, agent, to)| Op::Move(from, agent, to)),
        2 => (at(), agents(1)).prop_map(|(at, agents)| Op::Reorder(at, agents)),
        2 => (at(), agent(), alias()).prop_map(|(at, agent, alias)| Op::Rename(at, agent, alias)),
        8 => (by(), at(), person(), listed()).prop_map(|(by, at, person, listed)| Op::Scope(by, at, person, listed)),
        2 => (at(), state()).prop_map(|(at, state)| Op::Organization(at, state)),
        1 => (at(), seldom()).prop_map(|(at, off)| Op::Access(at, !off)),
        2 => (at(), limit()).prop_map(|(at, limit)| Op::Limit(at, limit)),
        2 => (at(), person(), member()).prop_map(|(at, person, state)| Op::Member(at, person, state)),
        1 => (at(), person(), seldom()).prop_map(|(at, person, disabled)| Op::User(at, person, disabled)),
    ];
    // What is taken away and comes back at once is the same, and in no scope any more.
    let again = (at(), agent()).prop_map(|(at, agent)| vec![Op::Unassign(at, agent), Op::Assign(at, agent)]);
    let ops = prop_oneof![9 => op.prop_map(|op| vec![op]), 1 => again];
    vec(ops, 1..50).prop_map(|ops| ops.concat())
}

#[derive(Debug, Clone, Copy)]
struct Agent {
    version: i64,
    archived: bool,
}

/// An assignment that there is or was.
#[derive(Debug, Clone)]
struct Assigned {
    version: i64,
    position: i64,
    alias: &'static str,
    present: bool,
    /// As the how-manieth it was made.
    made: usize,
}

#[derive(Debug, Clone)]
struct Place {
    state: organization::State,
    access: bool,
    limit: Option<i32>,
    assigned: BTreeMap<usize, Assigned>,
    people: [Person; PEOPLE],
}

#[derive(Debug, Clone)]
struct Person {
    state: member::State,
    disabled: bool,
    /// How often its scope was set.
    version: i64,
    /// None: all agents.
    listed: Option<Vec<usize>>,
}

/// What everything should be.
#[derive(Debug, Clone)]
struct Model {
    agents: BTreeMap<usize, Agent>,
    places: [Place; ORGANIZATIONS],
    made: usize,
}

/// Why a call must be refused: any of these. None: it must be answered.
type Refusals = BTreeSet<&'static str>;

impl Place {
    fn new() -> Self {
        let person = || Person {
            state: member::State::Active,
            disabled: false,
            version: 0,
            listed: None,
        };
        Self {
            state: organization::State::Active,
            access: true,
            limit: None,
            assigned: BTreeMap::new(),
            people: [person(), person()],
        }
    }

    /// The agents in their order.
    fn present(&self) -> Vec<usize> {
        let mut present: Vec<(i64, usize)> = self
            .assigned
            .iter()
            .filter(|(_, one)| one.present)
            .map(|(agent, one)| (one.position, *agent))
            .collect();
        present.sort_unstable();
        present.into_iter().map(|(_, agent)| agent).collect()
    }

    fn require_active(&self, why: &mut Refusals) {
        match self.state {
            organization::State::Active => {}
            organization::State::Deleted => drop(why.insert("ORGANIZATION_DELETED")),
            _ => drop(why.insert("ORGANIZATION_SUSPENDED")),
        }
    }

    /// Why this person may not call; None: it may.
    fn denial(&self, person: usize) -> Option<&'static str> {
        let person = &self.people[person];
        match self.state {
            organization::State::Deleted => Some("ORGANIZATION_DELETED"),
            organization::State::Suspended => Some("ORGANIZATION_SUSPENDED"),
            _ if !self.access => Some("ACCESS_OFF"),
            _ if person.disabled => Some("USER_DISABLED"),
            _ => match person.state {
                member::State::Active => None,
                member::State::Suspended => Some("MEMBER_SUSPENDED"),
                _ => Some("MEMBER_REMOVED"),
            },
        }
    }

    fn remove(&mut self, agent: usize) {
        let one = self.assigned.get_mut(&agent).unwrap();
        one.present = false;
        one.version += 1;
        for listed in self.people.iter_mut().filter_map(|person| person.listed.as_mut()) {
            listed.retain(|one| *one != agent);
        }
    }
}

impl Person {
    fn holds(&self, agent: usize) -> bool {
        self.listed.as_ref().is_none_or(|listed| listed.contains(&agent))
    }
}

impl Model {
    fn new() -> Self {
        Self {
            agents: BTreeMap::new(),
            places: std::array::from_fn(|_| Place::new()),
            made: 0,
        }
    }

    /// Assigns agents, with this alias if they are moved.
    fn add(&mut self, at: usize, agents: &[usize], alias: Option<&'static str>, why: &mut Refusals) {
        self.places[at].require_active(why);
        for agent in agents {
            match self.agents.get(agent) {
                None => why.insert("RESOURCE_NOT_FOUND"),
                Some(agent) => agent.archived && why.insert("AGENT_ARCHIVED"),
            };
        }
        let place = &self.places[at];
        let present = place.present();
        let more: Vec<usize> = agents.iter().copied().filter(|one| !present.contains(one)).collect();
        let room = |limit: i32| present.len() + more.len() <= limit as usize;
        if !more.is_empty() && !place.limit.is_none_or(room) {
            why.insert("LIMIT_REACHED");
        }
        if !why.is_empty() {
            return;
        }
        let mut last = present.last().map_or(0, |agent| place.assigned[agent].position);
        for agent in more {
            last += 1;
            let made = self.made;
            self.made += 1;
            let new = Assigned {
                version: 0,
                position: 0,
                alias: "",
                present: false,
                made,
            };
            let one = self.places[at].assigned.entry(agent).or_insert(new);
            one.version += 1;
            one.position = last;
            one.present = true;
            one.alias = alias.unwrap_or(one.alias);
        }
    }

    /// Why the call must be refused; if it must not, what comes of it.
    fn apply(&mut self, op: &Op) -> Refusals {
        let mut why = Refusals::new();
        match op {
            Op::Create(agent) => {
                if self.agents.contains_key(agent) {
                    why.insert("RESOURCE_EXISTS");
                } else {
                    let archived = false;
                    self.agents.insert(*agent, Agent { version: 1, archived });
                }
            }
            Op::Retitle(agent) | Op::Archive(agent) | Op::Unarchive(agent) => {
                let Some(agent) = self.agents.get_mut(agent) else {
                    return ["RESOURCE_NOT_FOUND"].into();
                };
                let unarchives = matches!(op, Op::Unarchive(_));
                if agent.archived != unarchives {
                    why.insert(if unarchives {
                        "AGENT_NOT_ARCHIVED"
                    } else {
                        "AGENT_ARCHIVED"
                    });
                } else {
                    agent.archived = matches!(op, Op::Archive(_));
                    agent.version += 1;
                }
            }
            Op::Delete(agent) => {
                if !self.agents.contains_key(agent) {
                    why.insert("RESOURCE_NOT_FOUND");
                } else if self.places.iter().any(|place| place.present().contains(agent)) {
                    why.insert("AGENT_ASSIGNED");
                } else {
                    self.agents.remove(agent);
                    // Whoever has this id later is another one.
                    for place in &mut self.places {
                        place.assigned.remove(agent);
                    }
                }
            }
            Op::Assign(at, agent) => self.add(*at, &[*agent], None, &mut why),
            Op::Batch(at, agents) => self.add(*at, agents, None, &mut why),
            Op::Unassign(at, agent) => {
                let place = &mut self.places[*at];
                place.require_active(&mut why);
                if !place.present().contains(agent) {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                if why.is_empty() {
                    place.remove(*agent);
                }
            }
            Op::Move(from, _, to) if from == to => drop(why.insert("INVALID_FIELDS")),
            Op::Move(from, agent, to) => {
                let place = &self.places[*from];
                place.require_active(&mut why);
                if !place.present().contains(agent) {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                let alias = place.assigned.get(agent).map(|one| one.alias);
                self.add(*to, &[*agent], alias, &mut why);
                if why.is_empty() {
                    self.places[*from].remove(*agent);
                }
            }
            Op::Reorder(at, agents) => {
                let place = &mut self.places[*at];
                place.require_active(&mut why);
                let present = place.present();
                if agents.iter().any(|agent| !present.contains(agent)) {
                    why.insert("RESOURCE_NOT_FOUND");
                }
                if !why.is_empty() || present.starts_with(agents) {
                    return why;
                }
                let others = present.iter().find(|agent| !agents.contains(agent));
                let listed = agents.len() as i64;
                let first = others.map_or(1, |agent| place.assigned[agent].position - listed);
                for (agent, position) in agents.iter().zip(first..) {
                    let one = place.assigned.get_mut(agent).unwrap();
                    one.version += i64::from(one.position != position);
                    one.position = position;
                }
            }
            Op::Rename(at, agent, alias) => {
                let place = &mut self.places[*at];
                place.require_active(&mut why);
                match place.assigned.get_mut(agent).filter(|one| one.present) {
                    None => drop(why.insert("RESOURCE_NOT_FOUND")),
                    Some(one) if why.is_empty() && one.alias != *alias => {
                        one.alias = alias;
                        one.version += 1;
                    }
                    Some(_) => {}
                }
            }
            Op::Scope(by, at, person, listed) => {
                let place = &mut self.places[*at];
                if place.state == organization::State::Deleted {
                    why.insert("ORGANIZATION_DELETED");
                }
                let present = place.present();
                let given = || listed.iter().flatten();
                if given().any(|agent| !present.contains(agent)) {
                    why.insert("AGENT_NOT_ASSIGNED");
                }
                if let By::Person(caller) = by {
                    if place.denial(*caller).is_some() {
                        return ["ACCESS_DENIED"].into();
                    }
                    let own = &place.people[*caller];
                    let lacks = match listed {
                        None => own.listed.is_some(),
                        Some(given) => given.iter().any(|agent| !own.holds(*agent)),
                    };
                    if lacks {
                        why.insert("GRANT_NOT_HELD");
                    }
                }
                let person = &mut place.people[*person];
                if person.state == member::State::Removed {
                    why.insert("MEMBER_REMOVED");
                }
                if why.is_empty() && (person.version == 0 || person.listed != *listed) {
                    person.listed = listed.clone();
                    person.version += 1;
                }
            }
            Op::Organization(at, state) => self.places[*at].state = *state,
            Op::Access(at, enabled) => self.places[*at].access = *enabled,
            Op::Limit(at, limit) => self.places[*at].limit = *limit,
            Op::Member(at, person, state) => self.places[*at].people[*person].state = *state,
            Op::User(at, person, disabled) => self.places[*at].people[*person].disabled = *disabled,
        }
        why
    }

    /// Why an agent may not be used.
    fn denial(&self, at: usize, agent: usize, person: Option<usize>) -> &'static str {
        let place = &self.places[at];
        let standing = match person {
            Some(person) => place.denial(person),
            None => match place.state {
                organization::State::Active => None,
                organization::State::Deleted => Some("ORGANIZATION_DELETED"),
                _ => Some("ORGANIZATION_SUSPENDED"),
            },
        };
        match standing {
            Some(denial) => denial,
            None if self.agents[&agent].archived => "AGENT_ARCHIVED",
            None if !place.present().contains(&agent) => "NOT_ASSIGNED",
            None if person.is_some_and(|person| !place.people[person].holds(agent)) => "OUT_OF_SCOPE",
            None => "UNSPECIFIED",
        }
    }
}

/// An organization, and who is a member of it.
struct Told {
    organization: Organization,
    people: Vec<ClientUser>,
}

/// Everything as it is, and how it is called.
struct Real<'w> {
    world: &'w World,
    /// Makes the names of this sequence its own.
    number: usize,
    places: Vec<Told>,
}

impl<'w> Real<'w> {
    async fn create(world: &'w World, number: usize) -> Self {
        let told = |at| {
            let name = format!("{ACME}/organizations/o{number}-{at}");
            let organization = world.feed.create_organization(world.acme, &name);
            let people = (0..PEOPLE).map(|_| ClientUser::create(&world.feed, world.acme, &organization));
            let people = people.collect();
            Told { organization, people }
        };
        let places = (0..ORGANIZATIONS).map(told).collect();
        world.hear().await;
        Self { world, number, places }
    }

    fn id(&self, agent: usize) -> String {
        format!("a{}-{agent}", self.number)
    }

    fn agent(&self, agent: usize) -> String {
        agent_name(&self.id(agent))
    }

    fn organization(&self, at: usize) -> &str {
        &self.places[at].organization.name
    }

    fn assignment(&self, at: usize, agent: usize) -> String {
        format!("{}/assignments/{}", self.organization(at), self.id(agent))
    }

    fn scope(&self, at: usize, person: usize) -> String {
        let user = &self.places[at].people[person].user.uid;
        format!("{}/memberScopes/{user}", self.organization(at))
    }

    fn names(&self, agents: &[usize]) -> Vec<String> {
        agents.iter().map(|agent| self.agent(*agent)).collect()
    }

    async fn ask(&self, caller: &Caller, method: &str, request: Value) -> Result<Value, String> {
        let service = match method.contains("Agent") && method.starts_with("Agent:") {
            true => "AgentService",
            false => "AssignmentService",
        };
        let method = method.trim_start_matches("Agent:");
        let path = format!("/clientele.assignment.v1.{service}/{method}");
        let answer = self.world.calls().call(&path, caller, request).await;
        answer.map(|(answer, _)| answer).map_err(|status| reason(&status))
    }

    /// Does it; answers what of the answer the model knows.
    async fn call(&mut self, op: &Op) -> Result<Value, String> {
        let staff = self.world.admin.clone();
        let (caller, method, request) = match op {
            Op::Create(agent) => {
                let agent = json!({ "parent": ACME, "agentId": self.id(*agent), "agent": { "title": "T" } });
                (staff, "Agent:CreateAgent", agent)
            }
            Op::Retitle(agent) => {
                let agent = json!({ "name": self.agent(*agent), "title": uuid::Uuid::new_v4().to_string() });
                (staff, "Agent:UpdateAgent", json!({ "agent": agent }))
            }
            Op::Archive(agent) => (staff, "Agent:ArchiveAgent", json!({ "name": self.agent(*agent) })),
            Op::Unarchive(agent) => (staff, "Agent:UnarchiveAgent", json!({ "name": self.agent(*agent) })),
            Op::Delete(agent) => (staff, "Agent:DeleteAgent", json!({ "name": self.agent(*agent) })),
            Op::Assign(at, agent) => {
                let request = json!({ "parent": self.organization(*at), "agent": self.agent(*agent) });
                (staff, "AssignAgent", request)
            }
            Op::Batch(at, agents) => {
                let parts: Vec<Value> = agents.iter().map(|one| json!({ "agent": self.agent(*one) })).collect();
                let request = json!({ "parent": self.organization(*at), "requests": parts });
                (staff, "BatchAssignAgents", request)
            }
            Op::Unassign(at, agent) => (staff, "UnassignAgent", json!({ "name": self.assignment(*at, *agent) })),
            Op::Move(from, agent, to) => {
                let request = json!({ "name": self.assignment(*from, *agent), "destination": self.organization(*to) });
                (staff, "MoveAssignment", request)
            }
            Op::Reorder(at, agents) => {
                let names: Vec<String> = agents.iter().map(|agent| self.assignment(*at, *agent)).collect();
                let request = json!({ "parent": self.organization(*at), "names": names });
                (staff, "ReorderAssignments", request)
            }
            Op::Rename(at, agent, alias) => {
                let assignment = json!({ "name": self.assignment(*at, *agent), "alias": alias });
                (staff, "UpdateAssignment", json!({ "assignment": assignment }))
            }
            Op::Scope(by, at, person, listed) => {
                let caller = match by {
                    By::Staff => staff,
                    By::Person(person) => self.places[*at].people[*person].caller(&self.world.tokens),
                };
                let agents = self.names(listed.as_deref().unwrap_or_default());
                let scope =
                    json!({ "name": self.scope(*at, *person), "allAgents": listed.is_none(), "agents": agents });
                (caller, "SetMemberScope", json!({ "memberScope": scope }))
            }
            _ => {
                self.tell(op).await;
                return Ok(Value::Null);
            }
        };
        let answer = self.ask(&caller, method, request).await?;
        Ok(match op {
            Op::Create(_) | Op::Retitle(_) | Op::Archive(_) | Op::Unarchive(_) => {
                json!([answer["version"], answer["state"] == "STATE_ARCHIVED"])
            }
            Op::Batch(..) | Op::Reorder(..) => shown(&answer),
            Op::Assign(..) | Op::Move(..) | Op::Rename(..) => shown(&json!({ "assignments": [answer] })),
            Op::Scope(..) => shown_scope(&answer),
            _ => Value::Null,
        })
    }

    /// Tells what org-service would, and waits until it is heard.
    async fn tell(&mut self, op: &Op) {
        let feed = &self.world.feed;
        let mut change = |at: usize, change: &dyn Fn(&mut Organization)| {
            let told = &mut self.places[at].organization;
            *told = feed.update(self.world.acme, told, change);
        };
        match op {
            Op::Organization(at, state) => change(*at, &|it| it.set_state(*state)),
            Op::Access(at, enabled) => change(*at, &|it| it.client_access_enabled = Some(*enabled)),
            Op::Limit(at, limit) => change(*at, &|it| it.limits.as_mut().unwrap().max_agents = *limit),
            Op::Member(at, person, state) => {
                self.places[*at].people[*person].change_member(|member| member.set_state(*state));
            }
            Op::User(at, person, disabled) => {
                use user::State::{Active, Disabled};
                let state = if *disabled { Disabled } else { Active };
                self.places[*at].people[*person].change_user(|user| user.set_state(state));
            }
            _ => unreachable!("{op:?} is called"),
        }
        self.world.hear().await;
    }

    /// What a call must have answered, if the model knows it.
    fn expected(&self, model: &Model, op: &Op) -> Value {
        match op {
            Op::Create(agent) | Op::Retitle(agent) | Op::Archive(agent) | Op::Unarchive(agent) => {
                let agent = &model.agents[agent];
                json!([agent.version.to_string(), agent.archived])
            }
            Op::Assign(at, agent) | Op::Rename(at, agent, _) | Op::Move(_, agent, at) => {
                self.listed(model, *at, &[*agent])
            }
            Op::Batch(at, agents) | Op::Reorder(at, agents) => self.listed(model, *at, agents),
            Op::Scope(_, at, person, _) => self.expected_scope(model, *at, *person),
            _ => Value::Null,
        }
    }

    fn listed(&self, model: &Model, at: usize, agents: &[usize]) -> Value {
        let one = |agent: &usize| {
            let one = &model.places[at].assigned[agent];
            let (version, position) = (one.version.to_string(), one.position.to_string());
            json!([self.assignment(at, *agent), version, position, one.alias])
        };
        agents.iter().map(one).collect()
    }

    fn expected_scope(&self, model: &Model, at: usize, person: usize) -> Value {
        let person = &model.places[at].people[person];
        let agents = self.names(person.listed.as_deref().unwrap_or_default());
        json!([person.version.to_string(), person.listed.is_none(), agents])
    }

    /// Who may use what must be what the model says.
    async fn check_access(&self, model: &Model) -> Result<(), TestCaseError> {
        let agents: Vec<usize> = model.agents.keys().copied().collect();
        for (at, person) in (0..ORGANIZATIONS).flat_map(|at| [(at, None), (at, Some(0)), (at, Some(1))]) {
            let mut request = json!({ "organization": self.organization(at), "agents": self.names(&agents) });
            if let Some(person) = person {
                request["member"] = json!(self.places[at].people[person].member.name);
            }
            if agents.is_empty() {
                continue;
            }
            let answer = self
                .ask(&self.world.service, "BatchCheckAccess", request)
                .await
                .unwrap();
            let checks = answer["checks"].as_array().unwrap();
            let reasons: Vec<&str> = checks.iter().map(|check| check["reason"].as_str().unwrap()).collect();
            let expected = agents.iter().map(|agent| model.denial(at, *agent, person));
            let expected: Vec<String> = expected.map(|denial| format!("DENIAL_REASON_{denial}")).collect();
            prop_assert_eq!(&reasons, &expected, "{:?} of {}", person, at);
            for check in checks {
                prop_assert_eq!(
                    &check["allowed"],
                    &json!(check["reason"] == "DENIAL_REASON_UNSPECIFIED")
                );
            }
        }
        Ok(())
    }

    /// Everything that can be read must be what the model says.
    async fn check(&self, model: &Model) -> Result<(), TestCaseError> {
        for at in 0..ORGANIZATIONS {
            self.check_organization(model, at).await?;
            self.check_journal(model, at).await?;
        }
        for agent in 0..AGENTS {
            let request = json!({ "agent": self.agent(agent) });
            let organizations = self.ask(&self.world.member, "ListAgentOrganizations", request).await;
            let Some(known) = model.agents.get(&agent) else {
                prop_assert_eq!(organizations, Err("RESOURCE_NOT_FOUND".to_owned()));
                let request = json!({ "organization": self.organization(0), "agent": self.agent(agent) });
                let check = self.ask(&self.world.service, "CheckAccess", request).await;
                prop_assert_eq!(check, Err("RESOURCE_NOT_FOUND".to_owned()));
                continue;
            };
            let mut there: Vec<usize> = (0..ORGANIZATIONS)
                .filter(|at| model.places[*at].present().contains(&agent))
                .collect();
            there.sort_by_key(|at| model.places[*at].assigned[&agent].made);
            let there = there.into_iter().flat_map(|at| match self.listed(model, at, &[agent]) {
                Value::Array(one) => one,
                other => vec![other],
            });
            prop_assert_eq!(shown(&organizations.unwrap()), Value::from_iter(there));
            let request = json!({ "name": self.agent(agent) });
            let got = self.ask(&self.world.member, "Agent:GetAgent", request).await.unwrap();
            prop_assert_eq!(&got["version"], &json!(known.version.to_string()));
            self.check_each_access(model, agent).await?;
        }
        Ok(())
    }

    /// The same one by one, and of members of the other organization.
    async fn check_each_access(&self, model: &Model, agent: usize) -> Result<(), TestCaseError> {
        for at in 0..ORGANIZATIONS {
            let people = [None, Some((0, 0)), Some((0, 1)), Some((1, 0)), Some((1, 1))];
            for person in people {
                let mut request = json!({ "organization": self.organization(at), "agent": self.agent(agent) });
                if let Some((of, person)) = person {
                    let user = &self.places[of].people[person].user.uid;
                    request["member"] = json!(format!("{}/members/{user}", self.organization(at)));
                }
                let answer = self.ask(&self.world.service, "CheckAccess", request).await;
                let answer = answer.map(|answer| answer["reason"].clone());
                let expected = match person {
                    Some((of, _)) if of != at => Err("RESOURCE_NOT_FOUND".to_owned()),
                    _ => Ok(model.denial(at, agent, person.map(|(_, person)| person))),
                };
                prop_assert_eq!(answer, expected.map(|denial| json!(format!("DENIAL_REASON_{denial}"))));
            }
        }
        Ok(())
    }

    async fn check_organization(&self, model: &Model, at: usize) -> Result<(), TestCaseError> {
        let place = &model.places[at];
        let list = json!({ "parent": self.organization(at) });
        let all = self
            .ask(&self.world.member, "ListAssignments", list.clone())
            .await
            .unwrap();
        prop_assert_eq!(shown(&all), self.listed(model, at, &place.present()));
        for person in 0..PEOPLE {
            let caller = self.places[at].people[person].caller(&self.world.tokens);
            let own = self.ask(&caller, "ListAssignments", list.clone()).await;
            let mut held = place.present();
            held.retain(|agent| place.people[person].holds(*agent));
            let expected = match place.denial(person) {
                None => Ok(self.listed(model, at, &held)),
                Some(_) => Err("ACCESS_DENIED".to_owned()),
            };
            prop_assert_eq!(own.map(|answer| shown(&answer)), expected);
            let scope = json!({ "name": self.scope(at, person) });
            let scope = self.ask(&self.world.admin, "GetMemberScope", scope).await.unwrap();
            prop_assert_eq!(shown_scope(&scope), self.expected_scope(model, at, person));
        }
        Ok(())
    }

    /// Whoever has kept of each resource what the journal told of its highest version must know the same.
    async fn check_journal(&self, model: &Model, at: usize) -> Result<(), TestCaseError> {
        let entries = self.world.entries(self.organization(at)).await;
        let mut kept: BTreeMap<&str, &Change> = BTreeMap::new();
        for change in entries.iter().flat_map(|entry| &entry.changes) {
            let newest = kept.entry(&change.uid).or_insert(change);
            if change.version > newest.version {
                *newest = change;
            }
        }
        let kept = || kept.values().filter_map(|change| change.after.as_ref());
        let mut assignments: Vec<Assignment> = kept().filter_map(|any| any.to_msg().ok()).collect();
        assignments.sort_by_key(|one| one.position);
        prop_assert_eq!(&assignments, &self.world.assigned_to(self.organization(at)).await);
        let mut set = 0;
        for scope in kept().filter_map(|any| any.to_msg::<MemberScope>().ok()) {
            set += 1;
            let person = (0..PEOPLE)
                .find(|person| self.scope(at, *person) == scope.name)
                .unwrap();
            let counts = |name: &String| {
                let assigned = assignments.iter().find(|one| one.agent == *name);
                assigned.is_some_and(|one| time(&one.assign_time) <= time(&scope.update_time))
            };
            let held: Vec<String> = scope.agents.iter().filter(|name| counts(name)).cloned().collect();
            let known = json!([scope.version.to_string(), scope.all_agents(), held]);
            prop_assert_eq!(known, self.expected_scope(model, at, person));
        }
        let expected = model.places[at].people.iter().filter(|person| person.version > 0);
        prop_assert_eq!(set, expected.count());
        Ok(())
    }
}

fn time(time: &Option<prost_types::Timestamp>) -> (i64, i32) {
    time.as_ref().map(|time| (time.seconds, time.nanos)).unwrap()
}

/// What the model knows of assignments.
fn shown(answer: &Value) -> Value {
    let all = answer["assignments"].as_array().unwrap().iter();
    all.map(|one| json!([one["name"], one["version"], one["position"], one["alias"]]))
        .collect()
}

fn shown_scope(scope: &Value) -> Value {
    json!([scope["version"], scope["allAgents"], scope["agents"]])
}

async fn run(world: &World, number: usize, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut real = Real::create(world, number).await;
    let mut model = Model::new();
    let all: Vec<usize> = (0..AGENTS).collect();
    let first = all.iter().copied().map(Op::Create).chain([Op::Batch(0, all.clone())]);
    for op in first.chain(ops) {
        let refusals = model.apply(&op);
        match real.call(&op).await {
            Ok(answer) => {
                prop_assert!(
                    refusals.is_empty(),
                    "{op:?} was answered and not refused with {refusals:?}"
                );
                prop_assert_eq!(answer, real.expected(&model, &op), "{:?}", op);
            }
            Err(why) => prop_assert!(
                refusals.contains(why.as_str()),
                "{op:?} was refused with {why} and not {refusals:?}"
            ),
        }
        real.check_access(&model).await?;
    }
    real.check(&model).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_who_may_use_what_is_as_the_model_says() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for_random_cases(20, &ops(), |number, ops| run(&world, number, ops));
    })
    .await;
}
