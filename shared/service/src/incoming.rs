//! The messages of a call whose request is a stream.

use crate::caller::ProofExpiry;
use crate::layers::reworded;
use clientele_api::error::ErrorReason;
use clientele_api::request::Mutation;
use clientele_api::{Error, Result, Violations};
use clientele_store::journal::RequestMark;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

/// A client that sends nothing for so long is not waited for any more.
const IDLE: Duration = Duration::from_secs(30);
/// The first message says who may call, so it must come soon.
const FIRST: Duration = Duration::from_secs(5);
/// The longest life of a stream, if its token lives as long.
const LIFE: Duration = Duration::from_secs(3600);
/// When to send everything again.
const AGAIN: Duration = Duration::from_millis(100);

/// The messages of a call whose request is a stream, one by one. The first says on what and how; the others say nothing else about that.
/// It ends when the client has said all, and with an error when the client is silent for too long, when the server drains, and when the
/// proof of who calls does.
pub struct Incoming<Q> {
    messages: Pin<Box<dyn Stream<Item = Result<Q, Status>> + Send>>,
    first: Option<Q>,
    /// Empty: the call is not remembered.
    request_id: String,
    drain: CancellationToken,
    end_of_life: Instant,
    hash: Sha256,
    end: End,
}

/// The hash of all that the client said, known when it has said it.
#[derive(Debug, Clone, Default)]
pub(crate) struct End(Arc<OnceLock<[u8; 32]>>);

impl End {
    /// The mark under which the call is remembered.
    pub(crate) fn mark(&self, id: Uuid) -> Option<RequestMark> {
        self.0.get().map(|hash| RequestMark { id, hash: *hash })
    }
}

impl<Q: Mutation> Incoming<Q> {
    /// Waits for the first message; a client that sends none has sent an empty one. `hash` begins what is remembered of the call.
    pub(crate) async fn open(
        messages: impl Stream<Item = Result<Q, Status>> + Send + 'static,
        expiry: ProofExpiry,
        drain: CancellationToken,
        hash: Sha256,
    ) -> Result<Self> {
        let mut incoming = Self {
            messages: messages.boxed(),
            first: None,
            request_id: String::new(),
            drain,
            end_of_life: Instant::now() + expiry.remaining().min(LIFE),
            hash,
            end: End::default(),
        };
        let first = incoming.receive(FIRST).await?.unwrap_or_default();
        incoming.hash.update(first.body());
        incoming.request_id = first.request_id().to_owned();
        incoming.first = Some(first);
        Ok(incoming)
    }

    /// The first message, until it is taken.
    pub(crate) fn first(&self) -> Option<&Q> {
        self.first.as_ref()
    }

    /// Where the hash of all messages is found at their end.
    pub(crate) fn end(&self) -> End {
        self.end.clone()
    }

    /// The mark under which the call is to be remembered: None if it is not, or if not all messages were taken yet.
    pub fn mark(&self) -> Option<RequestMark> {
        let id = Uuid::parse_str(&self.request_id).ok()?; // read before the call was admitted
        self.end.mark(id)
    }

    /// The next message; None: there are no more.
    pub async fn next(&mut self) -> Result<Option<Q>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(message) = self.receive(IDLE).await? else {
            self.end.0.get_or_init(|| self.hash.clone().finalize().into());
            return Ok(None);
        };
        require_only_more(&message)?;
        // One after the other and nothing between them: how the client parts a list among its messages makes no difference.
        self.hash.update(message.body());
        Ok(Some(message))
    }

    async fn receive(&mut self, patience: Duration) -> Result<Option<Q>> {
        let message = timeout(patience, self.messages.next());
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(ended(ErrorReason::Draining, "the server is shutting down: send everything again, to another one")),
            () = sleep_until(self.end_of_life) => Err(ended(ErrorReason::StreamExpired, "the stream reached its longest life, or its token's: send everything again")),
            message = message => match message {
                Ok(message) => message.transpose().map_err(|status| reworded(&status)),
                Err(_) => Err(idle(patience)),
            },
        }
    }
}

impl<Q> std::fmt::Debug for Incoming<Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// Refuses a later message that says what the first one says for all.
fn require_only_more<Q: Mutation>(message: &Q) -> Result<()> {
    const RULE: &str = "must be said by the first message only";
    let mut violations = Violations::new();
    let named = message.names().into_iter().filter(|(_, name)| !name.is_empty());
    named.for_each(|(rule, _)| violations.add(rule.field, RULE));
    if !message.request_id().is_empty() {
        violations.add("request_id", RULE);
    }
    if message.validate_only() {
        violations.add("validate_only", RULE);
    }
    violations.finish(Some(()))
}

