//! Canned responses in the database.

use crate::domain::canned_response::{CannedResponse, Content, Holder, Key, response_name};
use crate::domain::language::Language;
use crate::domain::template::Template;
use clientele_api::error::ErrorReason;
use clientele_api::fold::fold_letters;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::settings::canned_response;
use clientele_api::{Error, Micros, Result, Uid};
use clientele_service::journal::{Resources, Snapshot};
use clientele_service::scope::Scope;
use clientele_store::connect::db_error;
use clientele_store::follow::teams;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Constraint, Reader};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{
    self, BinOper, Cond, DynIden, ExprTrait, Func, InsertStatement, IntoIden, OnConflict, SelectStatement, UnionType,
};
use sea_orm::{
    DbBackend, FromJsonQueryResult, FromQueryResult, IntoActiveModel, Iterable, Order, QueryOrder, QuerySelect,
    QueryTrait, Select,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A canned response.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "settings_canned_responses")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// The workspace.
    pub workspace_uid: Uuid,
    /// The id of the workspace, which never changes.
    pub workspace_id: String,
    /// The organization.
    pub organization_uid: Uuid,
    /// The id of the organization, which never changes.
    pub organization_id: String,
    /// Counts its changes.
    pub version: i64,
    /// In microseconds.
    pub create_time: i64,
    /// In microseconds.
    pub update_time: i64,
    /// The number of `CannedResponse.Scope`.
    pub scope: i32,
    /// The organization, the team or the user that it belongs to.
    pub holder_uid: Uuid,
    /// Of a team's: the key by which the team was named.
    pub team_key: Option<String>,
    /// Of a person's: the user.
    pub owner_uid: Option<Uuid>,
    /// What is typed to find it.
    pub short_code: String,
    /// The same in lower case: it is there once.
    pub code_folded: String,
    /// What it is called in lists.
    pub title: String,
    /// The answer.
    pub text: String,
    /// The code of its language; empty: any.
    pub language: String,
    /// For lists.
    #[sea_orm(column_type = "JsonBinary")]
    pub tags: Tags,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Texts in a column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Tags(Vec<String>);

/// Columns that are no part of the model, since nobody reads them: the short code, and everything, without case and accents.
const CODE_SEARCHED: &str = "code_searched";
const SEARCHED: &str = "searched";

/// Of everything so many characters are searched: accents that are taken apart may make a text many times as long.
const MOST_SEARCHED: usize = 20_000;

const CONSTRAINTS: &[Constraint] = &[Constraint {
    postgres: "settings_canned_responses_code",
    sqlite: "settings_canned_responses.organization_uid, settings_canned_responses.holder_uid, \
             settings_canned_responses.code_folded, settings_canned_responses.language",
    field: "short_code",
    reason: ErrorReason::ShortCodeTaken,
    message: "another canned response of the same readers and language has this short code: choose another one",
}];

/// As whom canned responses are read: it decides which are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// As no user of the organization: what nobody keeps for itself.
    Shared,
    /// As this user.
    By {
        /// The user.
        user: Uid,
        /// Whether it may write those of all teams, and so read them.
        manages: bool,
    },
}

impl Seen {
    fn of(scope: &Scope<OrganizationRef>) -> Self {
        scope.client().map_or(Self::Shared, |client| Self::By {
            user: client.user,
            manages: client.holds("canned-responses.manage"),
        })
    }

    /// What must hold of one of this organization.
    fn condition(self, organization: Uid) -> Cond {
        let all = Cond::all().add(Column::OrganizationUid.eq(organization.0));
        match self {
            Self::Shared => all.add(Column::OwnerUid.is_null()),
            // By whose they are, and not as one of three conditions: so what others keep for themselves is not even looked at.
            Self::By { user, manages } => {
                let teams = match manages {
                    // Also of those that are gone.
                    true => teams::Entity::find()
                        .select_only()
                        .column(teams::Column::Uid)
                        .filter(teams::Column::OrganizationUid.eq(organization.0))
                        .into_query(),
                    false => teams::with_member(organization, user),
                };
                let mut holders = sea_query::Query::select();
                let of_user = sea_query::Query::select().expr(Expr::val(user.0)).take();
                holders
                    .expr(Expr::val(organization.0))
                    .union(UnionType::All, of_user)
                    .union(UnionType::All, teams);
                all.add(Column::HolderUid.in_subquery(holders))
            }
        }
    }
}

