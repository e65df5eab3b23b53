//! Notes in the journal. No grant needed; past the byte cap of the run, notes are dropped and the drop is counted.
//!
//! [`info!`](crate::info) and its sisters write a formatted note; [`emit`] writes one with fields.

pub use crate::bindings::worker::jidoka::agent::log::Level;
use crate::host;

/// Writes a note with named fields.
pub fn emit(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    host::log::emit(level, message, &fields);
}

/// Writes a note for whoever looks into a run closely; takes what `format!` takes.
#[macro_export]
macro_rules! debug {
    ($($words:tt)+) => { $crate::log::emit($crate::log::Level::Debug, &::std::format!($($words)+), &[]) };
}

/// Writes a note; takes what `format!` takes.
#[macro_export]
macro_rules! info {
    ($($words:tt)+) => { $crate::log::emit($crate::log::Level::Info, &::std::format!($($words)+), &[]) };
}

/// Writes a note of something odd; takes what `format!` takes.
#[macro_export]
macro_rules! warn {
    ($($words:tt)+) => { $crate::log::emit($crate::log::Level::Warn, &::std::format!($($words)+), &[]) };
}

/// Writes a note of something that went wrong; takes what `format!` takes.
#[macro_export]
macro_rules! error {
    ($($words:tt)+) => { $crate::log::emit($crate::log::Level::Error, &::std::format!($($words)+), &[]) };
}
