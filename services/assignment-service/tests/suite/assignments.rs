//! Assignments: which organization may use which agent.

use crate::{ACME, BAKERY, World, agent_name, assign, coded, ids, refused};
use clientele_api::assignment::{AssignAgentRequest, Assignment};
use clientele_api::org::organization::State;
use clientele_testkit::{on_both_engines, reason};
use futures::future::join_all;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn an_agent_is_assigned_once_and_listed() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        let given = Assignment {
            alias: Some("Frau Anna".into()),
            note: Some("Speaks German.\nOnly.".into()),
            position: 99,
            version: 99,
            ..Default::default()
        };
        let assigned = world.assign_with("anna", given).await.unwrap();
        assert_eq!(assigned.name, format!("{BAKERY}/assignments/anna"));
        assert_eq!((assigned.version, assigned.position), (1, 1));
        assert_eq!(
            (assigned.alias(), assigned.note()),
            ("Frau Anna", "Speaks German.\nOnly.")
        );
        assert_eq!(assigned.agent, agent_name("anna"));
        assert!(assigned.create_time.is_some() && assigned.create_time == assigned.update_time);
        // Again: the same one, with its own alias and note, and no new version.
        let other = Assignment {
            alias: Some("Other".into()),
            ..Default::default()
        };
        assert_eq!(world.assign_with("anna", other).await.unwrap(), assigned);
        assert_eq!(world.assigned().await.unwrap(), [assigned]);
        world.running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn assigning_at_the_same_moment_makes_one_assignment() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        let answers = join_all((0..16).map(|_| world.assign("anna"))).await;
        let answers: Vec<Assignment> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(answers[0].version, 1);
        assert_eq!(world.assigned().await.unwrap(), answers[..1]);
    })
    .await;
}

#[tokio::test]
async fn of_those_who_take_an_agent_away_at_the_same_moment_one_does() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        // Several times: that they meet is likely, not certain.
        for round in 0..4 {
            let assigned = world.assign("anna").await.unwrap();
            assert_eq!(assigned.version, 1 + 2 * round);
            let answers = join_all((0..8).map(|_| world.unassign("anna", ""))).await;
            let (done, late): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            assert_eq!(done.len(), 1);
            for status in late.into_iter().map(Result::unwrap_err) {
                assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_taken_away_comes_back_as_the_same_at_the_end() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        for id in ["anna", "bert", "carl"] {
            world.create_agent(id).await;
        }
        let named = Assignment {
            alias: Some("Frau Anna".into()),
            note: Some("first".into()),
            ..Default::default()
        };
        let first = world.assign_with("anna", named).await.unwrap();
        world.assign("bert").await.unwrap();
        let stale = world.unassign("anna", "stale").await.unwrap_err();
        assert_eq!(coded(stale), refused(Code::Aborted, "ETAG_MISMATCH"));
        world.unassign("anna", &first.etag).await.unwrap();
        assert_eq!(ids(&world.assigned().await.unwrap()), ["bert"]);
        for gone in ["anna", "carl", "nobody"] {
            let status = world.unassign(gone, "").await.unwrap_err();
            assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"), "{gone}");
        }
        // The alias it is given now, the note it had.
        let renamed = Assignment {
            alias: Some("Anna".into()),
            ..Default::default()
        };
        let back = world.assign_with("anna", renamed).await.unwrap();
        assert_eq!(
            (&back.uid, back.version, back.create_time),
            (&first.uid, 3, first.create_time)
        );
        assert_eq!((back.alias(), back.note(), back.position), ("Anna", "first", 3));
        assert_eq!(ids(&world.assigned().await.unwrap()), ["bert", "anna"]);
        // An etag of before is not one of what came back.
        assert!(world.unassign("anna", &first.etag).await.is_err());
        world.unassign("anna", &back.etag).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn assignments_are_listed_by_position_page_by_page() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_organization("butcher").await;
        for id in ["e", "d", "c", "b", "a"] {
            world.create_agent(id).await;
            world.assign(id).await.unwrap();
        }
        let elsewhere = AssignAgentRequest {
            parent: format!("{ACME}/organizations/butcher"),
            ..assign("a")
        };
        let elsewhere = world
            .assignments()
            .assign_agent(world.admin.request(elsewhere))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(elsewhere.position, 1, "each organization counts for itself");
        world.unassign("d", "").await.unwrap();
        world.assign("d").await.unwrap();
        let listed = world.assigned().await.unwrap();
        assert_eq!(ids(&listed), ["e", "c", "b", "a", "d"]);
        assert!(listed.is_sorted_by_key(|assignment| assignment.position));
    })
    .await;
}

