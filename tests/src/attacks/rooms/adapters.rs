//! Attacks on the adapters between host and guest, and between two components: pointers, lengths, encodings, handles
//! and a `realloc` that lie.

use super::super::seen::{noted, that, verdict_alone, written_at_most};
use super::super::{Attack, Family, Seen, row};
use crate::by_hand::{ByHand, RUN, worker};

/// Bytes that end their guest, and bytes that say the same honestly.
fn lies(name: &'static str, tries: &'static str, lie: Vec<u8>, honest: (Vec<u8>, &'static str, Seen)) -> Attack {
    let (bytes, verdict, met) = honest;
    row(Family::Adapters, name, tries)
        .attack(move |scene| scene.bytes(lie.clone()), "trapped", written_at_most(16 << 10))
        .control(move |scene| scene.bytes(bytes.clone()), verdict, met)
}

/// A report that is none. It stands at 1024: its case; at 1028 the status; at 1032 and 1036 the summary; at 1040 and 1044
/// the evidence.
fn report(name: &'static str, tries: &'static str, body: &str) -> Attack {
    let control = (worker("", "", ""), "no-progress", verdict_alone("an honest one is read"));
    lies(name, tries, worker("", "", body), control)
}

const LOG: &str = r#"
    (import "jidoka:agent/log@0.1.0" (instance $log
        (type $l (enum "debug" "info" "warn" "error"))
        (export "level" (type $level (eq $l)))
        (export "emit" (func (param "level" $level) (param "message" string)
            (param "fields" (list (tuple string string)))))))"#;

/// A worker that logs in an encoding: what stands at 2048, and where and how long it says that it is.
fn logs(encoding: &str, level: u32, at: u32, length: u32, text: &str) -> Vec<u8> {
    let beside = format!(
        "{LOG} (core func $emit (canon lower (func $log \"emit\") (memory (core memory $own \"memory\")) {encoding}))"
    );
    let given = vec![("emit", "(param i32 i32 i32 i32 i32)", "$emit")];
    let core = format!("(data (i32.const 2048) \"{text}\")");
    let body = format!(
        "(call $emit (i32.const {level}) (i32.const {at}) (i32.const {length}) (i32.const 0) (i32.const 0))",
        at = at as i32,
        length = length as i32
    );
    ByHand { beside, given, core, body, ..ByHand::default() }.bytes()
}

/// "ok" in each encoding.
const UTF8: (&str, &str) = ("string-encoding=utf8", "ok");
const UTF16: (&str, &str) = ("string-encoding=utf16", "o\\00k\\00");
const LATIN1: (&str, &str) = ("string-encoding=latin1+utf16", "ok");

/// What marks a length of the third encoding as one of 16-bit units.
const TAG: u32 = 1 << 31;

fn text(name: &'static str, tries: &'static str, how: (&str, &str), at: u32, length: u32) -> Attack {
    let (encoding, said) = how;
    let honest = (logs(encoding, 1, 2048, 2, said), "no-progress", noted("ok"));
    lies(name, tries, logs(encoding, 1, at, length, said), honest)
}

/// A `realloc` that answers this.
fn realloc(name: &'static str, tries: &'static str, answers: &str) -> Attack {
    let realloc = format!("(func $realloc (export \"realloc\") (param i32 i32 i32 i32) (result i32) {answers})");
    let lie = ByHand { realloc, ..ByHand::default() }.bytes();
    lies(name, tries, lie, (ByHand::default().bytes(), "no-progress", verdict_alone("an honest one is trusted")))
}

const POLL: &str = r#"
    (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type $p (sub resource)))
        (export "[method]pollable.ready" (func (param "self" (borrow $p)) (result bool)))
        (export "[method]pollable.block" (func (param "self" (borrow $p))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $p))
        (export "pollable" (type $q (eq $p)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
    (import "wasi:io/streams@0.2.0" (instance $streams
        (export "output-stream" (type (sub resource)))))
    (alias export $streams "output-stream" (type $output))
    (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer 1 $output (type $o))
        (export "output-stream" (type $s (eq $o)))
        (export "get-stdout" (func (result (own $s))))))
    (core func $ready (canon lower (func $poll "[method]pollable.ready")))
    (core func $drop (canon resource.drop $pollable))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
    (core func $stdout (canon lower (func $stdout "get-stdout")))"#;

