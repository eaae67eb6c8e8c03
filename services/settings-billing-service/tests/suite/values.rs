//! Each value with its rule: what breaks it is refused with its field and the nearest value that keeps it, on both levels.

use crate::{World, branding, coded, language, mask, pages, refused, tab, tabs, update};
use clientele_api::settings::custom_tab::Visibility;
use clientele_api::settings::{
    Branding, CustomTab, CustomTabList, HandoffValues, Layout, Page, PageList, SettingsValues, TextDirection,
};
use clientele_testkit::on_both_engines;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn layout(number: i32) -> SettingsValues {
    SettingsValues {
        layout: Some(number),
        ..Default::default()
    }
}

fn time_zone(name: &str) -> SettingsValues {
    SettingsValues {
        time_zone: Some(name.to_owned()),
        ..Default::default()
    }
}

fn colors(branding: Branding) -> SettingsValues {
    SettingsValues {
        branding: Some(branding),
        ..Default::default()
    }
}

fn primary(color: &str) -> SettingsValues {
    colors(Branding {
        primary_color: color.to_owned(),
        ..Default::default()
    })
}

/// A list of these pages by number.
fn numbers(pages: &[i32]) -> SettingsValues {
    SettingsValues {
        pages: Some(PageList { pages: pages.to_vec() }),
        ..Default::default()
    }
}

/// A list of one tab, with one thing changed.
fn one_tab(change: impl FnOnce(&mut CustomTab)) -> SettingsValues {
    let mut tab = tab("shop");
    change(&mut tab);
    SettingsValues {
        custom_tabs: Some(CustomTabList { tabs: vec![tab] }),
        ..Default::default()
    }
}

/// The fields that a refusal names, and the nearest value of each.
fn hints(status: Status) -> Vec<(String, String)> {
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(coded(status), refused(Code::InvalidArgument, "INVALID_FIELDS"));
    let hint = |rule: &str| {
        assert!(!rule.contains('…'), "{rule}");
        let (_, hint) = rule.rsplit_once("as in ").unwrap_or_else(|| panic!("{rule}"));
        hint.rsplit('`').nth(1).unwrap_or_else(|| panic!("{rule}")).to_owned()
    };
    let violations = violations.into_iter();
    violations.map(|one| (one.field, hint(&one.description))).collect()
}

/// Makes settings of the text that was named as the nearest value.
type Nearest = fn(&str) -> SettingsValues;

