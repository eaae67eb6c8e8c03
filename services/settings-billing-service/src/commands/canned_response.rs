//! What can be done with canned responses.

use super::{App, settings};
use crate::domain::canned_response::{
    CannedResponse, Holder, Key, NewCannedResponse, Readers, check_repeats, check_values, render as put_values,
    require_room,
};
use crate::domain::language::Language;
use crate::domain::settings::require_not_deleted;
use crate::store;
use crate::store::canned_response::{Place, Query, Searched, Typed};
use clientele_api::error::{ErrorReason, Violations};
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::settings::batch_upsert_canned_responses_response::{Outcome, Upserted};
use clientele_api::settings::canned_response;
use clientele_api::settings::{self as api};
use clientele_api::{Error, Micros, Result, Uid, parse};
use clientele_service::filter::{self, Operator, Term};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded, page};
use prost::Message;
use std::collections::BTreeMap;

/// How many are written together.
const LARGEST_BATCH: usize = 500;
/// How many bytes they are at most, as the request has them.
const BATCH_BYTES: usize = 1024 * 1024;
/// For how many teams they are.
const BATCH_TEAMS: usize = 20;
/// A row of the journal tells no more when it has so many bytes: whoever follows reads many of these at a time.
const ROW_BYTES: usize = 256 * 1024;

/// Creates a canned response.
pub async fn create(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::CreateCannedResponseRequest,
) -> Result<Answer<api::CannedResponse>> {
    let mut violations = Violations::new();
    let message = request.canned_response.unwrap_or_default();
    let new = read_new(&scope, &message, "canned_response", &mut violations);
    let new = violations.finish(new)?;
    require_may_write(&scope, matches!(new.readers, Readers::User(_)))?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        lock(tx, &scope).await?;
        let organization = scope.organization();
        let holder = holder(tx, &scope, &new.readers).await?;
        let response = new.into_response(organization, holder, Micros::now());
        let key = response.key();
        require_free(tx, &scope, &key).await?;
        let used = store::canned_response::count(tx, &scope, key.holder).await?;
        require_room(organization, used, 1)?;
        store::canned_response::insert(tx, &scope, &response);
        let change = Change::created(&response.told());
        Ok(Recorded::change(api::CannedResponse::from(&response), change))
    };
    app.journal.write(author, unit).await
}

/// Gets a canned response.
pub async fn get(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::GetCannedResponseRequest,
) -> Result<Answer<api::CannedResponse>> {
    let found = find(app, &scope, &request.name).await?;
    Ok(found.map(|response| api::CannedResponse::from(&response)))
}

/// Puts values in the places of a canned response's variables.
pub async fn render(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::RenderCannedResponseRequest,
) -> Result<Answer<api::RenderCannedResponseResponse>> {
    check_values(&request.variables)?;
    let found = find(app, &scope, &request.name).await?;
    found.try_map(|response| {
        let rendered = put_values(&response.content.text, &request.variables)?;
        Ok(api::RenderCannedResponseResponse {
            text: rendered.text,
            missing_variables: rendered.missing,
        })
    })
}

async fn find(app: &App, scope: &Scope<OrganizationRef>, name: &str) -> Result<Answer<CannedResponse>> {
    if hides(app, scope).await?.value {
        return Err(store::canned_response::not_found(scope, last_id(name)));
    }
    store::canned_response::get(&app.reader, scope, last_id(name)).await
}

/// Lists the canned responses that the caller may read.
pub async fn list(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ListCannedResponsesRequest,
) -> Result<Answer<api::ListCannedResponsesResponse>> {
    let page = PageRequest::read(&request, scope.organization().uid)?;
    let (query, after) = (read_filter(&request.filter)?, page.after_uid()?);
    let hides = hides(app, &scope).await?;
    if hides.value {
        return Ok(hides.map(|_| api::ListCannedResponsesResponse::default()));
    }
    let rows = store::canned_response::list(&app.reader, &scope, &query, after, page.size + 1).await?;
    Ok(rows.map(|rows| {
        let key = |last: &CannedResponse| last.uid.0.as_bytes().to_vec();
        let (canned_responses, next_page_token) = page.fill(rows, |row| row.into(), key);
        api::ListCannedResponsesResponse {
            canned_responses,
            next_page_token,
        }
    }))
}