/// A worker that has handles: of an alarm, and of its output.
fn handles(body: &str) -> Vec<u8> {
    let given = vec![
        ("ready", "(param i32) (result i32)", "$ready"),
        ("drop", "(param i32)", "$drop"),
        ("subscribe", "(param i64) (result i32)", "$subscribe"),
        ("stdout", "(result i32)", "$stdout"),
    ];
    ByHand { beside: POLL.to_owned(), given, body: body.to_owned(), ..ByHand::default() }.bytes()
}

fn handle(name: &'static str, tries: &'static str, body: &str) -> Attack {
    let honest = "(local $p i32) (local.set $p (call $subscribe (i64.const 0)))
        (drop (call $ready (local.get $p))) (call $drop (local.get $p))";
    lies(name, tries, handles(body), (handles(honest), "no-progress", verdict_alone("its own is granted")))
}

/// Two components beside the worker: one calls the other with a text, which is carried from one encoding to another by
/// code that the engine made for these two.
struct Pair {
    caller: &'static str,
    callee: &'static str,
    at: u32,
    length: u32,
    text: &'static str,
    /// What the callee's `realloc` answers.
    gives: &'static str,
}

impl Pair {
    fn bytes(&self) -> Vec<u8> {
        let Self { caller, callee, at, length, text, gives } = self;
        let beside = format!(
            r#"(component $callee
                (core module $m
                    (memory (export "memory") 1)
                    (func (export "hear") (param i32 i32))
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) {gives}))
                (core instance $i (instantiate $m))
                (func (export "hear") (param "text" string)
                    (canon lift (core func $i "hear") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding={callee})))
            (component $caller
                (import "hear" (func $hear (param "text" string)))
                (core module $own (memory (export "memory") 1))
                (core instance $own (instantiate $own))
                (core func $hear (canon lower (func $hear) (memory (core memory $own "memory")) string-encoding={caller}))
                (core module $m
                    (import "own" "memory" (memory 1))
                    (import "given" "hear" (func $hear (param i32 i32)))
                    (data (i32.const 2048) "{text}")
                    (func $start (call $hear (i32.const {at}) (i32.const {length})))
                    (start $start))
                (core instance (instantiate $m
                    (with "own" (instance $own)) (with "given" (instance (export "hear" (func $hear)))))))
            (instance $callee (instantiate $callee))
            (instance (instantiate $caller (with "hear" (func $callee "hear"))))"#,
            at = *at as i32,
            length = *length as i32
        );
        worker(&beside, "", "")
    }
}

const GIVES: &str = "(i32.const 4096)";

fn pair(name: &'static str, tries: &'static str, lie: Pair, text: &'static str) -> Attack {
    let honest = Pair { at: 2048, length: 2, text, gives: GIVES, ..lie };
    lies(name, tries, lie.bytes(), (honest.bytes(), "no-progress", verdict_alone("an honest text is carried")))
}

