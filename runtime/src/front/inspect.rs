//! `jidoka inspect`: what a component could ever do, and what a job lets it.
//!
//! Never: decides. What the component says of itself is shown as that.

use std::path::Path;

use anyhow::Context;
use console::style;
use serde::Serialize;

use crate::rules::authored::{Overrides, limit};
use crate::rules::interface::{self, Gate, Standing};
use crate::rules::pin::{Pin, Reading};
use crate::rules::spec::{Budget, Caps, Grants, RunSpec};
use crate::rules::units;
use crate::run::anatomy::{Anatomy, Listed, Span};
use crate::run::held::Held;
use crate::run::shape::{self, MAX_COMPONENT_BYTES};

use super::load::{self, LoadError, Signatures};
use super::machine::Machine;
use super::screen::{plain, plain_long};
use super::terminal::{Spinner, say};
use super::wrap;

/// What `inspect --json` prints.
#[derive(Serialize)]
struct Inspection<'a> {
    #[serde(flatten)]
    anatomy: &'a Anatomy,
    /// The worlds that it fits.
    fits: &'a [&'static str],
    /// Why it fits none.
    misfit: &'a Option<String>,
    /// What each of its imports lets it do, in the order of `imports`.
    could: &'a [Could],
    /// What the job lets it; null if a component was named.
    job: Option<Lets<'a>>,
}

/// One import.
#[derive(Serialize)]
struct Could {
    import: String,
    /// Null: no world here has it.
    lets: Option<&'static str>,
    /// The setting that a job needs for it; null if it needs none, or none helps.
    needs: Option<&'static str>,
    /// Under this job; null without one.
    #[serde(flatten)]
    standing: Option<Standing>,
}

/// What a job lets its worker.
#[derive(Serialize)]
struct Lets<'a> {
    grants: &'a Grants,
    /// Names of its variables. Their values are not shown.
    env: Vec<&'a str>,
    args: usize,
    pin: &'a Pin,
    /// Whether the pin is met; why not.
    unmet: Option<String>,
    caps: &'a Caps,
    budget: &'a Budget,
    /// The most that a run can make the host hold in memory.
    held: Held,
}

/// `jidoka inspect`.
pub(super) fn inspect(machine: &dyn Machine, path: &Path, json: bool, overrides: &Overrides) -> Result<u8, LoadError> {
    let is_component = path.extension().is_some_and(|extension| extension == "wasm");
    let (bytes, job) = if is_component {
        let bytes = machine.read_at_most(path, MAX_COMPONENT_BYTES as u64);
        (bytes.with_context(|| format!("read {}", path.display()))?, None)
    } else {
        let load::Loaded { dir, mut spec, .. } = load::load(machine, path, overrides)?;
        let spinner = Spinner::new(json);
        let bytes = load::component(machine, &dir, &spec.worker, &|what| spinner.say(what));
        spinner.end();
        load::read_pins(machine, &mut spec, &dir, Signatures::BesideComponents);
        (bytes?, Some(spec))
    };
    let is_module = shape::is_module(&bytes);
    let mut anatomy = Anatomy::of(&bytes).with_context(|| format!("inspect {}", path.display()))?;
    let (fits, misfit) = match machine.inspect(&bytes) {
        Ok((_, surface)) => {
            if is_module {
                anatomy.imports = Listed { listed: surface.imports, left_out: 0 };
            }
            (surface.fits, None)
        }
        Err(why) => (Vec::new(), Some(plain_long(&format!("{why:#}")))),
    };
    let could: Vec<Could> = anatomy.imports.listed.iter().map(|import| could(import, job.as_ref())).collect();
    let lets = job.as_ref().map(|spec| lets(spec, &bytes));
    if json {
        let inspection = Inspection { anatomy: &anatomy, fits: &fits, misfit: &misfit, could: &could, job: lets };
        say!("{}", serde_json::to_string_pretty(&inspection).context("write the document")?);
        return Ok(0);
    }
    let what = if is_module { "module of WASI preview 1, a tool as it is" } else { "component" };
    say!("{} {} · {}", style(what).bold(), anatomy.digest, units::show_about(anatomy.bytes));
    let none = || "no world".to_owned();
    row(&format!("  fits     {}", if fits.is_empty() { misfit.clone().unwrap_or_else(none) } else { fits.join(", ") }));
    parts(&anatomy);
    if is_module && fits.is_empty() {
        // What it asks for is known only of what it is wrapped in.
        return Ok(0);
    }
    say!("{}", style("could").bold());
    for line in could_lines(&could, &anatomy.imports) {
        say!("{}", wrap::out(&line, 6));
    }
    if let Some(lets) = lets {
        say!("{}", style("this job lets it").bold());
        for line in lets_lines(&lets) {
            row(&line);
        }
        let refused: Vec<&Could> =
            could.iter().filter(|could| matches!(could.standing, Some(Standing::Refused { .. }))).collect();
        if !refused.is_empty() {
            say!("{}", style("would be refused").bold());
        }
        for Could { import, needs, .. } in refused {
            say!("  {import:<40} {}", needs.map_or("nothing opens it".to_owned(), |needs| format!("until {needs}")));
        }
    }
    Ok(0)
}