/// Searches the canned responses that the caller may read.
pub async fn search(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::SearchCannedResponsesRequest,
) -> Result<Answer<api::SearchCannedResponsesResponse>> {
    let mut violations = Violations::new();
    let typed = violations.check("query", parse::line(request.query.trim(), 0..=200));
    let typed = Typed::new(&violations.finish(typed)?);
    let page = PageRequest::read(&request, scope.organization().uid)?;
    let after = page.after.as_deref().map(read_key).transpose()?;
    let query = read_filter(&request.filter)?;
    let hides = hides(app, &scope).await?;
    if hides.value {
        return Ok(hides.map(|_| api::SearchCannedResponsesResponse::default()));
    }
    let Some(typed) = typed else {
        return Ok(Answer {
            value: api::SearchCannedResponsesResponse::default(),
            revision: app.reader.revision_now().await?,
        });
    };
    let (reader, limit) = (&app.reader, page.size + 1);
    let rows = store::canned_response::search(reader, &scope, &typed, &query, after.as_ref(), limit).await?;
    Ok(rows.map(|rows| {
        let (canned_responses, next_page_token) = page.fill(rows, |(_, row)| row.into(), |(last, _)| write_key(last));
        api::SearchCannedResponsesResponse {
            canned_responses,
            next_page_token,
        }
    }))
}

/// The key of a page: rank, uid and short code.
fn write_key(last: &Place) -> Vec<u8> {
    [
        &last.rank.to_be_bytes()[..],
        last.uid.0.as_bytes(),
        last.code.as_bytes(),
    ]
    .concat()
}

fn read_key(key: &[u8]) -> Result<Place> {
    let read = || {
        let (rank, key) = key.split_first_chunk()?;
        let (uid, code) = key.split_first_chunk()?;
        let code = std::str::from_utf8(code).ok().filter(|code| !code.contains('\0'))?;
        Some(Place {
            rank: i32::from_be_bytes(*rank),
            code: code.to_owned(),
            uid: Uid(uuid::Uuid::from_bytes(*uid)),
        })
    };
    read().ok_or_else(page::invalid)
}

/// Changes fields of a canned response.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateCannedResponseRequest,
) -> Result<Answer<api::CannedResponse>> {
    let mask = scope.mask(&request)?;
    let message = request.canned_response.unwrap_or_default();
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        lock(tx, &scope).await?;
        let before = read_writable(tx, &scope, &message.name).await?;
        before.check_etag(&message.etag)?;
        let after = before.update(&message, &mask, Micros::now())?;
        let answer = api::CannedResponse::from(&after);
        if after == before {
            return Ok(Recorded::nothing(answer));
        }
        if after.key() != before.key() {
            require_free(tx, &scope, &after.key()).await?;
        }
        store::canned_response::update(tx, &scope, &before, &after);
        Ok(Recorded::change(answer, updated(&before, &after)))
    };
    app.journal.write(author, unit).await
}

/// Deletes a canned response.
pub async fn delete(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::DeleteCannedResponseRequest,
) -> Result<Answer<()>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        lock(tx, &scope).await?;
        let response = read_writable(tx, &scope, &request.name).await?;
        response.check_etag(&request.etag)?;
        store::canned_response::delete(tx, &scope, &response);
        let change = Change::removed(&response.told(), response.version + 1);
        Ok(Recorded::change((), change))
    };
    app.journal.write(author, unit).await
}

