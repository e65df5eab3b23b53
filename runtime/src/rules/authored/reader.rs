//! Reads tables key by key, and collects every mistake instead of stopping at the first.
//!
//! Never: decides what a key means. A section knows the keys that it was asked for, so its list of known keys cannot
//! drift from what is read; [`Section::finish`] reports the others. A value that is wrong is reported once: it counts
//! neither as missing nor as its default.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::kinds::{Kind, Name};
use super::mistake::{Mistake, nearest, sorted};
use crate::rules::spec::{Origin, Setting};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// What a section says of a key.
pub(super) enum Read<T> {
    Absent,
    /// It is there and it is a mistake, which was reported.
    Wrong,
    Found(Found<T>),
}

impl<T> Read<T> {
    /// The value, if it is there and right.
    pub(super) fn found(self) -> Option<Found<T>> {
        match self {
            Read::Found(found) => Some(found),
            Read::Absent | Read::Wrong => None,
        }
    }

    /// The same with another value.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Read::Absent => Read::Absent,
            Read::Wrong => Read::Wrong,
            Read::Found(Found { value, span }) => Read::Found(Found { value: change(value), span }),
        }
    }
}

/// A key: its name, what it may be, and a value that shows how it is written.
pub(super) struct Key<K> {
    pub name: &'static str,
    pub kind: K,
    pub example: &'static str,
}

/// A section that must be there, and the lines to write if it is not.
pub(super) struct Required {
    pub name: &'static str,
    /// What it is for, after "allowed: ".
    pub purpose: &'static str,
    pub lines: &'static str,
}

/// What was read of one file so far.
pub(super) struct Reader {
    /// Whose file it is.
    origin: Origin,
    syntax: Vec<Mistake>,
    mistakes: Vec<Mistake>,
    settings: Vec<Setting>,
}

impl Reader {
    /// Starts on a text with the mistakes of its syntax.
    pub(super) fn new(origin: Origin, syntax: Vec<Mistake>) -> Self {
        Self { origin, syntax, mistakes: Vec::new(), settings: Vec::new() }
    }

    /// Reports a mistake.
    pub(super) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Notes a setting for `explain`.
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Into<String>, origin: Origin) {
        self.settings.push(Setting { key: key.into(), value: value.into(), origin });
    }

    /// Notes settings that were resolved elsewhere.
    pub(super) fn adopt(&mut self, settings: impl IntoIterator<Item = Setting>) {
        self.settings.extend(settings);
    }

    /// What `read` notes, kept apart from the rest.
    pub(super) fn apart<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, Vec<Setting>) {
        let before = self.settings.len();
        let value = read(self);
        (value, self.settings.split_off(before))
    }

    /// The settings, or every mistake in the order of the text.
    ///
    /// A value without quotes that is also wrong is one mistake: the second one knows what was meant. A value that is
    /// not there at all is one mistake too: there is nothing else to say of it.
    pub(super) fn finish(self) -> Result<Vec<Setting>, Vec<Mistake>> {
        let Self { syntax, mistakes, settings, .. } = self;
        let empty = |mistake: &Mistake| mistake.span.as_ref().is_some_and(Range::is_empty);
        let same = |others: &[Mistake], mistake: &Mistake| others.iter().any(|other| other.span == mistake.span);
        let mut all: Vec<Mistake> = syntax.iter().filter(|it| empty(it) || !same(&mistakes, it)).cloned().collect();
        all.extend(mistakes.into_iter().filter(|it| !empty(it) || !same(&syntax, it)));
        if all.is_empty() { Ok(settings) } else { Err(sorted(all)) }
    }
}

/// A table of a file, read key by key.
pub(super) struct Section<'a> {
    /// Before a key's name in messages and settings; empty for the file itself.
    path: String,
    /// How a person calls it: `[budget]`, `[[check]]`, `the job`.
    title: String,
    /// Where a missing key is reported.
    place: Range<usize>,
    /// `None`: it is absent, and so is every key.
    table: Option<&'a DeTable<'a>>,
    asked: Vec<(&'static str, String)>,
    /// Keys that stand elsewhere, and were reported in their own words.
    misplaced: Vec<&'static str>,
}