/// A line whose value hangs beside its key.
fn row(line: &str) {
    say!("{}", wrap::out(line, 11));
}

fn could(import: &str, job: Option<&RunSpec>) -> Could {
    let known = interface::of(import);
    Could {
        import: import.to_owned(),
        lets: known.map(|known| known.lets),
        needs: known.and_then(|known| known.gate.setting()),
        standing: job.zip(known).map(|(spec, known)| known.gate.under(&spec.grants)),
    }
}

fn could_lines(could: &[Could], imports: &Listed<String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Beside each other where there is room.
    let wide = if wrap::stdout().is_some_and(|columns| columns < 90) { 0 } else { 40 };
    for Could { import, lets, needs, .. } in could {
        let gate = match (needs, interface::of(import).map(|known| known.gate)) {
            (Some(needs), _) => format!(" · if {needs}"),
            (None, Some(Gate::Shut)) => " · never: every call is refused".to_owned(),
            (
                None,
                Some(Gate::Open | Gate::Files | Gate::Models | Gate::Human | Gate::Tools | Gate::Children | Gate::Http)
                | None,
            ) => String::new(),
        };
        lines.push(format!("  {import:<wide$} {}{gate}", lets.unwrap_or("nothing: no world here has it")));
    }
    if could.is_empty() {
        lines.push("  nothing but compute: it has no imports".to_owned());
    }
    lines.extend(more(imports));
    lines
}

fn more<T>(listed: &Listed<T>) -> Option<String> {
    (listed.left_out > 0).then(|| format!("  and {} more", listed.left_out))
}

/// What it is made of.
fn parts(anatomy: &Anatomy) {
    let more = |left_out: u64| if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
    let exports = &anatomy.exports;
    let shown = if exports.listed.is_empty() { "nothing".to_owned() } else { exports.listed.join(", ") };
    row(&format!("  exports  {shown}{}", more(exports.left_out)));
    row(&format!(
        "  code     {} in {} functions of {} modules and {} components; the largest has {}; {} start by themselves",
        units::show_about(anatomy.code_bytes),
        anatomy.functions,
        anatomy.modules,
        anatomy.components,
        units::show_about(anatomy.largest_function_bytes),
        anatomy.starts
    ));
    let spans = |listed: &Listed<Span>, show: fn(u64) -> String| {
        let span = |span: &Span| match span.maximum {
            Some(maximum) => format!("{} to {}", show(span.initial), show(maximum)),
            None => format!("{}, growing without a bound of its own", show(span.initial)),
        };
        let shown: Vec<String> = listed.listed.iter().map(span).collect();
        let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
        format!("{shown}{}", more(listed.left_out))
    };
    row(&format!("  memory   {}", spans(&anatomy.memories, units::show_about)));
    row(&format!("  tables   {}", spans(&anatomy.tables, |elements| elements.to_string())));
    row(&format!("  data     {} in {} segments", units::show_about(anatomy.data_bytes), anatomy.data_segments));
    for producer in &anatomy.producers.listed {
        row(&format!("  says     {} {} {}", producer.role, producer.name, producer.version));
    }
    let custom = |it: &crate::run::anatomy::CustomSection| {
        let times = if it.sections > 1 { format!(" x{}", it.sections) } else { String::new() };
        format!("{}{times} {}", it.name, units::show_about(it.bytes))
    };
    let customs: Vec<String> = anatomy.custom_sections.listed.iter().map(custom).collect();
    if !customs.is_empty() {
        row(&format!("  custom   {}{}", customs.join(", "), more(anatomy.custom_sections.left_out)));
    }
    if let Some(why) = &anatomy.refused {
        row(&format!("  refused  {why}"));
    }
    if let Some(why) = &anatomy.unread {
        say!("  not read any further: {why}");
    }
}

