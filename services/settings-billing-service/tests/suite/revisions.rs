//! The versions of settings, out of the journal, and the way back to them.

use crate::{ACME, BAKERY, World, branding, coded, handoff, language, mask, pages, refused, update, update_defaults};
use clientele_api::Uid;
use clientele_api::journal::{Change, Entry};
use clientele_api::org::organization::State;
use clientele_api::settings::{
    Branding, HandoffValues, ListSettingsRevisionsRequest, ListWorkspaceSettingsRevisionsRequest, Page,
    RollbackSettingsRequest, RollbackWorkspaceSettingsRequest, Settings, SettingsRevision, SettingsValues,
    UpdateSettingsRequest, UpdateWorkspaceSettingsRequest, WorkspaceSettings,
};
use clientele_testkit::{Caller, Engine, on_both_engines, reason, seed};
use futures::future::join_all;
use prost_types::{Any, FieldMask};
use rand::Rng;
use rand::rngs::StdRng;
use sea_orm::{ConnectionTrait, Statement};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

const ROLLBACK: &str = "/clientele.settings.v1.SettingsService/RollbackSettings";

impl World {
    async fn revisions_page(
        &self,
        request: ListSettingsRevisionsRequest,
    ) -> Result<(Vec<SettingsRevision>, String), Status> {
        let request = self.member.request(request);
        let page = self.settings().list_settings_revisions(request).await?.into_inner();
        Ok((page.revisions, page.next_page_token))
    }

    async fn revisions(&self) -> Vec<SettingsRevision> {
        let all = ListSettingsRevisionsRequest {
            page_size: 500,
            ..list("")
        };
        let (revisions, next) = self.revisions_page(all).await.unwrap();
        assert_eq!(next, "");
        revisions
    }

    async fn default_revisions_page(&self, token: &str) -> (Vec<SettingsRevision>, String) {
        let request = self.member.request(ListWorkspaceSettingsRevisionsRequest {
            name: format!("{ACME}/settings"),
            page_size: 500,
            page_token: token.into(),
        });
        let page = self.settings().list_workspace_settings_revisions(request).await;
        let page = page.unwrap().into_inner();
        (page.revisions, page.next_page_token)
    }

    async fn roll_back(&self, version: i64) -> Result<Settings, Status> {
        self.roll_back_as(&self.admin, back_to(version)).await
    }

    async fn roll_back_as(&self, caller: &Caller, request: RollbackSettingsRequest) -> Result<Settings, Status> {
        let answer = self.settings().rollback_settings(caller.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn roll_defaults_back(&self, version: i64) -> Result<WorkspaceSettings, Status> {
        self.roll_defaults_back_by(default_back_to(version)).await
    }

    async fn roll_defaults_back_by(
        &self,
        request: RollbackWorkspaceSettingsRequest,
    ) -> Result<WorkspaceSettings, Status> {
        let answer = self
            .settings()
            .rollback_workspace_settings(self.admin.request(request))
            .await;
        answer.map(Response::into_inner)
    }

    /// What no journal tells.
    async fn execute(&self, sql: &str) {
        self.session().await.execute_unprepared(sql).await.unwrap();
    }

    /// Writes other changes into the row of the journal that tells of this version of the overrides.
    async fn rewrite(&self, version: i64, rewrite: impl FnOnce(&mut Vec<Change>)) {
        let entries = self.entries(BAKERY).await;
        let entry = entries.iter().find(|entry| entry.changes[0].version == version);
        let mut changes = entry.unwrap().changes.clone();
        rewrite(&mut changes);
        self.put(entry.unwrap(), changes).await;
    }

    /// Puts these changes into the row of an entry.
    async fn put(&self, entry: &Entry, changes: Vec<Change>) {
        let bytes = Any::from_msg(&Entry {
            changes,
            ..Entry::default()
        });
        let session = self.session().await;
        let seq: i64 = entry.cursor.rsplit('.').next().unwrap().parse().unwrap();
        let statement = Statement::from_sql_and_values(
            session.get_database_backend(),
            "UPDATE journal SET changes = $1 WHERE seq = $2",
            [bytes.unwrap().value.to_vec().into(), seq.into()],
        );
        assert_eq!(session.execute_raw(statement).await.unwrap().rows_affected(), 1);
    }

    /// Writes so many rows into the journal, of something else in the same organization.
    async fn pile_up(&self, engine: Engine, many: usize) {
        let (mutation, nothing) = match engine {
            Engine::Sqlite => ("randomblob(16)", "x''"),
            Engine::Postgres => ("gen_random_uuid()", "''::bytea"),
        };
        let insert = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})
             INSERT INTO journal (epoch, mutation_id, workspace_uid, workspace_id, organization_uid, organization_id,
                actor, method, time, changes)
             SELECT epoch, {mutation}, workspace_uid, workspace_id, organization_uid, organization_id,
                actor, method, time, {nothing}
             FROM (SELECT * FROM journal WHERE organization_uid IS NOT NULL LIMIT 1) AS one, n"
        );
        self.execute(&insert).await;
    }
}

