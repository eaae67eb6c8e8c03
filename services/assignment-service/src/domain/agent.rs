//! Agents: what the platform told us of them.

use clientele_api::assignment::{self as api, agent::State};
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::mask::Mask;
use clientele_api::name::{Parts, WorkspaceRef};
use clientele_api::{Error, Micros, Result, Uid, Violations, parse};

const MAX_CHANNELS: usize = 20;
const MAX_TAGS: usize = 50;

/// An agent of a workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Its identity.
    pub uid: Uid,
    /// The workspace that holds it.
    pub workspace: WorkspaceRef,
    /// Its id in names: the platform's.
    pub id: String,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was entered.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// The name that people see.
    pub title: String,
    /// What it does.
    pub description: String,
    /// Where it was built.
    pub platform: String,
    /// Where it talks.
    pub channels: Vec<String>,
    /// For search and lists.
    pub tags: Vec<String>,
    /// What the platform says it is ready for; kept while it is archived.
    pub state: State,
    /// Whether nobody may use it or be assigned it.
    pub archived: bool,
}

/// An agent that is to be entered.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAgent {
    /// Its id in names.
    pub id: String,
    title: String,
    description: String,
    platform: String,
    channels: Vec<String>,
    tags: Vec<String>,
    pub(super) state: State,
}

impl NewAgent {
    /// Reads the request.
    pub fn parse(request: &api::CreateAgentRequest) -> Result<Self> {
        Self::read(&request.agent_id, request.agent.as_ref())
    }

    /// Reads the id and the agent of a request, or of a row.
    pub(super) fn read(id: &str, agent: Option<&api::Agent>) -> Result<Self> {
        let empty = api::Agent::default();
        let message = agent.unwrap_or(&empty);
        let mut violations = Violations::new();
        let id = violations.check("agent_id", agent_id(id));
        let new = Self {
            id: id.unwrap_or_default(),
            title: read_title(message, &mut violations),
            description: read_description(message, &mut violations),
            platform: read_platform(message, &mut violations),
            channels: read_channels(message, &mut violations),
            tags: read_tags(message, &mut violations),
            // Unlike in an update, UNSPECIFIED stands for the state of a new agent.
            state: read_state(message.state.filter(|state| *state != 0), &mut violations),
        };
        violations.finish(Some(new))
    }

    /// The agent that comes of it.
    pub fn into_agent(self, workspace: &WorkspaceRef, now: Micros) -> Agent {
        Agent {
            uid: Uid::new(),
            workspace: workspace.clone(),
            id: self.id,
            version: 1,
            create_time: now,
            update_time: now,
            title: self.title,
            description: self.description,
            platform: self.platform,
            channels: self.channels,
            tags: self.tags,
            state: self.state,
            archived: false,
        }
    }
}

impl Agent {
    /// `workspaces/{workspace}/agents/{agent}`.
    pub fn name(&self) -> String {
        agent_name(&self.workspace, &self.id)
    }

