//! Following org-service: what it tells reaches this service once, in order, and through every interruption.

use crate::{BAKERY, World, assign, coded, refused, titled};
use clientele_api::assignment::{CreateAgentRequest, DenialReason, ListAgentsRequest};
use clientele_api::journal::{Change, ChangeKind, ListEntriesRequest};
use clientele_api::org::Organization;
use clientele_api::org::organization::State;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Engine, on_both_engines, until};
use prost::Name;
use prost_types::Any;
use sea_orm::ConnectionTrait;
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const BUTCHER: &str = "workspaces/acme/organizations/butcher";

impl World {
    fn tell(&self, change: Change) {
        self.feed.tell(&self.acme.to_string(), change);
    }

    pub(crate) fn purge(&self, organization: &Organization) {
        let change = Change {
            kind: ChangeKind::Purged.into(),
            ..Change::removed(organization, organization.version + 1)
        };
        self.tell(change);
    }

    /// How many entries the journal shows of `bakery`.
    async fn history(&self) -> Result<usize, Status> {
        let request = ListEntriesRequest {
            parent: BAKERY.into(),
            ..Default::default()
        };
        let page = self.journal().list_entries(self.member.request(request)).await?;
        Ok(page.into_inner().entries.len())
    }
}

fn not_found<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("it does not exist");
    assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn an_organization_may_be_used_by_who_knows_that_it_was_created() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("anna").await;
        not_found(world.assign("anna").await);
        // That it was unknown is not remembered.
        world.feed.create_organization(world.acme, BAKERY);
        let request = world.informed(&world.admin).request(assign("anna"));
        world.assignments().assign_agent(request).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_change_binds_who_knows_of_it() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world
            .feed
            .update(world.acme, &bakery, |bakery| bakery.set_state(State::Suspended));
        let request = world.informed(&world.admin).request(assign("anna"));
        let status = world.assignments().assign_agent(request).await.unwrap_err();
        assert_eq!(
            coded(status),
            refused(Code::FailedPrecondition, "ORGANIZATION_SUSPENDED")
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_never_told_is_waited_for_two_seconds() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("anna").await;
        for revision in ["org=1.999999", "org=2.0"] {
            let caller = Caller {
                min_revision: Some(revision.into()),
                ..world.admin.clone()
            };
            let began = Instant::now();
            let status = world
                .assignments()
                .assign_agent(caller.request(assign("anna")))
                .await
                .unwrap_err();
            let took = began.elapsed();
            assert!(
                (Duration::from_millis(1900)..Duration::from_secs(4)).contains(&took),
                "{took:?}"
            );
            assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
            assert_eq!(coded(status), refused(Code::Unavailable, "NOT_CAUGHT_UP"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_cut_goes_on() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut bakery = world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world.assign("anna").await.unwrap();
        for (state, expected) in [
            (State::Suspended, DenialReason::OrganizationSuspended),
            (State::Active, DenialReason::Unspecified),
            (State::Deleted, DenialReason::OrganizationDeleted),
        ] {
            world.feed.cut();
            bakery = world.change(&bakery, |bakery| bakery.set_state(state)).await;
            assert_eq!(world.check("anna").await.unwrap(), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_told_again_or_late_changes_nothing() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let first = world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world.assign("anna").await.unwrap();
        let second = world.change(&first, |bakery| bakery.set_state(State::Suspended)).await;
        // Late, and twice.
        for late in [
            vec![Change::created(&first)],
            vec![Change::updated(&first, &second, Vec::new()), Change::created(&first)],
        ] {
            late.into_iter().for_each(|change| world.tell(change));
            world.hear().await;
            assert_eq!(world.check("anna").await.unwrap(), DenialReason::OrganizationSuspended);
        }
        // Late, behind something newer that is heard in the same breath.
        let third = world
            .feed
            .update(world.acme, &second, |bakery| bakery.set_state(State::Active));
        world.tell(Change::updated(&first, &second, Vec::new()));
        world.hear().await;
        assert_eq!(world.check("anna").await.unwrap(), DenialReason::Unspecified);
        // A purge is not undone by what was told before it.
        world.purge(&third);
        world.hear().await;
        world.tell(Change::updated(&second, &third, Vec::new()));
        world.hear().await;
        not_found(world.check("anna").await);
    })
    .await;
}

#[tokio::test]
async fn a_purged_organization_is_not_found_by_its_name() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world.assign("anna").await.unwrap();
        assert_eq!(world.history().await.unwrap(), 1);
        world.purge(&bakery);
        world.hear().await;
        // First what looks at nothing but the uid, which the name was known to mean.
        not_found(world.history().await);
        not_found(world.assigned().await);
        not_found(world.check("anna").await);
        not_found(world.assign("anna").await);
        not_found(world.unassign("anna", "").await);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_free_again_means_its_new_owner() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let first = world.create_organization("bakery").await;
        world.create_agent("anna").await;
        let old = world.assign("anna").await.unwrap();
        world.purge(&first);
        let second = world.create_organization("bakery").await;
        assert_ne!(first.uid, second.uid);
        assert_eq!(world.assigned().await.unwrap(), []);
        assert_eq!(world.history().await.unwrap(), 0);
        assert_eq!(world.check("anna").await.unwrap(), DenialReason::NotAssigned);
        let new = world.assign("anna").await.unwrap();
        assert_ne!(new.uid, old.uid);
        assert_eq!((new.version, new.position), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn after_a_restore_only_what_is_still_there_is_known() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let globex = world.feed.create_workspace("globex");
        let bakery = world.create_organization("bakery").await;
        let butcher = world.create_organization("butcher").await;
        world.create_agent("anna").await;
        world.assign("anna").await.unwrap();
        let suspended = world.change(&bakery, |bakery| bakery.set_state(State::Suspended)).await;
        assert_eq!((suspended.version, bakery.version), (2, 1));
        let agents_of_globex = async || {
            let list = ListAgentsRequest {
                parent: "workspaces/globex".into(),
                ..Default::default()
            };
            world.agents().list_agents(world.service.request(list)).await
        };
        agents_of_globex().await.unwrap();
        // The backup is older than globex, the butcher and the suspension: lower versions are true again.
        world.feed.restore(|entry| {
            let uid = &entry.changes[0].uid;
            if *uid == butcher.uid || *uid == globex.to_string() {
                return None;
            }
            let mut entry = entry.clone();
            if *uid == bakery.uid {
                entry.changes = vec![Change::created(&bakery)];
            }
            Some(entry)
        });
        world.hear().await;
        assert!(world.feed.revision().starts_with("org=2."));
        not_found(agents_of_globex().await);
        not_found(
            world
                .agents()
                .create_agent(world.service.request(CreateAgentRequest {
                    parent: "workspaces/globex".into(),
                    agent_id: "anna".into(),
                    agent: Some(titled("Anna")),
                    ..Default::default()
                }))
                .await,
        );
        assert_eq!(world.check("anna").await.unwrap(), DenialReason::Unspecified);
        not_found(world.check_in(&butcher.name, "anna").await);
        // It goes on in the new life.
        world.change(&bakery, |bakery| bakery.set_state(State::Deleted)).await;
        assert_eq!(world.check("anna").await.unwrap(), DenialReason::OrganizationDeleted);
    })
    .await;
}

#[tokio::test]
async fn reading_much_anew_sweeps_nothing_that_is_still_there() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("anna").await;
        // More than are written at a time.
        let name = |at| format!("workspaces/acme/organizations/client-{at}");
        for at in 0..450 {
            world.feed.create_organization(world.acme, &name(at));
        }
        world.hear().await;
        world.feed.restore(|entry| Some(entry.clone()));
        world.hear().await;
        for at in [0, 199, 200, 449] {
            assert_eq!(
                world.check_in(&name(at), "anna").await.unwrap(),
                DenialReason::NotAssigned
            );
        }
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_written_is_told_again() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("anna").await;
        let options = Options {
            url: world.database.url.clone(),
            service: "assignment",
        };
        let database = connect_to_migrate(&options).await.unwrap();
        let (refuse, allow) = match engine {
            Engine::Sqlite => (
                "CREATE TRIGGER refuses BEFORE INSERT ON projection_organizations \
                 BEGIN SELECT raise(ABORT, 'on purpose'); END",
                "DROP TRIGGER refuses",
            ),
            Engine::Postgres => (
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'on purpose'; END $$; \
                 CREATE TRIGGER refuses BEFORE INSERT ON projection_organizations \
                 FOR EACH ROW EXECUTE FUNCTION refuse()",
                "DROP TRIGGER refuses ON projection_organizations",
            ),
        };
        database.execute_unprepared(refuse).await.unwrap();
        let streams = world.feed.opened();
        world.feed.create_organization(world.acme, BAKERY);
        let (feed, limit) = (world.feed.clone(), Duration::from_secs(10));
        until(limit, "another try", async move || feed.opened() > streams).await;
        database.execute_unprepared(allow).await.unwrap();
        let began = Instant::now();
        while world.check("anna").await.is_err() {
            assert!(began.elapsed() < limit, "the bakery must become known");
        }
        database.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_understood_is_left_out() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world.assign("anna").await.unwrap();
        let garbage = Any {
            type_url: Organization::type_url(),
            value: vec![0xff; 7],
        };
        let poisoned = |change: Change| Change {
            after: Some(garbage.clone()),
            ..change
        };
        let suspended = Organization {
            version: 2,
            state: State::Suspended.into(),
            ..bakery.clone()
        };
        world.tell(poisoned(Change::updated(&bakery, &suspended, Vec::new())));
        world.tell(Change {
            uid: "not a uid".into(),
            ..Change::created(&bakery)
        });
        world.tell(Change {
            kind: ChangeKind::Created.into(),
            ..Default::default()
        });
        world.tell(Change {
            after: Some(Any {
                type_url: "type.googleapis.com/clientele.org.v9.Unheard".into(),
                value: Vec::new(),
            }),
            ..Change::created(&bakery)
        });
        world.create_organization("butcher").await;
        assert_eq!(world.check("anna").await.unwrap(), DenialReason::Unspecified);
        assert_eq!(
            world.check_in(BUTCHER, "anna").await.unwrap(),
            DenialReason::NotAssigned
        );
        // The next version of it supersedes the one that was left out.
        world
            .change(&suspended, |bakery| bakery.set_state(State::Deleted))
            .await;
        assert_eq!(world.check("anna").await.unwrap(), DenialReason::OrganizationDeleted);
    })
    .await;
}
