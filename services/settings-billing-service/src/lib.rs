//! What the client dashboard of an organization looks like and does.

pub mod domain;