/// Which of those that the caller may read: those that meet all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only those of this scope.
    pub scopes: Vec<canned_response::Scope>,
    /// Only those of this team.
    pub teams: Vec<Uid>,
    /// Only those in this language; None: in any.
    pub languages: Vec<Option<Language>>,
    /// Only those with this tag.
    pub tags: Vec<String>,
}

impl Query {
    fn condition(&self, backend: DbBackend) -> Cond {
        let mut all = Cond::all();
        for &scope in &self.scopes {
            all = all.add(Column::Scope.eq(i32::from(scope)));
        }
        for team in &self.teams {
            let of_team = Column::Scope.eq(i32::from(canned_response::Scope::Team));
            all = all.add(of_team.and(Column::HolderUid.eq(team.0)));
        }
        for language in &self.languages {
            all = all.add(Column::Language.eq(language.map_or("", Language::code)));
        }
        for tag in &self.tags {
            all = all.add(is_tagged(tag, backend));
        }
        all
    }
}

fn is_tagged(tag: &str, backend: DbBackend) -> Expr {
    match backend {
        DbBackend::Postgres => {
            let tags = Column::Tags.into_expr();
            tags.binary(BinOper::Custom("@>"), Expr::val(Json::from(vec![tag])))
        }
        _ => Expr::cust_with_values(
            "EXISTS (SELECT 1 FROM json_each(settings_canned_responses.tags) WHERE value = ?)",
            [tag],
        ),
    }
}

/// What was typed to find some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    /// All of it, without case and accents.
    whole: String,
    /// Its words.
    words: Vec<String>,
}

impl Typed {
    /// Of its words so many count.
    const MOST_WORDS: usize = 10;

    /// As it is compared. None: nothing is left of it that could be, as of an accent alone.
    pub fn new(text: &str) -> Option<Self> {
        let folded: String = fold_letters(text).collect();
        let whole = folded.trim();
        if whole.is_empty() && !text.is_empty() {
            return None;
        }
        let words = whole.split_whitespace().take(Self::MOST_WORDS);
        Some(Self {
            words: words.map(str::to_owned).collect(),
            whole: whole.to_owned(),
        })
    }

    /// The words are looked for everywhere, of which the short code is a part.
    fn condition(&self, backend: DbBackend) -> Cond {
        let found = |word: &String| place(backend, SEARCHED, word).gt(0);
        self.words.iter().fold(Cond::all(), |all, word| all.add(found(word)))
    }

    /// How well one fits: 0 is the best.
    fn rank(&self, backend: DbBackend) -> Expr {
        if self.words.is_empty() {
            return Expr::val(0);
        }
        let in_code = || place(backend, CODE_SEARCHED, &self.whole);
        let rank = Expr::case(in_code().eq(1), 0).case(in_code().gt(1), 1).finally(2);
        rank.into()
    }
}

/// Where a text is in a column, from 1; 0: it is not in it.
fn place(backend: DbBackend, column: &'static str, text: &str) -> Expr {
    let function = match backend {
        DbBackend::Postgres => "strpos",
        _ => "instr",
    };
    Func::cust(function).arg(Expr::col((Entity, column))).arg(text).into()
}

/// The place of a canned response among those that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// How well it fits.
    pub rank: i32,
    /// Its short code without case and accents.
    pub code: String,
    /// Which it is.
    pub uid: Uid,
}

#[derive(Debug, FromQueryResult)]
struct Found {
    #[sea_orm(nested)]
    response: Model,
    rank: i32,
    code_searched: String,
}

/// What a canned response is found by. It takes its time to make: of many it is made before the unit that writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    code: String,
    all: String,
}

impl Searched {
    /// Of what a canned response says.
    pub fn of(content: &Content) -> Self {
        let texts = [&content.short_code, &content.title, content.text.as_str()];
        let texts = texts.into_iter().chain(content.tags.iter().map(String::as_str));
        let all = texts.collect::<Vec<_>>().join("\n");
        Self {
            code: fold_letters(&content.short_code).collect(),
            all: fold_letters(&all).take(MOST_SEARCHED).collect(),
        }
    }
}

/// Inserts a canned response.
pub fn insert(tx: &Tx, _scope: &Scope<OrganizationRef>, response: &CannedResponse) {
    let searched = Searched::of(&response.content);
    tx.write(inserted([(response, &searched)]), CONSTRAINTS);
}

