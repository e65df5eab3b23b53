//! A function in the words of WIT: what a component's type lets anybody say of it, since it has no documentation.
//!
//! Never: longer than a description may be. Types that the component gave a name are called by it.

use std::fmt::Write;

use super::catalogue::{Catalogue, Function};
use super::kinds::{Kind, Ownership};

/// Characters of a tool's description: OpenAI takes 1024.
pub const MAX_DESCRIPTION_CHARS: usize = 1_000;

/// `codec.encode(self, data: list<u8>) -> result<list<u8>, error>, of numcodecs:abc/codec@0.1.1`, cut if it is long.
pub(super) fn signature(catalogue: &Catalogue, function: &Function) -> String {
    let mut words = Words { catalogue, text: String::new() };
    words.function(function);
    if words.text.chars().count() <= MAX_DESCRIPTION_CHARS {
        return words.text;
    }
    let kept: String = words.text.chars().take(MAX_DESCRIPTION_CHARS - 1).collect();
    kept + "…"
}

struct Words<'a> {
    catalogue: &'a Catalogue,
    text: String,
}

impl Words<'_> {
    fn say(&mut self, text: &str) {
        // Each character has at most four bytes: what is longer is cut anyway.
        if self.text.len() <= MAX_DESCRIPTION_CHARS * 4 {
            self.text.push_str(text);
        }
    }

    fn function(&mut self, function: &Function) {
        let own = function.own();
        let is_method = function.path.last().is_some_and(|name| name.starts_with("[method]"));
        self.say(&own.dotted());
        self.say("(");
        for (at, parameter) in function.parameters.iter().enumerate() {
            if at > 0 {
                self.say(", ");
            }
            self.say(&parameter.name);
            if at > 0 || !is_method {
                self.say(": ");
                self.kind(&parameter.kind);
            }
        }
        self.say(")");
        if let Some(result) = &function.result {
            self.say(" -> ");
            self.kind(result);
        }
        if let Some(interface) = function.interface() {
            self.say(", of ");
            self.say(interface);
        }
    }

    fn kind(&mut self, kind: &Kind) {
        if self.text.len() > MAX_DESCRIPTION_CHARS * 4 {
            return;
        }
        if let Some(name) = self.catalogue.named(kind) {
            let name = name.to_owned();
            return self.say(&name);
        }
        match kind {
            Kind::Bool => self.say("bool"),
            Kind::Integer(integer) => self.say(integer.name()),
            Kind::Float32 => self.say("f32"),
            Kind::Float64 => self.say("f64"),
            Kind::Char => self.say("char"),
            Kind::String => self.say("string"),
            Kind::Bytes => self.say("list<u8>"),
            Kind::List(item) => self.of("list", &[Some(item)]),
            Kind::FixedList(item, count) => {
                self.say("list<");
                self.kind(item);
                let mut end = String::new();
                write!(end, ", {count}>").expect("a string takes all");
                self.say(&end);
            }
            Kind::Map(key, value) => self.of("map", &[Some(key), Some(value)]),
            Kind::Record(fields) => {
                self.cases("record", fields.iter().map(|(name, kind)| (name.as_str(), Some(kind))));
            }
            Kind::Tuple(items) => self.of("tuple", &items.iter().map(Some).collect::<Vec<_>>()),
            Kind::Variant(_) => self.cases("variant", kind.cases().into_iter()),
            Kind::Enum(names) => self.cases("enum", names.iter().map(|name| (name.as_str(), None))),
            Kind::Option(inner) => self.of("option", &[Some(inner)]),
            Kind::Result { ok: None, err: None } => self.say("result"),
            Kind::Result { ok, err: None } => self.of("result", &[ok.as_deref()]),
            Kind::Result { ok, err } => self.of("result", &[ok.as_deref(), err.as_deref()]),
            Kind::Flags(names) => self.cases("flags", names.iter().map(|name| (name.as_str(), None))),
            Kind::Handle { resource, ownership } => {
                let name = self.catalogue.resources.name(*resource).to_owned();
                match ownership {
                    Ownership::Own => self.say(&name),
                    Ownership::Borrow => self.say(&format!("borrow<{name}>")),
                }
            }
        }
    }

    fn of(&mut self, name: &str, kinds: &[Option<&Kind>]) {
        self.say(name);
        for (at, kind) in kinds.iter().enumerate() {
            self.say(if at == 0 { "<" } else { ", " });
            match kind {
                Some(kind) => self.kind(kind),
                None => self.say("_"),
            }
        }
        self.say(">");
    }

    fn cases<'k>(&mut self, name: &str, cases: impl Iterator<Item = (&'k str, Option<&'k Kind>)>) {
        self.say(name);
        for (at, (name, kind)) in cases.enumerate() {
            self.say(if at == 0 { " {" } else { ", " });
            self.say(name);
            if let Some(kind) = kind {
                self.say(": ");
                self.kind(kind);
            }
        }
        self.say("}");
    }
}
