//! Random cases, the smallest one that fails told.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use std::cell::Cell;
use tokio::runtime::Handle;

/// Runs so many random cases, one after the other, each with a number of its own. Panics with the smallest one that fails. The test must
/// be on a runtime of several threads.
pub fn for_random_cases<S: Strategy, Fut>(cases: u32, strategy: &S, run: impl Fn(usize, S::Value) -> Fut)
where
    Fut: Future<Output = Result<(), TestCaseError>>,
{
    let config = Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let number = Cell::new(0);
    let outcome = tokio::task::block_in_place(|| {
        TestRunner::new(config).run(strategy, |case| {
            number.set(number.get() + 1);
            Handle::current().block_on(run(number.get(), case))
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{why}\nafter {case:#?}"),
        Err(abort) => panic!("{abort}"),
    }
}
