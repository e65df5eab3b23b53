//! A job's file under an operator's file, both as anybody may write them; and a model's transcript.
//!
//! Up to a line feed, a zero and a line feed the bytes are the job, after that the operator's file. Either is also read as a
//! transcript.

use jidoka::doors::script::ScriptedModel;
use jidoka::rules::authored::{self, Mistake, OperatorFile, Overrides};
use jidoka::rules::spec::RunSpec;

/// The body of the target `job`.
pub fn run(bytes: &[u8]) {
    let mut parts = super::parts(bytes);
    parts.resize(2, String::new());
    let [job, operator] = &parts[..] else { unreachable!("it was made of this length") };
    let file = match authored::operator(operator) {
        Ok(file) => file,
        Err(mistakes) => {
            hold(operator, &mistakes, Tenant::OfTheFile);
            OperatorFile::default()
        }
    };
    let tenant = if file.tenants.is_empty() { Tenant::OfTheFile } else { Tenant::OfTheCommandLine };
    match authored::job(job, &file, &Overrides::default()) {
        Ok(spec) => comes_back(&spec),
        Err(mistakes) => hold(job, &mistakes, tenant),
    }
    for text in &parts {
        drop(ScriptedModel::parse(text));
    }
}

/// A spec is kept in the journal, and a replay has it from there.
fn comes_back(spec: &RunSpec) {
    let kept = serde_json::to_string(spec).expect("plain data");
    let again: RunSpec = serde_json::from_str(&kept).expect("what was written can be read");
    assert_eq!(&again, spec);
    assert_eq!(serde_json::to_string(&again).expect("plain data"), kept);
}

/// Who says whose a run is: where an operator names tenants, the command line may have to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tenant {
    OfTheFile,
    OfTheCommandLine,
}

/// Each mistake is at a place of the text, and can be shown.
fn hold(text: &str, mistakes: &[Mistake], tenant: Tenant) {
    assert!(!mistakes.is_empty());
    for mistake in mistakes {
        match &mistake.span {
            Some(span) => assert!(text.get(span.clone()).is_some(), "{span:?} of {mistake:?}"),
            None => assert!(tenant == Tenant::OfTheCommandLine, "{mistake:?}"),
        }
        assert!(!mistake.message.contains(char::is_control), "{:?}", mistake.message);
    }
}
