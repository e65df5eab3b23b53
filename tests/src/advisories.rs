//! Published advisories of the engine and mistakes of peers, by id, each with what came of it here.
//!
//! Never: claims a replay without a row of the table of attacks. `tests/ADVISORIES.md` is this table, and a test compares
//! the two.

use std::fmt::Write as _;

/// What came of an advisory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A guest does it, and is refused or does no harm: these rows of the table.
    Replayed(&'static [&'static str]),
    /// It needs a feature that is off: these rows ask for the feature and are not admitted.
    Off(&'static [&'static str]),
    /// It cannot happen here, and this is why.
    NotHere(&'static str),
}

/// An advisory, or an issue of a peer.
#[derive(Clone, Copy, Debug)]
pub struct Advisory {
    pub id: &'static str,
    /// What went wrong there.
    pub what: &'static str,
    pub outcome: Outcome,
}

const fn replayed(id: &'static str, what: &'static str, rows: &'static [&'static str]) -> Advisory {
    Advisory { id, what, outcome: Outcome::Replayed(rows) }
}

const fn off(id: &'static str, what: &'static str, rows: &'static [&'static str]) -> Advisory {
    Advisory { id, what, outcome: Outcome::Off(rows) }
}

const fn not_here(id: &'static str, what: &'static str, why: &'static str) -> Advisory {
    Advisory { id, what, outcome: Outcome::NotHere(why) }
}

const WINCH: &str = "a bug of the Winch compiler; guests are compiled by Cranelift only";
const AARCH64: &str = "a bug of code for aarch64; on x86-64 no guest can express it";
const ASYNC: &[&str] = &["components/async-lift", "components/async-callback", "components/async-intrinsics"];
const STREAMS: &[&str] = &["components/streams", "components/futures"];
const GC: &[&str] = &["components/gc", "components/i31", "components/function-references"];
const CARRY: &[&str] = &[
    "adapters/carry-8-to-16",
    "adapters/carry-16-to-8",
    "adapters/carry-16-odd",
    "adapters/carry-16-wrapping",
    "adapters/carry-latin1-to-8",
    "adapters/carry-8-to-latin1",
    "adapters/carry-16-to-latin1",
    "adapters/carry-too-much",
];
const EXHAUSTION: &[&str] = &[
    "memory/random-bytes",
    "memory/many-empty-fields",
    "memory/many-citations",
    "handles/open-files",
    "handles/open-listings",
];
const STOPPED: &[&str] = &["cpu-and-time/sleep", "cpu-and-time/model-silent"];
const LEAKED: &[&str] = &["leaks/memory-of-another", "leaks/first-memory", "leaks/grown-memory", "leaks/table"];
const BULK: &[&str] =
    &["cpu-and-time/spin-in-fills", "cpu-and-time/spin-in-copies", "cpu-and-time/spin-in-table-fills"];
const SPIN: &[&str] = &["cpu-and-time/spin", "cpu-and-time/spin-at-start"];
const MEMORY: &[&str] = &["memory/one-page-more", "memory/touch-everything", "memory/two-memories"];

