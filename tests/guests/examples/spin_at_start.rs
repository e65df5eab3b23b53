//! Spins before its function is called: in a constructor.

use jidoka::{Report, Result, Task};

extern "C" fn spin() {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

#[used]
#[expect(unsafe_code, reason = "the attack: constructors run before any export")]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = spin;

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    Ok(Report::done("never"))
}