pub(super) fn attacks() -> Vec<Attack> {
    let post = |what: &str| {
        let core = format!("(func (export \"post\") (param i32) {what})");
        let lifted = "(realloc (core func $i \"realloc\"))";
        let exports = RUN.replace(lifted, &format!("{lifted} (post-return (core func $i \"post\"))"));
        ByHand { core, exports, ..ByHand::default() }
    };
    let calls_after = |called: &str| {
        let beside = format!(
            "{LOG} (core func $emit (canon lower (func $log \"emit\") (memory (core memory $own \"memory\"))))"
        );
        let given = vec![("emit", "(param i32 i32 i32 i32 i32)", "$emit")];
        ByHand { beside, given, ..post(called) }.bytes()
    };
    let emit = "(call $emit (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let fused = |caller, callee, at, length, text, gives| Pair { caller, callee, at, length, text, gives };
    let wide = "o\\00k\\00";
    vec![
        report("result-outside", "returns a place outside its memory", "(return (i32.const -4))"),
        report("result-unaligned", "returns a place between two words", "(return (i32.const 1025))"),
        report("result-at-the-edge", "returns a place whose record ends outside", "(return (i32.const 65532))"),
        report(
            "case-of-none",
            "returns a case that its result does not have",
            "(i32.store8 (i32.const 1024) (i32.const 2))",
        ),
        report("status-of-none", "reports a status that nobody knows", "(i32.store8 (i32.const 1028) (i32.const 9))"),
        report(
            "summary-outside",
            "reports a summary that lies outside its memory",
            "(i32.store (i32.const 1032) (i32.const -1)) (i32.store (i32.const 1036) (i32.const 8))",
        ),
        report("summary-too-long", "reports a summary of 4 GiB", "(i32.store (i32.const 1036) (i32.const -1))"),
        report(
            "summary-no-text",
            "reports a summary that is no UTF-8",
            "(i32.store (i32.const 2048) (i32.const -1)) (i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const 4))",
        ),
        report(
            "list-unaligned",
            "cites a list between two words",
            "(i32.store (i32.const 1040) (i32.const 2)) (i32.store (i32.const 1044) (i32.const 1))",
        ),
        report(
            "list-that-wraps",
            "cites a list whose size is past 32 bits",
            "(i32.store (i32.const 1044) (i32.const 0x20000001))",
        ),
        report(
            "list-too-long",
            "cites a list of two thousand million ids",
            "(i32.store (i32.const 1044) (i32.const 0x7fffffff))",
        ),
        realloc("realloc-outside", "has the host write outside the guest's memory", "(i32.const 0x7ffffff0)"),
        realloc("realloc-at-the-edge", "has the host write over the edge of the guest's memory", "(i32.const 65535)"),
        realloc("realloc-negative", "has the host write below the guest's memory", "(i32.const -8)"),
        realloc("realloc-unaligned", "has the host write between two words", "(i32.const 4097)"),
        realloc("realloc-traps", "traps where the host puts its arguments", "unreachable"),
        lies(
            "post-return-traps",
            "traps after its return",
            post("unreachable").bytes(),
            (post("").bytes(), "no-progress", verdict_alone("an honest one is called")),
        ),
        lies(
            "post-return-calls",
            "calls the host after its return",
            calls_after(emit),
            (calls_after(""), "no-progress", verdict_alone("it may return")),
        ),
        lies(
            "level-of-none",
            "logs at a level that nobody knows",
            logs(UTF8.0, 99, 2048, 2, UTF8.1),
            (logs(UTF8.0, 1, 2048, 2, UTF8.1), "no-progress", noted("ok")),
        ),
        text("utf8-outside", "logs a text outside its memory", UTF8, 65_535, 8),
        text("utf8-too-long", "logs a text of 4 GiB", UTF8, 2048, u32::MAX),
        text("utf8-broken", "logs bytes that are no UTF-8", (UTF8.0, "ok\\ff\\fe"), 2048, 4),
        text("utf16-odd", "logs 16-bit units from an odd place", UTF16, 2049, 2),
        text("utf16-outside", "logs 16-bit units whose size wraps", UTF16, 2048, 0x8000_0002),
        text("utf16-at-the-edge", "logs 16-bit units over the edge", UTF16, 65_534, 2),
        text("utf16-half", "logs half of a pair of 16-bit units", (UTF16.0, "o\\00k\\00\\00\\d8"), 2048, 3),
        text("latin1-outside", "logs bytes of the third encoding outside its memory", LATIN1, 65_535, 8),
        text("latin1-tag-odd", "marks a text at an odd place as 16-bit units", LATIN1, 2049, TAG | 2),
        text("latin1-tag-outside", "marks a length past its memory as 16-bit units", LATIN1, 2048, TAG | 0x7fff_ffff),
        handle("handle-invented", "uses a handle that it was never given", "(drop (call $ready (i32.const 77)))"),
        handle("handle-zero", "uses the handle that is none", "(drop (call $ready (i32.const 0)))"),
        handle("handle-negative", "uses a handle past all tables", "(drop (call $ready (i32.const -1)))"),
        handle(
            "handle-of-another-kind",
            "waits for its output as if it were an alarm",
            "(drop (call $ready (call $stdout)))",
        ),
        handle("handle-drop-of-another-kind", "drops its output as if it were an alarm", "(call $drop (call $stdout))"),
        handle(
            "handle-dropped-twice",
            "drops a handle twice",
            "(local $p i32) (local.set $p (call $subscribe (i64.const 0)))
            (call $drop (local.get $p)) (call $drop (local.get $p))",
        ),
        handle(
            "handle-after-drop",
            "uses a handle that it dropped",
            "(local $p i32) (local.set $p (call $subscribe (i64.const 0)))
            (call $drop (local.get $p)) (drop (call $ready (local.get $p)))",
        ),
        pair(
            "carry-8-to-16",
            "carries a text from outside a memory into 16-bit units",
            fused("utf8", "utf16", 65_530, 100, "", GIVES),
            "ok",
        ),
        pair(
            "carry-16-to-8",
            "carries 16-bit units from outside a memory",
            fused("utf16", "utf8", 65_530, 100, "", GIVES),
            wide,
        ),
        pair(
            "carry-16-odd",
            "carries 16-bit units from an odd place",
            fused("utf16", "utf8", 2049, 2, wide, GIVES),
            wide,
        ),
        pair(
            "carry-16-wrapping",
            "carries 16-bit units whose size wraps",
            fused("utf16", "utf16", 2048, 0x8000_0002, wide, GIVES),
            wide,
        ),
        pair(
            "carry-latin1-to-8",
            "carries the third encoding with a marked length",
            fused("latin1+utf16", "utf8", 2048, TAG | 0x7fff_ffff, "ok", GIVES),
            "ok",
        ),
        pair(
            "carry-8-to-latin1",
            "carries a text to where a `realloc` lies",
            fused("utf8", "latin1+utf16", 2048, 2, "ok", "(i32.const 65535)"),
            "ok",
        ),
        pair(
            "carry-to-a-lie",
            "carries a text to a place outside the other's memory",
            fused("utf8", "utf8", 2048, 2, "ok", "(i32.const -8)"),
            "ok",
        ),
        pair(
            "carry-16-to-a-lie",
            "carries 16-bit units to an odd place",
            fused("utf16", "utf16", 2048, 2, wide, "(i32.const 4097)"),
            wide,
        ),
        pair(
            "carry-16-to-latin1",
            "carries 16-bit units into bytes, outside the other's memory",
            fused("utf16", "latin1+utf16", 2048, 4, "o\\00k\\00o\\00k\\00", "(i32.const 65534)"),
            wide,
        ),
        pair(
            "carry-too-much",
            "carries more than the other's memory holds",
            fused("utf8", "utf16", 0, 65_536, "", GIVES),
            "ok",
        ),
        row(Family::Adapters, "flags-of-none", "opens a file with every flag that there is not")
            .attack(
                {
                    let bytes = opens(-1, -1, -1);
                    move |scene| scene.bytes(bytes.clone())
                },
                "no-progress",
                that("nothing changed", |end| end.record.changes.is_empty()),
            )
            .control(
                {
                    let bytes = opens(0, 1, 3);
                    move |scene| scene.bytes(bytes.clone())
                },
                "accepted",
                that("its file is made", |end| end.record.changes == ["x"]),
            ),
    ]
}