/// Creates and replaces canned responses, all of them or none.
pub async fn batch_upsert(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::BatchUpsertCannedResponsesRequest,
) -> Result<Answer<api::BatchUpsertCannedResponsesResponse>> {
    let rows = read_batch(&scope, &request)?;
    for (new, _) in &rows {
        require_may_write(&scope, matches!(new.readers, Readers::User(_)))?;
    }
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        lock(tx, &scope).await?;
        let holders = holders(tx, &scope, &rows).await?;
        let keys = keys(&scope, &rows, &holders)?;
        let present = store::canned_response::lock_all(tx, &scope, &keys).await?;
        let mut batch = Batch::default();
        for ((row, holder), key) in rows.into_iter().zip(holders).zip(&keys) {
            batch.add(&scope, present.get(key), row, holder);
        }
        for (holder, more) in &batch.created {
            let used = store::canned_response::count(tx, &scope, *holder).await?;
            require_room(scope.organization(), used, *more)?;
        }
        store::canned_response::upsert(tx, &scope, &batch.written);
        Ok(batch.recorded(scope.organization()))
    };
    app.journal.write(author, unit).await
}

/// What comes of a batch.
#[derive(Default)]
struct Batch {
    /// New ones, and next versions.
    written: Vec<(CannedResponse, Searched)>,
    /// How many of each holder's are new.
    created: BTreeMap<Uid, i64>,
    changes: Vec<Change>,
    upserted: Vec<Upserted>,
}

impl Batch {
    fn add(
        &mut self,
        scope: &Scope<OrganizationRef>,
        before: Option<&CannedResponse>,
        (new, searched): (NewCannedResponse, Searched),
        holder: Holder,
    ) {
        let organization = scope.organization();
        let Some(before) = before else {
            *self.created.entry(holder.uid(organization)).or_default() += 1;
            let created = new.into_response(organization, holder, Micros::now());
            self.changes.push(Change::created(&created.told()));
            // By a call that only validates it gets no uid.
            let name = if scope.validate_only() {
                String::new()
            } else {
                created.name()
            };
            self.note(name, Outcome::Created);
            self.written.push((created, searched));
            return;
        };
        let after = before.replaced(new.content, Micros::now());
        if after == *before {
            return self.note(after.name(), Outcome::Unchanged);
        }
        self.changes.push(updated(before, &after));
        self.note(after.name(), Outcome::Updated);
        self.written.push((after, searched));
    }

    fn note(&mut self, name: String, outcome: Outcome) {
        self.upserted.push(Upserted {
            name,
            outcome: outcome.into(),
        });
    }

    /// In as many rows of the journal as the changes need; the last one remembers the call.
    fn recorded(self, organization: &OrganizationRef) -> Recorded<api::BatchUpsertCannedResponsesResponse> {
        let (mut rows, mut row, mut bytes) = (Vec::new(), Vec::new(), 0);
        for change in self.changes {
            if bytes >= ROW_BYTES {
                rows.push((organization.clone(), std::mem::take(&mut row)));
                bytes = 0;
            }
            bytes += change.encoded_len();
            row.push(change);
        }
        let answer = api::BatchUpsertCannedResponsesResponse {
            upserted: self.upserted,
        };
        Recorded {
            changes: row,
            elsewhere: rows,
            ..Recorded::nothing(answer)
        }
    }
}

