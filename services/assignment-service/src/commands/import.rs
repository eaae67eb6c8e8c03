//! Importing agents: a stream of rows, written chunk by chunk.

use super::App;
use crate::domain::agent::Agent;
use crate::domain::import::{MOST_ROWS, Row, Tally};
use crate::store;
use clientele_api::assignment as api;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Micros, Result};
use clientele_service::incoming::Incoming;
use clientele_service::scope::Scope;
use clientele_store::journal::{Part, RequestMark};
use clientele_store::tx::Tx;
use clientele_store::{Answer, Author, Recorded};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// The most rows of a chunk.
const CHUNK: usize = 500;
/// A chunk ends early when what the journal is to tell of it has so many bytes: whoever follows reads many of these at a time.
const BYTES: usize = 256 * 1024;
/// How often a chunk is tried while other calls enter the same agents.
const ATTEMPTS: u32 = 8;

/// Writes the rows of a stream. What is read of it is written before more is read.
pub async fn run(
    app: &App,
    scope: Scope<WorkspaceRef>,
    mut messages: Incoming<api::ImportAgentsRequest>,
) -> Result<Answer<api::ImportAgentsResponse>> {
    let mut import = Import::new(app, scope);
    while let Some(message) = messages.next().await? {
        for row in &message.agents {
            import.take(row).await?;
        }
    }
    import.end(messages.mark()).await
}

/// An import, and how far it has come.
struct Import<'a> {
    app: &'a App,
    scope: Scope<WorkspaceRef>,
    mutation: Uuid,
    tally: Tally,
    /// How many rows were taken.
    taken: i32,
    /// Rows that are not written yet, each of another agent.
    chunk: Vec<Row>,
    ids: BTreeSet<String>,
    /// Whether there are no more.
    ended: bool,
    /// By what the call is remembered; known at its end.
    request: Option<RequestMark>,
}

impl<'a> Import<'a> {
    fn new(app: &'a App, scope: Scope<WorkspaceRef>) -> Self {
        Self {
            app,
            scope,
            mutation: Uuid::now_v7(),
            tally: Tally::default(),
            taken: 0,
            chunk: Vec::new(),
            ids: BTreeSet::new(),
            ended: false,
            request: None,
        }
    }

    async fn take(&mut self, row: &api::ImportedAgent) -> Result<()> {
        let index = self.taken;
        if index == MOST_ROWS {
            let rule = format!("must be at most {MOST_ROWS} in one call; whole chunks of those before are written");
            return Err(Error::field("agents", rule));
        }
        self.taken += 1;
        match Row::parse(index, row) {
            Err(refusal) => self.tally.refuse(index, &refusal),
            Ok(row) => {
                if self.chunk.len() == CHUNK || self.ids.contains(row.id()) {
                    self.write().await?;
                }
                self.ids.insert(row.id().to_owned());
                self.chunk.push(row);
            }
        }
        Ok(())
    }

    /// Writes the last chunk, by which the call is remembered if it is to be.
    async fn end(mut self, request: Option<RequestMark>) -> Result<Answer<api::ImportAgentsResponse>> {
        self.ended = true;
        self.request = request;
        self.write().await
    }

    /// Writes the chunk, in as many units as that takes.
    async fn write(&mut self) -> Result<Answer<api::ImportAgentsResponse>> {
        self.ids.clear();
        let mut rows = std::mem::take(&mut self.chunk);
        loop {
            let before = self.tally.rows();
            let sent = Arc::<[Row]>::from(rows);
            let answer = self.write_some(&sent).await?;
            self.tally = answer.value.clone().into();
            let written = usize::try_from(self.tally.rows() - before).map_err(Error::internal)?;
            rows = sent[written..].to_vec();
            if rows.is_empty() {
                return Ok(answer);
            }
        }
    }

    /// Writes as many of the rows as one unit may. Agents that another call enters meanwhile are there when it is tried again.
    async fn write_some(&self, rows: &Arc<[Row]>) -> Result<Answer<api::ImportAgentsResponse>> {
        for _ in 0..ATTEMPTS {
            match self.try_to_write(rows.clone()).await {
                Err(error) if error.reason() == ErrorReason::ResourceExists => {}
                done => return done,
            }
        }
        let message = "other calls enter the same agents: try again";
        Err(Error::new(ErrorReason::Contention, message))
    }

    async fn try_to_write(&self, rows: Arc<[Row]>) -> Result<Answer<api::ImportAgentsResponse>> {
        let (scope, mutation, ended) = (self.scope.clone(), self.mutation, self.ended);
        let mut tally = self.tally.clone();
        let author = Author {
            request: self.request.clone(),
            ..scope.author()
        };
        let unit = async move |tx: &Tx| {
            let now = Micros::now();
            let before = read(tx, &scope, &rows, now).await?;
            let (mut agents, mut changes, mut bytes, mut written) = (Vec::new(), Vec::new(), 0, 0);
            for row in rows.iter() {
                if bytes >= BYTES {
                    break;
                }
                let present = before.get(row.id());
                match row.apply(present, scope.workspace(), now) {
                    Err(refusal) => tally.refuse(row.index, &refusal),
                    Ok(after) => {
                        tally.count(present, &after);
                        if let Some(change) = change(present, &after) {
                            bytes += change.encoded_len();
                            changes.push(change);
                            agents.push(after);
                        }
                    }
                }
                written += 1;
            }
            // In one order: of two imports that enter the same agents, one waits for the other and not each for each.
            agents.sort_unstable_by(|one: &Agent, other| one.id.cmp(&other.id));
            store::agent::upsert(tx, &scope, &agents);
            Ok(Recorded {
                changes,
                part: Some(Part {
                    mutation,
                    last: ended && written == rows.len(),
                }),
                ..Recorded::nothing(tally.into())
            })
        };
        self.app.journal.write(author, unit).await
    }
}

/// The agents of these rows that are there. Those that are to change are locked; of others it does not matter what they become.
async fn read(tx: &Tx, scope: &Scope<WorkspaceRef>, rows: &[Row], now: Micros) -> Result<BTreeMap<String, Agent>> {
    let ids: Vec<&str> = rows.iter().map(Row::id).collect();
    let mut present = store::agent::read_all(tx, scope, &ids).await?;
    let changes = |row: &&Row| {
        let before = present.get(row.id());
        before.is_some_and(|before| {
            row.apply(Some(before), scope.workspace(), now)
                .is_ok_and(|after| after != *before)
        })
    };
    let changing: Vec<&str> = rows.iter().filter(changes).map(Row::id).collect();
    if !changing.is_empty() {
        let mut locked = store::agent::lock_all(tx, scope, &changing).await?;
        changing.iter().for_each(|id| drop(present.remove(*id)));
        present.append(&mut locked);
    }
    Ok(present)
}

fn change(before: Option<&Agent>, after: &Agent) -> Option<Change> {
    let message = api::Agent::from(after);
    match before {
        None => Some(Change::created(&message)),
        Some(before) if before == after => None,
        Some(before) => Some(Change::updated(
            &api::Agent::from(before),
            &message,
            before.changed_fields(after),
        )),
    }
}
