//! The versions of settings: nothing but the journal keeps them.

use super::Table;
use crate::domain::settings::Owner;
use clientele_api::journal::Change;
use clientele_api::request::{Page, Resource as _};
use clientele_api::{Micros, Result, settings as api};
use clientele_service::journal::log_page;
use clientele_service::scope::Scope;
use clientele_store::Journal;
use clientele_store::journal::Row;

/// A page of the versions of the settings of the scope's owner, newest first, and the token of the next page.
pub async fn list<O: Table, Q: Page>(
    journal: &Journal,
    scope: &Scope<O>,
    request: &Q,
) -> Result<(Vec<api::SettingsRevision>, String)> {
    let owner = O::of(scope);
    let (rows, next) = log_page(journal, owner.rows(), request, |row| change(row, owner).is_some()).await?;
    let revisions = rows.into_iter().filter_map(|row| {
        let (change, message) = change(&row, owner)?;
        Some(revision::<O>(row, change, message))
    });
    Ok((revisions.collect(), next))
}

/// The settings of the scope's owner as this version made them. None: the journal does not hold it.
pub async fn find<O: Table>(journal: &Journal, scope: &Scope<O>, version: i64) -> Result<Option<O::Message>> {
    let owner = O::of(scope);
    let message = |row: &Row| change(row, owner).map(|(_, message)| message);
    let is_it = |row: &Row| message(row).is_some_and(|message| message.version() == version);
    // To the end: a lower version may stand before it, where it was committed first by a transaction that began later.
    let mut below = None;
    loop {
        let found = journal.before(owner.rows(), below, 1, u64::MAX, is_it).await?;
        if !found.rows.is_empty() || found.next.is_none() {
            return Ok(found.rows.first().and_then(message));
        }
        below = found.next;
    }
}

/// What a row tells of the settings of this owner. What was taken out of it is not told any more.
fn change<O: Table>(row: &Row, owner: &O) -> Option<(Change, O::Message)> {
    let uid = owner.uid().to_string();
    let mut changes = row.changes().ok()?.into_iter().filter(|change| change.uid == uid);
    // An owner itself has this uid too, and whatever else it has one of.
    changes.find_map(|change| {
        let message = change.after.as_ref()?.to_msg().ok()?;
        Some((change, message))
    })
}

fn revision<O: Owner>(row: Row, change: Change, message: O::Message) -> api::SettingsRevision {
    api::SettingsRevision {
        version: change.version,
        create_time: Some(Micros(row.time).into()),
        actor: row.actor,
        acting_for: row.acting_for.unwrap_or_default(),
        method: row.method,
        request_id: row.request_id.map(|id| id.to_string()).unwrap_or_default(),
        mutation_id: row.mutation_id.to_string(),
        changed_fields: change.changed_fields,
        values: Some(O::values(message)),
    }
}