/// Writes canned responses: new ones, and next versions of ones that are locked.
pub fn upsert(tx: &Tx, _scope: &Scope<OrganizationRef>, responses: &[(CannedResponse, Searched)]) {
    if responses.is_empty() {
        return;
    }
    let changed = columns().filter(|column| column.to_string() != "uid");
    let mut insert = inserted(responses.iter().map(|(response, searched)| (response, searched)));
    insert.on_conflict(OnConflict::column(Column::Uid).update_columns(changed).to_owned());
    tx.write(insert, CONSTRAINTS);
}

fn inserted<'r>(responses: impl IntoIterator<Item = (&'r CannedResponse, &'r Searched)>) -> InsertStatement {
    let mut insert = sea_query::Query::insert();
    insert.into_table(Entity).columns(columns());
    for (response, searched) in responses {
        // As many values as columns: it does not panic.
        insert.values_panic(written(response, searched).map(|(_, value)| value));
    }
    insert
}

/// All columns that are written.
fn columns() -> impl Iterator<Item = DynIden> {
    let columns = Column::iter().map(IntoIden::into_iden);
    columns.chain([CODE_SEARCHED, SEARCHED].map(IntoIden::into_iden))
}

/// All columns with their values.
fn written(response: &CannedResponse, searched: &Searched) -> impl Iterator<Item = (DynIden, Expr)> {
    let row = Model::from(response).into_active_model();
    let columns = Column::iter().filter_map(move |column| {
        let value = row.get(column).into_value()?;
        Some((column.into_iden(), Expr::val(value)))
    });
    let texts = [(CODE_SEARCHED, &searched.code), (SEARCHED, &searched.all)];
    columns.chain(texts.map(|(column, text)| (column.into_iden(), Expr::val(text.as_str()))))
}

/// Writes the next version of a canned response over the one it was made from.
pub fn update(tx: &Tx, scope: &Scope<OrganizationRef>, before: &CannedResponse, after: &CannedResponse) {
    let mut update = sea_query::Query::update();
    update
        .table(Entity)
        .values(written(after, &Searched::of(&after.content)))
        .and_where(Column::OrganizationUid.eq(scope.organization().uid.0))
        .and_where(Column::Uid.eq(before.uid.0))
        .and_where(Column::Version.eq(before.version));
    tx.guard(update, CONSTRAINTS);
}

/// Takes a canned response away.
pub fn delete(tx: &Tx, scope: &Scope<OrganizationRef>, response: &CannedResponse) {
    let delete = Entity::delete_many()
        .filter(Column::OrganizationUid.eq(scope.organization().uid.0))
        .filter(Column::Uid.eq(response.uid.0))
        .filter(Column::Version.eq(response.version));
    tx.guard(delete.into_query(), CONSTRAINTS);
}

/// The canned response with this id, if the caller may read it, in a unit that is about to change it.
pub async fn read(tx: &Tx, scope: &Scope<OrganizationRef>, id: &str) -> Result<CannedResponse> {
    let row = match Uid::parse(id) {
        Some(uid) => readable(scope.organization().uid, Seen::of(scope), uid).one(tx).await,
        None => Ok(None),
    };
    found(row.map_err(db_error)?, scope, id)
}

/// The canned response with this id, if the caller may read it.
pub async fn get(reader: &Reader, scope: &Scope<OrganizationRef>, id: &str) -> Result<Answer<CannedResponse>> {
    let uid = Uid::parse(id).ok_or_else(|| not_found(scope, id))?;
    let row = reader
        .one(readable(scope.organization().uid, Seen::of(scope), uid))
        .await?;
    row.try_map(|row| found(row, scope, id))
}

/// Reads the canned response with this uid, if it may be read.
pub fn readable(organization: Uid, seen: Seen, uid: Uid) -> Select<Entity> {
    Entity::find()
        .filter(Column::Uid.eq(uid.0))
        .filter(seen.condition(organization))
}

fn found(row: Option<Model>, scope: &Scope<OrganizationRef>, id: &str) -> Result<CannedResponse> {
    row.map(CannedResponse::try_from)
        .transpose()?
        .ok_or_else(|| not_found(scope, id))
}

