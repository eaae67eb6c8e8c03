//! Bad input costs its own request and nothing else: the right code, a reason, the field.

use crate::{ACME, BAKERY, World, agent_name, refused, texts, titled};
use clientele_api::assignment::agent::State;
use clientele_api::assignment::{Agent, Assignment};
use clientele_testkit::{on_both_engines, reason};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The fields that a refusal names.
fn fields(status: &Status) -> Vec<String> {
    assert_eq!(
        (status.code(), reason(status)),
        refused(Code::InvalidArgument, "INVALID_FIELDS"),
        "{status:?}"
    );
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn every_field_of_an_agent_that_breaks_its_rule_is_named() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for title in ["", "a\0b", "a\nb", " a", &"x".repeat(201)] {
            let status = world.create("support", titled(title)).await.unwrap_err();
            assert_eq!(fields(&status), ["agent.title"], "{title:?}");
        }
        let several = Agent {
            description: Some("a\0b".into()),
            platform: Some("x".repeat(65)),
            channels: texts(&["web", "web"]),
            tags: texts(&["", "b"]),
            state: Some(State::Archived.into()),
            ..titled("\u{7}")
        };
        let status = world.create("not an id", several).await.unwrap_err();
        let all =
            ["title", "description", "platform", "channels", "tags", "state"].map(|field| format!("agent.{field}"));
        assert_eq!(fields(&status), [&["agent_id".to_owned()][..], &all].concat());
        for state in [State::Archived.into(), 5, -1, i32::MAX] {
            let agent = Agent {
                state: Some(state),
                ..titled("Support")
            };
            let status = world.create("support", agent).await.unwrap_err();
            assert_eq!(fields(&status), ["agent.state"], "{state}");
        }
        let many: Vec<String> = (0..51).map(|at| at.to_string()).collect();
        for lists in [
            Agent {
                tags: many.clone(),
                ..titled("T")
            },
            Agent {
                channels: many[..21].to_vec(),
                ..titled("T")
            },
        ] {
            assert!(world.create("support", lists).await.is_err());
        }
        for id in ["", "a.b", "a/b", "ä", "a\0", &"x".repeat(65)] {
            let status = world.create(id, titled("Support")).await.unwrap_err();
            assert_eq!(fields(&status), ["agent_id"], "{id:?}");
        }
        let longest = Agent {
            tags: many[..50].to_vec(),
            channels: many[..20].to_vec(),
            ..titled(&"ä".repeat(200))
        };
        assert_eq!(world.create(&"x".repeat(64), longest).await.unwrap().version, 1);
    })
    .await;
}

#[tokio::test]
async fn updates_of_an_agent_follow_the_same_rules() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_agent("support").await;
        let named = || Agent {
            name: agent_name("support"),
            ..Default::default()
        };
        for (agent, field) in [
            (
                Agent {
                    title: Some("x".repeat(201)),
                    ..named()
                },
                "agent.title",
            ),
            (
                Agent {
                    tags: texts(&["a", "b", "a"]),
                    ..named()
                },
                "agent.tags",
            ),
            (
                Agent {
                    state: Some(0),
                    ..named()
                },
                "agent.state",
            ),
            (
                Agent {
                    state: Some(State::Archived.into()),
                    ..named()
                },
                "agent.state",
            ),
            (
                Agent {
                    state: Some(77),
                    ..named()
                },
                "agent.state",
            ),
        ] {
            assert_eq!(fields(&world.update(agent, None).await.unwrap_err()), [field]);
        }
        for paths in [
            None,
            Some(&[][..]),
            Some(&["nothing"]),
            Some(&["uid"]),
            Some(&["name"]),
            Some(&["etag"]),
            Some(&["tags.x"]),
        ] {
            assert_eq!(
                fields(&world.update(named(), paths).await.unwrap_err()),
                ["update_mask"],
                "{paths:?}"
            );
        }
        // A title can't be cleared.
        let cleared = world.update(named(), Some(&["title"])).await.unwrap_err();
        assert_eq!(fields(&cleared), ["agent.title"]);
        // Output-only fields without a mask are ignored.
        let with_output = Agent {
            uid: "x".into(),
            version: 9,
            title: Some("New".into()),
            ..named()
        };
        assert_eq!(world.update(with_output, None).await.unwrap().version, 2);
    })
    .await;
}

#[tokio::test]
async fn every_field_of_an_assignment_that_breaks_its_rule_is_named() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        world.create_agent("anna").await;
        let given = Assignment {
            alias: Some("x".repeat(201)),
            note: Some("a\0b".into()),
            ..Default::default()
        };
        let status = world.assign_with("anna", given).await.unwrap_err();
        assert_eq!(fields(&status), ["assignment.alias", "assignment.note"]);
        let longest = Assignment {
            alias: Some("ä".repeat(200)),
            note: Some("\n".repeat(2000)),
            ..Default::default()
        };
        world.assign_with("anna", longest).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn names_of_another_form_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let calls = world.calls();
        const AGENTS: &str = "/clientele.assignment.v1.AgentService";
        const ASSIGNMENTS: &str = "/clientele.assignment.v1.AssignmentService";
        for name in [
            "",
            "anna",
            ACME,
            "workspaces/acme/agents/",
            "workspaces/acme/agents/a\0",
            "workspaces/acme/agents/ä",
        ] {
            let get = calls
                .call(&format!("{AGENTS}/GetAgent"), &world.member, json!({ "name": name }))
                .await;
            assert_eq!(fields(&get.unwrap_err()), ["name"], "{name:?}");
            let assign = json!({ "parent": BAKERY, "agent": name });
            let assign = calls
                .call(&format!("{ASSIGNMENTS}/AssignAgent"), &world.admin, assign)
                .await;
            assert_eq!(fields(&assign.unwrap_err()), ["agent"], "{name:?}");
        }
        let both = json!({ "organization": "workspaces/acme/organizations/a/b", "agent": "x" });
        let both = calls
            .call(&format!("{ASSIGNMENTS}/CheckAccess"), &world.service, both)
            .await;
        assert_eq!(fields(&both.unwrap_err()), ["organization", "agent"]);
    })
    .await;
}
