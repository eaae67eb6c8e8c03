//! What can be done with sessions. Tokens are made after the commit, and are in no row of the journal.

use super::{App, password};
use crate::domain::password::credentials_invalid;
use crate::domain::session::{MOST, Presented, Session};
use crate::domain::user::User;
use crate::store;
use crate::store::standing::Place;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef, last_id};
use clientele_api::{Error, Micros, Result, Uid, Violations, org as api, parse};
use clientele_service::caller::Caller;
use clientele_service::scope::{Platform, Scope};
use clientele_service::standing::{SignedIn, denied, session_ended};
use clientele_service::token::{Claims, Role, SESSIONS};
use clientele_store::jobs::{Job, JobScope};
use clientele_store::journal::Author;
use clientele_store::tx::Tx;
use clientele_store::{Answer, Db, PageRequest, Recorded};
use std::time::Duration;

/// How often what has expired is taken away.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long a session that has expired is still listed.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Signs a user in; where it has several organizations and names none, they are answered.
pub async fn create(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::CreateSessionRequest,
) -> Result<Answer<api::CreateSessionResponse>> {
    let mut violations = Violations::new();
    violations.check("email", parse::line(&request.email, 1..=254));
    if request.password.is_empty() {
        violations.add("password", "must be given");
    }
    violations.finish(Some(()))?;
    let user = password::check(app, &scope, &request.email, &request.password).await?;
    let places = store::standing::places(&app.reader, &scope, user.uid, &request.organization).await?;
    let revision = places.revision;
    let organization = match choose(&user, places.value, &request.organization)? {
        Choice::One(organization) => organization,
        Choice::Several(choices) => {
            let value = api::CreateSessionResponse { tokens: None, choices };
            return Ok(Answer { value, revision });
        }
    };
    let tokens = begin(app, scope, user, organization).await?;
    Ok(tokens.map(|tokens| api::CreateSessionResponse {
        tokens: Some(tokens),
        choices: Vec::new(),
    }))
}

enum Choice {
    One(OrganizationRef),
    Several(Vec<api::OrganizationChoice>),
}

/// Where a user signs in to. Its password was right, so it may know where it is a member, and why it may do nothing there.
fn choose(user: &User, mut places: Vec<Place>, named: &str) -> Result<Choice> {
    let denial = places.first().map(|place| place.denial);
    places.retain(|place| place.denial == api::AccessDenial::Unspecified);
    match (places.as_slice(), denial) {
        ([place], _) => Ok(Choice::One(place.organization.clone())),
        ([], Some(denial)) => Err(denied(denial)),
        ([], None) if named.is_empty() => Err(Error::not_found(
            "Organization",
            format!("{}/organizations/-", user.workspace.name()),
        )),
        ([], None) => Err(Error::not_found("Organization", named)),
        (several, _) => Ok(Choice::Several(
            several.iter().map(api::OrganizationChoice::from).collect(),
        )),
    }
}

/// Begins the session of a user whose password was right, if it still is: who changes it ends all sessions that were begun with the one
/// before.
async fn begin(
    app: &App,
    scope: Scope<WorkspaceRef>,
    user: User,
    organization: OrganizationRef,
) -> Result<Answer<api::SessionTokens>> {
    let keys = app.clone();
    let author = Author {
        actor: format!("users/{}", user.uid),
        ..scope.author()
    };
    let unit = async move |tx: &Tx| {
        let now = Micros::now();
        let present = store::user::lock_for_sessions(tx, scope.workspace(), user.uid).await?;
        if present.is_none_or(|present| present.password != user.password) {
            return Err(credentials_invalid());
        }
        require_access(tx, &organization, user.uid).await?;
        let session = Session::begin(organization, user.uid, None, &keys.secret_key, now);
        let changes = insert(tx, &scope, &session, now).await?;
        Ok(recorded(tokens(&keys, &session, now), changes))
    };
    app.journal.write(author, unit).await
}

/// Logs staff in as a member.
pub async fn impersonate(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ImpersonateMemberRequest,
) -> Result<Answer<api::SessionTokens>> {
    let member = last_id(&request.name);
    let not_found = Error::not_found("Member", request.name.as_str());
    let user = Uid::parse(member).ok_or(not_found)?;
    let keys = app.clone();
    let author = Author {
        acting_for: Some(format!("users/{user}")),
        ..scope.author()
    };
    let unit = async move |tx: &Tx| {
        let now = Micros::now();
        let organization = scope.organization().clone();
        let known = store::user::lock_for_sessions(tx, &organization.workspace, user).await?;
        known.ok_or_else(|| store::member::not_found(&organization, user))?;
        require_access(tx, &organization, user).await?;
        let session = Session::begin(organization, user, Some(scope.actor()), &keys.secret_key, now);
        let changes = insert(tx, &scope, &session, now).await?;
        Ok(recorded(tokens(&keys, &session, now), changes))
    };
    app.journal.write(author, unit).await
}

