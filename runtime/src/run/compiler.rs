//! The compilation wall: a stranger's component is compiled in a process that is locked in and bounded, never in one that
//! runs guests or holds keys.
//!
//! Never: compiles what the shape gate has not let through. A kernel without Landlock or seccomp is no reason not to
//! compile: the bounds hold everywhere, and who wants more says so with the process wall. Bounds: [`MAX_SECONDS`] of processor time, [`MAX_TIME`] by
//! the clock, [`MAX_MEMORY_BYTES`] of memory, [`MAX_CODE_BYTES`] of code.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::doors::lockdown::{Lockdown, LockdownError};
use crate::doors::program::{FORGETFUL, FORGOTTEN, Program, Role};

use super::sandbox;
use super::shape::MAX_COMPONENT_BYTES;

/// Seconds of processor time for one component. The largest that the shape gate lets through take about 60.
pub const MAX_SECONDS: u64 = 120;

/// The same by the clock, for a machine that has other things to do.
pub const MAX_TIME: Duration = Duration::from_secs(300);

/// Bytes of memory that compiling may take. A Python guest of 19 MB takes some 500 MiB.
pub const MAX_MEMORY_BYTES: u64 = 3 << 30;

/// Bytes of compiled code.
pub const MAX_CODE_BYTES: u64 = 512 << 20;

/// Descriptors of a compiler: it opens nothing.
const DESCRIPTORS: u64 = 32;

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler's own words.
    #[error("{0}")]
    Refused(String),
    /// It took more than a component may.
    #[error(
        "compiling it takes more than {MAX_SECONDS} s of processor time, {} s or {} MiB",
        MAX_TIME.as_secs(),
        MAX_MEMORY_BYTES >> 20
    )]
    TooMuch,
    #[error("the compiler's process failed: {0}")]
    Process(String),
}

/// Compiles a component in a process of its own. Blocking.
///
/// # Errors
/// [`CompileError`].
pub fn compile(program: &Program, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    let failed = |error: io::Error| CompileError::Process(error.to_string());
    let (child, mut ours) = program.start(Role::Compiler).map_err(failed)?;
    let mut child = Compiling(child);
    let compiled = exchange(&mut ours, component);
    match compiled {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(why)) => Err(CompileError::Refused(why)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(CompileError::TooMuch)
        }
        Err(error) => {
            let status = child.0.wait().map_err(failed)?;
            match status.signal() {
                None if status.code() == Some(FORGETFUL) => Err(CompileError::Process(FORGOTTEN.to_owned())),
                // Its limits end it so: of time, and of memory, whose refusal Rust answers with an abort.
                Some(libc::SIGXCPU | libc::SIGKILL | libc::SIGABRT) => Err(CompileError::TooMuch),
                _ => Err(CompileError::Process(format!("{error}; {status}"))),
            }
        }
    }
}

/// A process that is gone when nobody waits for it any more.
struct Compiling(Child);

impl Drop for Compiling {
    fn drop(&mut self) {
        // An error says that it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A length and so many bytes there; back a byte that says which, a length, and so many bytes.
fn exchange(pipe: &mut UnixStream, component: &[u8]) -> io::Result<Result<Vec<u8>, String>> {
    let until = now() + MAX_TIME;
    pipe.set_write_timeout(Some(MAX_TIME))?;
    pipe.write_all(&(component.len() as u64).to_le_bytes())?;
    pipe.write_all(component)?;
    let mut head = [0; 9];
    read_until(pipe, &mut head, until)?;
    let [kind, length @ ..] = head;
    let length = u64::from_le_bytes(length);
    if length > MAX_CODE_BYTES {
        return Ok(Err(format!("it makes {length} bytes of code; at most {MAX_CODE_BYTES}")));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    read_until(pipe, &mut bytes, until)?;
    Ok(match kind {
        COMPILED => Ok(bytes),
        _ => Err(String::from_utf8_lossy(&bytes).into_owned()),
    })
}

const COMPILED: u8 = 0;
const REFUSED: u8 = 1;

#[expect(clippy::disallowed_methods, reason = "a deadline of the host's own, which no run sees")]
fn now() -> Instant {
    Instant::now()
}

fn read_until(pipe: &mut UnixStream, mut into: &mut [u8], until: Instant) -> io::Result<()> {
    while !into.is_empty() {
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        pipe.set_read_timeout(Some(left))?;
        match pipe.read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => into = &mut into[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The inside of the compiler's process.
///
/// # Errors
/// The host is gone, or the process could not lock itself in.
pub(super) fn serve(mut pipe: UnixStream) -> io::Result<()> {
    let engine = sandbox::compiling_engine().map_err(io::Error::other)?;
    let lockdown =
        Lockdown { trees: &[], data_bytes: MAX_MEMORY_BYTES, descriptors: DESCRIPTORS, cpu_seconds: Some(MAX_SECONDS) };
    let locked = lockdown.enter();
    if let Err(LockdownError::Refused { .. }) = &locked {
        return Err(io::Error::other("the compiler's process could not be bounded"));
    }
    let mut length = [0; 8];
    pipe.read_exact(&mut length)?;
    let length = usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > MAX_COMPONENT_BYTES {
        return Err(io::Error::other("a component past the shape gate's bound"));
    }
    let mut component = vec![0; length];
    pipe.read_exact(&mut component)?;
    let compiled = adapted(component).and_then(|component| engine.precompile_component(&component));
    let (kind, bytes) = match compiled {
        Ok(code) => (COMPILED, code),
        Err(error) => (REFUSED, sandbox::plain(&error).into_bytes()),
    };
    pipe.write_all(&[kind])?;
    pipe.write_all(&(bytes.len() as u64).to_le_bytes())?;
    pipe.write_all(&bytes)
}

/// A module of WASI preview 1 as a component, wrapped by wasmtime's own adapter: a program if it has a `_start`, a library
/// else. A component stays as it is.
fn adapted(bytes: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
    if !wasmparser::Parser::is_core_wasm(&bytes) {
        return Ok(bytes);
    }
    let adapter = match has_start(&bytes)? {
        true => wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        false => wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let wrapped = wit_component::ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.adapter("wasi_snapshot_preview1", adapter))
        .and_then(|mut encoder| encoder.encode());
    wrapped.map_err(|error| wasmtime::Error::msg(format!("the module cannot be wrapped as a component: {error:#}")))
}

fn has_start(module: &[u8]) -> wasmtime::Result<bool> {
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::ExportSection(exports) = payload? {
            for export in exports {
                if export?.name == "_start" {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
