//! JSON schemas of what a function takes and returns.
//!
//! Never: uses a keyword that [`schema`](crate::doors::schema) does not serve, or makes more of a schema than may be kept.
//! A handle has no JSON of its own: it is an expression, the call that makes it, and those are nested at most as deep as
//! the schema has room for.

use serde_json::{Map, Number, Value, json};

use crate::doors::schema::MAX_DEPTH;

use super::catalogue::{Catalogue, Parameter};
use super::kinds::{Integer, Kind, MAX_SCHEMA_BYTES};

/// Names that one `enum` compares with. More are several.
const MAX_ENUM: usize = 256;

/// Bytes that any schema has at least, for an end before memory is.
const LEAST_BYTES: usize = 11;

/// Why there is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("nothing that it exports makes a `{0}`, which it needs")]
    Never(String),
    #[error("its schema is nested deeper than {MAX_DEPTH}")]
    Deep,
    #[error("its schema has more than {MAX_SCHEMA_BYTES} bytes")]
    Long,
}

/// The schema of the object of all arguments, with expressions nested at most `nesting` deep.
///
/// # Errors
/// [`Unfit`].
pub(super) fn input(catalogue: &Catalogue, parameters: &[Parameter], nesting: usize) -> Result<Value, Unfit> {
    bounded(Sketch { catalogue, left: MAX_SCHEMA_BYTES }.arguments(parameters, 0, nesting)?)
}

/// The schema of an output. A function without one has `null`.
///
/// # Errors
/// [`Unfit`].
pub(super) fn output(catalogue: &Catalogue, kind: Option<&Kind>) -> Result<Value, Unfit> {
    match kind {
        Some(kind) => bounded(Sketch { catalogue, left: MAX_SCHEMA_BYTES }.value(kind, 0, 0)?),
        None => Ok(json!({ "type": "null" })),
    }
}

fn bounded(schema: Value) -> Result<Value, Unfit> {
    if schema.to_string().len() > MAX_SCHEMA_BYTES { Err(Unfit::Long) } else { Ok(schema) }
}

struct Sketch<'a> {
    catalogue: &'a Catalogue,
    left: usize,
}

