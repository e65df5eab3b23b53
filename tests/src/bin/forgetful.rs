//! A program that embeds the host and forgets what it may be started for: its `main` begins with its own work.

use jidoka::doors::program::Program;
use jidoka::run::sandbox::{Sandbox, World};

fn main() {
    let program = Program { path: std::env::current_exe().expect("this program"), arguments: Vec::new() };
    let sandbox = Sandbox::new(1, None, program).expect("an engine");
    let component = wat::parse_str("(component)").expect("a component");
    let Err(error) = sandbox.prepare(&component, World::Tool) else { panic!("nobody compiled it") };
    eprintln!("{error}");
}
