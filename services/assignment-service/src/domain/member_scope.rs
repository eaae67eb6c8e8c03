//! Scopes of members: which of their organization's agents they may use.

use super::agent::{self, agent_name};
use clientele_api::assignment as api;
use clientele_api::error::ErrorReason;
use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Micros, Result, Uid, Violations};
use std::collections::BTreeSet;

/// How many agents a scope lists.
const MOST_AGENTS: usize = 500;

/// Which of an organization's agents a member may use.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberScope {
    /// The member's.
    pub uid: Uid,
    /// The organization of the member.
    pub organization: OrganizationRef,
    /// The user who is the member.
    pub user: Uid,
    /// Counts how often it was set.
    pub version: i64,
    /// When it was set first.
    pub create_time: Micros,
    /// When it was set last. An agent of the list that was assigned after that is not in it.
    pub update_time: Micros,
    /// What it holds.
    pub agents: Agents,
}

/// Agents of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agents {
    /// Every one, also those that are assigned later.
    All,
    /// These.
    Listed(Vec<Listed>),
}

/// An agent in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its identity.
    pub uid: Uid,
    /// Its id in names.
    pub id: String,
}

/// A scope that is to be set: every agent, or those with these ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewScope {
    /// Every one.
    All,
    /// These.
    Listed(Vec<String>),
}

impl NewScope {
    /// Reads the request.
    pub fn parse(organization: &OrganizationRef, message: &api::MemberScope) -> Result<Self> {
        let mut violations = Violations::new();
        let new = match (message.all_agents, &message.agents[..]) {
            (Some(true), []) => Self::All,
            (Some(true), _) => {
                violations.add("member_scope.agents", "must be empty where all_agents is true");
                Self::All
            }
            (None, []) => {
                let rule = "must be said where no agents are listed: true for all, false for none";
                violations.add("member_scope.all_agents", rule);
                Self::All
            }
            (_, listed) => Self::Listed(agent_ids(organization, listed, &mut violations)),
        };
        violations.finish(Some(new))
    }
}

fn agent_ids(organization: &OrganizationRef, names: &[String], violations: &mut Violations) -> Vec<String> {
    if names.len() > MOST_AGENTS {
        let rule = format!("must be at most {MOST_AGENTS}, not {}", names.len());
        violations.add("member_scope.agents", rule);
        return Vec::new();
    }
    let mut ids = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, name) in names.iter().enumerate() {
        let path = format!("member_scope.agents[{at}]");
        match violations.check(&path, agent::id_of(&organization.workspace, name)) {
            None => {}
            Some(id) if !seen.insert(id) => violations.add(path, "must not repeat another one"),
            Some(id) => ids.push(id.to_owned()),
        }
    }
    ids
}

impl MemberScope {
    /// That of a member for whom nothing was ever set.
    pub fn unset(uid: Uid, organization: OrganizationRef, user: Uid) -> Self {
        Self {
            uid,
            organization,
            user,
            version: 0,
            create_time: Micros(0),
            update_time: Micros(0),
            agents: Agents::All,
        }
    }

    /// `…/organizations/{organization}/memberScopes/{user}`.
    pub fn name(&self) -> String {
        format!("{}/memberScopes/{}", self.organization.name(), self.user)
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// Holding other agents; equal to this one if they are the same.
    pub fn set(&self, agents: Agents, now: Micros) -> Self {
        if agents == self.agents && self.version > 0 {
            return self.clone();
        }
        Self {
            version: self.version + 1,
            create_time: if self.version == 0 { now } else { self.create_time },
            update_time: now,
            agents,
            ..self.clone()
        }
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &MemberScope) -> Vec<String> {
        let (before, after) = (&self.agents, &after.agents);
        let all_agents = (*before == Agents::All) != (*after == Agents::All);
        let listed = |agents: &Agents| matches!(agents, Agents::Listed(listed) if !listed.is_empty());
        let agents = before != after && (listed(before) || listed(after));
        [("all_agents", all_agents), ("agents", agents)]
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(path, _)| path.to_owned())
            .collect()
    }

    /// PERMISSION_DENIED `GRANT_NOT_HELD` for agents that this one does not hold: nobody grants what they lack.
    pub fn require_holds(&self, given: &Agents) -> Result<()> {
        let lacking = match (&self.agents, given) {
            (Agents::All, _) => return Ok(()),
            (Agents::Listed(_), Agents::All) => "all agents".to_owned(),
            (Agents::Listed(held), Agents::Listed(given)) => {
                let Some(lacking) = given.iter().find(|one| !held.contains(one)) else {
                    return Ok(());
                };
                agent_name(&self.organization.workspace, &lacking.id)
            }
        };
        let message = format!("you can't give {lacking}, which your own scope does not hold");
        Err(Error::new(ErrorReason::GrantNotHeld, message).with("agent", lacking))
    }
}