/// A worker that opens `x` in its first directory with these bits for flags.
fn opens(path: i32, open: i32, descriptor: i32) -> Vec<u8> {
    let beside = r#"
        (import "wasi:filesystem/types@0.2.0" (instance $types
            (export "descriptor" (type $d (sub resource)))
            (type $e' (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
                "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory" "loop"
                "too-many-links" "message-size" "name-too-long" "no-device" "no-entry" "no-lock" "insufficient-memory"
                "insufficient-space" "not-directory" "not-empty" "not-recoverable" "unsupported" "no-tty"
                "no-such-device" "overflow" "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy"
                "cross-device"))
            (export "error-code" (type $e (eq $e')))
            (type $p' (flags "symlink-follow"))
            (export "path-flags" (type $p (eq $p')))
            (type $o' (flags "create" "directory" "exclusive" "truncate"))
            (export "open-flags" (type $o (eq $o')))
            (type $f' (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
                "mutate-directory"))
            (export "descriptor-flags" (type $f (eq $f')))
            (export "[method]descriptor.open-at" (func (param "self" (borrow $d)) (param "path-flags" $p)
                (param "path" string) (param "open-flags" $o) (param "flags" $f)
                (result (result (own $d) (error $e)))))))
        (alias export $types "descriptor" (type $descriptor))
        (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
            (alias outer 1 $descriptor (type $d))
            (export "descriptor" (type $e (eq $d)))
            (export "get-directories" (func (result (list (tuple (own $e) string)))))))
        (core func $open (canon lower (func $types "[method]descriptor.open-at") (memory (core memory $own "memory"))))
        (core func $dirs (canon lower (func $preopens "get-directories")
            (memory (core memory $own "memory")) (realloc (core func $own "realloc"))))"#;
    let given = vec![("open", "(param i32 i32 i32 i32 i32 i32 i32)", "$open"), ("dirs", "(param i32)", "$dirs")];
    let body = format!(
        "(call $dirs (i32.const 2048))
        (call $open (i32.load (i32.load (i32.const 2048))) (i32.const {path}) (i32.const 2064) (i32.const 1)
            (i32.const {open}) (i32.const {descriptor}) (i32.const 2080))"
    );
    let core = "(data (i32.const 2064) \"x\")".to_owned();
    ByHand { beside: beside.to_owned(), given, core, body, ..ByHand::default() }.bytes()
}
