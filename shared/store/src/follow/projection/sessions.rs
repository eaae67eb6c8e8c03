//! Sessions that are over. Of the others nothing is kept: whoever bears a token of one is believed.

use super::kind::{Projected, Told, Understood};
use crate::tx::Write;
use clientele_api::org::session::State;
use clientele_api::{Micros, org};
use sea_orm::QueryTrait;
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};
use std::time::Duration;

/// A session that was ended is known for so long: much longer than any of its access tokens is accepted.
const KEPT: Duration = Duration::from_secs(3600);
/// At most so many are dropped at a time.
const DROPPED: u64 = 1_000;

/// A session that is over.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection_sessions")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its id; NULL: the journal was restored, and no longer says that it is over.
    pub id: Option<String>,
    /// Its version.
    pub version: i64,
    /// The number of the bootstrap that named it last.
    pub bootstrap: i64,
    /// When it was ended, in microseconds.
    pub end_time: i64,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Projected for Entity {
    type Message = org::Session;
    const NAMED: &'static str = "workspaces/{workspace}/sessions/{session}";

    fn keep(told: &Told<'_>, message: org::Session) -> Understood<Option<Model>> {
        let over = told.is_gone() || message.state() == State::Revoked;
        let revoked = message.update_time.filter(|_| !told.is_gone());
        let end_time = revoked.or(told.entry.time).and_then(|time| Micros::try_from(time).ok());
        let end_time = end_time.unwrap_or_else(Micros::now);
        Ok((over && end_time.0 >= oldest()).then(|| Model {
            uid: told.uid,
            id: Some(told.last_id.clone()),
            version: told.version(),
            bootstrap: told.bootstrap,
            end_time: end_time.0,
        }))
    }

    fn outdated() -> Option<Write> {
        let some = Entity::find()
            .select_only()
            .column(Column::Uid)
            .filter(Column::EndTime.lt(oldest()))
            .order_by_asc(Column::EndTime)
            .limit(DROPPED);
        let mut delete = Entity::delete_many().filter(Column::Uid.in_subquery(some.into_query()));
        Some(QueryTrait::query(&mut delete).to_owned().into())
    }
}

/// What ended before is not worth knowing.
fn oldest() -> i64 {
    Micros::now().0 - i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX)
}
