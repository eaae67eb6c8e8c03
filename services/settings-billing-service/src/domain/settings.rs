//! Settings: what an organization overrides, what its workspace gives it, and what holds.

use super::language::Language;
use clientele_api::error::ErrorReason;
use clientele_api::mask::Mask;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org::organization::State;
use clientele_api::settings::{self as api, FieldSource, Layout, field_source::Source};
use clientele_api::{Error, Micros, Result, Violations, parse};

/// Values of settings on one level; none: not set on it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
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
    /// Whether saved answers are offered.
    pub canned_responses_enabled: Option<bool>,
}

/// What holds where nobody set anything.
const BUILT_IN: Values = Values {
    language: Some(Language::ENGLISH),
    layout: Some(Layout::Vertical),
    human_enabled: Some(false),
    smart_enabled: Some(false),
    show_messages: Some(true),
    canned_responses_enabled: Some(false),
};

impl Values {
    /// With the leaves of the mask changed to the message's; a leaf that is absent from it is cleared. `path` is where
    /// the values are in the resource, `field` where they are in the request.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    fn update(
        &self,
        message: &api::SettingsValues,
        field: &str,
        mask: &Mask,
        path: &str,
        violations: &mut Violations,
    ) -> Values {
        let handoff = message.handoff.unwrap_or_default();
        let is_changed = |leaf: &str| mask.has(&format!("{path}.{leaf}"));
        let mut values = *self;
        if is_changed("language") {
            let parsed = message.language.as_deref().map(Language::parse);
            values.language = parsed.and_then(|parsed| violations.check(&format!("{field}.language"), parsed));
        }
        if is_changed("layout") {
            let parsed = message.layout.map(parse::enum_value);
            values.layout = parsed.and_then(|parsed| violations.check(&format!("{field}.layout"), parsed));
        }
        if is_changed("handoff.human_enabled") {
            values.human_enabled = handoff.human_enabled;
        }
        if is_changed("handoff.smart_enabled") {
            values.smart_enabled = handoff.smart_enabled;
        }
        if is_changed("handoff.show_messages") {
            values.show_messages = handoff.show_messages;
        }
        if is_changed("canned_responses_enabled") {
            values.canned_responses_enabled = message.canned_responses_enabled;
        }
        values
    }

    /// The paths of the leaves that differ afterwards, below this one.
    fn changed_fields(&self, after: &Values, path: &str) -> Vec<String> {
        [
            ("language", self.language != after.language),
            ("layout", self.layout != after.layout),
            ("handoff.human_enabled", self.human_enabled != after.human_enabled),
            ("handoff.smart_enabled", self.smart_enabled != after.smart_enabled),
            ("handoff.show_messages", self.show_messages != after.show_messages),
            (
                "canned_responses_enabled",
                self.canned_responses_enabled != after.canned_responses_enabled,
            ),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(leaf, _)| format!("{path}.{leaf}"))
        .collect()
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
pub fn effective(defaults: &Values, overrides: &Values) -> Effective {
    let levels = [
        (overrides, Source::Organization),
        (defaults, Source::Workspace),
        (&BUILT_IN, Source::BuiltIn),
    ];
    let (language, language_source) = first_set(&levels, |values| values.language);
    let (layout, layout_source) = first_set(&levels, |values| values.layout);
    let (human_enabled, human_source) = first_set(&levels, |values| values.human_enabled);
    let (mut smart_enabled, mut smart_source) = first_set(&levels, |values| values.smart_enabled);
    if smart_enabled == Some(true) && human_enabled == Some(false) {
        (smart_enabled, smart_source) = (Some(false), Source::Dependency);
    }
    let (show_messages, show_source) = first_set(&levels, |values| values.show_messages);
    let (canned_responses_enabled, canned_source) = first_set(&levels, |values| values.canned_responses_enabled);
    let sources = [
        ("language", language_source),
        ("layout", layout_source),
        ("handoff.human_enabled", human_source),
        ("handoff.smart_enabled", smart_source),
        ("handoff.show_messages", show_source),
        ("canned_responses_enabled", canned_source),
    ];
    Effective {
        values: Values {
            language,
            layout,
            human_enabled,
            smart_enabled,
            show_messages,
            canned_responses_enabled,
        },
        sources: sources
            .map(|(path, source)| FieldSource {
                path: path.to_owned(),
                source: source.into(),
            })
            .into(),
    }
}

/// The value of the first level that sets it. The last level, built in, sets all.
fn first_set<T>(levels: &[(&Values, Source)], leaf: impl Fn(&Values) -> Option<T>) -> (Option<T>, Source) {
    levels
        .iter()
        .find_map(|(values, source)| leaf(values).map(|value| (Some(value), *source)))
        .unwrap_or((None, Source::BuiltIn))
}

/// Refuses a write after which smart handoff lacks human handoff, if the write touched either: a conflict that came
/// from the level above must not stop other writes.
fn check_handoff(before: &Values, after: &Values, effective: &Effective) -> Result<()> {
    let touched = (before.human_enabled, before.smart_enabled) != (after.human_enabled, after.smart_enabled);
    let in_conflict = effective
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

/// The settings of one organization. They exist as long as it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The organization.
    pub organization: OrganizationRef,
    /// Counts the changes of the overrides; 0: never changed.
    pub version: i64,
    /// When the overrides were first set.
    pub create_time: Option<Micros>,
    /// When the overrides changed last.
    pub update_time: Option<Micros>,
    /// What was set for this organization itself.
    pub overrides: Values,
}

impl Settings {
    /// Those of an organization for which nothing was ever set.
    pub fn unset(organization: OrganizationRef) -> Self {
        Self {
            organization,
            version: 0,
            create_time: None,
            update_time: None,
            overrides: Values::default(),
        }
    }

    /// `workspaces/{workspace}/organizations/{organization}/settings`.
    pub fn name(&self) -> String {
        format!("{}/settings", self.organization.name())
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.organization.uid.check_etag(self.version, etag, &self.name())
    }

    /// With the overrides of the mask changed to the message's or cleared; equal to these if nothing differs.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub fn update(&self, message: &api::Settings, mask: &Mask, violations: &mut Violations, now: Micros) -> Settings {
        let given = message.overrides.clone().unwrap_or_default();
        let overrides = self
            .overrides
            .update(&given, "settings.overrides", mask, "overrides", violations);
        if overrides == self.overrides {
            return self.clone();
        }
        Settings {
            organization: self.organization.clone(),
            version: self.version + 1,
            create_time: self.create_time.or(Some(now)),
            update_time: Some(now),
            overrides,
        }
    }

    /// Refuses these settings after those of before, if the change broke a rule between values.
    pub fn check_rules(&self, before: &Settings, defaults: &Values) -> Result<()> {
        let effective = effective(defaults, &self.overrides);
        check_handoff(&before.overrides, &self.overrides, &effective)
            .map_err(|refusal| refusal.about("Settings", self.name()))
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Settings) -> Vec<String> {
        self.overrides.changed_fields(&after.overrides, "overrides")
    }

    /// The message with what holds under these defaults.
    pub fn with_effective(&self, defaults: &Values) -> api::Settings {
        let effective = effective(defaults, &self.overrides);
        api::Settings {
            effective: Some((&effective.values).into()),
            sources: effective.sources,
            ..self.into()
        }
    }
}

