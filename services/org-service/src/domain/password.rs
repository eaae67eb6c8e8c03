//! Passwords: what a good one is, and what is kept of it.

use super::secret::TokenHash;
use argon2::password_hash::{self as phc, Output, ParamsString, Salt, SaltString};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::{Error, Micros, Result};
use rand::RngCore as _;
use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use zxcvbn::{Score, zxcvbn};

/// How many characters at least, and at most: enough for any sentence, and for zxcvbn and Argon2 as good as nothing.
const SHORTEST: usize = 12;
const LONGEST: usize = 256;
/// No text of so many bytes has few enough characters, in whatever form they came. It is not worth being normalized.
const LONGEST_BYTES: usize = 32 * LONGEST;
/// How hard it is to guess at least: 10¹⁰ tries, by somebody who knows the lists of common passwords and who the person is. The score
/// below, 10⁸, is what zxcvbn gives to any three pieces, and so to first name, last name and year.
const LEAST_SCORE: Score = Score::Four;
/// So many characters are judged: what is strong so far is strong. Some texts of a hundred would take a second, which is somebody else's.
const JUDGED: usize = 32;
/// How long a token that resets a password is good.
pub const RESET_LIFE: Duration = Duration::from_secs(3600);

/// A password, as somebody typed it, in the form that is hashed (NFC): the same whatever keyboard it was typed on.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Reads one that is to be somebody's. How easily it is guessed is said by [`Self::require_strength`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let Some(password) = Self::normalize(text) else {
            return Err(Invalid::new(format!(
                "must have {SHORTEST} to {LONGEST} characters, not more"
            )));
        };
        if password.0.chars().any(char::is_control) {
            return Err(Invalid::new("must not contain control characters"));
        }
        let length = password.0.chars().count();
        if (SHORTEST..=LONGEST).contains(&length) {
            return Ok(password);
        }
        Err(Invalid::new(format!(
            "must have {SHORTEST} to {LONGEST} characters, not {length}"
        )))
    }

    /// One that somebody claims to have. What can't be anybody's is answered as an empty one, which is nobody's either.
    pub fn claimed(text: &str) -> Self {
        let possible = Self::normalize(text).filter(|password| password.0.chars().count() <= LONGEST);
        possible.unwrap_or_else(|| Self(String::new()))
    }

    fn normalize(text: &str) -> Option<Self> {
        (text.len() <= LONGEST_BYTES).then(|| Self(text.nfc().collect()))
    }

    /// Refuses one that is guessed easily, also by somebody who knows the person. That takes milliseconds.
    pub fn require_strength(&self, email: &str, display_name: &str) -> Result<(), Invalid> {
        let about = format!("{email} {display_name}").to_lowercase();
        let mut known: Vec<&str> = about.split(|character: char| !character.is_alphanumeric()).collect();
        known.retain(|word| word.chars().count() >= 3);
        known.sort_by_key(|word| Reverse(word.len()));
        // What everybody knows of the person adds nothing, however it is put together.
        let mut rest = self.0.to_lowercase();
        for word in &known {
            rest = rest.replace(word, "");
        }
        let rest: String = rest.chars().take(JUDGED).collect();
        // Changed a little, as in j0anna, it is found here.
        if zxcvbn(&rest, &known).score() >= LEAST_SCORE {
            return Ok(());
        }
        Err(Invalid::new(
            "must not be one that is guessed easily: take several words that have nothing to do with each other or with you",
        ))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// The memory that hashing works in: taken once by who hashes often.
#[derive(Default)]
pub struct Memory(Vec<Block>);

impl Memory {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn blocks(&mut self, params: &Params) -> &mut [Block] {
        let count = params.block_count();
        if self.0.len() < count {
            self.0.resize(count, Block::default());
        }
        &mut self.0[..count]
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory(***)")
    }
}

/// What is kept of a password: its Argon2id hash, with salt and parameters (a PHC string).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// The hash that is looked at where there is none, so that this takes the same time: random bytes, so that no password is known to have
/// it.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$QvaK8rWRpcggI4LaymOG5g$kTuDQ56U0zsnVsOrBXq8pMbKmo/zsRp2aMflc+faBWY";

impl PasswordHash {
    /// One that was kept.
    pub fn known(text: String) -> Self {
        Self(text)
    }

    /// The one that no password has.
    pub fn nobodys() -> Self {
        Self(NOBODYS.to_owned())
    }

    /// As it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Hashes a password: 19 MiB, two passes, as OWASP recommends. That takes a core for some ten milliseconds.
    pub fn of(password: &Password, memory: &mut Memory) -> Result<Self> {
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        rand::rng().fill_bytes(&mut salt);
        let mut hash = [0; Params::DEFAULT_OUTPUT_LEN];
        compute(Params::DEFAULT, password, &salt, &mut hash, memory)?;
        let salt = SaltString::encode_b64(&salt).map_err(Error::internal)?;
        let kept = phc::PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&Params::DEFAULT).map_err(Error::internal)?,
            salt: Some(salt.as_salt()),
            hash: Some(Output::new(&hash).map_err(Error::internal)?),
        };
        Ok(Self(kept.to_string()))
    }

    /// Whether it is the hash of this password. That takes as long as making it.
    pub fn is_of(&self, password: &Password, memory: &mut Memory) -> Result<bool> {
        let damaged = || Error::internal("the hash of a password is damaged");
        let kept = phc::PasswordHash::new(&self.0).map_err(|_| damaged())?;
        if kept.algorithm != ARGON2ID_IDENT || kept.version != Some(Version::V0x13.into()) {
            return Err(damaged());
        }
        let params = Params::try_from(&kept).map_err(|_| damaged())?;
        let mut bytes = [0; Salt::MAX_LENGTH];
        let salt = kept
            .salt
            .and_then(|salt| salt.decode_b64(&mut bytes).ok())
            .ok_or_else(damaged)?;
        let expected = kept.hash.ok_or_else(damaged)?;
        let mut hash = vec![0; expected.len()];
        compute(params, password, salt, &mut hash, memory)?;
        Ok(expected.as_bytes().ct_eq(&hash).into())
    }
}

