//! The conventions that every method keeps: request ids, previews, etags, revisions, page tokens.

use crate::{World, create, named};
use clientele_api::journal::ListEntriesRequest;
use clientele_api::org::{
    CreateOrganizationRequest, DeleteOrganizationRequest, GetOrganizationRequest, ListOrganizationsRequest,
    UpdateOrganizationRequest,
};
use clientele_testkit::{Caller, on_both_engines, reason};
use tonic::Code;
use uuid::Uuid;

const BAKERY: &str = "workspaces/acme/organizations/bakery";

impl World {
    pub(crate) async fn journal_rows(&self) -> usize {
        let request = ListEntriesRequest {
            parent: "workspaces/acme".into(),
            page_size: 500,
            ..Default::default()
        };
        self.journal()
            .list_entries(self.member.request(request))
            .await
            .unwrap()
            .into_inner()
            .entries
            .len()
    }
}

#[tokio::test]
async fn a_request_id_gives_the_first_answer_also_at_the_same_moment() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let request = CreateOrganizationRequest {
            request_id: Uuid::new_v4().to_string(),
            ..create("", named("Bakery"))
        };
        let call = || async {
            world
                .organizations()
                .create_organization(world.admin.request(request.clone()))
                .await
                .unwrap()
                .into_inner()
        };
        let answers = futures::future::join_all((0..8).map(|_| call())).await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(world.journal_rows().await, 1);

        let another = CreateOrganizationRequest {
            organization: Some(named("Butcher")),
            ..request.clone()
        };
        let status = world
            .organizations()
            .create_organization(world.admin.request(another))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "REQUEST_ID_REUSED")
        );
        let malformed = CreateOrganizationRequest {
            request_id: "once".into(),
            ..request
        };
        let status = world
            .organizations()
            .create_organization(world.admin.request(malformed))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_FIELDS")
        );
    })
    .await;
}

#[tokio::test]
async fn a_refused_call_is_not_remembered() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let created = world.create_organization("bakery").await;
        let request_id = Uuid::new_v4().to_string();
        let update = |etag: &str| UpdateOrganizationRequest {
            organization: Some(clientele_api::org::Organization {
                name: BAKERY.into(),
                etag: etag.into(),
                ..named("New")
            }),
            request_id: request_id.clone(),
            ..Default::default()
        };
        let status = world
            .organizations()
            .update_organization(world.admin.request(update("stale")))
            .await
            .unwrap_err();
        assert_eq!(reason(&status), "ETAG_MISMATCH");
        // Another request under the same id: nothing is known of the first one.
        let updated = world
            .organizations()
            .update_organization(world.admin.request(update(&created.etag)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(updated.version, 2);
        // Its etag is stale by now, but it is the same request.
        let again = world
            .organizations()
            .update_organization(world.admin.request(update(&created.etag)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(again, updated);
    })
    .await;
}

#[tokio::test]
async fn a_stranger_learns_nothing_of_a_request_id() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let request = CreateOrganizationRequest {
            request_id: Uuid::new_v4().to_string(),
            ..create("bakery", named("Bakery"))
        };
        world
            .organizations()
            .create_organization(world.admin.request(request.clone()))
            .await
            .unwrap();
        let stranger = Caller::with(world.tokens.staff("globex", clientele_api::access::StaffRole::Owner));
        let status = world
            .organizations()
            .create_organization(stranger.request(request))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::NotFound, "RESOURCE_NOT_FOUND")
        );
    })
    .await;
}

