//! The rows of the store: what a page of the books looks like in SQL.
//!
//! Never: begins or ends a transaction, decides. Bodies are JSON, so that `sqlite3` shows them to a person.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::chain::{Head, Kept, Key, Row as Line, Sealed, named_by, named_in};
use super::store::{Need, Pages, RunRow, Written};
use crate::rules::andon::{LineRecord, Pulled};
use crate::rules::digest::Digest;
use crate::rules::item::ItemRecord;
use crate::rules::ledger::{Call, CallId, Changes, Ledger, Level, Scope, ScopeId};
use crate::rules::operate::Act;
use crate::rules::question::{Question, QuestionId};
use crate::rules::scope::upward;
use crate::rules::window::{Span, Window};

/// The version of the tables. A store of another one is refused.
pub(super) const FORMAT: i64 = 5;

/// What tells a store of ours from any other file of SQLite: "JDKA".
pub(super) const APPLICATION: i64 = 0x4a44_4b41;

/// The tables. `parent` and `level` of a scope repeat what the path says, for the indexes. What an erasure takes away is in
/// tables of its own, so that whole pages are free again: `content`, `piece` and `named`.
pub(super) const TABLES: &str = "
CREATE TABLE book (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, generation INTEGER NOT NULL) STRICT;
INSERT INTO book VALUES (1, lower(hex(randomblob(16))), 0);
CREATE TABLE scope (
    path TEXT PRIMARY KEY, parent TEXT, level TEXT NOT NULL, closed INTEGER NOT NULL, body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX open_scope_by_parent ON scope (parent) WHERE closed = 0;
CREATE INDEX open_scope_by_level ON scope (level) WHERE closed = 0;
CREATE TABLE spent_in (path TEXT NOT NULL, span TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (path, span))
    STRICT, WITHOUT ROWID;
CREATE TABLE call (id TEXT PRIMARY KEY, scope TEXT NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE INDEX open_call ON call (scope) WHERE state IN ('reserved', 'dispatched', 'held');
CREATE TABLE item (path TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE line (path TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE pull (number INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE question (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE run (
    serial TEXT PRIMARY KEY, head TEXT NOT NULL, entries INTEGER NOT NULL, key BLOB, tenant TEXT NOT NULL,
    line TEXT NOT NULL, item TEXT NOT NULL, attempt INTEGER NOT NULL, opened_ms INTEGER NOT NULL,
    latest_ms INTEGER NOT NULL, verdict TEXT, exit_code INTEGER, settled INTEGER NOT NULL, parent TEXT, caller TEXT,
    imported INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX fork ON run (parent) WHERE parent IS NOT NULL;
CREATE TABLE entry (serial TEXT NOT NULL, seq INTEGER NOT NULL, line TEXT NOT NULL, PRIMARY KEY (serial, seq))
    STRICT, WITHOUT ROWID;
CREATE TABLE content (serial TEXT NOT NULL, seq INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (serial, seq))
    STRICT, WITHOUT ROWID;
CREATE TABLE piece (serial TEXT NOT NULL, address TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (serial, address))
    STRICT, WITHOUT ROWID;
CREATE TABLE named (serial TEXT NOT NULL, address TEXT NOT NULL, PRIMARY KEY (serial, address)) STRICT, WITHOUT ROWID;
CREATE TABLE act (number INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), latest_ms INTEGER NOT NULL) STRICT;
INSERT INTO clock VALUES (1, 0);
";

/// An update leaves the indexes alone where their columns stay, which a replacement would not.
const SAVE_SCOPE: &str = "
INSERT INTO scope VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (path) DO UPDATE SET closed = excluded.closed, body = excluded.body";
const SAVE_WINDOW: &str = "
INSERT INTO spent_in VALUES (?1, ?2, ?3) ON CONFLICT (path, span) DO UPDATE SET body = excluded.body";
const SAVE_CALL: &str = "
INSERT INTO call VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body";
const ADVANCE: &str = "
UPDATE run SET head = ?2, entries = ?3, latest_ms = ?4, bytes = ?5, verdict = ?6, exit_code = ?7, settled = ?8
WHERE serial = ?1";
const SAVE_LINE: &str = "INSERT INTO line VALUES (?1, ?2) ON CONFLICT (path) DO UPDATE SET body = excluded.body";
const SAVE_QUESTION: &str = "INSERT INTO question VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET body = excluded.body";
const SAVE_ITEM: &str = "INSERT INTO item VALUES (?1, ?2) ON CONFLICT (path) DO UPDATE SET body = excluded.body";

/// Bytes of a page of the file.
pub(super) const PAGE_BYTES: u64 = 4_096;

/// Whose books a store has, and how many processes have written in them: kept beside the store too, so that one that is not
/// the latest is noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    pub id: String,
    pub generation: u64,
}

/// A connection, as the books read and write it.
pub(super) struct Rows<'a>(pub &'a Connection);

impl Rows<'_> {
    /// The latest time that the store has seen.
    pub fn latest_ms(&self) -> rusqlite::Result<u64> {
        self.0.query_row("SELECT latest_ms FROM clock", [], |row| row.get(0))
    }

    /// Notes the time.
    pub fn set_latest_ms(&self, now_ms: u64) -> rusqlite::Result<()> {
        self.0.prepare_cached("UPDATE clock SET latest_ms = ?1")?.execute([now_ms]).map(drop)
    }

    /// Whose store it is, and how many processes have written in it.
    pub fn book(&self) -> rusqlite::Result<Book> {
        let read = "SELECT id, generation FROM book";
        self.0.query_row(read, [], |row| Ok(Book { id: row.get(0)?, generation: row.get(1)? }))
    }

    /// Counts one more process that writes.
    pub fn next_generation(&self) -> rusqlite::Result<()> {
        self.0.execute("UPDATE book SET generation = generation + 1", []).map(drop)
    }

    /// Brings what a work needs into the ledger and the items, unless it is there.
    pub fn load(&self, need: &Need, pages: &mut Pages) -> rusqlite::Result<()> {
        let Pages { ledger, items, lines, questions } = pages;
        match need {
            Need::Scope(id) => self.load_path(id, ledger),
            Need::Tree(id) => {
                self.load_path(id, ledger)?;
                self.load_below(id, ledger)
            }
            Need::Call(id) => self.load_call(id, ledger),
            Need::Item(id) => self.load_page("SELECT body FROM item WHERE path = ?1", id, id.path(), items),
            Need::Line(id) => self.load_page("SELECT body FROM line WHERE path = ?1", id, id.path(), lines),
            Need::Question(id) => {
                self.load_page("SELECT body FROM question WHERE id = ?1", id, &id.to_string(), questions)
            }
        }
    }

    fn load_page<K: Clone + Eq + std::hash::Hash, V: DeserializeOwned>(
        &self,
        select: &str,
        id: &K,
        key: &str,
        pages: &mut HashMap<K, V>,
    ) -> rusqlite::Result<()> {
        if !pages.contains_key(id) {
            let mut read = self.0.prepare_cached(select)?;
            if let Some(page) = read.query_row([key], |row| json(row, 0)).optional()? {
                pages.insert(id.clone(), page);
            }
        }
        Ok(())
    }

    fn load_path(&self, id: &ScopeId, ledger: &mut Ledger) -> rusqlite::Result<()> {
        if ledger.scope(id).is_some() {
            return Ok(());
        }
        let paths: Vec<&str> = upward(id.path()).collect();
        for path in paths.into_iter().rev() {
            let id = ScopeId::of_path(path);
            if ledger.scope(&id).is_some() {
                continue;
            }
            let mut read = self.0.prepare_cached("SELECT body FROM scope WHERE path = ?1")?;
            let Some(scope) = read.query_row([path], |row| json::<Scope>(row, 0)).optional()? else { return Ok(()) };
            self.restore(id, scope, ledger)?;
        }
        Ok(())
    }

    /// A scope with its windows, and its open calls if it is one that may be closed.
    fn restore(&self, id: ScopeId, mut scope: Scope, ledger: &mut Ledger) -> rusqlite::Result<()> {
        // Also of a window that no file sets now: one that is set again must not begin at nothing.
        let mut read = self.0.prepare_cached("SELECT span, body FROM spent_in WHERE path = ?1")?;
        let windows = read.query_map([id.path()], |row| Ok((span(row)?, json::<Window>(row, 1)?)))?;
        scope.windows = windows.collect::<rusqlite::Result<_>>()?;
        ledger.restore_scope(id, scope);
        Ok(())
    }

    fn load_below(&self, id: &ScopeId, ledger: &mut Ledger) -> rusqlite::Result<()> {
        let open = "SELECT id, body FROM call WHERE scope = ?1 AND state IN ('reserved', 'dispatched', 'held')";
        let mut calls = self.0.prepare_cached(open)?;
        for call in calls.query_map([id.path()], call)? {
            let (id, call) = call?;
            ledger.restore_call(id, call);
        }
        let mut children = self.0.prepare_cached("SELECT path, body FROM scope WHERE parent = ?1 AND closed = 0")?;
        let children: Vec<(ScopeId, Scope)> =
            children.query_map([id.path()], |row| Ok((path(row)?, json(row, 1)?)))?.collect::<rusqlite::Result<_>>()?;
        for (child, scope) in children {
            self.restore(child.clone(), scope, ledger)?;
            self.load_below(&child, ledger)?;
        }
        Ok(())
    }

    fn load_call(&self, id: &CallId, ledger: &mut Ledger) -> rusqlite::Result<()> {
        if let Some(known) = ledger.find(id) {
            let scope = known.scope.clone();
            return self.load_path(&scope, ledger);
        }
        let mut read = self.0.prepare_cached("SELECT id, body FROM call WHERE id = ?1")?;
        let Some((id, call)) = read.query_row([id.as_str()], call).optional()? else { return Ok(()) };
        self.load_path(&call.scope, ledger)?;
        ledger.restore_call(id, call);
        Ok(())
    }

    /// Writes what changed.
    pub fn save(&self, pages: &mut Pages, written: &mut Written) -> rusqlite::Result<()> {
        let Pages { ledger, items, lines, questions } = pages;
        let Changes { scopes, calls } = ledger.take_changes();
        for (id, scope) in scopes {
            self.0.prepare_cached(SAVE_SCOPE)?.execute(params![
                id.path(),
                upward(id.path()).nth(1),
                id.level().name(),
                scope.closed,
                text(&scope)?
            ])?;
            for (span, window) in &scope.windows {
                self.0.prepare_cached(SAVE_WINDOW)?.execute(params![id.path(), span.name(), text(window)?])?;
            }
        }
        for (id, call) in calls {
            self.0.prepare_cached(SAVE_CALL)?.execute(params![
                id.as_str(),
                call.scope.path(),
                call.state.name(),
                text(&call)?
            ])?;
        }
        for id in written.items.drain(..) {
            self.0.prepare_cached(SAVE_ITEM)?.execute(params![id.path(), text(&items.get(&id))?])?;
        }
        for id in written.lines.drain(..) {
            self.0.prepare_cached(SAVE_LINE)?.execute(params![id.path(), text(&lines.get(&id))?])?;
        }
        for id in written.questions.drain(..) {
            self.0.prepare_cached(SAVE_QUESTION)?.execute(params![id.to_string(), text(&questions.get(&id))?])?;
        }
        for pulled in written.pulls.drain(..) {
            self.0.prepare_cached("INSERT INTO pull (body) VALUES (?1)")?.execute([text(&pulled)?])?;
        }
        self.append(written.entries.drain(..))?;
        for serial in written.erased.drain(..) {
            self.erase(&serial)?;
        }
        for (row, kept) in written.imports.drain(..) {
            self.import(&row, &kept)?;
        }
        for act in written.acts.drain(..) {
            self.0.prepare_cached("INSERT INTO act (body) VALUES (?1)")?.execute([text(&act)?])?;
        }
        Ok(())
    }

    /// Appends entries to journals, in order, and moves each run's head to its last one. Without an opening entry there is no
    /// row to move.
    pub fn append(&self, entries: impl Iterator<Item = (Arc<str>, Key, Sealed)>) -> rusqlite::Result<()> {
        let mut moved: HashMap<Arc<str>, (RunRow, Digest)> = HashMap::new();
        for (serial, key, entry) in entries {
            if let Some(row) = RunRow::opened(&entry) {
                self.insert_run(&row, Head { entries: entry.seq + 1, hash: entry.hash }, Some(&key))?;
                moved.insert(Arc::clone(&serial), (row, entry.hash));
            } else if !moved.contains_key(&serial)
                && let Some(row) = self.run(&serial)?
            {
                moved.insert(Arc::clone(&serial), (row, entry.hash));
            }
            if let Some((row, head)) = moved.get_mut(&serial) {
                row.follow(&entry);
                *head = entry.hash;
            }
            self.insert_entry(&serial, entry.seq, &entry.row)?;
            named_by(&entry.facts).iter().try_for_each(|address| self.insert_named(&serial, address))?;
            entry.pieces.iter().try_for_each(|(address, piece)| self.insert_piece(&serial, address, piece))?;
        }
        for (row, head) in moved.into_values() {
            self.0.prepare_cached(ADVANCE)?.execute(params![
                row.serial,
                head.to_string(),
                row.entries,
                row.latest_ms,
                row.bytes,
                row.verdict,
                row.exit_code,
                row.settled
            ])?;
        }
        Ok(())
    }

    /// A run that comes from elsewhere, with its whole journal.
    fn import(&self, row: &RunRow, kept: &Kept) -> rusqlite::Result<()> {
        self.insert_run(row, kept.head, kept.key.as_ref())?;
        for (seq, entry) in (0..).zip(&kept.rows) {
            self.insert_entry(&row.serial, seq, entry)?;
            if kept.key.is_some() {
                named_in(&entry.line).iter().try_for_each(|address| self.insert_named(&row.serial, address))?;
            }
        }
        kept.pieces.iter().try_for_each(|(address, piece)| self.insert_piece(&row.serial, address, piece))
    }

    fn insert_run(&self, row: &RunRow, head: Head, key: Option<&Key>) -> rusqlite::Result<()> {
        let insert = "INSERT INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
            ?16, ?17)";
        self.0.prepare_cached(insert)?.execute(params![
            row.serial,
            head.hash.to_string(),
            head.entries,
            key.map(Key::as_bytes),
            row.tenant,
            row.line,
            row.item,
            row.attempt,
            row.opened_ms,
            row.latest_ms,
            row.verdict,
            row.exit_code,
            row.settled,
            row.parent,
            row.caller,
            row.imported,
            row.bytes
        ])?;
        Ok(())
    }

    fn insert_entry(&self, serial: &str, seq: u64, row: &Line) -> rusqlite::Result<()> {
        let mut write = self.0.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3)")?;
        write.execute(params![serial, seq, row.line])?;
        let Some(content) = &row.content else { return Ok(()) };
        let mut write = self.0.prepare_cached("INSERT INTO content VALUES (?1, ?2, ?3)")?;
        write.execute(params![serial, seq, content]).map(drop)
    }

    fn insert_named(&self, serial: &str, address: &Digest) -> rusqlite::Result<()> {
        let mut write = self.0.prepare_cached("INSERT OR IGNORE INTO named VALUES (?1, ?2)")?;
        write.execute(params![serial, address.to_string()]).map(drop)
    }

    fn insert_piece(&self, serial: &str, address: &Digest, piece: &str) -> rusqlite::Result<()> {
        let mut write = self.0.prepare_cached("INSERT OR IGNORE INTO piece VALUES (?1, ?2, ?3)")?;
        write.execute(params![serial, address.to_string(), piece]).map(drop)
    }

    /// All runs.
    pub fn runs(&self) -> rusqlite::Result<Vec<RunRow>> {
        self.0.prepare_cached(&format!("{RUNS} ORDER BY serial"))?.query_map([], run_row)?.collect()
    }

    /// One run.
    pub fn run(&self, serial: &str) -> rusqlite::Result<Option<RunRow>> {
        self.0.prepare_cached(&format!("{RUNS} WHERE serial = ?1"))?.query_row([serial], run_row).optional()
    }

    /// The journal of a run.
    pub fn journal(&self, serial: &str) -> rusqlite::Result<Option<Kept>> {
        let mut read = self.0.prepare_cached("SELECT head, entries, key FROM run WHERE serial = ?1")?;
        let found = read.query_row([serial], |row| {
            let key: Option<[u8; 32]> = row.get(2)?;
            Ok((Head { hash: digest(row, 0)?, entries: row.get(1)? }, key.map(Key::from_bytes)))
        });
        let Some((head, key)) = found.optional()? else { return Ok(None) };
        let mut read = self.0.prepare_cached(
            "SELECT line, text FROM entry LEFT JOIN content USING (serial, seq) WHERE serial = ?1 ORDER BY seq",
        )?;
        let rows = read.query_map([serial], |row| Ok(Line { line: row.get(0)?, content: row.get(1)? }))?;
        let rows = rows.collect::<rusqlite::Result<_>>()?;
        let mut read = self.0.prepare_cached("SELECT address, text FROM piece WHERE serial = ?1")?;
        let pieces = read.query_map([serial], |row| Ok((digest(row, 0)?, row.get(1)?)))?;
        Ok(Some(Kept { key, head, rows, pieces: pieces.collect::<rusqlite::Result<_>>()? }))
    }

    /// Erases the contents of a run.
    fn erase(&self, serial: &str) -> rusqlite::Result<()> {
        let unforked = "UPDATE run SET key = NULL, bytes = 0 WHERE serial = ?1
            AND NOT EXISTS (SELECT 1 FROM run fork WHERE fork.parent = ?1 AND fork.key IS NOT NULL)";
        if self.0.prepare_cached(unforked)?.execute([serial])? == 0 {
            return Ok(());
        }
        self.0.prepare_cached("DELETE FROM content WHERE serial = ?1")?.execute([serial])?;
        self.0.prepare_cached("DELETE FROM piece WHERE serial = ?1")?.execute([serial])?;
        self.0.prepare_cached("DELETE FROM named WHERE serial = ?1")?.execute([serial])?;
        Ok(())
    }

    /// The addresses of trees and components, each with a run that names it and whose contents are kept.
    pub fn named(&self) -> rusqlite::Result<Vec<(String, Digest)>> {
        let mut read = self.0.prepare_cached("SELECT serial, address FROM named")?;
        read.query_map([], |row| Ok((row.get(0)?, digest(row, 1)?)))?.collect()
    }

    /// What the contents of all runs take of the file.
    pub fn contents_bytes(&self) -> rusqlite::Result<u64> {
        let pages = "SELECT ifnull(sum(pgsize), 0) FROM dbstat WHERE name IN ('content', 'piece', 'named') AND aggregate = TRUE";
        self.0.query_row(pages, [], |row| row.get(0))
    }

    /// What is free in the file, and can be given back.
    pub fn free_bytes(&self) -> rusqlite::Result<u64> {
        let free: u64 = self.0.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        Ok(free * PAGE_BYTES)
    }

    /// Moves so many pages of the file's end into what is free before them.
    pub fn shrink(&self, pages: u64) -> rusqlite::Result<()> {
        let mut shrink = self.0.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut moved = shrink.query([])?;
        while moved.next()?.is_some() {}
        Ok(())
    }

    /// The attempts that are open.
    pub fn open_attempts(&self) -> rusqlite::Result<Vec<ScopeId>> {
        let mut read = self.0.prepare_cached("SELECT path FROM scope WHERE level = ?1 AND closed = 0")?;
        read.query_map([Level::Attempt.name()], path)?.collect()
    }

    /// The whole ledger, without calls that are over unless `ended` wants them.
    pub fn survey(&self, ended: bool) -> rusqlite::Result<Ledger> {
        let mut ledger = Ledger::default();
        // In the order of the paths a parent comes before its children.
        let mut scopes = self.0.prepare_cached("SELECT path, body FROM scope ORDER BY path")?;
        for scope in scopes.query_map([], |row| Ok((path(row)?, json(row, 1)?)))? {
            let (id, scope) = scope?;
            self.restore(id, scope, &mut ledger)?;
        }
        let open = "SELECT id, body FROM call WHERE ?1 OR state IN ('reserved', 'dispatched', 'held')";
        for call in self.0.prepare_cached(open)?.query_map([ended], call)? {
            let (id, call) = call?;
            ledger.restore_call(id, call);
        }
        Ok(ledger)
    }

    /// All items.
    pub fn items(&self) -> rusqlite::Result<Vec<(ScopeId, ItemRecord)>> {
        let mut read = self.0.prepare_cached("SELECT path, body FROM item ORDER BY path")?;
        read.query_map([], |row| Ok((path(row)?, json(row, 1)?)))?.collect()
    }

    /// All lines.
    pub fn lines(&self) -> rusqlite::Result<Vec<(ScopeId, LineRecord)>> {
        let mut read = self.0.prepare_cached("SELECT path, body FROM line ORDER BY path")?;
        read.query_map([], |row| Ok((path(row)?, json(row, 1)?)))?.collect()
    }

    /// All pulls.
    pub fn pulls(&self) -> rusqlite::Result<Vec<Pulled>> {
        let mut read = self.0.prepare_cached("SELECT body FROM pull ORDER BY number")?;
        read.query_map([], |row| json(row, 0))?.collect()
    }

    /// All questions to people.
    pub fn questions(&self) -> rusqlite::Result<Vec<(QuestionId, Question)>> {
        let mut read = self.0.prepare_cached("SELECT id, body FROM question ORDER BY id")?;
        let question = |row: &Row<'_>| {
            let id = row.get_ref(0)?.as_str()?;
            let id = id.parse().map_err(|()| rusqlite::Error::InvalidColumnType(0, "question".into(), Type::Text))?;
            Ok((id, json(row, 1)?))
        };
        read.query_map([], question)?.collect()
    }

    /// What operators did.
    pub fn acts(&self) -> rusqlite::Result<Vec<Act>> {
        let mut read = self.0.prepare_cached("SELECT body FROM act ORDER BY number")?;
        read.query_map([], |row| json(row, 0))?.collect()
    }
}