    /// What it is ready for, as others see it.
    pub fn public_state(&self) -> State {
        if self.archived { State::Archived } else { self.state }
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// Refuses what can't be done to or with an archived agent.
    pub fn require_not_archived(&self) -> Result<()> {
        if self.archived {
            return Err(self.refuse(ErrorReason::AgentArchived, "is archived: unarchive it first"));
        }
        Ok(())
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs.
    ///
    /// A value that broke its rule left a violation: then the answer is not to be used.
    pub fn update(&self, message: &api::Agent, mask: &Mask, violations: &mut Violations, now: Micros) -> Agent {
        self.changed(now, |agent| {
            if mask.has("title") {
                agent.title = read_title(message, violations);
            }
            if mask.has("description") {
                agent.description = read_description(message, violations);
            }
            if mask.has("platform") {
                agent.platform = read_platform(message, violations);
            }
            if mask.has("channels") {
                agent.channels = read_channels(message, violations);
            }
            if mask.has("tags") {
                agent.tags = read_tags(message, violations);
            }
            if mask.has("state") {
                agent.state = read_state(message.state, violations);
            }
        })
    }

    /// All that a new agent would be, in the state it has unless another one is asked for; equal to this one if nothing differs.
    pub(super) fn replace(&self, new: &NewAgent, state: Option<State>, now: Micros) -> Agent {
        self.changed(now, |agent| {
            agent.title.clone_from(&new.title);
            agent.description.clone_from(&new.description);
            agent.platform.clone_from(&new.platform);
            agent.channels.clone_from(&new.channels);
            agent.tags.clone_from(&new.tags);
            agent.state = state.unwrap_or(agent.state);
        })
    }

    /// Archived.
    pub fn archive(&self, now: Micros) -> Result<Agent> {
        if self.archived {
            return Err(self.refuse(ErrorReason::AgentArchived, "is archived already"));
        }
        Ok(self.changed(now, |agent| agent.archived = true))
    }

    /// No longer archived, in the state it had.
    pub fn unarchive(&self, now: Micros) -> Result<Agent> {
        if !self.archived {
            return Err(self.refuse(ErrorReason::AgentNotArchived, "is not archived"));
        }
        Ok(self.changed(now, |agent| agent.archived = false))
    }

    /// Refuses what can't be done while organizations are assigned it.
    pub fn require_unassigned(&self, organizations: u64) -> Result<()> {
        if organizations == 0 {
            return Ok(());
        }
        let state = format!("is assigned to {organizations} organizations: take it from them first, or archive it");
        Err(self
            .refuse(ErrorReason::AgentAssigned, &state)
            .with("organizations", organizations))
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Agent) -> Vec<String> {
        [
            ("title", self.title != after.title),
            ("description", self.description != after.description),
            ("platform", self.platform != after.platform),
            ("channels", self.channels != after.channels),
            ("tags", self.tags != after.tags),
            ("state", self.public_state() != after.public_state()),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// The next version, unless the change changes nothing.
    fn changed(&self, now: Micros, change: impl FnOnce(&mut Agent)) -> Agent {
        let mut agent = self.clone();
        change(&mut agent);
        if agent != *self {
            agent.version += 1;
            agent.update_time = now;
        }
        agent
    }

    fn refuse(&self, reason: ErrorReason, state: &str) -> Error {
        let name = self.name();
        Error::new(reason, format!("{name:?} {state}")).about("Agent", name)
    }
}

/// `workspaces/{workspace}/agents/{agent}`.
pub fn agent_name(workspace: &WorkspaceRef, id: &str) -> String {
    format!("{}/agents/{id}", workspace.name())
}

/// The id in the name of an agent of this workspace.
pub fn id_of<'n>(workspace: &WorkspaceRef, name: &'n str) -> Result<&'n str, Invalid> {
    let parts = Parts::parse(name, &["workspaces/{workspace}/agents/{agent}"]).ok();
    let here = parts.filter(|parts| parts.id("workspaces") == Some(&workspace.id));
    let rule = || Invalid::new("must be of the form workspaces/{workspace}/agents/{agent}, in this workspace");
    here.and_then(|parts| parts.id("agents")).ok_or_else(rule)
}

fn agent_id(text: &str) -> Result<String, Invalid> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new("must be 1 to 64 letters, digits, `_` and `-`"))
}

// What stands for a value that broke its rule never gets out: the violation refuses the request.

fn read_title(message: &api::Agent, violations: &mut Violations) -> String {
    let parsed = parse::line(message.title(), 1..=200);
    violations.check("agent.title", parsed).unwrap_or_default()
}

fn read_description(message: &api::Agent, violations: &mut Violations) -> String {
    let parsed = parse::paragraphs(message.description(), 2000);
    violations.check("agent.description", parsed).unwrap_or_default()
}

fn read_platform(message: &api::Agent, violations: &mut Violations) -> String {
    let parsed = parse::line(message.platform(), 0..=64);
    violations.check("agent.platform", parsed).unwrap_or_default()
}

