//! Several callers assign, move and take away the same agents at once, and read: some order of their calls explains all their answers.

use crate::linear::explain;
use crate::{ACME, World, agent_name, service};
use clientele_api::assignment::assignment_service_client::AssignmentServiceClient;
use clientele_api::assignment::{
    AssignAgentRequest, Assignment, BatchAssignAgentsRequest, CheckAccessRequest, GetMemberScopeRequest,
    ListAgentOrganizationsRequest, ListAssignmentsRequest, MemberScope, MoveAssignmentRequest, SetMemberScopeRequest,
    UnassignAgentRequest,
};
use clientele_store::Revision;
use clientele_testkit::{Caller, ClientUser, Engine, Running, reason, seed};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

const ROUNDS: usize = 40;
const CALLERS: usize = 5;
/// How many calls each of them makes, one after the other.
const CALLS: usize = 4;
const AGENTS: usize = 3;
/// The `max_agents` of each organization.
const LIMITS: [Option<i32>; 3] = [None, Some(2), Some(1)];

#[derive(Debug, Clone)]
enum Ask {
    Assign(usize, usize),
    Batch(usize, Vec<usize>),
    Move(usize, usize, usize),
    Unassign(usize, usize),
    List(usize),
    Where(usize),
    Check(usize, usize),
    /// What the organization's member may use: of these all, or all (None).
    Give(usize, Option<Vec<usize>>),
    Held(usize),
    CheckMember(usize, usize),
}

impl Ask {
    fn draw(random: &mut StdRng) -> Self {
        let organization = random.random_range(0..LIMITS.len());
        let agent = random.random_range(0..AGENTS);
        let some = |random: &mut StdRng, least: usize| -> Vec<usize> {
            let size = random.random_range(least..=AGENTS);
            let mut some: Vec<usize> = (0..AGENTS).collect();
            some.shuffle(random);
            some.truncate(size);
            some
        };
        match random.random_range(0..20) {
            0..3 => Self::Assign(organization, agent),
            3 => Self::Batch(organization, some(random, 1)),
            4..7 => {
                let other = organization + random.random_range(1..LIMITS.len());
                Self::Move(organization, agent, other % LIMITS.len())
            }
            7..9 => Self::Unassign(organization, agent),
            9..11 => Self::List(organization),
            11 => Self::Where(agent),
            12..14 => Self::Check(organization, agent),
            14 => Self::Give(organization, None),
            15..17 => {
                let mut listed = some(random, 0);
                listed.sort_unstable();
                Self::Give(organization, Some(listed))
            }
            17 => Self::Held(organization),
            _ => Self::CheckMember(organization, agent),
        }
    }

    fn writes(&self) -> bool {
        !self.is_check() && !matches!(self, Self::List(_) | Self::Where(_) | Self::Held(_))
    }

    fn is_check(&self) -> bool {
        matches!(self, Self::Check(..) | Self::CheckMember(..))
    }
}

/// An agent, or where it stands the organization; its version, and its position.
type Seen = (usize, i64, i64);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Seen(Vec<Seen>),
    Done,
    Allowed(bool),
    /// How often it was set, and what it holds if not all.
    Scope(i64, Option<Vec<usize>>),
    /// The reason, and the number that is used where a limit is reached.
    Refused(String, Option<i64>),
}

/// An assignment that there is or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Known {
    version: i64,
    position: i64,
    present: bool,
}

/// An organization: what it is assigned, and what its member may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Organization {
    assigned: [Option<Known>; AGENTS],
    /// How often it was set.
    scope: i64,
    /// None: all.
    listed: Option<[bool; AGENTS]>,
}

type State = [Organization; LIMITS.len()];

fn present(state: &State, organization: usize) -> impl Iterator<Item = Seen> {
    let all = state[organization].assigned.iter().enumerate();
    all.filter_map(|(agent, known)| {
        let known = known.filter(|known| known.present)?;
        Some((agent, known.version, known.position))
    })
}

fn not_found() -> Answer {
    Answer::Refused("RESOURCE_NOT_FOUND".into(), None)
}