/// Refuses to change the settings of a deleted organization.
pub fn require_not_deleted(organization: &OrganizationRef, state: State) -> Result<()> {
    if state != State::Deleted {
        return Ok(());
    }
    let name = organization.name();
    let message = format!("{name:?} is deleted: undelete it first");
    Err(Error::new(ErrorReason::OrganizationDeleted, message).about("Organization", name))
}

/// The defaults of one workspace. They exist as long as it does.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkspaceSettings {
    /// The workspace.
    pub workspace: WorkspaceRef,
    /// Counts the changes; 0: never changed.
    pub version: i64,
    /// When the defaults were first set.
    pub create_time: Option<Micros>,
    /// When the defaults changed last.
    pub update_time: Option<Micros>,
    /// What was set for the workspace.
    pub defaults: Values,
}

impl WorkspaceSettings {
    /// Those of a workspace for which nothing was ever set.
    pub fn unset(workspace: WorkspaceRef) -> Self {
        Self {
            workspace,
            version: 0,
            create_time: None,
            update_time: None,
            defaults: Values::default(),
        }
    }

    /// `workspaces/{workspace}/settings`.
    pub fn name(&self) -> String {
        format!("{}/settings", self.workspace.name())
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.workspace.uid.check_etag(self.version, etag, &self.name())
    }

    /// With the defaults of the mask changed to the message's or cleared; equal to these if nothing differs.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub fn update(
        &self,
        message: &api::WorkspaceSettings,
        mask: &Mask,
        violations: &mut Violations,
        now: Micros,
    ) -> WorkspaceSettings {
        let given = message.defaults.clone().unwrap_or_default();
        let defaults = self
            .defaults
            .update(&given, "workspace_settings.defaults", mask, "defaults", violations);
        if defaults == self.defaults {
            return self.clone();
        }
        WorkspaceSettings {
            workspace: self.workspace.clone(),
            version: self.version + 1,
            create_time: self.create_time.or(Some(now)),
            update_time: Some(now),
            defaults,
        }
    }

    /// Refuses these settings after those of before, if the change broke a rule between values. What the organizations
    /// override does not matter.
    pub fn check_rules(&self, before: &WorkspaceSettings) -> Result<()> {
        let effective = effective(&self.defaults, &Values::default());
        check_handoff(&before.defaults, &self.defaults, &effective)
            .map_err(|refusal| refusal.about("WorkspaceSettings", self.name()))
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &WorkspaceSettings) -> Vec<String> {
        self.defaults.changed_fields(&after.defaults, "defaults")
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
        }
    }
}

