//! Client users: what org-service tells of them decides what they may do here.

use crate::member_scopes::all;
use crate::{BAKERY, World, coded, refused, service};
use clientele_api::Micros;
use clientele_api::journal::{Change, ListEntriesRequest};
use clientele_api::org::member::State;
use clientele_api::org::{Member, session, user};
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{
    Caller, Calls, ClientUser, ClientUsers, Counted, Engine, Running, end_sessions, hear_of_another, on_both_engines,
    refuse_client_users, shut_out_and_let_in, until,
};
use sea_orm::{ConnectionTrait, Statement};
use std::time::{Duration, Instant};
use tonic::{Code, Status};

impl World {
    /// How many entries the journal of the organization shows to the caller.
    async fn listed(&self, caller: &Caller, organization: &str) -> Result<usize, Status> {
        let request = ListEntriesRequest {
            parent: organization.into(),
            ..Default::default()
        };
        let page = self.journal().list_entries(caller.request(request)).await?;
        Ok(page.into_inner().entries.len())
    }
}

#[tokio::test]
async fn what_shuts_a_client_user_out_binds_as_soon_as_it_is_heard_of() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let mut ann = ClientUser::create(&world.feed, world.acme, &bakery);
        shut_out_and_let_in(&world.calls(), &world.tokens, &mut ann, None).await;
    })
    .await;
}

#[tokio::test]
async fn the_tokens_of_a_session_that_ended_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let ann = ClientUser::create(&world.feed, world.acme, &bakery);
        end_sessions(&world.calls(), &world.tokens, &ann).await;
    })
    .await;
}

#[tokio::test]
async fn what_ended_sessions_is_not_known_for_ever() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let ann = ClientUser::create(&world.feed, world.acme, &bakery);
        let options = Options {
            url: world.database.url.clone(),
            service: "assignment",
        };
        let database = connect_to_migrate(&options).await.unwrap();
        let known = async || {
            let count = "SELECT count(*) AS answer FROM projection_sessions";
            let count = Statement::from_string(database.get_database_backend(), count);
            let row = database.query_one_raw(count).await.unwrap().unwrap();
            row.try_get::<i64>("", "answer").unwrap()
        };
        let end_one = async || {
            ann.revoke(&mut ann.sign_in());
            world.hear().await;
        };
        end_one().await;
        end_one().await;
        assert_eq!(known().await, 2);
        let an_hour_later = "UPDATE projection_sessions SET end_time = end_time - 3600000000";
        database.execute_unprepared(an_hour_later).await.unwrap();
        end_one().await;
        assert_eq!(known().await, 1);
        // What is told so late is not taken up.
        let mut long_over = ann.sign_in();
        let change = long_over.change(|session| {
            session.set_state(session::State::Revoked);
            session.update_time = Some(Micros(Micros::now().0 - 3_601_000_000).into());
        });
        ann.tell(vec![change]);
        world.hear().await;
        assert_eq!(known().await, 1);
        database.close().await.unwrap();
    })
    .await;
}

/// The answers that a service which reads everything anew must come to.
async fn expect(world: &World, callers: &[(&Caller, bool)]) {
    world.hear().await;
    for (at, (caller, let_in)) in callers.iter().enumerate() {
        assert_eq!(world.listed(caller, BAKERY).await.is_ok(), *let_in, "{at}");
    }
}

