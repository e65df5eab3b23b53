//! What a value may be: its type, its range, how it is shown, and how a wrong one would be written right.
//!
//! Never: knows a key or a section. Ranges include both ends.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

/// A value that is not what it should be.
#[derive(Debug)]
pub(super) struct Wrong {
    pub span: Range<usize>,
    /// Completes "`budget.wall` ...".
    pub problem: String,
    pub label: String,
    /// The same value written right, where that can be told.
    pub fix: Option<String>,
}

/// What a value may be.
pub(super) trait Kind {
    /// What it is read as.
    type Value;

    /// What is allowed, for a person.
    fn allowed(&self) -> String;

    /// Reads a value.
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Self::Value, Vec<Wrong>>;

    /// Shows a resolved value, close to how it would be written.
    fn show(&self, value: &Self::Value) -> String;
}

/// The type of a value with its article.
pub(super) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The only wrong thing about a value.
pub(super) fn wrong<T>(value: &Spanned<DeValue<'_>>, problem: impl Into<String>, label: &str) -> Result<T, Vec<Wrong>> {
    Err(vec![Wrong { span: value.span(), problem: problem.into(), label: label.to_owned(), fix: None }])
}

fn wrong_type<T>(value: &Spanned<DeValue<'_>>, label: &str) -> Result<T, Vec<Wrong>> {
    wrong(value, format!("is {}", type_of(value.get_ref())), label)
}

fn text_of<'a>(value: &'a Spanned<DeValue<'_>>, label: &str) -> Result<&'a str, Vec<Wrong>> {
    match value.get_ref().as_str() {
        Some(text) => Ok(text),
        None => wrong_type(value, label),
    }
}

/// A text of so many bytes. With `least` above 0 white space alone is no text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub least: usize,
    pub most: usize,
}

/// Characters of a text that [`Text::show`] shows.
const SHOWN: usize = 60;

impl Kind for Text {
    type Value = String;

    fn allowed(&self) -> String {
        format!("a text of {} to {} bytes without NUL", self.least, self.most)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let text = text_of(value, "not a text")?;
        if text.len() < self.least || (self.least > 0 && text.trim().is_empty()) {
            return wrong(value, "is empty", "nothing stands here");
        }
        if text.len() > self.most {
            return wrong(value, format!("is too long: {} bytes of at most {}", text.len(), self.most), "too long");
        }
        if text.contains('\0') {
            return wrong(value, "has a NUL character", "not a text");
        }
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        let head: String = value.chars().take(SHOWN).collect();
        if head.len() == value.len() { format!("{value:?}") } else { format!("{head:?}... ({} bytes)", value.len()) }
    }
}

/// A name of so many characters out of a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub characters: Characters,
    pub most: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Characters {
    /// `a-z`, `0-9` and `-`.
    Lower,
    /// `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, but neither `.` nor `..`.
    Mixed,
    /// `A-Z`, `a-z`, `0-9` and `_`: a key of a provider that stands where its variable should does not look like that.
    Variable,
    /// Any but `=` and control characters: `=` and NUL end a name in an environment.
    Label,
}

impl Name {
    /// What is wrong with a name.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        let fits = |character: char| match self.characters {
            Characters::Lower => matches!(character, 'a'..='z' | '0'..='9' | '-'),
            Characters::Mixed => matches!(character, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-'),
            Characters::Variable => matches!(character, 'A'..='Z' | 'a'..='z' | '0'..='9' | '_'),
            Characters::Label => character != '=' && !character.is_control(),
        };
        if name.is_empty() {
            return Err("is empty".to_owned());
        }
        if name.len() > self.most {
            return Err(format!("is too long: {} bytes of at most {}", name.len(), self.most));
        }
        if let Some(other) = name.chars().find(|&character| !fits(character)) {
            return Err(format!("has the character {other:?}"));
        }
        match self.characters {
            Characters::Mixed if matches!(name, "." | "..") => Err("is a directory, not a name".to_owned()),
            Characters::Lower | Characters::Mixed | Characters::Variable | Characters::Label => Ok(()),
        }
    }
}

impl Kind for Name {
    type Value = String;

