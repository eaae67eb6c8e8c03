//! Random updates of defaults and overrides, against a small model of what each organization has of them.

use crate::{World, mask, tabs};
use clientele_api::access::StaffRole;
use clientele_api::settings::field_source::Source;
use clientele_api::settings::{
    Branding, FieldSource, GetSettingsRequest, GetWorkspaceSettingsRequest, HandoffValues, PageList, Settings,
    SettingsValues, TextDirection, UpdateSettingsRequest, UpdateWorkspaceSettingsRequest, WorkspaceSettings,
};
use clientele_testkit::{Caller, for_random_cases, on_both_engines, reason};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use std::collections::BTreeSet;
use tonic::Status;

const ORGANIZATIONS: usize = 2;

/// One of the values.
struct Leaf {
    path: &'static str,
    is_set: fn(&SettingsValues) -> bool,
    /// Makes it what it is in others.
    take: fn(&mut SettingsValues, &SettingsValues),
}

fn handoff(values: &SettingsValues) -> HandoffValues {
    values.handoff.unwrap_or_default()
}

/// The part of the handoff in which this leaf is.
fn part(values: &mut SettingsValues) -> &mut HandoffValues {
    values.handoff.get_or_insert_default()
}

const LEAVES: [Leaf; 11] = [
    Leaf {
        path: "language",
        is_set: |values| values.language.is_some(),
        take: |values, others| values.language.clone_from(&others.language),
    },
    Leaf {
        path: "layout",
        is_set: |values| values.layout.is_some(),
        take: |values, others| values.layout = others.layout,
    },
    Leaf {
        path: HUMAN,
        is_set: |values| handoff(values).human_enabled.is_some(),
        take: |values, others| part(values).human_enabled = handoff(others).human_enabled,
    },
    Leaf {
        path: SMART,
        is_set: |values| handoff(values).smart_enabled.is_some(),
        take: |values, others| part(values).smart_enabled = handoff(others).smart_enabled,
    },
    Leaf {
        path: "handoff.show_messages",
        is_set: |values| handoff(values).show_messages.is_some(),
        take: |values, others| part(values).show_messages = handoff(others).show_messages,
    },
    Leaf {
        path: "canned_responses_enabled",
        is_set: |values| values.canned_responses_enabled.is_some(),
        take: |values, others| values.canned_responses_enabled = others.canned_responses_enabled,
    },
    Leaf {
        path: "pages",
        is_set: |values| values.pages.is_some(),
        take: |values, others| values.pages.clone_from(&others.pages),
    },
    Leaf {
        path: "custom_tabs",
        is_set: |values| values.custom_tabs.is_some(),
        take: |values, others| values.custom_tabs.clone_from(&others.custom_tabs),
    },
    Leaf {
        path: "free_tags_enabled",
        is_set: |values| values.free_tags_enabled.is_some(),
        take: |values, others| values.free_tags_enabled = others.free_tags_enabled,
    },
    Leaf {
        path: "time_zone",
        is_set: |values| values.time_zone.is_some(),
        take: |values, others| values.time_zone.clone_from(&others.time_zone),
    },
    Leaf {
        path: "branding",
        is_set: |values| values.branding.is_some(),
        take: |values, others| values.branding.clone_from(&others.branding),
    },
];
const HUMAN: &str = "handoff.human_enabled";
const SMART: &str = "handoff.smart_enabled";

