//! The files of the run: `/work` (the private copy that the host compares at the end) and `/context` (read-only).
//! Grant: `[grants] files = "read-only"` or `"read-write"`.
//!
//! Modes are the host's: a file at the path of a program is a program in the end, however it was written, and a file with a new
//! name is none, unless it is a program that was renamed.
//!
//! Paths are relative to the directory, with `/` between parts and without `..`. The host holds that wall by itself;
//! the check here only turns a bad path into words instead of an I/O error.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::host;

/// A directory of the run.
#[derive(Clone, Debug)]
pub struct Dir {
    name: &'static str,
    root: PathBuf,
}

/// Why a file operation failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The path is not one that can be inside the directory.
    Path {
        /// The path as it was given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The directory is not there: the job does not grant it.
    NotGranted {
        /// The directory, for example `/work`.
        directory: &'static str,
    },
    /// The file system said no.
    Io {
        /// What was tried, for example `read`.
        doing: &'static str,
        /// Where, for example `/work/src/a.txt`.
        path: String,
        /// What it said.
        source: io::Error,
    },
}

/// The workspace: `/work`.
pub fn work() -> Dir {
    Dir::at("/work", host::work_dir())
}

/// What the job gives to read beside the workspace: `/context`.
pub fn context() -> Dir {
    Dir::at("/context", host::context_dir())
}

/// Reads a text file of `/work`.
pub fn read(path: &str) -> Result<String, Error> {
    work().read(path)
}

/// Reads a file of `/work`.
pub fn read_bytes(path: &str) -> Result<Vec<u8>, Error> {
    work().read_bytes(path)
}

/// Writes a file of `/work`, with the directories above it.
pub fn write(path: &str, content: impl AsRef<[u8]>) -> Result<(), Error> {
    work().write(path, content)
}

/// Removes a file of `/work`.
pub fn remove(path: &str) -> Result<(), Error> {
    work().remove(path)
}

/// Every file of `/work`, as sorted relative paths.
pub fn files() -> Result<Vec<String>, Error> {
    work().files()
}

/// Bytes of a file of `/work`; `None` if there is something else at the path, or nothing.
pub fn size(path: &str) -> Result<Option<u64>, Error> {
    work().size(path)
}

/// Whether `/work` has this file or directory.
pub fn exists(path: &str) -> Result<bool, Error> {
    work().exists(path)
}

impl Dir {
    pub(crate) fn at(name: &'static str, root: PathBuf) -> Self {
        Dir { name, root }
    }

    /// Reads a text file. `Err` if it is not there or not UTF-8.
    pub fn read(&self, path: &str) -> Result<String, Error> {
        let full = self.resolve(path)?;
        fs::read_to_string(full).map_err(|source| self.io("read", path, source))
    }

    /// Reads a file.
    pub fn read_bytes(&self, path: &str) -> Result<Vec<u8>, Error> {
        let full = self.resolve(path)?;
        fs::read(full).map_err(|source| self.io("read", path, source))
    }

    /// Writes a file, with the directories above it. Costs `disk-bytes`; past the quota it fails.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<(), Error> {
        let full = self.resolve(path)?;
        if let Some(parent) = full.parent().filter(|parent| !parent.is_dir()) {
            fs::create_dir_all(parent).map_err(|source| self.io("create the directory of", path, source))?;
        }
        fs::write(full, content).map_err(|source| self.io("write", path, source))
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        let full = self.resolve(path)?;
        fs::remove_file(full).map_err(|source| self.io("remove", path, source))
    }

    /// Whether there is such a file or directory.
    pub fn exists(&self, path: &str) -> Result<bool, Error> {
        let full = self.resolve(path)?;
        full.try_exists().map_err(|source| self.io("look at", path, source))
    }

    /// Bytes of a file. `None` if there is no file: a directory, a symbolic link (it is not followed), or nothing.
    pub fn size(&self, path: &str) -> Result<Option<u64>, Error> {
        match fs::symlink_metadata(self.resolve(path)?) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => Ok(None),
            Err(source) => Err(self.io("look at", path, source)),
        }
    }

    /// Every file in the directory and below, as sorted relative paths. Symbolic links are listed, not followed.
    pub fn files(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(directory) = pending.pop() {
            let list = |source| self.io("list", &directory, source);
            for entry in fs::read_dir(self.root.join(&directory)).map_err(list)? {
                let entry = entry.map_err(list)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
                if entry.file_type().map_err(list)?.is_dir() {
                    pending.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn resolve(&self, path: &str) -> Result<PathBuf, Error> {
        match check(path) {
            Ok(()) => Ok(self.root.join(path)),
            Err(why) => Err(Error::Path { path: path.to_owned(), why }),
        }
    }

    fn io(&self, doing: &'static str, path: &str, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::NotFound && !self.root.is_dir() {
            return Error::NotGranted { directory: self.name };
        }
        let path = if path.is_empty() { self.name.to_owned() } else { format!("{}/{path}", self.name) };
        Error::Io { doing, path, source }
    }
}

fn check(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("it is empty");
    }
    if path.starts_with('/') {
        return Err("it is absolute; paths are relative to the directory");
    }
    if path.contains('\\') {
        return Err("it has a backslash; parts are separated by `/`");
    }
    if path.contains('\0') {
        return Err("it has a NUL character");
    }
    for part in path.split('/') {
        match part {
            "" => return Err("it has an empty part"),
            "." | ".." => return Err("it has a `.` or `..` part"),
            _ => {}
        }
    }
    Ok(())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Path { path, why } => write!(f, "the path {path:?} cannot be used: {why}"),
            Error::NotGranted { directory } => {
                let setting = match *directory {
                    "/context" => "[workspace] context = \"DIR\"",
                    _ => "[grants] files = \"read-only\" or \"read-write\"",
                };
                write!(f, "there is no {directory}; to have it, set {setting}")
            }
            Error::Io { doing, path, source } => write!(f, "cannot {doing} {path}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Path { .. } | Error::NotGranted { .. } => None,
        }
    }
}