/// One value for each of some leaves.
fn leaves() -> [SettingsValues; 4] {
    let layout = SettingsValues {
        layout: Some(2),
        ..Default::default()
    };
    let canned_responses = SettingsValues {
        canned_responses_enabled: Some(true),
        ..Default::default()
    };
    [
        language("de"),
        layout,
        handoff(Some(true), Some(true)),
        canned_responses,
    ]
}

/// All of [`leaves`] at once.
fn several() -> SettingsValues {
    leaves().into_iter().fold(SettingsValues::default(), merged)
}

fn list(page_token: &str) -> ListSettingsRevisionsRequest {
    ListSettingsRevisionsRequest {
        name: format!("{BAKERY}/settings"),
        page_token: page_token.into(),
        ..Default::default()
    }
}

fn back_to(version: i64) -> RollbackSettingsRequest {
    RollbackSettingsRequest {
        name: format!("{BAKERY}/settings"),
        version,
        ..Default::default()
    }
}

fn default_back_to(version: i64) -> RollbackWorkspaceSettingsRequest {
    RollbackWorkspaceSettingsRequest {
        name: format!("{ACME}/settings"),
        version,
        ..Default::default()
    }
}

fn versions(revisions: &[SettingsRevision]) -> Vec<i64> {
    revisions.iter().map(|revision| revision.version).collect()
}

/// What the log says of this resource, as revisions say it.
fn told(entries: Vec<Entry>, resource: &str, values: fn(&Any) -> Option<SettingsValues>) -> Vec<SettingsRevision> {
    let mut revisions = Vec::new();
    for entry in entries {
        for change in entry.changes.iter().filter(|change| change.resource == resource) {
            revisions.push(SettingsRevision {
                version: change.version,
                create_time: entry.time,
                actor: entry.actor.clone(),
                acting_for: entry.acting_for.clone(),
                method: entry.method.clone(),
                request_id: entry.request_id.clone(),
                mutation_id: entry.mutation_id.clone(),
                changed_fields: change.changed_fields.clone(),
                values: values(change.after.as_ref().unwrap()),
            });
        }
    }
    revisions
}

#[track_caller]
fn not_held<T: std::fmt::Debug>(answer: Result<T, Status>, version: i64) {
    let status = answer.expect_err("the journal does not hold it");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["version"], version.to_string());
    assert!(
        status
            .get_details_resource_info()
            .unwrap()
            .resource_name
            .ends_with("/settings")
    );
    assert_eq!(coded(status), refused(Code::NotFound, "REVISION_NOT_FOUND"));
}

