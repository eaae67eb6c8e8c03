//! Coherent memory: what was read is answered again until something that it depends on has changed.
//!
//! Every row of the journal and every entry of a followed one changes the epochs of its organization and of the resources it names:
//! at once where it is written, within milliseconds on other replicas. What is remembered carries the epochs of before it was read,
//! so that a slow read can't bring back what a faster change has made old.

mod coherence;
mod epochs;

pub(crate) use coherence::{Coherence, Look};
pub(crate) use epochs::Epochs;

use crate::cursor::{Answer, Revision};
use crate::journal::Journal;
use clientele_api::{Result, Uid};
use moka::sync::Cache;
use opentelemetry::{KeyValue, global};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Remembers what was read, at most so much. Values are cloned: hold large ones in an [`Arc`].
#[derive(Clone)]
pub struct Memory<K, V> {
    name: &'static str,
    journal: Journal,
    /// The stamp of before it was read, and what was read.
    remembered: Cache<K, (u64, Answer<V>)>,
    lookups: Arc<Lookups>,
}

impl<K, V> Memory<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty one of this name in metrics, for at most so many keys.
    pub fn new(journal: Journal, name: &'static str, capacity: u64) -> Self {
        let lookups = Arc::new(Lookups::default());
        lookups.clone().observe(name, journal.db().service());
        Self {
            name,
            journal,
            remembered: Cache::new(capacity),
            lookups,
        }
    }

    /// What is remembered, else what is loaded. It depends on these resources, always the same for a key, and on nothing else. That
    /// there is nothing is not remembered.
    ///
    /// Who has seen revision `min` gets nothing older: if it is not proven yet that all changes up to it were noticed here, it is
    /// loaded. Of followed services that is the case once `min` has been waited for.
    pub async fn get(
        &self,
        key: K,
        depends_on: &[Uid],
        min: &Revision,
        load: impl AsyncFnOnce() -> Result<Answer<Option<V>>>,
    ) -> Result<Answer<Option<V>>> {
        let db = self.journal.db();
        let coherence = self.journal.coherence();
        // Before the stamp: the changes that this proves are then part of it.
        let sure = coherence.is_sure();
        let proven = sure && min.of(db.service()).is_none_or(|(epoch, n)| coherence.proves(epoch, n));
        // Before the load: what a slow one brings is not found once something has changed meanwhile.
        let stamp = db.epochs().stamp(depends_on);
        if !proven {
            self.lookups.bypasses.fetch_add(1, Ordering::Relaxed);
        } else if let Some((_, answer)) = self.remembered.get(&key).filter(|(then, _)| *then == stamp) {
            self.lookups.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(answer.map(Some));
        } else {
            self.lookups.misses.fetch_add(1, Ordering::Relaxed);
        }
        let answer = load().await?;
        if sure && let Some(value) = &answer.value {
            let found = Answer {
                value: value.clone(),
                revision: answer.revision.clone(),
            };
            self.remembered.insert(key, (stamp, found));
        }
        Ok(answer)
    }
}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How often it was asked. Plain numbers that are collected when metrics are: an answer from memory takes no lock for them.
#[derive(Default)]
struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
    bypasses: AtomicU64,
}

impl Lookups {
    fn observe(self: Arc<Self>, name: &'static str, service: &'static str) {
        let labels = |outcome| {
            [
                KeyValue::new("clientele.service", service),
                KeyValue::new("clientele.memory", name),
                KeyValue::new("outcome", outcome),
            ]
        };
        let (hit, miss, bypass) = (labels("hit"), labels("miss"), labels("bypass"));
        global::meter("clientele")
            .u64_observable_counter("clientele.memory.lookups")
            .with_description("Look-ups in memory: answered from it, loaded, or loaded because it could not be sure.")
            .with_callback(move |counter| {
                counter.observe(self.hits.load(Ordering::Relaxed), &hit);
                counter.observe(self.misses.load(Ordering::Relaxed), &miss);
                counter.observe(self.bypasses.load(Ordering::Relaxed), &bypass);
            })
            .build();
    }
}