impl Sketch<'_> {
    fn pay(&mut self, bytes: usize) -> Result<(), Unfit> {
        self.left = self.left.checked_sub(bytes).ok_or(Unfit::Long)?;
        Ok(())
    }

    fn arguments(&mut self, parameters: &[Parameter], depth: usize, nesting: usize) -> Result<Value, Unfit> {
        let fields = parameters.iter().map(|parameter| (parameter.name.as_str(), &parameter.kind));
        self.object(&fields.collect::<Vec<_>>(), depth, nesting)
    }

    /// An object with exactly these fields, of which options may be missing.
    fn object(&mut self, fields: &[(&str, &Kind)], depth: usize, nesting: usize) -> Result<Value, Unfit> {
        self.pay(LEAST_BYTES)?;
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (name, kind) in fields {
            self.pay(name.len())?;
            properties.insert((*name).to_owned(), self.value(kind, depth + 1, nesting)?);
            if !matches!(kind, Kind::Option(_)) {
                required.push(*name);
            }
        }
        Ok(json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        }))
    }

    /// An object with one key.
    fn single(&mut self, key: &str, kind: &Kind, depth: usize, nesting: usize) -> Result<Value, Unfit> {
        self.pay(key.len())?;
        let value = self.value(kind, depth + 1, nesting)?;
        Ok(keyed(key, value))
    }

    /// A schema at a depth of the whole.
    fn value(&mut self, kind: &Kind, depth: usize, nesting: usize) -> Result<Value, Unfit> {
        if depth > MAX_DEPTH {
            return Err(Unfit::Deep);
        }
        self.pay(LEAST_BYTES)?;
        Ok(match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Integer(integer) => whole(*integer),
            Kind::Float32 => number(json!({ "type": "number", "minimum": f32::MIN, "maximum": f32::MAX }), depth)?,
            Kind::Float64 => number(json!({ "type": "number" }), depth)?,
            Kind::Char => {
                json!({ "type": "string", "minLength": 1, "maxLength": 1, "description": "one character" })
            }
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "description": "bytes in base64" }),
            Kind::List(item) => match self.value(item, depth + 1, nesting) {
                Ok(item) => json!({ "type": "array", "items": item }),
                Err(Unfit::Never(_)) => json!({ "type": "array", "maxItems": 0 }),
                Err(unfit) => return Err(unfit),
            },
            Kind::FixedList(item, count) => {
                let item = self.value(item, depth + 1, nesting)?;
                json!({ "type": "array", "items": item, "minItems": count, "maxItems": count })
            }
            Kind::Map(key, value) => match key.as_ref() {
                Kind::String => {
                    json!({ "type": "object", "additionalProperties": self.value(value, depth + 1, nesting)? })
                }
                key => {
                    let pair = self.tuple(&[key, value], depth + 1, nesting)?;
                    json!({ "type": "array", "items": pair })
                }
            },
            Kind::Record(fields) => {
                let fields: Vec<(&str, &Kind)> = fields.iter().map(|(name, kind)| (name.as_str(), kind)).collect();
                self.object(&fields, depth, nesting)?
            }
            Kind::Tuple(items) => self.tuple(&items.iter().collect::<Vec<_>>(), depth, nesting)?,
            Kind::Variant(_) | Kind::Result { .. } => self.variant(&kind.cases(), depth, nesting)?,
            Kind::Enum(names) => {
                names.iter().try_for_each(|name| self.pay(name.len()))?;
                any(words(&names.iter().map(String::as_str).collect::<Vec<_>>()), depth)?
            }
            Kind::Option(inner) => self.option(inner, depth, nesting)?,
            Kind::Flags(names) => {
                names.iter().try_for_each(|name| self.pay(name.len()))?;
                let names = any(words(&names.iter().map(String::as_str).collect::<Vec<_>>()), depth + 1)?;
                json!({ "type": "array", "items": names, "description": "each name at most once" })
            }
            Kind::Handle { resource, .. } => self.handle(*resource, depth, nesting)?,
        })
    }

    fn tuple(&mut self, items: &[&Kind], depth: usize, nesting: usize) -> Result<Value, Unfit> {
        let count = items.len();
        let items = items.iter().map(|item| self.value(item, depth + 1, nesting)).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "type": "array", "prefixItems": items, "minItems": count, "maxItems": count }))
    }

    fn variant(&mut self, cases: &[(&str, Option<&Kind>)], depth: usize, nesting: usize) -> Result<Value, Unfit> {
        let plain: Vec<&str> = cases.iter().filter(|(_, kind)| kind.is_none()).map(|(name, _)| *name).collect();
        plain.iter().try_for_each(|name| self.pay(name.len()))?;
        let mut ways = words(&plain);
        let mut missing = None;
        for (name, kind) in cases.iter().filter_map(|(name, kind)| Some((name, (*kind)?))) {
            match self.single(name, kind, depth + 1, nesting) {
                Ok(way) => ways.push(way),
                Err(Unfit::Never(resource)) => missing = Some(Unfit::Never(resource)),
                Err(unfit) => return Err(unfit),
            }
        }
        match missing {
            Some(missing) if ways.is_empty() => Err(missing),
            _ => any(ways, depth),
        }
    }

    fn option(&mut self, inner: &Kind, depth: usize, nesting: usize) -> Result<Value, Unfit> {
        let null = json!({ "type": "null" });
        let value = match inner {
            Kind::Option(_) => self.single("some", inner, depth + 1, nesting),
            _ => self.value(inner, depth + 1, nesting),
        };
        match value {
            Ok(value) => any(vec![value, null], depth),
            Err(Unfit::Never(_)) => Ok(null),
            Err(unfit) => Err(unfit),
        }
    }

    fn handle(&mut self, resource: usize, depth: usize, nesting: usize) -> Result<Value, Unfit> {
        let never = || Unfit::Never(self.catalogue.resources.name(resource).to_owned());
        let Some(inner) = nesting.checked_sub(1) else { return Err(never()) };
        let never = never();
        let mut ways = Vec::new();
        for maker in self.catalogue.makers(resource) {
            self.pay(maker.name.len())?;
            match self.arguments(&maker.parameters, depth + 2, inner) {
                Ok(arguments) => ways.push(keyed(&maker.name, arguments)),
                Err(Unfit::Never(_)) => (),
                Err(unfit) => return Err(unfit),
            }
        }
        if ways.is_empty() { Err(never) } else { any(ways, depth) }
    }
}

fn keyed(key: &str, value: Value) -> Value {
    json!({ "type": "object", "properties": { key: value }, "required": [key], "additionalProperties": false })
}

/// One of these. A way alone stands for itself.
fn any(mut ways: Vec<Value>, depth: usize) -> Result<Value, Unfit> {
    match ways.len() {
        1 => Ok(ways.remove(0)),
        _ if depth + 1 > MAX_DEPTH => Err(Unfit::Deep),
        _ => Ok(json!({ "anyOf": ways })),
    }
}

/// Strings to choose from.
fn words(names: &[&str]) -> Vec<Value> {
    names.chunks(MAX_ENUM).map(|names| json!({ "enum": names })).collect()
}

fn whole(integer: Integer) -> Value {
    let (least, most) = integer.range();
    json!({ "type": "integer", "minimum": Number::from(least), "maximum": Number::from(most) })
}

/// A number, or a float's value that JSON has no number for.
fn number(finite: Value, depth: usize) -> Result<Value, Unfit> {
    any(vec![finite, json!({ "enum": ["NaN", "Infinity", "-Infinity"] })], depth)
}
