//! A component of anybody's making: what passes the gate before the compiler must compile in bounded time, or be refused in
//! words that can be shown.
//!
//! Bytes that begin with `(` are the text format, so that a fuzzer's changes are to what a component says; all others are a
//! component as it is.

use std::time::{Duration, Instant};

use jidoka::run::sandbox::{LoadError, World};
use jidoka::run::shape;

use crate::bench::sandbox;

/// Bytes of an input: compiling is what takes long, and a small component reaches as far as a large one.
const MOST_BYTES: usize = 16 << 10;

/// For all of one input, on a busy machine: what a component of this size may take to compile.
const PATIENCE: Duration = Duration::from_secs(20);

/// The body of the target `loader`.
pub fn run(bytes: &[u8]) {
    let made;
    let component = match bytes {
        [b'(', ..] => match std::str::from_utf8(bytes).ok().and_then(|text| wat::parse_str(text).ok()) {
            Some(component) => {
                made = component;
                &made[..]
            }
            None => return,
        },
        _ => bytes,
    };
    if component.len() > MOST_BYTES || shape::check(component).is_err() {
        return;
    }
    let began = Instant::now();
    let fits = match sandbox().inspect(component) {
        Ok(surface) => surface.fits,
        Err(error) => {
            hold(&error);
            Vec::new()
        }
    };
    for (name, world) in [("worker", World::Worker), ("verifier", World::Verifier)] {
        match sandbox().prepare(component, world) {
            Ok(_) => assert!(fits.contains(&name), "{fits:?}"),
            Err(error) => {
                assert!(!fits.contains(&name), "{error}");
                hold(&error);
            }
        }
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

/// A component's names are a stranger's, and its refusal is shown on a terminal.
fn hold(error: &LoadError) {
    let text = error.to_string();
    assert!(!text.contains(|char: char| char.is_control() && char != '\n'), "{text:?}");
    assert!(text.chars().count() < 8_192, "{} characters", text.chars().count());
    assert!(!matches!(error, LoadError::Host(_)), "{text}");
}
