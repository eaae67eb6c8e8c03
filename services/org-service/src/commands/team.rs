//! What can be done with teams.

use super::App;
use crate::domain::id::IdChoice;
use crate::domain::member::member_name;
use crate::domain::team::{NewTeam, Team, parse_users, team_name};
use crate::store;
use crate::store::erasure::Erasure;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::filter::{self, Operator, Term};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded};
use std::collections::BTreeSet;

/// How many keys are tried where a derived one is taken.
const KEY_TRIES: usize = 5;

/// Creates a team; where its key is derived and taken, under another one.
pub async fn create(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::CreateTeamRequest,
) -> Result<Answer<api::Team>> {
    let new = NewTeam::parse(&request)?;
    let name = team_name(scope.organization(), new.key.id());
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (organization, _) = store::organization::lock(tx, &scope).await?;
        organization.require_room_for_teams(store::team::count(tx, &scope).await?, 1)?;
        let key = choose_key(tx, &scope, &new.key).await?;
        let team = new.into_team(scope.organization(), key, Micros::now());
        let members: Vec<Uid> = team.members.iter().copied().collect();
        require_members(tx, &scope, &members).await?;
        store::team::insert(tx, &scope, &team);
        let message = api::Team::from(&team);
        let change = Change::created(&message);
        Ok(Recorded::change(message, change))
    };
    app.journal
        .write(author, unit)
        .await
        .map_err(|error| about_key(error, name))
}

/// The key that a new team gets. One that the caller chose may be taken: the insert finds out.
async fn choose_key(tx: &Tx, scope: &Scope<OrganizationRef>, choice: &IdChoice) -> Result<String> {
    let mut key = choice.id().to_owned();
    for _ in 1..KEY_TRIES {
        let Some(other) = choice.with_suffix() else {
            return Ok(key);
        };
        if store::team::taken_keys(tx, scope, &[&key]).await?.is_empty() {
            return Ok(key);
        }
        key = other;
    }
    Ok(key)
}

fn about_key(error: Error, name: String) -> Error {
    match error.reason() {
        ErrorReason::ResourceExists => error.about("Team", name),
        _ => error,
    }
}

/// Refuses users who are no members of the scope's organization; suspended ones are.
async fn require_members(tx: &Tx, scope: &Scope<OrganizationRef>, users: &[Uid]) -> Result<()> {
    let found = store::member::read_all(tx, scope, users).await?;
    let present: BTreeSet<Uid> = found.iter().filter(|one| one.present()).map(|one| one.user).collect();
    match users.iter().find(|user| !present.contains(user)) {
        Some(stranger) => Err(store::member::not_found(scope.organization(), *stranger)),
        None => Ok(()),
    }
}

/// Gets the team with this name.
pub async fn get(app: &App, scope: Scope<OrganizationRef>, name: String) -> Result<Answer<api::Team>> {
    let found = store::team::get(&app.reader, &scope, last_id(&name)).await?;
    found.try_map(|team| {
        let team = team.ok_or_else(|| Error::not_found("Team", name))?;
        Ok(api::Team::from(&team))
    })
}

/// Lists the teams of the organization.
pub async fn list(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ListTeamsRequest,
) -> Result<Answer<api::ListTeamsResponse>> {
    let page = PageRequest::read(&request, scope.organization().uid)?;
    let terms = filter::parse(&request.filter)?;
    let members = terms.iter().map(read_member).collect::<Result<Vec<_>>>()?;
    let rows = store::team::list(&app.reader, &scope, &members, page.after_uid()?, page.size + 1).await?;
    Ok(rows.map(|rows| {
        let key = |last: &Team| last.uid.0.as_bytes().to_vec();
        let (teams, next_page_token) = page.fill(rows, |row| row.into(), key);
        api::ListTeamsResponse { teams, next_page_token }
    }))
}

fn read_member(term: &Term) -> Result<Uid> {
    match (term.field.as_str(), term.operator) {
        ("member", Operator::Equal) => {
            Uid::parse(&term.value).ok_or_else(|| filter::malformed("member must be the id of a user"))
        }
        _ => Err(filter::unknown(term)),
    }
}

/// Changes fields of a team.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateTeamRequest,
) -> Result<Answer<api::Team>> {
    let mask = scope.mask(&request)?;
    let message = request.team.unwrap_or_default();
    let named = team_name(scope.organization(), message.key());
    let (name, etag) = (message.name.clone(), message.etag.clone());
    change(app, scope, name, etag, move |team| {
        team.update(&message, &mask, Micros::now())
    })
    .await
    .map_err(|error| about_key(error, named))
}

/// Adds members to a team.
pub async fn add_members(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::AddTeamMembersRequest,
) -> Result<Answer<api::Team>> {
    let users = parse_users(&request.members)?;
    change(app, scope, request.name, request.etag, move |team| {
        team.with(&users, Micros::now())
    })
    .await
}

/// Takes members out of a team.
pub async fn remove_members(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::RemoveTeamMembersRequest,
) -> Result<Answer<api::Team>> {
    let users = parse_users(&request.members)?;
    change(app, scope, request.name, request.etag, move |team| {
        Ok(team.without(&users, Micros::now()))
    })
    .await
}

