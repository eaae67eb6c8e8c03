//! The rows of the journal.

use super::{Author, Recorded, RequestMark};
use crate::constraint::Constraint;
use crate::cursor::Cursor;
use crate::tx::{Append, Position};
use clientele_api::error::ErrorReason;
use clientele_api::journal::{Change, Entry};
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::{Error, Micros, Result, Uid};
use prost::Message;
use sea_orm::Value;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::IntoIden;

/// One row: one mutation as one organization saw it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "journal")]
pub struct Model {
    /// The life of the database in which it was written.
    #[sea_orm(primary_key, auto_increment = false)]
    pub epoch: i64,
    /// The transaction that wrote it; 0 on SQLite.
    #[sea_orm(primary_key, auto_increment = false)]
    pub xid: i64,
    /// The number of the row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// The mutation.
    pub mutation_id: Uuid,
    /// The workspace; nil for calls above workspaces.
    pub workspace_uid: Uuid,
    /// Its id; empty for calls above workspaces.
    pub workspace_id: String,
    /// The organization, if the mutation touched one.
    pub organization_uid: Option<Uuid>,
    /// Its id.
    pub organization_id: Option<String>,
    /// Who did it.
    pub actor: String,
    /// In whose place.
    pub acting_for: Option<String>,
    /// The full method.
    pub method: String,
    /// The id under which the call is remembered.
    pub request_id: Option<Uuid>,
    /// What must be equal when the id is used again.
    pub request_hash: Option<Vec<u8>>,
    /// The encoded answer, where it is not the first change's `after`.
    pub answer: Option<Vec<u8>>,
    /// The trace of the call.
    pub traceparent: Option<String>,
    /// When, in microseconds.
    pub time: i64,
    /// An encoded `Entry` that holds the changes and nothing else.
    pub changes: Vec<u8>,
}

/// A row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Using a request id twice. Admission looks the row up and answers from it, or says that the id was reused.
const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "journal_request",
    sqlite: "journal.workspace_uid, journal.request_id",
    field: "request_id",
    reason: ErrorReason::RequestIdReused,
    message: "this request id was used before with another request",
}];

/// The rows that remember a mutation, one for each organization that it touched; None where nothing changed and there is no request id
/// to remember. The last has that: its place is the one that the call is answered with, also when it is repeated.
pub(super) fn append<T: Message>(author: &Author, recorded: &Recorded<T>) -> Option<Append> {
    let mutation = recorded.part.map_or_else(Uuid::now_v7, |part| part.mutation);
    let request = author
        .request
        .as_ref()
        .filter(|_| recorded.part.is_none_or(|part| part.last));
    let elsewhere = recorded.elsewhere.iter();
    let elsewhere =
        elsewhere.map(|(organization, changes)| row(author, mutation, Some(organization), None, None, changes));
    let mut rows: Vec<_> = elsewhere.collect();
    if !recorded.changes.is_empty() || request.is_some() {
        let organization = recorded.organization.as_ref().or(author.organization.as_ref());
        let request = request.filter(|_| !author.validate_only);
        let answer = request.and_then(|_| answer_beside_changes(recorded));
        rows.push(row(author, mutation, organization, request, answer, &recorded.changes));
    }
    let columns = rows.first()?.iter().map(|(column, _)| column.into_iden()).collect();
    let values = |row: Vec<(Column, Expr)>| row.into_iter().map(|(_, value)| value).collect();
    Some(Append {
        table: Entity.into_iden(),
        columns,
        rows: rows.into_iter().map(values).collect(),
        constraints: CONSTRAINTS,
    })
}

fn row(
    author: &Author,
    mutation: Uuid,
    organization: Option<&OrganizationRef>,
    request: Option<&RequestMark>,
    answer: Option<Vec<u8>>,
    changes: &[Change],
) -> Vec<(Column, Expr)> {
    let values: [(Column, Value); 14] = [
        (Column::MutationId, mutation.into()),
        (Column::WorkspaceUid, author.workspace_uid().0.into()),
        (
            Column::WorkspaceId,
            author.workspace.as_ref().map_or("", |workspace| &workspace.id).into(),
        ),
        (
            Column::OrganizationUid,
            organization.map(|organization| organization.uid.0).into(),
        ),
        (
            Column::OrganizationId,
            organization.map(|organization| organization.id.clone()).into(),
        ),
        (Column::Actor, author.actor.clone().into()),
        (Column::ActingFor, author.acting_for.clone().into()),
        (Column::Method, author.method.into()),
        (Column::RequestId, request.map(|request| request.id).into()),
        (Column::RequestHash, request.map(|request| request.hash.to_vec()).into()),
        (Column::Answer, answer.into()),
        (Column::Traceparent, author.traceparent.clone().into()),
        (Column::Time, Micros::now().0.into()),
        (
            Column::Changes,
            Entry {
                changes: changes.to_vec(),
                ..Entry::default()
            }
            .encode_to_vec()
            .into(),
        ),
    ];
    // From the database and not from memory: a row of another life must not land in this one.
    let epoch = (Column::Epoch, Expr::cust("(SELECT epoch FROM journal_state)"));
    let values = values.into_iter().map(|(column, value)| (column, Expr::value(value)));
    std::iter::once(epoch).chain(values).collect()
}

fn answer_beside_changes<T: Message>(recorded: &Recorded<T>) -> Option<Vec<u8>> {
    let answer = recorded.answer.encode_to_vec();
    let first = recorded.changes.first().and_then(|change| change.after.as_ref());
    (first.is_none_or(|after| after.value != answer)).then_some(answer)
}

impl Model {
    /// Where it stands.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            position: Position {
                xid: self.xid,
                seq: self.seq,
            },
        }
    }

    /// What it changed.
    pub fn changes(&self) -> Result<Vec<Change>> {
        Entry::decode(self.changes.as_slice())
            .map(|entry| entry.changes)
            .map_err(Error::internal)
    }

    /// The encoded answer that the call got.
    pub fn answer(&self) -> Result<Vec<u8>> {
        if let Some(answer) = &self.answer {
            return Ok(answer.clone());
        }
        let first = self.changes()?.into_iter().next().and_then(|change| change.after);
        first
            .map(|after| after.value.to_vec())
            .ok_or_else(|| Error::internal("a journal row without answer and change"))
    }

    /// As the API shows it.
    pub fn entry(self) -> Result<Entry> {
        let workspace = WorkspaceRef {
            uid: Uid(self.workspace_uid),
            id: self.workspace_id.clone(),
        };
        let above = workspace.uid == Uid::NIL;
        let organization = self.organization_uid.zip(self.organization_id.clone());
        let organization = organization.map(|(uid, id)| OrganizationRef {
            workspace: workspace.clone(),
            uid: Uid(uid),
            id,
        });
        Ok(Entry {
            cursor: self.cursor().to_string(),
            mutation_id: self.mutation_id.to_string(),
            workspace: if above { String::new() } else { workspace.name() },
            workspace_uid: if above {
                String::new()
            } else {
                workspace.uid.to_string()
            },
            organization: organization.as_ref().map(OrganizationRef::name).unwrap_or_default(),
            organization_uid: organization
                .map(|organization| organization.uid.to_string())
                .unwrap_or_default(),
            changes: self.changes()?,
            actor: self.actor,
            acting_for: self.acting_for.unwrap_or_default(),
            method: self.method,
            request_id: self.request_id.map(|id| id.to_string()).unwrap_or_default(),
            traceparent: self.traceparent.unwrap_or_default(),
            time: Some(Micros(self.time).into()),
        })
    }
}
