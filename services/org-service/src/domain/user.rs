//! Users: the people of a workspace's clients.

use super::password::{PasswordHash, RESET_LIFE, Resets};
use super::secret::{SecretKey, TokenHash, pause_after};
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::mask::Mask;
use clientele_api::name::WorkspaceRef;
use clientele_api::org::{self as api, user::State};
use clientele_api::{Error, Micros, Result, Uid, Violations, parse};
use unicode_normalization::UnicodeNormalization;

/// A person who uses the client dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Its identity, in names also its id.
    pub uid: Uid,
    /// The workspace that holds it.
    pub workspace: WorkspaceRef,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was created.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// The address that the person signs in with.
    pub email: Email,
    /// The name that people see; empty: none was given.
    pub display_name: String,
    /// An https address of a picture; empty: none.
    pub photo_uri: String,
    /// The language and region that the person prefers; empty: the organization's.
    pub locale: String,
    /// Whether the person is shut out.
    pub disabled: bool,
    /// What is kept of the password. None: the person has none.
    pub password: Option<PasswordHash>,
    /// The tokens that were issued to reset it.
    pub resets: Resets,
}

/// An address, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse::email(text).map(Self)
    }

    /// An address that was read before.
    pub fn known(text: String) -> Self {
        Self(text)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is equal for addresses that differ in case only: no two users of a workspace have the same.
    pub fn key(&self) -> String {
        email_key(&self.0)
    }
}

/// The key of an address, or of what somebody takes for one.
pub fn email_key(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).collect()
}

/// A person who is not yet a user.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUser {
    /// The address that the person signs in with.
    pub email: Email,
    display_name: String,
    photo_uri: String,
    locale: String,
    password: Option<PasswordHash>,
}

impl NewUser {
    /// Reads a person at a path of the request.
    pub fn parse(message: &api::NewUser, path: &str, violations: &mut Violations) -> Option<Self> {
        let email = violations.check(&format!("{path}.email"), Email::parse(&message.email));
        let display_name = violations.check(&format!("{path}.display_name"), display_name(&message.display_name));
        let photo_uri = violations.check(&format!("{path}.photo_uri"), photo_uri(&message.photo_uri));
        let locale = violations.check(&format!("{path}.locale"), locale(&message.locale));
        Some(Self {
            email: email?,
            display_name: display_name?,
            photo_uri: photo_uri?,
            locale: locale?,
            password: None,
        })
    }

    /// A person of whom nothing but the address, and perhaps a name and a password, is known.
    pub fn invited(email: Email, display_name: String, password: Option<PasswordHash>) -> Self {
        Self {
            email,
            display_name,
            photo_uri: String::new(),
            locale: String::new(),
            password,
        }
    }

    /// The user that comes of it.
    pub fn into_user(self, workspace: &WorkspaceRef, now: Micros) -> User {
        User {
            uid: Uid::new(),
            workspace: workspace.clone(),
            version: 1,
            create_time: now,
            update_time: now,
            email: self.email,
            display_name: self.display_name,
            photo_uri: self.photo_uri,
            locale: self.locale,
            disabled: false,
            password: self.password,
            resets: Resets::default(),
        }
    }
}

impl User {
    /// `workspaces/{workspace}/users/{user}`.
    pub fn name(&self) -> String {
        user_name(&self.workspace, self.uid)
    }