fn compute(params: Params, password: &Password, salt: &[u8], hash: &mut [u8], memory: &mut Memory) -> Result<()> {
    let blocks = memory.blocks(&params);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.0.as_bytes(), salt, hash, blocks)
        .map_err(Error::internal)
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}

/// The tokens that were issued to reset a password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resets {
    /// How many: the generation of the last one.
    pub count: i32,
    /// When the last one was issued.
    pub time: Option<Micros>,
    /// What is kept of it, as long as it is good for anything.
    pub hash: Option<TokenHash>,
}

impl Resets {
    /// Whether this token may reset the password now.
    pub fn are_proven_by(&self, token: &str, now: Micros) -> bool {
        let alive = self.time.is_some_and(|time| now < time.plus(RESET_LIFE));
        self.hash.is_some_and(|hash| hash.is_of(token)) && alive
    }
}

/// UNAUTHENTICATED `CREDENTIALS_INVALID`.
pub fn credentials_invalid() -> Error {
    let message = "there is no user with this email and password";
    Error::new(ErrorReason::CredentialsInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Password, Invalid> {
        Password::parse(text)
    }

    fn weak(text: &str) -> bool {
        let password = parse(text).unwrap();
        password
            .require_strength("joanna.baker@example.com", "Joanna Baker")
            .is_err()
    }

    #[test]
    fn a_password_has_twelve_to_256_characters_and_no_controls() {
        for (good, text) in [
            (false, "x".repeat(11)),
            (true, "x".repeat(12)),
            (true, "ä".repeat(256)),
            (true, "🍞".repeat(256)),
            (false, "x".repeat(257)),
            (false, "x".repeat(4 * 1024 * 1024)),
            (false, String::new()),
            (false, "with a\0nul in it".to_owned()),
            (false, "with a\ntwo lines".to_owned()),
            (true, " with spaces at its ends ".to_owned()),
            // Eleven characters, whatever they were made of.
            (false, "a\u{308}".repeat(11)),
        ] {
            assert_eq!(
                parse(&text).is_ok(),
                good,
                "{}",
                text.chars().take(20).collect::<String>()
            );
        }
    }

    #[test]
    fn what_is_known_or_has_to_do_with_the_person_is_weak() {
        for text in [
            "password1234",
            "123456789012",
            "qwertyuiop[]",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabc",
            "Passw0rd2026!",
            "joanna.baker@example.com",
            "JoannaBaker1",
            "joannabaker2026",
            "Joanna-Baker-1999",
            "J0annaB4ker1",
            "example.com2026",
        ] {
            assert!(weak(text), "{text}");
        }
        for text in [
            "correct horse battery staple",
            "tulip-anvil-mosaic",
            "vY7#kq2!Lm9z",
            "größe mal sieben brote",
        ] {
            assert!(!weak(text), "{text}");
        }
    }

    /// At most what some hashes take; of a hundred such characters it would be a hundred times as much.
    #[test]
    fn no_text_takes_long_to_judge() {
        let text: String = "4@8({[<369&#!1|0$5+7%2".chars().cycle().take(256).collect();
        let password = parse(&text).unwrap();
        let began = std::time::Instant::now();
        let _ = password.require_strength("ann@example.com", &"nine lives ".repeat(18));
        let judged = began.elapsed();
        let text: String = text.chars().take(JUDGED).collect();
        let began = std::time::Instant::now();
        zxcvbn(&text, &["ann"]);
        assert!(judged < 5 * began.elapsed() + Duration::from_millis(200), "{judged:?}");
    }

    #[test]
    fn a_hash_is_of_its_password_in_whatever_form_it_is_typed() {
        let mut memory = Memory::new();
        let hash = PasswordHash::of(&parse("gro\u{308}ße mal sieben").unwrap(), &mut memory).unwrap();
        let mut is_of = |text: &str| hash.is_of(&Password::claimed(text), &mut memory).unwrap();
        assert!(is_of("gr\u{f6}ße mal sieben") && is_of("gro\u{308}ße mal sieben"));
        for wrong in ["", "gr\u{f6}ße mal siebe", "Größe mal sieben"] {
            assert!(!is_of(wrong), "{wrong}");
        }
        assert!(
            hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.as_str()
        );
        let again = PasswordHash::of(&parse("größe mal sieben").unwrap(), &mut memory).unwrap();
        assert_ne!(again.as_str(), hash.as_str(), "each has a salt of its own");
        // As any other implementation of the standard sees it.
        let kept = phc::PasswordHash::new(hash.as_str()).unwrap();
        assert!(kept.verify_password(&[&Argon2::default()], "größe mal sieben").is_ok());
    }

    #[test]
    fn looking_at_nobody_s_hash_takes_as_much_as_looking_at_somebody_s() {
        let mut memory = Memory::new();
        let ours = PasswordHash::of(&parse("tulip-anvil-mosaic").unwrap(), &mut memory).unwrap();
        let effort = |hash: &PasswordHash| {
            let kept = phc::PasswordHash::new(hash.as_str()).unwrap();
            let params = Params::try_from(&kept).unwrap();
            let lengths = (kept.salt.unwrap().as_str().len(), kept.hash.unwrap().len());
            (params.m_cost(), params.t_cost(), params.p_cost(), lengths)
        };
        assert_eq!(effort(&PasswordHash::nobodys()), effort(&ours));
        assert!(
            !PasswordHash::nobodys()
                .is_of(&Password::claimed(""), &mut memory)
                .unwrap()
        );
    }

    #[test]
    fn a_damaged_hash_is_a_fault_and_no_match() {
        for text in [
            "",
            "x",
            "$argon2i$v=19$m=19456,t=2,p=1$c29tZSBzYWx0$AAAA",
            "$argon2id$v=19$m=19456,t=2,p=1",
        ] {
            let hash = PasswordHash::known(text.to_owned());
            assert!(
                hash.is_of(&Password::claimed("x"), &mut Memory::new()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn none_is_ever_shown() {
        let password = parse("tulip-anvil-mosaic").unwrap();
        let hash = PasswordHash::nobodys();
        let resets = Resets {
            hash: Some(TokenHash::of("token")),
            ..Resets::default()
        };
        let shown = format!("{password:?} {hash:?} {resets:?}");
        assert_eq!(
            shown,
            "Password(***) PasswordHash(***) Resets { count: 0, time: None, hash: Some(TokenHash(***)) }"
        );
    }

    #[test]
    fn a_token_resets_for_an_hour() {
        let resets = Resets {
            count: 1,
            time: Some(Micros(5)),
            hash: Some(TokenHash::of("token")),
        };
        assert!(resets.are_proven_by("token", Micros(5).plus(RESET_LIFE - Duration::from_micros(1))));
        assert!(!resets.are_proven_by("token", Micros(5).plus(RESET_LIFE)));
        assert!(!resets.are_proven_by("tokens", Micros(5)) && !Resets::default().are_proven_by("", Micros(5)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        /// A panic would tell its text to the log.
        #[test]
        fn no_text_breaks_what_looks_at_it(text in "\\PC{12,80}", name in "\\PC{0,40}") {
            if let Ok(password) = Password::parse(&text) {
                let _ = password.require_strength("ann@example.com", &name);
            }
        }
    }
}
