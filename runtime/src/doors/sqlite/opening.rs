//! Opening the store's file: the one that this directory had last, or a new one where there never was one.
//!
//! Never: begins new books beside what runs left, believes a file of another program, another format or another time. The
//! file `ledger.book` says whose store it is and how many processes have written in it. Invariant here: it is never ahead of
//! a store that lost nothing.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{BUSY_WAIT, FILE, failed, refused};
use crate::doors::rows::{APPLICATION, Book, FORMAT, PAGE_BYTES, Rows, TABLES};
use crate::doors::state::write_whole;
use crate::doors::store::StoreError;

/// What is known of the store beside it.
const BOOK: &str = "ledger.book";

/// Bytes of that file: an id and a number.
const MAX_BOOK_BYTES: u64 = 4 << 10;

/// Opens the file for writing, makes it if this directory never had one, and checks it if the last one who had it did not
/// close it.
pub(super) fn open_checked(dir: &Dir, file: &Path, users: &File) -> Result<Connection, StoreError> {
    let alone = match users.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    };
    // A clean close folds the log into the file and removes it.
    let unclean = alone && dir.metadata(format!("{FILE}-wal")).is_ok_and(|log| log.len() > 0);
    let opened = prepare(dir, file, unclean);
    if alone {
        users.unlock().map_err(failed)?;
    }
    opened
}

fn prepare(dir: &Dir, file: &Path, unclean: bool) -> Result<Connection, StoreError> {
    let known = known_book(dir)?;
    let is_new_here = known.is_none() && !has_state(dir).map_err(failed)?;
    make_file(dir, is_new_here)?;
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if unclean {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(foreign)?;
        if found != "ok" {
            return Err(StoreError::Corrupt(found));
        }
    }
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(foreign);
    let (application, format) = (number("application_id")?, number("user_version")?);
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u64>(0));
    let is_blank = (application, format, tables.map_err(foreign)?) == (0, 0, 0);
    match (application, format) {
        (APPLICATION, FORMAT) => {}
        (APPLICATION, found) => return Err(StoreError::Format { found, known: FORMAT }),
        // So far a process came that was killed.
        _ if is_blank && is_new_here => begin(&connection)?,
        _ if is_blank => return Err(StoreError::Missing),
        _ => return Err(StoreError::Foreign("of another program, or of another version of this one".into())),
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(refused)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(refused)?;
    // What is erased is to be gone, and not only unlinked: <https://www.sqlite.org/pragma.html#pragma_secure_delete>.
    connection.pragma_update(None, "secure_delete", "ON").map_err(refused)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20).map_err(refused)?;
    let book = Rows(&connection).book().map_err(refused)?;
    match known {
        None => keep_book(dir, &book).map_err(failed)?,
        Some(known) if known.id != book.id => {
            return Err(StoreError::Foreign("of another directory of this program's".into()));
        }
        Some(known) if known.generation > book.generation => {
            return Err(StoreError::Outdated { found: book.generation, known: known.generation });
        }
        Some(_) => {}
    }
    Ok(connection)
}

/// Makes the tables. The lock of the store is held: nobody else is in the middle of this.
fn begin(connection: &Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "page_size", PAGE_BYTES).map_err(refused)?;
    // So that what is erased can be given back to the disk in small steps, beside others who write.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(refused)?;
    let marks = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}");
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} {marks}; COMMIT")).map_err(refused)
}

/// Sees to it that there is a file, for its owner alone: SQLite gives its log the mode of the file.
fn make_file(dir: &Dir, is_new_here: bool) -> Result<(), StoreError> {
    let bytes = match dir.symlink_metadata(FILE) {
        Ok(about) if !about.is_file() => return Err(StoreError::Foreign("no regular file".into())),
        Ok(about) => Some(about.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    match (bytes, is_new_here) {
        (Some(1..), _) | (Some(0), true) => Ok(()),
        (None, true) => {
            let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
            dir.open_with(FILE, &options).map(drop).map_err(failed)
        }
        (None | Some(0), false) => Err(StoreError::Missing),
    }
}

/// Whether runs have left something here, whose books there must be.
fn has_state(dir: &Dir) -> io::Result<bool> {
    for place in ["runs", "items", "blobs/trees", "blobs/files"] {
        let entries = match dir.read_dir(place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            if entry?.file_type()?.is_dir() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn known_book(dir: &Dir) -> Result<Option<Book>, StoreError> {
    let file = match dir.open(BOOK) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    file.take(MAX_BOOK_BYTES).read_to_end(&mut text).map_err(failed)?;
    let book = serde_json::from_slice(&text);
    book.map(Some).map_err(|error| StoreError::Corrupt(format!("{BOOK} is not what was written: {error}")))
}

/// Notes whose store it is and how far it came, durably.
pub(super) fn keep_book(dir: &Dir, book: &Book) -> io::Result<()> {
    write_whole(dir, BOOK, book)
}

pub(super) fn connect(file: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(refused)?;
    connection.busy_timeout(BUSY_WAIT).map_err(refused)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn foreign(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::Foreign("no database".into()),
        _ => refused(error),
    }
}
