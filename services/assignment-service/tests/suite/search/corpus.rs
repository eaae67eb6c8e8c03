//! Two thousand agents in fourteen languages, and what a search finds among them if it looks at every one.

use crate::{ACME, World, agent_name};
use clientele_api::assignment::agent::State;
use clientele_api::assignment::{Agent, SearchAgentsResponse};
use clientele_api::fold::fold;
use clientele_testkit::Engine;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};

const WORDS: &str = include_str!("words.txt");
const PLATFORMS: [&str; 5] = ["native", "voiceflow", "botpress", "dialogflow", ""];
const STATES: [State; 8] = [
    State::Deployed,
    State::Draft,
    State::Deployed,
    State::Disabled,
    State::Deployed,
    State::Archived,
    State::Deployed,
    State::Deployed,
];

/// The agents by their ids.
pub(super) type Corpus = BTreeMap<String, Agent>;

/// The lines of a language by what stands before the colon.
fn languages() -> Vec<(&'static str, BTreeMap<&'static str, &'static str>)> {
    let mut languages: Vec<(&str, BTreeMap<&str, &str>)> = Vec::new();
    for line in WORDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[') {
            Some(code) => languages.push((code.trim_end_matches(']'), BTreeMap::new())),
            None => languages.last_mut().unwrap().1.extend(line.split_once(": ")),
        }
    }
    languages
}

/// All of them, the same whenever they are made. Their states are what they shall be in the end.
pub(super) fn corpus() -> Corpus {
    let mut corpus = Corpus::new();
    for (code, lines) in languages() {
        let list = |key: &str| lines[key].split(" | ").collect::<Vec<_>>();
        let (functions, businesses) = (list("functions"), list("businesses"));
        let (descriptions, tags) = (list("descriptions"), list("tags"));
        for at in 0..functions.len() * businesses.len() {
            let (function, business) = (functions[at % functions.len()], businesses[at / functions.len()]);
            let filled = |pattern: &str| {
                let filled = pattern.replace("{function}", function).replace("{business}", business);
                filled.replace("\\n", "\n")
            };
            let common = [(7, "vip"), (11, "beta"), (13, "24/7")];
            let common = common
                .into_iter()
                .filter(|(every, _)| at % every == 0)
                .map(|(_, tag)| tag);
            let own = [tags[at % tags.len()], tags[at / 5 % tags.len()]];
            let tags: BTreeSet<&str> = own.into_iter().chain(common).collect();
            let agent = Agent {
                title: Some(filled(lines["title"])),
                description: Some(filled(descriptions[at % descriptions.len()])),
                platform: Some(PLATFORMS[at / 3 % PLATFORMS.len()].to_owned()),
                tags: tags.into_iter().map(str::to_owned).collect(),
                state: Some(STATES[at % STATES.len()].into()),
                ..Default::default()
            };
            corpus.insert(format!("{code}-{at:03}"), agent);
        }
    }
    corpus
}

impl World {
    /// With all of the corpus.
    pub(super) async fn with_corpus(engine: Engine) -> Self {
        let world = Self::start(engine).await;
        let entered = stream::iter(corpus()).map(|(id, mut agent)| {
            let world = &world;
            async move {
                let archived = agent.state() == State::Archived;
                if archived {
                    agent.state = None;
                }
                world.create(&id, agent).await?;
                if archived {
                    world.archive(&id, "").await?;
                }
                Ok::<(), tonic::Status>(())
            }
        });
        entered.buffer_unordered(32).try_collect::<()>().await.unwrap();
        world
    }
}

/// The ids of agents, in their order.
pub(super) fn ids(agents: &[Agent]) -> Vec<String> {
    let id = |agent: &Agent| agent.name.strip_prefix(&agent_name("")).unwrap().to_owned();
    agents.iter().map(id).collect()
}

/// What a search must find, and what it may find: which agents are meant in spite of a typo is left to how they are indexed.
pub(super) struct Expected {
    /// Those that fit without a typo.
    pub(super) fit: BTreeSet<String>,
    /// Those of which a word is one typo away from what was typed.
    pub(super) near: BTreeSet<String>,
    /// Those of which the beginning of a word is as many typos away as are forgiven.
    pub(super) meant: BTreeSet<String>,
}