/// Makes a call where nobody else does.
fn make(state: &mut State, ask: &Ask) -> Answer {
    match ask {
        Ask::Assign(organization, agent) => add(state, *organization, &[*agent]),
        Ask::Batch(organization, agents) => add(state, *organization, agents),
        Ask::Move(from, agent, to) => {
            if !present(state, *from).any(|(one, ..)| one == *agent) {
                return not_found();
            }
            let answer = add(state, *to, &[*agent]);
            if matches!(answer, Answer::Seen(_)) {
                remove(state, *from, *agent);
            }
            answer
        }
        Ask::Unassign(organization, agent) => remove(state, *organization, *agent),
        Ask::List(organization) => {
            let mut listed: Vec<Seen> = present(state, *organization).collect();
            listed.sort_by_key(|(_, _, position)| *position);
            Answer::Seen(listed)
        }
        Ask::Where(agent) => {
            let there = |at| present(state, at).find(|(one, ..)| one == agent);
            let there =
                (0..LIMITS.len()).filter_map(|at| there(at).map(|(_, version, position)| (at, version, position)));
            Answer::Seen(there.collect())
        }
        Ask::Give(organization, listed) => {
            let mut given = listed.as_ref().map(|_| [false; AGENTS]);
            for agent in listed.iter().flatten() {
                if !present(state, *organization).any(|(one, ..)| one == *agent) {
                    return Answer::Refused("AGENT_NOT_ASSIGNED".into(), None);
                }
                given.as_mut().unwrap()[*agent] = true;
            }
            let one = &mut state[*organization];
            if one.scope == 0 || one.listed != given {
                one.scope += 1;
                one.listed = given;
            }
            held(one)
        }
        Ask::Held(organization) => held(&state[*organization]),
        Ask::CheckMember(organization, agent) => {
            let listed = state[*organization].listed.is_none_or(|listed| listed[*agent]);
            Answer::Allowed(listed && present(state, *organization).any(|(one, ..)| one == *agent))
        }
        Ask::Check(organization, agent) => {
            Answer::Allowed(present(state, *organization).any(|(one, ..)| one == *agent))
        }
    }
}

fn held(one: &Organization) -> Answer {
    let listed = one
        .listed
        .map(|listed| (0..AGENTS).filter(|agent| listed[*agent]).collect());
    Answer::Scope(one.scope, listed)
}

fn add(state: &mut State, organization: usize, agents: &[usize]) -> Answer {
    let used = present(state, organization).count();
    let is_there = |agent: &usize| state[organization].assigned[*agent].is_some_and(|known| known.present);
    let more = agents.iter().filter(|agent| !is_there(agent)).count();
    if more > 0 && LIMITS[organization].is_some_and(|limit| used + more > limit as usize) {
        return Answer::Refused("LIMIT_REACHED".into(), Some(used as i64));
    }
    let mut last = present(state, organization)
        .map(|(.., position)| position)
        .max()
        .unwrap_or(0);
    let place = |agent: &usize| {
        let known = &mut state[organization].assigned[*agent];
        if known.is_none_or(|known| !known.present) {
            last += 1;
            *known = Some(Known {
                version: known.map_or(1, |known| known.version + 1),
                position: last,
                present: true,
            });
        }
        known.map(|known| (*agent, known.version, known.position))
    };
    Answer::Seen(agents.iter().filter_map(place).collect())
}

fn remove(state: &mut State, organization: usize, agent: usize) -> Answer {
    let one = &mut state[organization];
    match &mut one.assigned[agent] {
        Some(known) if known.present => {
            known.present = false;
            known.version += 1;
            one.listed = one
                .listed
                .map(|listed| std::array::from_fn(|at| listed[at] && at != agent));
            Answer::Done
        }
        _ => not_found(),
    }
}

/// A call as it was made.
#[derive(Debug)]
struct Made {
    caller: usize,
    replica: usize,
    began: u64,
    ended: u64,
    ask: Ask,
    answer: Answer,
}

impl Made {
    /// Whether this call must have been made before the other one. Everything is read from the database but checks: memory knows what its
    /// process has written and answered, and what its caller has seen.
    fn is_before(&self, other: &Self) -> bool {
        if self.ended > other.began {
            return false;
        }
        let known = self.ask.writes() && self.replica == other.replica;
        !other.ask.is_check() || self.caller == other.caller || known
    }
}