/// Advisories of wasmtime and its crates.
pub const ENGINE: &[Advisory] = &[
    off("GHSA-fm79-3f68-h2fc", "`fd_renumber` of WASI preview 1 panics the host", &["components/core-module"]),
    replayed(
        "GHSA-4h67-722j-5pmc",
        "intrinsics of components, called with what is not theirs, crash the host",
        &["adapters/handle-drop-of-another-kind", "adapters/handle-dropped-twice", "adapters/handle-negative"],
    ),
    off("GHSA-hc7m-r6v8-hg9q", "a shared memory is read unsoundly", &["components/threads", "clocks/shared-counter"]),
    replayed("GHSA-vc8c-j3xm-xj73", "`f64.copysign` loads past a memory", &["components/copysign-at-the-edge"]),
    replayed("GHSA-852m-cvvp-9p4w", "WASI calls use up the host's memory", EXHAUSTION),
    replayed("GHSA-243v-98vx-264h", "too many header fields panic the host", &["http/fields-past-their-cap"]),
    replayed("GHSA-xjhv-v822-pf94", "a call is dropped while it waits, and the store is called again", STOPPED),
    not_here("GHSA-jhxm-h53p-jm7w", "heap accesses are compiled wrongly", AARCH64),
    not_here("GHSA-xx5w-cvp6-jv83", "a memory access leaves the sandbox", WINCH),
    replayed("GHSA-394w-hwhg-8vgm", "transcoding a string writes out of bounds", CARRY),
    replayed("GHSA-hx6p-xpx3-jvvv", "transcoding a string reads or writes out of bounds", CARRY),
    replayed("GHSA-jxhv-7h78-9775", "transcoding from an odd place panics", CARRY),
    replayed("GHSA-m758-wjhj-p3jq", "lifting flags panics", &["adapters/flags-of-none"]),
    replayed("GHSA-6wgr-89rj-399p", "a pooled instance sees what another left", LEAKED),
    not_here(
        "GHSA-hfr4-7c6c-48w2",
        "a clone of a linker is used after it was freed",
        "an embedder's API; the linkers live as long as the engine and are never cloned",
    ),
    replayed("GHSA-qqfj-4vcm-26hv", "`f64x2.splat` loads past a memory", &["components/splat-at-the-edge"]),
    not_here("GHSA-q49f-xg75-m9xw", "`table.fill` panics the host", WINCH),
    not_here("GHSA-f984-pcp8-v2p7", "the result of `table.grow` is masked wrongly", WINCH),
    not_here("GHSA-m9w2-8782-2946", "code that Winch compiles is wrong", WINCH),
    replayed("GHSA-p8xm-42r7-89xg", "a huge table panics the host", &["memory/huge-table"]),
    replayed(
        "GHSA-2r75-cxrj-cmph",
        "truncating ignores that a file may only be read",
        &["filesystem/truncate-context", "filesystem/truncate-as-a-reader"],
    ),
    replayed(
        "GHSA-4ch3-9j33-3pmj",
        "hard links and renames ignore that a file may only be read",
        &["filesystem/hard-link-out-of-context", "filesystem/move-out-of-context"],
    ),
    off("GHSA-3p27-qvp9-27qf", "preview 1 leaks memory of the host", &["components/core-module"]),
    replayed("GHSA-2hw9-mc66-jc2q", "a store goes on after it was preempted in a bulk operation", BULK),
    not_here("GHSA-hgjw-h833-99q9", "types of two engines are mixed", "a process has one engine"),
    replayed(
        "GHSA-vqjp-4c8c-hfgg",
        "a trailing slash leads out of a directory",
        &["filesystem/read-link-with-slash", "filesystem/list-trailing-slashes"],
    ),
    off("GHSA-x84v-gj2h-g759", "a stream of WASI 0.3 allocates without bound", STREAMS),
    off("GHSA-32h6-97mm-8q3c", "an asynchronous callback of another type writes over the native stack", ASYNC),
    off("GHSA-cfhf-m2cr-62wj", "tags corrupt the collected heap", &["components/exceptions", "components/gc"]),
    off("GHSA-hw8m-q44c-ggrf", "exceptions corrupt the collected heap", &["components/exceptions", "components/gc"]),
    replayed(
        "GHSA-gqmc-89g8-p25r",
        "`write-zeroes` allocates as much as it is asked for",
        &["memory/zeroes", "memory/zeroes-to-a-file"],
    ),
    replayed("GHSA-w4qr-p94g-mjhv", "a timeout of zero panics the host", &["http/timeout-of-zero"]),
    not_here("GHSA-j366-h8gg-77pm", "preview 0 is not charged for fuel", "neither preview 0 nor fuel is used"),
    off("GHSA-96f6-r43r-8c24", "`fd_readdir` of preview 1 shows padding of the host", &["components/core-module"]),
    off("GHSA-mr2v-56j5-cmfc", "a time before 1970 panics the host, through WASI 0.3", STREAMS),
    replayed(
        "GHSA-q554-3cjc-rx7p",
        "handles are not counted",
        &["handles/open-files", "handles/open-streams", "handles/open-alarms", "handles/open-outputs"],
    ),
    replayed(
        "GHSA-5qpp-g3j2-8frx",
        "a request goes to another host than the one that was judged",
        &["http/absolute-form", "http/header-host", "http/user-in-address"],
    ),
    replayed(
        "GHSA-m9f7-9w4p-gv38",
        "a rename leads out of a directory",
        &["filesystem/move-through-link", "filesystem/move-above", "filesystem/move-from-above"],
    ),
    off("GHSA-m6w2-jwq2-cv2c", "a call of an asynchronous function panics", ASYNC),
    off("GHSA-93g3-36p8-x2gc", "a write of nothing to a stream panics", STREAMS),
    not_here("GHSA-mghf-wjfp-p5xm", "`br_table` jumps to a wrong place", AARCH64),
    replayed(
        "GHSA-r8xh-cgf7-392j",
        "bodies are framed wrongly",
        &["http/length-too-short", "http/header-transfer-encoding"],
    ),
    replayed("GHSA-jxcf-8qw5-5c33", "trailers pass headers that are forbidden", &["http/trailers"]),
    off("GHSA-9prg-84vf-g5fc", "bodies of WASI 0.3 are not bounded", STREAMS),
    off("GHSA-9pvw-hwfg-92h5", "types of streams are confused", STREAMS),
    replayed(
        "GHSA-hmmr-87qq-258j",
        "a connected packet socket passes an allow-list",
        &["network/udp-connect", "network/udp-send"],
    ),
    not_here("GHSA-qw58-7h65-crq2", "types of two engines are confused", "a process has one engine"),
    off("GHSA-3982-jqvv-277m", "a reference of a number panics the host", &["components/i31"]),
    replayed(
        "GHSA-6fr9-xmw9-5352",
        "borrowed handles are not counted",
        &["handles/open-files", "handles/open-streams"],
    ),
    replayed(
        "GHSA-h4wp-g4x3-7398",
        "a length that is not the body's is passed on",
        &["http/length-too-long", "http/length-too-short"],
    ),
    replayed(
        "GHSA-5m8g-xhq4-4h93",
        "empty writes to an output grow the host's memory",
        &["cpu-and-time/spin-in-empty-prints"],
    ),
    off("GHSA-f8mm-ggr3-89wh", "an abort in the collector or in asynchronous components", GC),
    off("GHSA-hj27-mpw9-ff4c", "an abort in the collector or in asynchronous components", GC),
    off("GHSA-43j2-gcp4-m22g", "an abort in the collector or in asynchronous components", ASYNC),
    off("GHSA-xrvr-8678-5wp8", "an abort in the collector or in asynchronous components", ASYNC),
    off("GHSA-wvgq-g5hf-6gm6", "an abort in the collector or in asynchronous components", STREAMS),
    not_here(
        "GHSA-rc4p-x33f-vpr2",
        "builds without the cargo feature `gc` abort",
        "it is built in, and switched off when the engine is made",
    ),
    not_here(
        "GHSA-2674-w29h-wqvj",
        "builds without the cargo feature `threads` abort",
        "it is built in, and switched off when the engine is made",
    ),
    not_here(
        "GHSA-897f-g5gm-fmxm",
        "a miscompilation that leaves the sandbox",
        "fixed before the first release of the line that we build from",
    ),
    replayed("RUSTSEC-2026-0020", "WASI calls use up the host's memory and handles", EXHAUSTION),
    replayed("RUSTSEC-2026-0021", "header fields panic the host", &["http/fields-past-their-cap"]),
    replayed("RUSTSEC-2026-0022", "the host panics after a call was dropped on its way", STOPPED),
    replayed("RUSTSEC-2026-0085", "lifting flags panics", &["adapters/flags-of-none"]),
    replayed("RUSTSEC-2026-0088", "a pooled instance sees what another left", LEAKED),
    replayed("RUSTSEC-2026-0091", "transcoding a string writes out of bounds", CARRY),
    replayed("RUSTSEC-2026-0093", "transcoding a string reads out of bounds", CARRY),
    not_here("RUSTSEC-2026-0089", "`table.fill` panics the host", WINCH),
    not_here("RUSTSEC-2026-0095", "a memory access leaves the sandbox", WINCH),
    not_here("RUSTSEC-2026-0096", "heap accesses are compiled wrongly", AARCH64),
    replayed("RUSTSEC-2026-0223", "bulk operations that are preempted break the engine's state", BULK),
];

