//! The check of `fixer`: runs the job's tests against the worker's source, both in the Rhai language.
//!
//! The tests come from `/context`, never from `/work`: a worker that edits its tests changes nothing here. The source is
//! hostile text: it runs under limits, cannot import or evaluate, and may not define a name that the tests rely on.
//! What those limits let through (a value nested so deep that dropping it takes all the stack) traps in the sandbox, and
//! a check that traps is never a pass.

use std::collections::BTreeSet;

use jidoka::workspace::{self, Dir};
use jidoka::{Artifact, Error, Judgement, Result};
use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, Scope};

/// Operations of one test: thousands of times what an honest one needs, a fraction of a second for one that loops.
const MAX_OPERATIONS: u64 = 1_000_000;
/// Calls within calls. Each takes a few KiB of a stack of 1 MiB, and overflowing it would trap.
const MAX_CALL_LEVELS: usize = 32;
/// Nesting of expressions, at top level and inside functions; the parser recurses too.
const MAX_EXPRESSION_DEPTH: usize = 32;
/// Bytes of one string.
const MAX_STRING_BYTES: usize = 64 * 1024;
/// Elements of one array or map.
const MAX_ELEMENTS: usize = 10_000;
/// Variables in scope at once.
const MAX_VARIABLES: usize = 1_000;
/// Functions of all scripts together.
const MAX_FUNCTIONS: usize = 1_000;

/// What a test function's name starts with.
const TEST: &str = "test_";
/// The functions that this check gives to the tests.
const GIVEN: [&str; 2] = ["assert", "assert_eq"];

#[jidoka::verifier]
fn judge(_artifact: Artifact) -> Result<Judgement> {
    let engine = engine();
    let tests =
        compile(&engine, &workspace::context(), "").map_err(|error| error.context("the job's tests cannot be read"))?;
    let names = test_names(&tests);
    if names.is_empty() {
        return Err(format!("no `fn {TEST}*` in the job's tests: nothing would be checked").into());
    }
    let source = match compile(&engine, &workspace::work(), "src/") {
        Ok(source) => source,
        Err(error) => return Ok(Judgement::fail("the source does not compile").with_finding(error.to_string())),
    };
    let taken = taken_names(&source, &tests);
    if !taken.is_empty() {
        let judgement = Judgement::fail("the source defines names that belong to the tests");
        return Ok(taken.iter().fold(judgement, |judgement, name| judgement.with_finding(format!("fn {name}"))));
    }
    Ok(run_tests(&engine, &source.merge(&tests), &names))
}

fn run_tests(engine: &Engine, all: &AST, names: &BTreeSet<String>) -> Judgement {
    let mut failures = Vec::new();
    for name in names {
        let options = CallFnOptions::new().eval_ast(false);
        let result: Result<Dynamic, _> = engine.call_fn_with_options(options, &mut Scope::new(), all, name, ());
        if let Err(error) = result {
            failures.push(format!("{name}: {}", words(&error)));
        }
    }
    let count = names.len();
    let judgement = if failures.is_empty() {
        Judgement::pass(format!("{count} of {count} tests pass"))
    } else {
        Judgement::fail(format!("{} of {count} tests fail", failures.len()))
    };
    failures.into_iter().fold(judgement, Judgement::with_finding)
}

/// An engine that can compute and compare, and no more.
fn engine() -> Engine {
    let mut engine = Engine::new();
    engine
        .set_max_operations(MAX_OPERATIONS)
        .set_max_call_levels(MAX_CALL_LEVELS)
        .set_max_expr_depths(MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_DEPTH)
        .set_max_string_size(MAX_STRING_BYTES)
        .set_max_array_size(MAX_ELEMENTS)
        .set_max_map_size(MAX_ELEMENTS)
        .set_max_variables(MAX_VARIABLES)
        .set_max_functions(MAX_FUNCTIONS)
        .disable_symbol("eval")
        .on_print(|_| {})
        .on_debug(|_, _, _| {});
    engine.register_fn("assert", |condition: bool| {
        if condition { Ok(()) } else { Err(failed("the condition does not hold".to_owned())) }
    });
    engine.register_fn("assert_eq", |got: i64, wanted: i64| {
        if got == wanted { Ok(()) } else { Err(failed(format!("got {got}, wanted {wanted}"))) }
    });
    engine
}

fn failed(words: String) -> Box<EvalAltResult> {
    words.into()
}

/// The innermost reason: the position in a merged script would name no file.
fn words(error: &EvalAltResult) -> String {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => words(inner),
        EvalAltResult::ErrorRuntime(value, _) => value.to_string(),
        other => other.to_string(),
    }
}

/// All scripts of a directory whose path starts with `prefix`, as one.
fn compile(engine: &Engine, directory: &Dir, prefix: &str) -> Result<AST> {
    let mut all = AST::empty();
    for path in directory.files()? {
        if !path.starts_with(prefix) || !path.ends_with(".rhai") {
            continue;
        }
        let text = directory.read(&path)?;
        let script = engine.compile(&text).map_err(|error| Error::new(error).context(&path))?;
        all.combine(script);
    }
    Ok(all)
}

