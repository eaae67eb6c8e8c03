//! Settings: what an organization overrides, and the defaults that its workspace gives it.

use super::language::Language;
use super::values::{Values, check_handoff, effective};
use clientele_api::error::ErrorReason;
use clientele_api::mask::Mask;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org::organization::State;
use clientele_api::request::{Resource, Update};
use clientele_api::{Error, Micros, Result, Uid, Violations, settings as api};

/// Whose settings there are: an organization's are its overrides, a workspace's the defaults of its organizations.
pub trait Owner: Clone + PartialEq {
    /// The message of its settings.
    type Message: Resource + for<'s> From<&'s Settings<Self>>;
    /// The request to change them.
    type Request: Update;
    /// The type of its settings, as refusals name it.
    const TYPE: &'static str;
    /// The path of the values in the message.
    const VALUES: &'static str;

    /// The uid of the owner, and of its settings.
    fn uid(&self) -> Uid;
    /// The name of the owner.
    fn name(&self) -> String;
    /// The workspace that it is, or that holds it.
    fn workspace(&self) -> &WorkspaceRef;

    /// The name of its settings.
    fn settings_name(&self) -> String {
        format!("{}/settings", self.name())
    }

    /// The values in a message of its settings.
    fn values(message: Self::Message) -> api::SettingsValues;
}

impl Owner for OrganizationRef {
    type Message = api::Settings;
    type Request = api::UpdateSettingsRequest;
    const TYPE: &'static str = "Settings";
    const VALUES: &'static str = "overrides";

    fn uid(&self) -> Uid {
        self.uid
    }

    fn name(&self) -> String {
        self.name()
    }

    fn workspace(&self) -> &WorkspaceRef {
        &self.workspace
    }

    fn values(message: api::Settings) -> api::SettingsValues {
        message.overrides.unwrap_or_default()
    }
}

impl Owner for WorkspaceRef {
    type Message = api::WorkspaceSettings;
    type Request = api::UpdateWorkspaceSettingsRequest;
    const TYPE: &'static str = "WorkspaceSettings";
    const VALUES: &'static str = "defaults";

    fn uid(&self) -> Uid {
        self.uid
    }

    fn name(&self) -> String {
        self.name()
    }

    fn workspace(&self) -> &WorkspaceRef {
        self
    }

    fn values(message: api::WorkspaceSettings) -> api::SettingsValues {
        message.defaults.unwrap_or_default()
    }
}

/// The settings of one owner. They exist as long as it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings<O> {
    /// Whose they are.
    pub owner: O,
    /// Counts the changes; 0: never changed.
    pub version: i64,
    /// When the values were first set.
    pub create_time: Option<Micros>,
    /// When the values changed last.
    pub update_time: Option<Micros>,
    /// What was set for this owner itself.
    pub values: Values,
}

/// What an update asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The version that is to be changed, if one is named.
    pub etag: String,
    /// The new values.
    pub values: api::SettingsValues,
    /// Which of them are meant.
    pub mask: Mask,
}

/// What a call makes of settings.
#[derive(Debug, Clone)]
pub enum Edit {
    /// The values that it names change.
    Update(Wanted),
    /// All values become what they were in an earlier version.
    Rollback {
        /// The version that is to be changed, if one is named.
        etag: String,
        /// The values of the earlier version.
        values: Values,
    },
}

impl<O: Owner> Settings<O> {
    /// Those of an owner for which nothing was ever set.
    pub fn unset(owner: O) -> Self {
        Self {
            owner,
            version: 0,
            create_time: None,
            update_time: None,
            values: Values::default(),
        }
    }

    /// `…/settings`.
    pub fn name(&self) -> String {
        self.owner.settings_name()
    }

    /// The next version; equal to this one if nothing differs. `above` is what holds where it sets nothing, before what is built in.
    pub fn edit(&self, edit: &Edit, above: &Values, now: Micros) -> Result<Self> {
        match edit {
            Edit::Update(wanted) => self.update(wanted, above, now),
            Edit::Rollback { etag, values } => {
                self.owner.uid().check_etag(self.version, etag, &self.name())?;
                self.with_values(values.clone(), above, now)
            }
        }
    }

