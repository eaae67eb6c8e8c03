//! How many wrong passwords are looked at: of one account, and from one source.
//!
//! Every try is charged before anything is hashed, and a right one gets its charge back: of any number of tries at the same moment no
//! more are looked at than there is budget. Budgets fill up again by themselves, so that nobody is locked out for good. Who keeps an
//! account's budget used up does not keep the person out: from where the person has signed in before, it has a budget of its own.
//!
//! All of it is kept in the memory of the process: each replica counts for itself, and begins anew when it starts. It is bounded:
//! what was not tried for the longest time is forgotten first.

use clientele_api::error::ErrorReason;
use clientele_api::{Error, Result, Uid};
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// An account: ten at once, then one a minute. A password that is not weak is not guessed so in a thousand years.
const ACCOUNT: Budget = Budget {
    at_once: 10,
    every: Duration::from_secs(60),
};
/// A source: a hundred at once, then one in six seconds. A whole office may be behind one.
const SOURCE: Budget = Budget {
    at_once: 100,
    every: Duration::from_secs(6),
};
/// So many of each are remembered: some 150 bytes each.
const REMEMBERED: u64 = 50_000;

/// How often something may be done: at once, and then again and again.
#[derive(Debug, Clone, Copy)]
struct Budget {
    at_once: u32,
    every: Duration,
}

/// Whose password is tried, whether there is such a person or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Account([u8; 32]);

impl Account {
    /// The account of a workspace with the email of this key. However long it is, it takes 32 bytes.
    pub(super) fn new(workspace: Uid, email_key: &str) -> Self {
        Self(
            Sha256::new()
                .chain_update(workspace.0.as_bytes())
                .chain_update(email_key)
                .finalize()
                .into(),
        )
    }
}

/// Where a try comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    /// The source of an address. Whoever has one of IPv6 has 2⁶⁴ of them.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            v4 => v4,
        })
    }
}

/// Counts tries.
#[derive(Debug, Clone)]
pub(super) struct Attempts {
    accounts: Counts<Account>,
    sources: Counts<Source>,
    /// Where people have signed in before.
    known: Counts<(Account, Source)>,
}

/// A try that was charged.
#[derive(Debug)]
#[must_use]
pub(super) struct Attempt {
    account: Account,
    source: Option<Source>,
    /// Whether it was charged to the person at this source alone.
    as_known: bool,
}

impl Default for Attempts {
    fn default() -> Self {
        Self::new()
    }
}

impl Attempts {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            accounts: Counts::new(ACCOUNT),
            sources: Counts::new(SOURCE),
            known: Counts::new(ACCOUNT),
        }
    }

    /// Charges a try, or refuses it: RESOURCE_EXHAUSTED `TOO_MANY_ATTEMPTS`.
    pub(super) fn charge(&self, account: Account, source: Option<Source>, now: Instant) -> Result<Attempt> {
        let mut attempt = Attempt {
            account,
            source,
            as_known: false,
        };
        if let Some(source) = source {
            if self.known.contains((account, source)) && self.known.charge((account, source), now).is_ok() {
                attempt.as_known = true;
                return Ok(attempt);
            }
            // First: who is refused here does not grow the memory of accounts.
            self.sources.charge(source, now).map_err(refusal)?;
        }
        if let Err(pause) = self.accounts.charge(account, now) {
            if let Some(source) = source {
                self.sources.give_back(source, now, false);
            }
            return Err(refusal(pause));
        }
        Ok(attempt)
    }

    /// The password was right: the charge is given back, and the person is known at this source.
    pub(super) fn succeeded(&self, attempt: Attempt, now: Instant) {
        if let Some(source) = attempt.source {
            self.known.remember((attempt.account, source), now);
        }
        self.give_back(attempt, now);
    }

    /// It was not looked at whether the password was right: the charge is given back.
    pub(super) fn give_back(&self, attempt: Attempt, now: Instant) {
        match (attempt.source, attempt.as_known) {
            (Some(source), true) => self.known.give_back((attempt.account, source), now, true),
            (source, _) => {
                self.accounts.give_back(attempt.account, now, false);
                if let Some(source) = source {
                    self.sources.give_back(source, now, false);
                }
            }
        }
    }

    /// Forgets the tries of an account: it has another password now.
    pub(super) fn clear(&self, account: Account) {
        self.accounts.times.invalidate(&account);
    }
}

