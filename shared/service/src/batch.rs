//! What the parts of a batch have in common.

use clientele_api::name::Parts;
use clientele_api::request::Mutation;
use clientele_api::{Result, Violations};

/// How many things are got or created together.
pub const LARGEST: usize = 100;

/// The names of what is to be got together: of this form, and in the parent.
pub fn read_names<'n>(names: &'n [String], parent: &str, pattern: &str) -> Result<Vec<Parts<'n>>> {
    let mut violations = Violations::new();
    if !(1..=LARGEST).contains(&names.len()) {
        violations.add("names", format!("must be 1 to {LARGEST}, not {}", names.len()));
    }
    let mut parts = Vec::new();
    for (at, name) in names.iter().take(LARGEST).enumerate() {
        let path = format!("names[{at}]");
        let Some(read) = violations.check(&path, Parts::parse(name, &[pattern])) else {
            continue;
        };
        if !name.starts_with(&format!("{parent}/")) {
            violations.add(path, "must be in the parent");
        }
        parts.push(read);
    }
    violations.finish(Some(parts))
}

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