#[tokio::test]
async fn a_revision_says_of_each_version_what_the_log_says() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        assert_eq!(world.revisions().await, []);
        let butcher = format!("{ACME}/organizations/butcher");
        world.feed.create_organization(world.acme, &butcher);
        world.hear().await;
        let with_id = |overrides| UpdateSettingsRequest {
            request_id: Uuid::new_v4().to_string(),
            ..update(overrides)
        };
        world.update(with_id(language("de"))).await.unwrap();
        world.update(with_id(language("de"))).await.unwrap(); // remembered, and no version
        let set = world.set(handoff(Some(true), Some(true))).await.unwrap();
        world.set_defaults(language("fr")).await.unwrap();
        let mut theirs = update(language("it"));
        theirs.settings.as_mut().unwrap().name = format!("{butcher}/settings");
        world.update(theirs).await.unwrap();
        let operator = Caller::with(world.tokens.operator());
        let cleared = UpdateSettingsRequest {
            update_mask: mask(&["*"]),
            ..with_id(SettingsValues::default())
        };
        let request = operator.request(cleared);
        world.settings().update_settings(request).await.unwrap();
        world.roll_back(2).await.unwrap();
        world.set_defaults(several()).await.unwrap();
        world.roll_defaults_back(1).await.unwrap();

        let revisions = world.revisions().await;
        assert_eq!(versions(&revisions), [4, 3, 2, 1]);
        let values = |any: &Any| any.to_msg::<Settings>().unwrap().overrides;
        let expected = told(world.entries(BAKERY).await, &format!("{BAKERY}/settings"), values);
        assert_eq!(revisions, expected);
        let [back, cleared, both, first] = &revisions[..] else {
            unreachable!()
        };
        assert_eq!((&back.values, &both.values), (&set.overrides, &set.overrides));
        assert_eq!((back.method.as_str(), back.actor.as_str()), (ROLLBACK, "staff/sam"));
        assert!(cleared.actor.starts_with("operators/") && !cleared.request_id.is_empty());
        let fields = ["handoff.human_enabled", "handoff.smart_enabled"].map(|path| format!("overrides.{path}"));
        assert_eq!((&both.changed_fields[..], both.request_id.as_str()), (&fields[..], ""));
        assert!(!first.request_id.is_empty() && first.create_time.is_some());

        let (revisions, next) = world.default_revisions_page("").await;
        assert_eq!((versions(&revisions), next.as_str()), (vec![3, 2, 1], ""));
        let values = |any: &Any| any.to_msg::<WorkspaceSettings>().unwrap().defaults;
        let expected = told(world.entries(ACME).await, &format!("{ACME}/settings"), values);
        assert_eq!(revisions, expected);
    })
    .await;
}

#[tokio::test]
async fn pages_go_on_where_the_one_before_ended() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let butcher = format!("{ACME}/organizations/butcher");
        world.feed.create_organization(world.acme, &butcher);
        world.hear().await;
        for code in ["de", "fr", "it", "es", "pt"] {
            world.set(language(code)).await.unwrap();
        }
        let of_two = |page_token: &str| ListSettingsRevisionsRequest {
            page_size: 2,
            ..list(page_token)
        };
        let (first, token) = world.revisions_page(of_two("")).await.unwrap();
        world.set(language("nl")).await.unwrap(); // not in the way of later pages
        let (second, next) = world.revisions_page(of_two(&token)).await.unwrap();
        let (third, end) = world.revisions_page(of_two(&next)).await.unwrap();
        let got = [&first, &second, &third].map(|revisions| versions(revisions));
        assert_eq!((got, end.as_str()), ([vec![5, 4], vec![3, 2], vec![1]], ""));

        let of_another = ListSettingsRevisionsRequest {
            name: format!("{butcher}/settings"),
            ..of_two(&token)
        };
        for wrong in [of_another, of_two("%"), of_two(&token[1..])] {
            let status = world.revisions_page(wrong).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
        }
        let defaults = ListWorkspaceSettingsRevisionsRequest {
            name: format!("{ACME}/settings"),
            page_size: 2,
            page_token: token,
        };
        let request = world.member.request(defaults);
        let status = world
            .settings()
            .list_workspace_settings_revisions(request)
            .await
            .unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
        let negative = ListSettingsRevisionsRequest {
            page_size: -1,
            ..list("")
        };
        let status = world.revisions_page(negative).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "INVALID_FIELDS"));
    })
    .await;
}

