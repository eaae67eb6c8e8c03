//! Invitations: offers to people to become members.

use super::grants::{Grants, each_once};
use super::member::member_name;
use super::secret::{SecretKey, TokenHash, pause_after};
use super::team::parse_key;
use super::user::Email;
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::name::OrganizationRef;
use clientele_api::org::{self as api, invitation::State};
use clientele_api::{Error, Micros, Result, Uid, Violations};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long at least an invitation can be accepted, how long at most, and how long if nothing is said.
const SHORTEST: Duration = HOUR;
const LONGEST: Duration = DAY.saturating_mul(30);
const DEFAULT: Duration = DAY.saturating_mul(7);
/// How many teams at most.
const MOST_TEAMS: usize = 20;
/// How many tokens at most, one after the other.
const MOST_TOKENS: i32 = 50;

/// An offer to a person to become a member of an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Invitation {
    /// Its identity, in names also its id.
    pub uid: Uid,
    /// The organization.
    pub organization: OrganizationRef,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was created.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// Whom it is for.
    pub email: Email,
    /// What the member gets.
    pub grants: Grants,
    /// The keys of the teams that the member joins.
    pub team_keys: Vec<String>,
    /// What has become of it, except that it has expired: that is only seen.
    pub state: State,
    /// Until when it can be accepted.
    pub expire_time: Micros,
    /// How often its token was issued.
    pub sent_count: i32,
    /// The token that was issued last.
    pub token: Option<Issued>,
    /// Who invited.
    pub inviter: Inviter,
    /// The user who accepted.
    pub member: Option<Uid>,
}

/// A token that was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// When.
    pub time: Micros,
    /// What is kept of it.
    pub hash: TokenHash,
}

/// Who invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inviter {
    /// As the journal names actors.
    pub actor: String,
    /// The client user, if it was one.
    pub user: Option<Uid>,
}

/// An invitation that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInvitation {
    /// Whom it is for.
    pub email: Email,
    /// What the member gets.
    pub grants: Grants,
    /// The keys of the teams that the member joins.
    pub team_keys: Vec<String>,
    expire_time: Micros,
}

impl NewInvitation {
    /// Reads an invitation at a path of the request.
    pub fn parse(
        message: Option<&api::Invitation>,
        path: &str,
        now: Micros,
        violations: &mut Violations,
    ) -> Option<Self> {
        let empty = api::Invitation::default();
        let message = message.unwrap_or(&empty);
        let email = violations.check(&format!("{path}.email"), Email::parse(&message.email));
        let grants = Grants::parse(&message.roles, &message.permissions, path, violations);
        let team_keys = each_once(&message.team_keys, MOST_TEAMS, parse_key);
        let team_keys = violations.check(&format!("{path}.team_keys"), team_keys);
        let expire_time = violations.check(&format!("{path}.expire_time"), read_expire_time(message, now));
        Some(Self {
            email: email?,
            grants,
            team_keys: team_keys?,
            expire_time: expire_time?,
        })
    }

    /// The invitation that comes of it.
    pub fn into_invitation(self, organization: &OrganizationRef, inviter: Inviter, now: Micros) -> Invitation {
        Invitation {
            uid: Uid::new(),
            organization: organization.clone(),
            version: 1,
            create_time: now,
            update_time: now,
            email: self.email,
            grants: self.grants,
            team_keys: self.team_keys,
            state: State::Pending,
            expire_time: self.expire_time,
            sent_count: 0,
            token: None,
            inviter,
            member: None,
        }
    }
}

fn read_expire_time(message: &api::Invitation, now: Micros) -> Result<Micros, Invalid> {
    let Some(given) = message.expire_time else {
        return Ok(now.plus(DEFAULT));
    };
    let time = Micros::try_from(given)?;
    if (now.plus(SHORTEST)..=now.plus(LONGEST)).contains(&time) {
        return Ok(time);
    }
    Err(Invalid::new("must be 1 hour to 30 days from now"))
}