/// What somebody may send for the leaf at this place, and what is made of it. None: it is refused.
fn choices(leaf: usize) -> Vec<(SettingsValues, Option<SettingsValues>)> {
    let with = |set: &dyn Fn(&mut SettingsValues)| {
        let mut values = SettingsValues::default();
        set(&mut values);
        values
    };
    let as_given = |values: Vec<SettingsValues>| values.into_iter().map(|values| (values.clone(), Some(values)));
    let switch = |set: fn(&mut SettingsValues, bool)| {
        let values = [true, false].map(|on| with(&|values| set(values, on)));
        as_given(values.to_vec()).collect::<Vec<_>>()
    };
    let language = |code: &str| with(&|values| values.language = Some(code.to_owned()));
    let layout = |number| with(&|values| values.layout = Some(number));
    let pages = |numbers: &[i32]| {
        with(&|values| {
            values.pages = Some(PageList {
                pages: numbers.to_vec(),
            })
        })
    };
    let zone = |name: &str| with(&|values| values.time_zone = Some(name.to_owned()));
    let branding = |color: &str| {
        let primary_color = color.to_owned();
        with(&|values| {
            values.branding = Some(Branding {
                primary_color: primary_color.clone(),
                ..Branding::default()
            });
        })
    };
    match LEAVES[leaf].path {
        "language" => vec![
            (language("de"), Some(language("de"))),
            (language("pt-BR"), Some(language("pt"))),
            (language("ar"), Some(language("ar"))),
            (language("klingon"), None),
        ],
        "layout" => vec![
            (layout(1), Some(layout(1))),
            (layout(2), Some(layout(2))),
            (layout(0), None),
        ],
        HUMAN => switch(|values, on| part(values).human_enabled = Some(on)),
        SMART => switch(|values, on| part(values).smart_enabled = Some(on)),
        "handoff.show_messages" => switch(|values, on| part(values).show_messages = Some(on)),
        "canned_responses_enabled" => switch(|values, on| values.canned_responses_enabled = Some(on)),
        "pages" => as_given(vec![pages(&[]), pages(&[2, 1])])
            .chain([(pages(&[1, 1]), None)])
            .collect(),
        "custom_tabs" => as_given([&[][..], &["a"], &["b", "a"], &["c"], &["a", "c"]].map(tabs).to_vec())
            .chain([(tabs(&["a", "a"]), None)])
            .collect(),
        "free_tags_enabled" => switch(|values, on| values.free_tags_enabled = Some(on)),
        "time_zone" => vec![
            (zone("europe/berlin"), Some(zone("Europe/Berlin"))),
            (zone("UTC"), Some(zone("UTC"))),
            (zone("Mars"), None),
        ],
        _ => vec![
            (branding("#AbC"), Some(branding("#aabbcc"))),
            (branding(""), Some(branding(""))),
            (branding("red"), None),
        ],
    }
}

/// Which fields an update says that it means.
#[derive(Debug, Clone, Copy)]
enum Named {
    /// None: those that are there.
    Present,
    /// Each.
    Each,
    /// Everything.
    Everything,
}

#[derive(Debug, Clone)]
struct Op {
    /// Which organization; none: the workspace.
    at: Option<usize>,
    /// Leaves, and which of their choices; none: cleared.
    leaves: Vec<(usize, Option<usize>)>,
    named: Named,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let at = prop_oneof![2 => (0..ORGANIZATIONS).prop_map(Some), 1 => Just(None)];
    let leaf = |leaf: usize| {
        let choice = prop_oneof![4 => (0..choices(leaf).len()).prop_map(Some), 1 => Just(None)];
        choice.prop_map(move |choice| (leaf, choice))
    };
    let everywhere = subsequence((0..LEAVES.len()).collect::<Vec<_>>(), 1..4);
    // The rule between these two, and the ids of tabs, are what is worth most.
    let leaves =
        prop_oneof![2 => everywhere, 2 => Just(vec![2, 3]), 1 => Just(vec![3]), 1 => Just(vec![2]), 2 => Just(vec![7])];
    let leaves = leaves.prop_flat_map(move |leaves| leaves.into_iter().map(leaf).collect::<Vec<_>>());
    let named = prop_oneof![2 => Just(Named::Present), 4 => Just(Named::Each), 1 => Just(Named::Everything)];
    let op = (at, leaves, named).prop_map(|(at, leaves, named)| Op { at, leaves, named });
    vec(op, 1..40)
}

