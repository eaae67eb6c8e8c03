//! Organizations: their life from creation to undeletion.

use crate::{World, create, named};
use clientele_api::org::organization::State;
use clientele_api::org::{
    DeleteOrganizationRequest, GetOrganizationRequest, ListOrganizationsRequest, Organization, OrganizationLimits,
    ResumeOrganizationRequest, SuspendOrganizationRequest, UndeleteOrganizationRequest, UpdateOrganizationRequest,
};
use clientele_testkit::{on_both_engines, reason};
use futures::future::join_all;
use prost_types::FieldMask;
use std::collections::BTreeSet;
use tonic::{Code, Status};

const BAKERY: &str = "workspaces/acme/organizations/bakery";

fn coded(status: Status) -> (Code, String) {
    (status.code(), reason(&status))
}

impl World {
    async fn get(&self, name: &str) -> Organization {
        let request = GetOrganizationRequest { name: name.to_owned() };
        self.organizations()
            .get_organization(self.member.request(request))
            .await
            .unwrap()
            .into_inner()
    }

    async fn list(&self, request: ListOrganizationsRequest) -> Result<Vec<String>, Status> {
        let mut request = ListOrganizationsRequest {
            parent: "workspaces/acme".into(),
            ..request
        };
        let mut ids = Vec::new();
        loop {
            let page = self
                .organizations()
                .list_organizations(self.member.request(request.clone()))
                .await?
                .into_inner();
            ids.extend(
                page.organizations
                    .into_iter()
                    .map(|organization| organization.name.rsplit('/').next().unwrap().to_owned()),
            );
            if page.next_page_token.is_empty() {
                return Ok(ids);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn update(&self, organization: Organization, paths: Option<&[&str]>) -> Result<Organization, Status> {
        let update_mask = paths.map(|paths| FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        });
        let request = UpdateOrganizationRequest {
            organization: Some(organization),
            update_mask,
            ..Default::default()
        };
        self.organizations()
            .update_organization(self.admin.request(request))
            .await
            .map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn a_new_organization_has_the_defaults_and_is_read_back_equal() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let limits = Some(OrganizationLimits {
            max_agents: Some(3),
            ..Default::default()
        });
        let given = Organization {
            external_id: Some("c-17".into()),
            contact_email: Some("ann@bakery.example".into()),
            annotations: [("plan".to_owned(), "gold\n\"quoted\"".to_owned())].into(),
            limits,
            ..named("Bäckerei")
        };
        let created = world
            .organizations()
            .create_organization(world.admin.request(create("bakery", given)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (created.name.as_str(), created.version, created.state()),
            (BAKERY, 1, State::Active)
        );
        assert_eq!(
            (created.client_access_enabled, created.self_edit_enabled),
            (Some(true), Some(false))
        );
        assert_eq!(world.get(BAKERY).await, created);
    })
    .await;
}

#[tokio::test]
async fn ids_are_derived_and_made_unique() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let create = async |display_name: &str| {
            let request = world.admin.request(create("", named(display_name)));
            world
                .organizations()
                .create_organization(request)
                .await
                .unwrap()
                .into_inner()
                .name
        };
        assert_eq!(
            create("Ann's Bakery").await,
            "workspaces/acme/organizations/ann-s-bakery"
        );
        let second = create("Ann's Bakery").await;
        assert!(
            second.starts_with("workspaces/acme/organizations/ann-s-bakery-"),
            "{second}"
        );
        assert!(create("東京").await.starts_with("workspaces/acme/organizations/org-"));
    })
    .await;
}

