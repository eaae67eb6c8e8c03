//! Values of settings: what is set on one level, and what holds when the levels are taken together.

use super::branding::Branding;
use super::custom_tab::{self, CustomTab};
use super::language::Language;
use super::named::named;
use super::page;
use super::time_zone::TimeZone;
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::mask::Mask;
use clientele_api::settings::{self as api, FieldSource, Layout, Page, field_source::Source};
use clientele_api::{Error, Result, Violations};
use std::sync::LazyLock;

/// Values of settings on one level; none: not set on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// The language of the dashboard.
    pub language: Option<Language>,
    /// Where the dashboard has its navigation.
    pub layout: Option<Layout>,
    /// Whether an end user may ask for a person.
    pub human_enabled: Option<bool>,
    /// Whether the agent itself notices that a person is needed.
    pub smart_enabled: Option<bool>,
    /// Whether the conversation shows who is talking.
    pub show_messages: Option<bool>,
    /// Whether canned responses are offered.
    pub canned_responses_enabled: Option<bool>,
    /// The pages that are offered.
    pub pages: Option<Vec<Page>>,
    /// The agency's own tabs.
    pub custom_tabs: Option<Vec<CustomTab>>,
    /// Whether conversations may be tagged with any words.
    pub free_tags_enabled: Option<bool>,
    /// The time zone of the dashboard.
    pub time_zone: Option<TimeZone>,
    /// The colours of the dashboard.
    pub branding: Option<Branding>,
}

/// What holds where nobody set anything.
static BUILT_IN: LazyLock<Values> = LazyLock::new(|| Values {
    language: Some(Language::ENGLISH),
    layout: Some(Layout::Vertical),
    human_enabled: Some(false),
    smart_enabled: Some(false),
    show_messages: Some(true),
    canned_responses_enabled: Some(false),
    pages: Some(page::ALL.to_vec()),
    custom_tabs: Some(Vec::new()),
    free_tags_enabled: Some(false),
    time_zone: Some(TimeZone::UTC),
    branding: Some(Branding::default()),
});

/// What is wrong with a value: rules that were broken, each with the path of its field below the value.
#[derive(Debug, Default, PartialEq)]
pub struct Broken(Vec<(String, Invalid)>);

impl Broken {
    /// Notes a broken rule.
    pub(super) fn add(&mut self, path: &str, rule: String) {
        self.0.push((path.to_owned(), Invalid::new(rule)));
    }

    /// Notes what broke a rule.
    pub(super) fn check<T>(&mut self, path: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|Invalid(rule)| self.add(path, rule)).ok()
    }

    /// The value, if it broke no rule.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    #[cfg(test)]
    pub(super) fn told(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .map(|(path, Invalid(rule))| (path.as_str(), rule.as_str()))
            .collect()
    }
}

impl From<Invalid> for Broken {
    fn from(rule: Invalid) -> Self {
        Self(vec![(String::new(), rule)])
    }
}

/// One of the values: what is done with each alike, so that a new one stands in one line of [`LEAVES`].
struct Leaf {
    /// Its path below the values.
    path: &'static str,
    is_set: fn(&Values) -> bool,
    differs: fn(&Values, &Values) -> bool,
    /// Makes it what it is in others.
    take: fn(&mut Values, &Values),
    /// Makes it what a message says; absent there, it is cleared.
    parse: fn(&mut Values, &api::SettingsValues) -> Result<(), Broken>,
}

/// Each leaf by its path, its field, and what a message says of it.
macro_rules! leaves {
    ($($path:literal => $field:ident, |$given:ident| $parsed:expr;)*) => {
        [$(Leaf {
            path: $path,
            is_set: |values| values.$field.is_some(),
            differs: |before, after| before.$field != after.$field,
            take: |values, others| values.$field.clone_from(&others.$field),
            parse: |values, message| {
                let parsed = |$given: &api::SettingsValues| $parsed;
                values.$field = parsed(message).transpose()?;
                Ok(())
            },
        }),*]
    };
}

