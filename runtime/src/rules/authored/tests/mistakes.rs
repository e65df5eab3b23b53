//! One row for each kind of mistake: the edit that makes it, what its span shows, its message, a part of its help.

use super::*;

type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// Edits of [`JOB`] that make one mistake each: what stands there, what stands there instead, what the span shows, the
/// message, a part of the help. One row a line, to be read as a table.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // The six of the issue.
    ("wall = \"60s\"", "wal = \"60s\"\nwall = \"60s\"", "wal", "unknown key `budget.wal`", "write: wall = \"60s\""),
    ("[done]\nmarks = [\"tree\"]\ntree = [\"src\"]\nchecks = [\"tests\"]\n\n[[check]]\nname = \"tests\"\ncrate = \"..\"\nwall = \"20s\"\n", "", "", "[done] is missing", "marks = [\"tree\"]"),
    ("max = 3", "", "[attempts]", "`attempts.max` is missing", "write in [attempts]: max = 3"),
    ("model-calls = 20\n", "", "[budget]", "budget line `model-calls` is unbounded", "write in [budget]: model-calls = 20"),
    ("wall = \"60s\"", "wall = \"60 parsecs\"", "\"60 parsecs\"", "`budget.wall` has the unknown unit \" parsecs\"", "ms, s, m or h"),
    ("usd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n", "", "[models.coder]", "unpriced model `coder` under a money limit", "usd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\""),
    // The file itself.
    ("line = \"examples\"", "", "", "`line` is missing", "write: line = \"examples\""),
    ("line = \"examples\"", "line = \"Examples\"", "\"Examples\"", "`line` has the character 'E'", "a-z, 0-9 and -"),
    ("line = \"examples\"", "line = \"\"", "\"\"", "`line` is empty", "write: line"),
    ("line = \"examples\"", "line = 7", "7", "`line` is an integer", "write: line"),
    ("item = \"fix-basket\"", "item = \"..\"", "\"..\"", "`item` is a directory, not a name", "write: item"),
    ("item = \"fix-basket\"", "seed = -1", "-1", "`seed` is negative", "write: seed = 42"),
    ("item = \"fix-basket\"", "limits = 1", "limits", "unknown key `limits`", "delete this key"),
    ("[worker]\ncrate = \".\"\n", "", "", "[worker] is missing", "[worker]\ncrate = \".\""),
    ("[worker]\ncrate = \".\"\n", "worker = \".\"\n", "\".\"", "`worker` is a text", "write: [worker]"),
    ("crate = \".\"\n", "crate = \".\"\ncomponent = \"a.wasm\"\n", "\"a.wasm\"", "[worker] has both `crate` and `component`", "delete the other"),
    ("crate = \".\"\n", "", "[worker]", "[worker] has none of `crate`, `component`", "write in [worker]: crate = \".\""),
    ("crate = \".\"\n", "crate = \".\"\nenv = { A = 1 }\n", "1", "`worker.env` has a value `A` that is an integer", "env = { KEY"),
    ("crate = \".\"\n", "crate = \".\"\nenv = { \"A=B\" = \"1\" }\n", "\"A=B\"", "`worker.env` has a name that has the character '='", "NUL"),
    ("crate = \".\"\n", "crate = \".\"\nargs = \"a\"\n", "\"a\"", "`worker.args` is a text", "write: args = [\"--fast\"]"),
    ("text = \"Make the tests pass.\"", "text = \" \\n\"", "\" \\n\"", "`task.text` is empty", "write: text"),
    ("dir = \"project\"", "", "[workspace]", "`workspace.dir` is missing", "write in [workspace]: dir"),
    // Grants and models.
    ("[workspace]\ndir = \"project\"\n", "", "\"read-write\"", "`grants.files` is granted without a [workspace]", "[workspace]\ndir = "),
    ("files = \"read-write\"", "files = \"readwrite\"", "\"readwrite\"", "`grants.files` is \"readwrite\", which it cannot be", "write: files = \"read-write\""),
    ("models = [\"coder\"]", "models = [\"coder\", \"gpt\"]", "\"gpt\"", "the granted model `gpt` is not defined", "allowed: coder (the job's)\nwrite: [models.gpt]"),
    ("models = [\"coder\"]", "models = [\"coder\", \"coder\"]", "\"coder\"", "`grants.models` has coder twice", "write: models"),
    ("[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n", "[models]\ncoder = \"gpt\"\n", "\"gpt\"", "`models.coder` is a text", "write: [models.coder] on a line"),
    ("window = 32768\n", "", "[models.coder]", "`models.coder.window` is missing", "write in [models.coder]: window = 32768"),
    ("window = 32768\n", "window = \"32768\"\n", "\"32768\"", "`models.coder.window` is a text", "write: window = 32768"),
    ("window = 32768\n", "window = 32768\nurl = \"https://x\"\n", "url", "unknown key `models.coder.url`", "script, window"),
    ("usd-per-mtok-out = \"10\"\n", "", "\"2.50\"", "`models.coder.usd-per-mtok-out` is missing", "usd-per-mtok-out = \"10\""),
    ("usd-per-mtok-out = \"10\"", "usd-per-mtok-out = 10.5", "10.5", "`models.coder.usd-per-mtok-out` is a number with a point", "write: usd-per-mtok-out = \"10.5\""),
    // Tools and children.
    ("models = [\"coder\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\n", "models = [\"coder\"]\ntools = [\"grep\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\ntool-calls = 1\n", "\"grep\"", "the granted tool `grep` is not defined", "write:\n[tools.grep]"),
    ("models = [\"coder\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\n", "models = [\"coder\"]\ntools = [\"grep\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[tools.grep]\n[budget]\ntool-calls = 1\n", "[tools.grep]", "[tools.grep] has none of `crate`, `component`, `server`", "write in [tools.grep]: component = \"search.wasm\""),
    ("models = [\"coder\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\n", "models = [\"coder\"]\ntools = [\"grep\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[tools.grep]\ncomponent = \"a.wasm\"\ncrate = \"a\"\n[budget]\ntool-calls = 1\n", "\"a.wasm\"", "[tools.grep] has both `crate` and `component`", "delete the other"),
    ("models = [\"coder\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\n", "models = [\"coder\"]\ntools = [\"grep\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[tools.grep]\nserver = \"tracker\"\n[budget]\ntool-calls = 1\n", "\"tracker\"", "`tools.grep.server` names `tracker`, which is no MCP server of the operator's", "[mcp.tracker] with its command"),
    ("models = [\"coder\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\n", "models = [\"coder\"]\ntools = [\"grep\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[tools.grep]\ncomponent = \"a.wasm\"\nwall = 5\n[budget]\ntool-calls = 1\n", "5", "`tools.grep.wall` is an integer", "write: wall = \"5s\""),
    ("models = [\"coder\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\n", "models = [\"coder\"]\ntools = [\"grep\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[tools.grep]\ncomponent = \"a.wasm\"\nmemory = \"2GiB\"\n[budget]\ntool-calls = 1\n", "\"2GiB\"", "`tools.grep.memory` is above 1GiB", "from 64KiB to 1GiB"),
    ("models = [\"coder\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\n", "models = [\"coder\"]\ntools = [\"grep\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[tools.grep]\ncomponent = \"a.wasm\"\noutputs = \"1MiB\"\n[budget]\ntool-calls = 1\n", "outputs", "unknown key `tools.grep.outputs`", "output"),
    ("models = [\"coder\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\n", "models = [\"coder\"]\ntools = [\"Grep\"]\n\n[models.coder]\nscript = \"transcript.toml\"\nwindow = 32768\nmax-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n\n[budget]\ntool-calls = 1\n", "\"Grep\"", "`grants.tools` has the character 'G'", "a-z, 0-9 and -"),
    ("[models.coder]", "children = [\"reviewer\"]\n[models.coder]", "\"reviewer\"", "the granted child `reviewer` is not defined", "write:\n[children.reviewer]\njob = \"../reviewer\""),
    ("[models.coder]", "children = [\"reviewer\"]\n[children.reviewer]\n[models.coder]", "[children.reviewer]", "`children.reviewer.job` is missing", "write in [children.reviewer]: job = \"../reviewer\""),
    ("[models.coder]", "children = [\"reviewer\"]\n[children.reviewer]\njob = 1\n[models.coder]", "1", "`children.reviewer.job` is an integer", "write: job"),
    ("[models.coder]", "children = [\"reviewer\"]\n[children.reviewer]\njob = \"../r\"\nbudget = 1\n[models.coder]", "budget", "unknown key `children.reviewer.budget`", "job"),
    ("[models.coder]", "children = [\"reviewer\", \"reviewer\"]\n[models.coder]", "\"reviewer\"", "`grants.children` has reviewer twice", "write: children"),
    // The budget.
    ("wall = \"60s\"\n", "", "[budget]", "budget line `wall` is unbounded", "write in [budget]: wall = \"60s\""),
    ("tokens = 20000\n", "", "[budget]", "budget line `tokens` is unbounded", "write in [budget]: tokens = 20000"),
    ("tokens = 20000\n", "tokens-in = 20000\n", "[budget]", "budget line `tokens-out` is unbounded", "write in [budget]: tokens-out"),
    ("tokens = 20000\n", "tokens-out = 20000\n", "[budget]", "budget line `tokens-in` is unbounded", "write in [budget]: tokens-in"),
    ("usd = \"0.25\"\n", "", "[budget]", "budget line `usd` is unbounded", "write in [budget]: usd = \"0.25\""),
    ("usd = \"0.25\"", "usd = 0.25", "0.25", "`budget.usd` is a number with a point", "write: usd = \"0.25\""),
    ("usd = \"0.25\"", "usd = \"0.0000001\"", "\"0.0000001\"", "`budget.usd` has more than 6 decimals", "6 decimals"),
    ("wall = \"60s\"", "wall = 60", "60", "`budget.wall` is an integer", "write: wall = \"60s\""),
    ("wall = \"60s\"", "wall = \"60s\"\ndisk = \"64MB\"", "\"64MB\"", "`budget.disk` has the unknown unit \"MB\"", "B, KiB, MiB or GiB"),
    ("wall = \"60s\"", "wall = \"unlimited\"", "\"unlimited\"", "`budget.wall` is no limit, and every line has one: there is no word and no number for endless", "or \"inherit\" if [budget.item] bounds it\nwrite: wall = \"60s\""),
    ("tokens = 20000", "tokens = -1", "-1", "`budget.tokens` is no limit, and every line has one: there is no word and no number for endless", "write: tokens = 20000"),
    ("tokens = 20000", "tokens = inf", "inf", "`budget.tokens` is no limit, and every line has one: there is no word and no number for endless", "write: tokens"),
    ("tokens = 20000", "tokens = \"inherit\"", "\"inherit\"", "budget line `tokens` is unbounded: it inherits from nothing", "write in [budget.item]: tokens = 20000"),
    ("usd = \"0.25\"\n", "usd = \"0.25\"\n[budget.item]\nusd = \"inherit\"\n", "\"inherit\"", "`budget.item.usd` cannot inherit: nothing above the item bounds it", "write: usd"),
    ("usd = \"0.25\"\n", "usd = \"0.25\"\n[budget.item]\nmoney = 1\n", "money", "unknown key `budget.item.money`", "allowed in [budget.item]: tokens-in"),
    ("usd = \"0.25\"\n", "usd = \"0.25\"\nmemory = \"64MiB\"\n", "memory", "`budget.memory` is held and never spent", "write in [caps]: memory = \"64MiB\""),
    ("usd = \"0.25\"\n", "usd = \"0.25\"\n[budget.item]\nmemory = \"64MiB\"\n", "memory", "`budget.item.memory` is held and never spent", "write in [caps]: memory = \"64MiB\""),
    ("line = \"examples\"", "line = \"examples\"\ntenant = \"acme\"", "tenant", "unknown key `tenant`", "delete this key"),
    // Attempts.
    ("backoff = \"0s\"\n", "", "[attempts]", "`attempts.backoff` is missing", "write in [attempts]: backoff = \"10s\""),
    ("backoff = \"0s\"", "backoff = 10", "10", "`attempts.backoff` is an integer", "write: backoff = \"10s\""),
    ("backoff = \"0s\"", "backoff = \"2s\"\nmax-backoff = \"1999ms\"", "\"1999ms\"", "`attempts.max-backoff` is 1999ms, and the first rest is 2s", "allowed: at least 2s\nwrite: max-backoff = \"2s\""),
    ("backoff = \"0s\"", "backoff = \"2s\"\nmax-backof = \"3s\"", "max-backof", "unknown key `attempts.max-backof`", "write: max-backoff = \"1h\""),
    // Guards, the andon, questions.
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\nrepeats = 0\n", "0", "`guards.repeats` is below 2", "from 2 to 20; no guard can be switched off\nwrite: repeats = 3"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\nstrikes = \"off\"\n", "\"off\"", "`guards.strikes` cannot be switched off", "from 1 to 10; no guard can be switched off\nwrite: strikes = 3"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\nstrikes = false\n", "false", "`guards.strikes` cannot be switched off", "from 1 to 10; no guard can be switched off\nwrite: strikes = 3"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\nstrikes = -1\n", "-1", "`guards.strikes` cannot be switched off", "from 1 to 10; no guard can be switched off\nwrite: strikes = 3"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\nstall = \"never\"\n", "\"never\"", "`guards.stall` does not start with a whole number", "from 1s to 24h; no guard can be switched off\nwrite: stall = \"5m\""),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\nstall = \"none\"\n", "\"none\"", "`guards.stall` cannot be switched off", "from 1s to 24h; no guard can be switched off\nwrite: stall = \"5m\""),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\nrepeat = 4\n", "repeat", "unknown key `guards.repeat`", "write: repeats = 3"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\npollers = [\"a b\"]\n", "\"a b\"", "`guards.pollers` has the character ' '", "write: pollers = [\"job_status\"]"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\npollers = [\"a\", \"a\"]\n", "\"a\"", "`guards.pollers` has a twice", "a list of 0 to 64"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\ncluster-items = 21\ncluster-runs = 20\n", "20", "`guards.cluster-runs` is 20, and `guards.cluster-items` is 21", "allowed: from 21 to 1000\nwrite: cluster-runs = 21"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\ncluster-runs = 2\n", "2", "`guards.cluster-runs` is 2, and `guards.cluster-items` is 3", "write: cluster-runs = 3"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[guards]\ncluster-items = \"x\"\ncluster-runs = 2\n", "\"x\"", "`guards.cluster-items` is a text", "write: cluster-items = 3"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[andon]\non-lost = \"stop\"\n", "\"stop\"", "`andon.on-lost` is \"stop\", which it cannot be", "allowed: \"leave\", \"pull\"\nwrite: on-lost = \"pull\""),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[andon]\non-pull = \"halt\"\n", "\"halt\"", "`andon.on-pull` is \"halt\", which it cannot be", "allowed: \"drain\", \"freeze\"\nwrite: on-pull = \"freeze\""),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[andon]\nonpull = \"drain\"\n", "onpull", "unknown key `andon.onpull`", "write: on-pull = \"freeze\""),
    ("files = \"read-write\"\n", "files = \"read-write\"\nhuman = \"yes\"\n", "\"yes\"", "`grants.human` is a text", "allowed: true or false\nwrite: human = true"),
    ("files = \"read-write\"\n", "files = \"read-write\"\nhuman = true\n", "true", "`grants.human` is granted without a [human]", "write:\n[human]\ndeadline = \"24h\""),
    ("[models.coder]", "[human]\ndeadline = \"1h\"\n[models.coder]", "[human]", "[human] is given, but the worker may not ask a person", "write in [grants]: human = true"),
    ("[models.coder]", "[human]\n[models.coder]", "[human]", "[human] is given, but the worker may not ask a person", "write in [grants]: human = true"),
    ("[models.coder]", "human = true\n[human]\n[models.coder]", "[human]", "`human.deadline` is missing", "write in [human]: deadline = \"24h\""),
    ("[models.coder]", "human = true\n[human]\ndeadline = 24\n[models.coder]", "24", "`human.deadline` is an integer", "write: deadline = \"24s\""),
    ("[models.coder]", "human = 1\n[human]\ndeadline = \"1h\"\n[models.coder]", "1", "`grants.human` is an integer", "write: human = true"),
    // What is done.
    ("marks = [\"tree\"]", "marks = []", "[]", "`done.marks` is too short: 0 of at least 1", "\"tree\", \"artifact\""),
    ("marks = [\"tree\"]", "marks = [\"trees\"]", "\"trees\"", "`done.marks` is \"trees\", which it cannot be", "write: marks = [\"tree\"]"),
    ("tree = [\"src\"]\n", "", "\"tree\"", "`done.tree` is missing", "write in [done]: tree = [\"src\"]"),
    ("marks = [\"tree\"]", "marks = [\"artifact\"]", "[\"src\"]", "`done.tree` is given, but a tree is no mark of this job", "marks = [\"tree\"]"),
    ("files = \"read-write\"", "files = \"read-only\"", "\"tree\"", "`done.marks` has \"tree\", but the worker may not write files", "files = \"read-write\""),
    ("tree = [\"src\"]", "tree = [\"/src\"]", "\"/src\"", "`done.tree` is absolute", "inside the workspace"),
    ("tree = [\"src\"]", "tree = [\"src/../..\"]", "\"src/../..\"", "`done.tree` has `..` in it", "inside the workspace"),
    ("tree = [\"src\"]", "tree = [\"src/\"]", "\"src/\"", "`done.tree` is not in its shortest form", "inside the workspace"),
    ("tree = [\"src\"]", "tree = ['src\\a']", "'src\\a'", "`done.tree` has a \\", "inside the workspace"),
    ("tree = [\"src\"]", "tree = [\"src\"]\nignore = [\".\"]", "\".\"", "`done.ignore` is \".\", which is everything", "write: ignore"),
    ("tree = [\"src\"]", "tree = [\"src\"]\nno-change = true", "true", "`done.no-change` is a boolean", "\"allowed\", \"refused\""),
    ("marks = [\"tree\"]\ntree = [\"src\"]\nchecks = [\"tests\"]\n\n[[check]]\nname = \"tests\"\ncrate = \"..\"\nwall = \"20s\"\n", "marks = [\"checks\"]\n", "\"checks\"", "`done.marks` has \"checks\", but the job has no checks", "write in [done]: checks = [\"tests\"], and:\n[[check]]"),
    ("marks = [\"tree\"]\ntree = [\"src\"]\nchecks = [\"tests\"]", "marks = [\"checks\"]\nchecks = []", "\"tests\"", "the check `tests` is not listed in `done.checks`", "write in [done]: checks = [\"tests\"]"),
    ("checks = [\"tests\"]", "checks = []", "\"tests\"", "the check `tests` is not listed in `done.checks`", "write in [done]: checks = [\"tests\"]"),
    ("checks = [\"tests\"]", "checks = [\"tests\", \"test\"]", "\"test\"", "`done.checks` lists `test`, which is not written", "[[check]]\nname = \"test\""),
    ("name = \"tests\"\n", "", "[[check]]", "`check[1].name` is missing", "write in [[check]]: name = \"tests\""),
    ("checks = [\"tests\"]\n\n[[check]]\nname = \"tests\"\n", "checks = [\"apply\"]\n\n[[check]]\nname = \"apply\"\n", "\"apply\"", "a check cannot be named `apply`", "any name but apply, evidence, no-change"),
    ("crate = \"..\"", "", "[[check]]", "[[check]] has none of `crate`, `component`, `command`", "exactly one"),
    ("crate = \"..\"", "command = [\"rm\", \"-rf\"]", "[\"rm\", \"-rf\"]", "`check.tests.command` is not approved by the operator", "write in [policy] of the operator's file: commands = [[\"rm\", \"-rf\"]]"),
    ("wall = \"20s\"\n", "", "[[check]]", "`check.tests.wall` is missing", "write in [[check]]: wall = \"20s\""),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[[check]]\nname = \"tests\"\ncrate = \"x\"\nwall = \"1s\"\n", "\"tests\"", "two checks are named `tests`", "another name"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[caps]\nmemory = \"2GiB\"\n", "\"2GiB\"", "`caps.memory` is above 1GiB", "from 64KiB to 1GiB"),
    ("wall = \"20s\"\n", "wall = \"20s\"\n[caps]\nmem = \"2MiB\"\n", "mem", "unknown key `caps.mem`", "memory, log, stdio, files, handles, lifted"),
    ("wall = \"20s\"\n", "wall = \"2h\"\n", "\"2h\"", "`check.tests.wall` is 2h, and the operator allows 1h", "max-wall = \"2h\""),
    ("wall = \"60s\"", "wall = \"61m\"", "\"61m\"", "`budget.wall` is 61m, and the operator allows 1h", "max-wall = \"61m\""),
    // Syntax that does not hide the rest.
    ("wall = \"60s\"", "wall = 60s", "60s", "`60s` has no quotes", "write: \"60s\""),
    ("max = 3", "max =", "", "a key has no value", "a number"),
    ("max = 3", "max = 3\nmax = 4", "max", "`max` stands twice", "delete the other"),
    // Syntax that does.
    ("[attempts]", "[attempts", "", "unclosed table, expected `]`", "not read"),
    ("tree = [\"src\"]", "tree = [\"src\"", "", "missing comma between array elements, expected `,`", "not read"),
];

