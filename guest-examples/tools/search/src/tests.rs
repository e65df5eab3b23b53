//! What a search finds, and where each of its caps is.

use super::*;
use jidoka::testing::{FakeHost, Outcome};

fn input(pattern: &str) -> Input {
    Input { pattern: pattern.to_owned(), ..Input::default() }
}

fn found(host: FakeHost, input: Input) -> Output {
    match host.run(search, input).outcome {
        Outcome::Returned(output) => output,
        other => panic!("{other:?}"),
    }
}

fn refused(input: Input) -> String {
    match FakeHost::new().file("a", "x").run(search, input).outcome {
        Outcome::Failed(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn project() -> FakeHost {
    FakeHost::new()
        .file("src/b.rs", "fn two() {}\nfn TWO() {}\n")
        .file("src/a.rs", "one\nfn two() {}\nthree\nfour\nfn two() {}")
        .file("notes.md", "two")
}

#[test]
fn lines_come_by_path_and_number() {
    let found = found(project(), input(r"two\b"));
    assert_eq!(
        found.text,
        "notes.md:1: two\nsrc/a.rs:2: fn two() {}\nsrc/a.rs:5: fn two() {}\nsrc/b.rs:1: fn two() {}\n"
    );
    assert_eq!((found.matches, found.files, found.cut), (4, 3, None));
}

#[test]
fn case_and_plain_text_are_options() {
    assert_eq!(found(project(), Input { ignore_case: true, ..input("two") }).matches, 5);
    assert_eq!(found(project(), Input { literal: true, ..input("two()") }).matches, 3);
    assert_eq!(found(project(), Input { literal: true, ..input("t.o") }).matches, 0);
}

#[test]
fn globs_choose_and_leave_out() {
    let globs = |paths: &[&str], exclude: &[&str]| {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        let input = Input { paths: owned(paths), exclude: owned(exclude), ..input("two") };
        found(project(), input).files
    };
    assert_eq!(globs(&["**/*.rs"], &[]), 2);
    assert_eq!(globs(&["*.rs"], &[]), 0);
    assert_eq!(globs(&["src/"], &[]), 2);
    assert_eq!(globs(&["/work/src/{a,c}.rs", "./notes.md"], &[]), 2);
    assert_eq!(globs(&[], &["src/**"]), 1);
}

#[test]
fn context_is_shown_once() {
    let around = |context| found(project(), Input { context, paths: vec!["src/a.rs".to_owned()], ..input("two") }).text;
    assert_eq!(
        around(1),
        "src/a.rs-1- one\nsrc/a.rs:2: fn two() {}\nsrc/a.rs-3- three\nsrc/a.rs-4- four\nsrc/a.rs:5: fn two() {}\n"
    );
    assert_eq!(around(MAX_CONTEXT), around(1));
    assert!(refused(Input { context: MAX_CONTEXT + 1, ..input("x") }).contains("at most 10"));
}

#[test]
fn binary_and_large_files_are_skipped_and_told() {
    let host = FakeHost::new()
        .file("a", "x\0")
        .file("b", "\0x")
        .file("fits", vec![b'x'; MAX_FILE_BYTES as usize])
        .file("large", vec![b'x'; MAX_FILE_BYTES as usize + 1]);
    let found = found(host, input("x"));
    assert_eq!((found.matches, found.files), (1, 1));
    assert_eq!(
        found.skipped,
        [
            Skipped { why: "binary", files: 2, first: "a".to_owned() },
            Skipped { why: "larger than 1 MiB", files: 1, first: "large".to_owned() },
        ]
    );
}

#[test]
fn bytes_that_are_no_utf_8_are_searched_too() {
    let found = found(FakeHost::new().file("a", b"caf\xe9 x".to_vec()), input("x$"));
    assert_eq!(found.text, "a:1: caf\u{fffd} x\n");
}

#[test]
fn matches_are_cut_after_exactly_n() {
    let lines = |count: usize| FakeHost::new().file("a", "x\n".repeat(count));
    let whole = found(lines(DEFAULT_MATCHES), input("x"));
    assert_eq!((whole.matches, whole.cut), (DEFAULT_MATCHES, None));
    let cut = found(lines(DEFAULT_MATCHES + 1), input("x"));
    assert_eq!((cut.matches, cut.cut.as_deref()), (DEFAULT_MATCHES, Some("after 100 matches, at a:101")));
    let most = found(lines(600), Input { max_matches: Some(MAX_MATCHES), ..input("x") });
    assert_eq!(most.matches, MAX_MATCHES);
    for wrong in [0, MAX_MATCHES + 1] {
        assert!(refused(Input { max_matches: Some(wrong), ..input("x") }).contains("1 to 500"));
    }
}

#[test]
fn the_answer_is_cut_at_its_bytes() {
    // Each match is told in 128 bytes, so that its bytes are used up before the matches are.
    let line = "x".repeat(128 - "a:100: \n".len());
    let lines = |count: usize| {
        let text = "\n".repeat(99) + &format!("{line}\n").repeat(count);
        found(FakeHost::new().file("a", text), Input { max_matches: Some(MAX_MATCHES), ..input("x") })
    };
    let whole = lines(MAX_TEXT_BYTES / 128);
    assert_eq!((whole.text.len(), whole.cut), (MAX_TEXT_BYTES, None));
    let cut = lines(MAX_TEXT_BYTES / 128 + 1);
    assert_eq!((cut.text.len(), cut.cut.as_deref()), (MAX_TEXT_BYTES, Some("after 32768 bytes, at a:356")));
}

#[test]
fn a_long_line_is_cut_at_a_character() {
    let told = |line: String| found(FakeHost::new().file("a", line), input("x")).text;
    let fits = "x".repeat(text::MAX_LINE_BYTES);
    assert_eq!(told(fits.clone()), format!("a:1: {fits}\n"));
    let long = format!("{}é", "x".repeat(text::MAX_LINE_BYTES - 1));
    assert!(told(long).ends_with("xx [cut after 399 of 401 bytes]\n"));
}

#[test]
fn what_one_call_reads_is_bounded() {
    let mib = |count: usize| {
        let host = (0..count).fold(FakeHost::new(), |host, at| host.file(format!("{at:03}"), vec![b'x'; 1 << 20]));
        found(host, Input { max_matches: Some(MAX_MATCHES), ..input("y") })
    };
    assert_eq!(mib(64).cut, None);
    assert_eq!(mib(65).cut.as_deref(), Some("before 064: 67108864 bytes are read in one call"));
}

#[test]
fn patterns_hold_at_n_bytes_and_are_refused_at_n_plus_1() {
    let literal = |bytes: usize| Input { literal: true, ..input(&"x".repeat(bytes)) };
    assert_eq!(found(FakeHost::new().file("a", "x"), literal(MAX_PATTERN_BYTES)).matches, 0);
    assert!(refused(literal(MAX_PATTERN_BYTES + 1)).contains("1025 bytes"));
    assert!(refused(input("")).contains("0 bytes"));
    assert!(refused(input("(")).contains("unclosed group"));
    assert!(refused(input("(?:x{1000}){1000}")).contains("size limit"));
    assert!(refused(input(&format!("{}x{}", "(".repeat(500), ")".repeat(500)))).contains("nest"));
}

#[test]
fn globs_hold_at_n_and_are_refused_at_n_plus_1() {
    let globs = |count: usize, bytes: usize| Input { paths: vec!["x".repeat(bytes); count], ..input("x") };
    let host = || FakeHost::new().file("a", "x");
    assert_eq!(found(host(), globs(paths::MAX_GLOBS, paths::MAX_GLOB_BYTES)).files, 0);
    assert!(refused(globs(paths::MAX_GLOBS + 1, 1)).contains("at most 32"));
    assert!(refused(globs(1, paths::MAX_GLOB_BYTES + 1)).contains("1 to 256"));
    assert!(refused(Input { exclude: vec!["a{b".to_owned()], ..input("x") }).contains("`exclude`"));
}

#[test]
fn without_a_grant_the_setting_is_named() {
    let run = FakeHost::new().run(search, input("x"));
    let Outcome::Failed(error) = run.outcome else { panic!("{:?}", run.outcome) };
    assert!(error.to_string().contains("[grants] files"), "{error}");
}