fn read_batch(
    scope: &Scope<OrganizationRef>,
    request: &api::BatchUpsertCannedResponsesRequest,
) -> Result<Vec<(NewCannedResponse, Searched)>> {
    let (messages, bytes) = (&request.canned_responses, request.encoded_len());
    let mut violations = Violations::new();
    if !(1..=LARGEST_BATCH).contains(&messages.len()) {
        let rule = format!("must be 1 to {LARGEST_BATCH}, not {}", messages.len());
        violations.add("canned_responses", rule);
    }
    if bytes > BATCH_BYTES {
        let rule = format!("must be at most {BATCH_BYTES} bytes together, not {bytes}: send fewer at a time");
        violations.add("canned_responses", rule);
    }
    if !violations.is_empty() {
        return violations.finish(None);
    }
    let mut rows = BTreeMap::new();
    for (at, message) in messages.iter().enumerate() {
        let path = format!("canned_responses[{at}]");
        if let Some(new) = read_new(scope, message, &path, &mut violations) {
            rows.insert(at, new);
        }
    }
    let keys = rows
        .iter()
        .map(|(at, new)| (*at, (&new.readers, new.content.key(Uid::NIL))));
    check_repeats(keys, &mut violations);
    let mut teams: Vec<&Readers> = rows.values().map(|new| &new.readers).collect();
    teams.sort_unstable();
    teams.dedup();
    let teams = teams
        .iter()
        .filter(|readers| matches!(readers, Readers::Team(_)))
        .count();
    if teams > BATCH_TEAMS {
        let rule = format!("must be for at most {BATCH_TEAMS} teams, not {teams}: send those of others apart");
        violations.add("canned_responses", rule);
    }
    let rows = violations.finish(Some(rows))?.into_values();
    let with_searched = |new: NewCannedResponse| {
        let searched = Searched::of(&new.content);
        (new, searched)
    };
    Ok(rows.map(with_searched).collect())
}

fn read_new(
    scope: &Scope<OrganizationRef>,
    message: &api::CannedResponse,
    path: &str,
    violations: &mut Violations,
) -> Option<NewCannedResponse> {
    let user = scope.client().map(|client| client.user);
    NewCannedResponse::parse(message, path, scope.organization(), user, violations)
}

/// Whose each is.
async fn holders(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    rows: &[(NewCannedResponse, Searched)],
) -> Result<Vec<Holder>> {
    let mut known: BTreeMap<&Readers, Holder> = BTreeMap::new();
    let mut holders = Vec::with_capacity(rows.len());
    for (new, _) in rows {
        let holder = match known.get(&new.readers) {
            Some(holder) => holder.clone(),
            None => holder(tx, scope, &new.readers).await?,
        };
        holders.push(holder.clone());
        known.insert(&new.readers, holder);
    }
    Ok(holders)
}

/// What of each can be there once. Only now is known that two names mean the same team.
fn keys(
    scope: &Scope<OrganizationRef>,
    rows: &[(NewCannedResponse, Searched)],
    holders: &[Holder],
) -> Result<Vec<Key>> {
    let rows = rows.iter().zip(holders);
    let keys = rows.map(|((new, _), holder)| new.content.key(holder.uid(scope.organization())));
    let keys: Vec<Key> = keys.collect();
    let mut violations = Violations::new();
    check_repeats(keys.iter().enumerate(), &mut violations);
    violations.finish(Some(keys))
}

/// Locks the organization, and refuses what can't be written in it.
async fn lock(tx: &Tx, scope: &Scope<OrganizationRef>) -> Result<()> {
    let organization = store::organization::lock(tx, scope).await?;
    require_not_deleted(scope.organization(), organization.state())?;
    if scope.client().is_some() && !settings::read_offers_canned_responses(tx, scope).await? {
        let name = scope.organization().name();
        let message =
            format!("the settings of {name:?} do not offer canned responses: turn canned_responses_enabled on");
        return Err(Error::new(ErrorReason::CannedResponsesDisabled, message).about("Organization", name));
    }
    Ok(())
}

/// Whether there are no canned responses for the caller, whatever is kept.
async fn hides(app: &App, scope: &Scope<OrganizationRef>) -> Result<Answer<bool>> {
    if scope.client().is_none() {
        return Ok(Answer {
            value: false,
            revision: clientele_store::Revision::new(),
        });
    }
    let offers = settings::offers_canned_responses(app, scope).await?;
    Ok(offers.map(|offers| !offers))
}

