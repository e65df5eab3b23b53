//! Children: jobs that a worker may start below itself, and what becomes of a job that is started so.
//!
//! Never: starts one. Invariant here: a child has at most what its caller has, whatever its own job says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::effect::{Reason, Refusal};
use super::line::{Limits, Line};
use super::policy::MAX_BATCH;
use super::scope::Terms;
use super::spec::{Backoff, Budget, FileGrant, Reach as ModelReach, RunSpec, SharedBudget, TaskSpec, WorkspaceSpec};
use super::tool::{Reach, ToolSource};

/// `[children.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildSpec {
    /// A job of its own, which could be run by itself: relative to its caller's directory.
    pub job: PathBuf,
    /// The job as it stands there. `None`: nobody has read it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<RunSpec>>,
}

/// How a job is started as a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// What it shall do.
    pub task: String,
    /// What was carved out for it. A line that is not here it has none of.
    pub budget: BTreeMap<Line, u64>,
    pub seed: u64,
}

impl RunSpec {
    /// The job of one of its children.
    pub fn child(&self, name: &str) -> Option<&RunSpec> {
        self.children.get(name)?.spec.as_deref()
    }

    /// What this job grants beyond what its caller has, a sentence each. Components of its own are not that: what they may do
    /// is what is granted.
    pub fn beyond(&self, caller: &RunSpec) -> Vec<String> {
        let mut beyond = Vec::new();
        let (own, most) = (&self.grants, &caller.grants);
        if own.files > most.files {
            beyond.push(format!("files are {:?}, and {:?} of its caller", own.files, most.files));
        }
        if own.human_ms.is_some() {
            beyond.push("human is granted, and a child asks no person: its caller can".to_owned());
        }
        let theirs = |rule| most.http.contains(rule);
        beyond.extend(own.http.iter().filter(|rule| !theirs(rule)).map(|rule| format!("its caller has no {rule}")));
        for line in Line::ALL.into_iter().filter(|&line| self.most(line) > 0 && caller.most(line) == 0) {
            let key = line.key();
            beyond.push(format!(
                "it may spend of `{key}`, and the budget of its caller has none: write {key} in [budget]"
            ));
        }
        for (name, model) in &self.models {
            // A script is asked on this machine, and reaches nobody.
            let same = || caller.models.values().any(|theirs| theirs.reach == model.reach);
            if matches!(model.reach, ModelReach::Provider(_)) && !same() {
                beyond.push(format!("model {name:?} is of a provider that its caller has no model of"));
            }
        }
        for (name, tool) in &self.tools {
            let same = || caller.tools.values().any(|theirs| theirs.source == tool.source);
            if let ToolSource::Server(server) = &tool.source
                && !same()
            {
                beyond.push(format!("tool {name:?} is of the MCP server {server:?}, which its caller has no tool of"));
            }
        }
        beyond
    }

    /// Whether a run of it can change anything outside of its own copies, by itself, by a tool or by a child.
    pub fn reach(&self) -> Reach {
        let tools = self.tools.values().any(|tool| tool.reach() == Reach::Outside);
        let children = || self.children.values().filter_map(|child| child.spec.as_deref());
        match !self.grants.http.is_empty() || tools || children().any(|child| child.reach() == Reach::Outside) {
            true => Reach::Outside,
            false => Reach::Inside,
        }
    }

    /// The memory that it and all that it may have below itself can hold at once.
    pub fn memory_at_once(&self) -> u64 {
        let children = self.children.values().filter_map(|child| child.spec.as_deref());
        let most = children.map(RunSpec::memory_at_once).max().unwrap_or(0);
        self.caps.memory_bytes.saturating_add(most.saturating_mul(MAX_BATCH as u64))
    }

    /// The most that an attempt of it may spend of a line.
    pub fn most(&self, line: Line) -> u64 {
        let both = [self.budget.attempt.get(&line), self.budget.item.get(&line)];
        both.into_iter().flatten().min().copied().unwrap_or(0)
    }