    fn allowed(&self) -> String {
        let characters = match self.characters {
            Characters::Lower => "a-z, 0-9 and -",
            Characters::Mixed => "A-Z, a-z, 0-9, ., _ and -",
            Characters::Variable => "A-Z, a-z, 0-9 and _",
            Characters::Label => "anything but = and control characters",
        };
        format!("1 to {} of {characters}", self.most)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let name = text_of(value, "not a name")?;
        match self.check(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(problem) => wrong(value, problem, "not a name"),
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn allowed(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        words.join(", ")
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<T, Vec<Wrong>> {
        let word = text_of(value, "not one of the words")?;
        if let Some((_, choice)) = self.0.iter().find(|(name, _)| *name == word) {
            return Ok(*choice);
        }
        let meant = super::mistake::nearest(word, self.0.iter().map(|(name, _)| *name));
        Err(vec![Wrong {
            span: value.span(),
            problem: format!("is {word:?}, which it cannot be"),
            label: meant.map_or("not one of the words".to_owned(), |meant| format!("did you mean {meant:?}?")),
            fix: meant.map(|meant| format!("{meant:?}")),
        }])
    }

    fn show(&self, value: &T) -> String {
        self.0.iter().find(|(_, choice)| choice == value).map_or(String::new(), |(name, _)| (*name).to_owned())
    }
}

/// `true` or `false`.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<bool, Vec<Wrong>> {
        match value.get_ref().as_bool() {
            Some(flag) => Ok(flag),
            None => wrong_type(value, "not true or false"),
        }
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// A path of the host, relative to the directory of the file that names it.
pub(super) struct HostPath;

/// Bytes of a path: what Linux takes.
const MOST_PATH_BYTES: usize = 4_095;

/// A path is shown to people as it is, so it has nothing that a terminal obeys.
fn path_of(value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
    let path = Text { least: 1, most: MOST_PATH_BYTES }.read(value)?;
    if path.contains(char::is_control) {
        return wrong(value, "has a control character", "not a path");
    }
    Ok(path)
}

impl Kind for HostPath {
    type Value = PathBuf;

    fn allowed(&self) -> String {
        "a path, from the directory of this file".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<PathBuf, Vec<Wrong>> {
        path_of(value).map(PathBuf::from)
    }

    fn show(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }
}

/// A path inside the workspace, the same text for the same place.
pub(super) struct TreePath {
    pub whole: Whole,
}

/// Whether `.` is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Allowed,
    Refused,
}

impl Kind for TreePath {
    type Value = String;

    fn allowed(&self) -> String {
        let whole = match self.whole {
            Whole::Allowed => "; \".\" is all of it",
            Whole::Refused => "",
        };
        format!("a path inside the workspace, with / and without . or .. in it{whole}")
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let path = path_of(value)?;
        if path == "." {
            return match self.whole {
                Whole::Allowed => Ok(path),
                Whole::Refused => wrong(value, "is \".\", which is everything", "would leave nothing"),
            };
        }
        if path.starts_with('/') {
            return wrong(value, "is absolute", "not inside the workspace");
        }
        if path.contains('\\') {
            return wrong(value, "has a \\", "parts are separated by /");
        }
        if path.split('/').any(|part| part == "..") {
            return wrong(value, "has `..` in it", "could leave the workspace");
        }
        if path.split('/').any(|part| part.is_empty() || part == ".") {
            return wrong(value, "is not in its shortest form", "has an empty part or a `.`");
        }
        Ok(path)
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// Whether an element may stand twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    Allowed,
    Refused,
}

/// A list of so many elements of a kind.
pub(super) struct List<K> {
    pub of: K,
    pub least: usize,
    pub most: usize,
    pub repeats: Repeats,
}

impl<K: Kind<Value: PartialEq>> Kind for List<K> {
    type Value = Vec<(K::Value, Range<usize>)>;

    fn allowed(&self) -> String {
        format!("a list of {} to {}, each {}", self.least, self.most, self.of.allowed())
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Self::Value, Vec<Wrong>> {
        let Some(list) = value.get_ref().as_array() else { return wrong_type(value, "not a list") };
        if list.len() < self.least {
            return wrong(value, format!("is too short: {} of at least {}", list.len(), self.least), "too few");
        }
        if list.len() > self.most {
            return wrong(value, format!("is too long: {} of at most {}", list.len(), self.most), "too many");
        }
        let mut read: Self::Value = Vec::new();
        let mut wrongs = Vec::new();
        for element in list.iter() {
            match self.of.read(element) {
                Ok(one) => {
                    if self.repeats == Repeats::Refused && read.iter().any(|(other, _)| *other == one) {
                        wrongs.push(Wrong {
                            span: element.span(),
                            problem: format!("has {} twice", self.of.show(&one)),
                            label: "stands there already".to_owned(),
                            fix: None,
                        });
                    }
                    read.push((one, element.span()));
                }
                // What would fix the element would not fix the list.
                Err(elements) => wrongs.extend(elements.into_iter().map(|wrong| Wrong { fix: None, ..wrong })),
            }
        }
        if wrongs.is_empty() { Ok(read) } else { Err(wrongs) }
    }

    fn show(&self, value: &Self::Value) -> String {
        let shown: Vec<String> = value.iter().map(|(one, _)| self.of.show(one)).collect();
        format!("[{}]", shown.join(", "))
    }
}

/// Texts by name.
pub(super) struct Texts {
    pub text: Text,
    pub most: usize,
}

/// Names of variables and inputs.
const LABEL: Name = Name { characters: Characters::Label, most: 128 };

impl Kind for Texts {
    type Value = BTreeMap<String, String>;

    fn allowed(&self) -> String {
        format!(
            "a table of at most {} names, each {}, and for each {}",
            self.most,
            LABEL.allowed(),
            self.text.allowed()
        )
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Self::Value, Vec<Wrong>> {
        let Some(table) = value.get_ref().as_table() else { return wrong_type(value, "not a table") };
        if table.len() > self.most {
            return wrong(value, format!("is too long: {} names of at most {}", table.len(), self.most), "too many");
        }
        let mut read = BTreeMap::new();
        let mut wrongs = Vec::new();
        for (name, value) in table.iter() {
            if let Err(problem) = LABEL.check(name.get_ref()) {
                let problem = format!("has a name that {problem}");
                wrongs.push(Wrong { span: name.span(), problem, label: "not a name".to_owned(), fix: None });
            }
            match self.text.read(value) {
                Ok(text) => {
                    read.insert(name.get_ref().to_string(), text);
                }
                Err(values) => wrongs.extend(values.into_iter().map(|wrong| Wrong {
                    problem: format!("has a value `{}` that {}", name.get_ref().escape_debug(), wrong.problem),
                    ..wrong
                })),
            }
        }
        if wrongs.is_empty() { Ok(read) } else { Err(wrongs) }
    }

    fn show(&self, value: &Self::Value) -> String {
        let shown: Vec<String> =
            value.iter().map(|(name, text)| format!("{name} = {}", self.text.show(text))).collect();
        if shown.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", shown.join(", ")) }
    }
}
