//! Imports: rows that say what agents are to be.

use super::agent::{Agent, NewAgent};
use clientele_api::assignment::{self as api, agent::State, bad_row::FieldViolation};
use clientele_api::error::ErrorReason;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Micros, Result};

/// The most rows of one call.
pub const MOST_ROWS: i32 = 100_000;
/// The most bad rows that an answer lists.
const MOST_LISTED: usize = 1_000;

/// A row: what an agent is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which one of the stream, from 0.
    pub index: i32,
    new: NewAgent,
    /// The state that is asked for; None: the one that it has.
    state: Option<State>,
}

impl Row {
    /// Reads the row with this number.
    pub fn parse(index: i32, row: &api::ImportedAgent) -> Result<Self> {
        let new = NewAgent::read(&row.agent_id, row.agent.as_ref())?;
        let given = row.agent.as_ref().and_then(|agent| agent.state);
        let state = given.filter(|state| *state != 0).map(|_| new.state);
        Ok(Self { index, new, state })
    }

    /// The id of its agent.
    pub fn id(&self) -> &str {
        &self.new.id
    }

    /// The agent that comes of it; equal to the one that is there if nothing differs. Refuses to change an archived one.
    pub fn apply(&self, before: Option<&Agent>, workspace: &WorkspaceRef, now: Micros) -> Result<Agent> {
        let Some(before) = before else {
            return Ok(self.new.clone().into_agent(workspace, now));
        };
        before.require_not_archived()?;
        Ok(before.replace(&self.new, self.state, now))
    }
}

/// What has become of the rows so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally(api::ImportAgentsResponse);

impl Tally {
    /// How many rows it knows of.
    pub fn rows(&self) -> i32 {
        self.0.created + self.0.updated + self.0.unchanged + self.0.failed
    }

    /// A row was written, or need not be.
    pub fn count(&mut self, before: Option<&Agent>, after: &Agent) {
        match before {
            None => self.0.created += 1,
            Some(before) if before == after => self.0.unchanged += 1,
            Some(_) => self.0.updated += 1,
        }
    }

    /// A row was refused. Those that come first are listed, in whichever order they are found.
    pub fn refuse(&mut self, index: i32, error: &Error) {
        self.0.failed += 1;
        let listed = &mut self.0.bad_rows;
        let at = listed.partition_point(|row| row.index < index);
        if at < MOST_LISTED {
            listed.insert(at, bad_row(index, error));
            listed.truncate(MOST_LISTED);
        }
    }
}

impl From<Tally> for api::ImportAgentsResponse {
    fn from(tally: Tally) -> Self {
        tally.0
    }
}

impl From<api::ImportAgentsResponse> for Tally {
    fn from(answer: api::ImportAgentsResponse) -> Self {
        Self(answer)
    }
}

fn bad_row(index: i32, error: &Error) -> api::BadRow {
    let violation = |field: &str, message: &str| FieldViolation {
        field: field.to_owned(),
        message: message.to_owned(),
    };
    let fields = error.violations().iter();
    let violations = match error.reason() {
        ErrorReason::InvalidFields => fields.map(|one| violation(&one.field, &one.description)).collect(),
        _ => vec![violation("agent_id", error.message())],
    };
    api::BadRow {
        index,
        reason: error.reason().into(),
        violations,
    }
}
