//! What is in a component, read from its bytes: imports, exports, sizes, and what it says of who made it.
//!
//! Never: compiles, runs, believes. The bytes may come from anybody, so every list has an end, every text is cut and free of
//! what a terminal obeys, and what cannot be read any more is said and not guessed. A producers section is a claim like any
//! other text in there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wasmparser::{ComponentExternName, Parser, Payload, ProducersSectionReader};

use crate::rules::digest::Digest;

use super::shape::{self, ShapeError};

/// Entries of each list. A component has some dozens of imports; one that has thousands was made to be read by nobody.
pub const MAX_LISTED: usize = 256;

/// Characters of a name in a list. The longest of WASI has 38.
pub const MAX_NAME_CHARS: usize = 128;

/// Modules and components, nested ones too, that are looked into: the parser remembers each that encloses another.
pub const MAX_OPENED: u64 = 1_024;

/// What is in a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anatomy {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    pub bytes: u64,
    /// Names of what it imports, as it writes them.
    pub imports: Listed<String>,
    pub exports: Listed<String>,
    /// Core modules, the nested ones too.
    pub modules: u64,
    /// Components in it.
    pub components: u64,
    pub functions: u64,
    /// Bytes of all functions, and of the largest.
    pub code_bytes: u64,
    pub largest_function_bytes: u64,
    pub memories: Listed<Span>,
    pub tables: Listed<Span>,
    pub data_segments: u64,
    pub data_bytes: u64,
    /// Functions that run before it is called for the first time.
    pub starts: u64,
    /// Who made it with what, as it says itself.
    pub producers: Listed<Producer>,
    pub custom_sections: Listed<CustomSection>,
    /// Why it would not be compiled here.
    pub refused: Option<String>,
    /// Why the rest could not be read.
    pub unread: Option<String>,
}

/// A list, and how many entries were left out at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed<T> {
    pub listed: Vec<T>,
    pub left_out: u64,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { listed: Vec::new(), left_out: 0 }
    }
}

impl<T: PartialEq> Listed<T> {
    fn push(&mut self, entry: T) {
        if self.listed.len() < MAX_LISTED {
            self.listed.push(entry);
        } else {
            self.left_out += 1;
        }
    }
}

/// How large something is at its start, and at most: bytes of a memory, elements of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    pub initial: u64,
    /// `None`: it names no end, and the host's caps are the end.
    pub maximum: Option<u64>,
}

/// A line of a producers section.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Producer {
    /// `language`, `sdk` or `processed-by`.
    pub role: String,
    pub name: String,
    pub version: String,
}

/// All custom sections of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CustomSection {
    pub name: String,
    pub sections: u64,
    pub bytes: u64,
}

impl Anatomy {
    /// Reads a component, or a module of WASI preview 1: its imports are those of the component that it is wrapped in, which
    /// only the compiler knows.
    ///
    /// # Errors
    /// [`ShapeError`]: it is neither, or larger than a component may be.
    pub fn of(bytes: &[u8]) -> Result<Self, ShapeError> {
        let refused = match shape::check_tool(bytes) {
            Ok(()) => None,
            Err(why @ ShapeError::TooMany { .. }) if bytes.len() <= shape::MAX_COMPONENT_BYTES => Some(why),
            Err(why @ ShapeError::Malformed(_)) if Parser::is_component(bytes) => Some(why),
            Err(why) => return Err(why),
        };
        let anatomy = Self {
            digest: Digest::from_bytes(*blake3::hash(bytes).as_bytes()),
            bytes: bytes.len() as u64,
            imports: Listed::default(),
            exports: Listed::default(),
            modules: u64::from(shape::is_module(bytes)),
            components: 0,
            functions: 0,
            code_bytes: 0,
            largest_function_bytes: 0,
            memories: Listed::default(),
            tables: Listed::default(),
            data_segments: 0,
            data_bytes: 0,
            starts: 0,
            producers: Listed::default(),
            custom_sections: Listed::default(),
            refused: refused.map(|why| text(&why.to_string())),
            unread: None,
        };
        let mut reading = Reading { anatomy, depth: 0, producers: BTreeSet::new(), custom: BTreeMap::new() };
        for payload in Parser::new(0).parse_all(bytes) {
            if let Err(why) = payload.map_err(Stop::from).and_then(|payload| reading.see(payload)) {
                reading.anatomy.unread = Some(text(&why.0));
                break;
            }
        }
        Ok(reading.done())
    }
}

