//! What can be done with passwords.

use super::attempts::{Account, Attempts, Source};
use super::hashing::{Lane, Place};
use super::user::user_id;
use super::{App, session};
use crate::domain::password::{Memory, Password, PasswordHash, credentials_invalid};
use crate::domain::user::{Email, User};
use crate::store;
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::journal::Change;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Recorded};
use opentelemetry::global;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What looks at passwords.
#[derive(Debug, Clone)]
pub struct Passwords {
    lane: Lane,
    attempts: Attempts,
    /// How many were looked at.
    looked_at: Arc<AtomicU64>,
}

impl Passwords {
    /// Starts what looks at them.
    pub fn open() -> anyhow::Result<Self> {
        Lane::open().map(Self::in_lane)
    }

    fn in_lane(lane: Lane) -> Self {
        let looked_at = Arc::<AtomicU64>::default();
        let observed = Arc::clone(&looked_at);
        global::meter("clientele")
            .u64_observable_counter("clientele.passwords.looked_at")
            .with_description("Passwords that were compared with a hash, be it somebody's or not.")
            .with_unit("{password}")
            .with_callback(move |observer| observer.observe(observed.load(Ordering::Relaxed), &[]))
            .build();
        Self {
            lane,
            attempts: Attempts::new(),
            looked_at,
        }
    }

    /// Forgets the wrong passwords of whoever has this email: another one was set.
    pub(super) fn forgive(&self, workspace: &WorkspaceRef, email: &Email) {
        self.attempts.clear(Account::new(workspace.uid, &email.key()));
    }

    /// Whether this is the password of which was kept what `kept` finds. Where nothing was, it takes the same time to say no. A wrong
    /// one is charged to the account, and to the address where it comes from.
    async fn is_right(
        &self,
        account: Account,
        address: Option<IpAddr>,
        claimed: &str,
        kept: impl Future<Output = Result<Option<PasswordHash>>>,
    ) -> Result<bool> {
        let place = self.lane.place()?;
        let attempt = self.attempts.charge(account, address.map(Source::of), Instant::now())?;
        let right = async { self.look_at(place, kept.await?, claimed).await }.await;
        match right {
            Ok(true) => self.attempts.succeeded(attempt, Instant::now()),
            Ok(false) => {}
            Err(_) => self.attempts.give_back(attempt, Instant::now()),
        }
        right
    }

    async fn look_at(&self, place: Place<'_>, kept: Option<PasswordHash>, claimed: &str) -> Result<bool> {
        let somebodys = kept.is_some();
        let hash = kept.unwrap_or_else(PasswordHash::nobodys);
        let claimed = Password::claimed(claimed);
        let looked_at = Arc::clone(&self.looked_at);
        let look = move |memory: &mut Memory| {
            looked_at.fetch_add(1, Ordering::Relaxed);
            hash.is_of(&claimed, memory)
        };
        let right = place.run_and_rest(look, |right| !matches!(right, Ok(true)));
        Ok(right.await?? && somebodys)
    }

    /// What is to be kept of a password that a person of this email and name is to have. INVALID_ARGUMENT at `password` where it is
    /// guessed easily.
    pub(super) async fn hash(&self, password: Password, email: &Email, display_name: &str) -> Result<PasswordHash> {
        let (email, display_name) = (email.as_str().to_owned(), display_name.to_owned());
        let hashed = self.lane.place()?.run(move |memory| {
            let strength = password.require_strength(&email, &display_name);
            strength.map_err(refused)?;
            PasswordHash::of(&password, memory)
        });
        hashed.await?
    }
}

/// The password of a request, as far as its form goes.
pub(super) fn parse(text: &str) -> Result<Password> {
    Password::parse(text).map_err(refused)
}

fn refused(Invalid(rule): Invalid) -> Error {
    Error::field("password", rule)
}

/// The user of the scope's workspace with this email and password; UNAUTHENTICATED `CREDENTIALS_INVALID` if there is none,
/// RESOURCE_EXHAUSTED `TOO_MANY_ATTEMPTS` after too many wrong passwords. It tells by nothing, time included, whether there is a user
/// with this email; who is disabled and has the right password is answered.
pub async fn check(app: &App, scope: &Scope<WorkspaceRef>, email: &str, password: &str) -> Result<User> {
    let parsed = Email::parse(email).ok();
    let key = parsed.as_ref().map_or_else(|| email.to_owned(), Email::key);
    let account = Account::new(scope.workspace().uid, &key);
    let mut user = None;
    let find = async {
        // What is no address has no user, and costs as much.
        if let Some(email) = &parsed {
            user = store::user::find_by_email(&app.reader, scope, email).await?.value;
        }
        Ok(user.as_ref().and_then(|user| user.password.clone()))
    };
    let right = app
        .passwords
        .is_right(account, scope.client_address(), password, find)
        .await?;
    user.filter(|_| right).ok_or_else(credentials_invalid)
}