#[test]
fn each_mistake_is_reported_once_where_it_is_with_what_to_write() {
    assert!(plain(JOB).is_ok());
    for (old, new, shown, message, help) in ROWS {
        let text = with(JOB, old, new);
        let mistakes = plain(&text).expect_err(message);
        assert_eq!(seen(&text, &mistakes), [(*shown, *message)], "{old:?} -> {new:?}");
        assert!(mistakes[0].help.contains(help), "{message}: {:?}", mistakes[0].help);
        assert!(mistakes[0].help.starts_with("allowed"), "{:?}", mistakes[0].help);
        assert!(!mistakes[0].label.is_empty());
    }
}

#[test]
fn ten_mistakes_are_ten() {
    let text = r#"line = "Examples"
[worker]
[task]
text = ""
[grants]
files = "read-only"
models = ["ghost"]
[budget]
wall = 60s
tokens = "none"
usd = 1.5
model-calls = 5
[attempts]
max = 101
backoff = "0s"
[done]
marks = ["artifact"]
checks = ["lint"]
"#;
    let mistakes = plain(text).expect_err("ten mistakes");
    assert_eq!(
        seen(text, &mistakes),
        [
            ("\"Examples\"", "`line` has the character 'E'"),
            ("[worker]", "[worker] has none of `crate`, `component`"),
            ("\"\"", "`task.text` is empty"),
            ("\"read-only\"", "`grants.files` is granted without a [workspace]"),
            ("\"ghost\"", "the granted model `ghost` is not defined"),
            ("60s", "`60s` has no quotes"),
            (
                "\"none\"",
                "`budget.tokens` is no limit, and every line has one: there is no word and no number for endless"
            ),
            ("1.5", "`budget.usd` is a number with a point"),
            ("101", "`attempts.max` is above 100"),
            ("\"lint\"", "`done.checks` lists `lint`, which is not written"),
        ]
    );
}

