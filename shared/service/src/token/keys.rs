//! The public keys of an issuer: a JWKS file, read again as it changes.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// Tokens with unknown keys cost at most one read of the file in this time, however many come.
const RELOAD_EVERY: Duration = Duration::from_secs(1);
/// Shorter RSA keys can be broken.
const RSA_BYTES: usize = 2048 / 8;

/// The keys of a set, as far as we can verify with them.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    text: String,
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a set of keys (RFC 7517).
    pub(super) fn parse(text: String) -> Result<Self> {
        let keys = parse(&text)?;
        Ok(Self { text, keys })
    }

    /// The key with this id.
    pub(super) fn find(&self, id: &str, algorithm: Algorithm) -> Option<DecodingKey> {
        let found = self.keys.iter().find(|key| key.id == id && key.algorithm == algorithm);
        found.map(|key| key.key.clone())
    }

    /// What it was read from.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// A JWKS file and the keys that it last had.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    read: RwLock<Read>,
    reloaded: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Read {
    modified: Option<SystemTime>,
    set: KeySet,
}

#[derive(Debug)]
struct Key {
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeyFile {
    pub(super) fn load(path: PathBuf) -> Result<Self> {
        let modified = modified(&path);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read the keys in {}", path.display()))?;
        let set = KeySet::parse(text).with_context(|| format!("the keys in {}", path.display()))?;
        Ok(Self {
            path,
            read: RwLock::new(Read { modified, set }),
            reloaded: Mutex::new(None),
        })
    }

    pub(super) fn find(&self, id: &str, algorithm: Algorithm) -> Option<DecodingKey> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.set.find(id, algorithm)
    }

    /// Reads the file again if it was written since. Whether the keys changed.
    pub(super) fn reload_if_touched(&self) -> bool {
        let known = self.read.read().unwrap_or_else(PoisonError::into_inner).modified;
        modified(&self.path) != known && self.reload()
    }

    /// Reads the file again because a token names a key that is not known. Whether the keys changed.
    pub(super) fn reload_for_unknown_key(&self) -> bool {
        // Held while reading: who comes meanwhile waits and then finds the new key.
        let mut reloaded = self.reloaded.lock().unwrap_or_else(PoisonError::into_inner);
        if reloaded.is_some_and(|at| at.elapsed() < RELOAD_EVERY) {
            return false;
        }
        *reloaded = Some(Instant::now());
        self.reload()
    }

    /// A file that can't be read, perhaps half written, leaves the last good keys in force.
    fn reload(&self) -> bool {
        let modified = modified(&self.path);
        let path = self.path.display();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(%path, %error, "an issuer's keys can't be read; the last ones stay in force");
                return false;
            }
        };
        let set = match KeySet::parse(text) {
            Ok(set) => set,
            Err(error) => {
                tracing::warn!(%path, error = format!("{error:#}"), "malformed keys of an issuer; the last ones stay in force");
                return false;
            }
        };
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        let changed = read.set.text != set.text;
        *read = Read { modified, set };
        if changed {
            tracing::info!(%path, keys = read.set.keys.len(), "an issuer's keys changed");
        }
        changed
    }
}

fn modified(path: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// The keys that we can verify with; others in the set are for others.
fn parse(text: &str) -> Result<Vec<Key>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_str(text)?;
    let keys: Vec<Key> = set.keys.into_iter().filter_map(key).collect();
    if keys.is_empty() {
        tracing::warn!("a set of keys has none that can be used, so that none of its issuer's tokens is accepted");
    }
    Ok(keys)
}

fn key(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let length = |text: &str| URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.len());
    // Lengths are checked here because the library takes them for granted.
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 && length(&key.x) == 32 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::EllipticCurve(key)
            if key.curve == EllipticCurve::P256 && length(&key.x) == 32 && length(&key.y) == 32 =>
        {
            Algorithm::ES256
        }
        AlgorithmParameters::RSA(key) if length(&key.n) >= RSA_BYTES => Algorithm::RS256,
        _ => return None,
    };
    if jwk
        .common
        .key_algorithm
        .is_some_and(|named| named.to_string() != format!("{algorithm:?}"))
    {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key {
        id: jwk.common.key_id?,
        algorithm,
        key,
    })
}
