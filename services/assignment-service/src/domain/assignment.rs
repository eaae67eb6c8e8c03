//! Assignments: which organization may use which agent.

use super::agent::{Agent, agent_name};
use clientele_api::assignment as api;
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::mask::Mask;
use clientele_api::name::{OrganizationRef, Parts, last_id};
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
    /// When the agent was assigned last.
    pub assign_time: Micros,
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
    /// The id of the agent.
    pub agent_id: String,
    /// What the organization is to call the agent.
    pub alias: Option<String>,
    /// The agency's own note.
    pub note: Option<String>,
}

impl NewAssignment {
    /// Reads a request that lies at `path` of the call's; none if it breaks rules, which are noted.
    pub fn parse(request: &api::AssignAgentRequest, path: &str, violations: &mut Violations) -> Option<Self> {
        let given = request.assignment.as_ref();
        let alias = given.and_then(|assignment| assignment.alias.as_deref());
        let note = given.and_then(|assignment| assignment.note.as_deref());
        let alias = alias.map(|alias| read_alias(alias, path, violations));
        let note = note.map(|note| read_note(note, path, violations));
        Some(Self {
            agent_id: last_id(&request.agent).to_owned(),
            alias: alias.map_or(Some(None), |alias| alias.map(Some))?,
            note: note.map_or(Some(None), |note| note.map(Some))?,
        })
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
            assign_time: now,
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
            assign_time: now,
            position,
            alias: new.alias.unwrap_or_else(|| self.alias.clone()),
            note: new.note.unwrap_or_else(|| self.note.clone()),
            removed: false,
            ..self.clone()
        }
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub fn update(
        &self,
        message: &api::Assignment,
        mask: &Mask,
        violations: &mut Violations,
        now: Micros,
    ) -> Assignment {
        let mut after = self.clone();
        if mask.has("alias") {
            after.alias = read_alias(message.alias(), "", violations).unwrap_or_default();
        }
        if mask.has("note") {
            after.note = read_note(message.note(), "", violations).unwrap_or_default();
        }
        if after != *self {
            after.version += 1;
            after.update_time = now;
        }
        after
    }

    /// At another position; equal to this one if it stands there.
    pub fn reposition(&self, position: i64, now: Micros) -> Assignment {
        if position == self.position {
            return self.clone();
        }
        Assignment {
            version: self.version + 1,
            update_time: now,
            position,
            ..self.clone()
        }
    }

    /// As it is asked for elsewhere: with this alias and note.
    pub fn as_new(&self) -> NewAssignment {
        NewAssignment {
            agent_id: self.agent_id.clone(),
            alias: Some(self.alias.clone()),
            note: Some(self.note.clone()),
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

/// The id of the agent in the name of an assignment of this organization.
pub fn agent_id_of<'n>(organization: &OrganizationRef, name: &'n str) -> Result<&'n str, Invalid> {
    let pattern = "workspaces/{workspace}/organizations/{organization}/assignments/{assignment}";
    let parts = Parts::parse(name, &[pattern]).ok();
    let here = parts.filter(|parts| {
        let ids = (parts.id("workspaces"), parts.id("organizations"));
        ids == (Some(&organization.workspace.id), Some(&organization.id))
    });
    let rule = || Invalid::new("must be an assignment of this organization");
    here.and_then(|parts| parts.id("assignments")).ok_or_else(rule)
}

fn read_alias(alias: &str, path: &str, violations: &mut Violations) -> Option<String> {
    violations.check(&format!("{path}assignment.alias"), parse::line(alias, 0..=200))
}

fn read_note(note: &str, path: &str, violations: &mut Violations) -> Option<String> {
    violations.check(&format!("{path}assignment.note"), parse::paragraphs(note, 2000))
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
            assign_time: Some(assignment.assign_time.into()),
        }
    }
}

