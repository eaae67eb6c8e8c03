//! Randomness that can be repeated.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A source of randomness, from the variable `SEED` or a new seed; a test that fails shows it.
#[expect(clippy::print_stdout, reason = "the harness shows it when the test fails")]
pub fn seed() -> StdRng {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED must be a number"),
        Err(_) => rand::random(),
    };
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}
