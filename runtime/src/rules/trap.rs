//! What a trap came of, as people read it: what the guest said in its last words, or else what the engine says; then where, a
//! frame a line.
//!
//! Never: believes any of it. All of it is a guest's to choose, and is bounded and of one line each. A panic of Rust, a panic
//! of Go, an exception of Python and an assertion of C are known by how their toolchains print them.

/// Characters of a guest's last words. A report of a failed comparison of two long values is cut.
const MAX_WORDS_CHARS: usize = 600;

/// Frames that are kept: those nearest to the trap.
pub const MAX_FRAMES: usize = 8;

/// Characters of the name of a frame.
const MAX_FRAME_CHARS: usize = 120;

/// Bytes of what a guest printed that are looked at: from its panic on, or else the last ones.
const MAX_PRINTED_BYTES: usize = 16 << 10;

/// Words like those of a panic that are tried: a guest may print them over and over.
const MAX_TRIES: usize = 64;

/// How the engine's own words begin, where it is the guest's code that ended it and not a cap that was reached.
const ENGINE: [&str; 2] = ["wasm trap: ", "Exited with "];

/// What stands before a frame.
const AT: &str = "  at ";

/// Where frames have no names.
const NAMELESS: &str = "  (its functions have no names: a build with `strip = \"debuginfo\"` keeps them)";

/// Parts of a guest that its author did not write: the libraries of its language, and of this host.
const NOT_ITS_OWN: [&str; 22] = [
    "std::",
    "core::",
    "alloc::",
    "__rust",
    "rust_",
    "panic_",
    "jidoka_sdk::",
    "wit_bindgen",
    "dlmalloc",
    "hashbrown::",
    "abort",
    "exit",
    "_Exit",
    "_start",
    "__",
    "cabi_",
    "wasi_snapshot_preview1",
    "runtime.",
    "runtime/",
    "internal/",
    "jidoka:agent/",
    "wasi:",
];

/// Exports of the worlds, as the toolchain calls the functions around what the author wrote.
const EXPORTS: [&str; 4] = ["run", "judge", "describe", "call"];

/// A trap in words.
pub fn told(what: &str, frames: impl IntoIterator<Item = Option<String>>) -> String {
    let mut told = one_line(what, MAX_WORDS_CHARS);
    let (mut own, mut named, mut nameless) = (Vec::new(), false, false);
    for frame in frames {
        match frame {
            Some(name) => {
                named = true;
                own.extend(is_own(&name).then(|| one_line(&name, MAX_FRAME_CHARS)));
            }
            None => nameless = true,
        }
    }
    if nameless && !named {
        told = format!("{told}\n{NAMELESS}");
    }
    for name in own.iter().take(MAX_FRAMES) {
        told = format!("{told}\n{AT}{name}");
    }
    told
}

/// The same, with what the guest printed to its standard error before.
pub fn with_words(why: String, printed: &str) -> String {
    let (what, frames) = why.split_at(why.find('\n').unwrap_or(why.len()));
    match words(printed).filter(|_| ENGINE.iter().any(|beginning| what.starts_with(beginning))) {
        None => why,
        Some(Words::Cause(words)) => format!("{words}{frames}"),
        Some(Words::Last(words)) => format!("{what}; it printed last: {words}{frames}"),
    }
}

/// Why a program gave up, with what it printed to its standard error before: its exit code says little.
pub fn exited(code: &str, printed: &str) -> String {
    match words(printed) {
        None => code.to_owned(),
        Some(Words::Cause(words)) => format!("{code}: {words}"),
        Some(Words::Last(words)) => format!("{code}; it printed last: {words}"),
    }
}

/// The line of what a guest printed that says most.
pub fn telling(printed: &str) -> Option<String> {
    words(printed).map(|(Words::Cause(words) | Words::Last(words))| words)
}

/// The part of a trap in words that is the same for one bug and another for another: what, the file and the line of a panic,
/// the function.
pub fn cause(why: &str) -> (&str, Option<String>, Option<&str>) {
    let mut lines = why.lines();
    let what = lines.next().unwrap_or_default();
    let place = what.strip_prefix(PANIC).and_then(|rest| {
        let (place, _) = rest.split_once(": ")?;
        let (path, line) = place.rsplit_once(':')?.0.rsplit_once(':')?;
        // Where a crate was built is no part of it.
        Some(format!("{}:{line}", path.rsplit(['/', '\\']).next().unwrap_or(path)))
    });
    (what, place, lines.find_map(|line| line.strip_prefix(AT)))
}

