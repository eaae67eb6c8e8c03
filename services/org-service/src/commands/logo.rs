//! Timed work on logos.

use crate::store::logo::{self, Logos};
use clientele_api::Result;
use clientele_store::Db;
use clientele_store::jobs::{Job, JobScope};
use std::time::Duration;

/// How often it is done.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// How many organizations are looked at together.
const CHUNK: usize = 100;

/// The job that removes the files of logos that no organization has, and what a crash left half written, once they are older than
/// `age`.
pub fn sweep(db: Db, logos: Logos, age: Duration) -> Job {
    Job::new("logo-sweep", EVERY, move |scope| {
        sweep_once(scope, db.clone(), logos.clone(), age)
    })
}

async fn sweep_once(scope: JobScope, db: Db, logos: Logos, age: Duration) -> Result<()> {
    let mut removed = 0;
    for organizations in logos.organizations(&scope).await?.chunks(CHUNK) {
        // First the files, then the rows: the file of a row that is written in between is younger than any that was listed.
        let mut files = logos.old_files(&scope, organizations.to_vec(), age).await?;
        let rows = logo::kept(&scope, &db, organizations).await?;
        files.retain(|file| !file.is_kept(&rows));
        removed += files.len();
        logos.remove(&scope, files, age).await?;
        let gone = organizations.iter().filter(|uid| !rows.contains_key(uid));
        logos.remove_folders(&scope, gone.copied().collect()).await?;
    }
    if removed > 0 {
        tracing::info!(job = scope.job(), removed, "files of logos that no organization has");
    }
    Ok(())
}