impl From<&MemberScope> for api::MemberScope {
    fn from(scope: &MemberScope) -> Self {
        let (all_agents, listed) = match &scope.agents {
            Agents::All => (true, &[][..]),
            Agents::Listed(listed) => (false, &listed[..]),
        };
        let time = |time: Micros| (scope.version > 0).then(|| time.into());
        let name = |agent: &Listed| agent_name(&scope.organization.workspace, &agent.id);
        Self {
            name: scope.name(),
            uid: scope.uid.to_string(),
            version: scope.version,
            etag: scope.uid.etag(scope.version),
            create_time: time(scope.create_time),
            update_time: time(scope.update_time),
            all_agents: Some(all_agents),
            agents: listed.iter().map(name).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::name::WorkspaceRef;

    const NOW: Micros = Micros(1_000);

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

    fn parse(all_agents: Option<bool>, agents: &[&str]) -> Result<NewScope> {
        let message = api::MemberScope {
            all_agents,
            agents: agents.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        NewScope::parse(&bakery(), &message)
    }

    fn violated(result: Result<NewScope>) -> Vec<String> {
        let error = result.unwrap_err();
        error.violations().iter().map(|one| one.field.clone()).collect()
    }

    fn listed(ids: &[&str]) -> Agents {
        let agent = |id: &&str| Listed {
            uid: Uid(uuid::Uuid::from_u128(u128::from(id.as_bytes()[0]))),
            id: (*id).to_owned(),
        };
        Agents::Listed(ids.iter().map(agent).collect())
    }

    #[test]
    fn a_scope_is_all_or_a_list() {
        assert_eq!(parse(Some(true), &[]).unwrap(), NewScope::All);
        assert_eq!(parse(Some(false), &[]).unwrap(), NewScope::Listed(vec![]));
        let one = NewScope::Listed(vec!["a".to_owned()]);
        assert_eq!(parse(None, &["workspaces/acme/agents/a"]).unwrap(), one);
        assert_eq!(violated(parse(None, &[])), ["member_scope.all_agents"]);
        assert_eq!(
            violated(parse(Some(true), &["workspaces/acme/agents/a"])),
            ["member_scope.agents"]
        );
        let wrong = [
            "workspaces/acme/agents/a",
            "workspaces/other/agents/a",
            "a",
            "workspaces/acme/agents/a",
        ];
        let fields = [
            "member_scope.agents[1]",
            "member_scope.agents[2]",
            "member_scope.agents[3]",
        ];
        assert_eq!(violated(parse(None, &wrong)), fields);
        let many: Vec<String> = (0..=MOST_AGENTS)
            .map(|n| format!("workspaces/acme/agents/a{n}"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(parse(None, &many[..MOST_AGENTS]).is_ok());
        assert_eq!(violated(parse(None, &many)), ["member_scope.agents"]);
    }

    #[test]
    fn the_first_time_is_version_1_whatever_is_set() {
        let unset = MemberScope::unset(Uid::new(), bakery(), Uid::new());
        assert_eq!(api::MemberScope::from(&unset).create_time, None);
        let first = unset.set(Agents::All, NOW);
        assert_eq!((first.version, first.create_time), (1, NOW));
        assert_eq!(first.set(Agents::All, Micros(2_000)), first);
        let second = first.set(listed(&["a"]), Micros(2_000));
        assert_eq!(
            (second.version, second.create_time, second.update_time),
            (2, NOW, Micros(2_000))
        );
    }

    #[test]
    fn what_differs_is_told() {
        let with = |agents| MemberScope::unset(Uid::new(), bakery(), Uid::new()).set(agents, NOW);
        let changed = |before, after| with(before).changed_fields(&with(after));
        assert_eq!(changed(listed(&["a"]), listed(&["b"])), ["agents"]);
        assert_eq!(changed(Agents::All, listed(&["a"])), ["all_agents", "agents"]);
        assert_eq!(changed(listed(&["a"]), Agents::All), ["all_agents", "agents"]);
        assert_eq!(changed(Agents::All, listed(&[])), ["all_agents"]);
        assert!(changed(Agents::All, Agents::All).is_empty());
    }

    #[test]
    fn nobody_grants_what_they_lack() {
        let with = |agents| MemberScope::unset(Uid::new(), bakery(), Uid::new()).set(agents, NOW);
        assert!(with(Agents::All).require_holds(&Agents::All).is_ok());
        let some = with(listed(&["a", "b"]));
        assert!(some.require_holds(&listed(&["b"])).is_ok());
        assert!(some.require_holds(&listed(&[])).is_ok());
        for more in [Agents::All, listed(&["a", "c"])] {
            assert_eq!(
                some.require_holds(&more).unwrap_err().reason(),
                ErrorReason::GrantNotHeld
            );
        }
    }
}
