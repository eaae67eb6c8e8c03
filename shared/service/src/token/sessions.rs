//! The keys of sessions: org-service signs access tokens with them, every service verifies with their public halves.

use super::SigningKey;
use super::keys::KeySet;
use anyhow::{Context as _, Result, ensure};
use clientele_api::Error;
use clientele_api::error::ErrorReason;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// How old a key must be to sign: until then every replica has it mounted, and every other service has fetched it.
const SIGNS_AFTER: Duration = Duration::from_secs(600);
/// For a key that is not known, the others are asked at most this often.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Where the keys of sessions are.
#[derive(Debug, Clone)]
pub enum SessionIssuer {
    /// Here: this is org-service.
    Own(SessionKeys),
    /// With org-service.
    Fetched(FetchedKeys),
}

impl SessionIssuer {
    pub(super) fn find(&self, id: &str, algorithm: Algorithm) -> Option<DecodingKey> {
        match self {
            Self::Own(keys) => keys.0.public.find(id, algorithm),
            Self::Fetched(keys) => keys.0.public.find(id, algorithm),
        }
    }

    /// Whether they changed since this was asked last.
    pub(super) fn have_changed(&self) -> bool {
        match self {
            Self::Own(keys) => keys.have_changed(),
            Self::Fetched(keys) => keys.0.changed.swap(false, Ordering::AcqRel),
        }
    }

    /// Looks for a key that is not known. Whether the keys changed; UNAVAILABLE while org-service is asked.
    pub(super) fn look_for_unknown_key(&self) -> clientele_api::Result<bool> {
        match self {
            Self::Own(keys) => Ok(keys.have_changed()),
            Self::Fetched(keys) => keys.ask(),
        }
    }
}

/// A set of public keys in force.
#[derive(Debug, Default)]
struct Public(RwLock<KeySet>);

impl Public {
    fn find(&self, id: &str, algorithm: Algorithm) -> Option<DecodingKey> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .find(id, algorithm)
    }

    /// Whether they are other ones.
    fn replace(&self, jwks: String) -> Result<bool> {
        let set = KeySet::parse(jwks)?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = known.text() != set.text();
        *known = set;
        Ok(changed)
    }
}

/// The public keys of sessions, as org-service gave them last.
#[derive(Debug, Clone, Default)]
pub struct FetchedKeys(Arc<Fetched>);

#[derive(Debug, Default)]
struct Fetched {
    public: Public,
    changed: AtomicBool,
    at: Mutex<Option<Instant>>,
    /// Somebody came with a key that is not known.
    wanted: Notify,
}

impl FetchedKeys {
    /// Takes this set (RFC 7517) in the place of the one before. Whether it is another one.
    pub fn replace(&self, jwks: String) -> Result<bool> {
        let changed = self.0.public.replace(jwks)?;
        self.0.changed.fetch_or(changed, Ordering::AcqRel);
        Ok(changed)
    }

    /// Notes that org-service has just been asked.
    pub fn note_fetched(&self) {
        *self.0.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits until somebody comes with a key that is not known.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    fn ask(&self) -> clientele_api::Result<bool> {
        let at = *self.0.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return Ok(self.0.changed.swap(false, Ordering::AcqRel));
        }
        self.0.wanted.notify_one();
        let message = "org-service is being asked for the key of this token: try again";
        Err(Error::new(ErrorReason::NotCaughtUp, message)
            .with("service", "org")
            .retry_after(Duration::from_millis(200)))
    }
}

/// The private keys that org-service signs with: a folder of PKCS #8 PEM files (Ed25519). The last of them in the order of their names
/// signs, all verify. One that is put there is published at once, and signs ten minutes later, by the time of its file also for those who
/// start meanwhile; where all are younger, the first signs. One that is taken away ends the access tokens that it signed, which their
/// bearers then refresh. Nobody is signed out.
#[derive(Debug, Clone)]
pub struct SessionKeys(Arc<Private>);

#[derive(Debug)]
struct Private {
    folder: PathBuf,
    read: RwLock<Read>,
    public: Public,
    changed: AtomicBool,
}

#[derive(Debug)]
struct Read {
    modified: Option<SystemTime>,
    keys: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    key: Arc<SigningKey>,
    /// When it appeared.
    since: SystemTime,
}

impl SessionKeys {
    /// Reads the keys of a folder; it must have one.
    pub fn open(folder: &Path) -> Result<Self> {
        let modified = modified(folder);
        let keys = read(folder, &BTreeMap::new(), SystemTime::UNIX_EPOCH)?;
        let public = Public::default();
        public.replace(jwks(&keys))?;
        Ok(Self(Arc::new(Private {
            folder: folder.to_owned(),
            read: RwLock::new(Read { modified, keys }),
            public,
            changed: AtomicBool::default(),
        })))
    }

    /// Their public halves as a set (RFC 7517).
    pub fn jwks(&self) -> String {
        self.reload_if_touched();
        jwks(&self.0.read.read().unwrap_or_else(PoisonError::into_inner).keys)
    }

    /// The key that signs now.
    pub fn signing(&self) -> Arc<SigningKey> {
        self.signing_at(SystemTime::now())
    }