/// NOT_FOUND for a canned response of the scope's organization.
pub fn not_found(scope: &Scope<OrganizationRef>, id: &str) -> Error {
    Error::not_found("CannedResponse", response_name(scope.organization(), id))
}

/// At most `limit` canned responses after a uid that the caller may read, oldest first.
pub async fn list(
    reader: &Reader,
    scope: &Scope<OrganizationRef>,
    query: &Query,
    after: Option<Uid>,
    limit: u64,
) -> Result<Answer<Vec<CannedResponse>>> {
    let organization = scope.organization().uid;
    let select = listed(reader.backend(), organization, Seen::of(scope), query, after, limit);
    let rows = reader.all(select).await?;
    rows.try_map(|rows| rows.into_iter().map(CannedResponse::try_from).collect())
}

/// Reads what [`list`] lists.
pub fn listed(
    backend: DbBackend,
    organization: Uid,
    seen: Seen,
    query: &Query,
    after: Option<Uid>,
    limit: u64,
) -> Select<Entity> {
    Entity::find()
        .filter(seen.condition(organization))
        .filter(Cond::all().add_option(after.map(|after| Column::Uid.gt(after.0))))
        .filter(query.condition(backend))
        .order_by_asc(Column::Uid)
        .limit(limit)
}

/// At most `limit` canned responses after a place that the caller may read and that fit what was typed, the best first.
pub async fn search(
    reader: &Reader,
    scope: &Scope<OrganizationRef>,
    typed: &Typed,
    query: &Query,
    after: Option<&Place>,
    limit: u64,
) -> Result<Answer<Vec<(Place, CannedResponse)>>> {
    let organization = scope.organization().uid;
    let select = searched(
        reader.backend(),
        organization,
        Seen::of(scope),
        typed,
        query,
        after,
        limit,
    );
    let rows = reader.all_of::<Found>(select).await?;
    rows.try_map(|rows| {
        let found = rows.into_iter().map(|found| {
            let place = Place {
                rank: found.rank,
                code: found.code_searched,
                uid: Uid(found.response.uid),
            };
            Ok((place, CannedResponse::try_from(found.response)?))
        });
        found.collect()
    })
}

/// Reads what [`search`] finds.
pub fn searched(
    backend: DbBackend,
    organization: Uid,
    seen: Seen,
    typed: &Typed,
    query: &Query,
    after: Option<&Place>,
    limit: u64,
) -> SelectStatement {
    let (rank, code) = (typed.rank(backend), Expr::col((Entity, CODE_SEARCHED)));
    let behind = after.map(|after| {
        let place = [rank.clone(), code.clone(), Column::Uid.into_expr()];
        let after = [
            Expr::val(after.rank),
            Expr::val(after.code.as_str()),
            Expr::val(after.uid.0),
        ];
        Expr::tuple(place).gt(Expr::tuple(after))
    });
    Entity::find()
        .expr_as(rank, "rank")
        .expr(code.clone())
        .filter(seen.condition(organization))
        .filter(query.condition(backend))
        .filter(typed.condition(backend).add_option(behind))
        .order_by(Expr::col("rank"), Order::Asc)
        .order_by(code, Order::Asc)
        .order_by_asc(Column::Uid)
        .limit(limit)
        .into_query()
}

/// How many of a holder's there are, in a unit that has locked the organization.
pub async fn count(tx: &Tx, scope: &Scope<OrganizationRef>, holder: Uid) -> Result<i64> {
    let counted: Option<i64> = counted(scope.organization().uid, holder)
        .into_tuple()
        .one(tx)
        .await
        .map_err(db_error)?;
    Ok(counted.unwrap_or_default())
}

/// Reads what [`count`] counts.
pub fn counted(organization: Uid, holder: Uid) -> Select<Entity> {
    Entity::find()
        .select_only()
        .expr(Column::CodeFolded.count())
        .filter(Column::OrganizationUid.eq(organization.0))
        .filter(Column::HolderUid.eq(holder.0))
}

/// The canned responses with these keys, by key, which no other unit changes until this one has ended.
pub async fn lock_all(tx: &Tx, scope: &Scope<OrganizationRef>, keys: &[Key]) -> Result<BTreeMap<Key, CannedResponse>> {
    let select = with_keys(scope.organization().uid, keys).lock_exclusive();
    let rows = select.all(tx).await.map_err(db_error)?;
    let response = |row| CannedResponse::try_from(row).map(|response| (response.key(), response));
    rows.into_iter().map(response).collect()
}

