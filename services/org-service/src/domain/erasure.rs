//! Erasures: organizations and users that are taken away for good, step by step.

use super::user::email_key;
use clientele_api::Uid;
use clientele_api::journal::Change;
use clientele_api::name::last_id;
use clientele_api::org::{Invitation, Member, Session, User};
use prost::{Message, Name as _};
use prost_types::Any;

/// What is taken away next. First comes what nothing else refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The teams of the organization.
    Teams = 1,
    /// Its invitations.
    Invitations = 2,
    /// Its roles.
    Roles = 3,
    /// Its members, and with them the users who are present nowhere else.
    Members = 4,
    /// What its journal says.
    Journal = 5,
    /// What the erased users still are members of.
    Memberships = 6,
    /// The invitations for them, or accepted by them.
    UserInvitations = 7,
    /// What the journal of the workspace says of them.
    UserJournal = 8,
    /// What is left of the users themselves.
    Users = 9,
    /// What is left of the organization itself.
    Organization = 10,
}

impl Step {
    /// With which an organization is begun.
    pub const FIRST: Self = Self::Teams;
    /// With which a user is begun.
    pub const FIRST_OF_USER: Self = Self::Memberships;

    const ALL: [Self; 10] = [
        Self::Teams,
        Self::Invitations,
        Self::Roles,
        Self::Members,
        Self::Journal,
        Self::Memberships,
        Self::UserInvitations,
        Self::UserJournal,
        Self::Users,
        Self::Organization,
    ];

    /// The step with this number.
    pub fn of(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as i32 == number)
    }

    /// What comes after it; None: it was the last one.
    pub fn next(self) -> Option<Self> {
        Self::of(self as i32 + 1)
    }
}

/// Whether what a change tells is an organization's, which goes with it. Users and their sessions are the workspace's: who stays in it is
/// told of like before.
pub fn is_of_organization(change: &Change) -> bool {
    let mut told = change.before.iter().chain(&change.after);
    !told.any(|any| any.type_url == User::type_url() || any.type_url == Session::type_url())
}

/// Whom something in the journal is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// These users, and these invitations that somebody may have accepted.
    pub users: Vec<Uid>,
    /// Whoever had these emails, as they are compared.
    pub emails: Vec<String>,
}

impl Traces {
    /// Of a change: of users and members it is themselves, of sessions who is signed in, of invitations who is invited and who accepted.
    pub fn of_change(change: &Change) -> Self {
        let mut traces = Self::default();
        for any in change.before.iter().chain(&change.after) {
            if any.type_url == User::type_url() || any.type_url == Member::type_url() {
                traces.users.extend(Uid::parse(last_id(&change.resource)));
            } else if any.type_url == Session::type_url() {
                let session = Session::decode(any.value.as_slice()).unwrap_or_default();
                traces.users.extend(Uid::parse(last_id(&session.user)));
            } else if any.type_url == Invitation::type_url() {
                traces.add_invitation(any);
            }
        }
        traces
    }

    fn add_invitation(&mut self, any: &Any) {
        let Ok(invitation) = Invitation::decode(any.value.as_slice()) else {
            return;
        };
        self.users.extend(Uid::parse(last_id(&invitation.member)));
        self.users.extend(Uid::parse(&invitation.uid));
        if !invitation.email.is_empty() {
            self.emails.push(email_key(&invitation.email));
        }
    }

    /// Of an encoded answer of whatever type: everybody whose id stands in it.
    pub fn of_answer(answer: &[u8]) -> Self {
        const LENGTH: usize = 36;
        let texts = answer
            .windows(LENGTH)
            .filter(|window| window[8] == b'-' && window[13] == b'-');
        let uids = texts.filter_map(|window| Uid::parse(std::str::from_utf8(window).ok()?));
        Self {
            users: uids.collect(),
            emails: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_found_by_its_number_and_comes_once() {
        let mut steps = vec![Step::FIRST];
        while let Some(next) = steps.last().and_then(|step| step.next()) {
            steps.push(next);
        }
        assert_eq!(steps, Step::ALL);
        assert!(steps.contains(&Step::FIRST_OF_USER));
        assert_eq!((Step::of(0), Step::of(11)), (None, None));
    }

    #[test]
    fn a_person_is_found_in_what_the_journal_says() {
        let user = Uid::new();
        let bakery = "workspaces/acme/organizations/bakery";
        let member = Member {
            name: format!("{bakery}/members/{user}"),
            uid: Uid::new().to_string(),
            ..Member::default()
        };
        let traces = Traces::of_change(&Change::created(&member));
        assert_eq!((traces.users, traces.emails.len()), (vec![user], 0));
        let accepted = Uid::new();
        let invitation = Invitation {
            uid: accepted.to_string(),
            name: format!("{bakery}/invitations/{accepted}"),
            email: "Ann@X.de".to_owned(),
            member: format!("{bakery}/members/{user}"),
            ..Invitation::default()
        };
        let traces = Traces::of_change(&Change::created(&invitation));
        assert_eq!(
            (traces.users, traces.emails),
            (vec![user, accepted], vec!["ann@x.de".to_owned()])
        );
        let answer = clientele_api::org::BatchCreateMembersResponse { members: vec![member] };
        assert!(Traces::of_answer(&answer.encode_to_vec()).users.contains(&user));
        assert_eq!(Traces::of_answer(b"short"), Traces::default());
    }
}
