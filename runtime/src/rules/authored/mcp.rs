//! `[mcp.NAME]` of the operator's file: an MCP server that is started as a tool, and what it may reach.
//!
//! Never: looks whether anything of it is there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::kinds::{Characters, HostPath, Kind, List, Name, Repeats, Text, Texts, Wrong, wrong};
use super::limit::MOST_MS;
use super::mistake::Mistake;
use super::operator::COMMAND;
use super::reader::{Key, Naming, Read, Reader, Section};
use crate::rules::mcp::{McpLimits, McpSpec};

/// What a server may be called.
const NAME: Name = Name { characters: Characters::Lower, most: 64 };

/// Directories of one kind.
const PATHS: List<Absolute> = List { of: Absolute, least: 0, most: 32, repeats: Repeats::Refused };

const COMMAND_KEY: Key<List<Text>> =
    Key { name: "command", kind: COMMAND, example: "[\"/usr/bin/python3\", \"/opt/search/server.py\"]" };
const ENV: Key<Texts> =
    Key { name: "env", kind: Texts { text: Text { least: 0, most: 4_096 }, most: 64 }, example: "{ KEY = \"value\" }" };
const READS: Key<List<Absolute>> = Key { name: "reads", kind: PATHS, example: "[\"/opt/search\"]" };
const WRITES: Key<List<Absolute>> = Key { name: "writes", kind: PATHS, example: "[\"/var/lib/search\"]" };
const MEMORY: Key<Amount> =
    Key { name: "memory", kind: Amount::new(Unit::Size, 16 << 20, 1 << 40), example: "\"1GiB\"" };
const FILE: Key<Amount> = Key { name: "file", kind: Amount::new(Unit::Size, 0, 1 << 40), example: "\"256MiB\"" };
const CPU: Key<Amount> = Key { name: "cpu", kind: Amount::new(Unit::Duration, 1_000, MOST_MS), example: "\"10m\"" };
const START: Key<Amount> = Key { name: "start", kind: Amount::new(Unit::Duration, 1, MOST_MS), example: "\"30s\"" };

/// Reads `[mcp]`. One with a mistake is left out: the file does not load then.
pub(super) fn read(section: &Section<'_>, reader: &mut Reader) -> BTreeMap<String, McpSpec> {
    let named = section.named(reader, &Naming { noun: "MCP server", kind: NAME, example: "search" });
    let servers = named.into_iter().filter_map(|(name, section)| {
        // Its settings are noted where a job uses it.
        let (server, _) = reader.apart(|reader| server(section?, reader));
        Some((name.value, server?))
    });
    servers.collect()
}

fn server(mut section: Section<'_>, reader: &mut Reader) -> Option<McpSpec> {
    let command = section.required(reader, &COMMAND_KEY);
    let env = found(section.read(reader, &ENV), BTreeMap::new());
    let paths = |read| {
        found(read, vec![]).map(|paths: Vec<(PathBuf, Range<usize>)>| paths.into_iter().map(|(path, _)| path).collect())
    };
    let reads = paths(section.read(reader, &READS));
    let writes = paths(section.read(reader, &WRITES));
    let usual = McpLimits::default();
    let memory_bytes = found(section.read(reader, &MEMORY), usual.memory_bytes);
    let file_bytes = found(section.read(reader, &FILE), usual.file_bytes);
    let cpu_ms = found(section.read(reader, &CPU), usual.cpu_seconds * 1_000);
    let start_ms = found(section.read(reader, &START), usual.start_ms);
    section.finish(reader);
    let mut command = command?.value.into_iter();
    let (program, span) = command.next()?;
    if !program.starts_with('/') {
        reader.mistake(Mistake {
            span: Some(span),
            message: format!("`{}` starts {program:?}, which is no absolute path", COMMAND_KEY.name),
            label: "nothing is searched for".to_owned(),
            help: format!("allowed: a path from /\nwrite: {} = {}", COMMAND_KEY.name, COMMAND_KEY.example),
        });
        return None;
    }
    let limits = McpLimits {
        memory_bytes: memory_bytes?,
        file_bytes: file_bytes?,
        // The kernel counts whole seconds.
        cpu_seconds: cpu_ms?.div_ceil(1_000),
        start_ms: start_ms?,
    };
    Some(McpSpec {
        program: program.into(),
        arguments: command.map(|(word, _)| word).collect(),
        env: env?,
        reads: reads?,
        writes: writes?,
        limits,
    })
}

fn found<T>(read: Read<T>, absent: T) -> Option<T> {
    match read {
        Read::Absent => Some(absent),
        Read::Wrong => None,
        Read::Found(found) => Some(found.value),
    }
}

/// A path of the host from its root: a server is started from there.
struct Absolute;

impl Kind for Absolute {
    type Value = PathBuf;

    fn allowed(&self) -> String {
        "a path from /".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<PathBuf, Vec<Wrong>> {
        let path = HostPath.read(value)?;
        if path.is_absolute() {
            return Ok(path);
        }
        wrong(value, "is no absolute path", "from where?")
    }

    fn show(&self, value: &PathBuf) -> String {
        HostPath.show(value)
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::authored::operator;

    use super::*;

    #[test]
    fn a_server_is_read_with_all_its_keys_and_with_few() {
        let text = r#"
            [mcp.search]
            command = ["/usr/bin/python3", "/opt/search.py", "-v"]
            env = { KEY = "value" }
            reads = ["/opt"]
            writes = ["/var/lib/search"]
            memory = "64MiB"
            file = "1MiB"
            cpu = "1500ms"
            start = "5s"
            [mcp.few]
            command = ["/bin/server"]
        "#;
        let servers = operator(text).unwrap().mcp;
        let limits = McpLimits { memory_bytes: 64 << 20, file_bytes: 1 << 20, cpu_seconds: 2, start_ms: 5_000 };
        let search = McpSpec {
            program: "/usr/bin/python3".into(),
            arguments: vec!["/opt/search.py".to_owned(), "-v".to_owned()],
            env: BTreeMap::from([("KEY".to_owned(), "value".to_owned())]),
            reads: vec!["/opt".into()],
            writes: vec!["/var/lib/search".into()],
            limits,
        };
        assert_eq!(servers["search"], search);
        let few = &servers["few"];
        assert_eq!((few.limits, few.env.len(), few.reads.len()), (McpLimits::default(), 0, 0));
    }

    #[test]
    fn what_a_server_cannot_have_is_a_mistake() {
        for (keys, expected) in [
            ("", "command"),
            ("command = []", "too short"),
            ("command = [\"python3\"]", "no absolute path"),
            ("command = [\"/x\"]\nreads = [\"opt\"]", "no absolute path"),
            ("command = [\"/x\"]\nwrites = [\"/a\", \"/a\"]", "twice"),
            ("command = [\"/x\"]\nmemory = \"1MiB\"", "memory"),
            ("command = [\"/x\"]\nurl = \"https://example.com\"", "url"),
        ] {
            let mistakes = operator(&format!("[mcp.a]\n{keys}\n")).unwrap_err();
            assert!(mistakes.iter().any(|mistake| mistake.message.contains(expected)), "{keys}: {mistakes:?}");
        }
        assert!(operator("[mcp.\"A B\"]\ncommand = [\"/x\"]\n").is_err());
    }
}