/// Inserts a session, and ends the one that was used least recently where there are too many. In a unit that has locked the user.
async fn insert<L>(tx: &Tx, scope: &Scope<L>, session: &Session, now: Micros) -> Result<Vec<Change>> {
    let others = store::session::lock_active(tx, scope, session.user, now).await?;
    let mut changes = vec![Change::created(&api::Session::from(session))];
    store::session::insert(tx, scope, session);
    for oldest in others.iter().take((others.len() + 1).saturating_sub(MOST)) {
        changes.push(end(tx, scope, oldest, now));
    }
    Ok(changes)
}

/// Ends the sessions of a user but the one that calls. In a unit that has locked the user.
pub(super) async fn end_others<L>(tx: &Tx, scope: &Scope<L>, user: Uid) -> Result<Vec<Change>> {
    let now = Micros::now();
    let own = scope.client().and_then(|client| client.session);
    let active = store::session::lock_active(tx, scope, user, now).await?;
    let others = active.iter().filter(|session| Some(session.uid) != own);
    Ok(others.map(|session| end(tx, scope, session, now)).collect())
}

fn end<L>(tx: &Tx, scope: &Scope<L>, session: &Session, now: Micros) -> Change {
    let after = session.revoke(now);
    store::session::update(tx, scope, &after);
    changed(session, &after)
}

fn changed(before: &Session, after: &Session) -> Change {
    Change::updated(
        &api::Session::from(before),
        &api::Session::from(after),
        before.changed_fields(after),
    )
}

/// Gives new tokens for a refresh token.
pub async fn refresh(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::RefreshSessionRequest,
) -> Result<Answer<api::SessionTokens>> {
    renew(app, scope, request.name, request.refresh_token, None).await
}

/// Takes a session to another organization of its user.
pub async fn switch(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::SwitchSessionRequest,
) -> Result<Answer<api::SessionTokens>> {
    let mut violations = Violations::new();
    let name = violations.check("organization", parse::line(&request.organization, 1..=255));
    let name = violations.finish(name)?;
    renew(app, scope, request.name, request.refresh_token, Some(name)).await
}

/// New tokens, in another organization if one is named. Where the refresh token turns out to be a copy, that is committed, too: the
/// session is over.
async fn renew(
    app: &App,
    scope: Scope<WorkspaceRef>,
    name: String,
    token: String,
    organization: Option<String>,
) -> Result<Answer<api::SessionTokens>> {
    let uid = Uid::parse(last_id(&name)).ok_or_else(session_ended)?;
    let keys = app.clone();
    let found = store::session::find(&app.reader, &scope, uid).await?.value;
    let found = found.ok_or_else(session_ended)?;
    let author = match found.read_token(&token, &keys.secret_key, Micros::now())? {
        // Whoever has a copy, it is not known who.
        Presented::Old => Author {
            actor: Caller::Public.actor(),
            acting_for: None,
            ..scope.author()
        },
        Presented::Present | Presented::JustBefore => Author {
            actor: found.actor(),
            acting_for: found.acting_for(),
            ..scope.author()
        },
    };
    let unit = async move |tx: &Tx| {
        let now = Micros::now();
        let before =
            store::session::lock(tx, &scope, uid)
                .await
                .map_err(|error| match error.is_about(&["Session"]) {
                    true => session_ended(),
                    false => error,
                })?;
        let after = match before.read_token(&token, &keys.secret_key, now)? {
            Presented::Present => before.rotate(&keys.secret_key, now),
            Presented::JustBefore => before.repeat(&keys.secret_key, now),
            Presented::Old => {
                let change = end(tx, &scope, &before, now);
                return Ok(recorded(api::SessionTokens::default(), vec![change]));
            }
        };
        let after = match &organization {
            Some(name) => after.switch(&place(tx, &before, name).await?, now),
            None => after,
        };
        require_access(tx, &after.organization, after.user).await?;
        if after != before {
            store::session::update(tx, &scope, &after);
        }
        let moved = (after.version != before.version).then(|| changed(&before, &after));
        Ok(recorded(tokens(&keys, &after, now), Vec::from_iter(moved)))
    };
    let renewed = app.journal.write(author, unit).await?;
    renewed.try_map(|tokens| match tokens.session {
        Some(_) => Ok(tokens),
        None => Err(session_ended()),
    })
}