    /// With the values that are wanted, those of the mask that are absent cleared; equal to these if nothing differs. `above` is what
    /// holds where they set nothing, before what is built in.
    pub fn update(&self, wanted: &Wanted, above: &Values, now: Micros) -> Result<Self> {
        self.owner.uid().check_etag(self.version, &wanted.etag, &self.name())?;
        let mut violations = Violations::new();
        let values = self.values.update(
            &wanted.values,
            &wanted.mask,
            O::Request::RESOURCE,
            O::VALUES,
            &mut violations,
        );
        let values = violations.finish(Some(values))?;
        self.with_values(values, above, now)
    }

    fn with_values(&self, values: Values, above: &Values, now: Micros) -> Result<Self> {
        if values == self.values {
            return Ok(self.clone());
        }
        check_handoff(&self.values, &values, above).map_err(|refusal| refusal.about(O::TYPE, self.name()))?;
        Ok(Self {
            owner: self.owner.clone(),
            version: self.version + 1,
            create_time: self.create_time.or(Some(now)),
            update_time: Some(now),
            values,
        })
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Self) -> Vec<String> {
        self.values.changed_fields(&after.values, O::VALUES)
    }
}

/// The values of an earlier version, as the journal kept them. The rules may have changed since: what breaks one of today's is a
/// violation of the field `version`, with the path of the value behind it.
pub fn read_earlier<O: Owner>(message: O::Message) -> Result<Values> {
    let mut violations = Violations::new();
    let all = Mask::all::<O::Request>();
    let values = Values::default().update(&O::values(message), &all, "version", O::VALUES, &mut violations);
    violations.finish(Some(values))
}

impl Settings<OrganizationRef> {
    /// What holds under these defaults.
    pub fn effective(&self, defaults: &Values) -> Values {
        effective(defaults, &self.values).values
    }

    /// The message with what holds under these defaults.
    pub fn with_effective(&self, defaults: &Values) -> api::Settings {
        let effective = effective(defaults, &self.values);
        let direction = effective.values.language.map(Language::direction);
        api::Settings {
            text_direction: direction.map(i32::from),
            effective: Some((&effective.values).into()),
            sources: effective.sources,
            ..self.into()
        }
    }
}

/// Refuses to change the settings of a deleted organization. Those of a suspended one can be changed; a state that is not known
/// is treated like that.
pub fn require_not_deleted(organization: &OrganizationRef, state: State) -> Result<()> {
    if state != State::Deleted {
        return Ok(());
    }
    let name = organization.name();
    let message = format!("{name:?} is deleted: undelete it first");
    Err(Error::new(ErrorReason::OrganizationDeleted, message).about("Organization", name))
}

/// As the journal keeps them: without what holds, since that changes with the defaults.
impl From<&Settings<OrganizationRef>> for api::Settings {
    fn from(settings: &Settings<OrganizationRef>) -> Self {
        let uid = settings.owner.uid;
        Self {
            name: settings.name(),
            uid: uid.to_string(),
            version: settings.version,
            etag: uid.etag(settings.version),
            create_time: settings.create_time.map(Into::into),
            update_time: settings.update_time.map(Into::into),
            overrides: Some((&settings.values).into()),
            effective: None,
            sources: Vec::new(),
            text_direction: None,
        }
    }
}

