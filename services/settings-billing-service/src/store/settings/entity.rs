//! The two tables. What can be set is the same for both, so each column of a value stands here once: in the row, to it, and from it.

use crate::domain::language::Language;
use crate::domain::settings::{Owner, Settings};
use crate::domain::values::Values;
use clientele_api::settings::Layout;
use clientele_api::{Error, Micros, Result};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::entity::prelude::*;

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
            /// Whether saved answers are offered.
            pub canned_responses_enabled: Option<bool>,
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
