//! What several attacks share.

use std::fmt::{Debug, Display};

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

/// Notes what came of one step, for the test: `STEP: got VALUE` or `STEP: no, ERROR`. Returns whether it went through.
pub fn tell<T: Debug, E: Display>(step: &str, result: Result<T, E>) -> bool {
    match &result {
        Ok(value) => jidoka::info!("{step}: got {value:?}"),
        Err(error) => jidoka::info!("{step}: no, {error}"),
    }
    result.is_ok()
}

/// A directory of the guest by the name that it has there, without the standard library in between.
pub fn preopen(name: &str) -> Descriptor {
    let found = get_directories().into_iter().find(|(_, at)| at == name);
    found.expect("the job grants it").0
}

/// Opens exactly this path: nothing is resolved or refused before the host sees it.
pub fn open_raw(dir: &Descriptor, path: &str, how: OpenFlags, to: DescriptorFlags) -> Result<Descriptor, ErrorCode> {
    dir.open_at(PathFlags::SYMLINK_FOLLOW, path, how, to)
}

/// The number that the job gives as an input.
pub fn number(task: &jidoka::Task, input: &str) -> u64 {
    task.input(input).expect("the test gives it").parse().expect("the test gives a number")
}