#[tokio::test]
async fn after_a_restore_client_users_are_those_that_are_still_there() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let with = |roles: &[&str]| ClientUser::with_roles(&world.feed, world.acme, &bakery, roles);
        let mut ann = with(&["org-admin"]);
        let (before, gone, unheard) = (ann.clone(), with(&["org-admin"]), with(&["org-admin"]));
        let by_role = ClientUser::create(&world.feed, world.acme, &bakery);
        let caller = |it: &ClientUser| it.caller(&world.tokens);
        let mut sessions = [ann.sign_in(), ann.sign_in()];
        let mut back = sessions[1].clone();
        sessions.iter_mut().for_each(|session| ann.revoke(session));
        back.version = 1;
        let (over, again) = (
            ann.caller_in(&world.tokens, &sessions[0]),
            ann.caller_in(&world.tokens, &back),
        );
        expect(
            &world,
            &[
                (&over, false),
                (&again, false),
                (&caller(&ann), true),
                (&caller(&by_role), true),
            ],
        )
        .await;
        ann.change_member(|member| member.set_state(State::Suspended));
        ann.change_user(|user| user.set_state(user::State::Disabled));
        expect(
            &world,
            &[
                (&caller(&ann), false),
                (&caller(&gone), true),
                (&caller(&unheard), true),
            ],
        )
        .await;
        // The backup is older than Ann's suspension, than one of those who are gone as a member, than the other one altogether, than
        // a role, and than the end of a session.
        world.feed.restore(|entry| {
            let change = &entry.changes[0];
            let is = |uid: &String| *uid == change.uid;
            let unknown = [&gone.member.uid, &unheard.user.uid, &by_role.role.uid];
            if unknown.into_iter().any(is) {
                return None;
            }
            let mut entry = entry.clone();
            if is(&ann.member.uid) {
                entry.changes = vec![Change::created(&before.member)];
            } else if is(&ann.user.uid) {
                entry.changes = vec![Change::created(&before.user)];
            } else if is(&back.uid) {
                entry.changes = vec![Change::created(&back)];
            }
            Some(entry)
        });
        expect(&world, &[(&caller(&ann), true), (&over, false), (&again, true)]).await;
        expect(
            &world,
            &[
                (&caller(&gone), false),
                (&caller(&unheard), false),
                (&caller(&by_role), false),
            ],
        )
        .await;
        // It goes on in the new life.
        let mut ann = before;
        ann.change_member(|member| member.set_state(State::Suspended));
        expect(&world, &[(&caller(&ann), false)]).await;
    })
    .await;
}

#[tokio::test]
async fn a_database_of_a_version_that_knew_no_people_learns_of_them() {
    on_both_engines(async |engine| {
        let mut world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let mut ann = ClientUser::create(&world.feed, world.acme, &bakery);
        world.hear().await;
        world.running.stop().await;
        // As that version left it.
        let options = Options {
            url: world.database.url.clone(),
            service: "assignment",
        };
        let database = connect_to_migrate(&options).await.unwrap();
        let as_it_was = "
            DELETE FROM projection_users; DELETE FROM projection_members; DELETE FROM projection_roles;
            UPDATE projection_organizations SET bootstrap = 7; UPDATE projection_workspaces SET bootstrap = 7;
            UPDATE follow_cursors SET service = 'org', bootstrap = 7";
        database.execute_unprepared(as_it_was).await.unwrap();
        database.close().await.unwrap();
        world.running = Running::start(&service(&world.database, &world.feed, &world.tokens)).await;
        world.channel = world.running.channel().await;
        let caller = ann.caller(&world.tokens);
        expect(&world, &[(&caller, true)]).await;
        // What that version wrote is older than all that is heard from now on.
        ann.change_organization(|bakery| bakery.client_access_enabled = Some(false));
        expect(&world, &[(&caller, false)]).await;
    })
    .await;
}

#[tokio::test]
async fn what_no_database_takes_is_left_out() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let mut ann = ClientUser::create(&world.feed, world.acme, &bakery);
        let caller = ann.caller(&world.tokens);
        ann.change_member(|member| member.roles = vec!["host\0".into()]);
        let garbled = ann.another();
        ann.tell(vec![Change::created(&Member {
            name: format!("{BAKERY}/members/nobody"),
            ..garbled.1
        })]);
        expect(&world, &[(&caller, true)]).await;
        // The next version supersedes the one that was left out.
        ann.change_member(|member| member.roles = vec!["viewer".into()]);
        expect(&world, &[(&caller, false)]).await;
    })
    .await;
}

