//! `jidoka sign`: a signature beside a component, with a key of the operator's.
//!
//! Never: keeps the key, writes over a signature.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use crate::run::anatomy::Anatomy;
use crate::run::pinned::{self, MAX_KEY_BYTES};
use crate::run::shape::MAX_COMPONENT_BYTES;

use super::load::LoadError;
use super::machine::Machine;
use super::terminal::say;

/// Words of `sign`.
#[derive(Debug, Args)]
pub struct SignArguments {
    /// The component. Its signature is written beside it, into COMPONENT.sig.
    component: PathBuf,
    /// An Ed25519 private key in PEM, as `openssl genpkey -algorithm ed25519` makes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// `jidoka sign`.
pub(super) fn sign(machine: &dyn Machine, arguments: &SignArguments) -> Result<u8, LoadError> {
    let SignArguments { component, key } = arguments;
    let read = |path: &Path, most| machine.read_at_most(path, most).with_context(|| format!("read {}", path.display()));
    let bytes = read(component, MAX_COMPONENT_BYTES as u64)?;
    let anatomy = Anatomy::of(&bytes).with_context(|| format!("sign {}", component.display()))?;
    if let Some(why) = anatomy.refused {
        return Err(anyhow!("sign {}: it would not be compiled: {why}", component.display()).into());
    }
    let (signature, public) =
        pinned::sign(&read(key, MAX_KEY_BYTES)?, &bytes).with_context(|| format!("sign with {}", key.display()))?;
    let path = pinned::signature_of(component);
    let (mut file, unfinished) = machine.new_file(&path).with_context(|| {
        format!("write {}: a signature that is there already is removed by whoever made it", path.display())
    })?;
    std::io::Write::write_all(&mut file, &signature.0).with_context(|| format!("write {}", path.display()))?;
    unfinished.keep();
    say!("{} · {} · signed by {public}", path.display(), anatomy.digest);
    Ok(0)
}
