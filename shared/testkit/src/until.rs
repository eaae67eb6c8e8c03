//! Waiting for what must come about.

use std::time::Duration;
use tokio::time::{interval, timeout};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until the condition holds, at most so long.
pub async fn until(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            if condition().await {
                return;
            }
        }
    };
    timeout(limit, holds)
        .await
        .unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
}
