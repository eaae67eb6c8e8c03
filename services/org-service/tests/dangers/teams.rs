//! Teams that many change at the same moment, while their members come and go.

use crate::{World, create};
use clientele_api::org::member::{Presence, State};
use clientele_api::org::member_service_client::MemberServiceClient;
use clientele_api::org::team_service_client::TeamServiceClient;
use clientele_api::org::{
    AddTeamMembersRequest, CreateMemberRequest, CreateTeamRequest, DeleteTeamRequest, NewUser, PickAssigneeRequest,
    RemoveMemberRequest, RemoveTeamMembersRequest, SetPresenceRequest, Team, UpdateTeamRequest,
};
use clientele_testkit::{Engine, on_both_engines, patiently, reason, seed};
use futures::future::{join, join_all};
use org_service::store::{member, team};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sea_orm::IsolationLevel::RepeatableRead;
use sea_orm::{EntityTrait, TransactionTrait};
use std::collections::BTreeSet;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

const BAKERY: &str = "workspaces/acme/organizations/bakery";
const CLIENTS: usize = 8;
const CALLS: usize = 12;
const ROUNDS: usize = 6;
const KEYS: [&str; 5] = ["one", "two", "three", "four", "five"];

impl World {
    async fn with_people(engine: Engine, count: usize) -> (Self, Vec<String>) {
        let world = Self::start(engine).await;
        world.create(create("bakery")).await.unwrap();
        let mut people = Vec::new();
        for at in 0..count {
            let request = CreateMemberRequest {
                parent: BAKERY.to_owned(),
                new_user: Some(NewUser {
                    email: format!("person-{at}@example.com"),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let created = world.members().create_member(world.admin.request(request)).await;
            let name = created.unwrap().into_inner().name;
            people.push(name.rsplit('/').next().unwrap().to_owned());
        }
        (world, people)
    }

    fn members(&self) -> MemberServiceClient<Channel> {
        MemberServiceClient::new(self.channel.clone())
    }

    fn teams(&self) -> TeamServiceClient<Channel> {
        TeamServiceClient::new(self.channel.clone())
    }

    async fn create_team(&self, key: &str, members: Vec<String>) -> Result<(), Status> {
        let request = CreateTeamRequest {
            parent: BAKERY.to_owned(),
            team_id: key.to_owned(),
            team: Some(Team {
                label: Some("Team".to_owned()),
                members,
                ..Default::default()
            }),
            ..Default::default()
        };
        self.teams().create_team(self.admin.request(request)).await.map(drop)
    }

    async fn add(&self, key: &str, members: Vec<String>) -> Result<(), Status> {
        let request = AddTeamMembersRequest {
            name: name(key),
            members,
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let call = || async {
            let request = self.admin.request(request.clone());
            self.teams().add_team_members(request).await
        };
        patiently(call).await.map(drop)
    }

    async fn remove(&self, user: &str) -> Result<(), Status> {
        let request = RemoveMemberRequest {
            name: format!("{BAKERY}/members/{user}"),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let call = || async {
            let request = self.admin.request(request.clone());
            self.members().remove_member(request).await
        };
        patiently(call).await.map(drop)
    }

    /// One call of many that may be made, all of them about the same few teams and people.
    async fn change_something(&self, random: &mut StdRng, people: &[String]) -> Result<(), Status> {
        let mut key = || *KEYS.choose(random).unwrap();
        let (key, other) = (key(), key());
        let some = people.choose_multiple(random, 2).cloned().collect();
        let user = people.choose(random).unwrap();
        match random.random_range(0..20) {
            0 | 1 => self.create_team(key, some).await,
            2 => {
                let name = name(key);
                let request = DeleteTeamRequest {
                    name,
                    ..Default::default()
                };
                self.teams().delete_team(self.admin.request(request)).await.map(drop)
            }
            3..6 => self.add(key, some).await,
            6 => {
                let request = RemoveTeamMembersRequest {
                    name: name(key),
                    members: some,
                    ..Default::default()
                };
                self.teams()
                    .remove_team_members(self.admin.request(request))
                    .await
                    .map(drop)
            }
            at @ 7..10 => {
                let team = Team {
                    name: name(key),
                    key: Some(other.to_owned()).filter(|_| at < 9),
                    members: some,
                    ..Default::default()
                };
                let request = UpdateTeamRequest {
                    team: Some(team),
                    ..Default::default()
                };
                self.teams().update_team(self.admin.request(request)).await.map(drop)
            }
            10 => self.remove(user).await,
            // They come back more often than they go, so that most calls have something to do.
            11..16 => {
                let request = CreateMemberRequest {
                    parent: BAKERY.to_owned(),
                    user: format!("workspaces/acme/users/{user}"),
                    ..Default::default()
                };
                self.members()
                    .create_member(self.admin.request(request))
                    .await
                    .map(drop)
            }
            16 => {
                let request = SetPresenceRequest {
                    name: format!("{BAKERY}/members/{user}"),
                    presence: Presence::Online.into(),
                    ..Default::default()
                };
                self.members()
                    .set_presence(self.operator.request(request))
                    .await
                    .map(drop)
            }
            _ => {
                let request = PickAssigneeRequest {
                    name: name(key),
                    ..Default::default()
                };
                self.teams()
                    .pick_assignee(self.operator.request(request))
                    .await
                    .map(drop)
            }
        }
    }

    async fn change_much(&self, mut random: StdRng, people: &[String]) {
        for _ in 0..CALLS {
            if let Err(status) = self.change_something(&mut random, people).await {
                assert!(may_be_refused(&status), "{status:?}");
            }
        }
    }

    /// What is known of a team in several places is the same in all of them, and nobody is in one who is no member.
    async fn agrees(&self) {
        // At one moment: where a client did not wait for its answer, a unit may still be at work.
        let moment = self
            .database
            .begin_with_config(Some(RepeatableRead), None)
            .await
            .unwrap();
        let keys = team::key::Entity::find().all(&moment).await.unwrap();
        let seats = team::seat::Entity::find().all(&moment).await.unwrap();
        for row in team::Entity::find().all(&moment).await.unwrap() {
            let mut of_team: BTreeSet<String> = row.aliases.0.iter().cloned().collect();
            of_team.insert(row.team_key.clone());
            let keys = keys.iter().filter(|key| key.team_uid == row.uid);
            assert_eq!(of_team, keys.map(|key| key.team_key.clone()).collect(), "{row:?}");
            let seats = seats.iter().filter(|seat| seat.team_uid == row.uid);
            let seats: BTreeSet<String> = seats.map(|seat| seat.user_uid.to_string()).collect();
            assert_eq!(BTreeSet::from_iter(row.members.0.iter().cloned()), seats, "{row:?}");
        }
        let members = member::Entity::find().all(&moment).await.unwrap();
        let present = members.iter().filter(|row| row.state != i32::from(State::Removed));
        let present: BTreeSet<_> = present.map(|row| row.user_uid).collect();
        let strangers = seats.iter().filter(|seat| !present.contains(&seat.user_uid));
        assert_eq!(strangers.count(), 0, "who was removed is in no team");
    }
}

fn name(key: &str) -> String {
    format!("{BAKERY}/teams/{key}")
}

/// Refusals that others can cause; a busy machine too.
fn may_be_refused(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition
    ) || ["LIMIT_REACHED", "DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED"].contains(&&*reason(status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn teams_agree_with_what_is_known_of_them_elsewhere() {
    on_both_engines(async |engine| {
        let (world, people) = World::with_people(engine, 8).await;
        let mut random = seed();
        for _ in 0..ROUNDS {
            let clients = (0..CLIENTS).map(|_| world.change_much(StdRng::seed_from_u64(random.random()), &people));
            join_all(clients).await;
            world.agrees().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_added_while_it_is_removed_is_in_no_team() {
    on_both_engines(async |engine| {
        let (world, people) = World::with_people(engine, 16).await;
        world.create_team("sales", Vec::new()).await.unwrap();
        let both = people
            .iter()
            .map(|user| join(world.add("sales", vec![user.clone()]), world.remove(user)));
        for (added, removed) in join_all(both).await {
            removed.unwrap();
            // Too late, or in time.
            if let Err(status) = added {
                assert_eq!(status.code(), Code::NotFound, "{status:?}");
            }
        }
        world.agrees().await;
    })
    .await;
}
