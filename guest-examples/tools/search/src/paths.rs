//! Which files a search looks at, by globs over their paths.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jidoka::{Error, Result};

/// Globs of one kind in one call.
pub const MAX_GLOBS: usize = 32;
/// Bytes of one glob. Its alternatives multiply, so it is short.
pub const MAX_GLOB_BYTES: usize = 256;

/// Globs to search and globs to leave out.
pub struct Paths {
    /// `None` is every file.
    only: Option<GlobSet>,
    exclude: GlobSet,
}

impl Paths {
    /// # Errors
    /// For the model, about the first glob that is none.
    pub fn new(only: &[String], exclude: &[String]) -> Result<Self> {
        let every = only.is_empty();
        Ok(Paths { only: if every { None } else { Some(set("paths", only)?) }, exclude: set("exclude", exclude)? })
    }

    /// Whether a path is to be searched.
    pub fn choose(&self, path: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.is_match(path)) && !self.exclude.is_match(path)
    }
}

fn set(name: &str, globs: &[String]) -> Result<GlobSet> {
    if globs.len() > MAX_GLOBS {
        return Err(format!("`{name}` has {} globs; at most {MAX_GLOBS}", globs.len()).into());
    }
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        if glob.is_empty() || glob.len() > MAX_GLOB_BYTES {
            return Err(
                format!("a glob of `{name}` has {} bytes; allowed are 1 to {MAX_GLOB_BYTES}", glob.len()).into()
            );
        }
        // Models write a path as a person would; these two say the same here.
        let plain = glob.strip_prefix("/work/").or_else(|| glob.strip_prefix("./")).unwrap_or(glob);
        // A directory means all that is in it.
        let whole = if plain.ends_with('/') { format!("{plain}**") } else { plain.to_owned() };
        let glob = GlobBuilder::new(&whole).literal_separator(true).build();
        set.add(glob.map_err(|error| Error::new(error).context(format!("`{name}`")))?);
    }
    set.build().map_err(|error| Error::new(error).context(format!("`{name}`")))
}
