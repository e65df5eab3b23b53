//! A long session of the saboteur: `saboteur RUNS [SEED] [HOSTS] [STATES]`. Ends with what happened, or panics with the
//! promise that does not hold and the session to play again.

use jidoka_tests::saboteur::{Session, play};

fn main() {
    let words: Vec<u64> = std::env::args().skip(1).map(|word| word.parse().expect("a number")).collect();
    let word = |place: usize, default: u64| words.get(place).copied().unwrap_or(default);
    let small = |number: u64| usize::try_from(number).expect("a small number");
    let session = Session { seed: word(1, 1), runs: word(0, 300), hosts: small(word(2, 1)), states: small(word(3, 1)) };
    println!("{session:?}: {:#?}", play(session));
}
