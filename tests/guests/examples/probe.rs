//! Looks for anything that differs between two runs, and tells it on every way out: log, output, prompt.
//!
//! A line is `NAME: VALUE`. What chance decides begins with `chance`, what a clock shows with `clock`.

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io::{IsTerminal, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jidoka::{Report, Result, Task, clock, model, random};
use jidoka_hostile_guests::{open_raw, preopen};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasip2::io::poll::{Pollable, poll};
use wasip2::random::{insecure, insecure_seed, random as secure};

/// What was sensed so far.
struct Told(String);

impl Told {
    fn tell(&mut self, name: &str, value: impl Debug) {
        let line = format!("{name}: {value:?}");
        jidoka::info!("{line}");
        println!("{line}");
        self.0 += &(line + "\n");
    }
}

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let mut told = Told(String::new());
    told.tell("clock at the start", clocks());
    told.tell("clock after a note", clocks());
    chances(&mut told)?;
    surroundings(&mut told, &task);
    files(&mut told)?;
    numbers(&mut told);
    alarms(&mut told)?;
    told.tell("clock before a sleep", clocks());
    std::thread::sleep(Duration::from_millis(7));
    told.tell("clock after a sleep", clocks());
    clock::sleep(Duration::from_millis(7))?;
    told.tell("clock after a sleep of ours", clocks());
    let reply = model::ask(&model::Request::new("model").user(told.0.clone()).max_output(100))?;
    told.tell("reply", reply.text);
    told.tell("clock after the reply", clocks());
    eprintln!("{}", told.0);
    Ok(Report::done(told.0))
}

/// Every clock that there is, read once.
fn clocks() -> impl Debug {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let raw = wall_clock::now();
    (wall, (raw.seconds, raw.nanoseconds), monotonic_clock::now(), monotonic_clock::resolution(), clock::now_ms())
}

fn chances(told: &mut Told) -> Result<()> {
    let letters: HashMap<char, u32> = ('a'..='z').zip(0..).collect();
    told.tell("chance in a map's order", letters.keys().collect::<String>());
    told.tell("chance in a hash", RandomState::new().hash_one(1));
    told.tell("chance, secure", (secure::get_random_bytes(8), secure::get_random_u64()));
    told.tell("chance, insecure", (insecure::get_insecure_random_bytes(8), insecure::get_insecure_random_u64()));
    told.tell("chance in a seed", insecure_seed::insecure_seed());
    told.tell("chance, ours", (random::bytes(8)?, random::number()?));
    Ok(())
}

fn surroundings(told: &mut Told, task: &Task) {
    told.tell("task", (&task.item, task.attempt, &task.text));
    told.tell("variables", std::env::vars().collect::<Vec<_>>());
    told.tell("arguments", std::env::args().collect::<Vec<_>>());
    told.tell("current directory", std::env::current_dir());
    told.tell("executable", std::env::current_exe().map_err(|error| error.kind()));
    told.tell("threads", std::thread::available_parallelism().map_err(|error| error.kind()));
    let terminals = [std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal()];
    told.tell("terminals", terminals);
    told.tell("input", std::io::stdin().read(&mut [0; 8]));
    told.tell("memory pages", core::arch::wasm32::memory_size::<0>());
    told.tell("places", (&raw const *told as usize, Box::into_raw(Box::new(0_u64)) as usize));
    told.tell("socket", TcpStream::connect("127.0.0.1:80").map(drop));
    told.tell("name", "localhost:80".to_socket_addrs().map(drop));
}

