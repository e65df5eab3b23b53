//! The command line as it explains itself: commands in groups, usage, completions, pages of the manual.
//!
//! Never: does what the words say. Each command stands in one group.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;
use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use clap_complete::Shell;

use super::cli::{self, Arguments};
use super::failure::{self, Kind};
use super::load::LoadError;
use super::machine::Machine;
use super::terminal::say;
use super::wrap;

/// The commands by what a person wants to do.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run", &["run", "call", "mcp", "serve", "answer"]),
    ("Inspect", &["explain", "inspect", "tools", "runs", "show", "trace", "why", "ticket"]),
    ("Replay", &["resume", "fork", "replay", "verify", "export", "import", "fixture", "test"]),
    ("Operate", &["budget", "items", "andon", "prune", "doctor"]),
    ("Build", &["new", "build", "sign", "completions", "man"]),
];

/// Columns of help where no terminal says how many it has, and the most of one that does.
const COLUMNS: usize = 100;
const MOST_COLUMNS: usize = 120;

/// All commands, as help shows them.
fn command() -> Command {
    let command = Arguments::command();
    let listing = listing(&command, wrap::stdout().unwrap_or(COLUMNS).min(MOST_COLUMNS));
    let everywhere: Vec<_> = command.get_arguments().filter(|it| it.is_global_set()).cloned().collect();
    // The first page has the options of every command; the others have their own.
    let command = command.mut_subcommands(|mut below| {
        for option in &everywhere {
            below = below.arg(option.clone().hide(true));
        }
        below
    });
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{listing}Options:\n{{options}}{{after-help}}");
    command.help_template(template).after_help("What a command takes: jidoka COMMAND --help")
}

fn listing(command: &Command, width: usize) -> String {
    let names = || GROUPS.iter().flat_map(|(_, names)| names.iter());
    let longest = names().map(|name| name.len()).max().unwrap_or(0);
    let (header, literal) = (*command.get_styles().get_header(), *command.get_styles().get_literal());
    let mut text = String::new();
    for (group, names) in GROUPS {
        text += &format!("{header}{group}:{header:#}\n");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(|about| about.to_string()).unwrap_or_default();
            let line = format!("  {literal}{name:<longest$}{literal:#}  {about}");
            text += &wrap::to(&line, width, longest + 4);
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// Reads the command line, the program's name first.
///
/// # Errors
/// The exit code of one that only asks for help, or makes no sense; what there is to say about it is said.
pub fn read(words: Vec<OsString>) -> Result<Arguments, u8> {
    let mut command = command();
    let read = command.try_get_matches_from_mut(&words).and_then(|matches| {
        failure::expect_json(asks_for_json(&matches));
        Arguments::from_arg_matches(&matches)
    });
    read.map_err(|mut error| {
        if error.get(ContextKind::Usage).is_some() {
            // Clap's own has the options in it that variables of the environment set.
            error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(&mut command, &words)));
        }
        if error.use_stderr() {
            failure::expect_json(words.iter().take_while(|word| *word != "--").any(|word| word == "--json"));
            failure::document(Kind::Usage, error.to_string().trim_start_matches("error: ").trim_end(), &[]);
        }
        cli::misparsed(&error)
    })
}

fn asks_for_json(matches: &ArgMatches) -> bool {
    let own = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false);
    own || matches.subcommand().is_some_and(|(_, below)| asks_for_json(below))
}

/// The usage of the command that the words name.
fn usage(command: &mut Command, words: &[OsString]) -> clap::builder::StyledStr {
    let mut named = command;
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if named.find_subcommand(word).is_some() {
            named = named.find_subcommand_mut(word).expect("it was found");
        }
    }
    named.render_usage()
}

/// `jidoka completions`.
pub(super) fn completions(shell: Shell) -> Result<u8, LoadError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "jidoka", &mut text);
    say!("{}", String::from_utf8_lossy(&text).trim_end());
    Ok(0)
}

/// `jidoka man`: the page of all on stdout, or a page for each command in a directory.
pub(super) fn man(machine: &dyn Machine, dir: Option<&Path>) -> Result<u8, LoadError> {
    let mut all = command().disable_help_subcommand(true);
    all.build();
    let mut pages = Vec::new();
    page(&all, &mut pages).context("write the manual")?;
    match dir {
        None => say!("{}", pages[0].1.trim_end()),
        Some(dir) => {
            for (name, text) in &pages {
                let path = dir.join(format!("{name}.1"));
                machine.write_new(&path, text).with_context(|| format!("write {}", path.display()))?.keep();
            }
        }
    }
    Ok(0)
}

/// The page of a command, and those of what is below it.
fn page(command: &Command, pages: &mut Vec<(String, String)>) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    pages.push((name, String::from_utf8_lossy(&text).into_owned()));
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| page(below, pages))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_command_stands_in_one_group() {
        let all = Arguments::command();
        let all: BTreeSet<&str> = all.get_subcommands().map(Command::get_name).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<&str>>(), all);
        assert_eq!(grouped.len(), all.len(), "none stands in two");
        command().debug_assert();
    }

    #[test]
    fn help_is_broken_between_words() {
        for line in listing(&Arguments::command(), 60).lines() {
            assert!(console::measure_text_width(line) <= 60, "{line}");
        }
    }
}