#[tokio::test]
async fn taken_ids_and_external_ids_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let with_external_id = |id: &str| {
            create(
                id,
                Organization {
                    external_id: Some("c-1".into()),
                    ..named("Client")
                },
            )
        };
        let call = async |request| {
            world
                .organizations()
                .create_organization(world.admin.request(request))
                .await
        };
        call(with_external_id("first")).await.unwrap();
        let status = call(create("first", named("Client"))).await.unwrap_err();
        assert_eq!(coded(status), (Code::AlreadyExists, "RESOURCE_EXISTS".into()));
        let status = call(with_external_id("second")).await.unwrap_err();
        assert_eq!(coded(status), (Code::AlreadyExists, "EXTERNAL_ID_TAKEN".into()));
        // In an update too; and nothing of the refused calls is left.
        world.create_organization("third").await;
        let taken = Organization {
            name: "workspaces/acme/organizations/third".into(),
            external_id: Some("c-1".into()),
            ..Default::default()
        };
        assert_eq!(
            coded(world.update(taken, None).await.unwrap_err()),
            (Code::AlreadyExists, "EXTERNAL_ID_TAKEN".into())
        );
        assert_eq!(world.list(Default::default()).await.unwrap(), ["first", "third"]);
    })
    .await;
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let created = world.create_organization("bakery").await;
        let limits = Some(OrganizationLimits {
            max_agents: Some(5),
            ..Default::default()
        });
        let change = Organization {
            name: BAKERY.into(),
            limits,
            client_access_enabled: Some(false),
            ..named("Bakery")
        };
        let updated = world.update(change.clone(), None).await.unwrap();
        assert_eq!(
            (updated.version, updated.display_name(), updated.client_access_enabled()),
            (2, "Bakery", false)
        );
        assert_eq!(updated.limits.unwrap().max_agents, Some(5));
        assert_eq!(
            (&updated.uid, &updated.create_time),
            (&created.uid, &created.create_time)
        );
        assert_ne!(updated.etag, created.etag);
        assert_eq!(world.get(BAKERY).await, updated);
        // Again: nothing changes. By mask, absent: cleared.
        assert_eq!(world.update(change, None).await.unwrap(), updated);
        let cleared = world
            .update(
                Organization {
                    name: BAKERY.into(),
                    ..Default::default()
                },
                Some(&["limits", "client_access_enabled"]),
            )
            .await
            .unwrap();
        assert_eq!(
            (
                cleared.version,
                cleared.client_access_enabled(),
                cleared.limits.unwrap().max_agents
            ),
            (3, true, None)
        );
    })
    .await;
}

#[tokio::test]
async fn masks_that_name_nothing_or_the_wrong_thing_are_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let bakery = || Organization {
            name: BAKERY.into(),
            ..Default::default()
        };
        for paths in [
            None,
            Some(&[][..]),
            Some(&["nothing"]),
            Some(&["uid"]),
            Some(&["logo.width"]),
            Some(&["name"]),
            Some(&["display_name"]),
        ] {
            let status = world.update(bakery(), paths).await.unwrap_err();
            assert_eq!(
                coded(status),
                (Code::InvalidArgument, "INVALID_FIELDS".into()),
                "{paths:?}"
            );
        }
        // Output-only fields without a mask are ignored.
        let with_output = Organization {
            uid: "x".into(),
            state: State::Deleted.into(),
            ..Organization {
                name: BAKERY.into(),
                ..named("New")
            }
        };
        assert_eq!(world.update(with_output, None).await.unwrap().state(), State::Active);
    })
    .await;
}

#[tokio::test]
async fn of_writers_with_one_etag_one_wins() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        for round in 0..4 {
            let etag = world.get(BAKERY).await.etag;
            let change = |name: &str| Organization {
                name: BAKERY.into(),
                etag: etag.clone(),
                ..named(name)
            };
            let writers = (0..16).map(|at| world.update(change(&format!("Writer {round}.{at}")), None));
            let (winners, losers): (Vec<_>, Vec<_>) = join_all(writers).await.into_iter().partition(Result::is_ok);
            for loser in losers {
                assert_eq!(coded(loser.unwrap_err()), (Code::Aborted, "ETAG_MISMATCH".into()));
            }
            assert_eq!(winners.len(), 1);
            assert_eq!(world.get(BAKERY).await, winners.into_iter().next().unwrap().unwrap());
        }
        // Without etags both happen.
        let (a, b) = tokio::join!(
            world.update(
                Organization {
                    name: BAKERY.into(),
                    external_id: Some("x".into()),
                    ..Default::default()
                },
                None
            ),
            world.update(
                Organization {
                    name: BAKERY.into(),
                    contact_email: Some("a@b.c".into()),
                    ..Default::default()
                },
                None
            ),
        );
        a.unwrap();
        b.unwrap();
        let both = world.get(BAKERY).await;
        assert_eq!(
            (both.version, both.external_id(), both.contact_email()),
            (7, "x", "a@b.c")
        );
    })
    .await;
}