/// Reads the canned responses with these keys.
pub fn with_keys(organization: Uid, keys: &[Key]) -> Select<Entity> {
    let holders: BTreeSet<Uuid> = keys.iter().map(|key| key.holder.0).collect();
    let key = |key: &Key| (key.holder.0, key.code.clone(), key.language.to_owned());
    let keys = sea_query::Query::select()
        .expr(Expr::cust("*"))
        .from_values(keys.iter().map(key), "keys")
        .take();
    let columns = [Column::HolderUid, Column::CodeFolded, Column::Language].map(|column| column.into_expr());
    // The holders once more: where the database looks through more than the keys, then through what these have.
    Entity::find()
        .filter(Column::OrganizationUid.eq(organization.0))
        .filter(Column::HolderUid.is_in(holders))
        .filter(Expr::tuple(columns).in_subquery(keys))
}

impl Resources for Entity {
    const UID: Column = Column::Uid;
    const WORKSPACE: Column = Column::WorkspaceUid;
    const ORGANIZATION: Option<Column> = Some(Column::OrganizationUid);

    fn describe(row: Model) -> Result<Snapshot> {
        let response = CannedResponse::try_from(row)?;
        let change = Change::snapshot(&response.told());
        Ok(Snapshot::in_organization(response.uid, response.organization, change))
    }
}

impl From<&CannedResponse> for Model {
    fn from(response: &CannedResponse) -> Self {
        let (organization, content, key) = (&response.organization, &response.content, response.key());
        let (team_key, owner_uid) = match &response.holder {
            Holder::Organization => (None, None),
            Holder::Team { key, .. } => (Some(key.clone()), None),
            Holder::User(uid) => (None, Some(uid.0)),
        };
        Self {
            uid: response.uid.0,
            workspace_uid: organization.workspace.uid.0,
            workspace_id: organization.workspace.id.clone(),
            organization_uid: organization.uid.0,
            organization_id: organization.id.clone(),
            version: response.version,
            create_time: response.create_time.0,
            update_time: response.update_time.0,
            scope: response.holder.scope().into(),
            holder_uid: key.holder.0,
            team_key,
            owner_uid,
            short_code: content.short_code.clone(),
            code_folded: key.code,
            title: content.title.clone(),
            text: content.text.as_str().to_owned(),
            language: key.language.to_owned(),
            tags: Tags(content.tags.clone()),
        }
    }
}

impl TryFrom<Model> for CannedResponse {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let damaged = |_| Error::internal("a stored text or language breaks its rule");
        let language = Some(row.language.as_str()).filter(|code| !code.is_empty());
        let holder = match (row.owner_uid, row.team_key) {
            (Some(owner), _) => Holder::User(Uid(owner)),
            (None, Some(key)) => Holder::Team {
                uid: Uid(row.holder_uid),
                key,
            },
            (None, None) => Holder::Organization,
        };
        Ok(Self {
            uid: Uid(row.uid),
            organization: OrganizationRef::of_row(
                (row.workspace_uid, row.workspace_id),
                (row.organization_uid, row.organization_id),
            ),
            version: row.version,
            create_time: Micros(row.create_time),
            update_time: Micros(row.update_time),
            holder,
            content: Content {
                short_code: row.short_code,
                title: row.title,
                text: Template::parse(&row.text).map_err(damaged)?,
                language: language.map(Language::parse).transpose().map_err(damaged)?,
                tags: row.tags.0,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_has_its_limit_and_begins_with_the_short_code() {
        let content = |text: &str| Content {
            short_code: "Größe".to_owned(),
            title: "A".to_owned(),
            text: Template::parse(text).unwrap(),
            language: None,
            tags: vec!["É".to_owned()],
        };
        let searched = Searched::of(&content("50% {{b}}"));
        assert_eq!(
            (searched.code.as_str(), searched.all.as_str()),
            ("grosse", "grosse\na\n50% {{b}}\ne")
        );
        // One letter becomes eighteen.
        let searched = Searched::of(&content(&"\u{fdfa}".repeat(4_000)));
        assert_eq!(searched.all.chars().count(), MOST_SEARCHED);
        assert!(searched.all.starts_with("grosse\n"));
    }
}
