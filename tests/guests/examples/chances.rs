//! Draws from every source of randomness.

use std::collections::{HashMap, HashSet};

use jidoka::{Report, Result, Task, random};
use wasip2::random::{insecure, insecure_seed, random as secure};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    jidoka::info!("ours {:?} {}", random::bytes(16)?, random::number()?);
    jidoka::info!("secure {:?} {}", secure::get_random_bytes(16), secure::get_random_u64());
    jidoka::info!("insecure {:?} {}", insecure::get_insecure_random_bytes(16), insecure::get_insecure_random_u64());
    jidoka::info!("seed {:?}", insecure_seed::insecure_seed());
    jidoka::info!("order {:?}", (0..64).collect::<HashSet<u32>>());
    let letters: HashMap<char, u32> = ('a'..='z').zip(0..).collect();
    jidoka::info!("keys {:?}", letters.keys().collect::<String>());
    Ok(Report::done("drew"))
}