#[test]
fn an_empty_job_is_told_everything_that_it_needs() {
    let mistakes = plain("").expect_err("nothing is there");
    let messages: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    let needed = ["[worker]", "[task]", "[budget]", "[attempts]", "[done]"].map(|it| format!("{it} is missing"));
    assert_eq!(messages[0], "`line` is missing");
    assert_eq!(messages[1..], needed);
}

#[test]
fn the_lines_that_the_mistakes_say_to_write_make_a_job() {
    let mistakes = plain("").expect_err("nothing is there");
    let lines = |mistake: &Mistake| {
        let (_, lines) = mistake.help.split_once("write:").expect("every help has it");
        lines.trim().to_owned()
    };
    let text = mistakes.iter().map(lines).collect::<Vec<_>>().join("\n");
    let text = format!("{text}\n[workspace]\ndir = \"project\"\n[grants]\nfiles = \"read-write\"\n");
    assert_eq!(plain(&text).map(|spec| spec.line), Ok("examples".to_owned()));
}

#[test]
fn a_mistake_reads_well() {
    let text = with(JOB, "model-calls = 20", "model-call = 20");
    assert_eq!(
        plain(&text),
        Err(vec![
            Mistake {
                span: Some(text.find("[budget]").map(|at| at..at + 8).expect("stands there")),
                message: "budget line `model-calls` is unbounded".to_owned(),
                label: "a model is granted, so this needs a bound".to_owned(),
                help: "allowed: a whole number, from 0 to 1000000000000; or \"inherit\" if [budget.item] bounds it\n\
                       write in [budget]: model-calls = 20"
                    .to_owned(),
            },
            Mistake {
                span: Some(text.find("model-call ").map(|at| at..at + 10).expect("stands there")),
                message: "unknown key `budget.model-call`".to_owned(),
                label: "did you mean `model-calls`?".to_owned(),
                help: "allowed in [budget]: tokens-in, tokens-out, tokens, usd, model-calls, tool-calls, wall, work, \
                       cpu, net, disk, item, gap, first-gap\nwrite: model-calls = 20"
                    .to_owned(),
            },
        ])
    );
    let text = with(JOB, "\nwall = \"60s\"", "\nwall = \"60sec\"");
    assert_eq!(
        plain(&text).expect_err("a bad unit"),
        [Mistake {
            span: Some(text.find("\"60sec\"").map(|at| at..at + 7).expect("stands there")),
            message: "`budget.wall` has the unknown unit \"sec\"".to_owned(),
            label: "not a duration".to_owned(),
            help: "allowed: a whole number and ms, s, m or h in quotes, from 0s to 8760h; or \"inherit\" if \
                   [budget.item] bounds it\nwrite: wall = \"60s\""
                .to_owned(),
        }]
    );
}

