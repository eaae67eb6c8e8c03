//! What the parts of a batch have in common.

use clientele_api::Violations;
use clientele_api::request::Mutation;

/// How many things are created together.
pub const LARGEST: usize = 100;

/// Notes a batch that is empty or too large; answers whether it is.
pub fn has_wrong_size<Q>(parts: &[Q], violations: &mut Violations) -> bool {
    let wrong = !(1..=LARGEST).contains(&parts.len());
    if wrong {
        violations.add("requests", format!("must be 1 to {LARGEST}, not {}", parts.len()));
    }
    wrong
}

/// Notes what a part, at a path of the request, says for itself that only its batch may say. `own` is the part's parent.
pub fn check_part<Q: Mutation>(part: &Q, own: &str, parent: &str, path: &str, violations: &mut Violations) {
    if !own.is_empty() && own != parent {
        violations.add(format!("{path}.parent"), "must be empty, or the parent of the batch");
    }
    if !part.request_id().is_empty() || part.validate_only() {
        let rule = "must be empty, as validate_only: the batch has its own";
        violations.add(format!("{path}.request_id"), rule);
    }
}
