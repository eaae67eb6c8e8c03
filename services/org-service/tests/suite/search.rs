//! The search: what is found by what, in which order, and from which index.

use crate::{World, create, named};
use clientele_api::org::Organization;
use clientele_testkit::{Engine, on_both_engines, reason};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tonic::{Code, Status};

impl World {
    /// The ids of what a search finds, page by page, in its order.
    async fn search(&self, request: Value) -> Vec<String> {
        self.try_search(request.clone())
            .await
            .unwrap_or_else(|status| panic!("{request}: {status:?}"))
    }

    async fn try_search(&self, mut request: Value) -> Result<Vec<String>, Status> {
        request["parent"] = json!("workspaces/acme");
        let mut ids = Vec::new();
        loop {
            let method = "OrganizationService/SearchOrganizations";
            let page = self.call(&self.member, method, request.clone()).await?;
            let organizations = page["organizations"].as_array().unwrap();
            let names = organizations.iter().map(|one| one["name"].as_str().unwrap());
            ids.extend(names.map(|name| name.rsplit('/').next().unwrap().to_owned()));
            request["pageToken"] = page["nextPageToken"].clone();
            if request["pageToken"] == "" {
                return Ok(ids);
            }
        }
    }

    async fn finds(&self, query: &str) -> Vec<String> {
        self.search(json!({ "query": query })).await
    }

    async fn create_known(&self, id: &str, title: &str, external_id: &str, email: &str) {
        let organization = Organization {
            external_id: Some(external_id.to_owned()),
            contact_email: Some(email.to_owned()),
            ..named(title)
        };
        self.organizations()
            .create_organization(self.admin.request(create(id, organization)))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn organizations_are_found_by_each_field_in_every_way() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world
            .create_known(
                "bakery-north",
                "Bäckerei Groß & Söhne",
                "K-4711",
                "kontakt@brot.example",
            )
            .await;
        world.create_known("mill", "The old Mühle", "", "").await;
        for query in [
            // The display name: whole, its beginning, words, their beginnings and middles, in any order.
            "Bäckerei Groß & Söhne",
            "backerei gross sohne",
            "BÄCKEREI",
            "bäck",
            "söhne",
            "groß",
            "gross",
            "kerei",
            "oss erei",
            "söhne bäck",
            "b",
            "ba",
            "g",
            "gr b",
            // The id, the external id, the email.
            "bakery-north",
            "north",
            "akery",
            "k-4711",
            "4711",
            "K 47",
            "711",
            "kontakt@brot.example",
            "@brot",
            "ontak",
            // Of several fields at once.
            "gross 4711 brot north",
            // A wrong, a missing, an extra letter, and two that changed places.
            "bäckerai",
            "bäckeri",
            "bäckereii",
            "bäckeire",
            "abckerei",
            "gros s",
            "sohme",
            "sohn",
            "shne",
            "soohne",
            "oshne",
            "nroth",
            "kontkat",
            "gross bäckrei",
            "baeckerei",
            // Two in a long word.
            "backreii",
        ] {
            assert_eq!(world.finds(query).await, ["bakery-north"], "{query}");
        }
        for query in [
            // Short words only at the beginning of words.
            "ac",
            "r",
            "ss",
            // Too far off, or one word that is nowhere.
            "sxhxe",
            "bäckerei west",
            "4712",
            "k-4811",
            "nxrth sxhne",
        ] {
            assert_eq!(world.finds(query).await, [""; 0], "{query}");
        }
        assert_eq!(world.finds("MUHLE").await, ["mill"]);
        assert_eq!(world.finds("e").await, ["bakery-north"]);
    })
    .await;
}

