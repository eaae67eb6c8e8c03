//! Refusals: one type from the domain to the wire. A reason decides the status code; the details carry the figures.

pub use crate::types::ErrorReason;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// An error travels in headers, of which clients take 16 KiB: so many violations at the most,
const MOST_VIOLATIONS: usize = 16;
/// and of each so many characters, since it may quote what the caller sent,
pub const LONGEST_RULE: usize = 160;
/// and so many of the message.
const LONGEST_MESSAGE: usize = 400;

/// What the functions of all layers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The domain of every `google.rpc.ErrorInfo` of ours.
pub const DOMAIN: &str = "clientele";

/// A refusal: its reason, a sentence that says what to do, and the figures.
#[derive(Clone)]
pub struct Error(Box<Refusal>);

#[derive(Clone)]
struct Refusal {
    reason: ErrorReason,
    message: String,
    metadata: BTreeMap<String, String>,
    violations: Vec<Violation>,
    resource: Option<(&'static str, String)>,
    retry_after: Option<Duration>,
    cause: Option<String>,
}

/// A field that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request.
    pub field: String,
    /// The rule, worded as what the field must be.
    pub description: String,
}

impl Error {
    /// A refusal for this reason.
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            resource: None,
            retry_after: None,
            cause: None,
        }))
    }

    /// A fault of ours. The cause goes to the log and nowhere else.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(
            ErrorReason::Internal,
            "the service failed; its log has the cause under the trace id of this call",
        )
        .because(cause)
    }

    /// NOT_FOUND for a resource: it does not exist or is not the caller's.
    pub fn not_found(resource_type: &'static str, name: impl Into<String>) -> Self {
        let name = name.into();
        Self::new(
            ErrorReason::ResourceNotFound,
            format!("{resource_type} {name:?} does not exist, or is not yours"),
        )
        .about(resource_type, name)
    }

    /// INVALID_ARGUMENT for one field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Violations::one(field, description)
    }

    /// ABORTED, because the caller's etag is not the present one.
    pub fn etag_mismatch(resource: impl Into<String>) -> Self {
        let resource = resource.into();
        Self::new(
            ErrorReason::EtagMismatch,
            format!("{resource:?} changed since its etag was read: read it again"),
        )
        .with("resource", resource)
    }

    /// Adds a figure or name to the metadata of the ErrorInfo.
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.0.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Names the resource that it is about.
    pub fn about(mut self, resource_type: &'static str, name: impl Into<String>) -> Self {
        self.0.resource = Some((resource_type, name.into()));
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Notes the cause for the log; it never leaves the process.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// Why.
    pub fn reason(&self) -> ErrorReason {
        self.0.reason
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The cause, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The fields that break their rules.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// Whether it says that a resource of one of these types was not found.
    pub fn is_about(&self, resource_types: &[&str]) -> bool {
        let about = self
            .0
            .resource
            .as_ref()
            .is_some_and(|(resource_type, _)| resource_types.contains(resource_type));
        about && self.0.reason == ErrorReason::ResourceNotFound
    }

    /// The status code of its reason.
    pub fn code(&self) -> Code {
        code(self.0.reason)
    }
}

/// The one table of reasons and their codes.
pub fn code(reason: ErrorReason) -> Code {
    use ErrorReason as R;
    match reason {
        R::Unspecified | R::Internal => Code::Internal,
        R::MethodUnknown => Code::Unimplemented,
        R::MalformedMessage
        | R::InvalidFields
        | R::PageTokenInvalid
        | R::RequestIdReused
        | R::ImageInvalid
        | R::InvalidHeader => Code::InvalidArgument,
        R::CursorOutOfRange => Code::OutOfRange,
        R::MessageTooLarge | R::LimitReached | R::TokenIssuedRecently | R::TooManyAttempts => Code::ResourceExhausted,
        R::TokenMissing | R::TokenInvalid | R::TokenExpired | R::SessionEnded | R::CredentialsInvalid => {
            Code::Unauthenticated
        }
        R::CallerNotAllowed | R::AccessDenied | R::PermissionMissing | R::GrantNotHeld | R::FieldNotAllowed => {
            Code::PermissionDenied
        }
        R::ResourceNotFound | R::RevisionNotFound => Code::NotFound,
        R::ResourceExists | R::ExternalIdTaken | R::EmailTaken | R::TabIdUsed | R::ShortCodeTaken => {
            Code::AlreadyExists
        }
        R::EtagMismatch | R::Contention => Code::Aborted,
        R::OrganizationSuspended
        | R::OrganizationNotSuspended
        | R::OrganizationDeleted
        | R::OrganizationNotDeleted
        | R::AgentArchived
        | R::AgentNotArchived
        | R::AgentNotAssigned
        | R::SettingsConflict
        | R::SelfEditDisabled
        | R::UserDisabled
        | R::UserNotDisabled
        | R::MemberSuspended
        | R::MemberNotSuspended
        | R::MemberRemoved
        | R::LastOrgAdmin
        | R::RoleBuiltIn
        | R::RoleInUse
        | R::InvitationNotPending
        | R::InviterLostRight
        | R::SignInRequired
        | R::WorkspaceNotEmpty
        | R::AgentAssigned
        | R::CannedResponsesDisabled
        | R::NoOneOnline => Code::FailedPrecondition,
        R::DeadlineExceeded => Code::DeadlineExceeded,
        R::Overloaded
        | R::DatabaseUnavailable
        | R::NotCaughtUp
        | R::Draining
        | R::OutcomeUnknown
        | R::StreamExpired
        | R::StorageUnavailable => Code::Unavailable,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = error.code();
        let mut refusal = *error.0;
        refusal.message = shortened(refusal.message, LONGEST_MESSAGE);
        let reason = refusal.reason.short_name();
        let mut details = ErrorDetails::with_error_info(
            reason,
            DOMAIN,
            refusal
                .metadata
                .into_iter()
                .collect::<std::collections::HashMap<_, _>>(),
        );
        for violation in refusal.violations {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        let subject = refusal.resource.as_ref().map_or("", |(_, name)| name).to_owned();
        match code {
            Code::FailedPrecondition => {
                details.add_precondition_failure_violation(reason, subject, refusal.message.as_str());
            }
            Code::ResourceExhausted => {
                details.add_quota_failure_violation(subject, refusal.message.as_str());
            }
            _ => {}
        }
        if let Some((resource_type, name)) = refusal.resource {
            details.set_resource_info(resource_type, name, "", refusal.message.as_str());
        }
        if let Some(delay) = refusal.retry_after {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(code, refusal.message, details)
    }
}

fn shortened(mut text: String, characters: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason.short_name(), self.0.message)?;
        for violation in &self.0.violations {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        self.0
            .cause
            .as_ref()
            .map_or(Ok(()), |cause| write!(f, " (cause: {cause})"))
    }
}

impl std::error::Error for Error {}

impl ErrorReason {
    /// The reason as ErrorInfo carries it: without the enum's prefix.
    pub fn short_name(self) -> &'static str {
        self.as_str_name().trim_start_matches("ERROR_REASON_")
    }
}

/// Collects every violation of a request, so that all of them are answered at once.
#[derive(Debug, Default)]
#[must_use]
pub struct Violations(Vec<Violation>);

/// What a value must be, said by the constructor that refused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub String);

impl Invalid {
    /// The rule that was broken, worded as what the value must be.
    pub fn new(rule: impl Into<String>) -> Self {
        Self(rule.into())
    }
}

impl Violations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The error for one field.
    fn one(field: impl Into<String>, description: impl Into<String>) -> Error {
        let mut violations = Self::new();
        violations.add(field, description);
        violations.into_error()
    }

    /// Notes that a field breaks its rule. Beyond a number that anybody can read, further ones are left out.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.0.len() < MOST_VIOLATIONS {
            self.0.push(Violation {
                field: field.into(),
                description: shortened(description.into(), LONGEST_RULE),
            });
        }
    }

    /// Takes the parsed value, or notes why there is none.
    pub fn check<T>(&mut self, field: &str, parsed: std::result::Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|Invalid(rule)| self.add(field, rule)).ok()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value, if no field broke a rule; else INVALID_ARGUMENT `INVALID_FIELDS` with all of them.
    ///
    /// `value` is an Option, since a value that could not be parsed left its violation here.
    pub fn finish<T>(self, value: Option<T>) -> Result<T> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.into_error()),
        }
    }

    fn into_error(self) -> Error {
        let mut fields: Vec<&str> = self.0.iter().map(|violation| violation.field.as_str()).collect();
        fields.dedup();
        let mut error = Error::new(
            ErrorReason::InvalidFields,
            format!("these fields break their rules: {}", fields.join(", ")),
        );
        error.0.violations = self.0;
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_fits_into_the_headers_that_clients_take() {
        let mut violations = Violations::new();
        for at in 0..1_000 {
            violations.add(format!("field_{at}"), "🍞".repeat(10_000));
        }
        let status: Status = violations.finish(None::<()>).unwrap_err().into();
        let encoded = status.details().len() * 4 / 3 + status.message().len() * 3;
        assert!(encoded < 15 * 1024, "{encoded} bytes");
    }
}