#[tokio::test]
async fn a_page_looks_at_ten_thousand_rows_and_a_rollback_at_all() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::start(engine).await;
        world.set(language("de")).await.unwrap();
        world.set_defaults(language("it")).await.unwrap();
        world.pile_up(engine, 12_000).await;
        world.set(language("fr")).await.unwrap();
        world.set_defaults(language("es")).await.unwrap();

        let (newest, next) = world.revisions_page(list("")).await.unwrap();
        let (oldest, end) = world.revisions_page(list(&next)).await.unwrap();
        let got = [&newest, &oldest].map(|revisions| versions(revisions));
        assert_eq!((got, end.as_str()), ([vec![2], vec![1]], ""));
        let (newest, next) = world.default_revisions_page("").await;
        let (oldest, end) = world.default_revisions_page(&next).await;
        let got = [&newest, &oldest].map(|revisions| versions(revisions));
        assert_eq!((got, end.as_str()), ([vec![2], vec![1]], ""));

        let back = world.roll_back(1).await.unwrap();
        assert_eq!(back.overrides.unwrap().language(), "de");
        let back = world.roll_defaults_back(1).await.unwrap();
        assert_eq!(back.defaults.unwrap().language(), "it");
        // A page may be empty, and not be the last.
        world.pile_up(engine, 12_000).await;
        let (none, next) = world.revisions_page(list("")).await.unwrap();
        assert!(none.is_empty() && !next.is_empty());
        let (newest, _) = world.revisions_page(list(&next)).await.unwrap();
        assert_eq!(versions(&newest), [3, 2]);
    }
}

/// Of rows that are large, fewer are looked at.
#[tokio::test]
async fn a_page_looks_at_so_many_bytes_and_a_rollback_at_all() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::start(engine).await;
        world.set(language("de")).await.unwrap();
        world.pile_up(engine, 100).await;
        // 20 MiB in a field that no version of the API has.
        let large = match engine {
            Engine::Sqlite => "CAST(x'fa7f8080800a' || zeroblob(20971520) AS blob)",
            Engine::Postgres => "decode('fa7f8080800a' || repeat('00', 20971520), 'hex')",
        };
        let newest = "UPDATE journal SET changes = LARGE WHERE seq = (SELECT max(seq) FROM journal)";
        world.execute(&newest.replace("LARGE", large)).await;
        world.set(language("fr")).await.unwrap();
        let (newest, next) = world.revisions_page(list("")).await.unwrap();
        let (oldest, end) = world.revisions_page(list(&next)).await.unwrap();
        let got = [&newest, &oldest].map(|revisions| versions(revisions));
        assert_eq!((got, end.as_str()), ([vec![2], vec![1]], ""));
        let back = world.roll_back(1).await.unwrap();
        assert_eq!(back.overrides.unwrap().language(), "de");
    }
}

#[tokio::test]
async fn a_rollback_makes_the_values_of_then_a_new_version() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set_defaults(language("it")).await.unwrap();
        let first = world.set(language("de")).await.unwrap();
        let second = world.set(several()).await.unwrap();
        let back = world.roll_back(1).await.unwrap();
        assert_eq!((back.version, &back.overrides), (3, &first.overrides));
        assert_eq!(
            (back.create_time, back.effective.as_ref()),
            (first.create_time, first.effective.as_ref())
        );
        assert_ne!(back.etag, first.etag);
        assert_ne!(back.update_time, second.update_time);
        assert_eq!(world.get().await.unwrap(), back);
        // The same again: nothing changes.
        assert_eq!(world.roll_back(1).await.unwrap(), back);
        assert_eq!(world.roll_back(3).await.unwrap(), back);
        // Before the first one nothing was set.
        let unset = world.roll_back(0).await.unwrap();
        assert_eq!((unset.version, unset.effective.as_ref().unwrap().language()), (4, "it"));
        assert_eq!(versions(&world.revisions().await), [4, 3, 2, 1]);
        let again = world.roll_back(2).await.unwrap();
        assert_eq!((again.version, &again.overrides), (5, &second.overrides));

        let first = world.get_defaults().await;
        world.set_defaults(several()).await.unwrap();
        let back = world.roll_defaults_back(1).await.unwrap();
        assert_eq!((back.version, &back.defaults), (3, &first.defaults));
        assert_eq!(world.get_defaults().await, back);
        let unset = world.roll_defaults_back(0).await.unwrap();
        let nothing = SettingsValues {
            handoff: Some(HandoffValues::default()),
            ..Default::default()
        };
        assert_eq!((unset.version, unset.defaults), (4, Some(nothing)));
    })
    .await;
}

