//! What a call may touch. A store call needs a scope, and only admission mints one.

use crate::caller::Caller;
use crate::share::Place;
use crate::standing::{SignedIn, Standing};
use clientele_api::access::Method;
use clientele_api::error::ErrorReason;
use clientele_api::mask::Mask;
use clientele_api::name::{OrganizationRef, WorkspaceRef};
use clientele_api::request::{Update, level};
use clientele_api::{Error, Result, Uid, Violations};
use clientele_store::journal::{Filter, RequestMark};
use clientele_store::{Author, Revision};
use std::net::IpAddr;
use std::sync::Arc;

/// Proof that a caller may do what the method does on `L`: exactly this workspace or organization, or above them.
#[derive(Debug, Clone)]
pub struct Scope<L> {
    call: Arc<Call>,
    on: L,
}

/// An admitted call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) method: &'static Method,
    pub(crate) workspace: Option<WorkspaceRef>,
    pub(crate) organization: Option<OrganizationRef>,
    pub(crate) request: Option<RequestMark>,
    pub(crate) validate_only: bool,
    pub(crate) traceparent: Option<String>,
    /// The client user who calls, if it is one.
    pub(crate) client: Option<Client>,
    /// The address of the person on whose behalf the call is made.
    pub(crate) client_address: Option<IpAddr>,
    /// What the caller has seen.
    pub(crate) min_revision: Revision,
    /// Names that were remembered rather than read: if they lead to nothing, they are resolved once more.
    pub(crate) remembered: bool,
    /// Held as long as anybody works on the call.
    pub(crate) _place: Place,
}

/// The client user who calls, as it stood when the call was admitted.
#[derive(Debug, Clone)]
pub struct Client {
    /// The user.
    pub user: Uid,
    /// The organization.
    pub organization: Uid,
    /// The session, if it signed in with us.
    pub session: Option<Uid>,
    /// Whether it may see itself and nobody else.
    pub only_itself: bool,
    /// How it stands in the organization.
    pub(crate) standing: Arc<Standing>,
}

impl Client {
    /// As its standing is asked for.
    pub fn signed_in(&self) -> SignedIn {
        SignedIn {
            organization: self.organization,
            user: self.user,
            session: self.session,
        }
    }

    /// Whether it holds this permission.
    pub fn holds(&self, permission: &str) -> bool {
        self.standing.permissions.holds(permission)
    }
}

impl<L> Scope<L> {
    pub(crate) fn mint(call: Call, on: L) -> Self {
        Self {
            call: Arc::new(call),
            on,
        }
    }

    /// The call that was admitted.
    pub(crate) fn call(&self) -> Arc<Call> {
        self.call.clone()
    }

    /// Who calls, as the journal names actors.
    pub fn actor(&self) -> String {
        self.call.caller.actor()
    }

    /// The client user who calls; None for staff, services and operators, and for those who need no token.
    pub fn client(&self) -> Option<&Client> {
        self.call.client.as_ref()
    }

    /// The client user who calls, proven by its own token, also where the method needs none: not staff who logged in as it. For methods
    /// that need no token, nothing but the token was looked at: not how the user stands, nor whether its session goes on.
    pub fn signed_in_user(&self) -> Option<SignedIn> {
        match self.call.caller {
            Caller::User {
                user,
                organization,
                session,
                actor: None,
            } => Some(SignedIn {
                organization,
                user,
                session,
            }),
            _ => None,
        }
    }

    /// The address of the person on whose behalf the call is made: what an internal service says that it is, otherwise that of the
    /// connection. None: a service did not say it.
    pub fn client_address(&self) -> Option<IpAddr> {
        self.call.client_address
    }

    /// Refuses a client user whose standing no longer lets it call: for units, which read it again in their transaction.
    pub fn require_still_allowed(&self, standing: &Standing) -> Result<()> {
        match &self.call.client {
            Some(client) => allow_client(self.call.method, standing, client.only_itself).map(drop),
            None => Ok(()),
        }
    }

