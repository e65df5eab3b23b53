//! The operator's hooks at one moment of a run, or at a pull: each told what happened, one after the other.
//!
//! Never: decides a verdict, spends anybody's budget, reads the environment, lets a hook see more than the variables that
//! it names and those of [`OWN_VARIABLES`](crate::rules::hook::OWN_VARIABLES). Invariants: every hook of the moment is
//! run, whatever came of those before it; each ends within its wall and half a second; who stops waiting stops the hook.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use tracing::instrument;

use crate::doors::command::{self, CommandEnd, CommandEnvironment, Order};
use crate::doors::webhook::{self, WebhookEnd};
use crate::rules::hook::{Hook, HookRun};

pub use crate::rules::hook::{HookEnd, HookEvent, HookResult};

/// Where a command is run: a directory that is always there and that nothing is written into by accident. The run's own
/// directory is reachable to nobody else, and the host's has journals in it.
const DIRECTORY: &str = "/";

/// Characters of a command's last line that are kept.
const LONGEST_WORDS: usize = 300;

/// Bytes. A shorter value of a variable is no secret, and taking it out of a text would garble it.
const SHORTEST_SECRET: usize = 8;

/// The variables that hooks name, as the operator's process had them.
#[derive(Clone, Default)]
pub struct HookEnvironment(BTreeMap<String, String>);

impl HookEnvironment {
    /// Keeps of the operator's variables those that a hook names. One that is not set is not set for the hook.
    pub fn from_variables(hooks: &[Hook], variables: impl Iterator<Item = (String, String)>) -> Self {
        let named: BTreeSet<&String> = hooks.iter().flat_map(|hook| &hook.env).collect();
        Self(variables.filter(|(name, _)| named.contains(name)).collect())
    }

    /// Those that one hook names.
    fn of(&self, hook: &Hook) -> impl Iterator<Item = (String, String)> {
        hook.env.iter().filter_map(|name| Some((name.clone(), self.0.get(name)?.clone())))
    }
}

/// All hooks of the operator's, in the order of the file. The default has none. Its environment may hold keys, so it has
/// no `Debug`.
#[derive(Clone, Default)]
pub struct Hooks {
    hooks: Vec<Hook>,
    environment: HookEnvironment,
}

impl Hooks {
    pub fn new(hooks: Vec<Hook>, environment: HookEnvironment) -> Self {
        Self { hooks, environment }
    }

    /// Runs the hooks that are for the event's moment and line, in their order, and says how each ended. An end that is
    /// not [`HookResult::Done`] changes nothing of the run; see [`HookEnd::pull`] for what one out of time calls for.
    #[instrument(skip_all, fields(moment = event.moment.name(), line = %event.line))]
    pub async fn run(&self, event: &HookEvent) -> Vec<HookEnd> {
        let mut ends = Vec::new();
        for (hook, number) in self.hooks.iter().zip(1..).filter(|(hook, _)| hook.is_for(event.moment, &event.line)) {
            let name = format!("hook[{number}] {} {}", event.moment.name(), hook.run.head());
            ends.push(HookEnd { hook: name, end: self.end_of(hook, event).await });
        }
        ends
    }

    async fn end_of(&self, hook: &Hook, event: &HookEvent) -> HookResult {
        let told = match serde_json::to_string(event) {
            Ok(told) => told,
            Err(error) => return HookResult::Broken { why: format!("the event could not be written down: {error}") },
        };
        let time = Duration::from_millis(hook.wall_ms);
        match &hook.run {
            HookRun::Command(argv) => {
                let environment = CommandEnvironment::exactly(self.environment.of(hook).chain(event.variables()));
                let (directory, stdin) = (Path::new(DIRECTORY), Some(&*told));
                let order = Order { argv, directory, environment: &environment, stdin, time };
                match command::run(&order).await {
                    CommandEnd::Exited { success: true, .. } => HookResult::Done,
                    CommandEnd::Exited { success: false, status, output, .. } => {
                        HookResult::Refused { why: self.words(hook, status, &output) }
                    }
                    CommandEnd::TimedOut => HookResult::TimedOut { wall_ms: hook.wall_ms },
                    CommandEnd::Broken(why) => HookResult::Broken { why },
                }
            }
            HookRun::Webhook(url) => match webhook::post(url, told, time).await {
                WebhookEnd::Done => HookResult::Done,
                WebhookEnd::Refused { status: status @ 300..=399 } => {
                    HookResult::Refused { why: format!("it answered {status}, and redirects are never followed") }
                }
                WebhookEnd::Refused { status } => HookResult::Refused { why: format!("it answered {status}") },
                WebhookEnd::TimedOut => HookResult::TimedOut { wall_ms: hook.wall_ms },
                WebhookEnd::Broken(why) => HookResult::Broken { why },
            },
        }
    }

    /// A status and the last line of an output, without the values of the hook's variables, which may be keys.
    fn words(&self, hook: &Hook, status: String, output: &str) -> String {
        let Some(line) = output.lines().rev().find(|line| !line.trim().is_empty()) else { return status };
        let mut secrets: Vec<(String, String)> = self.environment.of(hook).collect();
        secrets.retain(|(_, value)| value.len() >= SHORTEST_SECRET);
        // A value can be a part of another one.
        secrets.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        let line =
            secrets.iter().fold(line.to_owned(), |line, (name, value)| line.replace(value, &format!("[{name}]")));
        let line: Vec<char> =
            line.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        // The end of it: the beginning of a very long line is cut already, perhaps within a value.
        let kept = &line[line.len().saturating_sub(LONGEST_WORDS)..];
        format!("{status}: {}", kept.iter().collect::<String>())
    }
}

#[cfg(test)]
mod tests;
