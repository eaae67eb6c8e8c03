//! Assignments: which organization may use which agent.

use super::agent::{Agent, agent_name};
use clientele_api::assignment::{self as api, DenialReason};
use clientele_api::error::ErrorReason;
use clientele_api::name::OrganizationRef;
use clientele_api::org::organization::State;
use clientele_api::{Error, Micros, Result, Uid, Violations, parse};

/// Lets one organization use one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Its identity; it stays when the agent is taken away and assigned again.
    pub uid: Uid,
    /// The organization.
    pub organization: OrganizationRef,
    /// The identity of the agent.
    pub agent_uid: Uid,
    /// The id of the agent, in names also the assignment's own.
    pub agent_id: String,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When the agent was assigned first.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// Where it stands among the organization's agents; ascending, with gaps.
    pub position: i64,
    /// What the organization calls the agent; empty: its title.
    pub alias: String,
    /// The agency's own note.
    pub note: String,
    /// Whether the agent was taken away.
    pub removed: bool,
}

/// An assignment that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAssignment {
    /// What the organization is to call the agent.
    pub alias: Option<String>,
    /// The agency's own note.
    pub note: Option<String>,
}

impl NewAssignment {
    /// Reads the request.
    pub fn parse(request: &api::AssignAgentRequest) -> Result<Self> {
        let given = request.assignment.as_ref();
        let alias = given.and_then(|assignment| assignment.alias.as_deref());
        let note = given.and_then(|assignment| assignment.note.as_deref());
        let mut violations = Violations::new();
        let new = Self {
            alias: alias.and_then(|alias| violations.check("assignment.alias", parse::line(alias, 0..=200))),
            note: note.and_then(|note| violations.check("assignment.note", parse::paragraphs(note, 2000))),
        };
        violations.finish(Some(new))
    }

    /// The assignment that comes of it.
    pub fn into_assignment(
        self,
        organization: &OrganizationRef,
        agent: &Agent,
        position: i64,
        now: Micros,
    ) -> Assignment {
        Assignment {
            uid: Uid::new(),
            organization: organization.clone(),
            agent_uid: agent.uid,
            agent_id: agent.id.clone(),
            version: 1,
            create_time: now,
            update_time: now,
            position,
            alias: self.alias.unwrap_or_default(),
            note: self.note.unwrap_or_default(),
            removed: false,
        }
    }
}

impl Assignment {
    /// `…/organizations/{organization}/assignments/{agent}`.
    pub fn name(&self) -> String {
        format!("{}/assignments/{}", self.organization.name(), self.agent_id)
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// Taken away.
    pub fn remove(&self, now: Micros) -> Assignment {
        Assignment {
            version: self.version + 1,
            update_time: now,
            removed: true,
            ..self.clone()
        }
    }

    /// Back at this position, with the alias and note it had where none are asked for.
    pub fn revive(&self, new: NewAssignment, position: i64, now: Micros) -> Assignment {
        Assignment {
            version: self.version + 1,
            update_time: now,
            position,
            alias: new.alias.unwrap_or_else(|| self.alias.clone()),
            note: new.note.unwrap_or_else(|| self.note.clone()),
            removed: false,
            ..self.clone()
        }
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Assignment) -> Vec<String> {
        [
            ("position", self.position != after.position),
            ("alias", self.alias != after.alias),
            ("note", self.note != after.note),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }
}

impl From<&Assignment> for api::Assignment {
    fn from(assignment: &Assignment) -> Self {
        Self {
            name: assignment.name(),
            uid: assignment.uid.to_string(),
            version: assignment.version,
            etag: assignment.uid.etag(assignment.version),
            create_time: Some(assignment.create_time.into()),
            update_time: Some(assignment.update_time.into()),
            agent: agent_name(&assignment.organization.workspace, &assignment.agent_id),
            position: assignment.position,
            alias: Some(assignment.alias.clone()),
            note: Some(assignment.note.clone()),
        }
    }
}

/// Why an organization may not use an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The agent is not assigned to the organization.
    NotAssigned,
    /// The agent is archived.
    AgentArchived,
    /// The organization is suspended.
    OrganizationSuspended,
    /// The organization is deleted.
    OrganizationDeleted,
}

/// Why an organization in this state may not use an agent; none: it may.
pub fn check(organization: State, agent_archived: bool, assigned: bool) -> Option<Denial> {
    match organization {
        State::Deleted => Some(Denial::OrganizationDeleted),
        State::Active if agent_archived => Some(Denial::AgentArchived),
        State::Active if !assigned => Some(Denial::NotAssigned),
        State::Active => None,
        // A state of a newer version is not in use, whatever else it is.
        State::Suspended | State::Unspecified => Some(Denial::OrganizationSuspended),
    }
}

impl From<Denial> for DenialReason {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::NotAssigned => Self::NotAssigned,
            Denial::AgentArchived => Self::AgentArchived,
            Denial::OrganizationSuspended => Self::OrganizationSuspended,
            Denial::OrganizationDeleted => Self::OrganizationDeleted,
        }
    }
}

