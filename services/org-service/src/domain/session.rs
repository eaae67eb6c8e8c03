//! Sessions: client users who are signed in.

use super::secret::{SecretKey, TokenHash};
use super::user::user_name;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org::{self as api, session::State};
use clientele_api::{Micros, Result, Uid};
use clientele_service::standing::session_ended;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// How long an access token is good.
pub const ACCESS: Duration = MINUTE.saturating_mul(15);
/// How long after it was used last a session can be refreshed.
const IDLE: Duration = MINUTE.saturating_mul(60 * 24 * 30);
/// How long staff may be logged in as somebody else, however often it refreshes.
const IMPERSONATION: Duration = MINUTE.saturating_mul(60);
/// How long the refresh token before the present one works.
const GRACE: Duration = Duration::from_secs(30);
/// How many sessions of one user can be used at a time: one more ends the one that was used least recently.
pub const MOST: usize = 100;

/// A client user who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its identity, in names also its id.
    pub uid: Uid,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When the user signed in.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// Who is signed in.
    pub user: Uid,
    /// Where.
    pub organization: OrganizationRef,
    /// Staff who logged in as the user, as the journal names actors.
    pub staff: Option<String>,
    /// How many refresh tokens there have been.
    pub generation: i32,
    /// What is kept of the refresh token.
    pub token: TokenHash,
    /// What is kept of the one before.
    pub previous: Option<TokenHash>,
    /// When it was refreshed last.
    pub last_use_time: Micros,
    /// Until when it can be refreshed.
    pub expire_time: Micros,
    /// Whether it was ended.
    pub revoked: bool,
}

/// What somebody comes with who wants new tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// The refresh token in force: there will be another one.
    Present,
    /// The one before, soon after: the answer that was lost is given again.
    JustBefore,
    /// An older one: somebody has a copy.
    Old,
}

impl Session {
    /// A new one; `staff` is who logs in as the user.
    pub fn begin(
        organization: OrganizationRef,
        user: Uid,
        staff: Option<String>,
        key: &SecretKey,
        now: Micros,
    ) -> Self {
        let uid = Uid::new();
        let lifetime = if staff.is_some() { IMPERSONATION } else { IDLE };
        Self {
            uid,
            version: 1,
            create_time: now,
            update_time: now,
            user,
            organization,
            staff,
            generation: 1,
            token: TokenHash::of(&key.refresh_token(uid, 1)),
            previous: None,
            last_use_time: now,
            expire_time: now.plus(lifetime),
            revoked: false,
        }
    }

    /// `workspaces/{workspace}/sessions/{session}`.
    pub fn name(&self) -> String {
        session_name(&self.organization.workspace, self.uid)
    }

    /// Whether it can be used.
    pub fn state(&self, now: Micros) -> State {
        if self.revoked {
            State::Revoked
        } else if self.expire_time <= now {
            State::Expired
        } else {
            State::Active
        }
    }

    /// What the refresh token is; UNAUTHENTICATED `SESSION_ENDED` if it is none of this session's, or the session is over.
    pub fn read_token(&self, token: &str, key: &SecretKey, now: Micros) -> Result<Presented> {
        // Tokens that were handed out outlive the key that they were derived with: the last two are known by what is kept of them.
        let present = self.token.is_of(token);
        let previous = self.previous.is_some_and(|previous| previous.is_of(token));
        let ours = present || previous || key.generation_of(self.uid, token).is_some();
        if !ours || self.state(now) != State::Active {
            return Err(session_ended());
        }
        Ok(if present {
            Presented::Present
        } else if previous && now <= self.last_use_time.plus(GRACE) {
            Presented::JustBefore
        } else {
            Presented::Old
        })
    }

    /// With the next refresh token. Staff's time is not prolonged.
    pub fn rotate(&self, key: &SecretKey, now: Micros) -> Self {
        let generation = self.generation + 1;
        Self {
            generation,
            token: TokenHash::of(&key.refresh_token(self.uid, generation)),
            previous: Some(self.token),
            last_use_time: now,
            expire_time: if self.staff.is_some() {
                self.expire_time
            } else {
                now.plus(IDLE)
            },
            ..self.clone()
        }
    }

    /// For whoever comes again with the token before: with the same successor, unless that was derived with another key and can't be
    /// given again.
    pub fn repeat(&self, key: &SecretKey, now: Micros) -> Self {
        match self.token.is_of(&key.refresh_token(self.uid, self.generation)) {
            true => self.clone(),
            false => self.rotate(key, now),
        }
    }

    /// Who really is behind it, as the journal names actors.
    pub fn actor(&self) -> String {
        self.staff.clone().unwrap_or_else(|| self.user_actor())
    }

    /// In whose place the actor acts; None: in its own.
    pub fn acting_for(&self) -> Option<String> {
        self.staff.as_ref().map(|_| self.user_actor())
    }

    fn user_actor(&self) -> String {
        format!("users/{}", self.user)
    }

    /// In another organization; equal to this one if it is there already.
    pub fn switch(&self, organization: &OrganizationRef, now: Micros) -> Self {
        if self.organization == *organization {
            return self.clone();
        }
        Self {
            organization: organization.clone(),
            version: self.version + 1,
            update_time: now,
            ..self.clone()
        }
    }