#[tokio::test]
async fn an_archived_agent_stays_assigned_until_it_is_taken_away() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        let assigned = world.assign("anna").await.unwrap();
        world.archive("anna", "").await.unwrap();
        assert_eq!(world.assigned().await.unwrap(), [assigned]);
        let again = world.assign("anna").await.unwrap_err();
        assert_eq!(coded(again), refused(Code::FailedPrecondition, "AGENT_ARCHIVED"));
        world.unassign("anna", "").await.unwrap();
        assert_eq!(world.assigned().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn agents_that_are_not_there_are_not_assigned() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world.archive("anna", "").await.unwrap();
        let archived = world.assign("anna").await.unwrap_err();
        let about = archived.get_details_resource_info().unwrap();
        assert_eq!(
            (about.resource_type.as_str(), about.resource_name),
            ("Agent", agent_name("anna"))
        );
        assert_eq!(coded(archived), refused(Code::FailedPrecondition, "AGENT_ARCHIVED"));
        let unknown = world.assign("nobody").await.unwrap_err();
        assert_eq!(coded(unknown), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));

        // An agent of another workspace can't even be named, whoever asks.
        world.feed.create_workspace("globex");
        world.hear().await;
        let foreign = AssignAgentRequest {
            agent: "workspaces/globex/agents/anna".into(),
            ..assign("anna")
        };
        for caller in [&world.admin, &world.operator] {
            let request = caller.request(foreign.clone());
            let status = world.assignments().assign_agent(request).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "INVALID_FIELDS")
            );
            let fields = status.get_details_bad_request().unwrap().field_violations;
            assert_eq!(
                fields.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(),
                ["agent"]
            );
        }
        assert_eq!(world.assigned().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn assignments_change_only_while_the_organization_is_active() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let bakery = world.create_organization("bakery").await;
        world.create_agent("anna").await;
        world.create_agent("bert").await;
        world.assign("anna").await.unwrap();
        let suspended = world.change(&bakery, |bakery| bakery.set_state(State::Suspended)).await;
        let refusals = async |expected: &str| {
            // Of the assigned one too: what was granted before is no way around.
            for status in [
                world.assign("anna").await.unwrap_err(),
                world.assign("bert").await.unwrap_err(),
                world.unassign("anna", "").await.unwrap_err(),
            ] {
                assert_eq!(status.get_details_resource_info().unwrap().resource_name, BAKERY);
                assert_eq!(coded(status), refused(Code::FailedPrecondition, expected));
            }
            assert_eq!(ids(&world.assigned().await.unwrap()), ["anna"], "the staff still reads");
        };
        refusals("ORGANIZATION_SUSPENDED").await;
        let deleted = world
            .change(&suspended, |bakery| bakery.set_state(State::Deleted))
            .await;
        refusals("ORGANIZATION_DELETED").await;
        world.change(&deleted, |bakery| bakery.set_state(State::Active)).await;
        world.assign("bert").await.unwrap();
        world.unassign("anna", "").await.unwrap();
        assert_eq!(ids(&world.assigned().await.unwrap()), ["bert"]);
    })
    .await;
}
