//! The inside of a process that becomes a native program: it is told which, encloses itself, and is that program from then on.
//!
//! Never: runs the program where the enclosure does not hold; takes a byte of its standard input that is the program's; leaves it a descriptor beside its pipes.
//! Invariant here: the order came before all that, from the host.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;

use super::enclosure::Enclosure;
use crate::rules::mcp::McpSpec;

/// Bytes of an order: arguments and variables of an operator's file.
const MAX_ORDER_BYTES: u32 = 1 << 20;

/// The last of the three descriptors that a program begins with.
const PIPES: i32 = 2;

/// The order as the launcher reads it: its length, and itself.
pub(super) fn order(spec: &McpSpec) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(spec)?;
    let length = u32::try_from(text.len()).ok().filter(|&length| length <= MAX_ORDER_BYTES);
    let length = length.ok_or_else(|| io::Error::other(format!("it is ordered with {} bytes", text.len())))?;
    Ok([length.to_be_bytes().as_slice(), &text].concat())
}

/// Becomes the program of the order. To be called first thing: no thread may have been started yet.
///
/// # Errors
/// It could not; the process is to end then.
pub fn serve() -> io::Result<Infallible> {
    close_others()?;
    // Unbuffered: what follows the order is for the program.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ORDER_BYTES {
        return Err(io::Error::other("its order is too long"));
    }
    let mut text = vec![0; usize::try_from(length).expect("32 bits fit")];
    input.read_exact(&mut text)?;
    drop(input);
    let spec: McpSpec = serde_json::from_slice(&text)?;
    let enclosure = Enclosure { program: &spec.program, reads: &spec.reads, writes: &spec.writes, limits: spec.limits };
    enclosure.enter().map_err(io::Error::other)?;
    Err(become_program(&spec))
}

/// Closes what somebody left open for all children of the host's: nothing of it is for the program.
fn close_others() -> io::Result<()> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<i32>().ok());
        others.push(number.ok_or_else(|| io::Error::other("a descriptor has no number"))?);
    }
    for number in others.into_iter().filter(|&number| number > PIPES) {
        // The one that listed them is closed already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this process becomes the program, it starts none")]
fn become_program(spec: &McpSpec) -> io::Error {
    let mut command = std::process::Command::new(&spec.program);
    command.args(&spec.arguments).env_clear().envs(&spec.env);
    if let Some(first) = spec.writes.first() {
        command.current_dir(first);
    }
    let error = command.exec();
    io::Error::new(error.kind(), format!("{}: {error}", spec.program.display()))
}