impl From<&Settings<WorkspaceRef>> for api::WorkspaceSettings {
    fn from(settings: &Settings<WorkspaceRef>) -> Self {
        let uid = settings.owner.uid;
        Self {
            name: settings.name(),
            uid: uid.to_string(),
            version: settings.version,
            etag: uid.etag(settings.version),
            create_time: settings.create_time.map(Into::into),
            update_time: settings.update_time.map(Into::into),
            defaults: Some((&settings.values).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::request::Behavior;
    use clientele_api::settings::{Layout, field_source::Source};
    use prost_types::FieldMask;

    const NOW: Micros = Micros(1_000);
    const LATER: Micros = Micros(2_000);

    fn acme() -> WorkspaceRef {
        WorkspaceRef {
            uid: Uid::NIL,
            id: "acme".to_owned(),
        }
    }

    fn settings(values: Values) -> Settings<OrganizationRef> {
        Settings {
            values,
            ..Settings::unset(OrganizationRef {
                workspace: acme(),
                uid: Uid::NIL,
                id: "bakery".to_owned(),
            })
        }
    }

    fn defaults(values: Values) -> Settings<WorkspaceRef> {
        Settings {
            values,
            ..Settings::unset(acme())
        }
    }

    fn handoff(human_enabled: Option<bool>, smart_enabled: Option<bool>) -> Values {
        Values {
            human_enabled,
            smart_enabled,
            ..Values::default()
        }
    }

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }
    }

    fn wanted<R: Update>(request: &R, values: api::SettingsValues) -> Result<Wanted> {
        let mut violations = Violations::new();
        let mask = Mask::read(request, &mut violations);
        let etag = String::new();
        violations.finish(Some(Wanted { etag, values, mask }))
    }

    fn overrides(values: api::SettingsValues, paths: Option<&[&str]>) -> Result<Wanted> {
        let request = api::UpdateSettingsRequest {
            settings: Some(api::Settings {
                overrides: Some(values.clone()),
                ..Default::default()
            }),
            update_mask: paths.map(mask),
            ..Default::default()
        };
        wanted(&request, values)
    }

    fn workspace_defaults(values: api::SettingsValues, paths: Option<&[&str]>) -> Result<Wanted> {
        let request = api::UpdateWorkspaceSettingsRequest {
            workspace_settings: Some(api::WorkspaceSettings {
                defaults: Some(values.clone()),
                ..Default::default()
            }),
            update_mask: paths.map(mask),
            ..Default::default()
        };
        wanted(&request, values)
    }

    fn update(
        before: &Settings<OrganizationRef>,
        values: api::SettingsValues,
        paths: Option<&[&str]>,
    ) -> Result<Settings<OrganizationRef>> {
        before.update(&overrides(values, paths)?, &Values::default(), NOW)
    }

    fn language(text: &str) -> api::SettingsValues {
        api::SettingsValues {
            language: Some(text.to_owned()),
            ..Default::default()
        }
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
        assert_eq!(message.sources.len(), 11);
        assert_eq!(message.text_direction, Some(api::TextDirection::LeftToRight.into()));
        assert!(message.sources.iter().all(|source| source.source() == Source::BuiltIn));
        assert_eq!(message.overrides, Some((&Values::default()).into()));
    }

    #[test]
    fn the_journal_leaves_out_what_holds() {
        let message = api::Settings::from(&settings(Values::default()));
        assert_eq!((message.effective, message.sources.len()), (None, 0));
    }

    /// A value that the mask accepts must not be forgotten.
    #[test]
    fn every_leaf_that_can_be_changed_is() {
        let full = api::SettingsValues {
            language: Some("de".to_owned()),
            layout: Some(Layout::Horizontal.into()),
            handoff: Some(api::HandoffValues {
                human_enabled: Some(true),
                smart_enabled: Some(false),
                show_messages: Some(false),
            }),
            canned_responses_enabled: Some(true),
            pages: Some(api::PageList {
                pages: vec![api::Page::Home.into()],
            }),
            custom_tabs: Some(api::CustomTabList {
                tabs: vec![api::CustomTab {
                    id: "shop".to_owned(),
                    title: "Shop".to_owned(),
                    icon: String::new(),
                    url: "https://shop.example.com/".to_owned(),
                    visibility: api::custom_tab::Visibility::Always.into(),
                }],
            }),
            free_tags_enabled: Some(true),
            time_zone: Some("Europe/Berlin".to_owned()),
            branding: Some(api::Branding {
                primary_color: "#1a2b3c".to_owned(),
                ..Default::default()
            }),
        };
        every_leaf_is_changed(&settings(Values::default()), |leaf| {
            overrides(full.clone(), Some(&[leaf]))
        });
        every_leaf_is_changed(&defaults(Values::default()), |leaf| {
            workspace_defaults(full.clone(), Some(&[leaf]))
        });
    }

    fn every_leaf_is_changed<O: Owner>(unset: &Settings<O>, wanted: impl Fn(&str) -> Result<Wanted>) {
        for field in O::Request::FIELDS {
            if field.behavior == Behavior::Mutable {
                let wanted = wanted(field.path).unwrap();
                let after = unset.update(&wanted, &Values::default(), NOW).unwrap();
                assert_eq!(unset.changed_fields(&after), [field.path]);
            }
        }
    }

    #[test]
    fn the_first_write_makes_version_one() {
        let before = settings(Values::default());
        let after = update(&before, language("pt-BR"), None).unwrap();
        assert_eq!(
            (after.version, after.create_time, after.update_time),
            (1, Some(NOW), Some(NOW))
        );
        assert_eq!(api::SettingsValues::from(&after.values).language(), "pt");
        assert_eq!(before.changed_fields(&after), ["overrides.language"]);
        assert_eq!(update(&after, language("por"), None).unwrap(), after);
    }

    #[test]
    fn etags_are_of_one_version() {
        let before = settings(Values::default());
        let after = update(&before, language("de"), None).unwrap();
        let with_etag = |settings: &Settings<_>, version| {
            let wanted = Wanted {
                etag: Uid::NIL.etag(version),
                ..overrides(language("fr"), None).unwrap()
            };
            settings.update(&wanted, &Values::default(), NOW)
        };
        assert!(with_etag(&before, 0).is_ok());
        assert!(with_etag(&after, 1).is_ok());
        let refusal = with_etag(&after, 0).unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::EtagMismatch);
    }

