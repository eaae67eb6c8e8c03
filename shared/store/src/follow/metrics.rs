//! How well a service is followed, in figures.

use clientele_api::Micros;
use clientele_api::journal::Entry;
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The instruments of one follower.
#[derive(Debug)]
pub(super) struct Metrics {
    followed: KeyValue,
    lag: Histogram<f64>,
    poisoned: Counter<u64>,
    /// When the followed service was last heard of, in microseconds; 0: never.
    heard: Arc<AtomicI64>,
}

impl Metrics {
    pub(super) fn new(service: &'static str) -> Self {
        let meter = global::meter("clientele");
        let followed = KeyValue::new("clientele.followed", service);
        let heard = Arc::new(AtomicI64::new(0));
        let (last, label) = (heard.clone(), followed.clone());
        meter
            .f64_observable_gauge("clientele.follow.age")
            .with_unit("s")
            .with_description("Time since the followed service was last heard of.")
            .with_callback(move |gauge| {
                let last = last.load(Ordering::Relaxed);
                if last > 0 {
                    gauge.observe(seconds_since(last), std::slice::from_ref(&label));
                }
            })
            .build();
        Self {
            followed,
            lag: meter
                .f64_histogram("clientele.follow.lag")
                .with_unit("s")
                .with_description("Time from the commit of a change to its projection here.")
                .build(),
            poisoned: meter
                .u64_counter("clientele.follow.poisoned")
                .with_description("Changes of the followed service that could not be understood.")
                .build(),
            heard,
        }
    }

    /// Something came from the followed service.
    pub(super) fn hear(&self) {
        self.heard.store(Micros::now().0, Ordering::Relaxed);
    }

    /// These entries are now part of the projections.
    pub(super) fn applied(&self, entries: &[Entry]) {
        let label = std::slice::from_ref(&self.followed);
        for time in entries.iter().filter_map(|entry| entry.time) {
            self.lag.record(
                seconds_since(time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000),
                label,
            );
        }
    }

    /// So many changes could not be understood.
    pub(super) fn poisoned(&self, changes: usize) {
        self.poisoned.add(changes as u64, std::slice::from_ref(&self.followed));
    }
}

fn seconds_since(micros: i64) -> f64 {
    Duration::from_micros(u64::try_from(Micros::now().0 - micros).unwrap_or(0)).as_secs_f64()
}