    fn signing_at(&self, now: SystemTime) -> Arc<SigningKey> {
        let read = self.0.read.read().unwrap_or_else(PoisonError::into_inner);
        let known_long = |known: &&Known| known.since + SIGNS_AFTER <= now;
        let newest = read.keys.values().rev().find(known_long);
        let key = newest.or(read.keys.values().next()).map(|known| known.key.clone());
        key.unwrap_or_else(|| Arc::new(SigningKey::generate())) // never: a folder without keys is not taken over
    }

    /// Whether they changed since this was asked last.
    fn have_changed(&self) -> bool {
        self.reload_if_touched();
        self.0.changed.swap(false, Ordering::AcqRel)
    }

    /// Reads the folder again if something was put there or taken away. What can't be read, perhaps half written, leaves the last good
    /// ones in force.
    fn reload_if_touched(&self) {
        let now = modified(&self.0.folder);
        let mut known = self.0.read.write().unwrap_or_else(PoisonError::into_inner);
        if now == known.modified {
            return;
        }
        let folder = self.0.folder.display();
        let keys = match read(&self.0.folder, &known.keys, SystemTime::now()) {
            Ok(keys) => keys,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(%folder, error, "the keys of sessions can't be read; the last ones stay in force");
                return;
            }
        };
        tracing::info!(%folder, keys = keys.len(), "the keys of sessions changed");
        let changed = self.0.public.replace(jwks(&keys)).unwrap_or_default(); // our own set is one
        self.0.changed.fetch_or(changed, Ordering::AcqRel);
        *known = Read { modified: now, keys };
    }
}

fn jwks(keys: &BTreeMap<String, Known>) -> String {
    let keys: Vec<_> = keys.values().map(|known| known.key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The keys of a folder; those that are known already stay what they are, the others appeared no earlier than `begin`.
fn read(folder: &Path, known: &BTreeMap<String, Known>, begin: SystemTime) -> Result<BTreeMap<String, Known>> {
    let context = || format!("read the keys of sessions in {}", folder.display());
    let mut keys = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.extension().is_none_or(|extension| extension != "pem") {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let key = Arc::new(SigningKey::load(&path)?);
        let since = match known.get(&name) {
            Some(before) if before.key.jwk() == key.jwk() => before.since,
            _ => std::fs::metadata(&path)
                .and_then(|file| file.modified())
                .with_context(context)?
                .max(begin),
        };
        keys.insert(name, Known { key, since });
    }
    ensure!(
        !keys.is_empty(),
        "{} has no .pem file with a key that could sign the tokens of sessions",
        folder.display()
    );
    Ok(keys)
}

fn modified(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder).and_then(|folder| folder.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            SigningKey::generate().save(&folder.path().join(name)).unwrap();
        }
        folder
    }

    fn named(folder: &Path, name: &str) -> serde_json::Value {
        SigningKey::load(&folder.join(name)).unwrap().jwk()
    }

    #[test]
    fn the_last_key_signs_and_a_new_one_when_everybody_has_it() {
        let folder = folder(&["1.pem", "2.pem"]);
        std::fs::write(folder.path().join("README"), "no key").unwrap();
        let keys = SessionKeys::open(folder.path()).unwrap();
        let soon = SystemTime::now();
        // All are new: the first signs until the last is old enough.
        assert_eq!(keys.signing_at(soon).jwk(), named(folder.path(), "1.pem"));
        let soon = soon + SIGNS_AFTER;
        assert_eq!(keys.signing_at(soon).jwk(), named(folder.path(), "2.pem"));
        SigningKey::generate().save(&folder.path().join("3.pem")).unwrap();
        let young = std::fs::File::options().append(true).open(folder.path().join("3.pem"));
        young.unwrap().set_modified(soon).unwrap();
        assert!(keys.have_changed() && !keys.have_changed());
        let published: serde_json::Value = serde_json::from_str(&keys.jwks()).unwrap();
        assert_eq!(published["keys"].as_array().unwrap().len(), 3);
        assert_eq!(keys.signing_at(soon).jwk(), named(folder.path(), "2.pem"));
        let later = soon + SIGNS_AFTER;
        assert_eq!(keys.signing_at(later).jwk(), named(folder.path(), "3.pem"));
        // Who starts meanwhile knows it, too.
        let another = SessionKeys::open(folder.path()).unwrap();
        assert_eq!(another.signing_at(soon).jwk(), named(folder.path(), "2.pem"));
        // Taken away before it ever signed, or after: the one before signs.
        std::fs::remove_file(folder.path().join("3.pem")).unwrap();
        keys.reload_if_touched();
        assert_eq!(keys.signing_at(later).jwk(), named(folder.path(), "2.pem"));
    }

    #[test]
    fn what_cannot_be_read_leaves_the_last_good_keys() {
        assert!(SessionKeys::open(folder(&[]).path()).is_err());
        let folder = folder(&["1.pem"]);
        let keys = SessionKeys::open(folder.path()).unwrap();
        let before = keys.signing().jwk();
        std::fs::write(folder.path().join("2.pem"), "half a k").unwrap();
        assert!(!keys.have_changed());
        assert_eq!(keys.signing().jwk(), before);
        // Written to its end, it is read although the folder has not changed any more.
        SigningKey::generate().save(&folder.path().join("whole.pem")).unwrap();
        std::fs::rename(folder.path().join("whole.pem"), folder.path().join("2.pem")).unwrap();
        assert!(keys.have_changed());
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert!(!keys.have_changed());
        assert_eq!(keys.signing().jwk(), before);
    }
}