#[test]
fn a_flag_is_judged_like_the_file() {
    let overrides = Overrides {
        tenant: Some("Acme".to_owned()),
        item: Some("a b".to_owned()),
        models: BTreeMap::from([("coder".to_owned(), "gpt".to_owned()), ("ghost".to_owned(), "gpt".to_owned())]),
        seed: None,
        wall_ms: Some(3_600_001),
        wall: None,
    };
    let mistakes = job(JOB, &nobody(), &overrides).expect_err("five flags are wrong");
    let mut messages: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    messages.sort_unstable();
    assert_eq!(
        messages,
        [
            "--item \"a b\" has the character ' '",
            "--model coder=gpt is not defined",
            "--model ghost=gpt is for a model that the job does not grant",
            "--tenant \"Acme\" has the character 'A'",
            "--wall-time is 3600001ms, and the operator allows 1h",
        ]
    );
    assert!(mistakes.iter().all(|mistake| mistake.span.is_none()));
}

#[test]
fn what_a_mistake_hides_is_not_guessed_at() {
    // The grant is wrong, so nothing is said of the budget that would follow from it.
    let text = with(LEAST, "[budget]", "[grants]\nmodels = \"coder\"\n[budget]");
    assert_eq!(seen(&text, &plain(&text).expect_err("not a list")), [("\"coder\"", "`grants.models` is a text")]);
}