/// What was set on one level.
#[derive(Debug, Clone, Default)]
struct Level {
    version: i64,
    values: SettingsValues,
    /// The ids of tabs that were given out here.
    tabs: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
struct Model {
    workspace: Level,
    organizations: [Level; ORGANIZATIONS],
}

fn built_in() -> SettingsValues {
    SettingsValues {
        language: Some("en".to_owned()),
        layout: Some(1),
        handoff: Some(HandoffValues {
            human_enabled: Some(false),
            smart_enabled: Some(false),
            show_messages: Some(true),
        }),
        canned_responses_enabled: Some(false),
        pages: Some(PageList {
            pages: (1..=10).collect(),
        }),
        custom_tabs: tabs(&[]).custom_tabs,
        free_tags_enabled: Some(false),
        time_zone: Some("UTC".to_owned()),
        branding: Some(Branding::default()),
    }
}

fn ids(values: &SettingsValues) -> BTreeSet<String> {
    let tabs = values.custom_tabs.iter().flat_map(|list| &list.tabs);
    tabs.map(|tab| tab.id.clone()).collect()
}

/// Each value from the first level that has it, and that level.
fn inherited(levels: [(&SettingsValues, Source); 3]) -> (SettingsValues, Vec<(&'static str, Source)>) {
    let mut values = SettingsValues::default();
    let mut sources = Vec::new();
    for leaf in &LEAVES {
        let (level, source) = levels.iter().find(|(level, _)| (leaf.is_set)(level)).unwrap();
        (leaf.take)(&mut values, level);
        sources.push((leaf.path, *source));
    }
    (values, sources)
}

impl Model {
    fn level(&mut self, at: Option<usize>) -> &mut Level {
        match at {
            Some(at) => &mut self.organizations[at],
            None => &mut self.workspace,
        }
    }

    /// What would hold with these overrides, before the rule between values.
    fn inherited(&self, overrides: &SettingsValues) -> (SettingsValues, Vec<(&'static str, Source)>) {
        inherited([
            (overrides, Source::Organization),
            (&self.workspace.values, Source::Workspace),
            (&built_in(), Source::BuiltIn),
        ])
    }

    fn effective(&self, at: usize) -> (SettingsValues, Vec<(&'static str, Source)>) {
        let (mut values, mut sources) = self.inherited(&self.organizations[at].values);
        if is_broken(&values) {
            part(&mut values).smart_enabled = Some(false);
            let smart = sources.iter_mut().find(|(path, _)| *path == SMART);
            smart.unwrap().1 = Source::Dependency;
        }
        (values, sources)
    }

    /// The version afterwards, or why it is refused.
    fn apply(&mut self, op: &Op) -> Result<i64, &'static str> {
        let mut after = self.level(op.at).values.clone();
        if let Named::Everything = op.named {
            after = SettingsValues::default();
        }
        let mut nothing = true;
        for (leaf, choice) in &op.leaves {
            let given = match choice {
                None if matches!(op.named, Named::Present) => continue,
                None => SettingsValues::default(),
                Some(choice) => choices(*leaf).swap_remove(*choice).1.ok_or("INVALID_FIELDS")?,
            };
            nothing = false;
            (LEAVES[*leaf].take)(&mut after, &given);
        }
        if nothing && !matches!(op.named, Named::Everything) {
            return Err("INVALID_FIELDS");
        }
        part(&mut after);
        let mut before = self.level(op.at).values.clone();
        part(&mut before);
        if before == after {
            return Ok(self.level(op.at).version);
        }
        let (would_be, _) = match op.at {
            Some(_) => self.inherited(&after),
            None => inherited([
                (&after, Source::Workspace),
                (&built_in(), Source::BuiltIn),
                (&built_in(), Source::BuiltIn),
            ]),
        };
        let touched = |values: &SettingsValues| (handoff(values).human_enabled, handoff(values).smart_enabled);
        if touched(&before) != touched(&after) && is_broken(&would_be) {
            return Err("SETTINGS_CONFLICT");
        }
        self.give_out(op.at, &ids(&before), &ids(&after))?;
        let level = self.level(op.at);
        level.version += 1;
        level.values = after;
        Ok(level.version)
    }

    fn give_out(
        &mut self,
        at: Option<usize>,
        before: &BTreeSet<String>,
        after: &BTreeSet<String>,
    ) -> Result<(), &'static str> {
        let mut new: BTreeSet<String> = after.difference(before).cloned().collect();
        let used: BTreeSet<String> = match at {
            None => {
                let organizations = self.organizations.iter().flat_map(|level| &level.tabs);
                organizations.chain(&self.workspace.tabs).cloned().collect()
            }
            Some(at) => {
                new.retain(|id| !ids(&self.workspace.values).contains(id));
                self.organizations[at]
                    .tabs
                    .union(&self.workspace.tabs)
                    .cloned()
                    .collect()
            }
        };
        if !new.is_disjoint(&used) {
            return Err("TAB_ID_USED");
        }
        self.level(at).tabs.extend(new);
        Ok(())
    }
}

fn is_broken(values: &SettingsValues) -> bool {
    handoff(values).smart_enabled == Some(true) && handoff(values).human_enabled == Some(false)
}

/// A workspace with its organizations, and its admin.
struct Real<'w> {
    world: &'w World,
    workspace: String,
    admin: Caller,
}

impl<'w> Real<'w> {
    async fn create(world: &'w World, number: usize) -> Self {
        let id = format!("w-{number}");
        let uid = world.feed.create_workspace(&id);
        for at in 0..ORGANIZATIONS {
            let organization = format!("workspaces/{id}/organizations/org-{at}");
            world.feed.create_organization(uid, &organization);
        }
        let admin = Caller {
            min_revision: Some(world.feed.revision()),
            ..Caller::with(world.tokens.staff(&id, StaffRole::Admin))
        };
        let workspace = format!("workspaces/{id}");
        Self {
            world,
            workspace,
            admin,
        }
    }

