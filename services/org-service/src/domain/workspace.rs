//! Workspaces: the accounts of agencies.

use clientele_api::error::ErrorReason;
use clientele_api::mask::Mask;
use clientele_api::name::WorkspaceRef;
use clientele_api::{Error, Micros, Result, Uid, Violations, org as api, parse};

/// The account of an agency.
#[derive(Debug, Clone, PartialEq)]
pub struct Workspace {
    /// Its identity.
    pub uid: Uid,
    /// Its id in names.
    pub id: String,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was created.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// The name that people see.
    pub display_name: String,
}

/// How much of a workspace there still is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Organizations, deleted ones too.
    pub organizations: u64,
    /// Users.
    pub users: u64,
    /// What is being taken away for good.
    pub erasures: u64,
}

/// A workspace that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewWorkspace {
    /// Its id in names.
    pub id: String,
    /// The name that people see.
    pub display_name: String,
}

impl NewWorkspace {
    /// Reads the request.
    pub fn parse(request: &api::CreateWorkspaceRequest) -> Result<Self> {
        let mut violations = Violations::new();
        let id = violations.check("workspace_id", parse::resource_id(&request.workspace_id));
        let given = request
            .workspace
            .as_ref()
            .map_or("", |workspace| workspace.display_name());
        let display_name = read_display_name(given, &mut violations);
        let new = id.zip(display_name).map(|(id, display_name)| Self { id, display_name });
        violations.finish(new)
    }

    /// The workspace that comes of it.
    pub fn into_workspace(self, now: Micros) -> Workspace {
        Workspace {
            uid: Uid::new(),
            id: self.id,
            version: 1,
            create_time: now,
            update_time: now,
            display_name: self.display_name,
        }
    }
}

impl Workspace {
    /// `workspaces/{workspace}`.
    pub fn name(&self) -> String {
        self.reference().name()
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs.
    pub fn update(&self, message: &api::Workspace, mask: &Mask, now: Micros) -> Result<Workspace> {
        let mut violations = Violations::new();
        let mut workspace = self.clone();
        if mask.has("display_name") {
            let display_name = read_display_name(message.display_name(), &mut violations);
            workspace.display_name = display_name.unwrap_or_default();
        }
        if workspace != *self {
            workspace.version += 1;
            workspace.update_time = now;
        }
        violations.finish(Some(workspace))
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Workspace) -> Vec<String> {
        let differs = self.display_name != after.display_name;
        differs.then(|| "display_name".to_owned()).into_iter().collect()
    }

    /// Refuses to take it away while there is something of it.
    pub fn require_empty(&self, contents: Contents) -> Result<()> {
        if contents == Contents::default() {
            return Ok(());
        }
        let Contents {
            organizations,
            users,
            erasures,
        } = contents;
        let name = self.name();
        let message = format!(
            "{name:?} has {organizations} organizations and {users} users, and {erasures} erasures are not at their end: purge \
             its organizations and delete its users first"
        );
        Err(Error::new(ErrorReason::WorkspaceNotEmpty, message)
            .with("organizations", organizations)
            .with("users", users)
            .with("erasures", erasures)
            .about("Workspace", name))
    }

    /// What other resources know of it.
    pub fn reference(&self) -> WorkspaceRef {
        WorkspaceRef {
            uid: self.uid,
            id: self.id.clone(),
        }
    }
}

fn read_display_name(given: &str, violations: &mut Violations) -> Option<String> {
    violations.check("workspace.display_name", parse::line(given, 1..=200))
}

impl From<&Workspace> for api::Workspace {
    fn from(workspace: &Workspace) -> Self {
        Self {
            name: workspace.name(),
            uid: workspace.uid.to_string(),
            version: workspace.version,
            etag: workspace.uid.etag(workspace.version),
            create_time: Some(workspace.create_time.into()),
            update_time: Some(workspace.update_time.into()),
            display_name: Some(workspace.display_name.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, display_name: Option<&str>) -> api::CreateWorkspaceRequest {
        api::CreateWorkspaceRequest {
            workspace_id: id.to_owned(),
            workspace: Some(api::Workspace {
                name: "ignored".to_owned(),
                display_name: display_name.map(str::to_owned),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_new_workspace_is_its_first_version() {
        let new = NewWorkspace::parse(&request("acme", Some("Acme"))).unwrap();
        let workspace = new.into_workspace(Micros(5));
        let message = api::Workspace::from(&workspace);
        assert_eq!(message.name, "workspaces/acme");
        assert_eq!(message.uid, workspace.uid.to_string());
        assert_eq!(message.etag, workspace.uid.etag(1));
        assert_eq!((message.version, message.display_name()), (1, "Acme"));
        assert_eq!(message.create_time, Some(Micros(5).into()));
    }

    #[test]
    fn every_violation_is_answered() {
        let error = NewWorkspace::parse(&request("A", None)).unwrap_err();
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["workspace_id", "workspace.display_name"]);
        assert!(NewWorkspace::parse(&api::CreateWorkspaceRequest::default()).is_err());
    }
}