#[tokio::test]
async fn much_that_was_done_at_once_is_heard_of() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let ann = ClientUser::create(&world.feed, world.acme, &bakery);
        let (feed, opened, limit) = (world.feed.clone(), world.feed.opened(), Duration::from_secs(60));
        // More than the database takes in a statement, in few entries, all of them at once.
        world.feed.hold();
        world.feed.cut();
        until(limit, "a new stream", async move || feed.opened() > opened).await;
        for _ in 0..60 {
            let people = (0..100).map(|_| ann.another());
            ann.tell(
                people
                    .flat_map(|(user, member)| [Change::created(&user), Change::created(&member)])
                    .collect(),
            );
        }
        let last = ClientUser::with_roles(&world.feed, world.acme, &bakery, &["org-admin"]);
        world.feed.release();
        let caller = world.informed(&last.caller(&world.tokens));
        let began = Instant::now();
        while world.listed(&caller, BAKERY).await.is_err() {
            assert!(began.elapsed() < limit, "it must be heard of");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_hears_of_binds_here() {
    let world = World::start(Engine::Postgres).await;
    let bakery = world.create_organization("bakery").await;
    let mut ann = ClientUser::create(&world.feed, world.acme, &bakery);
    let other = Running::start(&service(&world.database, &world.feed, &world.tokens)).await;
    let calls = Calls::new(other.channel().await);
    hear_of_another(&calls, &world.tokens, &mut ann).await;
    other.stop().await;
}

#[tokio::test]
async fn a_client_user_has_its_own_organization_and_no_other() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let globex = world.feed.create_workspace("globex");
        let elsewhere = "workspaces/globex/organizations/bakery";
        world.feed.create_organization(globex, elsewhere);
        let butcher = world.create_organization("butcher").await;
        let ann = ClientUser::with_roles(&world.feed, world.acme, &bakery, &["org-admin"]);
        world.hear().await;
        world.create_agent("anna").await;
        world.assign("anna").await.unwrap();
        world.set_scope(&world.admin, all(&ann)).await.unwrap();
        let caller = ann.caller(&world.tokens);
        // Of the two entries the one that is not of the agency alone.
        assert_eq!(world.listed(&caller, BAKERY).await.unwrap(), 1);
        for other in [&butcher.name, elsewhere, "workspaces/acme/organizations/nobody"] {
            let status = world.listed(&caller, other).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"), "{other}");
        }
        // Whoever was never a member, its token may say what it likes.
        let stranger = Caller::with(world.tokens.user(&ann.user.uid, &butcher.uid));
        let status = world.listed(&stranger, &butcher.name).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::PermissionDenied, "ACCESS_DENIED"));
        // The name of a purged organization leads its users nowhere, whoever has it now.
        ann.purge_organization();
        world.hear().await;
        let status = world.listed(&caller, BAKERY).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        world.create_organization("bakery").await;
        let status = world.listed(&caller, BAKERY).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

#[tokio::test]
async fn no_method_gives_client_users_more_than_its_policy() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        let butcher = world.create_organization("butcher").await;
        let with = |organization, roles: &[&str]| ClientUser::with_roles(&world.feed, world.acme, organization, roles);
        let mut suspended = with(&bakery, &["org-admin"]);
        suspended.change_member(|member| member.set_state(State::Suspended));
        let users = ClientUsers {
            admin: with(&bakery, &["org-admin"]).caller(&world.tokens),
            nobody: with(&bakery, &[]).caller(&world.tokens),
            suspended: suspended.caller(&world.tokens),
            neighbour: with(&butcher, &["org-admin"]).caller(&world.tokens),
        };
        world.hear().await;
        refuse_client_users(&world.calls(), &world.running.services, "acme", "bakery", &users).await;
    })
    .await;
}
