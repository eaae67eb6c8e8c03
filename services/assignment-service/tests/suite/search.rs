//! The search of agents: what is found by what, in which order, by which filters, from which index.

mod corpus;
mod plans;

use crate::{ACME, BAKERY, World, coded, refused, texts, titled};
use assignment_service::migrations::Migrator;
use clientele_api::Uid;
use clientele_api::assignment::agent::State;
use clientele_api::assignment::{
    Agent, CheckAccessRequest, CreateAgentRequest, SearchAgentsRequest, SearchAgentsResponse,
};
use clientele_api::org;
use clientele_store::search::{Fit, MOST, Query, Text};
use clientele_testkit::{ClientUser, Database, Engine, mistyped, on_both_engines, seed};
use corpus::{Corpus, corpus, count_every_agent, facets, ids, look_at_every_agent};
use rand::Rng;
use rand::rngs::StdRng;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use sea_orm_migration::MigratorTrait;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use tonic::{Code, Response, Status};

const GOLDEN: &str = include_str!("search/golden.txt");
/// How many of what is found the golden results list.
const LISTED: usize = 12;

/// A search for what was typed.
fn typed(query: &str) -> SearchAgentsRequest {
    SearchAgentsRequest {
        parent: ACME.into(),
        query: query.into(),
        ..Default::default()
    }
}

impl World {
    async fn search(&self, request: SearchAgentsRequest) -> Result<SearchAgentsResponse, Status> {
        let answer = self.agents().search_agents(self.member.request(request)).await;
        answer.map(Response::into_inner)
    }

    /// The ids of everything that is found, page by page, in its order.
    async fn search_all(&self, mut request: SearchAgentsRequest) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let page = self.search(request.clone()).await;
            let page = page.unwrap_or_else(|status| panic!("{request:?}: {status:?}"));
            found.extend(ids(&page.agents));
            if page.next_page_token.is_empty() {
                return found;
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn finds(&self, query: &str) -> Vec<String> {
        self.search_all(SearchAgentsRequest {
            page_size: 500,
            ..typed(query)
        })
        .await
    }

    /// Enters the agent `theirs` in the workspace `globex`.
    async fn create_theirs(&self, title: &str) {
        let request = CreateAgentRequest {
            parent: "workspaces/globex".into(),
            agent_id: "theirs".into(),
            agent: Some(titled(title)),
            ..Default::default()
        };
        self.agents().create_agent(self.service.request(request)).await.unwrap();
    }

    async fn connection(&self) -> DatabaseConnection {
        sea_orm::Database::connect(&self.database.url).await.unwrap()
    }
}

/// What was typed, how many are found, and the first of them. Written anew where `GOLDEN` is set: look at what changes.
#[tokio::test]
async fn the_results_of_the_corpus_are_as_written_down() {
    let (sqlite, postgres) = tokio::join!(World::with_corpus(Engine::Sqlite), World::with_corpus(Engine::Postgres));
    let mut results = String::new();
    for line in GOLDEN.lines() {
        let query = line.split('\t').next().unwrap();
        if query.starts_with('#') || query.is_empty() {
            writeln!(results, "{line}").unwrap();
            continue;
        }
        let found = sqlite.finds(query).await;
        assert_eq!(found, postgres.finds(query).await, "{query}");
        let first = &found[..found.len().min(LISTED)];
        writeln!(results, "{query}\t{}\t{}", found.len(), first.join(" ")).unwrap();
    }
    if std::env::var_os("GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/search/golden.txt");
        std::fs::write(path, &results).unwrap();
    }
    for (line, expected) in results.lines().zip(GOLDEN.lines()) {
        assert_eq!(line, expected);
    }
}

/// What somebody types who means this agent: all or parts of some of its words, often with a typo.
fn mistype(random: &mut StdRng, agent: &Agent) -> String {
    let meant = match random.random_range(0..6) {
        0 => agent.description(),
        1 => &agent.tags[0],
        _ => agent.title(),
    };
    mistyped(random, meant)
}