fn ended(reason: ErrorReason, message: &str) -> Error {
    Error::new(reason, format!("{message}; what was written of it stays written")).retry_after(AGAIN)
}

fn idle(patience: Duration) -> Error {
    let message = "the client sent nothing for too long; what was written stays written";
    Error::new(ErrorReason::DeadlineExceeded, message).with("idle_ms", patience.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::assignment::{ImportAgentsRequest, ImportedAgent};
    use futures::stream;

    const ID: &str = "01a20cb6-3a63-755b-9f1d-4c93df7357b0";

    fn message(ids: &[&str]) -> ImportAgentsRequest {
        let agents = ids.iter().map(|id| ImportedAgent {
            agent_id: (*id).to_owned(),
            agent: None,
        });
        ImportAgentsRequest {
            agents: agents.collect(),
            ..Default::default()
        }
    }

    fn first(ids: &[&str]) -> ImportAgentsRequest {
        ImportAgentsRequest {
            parent: "workspaces/acme".to_owned(),
            request_id: ID.to_owned(),
            ..message(ids)
        }
    }

    async fn open(
        messages: Vec<ImportAgentsRequest>,
        expiry: ProofExpiry,
        drain: &CancellationToken,
    ) -> Incoming<ImportAgentsRequest> {
        // After its messages the client is silent, but does not say that it has no more.
        let messages = stream::iter(messages.into_iter().map(Ok)).chain(stream::pending());
        let opened = Incoming::open(messages, expiry, drain.clone(), Sha256::new());
        opened.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_is_not_waited_for() {
        let drain = CancellationToken::new();
        let mut incoming = open(vec![first(&["a"]), message(&["b"])], ProofExpiry::NEVER, &drain).await;
        for id in ["a", "b"] {
            // However long what it said keeps us busy.
            tokio::time::sleep(IDLE * 2).await;
            assert_eq!(incoming.next().await.unwrap().unwrap().agents[0].agent_id, id);
        }
        let began = Instant::now();
        let error = incoming.next().await.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::DeadlineExceeded);
        assert!(
            began.elapsed() >= IDLE && began.elapsed() < IDLE * 2,
            "{:?}",
            began.elapsed()
        );
        assert_eq!(incoming.mark(), None);
        let silent = stream::pending::<Result<ImportAgentsRequest, Status>>();
        let silent = Incoming::open(silent, ProofExpiry::NEVER, drain, Sha256::new()).await;
        assert_eq!(silent.unwrap_err().reason(), ErrorReason::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_the_server_and_with_the_proof_of_who_calls() {
        let drain = CancellationToken::new();
        let mut incoming = open(vec![first(&["a"])], ProofExpiry::NEVER, &drain).await;
        incoming.next().await.unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drain.cancel();
        });
        assert_eq!(incoming.next().await.unwrap_err().reason(), ErrorReason::Draining);

        let drain = CancellationToken::new();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let soon = ProofExpiry(now.as_secs() + 10);
        let mut incoming = open(vec![first(&["a"]), message(&["b"])], soon, &drain).await;
        incoming.next().await.unwrap();
        incoming.next().await.unwrap();
        let began = Instant::now();
        assert_eq!(incoming.next().await.unwrap_err().reason(), ErrorReason::StreamExpired);
        assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn how_a_list_is_parted_among_messages_makes_no_difference() {
        async fn hash(messages: Vec<ImportAgentsRequest>) -> [u8; 32] {
            let messages = stream::iter(messages.into_iter().map(Ok));
            let never = CancellationToken::new();
            let mut incoming = Incoming::open(messages, ProofExpiry::NEVER, never, Sha256::new())
                .await
                .unwrap();
            while incoming.next().await.unwrap().is_some() {}
            incoming.mark().unwrap().hash
        }
        let whole = hash(vec![first(&["a", "b", "c"])]).await;
        for same in [
            vec![first(&[]), message(&["a", "b", "c"])],
            vec![first(&["a"]), message(&[]), message(&["b"]), message(&["c"])],
        ] {
            assert_eq!(hash(same).await, whole);
        }
        for other in [
            vec![first(&["a", "b"])],
            vec![first(&["a", "c", "b"])],
            vec![first(&["a", "b"]), message(&["c", "d"])],
            vec![first(&["ab", "c"])],
        ] {
            assert_ne!(hash(other).await, whole);
        }
    }
}
