//! The lane in which passwords are hashed: a few threads of their own that give way to everything else, and a queue that is never
//! longer than callers would wait. However many passwords are sent, other calls hardly notice.

use crate::domain::password::Memory;
use anyhow::Context as _;
use clientele_api::error::ErrorReason;
use clientele_api::{Error, Result};
use std::fmt;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// So many jobs wait at the most: a thread does them in half a second, and in some five if all are wrong guesses.
const WAITING: usize = 32;
/// When to try again if so many wait already.
const AGAIN: Duration = Duration::from_secs(1);
/// As nice as a thread can be: with others that want its core, it gets a seventieth of it.
const NICENESS: i32 = 19;

/// After a wrong guess a thread rests so many times as long as that took: however many guess, they get a tenth of a core from each
/// thread. Being nice is not enough: a core that others leave for a moment is not theirs at once again, and its caches are full.
const REST: u32 = 9;
/// But no longer than this: on a busy machine a nice thread takes longer than it works.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// Answers whether the thread rests afterwards.
type Job = Box<dyn FnOnce(&mut Memory) -> bool + Send>;

/// Where passwords are hashed.
#[derive(Clone)]
pub(super) struct Lane {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
}

/// A place in the lane, or in the queue before it: whoever has one can have something hashed. It is taken before anything else is done
/// for a call, so that those who are refused cost next to nothing.
#[derive(Debug)]
pub(super) struct Place<'l> {
    lane: &'l Lane,
    held: OwnedSemaphorePermit,
}

impl Lane {
    /// A lane with a thread for every second core: hashing fills caches, which all cores share. The threads end with the last clone.
    pub(super) fn open() -> anyhow::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::with((cores / 2).max(1), WAITING)
    }

    /// A lane with so many threads, in which so many jobs wait at the most.
    pub(super) fn with(threads: usize, waiting: usize) -> anyhow::Result<Self> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name("hashing".to_owned());
            thread
                .spawn(move || work(&queue))
                .context("start a thread that hashes passwords")?;
        }
        let places = Arc::new(Semaphore::new(threads + waiting));
        Ok(Self { jobs, places })
    }

    /// A place, if one is free; else UNAVAILABLE `OVERLOADED`.
    pub(super) fn place(&self) -> Result<Place<'_>> {
        let held = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = "too many passwords are being looked at";
            Error::new(ErrorReason::Overloaded, message).retry_after(AGAIN)
        })?;
        Ok(Place { lane: self, held })
    }
}

impl Place<'_> {
    /// Does something that takes long; nothing is done for a caller who is gone by then.
    pub(super) async fn run<T, F>(self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Memory) -> T + Send + 'static,
    {
        self.run_and_rest(job, |_| false).await
    }

    /// The same; the thread rests after it if `wrong` says so.
    pub(super) async fn run_and_rest<T, F>(self, job: F, wrong: fn(&T) -> bool) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Memory) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let held = self.held;
        let job = move |memory: &mut Memory| {
            if answer.is_closed() {
                return false;
            }
            let done = job(memory);
            let rests = wrong(&done);
            drop(held); // before the answer: whoever has that can come again
            drop(answer.send(done)); // fails only if the caller has gone meanwhile
            rests
        };
        let ended = |_| Error::internal("the hashing lane has ended");
        self.lane.jobs.send(Box::new(job)).map_err(ended)?;
        answered
            .await
            .map_err(|_| Error::internal("a job of the hashing lane panicked"))
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    // Of this thread only, since on Linux it is threads that are nice, and not processes.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "hashing passwords can't give way to other work");
    }
    // Taken with the first job and kept: what is freed is not given back to the system, and taken anew it grows.
    let mut memory = Memory::new();
    while let Some(job) = next(queue) {
        let began = Instant::now();
        // One that panics costs its own caller, and not the lane.
        match catch_unwind(AssertUnwindSafe(|| job(&mut memory))) {
            Ok(true) => thread::sleep((began.elapsed() * REST).min(LONGEST_REST)),
            Ok(false) => {}
            Err(_) => tracing::error!("a job of the hashing lane panicked"),
        }
    }
}

/// The next job; None once nobody can send one any more.
fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A job that has begun, and goes on until it is let go.
    async fn occupy(lane: &Lane) -> std::sync::mpsc::Sender<()> {
        let (begun, began) = oneshot::channel();
        let (go, wait) = channel::<()>();
        let lane = lane.clone();
        tokio::spawn(async move {
            let job = move |_: &mut Memory| {
                begun.send(()).unwrap();
                // Ends when the sender is dropped.
                let _ = wait.recv();
            };
            lane.place()?.run(job).await
        });
        began.await.unwrap();
        go
    }

    #[tokio::test]
    async fn a_thread_rests_after_a_wrong_guess() {
        let lane = Lane::with(1, 8).unwrap();
        let work = Duration::from_millis(20);
        let guess = move |_: &mut Memory| {
            thread::sleep(work);
            (false, Instant::now())
        };
        let (_, ended) = lane
            .place()
            .unwrap()
            .run_and_rest(guess, |(right, _)| !right)
            .await
            .unwrap();
        let began = lane.place().unwrap().run(|_| Instant::now()).await.unwrap();
        assert!(began - ended >= work * REST);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let lane = Lane::with(1, 2).unwrap();
        let go = occupy(&lane).await;
        let mut waiting: Vec<_> = (0..2)
            .map(|at| {
                {
                    let lane = lane.clone();
                    async move { lane.place()?.run(move |_| at).await }
                }
                .boxed()
            })
            .collect();
        for one in &mut waiting {
            assert!(futures::poll!(one).is_pending());
        }
        let refusal = lane.place().unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::Overloaded);
        let status = tonic::Status::from(refusal);
        let details = tonic_types::StatusExt::get_error_details(&status);
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(AGAIN));
        drop(go);
        let done = futures::future::join_all(waiting).await;
        assert_eq!(done.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1]);
    }

    #[tokio::test]
    async fn nothing_is_done_for_who_is_gone() {
        let lane = Lane::with(1, 8).unwrap();
        let go = occupy(&lane).await;
        let done = Arc::new(AtomicU32::new(0));
        let count = || {
            let done = Arc::clone(&done);
            lane.place().unwrap().run(move |_| done.fetch_add(1, Ordering::SeqCst))
        };
        let mut gone = Box::pin(count());
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        let mut stays = Box::pin(count());
        assert!(futures::poll!(&mut stays).is_pending());
        drop(go);
        // In a lane with one thread, the one before has been done or passed over by now.
        assert_eq!(stays.await.unwrap(), 0);
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_caller() {
        let lane = Lane::with(1, 8).unwrap();
        let panicking = |_: &mut Memory| -> u32 { panic!("on purpose") };
        assert_eq!(
            lane.place().unwrap().run(panicking).await.unwrap_err().reason(),
            ErrorReason::Internal
        );
        assert_eq!(lane.place().unwrap().run(|_| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn its_threads_give_way_and_others_do_not() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let lane = Lane::with(1, 8).unwrap();
        assert_eq!(lane.place().unwrap().run(move |_| niceness()).await.unwrap(), NICENESS);
        assert_eq!(niceness(), before);
    }
}
