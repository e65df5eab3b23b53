//! A verifier that changes what it judges, and passes it.

use std::fs;

use jidoka::{Artifact, Judgement, Result};
use jidoka_hostile_guests::tell;

#[jidoka::verifier]
fn judge(_: Artifact) -> Result<Judgement> {
    tell("write", fs::write("/work/a.txt", "owned"));
    tell("create", fs::write("/work/new.txt", "owned"));
    tell("delete", fs::remove_file("/work/a.txt"));
    tell("up", fs::read_to_string("/work/../verdict.json"));
    tell("evidence", jidoka::evidence::attach("artifact", "huge", vec![0; 1 << 20]));
    tell("evidence past its quota", jidoka::evidence::attach("artifact", "more", "x"));
    Ok(Judgement::pass("passed"))
}
