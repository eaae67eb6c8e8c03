//! Many canned responses at once: created, replaced, or left as they are.

use super::{canned, fields, of_team, personal, with};
use crate::{BAKERY, World, coded, refused};
use clientele_testkit::{Caller, for_random_cases, on_both_engines, reason};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tonic::{Code, Status};
use uuid::Uuid;

impl World {
    /// What became of each.
    async fn upsert(&self, caller: &Caller, rows: &[Value]) -> Result<Vec<(String, Value)>, Status> {
        let request = json!({ "parent": BAKERY, "cannedResponses": rows });
        let answer = self.canned(caller, "BatchUpsertCannedResponses", request).await?;
        let upserted = answer["upserted"].as_array().unwrap().iter();
        let outcome = |one: &Value| one["outcome"].as_str().unwrap().replace("OUTCOME_", "");
        Ok(upserted.map(|one| (outcome(one), one["name"].clone())).collect())
    }
}

fn outcomes(upserted: &[(String, Value)]) -> Vec<&str> {
    upserted.iter().map(|(outcome, _)| outcome.as_str()).collect()
}

#[tokio::test]
async fn each_is_created_or_replaced_or_left_as_it_is() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (ann, anns) = world.user(&["org-admin"]).await;
        world.create_team("sales", &[&ann]).await;
        let full = json!({ "title": "T", "tags": ["x"], "text": "{{a}}", "name": "ignored", "etag": "ignored" });
        let rows = [
            with(canned("a"), full),
            with(canned("a"), json!({ "language": "ger" })),
            of_team("a", "sales"),
            personal("a"),
        ];
        let created = world.upsert(&anns, &rows).await.unwrap();
        assert_eq!(outcomes(&created), ["CREATED"; 4]);
        let before = world.get_canned(&anns, &created[0].1).await.unwrap();
        assert_eq!((&before["variables"], &before["version"]), (&json!(["a"]), &json!("1")));
        assert_eq!(
            world.upsert(&anns, &rows).await.unwrap(),
            created
                .iter()
                .map(|(_, name)| ("UNCHANGED".to_owned(), name.clone()))
                .collect::<Vec<_>>()
        );
        // In the order of the request; each says all of its own.
        let again = world
            .upsert(&anns, &[personal("b"), rows[2].clone(), canned("A")])
            .await
            .unwrap();
        assert_eq!(outcomes(&again), ["CREATED", "UNCHANGED", "UPDATED"]);
        assert_eq!((&again[1].1, &again[2].1), (&created[2].1, &created[0].1));
        let after = world.get_canned(&anns, &created[0].1).await.unwrap();
        let expected =
            json!({ "shortCode": "A", "text": "Hi.", "title": "", "tags": [], "variables": [], "version": "2" });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(after[field], *value, "{field}");
        }
        assert_eq!(
            (&after["createTime"], &after["uid"]),
            (&before["createTime"], &before["uid"])
        );
        assert_eq!(world.get_canned(&anns, &created[1].1).await.unwrap()["version"], "1");
        // Of what somebody else keeps for itself nothing is replaced.
        let (_, bobs) = world.user(&[]).await;
        assert_eq!(
            outcomes(&world.upsert(&bobs, &[personal("a")]).await.unwrap()),
            ["CREATED"]
        );
        let status = world.upsert(&bobs, &[personal("c"), canned("c")]).await.unwrap_err();
        assert_eq!(coded(status), refused(Code::PermissionDenied, "PERMISSION_MISSING"));
        assert_eq!(world.listed(&bobs, "scope = PERSONAL").await, ["a"]);
    })
    .await;
}

