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
use std::collections::HashMap;
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
        Self::over(journal, name, Cache::new(capacity))
    }

    /// An empty one of this name in metrics, for values of at most so many bytes together, each as large as `size` tells.
    pub fn of_bytes(journal: Journal, name: &'static str, bytes: u64, size: fn(&V) -> usize) -> Self {
        let size = move |_: &K, (_, answer): &(u64, Answer<V>)| u32::try_from(size(&answer.value)).unwrap_or(u32::MAX);
        let cache = Cache::builder().max_capacity(bytes).weigher(size).build();
        Self::over(journal, name, cache)
    }

    fn over(journal: Journal, name: &'static str, remembered: Cache<K, (u64, Answer<V>)>) -> Self {
        let lookups = Arc::new(Lookups::default());
        lookups.clone().observe(name, journal.db().service());
        Self {
            name,
            journal,
            remembered,
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
        let blank = match self.recall(&key, depends_on, min) {
            Ok(known) => return Ok(known.map(Some)),
            Err(blank) => blank,
        };
        let answer = load().await?;
        if let Some(value) = &answer.value {
            self.keep(key, blank, value, &answer.revision);
        }
        Ok(answer)
    }

    /// The same of several keys. Those that are not remembered are loaded together.
    pub async fn get_all<const N: usize>(
        &self,
        keys: impl IntoIterator<Item = (K, [Uid; N])>,
        min: &Revision,
        load: impl AsyncFnOnce(Vec<K>) -> Result<Answer<HashMap<K, V>>>,
    ) -> Result<Answer<HashMap<K, V>>>
    where
        K: Clone,
    {
        let mut all = HashMap::new();
        let mut revision = Revision::new();
        let mut blanks = HashMap::new();
        for (key, depends_on) in keys {
            match self.recall(&key, &depends_on, min) {
                Ok(known) => {
                    revision.merge(&known.revision);
                    all.insert(key, known.value);
                }
                Err(blank) => _ = blanks.insert(key, blank),
            }
        }
        if !blanks.is_empty() {
            let loaded = load(blanks.keys().cloned().collect()).await?;
            for (key, value) in loaded.value {
                if let Some(blank) = blanks.remove(&key) {
                    self.keep(key.clone(), blank, &value, &loaded.revision);
                }
                all.insert(key, value);
            }
            revision.merge(&loaded.revision);
        }
        Ok(Answer { value: all, revision })
    }

    /// What is remembered, else where what is now loaded belongs.
    fn recall(&self, key: &K, depends_on: &[Uid], min: &Revision) -> Result<Answer<V>, Blank> {
        let db = self.journal.db();
        let coherence = self.journal.coherence();
        // Before the stamp: the changes that this proves are then part of it.
        let sure = coherence.is_sure();
        let proven = sure && min.of(db.service()).is_none_or(|(epoch, n)| coherence.proves(epoch, n));
        // Before the load: what a slow one brings is not found once something has changed meanwhile.
        let stamp = db.epochs().stamp(depends_on);
        if !proven {
            self.lookups.bypasses.fetch_add(1, Ordering::Relaxed);
        } else if let Some((_, answer)) = self.remembered.get(key).filter(|(then, _)| *then == stamp) {
            self.lookups.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(answer);
        } else {
            self.lookups.misses.fetch_add(1, Ordering::Relaxed);
        }
        Err(Blank { stamp, sure })
    }

    fn keep(&self, key: K, blank: Blank, value: &V, revision: &Revision) {
        if blank.sure {
            let found = Answer {
                value: value.clone(),
                revision: revision.clone(),
            };
            self.remembered.insert(key, (blank.stamp, found));
        }
    }
}

/// What was known before something was loaded.
struct Blank {
    stamp: u64,
    /// Whether memory could be sure; else it keeps nothing.
    sure: bool,
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