    /// Reads the mask of an update. Client users may change the fields that the method opens to them: else PERMISSION_DENIED
    /// `FIELD_NOT_ALLOWED`.
    pub fn mask<Q: Update>(&self, request: &Q) -> Result<Mask> {
        let mut violations = Violations::new();
        let mask = Mask::read(request, &mut violations);
        let mask = violations.finish(Some(mask))?;
        let open = self.call.method.client_paths;
        let closed = mask.paths().iter().find(|path| !open.contains(path));
        match closed {
            Some(field) if self.call.client.is_some() && !open.is_empty() => {
                let message = format!("you can't change {field}, only {}", open.join(", "));
                Err(Error::new(ErrorReason::FieldNotAllowed, message).with("field", field))
            }
            _ => Ok(mask),
        }
    }

    /// What the caller has seen: nothing older may be answered.
    pub fn min_revision(&self) -> &Revision {
        &self.call.min_revision
    }

    /// Whether everything is checked and nothing changed, outside the database too.
    pub fn validate_only(&self) -> bool {
        self.call.validate_only
    }

    /// Who writes, for the journal.
    pub fn author(&self) -> Author {
        Author {
            workspace: self.call.workspace.clone(),
            organization: self.call.organization.clone(),
            actor: self.actor(),
            acting_for: self.call.caller.acting_for(),
            method: self.call.method.path,
            request: self.call.request.clone(),
            validate_only: self.call.validate_only,
            traceparent: self.call.traceparent.clone(),
        }
    }
}

impl Scope<WorkspaceRef> {
    /// The workspace.
    pub fn workspace(&self) -> &WorkspaceRef {
        &self.on
    }

    /// An organization of the workspace that the call names besides.
    pub fn named_organization(&self) -> Option<&OrganizationRef> {
        self.call.organization.as_ref()
    }
}

impl Scope<OrganizationRef> {
    /// The organization.
    pub fn organization(&self) -> &OrganizationRef {
        &self.on
    }
}

/// Whether a method lets a client user of this standing call; answers whether only because the call is about itself.
pub(crate) fn allow_client(method: &Method, standing: &Standing, about_itself: bool) -> Result<bool> {
    standing.require_access()?;
    let holds = |asked: &str| asked == "*" || standing.permissions.holds(asked);
    if method.permissions.iter().any(|asked| holds(asked)) {
        return Ok(false);
    }
    if about_itself && method.permissions.contains(&"self") {
        return Ok(true);
    }
    let asked = method.permissions.join(", ");
    let message = format!("{} needs one of these permissions: {asked}", method.path);
    Err(Error::new(ErrorReason::PermissionMissing, message).with("permissions", asked))
}

/// Above workspaces.
#[derive(Debug, Clone, Copy)]
pub struct Platform;

/// As far as the caller named it.
#[derive(Debug, Clone)]
pub enum Reach {
    /// Above workspaces.
    Platform,
    /// A workspace.
    Workspace(WorkspaceRef),
    /// An organization.
    Organization(OrganizationRef),
}

impl Scope<Reach> {
    /// Whose journal rows it covers.
    pub fn filter(&self) -> Filter {
        match &self.on {
            Reach::Platform => Filter::All,
            Reach::Workspace(workspace) => Filter::Workspace(workspace.uid),
            Reach::Organization(organization) => Filter::Organization(organization.uid),
        }
    }
}

/// What a method's level is in a scope; the names that it takes have been resolved.
pub trait Level: Sized {
    /// What the scope holds.
    type On: Clone + Send + Sync + 'static;
    /// Takes it from the names; None if a name that the level needs was not given.
    fn on(workspace: Option<WorkspaceRef>, organization: Option<OrganizationRef>) -> Option<Self::On>;
}

impl Level for level::Platform {
    type On = Platform;
    fn on(_: Option<WorkspaceRef>, _: Option<OrganizationRef>) -> Option<Platform> {
        Some(Platform)
    }
}

impl Level for level::Workspace {
    type On = WorkspaceRef;
    fn on(workspace: Option<WorkspaceRef>, _: Option<OrganizationRef>) -> Option<WorkspaceRef> {
        workspace
    }
}

impl Level for level::Organization {
    type On = OrganizationRef;
    fn on(_: Option<WorkspaceRef>, organization: Option<OrganizationRef>) -> Option<OrganizationRef> {
        organization
    }
}

impl Level for level::Any {
    type On = Reach;
    fn on(workspace: Option<WorkspaceRef>, organization: Option<OrganizationRef>) -> Option<Reach> {
        Some(match (workspace, organization) {
            (_, Some(organization)) => Reach::Organization(organization),
            (Some(workspace), None) => Reach::Workspace(workspace),
            (None, None) => Reach::Platform,
        })
    }
}
