//! The API in Rust: messages, clients and servers generated from `proto/`, the descriptor set for reflection, and what
//! the protos say besides: who may call a method ([`METHODS`]) and how a request is read ([`Request`], [`Mutation`],
//! [`Page`], [`Update`]).

pub mod access;
pub mod change;
pub mod codec;
pub mod error;
pub mod fold;
pub mod mask;
pub mod name;
pub mod parse;
pub mod permission;
pub mod request;
pub mod time;
pub mod uid;

pub use error::{Error, Result, Violations};
pub use time::Micros;
pub use uid::Uid;

#[allow(missing_docs, unreachable_pub, clippy::all)] // generated: the protos carry the docs
mod generated {
    tonic::include_proto!("_includes");
}

pub use generated::clientele::{
    assignment::v1 as assignment, journal::v1 as journal, org::v1 as org, settings::v1 as settings, r#type::v1 as types,
};
pub use methods::METHODS;

mod methods {
    use crate::access::{Method, Name, StaffRole};
    use crate::request::{Behavior, Field, Mutation, Page, Preview, Request, Resource, Update, level};

    include!(concat!(env!("OUT_DIR"), "/methods.rs"));
}

/// All descriptors with our options and the comments: what reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The method with this path, as in `/clientele.org.v1.OrganizationService/GetOrganization`.
pub fn method(path: &str) -> Option<&'static access::Method> {
    METHODS
        .binary_search_by(|method| method.path.cmp(path))
        .ok()
        .map(|at| &METHODS[at])
}