#[tokio::test]
async fn versions_that_are_not_held_are_not_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        not_held(world.roll_back(1).await, 1);
        not_held(world.roll_defaults_back(1).await, 1);
        assert_eq!(world.roll_back(0).await.unwrap().version, 0);
        for code in ["de", "fr", "it", "es"] {
            world.set(language(code)).await.unwrap();
            world.set_defaults(language(code)).await.unwrap();
        }
        for version in [5, i64::MAX] {
            not_held(world.roll_back(version).await, version);
            not_held(world.roll_defaults_back(version).await, version);
        }
        for version in [-1, i64::MIN] {
            for status in [
                world.roll_back(version).await.unwrap_err(),
                world.roll_defaults_back(version).await.unwrap_err(),
            ] {
                assert_eq!(
                    (status.code(), reason(&status)),
                    refused(Code::InvalidArgument, "INVALID_FIELDS")
                );
                let violations = status.get_details_bad_request().unwrap().field_violations;
                assert_eq!(violations[0].field, "version");
            }
        }
        // What was taken out of the journal is neither listed nor found.
        world.rewrite(2, |changes| changes[0].after = None).await;
        assert_eq!(versions(&world.revisions().await), [4, 3, 1]);
        not_held(world.roll_back(2).await, 2);
        world.rewrite(1, Vec::clear).await;
        not_held(world.roll_back(1).await, 1);
        world.roll_back(3).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_retention_has_removed_is_gone_and_its_calls_that_are_remembered_are_answered() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for code in ["de", "fr", "it"] {
            world.set(language(code)).await.unwrap();
        }
        let request = RollbackSettingsRequest {
            request_id: Uuid::new_v4().to_string(),
            ..back_to(1)
        };
        let first = world.roll_back_as(&world.admin, request.clone()).await.unwrap();
        world.set(language("es")).await.unwrap();
        world
            .execute("DELETE FROM journal WHERE seq <= (SELECT min(seq) + 1 FROM journal)")
            .await;
        assert_eq!(versions(&world.revisions().await), [5, 4, 3]);
        for version in [1, 2] {
            not_held(world.roll_back(version).await, version);
        }
        assert_eq!(world.roll_back_as(&world.admin, request.clone()).await.unwrap(), first);
        let another = RollbackSettingsRequest { version: 3, ..request };
        let status = world.roll_back_as(&world.admin, another).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "REQUEST_ID_REUSED"));
        assert_eq!(world.roll_back(3).await.unwrap().overrides.unwrap().language(), "it");
    })
    .await;
}

/// A restored database goes on in the next life. What a transaction wrote that began earlier may stand below what was committed before
/// it, and what is told of other resources beside it.
#[tokio::test]
async fn every_version_is_found_wherever_it_stands() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let codes = ["de", "fr", "it", "es", "pt"];
        for code in codes {
            world.set(language(code)).await.unwrap();
        }
        let [_, fourth, third, ..] = &world.entries(BAKERY).await[..] else {
            unreachable!()
        };
        world.put(fourth, third.changes.clone()).await;
        world.put(third, fourth.changes.clone()).await;
        let first = "UPDATE journal SET epoch = 0 WHERE seq = (SELECT min(seq) FROM journal)";
        world.execute(first).await;
        // Of the same type, and of the same uid: what else an organization has one of has its uid too.
        let of_another = Settings {
            uid: Uid::new().to_string(),
            version: 2,
            overrides: Some(language("ar")),
            ..Default::default()
        };
        let something_else = WorkspaceSettings {
            uid: world.bakery.uid.clone(),
            version: 2,
            defaults: Some(language("he")),
            ..Default::default()
        };
        let besides = [Change::created(&of_another), Change::created(&something_else)];
        world.rewrite(2, |changes| _ = changes.splice(0..0, besides)).await;
        assert_eq!(versions(&world.revisions().await), [5, 3, 4, 2, 1]);
        for (version, code) in (1..).zip(codes).collect::<Vec<_>>().into_iter().rev() {
            let back = world.roll_back(version).await.unwrap();
            assert_eq!(back.overrides.unwrap().language(), code);
        }
    })
    .await;
}

