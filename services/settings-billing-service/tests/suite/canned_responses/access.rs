//! Who reads and who writes which canned response.

use super::{canned, of_team, personal, with};
use crate::{BAKERY, World, coded, refused};
use clientele_api::access::StaffRole;
use clientele_api::org::member;
use clientele_testkit::{Caller, ClientUser, OrgTeam, on_both_engines};
use serde_json::{Value, json};
use tonic::Code;

/// What somebody may do with a canned response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Write,
    Read,
    /// For it there is none.
    Nothing,
    /// It may not call the methods that write.
    ReadOnly,
}

use May::{Nothing, Read, ReadOnly, Write};

/// An organization in which there is one canned response of each kind.
struct Office {
    world: World,
    /// Of the organization, of the team and of the owner.
    responses: [Value; 3],
    team: OrgTeam,
    owner: (ClientUser, Caller),
}

impl Office {
    async fn open(world: World) -> Self {
        world.offer_canned(true).await;
        let owner = world.user(&[]).await;
        let team = world.create_team("sales", &[]).await;
        let responses = [
            world.create_canned(&world.admin, canned("a")).await.unwrap(),
            world.create_canned(&world.admin, of_team("b", "sales")).await.unwrap(),
            world.create_canned(&owner.1, personal("c")).await.unwrap(),
        ];
        Self {
            world,
            responses,
            team,
            owner,
        }
    }

    /// Sees what somebody may do with each of them, by every method.
    async fn expect(&self, who: &str, caller: &Caller, expected: [May; 3]) {
        let readable: Vec<&str> = ["a", "b", "c"]
            .into_iter()
            .zip(expected)
            .filter(|(_, may)| *may != Nothing)
            .map(|(code, _)| code)
            .collect();
        let world = &self.world;
        assert_eq!(world.listed(caller, "").await, readable, "{who}");
        assert_eq!(world.searched(caller, "").await, readable, "{who}");
        assert_eq!(world.searched(caller, "hi.").await, readable, "{who}");
        for (response, may) in self.responses.iter().zip(expected) {
            self.expect_of(who, caller, response, may).await;
        }
    }

    async fn expect_of(&self, who: &str, caller: &Caller, response: &Value, may: May) {
        let (world, name) = (&self.world, json!({ "name": response["name"] }));
        let missing = refused(Code::NotFound, "RESOURCE_NOT_FOUND");
        for method in ["GetCannedResponse", "RenderCannedResponse"] {
            match world.canned(caller, method, name.clone()).await {
                Ok(_) => assert_ne!(may, Nothing, "{who} {method} {response}"),
                Err(status) => {
                    assert_eq!(coded(status), missing, "{who} {method} {response}");
                    assert_eq!(may, Nothing, "{who} {method} {response}");
                }
            }
        }
        // Each as a trial, so that nothing changes for the next.
        let update = json!({ "cannedResponse": { "name": response["name"], "title": "T" }, "validateOnly": true });
        let delete = with(name, json!({ "validateOnly": true }));
        let row = with(response.clone(), json!({ "title": "T" }));
        let upsert = json!({ "parent": BAKERY, "cannedResponses": [row], "validateOnly": true });
        for (method, request) in [
            ("UpdateCannedResponse", update),
            ("DeleteCannedResponse", delete),
            ("BatchUpsertCannedResponses", upsert),
        ] {
            let outcome = world.canned(caller, method, request).await.map_err(coded);
            let personal = response["scope"] == "SCOPE_PERSONAL";
            let batch = method == "BatchUpsertCannedResponses";
            match (may, outcome) {
                (Write, Ok(_)) => {}
                // Whoever is a user of the organization would write one of its own.
                (_, Ok(answer)) if batch && personal && may == Nothing => {
                    assert_eq!(answer["upserted"][0]["outcome"], "OUTCOME_CREATED", "{who}");
                }
                (Read, Err(refusal)) => {
                    assert_eq!(
                        refusal,
                        refused(Code::PermissionDenied, "PERMISSION_MISSING"),
                        "{who} {method}"
                    );
                }
                (ReadOnly, Err(refusal)) => {
                    assert_eq!(
                        refusal,
                        refused(Code::PermissionDenied, "CALLER_NOT_ALLOWED"),
                        "{who} {method}"
                    );
                }
                (Nothing, Err(refusal)) if batch && personal => {
                    assert_eq!(
                        refusal,
                        refused(Code::InvalidArgument, "INVALID_FIELDS"),
                        "{who} {method}"
                    );
                }
                (Nothing, Err(refusal)) if batch => {
                    assert_eq!(
                        refusal,
                        refused(Code::PermissionDenied, "PERMISSION_MISSING"),
                        "{who} {method}"
                    );
                }
                (Nothing, Err(refusal)) => assert_eq!(refusal, missing, "{who} {method} {response}"),
                (may, outcome) => panic!("{who} may {may:?}: {method} {response} {outcome:?}"),
            }
        }
    }

