//! What every test of a whole run needs: a bench that takes a guest, a job, files and a script, and gives back all that
//! the host saw.

pub mod advisories;
pub mod agent;
pub mod attacks;
pub mod bench;
pub mod by_hand;
pub mod chaos;
pub mod crash;
pub mod fuzz;
pub mod mcp;
pub mod open_gate;
pub mod provider;
pub mod saboteur;
pub mod storm;
pub mod third_party;
pub mod web;

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
