//! An export checked by somebody who has never seen the runtime: written from `runtime/FORMAT.md`, with BLAKE3 and JSON.
//!
//! Never: names the runtime. It holds the whole file in memory, and does not read what an entry says where no hash needs it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a file holds: its last run, and how many there are.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub runs: usize,
    pub serial: String,
    pub entries: u64,
    pub head: String,
    pub verdict: Option<String>,
}

/// One record, and where its bytes are in the file.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    pub kind: &'a str,
    pub name: &'a str,
    pub bytes: &'a [u8],
    /// Where its first line begins, and its bytes.
    pub at: [usize; 2],
}

/// The records of a file, without its end.
///
/// # Errors
/// The place where the framing is broken.
pub fn records(file: &[u8]) -> Result<Vec<Record<'_>>, String> {
    let mut at = b"jidoka-run 2\n".len();
    if !file.starts_with(b"jidoka-run 2\n") {
        return Err("byte 0: no export of format 2".into());
    }
    let mut found = Vec::new();
    loop {
        let broken = || format!("byte {at}: no record");
        let line = file[at..].split(|byte| *byte == b'\n').next().ok_or_else(broken)?;
        let words: Vec<&str> = std::str::from_utf8(line).map_err(|_| broken())?.split(' ').collect();
        let [kind, name, length] = words[..] else { return Err(broken()) };
        let bytes: usize = length.parse().map_err(|_| broken())?;
        let from = at + line.len() + 1;
        let to = from.checked_add(bytes).filter(|to| file.get(*to) == Some(&b'\n')).ok_or_else(broken)?;
        if bytes.to_string() != length || name.is_empty() {
            return Err(broken());
        }
        if kind == "end" {
            let is_end = name == found.len().to_string() && bytes == 0 && to + 1 == file.len();
            return if is_end { Ok(found) } else { Err(broken()) };
        }
        found.push(Record { kind, name, bytes: &file[from..to], at: [at, from] });
        at = to + 1;
    }
}

/// A run of the file, as far as its journal was read.
struct Run<'a> {
    serial: &'a str,
    hashes: Vec<String>,
    lines: Vec<Value>,
    contents: Vec<Option<Value>>,
    head: Value,
}

fn address(bytes: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(bytes).to_hex())
}