#[tokio::test]
async fn a_rollback_is_refused_as_an_update_is() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set_defaults(handoff(Some(true), None)).await.unwrap();
        let smart = world.set(handoff(None, Some(true))).await.unwrap();
        let cleared = world.clear(&["*"]).await.unwrap();
        for (etag, accepted) in [
            (&smart.etag, false),
            (&"stale".to_owned(), false),
            (&cleared.etag, true),
        ] {
            let request = RollbackSettingsRequest {
                etag: etag.clone(),
                validate_only: true,
                ..back_to(1)
            };
            match world.roll_back_as(&world.admin, request).await {
                Ok(_) => assert!(accepted),
                Err(status) => {
                    assert!(!accepted);
                    assert_eq!(coded(status), refused(Code::Aborted, "ETAG_MISMATCH"));
                }
            }
        }
        let stale = RollbackWorkspaceSettingsRequest {
            etag: cleared.etag.clone(),
            ..default_back_to(0)
        };
        let status = world.roll_defaults_back_by(stale).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::Aborted, "ETAG_MISMATCH"));

        // The rules are kept under the defaults of now.
        world.set_defaults(handoff(Some(false), None)).await.unwrap();
        let status = world.roll_back(1).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::FailedPrecondition, "SETTINGS_CONFLICT"));
        assert_eq!(world.get().await.unwrap().version, 2);
        world.roll_defaults_back(1).await.unwrap();
        assert_eq!(world.roll_back(1).await.unwrap().effective, smart.effective);

        let deleted = world
            .change(&world.bakery, |bakery| bakery.set_state(State::Deleted))
            .await;
        let status = world.roll_back(2).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::FailedPrecondition, "ORGANIZATION_DELETED"));
        assert_eq!(world.revisions().await.len(), 3, "the staff still reads");
        world
            .change(&deleted, |bakery| bakery.set_state(State::Suspended))
            .await;
        world.roll_back(2).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn values_that_break_a_rule_of_today_do_not_come_back() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set(language("de")).await.unwrap();
        world.set(language("fr")).await.unwrap();
        world
            .rewrite(1, |changes| {
                let mut settings: Settings = changes[0].after.as_ref().unwrap().to_msg().unwrap();
                let overrides = settings.overrides.as_mut().unwrap();
                overrides.language = Some("klingon".into());
                overrides.layout = Some(77);
                changes[0].after = Some(Any::from_msg(&settings).unwrap());
            })
            .await;
        let status = world.roll_back(1).await.unwrap_err();
        let violations = status.get_details_bad_request().unwrap().field_violations;
        let fields: Vec<&str> = violations.iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["version.overrides.language", "version.overrides.layout"]);
        assert_eq!(
            (status.code(), reason(&status)),
            refused(Code::InvalidArgument, "INVALID_FIELDS")
        );
        assert_eq!(world.get().await.unwrap().version, 2);
        assert_eq!(versions(&world.revisions().await), [2, 1], "it can be looked at");
    })
    .await;
}

