//! Both files, from text to what they mean: each mistake where it is, each default with its origin.

mod any_text;
mod bounds;
mod ceilings;
mod defaults;
mod gaps;
mod hooks;
mod http;
mod mistakes;
mod pins;
mod providers;
mod shared;
mod tenants;

use super::*;

/// A job that uses everything that has its own section.
const JOB: &str = r#"line = "examples"
item = "fix-basket"

[worker]
crate = "."

[task]
text = "Make the tests pass."

[workspace]
dir = "project"

[grants]
files = "read-write"
models = ["coder"]

[models.coder]
script = "transcript.toml"
window = 32768
max-output = 4096
usd-per-mtok-in = "2.50"
usd-per-mtok-out = "10"

[budget]
wall = "60s"
tokens = 20000
model-calls = 20
usd = "0.25"

[attempts]
max = 3
backoff = "0s"

[done]
marks = ["tree"]
tree = ["src"]
checks = ["tests"]

[[check]]
name = "tests"
crate = ".."
wall = "20s"
"#;

/// A job that has nothing but what it must.
const LEAST: &str = r#"line = "examples"
[worker]
component = "worker.wasm"
[task]
text = "Say hello."
[budget]
wall = "5s"
[attempts]
max = 1
backoff = "0s"
[done]
marks = ["artifact"]
"#;

/// An operator with two providers, one of them without a price.
const OPERATOR: &str = r#"[models.gpt]
dialect = "openai"
url = "https://host/v1"
model = "gpt-x"
key-env = "OPENAI_API_KEY"
window = 128000
max-output = 16384
usd-per-mtok-in = "2.50"
usd-per-mtok-out = "10"

[models.local]
dialect = "openai"
url = "http://127.0.0.1:8080/v1"
model = "small"
key = "none"
window = 4096
max-output = 512
"#;

/// A job with gaps.
const GAPS: &str = r#"line = "examples"
[worker]
component = "worker.wasm"
[task]
text = "Say hello."
[budget]
wall = "60s"
tool-calls = 9
[budget.gap]
wall = "20s"
tool-calls = 5
[budget.first-gap]
wall = "10s"
cpu = "5s"
[attempts]
max = 1
backoff = "0s"
[done]
marks = ["artifact"]
"#;

/// An operator who limits what many runs spend together.
const SHARED: &str = r#"[host.budget]
usd = "500"
memory = "2GiB"
[host.budget.hour]
tokens = 2000000
[host.budget.day]
usd = "20"
[host.budget.week]

[tenants.acme]
lines = ["triage", "review"]
requests-per-minute = 60
[tenants.acme.budget]
usd = "100"
[tenants.acme.budget.day]
tokens = 500000

[tenants.globex]

[lines.triage.budget]
model-calls = 1000
[lines.triage.budget.week]
wall = "100h"
[lines.examples.budget]
disk = "1GiB"
"#;

/// An operator with hooks.
const HOOKS: &str = r#"[[hook]]
on = "before-run"
command = ["/usr/bin/notify", "--token", "canary"]
wall = "5s"

[[hook]]
on = "after-run"
command = ["notify"]
wall = "10m"
env = ["PATH", "NOTIFY_KEY"]
lines = ["examples", "pages"]

[[hook]]
on = "on-pull"
url = "https://chat.example:8443/services/canary?sig=canary"
wall = "1ms"
lines = ["pages"]
"#;

/// A job that fetches.
const FETCHER: &str = r#"line = "examples"
[worker]
component = "worker.wasm"
[task]
text = "Say hello."
[[grants.http]]
url = "https://api.example/v1/items/"
methods = ["GET", "POST"]
response = "2MiB"
timeout = "5s"
redirects = 2
secrets = ["api-key", "app"]
[[grants.http]]
url = "http://*.docs.local:8080/"
methods = ["GET"]
[budget]
wall = "5s"
net = "8MiB"
[attempts]
max = 1
backoff = "0s"
[done]
marks = ["artifact"]
"#;

/// An operator who lets jobs fetch.
const WEB: &str = r#"[[policy.http]]
url = "https://api.example/v1/"
methods = ["GET", "POST"]
response = "4MiB"
timeout = "10s"
redirects = 3

[[policy.http]]
url = "http://*.docs.local:8080/"
methods = ["GET"]
timeout = "1s"
networks = ["10.0.0.0/8", "fd00::/8"]

[[policy.http]]
url = "https://split.example/"
methods = ["GET"]
[[policy.http]]
url = "https://split.example/"
methods = ["POST"]

[secrets.api-key]
env = "API_KEY"
origins = ["https://api.example", "http://127.0.0.1:9"]
header = "authorization"
prefix = "Bearer "

[secrets.app]
command = ["pass", "canary"]
origins = ["https://api.example"]
query = "app"

[secrets.elsewhere]
env = "OTHER_KEY"
origins = ["https://other.example"]
header = "x-key"

[secrets.same]
env = "SAME_KEY"
origins = ["https://api.example"]
header = "authorization"

[secrets.unused]
file = "unused.key"
origins = ["https://unused.example"]
header = "x-same"
"#;

fn nobody() -> OperatorFile {
    OperatorFile::default()
}

fn plain(text: &str) -> Result<RunSpec, Vec<Mistake>> {
    job(text, &nobody(), &Overrides::default())
}

fn theirs(text: &str) -> OperatorFile {
    operator(text).expect("it is right")
}

/// Replaces what stands exactly once in a text.
fn with(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old:?} stands once");
    text.replace(old, new)
}

/// The mistakes as a person meets them: what the span shows, and the message.
fn seen<'a>(text: &'a str, mistakes: &'a [Mistake]) -> Vec<(&'a str, &'a str)> {
    let shown = |span: &Option<Range<usize>>| span.clone().map_or("-", |span| &text[span]);
    mistakes.iter().map(|mistake| (shown(&mistake.span), mistake.message.as_str())).collect()
}

/// The value and origin of a setting.
fn setting<'a>(spec: &'a RunSpec, key: &str) -> (&'a str, Origin) {
    let mut found = spec.settings.iter().filter(|setting| setting.key == key);
    let setting = found.next().unwrap_or_else(|| panic!("{key} is a setting"));
    assert!(found.next().is_none(), "{key} is noted once");
    (&setting.value, setting.origin)
}
