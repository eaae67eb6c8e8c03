//! What can be done with users.

use super::App;
use super::erasure::{self, Places};
use crate::domain::user::{Email, User};
use crate::store;
use crate::store::erasure::Erasure;
use crate::store::user::Term;
use clientele_api::journal::Change;
use clientele_api::name::{WorkspaceRef, last_id};
use clientele_api::org::user::State;
use clientele_api::{Error, Micros, Result, Uid, Violations, org as api};
use clientele_service::filter::{self, Operator};
use clientele_service::scope::Scope;
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded};
use std::slice;

/// Gets a user.
pub async fn get(app: &App, scope: Scope<WorkspaceRef>, name: &str) -> Result<Answer<api::User>> {
    let found = store::user::get(&app.reader, &scope, user_id(&scope, name)?).await?;
    Ok(found.map(|user| api::User::from(&user)))
}

/// Lists the users of the workspace.
pub async fn list(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::ListUsersRequest,
) -> Result<Answer<api::ListUsersResponse>> {
    let page = PageRequest::read(&request, scope.workspace().uid)?;
    let terms = filter::parse(&request.filter)?;
    let terms = terms.iter().map(read_term).collect::<Result<Vec<_>>>()?;
    let rows = store::user::list(&app.reader, &scope, &terms, page.after_uid()?, page.size + 1).await?;
    Ok(rows.map(|rows| {
        let (users, next_page_token) = page.fill(rows, |row| row.into(), |last: &User| last.uid.0.as_bytes().to_vec());
        api::ListUsersResponse { users, next_page_token }
    }))
}

fn read_term(term: &filter::Term) -> Result<Term> {
    match (term.field.as_str(), term.operator) {
        ("state", Operator::Equal) => match State::from_str_name(&format!("STATE_{}", term.value)) {
            Some(state) if state != State::Unspecified => Ok(Term::State(state)),
            _ => Err(filter::malformed("state must be ACTIVE or DISABLED")),
        },
        ("email", Operator::Equal) => Ok(Term::Email(term.value.clone())),
        _ => Err(filter::unknown(term)),
    }
}

/// Changes fields of a user.
pub async fn update(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::UpdateUserRequest,
) -> Result<Answer<api::User>> {
    let mask = scope.mask(&request)?;
    let message = request.user.unwrap_or_default();
    let (name, etag) = (message.name.clone(), message.etag.clone());
    change(app, scope, name, etag, move |user| {
        let mut violations = Violations::new();
        let after = user.update(&message, &mask, &mut violations, Micros::now());
        violations.finish(Some(after))
    })
    .await
}

/// Tells whether an email is free.
pub async fn check_email(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::CheckEmailRequest,
) -> Result<Answer<api::CheckEmailResponse>> {
    let mut violations = Violations::new();
    let email = violations.check("email", Email::parse(&request.email));
    let email = violations.finish(email)?;
    let found = store::user::find_by_email(&app.reader, &scope, &email).await?;
    Ok(found.map(|user| api::CheckEmailResponse {
        available: user.is_none(),
        user: user.map(|user| user.name()).unwrap_or_default(),
    }))
}

/// Shuts a user out.
pub async fn disable(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::DisableUserRequest,
) -> Result<Answer<api::User>> {
    change(app, scope, request.name, request.etag, |user| {
        user.disable(Micros::now())
    })
    .await
}

/// Lets a user in again.
pub async fn enable(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::EnableUserRequest,
) -> Result<Answer<api::User>> {
    change(app, scope, request.name, request.etag, |user| {
        user.enable(Micros::now())
    })
    .await
}

/// Erases a user.
pub async fn delete(app: &App, scope: Scope<WorkspaceRef>, request: api::DeleteUserRequest) -> Result<Answer<()>> {
    let uid = user_id(&scope, &request.name)?;
    let (author, validate_only) = (scope.author(), scope.validate_only());
    let now = Micros::now();
    let erasure = Erasure::of_user(&scope, now);
    let begun = erasure.clone();
    let unit = async move |tx: &Tx| {
        let places = Places::lock(tx, &begun, uid).await?;
        let user = store::user::lock(tx, &scope, uid).await?;
        user.check_etag(&request.etag)?;
        store::erasure::begin(tx, &begun);
        store::erasure::add(tx, &begun, slice::from_ref(&user));
        store::user::withdraw(tx, &begun, slice::from_ref(&user), now);
        let change = Change::purged(&api::User::from(&user), user.version + 1);
        Ok(Recorded {
            elsewhere: places.leave(tx, &begun).await?,
            ..Recorded::change((), change)
        })
    };
    let answer = app.journal.write(author.clone(), unit).await?;
    if !validate_only {
        erasure::go_on(&app.journal, &erasure, author).await;
    }
    Ok(answer)
}

/// Reads the user, lets the verb make its next version, and writes that. A verb that changes nothing answers its equal.
async fn change<Verb>(
    app: &App,
    scope: Scope<WorkspaceRef>,
    name: String,
    etag: String,
    verb: Verb,
) -> Result<Answer<api::User>>
where
    Verb: Fn(&User) -> Result<User> + Clone + Send + Sync + 'static,
{
    let uid = user_id(&scope, &name)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        store::standing::confirm(tx, &scope).await?;
        let before = store::user::read(tx, &scope, uid).await?;
        before.check_etag(&etag)?;
        let after = verb(&before)?;
        let message = api::User::from(&after);
        if after == before {
            return Ok(Recorded::nothing(message));
        }
        store::user::update(tx, &scope, &before, &after);
        let change = Change::updated(&api::User::from(&before), &message, before.changed_fields(&after));
        Ok(Recorded::change(message, change))
    };
    app.journal.write(author, unit).await
}

/// The user in a name, or in one that can't be.
pub(super) fn user_id(scope: &Scope<WorkspaceRef>, name: &str) -> Result<Uid> {
    let id = last_id(name);
    Uid::parse(id).ok_or_else(|| Error::not_found("User", format!("{}/users/{id}", scope.workspace().name())))
}