#[tokio::test]
async fn a_rollback_happens_once_and_a_preview_not_at_all() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let first = world.set(language("de")).await.unwrap();
        world.set(language("fr")).await.unwrap();
        let preview = RollbackSettingsRequest {
            request_id: Uuid::new_v4().to_string(),
            validate_only: true,
            ..back_to(1)
        };
        let answer = world.roll_back_as(&world.admin, preview.clone()).await.unwrap();
        assert_eq!((answer.version, &answer.overrides), (3, &first.overrides));
        assert_eq!(
            (answer.uid.as_str(), answer.etag.as_str(), answer.update_time),
            ("", "", None)
        );
        assert_eq!(world.get().await.unwrap().version, 2);
        let real = RollbackSettingsRequest {
            validate_only: false,
            ..preview
        };
        let answers = join_all((0..8).map(|_| world.roll_back_as(&world.admin, real.clone()))).await;
        let answers: Vec<Settings> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        world.set(language("it")).await.unwrap();
        assert_eq!(world.roll_back_as(&world.admin, real).await.unwrap(), answers[0]);
        assert_eq!(versions(&world.revisions().await), [4, 3, 2, 1]);
    })
    .await;
}

#[tokio::test]
async fn the_staff_looks_and_admins_go_back() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set(language("de")).await.unwrap();
        let service = Caller::with(world.tokens.service("dashboard"));
        for caller in [&world.member, &service] {
            let status = world.roll_back_as(caller, back_to(0)).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
        }
        let request = service.request(list(""));
        let status = world.settings().list_settings_revisions(request).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
        assert_eq!(world.revisions().await.len(), 1);
        world.roll_back(0).await.unwrap();
    })
    .await;
}

/// Some leaves below this path, each with one of two values or cleared.
fn any_values(random: &mut StdRng, path: &str) -> (SettingsValues, Option<FieldMask>) {
    let mut paths = Vec::new();
    let mut leaf = |leaf: &str| {
        let meant = random.random_bool(0.5);
        if meant {
            paths.push(format!("{path}.{leaf}"));
        }
        (meant && random.random_bool(0.7)).then(|| random.random_bool(0.5))
    };
    let handoff = HandoffValues {
        show_messages: leaf("handoff.show_messages"),
        ..Default::default()
    };
    let values = SettingsValues {
        language: leaf("language").map(|one| if one { "de" } else { "fr" }.to_owned()),
        layout: leaf("layout").map(|one| if one { 1 } else { 2 }),
        canned_responses_enabled: leaf("canned_responses_enabled"),
        free_tags_enabled: leaf("free_tags_enabled"),
        time_zone: leaf("time_zone").map(|one| if one { "Asia/Tokyo" } else { "Europe/Berlin" }.to_owned()),
        pages: leaf("pages").and_then(|one| if one { pages(&[Page::Home]) } else { pages(&[]) }.pages),
        branding: leaf("branding").map(|one| if one { branding() } else { Branding::default() }),
        handoff: Some(handoff),
        ..Default::default()
    };
    (values, (!paths.is_empty()).then_some(FieldMask { paths }))
}

/// The values of each version.
struct History(Vec<Option<SettingsValues>>);

impl History {
    /// A version that a call answered, the newest one: the next, unless nothing has changed.
    fn add(&mut self, version: i64, values: Option<SettingsValues>) {
        if version as usize == self.0.len() {
            self.0.push(values.clone());
        }
        assert_eq!((version as usize, Some(&values)), (self.0.len() - 1, self.0.last()));
    }

    fn any(&self, random: &mut StdRng) -> (i64, &Option<SettingsValues>) {
        let version = random.random_range(0..self.0.len());
        (version as i64, &self.0[version])
    }

    fn is_listed_as(&self, revisions: &[SettingsRevision]) {
        let oldest_first = revisions.iter().rev();
        let listed = oldest_first.map(|revision| (revision.version, &revision.values));
        assert!(listed.eq((1..).zip(&self.0[1..])), "{revisions:?}");
    }
}

