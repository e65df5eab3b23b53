//! Whole runs with real components. One list of modules, linked once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod advisories;
mod alphabet;
mod apply;
mod architecture;
mod attacks;
mod bounds;
mod budgets;
mod chaos;
mod children;
mod copies;
mod crash;
mod determinism;
mod ends;
mod export;
mod fuzz;
mod honest;
mod hooks;
mod hostile;
mod http;
mod interrupted;
mod line;
mod loops;
mod mcp;
mod mcp_servers;
mod overload;
mod rates;
mod replay;
mod responses;
mod retention;
mod saboteur;
mod secrets;
mod spend;
mod stories;
mod storm;
mod time;
mod tools;
mod turns;
mod verdicts;
mod walls;
mod wire;
mod zero_work;