enum Words {
    /// Printed by a toolchain for what ended the guest.
    Cause(String),
    /// The last that it printed, whatever that is.
    Last(String),
}

/// How a panic of Rust begins.
const PANIC: &str = "panicked at ";

fn words(printed: &str) -> Option<Words> {
    let tail = &printed[printed.ceil_char_boundary(printed.len().saturating_sub(MAX_PRINTED_BYTES))..];
    let cause = rust(printed).or_else(|| python(printed)).or_else(|| others(tail));
    if let Some(cause) = cause {
        return Some(Words::Cause(one_line(&cause, MAX_WORDS_CHARS)));
    }
    let is_flush = |line: &&str| !line.trim().is_empty() && !line.starts_with([' ', '\t']) && !is_advice(line);
    let last = tail.lines().rev().find(is_flush)?;
    Some(Words::Last(one_line(last, MAX_WORDS_CHARS)))
}

/// What was printed from the last such words on that stand in a line that fits, as far as anybody looks.
fn from_last<'a>(printed: &'a str, words: &str, fits: impl Fn(&str) -> bool) -> Option<&'a str> {
    let line = |at: &usize| &printed[printed[..*at].rfind('\n').map_or(0, |end| end + 1)..*at];
    let found = printed.rmatch_indices(words).map(|(at, _)| at).take(MAX_TRIES).find(|at| fits(line(at)))?;
    let end = printed.floor_char_boundary(found.saturating_add(MAX_PRINTED_BYTES).min(printed.len()));
    Some(&printed[found..end])
}

fn is_advice(line: &str) -> bool {
    ["note:", "help:", "hint:"].iter().any(|word| line.starts_with(word))
}

/// `thread 'main' panicked at src/lib.rs:32:23:`, and the message on the lines after it.
fn rust(printed: &str) -> Option<String> {
    let mut lines = from_last(printed, PANIC, |before| before.is_empty() || before.starts_with("thread "))?.lines();
    let head = lines.next()?;
    let ends = |line: &&str| is_advice(line) || line.starts_with("stack backtrace:");
    let message: Vec<&str> = lines.take_while(|line| !ends(line)).map(str::trim).collect();
    Some(format!("{head} {}", message.join(" ")).trim().to_owned())
}

/// The last line of the last traceback.
fn python(printed: &str) -> Option<String> {
    let lines = from_last(printed, "Traceback (most recent call last)", str::is_empty)?.lines().skip(1);
    let raised = lines.filter(|line| !line.is_empty()).find(|line| !line.starts_with([' ', '\t']));
    raised.map(str::to_owned)
}

/// One line that says it.
fn others(tail: &str) -> Option<String> {
    const BEGINNINGS: [&str; 8] = [
        // Go.
        "panic: ",
        "fatal error: ",
        // C and C++.
        "Assertion failed",
        "Fatal: ",
        "libc++abi: ",
        "terminate called",
        // JavaScript and AssemblyScript.
        "Uncaught ",
        "abort: ",
    ];
    let says = |line: &&str| BEGINNINGS.iter().any(|beginning| line.starts_with(beginning));
    tail.lines().rev().find(says).map(str::to_owned)
}

fn is_own(name: &str) -> bool {
    // `<core::option::Option<T>>::unwrap`, `<alloc::vec::Vec<T> as core::ops::Index>::index`.
    let name = name.trim_start_matches(['<', '&']);
    let is_glue = name.contains(" as jidoka_sdk::") || EXPORTS.contains(&name);
    !is_glue && !NOT_ITS_OWN.iter().any(|beginning| name.starts_with(beginning))
}

