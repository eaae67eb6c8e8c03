//! What is found by what somebody types, and in which order.

use super::{canned, of_team, personal, with};
use crate::{BAKERY, World, coded, refused};
use clientele_testkit::on_both_engines;
use serde_json::{Value, json};
use tonic::Code;

impl World {
    /// Creates canned responses of `bakery`.
    async fn create_all(&self, responses: &[Value]) {
        let request = json!({ "parent": BAKERY, "cannedResponses": responses });
        self.canned(&self.admin, "BatchUpsertCannedResponses", request)
            .await
            .unwrap();
    }
}

fn texts(code: &str, title: &str, text: &str, tags: &[&str]) -> Value {
    with(canned(code), json!({ "title": title, "text": text, "tags": tags }))
}

#[tokio::test]
async fn the_best_comes_first() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world
            .create_all(&[
                texts("hours", "Opening hours", "We are open.", &[]),
                texts("Hours-de", "Öffnungszeiten", "Geöffnet.", &["hours"]),
                texts("after-hours", "Closed", "We are closed.", &[]),
                texts("OFFHOURS", "", "Call us.", &[]),
                texts("price", "Prices", "Ask during the hours of the office.", &[]),
                texts("vat", "VAT", "Included.", &["hours", "Größe"]),
                texts("größe", "Sizes", "S, M, L", &[]),
                texts(
                    "école",
                    "",
                    "Crème brûlée, 50% off_season, 'quoted' \"double\" back\\slash",
                    &[],
                ),
                texts("50%", "", "half", &[]),
                texts("5x", "", "none", &[]),
                texts("東京", "本社", "東京都", &[]),
                texts("zzz", "a b c d e f g h i j", "m", &[]),
            ])
            .await;
        let cases: &[(&str, &[&str])] = &[
            // Short codes that begin so, short codes that have it inside, then all else; each by short code.
            (
                "hours",
                &["hours", "Hours-de", "after-hours", "OFFHOURS", "price", "vat"],
            ),
            (
                "HOURS",
                &["hours", "Hours-de", "after-hours", "OFFHOURS", "price", "vat"],
            ),
            (
                "  hours  ",
                &["hours", "Hours-de", "after-hours", "OFFHOURS", "price", "vat"],
            ),
            (
                "hours\u{b4}",
                &["hours", "Hours-de", "after-hours", "OFFHOURS", "price", "vat"],
            ),
            ("\u{b4}", &[]),
            ("hou", &["hours", "Hours-de", "after-hours", "OFFHOURS", "price", "vat"]),
            ("hours-", &["Hours-de"]),
            ("off", &["OFFHOURS", "école", "Hours-de", "price"]),
            // Each of the words, somewhere.
            ("hours open", &["hours"]),
            ("open hours", &["hours"]),
            ("hours OFFICE the", &["price"]),
            ("hours nowhere", &[]),
            // Case and accents make no difference, wherever they are.
            ("grosse", &["größe", "vat"]),
            ("GRÖSSE", &["größe", "vat"]),
            ("gro\u{308}ße", &["größe", "vat"]),
            ("ecole", &["école"]),
            ("creme BRULEE", &["école"]),
            ("東京", &["東京"]),
            ("本社", &["東京"]),
            // Nothing means anything else than itself.
            ("%", &["50%", "école"]),
            ("50%", &["50%", "école"]),
            ("5_", &[]),
            ("_", &["école"]),
            ("off_", &["école"]),
            ("'quoted'", &["école"]),
            ("\"double\"", &["école"]),
            ("back\\", &["école"]),
            ("'; --", &[]),
            ("*", &[]),
            // Of the words the first ten count.
            ("a b c d e f g h i j", &["zzz"]),
            ("a b c d e f g h i j nowhere", &["zzz"]),
            ("nowhere a b c d e f g h i j", &[]),
        ];
        for (query, expected) in cases {
            assert_eq!(world.searched(&world.member, query).await, *expected, "{query:?}");
        }
        let all = [
            "50%",
            "5x",
            "after-hours",
            "école",
            "größe",
            "hours",
            "Hours-de",
            "OFFHOURS",
            "price",
            "vat",
            "zzz",
            "東京",
        ];
        assert_eq!(world.searched(&world.member, "").await, all);
        // Neither cuts, case nor accents of anything are taken from what is answered.
        let request = json!({ "parent": BAKERY, "query": "ecole" });
        let page = world
            .canned(&world.member, "SearchCannedResponses", request)
            .await
            .unwrap();
        let named = json!({ "name": page["cannedResponses"][0]["name"] });
        let got = world.canned(&world.member, "GetCannedResponse", named).await.unwrap();
        assert_eq!(page["cannedResponses"], json!([got]));
    })
    .await;
}

