//! Pins: what may stand beside which component, and what the operator asks for of all of them.

use super::*;
use crate::rules::pin::Demander;

const DIGEST: &str = "blake3:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn a_component_is_pinned_by_its_digest_and_by_who_signed_it() {
    let text = with(
        LEAST,
        "component = \"worker.wasm\"\n",
        &format!("component = \"worker.wasm\"\ndigest = {DIGEST:?}\nsigned-by = \"anna.pub\"\n"),
    );
    let spec = plain(&text).expect("it is right");
    assert_eq!(spec.worker_pin.digest.map(|digest| digest.to_string()).as_deref(), Some(DIGEST));
    assert_eq!(setting(&spec, "worker.digest"), (DIGEST, Origin::Job));
    assert_eq!(setting(&spec, "worker.signed-by"), ("anna.pub", Origin::Job));
    let theirs = theirs("[policy]\nsigned-by = [\"bert.pub\", \"carl.pub\"]\n");
    let spec = job(&text, &theirs, &Overrides::default()).expect("it is right");
    let demands: Vec<_> = spec.worker_pin.signed_by.iter().map(|it| (it.whose, it.keys.len())).collect();
    assert_eq!(demands, [(Demander::Job, 1), (Demander::Operator, 2)]);
    assert_eq!(setting(&spec, "policy.signed-by"), ("[bert.pub, carl.pub]", Origin::Operator));
}

#[test]
fn what_is_no_digest_is_said_where_it_stands() {
    for wrong in ["\"\"", "\"blake3:00\"", "\"sha256:00\"", "7", &format!("{:?}", DIGEST.to_uppercase())] {
        let component = "component = \"worker.wasm\"\n";
        let text = with(LEAST, component, &format!("{component}digest = {wrong}\n"));
        let mistakes = plain(&text).expect_err(wrong);
        let [(place, message)] = seen(&text, &mistakes)[..] else { panic!("{mistakes:?}") };
        assert_eq!(place, wrong);
        assert!(message.contains("`worker.digest`"), "{message}");
    }
}

#[test]
fn nobody_can_have_signed_what_is_built_here() {
    let text = with(JOB, "[worker]\ncrate = \".\"\n", "[worker]\ncrate = \".\"\nsigned-by = \"anna.pub\"\n");
    let mistakes = plain(&text).expect_err("a crate");
    assert_eq!(
        seen(&text, &mistakes),
        [("\"anna.pub\"", "`worker.signed-by` asks for a signature of what is built here")]
    );
    // By its digest it can be pinned: a build may be the same everywhere.
    assert!(plain(&with(&text, "signed-by = \"anna.pub\"", &format!("digest = {DIGEST:?}"))).is_ok());
    // The worker and the check are both built.
    let theirs = theirs("[policy]\nsigned-by = [\"bert.pub\"]\n");
    let mistakes = job(JOB, &theirs, &Overrides::default()).expect_err("a crate");
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes.iter().all(|it| it.message.contains("the operator asks for a signature")), "{mistakes:?}");
}

#[test]
fn a_command_is_no_component() {
    let command = format!("command = [\"true\"]\ndigest = {DIGEST:?}\nsigned-by = \"anna.pub\"\n");
    let text = with(JOB, "crate = \"..\"\n", &command);
    let theirs = theirs("[policy]\ncommands = [[\"true\"]]\n");
    let mistakes = job(&text, &theirs, &Overrides::default()).expect_err("a command");
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes.iter().all(|it| it.message.contains("a command is no component")), "{mistakes:?}");
    // What the operator asks of components, a command need not have.
    let theirs = self::theirs("[policy]\ncommands = [[\"true\"]]\nsigned-by = [\"bert.pub\"]\n");
    let text = with(JOB, "crate = \"..\"\n", "command = [\"true\"]\n");
    let text = with(&text, "[worker]\ncrate = \".\"\n", "[worker]\ncomponent = \"w.wasm\"\n");
    let spec = job(&text, &theirs, &Overrides::default()).expect("it is right");
    assert!(spec.checks[0].pin.is_open() && !spec.worker_pin.is_open());
}
