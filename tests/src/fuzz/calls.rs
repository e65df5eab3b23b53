//! Any calls of a guest, in any order: the bytes are the program of the guest `any_calls`, run in a whole run with small caps.
//!
//! Whatever it does, the run has a verdict that is not our own fault, its journal holds, and told again with every door shut it is
//! the same. Time stands still while anybody works, so a guest that waits costs nothing.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use jidoka::doors::store::{MemoryStore, Store};
use tokio::runtime::{Builder, Runtime};

use crate::bench::{Bench, Home, replay, runner_with};
use crate::hostile;

/// Bytes of a program: an act has about four.
const MOST_BYTES: usize = 2 << 10;

/// The body of the target `calls`.
pub fn run(bytes: &[u8]) {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let make = || Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let bytes = &bytes[..bytes.len().min(MOST_BYTES)];
    RUNTIME.get_or_init(make).block_on(ran(bytes));
}

async fn ran(program: &[u8]) {
    let digits = program.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("to a string");
        digits
    });
    let place = super::place();
    for name in ["state", "workspace", "context"] {
        std::fs::create_dir(place.path().join(name)).expect("a directory");
    }
    let home = Home::of(place.path());
    let books: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let end = Bench::new(hostile::ANY_CALLS)
        .at(&home)
        .books(Arc::clone(&books))
        .file("a", "from before")
        .file("dir/b", "deeper")
        .script("[[turn]]\nrepeat = true\ntext = \"heard\"")
        .set("task", &format!("inputs = {{ program = \"{digits}\" }}"))
        .set("grants", "human = true")
        .set("human", "deadline = \"1h\"")
        .set("budget", "wall = \"20s\"")
        .set("budget", "disk = \"1MiB\"")
        .set("caps", "memory = \"16MiB\"")
        .set("caps", "log = \"16KiB\"")
        .set("caps", "stdio = \"4KiB\"")
        .set("caps", "files = 64")
        .set("caps", "handles = 64")
        .set("caps", "lifted = \"256KiB\"")
        .no_apply()
        .run()
        .await;
    let verdict = &end.record.verdict[..];
    assert!(!["fault", "diverged", "unverifiable", "not-admitted"].contains(&verdict), "{:#?}", end.record);
    let kept = books.journal(&end.record.serial).expect("reads").expect("is there");
    let entries = kept.open().expect("the chain holds");
    assert_eq!(entries.len(), end.entries.len());
    let told = replay(&runner_with(&home.state(), books), &end.record.serial, None).await;
    assert!(told.divergence.is_none() && told.fault.is_none(), "{told:#?}\n{:#?}", end.record);
    assert_eq!(told.record.map(|record| record.verdict), Some(end.record.verdict.clone()));
}