/// Counts the beginnings and ends of calls.
static MOMENT: AtomicU64 = AtomicU64::new(0);

fn moment() -> u64 {
    MOMENT.fetch_add(1, Ordering::SeqCst)
}

/// One who calls, and never wants to see less than it has seen.
struct Session {
    number: usize,
    round: usize,
    /// The member of each organization.
    members: Vec<ClientUser>,
    caller: Caller,
    seen: Revision,
}

impl Session {
    async fn call(&mut self, replica: usize, channel: &Channel, ask: Ask) -> Made {
        let began = moment();
        let (service, request_id) = (
            AssignmentServiceClient::new(channel.clone()),
            Uuid::new_v4().to_string(),
        );
        let mut answer = self.ask(service.clone(), &ask, &request_id).await;
        // As clients do, as long as too much goes on at the same time.
        for _ in 0..100 {
            match &answer {
                Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => {
                    answer = self.ask(service.clone(), &ask, &request_id).await;
                }
                _ => break,
            }
        }
        Made {
            caller: self.number,
            replica,
            began,
            ended: moment(),
            ask,
            answer: answer.unwrap_or_else(|status| refusal(&status)),
        }
    }

    async fn ask(
        &mut self,
        mut service: AssignmentServiceClient<Channel>,
        ask: &Ask,
        request_id: &str,
    ) -> Result<Answer, Status> {
        self.caller.min_revision = Some(self.seen.to_string());
        let caller = self.caller.clone();
        let organization = |at: &usize| format!("{ACME}/organizations/o{}-{at}", self.round);
        let agent = |at: &usize| agent_name(&format!("a{}-{at}", self.round));
        let assignment =
            |at: &usize, agent: &usize| format!("{}/assignments/a{}-{agent}", organization(at), self.round);
        Ok(match ask {
            Ask::Assign(at, one) => {
                let request = AssignAgentRequest {
                    parent: organization(at),
                    agent: agent(one),
                    request_id: request_id.into(),
                    ..Default::default()
                };
                let answer = service.assign_agent(caller.request(request)).await?;
                seen(&[self.see(answer)])
            }
            Ask::Batch(at, agents) => {
                let part = |one| AssignAgentRequest {
                    agent: agent(one),
                    ..Default::default()
                };
                let request = BatchAssignAgentsRequest {
                    parent: organization(at),
                    requests: agents.iter().map(part).collect(),
                    request_id: request_id.into(),
                    ..Default::default()
                };
                let answer = service.batch_assign_agents(caller.request(request)).await?;
                seen(&self.see(answer).assignments)
            }
            Ask::Move(from, one, to) => {
                let request = MoveAssignmentRequest {
                    name: assignment(from, one),
                    destination: organization(to),
                    request_id: request_id.into(),
                    ..Default::default()
                };
                let answer = service.move_assignment(caller.request(request)).await?;
                seen(&[self.see(answer)])
            }
            Ask::Unassign(at, one) => {
                let request = UnassignAgentRequest {
                    name: assignment(at, one),
                    request_id: request_id.into(),
                    ..Default::default()
                };
                let answer = service.unassign_agent(caller.request(request)).await?;
                self.see(answer);
                Answer::Done
            }
            Ask::List(at) => {
                let request = ListAssignmentsRequest {
                    parent: organization(at),
                    ..Default::default()
                };
                let answer = service.list_assignments(caller.request(request)).await?;
                seen(&self.see(answer).assignments)
            }
            Ask::Where(one) => {
                let request = ListAgentOrganizationsRequest {
                    agent: agent(one),
                    ..Default::default()
                };
                let answer = service.list_agent_organizations(caller.request(request)).await?;
                let mut there: Vec<Seen> = self.see(answer).assignments.iter().map(where_seen).collect();
                there.sort();
                Answer::Seen(there)
            }
            Ask::Give(at, listed) => {
                let scope = MemberScope {
                    name: self.scope(*at),
                    all_agents: Some(listed.is_none()),
                    agents: listed.iter().flatten().map(agent).collect(),
                    ..Default::default()
                };
                let request = SetMemberScopeRequest {
                    member_scope: Some(scope),
                    request_id: request_id.into(),
                    ..Default::default()
                };
                let answer = service.set_member_scope(caller.request(request)).await?;
                scope_seen(&self.see(answer))
            }
            Ask::Held(at) => {
                let request = GetMemberScopeRequest { name: self.scope(*at) };
                let answer = service.get_member_scope(caller.request(request)).await?;
                scope_seen(&self.see(answer))
            }
            Ask::Check(at, one) | Ask::CheckMember(at, one) => {
                let member = matches!(ask, Ask::CheckMember(..)).then(|| self.members[*at].member.name.clone());
                let request = CheckAccessRequest {
                    organization: organization(at),
                    agent: agent(one),
                    member: member.unwrap_or_default(),
                };
                let answer = service.check_access(caller.request(request)).await?;
                Answer::Allowed(self.see(answer).allowed)
            }
        })
    }

