//! Reads the environment, the arguments, the standard input and the current directory.

use std::io::Read;

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    jidoka::info!("vars {:?}", std::env::vars().collect::<Vec<_>>());
    jidoka::info!("args {:?}", std::env::args().collect::<Vec<_>>());
    jidoka::info!("cwd {:?}", wasip2::cli::environment::initial_cwd());
    let mut input = String::new();
    let read = std::io::stdin().read_to_string(&mut input).map_err(|error| error.to_string());
    jidoka::info!("stdin {read:?} {input:?}");
    let preopens = wasip2::filesystem::preopens::get_directories();
    jidoka::info!("preopens {:?}", preopens.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>());
    Ok(Report::done("read"))
}
