//! One run of a component behind a wall, in a process of its own: COMPONENT HOME [none|process]. Prints its record.

use std::path::Path;

use jidoka::rules::spec::Wall;
use jidoka_tests::bench::{Bench, Home};

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [component, home, wall @ ..] = words.as_slice() else { panic!("COMPONENT HOME [none|process]") };
    for name in ["state", "workspace", "context"] {
        std::fs::create_dir(Path::new(home).join(name)).expect("a directory");
    }
    let wall = match wall.first().map(String::as_str) {
        Some("none") => Wall::None,
        _ => Wall::Process,
    };
    let end = Bench::new(component).at(&Home::of(Path::new(home))).behind(wall).run().await;
    println!("{}", serde_json::to_string(&end.record).expect("plain data"));
}
