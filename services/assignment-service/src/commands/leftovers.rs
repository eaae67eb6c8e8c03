//! Taking away what purged organizations and deleted agents leave, step by step. Each step is a unit of its own, which may run any number of
//! times, on any number of replicas.

use crate::store;
use crate::store::leftovers::Deleted;
use clientele_api::Result;
use clientele_api::assignment as api;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::org::PurgeOrganizationRequest;
use clientele_api::request::Request as _;
use clientele_store::follow::erasures::{self, Purged};
use clientele_store::jobs::{Job, JobScope};
use clientele_store::tx::{self, Mode, Tx};
use clientele_store::{Author, Journal, Recorded};
use std::time::Duration;

/// How often the job looks for what is left.
const EVERY: Duration = Duration::from_secs(60);
/// How many organizations, or agents, it looks at before it asks again.
const AT_ONCE: u64 = 100;
/// How many assignments go in one unit.
const CHUNK: u64 = 500;
/// How many scopes do: each may list many agents.
const SCOPES: u64 = 50;

/// The job that takes away what is left.
pub fn job(journal: Journal) -> Job {
    Job::new("leftovers", EVERY, move |scope| {
        let journal = journal.clone();
        async move { work(&scope, &journal).await }
    })
}

/// One that fails does not keep the others from going; the job has failed then all the same.
async fn work(scope: &JobScope, journal: &Journal) -> Result<()> {
    let mut failed = None;
    for purged in erasures::purged(scope, journal.db(), AT_ONCE).await? {
        failed = erase(scope, journal, purged).await.err().or(failed);
    }
    for deleted in store::leftovers::deleted(scope, journal.db(), AT_ONCE).await? {
        failed = forget(journal, deleted).await.err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// Takes away what is left of an organization: what it had first, then what the journal says of that.
async fn erase(scope: &JobScope, journal: &Journal, purged: Purged) -> Result<()> {
    while let Some(organization) = store::leftovers::name_of(journal.db(), &purged).await? {
        erase_some(scope, journal, purged.clone(), organization).await?;
    }
    erasures::scrub(journal, &purged).await
}

/// Removes some assignments and scopes. The journal tells of those that had not been taken away.
async fn erase_some(scope: &JobScope, journal: &Journal, purged: Purged, organization: OrganizationRef) -> Result<()> {
    let author = Author {
        organization: Some(organization.clone()),
        ..scope.author(PurgeOrganizationRequest::METHOD.path, organization.workspace)
    };
    let unit = async move |tx: &Tx| {
        let assignments = store::leftovers::assignments_of(tx, &purged, CHUNK).await?;
        store::leftovers::erase_assignments(tx, &purged, &assignments);
        let present = assignments.iter().filter(|assignment| !assignment.removed);
        let gone = present.map(|present| Change::purged(&api::Assignment::from(present), present.version + 1));
        let scopes = store::leftovers::scopes_of(tx, &purged, SCOPES).await?;
        store::leftovers::erase_scopes(tx, &purged, &scopes);
        let set = scopes.iter();
        let unset = set.map(|set| Change::purged(&api::MemberScope::from(set), set.version + 1));
        Ok(Recorded {
            changes: gone.chain(unset).collect(),
            ..Recorded::nothing(())
        })
    };
    journal.write(author, unit).await.map(drop)
}

/// Removes the assignments of a deleted agent that were taken away before: they would have kept what they were for its return.
async fn forget(journal: &Journal, deleted: Deleted) -> Result<()> {
    let unit = async move |tx: &Tx| store::leftovers::erase_deleted(tx, deleted, CHUNK).await;
    while !tx::run(journal.db(), Mode::Commit, unit).await?.value {}
    Ok(())
}
