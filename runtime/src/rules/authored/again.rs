//! A job of the past under the operator's file of today: what a run goes on with, or is forked with.
//!
//! A journal may come from anybody, and so may the job in it. Never: takes a model, a key's name, a command, a network or a
//! shared limit from it. Invariant here: nothing is allowed that the operator does not allow today.

use std::collections::BTreeMap;

use super::children::MOST_CHILDREN;
use super::operator::OperatorFile;
use super::{attempts, guards, http, human, shared, tools};
use crate::rules::line::{Amounts, Line};
use crate::rules::policy::MAX_CHILD_DEPTH;
use crate::rules::spec::{Caps, CheckRun, ModelSpec, Reach, RunSpec, SharedBudget};
use crate::rules::tool::ToolSource;
use crate::rules::units;

/// The line of what is done with runs that came from elsewhere.
const IMPORTED_LINE: &str = "imported";

/// Whose journal the job stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This host wrote it.
    Ours,
    /// It was imported.
    Theirs,
}

/// What is other than in the journal.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// Models of the operator's, or of the job's, by the job's names for those in whose place they stand.
    pub models: BTreeMap<String, String>,
    /// For all models that are not named there.
    pub model: Option<String>,
    /// Limits of the attempt.
    pub budget: Amounts,
}

/// The job with what is changed, if the operator's file allows it today. `declared`: there is such a file.
///
/// # Errors
/// Every reason why not, a sentence each.
pub fn again(
    spec: RunSpec,
    operator: &OperatorFile,
    declared: bool,
    whose: Whose,
    changed: &Changed,
) -> Result<RunSpec, Vec<String>> {
    again_at(spec, operator, (declared, whose), changed, 0)
}