    /// Whether the person may use anything.
    pub fn state(&self) -> State {
        if self.disabled { State::Disabled } else { State::Active }
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub fn update(&self, message: &api::User, mask: &Mask, violations: &mut Violations, now: Micros) -> User {
        self.changed(now, |user| {
            if mask.has("email") {
                let email = violations.check("user.email", Email::parse(message.email()));
                user.email = email.unwrap_or_else(|| self.email.clone());
                if user.email != self.email {
                    // A token that was mailed to somebody else's address, as it may be now, is dead.
                    user.resets.hash = None;
                }
            }
            if mask.has("display_name") {
                let parsed = violations.check("user.display_name", display_name(message.display_name()));
                user.display_name = parsed.unwrap_or_default();
            }
            if mask.has("photo_uri") {
                let parsed = violations.check("user.photo_uri", photo_uri(message.photo_uri()));
                user.photo_uri = parsed.unwrap_or_default();
            }
            if mask.has("locale") {
                let parsed = violations.check("user.locale", locale(message.locale()));
                user.locale = parsed.unwrap_or_default();
            }
        })
    }

    /// Shut out.
    pub fn disable(&self, now: Micros) -> Result<User> {
        if self.disabled {
            return Err(self.refuse(ErrorReason::UserDisabled, "is disabled already"));
        }
        Ok(self.changed(now, |user| {
            user.disabled = true;
            user.resets.hash = None;
        }))
    }

    /// Let in again.
    pub fn enable(&self, now: Micros) -> Result<User> {
        if !self.disabled {
            return Err(self.refuse(ErrorReason::UserNotDisabled, "is not disabled"));
        }
        Ok(self.changed(now, |user| user.disabled = false))
    }

    /// Refuses what a disabled user can't do.
    pub fn require_enabled(&self) -> Result<()> {
        if self.disabled {
            return Err(self.refuse(ErrorReason::UserDisabled, "is disabled: enable it first"));
        }
        Ok(())
    }

    /// With this password, whoever set it. A token that was issued to reset the one before is dead.
    pub fn set_password(&self, password: PasswordHash, now: Micros) -> User {
        self.changed(now, |user| {
            user.password = Some(password);
            user.resets.hash = None;
        })
    }

    /// With another token to reset the password, whose generation is the new `resets.count`. The one before proves nothing any more.
    pub fn create_reset(&self, key: &SecretKey, now: Micros) -> Result<User> {
        self.require_enabled()?;
        if let Some(pause) = self.resets.time.and_then(|last| pause_after(last, now)) {
            let state = "got a token less than a minute ago: try again later";
            return Err(self.refuse(ErrorReason::TokenIssuedRecently, state).retry_after(pause));
        }
        let count = self.resets.count.wrapping_add(1);
        let hash = Some(TokenHash::of(&key.token(self.uid, count)));
        let time = Some(now);
        Ok(self.changed(now, |user| user.resets = Resets { count, time, hash }))
    }

    /// Until when the last token to reset the password is good.
    pub fn reset_expire_time(&self) -> Option<Micros> {
        self.resets.time.map(|time| time.plus(RESET_LIFE))
    }

    /// Whether this token may reset the password now. Who is shut out can't let itself in.
    pub fn is_reset_by(&self, token: &str, now: Micros) -> bool {
        self.resets.are_proven_by(token, now) && !self.disabled
    }

    /// The refusal of somebody who is not proven to be this user, which has a password to prove it with.
    pub fn sign_in_required(&self) -> Error {
        self.refuse(
            ErrorReason::SignInRequired,
            "has a password: sign in, and call as this user",
        )
    }

    /// The paths of the leaves that differ afterwards; a password that takes the place of another one counts.
    pub fn changed_fields(&self, after: &User) -> Vec<String> {
        [
            ("email", self.email != after.email),
            ("display_name", self.display_name != after.display_name),
            ("photo_uri", self.photo_uri != after.photo_uri),
            ("locale", self.locale != after.locale),
            ("state", self.disabled != after.disabled),
            ("has_password", self.password != after.password),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// The next version, unless the change changes nothing.
    fn changed(&self, now: Micros, change: impl FnOnce(&mut User)) -> User {
        let mut user = self.clone();
        change(&mut user);
        if user != *self {
            user.version += 1;
            user.update_time = now;
        }
        user
    }

    fn refuse(&self, reason: ErrorReason, state: &str) -> Error {
        let name = self.name();
        Error::new(reason, format!("{name:?} {state}")).about("User", name)
    }
}

/// `workspaces/{workspace}/users/{user}`.
pub fn user_name(workspace: &WorkspaceRef, user: Uid) -> String {
    format!("{}/users/{user}", workspace.name())
}

/// The name that people see.
pub fn display_name(text: &str) -> Result<String, Invalid> {
    parse::line(text, 0..=200)
}

fn photo_uri(text: &str) -> Result<String, Invalid> {
    let uri = parse::line(text, 0..=2000)?;
    let rest = uri.strip_prefix("https://").unwrap_or_default();
    if uri.is_empty() || (!rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)) {
        return Ok(uri);
    }
    Err(Invalid::new("must be an address that begins with https://, or empty"))
}

/// A tag of BCP 47 as far as its form goes: parts of 1 to 8 letters and digits, the first one 2 to 8 letters.
fn locale(text: &str) -> Result<String, Invalid> {
    let part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let language = text.split('-').next().unwrap_or_default();
    let begins = language.len() >= 2 && language.bytes().all(|byte| byte.is_ascii_alphabetic());
    if text.is_empty() || (text.len() <= 35 && begins && text.split('-').all(part)) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new("must be a language tag of BCP 47, as in pt-BR, or empty"))
}

impl From<&User> for api::User {
    fn from(user: &User) -> Self {
        Self {
            name: user.name(),
            uid: user.uid.to_string(),
            version: user.version,
            etag: user.uid.etag(user.version),
            create_time: Some(user.create_time.into()),
            update_time: Some(user.update_time.into()),
            email: Some(user.email.as_str().to_owned()),
            display_name: Some(user.display_name.clone()),
            photo_uri: Some(user.photo_uri.clone()),
            locale: Some(user.locale.clone()),
            state: user.state().into(),
            has_password: user.password.is_some(),
        }
    }
}

impl From<&User> for api::Person {
    fn from(user: &User) -> Self {
        Self {
            email: user.email.as_str().to_owned(),
            display_name: user.display_name.clone(),
            photo_uri: user.photo_uri.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(email: &str, photo_uri: &str, locale: &str) -> Result<NewUser> {
        let message = api::NewUser {
            email: email.to_owned(),
            display_name: "Ann".to_owned(),
            photo_uri: photo_uri.to_owned(),
            locale: locale.to_owned(),
        };
        let mut violations = Violations::new();
        let new = NewUser::parse(&message, "new_user", &mut violations);
        violations.finish(new)
    }

    #[test]
    fn addresses_that_differ_in_case_only_are_the_same() {
        for (one, other) in [
            ("Ann@Example.com", "ann@example.COM"),
            ("JÖRG@x.de", "jo\u{308}rg@x.de"),
        ] {
            assert_eq!(Email::parse(one).unwrap().key(), Email::parse(other).unwrap().key());
        }
        assert_ne!(email_key("ann@x.de"), email_key("anne@x.de"));
    }

    #[test]
    fn every_violation_is_answered() {
        let fields = |error: Error| {
            error
                .violations()
                .iter()
                .map(|one| one.field.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            fields(new("ann", "http://x", "p").unwrap_err()),
            ["new_user.email", "new_user.photo_uri", "new_user.locale"]
        );
        for good in ["", "de", "pt-BR", "zh-Hant-TW", "de-CH-1996"] {
            assert!(new("ann@x.de", "", good).is_ok(), "{good}");
        }
        for bad in ["d", "1d", "de_CH", "de-", "-de", "de--CH", "abcdefghi", "äö"] {
            assert!(new("ann@x.de", "", bad).is_err(), "{bad}");
        }
        for (photo, good) in [
            ("https://x.de/a.png", true),
            ("https:///a", false),
            ("https://", false),
            ("https://a b", false),
        ] {
            assert_eq!(new("ann@x.de", photo, "").is_ok(), good, "{photo}");
        }
    }

    fn ann() -> User {
        let workspace = WorkspaceRef {
            uid: Uid::new(),
            id: "acme".to_owned(),
        };
        new("ann@x.de", "", "").unwrap().into_user(&workspace, Micros(1))
    }

    #[test]
    fn a_reset_is_created_once_a_minute_and_ends_with_what_it_was_for() {
        let key = SecretKey::new(&[7; 32]).unwrap();
        let minute = Micros(1).plus(std::time::Duration::from_secs(60));
        let user = ann().create_reset(&key, Micros(1)).unwrap();
        let token = key.token(user.uid, 1);
        assert_eq!((user.version, user.resets.count), (2, 1));
        assert!(user.is_reset_by(&token, minute) && ann().changed_fields(&user).is_empty());
        let refusal = user.create_reset(&key, Micros(minute.0 - 1)).unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::TokenIssuedRecently);
        let next = user.create_reset(&key, minute).unwrap();
        assert!(!next.is_reset_by(&token, minute) && next.is_reset_by(&key.token(user.uid, 2), minute));

        let set = user.set_password(PasswordHash::nobodys(), Micros(2));
        assert_eq!(user.changed_fields(&set), ["has_password"]);
        let disabled = user.disable(Micros(2)).unwrap();
        let message = api::User {
            email: Some("ben@x.de".to_owned()),
            ..api::User::default()
        };
        let request = api::UpdateUserRequest {
            user: Some(message.clone()),
            ..Default::default()
        };
        let mask = Mask::read(&request, &mut Violations::new());
        let renamed = user.update(&message, &mask, &mut Violations::new(), Micros(2));
        for dead in [&set, &disabled, &disabled.enable(Micros(3)).unwrap(), &renamed] {
            assert!(!dead.is_reset_by(&token, minute), "{dead:?}");
            // Another one has to wait all the same.
            assert!(dead.create_reset(&key, Micros(3)).is_err());
        }
        assert_eq!(
            disabled.create_reset(&key, minute).unwrap_err().reason(),
            ErrorReason::UserDisabled
        );
    }

    #[test]
    fn a_user_is_shut_out_and_let_in_once() {
        let user = ann();
        let disabled = user.disable(Micros(2)).unwrap();
        assert_eq!((disabled.version, disabled.state()), (2, State::Disabled));
        assert_eq!(
            disabled.disable(Micros(3)).unwrap_err().reason(),
            ErrorReason::UserDisabled
        );
        assert!(disabled.require_enabled().is_err() && user.require_enabled().is_ok());
        assert_eq!(disabled.enable(Micros(3)).unwrap().version, 3);
        assert_eq!(
            user.enable(Micros(3)).unwrap_err().reason(),
            ErrorReason::UserNotDisabled
        );
        assert_eq!(user.changed_fields(&disabled), ["state"]);
    }
}