#[tokio::test]
async fn what_is_typed_has_its_limits() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let long = "ä".repeat(200);
        world.create_all(&[texts("a", "", &format!("x{long}x"), &[])]).await;
        assert_eq!(world.searched(&world.member, &long).await, ["a"]);
        for query in ["ä".repeat(201), "a\u{0}b".into(), "a\nb".into()] {
            let request = json!({ "parent": BAKERY, "query": query });
            let status = world
                .canned(&world.member, "SearchCannedResponses", request)
                .await
                .unwrap_err();
            assert_eq!(super::fields(status), ["query"]);
        }
        // A text that becomes many times as long when its letters are taken apart.
        let expands = "\u{fdfa}".repeat(3_999);
        world.create_all(&[texts("b", "", &format!("{expands}y"), &[])]).await;
        assert_eq!(world.searched(&world.member, "b").await, ["b"]);
    })
    .await;
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended_whatever_changes() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let rows: Vec<Value> = (10..40).map(|at| texts(&format!("c{at}"), "", "word", &[])).collect();
        world.create_all(&rows).await;
        // The same code in several languages.
        let languages =
            ["", "de", "fr"].map(|language| with(texts("same", "", "word", &[]), json!({ "language": language })));
        world.create_all(&languages).await;
        for query in ["", "c", "word", "1"] {
            let mut request = json!({ "parent": BAKERY, "query": query, "pageSize": 500 });
            let whole = world
                .paged(&world.member, "SearchCannedResponses", request.clone())
                .await;
            for size in [1, 7] {
                request["pageSize"] = json!(size);
                assert_eq!(
                    world
                        .paged(&world.member, "SearchCannedResponses", request.clone())
                        .await,
                    whole,
                    "{query}"
                );
            }
        }
        let page = json!({ "parent": BAKERY, "query": "word", "pageSize": 10 });
        let first = world
            .canned(&world.member, "SearchCannedResponses", page.clone())
            .await
            .unwrap();
        let codes = |page: &Value| -> Vec<String> {
            let found = page["cannedResponses"].as_array().unwrap();
            found
                .iter()
                .map(|one| one["shortCode"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(codes(&first), (10..20).map(|at| format!("c{at}")).collect::<Vec<_>>());
        // The last of the page goes, others come before and behind it.
        world
            .delete_canned(&world.admin, &first["cannedResponses"][9]["name"])
            .await
            .unwrap();
        world
            .create_all(&[texts("c0", "", "word", &[]), texts("c19a", "", "word", &[])])
            .await;
        let next = with(page.clone(), json!({ "pageToken": first["nextPageToken"] }));
        let second = world
            .canned(&world.member, "SearchCannedResponses", next)
            .await
            .unwrap();
        let expected: Vec<String> = ["c19a".to_owned()]
            .into_iter()
            .chain((20..29).map(|at| format!("c{at}")))
            .collect();
        assert_eq!(codes(&second), expected);
        for (query, token) in [
            ("other", &first["nextPageToken"]),
            ("word", &json!("AQ")),
            ("word", &json!("%")),
        ] {
            let request = with(page.clone(), json!({ "query": query, "pageToken": token }));
            let status = world
                .canned(&world.member, "SearchCannedResponses", request)
                .await
                .unwrap_err();
            assert_eq!(coded(status), refused(Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
        }
    })
    .await;
}

#[tokio::test]
async fn of_what_a_user_may_not_read_nothing_is_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.offer_canned(true).await;
        let (ann, anns) = world.user(&[]).await;
        let (_, bobs) = world.user(&[]).await;
        world.create_team("sales", &[&ann]).await;
        world.create_all(&[canned("word1"), of_team("word2", "sales")]).await;
        for (caller, code) in [(&anns, "word3"), (&bobs, "word4")] {
            let response = with(personal(code), json!({ "text": "word secret" }));
            world.create_canned(caller, response).await.unwrap();
        }
        for query in ["word", "", "hi"] {
            let own = query != "hi";
            let expected = |codes: &[&str]| {
                codes
                    .iter()
                    .filter(|code| own || !matches!(**code, "word3" | "word4"))
                    .map(|code| (*code).to_owned())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                world.searched(&anns, query).await,
                expected(&["word1", "word2", "word3"])
            );
            assert_eq!(world.searched(&bobs, query).await, expected(&["word1", "word4"]));
            assert_eq!(world.searched(&world.admin, query).await, expected(&["word1", "word2"]));
        }
        assert!(world.searched(&world.admin, "secret").await.is_empty());
    })
    .await;
}