    fn name(&self, at: Option<usize>) -> String {
        match at {
            Some(at) => format!("{}/organizations/org-{at}/settings", self.workspace),
            None => format!("{}/settings", self.workspace),
        }
    }

    async fn call(&self, op: &Op) -> Result<i64, Status> {
        let mut given = SettingsValues::default();
        let mut paths = Vec::new();
        let prefix = if op.at.is_some() { "overrides" } else { "defaults" };
        for (leaf, choice) in &op.leaves {
            paths.push(format!("{prefix}.{}", LEAVES[*leaf].path));
            if let Some(choice) = choice {
                (LEAVES[*leaf].take)(&mut given, &choices(*leaf)[*choice].0);
            }
        }
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let update_mask = match op.named {
            Named::Present => None,
            Named::Each => mask(&paths),
            Named::Everything => mask(&["*"]),
        };
        let (name, mut client) = (self.name(op.at), self.world.settings());
        if op.at.is_none() {
            let request = UpdateWorkspaceSettingsRequest {
                workspace_settings: Some(WorkspaceSettings {
                    name,
                    defaults: Some(given),
                    ..Default::default()
                }),
                update_mask,
                ..Default::default()
            };
            let answer = client.update_workspace_settings(self.admin.request(request)).await?;
            return Ok(answer.into_inner().version);
        }
        let request = UpdateSettingsRequest {
            settings: Some(Settings {
                name,
                overrides: Some(given),
                ..Default::default()
            }),
            update_mask,
            ..Default::default()
        };
        let answer = client.update_settings(self.admin.request(request)).await?.into_inner();
        assert_eq!(
            answer,
            self.get(op.at.unwrap()).await,
            "what is answered is what is read"
        );
        Ok(answer.version)
    }

    async fn get(&self, at: usize) -> Settings {
        let name = self.name(Some(at));
        let request = self.admin.request(GetSettingsRequest { name });
        self.world.settings().get_settings(request).await.unwrap().into_inner()
    }

    async fn check(&self, model: &Model) -> Result<(), TestCaseError> {
        let name = self.name(None);
        let request = self.admin.request(GetWorkspaceSettingsRequest { name });
        let defaults = self.world.settings().get_workspace_settings(request).await;
        let defaults = defaults.unwrap().into_inner();
        prop_assert_eq!(defaults.version, model.workspace.version);
        prop_assert_eq!(defaults.defaults.unwrap(), with_handoff(&model.workspace.values));
        for at in 0..ORGANIZATIONS {
            let settings = self.get(at).await;
            let (values, sources) = model.effective(at);
            prop_assert_eq!(settings.version, model.organizations[at].version);
            prop_assert_eq!(
                settings.overrides.as_ref().unwrap(),
                &with_handoff(&model.organizations[at].values)
            );
            let right_to_left = values.language() == "ar";
            prop_assert_eq!(settings.text_direction() == TextDirection::RightToLeft, right_to_left);
            prop_assert_eq!(settings.effective.unwrap(), values);
            let source = |one: &FieldSource| (one.path.clone(), one.source());
            let told: Vec<(String, Source)> = settings.sources.iter().map(source).collect();
            let expected = sources.into_iter().map(|(path, source)| (path.to_owned(), source));
            prop_assert_eq!(told, expected.collect::<Vec<_>>());
        }
        Ok(())
    }
}

fn with_handoff(values: &SettingsValues) -> SettingsValues {
    let mut values = values.clone();
    part(&mut values);
    values
}

async fn run(world: &World, number: usize, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let real = Real::create(world, number).await;
    let mut model = Model::default();
    for op in &ops {
        let answer = real.call(op).await.map_err(|status| reason(&status));
        let expected = model.apply(op).map_err(str::to_owned);
        prop_assert_eq!(answer, expected, "{:?}", op);
        real.check(&model).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_set_each_value_holds_as_the_model_says() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for_random_cases(40, &ops(), |number, ops| run(&world, number, ops));
    })
    .await;
}