/// As the journal keeps them: without what holds, since that changes with the defaults.
impl From<&Settings> for api::Settings {
    fn from(settings: &Settings) -> Self {
        let uid = settings.organization.uid;
        Self {
            name: settings.name(),
            uid: uid.to_string(),
            version: settings.version,
            etag: uid.etag(settings.version),
            create_time: settings.create_time.map(Into::into),
            update_time: settings.update_time.map(Into::into),
            overrides: Some((&settings.overrides).into()),
            effective: None,
            sources: Vec::new(),
        }
    }
}

impl From<&WorkspaceSettings> for api::WorkspaceSettings {
    fn from(settings: &WorkspaceSettings) -> Self {
        let uid = settings.workspace.uid;
        Self {
            name: settings.name(),
            uid: uid.to_string(),
            version: settings.version,
            etag: uid.etag(settings.version),
            create_time: settings.create_time.map(Into::into),
            update_time: settings.update_time.map(Into::into),
            defaults: Some((&settings.defaults).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::Uid;
    use prost_types::FieldMask;

    const NOW: Micros = Micros(1_000);
    const LATER: Micros = Micros(2_000);

    fn acme() -> WorkspaceRef {
        WorkspaceRef {
            uid: Uid::NIL,
            id: "acme".to_owned(),
        }
    }

    fn settings(overrides: Values) -> Settings {
        Settings {
            overrides,
            ..Settings::unset(OrganizationRef {
                workspace: acme(),
                uid: Uid::NIL,
                id: "bakery".to_owned(),
            })
        }
    }

    fn defaults(defaults: Values) -> WorkspaceSettings {
        WorkspaceSettings {
            defaults,
            ..WorkspaceSettings::unset(acme())
        }
    }

    fn handoff(human_enabled: Option<bool>, smart_enabled: Option<bool>) -> Values {
        Values {
            human_enabled,
            smart_enabled,
            ..Values::default()
        }
    }

    fn update(before: &Settings, overrides: api::SettingsValues, paths: Option<&[&str]>) -> Result<Settings> {
        let message = api::Settings {
            overrides: Some(overrides),
            ..Default::default()
        };
        let request = api::UpdateSettingsRequest {
            settings: Some(message.clone()),
            update_mask: paths.map(|paths| FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
            ..Default::default()
        };
        let mut violations = Violations::new();
        let mask = Mask::read(&request, &mut violations);
        let after = before.update(&message, &mask, &mut violations, NOW);
        violations.finish(Some(after))
    }

    fn language(text: &str) -> api::SettingsValues {
        api::SettingsValues {
            language: Some(text.to_owned()),
            ..Default::default()
        }
    }

    fn source(effective: &Effective, path: &str) -> Source {
        let found = effective.sources.iter().find(|source| source.path == path);
        found.unwrap().source()
    }

    #[test]
    fn an_unset_organization_has_what_is_built_in() {
        let message = settings(Values::default()).with_effective(&Values::default());
        assert_eq!(message.name, "workspaces/acme/organizations/bakery/settings");
        assert_eq!(
            (message.version, message.create_time, message.update_time),
            (0, None, None)
        );
        let effective = message.effective.unwrap();
        assert_eq!((effective.language(), effective.layout()), ("en", Layout::Vertical));
        let handoff = effective.handoff.unwrap();
        let expected = api::HandoffValues {
            human_enabled: Some(false),
            smart_enabled: Some(false),
            show_messages: Some(true),
        };
        assert_eq!(handoff, expected);
        assert_eq!(effective.canned_responses_enabled, Some(false));
        assert_eq!(message.sources.len(), 6);
        assert!(message.sources.iter().all(|source| source.source() == Source::BuiltIn));
        assert_eq!(message.overrides, Some((&Values::default()).into()));
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
    fn the_journal_leaves_out_what_holds() {
        let message = api::Settings::from(&settings(Values::default()));
        assert_eq!((message.effective, message.sources.len()), (None, 0));
    }

    #[test]
    fn the_first_write_makes_version_one() {
        let before = settings(Values::default());
        let after = update(&before, language("pt-BR"), None).unwrap();
        assert_eq!(
            (after.version, after.create_time, after.update_time),
            (1, Some(NOW), Some(NOW))
        );
        assert_eq!(api::SettingsValues::from(&after.overrides).language(), "pt");
        assert_eq!(before.changed_fields(&after), ["overrides.language"]);
        assert_eq!(update(&after, language("por"), None).unwrap(), after);
        assert!(after.check_etag(&Uid::NIL.etag(1)).is_ok());
        assert!(after.check_etag(&Uid::NIL.etag(0)).is_err());
        assert!(before.check_etag(&Uid::NIL.etag(0)).is_ok());
    }

    #[test]
    fn an_override_is_cleared_by_its_path() {
        let before = settings(Values {
            language: Language::parse("de").ok(),
            ..handoff(Some(true), Some(true))
        });
        let after = update(&before, api::SettingsValues::default(), Some(&["overrides.handoff"])).unwrap();
        assert_eq!(after.overrides.language, before.overrides.language);
        assert_eq!(
            before.changed_fields(&after),
            ["overrides.handoff.human_enabled", "overrides.handoff.smart_enabled"]
        );
        let after = update(&before, api::SettingsValues::default(), Some(&["*"])).unwrap();
        assert_eq!(after.overrides, Values::default());
    }

    #[test]
    fn every_violation_is_answered() {
        let given = api::SettingsValues {
            language: Some("klingon".to_owned()),
            layout: Some(0),
            ..Default::default()
        };
        let error = update(&settings(Values::default()), given, None).unwrap_err();
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["settings.overrides.language", "settings.overrides.layout"]);
        let unknown = api::SettingsValues {
            layout: Some(9),
            ..Default::default()
        };
        assert!(update(&settings(Values::default()), unknown, None).is_err());
    }

    #[test]
    fn workspace_defaults_are_updated_likewise() {
        let message = api::WorkspaceSettings {
            defaults: Some(language("xx")),
            ..Default::default()
        };
        let request = api::UpdateWorkspaceSettingsRequest {
            workspace_settings: Some(message.clone()),
            ..Default::default()
        };
        let before = defaults(Values::default());
        let mut violations = Violations::new();
        let mask = Mask::read(&request, &mut violations);
        before.update(&message, &mask, &mut violations, NOW);
        let error = violations.finish(Some(())).unwrap_err();
        assert_eq!(error.violations()[0].field, "workspace_settings.defaults.language");

        let message = api::WorkspaceSettings {
            defaults: Some(language("fr")),
            ..Default::default()
        };
        let after = before.update(&message, &mask, &mut Violations::new(), LATER);
        assert_eq!((after.version, after.create_time), (1, Some(LATER)));
        assert_eq!(before.changed_fields(&after), ["defaults.language"]);
        let message = api::WorkspaceSettings::from(&after);
        assert_eq!(
            (message.name.as_str(), message.etag),
            ("workspaces/acme/settings", Uid::NIL.etag(1))
        );
        assert!(after.check_etag("stale").is_err());
    }

    #[test]
    fn a_write_may_not_leave_smart_handoff_without_human_handoff() {
        let (on, off, unset) = (Some(true), Some(false), None);
        for (defaults, before, after, refused) in [
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
            let of = |(human, smart)| settings(handoff(human, smart));
            let defaults = handoff(defaults.0, defaults.1);
            let checked = of(after).check_rules(&of(before), &defaults);
            assert_eq!(checked.is_err(), refused, "{defaults:?} {before:?} {after:?}");
            if let Err(refusal) = checked {
                assert_eq!(refusal.reason(), ErrorReason::SettingsConflict);
            }
        }
    }

    #[test]
    fn a_conflict_from_above_does_not_stop_other_writes() {
        let before = settings(handoff(None, Some(true)));
        let after = update(&before, language("de"), None).unwrap();
        assert!(after.check_rules(&before, &handoff(Some(false), None)).is_ok());
    }

    #[test]
    fn settings_of_a_deleted_organization_do_not_change() {
        let organization = settings(Values::default()).organization;
        assert!(require_not_deleted(&organization, State::Active).is_ok());
        assert!(require_not_deleted(&organization, State::Suspended).is_ok());
        let refusal = require_not_deleted(&organization, State::Deleted).unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::OrganizationDeleted);
    }

    #[test]
    fn defaults_are_checked_without_the_organizations() {
        let unset = defaults(Values::default());
        assert!(defaults(handoff(None, Some(true))).check_rules(&unset).is_err());
        assert!(defaults(handoff(Some(true), Some(true))).check_rules(&unset).is_ok());
        assert!(defaults(handoff(Some(false), None)).check_rules(&unset).is_ok());
    }
}