    fn scope(&self, at: usize) -> String {
        self.members[at].member.name.replace("/members/", "/memberScopes/")
    }

    fn see<T>(&mut self, answer: Response<T>) -> T {
        let revision = answer.metadata().get("clientele-revision").unwrap().to_str().unwrap();
        self.seen.merge(&Revision::parse(revision).unwrap());
        answer.into_inner()
    }
}

fn number(text: &str) -> usize {
    text.rsplit('-').next().unwrap().parse().unwrap()
}

fn seen(assignments: &[Assignment]) -> Answer {
    let seen = |one: &Assignment| (number(&one.agent), one.version, one.position);
    Answer::Seen(assignments.iter().map(seen).collect())
}

fn scope_seen(scope: &MemberScope) -> Answer {
    let listed = scope.agents.iter().map(|agent| number(agent)).collect();
    Answer::Scope(scope.version, (!scope.all_agents()).then_some(listed))
}

fn where_seen(one: &Assignment) -> Seen {
    (
        number(one.name.split("/assignments/").next().unwrap()),
        one.version,
        one.position,
    )
}

fn refusal(status: &Status) -> Answer {
    let used = status.get_details_error_info().unwrap().metadata.remove("used");
    Answer::Refused(reason(status), used.map(|used| used.parse().unwrap()))
}

/// What was called and answered in one round, in the order in which the calls began.
async fn play(
    world: &World,
    members: &[ClientUser],
    replicas: &[Channel],
    random: &mut StdRng,
    round: usize,
) -> Vec<Made> {
    for at in 0..AGENTS {
        world.create_agent(&format!("a{round}-{at}")).await;
    }
    let session = |number| Session {
        number,
        round,
        members: members.to_vec(),
        caller: world.admin.clone(),
        seen: Revision::parse(&world.feed.revision()).unwrap(),
    };
    let mut last = session(CALLERS);
    // So that all of it is remembered.
    for (replica, channel) in replicas.iter().enumerate() {
        for (at, agent) in (0..LIMITS.len()).flat_map(|at| (0..AGENTS).map(move |agent| (at, agent))) {
            for ask in [Ask::Check(at, agent), Ask::CheckMember(at, agent)] {
                assert_eq!(last.call(replica, channel, ask).await.answer, Answer::Allowed(false));
            }
        }
    }
    let calls = async |number: usize, mut random: StdRng| {
        let mut session = session(number);
        let mut made = Vec::new();
        for _ in 0..CALLS {
            let replica = random.random_range(0..replicas.len());
            made.push(session.call(replica, &replicas[replica], Ask::draw(&mut random)).await);
        }
        made
    };
    let calls = (0..CALLERS).map(|number| calls(number, StdRng::seed_from_u64(random.random())));
    let mut made: Vec<Made> = join_all(calls).await.into_iter().flatten().collect();
    for at in 0..LIMITS.len() {
        for ask in [Ask::List(at), Ask::Held(at)] {
            made.push(last.call(0, &replicas[0], ask).await);
        }
    }
    made.sort_by_key(|call| call.began);
    made
}