    /// Sees which kinds somebody may create.
    async fn expect_created(&self, who: &str, caller: &Caller, expected: [Result<(), &str>; 3]) {
        let world = &self.world;
        for (response, expected) in [canned("n"), of_team("n", "sales"), personal("n")]
            .into_iter()
            .zip(expected)
        {
            let request = json!({ "parent": BAKERY, "cannedResponse": response, "validateOnly": true });
            let outcome = world.canned(caller, "CreateCannedResponse", request).await;
            let outcome = outcome.map(drop).map_err(|status| clientele_testkit::reason(&status));
            assert_eq!(outcome, expected.map_err(str::to_owned), "{who} {response}");
        }
    }
}

#[tokio::test]
async fn everybody_may_do_what_the_scope_says_and_no_more() {
    on_both_engines(async |engine| {
        let mut office = Office::open(World::start(engine).await).await;
        let world = &office.world;
        let staff = |role| Caller::with(world.tokens.staff("acme", role));
        let as_user = |user: &ClientUser| Caller::with(world.tokens.staff_as_user(&user.user.uid, &world.bakery.uid));
        let (owner, owners) = (&office.owner.0, &office.owner.1);
        let (manager, managers) = world.user(&["org-admin"]).await;
        let (colleague, colleagues) = world.user(&["member"]).await;
        let (_, strangers) = world.user(&[]).await;
        let (_, viewers) = world.user(&["viewer"]).await;
        office.team.set_members(&[&colleague.user.uid]);
        world.hear().await;

        for (who, caller, expected) in [
            (
                "an owner of the workspace",
                &staff(StaffRole::Owner),
                [Write, Write, Nothing],
            ),
            (
                "an admin of the workspace",
                &staff(StaffRole::Admin),
                [Write, Write, Nothing],
            ),
            (
                "an operator",
                &Caller::with(world.tokens.operator()),
                [Write, Write, Nothing],
            ),
            ("who may write all", &managers, [Write, Write, Nothing]),
            ("who wrote one", owners, [Read, Nothing, Write]),
            ("who is in the team", &colleagues, [Read, Read, Nothing]),
            ("who is not", &strangers, [Read, Nothing, Nothing]),
            ("who views everything", &viewers, [Read, Nothing, Nothing]),
            ("staff as who wrote one", &as_user(owner), [Read, Nothing, Write]),
            (
                "staff as who is in the team",
                &as_user(&colleague),
                [Read, Read, Nothing],
            ),
            (
                "staff as who may write all",
                &as_user(&manager),
                [Write, Write, Nothing],
            ),
        ] {
            office.expect(who, caller, expected).await;
        }
        let service = Caller::with(world.tokens.service("dashboard"));
        for (who, caller) in [
            ("a member of the staff", &staff(StaffRole::Member)),
            ("a service", &service),
        ] {
            for (response, may) in office.responses.iter().zip([ReadOnly, ReadOnly]) {
                office.expect_of(who, caller, response, may).await;
            }
            assert_eq!(world.listed(caller, "").await, ["a", "b"], "{who}");
            assert_eq!(world.searched(caller, "hi").await, ["a", "b"], "{who}");
            for method in ["GetCannedResponse", "RenderCannedResponse"] {
                let name = json!({ "name": office.responses[2]["name"] });
                let status = world.canned(caller, method, name).await.unwrap_err();
                assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"), "{who}");
            }
        }

        let (missing, fields) = (Err("PERMISSION_MISSING"), Err("INVALID_FIELDS"));
        for (who, caller, expected) in [
            (
                "an admin of the workspace",
                &staff(StaffRole::Admin),
                [Ok(()), Ok(()), fields],
            ),
            (
                "an operator",
                &Caller::with(world.tokens.operator()),
                [Ok(()), Ok(()), fields],
            ),
            ("who may write all", &managers, [Ok(()); 3]),
            ("who is in the team", &colleagues, [missing, missing, Ok(())]),
            ("who is not", &strangers, [missing, missing, Ok(())]),
            ("staff as who is not", &as_user(owner), [missing, missing, Ok(())]),
            (
                "a member of the staff",
                &staff(StaffRole::Member),
                [Err("CALLER_NOT_ALLOWED"); 3],
            ),
            ("a service", &service, [Err("CALLER_NOT_ALLOWED"); 3]),
        ] {
            office.expect_created(who, caller, expected).await;
        }
    })
    .await;
}

