//! The program that stands in a process of its own for the tests, as `jidoka cell` does for users.

use std::process::ExitCode;

use jidoka::doors::program::Role;
use jidoka::run::cell::inside;

fn main() -> ExitCode {
    let role = std::env::args().nth(1).as_deref().and_then(Role::named).expect("a role");
    inside::serve(role)
}
