//! Reads that know how new they are: the revision is taken in the very statement that reads.

use crate::connect::db_error;
use crate::cursor::{Answer, Cursor, Revision};
use crate::follow;
use crate::journal::Journal;
use clientele_api::Result;
use sea_orm::sea_query::{Alias, Expr, SelectStatement};
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryResult, QueryTrait, Select};

/// Reads of a service's database, each with its revision.
#[derive(Debug, Clone)]
pub struct Reader {
    journal: Journal,
    followed: Vec<&'static str>,
}

/// The column that carries the service's own revision.
const OWN: &str = "revision_own";

impl Reader {
    /// Reads of this service, which follows these others.
    pub fn new(journal: Journal, followed: Vec<&'static str>) -> Self {
        Self { journal, followed }
    }

    /// SQLite or PostgreSQL.
    pub fn backend(&self) -> DbBackend {
        self.journal.db().backend()
    }

    /// The row, if there is one.
    pub async fn one<E: EntityTrait>(&self, select: Select<E>) -> Result<Answer<Option<E::Model>>> {
        self.one_of(select.into_query()).await
    }

    /// All rows of the select; its author has limited it.
    pub async fn all<E: EntityTrait>(&self, select: Select<E>) -> Result<Answer<Vec<E::Model>>> {
        self.all_of(select.into_query()).await
    }

    /// The row of a statement that reads something else than rows of one entity, if there is one.
    pub async fn one_of<M: FromQueryResult>(&self, query: SelectStatement) -> Result<Answer<Option<M>>> {
        let rows = self.all_of(query).await?;
        Ok(rows.map(|rows| rows.into_iter().next()))
    }

    /// All rows of a statement that reads something else than rows of one entity.
    pub async fn all_of<M: FromQueryResult>(&self, mut query: SelectStatement) -> Result<Answer<Vec<M>>> {
        query.expr_as(Expr::cust(self.journal.newest_revision()), Alias::new(OWN));
        for service in &self.followed {
            query.expr_as(Expr::cust(follow::cursor_of(service)), Alias::new(column(service)));
        }
        let rows = self.journal.db().read().query_all(&query).await.map_err(db_error)?;
        let revision = match rows.first() {
            Some(row) => self.revision(row).map_err(db_error)?,
            None => self.revision_now().await?,
        };
        let models = rows
            .iter()
            .map(|row| M::from_query_result(row, ""))
            .collect::<Result<_, _>>()
            .map_err(db_error)?;
        Ok(Answer {
            value: models,
            revision,
        })
    }

    /// The revision of what a read would see now. Taken after a read that found nothing, it is an upper bound of it too.
    pub async fn revision_now(&self) -> Result<Revision> {
        let mut revision = self.journal.revision().await?;
        for service in &self.followed {
            let cursor = follow::stored_cursor(self.journal.db(), service).await?;
            raise(&mut revision, service, cursor);
        }
        Ok(revision)
    }

    fn revision(&self, row: &QueryResult) -> Result<Revision, sea_orm::DbErr> {
        let mut revision = Revision::new();
        let own: Option<i64> = row.try_get("", OWN)?;
        revision.raise(self.journal.db().service(), self.journal.epoch(), own.unwrap_or(0));
        for service in &self.followed {
            let text: Option<String> = row.try_get("", &column(service))?;
            raise(&mut revision, service, text.as_deref().and_then(Cursor::parse));
        }
        Ok(revision)
    }
}

fn column(service: &str) -> String {
    format!("revision_{service}")
}

fn raise(revision: &mut Revision, service: &str, cursor: Option<Cursor>) {
    if let Some(cursor) = cursor {
        let (epoch, n) = cursor.revision();
        revision.raise(service, epoch, n);
    }
}
