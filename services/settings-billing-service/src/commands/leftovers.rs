//! Taking away what purged organizations and erased users leave, step by step. Each step is a unit of its own, which may run any number of
//! times, on any number of replicas.

use crate::domain::canned_response::response_name;
use crate::domain::settings::Owner as _;
use crate::store;
use crate::store::leftovers::Gone;
use clientele_api::Result;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::org::{DeleteUserRequest, PurgeOrganizationRequest};
use clientele_api::request::Request;
use clientele_api::settings as api;
use clientele_store::follow::erasures::{self, Erased, Purged};
use clientele_store::jobs::{Job, JobScope};
use clientele_store::tx::Tx;
use clientele_store::{Author, Journal, Recorded};
use std::time::Duration;

/// How often the job looks for what is left.
const EVERY: Duration = Duration::from_secs(60);
/// How many organizations it looks at before it asks again.
const ORGANIZATIONS: u64 = 100;
/// How many users: with an organization go those who are in no other.
const USERS: u64 = 1_000;
/// How many canned responses go in one unit: each may be long.
const RESPONSES: u64 = 100;
/// How many ids of tabs do.
const TABS: u64 = 500;

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
    for purged in erasures::purged(scope, journal.db(), ORGANIZATIONS).await? {
        failed = erase(scope, journal, purged).await.err().or(failed);
    }
    for erased in erasures::erased(scope, journal.db(), USERS).await? {
        failed = forget(scope, journal, erased).await.err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// Takes away what is left of an organization: what it had first, then what the journal says of that.
async fn erase(scope: &JobScope, journal: &Journal, purged: Purged) -> Result<()> {
    while let Some(organization) = store::leftovers::name_of(journal.db(), &purged).await? {
        let author = author::<PurgeOrganizationRequest>(scope, organization.clone());
        erase_some(journal, purged.clone(), organization, author).await?;
    }
    erasures::scrub(journal, &purged).await
}

/// Takes some of it away. The settings go last: by them it is known what the organization was called.
async fn erase_some(journal: &Journal, purged: Purged, organization: OrganizationRef, author: Author) -> Result<()> {
    let unit = async move |tx: &Tx| {
        let responses = store::leftovers::erase_responses(tx, &purged, RESPONSES).await?;
        let tabs = store::leftovers::erase_tabs(tx, &purged, TABS).await?;
        let mut recorded = gone(&organization, &responses);
        if (responses.len() as u64) < RESPONSES && tabs < TABS {
            let settings = store::leftovers::erase_settings(tx, &purged).await?;
            recorded.changes.extend(settings.map(|gone| {
                let remains = api::Settings {
                    name: organization.settings_name(),
                    uid: gone.uid.to_string(),
                    version: gone.version,
                    ..Default::default()
                };
                Change::purged(&remains, gone.version + 1)
            }));
        }
        Ok(recorded)
    };
    journal.write(author, unit).await.map(drop)
}

/// Takes away what a user kept for itself, and what the journal remembers of that.
async fn forget(scope: &JobScope, journal: &Journal, erased: Erased) -> Result<()> {
    while let Some(organization) = store::leftovers::place_of(journal.db(), &erased).await? {
        let author = author::<DeleteUserRequest>(scope, organization.clone());
        let erased = erased.clone();
        let unit = async move |tx: &Tx| {
            let responses = store::leftovers::erase_responses_by(tx, &erased, &organization, RESPONSES).await?;
            Ok(gone(&organization, &responses))
        };
        journal.write(author, unit).await?;
    }
    erasures::forget_answers(journal, &erased).await
}

fn author<Q: Request>(scope: &JobScope, organization: OrganizationRef) -> Author {
    Author {
        organization: Some(organization.clone()),
        ..scope.author(Q::METHOD.path, organization.workspace)
    }
}

/// The journal tells that they are gone, and which they were.
fn gone(organization: &OrganizationRef, responses: &[Gone]) -> Recorded<()> {
    let changes = responses.iter().map(|gone| {
        let remains = api::CannedResponse {
            name: response_name(organization, gone.uid),
            uid: gone.uid.to_string(),
            version: gone.version,
            ..Default::default()
        };
        Change::purged(&remains, gone.version + 1)
    });
    Recorded {
        changes: changes.collect(),
        ..Recorded::nothing(())
    }
}