/// Looks at every agent, and at every word of it.
pub(super) fn look_at_every_agent(corpus: &Corpus, typed: &str) -> Expected {
    let folded = fold(typed);
    let typed: Vec<&str> = folded.split_whitespace().collect();
    let mut expected = Expected {
        fit: BTreeSet::new(),
        near: BTreeSet::new(),
        meant: BTreeSet::new(),
    };
    for (id, agent) in corpus {
        let names = fold(
            &[&[agent.title().to_owned(), id.clone()][..], &agent.tags]
                .concat()
                .join("\n"),
        );
        let description = fold(agent.description());
        let words = || names.split_whitespace().chain(description.split_whitespace());
        let is_there = |typed: &&&str| {
            // Kana and Chinese put no spaces between words.
            let inside =
                typed.chars().count() > 2 || typed.starts_with(|letter| ('\u{3040}'..'\u{a000}').contains(&letter));
            words().any(|word| word.starts_with(**typed) || (inside && word.contains(**typed)))
        };
        let missing: Vec<&&str> = typed.iter().filter(|typed| !is_there(typed)).collect();
        match missing[..] {
            [] => drop(expected.fit.insert(id.clone())),
            [mistyped] if typed.len() <= 5 && is_spelled(mistyped) => {
                let spelled = || names.split_whitespace().filter(|word| is_spelled(word));
                let length = mistyped.chars().count();
                let forgiven = [0, 1, 2][usize::from(length >= 4) + usize::from(length >= 8)];
                let typos: Vec<Vec<usize>> = spelled().map(|word| typos(mistyped, word)).collect();
                if forgiven > 0 && typos.iter().any(|typos| typos.len() > 3 && typos.last() == Some(&1)) {
                    expected.near.insert(id.clone());
                }
                if typos.iter().flatten().any(|typos| (1..=forgiven).contains(typos)) {
                    expected.meant.insert(id.clone());
                }
            }
            _ => {}
        }
    }
    expected
}

fn is_spelled(word: &str) -> bool {
    word.chars().all(char::is_alphabetic)
}

/// For each beginning of the other, from none of its letters to all of them: how many are wrong, missing or too many, or have changed places
/// with the next.
fn typos(one: &str, other: &str) -> Vec<usize> {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut table = vec![vec![0; other.len() + 1]; one.len() + 1];
    for row in 0..=one.len() {
        for column in 0..=other.len() {
            table[row][column] = if row == 0 || column == 0 {
                row + column
            } else {
                let wrong = usize::from(one[row - 1] != other[column - 1]);
                let least = (table[row - 1][column] + 1).min(table[row][column - 1] + 1);
                let least = least.min(table[row - 1][column - 1] + wrong);
                let swapped =
                    row > 1 && column > 1 && one[row - 1] == other[column - 2] && one[row - 2] == other[column - 1];
                if swapped {
                    least.min(table[row - 2][column - 2] + 1)
                } else {
                    least
                }
            };
        }
    }
    table.pop().unwrap()
}

/// A facet as it is answered: values and how often they were found.
type Facet = Vec<(String, i32)>;

/// The facets of these agents: states, platforms, tags.
pub(super) fn count_every_agent<'a>(agents: impl Iterator<Item = &'a Agent> + Clone) -> [Facet; 3] {
    let count = |values: Vec<String>| {
        let distinct: BTreeSet<String> = values.iter().cloned().collect();
        let times = |value: &String| values.iter().filter(|other| *other == value).count();
        let mut counted: Facet = distinct
            .iter()
            .map(|value| (value.clone(), times(value).try_into().unwrap()))
            .collect();
        counted.sort_by_key(|(value, count)| (-count, value.clone()));
        counted.truncate(50);
        counted
    };
    let states = agents
        .clone()
        .map(|agent| format!("{:?}", agent.state()).to_uppercase());
    let platforms = agents.clone().map(|agent| agent.platform().to_owned());
    let tags = agents.flat_map(|agent| agent.tags.clone());
    [
        count(states.collect()),
        count(platforms.filter(|platform| !platform.is_empty()).collect()),
        count(tags.collect()),
    ]
}

/// The facets of an answer, as [`count_every_agent`] counts them.
pub(super) fn facets(response: &SearchAgentsResponse) -> [Facet; 3] {
    let facets = response.facets.clone().unwrap();
    [facets.states, facets.platforms, facets.tags]
        .map(|facet| facet.into_iter().map(|count| (count.value, count.count)).collect())
}

#[test]
fn the_corpus_is_large_and_of_many_languages() {
    let corpus = corpus();
    assert_eq!(corpus.len(), 14 * 144);
    let titles: BTreeSet<&str> = corpus.values().map(Agent::title).collect();
    assert_eq!(
        titles.len(),
        corpus.len(),
        "a title is given twice: the order would not be sure"
    );
    assert!(
        !corpus
            .values()
            .any(|agent| agent.title().contains('{') || agent.description().contains('{'))
    );
    assert_eq!(agent_name("x"), format!("{ACME}/agents/x"));
}