/// What breaks one rule, the path of what does, and what is made of the hint.
fn broken() -> Vec<(SettingsValues, &'static str, Nearest)> {
    let by_name: Nearest = |name| layout(Layout::from_str_name(name).unwrap().into());
    let page: Nearest = |name| pages(&[Page::from_str_name(name).unwrap()]);
    let visibility: Nearest = |name| one_tab(|tab| tab.visibility = Visibility::from_str_name(name).unwrap().into());
    vec![
        (language("german"), "language", language),
        (language(""), "language", language),
        (language("e\0"), "language", language),
        (layout(0), "layout", by_name),
        (layout(-4), "layout", by_name),
        (layout(i32::MAX), "layout", by_name),
        (time_zone("Berlin"), "time_zone", time_zone),
        (time_zone(""), "time_zone", time_zone),
        (time_zone("Europe/Berlin\0"), "time_zone", time_zone),
        (numbers(&[0]), "pages.pages[0]", page),
        (numbers(&[1, 99]), "pages.pages[1]", page),
        (numbers(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 9]), "pages.pages[9]", page),
        (primary("red"), "branding.primary_color", primary),
        (primary("#12345"), "branding.primary_color", primary),
        (
            one_tab(|tab| tab.id = "Our Shop".into()),
            "custom_tabs.tabs[0].id",
            |id| one_tab(|tab| tab.id = id.into()),
        ),
        (one_tab(|tab| tab.id = "x".repeat(64)), "custom_tabs.tabs[0].id", |id| {
            one_tab(|tab| tab.id = id.into())
        }),
        (one_tab(|tab| tab.id = String::new()), "custom_tabs.tabs[0].id", |id| {
            one_tab(|tab| tab.id = id.into())
        }),
        (
            one_tab(|tab| tab.title = String::new()),
            "custom_tabs.tabs[0].title",
            |title| one_tab(|tab| tab.title = title.into()),
        ),
        (
            one_tab(|tab| tab.title = "x".repeat(101)),
            "custom_tabs.tabs[0].title",
            |title| one_tab(|tab| tab.title = title.into()),
        ),
        (
            one_tab(|tab| tab.icon = "A star!".into()),
            "custom_tabs.tabs[0].icon",
            |icon| one_tab(|tab| tab.icon = icon.into()),
        ),
        (
            one_tab(|tab| tab.url = "http://example.com".into()),
            "custom_tabs.tabs[0].url",
            |url| one_tab(|tab| tab.url = url.into()),
        ),
        (
            one_tab(|tab| tab.url = format!("http://example.com/{}", "x".repeat(200))),
            "custom_tabs.tabs[0].url",
            |url| one_tab(|tab| tab.url = url.into()),
        ),
        (
            one_tab(|tab| tab.url = "x".repeat(3_000)),
            "custom_tabs.tabs[0].url",
            |url| one_tab(|tab| tab.url = url.into()),
        ),
        (
            one_tab(|tab| tab.icon = "x".repeat(64)),
            "custom_tabs.tabs[0].icon",
            |icon| one_tab(|tab| tab.icon = icon.into()),
        ),
        (
            one_tab(|tab| tab.url = "javascript:alert(1)".into()),
            "custom_tabs.tabs[0].url",
            |url| one_tab(|tab| tab.url = url.into()),
        ),
        (
            one_tab(|tab| tab.visibility = 0),
            "custom_tabs.tabs[0].visibility",
            visibility,
        ),
    ]
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_the_nearest_value_which_is_accepted() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (given, path, nearest) in broken() {
            let told = hints(world.set(given.clone()).await.unwrap_err());
            let [(field, hint)] = &told[..] else { panic!("{told:?}") };
            assert_eq!(field, &format!("settings.overrides.{path}"));
            world.set(nearest(hint)).await.unwrap();
            let told = hints(world.set_defaults(given.clone()).await.unwrap_err());
            assert_eq!(told, [(format!("workspace_settings.defaults.{path}"), hint.clone())]);
        }
        let (overrides, defaults) = (world.get().await.unwrap(), world.get_defaults().await);
        assert_eq!(defaults.version, 0, "a refused write leaves nothing");
        // Nothing of the values before is changed by one that is refused.
        let all = SettingsValues {
            layout: Some(0),
            pages: numbers(&[1, 1, 0]).pages,
            custom_tabs: one_tab(|tab| (tab.url, tab.visibility) = (String::new(), 7)).custom_tabs,
            time_zone: Some("Mars".into()),
            branding: Some(Branding {
                text_color: "#".into(),
                ..branding()
            }),
            ..language("xx")
        };
        let told = hints(world.set(all).await.unwrap_err());
        let fields: Vec<&str> = told.iter().map(|(field, _)| field.as_str()).collect();
        let expected = [
            "language",
            "layout",
            "pages.pages[1]",
            "pages.pages[2]",
            "custom_tabs.tabs[0].url",
            "custom_tabs.tabs[0].visibility",
            "time_zone",
            "branding.text_color",
        ];
        assert_eq!(fields, expected.map(|path| format!("settings.overrides.{path}")));
        assert_eq!(world.get().await.unwrap(), overrides);
    })
    .await;
}

