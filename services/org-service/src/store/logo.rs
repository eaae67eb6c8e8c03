//! The bytes of logos, as files `{organization uid}/{sha256}`: written before the row that names them, and never overwritten by others.

use crate::domain::logo::Logo;
use bytes::Bytes;
use clientele_api::error::ErrorReason;
use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Result};
use clientele_service::scope::Scope;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
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

    fn path(&self, scope: &Scope<OrganizationRef>, logo: &Logo) -> PathBuf {
        let hash: String = logo.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(scope.organization().uid.to_string()).join(hash)
    }
}

/// A file is whole or not there: written aside, forced to the disk, renamed, and the folder forced too.
fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let aside = folder.join(format!(".{}", Uuid::new_v4()));
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