/// The organization of this name, if the session's user is a member of it.
async fn place(tx: &Tx, session: &Session, name: &str) -> Result<OrganizationRef> {
    let workspace = &session.organization.workspace;
    let place = store::standing::place(tx, workspace, session.user, name).await?;
    let place = place.ok_or_else(|| Error::not_found("Organization", name))?;
    Ok(place.organization)
}

async fn require_access(tx: &Tx, organization: &OrganizationRef, user: Uid) -> Result<()> {
    let who = SignedIn {
        organization: organization.uid,
        user,
        session: None,
    };
    match store::standing::read(tx, who).await? {
        Some(standing) => standing.require_access(),
        None => Err(denied(api::AccessDenial::MemberRemoved)),
    }
}

/// Ends a session.
pub async fn revoke(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::RevokeSessionRequest,
) -> Result<Answer<api::Session>> {
    let name = request.name;
    let uid = Uid::parse(last_id(&name)).ok_or_else(|| Error::not_found("Session", name.as_str()))?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        store::standing::confirm(tx, &scope).await?;
        let now = Micros::now();
        let before = store::session::lock(tx, &scope, uid).await?;
        if before.state(now) != api::session::State::Active {
            return Ok(Recorded::nothing(before.seen(now)));
        }
        let change = end(tx, &scope, &before, now);
        Ok(Recorded::change(before.revoke(now).seen(now), change))
    };
    app.journal.write(author, unit).await
}

/// Lists the sessions of a user.
pub async fn list(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ListSessionsRequest,
) -> Result<Answer<api::ListSessionsResponse>> {
    let page = PageRequest::read(&request, scope.workspace().uid)?;
    let id = last_id(&request.parent);
    let not_found = || Error::not_found("User", format!("{}/users/{id}", scope.workspace().name()));
    let user = Uid::parse(id).ok_or_else(not_found)?;
    store::user::get(&app.reader, &scope, user).await?;
    let (after, limit) = (page.after_uid()?, page.size + 1);
    let rows = store::session::list(&app.reader, &scope, user, request.show_ended, after, limit).await?;
    let now = Micros::now();
    Ok(rows.map(|rows| {
        let key = |last: &Session| last.uid.0.as_bytes().to_vec();
        let (sessions, next_page_token) = page.fill(rows, |row| row.seen(now), key);
        api::ListSessionsResponse {
            sessions,
            next_page_token,
        }
    }))
}

/// The public keys of access tokens.
pub async fn signing_keys(app: &App, _scope: Scope<Platform>) -> Result<Answer<api::SigningKeys>> {
    let jwks = app.session_keys.jwks();
    Ok(Answer {
        value: api::SigningKeys { jwks },
        revision: app.journal.revision().await?,
    })
}

/// A session as it is answered, with tokens. No call of theirs has a request id, so that no answer is kept.
fn recorded(tokens: api::SessionTokens, changes: Vec<Change>) -> Recorded<api::SessionTokens> {
    Recorded {
        changes,
        ..Recorded::nothing(tokens)
    }
}

fn tokens(app: &App, session: &Session, now: Micros) -> api::SessionTokens {
    let claims = Claims {
        organization: Some(session.organization.uid.to_string()),
        session: Some(session.uid.to_string()),
        actor: session.staff.clone(),
        ..Claims::new(SESSIONS, session.user.to_string(), Role::User)
    };
    let access_expire_time = session.access_expire_time(now);
    let lifetime = Duration::from_micros(u64::try_from(access_expire_time.0 - now.0).unwrap_or_default());
    api::SessionTokens {
        session: Some(session.seen(now)),
        access_token: app.session_keys.signing().mint(&claims, lifetime),
        access_expire_time: Some(access_expire_time.into()),
        refresh_token: app.secret_key.refresh_token(session.uid, session.generation),
    }
}

/// The job that takes sessions away a day after they expired.
pub fn sweep(db: Db) -> Job {
    Job::new("session-sweep", SWEEP_EVERY, move |scope| sweep_once(scope, db.clone()))
}

async fn sweep_once(scope: JobScope, db: Db) -> Result<()> {
    let before = Micros(Micros::now().0 - i64::try_from(KEPT.as_micros()).map_err(Error::internal)?);
    let swept = store::session::sweep(&scope, &db, before).await?;
    if swept > 0 {
        tracing::info!(job = scope.job(), swept, "sessions that expired");
    }
    Ok(())
}