#[tokio::test]
async fn those_of_a_team_are_there_for_who_is_in_it() {
    on_both_engines(async |engine| {
        let mut office = Office::open(World::start(engine).await).await;
        let (ann, anns) = office.world.user(&[]).await;
        let (_, managers) = office.world.user(&["org-admin"]).await;
        office
            .expect("who is not in it yet", &anns, [Read, Nothing, Nothing])
            .await;
        office.team.set_members(&[&ann.user.uid]);
        office.world.hear().await;
        office.expect("who joined", &anns, [Read, Read, Nothing]).await;
        office.team.rename("first_line");
        office.world.hear().await;
        office
            .expect("who is in it under another key", &anns, [Read, Read, Nothing])
            .await;
        office.team.set_members(&[]);
        office.world.hear().await;
        office.expect("who left", &anns, [Read, Nothing, Nothing]).await;
        office.team.set_members(&[&ann.user.uid]);
        office.team.delete();
        office.world.hear().await;
        let readers = [
            ("who was in it", &anns, Nothing),
            ("who may write", &managers, Write),
            ("staff", &office.world.admin, Write),
        ];
        for (who, caller, may) in readers {
            let read = if may == Nothing { vec!["a"] } else { vec!["a", "b"] };
            assert_eq!(office.world.listed(caller, "").await, read, "{who}");
            let got = office.world.get_canned(caller, &office.responses[1]["name"]).await;
            assert_eq!(got.is_ok(), may != Nothing, "{who}");
        }
        // A team that takes over its key takes over nothing else.
        let sales = office.world.create_team("sales", &[&ann]).await;
        assert_eq!(office.world.listed(&anns, "").await, ["a"]);
        let filter = format!("team_uid = \"{}\"", sales.team.uid);
        assert!(office.world.listed(&managers, &filter).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_a_user_may_no_longer_do_binds_as_soon_as_it_is_heard_of() {
    on_both_engines(async |engine| {
        let office = Office::open(World::start(engine).await).await;
        let world = &office.world;
        let (mut ann, anns) = world.user(&["org-admin"]).await;
        office.expect("who may write all", &anns, [Write, Write, Nothing]).await;
        ann.change_member(|member| member.roles = vec!["member".into()]);
        world.hear().await;
        office
            .expect("who may no longer", &anns, [Read, Nothing, Nothing])
            .await;
        ann.change_member(|member| member.permissions = vec!["canned-responses.manage".into()]);
        world.hear().await;
        office.expect("who may again", &anns, [Write, Write, Nothing]).await;
        ann.change_member(|member| member.set_state(member::State::Suspended));
        world.hear().await;
        let status = world.get_canned(&anns, &office.responses[0]["name"]).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::PermissionDenied, "ACCESS_DENIED"));
    })
    .await;
}
