//! The journal: one row for each mutation, in its transaction. It is the audit log, the change feed and the memory of request ids.

mod migration;
mod read;
mod retention;
mod row;
pub mod scrub;
pub mod state;
mod tail;
mod touched;

pub use migration::CreateJournal;
pub use read::{Filter, Listing};
pub use row::Model as Row;

use crate::connect::Db;
use crate::cursor::{Answer, Cursor, Revision};
use crate::memory::Coherence;
use crate::tx::{self, Mode, Tx, TxFn};
use clientele_api::error::ErrorReason;
use clientele_api::journal::{Change, ChangeKind};
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org::{Organization, Workspace};
use clientele_api::{Result, Uid};
use prost::{Message, Name as _};
use std::sync::Arc;
use tail::Tail;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Who writes, and by which call: minted by admission.
#[derive(Debug, Clone)]
pub struct Author {
    /// The workspace; None for calls above workspaces.
    pub workspace: Option<WorkspaceRef>,
    /// The organization, if the call names one.
    pub organization: Option<OrganizationRef>,
    /// As the journal names actors.
    pub actor: String,
    /// In whose place; None: in its own.
    pub acting_for: Option<String>,
    /// The full method.
    pub method: &'static str,
    /// The id under which the call is to be remembered.
    pub request: Option<RequestMark>,
    /// Whether everything is checked and nothing changed.
    pub validate_only: bool,
    /// The W3C trace context of the call.
    pub traceparent: Option<String>,
}

/// A request id, and the hash of what must be equal when it is used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMark {
    /// The id.
    pub id: Uuid,
    /// SHA-256 of method, who calls and the request without request id and validate_only.
    pub hash: [u8; 32],
}

impl Author {
    /// The workspace under whose uid its rows and request ids stand.
    pub fn workspace_uid(&self) -> Uid {
        self.workspace.as_ref().map_or(Uid::NIL, |workspace| workspace.uid)
    }
}

/// What a unit did: the answer and the changes. No changes: only the request id is remembered, if there is one.
#[derive(Debug, Clone)]
pub struct Recorded<T> {
    /// What the caller gets, now and whenever it repeats the request id.
    pub answer: T,
    /// What changed.
    pub changes: Vec<Change>,
    /// The organization that was touched, where the call does not name it (as when it is being created).
    pub organization: Option<OrganizationRef>,
    /// What changed besides, in these organizations; or in the same one, where one row of the journal would be too large.
    pub elsewhere: Vec<(OrganizationRef, Vec<Change>)>,
    /// Of which mutation this is a part; None: it is all of one.
    pub part: Option<Part>,
}

/// What one of several units does of a mutation that is more than one unit may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The mutation.
    pub mutation: Uuid,
    /// Whether it is the last one, by which the call is remembered.
    pub last: bool,
}

impl<T> Recorded<T> {
    /// A change of one resource, with this answer.
    pub fn change(answer: T, change: Change) -> Self {
        let mut recorded = Self::nothing(answer);
        recorded.changes.push(change);
        recorded
    }

    /// Nothing changed.
    pub fn nothing(answer: T) -> Self {
        Self {
            answer,
            changes: Vec::new(),
            organization: None,
            elsewhere: Vec::new(),
            part: None,
        }
    }
}

/// The journal of a service.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    tail: Tail,
    horizon: watch::Receiver<Cursor>,
    coherence: Arc<Coherence>,
}

impl Journal {
    /// Finds out which life of the database this is and begins to watch the end of the journal, until `stop`.
    pub async fn open(db: &Db, stop: CancellationToken) -> Result<Self> {
        let epoch = state::enter(db).await?;
        let coherence = Arc::new(Coherence::new(epoch));
        let tail = Tail::new(db, coherence.clone());
        let horizon = tail.clone().start(epoch, stop).await?;
        Ok(Self(Arc::new(Inner {
            db: db.clone(),
            tail,
            horizon,
            coherence,
        })))
    }

    /// The present life of the database.
    pub fn epoch(&self) -> i64 {
        self.0.horizon.borrow().epoch
    }

    /// The end of what readers may see, and news of it: everything up to it is committed, and nothing will yet appear below it.
    pub fn horizon(&self) -> watch::Receiver<Cursor> {
        self.0.horizon.clone()
    }

    /// Whether all changes that the caller has seen have been noticed here.
    pub fn has_noticed(&self, seen: &Revision) -> bool {
        let own = seen.of(self.db().service());
        own.is_none_or(|(epoch, n)| self.coherence().proves(epoch, n))
    }

    /// How far the changes have been noticed here.
    pub(crate) fn coherence(&self) -> &Coherence {
        &self.0.coherence
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// Runs a unit and writes down what it did, in one transaction. Before this answers, what it changed is forgotten here; if nobody
    /// waits for the answer any more, that happens as on other replicas: when the row is read at the journal's end.
    pub async fn write<T, F>(&self, author: Author, unit: F) -> Result<Answer<T>>
    where
        T: Message + Clone + 'static,
        F: AsyncFnOnce(&Tx) -> Result<Recorded<T>> + for<'t> TxFn<'t, Recorded<T>> + Clone + 'static,
    {
        let epoch = self.epoch();
        let mode = if author.validate_only {
            Mode::Validate
        } else {
            Mode::Commit
        };
        let named = author.organization.as_ref().map(|organization| organization.uid);
        let remembered = async move |tx: &Tx| remember(tx, unit, &author).await;
        let done = tx::run(self.db(), mode, remembered).await.inspect_err(|error| {
            if error.reason() == ErrorReason::OutcomeUnknown {
                self.db().epochs().bump_all();
            }
        })?;
        self.forget_changed(&done.value, named);
        let revision = match done.position {
            Some(position) => {
                let mut revision = Revision::new();
                revision.raise(self.db().service(), epoch, position.revision());
                revision
            }
            None => self.revision().await?,
        };
        Ok(Answer {
            value: done.value.answer,
            revision,
        })
    }

    fn forget_changed<T>(&self, recorded: &Recorded<T>, named: Option<Uid>) {
        let organization = recorded.organization.as_ref().map(|organization| organization.uid);
        let elsewhere = recorded.elsewhere.iter().map(|(organization, _)| organization.uid);
        let changes = || {
            recorded
                .changes
                .iter()
                .chain(recorded.elsewhere.iter().flat_map(|(_, changes)| changes))
        };
        let changed = changes().filter_map(|change| Uid::parse(&change.uid));
        for uid in organization.or(named).into_iter().chain(elsewhere).chain(changed) {
            self.db().epochs().bump(uid);
        }
        if changes().any(|change| frees_name(change.kind(), change.before.as_ref().map_or("", |any| &any.type_url))) {
            self.db().note_rename();
        }
    }
}

/// Whether a change of a resource of this type lets a name that admission remembers mean something else.
fn frees_name(kind: ChangeKind, type_url: &str) -> bool {
    kind == ChangeKind::Purged && (type_url == Workspace::type_url() || type_url == Organization::type_url())
}

/// Runs the unit and collects the row that remembers it.
async fn remember<T, F>(tx: &Tx, unit: F, author: &Author) -> Result<Recorded<T>>
where
    T: Message,
    F: for<'t> TxFn<'t, Recorded<T>>,
{
    let recorded = unit(tx).await?;
    if let Some(rows) = row::append(author, &recorded) {
        tx.append(rows);
    }
    Ok(recorded)
}
