//! The rooms of the table, one a family or two.

use super::Attack;

mod adapters;
mod bombs;
mod clocks;
mod components;
mod cpu;
mod filesystem;
mod flooding;
mod forging;
mod handles;
mod http;
mod leaks;
mod memory;
mod network;
mod output;
mod secrets;
mod tampering;

/// The whole table, in the order of its families.
pub fn all() -> Vec<Attack> {
    let rooms = [
        filesystem::attacks,
        memory::attacks,
        cpu::attacks,
        flooding::attacks,
        handles::attacks,
        output::attacks,
        network::attacks,
        http::attacks,
        secrets::attacks,
        forging::attacks,
        tampering::attacks,
        leaks::attacks,
        clocks::attacks,
        components::attacks,
        adapters::attacks,
        bombs::attacks,
    ];
    rooms.iter().flat_map(|room| room()).collect()
}