/// As [`again`], for a job with so many callers above it.
fn again_at(
    mut spec: RunSpec,
    operator: &OperatorFile,
    (declared, whose): (bool, Whose),
    changed: &Changed,
    depth: usize,
) -> Result<RunSpec, Vec<String>> {
    let mut wrong = Vec::new();
    let policy = &operator.policy;
    for name in changed.models.keys().filter(|name| !spec.models.contains_key(*name)) {
        let known: Vec<&str> = spec.models.keys().map(String::as_str).collect();
        wrong.push(format!("--model {name}=…: the run has no model {name:?}; it has: {}", known.join(", ")));
    }
    let before = spec.models.clone();
    for (name, model) in &mut spec.models {
        let found = match changed.models.get(name).or(changed.model.as_ref()) {
            Some(chosen) => of_operator(operator, chosen)
                .or_else(|| before.get(chosen).and_then(|own| allowed(own, operator, whose)))
                .ok_or_else(|| {
                    format!("--model {chosen}: neither the operator's file has such a model for jobs, nor the run")
                }),
            None => allowed(model, operator, whose).ok_or_else(|| {
                format!(
                    "model {name:?} is none that the operator's file has for jobs today; name one for it: \
                     --model {name}=NAME"
                )
            }),
        };
        match found {
            Ok(found) => *model = found,
            Err(why) => wrong.push(why),
        }
    }
    for check in &spec.checks {
        if let CheckRun::Command(argv) = &check.run
            && !policy.commands.contains(argv)
        {
            wrong.push(format!("check {:?} is a command that [policy] commands does not have today", check.name));
        }
    }
    if spec.grants.files > policy.files {
        wrong.push(format!("files are {:?} in the run, and at most {:?} today", spec.grants.files, policy.files));
    }
    match http::again(&spec.grants.http, operator) {
        Ok(grants) => spec.grants.http = grants,
        Err(why) => wrong.extend(why),
    }
    wrong.extend(tools::again(&mut spec.tools, spec.grants.files, &spec.grants.http, operator));
    let mut children = std::mem::take(&mut spec.children);
    let most = if depth == MAX_CHILD_DEPTH { 0 } else { MOST_CHILDREN };
    if children.len() > most || !children.keys().eq(&spec.grants.children) {
        wrong.push(format!("there are {} children in the run, and at most {most} may be, all granted", children.len()));
        children.clear();
    }
    for (name, child) in &mut children {
        let Some(past) = child.spec.take() else {
            wrong.push(format!("child {name:?} has no job in the run"));
            continue;
        };
        let models = changed.models.iter().filter(|(name, _)| past.models.contains_key(*name));
        let models = models.map(|(name, model)| (name.clone(), model.clone())).collect();
        let changed = Changed { models, model: changed.model.clone(), budget: Amounts::default() };
        match again_at(*past, operator, (declared, whose), &changed, depth + 1) {
            Ok(now) => {
                wrong.extend(now.beyond(&spec).into_iter().map(|why| format!("child {name:?}: {why}")));
                child.spec = Some(Box::new(now));
            }
            Err(why) => wrong.extend(why.into_iter().map(|why| format!("child {name:?}: {why}"))),
        }
    }
    spec.children = children;
    for (line, amount) in changed.budget.iter() {
        spec.budget.attempt.insert(line, amount);
    }
    // A line may be bounded by the attempt, by the item, or by both.
    let bound = |line: &Line| {
        let both = [spec.budget.attempt.get(line), spec.budget.item.get(line)];
        both.into_iter().flatten().min().copied().unwrap_or(u64::MAX)
    };
    for (line, most) in &policy.budget {
        let asked = bound(line);
        if asked > *most {
            wrong.push(format!("{} may be {asked} in the run, and at most {most} today", line.name()));
        }
    }
    let times = spec.checks.iter().map(|check| (format!("check {:?}", check.name), check.wall_ms));
    for (what, wall_ms) in [("the run".to_owned(), bound(&Line::WallMs))].into_iter().chain(times) {
        if wall_ms > policy.max_wall_ms {
            let (asked, most) = (units::show_duration(wall_ms), units::show_duration(policy.max_wall_ms));
            wrong.push(format!("{what} may take {asked}, and at most {most} today"));
        }
    }
    for (what, asked, most) in wider(&spec.caps, &policy.caps) {
        wrong.push(format!("cap {what} is {asked} in the run, and at most {most} today"));
    }
    wrong.extend(attempts::wrong_of(spec.max_attempts, spec.backoff));
    wrong.extend(guards::wrong_of(&spec.guards));
    wrong.extend(spec.grants.human_ms.and_then(human::wrong_of));
    for (what, name) in [("tenant", &spec.tenant), ("line", &spec.line)] {
        if let Err(problem) = shared::NAME.check(name) {
            wrong.push(format!("{what} {name:?} {problem}"));
        }
    }
    if !operator.tenants.is_empty() && !operator.tenants.contains_key(&spec.tenant) {
        wrong.push(format!("tenant {:?} is not one of the operator's file today", spec.tenant));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    if whose == Whose::Theirs {
        // Nobody stops or crowds a line of this host's by sending a run of it.
        IMPORTED_LINE.clone_into(&mut spec.line);
    }
    spec.wall = spec.wall.max(policy.wall);
    demand_signatures(&mut spec, operator);
    let (tenant, line) = (operator.tenants.get(&spec.tenant), operator.lines.get(&spec.line));
    spec.shared = SharedBudget {
        declared,
        host: operator.host.allowance.clone(),
        tenant: tenant.map(|it| it.allowance.clone()).unwrap_or_default(),
        line: line.map(|it| it.allowance.clone()).unwrap_or_default(),
        tenant_requests_per_minute: tenant.and_then(|it| it.requests_per_minute),
    };
    Ok(spec)
}

/// Asks for the signatures that the operator's file of today asks for, in the place of those of an earlier one.
pub fn demand_signatures(spec: &mut RunSpec, operator: &OperatorFile) {
    let keys = &operator.policy.signed_by;
    spec.worker_pin.under(keys);
    for check in &mut spec.checks {
        match check.run {
            CheckRun::Component(_) => check.pin.under(keys),
            CheckRun::Command(_) => {}
        }
    }
    for tool in spec.tools.values_mut() {
        match tool.source {
            ToolSource::Component(_) => tool.pin.under(keys),
            ToolSource::Server(_) => {}
        }
    }
}

/// Whether a fixture may be run under the operator's file of today: its commands, its time and its caps. What it spends is
/// nobody's, so budgets are not compared.
///
/// # Errors
/// Every reason why not, a sentence each.
pub fn rehearsed(spec: &RunSpec, operator: &OperatorFile) -> Result<(), Vec<String>> {
    let policy = &operator.policy;
    let mut wrong = Vec::new();
    for check in &spec.checks {
        if let CheckRun::Command(argv) = &check.run
            && !policy.commands.contains(argv)
        {
            wrong.push(format!(
                "check {:?} is the command {argv:?}, which [policy] commands of the operator's file does not have \
                 today",
                check.name
            ));
        }
    }
    let both = [spec.budget.attempt.get(&Line::WallMs), spec.budget.item.get(&Line::WallMs)];
    let run = both.into_iter().flatten().min().copied().unwrap_or(u64::MAX);
    let times = spec.checks.iter().map(|check| (format!("check {:?}", check.name), check.wall_ms));
    for (what, wall_ms) in [("the run".to_owned(), run)].into_iter().chain(times) {
        if wall_ms > policy.max_wall_ms {
            let (asked, most) = (units::show_duration(wall_ms), units::show_duration(policy.max_wall_ms));
            wrong.push(format!("{what} may take {asked} in the fixture, and at most {most} today"));
        }
    }
    for (what, asked, most) in wider(&spec.caps, &policy.caps) {
        wrong.push(format!("cap {what} is {asked} in the fixture, and at most {most} today"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Caps that are wider than they may be.
fn wider(asked: &Caps, most: &Caps) -> Vec<(&'static str, u64, u64)> {
    let Caps { memory_bytes, log_bytes, stdio_bytes, files, handles, lifted_bytes } = *asked;
    let pairs = [
        ("memory", memory_bytes, most.memory_bytes),
        ("log", log_bytes, most.log_bytes),
        ("stdio", stdio_bytes, most.stdio_bytes),
        ("files", files, most.files),
        ("handles", handles, most.handles),
        ("lifted", lifted_bytes, most.lifted_bytes),
    ];
    pairs.into_iter().filter(|(_, asked, most)| asked > most).collect()
}

/// A model that may be called under its name of the operator's.
fn of_operator(operator: &OperatorFile, name: &str) -> Option<ModelSpec> {
    let usable = operator.policy.models.contains(name);
    let model = operator.models.get(name).filter(|_| usable)?;
    model.spec.profile.price.is_some().then(|| model.spec.clone())
}

/// A model of the run's own, if it is a script of this host's, or still a model of the operator's.
fn allowed(own: &ModelSpec, operator: &OperatorFile, whose: Whose) -> Option<ModelSpec> {
    match (&own.reach, whose) {
        (Reach::Script { .. }, Whose::Ours) => Some(own.clone()),
        (Reach::Script { .. }, Whose::Theirs) => None,
        (Reach::Provider(_), _) => {
            let usable = operator.models.iter().filter(|(name, _)| operator.policy.models.contains(*name));
            usable.map(|(_, model)| &model.spec).find(|spec| spec.reach == own.reach).cloned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::authored::{self, Overrides};
    use crate::rules::line::Line;
    use crate::rules::spec::{Backoff, Guards};

    const OPERATOR: &str = "[models.gpt]\ndialect = \"openai\"\nurl = \"https://example.org/v1\"\nmodel = \"gpt\"\n\
        key-env = \"KEY\"\nwindow = 8192\nmax-output = 512\nusd-per-mtok-in = \"1\"\nusd-per-mtok-out = \"2\"\n";

    fn operator(text: &str) -> OperatorFile {
        authored::operator(text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
    }

    fn spec(operator: &OperatorFile) -> RunSpec {
        let job = "line = \"l\"\n[worker]\ncomponent = \"w.wasm\"\n[task]\ntext = \"t\"\n[grants]\nmodels = [\"gpt\"]\n\
            [budget]\nwall = \"10s\"\ntokens = 1000\nusd = \"1\"\nmodel-calls = 5\nnet = \"1MiB\"\n\
            [attempts]\nmax = 1\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n";
        authored::job(job, operator, &Overrides::default()).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
    }

    #[test]
    fn a_model_of_a_journal_is_called_only_if_it_is_the_operators_today() {
        let before = operator(OPERATOR);
        let past = spec(&before);
        let same = again(past.clone(), &before, true, Whose::Ours, &Changed::default()).expect("nothing changed");
        assert_eq!(same.models, past.models);
        assert!(same.shared.declared);
        // Another address, another key, or none at all.
        for other in [OPERATOR.replace("example.org", "example.com"), OPERATOR.replace("KEY", "OTHER"), String::new()] {
            let why = again(past.clone(), &operator(&other), true, Whose::Ours, &Changed::default());
            assert!(why.expect_err("is refused")[0].contains("--model gpt=NAME"));
        }
        let renamed = operator(&OPERATOR.replace("[models.gpt]", "[models.new]").replace("\"gpt\"", "\"other\""));
        let changed = Changed { model: Some("new".into()), ..Changed::default() };
        let now = again(past.clone(), &renamed, true, Whose::Ours, &changed).expect("is the operator's");
        assert_eq!(now.models["gpt"], renamed.models["new"].spec);
        assert!(again(past, &before, true, Whose::Ours, &changed).is_err());
    }

    #[test]
    fn a_fixture_runs_only_commands_that_the_operator_allows_today() {
        let before = operator(OPERATOR);
        let mut spec = spec(&before);
        assert_eq!(rehearsed(&spec, &OperatorFile::default()), Ok(()));
        let argv = vec!["make".to_owned(), "test".to_owned()];
        let (name, run) = ("tests".to_owned(), CheckRun::Command(argv));
        spec.checks.push(crate::rules::spec::Check { name, run, pin: Default::default(), wall_ms: 1 });
        let why = rehearsed(&spec, &before).expect_err("is refused");
        assert!(why.len() == 1 && why[0].contains("[policy] commands"), "{why:?}");
        let allowed = operator("[policy]\ncommands = [[\"make\", \"test\"]]\n");
        assert_eq!(rehearsed(&spec, &allowed), Ok(()));
        spec.budget.attempt.remove(&Line::WallMs);
        spec.caps.memory_bytes = u64::MAX;
        assert_eq!(rehearsed(&spec, &allowed).expect_err("is refused").len(), 2);
    }

    #[test]
    fn what_the_operator_allows_today_bounds_what_a_run_was_given() {
        let before = operator(OPERATOR);
        let tight = operator(&format!("{OPERATOR}[policy]\nmax-wall = \"5s\"\n[policy.budget]\ntokens = 10\n"));
        let why = again(spec(&before), &tight, true, Whose::Ours, &Changed::default()).expect_err("is refused");
        assert_eq!(why.len(), 2, "{why:?}");
        // Neither does it help to say it elsewhere.
        let mut elsewhere = spec(&before);
        elsewhere.budget.item = std::mem::take(&mut elsewhere.budget.attempt);
        elsewhere.caps.memory_bytes = u64::MAX;
        elsewhere.tenant = "../other".into();
        let why = again(elsewhere, &tight, true, Whose::Theirs, &Changed::default()).expect_err("is refused");
        assert_eq!(why.len(), 4, "{why:?}");
        let budget = Amounts::from_iter([(Line::Tokens, 10), (Line::WallMs, 5_000)]);
        let changed = Changed { budget, ..Changed::default() };
        let now = again(spec(&before), &tight, true, Whose::Ours, &changed).expect("fits");
        assert_eq!(now.budget.attempt[&Line::Tokens], 10);
    }

    type Change = fn(&mut RunSpec);

    #[test]
    fn what_no_job_could_say_is_not_believed_of_a_journal() {
        let operator = operator(OPERATOR);
        let refused = |change: Change| {
            let mut past = spec(&operator);
            change(&mut past);
            let again = again(past, &operator, true, Whose::Theirs, &Changed::default());
            again.map(|_| ()).expect_err("is refused").join("\n")
        };
        let rows: [(Change, &str); 17] = [
            (|it| it.max_attempts = 101, "attempts.max is 101 in the run, and may be from 1 to 100"),
            (|it| it.max_attempts = 0, "attempts.max is 0 in the run, and may be from 1 to 100"),
            (
                |it| it.backoff.most_ms = 86_400_001,
                "attempts.max-backoff is 86400001ms in the run, and may be from 0s to 24h",
            ),
            (
                |it| it.backoff = Backoff { first_ms: 86_400_001, most_ms: 86_400_000 },
                "attempts.backoff is 86400001ms in the run, and may be from 0s to 24h\n\
                 attempts.max-backoff is 24h in the run, and attempts.backoff 86400001ms",
            ),
            (|it| it.guards.repeats = 21, "guards.repeats is 21 in the run, and may be from 2 to 20"),
            (|it| it.guards.repeats = 1, "guards.repeats is 1 in the run, and may be from 2 to 20"),
            (|it| it.guards.failures = 101, "guards.failures is 101 in the run, and may be from 2 to 100"),
            (|it| it.guards.degenerate = 21, "guards.degenerate is 21 in the run, and may be from 2 to 20"),
            (|it| it.guards.strikes = 11, "guards.strikes is 11 in the run, and may be from 1 to 10"),
            (|it| it.guards.stall_ms = 86_400_001, "guards.stall is 86400001ms in the run, and may be from 1s to 24h"),
            (
                |it| it.guards.cluster_items = 101,
                "guards.cluster-items is 101 in the run, and may be from 2 to 100\n\
                 guards.cluster-runs is 20 in the run, and guards.cluster-items 101",
            ),
            (|it| it.guards.cluster_runs = 2, "guards.cluster-runs is 2 in the run, and guards.cluster-items 3"),
            (|it| it.guards.cluster_runs = 1_001, "guards.cluster-runs is 1001 in the run, and may be from 2 to 1000"),
            (
                |it| it.guards.pollers = (0..65).map(|number| number.to_string()).collect(),
                "guards.pollers are 65 in the run, and at most 64 may be",
            ),
            (|it| it.guards.pollers = ["a b".to_owned()].into(), "guards.pollers: \"a b\" has the character ' '"),
            (|it| it.grants.human_ms = Some(999), "human.deadline is 999ms in the run, and may be from 1s to 720h"),
            (
                |it| it.grants.human_ms = Some(2_592_000_001),
                "human.deadline is 2592000001ms in the run, and may be from 1s to 720h",
            ),
        ];
        for (change, why) in rows {
            assert_eq!(refused(change), why);
        }
        // What a job could say is believed, and so is what journals say that are older than these settings.
        let mut widest = spec(&operator);
        widest.backoff = Backoff::default();
        widest.guards = Guards { repeats: 20, strikes: 10, cluster_items: 100, cluster_runs: 100, ..Guards::default() };
        widest.grants.human_ms = Some(2_592_000_000);
        let now = again(widest.clone(), &operator, true, Whose::Theirs, &Changed::default()).expect("could be said");
        assert_eq!((now.guards, now.grants.human_ms), (widest.guards, widest.grants.human_ms));
    }
}
