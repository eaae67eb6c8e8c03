//! A team in a service that follows a played org-service.

use crate::org_feed::{Counted, OrgFeed};
use clientele_api::journal::Change;
use clientele_api::org::{Organization, Team};
use clientele_api::request::Resource as _;
use clientele_api::{Uid, name};

/// A team of an organization.
#[derive(Debug, Clone)]
pub struct OrgTeam {
    feed: OrgFeed,
    workspace: Uid,
    organization: Organization,
    /// As it was told last.
    pub team: Team,
}

impl OrgTeam {
    /// Tells that a team was created with this key and these users in it.
    pub fn create(feed: &OrgFeed, workspace: Uid, organization: &Organization, key: &str, members: &[&str]) -> Self {
        let team = Team {
            name: format!("{}/teams/{key}", organization.name),
            uid: Uid::new().to_string(),
            version: 1,
            key: Some(key.to_owned()),
            label: Some(key.to_owned()),
            members: members.iter().map(|user| (*user).to_owned()).collect(),
            ..Team::default()
        };
        let created = Self {
            feed: feed.clone(),
            workspace,
            organization: organization.clone(),
            team,
        };
        created.tell(Change::created(&created.team));
        created
    }

    /// Tells of a change of the team, in which something may be wrong.
    pub fn tell(&self, change: Change) {
        let workspace = self.workspace.to_string();
        self.feed.tell_all(&workspace, &self.organization.uid, vec![change]);
    }

    /// Tells of a change of the team.
    pub fn change(&mut self, change: impl FnOnce(&mut Team)) {
        let change = self.team.change(change);
        self.tell(change);
    }

    /// Tells who is in it from now on.
    pub fn set_members(&mut self, members: &[&str]) {
        self.change(|team| team.members = members.iter().map(|user| (*user).to_owned()).collect());
    }

    /// Tells that it has another key; the one that it had stays an alias.
    pub fn rename(&mut self, key: &str) {
        let organization = self.organization.name.clone();
        self.change(|team| {
            team.aliases.retain(|alias| alias != key);
            team.aliases.push(name::last_id(team.name()).to_owned());
            team.key = Some(key.to_owned());
            team.name = format!("{organization}/teams/{key}");
        });
    }

    /// Tells that it is there no more.
    pub fn delete(&self) {
        self.tell(Change::removed(&self.team, self.team.version + 1));
    }
}
