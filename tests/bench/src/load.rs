//! Load: callers that each make a call as soon as their last one was answered.

use crate::Bench;
use anyhow::{Context as _, Result};
use std::future::Future;
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::transport::Channel;

/// Before anything is counted: connections, prepared statements and memory are warm.
const WARM_UP: Duration = Duration::from_millis(300);
/// How much longer than asked for a run may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one run came to.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Calls in a second.
    pub(crate) rate: f64,
    /// Half of the calls were answered within this time.
    pub(crate) p50: Duration,
    /// All but one in a hundred were.
    pub(crate) p99: Duration,
    /// Processor time per call: of client, server and database together.
    pub(crate) cpu: Option<Duration>,
}

impl Sample {
    /// Of these latencies, of so many calls in so long.
    pub(crate) fn new(mut latencies: Vec<Duration>, calls: usize, took: Duration, cpu: Option<Duration>) -> Self {
        latencies.sort_unstable();
        Self {
            rate: calls as f64 / took.as_secs_f64(),
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            cpu: cpu.map(|cpu| cpu.div_f64(calls.max(1) as f64)),
        }
    }
}

/// The latency that so many of a hundred calls stayed within.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// Keeps so many calls in flight for so long, spread over the connections.
pub(crate) async fn run<Call, Answer>(
    Bench { cpu, length, .. }: &Bench,
    connections: &[Channel],
    in_flight: usize,
    call: Call,
) -> Result<Sample>
where
    Call: Fn(Channel) -> Answer + Clone + Send + 'static,
    Answer: Future<Output = Result<(), Status>> + Send + 'static,
{
    let begin = Instant::now() + WARM_UP;
    let end = begin + *length;
    let callers = connections.iter().cycle().take(in_flight);
    let callers = callers.map(|connection| tokio::spawn(keep_calling(connection.clone(), call.clone(), begin, end)));
    let callers = callers.collect::<Vec<_>>();

    let measured = async {
        tokio::time::sleep_until(begin.into()).await;
        let spent = cpu.read();
        tokio::time::sleep_until(end.into()).await;
        cpu.since(spent)
    };
    let answered = futures::future::try_join_all(callers);
    let both = futures::future::join(measured, answered);
    let (spent, answered) = tokio::time::timeout(WARM_UP + *length + PATIENCE, both)
        .await
        .context("the calls of a run did not end")?;
    let latencies = answered?.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let calls = latencies.len();
    Ok(Sample::new(latencies, calls, *length, spent))
}

async fn keep_calling<Call, Answer>(
    connection: Channel,
    call: Call,
    begin: Instant,
    end: Instant,
) -> Result<Vec<Duration>, Status>
where
    Call: Fn(Channel) -> Answer,
    Answer: Future<Output = Result<(), Status>>,
{
    let mut latencies = Vec::new();
    loop {
        let sent = Instant::now();
        call(connection.clone()).await?;
        let answered = Instant::now();
        if answered >= end {
            return Ok(latencies);
        }
        if answered >= begin {
            latencies.push(answered - sent);
        }
    }
}
