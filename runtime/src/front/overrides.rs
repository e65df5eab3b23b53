//! Settings of a job that the command line may change, the same words for every command that loads one.
//!
//! Never: decides whether they are allowed; the rules do, with the job.

use clap::Args;

use crate::rules::authored::Overrides;
use crate::rules::spec::Wall;
use crate::rules::units;

/// Settings other than the models.
#[derive(Debug, Args)]
pub struct SettingArguments {
    /// On whose account the run is: a tenant of the operator's file.
    #[arg(long, value_name = "NAME", env = "JIDOKA_TENANT", hide_env_values = true)]
    tenant: Option<String>,
    /// The item that this run is an attempt of.
    #[arg(long, value_name = "NAME")]
    item: Option<String>,
    /// Seed of the guest's randomness.
    #[arg(long, value_name = "NUMBER", value_parser = seed)]
    seed: Option<u64>,
    /// Time of this attempt, for example `30s`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    wall_time: Option<u64>,
    /// What stands between the guest and this host, beside its sandbox: `none` or `process`.
    #[arg(long, value_name = "WALL", value_parser = wall)]
    wall: Option<Wall>,
}

/// All of them.
#[derive(Debug, Args)]
pub struct OverrideArguments {
    #[command(flatten)]
    settings: SettingArguments,
    /// Use a model of the operator's for one of the job's, for example `coder=gpt`.
    #[arg(long = "model", value_name = "JOB=OPERATOR", value_parser = pair)]
    models: Vec<(String, String)>,
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

fn time(text: &str) -> Result<u64, String> {
    units::duration_ms(text).map_err(|error| format!("it {error}; expected a time such as 250ms, 30s or 5m"))
}

fn wall(text: &str) -> Result<Wall, String> {
    [Wall::None, Wall::Process]
        .into_iter()
        .find(|wall| wall.name() == text)
        .ok_or_else(|| "expected none or process; the time of the attempt is --wall-time".to_owned())
}

/// A model of the job's and the operator's to use for it.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((job, operator)) if !job.is_empty() && !operator.is_empty() => Ok((job.to_owned(), operator.to_owned())),
        _ => Err("expected JOB=OPERATOR, for example coder=gpt".to_owned()),
    }
}

impl SettingArguments {
    /// What is said over the job, with these models in the place of its own.
    pub(super) fn with(&self, models: impl IntoIterator<Item = (String, String)>) -> Overrides {
        Overrides {
            tenant: self.tenant.clone(),
            item: self.item.clone(),
            models: models.into_iter().collect(),
            seed: self.seed,
            wall_ms: self.wall_time,
            wall: self.wall,
        }
    }
}

impl OverrideArguments {
    /// What is said over the job.
    pub(super) fn overrides(&self) -> Overrides {
        self.settings.with(self.models.iter().cloned())
    }
}
