//! The bytes of logos, as files `{organization uid}/{sha256}`: written before the row that names them, and never overwritten by others.

use super::organization::{Column, Entity};
use crate::domain::logo::{Logo, hex};
use bytes::Bytes;
use clientele_api::error::ErrorReason;
use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Result, Uid};
use clientele_service::scope::Scope;
use clientele_store::Db;
use clientele_store::connect::db_error;
use clientele_store::jobs::JobScope;
use sea_orm::QuerySelect;
use sea_orm::entity::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// The folder of all logos.
#[derive(Debug, Clone)]
pub struct Logos {
    folder: PathBuf,
}

impl Logos {
    /// Logos in this folder, which is made if it is not there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Keeps the bytes of a logo; when this returns they are on the disk. Written also if they are there already, so that
    /// nothing depends on who else is about to take those away.
    pub async fn put(&self, scope: &Scope<OrganizationRef>, logo: &Logo, content: Bytes) -> Result<()> {
        let path = self.path(scope, logo);
        blocking(move || write_durably(&path, &content)).await
    }

    /// The bytes of a logo.
    pub async fn get(&self, scope: &Scope<OrganizationRef>, logo: &Logo) -> Result<Bytes> {
        let path = self.path(scope, logo);
        blocking(move || fs::read(path).map(Bytes::from)).await
    }

    /// The organizations that have a folder.
    pub async fn organizations(&self, _scope: &JobScope) -> Result<Vec<Uid>> {
        let folder = self.folder.clone();
        blocking(move || {
            let names = names_in(&folder)?.into_iter();
            Ok(names.filter_map(|name| organization_of(&name)).collect())
        })
        .await
    }

    /// The files of these organizations that were written longer ago than `age`. What we would not have written is left out.
    pub async fn old_files(&self, _scope: &JobScope, organizations: Vec<Uid>, age: Duration) -> Result<Vec<LogoFile>> {
        let logos = self.clone();
        blocking(move || {
            let mut files = Vec::new();
            for organization in organizations {
                let folder = logos.folder_of(organization);
                for name in names_in(&folder)?
                    .into_iter()
                    .filter_map(|name| name.into_string().ok())
                {
                    let path = folder.join(&name);
                    if (is_hash(&name) || is_aside(&name)) && is_older(&path, age)? {
                        files.push(LogoFile {
                            organization,
                            name,
                            path,
                        });
                    }
                }
            }
            Ok(files)
        })
        .await
    }

    /// Removes these files, but for those that were written again meanwhile.
    pub async fn remove(&self, _scope: &JobScope, files: Vec<LogoFile>, age: Duration) -> Result<()> {
        blocking(move || files.iter().try_for_each(|file| remove_if_older(&file.path, age))).await
    }

    /// Removes the folders of organizations that are gone, if they are empty.
    pub async fn remove_folders(&self, _scope: &JobScope, organizations: Vec<Uid>) -> Result<()> {
        let logos = self.clone();
        blocking(move || {
            for organization in organizations {
                let folder = logos.folder_of(organization);
                if names_in(&folder)?.is_empty() {
                    let _ = fs::remove_dir(folder); // something may have come into it meanwhile
                }
            }
            Ok(())
        })
        .await
    }

    fn path(&self, scope: &Scope<OrganizationRef>, logo: &Logo) -> PathBuf {
        self.folder_of(scope.organization().uid).join(hex(&logo.sha256))
    }

    fn folder_of(&self, organization: Uid) -> PathBuf {
        self.folder.join(organization.to_string())
    }
}

/// A file of an organization.
#[derive(Debug)]
pub struct LogoFile {
    organization: Uid,
    name: String,
    path: PathBuf,
}

impl LogoFile {
    /// Whether it is the logo that its organization has.
    pub fn is_kept(&self, rows: &BTreeMap<Uid, Option<Vec<u8>>>) -> bool {
        let kept = rows.get(&self.organization).and_then(Option::as_deref);
        kept.is_some_and(|sha256| hex(sha256) == self.name)
    }
}

/// Those of these organizations that exist, each with the hash of its logo, if it has one.
pub async fn kept(_scope: &JobScope, db: &Db, organizations: &[Uid]) -> Result<BTreeMap<Uid, Option<Vec<u8>>>> {
    let select = Entity::find()
        .select_only()
        .columns([Column::Uid, Column::LogoSha256])
        .filter(Column::Uid.is_in(organizations.iter().map(|uid| uid.0)));
    let rows: Vec<(Uuid, Option<Vec<u8>>)> = select.into_tuple().all(db.read()).await.map_err(db_error)?;
    Ok(rows.into_iter().map(|(uid, sha256)| (Uid(uid), sha256)).collect())
}

/// What is in a folder; nothing if there is none.
fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn organization_of(name: &OsString) -> Option<Uid> {
    let name = name.to_str()?;
    Uid::parse(name).filter(|uid| uid.to_string() == name)
}

fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether it is the name of a file that was not yet whole.
fn is_aside(name: &str) -> bool {
    name.strip_prefix('.').is_some_and(|name| Uuid::try_parse(name).is_ok())
}

/// Whether a file is there, and was written longer ago than this.
fn is_older(path: &Path, age: Duration) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(file) => Ok(file.is_file()
            && SystemTime::now()
                .duration_since(file.modified()?)
                .is_ok_and(|since| since > age)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file may be written again at any moment, by a call whose row will name it. So it is taken aside first, where nobody writes to
/// it, and put back if it turns out to be a new one: of one name all files are equal.
fn remove_if_older(path: &Path, age: Duration) -> io::Result<()> {
    let aside = aside(path);
    match fs::rename(path, &aside) {
        Ok(()) if is_older(&aside, age)? => fs::remove_file(&aside),
        Ok(()) => fs::rename(&aside, path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()), // another replica was faster
        Err(error) => Err(error),
    }
}

/// A name beside it that nobody else uses.
fn aside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}", Uuid::new_v4()))
}

/// A file is whole or not there: written aside, forced to the disk, renamed, and the folder forced too.
fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let aside = aside(path);
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&aside); // the error that is answered is the first one
    }
    written?;
    File::open(folder)?.sync_all()?;
    folder.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
        .map_err(unavailable)
}

/// The disk is full, or the folder is not reachable: another try may succeed.
fn unavailable(error: io::Error) -> Error {
    Error::new(
        ErrorReason::StorageUnavailable,
        "the store of logos does not answer: try again",
    )
    .because(error)
    .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_file_that_was_written_again_since_it_was_listed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        for path in [&old, &new] {
            fs::write(path, "logo").unwrap();
        }
        File::open(&old)
            .unwrap()
            .set_modified(SystemTime::now() - 2 * DAY)
            .unwrap();
        for path in [&old, &new, &folder.path().join("gone")] {
            remove_if_older(path, DAY).unwrap();
        }
        assert_eq!(names_in(folder.path()).unwrap(), ["new"]);
    }

    #[test]
    fn a_file_that_is_written_again_while_it_is_removed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (&folder.path().join("logo"), &folder.path().join("new"));
        let begin = &Barrier::new(2);
        for _ in 0..2_000 {
            fs::write(path, "logo").unwrap();
            let file = File::open(path).unwrap();
            file.set_modified(SystemTime::now() - 2 * DAY).unwrap();
            fs::write(new, "logo").unwrap();
            thread::scope(|threads| {
                threads.spawn(|| {
                    begin.wait();
                    fs::rename(new, path).unwrap();
                });
                begin.wait();
                remove_if_older(path, DAY).unwrap();
            });
            assert!(path.exists());
        }
    }
}
