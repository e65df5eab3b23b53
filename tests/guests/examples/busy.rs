//! Is busy for so many rounds, in a way that it is told: a number that nobody lives to see, or a small one.

use std::hint::black_box;
use std::time::Duration;

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::number;
use wasip2::clocks::monotonic_clock::subscribe_duration;

fn deep(left: u64) -> u64 {
    let frame = black_box([left; 32]);
    if left == 0 { frame[0] } else { deep(left - 1) + black_box(frame)[7] }
}

#[inline(never)]
fn deep_in_registers(left: u64) -> u64 {
    if left == 0 { 0 } else { deep_in_registers(left - 1).rotate_left(3).wrapping_add(left) }
}

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let rounds = number(&task, "rounds");
    let mut page = vec![1_u8; 4 << 20];
    match task.input("how").expect("the test gives it") {
        "loop" => (0..rounds).for_each(|round| {
            black_box(round);
        }),
        "numbers" => drop(black_box((0..rounds).fold(1.1_f64, |sum, _| black_box(sum.sqrt() + 0.5)))),
        "fill" => (0..rounds).for_each(|round| black_box(&mut page).fill(round as u8)),
        "copy" => (0..rounds).for_each(|_| black_box(&mut page).copy_within(..2 << 20, 1)),
        "calls" => (0..rounds).for_each(|_| {
            black_box(jidoka::clock::now_ms());
        }),
        "random" => {
            for _ in 0..rounds {
                jidoka::random::bytes(65_536)?;
            }
        }
        "stats" => (0..rounds).for_each(|_| drop(black_box(std::fs::metadata("/work/a.txt")))),
        "empty prints" => (0..rounds).for_each(|_| drop(wasip2::cli::stdout::get_stdout().write(b""))),
        "flushes" => (0..rounds).for_each(|_| drop(wasip2::cli::stdout::get_stdout().blocking_flush())),
        "sleep" => std::thread::sleep(Duration::from_millis(rounds)),
        "our sleep" => jidoka::clock::sleep(Duration::from_millis(rounds))?,
        "alarm" => subscribe_duration(rounds.saturating_mul(1_000_000)).block(),
        "alarms" => {
            let alarms: Vec<_> = (0..100).map(|_| subscribe_duration(rounds.saturating_mul(1_000_000))).collect();
            wasip2::io::poll::poll(&alarms.iter().collect::<Vec<_>>());
        }
        "stack in memory" => drop(black_box(deep(rounds))),
        "stack of the machine" => drop(black_box(deep_in_registers(rounds))),
        other => return Err(format!("no such way: {other}").into()),
    }
    jidoka::info!("did {rounds}");
    Ok(Report::done("was busy"))
}