const LEAVES: &[Leaf] = &leaves! {
    "language" => language, |given| given.language.as_deref().map(Language::parse);
    "layout" => layout, |given| given.layout.map(|number| named(number, Layout::as_str_name));
    "handoff.human_enabled" => human_enabled, |given| given.handoff?.human_enabled.map(Ok::<_, Broken>);
    "handoff.smart_enabled" => smart_enabled, |given| given.handoff?.smart_enabled.map(Ok::<_, Broken>);
    "handoff.show_messages" => show_messages, |given| given.handoff?.show_messages.map(Ok::<_, Broken>);
    "canned_responses_enabled" => canned_responses_enabled, |given| given.canned_responses_enabled.map(Ok::<_, Broken>);
    "pages" => pages, |given| given.pages.as_ref().map(page::parse);
    "custom_tabs" => custom_tabs, |given| given.custom_tabs.as_ref().map(custom_tab::parse);
    "free_tags_enabled" => free_tags_enabled, |given| given.free_tags_enabled.map(Ok::<_, Broken>);
    "time_zone" => time_zone, |given| given.time_zone.as_deref().map(TimeZone::parse);
    "branding" => branding, |given| given.branding.as_ref().map(Branding::parse);
};

impl Values {
    /// With the leaves of the mask changed to the message's; a leaf that is absent from it is cleared. `path` is where
    /// the values are in the resource, `resource` the resource in the request.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub(super) fn update(
        &self,
        message: &api::SettingsValues,
        mask: &Mask,
        resource: &str,
        path: &str,
        violations: &mut Violations,
    ) -> Values {
        let mut values = self.clone();
        for leaf in LEAVES {
            let path = format!("{path}.{}", leaf.path);
            if mask.has(&path)
                && let Err(Broken(rules)) = (leaf.parse)(&mut values, message)
            {
                for (below, Invalid(rule)) in rules {
                    violations.add(format!("{resource}.{path}{below}"), rule);
                }
            }
        }
        values
    }

    /// The ids of custom tabs that are new afterwards: neither here nor among those above.
    pub fn new_tabs<'a>(&self, after: &'a Values, above: &Values) -> Vec<&'a str> {
        let known = [self, above].map(|values| values.custom_tabs.as_deref().unwrap_or_default());
        let is_known = |id: &str| known.iter().any(|tabs| tabs.iter().any(|tab| tab.id == id));
        let tabs = after.custom_tabs.iter().flatten().map(|tab| tab.id.as_str());
        tabs.filter(|id| !is_known(id)).collect()
    }

    /// The paths of the leaves that differ afterwards, below this one.
    pub(super) fn changed_fields(&self, after: &Values, path: &str) -> Vec<String> {
        LEAVES
            .iter()
            .filter(|leaf| (leaf.differs)(self, after))
            .map(|leaf| format!("{path}.{}", leaf.path))
            .collect()
    }
}

impl From<&Values> for api::SettingsValues {
    fn from(values: &Values) -> Self {
        Self {
            language: values.language.map(|language| language.code().to_owned()),
            layout: values.layout.map(i32::from),
            handoff: Some(api::HandoffValues {
                human_enabled: values.human_enabled,
                smart_enabled: values.smart_enabled,
                show_messages: values.show_messages,
            }),
            canned_responses_enabled: values.canned_responses_enabled,
            pages: values.pages.as_ref().map(|pages| api::PageList {
                pages: pages.iter().map(|page| i32::from(*page)).collect(),
            }),
            custom_tabs: values.custom_tabs.as_ref().map(|tabs| api::CustomTabList {
                tabs: tabs.iter().map(Into::into).collect(),
            }),
            free_tags_enabled: values.free_tags_enabled,
            time_zone: values.time_zone.map(|zone| zone.name().to_owned()),
            branding: values.branding.as_ref().map(Into::into),
        }
    }
}

/// What holds for an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// Every value present.
    pub values: Values,
    /// Where each comes from.
    pub sources: Vec<FieldSource>,
}

/// What holds: each value by itself from the overrides, else the defaults, else built in.
///
/// Smart handoff needs human handoff. Where it lacks that, because the level above changed later, it is off.
pub(super) fn effective(defaults: &Values, overrides: &Values) -> Effective {
    let levels = [
        (overrides, Source::Organization),
        (defaults, Source::Workspace),
        (&*BUILT_IN, Source::BuiltIn),
    ];
    let mut values = Values::default();
    let mut sources = Vec::new();
    for leaf in LEAVES {
        if let Some((level, source)) = levels.iter().find(|(level, _)| (leaf.is_set)(level)) {
            (leaf.take)(&mut values, level);
            sources.push(FieldSource {
                path: leaf.path.to_owned(),
                source: (*source).into(),
            });
        }
    }
    if values.smart_enabled == Some(true) && values.human_enabled == Some(false) {
        values.smart_enabled = Some(false);
        for source in &mut sources {
            if source.path == "handoff.smart_enabled" {
                source.set_source(Source::Dependency);
            }
        }
    }
    Effective { values, sources }
}