    /// What is carved out for a child with this job: what its caller asks for, and of each other line as much as the job says
    /// and `left` has.
    ///
    /// # Errors
    /// A [`Refusal`]: more is asked for than the job says.
    pub fn carved(
        &self,
        asked: &BTreeMap<Line, u64>,
        left: impl Fn(Line) -> u64,
    ) -> Result<BTreeMap<Line, u64>, Refusal> {
        let spent = Line::ALL.into_iter().filter(|line| !line.is_level());
        spent
            .map(|line| match (asked.get(&line), self.most(line)) {
                (Some(&asked), most) if asked > most => Err(Refusal {
                    reason: Reason::TooLarge,
                    asked: format!("a child with {asked} of {}", line.name()),
                    allowed: format!("at most {most}"),
                    setting: format!("[budget] {} of the child's own job", line.key()),
                }),
                (Some(&asked), _) => Ok((line, asked)),
                (None, most) => Ok((line, most.min(left(line)))),
            })
            .collect()
    }

    /// The terms on which a child with this job spends: each line is carved out of its caller's, but for time, which passes for
    /// both alike.
    pub fn terms_of_child(&self) -> Terms {
        let spent = Line::ALL.into_iter().filter(|line| !line.is_level());
        let (apart, carve) = spent.partition(|line| line.is_passing());
        Terms { carve, apart, ..self.terms_of_attempt() }
    }

    /// The terms on which an attempt with this job spends.
    pub fn terms_of_attempt(&self) -> Terms {
        let mut limits = Limits::from(&self.budget.attempt);
        limits.set(Line::MemoryBytes, self.memory_at_once());
        Terms {
            limits,
            gap: Limits::from(&self.budget.gap),
            first_gap: Limits::from(&self.budget.first_gap),
            ..Terms::default()
        }
    }