fn lets<'a>(spec: &'a RunSpec, component: &[u8]) -> Lets<'a> {
    Lets {
        grants: &spec.grants,
        env: spec.env.keys().map(String::as_str).collect(),
        args: spec.args.len(),
        pin: &spec.worker_pin,
        unmet: crate::run::pinned::unmet(&spec.worker_pin, component).map(|why| plain_long(&why)),
        caps: &spec.caps,
        budget: &spec.budget,
        held: Held::of(spec),
    }
}

fn lets_lines(lets: &Lets<'_>) -> Vec<String> {
    let names = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let files = Gate::Files.under(lets.grants);
    let by = |standing: Standing| match standing {
        Standing::Free => "free".to_owned(),
        Standing::Granted { by } => by,
        Standing::Refused { .. } => "none".to_owned(),
    };
    let mut lines = vec![
        format!("  files    {}", by(files)),
        format!("  models   {}", names(lets.grants.models.iter().map(String::as_str).collect())),
        format!("  human    {}", by(Gate::Human.under(lets.grants))),
        format!("  env      {}", names(lets.env.iter().map(|name| plain_name(name)).collect())),
        format!("  args     {}", lets.args),
        format!("  pinned   {}", pinned(lets)),
    ];
    let Caps { memory_bytes, log_bytes, stdio_bytes, files, handles, lifted_bytes } = *lets.caps;
    let size = units::show_about;
    lines.push(format!(
        "  caps     memory {} · log {} · stdio {} · files {files} · handles {handles} · lifted {}",
        size(memory_bytes),
        size(log_bytes),
        size(stdio_bytes),
        size(lifted_bytes)
    ));
    lines.push(format!("  held     at most {} of the host's memory", size(lets.held.total())));
    let Budget { item, attempt, .. } = lets.budget;
    for (scope, amounts) in [("attempt", attempt), ("item", item)] {
        let shown: Vec<String> = amounts
            .iter()
            .filter(|(_, amount)| **amount > 0)
            .map(|(&line, &amount)| format!("{} {}", limit::show(line, amount), line.key()))
            .collect();
        if !shown.is_empty() {
            lines.push(format!("  {scope:<8} {}", shown.join(" · ")));
        }
    }
    lines
}

/// A variable's name has no control characters; a job's author may still have chosen a long one.
fn plain_name(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(end, _)| &name[..end])
}

fn pinned(lets: &Lets<'_>) -> String {
    if let Some(why) = &lets.unmet {
        return format!("not met: {why}");
    }
    let mut words: Vec<String> = lets.pin.digest.iter().map(|_| "by its digest".to_owned()).collect();
    for file in lets.pin.signed_by.iter().flat_map(|signers| &signers.keys) {
        if let Reading::Is(key) = &file.key {
            words.push(format!("by a signature of {} ({key})", plain(&file.path.display().to_string())));
        }
    }
    if words.is_empty() { "no: any component will do".to_owned() } else { words.join(", ") }
}