#[tokio::test]
async fn one_that_breaks_a_rule_keeps_all_from_being_written() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut sales = world.create_team("sales", &[]).await;
        let bad = [
            canned("a"),
            with(canned("b c"), json!({ "text": "{{" })),
            canned("d"),
            with(canned("e"), json!({ "scope": "SCOPE_PERSONAL" })),
            with(canned("f"), json!({ "scope": "SCOPE_TEAM" })),
            with(canned("g"), json!({ "language": "xx", "tags": [""] })),
            canned("A"),
            of_team("a", "sales"),
            of_team("A", "sales"),
        ];
        let status = world.upsert(&world.admin, &bad).await.unwrap_err();
        assert_eq!(
            fields(status),
            [
                "canned_responses[1].short_code",
                "canned_responses[1].text",
                "canned_responses[3].scope",
                "canned_responses[4].team",
                "canned_responses[5].language",
                "canned_responses[5].tags",
                "canned_responses[6].short_code",
                "canned_responses[8].short_code",
            ]
        );
        // Two names of the same team.
        sales.rename("first_line");
        world.hear().await;
        let status = world
            .upsert(&world.admin, &[of_team("a", "sales"), of_team("a", "first_line")])
            .await
            .unwrap_err();
        assert_eq!(fields(status), ["canned_responses[1].short_code"]);
        let status = world
            .upsert(&world.admin, &[canned("a"), of_team("a", "nobody")])
            .await
            .unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        // However many break one, what is answered can be received.
        let many: Vec<Value> = (0..500)
            .map(|at| with(canned(&format!("c{at}")), json!({ "text": "" })))
            .collect();
        assert_eq!(fields(world.upsert(&world.admin, &many).await.unwrap_err()).len(), 16);
        let of_teams: Vec<Value> = (0..21).map(|at| of_team("a", &format!("t{at}"))).collect();
        let too_much: Vec<Value> = (0..270)
            .map(|at| with(canned(&format!("c{at}")), json!({ "text": "x".repeat(4_000) })))
            .collect();
        let too_many: Vec<Value> = (0..501).map(|at| canned(&format!("c{at}"))).collect();
        for rows in [&[][..], &too_many, &too_much, &of_teams] {
            assert_eq!(
                fields(world.upsert(&world.admin, rows).await.unwrap_err()),
                ["canned_responses"]
            );
        }
        assert!(world.listed(&world.member, "").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn as_many_as_may_be_are_written_in_time() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let of = |letter: &str| -> Vec<Value> {
            (0..500)
                .map(|at| with(canned(&format!("code-{at}")), json!({ "text": letter.repeat(1_900) })))
                .collect()
        };
        for (rows, outcome) in [(of("x"), "CREATED"), (of("y"), "UPDATED"), (of("y"), "UNCHANGED")] {
            let upserted = world.upsert(&world.admin, &rows).await.unwrap();
            assert_eq!(outcomes(&upserted), [outcome; 500]);
        }
        // Letters that are taken apart to be found.
        let expanding: Vec<Value> = (0..80)
            .map(|at| {
                with(
                    canned(&format!("wide-{at}")),
                    json!({ "text": "\u{fdfa}".repeat(4_000) }),
                )
            })
            .collect();
        assert_eq!(
            outcomes(&world.upsert(&world.admin, &expanding).await.unwrap()),
            ["CREATED"; 80]
        );
    })
    .await;
}

#[tokio::test]
async fn a_trial_changes_nothing_and_a_repetition_is_answered_as_before() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.upsert(&world.admin, &[canned("a")]).await.unwrap();
        let rows = [canned("a"), with(canned("b"), json!({ "title": "T" }))];
        let request = json!({ "parent": BAKERY, "cannedResponses": rows, "requestId": Uuid::new_v4().to_string() });
        let trial = with(request.clone(), json!({ "validateOnly": true }));
        let answer = world
            .canned(&world.admin, "BatchUpsertCannedResponses", trial)
            .await
            .unwrap();
        assert_eq!(answer["upserted"][0]["outcome"], "OUTCOME_UNCHANGED");
        assert_eq!(
            answer["upserted"][1],
            json!({ "name": "", "outcome": "OUTCOME_CREATED" })
        );
        assert_eq!(world.listed(&world.member, "").await, ["a"]);
        let first = world
            .canned(&world.admin, "BatchUpsertCannedResponses", request.clone())
            .await
            .unwrap();
        world
            .delete_canned(&world.admin, &first["upserted"][1]["name"])
            .await
            .unwrap();
        let again = world
            .canned(&world.admin, "BatchUpsertCannedResponses", request)
            .await
            .unwrap();
        assert_eq!(
            (again, world.listed(&world.member, "").await),
            (first, vec!["a".to_owned()])
        );
    })
    .await;
}

/// A row: whose it is, its short code, its language, and what it says.
type Row = (usize, usize, usize, usize);

const CODES: [&str; 3] = ["a", "A", "b"];
const LANGUAGES: [&str; 2] = ["", "de"];