/// Of updates and rollbacks, in any order, each rollback gives the values of the version that it names.
#[tokio::test]
async fn the_way_leads_back_to_every_version_of_a_history() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let mut random = seed();
        let world = World::start(engine).await;
        let mut overrides = History(vec![world.get().await.unwrap().overrides]);
        let mut defaults = History(vec![world.get_defaults().await.defaults]);
        for _ in 0..150 {
            let back = random.random_bool(0.4);
            if random.random_bool(0.5) {
                let (version, values) = overrides.any(&mut random);
                let (asked, update_mask) = any_values(&mut random, "overrides");
                let after = if back || update_mask.is_none() {
                    let after = world.roll_back(version).await.unwrap();
                    assert_eq!(after.overrides, *values, "version {version}");
                    after
                } else {
                    let request = UpdateSettingsRequest {
                        update_mask,
                        ..update(asked)
                    };
                    world.update(request).await.unwrap()
                };
                overrides.add(after.version, after.overrides);
            } else {
                let (version, values) = defaults.any(&mut random);
                let (asked, update_mask) = any_values(&mut random, "defaults");
                let after = if back || update_mask.is_none() {
                    let after = world.roll_defaults_back(version).await.unwrap();
                    assert_eq!(after.defaults, *values, "version {version}");
                    after
                } else {
                    let request = UpdateWorkspaceSettingsRequest {
                        update_mask,
                        ..update_defaults(asked)
                    };
                    world.update_defaults(request).await.unwrap()
                };
                defaults.add(after.version, after.defaults);
            }
        }
        overrides.is_listed_as(&world.revisions().await);
        defaults.is_listed_as(&world.default_revisions_page("").await.0);
    }
}

#[tokio::test]
async fn of_rollbacks_and_updates_at_once_none_is_lost() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::start(engine).await;
        world.set(language("fr")).await.unwrap();
        for _ in 0..4 {
            let updates = join_all(leaves().map(|overrides| world.set(overrides)));
            let rollbacks = join_all([0, 1, 1, 0].map(|version| world.roll_back(version)));
            let (updates, rollbacks) = tokio::join!(updates, rollbacks);
            for answer in updates.into_iter().chain(rollbacks) {
                answer.unwrap();
            }
        }
        let mut changes: Vec<(String, Settings, Settings)> = Vec::new();
        for entry in world.entries(BAKERY).await.into_iter().rev() {
            let [change] = &entry.changes[..] else {
                panic!("{entry:?}")
            };
            let side = |any: &Option<Any>| any.as_ref().unwrap().to_msg::<Settings>().unwrap();
            changes.push((entry.method.clone(), side(&change.before), side(&change.after)));
        }
        changes.sort_by_key(|(.., after)| after.version);
        // Each was made of the one before it, and no more of it differs than its call asked for.
        for (at, (method, before, after)) in changes.iter().enumerate() {
            assert_eq!(after.version, at as i64 + 1);
            match at {
                0 => assert_eq!(before.version, 0),
                _ => assert_eq!(*before, changes[at - 1].2),
            }
            let of = |settings: &Settings| settings.overrides.clone().unwrap();
            if method == ROLLBACK {
                let (first, unset) = (of(&changes[0].2), of(&changes[0].1));
                assert!([first, unset].contains(&of(after)), "{after:?}");
            } else {
                let mut asked = leaves().into_iter().chain([language("fr")]);
                assert!(
                    asked.any(|asked| merged(of(before), asked) == of(after)),
                    "{before:?} {after:?}"
                );
            }
        }
        assert_eq!(world.get().await.unwrap().version as usize, changes.len());
    }
}

/// What an update makes of values.
fn merged(mut values: SettingsValues, asked: SettingsValues) -> SettingsValues {
    let handoff = values.handoff.get_or_insert_default();
    let given = asked.handoff.unwrap_or_default();
    handoff.human_enabled = given.human_enabled.or(handoff.human_enabled);
    handoff.smart_enabled = given.smart_enabled.or(handoff.smart_enabled);
    handoff.show_messages = given.show_messages.or(handoff.show_messages);
    SettingsValues {
        language: asked.language.or(values.language),
        layout: asked.layout.or(values.layout),
        canned_responses_enabled: asked.canned_responses_enabled.or(values.canned_responses_enabled),
        pages: asked.pages.or(values.pages),
        custom_tabs: asked.custom_tabs.or(values.custom_tabs),
        free_tags_enabled: asked.free_tags_enabled.or(values.free_tags_enabled),
        time_zone: asked.time_zone.or(values.time_zone),
        branding: asked.branding.or(values.branding),
        ..values
    }
}