/// Assignments of an organization in this order, before all others, of which the first stands at `others`; as they are where they stand
/// so.
pub fn put_first(listed: &[&Assignment], others: Option<i64>, now: Micros) -> Vec<Assignment> {
    let ascending = listed.is_sorted_by(|one, next| one.position < next.position);
    let before_others = |last: &&Assignment| others.is_none_or(|others| last.position < others);
    if ascending && listed.last().is_none_or(before_others) {
        return listed.iter().map(|one| (*one).clone()).collect();
    }
    let places = i64::try_from(listed.len()).unwrap_or(i64::MAX);
    let first = others.unwrap_or(places + 1) - places;
    listed
        .iter()
        .zip(first..)
        .map(|(one, position)| one.reposition(position, now))
        .collect()
}

/// Refuses so many more agents for an organization that is assigned `used` if then they are more than its limit; none: there is no limit.
pub fn require_room(organization: &OrganizationRef, limit: Option<i32>, used: i64, more: usize) -> Result<()> {
    let fits = |limit: i32| i64::try_from(more).is_ok_and(|more| more <= i64::from(limit).saturating_sub(used).max(0));
    let Some(limit) = limit.filter(|limit| !fits(*limit)) else {
        return Ok(());
    };
    let name = organization.name();
    let message = format!("{name:?} is assigned {used} agents and may be assigned {limit}: raise its max_agents first");
    Err(Error::new(ErrorReason::LimitReached, message)
        .with("limit", limit)
        .with("used", used)
        .about("Organization", name))
}

/// Refuses what can't be done in an organization that is not in use, as to change its assignments.
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
        let request = api::AssignAgentRequest {
            agent: "workspaces/acme/agents/a1".to_owned(),
            assignment: Some(api::Assignment {
                alias: alias.map(str::to_owned),
                note: note.map(str::to_owned),
                position: 99,
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut violations = Violations::new();
        let new = NewAssignment::parse(&request, "requests[7].", &mut violations);
        violations.finish(new)
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
        assert_eq!(fields, ["requests[7].assignment.alias", "requests[7].assignment.note"]);
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
    fn those_that_are_put_first_stand_before_all_others() {
        let at = |position| Assignment {
            position,
            ..assign(new(None, None).unwrap())
        };
        let all = [at(3), at(4), at(9)];
        let positions = |listed: &[&Assignment], others| {
            let after = put_first(listed, others, LATER);
            after.iter().map(|one| (one.position, one.version)).collect::<Vec<_>>()
        };
        assert_eq!(positions(&[&all[2], &all[0]], Some(4)), [(2, 2), (3, 1)]);
        assert_eq!(positions(&[&all[2], &all[0], &all[1]], None), [(1, 2), (2, 2), (3, 2)]);
        // They stand so already.
        assert_eq!(positions(&[&all[0], &all[1]], Some(9)), [(3, 1), (4, 1)]);
        assert_eq!(positions(&[&all[0], &all[1], &all[2]], None), [(3, 1), (4, 1), (9, 1)]);
        // In order, but not first.
        assert_eq!(positions(&[&all[1], &all[2]], Some(3)), [(1, 2), (2, 2)]);
        assert_eq!(positions(&[&all[0]], Some(1)), [(0, 2)]);
    }

    #[test]
    fn assignments_change_only_while_the_organization_is_active() {
        let reason = |state| require_active(&bakery(), state).unwrap_err().reason();
        assert!(require_active(&bakery(), State::Active).is_ok());
        assert_eq!(reason(State::Suspended), ErrorReason::OrganizationSuspended);
        assert_eq!(reason(State::Deleted), ErrorReason::OrganizationDeleted);
        // A state that is not known is not in use.
        assert_eq!(reason(State::Unspecified), ErrorReason::OrganizationSuspended);
    }

    #[test]
    fn the_limit_is_how_many_may_be_assigned() {
        assert!(require_room(&bakery(), None, 1_000, 100).is_ok());
        for (limit, used, more) in [(2, 1, 1), (2, 0, 2), (0, 0, 0), (1, 2, 0)] {
            assert!(require_room(&bakery(), Some(limit), used, more).is_ok());
        }
        for (limit, used, more) in [(2, 2, 1), (1, 2, 1), (0, 0, 1), (5, 3, 3), (-1, 0, 1)] {
            let refusal = require_room(&bakery(), Some(limit), used, more).unwrap_err();
            assert_eq!(refusal.reason(), ErrorReason::LimitReached);
        }
    }
}
