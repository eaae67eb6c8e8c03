//! Whether there is an order in which calls that were made at once could have been made one after the other, with the same answers: the
//! search of Wing and Gong, which remembers from where it need not look again, as Lowe's does.

use std::collections::HashSet;
use std::hash::Hash;

/// Looks for an order that explains all calls; `before` has, for each call, the bits of those that came before it in any order. A step
/// makes a call in a state; None: it would have been answered otherwise.
pub(crate) fn explain<S: Clone + Eq + Hash>(
    start: S,
    before: &[u64],
    step: impl Fn(&S, usize) -> Option<S>,
) -> Option<Vec<usize>> {
    assert!(before.len() <= 64);
    let mut search = Search {
        before,
        step,
        visited: HashSet::new(),
        order: Vec::new(),
    };
    search.goes_on(0, start).then_some(search.order)
}

struct Search<'b, S, F> {
    before: &'b [u64],
    step: F,
    /// Which calls were made, and to what they had come.
    visited: HashSet<(u64, S)>,
    order: Vec<usize>,
}

impl<S: Clone + Eq + Hash, F: Fn(&S, usize) -> Option<S>> Search<'_, S, F> {
    fn goes_on(&mut self, made: u64, state: S) -> bool {
        if self.order.len() == self.before.len() {
            return true;
        }
        if !self.visited.insert((made, state.clone())) {
            return false;
        }
        for call in 0..self.before.len() {
            let may_be_next = made & (1 << call) == 0 && self.before[call] & !made == 0;
            let Some(next) = may_be_next.then(|| (self.step)(&state, call)).flatten() else {
                continue;
            };
            self.order.push(call);
            if self.goes_on(made | 1 << call, next) {
                return true;
            }
            self.order.pop();
        }
        false
    }
}

/// A register that is written (true) or read (false).
fn register(calls: &[(bool, i32)]) -> impl Fn(&i32, usize) -> Option<i32> {
    |now, call| match calls[call] {
        (true, value) => Some(value),
        (false, value) => (*now == value).then_some(value),
    }
}

#[test]
fn an_order_is_found_if_there_is_one() {
    let calls = [(true, 1), (false, 1), (true, 2), (false, 2)];
    // All at once, or each writer before its reader.
    for before in [[0; 4], [0, 0b1, 0, 0b100]] {
        assert!(explain(0, &before, register(&calls)).is_some());
    }
    // The reader of 1 ended before its writer began.
    assert_eq!(explain(0, &[0b10, 0, 0, 0], register(&calls)), None);
    // Both had been written when they were read, one after the other: whichever was written last is read twice.
    assert_eq!(explain(0, &[0, 0b101, 0, 0b111], register(&calls)), None);
    let calls = [(true, 1), (false, 2), (true, 2), (false, 2)];
    assert_eq!(
        explain(0, &[0, 0b101, 0, 0b111], register(&calls)),
        Some(vec![0, 2, 1, 3])
    );
}

#[test]
fn it_ends_soon_where_there_is_none() {
    // Half a thousand million orders of the writers; what is read was never written.
    let mut calls: Vec<(bool, i32)> = (0..12).map(|at| (true, at % 3)).collect();
    calls.push((false, 7));
    assert_eq!(explain(0, &[0; 13], register(&calls)), None);
}