impl Invitation {
    /// `workspaces/{workspace}/organizations/{organization}/invitations/{invitation}`.
    pub fn name(&self) -> String {
        invitation_name(&self.organization, &self.uid.to_string())
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// What has become of it by now.
    pub fn state_at(&self, now: Micros) -> State {
        match self.state {
            State::Pending if self.expire_time <= now => State::Expired,
            state => state,
        }
    }

    /// Refuses what can be done only as long as it can be accepted.
    pub fn require_pending(&self, now: Micros) -> Result<()> {
        let state = self.state_at(now);
        if state == State::Pending {
            return Ok(());
        }
        let state = short_name(state);
        let refusal = self.refuse(
            ErrorReason::InvitationNotPending,
            &format!("is {state}: another one is needed"),
        );
        Err(refusal.with("state", state))
    }

    /// Whether this is the token that was issued last. A token stays one when it is of no use any more.
    pub fn is_proven_by(&self, token: &str) -> bool {
        self.token.is_some_and(|issued| issued.hash.is_of(token))
    }

    /// With another token, whose generation is the new `sent_count`. The one before proves nothing any more.
    pub fn issue_token(&self, key: &SecretKey, now: Micros) -> Result<Invitation> {
        self.require_pending(now)?;
        if self.sent_count >= MOST_TOKENS {
            let state = "got all the tokens that an invitation gets: create another one";
            return Err(self
                .refuse(ErrorReason::LimitReached, state)
                .with("limit", MOST_TOKENS)
                .with("used", self.sent_count));
        }
        if let Some(pause) = self.token.and_then(|issued| pause_after(issued.time, now)) {
            let state = "got a token less than a minute ago: try again later";
            return Err(self.refuse(ErrorReason::TokenIssuedRecently, state).retry_after(pause));
        }
        let generation = self.sent_count + 1;
        let hash = TokenHash::of(&key.token(self.uid, generation));
        Ok(self.changed(now, |invitation| {
            invitation.sent_count = generation;
            invitation.token = Some(Issued { time: now, hash });
        }))
    }

    /// Taken back.
    pub fn revoke(&self, now: Micros) -> Result<Invitation> {
        self.require_pending(now)?;
        Ok(self.changed(now, |invitation| invitation.state = State::Revoked))
    }

    /// Turned down.
    pub fn decline(&self, now: Micros) -> Result<Invitation> {
        self.require_pending(now)?;
        Ok(self.changed(now, |invitation| invitation.state = State::Declined))
    }

    /// Accepted by this user, who is a member now.
    pub fn accept(&self, user: Uid, now: Micros) -> Result<Invitation> {
        self.require_pending(now)?;
        Ok(self.changed(now, |invitation| {
            invitation.state = State::Accepted;
            invitation.member = Some(user);
        }))
    }

    /// The refusal of an invitation by somebody who could not invite so any more.
    pub fn inviter_lost_right(&self) -> Error {
        let state = "is by somebody who may not invite so any more: another one is needed";
        self.refuse(ErrorReason::InviterLostRight, state)
    }

    /// The refusal of another invitation for the same person.
    pub fn already_pending(&self) -> Error {
        let email = self.email.as_str();
        let state = format!("is pending for {email:?} already: revoke it first, or issue its token again");
        self.refuse(ErrorReason::ResourceExists, &state)
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Invitation) -> Vec<String> {
        [
            ("state", self.state != after.state),
            ("sent_count", self.sent_count != after.sent_count),
            ("member", self.member != after.member),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// The next version.
    fn changed(&self, now: Micros, change: impl FnOnce(&mut Invitation)) -> Invitation {
        let mut invitation = self.clone();
        change(&mut invitation);
        invitation.version += 1;
        invitation.update_time = now;
        invitation
    }

    fn refuse(&self, reason: ErrorReason, state: &str) -> Error {
        let name = self.name();
        Error::new(reason, format!("{name:?} {state}")).about("Invitation", name)
    }

    /// As it is seen now.
    pub fn seen(&self, now: Micros) -> api::Invitation {
        api::Invitation {
            state: self.state_at(now).into(),
            ..self.into()
        }
    }
}

/// `workspaces/{workspace}/organizations/{organization}/invitations/{invitation}`.
pub fn invitation_name(organization: &OrganizationRef, id: &str) -> String {
    format!("{}/invitations/{id}", organization.name())
}

/// `PENDING`, `ACCEPTED`, …
fn short_name(state: State) -> &'static str {
    state.as_str_name().trim_start_matches("STATE_")
}

/// As the journal tells it: whether it has expired is not said.
impl From<&Invitation> for api::Invitation {
    fn from(invitation: &Invitation) -> Self {
        let member = invitation
            .member
            .map(|user| member_name(&invitation.organization, user));
        Self {
            name: invitation.name(),
            uid: invitation.uid.to_string(),
            version: invitation.version,
            etag: invitation.uid.etag(invitation.version),
            create_time: Some(invitation.create_time.into()),
            update_time: Some(invitation.update_time.into()),
            email: invitation.email.as_str().to_owned(),
            roles: invitation.grants.roles.clone(),
            permissions: invitation.grants.permissions.iter().map(ToString::to_string).collect(),
            team_keys: invitation.team_keys.clone(),
            state: invitation.state.into(),
            expire_time: Some(invitation.expire_time.into()),
            sent_count: invitation.sent_count,
            inviter: invitation.inviter.actor.clone(),
            member: member.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret::TOKEN_PAUSE;
    use super::*;
    use clientele_api::name::WorkspaceRef;

    const NOW: Micros = Micros(1_000_000_000_000_000);

    fn bakery() -> OrganizationRef {
        OrganizationRef {
            workspace: WorkspaceRef {
                uid: Uid::new(),
                id: "acme".to_owned(),
            },
            uid: Uid::new(),
            id: "bakery".to_owned(),
        }
    }

    fn parse(message: &api::Invitation) -> Result<NewInvitation> {
        let mut violations = Violations::new();
        let new = NewInvitation::parse(Some(message), "invitation", NOW, &mut violations);
        violations.finish(new)
    }

    fn for_ann() -> api::Invitation {
        api::Invitation {
            email: "ann@example.com".to_owned(),
            ..Default::default()
        }
    }

    fn invitation() -> Invitation {
        let inviter = Inviter {
            actor: "staff/sam".to_owned(),
            user: None,
        };
        parse(&for_ann()).unwrap().into_invitation(&bakery(), inviter, NOW)
    }

    fn key() -> SecretKey {
        SecretKey::new(&[7; 32]).unwrap()
    }

    #[test]
    fn every_violation_is_answered() {
        let message = api::Invitation {
            email: "ann".to_owned(),
            roles: vec!["A".to_owned()],
            permissions: vec!["x".to_owned()],
            team_keys: vec!["sales".to_owned(), "sales".to_owned()],
            expire_time: Some(NOW.into()),
            ..Default::default()
        };
        let error = parse(&message).unwrap_err();
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        let all = ["roles", "permissions", "team_keys", "expire_time"].map(|field| format!("invitation.{field}"));
        assert_eq!(fields[0], "invitation.email");
        assert_eq!(fields[1..], all);
        let mut violations = Violations::new();
        assert!(NewInvitation::parse(None, "invitation", NOW, &mut violations).is_none());
    }

    #[test]
    fn it_lasts_a_week_or_an_hour_to_thirty_days() {
        let lasting = |micros: i64| {
            parse(&api::Invitation {
                expire_time: Some(Micros(NOW.0 + micros).into()),
                ..for_ann()
            })
        };
        let hour: i64 = 3_600_000_000;
        assert_eq!(invitation().expire_time, Micros(NOW.0 + 7 * 24 * hour));
        assert_eq!(lasting(hour).unwrap().expire_time, Micros(NOW.0 + hour));
        assert!(lasting(30 * 24 * hour).is_ok());
        for bad in [hour - 1, 30 * 24 * hour + 1, -hour, 0] {
            assert!(lasting(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_pending_can_t_be_used() {
        let pending = invitation();
        let accepted = pending.accept(Uid::new(), NOW).unwrap();
        let declined = pending.decline(NOW).unwrap();
        let revoked = pending.revoke(NOW).unwrap();
        assert_eq!(pending.changed_fields(&accepted), ["state", "member"]);
        assert_eq!(
            (revoked.version, pending.changed_fields(&revoked)),
            (2, vec!["state".to_owned()])
        );
        let end = pending.expire_time;
        for (invitation, now, state) in [
            (&accepted, NOW, State::Accepted),
            (&declined, NOW, State::Declined),
            (&revoked, end, State::Revoked),
            (&pending, end, State::Expired),
        ] {
            assert_eq!(invitation.state_at(now), state);
            assert_eq!(invitation.seen(now).state(), state);
            for refused in [
                invitation.accept(Uid::new(), now),
                invitation.decline(now),
                invitation.revoke(now),
                invitation.issue_token(&key(), now),
            ] {
                assert_eq!(refused.unwrap_err().reason(), ErrorReason::InvitationNotPending);
            }
        }
        assert_eq!(pending.state_at(Micros(end.0 - 1)), State::Pending);
        assert_eq!(api::Invitation::from(&pending).state(), State::Pending);
    }

    #[test]
    fn a_token_dies_when_the_next_one_is_issued() {
        let (before, key) = (invitation(), key());
        let token = |generation| key.token(before.uid, generation);
        assert!(!before.is_proven_by(&token(0)) && !before.is_proven_by(&token(1)));
        let first = before.issue_token(&key, NOW).unwrap();
        assert!(first.is_proven_by(&token(1)) && !first.is_proven_by(&token(2)));
        assert_eq!(before.changed_fields(&first), ["sent_count"]);
        let later = NOW.plus(TOKEN_PAUSE);
        let second = first.issue_token(&key, later).unwrap();
        assert!(second.is_proven_by(&token(2)) && !second.is_proven_by(&token(1)));
        assert!(
            second.revoke(later).unwrap().is_proven_by(&token(2)),
            "it says what became of it"
        );
    }

    #[test]
    fn tokens_are_not_issued_often() {
        let key = key();
        let mut invitation = invitation().issue_token(&key, NOW).unwrap();
        let soon = NOW.plus(TOKEN_PAUSE - Duration::from_micros(1));
        let error = invitation.issue_token(&key, soon).unwrap_err();
        assert_eq!(error.reason(), ErrorReason::TokenIssuedRecently);
        assert_eq!(pause_after(NOW, soon), Some(Duration::from_micros(1)));
        assert_eq!(pause_after(NOW, Micros(0)), Some(TOKEN_PAUSE), "the clock was set back");
        let mut now = NOW;
        for count in 2..=MOST_TOKENS {
            now = now.plus(TOKEN_PAUSE);
            invitation = invitation.issue_token(&key, now).unwrap();
            assert_eq!(invitation.sent_count, count);
        }
        let error = invitation.issue_token(&key, now.plus(TOKEN_PAUSE)).unwrap_err();
        assert_eq!(error.reason(), ErrorReason::LimitReached);
    }
}