/// Issues of peers.
pub const PEERS: &[Advisory] = &[
    replayed("openfang#1242", "a memory limit stands in the settings and nobody enforces it", MEMORY),
    replayed("librefang#3528", "a guest holds as much memory as it likes", MEMORY),
    replayed("librefang#3618", "a guest holds as much memory as it likes", MEMORY),
    replayed("openfang#1243", "stopping one guest stops its neighbours, for they share an epoch", SPIN),
    replayed("extism#407", "a guest is stopped by another's timeout", SPIN),
    replayed("extism#637", "a guest that waits in a host function cannot be stopped", STOPPED),
    replayed("zeroclaw#9255", "fuel is no time: a guest that waits runs for ever", STOPPED),
    replayed("zeroclaw#9390", "a stop is written down, and nobody reads it", &["forging/go-on-after-a-pull"]),
    replayed(
        "zeroclaw#8135",
        "of six permissions two are enforced",
        &["filesystem/write-read-only", "filesystem/no-files", "network/tcp-loopback", "host-calls/tools-and-children"],
    ),
    replayed(
        "zeroclaw#7335",
        "the sandbox has no bounds",
        &["memory/one-page-more", "cpu-and-time/spin", "output/log-flood", "handles/one-file-more"],
    ),
    replayed("zeroclaw#5919", "the host's variables reach a plugin", &["secrets/variables", "secrets/proc-environ"]),
    replayed("astrid#819", "a limit of processor time is not enforced", &["cpu-and-time/processor-time"]),
    replayed(
        "ironclaw#6144",
        "a cap on model calls is not enforced",
        &["host-calls/one-call-more", "host-calls/batch-too-large"],
    ),
    replayed("ironclaw#5411", "a cap on time is looked at only between calls", STOPPED),
    replayed("brain#104", "the epoch is armed and nothing moves it", SPIN),
    replayed("spin#2137", "a loop never ends", SPIN),
    replayed("spin#3609", "a timeout is no limit: without a yield nobody looks at it", SPIN),
    replayed("hyperlight-sandbox#9", "a guest that loops cannot be stopped", SPIN),
    replayed(
        "munder-difflin#288",
        "tokens are spent past the cap",
        &["host-calls/past-its-tokens", "host-calls/greedy"],
    ),
    replayed("microclaw#139", "an approval that nobody gives is taken as given", &["forging/answer-itself"]),
    replayed(
        "capsule: a child's policy comes from the guest",
        "a guest says what its child may do",
        &["host-calls/tools-and-children"],
    ),
    replayed(
        "golem: usage comes from the guest",
        "a guest reports what it used",
        &["forging/import-settle", "forging/import-top-up"],
    ),
    replayed(
        "wassette: no memory and no time limit",
        "a tool holds what it likes, for as long as it likes",
        &["memory/touch-everything", "cpu-and-time/spin"],
    ),
    replayed(
        "capsule: redirects are followed past the allow-list",
        "the first address is judged, the second is called",
        &["secrets/key-redirected", "http/redirect-to-loopback", "http/redirect-to-origin"],
    ),
    replayed(
        "CVE-2025-53109",
        "a link leads out of the directory that a server was given",
        &["filesystem/read-through-link", "filesystem/write-through-link", "filesystem/read-through-chain"],
    ),
    replayed(
        "CVE-2025-53110",
        "a path is taken for one inside because it begins like one",
        &["filesystem/read-beside"],
    ),
];

