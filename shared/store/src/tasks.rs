//! Tasks in the background. A service can't do without any of them.

use std::future::Future;
use tokio_util::sync::CancellationToken;

/// Runs a task until `stop`. If it ends before, by a panic or by itself, it stops everything: a process that is started anew is better
/// than one that has quietly stopped to hear.
pub fn spawn(stop: CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    let ended = stop.clone().drop_guard();
    tokio::spawn(async move {
        let _ended = ended;
        stop.run_until_cancelled_owned(task).await;
    });
}