/// What a person may call the tables of a section.
pub(super) struct Naming {
    /// What such a table is.
    pub noun: &'static str,
    pub kind: Name,
    pub example: &'static str,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn file(table: &'a Spanned<DeTable<'a>>, title: &str) -> Self {
        Self {
            path: String::new(),
            title: title.to_owned(),
            place: 0..0,
            table: Some(table.get_ref()),
            asked: Vec::new(),
            misplaced: Vec::new(),
        }
    }

    /// The whole name of a key, with nothing that a terminal obeys.
    pub(super) fn key(&self, name: &str) -> String {
        let name = name.escape_debug();
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    /// How a person calls it.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Where a key that is missing would have to be.
    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// The words before the lines to write.
    pub(super) fn write(&self) -> String {
        if self.path.is_empty() { "write".to_owned() } else { format!("write in {}", self.title) }
    }

    /// Calls it by a name that was only found inside.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// Reads a key and notes nothing.
    pub(super) fn read<K: Kind>(&mut self, reader: &mut Reader, key: &Key<K>) -> Read<K::Value> {
        self.asked.push((key.name, format!("{} = {}", key.name, key.example)));
        let Some(value) = self.get(key.name) else { return Read::Absent };
        match key.kind.read(value) {
            Ok(read) => Read::Found(Found { value: read, span: value.span() }),
            Err(wrongs) => {
                for wrong in wrongs {
                    let example = wrong.fix.as_deref().unwrap_or(key.example);
                    reader.mistake(Mistake {
                        span: Some(wrong.span),
                        message: format!("`{}` {}", self.key(key.name), wrong.problem),
                        label: wrong.label,
                        help: format!("allowed: {}\nwrite: {} = {example}", key.kind.allowed(), key.name),
                    });
                }
                Read::Wrong
            }
        }
    }

    /// Reads a key whose absence says nothing: it is noted only if it is written.
    pub(super) fn if_written<K: Kind>(&mut self, reader: &mut Reader, key: &Key<K>) -> Read<K::Value> {
        let read = self.read(reader, key);
        if let Read::Found(found) = &read {
            reader.set(self.key(key.name), key.kind.show(&found.value), reader.origin);
        }
        read
    }

    /// Where a key stands that belongs elsewhere. The caller reports it, and it is not listed as known.
    pub(super) fn misplaced(&mut self, name: &'static str) -> Option<Range<usize>> {
        self.misplaced.push(name);
        self.entries().find(|(key, _)| key.get_ref() == name).map(|(key, _)| key.span())
    }

    /// Reads a key that must be there.
    pub(super) fn required<K: Kind>(&mut self, reader: &mut Reader, key: &Key<K>) -> Option<Found<K::Value>> {
        let read = self.if_written(reader, key);
        if let Read::Absent = read {
            reader.mistake(self.missing(key));
        }
        read.found()
    }

    /// Reads a key that may be absent; `absent` says what that means.
    pub(super) fn optional<K: Kind>(&mut self, reader: &mut Reader, key: &Key<K>, absent: &str) -> Read<K::Value> {
        let read = self.if_written(reader, key);
        if let Read::Absent = read {
            reader.set(self.key(key.name), absent, Origin::Default);
        }
        read
    }

    /// Reads a key that has a default.
    pub(super) fn or_default<K: Kind>(&mut self, reader: &mut Reader, key: &Key<K>, default: K::Value) -> K::Value {
        let absent = key.kind.show(&default);
        self.optional(reader, key, &absent).found().map_or(default, |found| found.value)
    }

    /// The mistake that a key is missing.
    pub(super) fn missing<K: Kind>(&self, key: &Key<K>) -> Mistake {
        Mistake {
            span: Some(self.place()),
            message: format!("`{}` is missing", self.key(key.name)),
            label: format!("{} needs `{}`", self.title, key.name),
            help: format!("allowed: {}\n{}: {} = {}", key.kind.allowed(), self.write(), key.name, key.example),
        }
    }

    /// The one key of several that must be there alone, as the reads found it. `lines` are one for each choice.
    pub(super) fn only<T>(&self, reader: &mut Reader, choices: Vec<(&'static str, Read<T>)>, lines: &str) -> Option<T> {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        let names = names.join(", ");
        let mut absent = true;
        let mut chosen: Option<(&'static str, T)> = None;
        for (name, read) in choices {
            match read {
                Read::Absent => {}
                Read::Wrong => absent = false,
                Read::Found(found) => {
                    absent = false;
                    match &chosen {
                        None => chosen = Some((name, found.value)),
                        Some((first, _)) => reader.mistake(Mistake {
                            span: Some(found.span),
                            message: format!("{} has both `{first}` and `{name}`", self.title),
                            label: format!("`{first}` stands there already"),
                            help: format!(
                                "allowed: exactly one of {names}\nwrite: one of the two, and delete the other"
                            ),
                        }),
                    }
                }
            }
        }
        if absent {
            reader.mistake(Mistake {
                span: Some(self.place()),
                message: format!("{} has none of {names}", self.title),
                label: format!("one of {names} is missing"),
                help: format!("allowed: exactly one of {names}\n{}: {lines}", self.write()),
            });
        }
        chosen.map(|(_, value)| value)
    }

    /// A table in this one, if it is there.
    pub(super) fn section(&mut self, reader: &mut Reader, name: &'static str) -> Read<Section<'a>> {
        let path = self.key(name);
        self.asked.push((name, format!("[{path}]")));
        let Some(value) = self.get(name) else { return Read::Absent };
        match inner(reader, &path, format!("[{path}]"), value) {
            Some(section) => Read::Found(Found { span: section.place(), value: section }),
            None => Read::Wrong,
        }
    }

    /// A table in this one of which every key has a default, so that it may be absent. `None`: it is wrong.
    pub(super) fn optional_section(&mut self, reader: &mut Reader, name: &'static str) -> Option<Section<'a>> {
        match self.section(reader, name) {
            Read::Absent => {
                let path = self.key(name);
                let title = format!("[{path}]");
                Some(Section {
                    path,
                    title,
                    place: self.place(),
                    table: None,
                    asked: Vec::new(),
                    misplaced: Vec::new(),
                })
            }
            Read::Wrong => None,
            Read::Found(found) => Some(found.value),
        }
    }

    /// A table in this one that must be there.
    pub(super) fn required_section(&mut self, reader: &mut Reader, wanted: &Required) -> Option<Section<'a>> {
        let read = self.section(reader, wanted.name);
        if let Read::Absent = read {
            reader.mistake(Mistake {
                span: Some(self.place()),
                message: format!("[{}] is missing", self.key(wanted.name)),
                label: format!("{} needs [{}]", self.title, self.key(wanted.name)),
                help: format!("allowed: {}\nwrite:\n{}", wanted.purpose, wanted.lines),
            });
        }
        read.found().map(|found| found.value)
    }

    /// The tables of a list such as `[[check]]`, each with its position from 1.
    pub(super) fn sections(&mut self, reader: &mut Reader, name: &'static str) -> Vec<Section<'a>> {
        let path = self.key(name);
        self.asked.push((name, format!("[[{path}]]")));
        let Some(value) = self.get(name) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            reader.mistake(not_a_table(&path, &format!("[[{path}]]"), value));
            return Vec::new();
        };
        let numbered = list.iter().zip(1..);
        numbered
            .filter_map(|(value, number)| inner(reader, &format!("{path}[{number}]"), format!("[[{path}]]"), value))
            .collect()
    }

    /// Every table in this one, by the name that a person chose for it. `None`: it is no table, which was reported, as
    /// is a name that cannot be one.
    pub(super) fn named(&self, reader: &mut Reader, naming: &Naming) -> Vec<(Found<String>, Option<Section<'a>>)> {
        let mut all = Vec::new();
        for (name, value) in self.entries() {
            if let Err(problem) = naming.kind.check(name.get_ref()) {
                reader.mistake(Mistake {
                    span: Some(name.span()),
                    message: format!("the {} name `{}` {problem}", naming.noun, name.get_ref().escape_debug()),
                    label: "not a name".to_owned(),
                    help: format!("allowed: {}\nwrite: [{}]", naming.kind.allowed(), self.key(naming.example)),
                });
            }
            let path = self.key(name.get_ref());
            let found = Found { value: name.get_ref().to_string(), span: name.span() };
            all.push((found, inner(reader, &path, format!("[{path}]"), value)));
        }
        all
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader) {
        let known: Vec<&str> = self.asked.iter().map(|(name, _)| *name).collect();
        for (name, _) in self.entries() {
            let unknown: &str = name.get_ref();
            if known.contains(&unknown) || self.misplaced.contains(&unknown) {
                continue;
            }
            let meant = nearest(unknown, known.iter().copied());
            let line = self.asked.iter().find(|(name, _)| Some(*name) == meant).map(|(_, line)| line.as_str());
            reader.mistake(Mistake {
                span: Some(name.span()),
                message: format!("unknown key `{}`", self.key(unknown)),
                label: match meant {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("not a key of {}", self.title),
                },
                help: format!(
                    "allowed in {}: {}\nwrite: {}",
                    self.title,
                    known.join(", "),
                    line.unwrap_or("nothing; delete this key")
                ),
            });
        }
    }

    fn get(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(name)
    }

    fn entries(&self) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> + use<'a> {
        self.table.into_iter().flat_map(|table| table.iter())
    }
}

fn inner<'a>(reader: &mut Reader, path: &str, title: String, value: &'a Spanned<DeValue<'a>>) -> Option<Section<'a>> {
    match value.get_ref().as_table() {
        Some(table) => Some(Section {
            path: path.to_owned(),
            title,
            place: value.span(),
            table: Some(table),
            asked: Vec::new(),
            misplaced: Vec::new(),
        }),
        None => {
            reader.mistake(not_a_table(path, &title, value));
            None
        }
    }
}

fn not_a_table(path: &str, title: &str, value: &Spanned<DeValue<'_>>) -> Mistake {
    Mistake {
        span: Some(value.span()),
        message: format!("`{path}` is {}", super::kinds::type_of(value.get_ref())),
        label: "a table is needed".to_owned(),
        help: format!("allowed: a table\nwrite: {title} on a line of its own, and its keys below it"),
    }
}
