//! `clientele restore`.

use crate::data::Data;
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use clientele_store::restore;
use std::io::Write as _;
use std::path::PathBuf;

/// What is restored, and from where.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The service whose database it is.
    service: Database,
    /// The backup, as `VACUUM INTO` of SQLite makes it; it is left as it is.
    backup: PathBuf,
}

/// The databases in the folder.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Database {
    Org,
    Assignment,
    SettingsBilling,
}

impl Restore {
    pub(crate) async fn run(self, data: &Data) -> Result<()> {
        let file = data.database_file(match self.service {
            Database::Org => "org",
            Database::Assignment => "assignment",
            Database::SettingsBilling => "settings-billing",
        });
        let epoch = restore::restore(&self.backup, &file).await.with_context(|| {
            let (backup, file) = (self.backup.display(), file.display());
            format!("can't put {backup} in the place of {file}, which is as it was (clientele must not be running)")
        })?;
        Ok(writeln!(
            std::io::stdout(),
            "{} is restored; its journal is in epoch {epoch}: who follows it reads everything anew",
            file.display()
        )?)
    }
}
