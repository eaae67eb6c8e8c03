//! Randomness that can be repeated.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

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

/// What somebody types who means this text: all or a part of some of its words, often with a typo.
pub fn mistyped(random: &mut StdRng, meant: &str) -> String {
    let words: Vec<&str> = meant.split_whitespace().collect();
    let mut typed = Vec::new();
    for _ in 0..random.random_range(1..=2) {
        let mut letters: Vec<char> = words[random.random_range(0..words.len())].chars().collect();
        let at = random.random_range(0..letters.len());
        match random.random_range(0..8) {
            0 => letters[at] = 'o',
            1 => letters.insert(at, 'r'),
            2 => drop(letters.remove(at)),
            3 if at > 0 => letters.swap(at - 1, at),
            4 => letters.truncate(at + 1),
            5 => drop(letters.drain(..at)),
            _ => {}
        }
        typed.push(letters.into_iter().collect::<String>());
    }
    typed.join(" ")
}