/// Where an agent stands, as the kit judges it.
fn place<'a>(query: &Query, corpus: &'a Corpus, id: &'a str) -> (Option<Fit>, &'a str) {
    let agent = &corpus[id];
    let text = Text {
        uid: Uid::NIL,
        title: agent.title(),
        ids: vec![id],
        others: agent.tags.iter().map(String::as_str).collect(),
        prose: Some(agent.description()),
    };
    (query.fit(&text), agent.title())
}

#[tokio::test]
async fn whoever_looks_at_every_agent_finds_the_same() {
    let random = &mut seed();
    let (sqlite, postgres) = tokio::join!(World::with_corpus(Engine::Sqlite), World::with_corpus(Engine::Postgres));
    let corpus = corpus();
    let all: Vec<&Agent> = corpus.values().collect();
    let mut mistyped = 0;
    for _ in 0..200 {
        let meant = all[random.random_range(0..all.len())];
        let query = mistype(random, meant);
        let Some(parsed) = Query::new(Uid::NIL, &query) else {
            continue;
        };
        let request = SearchAgentsRequest {
            page_size: 500,
            ..typed(&query)
        };
        let (first, second) = tokio::join!(sqlite.search(request.clone()), postgres.search(request));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(
            (facets(&first), first.truncated),
            (facets(&second), second.truncated),
            "{query:?}"
        );
        let found = sqlite.finds(&query).await;
        assert_eq!(found, postgres.finds(&query).await, "{query:?}");
        assert!(
            found.is_sorted_by_key(|id| place(&parsed, &corpus, id)),
            "{query:?}: {found:?}"
        );

        let expected = look_at_every_agent(&corpus, &query);
        let once: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!(once.len(), found.len(), "{query:?} finds some twice");
        if expected.fit.len() > MOST {
            assert!(
                first.truncated && found.len() == MOST && once.is_subset(&expected.fit),
                "{query:?}"
            );
            continue;
        }
        assert!(once.is_superset(&expected.fit), "{query:?} misses some");
        let more: BTreeSet<String> = once.difference(&expected.fit).cloned().collect();
        if expected.fit.len() >= 50 {
            assert_eq!(more, BTreeSet::new(), "{query:?} needs no typos");
        } else {
            assert!(more.is_superset(&expected.near), "{query:?} forgives too little");
            assert!(
                more.is_subset(&expected.meant),
                "{query:?} finds {:?}",
                more.difference(&expected.meant)
            );
            mistyped += usize::from(!more.is_empty());
        }
        let counted = count_every_agent(found.iter().map(|id| &corpus[id]));
        assert_eq!(facets(&first), counted, "{query:?}");
    }
    assert!(mistyped > 10, "only {mistyped} queries had a typo");
}