    /// Ended.
    pub fn revoke(&self, now: Micros) -> Self {
        Self {
            revoked: true,
            version: self.version + 1,
            update_time: now,
            ..self.clone()
        }
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Self) -> Vec<String> {
        let moved = self.organization != after.organization;
        [
            ("organization", moved),
            ("organization_uid", moved),
            ("state", self.revoked != after.revoked),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// When an access token ends that is given now: no later than the session.
    pub fn access_expire_time(&self, now: Micros) -> Micros {
        now.plus(ACCESS).min(self.expire_time)
    }

    /// As it is seen now.
    pub fn seen(&self, now: Micros) -> api::Session {
        api::Session {
            last_use_time: Some(self.last_use_time.into()),
            expire_time: Some(self.expire_time.into()),
            state: self.state(now).into(),
            ..self.into()
        }
    }
}

/// `workspaces/{workspace}/sessions/{session}`.
pub fn session_name(workspace: &WorkspaceRef, session: Uid) -> String {
    format!("{}/sessions/{session}", workspace.name())
}

/// As the journal has it.
impl From<&Session> for api::Session {
    fn from(session: &Session) -> Self {
        let state = if session.revoked { State::Revoked } else { State::Active };
        Self {
            name: session.name(),
            uid: session.uid.to_string(),
            version: session.version,
            etag: session.uid.etag(session.version),
            create_time: Some(session.create_time.into()),
            update_time: Some(session.update_time.into()),
            user: user_name(&session.organization.workspace, session.user),
            organization: session.organization.name(),
            organization_uid: session.organization.uid.to_string(),
            acting_for: session.acting_for().unwrap_or_default(),
            actor: session.actor(),
            last_use_time: None,
            expire_time: None,
            state: state.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::error::ErrorReason;

    fn organization() -> OrganizationRef {
        let workspace = WorkspaceRef {
            uid: Uid::new(),
            id: "acme".to_owned(),
        };
        OrganizationRef {
            workspace,
            uid: Uid::new(),
            id: "bakery".to_owned(),
        }
    }

    fn key() -> SecretKey {
        SecretKey::new(&[7; 32]).unwrap()
    }

    const BEGIN: Micros = Micros(1_000_000);

    #[test]
    fn the_token_before_works_for_a_while_and_older_ones_are_copies() {
        let key = key();
        let first = Session::begin(organization(), Uid::new(), None, &key, BEGIN);
        let token = |generation| key.refresh_token(first.uid, generation);
        let read = |session: &Session, generation, now| session.read_token(&token(generation), &key, now).ok();
        assert_eq!(read(&first, 1, BEGIN), Some(Presented::Present));
        let second = first.rotate(&key, BEGIN);
        assert_eq!(read(&second, 2, BEGIN), Some(Presented::Present));
        assert_eq!(read(&second, 1, BEGIN.plus(GRACE)), Some(Presented::JustBefore));
        assert_eq!(
            read(&second, 1, BEGIN.plus(GRACE).plus(Duration::from_micros(1))),
            Some(Presented::Old)
        );
        let third = second.rotate(&key, BEGIN);
        assert_eq!(read(&third, 1, BEGIN), Some(Presented::Old));
        for wrong in ["", "x", &key.refresh_token(Uid::new(), 3), &key.token(first.uid, 3)] {
            assert!(third.read_token(wrong, &key, BEGIN).is_err(), "{wrong}");
        }
        assert_eq!(third.repeat(&key, BEGIN), third);
        // Another key: what was handed out is good once more, and so is what was handed out before.
        let other = SecretKey::new(&[8; 32]).unwrap();
        assert_eq!(third.read_token(&token(3), &other, BEGIN).unwrap(), Presented::Present);
        assert_eq!(
            third.read_token(&token(2), &other, BEGIN).unwrap(),
            Presented::JustBefore
        );
        let fourth = third.repeat(&other, BEGIN);
        assert!(
            fourth.token.is_of(&other.refresh_token(third.uid, 4)),
            "the same can't be given again"
        );
    }

    #[test]
    fn a_session_ends_when_nobody_refreshes_it_or_it_is_revoked() {
        let key = key();
        let session = Session::begin(organization(), Uid::new(), None, &key, BEGIN);
        let end = BEGIN.plus(IDLE);
        assert_eq!(session.state(end), State::Expired);
        assert_eq!(session.rotate(&key, BEGIN.plus(GRACE)).state(end), State::Active);
        assert_eq!(session.revoke(end).state(end), State::Revoked);
        assert_eq!(session.access_expire_time(BEGIN), BEGIN.plus(ACCESS));
        let token = key.refresh_token(session.uid, 1);
        for over in [
            session.read_token(&token, &key, end),
            session.revoke(BEGIN).read_token(&token, &key, BEGIN),
        ] {
            assert_eq!(over.unwrap_err().reason(), ErrorReason::SessionEnded);
        }
    }

    #[test]
    fn staff_is_logged_in_for_an_hour_however_often_it_refreshes() {
        let key = key();
        let staff = Some("staff/ann".to_owned());
        let session = Session::begin(organization(), Uid::new(), staff, &key, BEGIN);
        let late = BEGIN.plus(MINUTE * 50);
        let refreshed = session.rotate(&key, late);
        assert_eq!(refreshed.expire_time, BEGIN.plus(IMPERSONATION));
        assert_eq!(refreshed.access_expire_time(late), BEGIN.plus(IMPERSONATION));
        let message = refreshed.seen(late);
        assert_eq!(message.actor, "staff/ann");
        assert_eq!(message.acting_for, format!("users/{}", session.user));
    }
}
