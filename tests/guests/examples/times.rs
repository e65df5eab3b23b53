//! Looks for a real clock: in files, in the order of directories, in the clocks themselves.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Instant, SystemTime};

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{preopen, tell};
use wasip2::filesystem::types::{NewTimestamp, PathFlags};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    for name in ["z", "m", "a", "k", "b"] {
        fs::write(format!("/work/{name}"), name.repeat(3))?;
    }
    fs::create_dir("/work/dir")?;
    let work = preopen("/work");
    tell("set times", work.set_times_at(PathFlags::empty(), "a", NewTimestamp::Now, NewTimestamp::Now));
    let names: Vec<String> = fs::read_dir("/work")?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    jidoka::info!("names {}", names.join(","));
    let mut times = BTreeSet::new();
    let mut links = BTreeSet::new();
    for name in &names {
        let stat = work.stat_at(PathFlags::empty(), name).map_err(jidoka::Error::new)?;
        let stamp = |stamp: Option<wasip2::clocks::wall_clock::Datetime>| stamp.map(|at| (at.seconds, at.nanoseconds));
        times.insert(stamp(stat.data_access_timestamp));
        times.insert(stamp(stat.data_modification_timestamp));
        times.insert(stamp(stat.status_change_timestamp));
        links.insert(stat.link_count);
    }
    jidoka::info!("distinct times {}", times.len());
    jidoka::info!("links {links:?}");
    let hash = |name: &str| work.metadata_hash_at(PathFlags::empty(), name).map(|hash| (hash.lower, hash.upper));
    jidoka::info!(
        "identity {:?} {:?}",
        hash("a").map_err(jidoka::Error::new)?,
        hash("dir").map_err(jidoka::Error::new)?
    );
    // Work that takes real time is not seen to take any: each reading is one tick.
    let (start, wall) = (Instant::now(), SystemTime::now());
    let mut count = 0_u64;
    for _ in 0..5_000_000 {
        count = std::hint::black_box(count + 1);
    }
    jidoka::info!("elapsed {:?} {:?}", start.elapsed(), wall.elapsed().map_err(jidoka::Error::new)?);
    Ok(Report::done("looked"))
}
