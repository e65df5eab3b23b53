//! JSON as the arguments of a function, strictly: what is missing, unknown or out of range is an error with its place.
//!
//! Never: guesses, or takes half. Everything is looked at before anything runs, the expressions that make resources too;
//! once they have run, the same walk puts their handles where they belong.

use std::fmt;

use base64ct::{Base64, Encoding};
use serde_json::{Map, Value};
use wasmtime::component::Val;

use super::catalogue::{Catalogue, Function, Parameter};
use super::kinds::{Integer, Kind, Ownership};

/// Characters of a caller's value that a complaint quotes, and of a key in a place.
const MAX_QUOTED_CHARS: usize = 60;

/// Names that a complaint lists.
pub(super) const MAX_LISTED: usize = 16;

/// What is wrong with an input, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {problem}")]
pub struct PathError {
    /// `input.points[3].x`.
    pub at: String,
    pub problem: String,
}

/// A call that makes a resource, before it is made.
#[derive(Debug)]
pub(super) struct Expression<'a> {
    pub(super) maker: &'a Function,
    pub(super) arguments: &'a Map<String, Value>,
    pub(super) at: String,
    pub(super) ownership: Ownership,
    /// The calls that make what this one needs, in the order of its arguments.
    pub(super) inner: Vec<Expression<'a>>,
    nesting: usize,
}

/// Arguments as values, and the calls that must be made for them first. Where there are calls, handles are missing.
///
/// # Errors
/// [`PathError`]: the first thing that is wrong.
pub(super) fn read<'a>(
    catalogue: &'a Catalogue,
    function: &'a Function,
    input: &'a Value,
    nesting: usize,
) -> Result<(Vec<Val>, Vec<Expression<'a>>), PathError> {
    let place = Place { before: None, step: Step::Input };
    let mut reading = Reading { catalogue, handles: Handles::Wanted(Vec::new()) };
    let Value::Object(arguments) = input else { return Err(place.expected("an object", input)) };
    let values = reading.arguments(&function.parameters, arguments, &place, nesting)?;
    match reading.handles {
        Handles::Wanted(expressions) => Ok((values, expressions)),
        Handles::Made(_) => Ok((values, Vec::new())),
    }
}

/// The arguments of a function with the handles that were made for them, in order.
///
/// # Errors
/// None, if the input was read before and there are as many handles as it wanted.
pub(super) fn fill(
    catalogue: &Catalogue,
    function: &Function,
    arguments: &Map<String, Value>,
    nesting: usize,
    made: Vec<Val>,
) -> Result<Vec<Val>, PathError> {
    let place = Place { before: None, step: Step::Input };
    Reading { catalogue, handles: Handles::Made(made.into_iter()) }.arguments(
        &function.parameters,
        arguments,
        &place,
        nesting,
    )
}

impl Expression<'_> {
    /// The arguments of this call, once what they need is made.
    ///
    /// # Errors
    /// As [`fill`].
    pub(super) fn fill(&self, catalogue: &Catalogue, made: Vec<Val>) -> Result<Vec<Val>, PathError> {
        fill(catalogue, self.maker, self.arguments, self.nesting, made)
    }
}

/// The way to a part of the input, as a list on the stack.
#[derive(Clone, Copy)]
struct Place<'a> {
    before: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Input,
    Name(&'a str),
    Item(usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.before {
            before.fmt(f)?;
        }
        match self.step {
            Step::Input => f.write_str("input"),
            Step::Name(name) if name.chars().all(|char| char.is_ascii_alphanumeric() || char == '-') => {
                write!(f, ".{}", cut(name))
            }
            Step::Name(name) => write!(f, "[{}]", quoted(name)),
            Step::Item(at) => write!(f, "[{at}]"),
        }
    }
}

impl<'a> Place<'a> {
    fn name(&'a self, name: &'a str) -> Place<'a> {
        Place { before: Some(self), step: Step::Name(name) }
    }

    fn item(&'a self, at: usize) -> Place<'a> {
        Place { before: Some(self), step: Step::Item(at) }
    }

    fn wrong(&self, problem: impl Into<String>) -> PathError {
        PathError { at: self.to_string(), problem: problem.into() }
    }

    fn expected(&self, what: &str, got: &Value) -> PathError {
        self.wrong(format!("expected {what}, got {}", shown(got)))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_QUOTED_CHARS).collect()
}

fn quoted(text: &str) -> String {
    let quoted = Value::from(cut(text)).to_string();
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() { quoted + "…" } else { quoted }
}

