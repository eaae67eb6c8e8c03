//! What can be done with organizations.

use super::{App, erasure};
use crate::domain::logo::Logo;
use crate::domain::organization::{NewOrganization, Organization};
use crate::store;
use crate::store::erasure::Erasure;
use crate::store::organization::{After, Doomed, Query, Term};
use clientele_api::error::{ErrorReason, Violations};
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::org::organization::State;
use clientele_api::{Error, Micros, Result, Uid, org as api, parse};
use clientele_service::filter::{self, Operator};
use clientele_service::scope::Scope;
use clientele_store::search::Place;
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded, page};

/// How often another id is tried where a derived one is taken.
const ID_TRIES: usize = 5;

/// Creates an organization; where its id is derived and taken, under another one.
pub async fn create(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::CreateOrganizationRequest,
) -> Result<Answer<api::Organization>> {
    let new = NewOrganization::parse(&request)?;
    let mut id = new.id.id().to_owned();
    let mut tries = 1;
    loop {
        let refusal = match create_as(app, &scope, new.clone(), id.clone()).await {
            Err(error) if error.reason() == ErrorReason::ResourceExists => error,
            Err(error) if error.reason() == ErrorReason::ResourceNotFound => {
                return Err(Error::not_found("Workspace", scope.workspace().name()).because(error));
            }
            done => return done,
        };
        match new.id.with_suffix() {
            Some(other) if tries < ID_TRIES => id = other,
            _ => {
                return Err(refusal.about(
                    "Organization",
                    format!("{}/organizations/{id}", scope.workspace().name()),
                ));
            }
        }
        tries += 1;
    }
}

async fn create_as(
    app: &App,
    scope: &Scope<WorkspaceRef>,
    new: NewOrganization,
    id: String,
) -> Result<Answer<api::Organization>> {
    let author = scope.author();
    let scope = scope.clone();
    let unit = async move |tx: &Tx| {
        let organization = new.into_organization(scope.workspace(), id, Micros::now());
        store::organization::insert(tx, &scope, &organization);
        let message = api::Organization::from(&organization);
        let change = Change::created(&message);
        Ok(Recorded {
            organization: Some(organization.reference()),
            ..Recorded::change(message, change)
        })
    };
    app.journal.write(author, unit).await
}

/// Gets the organization of the scope.
pub async fn get(app: &App, scope: Scope<OrganizationRef>) -> Result<Answer<api::Organization>> {
    let found = store::organization::get(&app.reader, &scope).await?;
    Ok(found.map(|organization| api::Organization::from(&organization)))
}

/// Lists the organizations of the scope's workspace.
pub async fn list(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ListOrganizationsRequest,
) -> Result<Answer<api::ListOrganizationsResponse>> {
    let page = PageRequest::read(&request, scope.workspace().uid)?;
    let query = read_query(&request)?;
    let after = page
        .after
        .as_deref()
        .map(|key| read_key(key, query.by_display_name))
        .transpose()?;
    let rows = store::organization::list(&app.reader, &scope, &query, after.as_ref(), page.size + 1).await?;
    Ok(rows.map(|rows| {
        let key = |last: &Organization| write_key(last, query.by_display_name);
        let (organizations, next_page_token) = page.fill(rows, |row| row.into(), key);
        api::ListOrganizationsResponse {
            organizations,
            next_page_token,
        }
    }))
}

/// Searches the organizations of the scope's workspace.
pub async fn search(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::SearchOrganizationsRequest,
) -> Result<Answer<api::SearchOrganizationsResponse>> {
    let mut violations = Violations::new();
    let typed = violations.check("query", parse::line(request.query.trim(), 1..=200));
    let typed = violations.finish(typed)?;
    let page = PageRequest::read(&request, scope.workspace().uid)?;
    let after = Place::after(&page)?;
    let found = store::organization::search(&app.reader, &scope, &typed, request.show_deleted).await?;
    let (places, more) = found.value.page(after.as_ref(), page.size);
    let Some(last) = places.last() else {
        return Ok(Answer {
            value: api::SearchOrganizationsResponse::default(),
            revision: found.revision,
        });
    };
    let rows = store::organization::read_found(&app.reader, &scope, &places, request.show_deleted).await?;
    Ok(rows.map(|rows| {
        let (organizations, mut next_page_token) = page.fill(rows, |(_, row)| row.into(), |(place, _)| place.to_key());
        if next_page_token.is_empty() && more {
            next_page_token = page.token(&last.to_key());
        }
        api::SearchOrganizationsResponse {
            organizations,
            next_page_token,
        }
    }))
}