/// The table as a page.
pub fn page() -> String {
    let mut page = String::from(
        "# Advisories\n\nPublished advisories of the engine and issues of peers, replayed as guests where a guest can express them. A row\n\
         is named as in the table that `cargo run --release -p jidoka-tests --bin attacks` prints. This page is made by the\n\
         same program with `--advisories`.\n",
    );
    for (title, table) in [("Of the engine", ENGINE), ("Of peers", PEERS)] {
        let count = |is: fn(&Outcome) -> bool| table.iter().filter(|advisory| is(&advisory.outcome)).count();
        let replayed = count(|outcome| matches!(outcome, Outcome::Replayed(_)));
        let off = count(|outcome| matches!(outcome, Outcome::Off(_)));
        write!(
            page,
            "\n## {title}\n\n{} in all: {replayed} replayed, {off} in features that are off, {} not here.\n\n| id | what | outcome |\n| --- | --- | --- |\n",
            table.len(),
            table.len() - replayed - off
        )
        .expect("to a string");
        for Advisory { id, what, outcome } in table {
            let rows = |rows: &[&str]| rows.iter().map(|row| format!("`{row}`")).collect::<Vec<_>>().join(", ");
            let outcome = match outcome {
                Outcome::Replayed(by) => format!("refused or harmless: {}", rows(by)),
                Outcome::Off(by) => format!("the feature is off: {}", rows(by)),
                Outcome::NotHere(why) => format!("not here: {why}"),
            };
            writeln!(page, "| {id} | {what} | {outcome} |").expect("to a string");
        }
    }
    page
}