/// What was given, in a few words.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.take(MAX_LISTED + 1).collect();
    let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|name| format!("`{}`", cut(name))).collect();
    let more = if names.len() > MAX_LISTED { ", .." } else { "" };
    shown.join(", ") + more
}

/// Expressions that are found, or the handles that they made.
enum Handles<'a> {
    Wanted(Vec<Expression<'a>>),
    Made(std::vec::IntoIter<Val>),
}

struct Reading<'a> {
    catalogue: &'a Catalogue,
    handles: Handles<'a>,
}

impl<'a> Reading<'a> {
    fn arguments(
        &mut self,
        parameters: &'a [Parameter],
        given: &'a Map<String, Value>,
        place: &Place<'_>,
        nesting: usize,
    ) -> Result<Vec<Val>, PathError> {
        let fields: Vec<(&'a str, &'a Kind)> =
            parameters.iter().map(|parameter| (parameter.name.as_str(), &parameter.kind)).collect();
        self.fields(&fields, given, place, nesting)
    }

    fn fields(
        &mut self,
        fields: &[(&'a str, &'a Kind)],
        given: &'a Map<String, Value>,
        place: &Place<'_>,
        nesting: usize,
    ) -> Result<Vec<Val>, PathError> {
        if let Some(unknown) = given.keys().find(|key| !fields.iter().any(|(name, _)| name == key)) {
            let known = match fields.is_empty() {
                true => "it has none".to_owned(),
                false => format!("it has {}", listed(fields.iter().map(|(name, _)| *name))),
            };
            return Err(place.name(unknown).wrong(format!("no such field; {known}")));
        }
        let read = fields.iter().map(|(name, kind)| match (given.get(*name), kind) {
            (Some(value), kind) => self.value(kind, value, &place.name(name), nesting),
            (None, Kind::Option(_)) => Ok(Val::Option(None)),
            (None, _) => Err(place.name(name).wrong("is missing")),
        });
        read.collect()
    }