/// Checks a whole file.
///
/// # Errors
/// What is wrong first, with the run and the entry if it is one.
pub fn check(file: &[u8]) -> Result<Found, String> {
    let records = records(file)?;
    let mut rest = &records[..];
    let mut runs: Vec<Run<'_>> = Vec::new();
    let (mut trees, mut blobs, mut evidence) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    while rest.first().is_some_and(|record| record.kind == "run") {
        let of_run = rest[1..].iter().take_while(|next| ["key", "entry", "content", "piece"].contains(&next.kind));
        let (own, others) = rest.split_at(1 + of_run.count());
        rest = others;
        let run = journal(own)?;
        let parent = &run.lines[0]["entry"]["opened"]["parent"];
        let shared = parent["seq"].as_u64().and_then(|seq| Some(&runs.last()?.hashes.get(seq as usize)?[..]));
        let follows = match runs.last() {
            None => parent.is_null(),
            Some(before) => parent["serial"] == before.serial && shared.is_some() && shared == parent["hash"].as_str(),
        };
        if !follows || runs.iter().any(|known| known.serial == run.serial) {
            return Err(format!("run {} entry 0: its parent is not before it", run.serial));
        }
        // What entries name, each with the first entry that does.
        for (seq, (line, content)) in run.lines.iter().zip(&run.contents).enumerate() {
            let user = format!("run {} entry {seq}", run.serial);
            let need = |map: &mut BTreeMap<String, (String, Option<u64>)>, named: &Value| {
                if let Some(named) = named.as_str() {
                    map.entry(named.to_owned()).or_insert((user.clone(), None));
                }
            };
            if run.contents[0].is_none() {
                continue;
            }
            let facts = &line["entry"];
            need(&mut blobs, &facts["opened"]["component"]);
            facts["opened"]["checks"].as_array().into_iter().flatten().for_each(|check| need(&mut blobs, check));
            let tools = facts["opened"]["tools"].as_object();
            tools.into_iter().flat_map(|tools| tools.values()).for_each(|tool| need(&mut blobs, tool));
            let mut children: Vec<&Value> = vec![&facts["opened"]["children"]];
            while let Some(below) = children.pop() {
                for child in below.as_object().into_iter().flat_map(|below| below.values()) {
                    need(&mut blobs, &child["worker"]);
                    child["checks"].as_array().into_iter().flatten().for_each(|check| need(&mut blobs, check));
                    let tools = child["tools"].as_object();
                    tools.into_iter().flat_map(|tools| tools.values()).for_each(|tool| need(&mut blobs, tool));
                    children.push(&child["children"]);
                }
            }
            for kind in ["opened", "answered", "marked", "ended"] {
                need(&mut trees, &facts[kind]["tree"]);
            }
            need(&mut trees, &facts["opened"]["context"]);
            if let (true, Some(content)) = (facts["answered"].is_object(), content) {
                let done = &content["heard"]["done"];
                need(&mut evidence, if done["answer"] == "attached" { &done["id"] } else { &Value::Null });
            }
        }
        runs.push(run);
    }
    let of_trees = files(&mut rest, "tree", &trees)?;
    let order: BTreeMap<String, usize> = runs.iter().enumerate().map(|(at, run)| (run.serial.to_owned(), at)).collect();
    let rank = |user: &str| {
        let words: Vec<&str> = user.split(' ').collect();
        (order[words[1]], words[3].parse::<u64>().unwrap_or(0))
    };
    for (tree, user) in of_trees {
        let tree: BTreeMap<String, Value> = serde_json::from_slice(tree).map_err(|_| format!("{user}: its tree"))?;
        for entry in tree.values().filter(|entry| entry["kind"] == "file") {
            let (named, bytes) = (entry["digest"].as_str().unwrap_or_default(), entry["bytes"].as_u64());
            let known = blobs.entry(named.to_owned()).or_insert((user.clone(), bytes));
            if rank(&user) < rank(&known.0) {
                known.0.clone_from(&user);
            }
            if *known.1.get_or_insert(bytes.unwrap_or(0)) != bytes.unwrap_or(0) {
                return Err(format!("{user}: two lengths of one file"));
            }
        }
    }
    files(&mut rest, "blob", &blobs)?;
    files(&mut rest, "evidence", &evidence)?;
    let Some(last) = runs.last().filter(|_| rest.is_empty()) else { return Err("no run, or too much".into()) };
    // What was void when the run was resumed does not count; neither does a verdict before that.
    let closed = &last.lines[last.lines.len() - 1]["entry"]["closed"]["verdict"];
    Ok(Found {
        runs: runs.len(),
        serial: last.serial.to_owned(),
        entries: last.lines.len() as u64,
        head: last.head["hash"].as_str().unwrap_or_default().to_owned(),
        verdict: closed.as_str().map(str::to_owned),
    })
}

/// The records of one kind of file: exactly those that are needed, in the order of their addresses.
fn files<'a>(
    rest: &mut &[Record<'a>],
    kind: &str,
    needed: &BTreeMap<String, (String, Option<u64>)>,
) -> Result<Vec<(&'a [u8], String)>, String> {
    let mut found = Vec::new();
    for (named, (user, bytes)) in needed {
        let record = rest.first().filter(|record| record.kind == kind && record.name == named);
        let record = record.ok_or_else(|| format!("{user}: {kind} {named} is missing"))?;
        if address(record.bytes) != *named || bytes.is_some_and(|bytes| bytes != record.bytes.len() as u64) {
            return Err(format!("{user}: {kind} {named} is not what was kept"));
        }
        found.push((record.bytes, user.clone()));
        *rest = &rest[1..];
    }
    Ok(found)
}