#[tokio::test]
async fn the_best_come_first_the_same_on_both_engines() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (id, title, external_id, email) in [
            ("h-typo", "Nrth", "", ""),
            ("g-inside", "Farnorthern", "", ""),
            ("f-word", "Old Northern", "", ""),
            ("e-prefix", "Northern", "", ""),
            ("d-title", "North", "", ""),
            ("c-title", "NORTH", "", ""),
            ("b-external", "Zebra", "north", ""),
            ("north", "Yak", "", ""),
            ("i-none", "South", "", "nobody@example.com"),
        ] {
            world.create_known(id, title, external_id, email).await;
        }
        let best = [
            "north",
            "b-external",
            "c-title",
            "d-title",
            "e-prefix",
            "f-word",
            "g-inside",
            "h-typo",
        ];
        assert_eq!(world.finds("north").await, best);
        assert_eq!(world.finds("nobody@example.com").await, ["i-none"]);
        // Page by page, each once.
        for size in 1..=8 {
            let request = json!({ "query": "north", "pageSize": size });
            assert_eq!(world.search(request).await, best, "{size}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_what_is_there_now_in_this_workspace_is_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_workspace("globex").await;
        let elsewhere = json!({ "parent": "workspaces/globex", "organizationId": "bakery", "organization": { "displayName": "Bakery" } });
        let method = "OrganizationService/CreateOrganization";
        world.call(&world.operator, method, elsewhere).await.unwrap();
        let all = async |query: &str| world.search(json!({ "query": query, "showDeleted": true })).await;
        for query in ["bakery", "bak", "ba", "b", "bakrey"] {
            assert_eq!(all(query).await, [""; 0], "{query}");
        }
        world.create_known("mine", "Bakery", "K-1", "a@b.example").await;
        let update = async |organization: Value| {
            let name = json!({ "name": "workspaces/acme/organizations/mine" });
            let mut request = json!({ "organization": organization, "updateMask": "displayName,externalId,contactEmail" });
            request["organization"]["name"] = name["name"].clone();
            world.done("OrganizationService/UpdateOrganization", request).await
        };
        assert_eq!(world.finds("bakery").await, ["mine"]);
        update(json!({ "displayName": "Butcher", "externalId": "K-2" })).await;
        for gone in ["bakery", "k-1", "a@b.example", "bakrey", "ba"] {
            assert_eq!(all(gone).await, [""; 0], "{gone}");
        }
        for now in ["butcher", "k-2", "bucther", "bu"] {
            assert_eq!(world.finds(now).await, ["mine"], "{now}");
        }
        let name = json!({ "name": "workspaces/acme/organizations/mine" });
        let call = async |verb: &str| {
            let method = format!("OrganizationService/{verb}Organization");
            world.call(&world.owner, &method, name.clone()).await.unwrap()
        };
        call("Delete").await;
        assert_eq!(world.finds("butcher").await, [""; 0]);
        assert_eq!(all("butcher").await, ["mine"]);
        call("Undelete").await;
        assert_eq!(world.finds("butcher").await, ["mine"]);
    })
    .await;
}

#[tokio::test]
async fn nothing_that_is_typed_means_anything_special() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_known("plain", "Plain", "", "").await;
        world
            .create_known("strange", "100%_\"Quoted\" 'AND' {1,2} x*", "", "")
            .await;
        let long = "ab ".repeat(66) + "ab";
        let words = "bakery ".repeat(28);
        for nothing in [
            "%",
            "_",
            "*",
            "\"",
            "'",
            "AND",
            "OR",
            "NOT",
            "NEAR(plain)",
            "plain*strange",
            "plain OR strange",
            "plain%strange",
            "$3",
            "?",
            "{}",
            "{3}",
            ":",
            "\\",
            "';--",
            "(",
            "plain AND strange",
            "search_keys:plain",
            "- +",
            "🍞",
            "ñ̈̈̈",
            &"x".repeat(200),
            &"plain".repeat(40),
            &long,
            &words,
            &"%".repeat(200),
            &"東".repeat(200),
            "plain\u{200b}strange",
        ] {
            let found = world.finds(nothing).await;
            let strange = nothing.trim() == "AND";
            assert_eq!(found, if strange { vec!["strange"] } else { vec![] }, "{nothing:?}");
        }
        for query in [
            "%plain%",
            "\"plain\"",
            "*plain*",
            "plain'",
            "(plain)",
            "PLAIN)",
            " plain\u{3000}",
        ] {
            assert_eq!(world.finds(query).await, ["plain"], "{query:?}");
        }
        for query in ["100%", "_\"quoted", "'and'", "{1,2}", "x*"] {
            assert_eq!(world.finds(query).await, ["strange"], "{query:?}");
        }
        let tokens = ["x", "%", &"A".repeat(4000)];
        for (request, field) in [
            (json!({ "query": "" }), Some("query")),
            (json!({ "query": " \t " }), Some("query")),
            (json!({ "query": "a\u{0}b" }), Some("query")),
            (json!({ "query": "a\nb" }), Some("query")),
            (json!({ "query": "x".repeat(201) }), Some("query")),
            (json!({ "query": "x", "pageSize": -1 }), Some("page_size")),
            (json!({ "query": "x", "pageToken": tokens[0] }), None),
            (json!({ "query": "x", "pageToken": tokens[1] }), None),
            (json!({ "query": "x", "pageToken": tokens[2] }), None),
        ] {
            let status = world.try_search(request.clone()).await.unwrap_err();
            let why = if field.is_some() {
                "INVALID_FIELDS"
            } else {
                "PAGE_TOKEN_INVALID"
            };
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, why),
                "{request}"
            );
            if let Some(field) = field {
                let violations = tonic_types::StatusExt::get_details_bad_request(&status)
                    .unwrap()
                    .field_violations;
                assert_eq!(violations[0].field, field, "{request}");
            }
        }
    })
    .await;
}