fn read_channels(message: &api::Agent, violations: &mut Violations) -> Vec<String> {
    let parsed = parse::words(&message.channels, MAX_CHANNELS);
    violations.check("agent.channels", parsed).unwrap_or_default()
}

fn read_tags(message: &api::Agent, violations: &mut Violations) -> Vec<String> {
    let parsed = parse::words(&message.tags, MAX_TAGS);
    violations.check("agent.tags", parsed).unwrap_or_default()
}

fn read_state(given: Option<i32>, violations: &mut Violations) -> State {
    let parsed = given.map_or(Ok(State::Draft), |given| match parse::enum_value(given)? {
        State::Archived => Err(Invalid::new("must not be ARCHIVED: ArchiveAgent does that")),
        state => Ok(state),
    });
    violations.check("agent.state", parsed).unwrap_or_default()
}

impl From<&Agent> for api::Agent {
    fn from(agent: &Agent) -> Self {
        Self {
            name: agent.name(),
            uid: agent.uid.to_string(),
            version: agent.version,
            etag: agent.uid.etag(agent.version),
            create_time: Some(agent.create_time.into()),
            update_time: Some(agent.update_time.into()),
            title: Some(agent.title.clone()),
            description: Some(agent.description.clone()),
            platform: Some(agent.platform.clone()),
            channels: agent.channels.clone(),
            tags: agent.tags.clone(),
            state: Some(agent.public_state().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::request::{Behavior, Update};
    use prost_types::FieldMask;

    const NOW: Micros = Micros(1_000);
    const LATER: Micros = Micros(2_000);

    fn texts(given: &[&str]) -> Vec<String> {
        given.iter().map(|text| (*text).to_owned()).collect()
    }

    fn titled(title: &str) -> api::Agent {
        api::Agent {
            title: Some(title.to_owned()),
            ..Default::default()
        }
    }

    fn create(agent_id: &str, agent: api::Agent) -> Result<NewAgent> {
        NewAgent::parse(&api::CreateAgentRequest {
            parent: "workspaces/acme".to_owned(),
            agent_id: agent_id.to_owned(),
            agent: Some(agent),
            ..Default::default()
        })
    }

    fn agent() -> Agent {
        let workspace = WorkspaceRef {
            uid: Uid::new(),
            id: "acme".to_owned(),
        };
        let given = api::Agent {
            tags: texts(&["a", "b"]),
            state: Some(State::Deployed.into()),
            ..titled("Support")
        };
        create("Agent_1", given).unwrap().into_agent(&workspace, NOW)
    }

    fn update(before: &Agent, message: api::Agent, paths: Option<&[&str]>) -> Result<Agent> {
        let request = api::UpdateAgentRequest {
            agent: Some(message.clone()),
            update_mask: paths.map(|paths| FieldMask { paths: texts(paths) }),
            ..Default::default()
        };
        let mut violations = Violations::new();
        let mask = Mask::read(&request, &mut violations);
        let after = before.update(&message, &mask, &mut violations, LATER);
        violations.finish(Some(after))
    }

    fn violated(result: Result<impl std::fmt::Debug>) -> Vec<String> {
        let error = result.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::InvalidFields);
        error.violations().iter().map(|one| one.field.clone()).collect()
    }

    #[test]
    fn a_new_agent_is_a_draft_unless_said() {
        let message = api::Agent::from(&agent());
        assert_eq!(message.name, "workspaces/acme/agents/Agent_1");
        assert_eq!((message.version, message.state()), (1, State::Deployed));
        assert_eq!(create("a", titled("A")).unwrap().state, State::Draft);
        let unspecified = api::Agent {
            state: Some(0),
            ..titled("A")
        };
        assert_eq!(create("a", unspecified).unwrap().state, State::Draft);
    }

    #[test]
    fn every_violation_is_answered() {
        let given = api::Agent {
            description: Some("x".repeat(2001)),
            platform: Some("a\nb".to_owned()),
            channels: texts(&["web", "web"]),
            tags: vec!["t".repeat(65)],
            state: Some(State::Archived.into()),
            ..Default::default()
        };
        assert_eq!(
            violated(create("a b", given)),
            [
                "agent_id",
                "agent.title",
                "agent.description",
                "agent.platform",
                "agent.channels",
                "agent.tags",
                "agent.state",
            ]
        );
        let nothing = NewAgent::parse(&api::CreateAgentRequest::default());
        assert_eq!(violated(nothing), ["agent_id", "agent.title"]);
    }

    #[test]
    fn ids_are_the_platforms() {
        for good in ["a", "A-1_b", &"x".repeat(64)] {
            assert!(agent_id(good).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "ä", "a/b", &"x".repeat(65)] {
            assert!(agent_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_update_changes_what_the_mask_names() {
        let before = agent();
        let message = api::Agent {
            description: Some("Helps.\nAlways.".to_owned()),
            state: Some(State::Disabled.into()),
            ..Default::default()
        };
        let after = update(&before, message.clone(), None).unwrap();
        assert_eq!((after.version, after.update_time), (2, LATER));
        assert_eq!(before.changed_fields(&after), ["description", "state"]);
        let after = update(&before, message, Some(&["tags"])).unwrap();
        assert_eq!(before.changed_fields(&after), ["tags"]);
        assert_eq!(update(&before, titled("Support"), None).unwrap(), before);
        let cleared = update(&before, titled("Support"), Some(&["*"])).unwrap();
        assert_eq!(cleared.state, State::Draft);
    }

    /// A field that the mask accepts must not be forgotten.
    #[test]
    fn every_leaf_that_can_be_changed_is() {
        let full = api::Agent {
            description: Some("Helps.".to_owned()),
            platform: Some("studio".to_owned()),
            channels: texts(&["web"]),
            tags: texts(&["first"]),
            state: Some(State::Disabled.into()),
            ..titled("Sales")
        };
        let before = agent();
        for field in api::UpdateAgentRequest::FIELDS {
            if field.behavior == Behavior::Mutable {
                let after = update(&before, full.clone(), Some(&[field.path])).unwrap();
                assert_eq!(before.changed_fields(&after), [field.path]);
            }
        }
    }

    #[test]
    fn an_update_refuses_states_that_are_none() {
        for number in [0, 4, 5, -1] {
            let message = api::Agent {
                state: Some(number),
                ..Default::default()
            };
            assert_eq!(violated(update(&agent(), message, None)), ["agent.state"], "{number}");
        }
        let cleared = update(&agent(), api::Agent::default(), Some(&["title"]));
        assert_eq!(violated(cleared), ["agent.title"]);
    }

    #[test]
    fn an_archived_agent_keeps_its_state() {
        let before = agent();
        let archived = before.archive(LATER).unwrap();
        assert_eq!((archived.version, archived.public_state()), (2, State::Archived));
        assert_eq!(before.changed_fields(&archived), ["state"]);
        let reason = |result: Result<Agent>| result.unwrap_err().reason();
        assert_eq!(reason(archived.archive(LATER)), ErrorReason::AgentArchived);
        assert_eq!(reason(before.unarchive(LATER)), ErrorReason::AgentNotArchived);
        assert!(before.require_not_archived().is_ok());
        assert!(archived.require_not_archived().is_err());
        assert_eq!(archived.unarchive(LATER).unwrap().public_state(), State::Deployed);
    }

    #[test]
    fn etags_are_of_one_version() {
        let agent = agent();
        assert!(agent.check_etag("").is_ok());
        assert!(agent.check_etag(&agent.uid.etag(1)).is_ok());
        let error = agent.check_etag(&agent.uid.etag(2)).unwrap_err();
        assert_eq!(error.reason(), ErrorReason::EtagMismatch);
    }
}
