//! Entities and queries. Every query takes the scope that admits it.

pub mod organization;
pub mod settings;
pub mod workspace_settings;

use crate::domain::language::Language;
use clientele_api::settings::Layout;
use clientele_api::{Error, Result};

fn language(column: Option<&str>) -> Result<Option<Language>> {
    let damaged = |_| Error::internal("a stored language is none");
    column.map(Language::parse).transpose().map_err(damaged)
}

fn layout(column: Option<i32>) -> Result<Option<Layout>> {
    column.map(Layout::try_from).transpose().map_err(Error::internal)
}