#[tokio::test]
async fn an_organization_is_suspended_resumed_deleted_and_undeleted() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let name = || BAKERY.to_owned();
        let mut client = world.organizations();
        let suspend = SuspendOrganizationRequest {
            name: name(),
            reason: "unpaid".into(),
            ..Default::default()
        };
        let suspended = client
            .suspend_organization(world.admin.request(suspend.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(suspended.state(), State::Suspended);
        let suspension = suspended.suspension.unwrap();
        assert_eq!(
            (suspension.reason.as_str(), suspension.actor.as_str()),
            ("unpaid", "staff/sam")
        );
        let again = client
            .suspend_organization(world.admin.request(suspend))
            .await
            .unwrap_err();
        assert_eq!(
            coded(again),
            (Code::FailedPrecondition, "ORGANIZATION_SUSPENDED".into())
        );
        // Staff still changes a suspended organization; not a deleted one.
        world
            .update(
                Organization {
                    name: name(),
                    ..named("Renamed")
                },
                None,
            )
            .await
            .unwrap();

        let delete = DeleteOrganizationRequest {
            name: name(),
            ..Default::default()
        };
        let deleted = client
            .delete_organization(world.owner.request(delete.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(deleted.state(), State::Deleted);
        let (gone, purged) = (deleted.delete_time.unwrap(), deleted.purge_time.unwrap());
        assert_eq!(purged.seconds - gone.seconds, 30 * 24 * 3600);
        assert_eq!(world.get(BAKERY).await, deleted);
        let refused = world
            .update(
                Organization {
                    name: name(),
                    ..named("No")
                },
                None,
            )
            .await
            .unwrap_err();
        assert_eq!(
            coded(refused),
            (Code::FailedPrecondition, "ORGANIZATION_DELETED".into())
        );
        let resume = ResumeOrganizationRequest {
            name: name(),
            ..Default::default()
        };
        let refused = client
            .resume_organization(world.admin.request(resume.clone()))
            .await
            .unwrap_err();
        assert_eq!(
            coded(refused),
            (Code::FailedPrecondition, "ORGANIZATION_DELETED".into())
        );
        let refused = client
            .delete_organization(world.owner.request(delete))
            .await
            .unwrap_err();
        assert_eq!(
            coded(refused),
            (Code::FailedPrecondition, "ORGANIZATION_DELETED".into())
        );

        let undelete = UndeleteOrganizationRequest {
            name: name(),
            ..Default::default()
        };
        let back = client
            .undelete_organization(world.owner.request(undelete.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (back.state(), back.delete_time, back.purge_time),
            (State::Suspended, None, None)
        );
        let refused = client
            .undelete_organization(world.owner.request(undelete))
            .await
            .unwrap_err();
        assert_eq!(
            coded(refused),
            (Code::FailedPrecondition, "ORGANIZATION_NOT_DELETED".into())
        );
        let resumed = client
            .resume_organization(world.admin.request(resume.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((resumed.state(), resumed.suspension), (State::Active, None));
        let refused = client
            .resume_organization(world.admin.request(resume))
            .await
            .unwrap_err();
        assert_eq!(
            coded(refused),
            (Code::FailedPrecondition, "ORGANIZATION_NOT_SUSPENDED".into())
        );
    })
    .await;
}

#[tokio::test]
async fn organizations_are_filtered_and_ordered_the_same_on_both_engines() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (id, name) in [
            ("c-client", "Zebra"),
            ("b-client", "apple"),
            ("a-client", "Äpfel"),
            ("d-client", "Apple"),
        ] {
            world
                .organizations()
                .create_organization(world.admin.request(create(id, named(name))))
                .await
                .unwrap();
        }
        let mut client = world.organizations();
        let name = |id: &str| format!("workspaces/acme/organizations/{id}");
        let suspend = SuspendOrganizationRequest {
            name: name("b-client"),
            ..Default::default()
        };
        client.suspend_organization(world.admin.request(suspend)).await.unwrap();
        let delete = DeleteOrganizationRequest {
            name: name("d-client"),
            ..Default::default()
        };
        client.delete_organization(world.owner.request(delete)).await.unwrap();

        let list = async |order_by: &str, filter: &str, show_deleted| {
            world
                .list(ListOrganizationsRequest {
                    page_size: 1,
                    order_by: order_by.into(),
                    filter: filter.into(),
                    show_deleted,
                    ..Default::default()
                })
                .await
        };
        assert_eq!(list("", "", false).await.unwrap(), ["c-client", "b-client", "a-client"]);
        assert_eq!(
            list("create_time desc", "", true).await.unwrap(),
            ["d-client", "a-client", "b-client", "c-client"]
        );
        // By bytes: capitals first, letters beyond ASCII last.
        assert_eq!(
            list("display_name", "", true).await.unwrap(),
            ["d-client", "c-client", "b-client", "a-client"]
        );
        assert_eq!(
            list("display_name desc", "", false).await.unwrap(),
            ["a-client", "b-client", "c-client"]
        );
        assert_eq!(list("", "state = SUSPENDED", false).await.unwrap(), ["b-client"]);
        assert_eq!(
            list("", "state = SUSPENDED AND state = ACTIVE", true).await.unwrap(),
            [""; 0]
        );
        assert_eq!(list("", "state = DELETED", true).await.unwrap(), ["d-client"]);
        assert_eq!(
            list("", "state = ACTIVE AND client_access_enabled = true", true)
                .await
                .unwrap(),
            ["c-client", "a-client"]
        );
        assert_eq!(list("", r#"external_id = "nobody""#, true).await.unwrap(), [""; 0]);
        for (order_by, filter) in [
            ("name", ""),
            ("", "state = NEW"),
            ("", "display_name = x"),
            ("", "state < ACTIVE"),
            ("", "client_access_enabled = maybe"),
        ] {
            assert_eq!(
                coded(list(order_by, filter, false).await.unwrap_err()),
                (Code::InvalidArgument, "INVALID_FIELDS".into())
            );
        }
    })
    .await;
}

#[tokio::test]
async fn pages_have_no_gaps_and_no_repeats_while_others_write() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut before = BTreeSet::new();
        for at in 0..7 {
            before.insert(world.create_organization(&format!("before-{at}")).await.name);
        }
        let mut seen = Vec::new();
        let mut request = ListOrganizationsRequest {
            parent: "workspaces/acme".into(),
            page_size: 2,
            ..Default::default()
        };
        for at in 0.. {
            let page = world
                .organizations()
                .list_organizations(world.member.request(request.clone()))
                .await
                .unwrap()
                .into_inner();
            seen.extend(page.organizations.into_iter().map(|organization| organization.name));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            if at < 3 {
                world.create_organization(&format!("during-{at}")).await;
            }
        }
        let once: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!(once.len(), seen.len());
        assert!(before.is_subset(&once));
    })
    .await;
}

#[tokio::test]
async fn a_page_of_the_largest_organizations_can_be_received() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let annotations = (0..50).map(|at| (format!("key-{at}"), "ä".repeat(1000))).collect();
        let large = Organization {
            annotations,
            ..named("Large")
        };
        for at in 0..45 {
            let request = create(&format!("large-{at}"), large.clone());
            world
                .organizations()
                .create_organization(world.admin.request(request))
                .await
                .unwrap();
        }
        // Both are read page by page to the end, through a client that takes gRPC's usual 4 MiB.
        assert_eq!(world.list(Default::default()).await.unwrap().len(), 45);
        let mut request = clientele_api::journal::ListEntriesRequest {
            parent: "workspaces/acme".into(),
            ..Default::default()
        };
        let mut entries = 0;
        loop {
            let page = world
                .journal()
                .list_entries(world.member.request(request.clone()))
                .await
                .unwrap()
                .into_inner();
            entries += page.entries.len();
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(entries, 45);
    })
    .await;
}