fn refusal(pause: Duration) -> Error {
    let message = "too many wrong passwords: try again later";
    Error::new(ErrorReason::TooManyAttempts, message).retry_after(pause)
}

/// Counts by the generic cell rate algorithm: of each key it keeps one time, when the budget will be whole again.
#[derive(Clone)]
struct Counts<K> {
    budget: Budget,
    times: Cache<K, Instant>,
}

impl<K> fmt::Debug for Counts<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Counts<K> {
    fn new(budget: Budget) -> Self {
        let times = Cache::builder()
            .max_capacity(REMEMBERED)
            // The policy by default keeps what is asked for often, and would not even begin to count what is new.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { budget, times }
    }

    fn contains(&self, key: K) -> bool {
        self.times.contains_key(&key)
    }

    /// Takes one of the budget. Err: it is used up, and this is how long the next one takes.
    fn charge(&self, key: K, now: Instant) -> Result<(), Duration> {
        let Budget { at_once, every } = self.budget;
        let mut pause = Duration::ZERO;
        let result = self.times.entry(key).and_compute_with(|known| {
            let whole = known.map_or(now, |known| known.into_value().max(now)) + every;
            pause = whole.duration_since(now).saturating_sub(every * at_once);
            if pause.is_zero() { Op::Put(whole) } else { Op::Nop }
        });
        match result {
            CompResult::Inserted(_) | CompResult::ReplacedWith(_) => Ok(()),
            _ => Err(pause),
        }
    }

    /// Puts one back. A key with a whole budget takes no memory, unless it is remembered for its own sake.
    fn give_back(&self, key: K, now: Instant, remembered: bool) {
        let every = self.budget.every;
        self.times.entry(key).and_compute_with(|known| {
            let Some(known) = known else { return Op::Nop };
            match known.into_value().checked_sub(every) {
                Some(whole) if whole > now || remembered => Op::Put(whole),
                _ => Op::Remove,
            }
        });
    }

    /// Knows the key, with its whole budget if it did not know it.
    fn remember(&self, key: K, now: Instant) {
        self.times.entry(key).or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ann() -> Account {
        Account::new(Uid::NIL, "ann@example.com")
    }

    fn from(address: &str) -> Option<Source> {
        Some(Source::of(address.parse().unwrap()))
    }

    /// How many wrong passwords of so many are looked at.
    fn wrong(attempts: &Attempts, account: Account, source: Option<Source>, tries: u32, now: Instant) -> usize {
        (0..tries)
            .filter(|_| attempts.charge(account, source, now).is_ok())
            .count()
    }

    fn pause(attempts: &Attempts, account: Account, source: Option<Source>, now: Instant) -> Duration {
        let refusal = attempts.charge(account, source, now).unwrap_err();
        assert_eq!(refusal.reason(), ErrorReason::TooManyAttempts);
        let status = tonic::Status::from(refusal);
        let details = tonic_types::StatusExt::get_error_details(&status);
        details.retry_info().unwrap().retry_delay.unwrap()
    }

    #[test]
    fn an_account_has_ten_tries_and_then_one_a_minute() {
        let (attempts, begin) = (Attempts::new(), Instant::now());
        assert_eq!(wrong(&attempts, ann(), None, 64, begin), 10);
        assert_eq!(pause(&attempts, ann(), None, begin), MINUTE);
        let later = begin + MINUTE / 2;
        assert_eq!(pause(&attempts, ann(), None, later), MINUTE / 2);
        assert_eq!(wrong(&attempts, ann(), None, 5, begin + MINUTE), 1);
        // Never for good, and never more than the budget.
        assert_eq!(wrong(&attempts, ann(), None, 64, begin + 1000 * MINUTE), 10);
        assert_eq!(
            wrong(&attempts, Account::new(Uid::new(), "ann@example.com"), None, 64, begin),
            10
        );
    }

    #[test]
    fn sixty_four_at_once_share_one_budget() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        let passed = thread::scope(|scope| {
            let tries: Vec<_> = (0..64)
                .map(|_| scope.spawn(|| attempts.charge(ann(), None, now).is_ok()))
                .collect();
            tries
                .into_iter()
                .filter_map(|one| one.join().ok())
                .filter(|passed| *passed)
                .count()
        });
        assert_eq!(passed, 10);
    }

