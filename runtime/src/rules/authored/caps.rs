//! `[caps]`, and the operator's ceilings on them in `[policy.caps]`.
//!
//! Never: a cap without an end. Where the operator says nothing, the ceiling is the end of the cap's range.

use super::amount::{Amount, Unit};
use super::ceiling::{Ceiling, Excess, Shown};
use super::kinds::Kind;
use super::reader::{Key, Read, Reader, Section};
use crate::rules::spec::{Caps, Origin};

const MEMORY: Key<Amount> =
    Key { name: "memory", kind: Amount::new(Unit::Size, 64 << 10, 1 << 30), example: "\"64MiB\"" };
const LOG: Key<Amount> = Key { name: "log", kind: Amount::new(Unit::Size, 0, 16 << 20), example: "\"256KiB\"" };
const STDIO: Key<Amount> = Key { name: "stdio", kind: Amount::new(Unit::Size, 0, 16 << 20), example: "\"64KiB\"" };
/// Each is an inode of the host's; of a tree with more the host could not say whether it is progress.
const FILES: Key<Amount> = Key { name: "files", kind: Amount::new(Unit::Count, 0, 100_000), example: "10000" };
/// The preopens, stdio and a stream or two need some, or no guest starts.
const HANDLES: Key<Amount> = Key { name: "handles", kind: Amount::new(Unit::Count, 16, 65_536), example: "1024" };
/// A request's texts must fit (`policy::MAX_REQUEST_BYTES` bounds them again).
const LIFTED: Key<Amount> =
    Key { name: "lifted", kind: Amount::new(Unit::Size, 64 << 10, 64 << 20), example: "\"2MiB\"" };

/// The ceilings of an operator who sets none.
pub(super) const WIDEST: Caps = Caps {
    memory_bytes: MEMORY.kind.most,
    log_bytes: LOG.kind.most,
    stdio_bytes: STDIO.kind.most,
    files: FILES.kind.most,
    handles: HANDLES.kind.most,
    lifted_bytes: LIFTED.kind.most,
};

/// Reads `[caps]` under its ceilings.
pub(super) fn read(mut section: Section<'_>, reader: &mut Reader, ceilings: &Caps) -> Caps {
    let defaults = Caps::default();
    let mut cap = |key, default, most| cap(&mut section, reader, key, default, most);
    let caps = Caps {
        memory_bytes: cap(&MEMORY, defaults.memory_bytes, ceilings.memory_bytes),
        log_bytes: cap(&LOG, defaults.log_bytes, ceilings.log_bytes),
        stdio_bytes: cap(&STDIO, defaults.stdio_bytes, ceilings.stdio_bytes),
        files: cap(&FILES, defaults.files, ceilings.files),
        handles: cap(&HANDLES, defaults.handles, ceilings.handles),
        lifted_bytes: cap(&LIFTED, defaults.lifted_bytes, ceilings.lifted_bytes),
    };
    section.finish(reader);
    caps
}

fn cap(section: &mut Section<'_>, reader: &mut Reader, key: &Key<Amount>, default: u64, most: u64) -> u64 {
    let whole = section.key(key.name);
    match section.if_written(reader, key) {
        Read::Wrong => default,
        Read::Absent => {
            let origin = if default > most { Origin::Operator } else { Origin::Default };
            reader.set(whole, key.kind.show(&default.min(most)), origin);
            default.min(most)
        }
        Read::Found(found) => {
            if found.value > most {
                let [asked, most] = [found.value, most].map(|amount| Shown::amount(&key.kind, amount));
                let ceiling = Ceiling { section: "policy.caps", name: key.name };
                reader.mistake(
                    Excess { key: &whole, span: Some(found.span), asked, most, ceiling, instead: None }.mistake(),
                );
            }
            found.value
        }
    }
}

/// Reads `[policy.caps]`. Those that are written are noted.
pub(super) fn ceilings(mut section: Section<'_>, reader: &mut Reader) -> Caps {
    let mut most =
        |key: &Key<Amount>| section.if_written(reader, key).found().map_or(key.kind.most, |found| found.value);
    let caps = Caps {
        memory_bytes: most(&MEMORY),
        log_bytes: most(&LOG),
        stdio_bytes: most(&STDIO),
        files: most(&FILES),
        handles: most(&HANDLES),
        lifted_bytes: most(&LIFTED),
    };
    section.finish(reader);
    caps
}