    fn value(&mut self, kind: &'a Kind, value: &'a Value, place: &Place<'_>, nesting: usize) -> Result<Val, PathError> {
        match kind {
            Kind::Bool => value.as_bool().map(Val::Bool).ok_or_else(|| place.expected("true or false", value)),
            Kind::Integer(integer) => whole(*integer, value).ok_or_else(|| {
                let (least, most) = integer.range();
                place.expected(&format!("a whole number from {least} to {most}"), value)
            }),
            Kind::Float32 => float(value)
                .filter(|float| !float.is_finite() || float.abs() <= f64::from(f32::MAX))
                .map(|float| Val::Float32(float as f32))
                .ok_or_else(|| {
                    let most = f32::MAX;
                    let what = format!(r#"a number from -{most:e} to {most:e}, "NaN", "Infinity" or "-Infinity""#);
                    place.expected(&what, value)
                }),
            Kind::Float64 => float(value)
                .map(Val::Float64)
                .ok_or_else(|| place.expected(r#"a number, "NaN", "Infinity" or "-Infinity""#, value)),
            Kind::Char => {
                let mut chars = value.as_str().unwrap_or_default().chars();
                match (chars.next(), chars.next()) {
                    (Some(char), None) => Ok(Val::Char(char)),
                    _ => Err(place.expected("a string of one character", value)),
                }
            }
            Kind::String => text(value, place).map(|text| Val::String(text.to_owned())),
            Kind::Bytes => value
                .as_str()
                .and_then(|text| Base64::decode_vec(text).ok())
                .map(|bytes| Val::List(bytes.into_iter().map(Val::U8).collect()))
                .ok_or_else(|| place.expected("bytes in base64, with padding", value)),
            Kind::List(item) => self.items(array(value, place)?, item, place, nesting).map(Val::List),
            Kind::FixedList(item, count) => {
                let items = array(value, place)?;
                if items.len() as u64 != u64::from(*count) {
                    return Err(place.expected(&format!("an array of {count}"), value));
                }
                self.items(items, item, place, nesting).map(Val::FixedLengthList)
            }
            Kind::Map(key, kind) => self.map(key, kind, value, place, nesting),
            Kind::Record(fields) => {
                let fields: Vec<(&'a str, &'a Kind)> =
                    fields.iter().map(|(name, kind)| (name.as_str(), kind)).collect();
                let values = self.fields(&fields, object(value, place)?, place, nesting)?;
                Ok(Val::Record(fields.iter().map(|(name, _)| (*name).to_owned()).zip(values).collect()))
            }
            Kind::Tuple(kinds) => {
                let items = array(value, place)?;
                if items.len() != kinds.len() {
                    return Err(place.expected(&format!("an array of {}", kinds.len()), value));
                }
                let pairs = kinds.iter().zip(items).enumerate();
                let read = pairs.map(|(at, (kind, item))| self.value(kind, item, &place.item(at), nesting));
                read.collect::<Result<_, _>>().map(Val::Tuple)
            }
            Kind::Variant(_) => {
                let (name, payload) = self.case(kind, value, place, nesting)?;
                Ok(Val::Variant(name.to_owned(), payload))
            }
            Kind::Result { .. } => {
                let (name, payload) = self.case(kind, value, place, nesting)?;
                Ok(Val::Result(if name == "ok" { Ok(payload) } else { Err(payload) }))
            }
            Kind::Enum(names) => named(names, value, place).map(|name| Val::Enum(name.to_owned())),
            Kind::Option(_) if value.is_null() => Ok(Val::Option(None)),
            Kind::Option(inner) => {
                let value = match inner.as_ref() {
                    Kind::Option(_) => {
                        let only = value.as_object().filter(|fields| fields.len() == 1);
                        let only = only.and_then(|fields| fields.get("some"));
                        let only = only.ok_or_else(|| place.expected(r#"null or {"some": ..}"#, value))?;
                        self.value(inner, only, &place.name("some"), nesting)
                    }
                    _ => self.value(inner, value, place, nesting),
                };
                Ok(Val::Option(Some(Box::new(value?))))
            }
            Kind::Flags(names) => flags(names, value, place),
            Kind::Handle { resource, ownership } => self.handle(*resource, *ownership, value, place, nesting),
        }
    }

    fn items(
        &mut self,
        items: &'a [Value],
        kind: &'a Kind,
        place: &Place<'_>,
        nesting: usize,
    ) -> Result<Vec<Val>, PathError> {
        items.iter().enumerate().map(|(at, item)| self.value(kind, item, &place.item(at), nesting)).collect()
    }

    fn map(
        &mut self,
        key: &'a Kind,
        kind: &'a Kind,
        value: &'a Value,
        place: &Place<'_>,
        nesting: usize,
    ) -> Result<Val, PathError> {
        if *key == Kind::String {
            let entries = object(value, place)?.iter().map(|(name, item)| {
                Ok((Val::String(name.clone()), self.value(kind, item, &place.name(name), nesting)?))
            });
            return entries.collect::<Result<_, _>>().map(Val::Map);
        }
        let mut entries: Vec<(Val, Val)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (at, entry) in array(value, place)?.iter().enumerate() {
            let place = place.item(at);
            let Some([name, item]) = entry.as_array().map(Vec::as_slice) else {
                return Err(place.expected("a pair of a key and a value", entry));
            };
            let read = self.value(key, name, &place.item(0), nesting)?;
            if !seen.insert(format!("{read:?}")) {
                return Err(place.item(0).wrong(format!("the key {} is there twice", shown(name))));
            }
            entries.push((read, self.value(kind, item, &place.item(1), nesting)?));
        }
        Ok(Val::Map(entries))
    }

    /// The name of a case and its payload.
    fn case(
        &mut self,
        variant: &'a Kind,
        value: &'a Value,
        place: &Place<'_>,
        nesting: usize,
    ) -> Result<(&'a str, Option<Box<Val>>), PathError> {
        let cases = variant.cases();
        let found = match value {
            Value::String(name) => {
                cases.iter().find(|(case, kind)| case == name && kind.is_none()).map(|(case, _)| Ok((*case, None)))
            }
            Value::Object(fields) if fields.len() == 1 => fields.iter().next().and_then(|(name, payload)| {
                let (case, kind) = cases.iter().find(|(case, _)| case == name)?;
                let read = self.value((*kind)?, payload, &place.name(name), nesting);
                Some(read.map(|read| (*case, Some(Box::new(read)))))
            }),
            _ => None,
        };
        found.unwrap_or_else(|| {
            let ways = cases.iter().map(|(name, kind)| match kind {
                Some(_) => format!(r#"{{"{}": ..}}"#, cut(name)),
                None => format!(r#""{}""#, cut(name)),
            });
            let mut ways: Vec<String> = ways.take(MAX_LISTED).collect();
            if cases.len() > MAX_LISTED {
                ways.push("..".to_owned());
            }
            Err(place.expected(&ways.join(" or "), value))
        })
    }

    fn handle(
        &mut self,
        resource: usize,
        ownership: Ownership,
        value: &'a Value,
        place: &Place<'_>,
        nesting: usize,
    ) -> Result<Val, PathError> {
        let catalogue = self.catalogue;
        let name = catalogue.resources.name(resource);
        let Some(inner) = nesting.checked_sub(1) else {
            return Err(place.wrong(format!("calls that make a `{}` are nested too deep", cut(name))));
        };
        let only = value.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
        let call = only
            .and_then(|(key, given)| Some((key, catalogue.makers(resource).find(|maker| maker.name == *key)?, given)));
        let Some((key, maker, given)) = call else {
            let makers = listed(catalogue.makers(resource).map(|maker| maker.name.as_str()));
            let what = format!("the call that makes a `{}`, as {{\"FUNCTION\": {{..}}}} of {makers}", cut(name));
            return Err(place.expected(&what, value));
        };
        let place = place.name(key);
        let arguments = object(given, &place)?;
        match &mut self.handles {
            Handles::Made(made) => made.next().ok_or_else(|| place.wrong("was not made")),
            Handles::Wanted(_) => {
                let mut reading = Reading { catalogue, handles: Handles::Wanted(Vec::new()) };
                reading.arguments(&maker.parameters, arguments, &place, inner)?;
                if let (Handles::Wanted(all), Handles::Wanted(within)) = (&mut self.handles, reading.handles) {
                    let at = place.to_string();
                    all.push(Expression { maker, arguments, at, ownership, inner: within, nesting: inner });
                }
                // Nothing is called with it: the walk is done again when the handle is there.
                Ok(Val::Bool(false))
            }
        }
    }
}

fn text<'a>(value: &'a Value, place: &Place<'_>) -> Result<&'a str, PathError> {
    value.as_str().ok_or_else(|| place.expected("a string", value))
}

fn array<'a>(value: &'a Value, place: &Place<'_>) -> Result<&'a [Value], PathError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| place.expected("an array", value))
}

fn object<'a>(value: &'a Value, place: &Place<'_>) -> Result<&'a Map<String, Value>, PathError> {
    value.as_object().ok_or_else(|| place.expected("an object", value))
}

fn named<'a>(names: &'a [String], value: &Value, place: &Place<'_>) -> Result<&'a str, PathError> {
    let found = value.as_str().and_then(|text| names.iter().find(|name| *name == text));
    let ways = || format!("one of {}", listed(names.iter().map(String::as_str)));
    found.map(String::as_str).ok_or_else(|| place.expected(&ways(), value))
}

/// In the order of the type, as wasmtime gives them.
fn flags(names: &[String], value: &Value, place: &Place<'_>) -> Result<Val, PathError> {
    let mut set = vec![false; names.len()];
    for (at, item) in array(value, place)?.iter().enumerate() {
        let name = named(names, item, &place.item(at))?;
        let flag = names.iter().position(|known| known == name).map(|flag| &mut set[flag]);
        if flag.is_some_and(|flag| std::mem::replace(flag, true)) {
            return Err(place.item(at).wrong(format!("`{}` is there twice", cut(name))));
        }
    }
    Ok(Val::Flags(names.iter().zip(set).filter(|(_, is_set)| *is_set).map(|(name, _)| name.clone()).collect()))
}

fn float(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

/// A number without a fraction, however it is written, if the type has it.
fn whole(integer: Integer, value: &Value) -> Option<Val> {
    let written = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    // Past 2^64 no type has it, and up to there the conversion is exact.
    let number = written.or_else(|| {
        let float = value.as_f64()?;
        (float.fract() == 0.0 && float.abs() < 2f64.powi(64)).then_some(float as i128)
    })?;
    match integer {
        Integer::S8 => number.try_into().ok().map(Val::S8),
        Integer::U8 => number.try_into().ok().map(Val::U8),
        Integer::S16 => number.try_into().ok().map(Val::S16),
        Integer::U16 => number.try_into().ok().map(Val::U16),
        Integer::S32 => number.try_into().ok().map(Val::S32),
        Integer::U32 => number.try_into().ok().map(Val::U32),
        Integer::S64 => number.try_into().ok().map(Val::S64),
        Integer::U64 => number.try_into().ok().map(Val::U64),
    }
}
