//! Bad input costs its own request and nothing else: the right code, a reason, the field.

use crate::{World, create, named};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use clientele_api::org::{CreateWorkspaceRequest, ListOrganizationsRequest, Organization};
use clientele_testkit::{Caller, on_both_engines, reason};
use prost::Message;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

const CREATE: &str = "/clientele.org.v1.OrganizationService/CreateOrganization";
const GET: &str = "/clientele.org.v1.OrganizationService/GetOrganization";

#[tokio::test]
async fn every_field_that_breaks_its_rule_is_named() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let call = async |request| {
            let status = world
                .organizations()
                .create_organization(world.admin.request(request))
                .await
                .unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "INVALID_FIELDS"),
                "{status:?}"
            );
            let violations = status.get_details_bad_request().unwrap().field_violations;
            violations
                .into_iter()
                .map(|violation| violation.field)
                .collect::<Vec<_>>()
        };
        assert_eq!(call(create("bakery", named(""))).await, ["organization.display_name"]);
        assert_eq!(
            call(create("bakery", named(&"x".repeat(201)))).await,
            ["organization.display_name"]
        );
        assert_eq!(
            call(create("bakery", named("a\0b"))).await,
            ["organization.display_name"]
        );
        let several = Organization {
            contact_email: Some("nobody".into()),
            external_id: Some("\u{7}".into()),
            ..named("\n")
        };
        let fields = call(create("Not An Id", several)).await;
        assert_eq!(
            fields,
            [
                "organization.display_name",
                "organization_id",
                "organization.external_id",
                "organization.contact_email"
            ]
        );
        assert_eq!(world.create_organization("longest").await.version, 1);
        let longest = create("bakery", named(&"ä".repeat(200)));
        assert!(
            world
                .organizations()
                .create_organization(world.admin.request(longest))
                .await
                .is_ok()
        );
    })
    .await;
}

#[tokio::test]
async fn names_of_another_form_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let calls = world.calls();
        for name in [
            "",
            "bakery",
            "workspaces/acme",
            "workspaces/acme/organizations/",
            "workspaces/acme/organizations/a\0",
            "workspaces/acme/organizations/a/b",
            "workspaces/acme/organizations/ä",
        ] {
            let status = calls
                .call(GET, &world.member, json!({ "name": name }))
                .await
                .unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "INVALID_FIELDS"),
                "{name:?}"
            );
            assert_eq!(
                status.get_details_bad_request().unwrap().field_violations[0].field,
                "name"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn messages_that_are_none_are_the_senders_fault() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let calls = world.calls();
        let broken_text = {
            // `parent` with bytes that are no UTF-8.
            let mut bytes = create("bakery", named("Bakery")).encode_to_vec();
            let at = bytes.windows(4).position(|window| window == b"acme").unwrap();
            bytes[at] = 0xff;
            Bytes::from(bytes)
        };
        for (what, bytes) in [
            ("no message", Bytes::from_static(b"\xff\xff\xff")),
            ("broken text", broken_text),
        ] {
            let status = calls.raw(CREATE, &world.admin, bytes).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "MALFORMED_MESSAGE"),
                "{what}: {status:?}"
            );
        }
        let status = calls
            .raw(CREATE, &world.admin, vec![0; 5 * 1024 * 1024].into())
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            "{status:?}"
        );
        let status = calls
            .raw(
                "/clientele.org.v1.OrganizationService/Explode",
                &world.admin,
                Bytes::new(),
            )
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unimplemented, "METHOD_UNKNOWN"),
            "{status:?}"
        );
        // The server is as well as before.
        world.create_organization("bakery").await;
    })
    .await;
}

#[tokio::test]
async fn tokens_that_are_none_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let calls = world.calls();
        let good = world.tokens.operator();
        let (head, signature) = good.rsplit_once('.').unwrap();
        let unsigned = format!("{head}.");
        let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
        for token in ["", "x", "a.b.c", &unsigned, &forged, &"x".repeat(10_000)] {
            let status = calls.call(GET, &Caller::with(token), json!({})).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{token:?}");
            assert!(
                ["TOKEN_INVALID", "TOKEN_MISSING"].contains(&reason(&status).as_str()),
                "{status:?}"
            );
        }
        let expired = calls
            .call(GET, &Caller::with(world.tokens.expired_operator()), json!({}))
            .await
            .unwrap_err();
        assert_eq!(
            (expired.code(), reason(&expired).as_str()),
            (Code::Unauthenticated, "TOKEN_EXPIRED")
        );
        assert!(
            world
                .workspaces()
                .create_workspace(Caller::default().request(CreateWorkspaceRequest::default()))
                .await
                .is_err()
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_database_refuses_does_not_get_there() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for id in ["one", "two"] {
            world.create_organization(id).await;
        }
        let list = async |request: ListOrganizationsRequest| {
            let answer = world
                .organizations()
                .list_organizations(world.member.request(request))
                .await;
            answer.map(tonic::Response::into_inner)
        };
        let request = ListOrganizationsRequest {
            parent: "workspaces/acme".into(),
            page_size: 1,
            order_by: "display_name".into(),
            ..Default::default()
        };
        for filter in ["external_id = \"a\0\"", "external_id = \"a\\\0\""] {
            let filtered = ListOrganizationsRequest {
                filter: filter.into(),
                ..request.clone()
            };
            assert_eq!(
                reason(&list(filtered).await.unwrap_err()),
                "INVALID_FIELDS",
                "{filter:?}"
            );
        }
        let token = list(request.clone()).await.unwrap().next_page_token;
        let forged = URL_SAFE_NO_PAD.encode([URL_SAFE_NO_PAD.decode(token).unwrap(), vec![0]].concat());
        let forged = ListOrganizationsRequest {
            page_token: forged,
            ..request
        };
        assert_eq!(reason(&list(forged).await.unwrap_err()), "PAGE_TOKEN_INVALID");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_fits_into_its_headers_whatever_was_sent() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let paths: Vec<String> = (0..10_000).map(|at| format!("nothing{at}")).collect();
        let name = "workspaces/acme/organizations/bakery";
        let request = json!({ "organization": { "name": name }, "updateMask": paths.join(",") });
        let update = "/clientele.org.v1.OrganizationService/UpdateOrganization";
        let status = world.calls().call(update, &world.admin, request).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_FIELDS")
        );
    })
    .await;
}