#[tokio::test]
async fn facets_and_filters_are_those_of_whoever_looks_at_every_agent() {
    on_both_engines(async |engine| {
        let world = World::with_corpus(engine).await;
        let corpus = corpus();
        for (query, filter, meets) in [
            (
                "vip",
                "state = DEPLOYED",
                (|agent: &Agent| agent.state() == State::Deployed) as fn(&Agent) -> bool,
            ),
            ("vip", "state = ARCHIVED", |agent| agent.state() == State::Archived),
            ("beta", r#"platform = "native""#, |agent| agent.platform() == "native"),
            ("beta", r#"platform = """#, |agent| agent.platform().is_empty()),
            ("bak", r#"tag = "vip""#, |agent| agent.tags.contains(&"vip".to_owned())),
            ("mül", r#"tag = "Außendienst" AND state = DRAFT"#, |agent| {
                agent.tags.contains(&"Außendienst".to_owned()) && agent.state() == State::Draft
            }),
            ("", r#"tag = "24/7""#, |agent| agent.tags.contains(&"24/7".to_owned())),
            ("", r#"tag = "vip" AND tag = "beta""#, |agent| {
                agent.tags.contains(&"vip".to_owned()) && agent.tags.contains(&"beta".to_owned())
            }),
            ("", r#"platform = "botpress" AND state = DISABLED"#, |agent| {
                agent.platform() == "botpress" && agent.state() == State::Disabled
            }),
            // Letter by letter: it is no search.
            ("", r#"tag = "VIP""#, |_| false),
            ("", r#"tag = "v%""#, |_| false),
            ("", "state = DRAFT AND state = DEPLOYED", |_| false),
        ] {
            let expected = look_at_every_agent(&corpus, query).fit;
            let expected: BTreeSet<String> = expected.into_iter().filter(|id| meets(&corpus[id])).collect();
            let counted = count_every_agent(expected.iter().map(|id| &corpus[id]));
            let request = SearchAgentsRequest {
                filter: filter.into(),
                page_size: 7,
                ..typed(query)
            };
            let page = world.search(request.clone()).await.unwrap();
            assert_eq!(facets(&page), counted, "{query:?} {filter}");
            assert!(!page.truncated, "{query:?} {filter}");
            let found = world.search_all(request.clone()).await;
            assert_eq!(found.len(), expected.len(), "{query:?} {filter}");
            assert_eq!(
                found.into_iter().collect::<BTreeSet<_>>(),
                expected,
                "{query:?} {filter}"
            );
            // Pages behind the first tell the same of all that was found.
            if !page.next_page_token.is_empty() {
                let second = SearchAgentsRequest {
                    page_token: page.next_page_token.clone(),
                    ..request
                };
                assert_eq!(
                    facets(&world.search(second).await.unwrap()),
                    counted,
                    "{query:?} {filter}"
                );
            }
        }
        // All: more than are looked at, the first by title.
        let all = world.search(typed("")).await.unwrap();
        let mut by_title: Vec<(&str, &String)> = corpus.iter().map(|(id, agent)| (agent.title(), id)).collect();
        by_title.sort();
        let first: Vec<&String> = by_title.iter().take(MOST).map(|(_, id)| *id).collect();
        assert!(all.truncated);
        assert_eq!(world.finds(" ").await.iter().collect::<Vec<_>>(), first);
        assert_eq!(facets(&all), count_every_agent(first.iter().map(|id| &corpus[*id])));
    })
    .await;
}

#[tokio::test]
async fn agents_are_found_by_each_field_in_every_way() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let agent = Agent {
            description: Some("Books tables.\nKnows the wine list by heart".into()),
            platform: Some("voiceflow".into()),
            tags: texts(&["Gastronomie", "crème brûlée"]),
            ..titled("Käthe Größenwahn")
        };
        world.create("Kaethe_01", agent).await.unwrap();
        world.create("other", titled("Zebra")).await.unwrap();
        for query in [
            "Käthe Größenwahn",
            "kathe",
            "KÄTH",
            "grossenw",
            "ößen",
            "wahn kä",
            "k",
            "kaethe_01",
            "kaethe 01",
            "aethe",
            "gastro",
            "creme brulee",
            "BRÛ",
            "tables",
            "wine list",
            "eart",
            "by books kathe gastro",
            // Typos.
            "kahte",
            "grossenwhan",
            "gastronmoie",
            "crmee",
            "wine kahte",
        ] {
            assert_eq!(world.finds(query).await, ["Kaethe_01"], "{query}");
        }
        for query in ["athe?x", "ro", "voiceflow", "tabels", "wnie", "kathe zebra", "02"] {
            assert_eq!(world.finds(query).await, [""; 0], "{query}");
        }
        // Until it is called otherwise.
        let change = Agent {
            name: crate::agent_name("Kaethe_01"),
            title: Some("Berta".into()),
            description: Some(String::new()),
            ..Default::default()
        };
        world
            .update(change, Some(&["title", "description", "tags"]))
            .await
            .unwrap();
        for gone in ["kathe gro", "grossenw", "gastro", "wine", "crmee"] {
            assert_eq!(world.finds(gone).await, [""; 0], "{gone}");
        }
        for now in ["berta", "breta", "kaethe"] {
            assert_eq!(world.finds(now).await, ["Kaethe_01"], "{now}");
        }
        world.archive("Kaethe_01", "").await.unwrap();
        assert_eq!(world.finds("berta").await, ["Kaethe_01"]);
    })
    .await;
}