/// Changes fields of the organization.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateOrganizationRequest,
) -> Result<Answer<api::Organization>> {
    let mask = scope.mask(&request)?;
    let message = request.organization.unwrap_or_default();
    let etag = message.etag.clone();
    change(app, scope, etag, move |organization| {
        organization.require_not_deleted()?;
        let mut violations = Violations::new();
        let after = organization.update(&message, &mask, &mut violations, Micros::now());
        violations.finish(Some(after))
    })
    .await
}

/// Gives the organization a logo.
pub async fn update_logo(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateLogoRequest,
) -> Result<Answer<api::Organization>> {
    // Refused before anything is decoded or kept; what changes meanwhile, the unit notices.
    let now = store::organization::get(&app.reader, &scope).await?.value;
    now.require_not_deleted()?;
    if scope.client().is_some() {
        now.require_self_edit()?;
    }
    now.check_etag(&request.etag)?;
    let logo = inspect(app, request.content_type, request.content.clone()).await?;
    if !scope.validate_only() {
        app.logos.put(&scope, &logo, request.content).await?;
    }
    change(app, scope, request.etag, move |organization| {
        organization.with_logo(Some(logo.clone()), Micros::now())
    })
    .await
}

/// Proves an image off the async threads, a few at a time. The place is held as long as the work goes on, also when its caller is gone.
async fn inspect(app: &App, content_type: String, content: bytes::Bytes) -> Result<Logo> {
    let place = app.decoders.clone().acquire_owned().await.map_err(Error::internal)?;
    let work = move || {
        let logo = Logo::inspect(&content_type, &content);
        drop(place);
        logo
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

/// Gets the bytes of the logo.
pub async fn get_logo_content(app: &App, scope: Scope<OrganizationRef>) -> Result<Answer<api::LogoContent>> {
    let found = store::organization::get(&app.reader, &scope).await?;
    let Some(logo) = &found.value.logo else {
        return Err(Error::not_found(
            "Logo",
            format!("{}/logo", scope.organization().name()),
        ));
    };
    let content = app.logos.get(&scope, logo).await?;
    Ok(found.map(|organization| api::LogoContent {
        logo: organization.logo.as_ref().map(api::Logo::from),
        content,
    }))
}

/// Takes the logo away.
pub async fn delete_logo(app: &App, scope: Scope<OrganizationRef>, etag: String) -> Result<Answer<api::Organization>> {
    change(app, scope, etag, |organization| {
        organization.with_logo(None, Micros::now())
    })
    .await
}

/// Suspends the organization.
pub async fn suspend(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::SuspendOrganizationRequest,
) -> Result<Answer<api::Organization>> {
    let actor = scope.actor();
    change(app, scope, request.etag, move |organization| {
        organization.suspend(&request.reason, &actor, Micros::now())
    })
    .await
}

/// Ends the suspension.
pub async fn resume(app: &App, scope: Scope<OrganizationRef>, etag: String) -> Result<Answer<api::Organization>> {
    change(app, scope, etag, |organization| organization.resume(Micros::now())).await
}

/// Deletes the organization.
pub async fn delete(app: &App, scope: Scope<OrganizationRef>, etag: String) -> Result<Answer<api::Organization>> {
    change(app, scope, etag, |organization| organization.delete(Micros::now())).await
}

/// Brings the organization back.
pub async fn undelete(app: &App, scope: Scope<OrganizationRef>, etag: String) -> Result<Answer<api::Organization>> {
    change(app, scope, etag, |organization| organization.undelete(Micros::now())).await
}

/// Tells what would go with a deleted organization, or takes it away for good.
pub async fn purge(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::PurgeOrganizationRequest,
) -> Result<Answer<api::PurgeOrganizationResponse>> {
    let counts = store::erasure::count_contents(&app.reader, &scope).await?.value;
    let entries = app.journal.count_of(scope.organization().uid).await?;
    let answer = api::PurgeOrganizationResponse {
        members: counts.members,
        users: counts.users,
        roles: counts.roles,
        teams: counts.teams,
        invitations: counts.invitations,
        journal_entries: entries.cast_signed(),
        purged: request.force,
    };
    let purges = request.force && !scope.validate_only();
    let (author, doomed, now) = (scope.author(), Doomed::named(&scope), Micros::now());
    let erasure = Erasure::of_organization(&doomed, now);
    let begun = erasure.clone();
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock_doomed(tx, &doomed).await?;
        organization.require_deleted()?;
        organization.check_etag(&request.etag)?;
        if !request.force {
            return Ok(Recorded::nothing(answer));
        }
        let change = erasure::begin_purge(tx, &doomed, &begun, &organization, now)?;
        Ok(Recorded::change(answer, change))
    };
    let answer = app.journal.write(author.clone(), unit).await?;
    if purges {
        erasure::go_on(&app.journal, &erasure, author).await;
    }
    Ok(answer)
}

/// Reads the organization, lets the verb make its next version, and writes that. A verb that changes nothing answers its equal.
async fn change<Verb>(
    app: &App,
    scope: Scope<OrganizationRef>,
    etag: String,
    verb: Verb,
) -> Result<Answer<api::Organization>>
where
    Verb: Fn(&Organization) -> Result<Organization> + Clone + Send + Sync + 'static,
{
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let before = store::organization::read(tx, &scope).await?;
        if store::standing::confirm(tx, &scope).await?.is_some() {
            before.require_self_edit()?;
        }
        before.check_etag(&etag)?;
        let after = verb(&before)?;
        let message = api::Organization::from(&after);
        if after == before {
            return Ok(Recorded::nothing(message));
        }
        store::organization::update(tx, &scope, &before, &after);
        let change = describe(&before, &after, &message);
        Ok(Recorded::change(message, change))
    };
    app.journal.write(author, unit).await
}

