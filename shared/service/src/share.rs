//! A fair share of the calls in flight for each workspace, so that a noisy one starves nobody.

use clientele_api::error::ErrorReason;
use clientele_api::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// When to try again: most calls take far less.
const RETRY: Duration = Duration::from_millis(100);

/// The places of a server. They are parted among the workspaces that have calls in flight, and one part stays free for whoever comes
/// next: of 1,024 places a workspace alone has 512, each of two 341.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    places: usize,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// A place that a call holds; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    workspace: String,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

impl Shares {
    pub(crate) fn of(places: usize) -> Self {
        Self {
            places,
            taken: Arc::default(),
        }
    }

    /// A place for a call on the workspace with this id; empty for those above workspaces.
    pub(crate) fn take(&self, workspace: &str) -> Result<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let held = taken.get(workspace).copied().unwrap_or(0);
        let workspaces = taken.len() + usize::from(held == 0);
        let share = (self.places / (workspaces + 1)).max(1);
        if held >= share {
            let message = "the workspace has its share of the calls in flight: try again";
            return Err(Error::new(ErrorReason::Overloaded, message)
                .with("limit", share)
                .retry_after(RETRY));
        }
        taken.insert(workspace.to_owned(), held + 1);
        Ok(Place {
            workspace: workspace.to_owned(),
            taken: self.taken.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.workspace) {
            Some(held) if *held > 1 => *held -= 1,
            _ => {
                taken.remove(&self.workspace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_workspace_leaves_room_for_the_others() {
        let shares = Shares::of(12);
        let (noisy, quiet) = ("noisy", "quiet");
        let mut places: Vec<Place> = (0..6).map(|_| shares.take(noisy).unwrap()).collect();
        assert_eq!(shares.take(noisy).unwrap_err().reason(), ErrorReason::Overloaded);
        let other: Vec<Place> = (0..4).map(|_| shares.take(quiet).unwrap()).collect();
        assert!(shares.take(quiet).is_err());
        // With two of them the noisy one may hold four.
        places.truncate(4);
        assert!(shares.take(noisy).is_err());
        drop(other);
        assert!(shares.take(noisy).is_ok());
        drop(places);
        assert!(shares.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn everybody_has_at_least_one_place() {
        let shares = Shares::of(1);
        let places: Vec<Place> = (0..5).map(|at| shares.take(&at.to_string()).unwrap()).collect();
        assert_eq!(places.len(), 5);
    }
}