    #[test]
    fn a_source_has_a_hundred_tries_whatever_it_tries() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        let account = |at: u32| Account::new(Uid::NIL, &format!("{at}@example.com"));
        let passed = |source: Option<Source>| {
            (0..300)
                .filter(|at| attempts.charge(account(*at), source, now).is_ok())
                .count()
        };
        assert_eq!(passed(from("192.0.2.1")), 100);
        assert_eq!(
            pause(&attempts, account(0), from("192.0.2.1"), now),
            Duration::from_secs(6)
        );
        // Who is refused for its source costs the accounts nothing.
        assert_eq!(wrong(&attempts, account(299), from("192.0.2.2"), 20, now), 10);
        // Nor costs a source what is refused for its account.
        assert_eq!(wrong(&attempts, ann(), from("192.0.2.3"), 500, now), 10);
        assert_eq!(
            (0..300)
                .filter(|at| attempts.charge(account(*at), from("192.0.2.3"), now).is_ok())
                .count(),
            90
        );
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(from(one) == from(other), same, "{one} and {other}");
        }
    }

    #[test]
    fn a_right_one_costs_nothing() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        for source in [None, from("192.0.2.1")] {
            for _ in 0..300 {
                attempts.succeeded(attempts.charge(ann(), source, now).unwrap(), now);
            }
        }
        for _ in 0..300 {
            attempts.give_back(attempts.charge(ann(), from("192.0.2.2"), now).unwrap(), now);
        }
        assert_eq!(wrong(&attempts, ann(), None, 64, now), 10);
    }

    #[test]
    fn who_signed_in_from_a_source_is_not_kept_out_of_it() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        let (home, elsewhere) = (from("192.0.2.1"), from("203.0.113.1"));
        attempts.succeeded(attempts.charge(ann(), home, now).unwrap(), now);
        // Somebody uses the budget of the account up, and goes on doing so; even that of the source.
        assert_eq!(wrong(&attempts, ann(), elsewhere, 64, now), 10);
        for at in 0..200 {
            let _ = attempts
                .charge(Account::new(Uid::NIL, &at.to_string()), home, now)
                .map(|_| ());
        }
        for minute in 0..100 {
            let now = now + minute * MINUTE;
            wrong(&attempts, ann(), elsewhere, 64, now);
            attempts.succeeded(attempts.charge(ann(), home, now).unwrap(), now);
        }
        let now = now + 99 * MINUTE;
        assert!(attempts.charge(ann(), elsewhere, now).is_err());
        // Nor is it a way to try more than others may.
        assert_eq!(wrong(&attempts, ann(), home, 64, now), 10);
    }

    #[test]
    fn another_password_gives_the_account_its_budget_back() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        assert_eq!(wrong(&attempts, ann(), None, 64, now), 10);
        attempts.clear(ann());
        assert_eq!(wrong(&attempts, ann(), None, 64, now), 10);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_tried_now_is_not_forgotten() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        for at in 0..2 * REMEMBERED {
            let _ = attempts
                .charge(Account::new(Uid::NIL, &at.to_string()), None, now)
                .map(|_| ());
            if at % 10_000 == 0 {
                let _ = attempts.charge(ann(), None, now).map(|_| ());
            }
        }
        attempts.accounts.times.run_pending_tasks();
        assert!(attempts.accounts.times.entry_count() <= REMEMBERED);
        assert_eq!(wrong(&attempts, ann(), None, 64, now), 0);
        // Nor is what is new not remembered, because nobody asked for it before.
        let passed = (0..64).filter(|_| {
            attempts.accounts.times.run_pending_tasks();
            attempts.charge(Account::new(Uid::NIL, "new"), None, now).is_ok()
        });
        assert_eq!(passed.count(), 10);
    }
}
