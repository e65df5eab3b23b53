//! A verifier that does what the file `judge` says: `pass`, `fail`, `error`, `panic`, `spin`, `pull`, `write`, `ask` or `get`.

use jidoka::{Artifact, Judgement, Result, andon, fetch, model, workspace};

#[jidoka::verifier]
fn judge(artifact: Artifact) -> Result<Judgement> {
    match workspace::read("judge")?.trim() {
        "pass" => Ok(Judgement::pass(format!("{} changes", artifact.changes.len()))),
        "fail" => Ok(Judgement::fail("not good").with_finding("first").with_finding("second")),
        "error" => Err("could not judge".into()),
        "panic" => panic!("as told"),
        "spin" => loop {
            std::hint::black_box(0);
        },
        "pull" => andon::pull(andon::Category::SystemicRisk, "the verifier saw it", &[]),
        "write" => match workspace::write("judge", "pass") {
            Ok(()) => Ok(Judgement::pass("wrote into the worker's tree")),
            Err(error) => Ok(Judgement::fail(format!("could not write: {error}"))),
        },
        "ask" => Ok(Judgement::fail(format!("{:?}", model::ask(&model::Request::new("model").user("is it?")).err()))),
        "get" => Ok(Judgement::fail(format!("{:?}", fetch::get("http://web.test:8080/").err()))),
        other => Err(format!("no such word: {other}").into()),
    }
}