#[tokio::test]
async fn the_best_come_first() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (id, title, tags, description) in [
            ("n-none", "South", &[][..], ""),
            ("m-typo", "Nrth", &[], ""),
            ("l-told", "A", &[], "Farnorthern"),
            ("k-tagged", "B", &["farnorth"], ""),
            ("j-inside", "Farnorthern", &[], ""),
            ("i-told", "C", &[], "north"),
            ("h-tagged", "D", &["north"], ""),
            ("g-word", "Old Northern", &[], ""),
            ("f-prefix", "Northern", &[], ""),
            ("e-title", "North", &[], ""),
            ("d-title", "NORTH", &[], ""),
            ("north", "Yak", &[], ""),
        ] {
            let agent = Agent {
                tags: texts(tags),
                description: Some(description.into()),
                ..titled(title)
            };
            world.create(id, agent).await.unwrap();
        }
        let best = [
            "north", "d-title", "e-title", "f-prefix", "g-word", "i-told", "h-tagged", "j-inside", "l-told",
            "k-tagged", "m-typo",
        ];
        assert_eq!(world.finds("north").await, best);
        for size in 1..=11 {
            let request = SearchAgentsRequest {
                page_size: size,
                ..typed("north")
            };
            assert_eq!(world.search_all(request).await, best, "{size}");
        }
        let by_title = world.finds("").await;
        assert_eq!(by_title[..4], ["l-told", "k-tagged", "i-told", "h-tagged"]);
        assert_eq!(by_title.len(), 12);
    })
    .await;
}