/// Refuses a write after which smart handoff lacks human handoff, if the write touched either: a conflict that came
/// from the level above must not stop other writes.
pub(super) fn check_handoff(before: &Values, after: &Values, above: &Values) -> Result<()> {
    let touched = (before.human_enabled, before.smart_enabled) != (after.human_enabled, after.smart_enabled);
    let in_conflict = effective(above, after)
        .sources
        .iter()
        .any(|source| source.source() == Source::Dependency);
    if !touched || !in_conflict {
        return Ok(());
    }
    Err(Error::new(
        ErrorReason::SettingsConflict,
        "handoff.smart_enabled would be true while handoff.human_enabled, which it needs, is false, after defaults and \
         overrides are taken together: set handoff.human_enabled to true or handoff.smart_enabled to false in the same \
         update",
    )
    .with("human_enabled", false)
    .with("smart_enabled", true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handoff(human_enabled: Option<bool>, smart_enabled: Option<bool>) -> Values {
        Values {
            human_enabled,
            smart_enabled,
            ..Values::default()
        }
    }

    fn source(effective: &Effective, path: &str) -> Source {
        let found = effective.sources.iter().find(|source| source.path == path);
        found.unwrap().source()
    }

    #[test]
    fn every_leaf_is_built_in() {
        for leaf in LEAVES {
            assert!((leaf.is_set)(&BUILT_IN), "{}", leaf.path);
        }
    }

    #[test]
    fn each_value_is_found_by_itself() {
        let defaults = Values {
            language: Language::parse("de").ok(),
            layout: Some(Layout::Horizontal),
            ..handoff(Some(true), None)
        };
        let overrides = Values {
            layout: Some(Layout::Vertical),
            ..handoff(None, Some(true))
        };
        let effective = effective(&defaults, &overrides);
        assert_eq!(effective.values.language, Language::parse("de").ok());
        assert_eq!(effective.values.layout, Some(Layout::Vertical));
        assert_eq!(effective.values.smart_enabled, Some(true));
        assert_eq!(source(&effective, "language"), Source::Workspace);
        assert_eq!(source(&effective, "layout"), Source::Organization);
        assert_eq!(source(&effective, "handoff.human_enabled"), Source::Workspace);
        assert_eq!(source(&effective, "handoff.smart_enabled"), Source::Organization);
        assert_eq!(source(&effective, "handoff.show_messages"), Source::BuiltIn);
    }

    #[test]
    fn smart_handoff_is_off_where_its_need_was_taken_away() {
        let effective = effective(&handoff(Some(false), None), &handoff(None, Some(true)));
        assert_eq!(effective.values.smart_enabled, Some(false));
        assert_eq!(source(&effective, "handoff.smart_enabled"), Source::Dependency);
    }

    #[test]
    fn a_write_may_not_leave_smart_handoff_without_human_handoff() {
        let (on, off, unset) = (Some(true), Some(false), None);
        for (above, before, after, refused) in [
            ((unset, unset), (unset, unset), (unset, on), true),
            ((unset, unset), (unset, unset), (on, on), false),
            ((on, unset), (unset, unset), (unset, on), false),
            ((on, unset), (unset, on), (off, on), true),
            ((on, on), (unset, unset), (off, unset), true),
            ((on, on), (unset, unset), (off, off), false),
            // The default that human handoff came from was changed since.
            ((off, unset), (unset, on), (unset, on), false),
            ((off, unset), (unset, on), (off, on), true),
            ((off, unset), (unset, on), (unset, off), false),
            ((off, unset), (unset, on), (on, on), false),
        ] {
            let of = |(human, smart)| handoff(human, smart);
            let checked = check_handoff(&of(before), &of(after), &of(above));
            assert_eq!(checked.is_err(), refused, "{above:?} {before:?} {after:?}");
            if let Err(refusal) = checked {
                assert_eq!(refusal.reason(), ErrorReason::SettingsConflict);
            }
        }
    }
}