/// Whose it is that these are to read.
async fn holder(tx: &Tx, scope: &Scope<OrganizationRef>, readers: &Readers) -> Result<Holder> {
    Ok(match readers {
        Readers::Organization => Holder::Organization,
        Readers::Team(key) => Holder::Team {
            uid: store::team::read(tx, scope, key).await?,
            key: key.clone(),
        },
        Readers::User(user) => Holder::User(*user),
    })
}

/// The canned response that the caller may change.
async fn read_writable(tx: &Tx, scope: &Scope<OrganizationRef>, name: &str) -> Result<CannedResponse> {
    let response = store::canned_response::read(tx, scope, last_id(name)).await?;
    require_may_write(scope, response.is_personal())?;
    Ok(response)
}

/// Who may write no more than its own writes no one's but its own.
fn require_may_write(scope: &Scope<OrganizationRef>, personal: bool) -> Result<()> {
    if personal || !scope.client().is_some_and(|client| client.only_itself) {
        return Ok(());
    }
    let asked = "canned-responses.manage";
    let message = format!("who writes more than PERSONAL canned responses needs this permission: {asked}");
    Err(Error::new(ErrorReason::PermissionMissing, message).with("permissions", asked))
}

/// Refuses a key that another canned response has, in a unit that has locked the organization.
async fn require_free(tx: &Tx, scope: &Scope<OrganizationRef>, key: &Key) -> Result<()> {
    let taken = store::canned_response::lock_all(tx, scope, std::slice::from_ref(key)).await?;
    let Some(other) = taken.values().next() else {
        return Ok(());
    };
    let message = format!(
        "another canned response of the same readers and language has the short code {:?}: choose another one",
        other.content.short_code
    );
    let error = Error::new(ErrorReason::ShortCodeTaken, message).with("field", "short_code");
    Err(error.about("CannedResponse", other.name()))
}

fn updated(before: &CannedResponse, after: &CannedResponse) -> Change {
    Change::updated(&before.told(), &after.told(), before.changed_fields(after))
}

fn read_filter(text: &str) -> Result<Query> {
    let mut query = Query::default();
    for term in filter::parse(text)? {
        restrict(&mut query, &term)?;
    }
    Ok(query)
}

fn restrict(query: &mut Query, term: &Term) -> Result<()> {
    match (term.field.as_str(), term.operator) {
        ("scope", Operator::Equal) => {
            let scope = canned_response::Scope::from_str_name(&format!("SCOPE_{}", term.value));
            let scope = scope.filter(|scope| *scope != canned_response::Scope::Unspecified);
            let scope = scope.ok_or_else(|| filter::malformed("scope must be ORGANIZATION, TEAM or PERSONAL"))?;
            query.scopes.push(scope);
        }
        ("team_uid", Operator::Equal) => {
            let team = Uid::parse(&term.value).ok_or_else(|| filter::malformed("team_uid must be a UUID"))?;
            query.teams.push(team);
        }
        ("language", Operator::Equal) if term.value.is_empty() => query.languages.push(None),
        ("language", Operator::Equal) => {
            let language = Language::parse(&term.value);
            let language = language.map_err(|invalid| filter::malformed(&format!("language {}", invalid.0)))?;
            query.languages.push(Some(language));
        }
        ("tag", Operator::Equal) => query.tags.push(term.value.clone()),
        _ => return Err(filter::unknown(term)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_only_after_a_place_that_can_be() {
        let place = Place {
            rank: 2,
            code: "öl%".to_owned(),
            uid: Uid::new(),
        };
        let key = write_key(&place);
        assert_eq!(read_key(&key).unwrap(), place);
        // Who makes up a token of its own gets no further with what a database refuses.
        let with = |code: &[u8]| [&key[..20], code].concat();
        assert!(read_key(&with(b"")).is_ok());
        for forged in [&key[..19], &[], &with(b"a\0b"), &with(&[0xff])] {
            assert_eq!(read_key(forged).unwrap_err().reason(), ErrorReason::PageTokenInvalid);
        }
    }
}