/// Panics if no order explains the answers.
fn check(made: &[Made]) {
    let before = |call: &Made| {
        let bits = made
            .iter()
            .enumerate()
            .map(|(at, other)| u64::from(other.is_before(call)) << at);
        bits.sum()
    };
    let before: Vec<u64> = made.iter().map(before).collect();
    let step = |state: &State, call: usize| {
        let mut after = *state;
        (make(&mut after, &made[call].ask) == made[call].answer).then_some(after)
    };
    if explain(State::default(), &before, step).is_none() {
        let lines: Vec<String> = made.iter().map(|call| format!("{call:?}")).collect();
        panic!("no order explains these answers:\n{}", lines.join("\n"));
    }
}

async fn histories(engine: Engine, replicas: usize) {
    let mut random = seed();
    let world = World::start(engine).await;
    let mut members = Vec::new();
    for round in 0..ROUNDS {
        let member = |(at, limit): (usize, &Option<i32>)| {
            let name = format!("{ACME}/organizations/o{round}-{at}");
            let organization = world.feed.create_organization(world.acme, &name);
            let organization = world.feed.update(world.acme, &organization, |it| {
                it.limits.as_mut().unwrap().max_agents = *limit;
            });
            ClientUser::create(&world.feed, world.acme, &organization)
        };
        members.push(LIMITS.iter().enumerate().map(member).collect::<Vec<_>>());
    }
    world.hear().await;
    let mut channels = vec![world.channel.clone()];
    let mut others = Vec::new();
    for _ in 1..replicas {
        let other = Running::start(&service(&world.database, &world.feed, &world.tokens)).await;
        channels.push(other.channel().await);
        others.push(other);
    }
    for (round, members) in members.iter().enumerate() {
        check(&play(&world, members, &channels, &mut random, round).await);
    }
    for running in others {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_callers_at_once_are_those_of_some_order() {
    histories(Engine::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_callers_at_once_are_those_of_some_order_on_postgres() {
    histories(Engine::Postgres, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_callers_of_two_replicas_are_those_of_some_order() {
    histories(Engine::Postgres, 2).await;
}

#[test]
fn a_history_that_no_order_explains_is_noticed() {
    let call = |caller, began, ask, answer| Made {
        caller,
        replica: 0,
        began,
        ended: began + 1,
        ask,
        answer,
    };
    let assigned = |position| Answer::Seen(vec![(0, 1, position)]);
    let moved = [
        call(0, 0, Ask::Assign(0, 0), assigned(1)),
        call(0, 2, Ask::Move(0, 0, 1), assigned(1)),
        call(1, 2, Ask::Where(0), Answer::Seen(vec![(0, 1, 1)])),
    ];
    check(&moved);
    let explains = |history: &[Made]| std::panic::catch_unwind(|| check(history)).is_ok();
    let never = |ask, answer| [call(0, 0, Ask::Assign(0, 0), assigned(1)), call(1, 2, ask, answer)];
    assert!(explains(&never(Ask::Check(0, 0), Answer::Allowed(true))));
    assert!(!explains(&never(Ask::Check(0, 0), Answer::Allowed(false))));
    assert!(!explains(&never(Ask::List(0), Answer::Seen(vec![]))));
    assert!(!explains(&never(Ask::Unassign(0, 0), not_found())));
    assert!(!explains(&never(Ask::CheckMember(0, 0), Answer::Allowed(false))));
    // What is in a scope does not come back to it.
    let mut back = vec![
        call(0, 0, Ask::Assign(0, 0), assigned(1)),
        call(0, 2, Ask::Give(0, Some(vec![0])), Answer::Scope(1, Some(vec![0]))),
        call(0, 4, Ask::Unassign(0, 0), Answer::Done),
        call(0, 6, Ask::Assign(0, 0), Answer::Seen(vec![(0, 3, 1)])),
        call(1, 8, Ask::Held(0), Answer::Scope(1, Some(vec![]))),
    ];
    assert!(explains(&back));
    back.push(call(1, 10, Ask::CheckMember(0, 0), Answer::Allowed(true)));
    assert!(!explains(&back));
    // An agent on its way is never nowhere.
    let nowhere = call(1, 2, Ask::Where(0), Answer::Seen(vec![]));
    let [first, second, _] = moved;
    assert!(!explains(&[first, second, nowhere]));
}