/// Sets the password of a user.
pub async fn set(app: &App, scope: Scope<WorkspaceRef>, request: api::SetPasswordRequest) -> Result<Answer<api::User>> {
    let uid = user_id(&scope, &request.name)?;
    let itself = scope.client().is_some();
    if itself && scope.signed_in_user().is_none() {
        let message = "whoever logged in as a user can't set its password";
        return Err(Error::new(ErrorReason::CallerNotAllowed, message).with("actor", scope.actor()));
    }
    let password = parse(&request.password)?;
    let found = store::user::get(&app.reader, &scope, uid).await?.value;
    if itself {
        require_old(app, &scope, &found, &request.old_password).await?;
    }
    let hash = app.passwords.hash(password, &found.email, &found.display_name).await?;
    let author = scope.author();
    let (scope, unit_scope) = (scope.clone(), scope);
    let (proven, etag) = (found.password.clone(), request.etag);
    let unit = async move |tx: &Tx| {
        let scope = unit_scope;
        store::standing::confirm(tx, &scope).await?;
        let before = store::user::read(tx, &scope, uid).await?;
        before.check_etag(&etag)?;
        if itself && before.password != proven {
            // Another one was set while this call was looking at it.
            return Err(wrong_old());
        }
        let (message, changes) = write(tx, &scope, &before, hash).await?;
        Ok(Recorded {
            changes,
            ..Recorded::nothing(message)
        })
    };
    let answer = app.journal.write(author, unit).await?;
    if !itself && !scope.validate_only() {
        app.passwords.forgive(scope.workspace(), &found.email);
    }
    Ok(answer)
}

/// Refuses who does not know the present password, as signing in does. Who has none can't know it.
async fn require_old(app: &App, scope: &Scope<WorkspaceRef>, user: &User, old: &str) -> Result<()> {
    let account = Account::new(scope.workspace().uid, &user.email.key());
    let kept = user.password.clone();
    let right = app
        .passwords
        .is_right(account, scope.client_address(), old, async { Ok(kept) });
    if right.await? { Ok(()) } else { Err(wrong_old()) }
}

fn wrong_old() -> Error {
    Error::field("old_password", "must be the present password")
}

/// Writes the password of a user, in the unit that sets it, and ends the sessions that were begun with the one before, but the one that
/// calls: the one place for all ways to set one. The user's change comes first.
pub(super) async fn write<L>(
    tx: &Tx,
    scope: &Scope<L>,
    before: &User,
    password: PasswordHash,
) -> Result<(api::User, Vec<Change>)> {
    store::user::lock_for_sessions(tx, &before.workspace, before.uid).await?;
    let after = before.set_password(password, Micros::now());
    store::user::update(tx, scope, before, &after);
    let message = api::User::from(&after);
    let change = Change::updated(&before.into(), &message, before.changed_fields(&after));
    let mut changes = vec![change];
    changes.extend(session::end_others(tx, scope, before.uid).await?);
    Ok((message, changes))
}

/// Issues a token that resets a password. The answer has none yet, so that the journal, which remembers the answer, has none either.
pub async fn create_reset(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::CreatePasswordResetRequest,
) -> Result<Answer<api::CreatePasswordResetResponse>> {
    let uid = user_id(&scope, &request.name)?;
    let key = app.secret_key.clone();
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let before = store::user::read(tx, &scope, uid).await?;
        before.check_etag(&request.etag)?;
        let after = before.create_reset(&key, Micros::now())?;
        store::user::update(tx, &scope, &before, &after);
        let user = api::User::from(&after);
        let change = Change::updated(&api::User::from(&before), &user, before.changed_fields(&after));
        let expires = after.reset_expire_time().filter(|_| !scope.validate_only());
        let answer = api::CreatePasswordResetResponse {
            user: Some(user),
            token: String::new(),
            expire_time: expires.map(Into::into),
            reset_count: after.resets.count,
        };
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}