/// Reads the team, lets the verb make its next version, and writes that. A verb that changes nothing answers its equal.
async fn change<Verb>(
    app: &App,
    scope: Scope<OrganizationRef>,
    name: String,
    etag: String,
    verb: Verb,
) -> Result<Answer<api::Team>>
where
    Verb: Fn(&Team) -> Result<Team> + Clone + Send + Sync + 'static,
{
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let before = lock(tx, &scope, &name, &etag).await?;
        let after = verb(&before)?;
        let message = api::Team::from(&after);
        if after == before {
            return Ok(Recorded::nothing(message));
        }
        require_members(tx, &scope, &before.joined(&after)).await?;
        let change = write(tx, &scope, &before, &after);
        Ok(Recorded::change(message, change))
    };
    app.journal.write(author, unit).await
}

/// The team with this name, in a unit that is about to change it.
async fn lock(tx: &Tx, scope: &Scope<OrganizationRef>, name: &str, etag: &str) -> Result<Team> {
    store::organization::lock(tx, scope).await?;
    let found = store::team::lock(tx, scope, last_id(name)).await?;
    let team = found.ok_or_else(|| Error::not_found("Team", name))?;
    team.check_etag(etag)?;
    Ok(team)
}

fn write(tx: &Tx, scope: &Scope<OrganizationRef>, before: &Team, after: &Team) -> Change {
    store::team::update(tx, scope, before, after);
    describe(before, after)
}

fn describe(before: &Team, after: &Team) -> Change {
    let fields = before.changed_fields(after);
    Change::updated(&api::Team::from(before), &api::Team::from(after), fields)
}

/// Deletes a team.
pub async fn delete(app: &App, scope: Scope<OrganizationRef>, request: api::DeleteTeamRequest) -> Result<Answer<()>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let team = lock(tx, &scope, &request.name, &request.etag).await?;
        store::team::delete(tx, &scope, &team);
        let change = Change::removed(&api::Team::from(&team), team.version + 1);
        Ok(Recorded::change((), change))
    };
    app.journal.write(author, unit).await
}

/// Picks the member of a team who is online and was picked longest ago.
pub async fn pick_assignee(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::PickAssigneeRequest,
) -> Result<Answer<api::PickAssigneeResponse>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        store::standing::confirm(tx, &scope).await?;
        store::organization::read(tx, &scope).await?.require_active()?;
        let found = store::team::lock(tx, &scope, last_id(&request.name)).await?;
        let team = found.ok_or_else(|| Error::not_found("Team", request.name.as_str()))?;
        let next = store::team::next_assignee(tx, &scope, &team).await?;
        let user = next.ok_or_else(|| team.no_one_online())?;
        store::team::pick(tx, &scope, &team, user);
        let member = member_name(scope.organization(), user);
        Ok(Recorded::nothing(api::PickAssigneeResponse { member }))
    };
    app.journal.write(author, unit).await
}

/// Takes a user out of all teams that it is in, in a unit that has locked the organization and removes the member.
pub async fn leave_all(tx: &Tx, scope: &Scope<OrganizationRef>, user: Uid, now: Micros) -> Result<Vec<Change>> {
    let teams = store::team::lock_all_with(tx, scope, user).await?;
    let leaving = BTreeSet::from([user]);
    let left = teams
        .iter()
        .map(|team| write(tx, scope, team, &team.without(&leaving, now)));
    Ok(left.collect())
}

/// Takes a user who is erased out of at most `limit` teams of these organizations, which the unit has locked.
pub async fn leave_erased(
    tx: &Tx,
    erasure: &Erasure,
    user: Uid,
    organizations: &[Uid],
    limit: u64,
    now: Micros,
) -> Result<Vec<(OrganizationRef, Change)>> {
    let teams = store::team::lock_of_erased(tx, erasure, user, organizations, limit).await?;
    let leaving = BTreeSet::from([user]);
    let left = teams.iter().map(|team| {
        let after = team.without(&leaving, now);
        store::team::update_for_erasure(tx, erasure, team, &after);
        (team.organization.clone(), describe(team, &after))
    });
    Ok(left.collect())
}

/// Puts a user into the teams with these keys or aliases, in a unit that has locked the organization and makes a member of it. Passed
/// over are keys that no team has any more, and teams in which there is no room: they do not keep anybody out of the organization.
pub async fn join(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    keys: &[String],
    user: Uid,
    now: Micros,
) -> Result<Vec<Change>> {
    let teams = store::team::lock_all(tx, scope, keys).await?;
    let joining = BTreeSet::from([user]);
    let mut changes = Vec::new();
    for before in teams.iter().filter(|team| !team.is_full()) {
        let after = before.with(&joining, now)?;
        if after != *before {
            changes.push(write(tx, scope, before, &after));
        }
    }
    Ok(changes)
}

/// NOT_FOUND for a key that no team of the organization has, not even as an alias.
pub async fn require_keys(tx: &Tx, scope: &Scope<OrganizationRef>, keys: &[String]) -> Result<()> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let taken = store::team::taken_keys(tx, scope, &keys).await?;
    match keys.into_iter().find(|key| !taken.iter().any(|known| known == key)) {
        Some(missing) => Err(Error::not_found("Team", team_name(scope.organization(), missing))),
        None => Ok(()),
    }
}
