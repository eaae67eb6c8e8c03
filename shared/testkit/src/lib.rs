//! What the suites of all services stand on: throw-away databases, tokens, servers, and calls made from descriptors.
//!
//! Everything here may panic: that is how a test fails.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on fails"
)]

mod calls;
mod client_user;
mod crash;
mod database;
mod org_feed;
mod org_team;
mod patience;
mod plans;
mod process;
mod proxy;
mod random;
mod seed;
mod server;
mod tokens;
mod until;
mod walk;

pub use calls::{Caller, Calls, reason};
pub use client_user::{ClientUser, end_sessions, hear_of_another, shut_out_and_let_in};
pub use crash::repeat_what_died;
pub use database::{Database, Engine, on_both_engines};
pub use org_feed::{Counted, OrgFeed};
pub use org_team::OrgTeam;
pub use patience::patiently;
pub use plans::{Plan, check_plans_on_postgres, check_plans_on_sqlite, numbered_uid, numbered_uid_of};
pub use process::Process;
pub use proxy::Proxy;
pub use random::for_random_cases;
pub use seed::{mistyped, seed};
pub use server::Running;
pub use tokens::Tokens;
pub use until::until;
pub use walk::{ClientUsers, Step, refuse_client_users, refuse_everybody_else, replay_every_mutation};