fn describe(before: &Organization, after: &Organization, message: &api::Organization) -> Change {
    let old = api::Organization::from(before);
    match (before.state(), after.state()) {
        (State::Deleted, State::Deleted) => Change::updated(&old, message, before.changed_fields(after)),
        (State::Deleted, _) => Change::undeleted(&old, message),
        (_, State::Deleted) => Change::deleted(&old, message),
        _ => Change::updated(&old, message, before.changed_fields(after)),
    }
}

fn read_query(request: &api::ListOrganizationsRequest) -> Result<Query> {
    let (by_display_name, descending) = match request.order_by.as_str() {
        "" | "create_time" => (false, false),
        "create_time desc" => (false, true),
        "display_name" => (true, false),
        "display_name desc" => (true, true),
        _ => {
            return Err(Error::field(
                "order_by",
                "must be `create_time` or `display_name`, alone or followed by ` desc`",
            ));
        }
    };
    let terms = filter::parse(&request.filter)?;
    Ok(Query {
        show_deleted: request.show_deleted,
        terms: terms.iter().map(read_term).collect::<Result<_>>()?,
        by_display_name,
        descending,
    })
}

fn read_term(term: &filter::Term) -> Result<Term> {
    let value = || term.value.clone();
    match (term.field.as_str(), term.operator) {
        ("state", Operator::Equal) => {
            let state = State::from_str_name(&format!("STATE_{}", term.value));
            let state = state.filter(|state| *state != State::Unspecified);
            let state = state.ok_or_else(|| filter::malformed("state must be ACTIVE, SUSPENDED or DELETED"))?;
            Ok(Term::State(state))
        }
        ("external_id", Operator::Equal) => Ok(Term::ExternalId(value())),
        ("contact_email", Operator::Equal) => Ok(Term::ContactEmail(value())),
        ("client_access_enabled", Operator::Equal) => {
            let enabled = term.value.parse();
            let enabled = enabled.map_err(|_| filter::malformed("client_access_enabled must be true or false"))?;
            Ok(Term::ClientAccessEnabled(enabled))
        }
        _ => Err(filter::unknown(term)),
    }
}

/// The key of a page: the uid, and behind it the display name where that is the order.
fn write_key(last: &Organization, by_display_name: bool) -> Vec<u8> {
    let display_name = if by_display_name {
        last.display_name.as_bytes()
    } else {
        &[]
    };
    [last.uid.0.as_bytes(), display_name].concat()
}

fn read_key(key: &[u8], by_display_name: bool) -> Result<After> {
    let (uid, display_name) = key.split_at_checked(16).ok_or_else(page::invalid)?;
    if !by_display_name && !display_name.is_empty() {
        return Err(page::invalid());
    }
    let uid = uuid::Uuid::from_slice(uid).map_err(|_| page::invalid())?;
    let display_name = String::from_utf8(display_name.to_vec()).map_err(|_| page::invalid())?;
    // Tokens are not signed: nothing but what a display name may be goes to the database.
    let display_name = parse::line(&display_name, 0..=200).map_err(|_| page::invalid())?;
    Ok(After {
        uid: Uid(uid),
        display_name,
    })
}