fn one_line(text: &str, most: usize) -> String {
    let mut line: String = text.chars().take(most).map(|char| if char.is_control() { ' ' } else { char }).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNREACHABLE: &str = "wasm trap: wasm `unreachable` instruction executed";

    fn trap(printed: &str) -> String {
        let glue = "<fixer::_::Component as jidoka_sdk::bindings::worker::Guest>::run";
        let frames =
            ["std::panicking::panic", "<core::option::Option<T>>::unwrap", "fixer::pick", "fixer::run", glue, "run"];
        with_words(told(UNREACHABLE, frames.map(|name| Some(name.to_owned()))), printed)
    }

    #[test]
    fn the_first_line_is_what_the_guest_said_and_then_come_its_own_frames() {
        let panic = "log\n\nthread 'main' (1) panicked at src/lib.rs:32:23:\nindex out of bounds: the len is 3\n\
                     note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let why = "panicked at src/lib.rs:32:23: index out of bounds: the len is 3\n  at fixer::pick\n  at fixer::run";
        assert_eq!(trap(panic), why);
        assert_eq!(cause(why).1.as_deref(), Some("lib.rs:32"));
        assert_eq!(cause(why).2, Some("fixer::pick"));
        let equal = "thread '<unnamed>' panicked at /src/lib.rs:1:2:\nassertion `left == right` failed\n  left: 1\n right: 2\nnote: x";
        assert!(
            trap(equal).starts_with("panicked at /src/lib.rs:1:2: assertion `left == right` failed left: 1 right: 2\n")
        );
        assert_eq!(cause(&trap(equal)).1.as_deref(), Some("lib.rs:1"));
    }

    #[test]
    fn other_languages_say_it_elsewhere() {
        for (printed, first) in [
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    return prices[name]\nKeyError: 'x'\n",
                "KeyError: 'x'",
            ),
            (
                "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n",
                "panic: runtime error: index out of range [5] with length 3",
            ),
            ("Assertion failed: n > 0 (main.c: f: 12)\n", "Assertion failed: n > 0 (main.c: f: 12)"),
            (
                "KeyError: no-such-price\n  in basket.py\nnote: run again with a variable set\n",
                "wasm trap: wasm `unreachable` instruction executed; it printed last: KeyError: no-such-price",
            ),
            ("", UNREACHABLE),
            ("\n \n", UNREACHABLE),
        ] {
            assert_eq!(trap(printed).lines().next(), Some(first), "{printed}");
        }
    }

    #[test]
    fn a_program_that_exits_says_more_than_its_code() {
        let go = "panic: assignment to entry in nil map\n\ngoroutine 1 [running]:\n";
        assert_eq!(exited("exited with 2", go), "exited with 2: panic: assignment to entry in nil map");
        assert_eq!(exited("exited with 1", "no such price\n"), "exited with 1; it printed last: no such price");
        assert_eq!(exited("exited with 1", ""), "exited with 1");
    }

    #[test]
    fn a_cap_is_named_whatever_the_guest_said() {
        let cap = "past a cap: 9 bytes of memory; [caps] memory allows 8".to_owned();
        assert_eq!(with_words(cap.clone(), "thread 'main' panicked at a.rs:1:1:\nx"), cap);
    }

    #[test]
    fn what_a_guest_chose_is_bounded_and_of_one_line() {
        let long = "x".repeat(1 << 20);
        let told = told(&format!("wasm trap: \u{1b}[2J\r{long}"), (0..1_000).map(|_| Some(format!("a\n{long}"))));
        assert_eq!(told.lines().count(), 1 + MAX_FRAMES);
        assert!(told.chars().count() < MAX_WORDS_CHARS + MAX_FRAMES * (MAX_FRAME_CHARS + 8) + 8);
        assert!(!told.contains(['\u{1b}', '\r']));
        let said = with_words(UNREACHABLE.to_owned(), &format!("thread 'main' panicked at a.rs:1:1:\n{long}"));
        assert!(said.chars().count() <= MAX_WORDS_CHARS + 1);
        assert!(with_words(UNREACHABLE.to_owned(), &"ä".repeat(1 << 20)).contains("it printed last: ä"));
    }

    #[test]
    fn frames_without_names_say_what_would_name_them() {
        assert!(told(UNREACHABLE, [None, None]).contains("strip = \"debuginfo\""));
        assert_eq!(told(UNREACHABLE, []), UNREACHABLE);
    }
}
