//! What can be done with workspaces.

use super::App;
use crate::domain::workspace::{NewWorkspace, Workspace};
use crate::store;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Micros, Result, Uid, org as api};
use clientele_service::scope::{Platform, Scope};
use clientele_store::tx::Tx;
use clientele_store::{Answer, Author, PageRequest, Recorded};

/// Creates a workspace.
pub async fn create(
    app: &App,
    scope: Scope<Platform>,
    request: api::CreateWorkspaceRequest,
) -> Result<Answer<api::Workspace>> {
    let new = NewWorkspace::parse(&request)?;
    let name = format!("workspaces/{}", new.id);
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let workspace = new.into_workspace(Micros::now());
        store::workspace::insert(tx, &scope, &workspace);
        let message = api::Workspace::from(&workspace);
        let change = Change::created(&message);
        Ok(Recorded::change(message, change))
    };
    app.journal
        .write(author, unit)
        .await
        .map_err(|error| match error.reason() {
            ErrorReason::ResourceExists => error.about("Workspace", name),
            _ => error,
        })
}

/// Changes fields of the workspace.
pub async fn update(
    app: &App,
    scope: Scope<WorkspaceRef>,
    request: api::UpdateWorkspaceRequest,
) -> Result<Answer<api::Workspace>> {
    let mask = scope.mask(&request)?;
    let message = request.workspace.unwrap_or_default();
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let before = store::workspace::read(tx, &scope).await?;
        before.check_etag(&message.etag)?;
        let after = before.update(&message, &mask, Micros::now())?;
        let answer = api::Workspace::from(&after);
        if after == before {
            return Ok(Recorded::nothing(answer));
        }
        store::workspace::update(tx, &scope, &before, &after);
        let change = Change::updated(&api::Workspace::from(&before), &answer, before.changed_fields(&after));
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}

/// Takes a workspace away for good in which there is nothing.
pub async fn delete(app: &App, scope: Scope<WorkspaceRef>, request: api::DeleteWorkspaceRequest) -> Result<Answer<()>> {
    let author = Author {
        workspace: None, // above workspaces, like the call that created it: it is remembered where this one is gone
        ..scope.author()
    };
    let unit = async move |tx: &Tx| {
        let workspace = store::workspace::lock(tx, &scope).await?;
        workspace.check_etag(&request.etag)?;
        workspace.require_empty(store::workspace::contents(tx, &scope).await?)?;
        store::workspace::delete(tx, &scope);
        let change = Change::purged(&api::Workspace::from(&workspace), workspace.version + 1);
        Ok(Recorded::change((), change))
    };
    app.journal.write(author, unit).await
}

/// Gets the workspace of the scope.
pub async fn get(app: &App, scope: Scope<WorkspaceRef>) -> Result<Answer<api::Workspace>> {
    let found = store::workspace::get(&app.reader, &scope).await?;
    let name = || scope.workspace().name();
    found.try_map(|workspace| {
        workspace
            .as_ref()
            .map(api::Workspace::from)
            .ok_or_else(|| Error::not_found("Workspace", name()))
    })
}

/// Lists the workspaces.
pub async fn list(
    app: &App,
    scope: Scope<Platform>,
    request: api::ListWorkspacesRequest,
) -> Result<Answer<api::ListWorkspacesResponse>> {
    let page = PageRequest::read(&request, Uid::NIL)?;
    let rows = store::workspace::list(&app.reader, &scope, page.after_uid()?, page.size + 1).await?;
    Ok(rows.map(|rows| {
        let (workspaces, next_page_token) = page.fill(
            rows,
            |row| row.into(),
            |last: &Workspace| last.uid.0.as_bytes().to_vec(),
        );
        api::ListWorkspacesResponse {
            workspaces,
            next_page_token,
        }
    }))
}