#[tokio::test]
async fn validation_runs_everything_and_keeps_nothing() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let request_id = Uuid::new_v4().to_string();
        let preview = CreateOrganizationRequest {
            validate_only: true,
            request_id: request_id.clone(),
            ..create("bakery", named("Bakery"))
        };
        let answer = world
            .organizations()
            .create_organization(world.admin.request(preview.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((answer.name.as_str(), answer.version), (BAKERY, 1));
        assert_eq!(
            (
                answer.uid.as_str(),
                answer.etag.as_str(),
                answer.create_time,
                answer.update_time
            ),
            ("", "", None, None)
        );
        assert_eq!(world.journal_rows().await, 0);
        // It remembered no request id, and sees what is unique.
        world
            .organizations()
            .create_organization(world.admin.request(CreateOrganizationRequest {
                validate_only: false,
                ..preview.clone()
            }))
            .await
            .unwrap();
        let taken = CreateOrganizationRequest {
            request_id: String::new(),
            ..preview
        };
        let status = world
            .organizations()
            .create_organization(world.admin.request(taken))
            .await
            .unwrap_err();
        assert_eq!(reason(&status), "RESOURCE_EXISTS");
        // It asks nothing of request ids either: not even one that was used.
        let other = CreateOrganizationRequest {
            validate_only: true,
            request_id,
            ..create("butcher", named("Butcher"))
        };
        let other = world
            .organizations()
            .create_organization(world.admin.request(other))
            .await
            .unwrap();
        assert_eq!(other.into_inner().display_name(), "Butcher");
        let delete = DeleteOrganizationRequest {
            name: BAKERY.into(),
            validate_only: true,
            ..Default::default()
        };
        let deleted = world
            .organizations()
            .delete_organization(world.owner.request(delete))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (deleted.state(), deleted.delete_time),
            (clientele_api::org::organization::State::Deleted, None)
        );
        let get = GetOrganizationRequest { name: BAKERY.into() };
        let read = world
            .organizations()
            .get_organization(world.member.request(get))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(read.state(), clientele_api::org::organization::State::Active);
    })
    .await;
}

#[tokio::test]
async fn answers_carry_their_revision_and_calls_may_ask_for_one() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let created = world
            .organizations()
            .create_organization(world.admin.request(create("bakery", named("Bakery"))))
            .await
            .unwrap();
        let revision = created
            .metadata()
            .get("clientele-revision")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let get = |min: &str| {
            let caller = Caller {
                min_revision: Some(min.to_owned()),
                ..world.member.clone()
            };
            caller.request(GetOrganizationRequest { name: BAKERY.into() })
        };
        let read = world.organizations().get_organization(get(&revision)).await.unwrap();
        let number = |revision: &str| revision.rsplit('.').next().unwrap().parse::<i64>().unwrap();
        assert!(number(read.metadata().get("clientele-revision").unwrap().to_str().unwrap()) >= number(&revision));
        // Of a service that is not followed: ignored. Of a later life of this database: not yet. Garbage: refused.
        assert!(
            world
                .organizations()
                .get_organization(get("settings=9.999999"))
                .await
                .is_ok()
        );
        let status = world
            .organizations()
            .get_organization(get("org=2.1"))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "NOT_CAUGHT_UP")
        );
        let status = world.organizations().get_organization(get("org")).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_HEADER")
        );
    })
    .await;
}

#[tokio::test]
async fn page_tokens_are_good_for_their_list_only() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for id in ["one", "two", "three"] {
            world.create_organization(id).await;
        }
        let first = ListOrganizationsRequest {
            parent: "workspaces/acme".into(),
            page_size: 1,
            ..Default::default()
        };
        let token = world
            .organizations()
            .list_organizations(world.member.request(first.clone()))
            .await
            .unwrap()
            .into_inner()
            .next_page_token;
        let changed = [
            ListOrganizationsRequest {
                show_deleted: true,
                page_token: token.clone(),
                ..first.clone()
            },
            ListOrganizationsRequest {
                order_by: "display_name".into(),
                page_token: token.clone(),
                ..first.clone()
            },
            ListOrganizationsRequest {
                page_token: format!("{token}x"),
                ..first.clone()
            },
            ListOrganizationsRequest {
                page_token: "\u{0}".into(),
                ..first.clone()
            },
        ];
        for request in changed {
            let status = world
                .organizations()
                .list_organizations(world.member.request(request))
                .await
                .unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
            );
        }
        let negative = ListOrganizationsRequest {
            page_size: -1,
            ..first.clone()
        };
        let status = world
            .organizations()
            .list_organizations(world.member.request(negative))
            .await
            .unwrap_err();
        assert_eq!(reason(&status), "INVALID_FIELDS");
        let rest = ListOrganizationsRequest {
            page_size: 10_000,
            page_token: token,
            ..first
        };
        let rest = world
            .organizations()
            .list_organizations(world.member.request(rest))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((rest.organizations.len(), rest.next_page_token.as_str()), (2, ""));
    })
    .await;
}