    #[test]
    fn an_override_is_cleared_by_its_path() {
        let before = settings(Values {
            language: Language::parse("de").ok(),
            ..handoff(Some(true), Some(true))
        });
        let after = update(&before, api::SettingsValues::default(), Some(&["overrides.handoff"])).unwrap();
        assert_eq!(after.values.language, before.values.language);
        assert_eq!(
            before.changed_fields(&after),
            ["overrides.handoff.human_enabled", "overrides.handoff.smart_enabled"]
        );
        let after = update(&before, api::SettingsValues::default(), Some(&["*"])).unwrap();
        assert_eq!(after.values, Values::default());
    }

    #[test]
    fn every_violation_is_answered() {
        let given = api::SettingsValues {
            language: Some("klingon".to_owned()),
            layout: Some(0),
            ..Default::default()
        };
        let error = update(&settings(Values::default()), given.clone(), None).unwrap_err();
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["settings.overrides.language", "settings.overrides.layout"]);
        let one = update(&settings(Values::default()), given, Some(&["overrides.layout"])).unwrap_err();
        assert_eq!(one.violations().len(), 1);
        let unknown = api::SettingsValues {
            layout: Some(9),
            ..Default::default()
        };
        assert!(update(&settings(Values::default()), unknown, None).is_err());
    }

    #[test]
    fn workspace_defaults_are_updated_likewise() {
        let before = defaults(Values::default());
        let update = |settings: &Settings<_>, text, etag: &str| {
            let wanted = Wanted {
                etag: etag.to_owned(),
                ..workspace_defaults(language(text), None).unwrap()
            };
            settings.update(&wanted, &Values::default(), LATER)
        };
        let error = update(&before, "xx", "").unwrap_err();
        assert_eq!(error.violations()[0].field, "workspace_settings.defaults.language");

        let after = update(&before, "fr", "").unwrap();
        assert_eq!((after.version, after.create_time), (1, Some(LATER)));
        assert_eq!(before.changed_fields(&after), ["defaults.language"]);
        let message = api::WorkspaceSettings::from(&after);
        assert_eq!(
            (message.name.as_str(), message.etag),
            ("workspaces/acme/settings", Uid::NIL.etag(1))
        );
        assert!(update(&after, "de", "stale").is_err());
    }

    #[test]
    fn a_conflict_from_above_does_not_stop_other_writes() {
        let before = settings(handoff(None, Some(true)));
        let wanted = overrides(language("de"), None).unwrap();
        assert!(before.update(&wanted, &handoff(Some(false), None), NOW).is_ok());
    }

    #[test]
    fn settings_of_a_deleted_organization_do_not_change() {
        let organization = settings(Values::default()).owner;
        for state in [State::Active, State::Suspended, State::Unspecified] {
            assert!(require_not_deleted(&organization, state).is_ok(), "{state:?}");
        }
        let refusal = require_not_deleted(&organization, State::Deleted).unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::OrganizationDeleted);
    }

    #[test]
    fn a_write_that_would_break_a_rule_is_refused_on_both_levels() {
        let smart = |human_enabled, smart_enabled| api::SettingsValues::from(&handoff(human_enabled, smart_enabled));
        let override_under = |above: Values, values| {
            let wanted = overrides(values, None).unwrap();
            settings(Values::default()).update(&wanted, &above, NOW)
        };
        let default_of = |values| {
            let wanted = workspace_defaults(values, None).unwrap();
            defaults(Values::default()).update(&wanted, &Values::default(), NOW)
        };
        let refusal = override_under(Values::default(), smart(None, Some(true))).unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::SettingsConflict);
        assert!(override_under(handoff(Some(true), None), smart(None, Some(true))).is_ok());
        let refusal = default_of(smart(None, Some(true))).unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::SettingsConflict);
        assert!(default_of(smart(Some(true), Some(true))).is_ok());
        assert!(default_of(smart(Some(false), None)).is_ok());
    }
}
