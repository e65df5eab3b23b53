//! What a patch changes, what it refuses, and that a refusal changes nothing.

use super::tools::{Applied, Apply, MAX_DIFF_BYTES, MAX_PLACES, MAX_TEXT_BYTES, Replace, Replaced, apply, replace};
use crate::change::{Kind, MAX_CONFLICTS, MAX_FILE_BYTES};
use crate::diff::{MAX_FILES, MAX_HUNK_LINES, MAX_HUNKS};
use crate::place::Placed;
use jidoka::testing::{FakeHost, Outcome, Run};

const FILE: &str = "one\ntwo\nthree\nfour\nfive\n";

fn run(host: FakeHost, diff: &str) -> Run<Applied> {
    host.run(apply, Apply { diff: diff.to_owned(), dry_run: false })
}

/// The file `a` after a diff.
fn patched(content: &str, diff: &str) -> (String, Vec<Placed>) {
    let mut run = run(FakeHost::new().file("a", content), diff);
    let after = run.file("a").expect("it is there").to_owned();
    match &mut run.outcome {
        Outcome::Returned(applied) => (after, std::mem::take(&mut applied.files[0].hunks)),
        other => panic!("{other:?}"),
    }
}

/// What a diff is refused with. Nothing may have changed.
fn refused_on(files: &[(&str, &str)], diff: &str) -> String {
    let host = files.iter().fold(FakeHost::new().workspace(), |host, (path, content)| host.file(*path, *content));
    let run = run(host, diff);
    assert_eq!(run.files().count(), files.len());
    for (path, content) in files {
        assert_eq!(run.file(path), Some(*content));
    }
    match run.outcome {
        Outcome::Failed(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn refused(diff: &str) -> String {
    refused_on(&[("a", FILE)], diff)
}

fn hunk(header: &str, lines: &str) -> String {
    format!("--- a/a\n+++ b/a\n@@ {header} @@\n{lines}")
}

#[test]
fn a_hunk_goes_where_its_header_says() {
    let (after, hunks) = patched(FILE, &hunk("-2,3 +2,3", " two\n-three\n+3\n four\n"));
    assert_eq!(after, "one\ntwo\n3\nfour\nfive\n");
    assert_eq!(hunks, [Placed { line: 2, offset: 0 }]);
}

#[test]
fn a_shifted_hunk_is_found_and_its_offset_told() {
    let (after, hunks) = patched(FILE, &hunk("-4,2 +4,2", " two\n-three\n+3\n"));
    assert_eq!(after, "one\ntwo\n3\nfour\nfive\n");
    assert_eq!(hunks, [Placed { line: 2, offset: -2 }]);
}

#[test]
fn the_place_that_the_header_names_comes_before_others() {
    let (after, hunks) = patched("x\nx\nx\n", &hunk("-2 +2", "-x\n+y\n"));
    assert_eq!((after.as_str(), hunks), ("x\ny\nx\n", vec![Placed { line: 2, offset: 0 }]));
    // Shifted like the hunk before it.
    let two = "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-x\n+y\n@@ -4,1 +4,1 @@\n-x\n+y\n";
    let (after, hunks) = patched("\none\nx\n\nx\nx\n", two);
    assert_eq!(after, "\none\ny\n\ny\nx\n");
    assert_eq!(hunks, [Placed { line: 2, offset: 1 }, Placed { line: 5, offset: 1 }]);
}

#[test]
fn two_places_that_fit_are_a_conflict() {
    let told = refused_on(&[("a", "x\ny\nx\ny\n")], &hunk("-9 +9", "-y\n+z\n"));
    assert!(told.contains("the lines 2 and 4 first"), "{told}");
}

#[test]
fn a_conflict_says_what_is_there_and_where_it_fits_best() {
    let told = refused(&hunk("-1,3 +1,3", " two\n-3\n+4\n four\n"));
    assert_eq!(
        told,
        "nothing was changed: 1 conflict\na: hunk 1 (@@ -1,3 +1,3 @@): at line 1 it expects \"two\" and there is \"one\"; it \
         fits best at line 2, where 2 of 3 lines agree: at line 3 it expects \"3\" and there is \"three\""
    );
    let space = refused(&hunk("-2,1 +2,1", "-  two\n+2\n"));
    assert!(
        space.ends_with("it fits best at line 2, where 0 of 1 lines agree and 1 more but for white space"),
        "{space}"
    );
    let nothing = refused(&hunk("-7,1 +7,1", "-none\n+2\n"));
    assert!(nothing.ends_with("and the file has 5 lines; none of its lines is in the file"), "{nothing}");
    let beyond = refused(&hunk("-9,0 +10,1", "+x\n"));
    assert!(beyond.contains("after line 9"), "{beyond}");
}

#[test]
fn one_conflict_changes_no_file() {
    let diff = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+1\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x\n\
                --- a/b\n+++ b/b\n@@ -1 +1 @@\n-none\n+1\n--- a/c\n+++ /dev/null\n@@ -1 +0,0 @@\n-none\n";
    let told = refused_on(&[("a", FILE), ("b", "x\n")], diff);
    assert!(told.starts_with("nothing was changed: 2 conflicts\nb: hunk 1"), "{told}");
    assert!(told.ends_with("\nc: there is no such file"), "{told}");
}

#[test]
fn files_are_added_and_removed() {
    let diff = "diff --git a/new/b b/new/b\nnew file mode 100644\nindex 000..111\n--- /dev/null\n+++ b/new/b\n@@ -0,0 +1,2 @@\n\
                +x\n+y\n\\ No newline at end of file\ndiff --git a/a b/a\ndeleted file mode 100644\n--- a/a\n+++ /dev/null\n\
                @@ -1,2 +0,0 @@\n-one\n-two\ndiff --git a/empty b/empty\nnew file mode 100644\nindex 000..111\n";
    let run = run(FakeHost::new().file("a", "one\ntwo\n"), diff);
    let kinds: Vec<_> = run.returned().files.iter().map(|file| (file.path.as_str(), file.change)).collect();
    assert_eq!(kinds, [("new/b", Kind::Added), ("a", Kind::Removed), ("empty", Kind::Added)]);
    assert_eq!(run.files().collect::<Vec<_>>(), ["empty", "new/b"]);
    assert_eq!((run.file("new/b"), run.file("empty")), (Some("x\ny"), Some("")));

    let add = "--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n";
    assert!(refused(add).contains("it is there already"));
    let remove = "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n";
    assert!(refused(remove).contains("more lines than the diff"));
}

#[test]
fn line_ends_count() {
    let mark = "\\ No newline at end of file\n";
    let (after, _) = patched("x", &hunk("-1 +1", &format!("-x\n{mark}+y\n")));
    assert_eq!(after, "y\n");
    let (after, _) = patched("x\n", &hunk("-1 +1", &format!("-x\n+y\n{mark}")));
    assert_eq!(after, "y");
    let told = refused_on(&[("a", "x")], &hunk("-1 +1", "-x\n+y\n"));
    assert!(told.contains("expects \"x\" with a line end and there is \"x\" with no line end"), "{told}");
    let (after, _) = patched("x\r\ny\r\n", "--- a/a\r\n+++ b/a\r\n@@ -1,2 +1,2 @@\r\n-x\r\n+z\r\n y\r\n");
    assert_eq!(after, "z\r\ny\r\n");
    let told = refused_on(&[("a", "x\r\n")], &hunk("-1 +1", "-x\n+y\n"));
    assert!(told.contains("\"x\\r\""), "{told}");
    let glued = refused_on(&[("a", "x")], &hunk("-1,0 +2", "+y\n"));
    assert!(glued.contains("would not be the last"), "{glued}");
}

#[test]
fn an_empty_line_may_have_lost_its_space() {
    assert_eq!(patched("x\n\ny\n", &hunk("-1,3 +1,3", "-x\n+z\n\n y\n")).0, "z\n\ny\n");
}

#[test]
fn prose_around_a_diff_is_no_harm() {
    let diff = format!("- Here it is:\n\n{}\nThat was it.\n-- \n2.40\n", hunk("-1 +1", "-one\n+1\n"));
    assert_eq!(patched("one\n", &diff).0, "1\n");
}

#[test]
fn what_is_not_understood_is_refused_by_its_line() {
    for (diff, wanted) in [
        ("", "0 bytes"),
        ("hello", "the diff has no file"),
        ("@@ -1 +1 @@\n-one\n+1\n", "line 1 of the diff: a hunk without its file"),
        ("--- a/a\n@@ -1 +1 @@\n", "line 2 of the diff: after `--- PATH` comes `+++ PATH`"),
        ("--- a/a\n+++ b/a\n", "comes its first hunk"),
        ("--- a/a\n+++ b/b\n@@ -1 +1 @@\n-one\n+1\n", "the two names differ"),
        ("--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-one\n+1\n", "both names are /dev/null"),
        ("--- \"a/\\303\"\n+++ b/a\n", "quoted names"),
        ("diff --git a/a b/b\nrename from a\nrename to b\n", "line 2 of the diff: renames"),
        ("diff --git a/a b/a\nold mode 100644\nnew mode 100755\n", "mode"),
        ("diff --git a/a b/a\nindex 1..2\nBinary files a/a and b/a differ\n", "binary"),
        ("diff --git a/a b/a\nindex 1..2\n", "a has no hunks"),
        ("diff --git a\n", "two names differ"),
    ] {
        assert!(refused(diff).contains(wanted), "{diff}: {}", refused(diff));
    }
    for (header, lines, wanted) in [
        ("-x +1", "-one\n+1\n", "line 3 of the diff: a hunk begins with"),
        ("-1 +1,+1", "-one\n+1\n", "a hunk begins with"),
        ("-1 +99999999999999999999999", "-one\n+1\n", "a hunk begins with"),
        ("-1,2 +1,2", "-one\n+1\n", "says 2 old and 2 new lines, and 1 and 1 follow"),
        ("-1,2 +1,2", "-one\n+1\n@@ -3 +3 @@\n-three\n+3\n", "says 2 old and 2 new lines, and 1 and 1 follow"),
        ("-1 +1", "-one\n+1\n+2\n", "says 1 old and 1 new lines, and more follow"),
        ("-1 +1", "-one\n+1\n\n+2\n", "belongs to no hunk"),
        ("-1,1 +1,2", " one\n two\n", "says 1 old and 2 new lines, and more follow"),
        ("-1,2 +1,2", "-one\nhello\n", "begins with a space"),
        ("-1,2 +1,2", "-one\nü\n", "begins with a space"),
    ] {
        let told = refused(&hunk(header, lines));
        assert!(told.contains(wanted), "{header}: {told}");
    }
    assert!(refused(&format!("{}{}", hunk("-1 +1", "-one\n+1\n"), hunk("-2 +2", "-two\n+2\n"))).contains("twice"));
}

#[test]
fn paths_stay_in_the_workspace() {
    for path in ["/etc/passwd", "../a", "x/../../a", "a//b", "./a", "a\\b", "/work/a"] {
        let told = refused(&format!("--- {path}\n+++ {path}\n@@ -1 +1 @@\n-one\n+1\n"));
        assert!(told.contains("cannot be used"), "{path}: {told}");
        let told = refused(&format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+1\n"));
        assert!(told.contains("cannot be used"), "{path}: {told}");
    }
    let told = refused_on(&[("d/a", FILE)], "--- a/d\n+++ b/d\n@@ -1 +1 @@\n-one\n+1\n");
    assert!(told.contains("not a regular file"), "{told}");
}

#[test]
fn a_write_that_fails_takes_back_the_ones_before() {
    // A file cannot be below a file.
    let diff = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+1\n--- /dev/null\n+++ b/b/c\n@@ -0,0 +1 @@\n+x\n--- /dev/null\n\
                +++ b/b/c/d\n@@ -0,0 +1 @@\n+x\n";
    let told = refused_on(&[("a", "one\n")], diff);
    assert!(told.starts_with("nothing was changed: cannot"), "{told}");
}

#[test]
fn a_dry_run_writes_nothing() {
    let diff = hunk("-1 +1", "-one\n+1\n");
    let run = FakeHost::new().file("a", FILE).run(apply, Apply { diff, dry_run: true });
    assert!(!run.returned().written);
    assert_eq!(run.file("a"), Some(FILE));
}

#[test]
fn diffs_hold_at_n_bytes_and_are_refused_at_n_plus_1() {
    let diff = hunk("-1 +1", "-one\n+1\n");
    let padded = |bytes: usize| format!("{}\n{diff}", "x".repeat(bytes - diff.len() - 1));
    assert_eq!(patched("one\n", &padded(MAX_DIFF_BYTES)).0, "1\n");
    assert!(refused(&padded(MAX_DIFF_BYTES + 1)).contains("262145 bytes"));
}

#[test]
fn files_and_hunks_hold_at_n_and_are_refused_at_n_plus_1() {
    let files = |count: usize| {
        (0..count).map(|at| format!("--- /dev/null\n+++ b/{at}\n@@ -0,0 +1 @@\n+x\n")).collect::<String>()
    };
    assert_eq!(run(FakeHost::new().workspace(), &files(MAX_FILES)).returned().files.len(), MAX_FILES);
    assert!(refused(&files(MAX_FILES + 1)).contains("more than 64 files"));

    let hunks = |count: usize| {
        (1..=count)
            .fold("--- a/a\n+++ b/a\n".to_owned(), |diff, line| diff + &format!("@@ -{line} +{line} @@\n-x\n+y\n"))
    };
    let content = "x\n".repeat(MAX_HUNKS + 1);
    assert_eq!(patched(&content, &hunks(MAX_HUNKS)).1.len(), MAX_HUNKS);
    assert!(refused_on(&[("a", &content)], &hunks(MAX_HUNKS + 1)).contains("more than 256 hunks"));
}

#[test]
fn hunk_lines_hold_at_n_and_are_refused_at_n_plus_1() {
    let add = |count: usize| hunk(&format!("-0,0 +1,{count}"), &"+x\n".repeat(count));
    assert_eq!(patched("", &add(MAX_HUNK_LINES)).0.len(), 2 * MAX_HUNK_LINES);
    assert!(refused(&add(MAX_HUNK_LINES + 1)).contains("more than 2000"));
}

#[test]
fn file_sizes_hold_at_n_and_are_refused_at_n_plus_1() {
    let content = |bytes: usize| format!("one\n{}", "x".repeat(bytes - 4));
    let same = hunk("-1 +1", "-one\n+two\n");
    assert_eq!(patched(&content(MAX_FILE_BYTES), &same).0.len(), MAX_FILE_BYTES);
    assert!(refused_on(&[("a", &content(MAX_FILE_BYTES + 1))], &same).contains("has 1048577 bytes"));
    let longer = hunk("-1 +1", "-one\n+four\n");
    assert!(refused_on(&[("a", &content(MAX_FILE_BYTES))], &longer).contains("would have 1048577 bytes"));
}

#[test]
fn conflicts_are_told_up_to_n() {
    let wrong = |count: usize| {
        (1..=count)
            .fold("--- a/a\n+++ b/a\n".to_owned(), |diff, line| diff + &format!("@@ -{line} +{line} @@\n-z\n+y\n"))
    };
    let told = refused(&wrong(MAX_CONFLICTS));
    assert!(told.starts_with("nothing was changed: 10 conflicts\n") && !told.contains("more"), "{told}");
    assert!(refused(&wrong(MAX_CONFLICTS + 1)).ends_with("\nand 1 more"));
}

fn replaced(content: &str, old: &str, new: &str) -> (Run<Replaced>, Option<String>) {
    let input = Replace { path: "a".to_owned(), old: old.to_owned(), new: new.to_owned() };
    let run = FakeHost::new().file("a", content).run(replace, input);
    let error = match &run.outcome {
        Outcome::Failed(error) => Some(error.to_string()),
        _ => None,
    };
    if error.is_some() {
        assert_eq!(run.file("a"), Some(content), "a refusal changes nothing");
    }
    (run, error)
}

fn not_replaced(content: &str, old: &str) -> String {
    replaced(content, old, "new").1.expect("refused")
}

#[test]
fn a_text_that_is_there_once_is_replaced() {
    let (run, _) = replaced(FILE, "o\nthree", "O\n3");
    assert_eq!(run.returned(), &Replaced { path: "a".to_owned(), line: 2 });
    assert_eq!(run.file("a"), Some("one\ntwO\n3\nfour\nfive\n"));
}

#[test]
fn a_text_that_is_not_there_once_is_refused() {
    assert!(not_replaced(FILE, "o").ends_with("more than once, at the lines 1, 2, 4"), "{}", not_replaced(FILE, "o"));
    assert!(not_replaced("aaa", "aa").contains("more than once"));
    assert!(not_replaced("ééé", "éé").contains("more than once"));
    assert!(not_replaced(FILE, " two\nx").ends_with("its first line is like line 2, which is \"two\""));
    assert!(not_replaced(FILE, "none").ends_with("; no line is like \"none\""));
    assert!(not_replaced(FILE, "").contains("empty"));
    assert!(not_replaced(FILE, "\n\n\n").ends_with("does not have this text"));
    let places = not_replaced(&"x\n".repeat(MAX_PLACES + 9), "x");
    assert!(places.ends_with(" 10, 11"), "{places}");
    let input = Replace { path: "b".to_owned(), old: "x".to_owned(), new: String::new() };
    assert!(matches!(FakeHost::new().workspace().run(replace, input).outcome, Outcome::Failed(_)));
}

#[test]
fn texts_to_replace_hold_at_n_bytes_and_are_refused_at_n_plus_1() {
    let text = |bytes: usize| "x".repeat(bytes);
    assert_eq!(replaced(&text(MAX_TEXT_BYTES), &text(MAX_TEXT_BYTES), &text(MAX_TEXT_BYTES)).1, None);
    assert!(not_replaced("x", &text(MAX_TEXT_BYTES + 1)).contains("`old` has 65537 bytes"));
    assert!(replaced("x", "x", &text(MAX_TEXT_BYTES + 1)).1.expect("refused").contains("`new` has 65537 bytes"));
    let grown = replaced(&"y".repeat(MAX_FILE_BYTES - 1).replacen('y', "x", 1), "x", "zzz").1.expect("refused");
    assert!(grown.contains("would have 1048577 bytes"), "{grown}");
}

#[test]
fn the_patch_of_the_example_fits_its_project() {
    let (old, new) = ("weight / step_grams()", "(weight + step_grams() - 1) / step_grams()");
    let transcript = include_str!("../../../toolsmith/transcript.toml");
    let start = transcript.find("--- a/src/parcel.rhai").expect("the transcript has a diff");
    let diff = &transcript[start..];
    let diff = &diff[..diff.find("\"\"\"").expect("the string ends")];
    // A run of the example has fixed the one in the project.
    let broken = include_str!("../../../toolsmith/project/src/parcel.rhai").replace(new, old);
    let run = run(FakeHost::new().file("src/parcel.rhai", broken.as_str()), diff);
    assert_eq!(run.returned().files[0].hunks, [Placed { line: 8, offset: 0 }]);
    assert_eq!(run.file("src/parcel.rhai"), Some(broken.replace(old, new).as_str()));
}
