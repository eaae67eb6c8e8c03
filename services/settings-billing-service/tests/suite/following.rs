//! Following org-service: whose settings there are, and whose may change.

use crate::{ACME, BAKERY, World, coded, language, refused, update};
use clientele_api::journal::{Change, ChangeKind, ListEntriesRequest};
use clientele_api::org::organization::State;
use clientele_testkit::{Caller, on_both_engines};
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt;

impl World {
    /// How many entries the journal shows of `bakery`.
    async fn history(&self) -> Result<usize, Status> {
        let request = ListEntriesRequest {
            parent: BAKERY.into(),
            ..Default::default()
        };
        let page = self.journal().list_entries(self.member.request(request)).await?;
        Ok(page.into_inner().entries.len())
    }

    pub(crate) fn purge_bakery(&self) {
        let change = Change {
            kind: ChangeKind::Purged.into(),
            ..Change::removed(&self.bakery, self.bakery.version + 1)
        };
        self.feed.tell(&self.acme.to_string(), change);
    }
}

fn not_found<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("it does not exist");
    assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn an_organization_has_settings_for_who_knows_that_it_was_created() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let butcher = format!("{ACME}/organizations/butcher");
        not_found(world.get_of(&butcher).await);
        world.feed.create_organization(world.acme, &butcher);
        let mut request = update(language("de"));
        request.settings.as_mut().unwrap().name = format!("{butcher}/settings");
        let request = world.informed(&world.admin).request(request);
        let settings = world.settings().update_settings(request).await.unwrap().into_inner();
        assert_eq!(settings.version, 1);
    })
    .await;
}

#[tokio::test]
async fn a_deletion_binds_who_knows_of_it() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.feed.cut();
        world
            .feed
            .update(world.acme, &world.bakery, |bakery| bakery.set_state(State::Deleted));
        let request = world.informed(&world.admin).request(update(language("de")));
        let status = world.settings().update_settings(request).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::FailedPrecondition, "ORGANIZATION_DELETED"));
        // What is told late, of before, brings nothing back.
        world.feed.tell(&world.acme.to_string(), Change::created(&world.bakery));
        world.hear().await;
        let status = world.set(language("de")).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::FailedPrecondition, "ORGANIZATION_DELETED"));
    })
    .await;
}

#[tokio::test]
async fn what_is_never_told_is_waited_for_two_seconds() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let caller = Caller {
            min_revision: Some("org=1.999999".into()),
            ..world.admin.clone()
        };
        let began = Instant::now();
        let status = world
            .settings()
            .update_settings(caller.request(update(language("de"))))
            .await
            .unwrap_err();
        let took = began.elapsed();
        assert!(
            (Duration::from_millis(1900)..Duration::from_secs(4)).contains(&took),
            "{took:?}"
        );
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
        assert_eq!(coded(status), refused(Code::Unavailable, "NOT_CAUGHT_UP"));
        assert_eq!(world.get().await.unwrap().version, 0);
    })
    .await;
}

#[tokio::test]
async fn a_purged_organization_is_not_found_by_its_name() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set(language("de")).await.unwrap();
        assert_eq!(world.history().await.unwrap(), 1);
        world.purge_bakery();
        world.hear().await;
        // First what looks at nothing but the uid, which the name was known to mean.
        not_found(world.get().await);
        not_found(world.history().await);
        not_found(world.set(language("de")).await);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_free_again_means_its_new_owner() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set(language("de")).await.unwrap();
        world.purge_bakery();
        let second = world.feed.create_organization(world.acme, BAKERY);
        world.hear().await;
        let settings = world.get().await.unwrap();
        assert_eq!((settings.version, &settings.uid), (0, &second.uid));
        assert_eq!(settings.effective.unwrap().language(), "en");
        assert_eq!(world.history().await.unwrap(), 0);
        assert_eq!(world.set(language("fr")).await.unwrap().version, 1);
    })
    .await;
}

#[tokio::test]
async fn after_a_restore_only_what_is_still_there_is_known() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let butcher = world
            .feed
            .create_organization(world.acme, &format!("{ACME}/organizations/butcher"));
        let deleted = world
            .change(&world.bakery, |bakery| bakery.set_state(State::Deleted))
            .await;
        assert_eq!(deleted.version, 2);
        world.get_of(&butcher.name).await.unwrap();
        // The backup is older than the butcher and the deletion: lower versions are true again.
        world.feed.restore(|entry| {
            let uid = &entry.changes[0].uid;
            let mut entry = entry.clone();
            if *uid == world.bakery.uid {
                entry.changes = vec![Change::created(&world.bakery)];
            }
            (*uid != butcher.uid).then_some(entry)
        });
        world.hear().await;
        assert!(world.feed.revision().starts_with("org=2."));
        not_found(world.get_of(&butcher.name).await);
        world.set(language("de")).await.unwrap();
    })
    .await;
}
