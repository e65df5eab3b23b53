//! `jidoka mcp` and `jidoka serve`: a job's tools, and its worker, for any client of MCP.
//!
//! Never: takes a token from the command line, serves without one where others could come in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;

use crate::rules::authored::Items;
use crate::run::runner::{Apply, Runner};
use crate::run::tools;

use super::load::{self, LoadError};
use super::machine::Machine;
use super::mcp::token::{MOST_TOKEN_CHARS, Token};
use super::mcp::{Entry, HttpServe, Reach, Times, http};
use super::overrides::OverrideArguments;
use super::served::Shop;
use super::terminal::{Spinner, note, usage};
use super::watch::{Interrupt, Interrupts};

/// What is served.
#[derive(Debug, Args)]
pub struct ServedArguments {
    /// A job file, or a directory with one: its tools are served.
    path: PathBuf,
    /// Serve its worker too, as a tool of this name: each call is a whole run.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "run")]
    worker: Option<String>,
    /// Leave the real directory alone, whatever tools and workers do.
    #[arg(long)]
    no_apply: bool,
    #[command(flatten)]
    overrides: OverrideArguments,
}

/// Words of `mcp`.
#[derive(Debug, Args)]
pub struct McpArguments {
    #[command(flatten)]
    served: ServedArguments,
}

/// Words of `serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Serve MCP over HTTP at this address, for example `127.0.0.1:8787`; the path is `/mcp`.
    #[arg(long, value_name = "ADDRESS")]
    mcp: SocketAddr,
    #[command(flatten)]
    served: ServedArguments,
    /// A file with the token that clients must bring, of at least 32 characters.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token_env", "no_token"])]
    token_file: Option<PathBuf>,
    /// A variable of the environment with that token.
    #[arg(long, value_name = "NAME", conflicts_with = "no_token")]
    token_env: Option<String>,
    /// Let every process of this machine in. Only at a loopback address.
    #[arg(long)]
    no_token: bool,
    /// Serve at an address that others can reach.
    #[arg(long)]
    listen_anywhere: bool,
    /// A name that clients may call this server by in `Host` and `Origin`.
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
}

/// Serves one client over standard input and output, until it hangs up.
pub(super) async fn mcp(machine: &dyn Machine, arguments: McpArguments) -> Result<u8, LoadError> {
    let shop = shop(machine, arguments.served).await?;
    machine.serve_pipes(shop, Box::pin(ending(Interrupts::listen(machine)))).await.context("serve the client")?;
    Ok(0)
}

/// Serves clients over HTTP, until it is interrupted.
pub(super) async fn serve(machine: &dyn Machine, arguments: ServeArguments) -> Result<u8, LoadError> {
    let ServeArguments { mcp, served, token_file, token_env, no_token, listen_anywhere, name } = arguments;
    let text = match (&token_file, &token_env) {
        (Some(file), _) => {
            let bytes = machine.read_at_most(file, 4 * MOST_TOKEN_CHARS as u64);
            let bytes = bytes.with_context(|| format!("read the token in {}", file.display()))?;
            Some(
                String::from_utf8(bytes)
                    .map_err(|_| anyhow!("read the token in {}: it is not UTF-8", file.display()))?,
            )
        }
        (None, Some(variable)) => {
            let text = machine.variable(variable);
            Some(text.with_context(|| format!("read the token: the variable {variable} is not set"))?)
        }
        (None, None) => None,
    };
    let entry = match text {
        Some(text) => Entry::Token(Token::new(&text).context("read the token")?),
        None if no_token => Entry::ThisMachine,
        None => {
            return Ok(usage(
                "clients must bring a token: name it with --token-file or --token-env, or say --no-token",
            ));
        }
    };
    let reach = if listen_anywhere { Reach::Anywhere } else { Reach::Loopback };
    let shop = shop(machine, served).await?;
    let listener = machine.listen(mcp).with_context(|| format!("listen at {mcp}"))?;
    let listener = tokio::net::TcpListener::from_std(listener).context("listen")?;
    let address = listener.local_addr().context("listen")?;
    note!("serving MCP at http://{address}/mcp");
    let serve = HttpServe { listener, entry, reach, names: name, times: Times::default() };
    http(shop, serve, ending(Interrupts::listen(machine))).await.context("serve")?;
    Ok(0)
}

/// Waits for a signal that ends the server.
async fn ending(interrupts: Interrupts) {
    let Interrupt { what, .. } = interrupts.first().await;
    note!("{what}: what still runs is given up; once more ends the process at once");
}

/// The job with its doors open.
async fn shop(machine: &dyn Machine, arguments: ServedArguments) -> Result<Arc<Shop>, LoadError> {
    let ServedArguments { path, worker, no_apply, overrides } = arguments;
    let mut loaded = load::load(machine, &path, &overrides.overrides())?;
    match (&worker, loaded.operator.policy.items) {
        (None, _) => loaded.spec = loaded.spec.without_worker(),
        (Some(_), Items::Any) => {}
        (Some(_), Items::Named) => {
            return Err(anyhow!(
                "the operator's `policy.items` is \"named\", and each call of a worker that is served is an item of its own: \
                 leave out --worker"
            )
            .into());
        }
    }
    let wall = loaded.spec.wall;
    let spinner = Spinner::new(false);
    let job = load::open(machine, loaded, &|what| spinner.say(what));
    let job = job.inspect_err(|_| spinner.end())?;
    let runner: Arc<Runner> = machine.runner(wall)?;
    let mut offers = Vec::new();
    for surveyed in tools::survey(&runner, &job).await.map_err(|why| anyhow!(why))? {
        offers.extend(surveyed.offers.map_err(|why| anyhow!("tool {:?}: {why}", surveyed.toolbox))?);
    }
    spinner.end();
    if offers.is_empty() && worker.is_none() {
        return Err(anyhow!("the job grants no tools; --worker serves its worker").into());
    }
    if let Some(name) = worker.as_ref().filter(|name| offers.iter().any(|offer| offer.name == **name)) {
        return Err(anyhow!("a tool is called {name:?} already: name the worker otherwise, --worker NAME").into());
    }
    let apply = if no_apply { Apply::Never } else { Apply::Accepted };
    Ok(Arc::new(Shop { runner, desk: machine.desk()?, job, offers, worker, apply }))
}