#[derive(Debug, Clone)]
enum Op {
    Upsert(Vec<Row>),
    /// One of those that there are.
    Delete(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let row = || (0..4_usize, 0..CODES.len(), 0..LANGUAGES.len(), 0..2_usize);
    let op = prop_oneof![
        5 => vec(row(), 1..5).prop_map(Op::Upsert),
        1 => (0..8_usize).prop_map(Op::Delete),
    ];
    vec(op, 1..12)
}

fn row((whose, code, language, says): Row) -> Value {
    let response = match whose {
        0 => canned(CODES[code]),
        1 => of_team(CODES[code], "sales"),
        2 => of_team(CODES[code], "night"),
        _ => personal(CODES[code]),
    };
    with(
        response,
        json!({ "language": LANGUAGES[language], "title": says.to_string() }),
    )
}

/// Whose, the code in lower case, the language.
type Key = (usize, String, usize);

fn key((whose, code, language, _): Row) -> Key {
    (whose, CODES[code].to_lowercase(), language)
}

/// What there should be: as it was said last, and how often it changed.
type Model = BTreeMap<Key, (Row, i64)>;

/// What should become of a batch. None: it says the same one twice.
fn expected(model: &mut Model, rows: &[Row]) -> Option<Vec<&'static str>> {
    let repeats = (0..rows.len()).any(|at| rows[..at].iter().any(|other| key(*other) == key(rows[at])));
    if repeats {
        return None;
    }
    let outcome = |row: &Row| match model.get_mut(&key(*row)) {
        None => {
            model.insert(key(*row), (*row, 1));
            "CREATED"
        }
        Some((present, _)) if present == row => "UNCHANGED",
        Some((present, version)) => {
            *present = *row;
            *version += 1;
            "UPDATED"
        }
    };
    Some(rows.iter().map(outcome).collect())
}

async fn run(world: &World, caller: &Caller, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let before = world
        .canned(caller, "ListCannedResponses", json!({ "parent": BAKERY }))
        .await;
    for left in before.unwrap()["cannedResponses"].as_array().unwrap() {
        world.delete_canned(caller, &left["name"]).await.unwrap();
    }
    let mut model = Model::new();
    let mut names: BTreeMap<Key, Value> = BTreeMap::new();
    for op in ops {
        match op {
            Op::Upsert(rows) => {
                let sent: Vec<Value> = rows.iter().copied().map(row).collect();
                let outcome = world.upsert(caller, &sent).await;
                match (expected(&mut model, &rows), outcome) {
                    (None, Err(status)) => prop_assert_eq!(reason(&status), "INVALID_FIELDS"),
                    (Some(expected), Ok(upserted)) => {
                        prop_assert_eq!(outcomes(&upserted), expected);
                        for (row, (_, name)) in rows.into_iter().zip(upserted) {
                            let known = names.entry(key(row)).or_insert(name.clone());
                            prop_assert_eq!(&*known, &name);
                        }
                    }
                    (expected, outcome) => prop_assert!(false, "expected {expected:?}: {outcome:?}"),
                }
            }
            Op::Delete(at) => {
                let Some(key) = model.keys().nth(at).cloned() else {
                    continue;
                };
                let deleted = world.delete_canned(caller, &names[&key]).await;
                prop_assert!(deleted.is_ok(), "{deleted:?}");
                model.remove(&key);
                names.remove(&key);
            }
        }
        let page = world
            .canned(caller, "ListCannedResponses", json!({ "parent": BAKERY }))
            .await
            .unwrap();
        let mut present: Vec<String> = page["cannedResponses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                format!(
                    "{} {} {} {} {}",
                    one["name"], one["shortCode"], one["language"], one["title"], one["version"]
                )
            })
            .collect();
        let mut expected: Vec<String> = model
            .iter()
            .map(|(key, (said, version))| {
                let said = row(*said);
                format!(
                    "{} {} {} {} \"{version}\"",
                    names[key], said["shortCode"], said["language"], said["title"]
                )
            })
            .collect();
        present.sort();
        expected.sort();
        prop_assert_eq!(present, expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_upserted_there_is_what_the_model_says() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (_, managers) = world.user(&["org-admin"]).await;
        world.create_team("sales", &[]).await;
        world.create_team("night", &[]).await;
        for_random_cases(40, &ops(), |_, ops| run(&world, &managers, ops));
    })
    .await;
}
