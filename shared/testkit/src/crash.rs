//! Calls whose server dies before it answers.

use crate::{Caller, Process, Step};
use serde_json::Value;
use uuid::Uuid;

/// Makes the call while its server dies before the commit or between commit and answer, and makes it again on a server that knows only
/// the database: it has happened once, and the answer is that of the first time, whatever has become of the resource meanwhile.
///
/// `serve` starts a server with these fail points, `remembered` counts the requests that the journal remembers. `call` and
/// `meanwhile`, another call that changes the same resource, are made anew for each of the two deaths, from its name.
pub async fn repeat_what_died(
    serve: impl Fn(&str) -> Process,
    remembered: impl AsyncFn() -> i64,
    caller: &Caller,
    call: impl Fn(&str) -> Step,
    meanwhile: impl Fn(&str) -> Step,
) {
    for (death, commits) in [("before-commit", 0), ("after-commit", 1)] {
        let mut call = call(death);
        call.request["requestId"] = Uuid::new_v4().to_string().into();
        let before = remembered().await;
        let mut dying = serve(&format!("{death}=1:kill"));
        let lost = dying
            .calls()
            .await
            .call(call.method, caller, call.request.clone())
            .await;
        lost.expect_err("the answer is lost");
        dying.until_killed().await;
        assert_eq!(remembered().await - before, commits, "{} at {death}", call.method);

        let server = serve("");
        let calls = server.calls().await;
        let again = async |step: &Step| {
            let answer = calls.call(step.method, caller, step.request.clone()).await;
            answer.unwrap_or_else(|status| panic!("{} after {death}: {status:?}", step.method))
        };
        let version = |answer: &Value| answer["version"].clone();
        // What was not committed happens now.
        let first = if commits == 0 { Some(again(&call).await) } else { None };
        let (next, _) = again(&meanwhile(death)).await;
        let (answer, headers) = again(&call).await;
        if let Some((first, _)) = &first {
            assert_eq!(*first, answer, "{} at {death}", call.method);
        }
        assert_ne!(
            version(&answer),
            version(&next),
            "{} at {death}: it is another answer",
            call.method
        );
        let (same, revision) = again(&call).await;
        assert_eq!(answer, same);
        assert_eq!(headers.get("clientele-revision"), revision.get("clientele-revision"));
        assert_eq!(remembered().await - before, 1, "{} at {death}", call.method);
        server.kill();
    }
}