/// Why reading ends.
struct Stop(String);

impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self(error.to_string())
    }
}

struct Reading {
    anatomy: Anatomy,
    /// How deep the parser is: the component's own imports stand at 1.
    depth: u64,
    producers: BTreeSet<Producer>,
    custom: BTreeMap<String, (u64, u64)>,
}

impl Reading {
    fn see(&mut self, payload: Payload<'_>) -> Result<(), Stop> {
        let anatomy = &mut self.anatomy;
        match payload {
            Payload::Version { .. } => self.depth += 1,
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::ModuleSection { .. } => anatomy.modules += 1,
            Payload::ComponentSection { .. } => anatomy.components += 1,
            Payload::ComponentImportSection(section) if self.depth == 1 => {
                for import in section {
                    anatomy.imports.push(name(&import?.name));
                }
            }
            Payload::ComponentExportSection(section) if self.depth == 1 => {
                for export in section {
                    anatomy.exports.push(name(&export?.name));
                }
            }
            Payload::ExportSection(section) if self.depth == 1 => {
                for export in section {
                    anatomy.exports.push(text(export?.name));
                }
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = body.as_bytes().len() as u64;
                anatomy.functions += 1;
                anatomy.code_bytes += bytes;
                anatomy.largest_function_bytes = anatomy.largest_function_bytes.max(bytes);
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    let page = 1_u64.checked_shl(memory.page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX);
                    let bytes = |pages: u64| pages.saturating_mul(page);
                    let span = Span { initial: bytes(memory.initial), maximum: memory.maximum.map(bytes) };
                    anatomy.memories.push(span);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let table = table?.ty;
                    anatomy.tables.push(Span { initial: table.initial, maximum: table.maximum });
                }
            }
            Payload::DataSection(section) => {
                for data in section {
                    anatomy.data_segments += 1;
                    anatomy.data_bytes += data?.data.len() as u64;
                }
            }
            Payload::StartSection { .. } | Payload::ComponentStartSection { .. } => anatomy.starts += 1,
            Payload::CustomSection(section) => {
                let (name, bytes) = (text(section.name()), section.data().len() as u64);
                if section.name() == "producers" {
                    // One that cannot be read says nothing, as one that is not there.
                    let reader = wasmparser::BinaryReader::new(section.data(), 0);
                    drop(ProducersSectionReader::new(reader).map(|fields| self.produced(fields)));
                }
                if self.custom.len() < MAX_LISTED || self.custom.contains_key(&name) {
                    let (sections, total) = self.custom.entry(name).or_default();
                    (*sections, *total) = (*sections + 1, *total + bytes);
                } else {
                    self.anatomy.custom_sections.left_out += 1;
                }
            }
            // What is counted by the gate before the compiler, and nothing that a person would ask for.
            _ => {}
        }
        let opened = self.anatomy.modules + self.anatomy.components;
        match opened > MAX_OPENED {
            true => Err(Stop(format!("more than {MAX_OPENED} modules and components"))),
            false => Ok(()),
        }
    }

    fn produced(&mut self, fields: ProducersSectionReader<'_>) {
        for field in fields.into_iter().map_while(Result::ok) {
            for value in field.values.into_iter().map_while(Result::ok) {
                let producer =
                    Producer { role: text(field.name), name: text(value.name), version: text(value.version) };
                if self.producers.len() < MAX_LISTED || self.producers.contains(&producer) {
                    self.producers.insert(producer);
                } else {
                    self.anatomy.producers.left_out += 1;
                }
            }
        }
    }

    fn done(self) -> Anatomy {
        let Self { mut anatomy, producers, custom, .. } = self;
        anatomy.producers.listed = producers.into_iter().collect();
        let section = |(name, (sections, bytes))| CustomSection { name, sections, bytes };
        anatomy.custom_sections.listed = custom.into_iter().map(section).collect();
        anatomy
    }
}

fn name(name: &ComponentExternName<'_>) -> String {
    text(name.name)
}

/// A text of the component's: on one line, cut, and with nothing that moves a cursor or shows itself in another order.
fn text(text: &str) -> String {
    let misleading = |char: char| {
        char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut clean: String =
        text.chars().take(MAX_NAME_CHARS).map(|char| if misleading(char) { '\u{fffd}' } else { char }).collect();
    if text.chars().nth(MAX_NAME_CHARS).is_some() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests;
