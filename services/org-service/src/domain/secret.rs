//! Tokens that are mailed to people. They are derived, so that an answer can be given again; what is kept of one is its hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clientele_api::{Micros, Uid};
use hmac::{Hmac, Mac};
use rand::RngCore as _;
use sha2::{Digest, Sha256};
use std::fmt;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How long after a token the next one can be issued.
pub(super) const TOKEN_PAUSE: Duration = Duration::from_secs(60);
/// What is signed with the key for refresh tokens begins with this: nothing that is signed for another purpose does.
const REFRESH: &[u8] = b"refresh";

/// The key that tokens are derived with. Tokens that were handed out outlive it.
#[derive(Clone)]
pub struct SecretKey(Hmac<Sha256>);

impl SecretKey {
    /// How many bytes at least.
    pub const SHORTEST: usize = 32;

    /// The key of these bytes. None: they are too few.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let enough = Some(bytes).filter(|bytes| bytes.len() >= Self::SHORTEST)?;
        Hmac::new_from_slice(enough).ok().map(Self)
    }

    /// The content of a new key's file.
    pub fn generate() -> String {
        let mut bytes = [0; Self::SHORTEST];
        rand::rng().fill_bytes(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The token of this generation for a resource: with the next generation it is another one.
    pub fn token(&self, resource: Uid, generation: i32) -> String {
        let id = resource.0.as_bytes();
        let mac = self.0.clone().chain_update(id).chain_update(generation.to_be_bytes());
        URL_SAFE_NO_PAD.encode([id, &mac.finalize().into_bytes()[..]].concat())
    }

    /// The refresh token of this generation for a session. It says its generation, so that one that is too old is known for what it is.
    pub fn refresh_token(&self, session: Uid, generation: i32) -> String {
        let said = [&session.0.as_bytes()[..], &generation.to_be_bytes()].concat();
        let mac = self.0.clone().chain_update(REFRESH).chain_update(&said);
        URL_SAFE_NO_PAD.encode([&said[..], &mac.finalize().into_bytes()].concat())
    }

    /// The generation of a session's refresh token. None: it is none of this key's for the session.
    pub fn generation_of(&self, session: Uid, token: &str) -> Option<i32> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (said, mac) = bytes.split_at_checked(20)?;
        let (id, generation) = said.split_at(16);
        let genuine = self.0.clone().chain_update(REFRESH).chain_update(said);
        genuine.verify_slice(mac).ok()?; // in constant time
        let generation = i32::from_be_bytes(generation.try_into().ok()?);
        (id == session.0.as_bytes()).then_some(generation)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// What is kept of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token, or of what somebody takes for one.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether it is the hash of this token; how long that takes does not tell how much of it is right.
    pub fn is_of(&self, token: &str) -> bool {
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

/// How long after a token for the same purpose the next one has to wait, if it has to. A clock that was set back does not make it
/// wait longer.
pub fn pause_after(last: Micros, now: Micros) -> Option<Duration> {
    let left = last.plus(TOKEN_PAUSE).0.saturating_sub(now.0);
    let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
    Some(Duration::from_micros(left).min(TOKEN_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_its_key_its_resource_and_its_generation() {
        let key = SecretKey::new(&[7; 32]).unwrap();
        let (ours, other) = (Uid::new(), Uid::new());
        let token = key.token(ours, 1);
        assert_eq!(token, key.token(ours, 1));
        assert_eq!(token.len(), 64);
        let hash = TokenHash::of(&token);
        assert!(hash.is_of(&token));
        let another_key = SecretKey::new(&[8; 32]).unwrap();
        for wrong in [
            key.token(ours, 2),
            key.token(other, 1),
            another_key.token(ours, 1),
            token[1..].to_owned(),
            format!("{token}="),
            String::new(),
        ] {
            assert!(!hash.is_of(&wrong), "{wrong}");
        }
    }

    #[test]
    fn a_refresh_token_says_its_generation() {
        let key = SecretKey::new(&[7; 32]).unwrap();
        let (ours, other) = (Uid::new(), Uid::new());
        let token = key.refresh_token(ours, 3);
        assert_eq!(key.generation_of(ours, &token), Some(3));
        assert_eq!(key.generation_of(other, &token), None);
        let mut forged = URL_SAFE_NO_PAD.decode(&token).unwrap();
        forged[19] = 4; // the generation
        let another_key = SecretKey::new(&[8; 32]).unwrap();
        for wrong in [
            URL_SAFE_NO_PAD.encode(&forged),
            another_key.refresh_token(ours, 3),
            key.token(ours, 3),
            token[1..].to_owned(),
            URL_SAFE_NO_PAD.encode([0; 20]),
            "not base 64!".to_owned(),
            String::new(),
        ] {
            assert_eq!(key.generation_of(ours, &wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_is_long_enough_and_never_shown() {
        assert!(SecretKey::new(&[7; 31]).is_none());
        let generated = SecretKey::generate();
        assert_ne!(generated, SecretKey::generate());
        let key = SecretKey::new(generated.as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), "SecretKey(***)");
    }
}