const RUNS: &str =
    "SELECT serial, tenant, line, item, attempt, opened_ms, latest_ms, entries, verdict, exit_code, settled,
    parent, caller, imported, key IS NULL, bytes FROM run";

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        serial: row.get(0)?,
        tenant: row.get(1)?,
        line: row.get(2)?,
        item: row.get(3)?,
        attempt: row.get(4)?,
        opened_ms: row.get(5)?,
        latest_ms: row.get(6)?,
        entries: row.get(7)?,
        verdict: row.get(8)?,
        exit_code: row.get(9)?,
        settled: row.get(10)?,
        parent: row.get(11)?,
        caller: row.get(12)?,
        imported: row.get(13)?,
        erased: row.get(14)?,
        bytes: row.get(15)?,
    })
}

fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn path(row: &Row<'_>) -> rusqlite::Result<ScopeId> {
    Ok(ScopeId::of_path(row.get_ref(0)?.as_str()?))
}

fn call(row: &Row<'_>) -> rusqlite::Result<(CallId, Call)> {
    let id: Arc<str> = row.get_ref(0)?.as_str()?.into();
    Ok((CallId::new(id), json(row, 1)?))
}

fn span(row: &Row<'_>) -> rusqlite::Result<Span> {
    let name = row.get_ref(0)?.as_str()?;
    let known = Span::ALL.into_iter().find(|span| span.name() == name);
    known.ok_or_else(|| rusqlite::Error::InvalidColumnType(0, "span".into(), Type::Text))
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn text(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
