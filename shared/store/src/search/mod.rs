//! Search as people type: by words in any order, their beginnings and their middles, with a typo; from an index, in one workspace.
//!
//! What a row is found by are [`Keys`], made of its texts when it is written: numbers that stand for the pieces of its words. The database
//! only finds the rows that have certain keys, at most [`MOST`]; how well they fit is judged here, so both engines give the same order.

mod index;
mod keys;
mod query;

pub use index::{Findings, Found, Index, MOST, Place};
pub use keys::{Keys, Text};
pub use query::{Fit, Query, Rank};