/// One journal: `run`, `key` unless it is erased, each `entry` with its `content`, each `piece`.
fn journal<'a>(records: &[Record<'a>]) -> Result<Run<'a>, String> {
    let serial = records[0].name;
    let at = |seq: usize, problem: &str| format!("run {serial} entry {seq}: {problem}");
    let head: Value = serde_json::from_slice(records[0].bytes).map_err(|_| format!("run {serial}: its head"))?;
    let (count, last) = (head["entries"].as_u64().unwrap_or(0), head["hash"].as_str().unwrap_or_default());
    if format!("{{\"entries\":{count},\"hash\":\"{last}\"}}").as_bytes() != records[0].bytes || count == 0 {
        return Err(format!("run {serial}: its head is not canonical"));
    }
    let mut rest = &records[1..];
    let key = rest.first().filter(|record| record.kind == "key");
    let key: Option<[u8; 32]> = match key {
        Some(record) if record.name == serial => {
            rest = &rest[1..];
            Some(record.bytes.try_into().map_err(|_| at(0, "its key has not 32 bytes"))?)
        }
        Some(_) => return Err(format!("run {serial}: another run's key")),
        None => None,
    };
    let keyed = |bytes: &[u8]| key.map(|key| format!("blake3:{}", blake3::keyed_hash(&key, bytes).to_hex()));
    let piece_count = rest.iter().rev().take_while(|record| record.kind == "piece").count();
    let (rows, pieces) = rest.split_at(rest.len() - piece_count);
    let mut run = Run { serial, hashes: Vec::new(), lines: Vec::new(), contents: Vec::new(), head: head.clone() };
    let mut rows = rows.iter().peekable();
    while let Some(record) = rows.next() {
        let seq = run.lines.len();
        if record.kind != "entry" || record.name != seq.to_string() {
            return Err(at(seq, "it is not where it should be"));
        }
        let content = rows.next_if(|next| next.kind == "content" && next.name == record.name);
        let own = address(record.bytes);
        let next = rows.peek().map(|next| String::from_utf8_lossy(next.bytes).into_owned());
        let named = next.map_or(own == last, |next| next.contains(&format!("\"prev\":\"{own}\"")));
        let line: Value = serde_json::from_slice(record.bytes).map_err(|_| at(seq, "its line cannot be read"))?;
        if line["prev"].as_str() != run.hashes.last().map(String::as_str) {
            // Where what comes after this line vouches for it, the one before is another.
            return Err(at(if named { seq.saturating_sub(1) } else { seq }, "its line is not what was written"));
        }
        if line["seq"].as_u64() != Some(seq as u64) {
            return Err(at(seq, "it says another number"));
        }
        if content.is_some() && key.is_none() || content.is_none() && key.is_some() && !line["content"].is_null() {
            return Err(at(seq, "it has content and no key, or the other way round"));
        }
        if content.is_some_and(|content| keyed(content.bytes).as_deref() != line["content"].as_str()) {
            return Err(at(seq, "its content is not what was written"));
        }
        run.contents.push(content.and_then(|content| serde_json::from_slice(content.bytes).ok()));
        run.hashes.push(own);
        run.lines.push(line);
    }
    if run.lines.len() as u64 != count {
        return Err(at(run.lines.len().min(count as usize), "the head says another number of entries"));
    }
    if run.hashes.last().map(String::as_str) != Some(last) {
        return Err(at(run.lines.len() - 1, "its hash is not that of the head"));
    }
    let opened = &run.lines[0]["entry"]["opened"];
    if opened["serial"] != serial || opened["format"] != 7 {
        return Err(at(0, "it is of another run or format"));
    }
    let mut unused: BTreeMap<&str, &[u8]> = pieces.iter().map(|piece| (piece.name, piece.bytes)).collect();
    if key.is_none() && piece_count > 0 || !pieces.is_sorted_by(|one, two| one.name < two.name) {
        return Err(format!("run {serial}: its pieces are not in order"));
    }
    let mut used = BTreeSet::new();
    for (seq, content) in run.contents.iter().enumerate() {
        for ask in ["ask", "sent"].map(|ask| content.as_ref().map_or(&Value::Null, |content| &content[ask])) {
            let mut due: Vec<String> = ["history", "tools", "schema"]
                .iter()
                .filter_map(|part| Some(ask[part].as_str()?.to_owned()))
                .filter(|named| !used.contains(named))
                .collect();
            while let Some(named) = due.pop() {
                let piece = unused.remove(&named[..]).ok_or_else(|| at(seq, "a piece of it is missing"))?;
                if keyed(piece).as_ref() != Some(&named) {
                    return Err(at(seq, "a piece of it is not what was written"));
                }
                let said: Value = serde_json::from_slice(piece).map_err(|_| at(seq, "a piece of it"))?;
                due.extend(said["after"].as_str().map(str::to_owned).filter(|after| !used.contains(after)));
                used.insert(named);
            }
        }
    }
    if unused.is_empty() { Ok(run) } else { Err(format!("run {serial}: a piece that nothing needs")) }
}
