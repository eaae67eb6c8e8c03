//! The two tables. What can be set is the same for both, so each column of a value stands here once: in the row, to it, and from it.

use crate::domain::branding::Branding;
use crate::domain::custom_tab::CustomTab;
use crate::domain::language::Language;
use crate::domain::settings::{Owner, Settings};
use crate::domain::time_zone::TimeZone;
use crate::domain::values::Values;
use clientele_api::settings::{Layout, Page, custom_tab::Visibility};
use clientele_api::{Error, Micros, Result};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::FromJsonQueryResult;
use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

/// A table: the columns that say whose the settings are, the key first, and those that both tables have.
macro_rules! table {
    ($table:literal, $(#[$about_key:meta])* $key:ident, $($(#[$about:meta])* $owner:ident: $type:ty,)*) => {
        use super::*;

        /// What was set for one owner.
        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
        #[sea_orm(table_name = $table)]
        pub struct Model {
            $(#[$about_key])*
            #[sea_orm(primary_key, auto_increment = false)]
            pub $key: Uuid,
            $($(#[$about])* pub $owner: $type,)*
            /// Counts the changes, from 1.
            pub version: i64,
            /// In microseconds.
            pub create_time: i64,
            /// In microseconds.
            pub update_time: i64,
            /// A code of ISO 639-1.
            pub language: Option<String>,
            /// The number of `Layout`.
            pub layout: Option<i32>,
            /// Whether an end user may ask for a person.
            pub human_enabled: Option<bool>,
            /// Whether the agent itself notices that a person is needed.
            pub smart_enabled: Option<bool>,
            /// Whether the conversation shows who is talking.
            pub show_messages: Option<bool>,
            /// Whether canned responses are offered.
            pub canned_responses_enabled: Option<bool>,
            /// The pages that are offered.
            #[sea_orm(column_type = "JsonBinary", nullable)]
            pub pages: Option<PageList>,
            /// The agency's own tabs.
            #[sea_orm(column_type = "JsonBinary", nullable)]
            pub custom_tabs: Option<TabList>,
            /// Whether conversations may be tagged with any words.
            pub free_tags_enabled: Option<bool>,
            /// A name of the IANA database.
            pub time_zone: Option<String>,
            /// The colours of the dashboard.
            #[sea_orm(column_type = "JsonBinary", nullable)]
            pub branding: Option<Colors>,
        }

        /// The row stands alone.
        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}

        /// The columns that both tables have.
        pub(in super::super) fn columns<O: Owner>(settings: &Settings<O>) -> Result<ActiveModel> {
            let unset = || Error::internal("settings that were never set have no row");
            let values = &settings.values;
            Ok(ActiveModel {
                $key: NotSet,
                $($owner: NotSet,)*
                version: Set(settings.version),
                create_time: Set(settings.create_time.ok_or_else(unset)?.0),
                update_time: Set(settings.update_time.ok_or_else(unset)?.0),
                language: Set(values.language.map(|language| language.code().to_owned())),
                layout: Set(values.layout.map(i32::from)),
                human_enabled: Set(values.human_enabled),
                smart_enabled: Set(values.smart_enabled),
                show_messages: Set(values.show_messages),
                canned_responses_enabled: Set(values.canned_responses_enabled),
                pages: Set(values.pages.as_deref().map(PageList::from)),
                custom_tabs: Set(values.custom_tabs.as_deref().map(TabList::from)),
                free_tags_enabled: Set(values.free_tags_enabled),
                time_zone: Set(values.time_zone.map(|zone| zone.name().to_owned())),
                branding: Set(values.branding.clone().map(Colors::from)),
            })
        }

        /// The settings of this owner in a row.
        pub(in super::super) fn settings<O: Owner>(row: Model, owner: O) -> Result<Settings<O>> {
            Ok(Settings {
                owner,
                version: row.version,
                create_time: Some(Micros(row.create_time)),
                update_time: Some(Micros(row.update_time)),
                values: Values {
                    language: language(row.language.as_deref())?,
                    layout: layout(row.layout)?,
                    human_enabled: row.human_enabled,
                    smart_enabled: row.smart_enabled,
                    show_messages: row.show_messages,
                    canned_responses_enabled: row.canned_responses_enabled,
                    pages: row.pages.map(PageList::pages).transpose()?,
                    custom_tabs: row.custom_tabs.map(TabList::tabs).transpose()?,
                    free_tags_enabled: row.free_tags_enabled,
                    time_zone: time_zone(row.time_zone.as_deref())?,
                    branding: row.branding.map(Branding::from),
                },
            })
        }
    };
}

/// Those of organizations.
pub mod organizations {
    table! {
        "settings_organizations",
        /// The organization.
        organization_uid,
        /// Its workspace.
        workspace_uid: Uuid,
        /// The id of the workspace, which never changes.
        workspace_id: String,
        /// The id of the organization, which never changes.
        organization_id: String,
    }
}

/// Those of workspaces.
pub mod workspaces {
    table! {
        "settings_workspaces",
        /// The workspace.
        workspace_uid,
        /// The id of the workspace, which never changes.
        workspace_id: String,
    }
}

fn language(column: Option<&str>) -> Result<Option<Language>> {
    let damaged = |_| Error::internal("a stored language is none");
    column.map(Language::parse).transpose().map_err(damaged)
}

fn layout(column: Option<i32>) -> Result<Option<Layout>> {
    column.map(Layout::try_from).transpose().map_err(Error::internal)
}

fn time_zone(column: Option<&str>) -> Result<Option<TimeZone>> {
    let damaged = |_| Error::internal("a stored time zone is none");
    column.map(TimeZone::parse).transpose().map_err(damaged)
}

/// The numbers of pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct PageList(Vec<i32>);

impl From<&[Page]> for PageList {
    fn from(pages: &[Page]) -> Self {
        Self(pages.iter().map(|page| i32::from(*page)).collect())
    }
}

impl PageList {
    fn pages(self) -> Result<Vec<Page>> {
        let page = |number| Page::try_from(number).map_err(Error::internal);
        self.0.into_iter().map(page).collect()
    }
}

/// Tabs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct TabList(Vec<Tab>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tab {
    id: String,
    title: String,
    icon: String,
    url: String,
    /// The number of `CustomTab.Visibility`.
    visibility: i32,
}

impl From<&[CustomTab]> for TabList {
    fn from(tabs: &[CustomTab]) -> Self {
        let tab = |tab: &CustomTab| Tab {
            id: tab.id.clone(),
            title: tab.title.clone(),
            icon: tab.icon.clone(),
            url: tab.url.clone(),
            visibility: tab.visibility.into(),
        };
        Self(tabs.iter().map(tab).collect())
    }
}

impl TabList {
    fn tabs(self) -> Result<Vec<CustomTab>> {
        let tab = |tab: Tab| {
            Ok(CustomTab {
                id: tab.id,
                title: tab.title,
                icon: tab.icon,
                url: tab.url,
                visibility: Visibility::try_from(tab.visibility).map_err(Error::internal)?,
            })
        };
        self.0.into_iter().map(tab).collect()
    }
}

/// Colours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Colors {
    primary: String,
    accent: String,
    background: String,
    text: String,
}

impl From<Branding> for Colors {
    fn from(branding: Branding) -> Self {
        Self {
            primary: branding.primary_color,
            accent: branding.accent_color,
            background: branding.background_color,
            text: branding.text_color,
        }
    }
}

impl From<Colors> for Branding {
    fn from(colors: Colors) -> Self {
        Self {
            primary_color: colors.primary,
            accent_color: colors.accent,
            background_color: colors.background,
            text_color: colors.text,
        }
    }
}