    /// This job as a child of a caller's: on its line, in its files, on its account.
    pub fn as_child(self, caller: &RunSpec, errand: Errand) -> Self {
        let context = self.workspace.as_ref().and_then(|workspace| workspace.context.clone());
        let workspace = caller.workspace.as_ref().filter(|_| self.grants.files > FileGrant::None);
        let workspace = workspace.map(|workspace| WorkspaceSpec { dir: workspace.dir.clone(), context });
        let Budget { gap, first_gap, .. } = self.budget;
        Self {
            tenant: caller.tenant.clone(),
            line: caller.line.clone(),
            item: None,
            task: TaskSpec { text: errand.task, inputs: self.task.inputs },
            workspace,
            budget: Budget { attempt: errand.budget, item: BTreeMap::new(), gap, first_gap },
            shared: SharedBudget::default(),
            max_attempts: 1,
            backoff: Backoff::default(),
            on_pull: caller.on_pull,
            on_lost: caller.on_lost,
            wall: self.wall.max(caller.wall),
            seed: Some(errand.seed),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::authored::{self, OperatorFile, Overrides};
    use crate::rules::http::{HttpGrant, HttpLimits, Scheme};

    fn job(grants: &str, more: &str) -> RunSpec {
        let text = format!(
            "line = \"l\"\n[worker]\ncomponent = \"w.wasm\"\n[task]\ntext = \"t\"\n[workspace]\ndir = \"own\"\n\
             [grants]\n{grants}\n[budget]\nwall = \"10s\"\ntokens = 1000\n{more}\n[attempts]\nmax = 5\nbackoff = \"1s\"\n\
             [done]\nmarks = [\"artifact\"]\n"
        );
        let read = authored::job(&text, &OperatorFile::default(), &Overrides::default());
        read.unwrap_or_else(|mistakes| panic!("{text}\n{mistakes:#?}"))
    }

    fn rule(path: &str) -> HttpGrant {
        let limits = HttpLimits { max_request_bytes: 1, max_response_bytes: 1, total_ms: 1, max_redirects: 0 };
        HttpGrant {
            methods: vec!["GET".into()],
            scheme: Scheme::Http,
            host: "127.0.0.1".into(),
            port: 80,
            path: path.into(),
            networks: vec![],
            secrets: vec![],
            limits,
        }
    }

    #[test]
    fn a_child_has_at_most_what_its_caller_has() {
        let caller = job("files = \"read-only\"", "");
        assert_eq!(job("files = \"read-only\"", "").beyond(&caller), [""; 0]);
        assert_eq!(job("files = \"none\"", "tokens-in = 1").beyond(&caller), [""; 0]);
        let mut more = job("files = \"read-write\"", "tool-calls = 1");
        more.grants.human_ms = Some(1);
        more.grants.http = vec![rule("/a/"), rule("/b/")];
        let beyond = |caller: &RunSpec| more.beyond(caller).join("\n");
        let all = beyond(&caller);
        for what in ["files are ReadWrite", "human is granted", "/a/", "/b/", "write tool-calls in [budget]"] {
            assert!(all.contains(what), "{what}: {all}");
        }
        let mut wide = job("files = \"read-write\"", "tool-calls = 1");
        wide.grants.http = vec![rule("/a/")];
        let some = beyond(&wide);
        assert!(some.contains("/b/") && !some.contains("/a/") && !some.contains("files"), "{some}");
    }

    #[test]
    fn what_is_carved_is_what_was_asked_and_else_what_there_is() {
        let spec = job("files = \"none\"", "model-calls = 7");
        let carved = |asked: &[(Line, u64)], left: u64| spec.carved(&asked.iter().copied().collect(), |_| left);
        let got = carved(&[(Line::Tokens, 1_000), (Line::ModelCalls, 0)], 5).expect("fits");
        assert_eq!((got[&Line::Tokens], got[&Line::ModelCalls], got[&Line::WallMs]), (1_000, 0, 5));
        assert_eq!(carved(&[], u64::MAX).expect("fits")[&Line::ModelCalls], 7);
        let refused = carved(&[(Line::Tokens, 1_001)], u64::MAX).expect_err("is more than its job says");
        assert_eq!((refused.reason, refused.allowed.as_str()), (Reason::TooLarge, "at most 1000"));
        assert!(!got.contains_key(&Line::MemoryBytes));
    }

    #[test]
    fn a_job_as_a_child_is_on_its_callers_line_and_in_its_files() {
        let caller = RunSpec { line: "callers".into(), tenant: "acme".into(), ..job("files = \"read-write\"", "") };
        let errand = Errand { task: "do it".into(), budget: [(Line::Tokens, 9)].into(), seed: 3 };
        let child = job("files = \"read-only\"", "").as_child(&caller, errand.clone());
        assert_eq!((child.line.as_str(), child.tenant.as_str(), child.max_attempts), ("callers", "acme", 1));
        assert_eq!((child.task.text.as_str(), child.seed, child.item.as_deref()), ("do it", Some(3), None));
        assert_eq!(
            child.workspace.as_ref().map(|it| it.dir.clone()),
            caller.workspace.as_ref().map(|it| it.dir.clone())
        );
        assert_eq!((child.most(Line::Tokens), child.most(Line::WallMs)), (9, 0));
        let terms = child.terms_of_child();
        assert_eq!(terms.apart, [Line::WallMs, Line::WorkMs]);
        assert!(terms.carve.contains(&Line::CpuMs) && !terms.carve.contains(&Line::MemoryBytes));
        assert_eq!(job("files = \"none\"", "").as_child(&caller, errand).workspace, None);
    }

    #[test]
    fn a_job_reaches_as_far_as_its_children_and_holds_their_memory_too() {
        let mut caller = job("files = \"none\"", "");
        let own = caller.memory_at_once();
        let below = |spec: RunSpec| ChildSpec { job: "x".into(), spec: Some(Box::new(spec)) };
        caller.children.insert("quiet".into(), below(job("files = \"none\"", "")));
        assert_eq!((caller.reach(), caller.memory_at_once()), (Reach::Inside, own * (1 + MAX_BATCH as u64)));
        let mut loud = job("files = \"none\"", "");
        loud.grants.http = vec![rule("/")];
        let mut middle = job("files = \"none\"", "");
        middle.children.insert("loud".into(), below(loud));
        caller.children.insert("middle".into(), below(middle));
        assert_eq!(caller.reach(), Reach::Outside);
    }
}