#[tokio::test]
async fn agents_are_found_by_where_they_are_assigned() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        let mill = world.create_organization("mill").await;
        for id in ["a", "b", "c", "d"] {
            world.create(id, titled(&format!("Agent {id}"))).await.unwrap();
        }
        world
            .assign_to(&format!("{ACME}/organizations/bakery"), "a")
            .await
            .unwrap();
        world
            .assign_to(&format!("{ACME}/organizations/bakery"), "b")
            .await
            .unwrap();
        world
            .assign_to(&format!("{ACME}/organizations/mill"), "b")
            .await
            .unwrap();
        world
            .assign_to(&format!("{ACME}/organizations/mill"), "c")
            .await
            .unwrap();
        let found = async |not_assigned_to: &str, assigned_nowhere, filter: &str| {
            let mut found = Vec::new();
            for query in ["agent", "", "agetn"] {
                let request = SearchAgentsRequest {
                    not_assigned_to: not_assigned_to.into(),
                    assigned_nowhere,
                    filter: filter.into(),
                    page_size: 1,
                    ..typed(query)
                };
                found.push(world.search_all(request).await);
            }
            assert!(found.iter().all(|ids| *ids == found[0]), "{found:?}");
            found.pop().unwrap()
        };
        let mill_name = format!("{ACME}/organizations/mill");
        assert_eq!(found("", false, "").await, ["a", "b", "c", "d"]);
        assert_eq!(found(BAKERY, false, "").await, ["c", "d"]);
        assert_eq!(found(&mill_name, false, "").await, ["a", "d"]);
        assert_eq!(found("", true, "").await, ["d"]);
        assert_eq!(found(&mill_name, true, "").await, ["d"]);
        // What was taken away is not assigned, what is archived still is.
        world.unassign("a", "").await.unwrap();
        world.archive("c", "").await.unwrap();
        assert_eq!(found(BAKERY, false, "").await, ["a", "c", "d"]);
        assert_eq!(found("", true, "").await, ["a", "d"]);
        assert_eq!(found(BAKERY, false, "state = ARCHIVED").await, ["c"]);
        // Suspended or deleted, it keeps its agents.
        let mill = world
            .change(&mill, |mill| mill.set_state(org::organization::State::Deleted))
            .await;
        assert_eq!(found(&mill_name, false, "").await, ["a", "d"]);
        assert_eq!(found("", true, "").await, ["a", "d"]);
        // Purged, it has none, before they are taken away too.
        ClientUser::create(&world.feed, world.acme, &mill).purge_organization();
        world.hear().await;
        assert_eq!(found("", true, "").await, ["a", "c", "d"]);

        let refusal = async |not_assigned_to: &str| {
            let request = SearchAgentsRequest {
                not_assigned_to: not_assigned_to.into(),
                ..typed("agent")
            };
            coded(world.search(request).await.unwrap_err())
        };
        let nowhere = format!("{ACME}/organizations/nowhere");
        assert_eq!(refusal(&nowhere).await, refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        for malformed in [
            "mill",
            ACME,
            "workspaces/globex/organizations/mill",
            "workspaces/acme/agents/a",
        ] {
            assert_eq!(
                refusal(malformed).await,
                refused(Code::InvalidArgument, "INVALID_FIELDS"),
                "{malformed}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn other_workspaces_agents_are_not_found() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.feed.create_workspace("globex");
        world.hear().await;
        world.create_theirs("Bakery").await;
        for query in ["", "bakery", "bak", "b", "bakrey"] {
            assert_eq!(world.finds(query).await, [""; 0], "{query}");
        }
        // Keys are numbers that depend on the workspace; here they are alike.
        world.create("mine", titled("Bakery")).await.unwrap();
        let alike = "UPDATE agents SET search_keys = (SELECT search_keys FROM agents WHERE id = 'mine')";
        world.connection().await.execute_unprepared(alike).await.unwrap();
        for query in ["", "bakery", "bak", "b", "bakrey"] {
            assert_eq!(world.finds(query).await, ["mine"], "{query}");
            let page = world.search(typed(query)).await.unwrap();
            assert_eq!(facets(&page)[0], [("DRAFT".to_owned(), 1)], "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn pages_have_no_repeats_and_lose_nothing_while_agents_come_and_go() {
    on_both_engines(async |engine| {
        let random = &mut seed();
        let world = World::start(engine).await;
        let title = |random: &mut StdRng, at: usize| {
            let before = ["", "Old ", "Zoo ", "Farm "][random.random_range(0..4)];
            format!("{before}Support {at}")
        };
        let mut there = BTreeSet::new();
        for at in 0..60 {
            let id = format!("agent-{at}");
            world.create(&id, titled(&title(random, at))).await.unwrap();
            there.insert(id);
        }
        let connection = world.connection().await;
        for query in ["support", "", "suport"] {
            let mut request = SearchAgentsRequest {
                page_size: 7,
                ..typed(query)
            };
            let mut stayed = there.clone();
            let mut seen = Vec::new();
            loop {
                let page = world.search(request.clone()).await.unwrap();
                seen.extend(ids(&page.agents));
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
                for _ in 0..3 {
                    let id = format!("agent-{}", there.len() + random.random_range(1000..1_000_000));
                    world.create(&id, titled(&title(random, there.len()))).await.unwrap();
                    there.insert(id);
                    let gone = there.iter().nth(random.random_range(0..there.len())).unwrap().clone();
                    let sql = format!("DELETE FROM agents WHERE id = '{gone}'");
                    connection.execute_unprepared(&sql).await.unwrap();
                    there.remove(&gone);
                    stayed.remove(&gone);
                }
            }
            let once: BTreeSet<String> = seen.iter().cloned().collect();
            assert_eq!(once.len(), seen.len(), "{query:?}: {seen:?}");
            assert!(stayed.is_subset(&once), "{query:?} lost {:?}", stayed.difference(&once));
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_that_is_typed_means_anything_special_or_hurts_anybody() {
    on_both_engines(async |engine| {
        let world = World::with_corpus(engine).await;
        let globex = world.feed.create_workspace("globex");
        world
            .feed
            .create_organization(globex, "workspaces/globex/organizations/shop");
        world.hear().await;
        // Long texts, and many of them.
        for at in 0..30 {
            let words = (0..400).map(|word| format!("{:03}x", (at * 31 + word * 7) % 997));
            let tags = (0..50).map(|tag| format!("{}{tag}", "letters ".repeat(7)));
            let agent = Agent {
                description: Some(words.collect::<Vec<_>>().join(" ").chars().take(2000).collect()),
                tags: tags.collect(),
                ..titled(&format!("{} {at}", "lettres ".repeat(20)))
            };
            world.create(&format!("long-{at}"), agent).await.unwrap();
        }
        world.create_theirs("Theirs").await;

        let words = |count: usize| {
            (0..count)
                .map(|at| format!("{}", at % 10))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let nothing = [
            "%",
            "_",
            "*",
            "\"",
            "'",
            "\\",
            "{}",
            "$1",
            "?",
            "- +",
            "🍞",
            "\u{200f}",
            "\u{202e}\u{200f}",
            "\u{200b}\u{200d}\u{feff}",
            "\u{301}\u{301}\u{301}",
            "OR",
            "NOT",
            "NEAR(zahnarzt bread)",
            "zahnarzt OR backerei",
            "zahnarzt*bread",
            "search_keys:zahnarzt",
            "';DROP TABLE agents;--",
            &"x".repeat(200),
            &"東".repeat(200),
            &"zahnarzt".repeat(25),
        ];
        let many = [
            "a",
            "e",
            "é",
            "o",
            "s",
            "ا",
            "の",
            "vip",
            "lettres",
            "lettesr",
            "letters lettesr",
            "0",
            &words(5),
            &words(100),
        ];
        let one = [
            ("\u{200f}\u{202b}حجز المواعيد مخبز\u{202c}", "ar-000"),
            ("قباعة", ""),
            ("\u{feff}Terminvergabe\u{200b} Bäckerei", "de-000"),
            ("Terminvergabe Ba\u{308}ckerei", "de-000"),
            ("%terminvergabe% _backerei_", "de-000"),
            ("\"terminvergabe\" 'bäckerei'", "de-000"),
            ("(terminvergabe) {bäckerei}*", "de-000"),
        ];
        let searches = async {
            for query in nothing {
                let found = world.finds(query).await;
                assert!(
                    found.is_empty() || query == "OR" || query == "NOT" || query == "$1",
                    "{query:?}: {found:?}"
                );
            }
            for query in many {
                let answer = world.search(typed(query)).await.unwrap();
                assert!(!answer.agents.is_empty(), "{query:?}");
            }
            for (query, expected) in one {
                let found = world.finds(query).await;
                assert_eq!(found.first().map_or("", String::as_str), expected, "{query:?}");
            }
            let refusals = ["a\0b", "a\nb", "\u{7}", &"x".repeat(201), &"é".repeat(201)];
            for query in refusals {
                let status = world.search(typed(query)).await.unwrap_err();
                assert_eq!(
                    coded(status),
                    refused(Code::InvalidArgument, "INVALID_FIELDS"),
                    "{query:?}"
                );
            }
        };
        let over = tokio_util::sync::CancellationToken::new();
        let neighbour = async {
            let mut answered = 0;
            while !over.is_cancelled() {
                let request = CheckAccessRequest {
                    organization: "workspaces/globex/organizations/shop".into(),
                    agent: "workspaces/globex/agents/theirs".into(),
                    ..Default::default()
                };
                world
                    .assignments()
                    .check_access(world.service.request(request))
                    .await
                    .unwrap();
                answered += 1;
            }
            answered
        };
        let searches = async {
            searches.await;
            over.cancel();
        };
        let (answered, ()) = tokio::join!(neighbour, searches);
        assert!(answered > 50, "the neighbour was answered {answered} times");
    })
    .await;
}

#[tokio::test]
async fn what_a_search_does_not_take_is_refused() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for at in 0..3 {
            world.create(&format!("x-{at}"), titled("X")).await.unwrap();
        }
        let first = SearchAgentsRequest {
            page_size: 1,
            ..typed("x")
        };
        let token = world.search(first.clone()).await.unwrap().next_page_token;
        assert!(!token.is_empty());
        let with_token = |request: SearchAgentsRequest| SearchAgentsRequest {
            page_token: token.clone(),
            ..request
        };
        for (request, reason) in [
            (
                SearchAgentsRequest {
                    page_size: -1,
                    ..first.clone()
                },
                "INVALID_FIELDS",
            ),
            (
                SearchAgentsRequest {
                    filter: "state = NEW".into(),
                    ..first.clone()
                },
                "INVALID_FIELDS",
            ),
            (
                SearchAgentsRequest {
                    filter: "title = x".into(),
                    ..first.clone()
                },
                "INVALID_FIELDS",
            ),
            (
                SearchAgentsRequest {
                    filter: "tag >= x".into(),
                    ..first.clone()
                },
                "INVALID_FIELDS",
            ),
            (
                SearchAgentsRequest {
                    filter: "tag = \"a\0\"".into(),
                    ..first.clone()
                },
                "INVALID_FIELDS",
            ),
            (
                SearchAgentsRequest {
                    parent: BAKERY.into(),
                    ..first.clone()
                },
                "INVALID_FIELDS",
            ),
            (
                SearchAgentsRequest {
                    page_token: "x".into(),
                    ..first.clone()
                },
                "PAGE_TOKEN_INVALID",
            ),
            (with_token(typed("y")), "PAGE_TOKEN_INVALID"),
            (
                with_token(SearchAgentsRequest {
                    assigned_nowhere: true,
                    ..first.clone()
                }),
                "PAGE_TOKEN_INVALID",
            ),
            (
                with_token(SearchAgentsRequest {
                    filter: "state = DRAFT".into(),
                    ..first.clone()
                }),
                "PAGE_TOKEN_INVALID",
            ),
        ] {
            let status = world.search(request.clone()).await.unwrap_err();
            assert_eq!(coded(status), refused(Code::InvalidArgument, reason), "{request:?}");
        }
        let rest = world
            .search(SearchAgentsRequest {
                page_size: 500,
                ..with_token(first)
            })
            .await
            .unwrap();
        assert_eq!((rest.agents.len(), rest.next_page_token.as_str()), (2, ""));
    })
    .await;
}

#[tokio::test]
async fn agents_that_were_there_before_the_search_are_found_after_the_migration() {
    on_both_engines(async |engine| {
        let database = Database::create(engine).await;
        let creating = if engine == Engine::Sqlite { "?mode=rwc" } else { "" };
        let connection = sea_orm::Database::connect(format!("{}{creating}", database.url)).await.unwrap();
        let steps = Migrator::migrations();
        let before = steps.iter().position(|step| step.name().contains("search_agents")).unwrap();
        Migrator::up(&connection, Some(before.try_into().unwrap())).await.unwrap();
        let world = World::start_on(database, async |acme: Uid| {
            let (new, acme) = match engine {
                Engine::Postgres => ("gen_random_uuid()", format!("CAST('{acme}' AS uuid)")),
                Engine::Sqlite => ("randomblob(16)", format!("x'{}'", acme.0.simple())),
            };
            // More than are filled at a time.
            let sql = format!(
                "INSERT INTO agents (uid, workspace_uid, workspace_id, id, version, create_time, update_time, title, description, platform,
                    channels, tags, state, archived)
                WITH RECURSIVE turns (turn) AS (SELECT 1 UNION ALL SELECT turn + 1 FROM turns WHERE turn < 1203)
                SELECT {new}, {acme}, 'acme', 'old-' || turn, 1, 0, 0, 'Agent Nr. ' || turn, 'Erzählt von ' || (turn + 5000), 'native',
                    '[]', '[\"tagged\"]', 1, false FROM turns;"
            );
            connection.execute_unprepared(&sql).await.unwrap();
        })
        .await;
        for (query, id) in [
            ("old-501", "old-501"),
            ("nr 1203", "old-1203"),
            ("agetn 77", "old-77"),
            ("erzahlt 5008", "old-8"),
            ("tagged 999", "old-999"),
        ] {
            assert!(world.finds(query).await.contains(&id.to_owned()), "{query}");
        }
        assert_eq!(world.search_all(typed("5100")).await, ["old-100"]);
        let renamed = Agent {
            name: crate::agent_name("old-7"),
            title: Some("Siebener".into()),
            ..Default::default()
        };
        world.update(renamed, None).await.unwrap();
        assert_eq!(world.finds("siebener").await, ["old-7"]);
        assert!(!world.finds("nr 7").await.contains(&"old-7".to_owned()));
    })
    .await;
}