fn test_names(tests: &AST) -> BTreeSet<String> {
    tests
        .iter_functions()
        .filter(|function| function.name.starts_with(TEST) && function.params.is_empty())
        .map(|function| function.name.to_owned())
        .collect()
}

/// Functions of the source that would stand in for the tests' own, or for what the tests are given.
fn taken_names(source: &AST, tests: &AST) -> BTreeSet<String> {
    let reserved: BTreeSet<&str> = tests.iter_functions().map(|function| function.name).chain(GIVEN).collect();
    source
        .iter_functions()
        .filter(|function| reserved.contains(function.name))
        .map(|function| function.name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jidoka::testing::{FakeHost, Run};

    const TESTS: &str = "fn test_one() { assert_eq(one(), 1); } fn test_true() { assert(one() > 0); }";

    fn check(source: &str) -> Run<Judgement> {
        FakeHost::new()
            .file("src/a.rhai", source)
            .file("tests/a.rhai", "fn test_nothing() { }")
            .context_file("a.rhai", TESTS)
            .run(judge, Artifact::new("fix it"))
    }

    fn finding(source: &str) -> String {
        let run = check(source);
        assert!(!run.judgement().pass, "{source}");
        run.judgement().findings.join("\n")
    }

    #[test]
    fn right_source_passes_and_wrong_source_says_why() {
        let right = check("fn one() { 1 }");
        assert!(right.judgement().pass);
        assert_eq!(right.judgement().summary, "2 of 2 tests pass");
        assert_eq!(finding("fn one() { 2 }"), "test_one: got 2, wanted 1");
        assert!(finding("fn one( { 1 }").starts_with("src/a.rhai: "));
        assert!(finding("fn two() { 2 }").contains("one"));
    }

    #[test]
    fn source_cannot_replace_what_judges_it() {
        assert_eq!(finding("fn one() { 2 } fn assert_eq(a, b) { }"), "fn assert_eq");
        assert_eq!(finding("fn one() { 2 } fn test_one() { }"), "fn test_one");
        assert!(finding("fn one() { eval(\"1\") }").contains("eval"));
    }

    #[test]
    fn endless_source_is_stopped_by_its_limits() {
        assert!(finding("fn one() { loop { } }").contains("Too many operations"));
        assert!(finding("fn one() { one() }").contains("Stack overflow"));
        assert!(finding("fn one() { let s = \"x\"; loop { s += s; } }").contains("too large"));
    }

    #[test]
    fn no_tests_are_no_pass() {
        let empty = FakeHost::new().file("src/a.rhai", "").context_file("a.rhai", "fn helper() { }");
        let run = empty.run(judge, Artifact::new("fix it"));
        assert!(matches!(run.outcome, jidoka::testing::Outcome::Failed(_)));
        let none = FakeHost::new().file("src/a.rhai", "").run(judge, Artifact::new("fix it"));
        assert!(matches!(none.outcome, jidoka::testing::Outcome::Failed(_)));
    }

    // The broken source is made from the transcript's: a run of the example has fixed the one in the project.
    #[test]
    fn the_example_fails_with_its_bug_and_passes_as_the_transcript_leaves_it() {
        let tests = include_str!("../../fixer/project/tests/basket.rhai");
        let check = |source: &str| {
            let host = FakeHost::new().file("src/basket.rhai", source).context_file("basket.rhai", tests);
            host.run(judge, Artifact::new("fix it"))
        };
        let transcript = include_str!("../../fixer/transcript.toml");
        let start = transcript.find("// A shopping basket").expect("the transcript writes the file");
        let fixed = &transcript[start..];
        let fixed = &fixed[..fixed.find("\"\"\"").expect("the string ends")];
        assert!(check(fixed).judgement().pass);

        let broken = fixed.replace("with_tax(net, tax)", "with_tax(after_discount(net, discount), tax)");
        assert_eq!(
            check(&broken).judgement().findings,
            [
                "test_a_discount_is_taken_once: got 2025, wanted 2250",
                "test_tax_is_on_the_discounted_price: got 2430, wanted 2700",
            ]
        );
        let project = include_str!("../../fixer/project/src/basket.rhai");
        assert!(project == broken || project == fixed, "the transcript must answer this project");
    }

    #[test]
    fn the_example_with_tools_fails_with_its_bug_and_passes_as_its_patch_leaves_it() {
        let (old, new) = ("weight / step_grams()", "(weight + step_grams() - 1) / step_grams()");
        let transcript = include_str!("../../toolsmith/transcript.toml");
        assert!(transcript.contains(&format!("\n-    {old}\n+    {new}\n")));
        let project = include_str!("../../toolsmith/project/src/parcel.rhai");
        let broken = project.replace(new, old);
        let check = |source: &str| {
            let tests = include_str!("../../toolsmith/project/tests/parcel.rhai");
            let host = FakeHost::new().file("src/parcel.rhai", source).context_file("parcel.rhai", tests);
            host.run(judge, Artifact::new("fix it"))
        };
        assert!(check(&broken.replace(old, new)).judgement().pass);
        assert_eq!(
            check(&broken).judgement().findings,
            [
                "test_a_step_begun_is_a_step: got 0, wanted 1",
                "test_parcels_add_up: got 800, wanted 910",
                "test_postage_is_a_base_and_steps: got 400, wanted 510",
            ]
        );
    }
}