fn files(told: &mut Told) -> Result<()> {
    for name in ["zebra", "mole", "ant", "kite", "bee"] {
        fs::write(format!("/work/{name}"), name.repeat(3))?;
    }
    fs::create_dir("/work/nest")?;
    for dir in ["/work", "/context"] {
        let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
        told.tell("order", entries.collect::<Result<Vec<_>>>()?);
    }
    let since = |time: std::io::Result<SystemTime>| time.map(|time| time.duration_since(UNIX_EPOCH));
    for path in ["/work/ant", "/work/old", "/work/nest", "/work"] {
        let data = fs::metadata(path)?;
        told.tell(
            "clock of a file",
            (path, since(data.modified()), since(data.accessed()), since(data.created()).is_ok()),
        );
        told.tell("file", (path, data.len(), data.file_type(), data.permissions()));
    }
    let work = preopen("/work");
    for path in ["ant", "nest", "old"] {
        let stat = work.stat_at(PathFlags::empty(), path).map(|stat| (stat.type_, stat.link_count, stat.size));
        let hash = work.metadata_hash_at(PathFlags::empty(), path).map(|hash| (hash.lower, hash.upper));
        told.tell("identity", (path, stat, hash));
    }
    told.tell("flags", work.get_flags());
    told.tell("missing", fs::read("/work/missing").map_err(|error| error.to_string()));
    told.tell("not empty", fs::remove_dir("/work").map_err(|error| error.to_string()));
    told.tell("over a directory", fs::rename("/work/ant", "/work/nest").map_err(|error| error.to_string()));
    told.tell("not a directory", fs::read_dir("/work/ant").map(drop).map_err(|error| error.to_string()));
    Ok(())
}

/// What a machine may compute in its own way: the bits of what is no number, and how numbers are written.
fn numbers(told: &mut Told) {
    let odd = black_box(f64::from_bits(0xfff4_0000_dead_beef));
    let [zero, none, infinite, endless] = [0.0, 0.0, f64::INFINITY, f64::INFINITY].map(black_box);
    let nans =
        [zero / none, -(zero / none), infinite - endless, infinite * zero, (-endless).sqrt(), odd + 1.0, odd * odd];
    told.tell("f64", nans.map(|nan| format!("{:016x}", nan.to_bits())));
    let narrow = black_box(f32::from_bits(0xffa0_beef));
    let [zero, none, infinite, endless] = [0.0, 0.0, f32::INFINITY, f32::INFINITY].map(black_box);
    let nans = [zero / none, infinite - endless, (-endless).sqrt(), narrow + 1.0, odd as f32, narrow.min(1.0)];
    told.tell("f32", nans.map(|nan| format!("{:08x}", nan.to_bits())));
    told.tell("wider", format!("{:016x}", f64::from(narrow).to_bits()));
    let awkward = [0.1 + 0.2, 1e-320, f64::MAX, 1e21, -0.0, 5e-324, 2.5_f64.powf(0.3), 1e300_f64.ln(), 3.0_f64.sin()];
    told.tell("numbers", awkward.map(black_box));
    told.tell("rounded", awkward.map(|number| format!("{number:.3e} {:.0}", number as f32)));
}

/// Tells nothing in between: an entry of the journal moves the clock, and nothing else may while nobody waits.
fn alarms(told: &mut Told) -> Result<()> {
    let file =
        open_raw(&preopen("/work"), "ant", OpenFlags::empty(), DescriptorFlags::READ).map_err(jidoka::Error::new)?;
    let bytes = file.read_via_stream(0).map_err(jidoka::Error::new)?;
    let start = monotonic_clock::now();
    let waits = [
        monotonic_clock::subscribe_duration(9_000_000),
        bytes.subscribe(),
        monotonic_clock::subscribe_duration(3_000_000),
        monotonic_clock::subscribe_instant(u64::MAX),
        monotonic_clock::subscribe_duration(6_000_000),
        monotonic_clock::subscribe_instant(0),
    ];
    // Of a file and alarms, what is ready depends on no disk; of two alarms, the earlier is first, however late both are.
    let ready = waits.each_ref().map(Pollable::ready);
    let of_all = poll(&waits.each_ref());
    let work = (0..50_000_000_u64).fold(0, |sum, number| black_box(sum + number));
    let mut went_off = Vec::new();
    let mut left = vec![0, 4, 2, 3];
    while left != [3] {
        let ready = poll(&left.iter().map(|&index: &usize| &waits[index]).collect::<Vec<_>>());
        let indexes: Vec<usize> = ready.iter().map(|&at| left[at as usize]).collect();
        left.retain(|index| !indexes.contains(index));
        went_off.push((indexes, monotonic_clock::now() - start));
    }
    let ready_after = waits.each_ref().map(Pollable::ready);
    told.tell("ready", ready);
    told.tell("of all", of_all);
    told.tell("work", work);
    told.tell("went off", went_off);
    told.tell("ready after", ready_after);
    told.tell("bytes", bytes.read(64));
    Ok(())
}
