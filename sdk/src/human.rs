//! Questions to a person. Grant: `[grants] human = true`.

pub use crate::bindings::worker::jidoka::agent::human::{Answer, Risk};
use crate::denied::Denied;
use crate::host;

/// Asks a person to choose, and parks the run until they did. Parked time is not work time, and nothing is spent.
///
/// `Err` with `refused`: not granted, no options, or an argument is past its cap.
pub fn ask(question: &str, options: &[&str], risk: Risk) -> Result<Answer, Denied> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    host::human::ask(question, &options, risk)
}
