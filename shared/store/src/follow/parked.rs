//! Changes that could not be understood: kept for whoever finds out why, while everything else goes on.

use crate::tx::Write;
use clientele_api::journal::Change;
use clientele_api::{Micros, Uid};
use prost::Message as _;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{IntoActiveModel, QueryTrait};

/// A change that could not be understood. A later one of its resource supersedes it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "follow_parked")]
pub struct Model {
    /// The service that it came from.
    #[sea_orm(primary_key, auto_increment = false)]
    pub service: String,
    /// The uid of the resource; empty if the change has none that is one.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: String,
    /// The version of the resource.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    /// The encoded `Change`.
    pub change: Vec<u8>,
    /// When it was parked, in microseconds.
    pub time: i64,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Parks the changes; one that came before stays as it is.
pub(super) fn park(service: &str, changes: &[Change]) -> Option<Write> {
    if changes.is_empty() {
        return None;
    }
    let rows = changes.iter().map(|change| {
        let row = Model {
            service: service.to_owned(),
            uid: Uid::parse(&change.uid).map(|uid| uid.to_string()).unwrap_or_default(),
            version: change.version,
            change: change.encode_to_vec(),
            time: Micros::now().0,
        };
        row.into_active_model()
    });
    let known = OnConflict::columns([Column::Service, Column::Uid, Column::Version])
        .do_nothing()
        .to_owned();
    Some(Entity::insert_many(rows).on_conflict(known).into_query().into())
}