#[tokio::test]
async fn what_can_be_written_in_several_ways_is_answered_in_one() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for (given, answered) in [
            (time_zone("europe/BERLIN"), time_zone("Europe/Berlin")),
            (time_zone("us/pacific"), time_zone("US/Pacific")),
            (primary("#ABC"), primary("#aabbcc")),
            (
                one_tab(|tab| tab.url = "HTTPS://Shop.Example.com".into()),
                one_tab(|tab| tab.url = "https://shop.example.com/".into()),
            ),
        ] {
            let path = ["overrides.time_zone", "overrides.branding", "overrides.custom_tabs"];
            world.clear(&path).await.unwrap();
            let answer = world.set(given).await.unwrap();
            let expected = SettingsValues {
                handoff: Some(HandoffValues::default()),
                ..answered.clone()
            };
            assert_eq!(answer.overrides, Some(expected));
            // Written in the other way it is the same: nothing changes.
            assert_eq!(world.set(answered).await.unwrap(), answer);
        }
    })
    .await;
}

#[tokio::test]
async fn lists_and_branding_are_one_value_each() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.set_defaults(pages(&[Page::Home, Page::Leads])).await.unwrap();
        world.set_defaults(colors(branding())).await.unwrap();
        // An empty list, or no colours, is an override.
        world.set(pages(&[])).await.unwrap();
        world.set(colors(Branding::default())).await.unwrap();
        let effective = world.get().await.unwrap().effective.unwrap();
        assert_eq!(effective.pages, pages(&[]).pages);
        assert_eq!(effective.branding, Some(Branding::default()));
        // Another colour replaces all colours.
        let answer = world.set(primary("#000000")).await.unwrap();
        assert_eq!(answer.effective.unwrap().branding, primary("#000000").branding);
        let cleared = world.clear(&["overrides.pages", "overrides.branding"]).await.unwrap();
        let effective = cleared.effective.unwrap();
        assert_eq!(effective.pages, pages(&[Page::Home, Page::Leads]).pages);
        assert_eq!(effective.branding, Some(branding()));
        // There is nothing below them that a mask could name.
        for path in [
            "overrides.pages.pages",
            "overrides.branding.primary_color",
            "overrides.custom_tabs.tabs",
        ] {
            let mut request = update(primary("#ffffff"));
            request.update_mask = mask(&[path]);
            let status = world.update(request).await.unwrap_err();
            assert_eq!(
                coded(status),
                refused(Code::InvalidArgument, "INVALID_FIELDS"),
                "{path}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn lines_begin_where_the_effective_language_has_them() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let direction = async || world.get().await.unwrap().text_direction();
        assert_eq!(direction().await, TextDirection::LeftToRight);
        world.set_defaults(language("ar")).await.unwrap();
        assert_eq!(direction().await, TextDirection::RightToLeft);
        let answer = world.set(language("fr")).await.unwrap();
        assert_eq!(answer.text_direction(), TextDirection::LeftToRight);
        let answer = world.set(language("he")).await.unwrap();
        assert_eq!(answer.text_direction(), TextDirection::RightToLeft);
    })
    .await;
}

#[tokio::test]
async fn lists_have_a_largest_size() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let ids: Vec<String> = (0..51).map(|at| format!("tab-{at}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let told = hints(world.set(tabs(&ids)).await.unwrap_err());
        assert_eq!(told[0].0, "settings.overrides.custom_tabs");
        let told = hints(world.set(numbers(&[1; 11])).await.unwrap_err());
        assert_eq!(told, [("settings.overrides.pages".to_owned(), "10".to_owned())]);
        // Together they must not be too large either: as many as fit are accepted.
        let large = |many: usize| {
            let mut values = tabs(&ids[..many]);
            for tab in &mut values.custom_tabs.as_mut().unwrap().tabs {
                tab.url = format!("https://example.com/{}", "x".repeat(2_000));
            }
            values
        };
        let told = hints(world.set(large(9)).await.unwrap_err());
        let [(field, fit)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((field.as_str(), fit.as_str()), ("settings.overrides.custom_tabs", "7"));
        world.set(large(7)).await.unwrap();
        world.set(tabs(&[])).await.unwrap();
        let ids: Vec<String> = (51..102).map(|at| format!("tab-{at}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let all = world.set(tabs(&ids[..50])).await.unwrap();
        assert_eq!(all.effective.unwrap().custom_tabs, tabs(&ids[..50]).custom_tabs);
        world.set(numbers(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 1])).await.unwrap();
    })
    .await;
}
