//! Whether an organization, or one of its members, may use an agent.

use clientele_api::assignment::DenialReason;
use clientele_api::org::AccessDenial;
use clientele_api::org::organization::State;
use clientele_service::standing;

/// What decides whether an agent may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The state of the organization. Unspecified: one that this version does not know.
    pub organization: State,
    /// Whether the agent is archived.
    pub archived: bool,
    /// Whether it is assigned to the organization.
    pub assigned: bool,
    /// Of the member who is to use it; None: the organization as such.
    pub member: Option<MemberFacts>,
}

/// What decides besides where a member is to use an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberFacts {
    /// Whether client users of the organization may sign in.
    pub client_access_enabled: bool,
    /// Whether the person may use nothing.
    pub user_disabled: bool,
    /// The number of `Member.State`.
    pub state: i32,
    /// Whether the agent is in the member's scope.
    pub in_scope: bool,
}

impl Facts {
    /// Why the agent may not be used; unspecified: it may. What is wrong with the organization is wrong for all, so it comes first, and
    /// what is wrong with the member before what is wrong with one agent.
    pub fn denial(&self) -> DenialReason {
        let standing = standing::Facts {
            organization: self.organization,
            // Switches for people are no business of the organization as such.
            client_access_enabled: self.member.is_none_or(|member| member.client_access_enabled),
            user_disabled: self.member.is_some_and(|member| member.user_disabled),
            member: self.member.map_or(ACTIVE, |member| member.state),
        };
        match standing.denial() {
            AccessDenial::Unspecified => {}
            AccessDenial::OrganizationDeleted => return DenialReason::OrganizationDeleted,
            AccessDenial::OrganizationSuspended => return DenialReason::OrganizationSuspended,
            AccessDenial::AccessOff => return DenialReason::AccessOff,
            AccessDenial::UserDisabled => return DenialReason::UserDisabled,
            AccessDenial::MemberSuspended => return DenialReason::MemberSuspended,
            AccessDenial::MemberRemoved => return DenialReason::MemberRemoved,
        }
        if self.archived {
            DenialReason::AgentArchived
        } else if !self.assigned {
            DenialReason::NotAssigned
        } else if self.member.is_some_and(|member| !member.in_scope) {
            DenialReason::OutOfScope
        } else {
            DenialReason::Unspecified
        }
    }
}

const ACTIVE: i32 = clientele_api::org::member::State::Active as i32;

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::org::member;

    const FINE: MemberFacts = MemberFacts {
        client_access_enabled: true,
        user_disabled: false,
        state: ACTIVE,
        in_scope: true,
    };

    fn facts(organization: State, archived: bool, assigned: bool, member: Option<MemberFacts>) -> DenialReason {
        Facts {
            organization,
            archived,
            assigned,
            member,
        }
        .denial()
    }

    #[test]
    fn the_organization_is_looked_at_first() {
        use DenialReason::{AgentArchived, NotAssigned, OrganizationDeleted, OrganizationSuspended, Unspecified};
        assert_eq!(facts(State::Active, false, true, None), Unspecified);
        assert_eq!(facts(State::Active, false, false, None), NotAssigned);
        assert_eq!(facts(State::Active, true, false, None), AgentArchived);
        assert_eq!(facts(State::Suspended, true, true, None), OrganizationSuspended);
        assert_eq!(facts(State::Deleted, false, true, None), OrganizationDeleted);
        // A state that is not known is not in use.
        assert_eq!(facts(State::Unspecified, false, true, None), OrganizationSuspended);
    }

    #[test]
    fn the_person_is_looked_at_before_the_agent() {
        use DenialReason::{AccessOff, MemberRemoved, MemberSuspended, OutOfScope, Unspecified, UserDisabled};
        let of = |member| facts(State::Active, true, false, Some(member));
        let off = MemberFacts {
            client_access_enabled: false,
            ..FINE
        };
        let disabled = MemberFacts {
            user_disabled: true,
            ..FINE
        };
        let in_state = |state: i32| MemberFacts { state, ..FINE };
        assert_eq!(of(off), AccessOff);
        assert_eq!(of(disabled), UserDisabled);
        assert_eq!(of(in_state(member::State::Suspended.into())), MemberSuspended);
        for gone in [member::State::Removed.into(), 0, 99] {
            assert_eq!(of(in_state(gone)), MemberRemoved);
        }
        assert_eq!(of(FINE), DenialReason::AgentArchived);
        let outside = MemberFacts {
            in_scope: false,
            ..FINE
        };
        assert_eq!(facts(State::Active, false, true, Some(outside)), OutOfScope);
        assert_eq!(
            facts(State::Active, false, false, Some(outside)),
            DenialReason::NotAssigned
        );
        assert_eq!(facts(State::Active, false, true, Some(FINE)), Unspecified);
    }
}