/// Refuses one more agent for an organization that is assigned as many as it may be; none: there is no limit.
pub fn require_room(organization: &OrganizationRef, limit: Option<i32>, used: i64) -> Result<()> {
    let Some(limit) = limit.filter(|limit| used >= i64::from(*limit)) else {
        return Ok(());
    };
    let name = organization.name();
    let message = format!("{name:?} is assigned {used} agents and may be assigned {limit}: raise its max_agents first");
    Err(Error::new(ErrorReason::LimitReached, message)
        .with("limit", limit)
        .with("used", used)
        .about("Organization", name))
}

/// Refuses to change the assignments of an organization that is not in use.
pub fn require_active(organization: &OrganizationRef, state: State) -> Result<()> {
    let (reason, advice) = match state {
        State::Active => return Ok(()),
        State::Deleted => (ErrorReason::OrganizationDeleted, "is deleted: undelete it first"),
        // A state of a newer version is not in use, whatever else it is.
        State::Suspended | State::Unspecified => (ErrorReason::OrganizationSuspended, "is suspended: resume it first"),
    };
    let name = organization.name();
    Err(Error::new(reason, format!("{name:?} {advice}")).about("Organization", name))
}

#[cfg(test)]
mod tests {
    use super::super::agent::NewAgent;
    use super::*;
    use clientele_api::name::WorkspaceRef;

    const NOW: Micros = Micros(1_000);
    const LATER: Micros = Micros(2_000);

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

    fn new(alias: Option<&str>, note: Option<&str>) -> Result<NewAssignment> {
        NewAssignment::parse(&api::AssignAgentRequest {
            assignment: Some(api::Assignment {
                alias: alias.map(str::to_owned),
                note: note.map(str::to_owned),
                position: 99,
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    fn assign(new: NewAssignment) -> Assignment {
        let organization = bakery();
        let request = api::CreateAgentRequest {
            agent_id: "a1".to_owned(),
            agent: Some(api::Agent {
                title: Some("Support".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let agent = NewAgent::parse(&request).unwrap();
        let agent = agent.into_agent(&organization.workspace, NOW);
        new.into_assignment(&organization, &agent, 7, NOW)
    }

    #[test]
    fn a_state_that_is_not_known_is_not_in_use() {
        assert_eq!(
            check(State::Unspecified, false, true),
            Some(Denial::OrganizationSuspended)
        );
        let refusal = require_active(&bakery(), State::Unspecified).unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::OrganizationSuspended);
    }

    #[test]
    fn an_assignment_names_its_agent() {
        let assignment = assign(new(Some("Anna"), None).unwrap());
        let message = api::Assignment::from(&assignment);
        assert_eq!(message.name, "workspaces/acme/organizations/bakery/assignments/a1");
        assert_eq!(message.agent, "workspaces/acme/agents/a1");
        assert_eq!((message.position, message.alias(), message.note()), (7, "Anna", ""));
        assert!(assignment.check_etag(&message.etag).is_ok());
        assert!(assignment.check_etag("stale").is_err());
    }

    #[test]
    fn every_violation_is_answered() {
        let error = new(Some("a\nb"), Some(&"x".repeat(2001))).unwrap_err();
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["assignment.alias", "assignment.note"]);
        let nothing = NewAssignment::parse(&api::AssignAgentRequest::default()).unwrap();
        assert_eq!(nothing, new(None, None).unwrap());
    }

    #[test]
    fn the_same_assignment_comes_back() {
        let before = assign(new(Some("Anna"), Some("note")).unwrap());
        let removed = before.remove(LATER);
        assert_eq!((removed.uid, removed.version, removed.removed), (before.uid, 2, true));
        let revived = removed.revive(new(None, Some("")).unwrap(), 12, LATER);
        assert_eq!((revived.uid, revived.version, revived.removed), (before.uid, 3, false));
        assert_eq!(before.changed_fields(&revived), ["position", "note"]);
        assert_eq!(revived.alias, "Anna");
    }

    #[test]
    fn the_organization_is_looked_at_first() {
        use Denial::{AgentArchived, NotAssigned, OrganizationDeleted, OrganizationSuspended};
        assert_eq!(check(State::Active, false, true), None);
        assert_eq!(check(State::Active, false, false), Some(NotAssigned));
        assert_eq!(check(State::Active, true, false), Some(AgentArchived));
        assert_eq!(check(State::Suspended, true, true), Some(OrganizationSuspended));
        assert_eq!(check(State::Deleted, false, true), Some(OrganizationDeleted));
    }

    #[test]
    fn assignments_change_only_while_the_organization_is_active() {
        let reason = |state| require_active(&bakery(), state).unwrap_err().reason();
        assert!(require_active(&bakery(), State::Active).is_ok());
        assert_eq!(reason(State::Suspended), ErrorReason::OrganizationSuspended);
        assert_eq!(reason(State::Deleted), ErrorReason::OrganizationDeleted);
    }

    #[test]
    fn the_limit_is_how_many_may_be_assigned() {
        assert!(require_room(&bakery(), None, 1_000).is_ok());
        assert!(require_room(&bakery(), Some(2), 1).is_ok());
        for (limit, used) in [(2, 2), (1, 2), (0, 0)] {
            let refusal = require_room(&bakery(), Some(limit), used).unwrap_err();
            assert_eq!(refusal.reason(), ErrorReason::LimitReached);
        }
    }
}
