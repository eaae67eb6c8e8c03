//! What every request of a kind can be asked, generated for each from its descriptor.

use crate::access::{Method, Name};
use prost_types::FieldMask;

/// How far a method reaches, known from the patterns of its names.
pub mod level {
    /// Above workspaces.
    #[derive(Debug, Clone, Copy)]
    pub struct Platform;
    /// One workspace.
    #[derive(Debug, Clone, Copy)]
    pub struct Workspace;
    /// One organization.
    #[derive(Debug, Clone, Copy)]
    pub struct Organization;
    /// Any of these, as the caller names it.
    #[derive(Debug, Clone, Copy)]
    pub struct Any;
}

/// The request of exactly one method.
pub trait Request: prost::Message + Default + Clone + 'static {
    /// How far the method reaches.
    type Level: Send + Sync + 'static;
    /// The method.
    const METHOD: &'static Method;
    /// The fields that hold names, with their values.
    fn names(&self) -> Vec<(&'static Name, &str)>;
}

/// The request of a method that changes something.
pub trait Mutation: Request {
    /// The id under which the call is remembered; empty: it is not.
    fn request_id(&self) -> &str;
    /// Whether everything is checked and nothing changed.
    fn validate_only(&self) -> bool;
    /// The request without those two: what must be equal when the id is used again.
    fn body(&self) -> Vec<u8>;
}

/// The request of a method that lists.
pub trait Page: Request {
    /// How many are asked for.
    fn page_size(&self) -> i32;
    /// The token of the page before.
    fn page_token(&self) -> &str;
    /// The request without those two: what must be equal on every page.
    fn body(&self) -> Vec<u8>;
}

/// The request of a method that updates a resource by mask.
pub trait Update: Mutation {
    /// The leaves of the resource.
    const FIELDS: &'static [Field];
    /// The name of the field that holds the resource.
    const RESOURCE: &'static str;
    /// The mask, if one was given.
    fn update_mask(&self) -> Option<&FieldMask>;
    /// The paths of the leaves that are present.
    fn present(&self) -> Vec<&'static str>;
}

/// A message that stands for a resource.
pub trait Resource: prost::Name + Default {
    /// Its name.
    fn name(&self) -> &str;
    /// Its identity.
    fn uid(&self) -> &str;
    /// Counts its changes.
    fn version(&self) -> i64;
}

/// The answer of a mutation.
pub trait Preview: prost::Message + Default + Clone + 'static {
    /// Takes out what a call that only validated can't know: uid, etag and times.
    fn conceal(&mut self);
}

impl Preview for () {
    fn conceal(&mut self) {}
}

/// A leaf of a resource.
#[derive(Debug)]
pub struct Field {
    /// Its path in the resource.
    pub path: &'static str,
    /// What a client may do with it.
    pub behavior: Behavior,
}

/// What a client may do with a field: `google.api.field_behavior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// Set and change it.
    Mutable,
    /// Read it.
    OutputOnly,
    /// Say which resource (`name`) or which version (`etag`) is meant.
    Identifier,
}

#[cfg(test)]
mod tests {
    use crate::methods::BODIES;
    use crate::{DESCRIPTORS, METHODS};
    use prost::Message as _;
    use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, Value};

    const SECRET: &str = "tulip-anvil-mosaic";

    fn is_password(field: &FieldDescriptor) -> bool {
        field.kind() == Kind::String && field.name().ends_with("password")
    }

    /// A hash as fast as that of requests would tell a password to whoever reads the journal.
    #[test]
    fn what_is_hashed_of_a_request_has_no_password() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let mut walked = Vec::new();
        for (name, body) in BODIES {
            let request = pool.get_message_by_name(name).unwrap();
            let mut message = DynamicMessage::new(request.clone());
            for field in request
                .fields()
                .filter(|field| field.kind() == Kind::String && !field.is_list())
            {
                let value = if is_password(&field) { SECRET } else { "something" };
                message.set_field(&field, Value::String(value.to_owned()));
                if is_password(&field) {
                    walked.push(format!("{}.{}", request.name(), field.name()));
                }
            }
            let body = body(&message.encode_to_vec());
            let holds = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!holds(SECRET), "{name}");
            assert!(
                holds("something") || !request.fields().any(|field| is_password(&field)),
                "{name}"
            );
        }
        walked.sort();
        assert_eq!(
            walked,
            [
                "AcceptInvitationRequest.password",
                "ResetPasswordRequest.password",
                "SetPasswordRequest.old_password",
                "SetPasswordRequest.password"
            ]
        );
        assert!(BODIES.len() < METHODS.len());
    }

    #[test]
    fn messages_do_not_show_their_secrets() {
        let secret = || SECRET.to_owned();
        let set = crate::org::SetPasswordRequest {
            name: "workspaces/acme/users/ann".to_owned(),
            password: secret(),
            old_password: secret(),
            ..Default::default()
        };
        let reset = crate::org::ResetPasswordRequest {
            token: secret(),
            password: secret(),
            ..Default::default()
        };
        let issued = crate::org::CreatePasswordResetResponse {
            token: secret(),
            ..Default::default()
        };
        let accept = crate::org::AcceptInvitationRequest {
            token: secret(),
            password: secret(),
            ..Default::default()
        };
        let shown = format!("{set:?} {reset:?} {issued:?} {accept:?}");
        assert!(
            !shown.contains(SECRET) && shown.contains("workspaces/acme/users/ann"),
            "{shown}"
        );
    }
}
