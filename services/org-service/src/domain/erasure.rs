//! Erasures: organizations and users that are taken away for good, step by step.

use clientele_api::Uid;
use clientele_api::journal::Change;
use clientele_api::name::last_id;
use clientele_api::org::{Invitation, Member, Session, User};
use prost::{Message, Name as _};

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

/// Whom a change is about: users and members are it themselves, of sessions it is who is signed in, of invitations who accepted, and
/// they themselves.
pub fn traces_of_change(change: &Change) -> Vec<Uid> {
    let mut traces = Vec::new();
    for any in change.before.iter().chain(&change.after) {
        if any.type_url == User::type_url() || any.type_url == Member::type_url() {
            traces.extend(Uid::parse(last_id(&change.resource)));
        } else if any.type_url == Session::type_url() {
            let session = Session::decode(any.value.as_slice()).unwrap_or_default();
            traces.extend(Uid::parse(last_id(&session.user)));
        } else if any.type_url == Invitation::type_url() {
            let invitation = Invitation::decode(any.value.as_slice()).unwrap_or_default();
            traces.extend(Uid::parse(last_id(&invitation.member)));
            traces.extend(Uid::parse(&change.uid));
        }
    }
    traces
}

/// Whom an encoded answer of whatever type is about: everybody whose id stands in it.
pub fn traces_of_answer(answer: &[u8]) -> Vec<Uid> {
    const LENGTH: usize = 36;
    let texts = answer
        .windows(LENGTH)
        .filter(|window| window[8] == b'-' && window[13] == b'-');
    let uids = texts.filter_map(|window| Uid::parse(std::str::from_utf8(window).ok()?));
    uids.collect()
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
        assert_eq!(traces_of_change(&Change::created(&member)), [user]);
        let invited = Uid::new();
        let invitation = Invitation {
            uid: invited.to_string(),
            name: format!("{bakery}/invitations/{invited}"),
            member: format!("{bakery}/members/{user}"),
            ..Invitation::default()
        };
        assert_eq!(traces_of_change(&Change::created(&invitation)), [user, invited]);
        let answer = clientele_api::org::BatchCreateMembersResponse { members: vec![member] };
        assert!(traces_of_answer(&answer.encode_to_vec()).contains(&user));
        assert!(traces_of_answer(b"short").is_empty());
    }
}
