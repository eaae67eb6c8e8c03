//! What holds for organizations, remembered: every look at a dashboard asks for it.

use super::{Table, find_committed, organizations};
use crate::domain::settings::Settings;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Error, Result, Uid, settings as api};
use clientele_service::scope::Scope;
use clientele_store::memory::Memory;
use clientele_store::{Answer, Journal, Reader};
use prost::Message;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How much is remembered, in bytes: the settings of some 20 000 organizations, fewer where they have many tabs of their own.
const REMEMBERED: u64 = 64 * 1024 * 1024;

/// The settings of organizations, with what holds, answered from memory.
#[derive(Debug, Clone)]
pub struct EffectiveSettings {
    reader: Reader,
    memory: Memory<Uid, Arc<api::Settings>>,
}

impl EffectiveSettings {
    /// Nothing is remembered yet.
    pub fn new(journal: Journal, reader: Reader) -> Self {
        Self {
            reader,
            memory: Memory::of_bytes(journal, "settings", REMEMBERED, size),
        }
    }

    /// Those of the scope's organization.
    pub async fn get(&self, scope: &Scope<OrganizationRef>) -> Result<Answer<Arc<api::Settings>>> {
        let organization = scope.organization();
        let load = async || {
            let settings = find_committed(&self.reader, organization).await?.value;
            // Read last, so that its revision is an upper bound of both: the journal only grows.
            let defaults = find_committed(&self.reader, &organization.workspace).await?;
            Ok(defaults.map(|defaults| Some(Arc::new(settings.with_effective(&defaults.values)))))
        };
        let depends_on = depends_on(organization);
        let found = self
            .memory
            .get(organization.uid, &depends_on, scope.min_revision(), load)
            .await?;
        found.try_map(|found| found.ok_or_else(|| Error::internal("settings exist with their organization")))
    }

    /// Those of these organizations of the scope's workspace, by their uids.
    pub async fn get_all(
        &self,
        scope: &Scope<WorkspaceRef>,
        organizations: &BTreeMap<String, OrganizationRef>,
    ) -> Result<Answer<HashMap<Uid, Arc<api::Settings>>>> {
        let load = async |missing: Vec<Uid>| {
            let uids = missing.iter().map(|uid| uid.0);
            let select = organizations::Entity::find().filter(organizations::Column::OrganizationUid.is_in(uids));
            let rows = self.reader.all(select).await?.value;
            let set = rows.into_iter().map(OrganizationRef::settings);
            let set = set.collect::<Result<Vec<_>>>()?;
            let mut set: HashMap<Uid, _> = set.into_iter().map(|settings| (settings.owner.uid, settings)).collect();
            let defaults = find_committed(&self.reader, scope.workspace()).await?;
            Ok(defaults.map(|defaults| {
                let missing = organizations.values().filter(|one| missing.contains(&one.uid));
                let effective = missing.map(|organization| {
                    let settings = set.remove(&organization.uid);
                    let settings = settings.unwrap_or_else(|| Settings::unset(organization.clone()));
                    (organization.uid, Arc::new(settings.with_effective(&defaults.values)))
                });
                effective.collect()
            }))
        };
        let keys = organizations.values().map(|one| (one.uid, depends_on(one)));
        self.memory.get_all(keys, scope.min_revision(), load).await
    }
}

/// The organization's own settings have its uid, the defaults that of the workspace.
fn depends_on(organization: &OrganizationRef) -> [Uid; 2] {
    [organization.uid, organization.workspace.uid]
}

/// Roughly: in memory a message is larger than encoded.
fn size(settings: &Arc<api::Settings>) -> usize {
    1_024 + 2 * settings.encoded_len()
}