/// Puts the token that was issued into the answer, now or when it is given again. A preview has no uid, and issued none.
pub fn disclose_token(app: &App, answer: &mut api::CreatePasswordResetResponse) {
    let user = answer.user.as_ref().and_then(|user| Uid::parse(&user.uid));
    if let Some(user) = user {
        answer.token = app.secret_key.token(user, answer.reset_count);
    }
}

/// Sets the password of a user for whoever has the token that resets it.
pub async fn reset(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ResetPasswordRequest,
) -> Result<Answer<api::User>> {
    let unproven = || Error::not_found("Resource", request.name.as_str());
    let uid = user_id(&scope, &request.name).map_err(|_| unproven())?;
    // Who has no token learns nothing, and lets nothing be hashed.
    let found = store::user::find(&app.reader, &scope, uid).await?;
    let found = found.filter(|user| user.is_reset_by(&request.token, Micros::now()));
    let found = found.ok_or_else(unproven)?;
    let password = parse(&request.password)?;
    let hash = app.passwords.hash(password, &found.email, &found.display_name).await?;
    let author = scope.author();
    let (scope, unit_scope) = (scope.clone(), scope);
    let unit = async move |tx: &Tx| {
        let scope = unit_scope;
        // Once more, where it is used up: of several calls with one token one gets through.
        let before = store::user::read_all(tx, scope.workspace(), &[uid])
            .await?
            .into_iter()
            .next();
        let before = before.filter(|user| user.is_reset_by(&request.token, Micros::now()));
        let before = before.ok_or_else(|| Error::not_found("Resource", request.name.as_str()))?;
        let (message, changes) = write(tx, &scope, &before, hash).await?;
        Ok(Recorded {
            changes,
            ..Recorded::nothing(message)
        })
    };
    let answer = app.journal.write(author, unit).await?;
    if !scope.validate_only() {
        app.passwords.forgive(scope.workspace(), &found.email);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    const RIGHT: &str = "tulip-anvil-mosaic";
    const WRONG: &str = "tulip-anvil-mosaics";

    struct World {
        passwords: Passwords,
        kept: PasswordHash,
    }

    impl World {
        fn new() -> Self {
            let right = Password::parse(RIGHT).unwrap();
            Self {
                passwords: Passwords::in_lane(Lane::with(1, 64).unwrap()),
                kept: PasswordHash::of(&right, &mut Memory::new()).unwrap(),
            }
        }

        async fn is_right(&self, email: &str, claimed: &str, kept: Option<&PasswordHash>) -> Result<bool> {
            let account = Account::new(Uid::NIL, email);
            let kept = async { Ok(kept.cloned()) };
            self.passwords.is_right(account, None, claimed, kept).await
        }

        fn looked_at(&self) -> u64 {
            self.passwords.looked_at.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn whoever_is_meant_one_password_is_looked_at() {
        let world = World::new();
        let long = "x".repeat(100_000);
        for (at, (kept, claimed, right)) in [
            (Some(&world.kept), RIGHT, true),
            (Some(&world.kept), WRONG, false),
            (Some(&world.kept), "", false),
            (Some(&world.kept), &long, false),
            // Nobody, or nobody who has a password.
            (None, RIGHT, false),
            (None, "", false),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(world.is_right("ann", claimed, kept).await.unwrap(), right, "{claimed}");
            assert_eq!(world.looked_at(), at as u64 + 1, "{claimed}");
        }
    }

    #[tokio::test]
    async fn of_sixty_four_wrong_ones_at_once_ten_are_looked_at_whoever_is_meant() {
        let world = World::new();
        for (email, kept) in [("ann", Some(&world.kept)), ("nobody", None)] {
            let before = world.looked_at();
            let answers = join_all((0..64).map(|_| world.is_right(email, WRONG, kept))).await;
            let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
            let refused = refused
                .filter(|error| error.reason() == ErrorReason::TooManyAttempts)
                .count();
            assert_eq!((world.looked_at() - before, refused), (10, 54));
            // The right one is refused, too: what is refused says nothing.
            assert!(world.is_right(email, RIGHT, kept).await.is_err());
        }
    }

    #[tokio::test]
    async fn what_was_not_looked_at_is_not_charged() {
        let world = World::new();
        let account = Account::new(Uid::NIL, "ann");
        for _ in 0..64 {
            let kept = async { Err(Error::new(ErrorReason::DatabaseUnavailable, "down")) };
            assert!(world.passwords.is_right(account, None, RIGHT, kept).await.is_err());
        }
        assert_eq!(world.looked_at(), 0);
        assert!(world.is_right("ann", RIGHT, Some(&world.kept)).await.unwrap());
    }
}
