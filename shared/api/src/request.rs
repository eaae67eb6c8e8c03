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
