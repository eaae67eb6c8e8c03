//! The conventions that every method keeps: request ids, previews, revisions.

use crate::{ACME, BAKERY, World, coded, handoff, language, mask, refused, source, update, update_defaults};
use clientele_api::access::StaffRole;
use clientele_api::journal::ListEntriesRequest;
use clientele_api::settings::field_source::Source;
use clientele_api::settings::{
    GetSettingsRequest, GetWorkspaceSettingsRequest, UpdateSettingsRequest, UpdateWorkspaceSettingsRequest,
};
use clientele_testkit::{Caller, on_both_engines};
use futures::future::join_all;
use tonic::Code;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

impl World {
    async fn journal_rows(&self) -> usize {
        let request = ListEntriesRequest {
            parent: ACME.into(),
            page_size: 500,
            ..Default::default()
        };
        let page = self.journal().list_entries(self.member.request(request)).await.unwrap();
        page.into_inner().entries.len()
    }
}

fn revision(headers: &MetadataMap) -> String {
    headers.get("clientele-revision").unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_id_gives_the_first_answer_also_at_the_same_moment() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let request = UpdateSettingsRequest {
            request_id: Uuid::new_v4().to_string(),
            ..update(language("de"))
        };
        let answers = join_all((0..8).map(|_| world.update(request.clone()))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!((answers[0].version, world.journal_rows().await), (1, 1));
        let another = UpdateSettingsRequest {
            request_id: request.request_id.clone(),
            ..update(language("fr"))
        };
        let status = world.update(another).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "REQUEST_ID_REUSED"));
        let malformed = UpdateSettingsRequest {
            request_id: "once".into(),
            ..request
        };
        let status = world.update(malformed).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "INVALID_FIELDS"));
    })
    .await;
}

#[tokio::test]
async fn a_repetition_is_answered_as_it_was_whatever_holds_by_now() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set_defaults(handoff(Some(true), None)).await.unwrap();
        let request = UpdateSettingsRequest {
            request_id: Uuid::new_v4().to_string(),
            ..update(handoff(None, Some(true)))
        };
        let first = world.update(request.clone()).await.unwrap();
        assert_eq!(
            first.effective.as_ref().unwrap().handoff.unwrap().smart_enabled,
            Some(true)
        );
        world.set_defaults(handoff(Some(false), None)).await.unwrap();
        world.set(language("de")).await.unwrap();
        assert_eq!(world.update(request.clone()).await.unwrap(), first);
        let present = world.get().await.unwrap();
        assert_eq!(source(&present, "handoff.smart_enabled"), Source::Dependency);
        // Also where the call itself would now be refused.
        let deleted = clientele_api::org::organization::State::Deleted;
        world.change(&world.bakery, |bakery| bakery.set_state(deleted)).await;
        assert_eq!(world.update(request).await.unwrap(), first);
        assert_eq!(world.get().await.unwrap(), present);
    })
    .await;
}

#[tokio::test]
async fn a_stranger_learns_nothing_of_a_request_id() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let request = UpdateSettingsRequest {
            request_id: Uuid::new_v4().to_string(),
            ..update(language("de"))
        };
        world.update(request.clone()).await.unwrap();
        let stranger = Caller::with(world.tokens.staff("globex", StaffRole::Owner));
        let status = world
            .settings()
            .update_settings(stranger.request(request))
            .await
            .unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
    })
    .await;
}

#[tokio::test]
async fn validation_runs_everything_and_keeps_nothing() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let preview = UpdateSettingsRequest {
            request_id: Uuid::new_v4().to_string(),
            validate_only: true,
            ..update(language("de"))
        };
        let answer = world.update(preview.clone()).await.unwrap();
        assert_eq!(
            (answer.version, answer.effective.as_ref().unwrap().language()),
            (1, "de")
        );
        assert_eq!((answer.uid.as_str(), answer.etag.as_str()), ("", ""));
        assert_eq!((answer.create_time, answer.update_time), (None, None));
        let defaults = UpdateWorkspaceSettingsRequest {
            validate_only: true,
            ..update_defaults(language("fr"))
        };
        let answer = world.update_defaults(defaults).await.unwrap();
        assert_eq!((answer.version, answer.uid.as_str(), answer.update_time), (1, "", None));
        let conflict = UpdateSettingsRequest {
            validate_only: true,
            ..update(handoff(None, Some(true)))
        };
        let status = world.update(conflict).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::FailedPrecondition, "SETTINGS_CONFLICT"));
        assert_eq!(
            (world.get().await.unwrap().version, world.get_defaults().await.version),
            (0, 0)
        );
        assert_eq!(world.journal_rows().await, 0);
        // It remembered no request id; later versions are previewed too.
        let real = UpdateSettingsRequest {
            validate_only: false,
            ..preview
        };
        let first = world.update(real).await.unwrap();
        let clear = UpdateSettingsRequest {
            update_mask: mask(&["*"]),
            validate_only: true,
            ..update(Default::default())
        };
        assert_eq!(world.update(clear).await.unwrap().version, 2);
        assert_eq!(world.get().await.unwrap(), first);
    })
    .await;
}

#[tokio::test]
async fn answers_tell_how_new_they_are_in_both_journals() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let number = |revision: &str| revision.rsplit('.').next().unwrap().parse::<i64>().unwrap();
        let read = async || {
            let settings = GetSettingsRequest {
                name: format!("{BAKERY}/settings"),
            };
            let defaults = GetWorkspaceSettingsRequest {
                name: format!("{ACME}/settings"),
            };
            [
                revision(
                    world
                        .settings()
                        .get_settings(world.member.request(settings))
                        .await
                        .unwrap()
                        .metadata(),
                ),
                revision(
                    world
                        .settings()
                        .get_workspace_settings(world.member.request(defaults))
                        .await
                        .unwrap()
                        .metadata(),
                ),
            ]
        };
        let mut written = "settings=1.0".to_owned();
        // Without rows, and then with them.
        for code in ["de", "fr"] {
            for read in read().await {
                let (org, own) = read.split_once(',').unwrap();
                assert_eq!(org, world.feed.revision());
                assert!(
                    own.starts_with("settings=1.") && number(own) >= number(&written),
                    "{read} after {written}"
                );
            }
            world.set(language(code)).await.unwrap();
            let defaults = world
                .settings()
                .update_workspace_settings(world.admin.request(update_defaults(language(code))))
                .await
                .unwrap();
            written = revision(defaults.metadata());
            assert!(written.starts_with("settings=1."), "{written}");
        }
        let get = async |min: &str| {
            let caller = Caller {
                min_revision: Some(min.to_owned()),
                ..world.member.clone()
            };
            let request = GetSettingsRequest {
                name: format!("{BAKERY}/settings"),
            };
            world.settings().get_settings(caller.request(request)).await
        };
        assert!(get(&written).await.is_ok());
        // Of a service that is not followed: ignored. Of a later life of this database: not yet. Garbage: refused.
        assert!(get("billing=9.999999").await.is_ok());
        let status = get("settings=2.1").await.unwrap_err();
        assert_eq!(coded(status), refused(Code::Unavailable, "NOT_CAUGHT_UP"));
        let status = get("settings").await.unwrap_err();
        assert_eq!(coded(status), refused(Code::InvalidArgument, "INVALID_HEADER"));
    })
    .await;
}
