//! What a function returned, as JSON.
//!
//! Never: panics, or makes more of a result than its caller takes: bytes are counted as it is read.

use base64ct::{Base64, Encoding};
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

use super::kinds::Kind;

/// Why a result is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsaid {
    #[error("it has too many bytes")]
    Long,
    /// Ours: wasmtime gives what the type says.
    #[error("it is not of its type")]
    Foreign,
}

/// A value as JSON of at most so many bytes. None is the result of a function that returns nothing.
///
/// # Errors
/// [`Unsaid`].
pub(super) fn json(kind: Option<&Kind>, value: Option<&Val>, most: usize) -> Result<String, Unsaid> {
    let told = match (kind, value) {
        (Some(kind), Some(value)) => Telling { left: most }.value(kind, value)?,
        (None, None) => Value::Null,
        _ => return Err(Unsaid::Foreign),
    };
    let text = told.to_string();
    if text.len() > most { Err(Unsaid::Long) } else { Ok(text) }
}

struct Telling {
    /// Bytes that the text may still have. What is paid is never more than what it will have.
    left: usize,
}

impl Telling {
    fn pay(&mut self, bytes: usize) -> Result<(), Unsaid> {
        self.left = self.left.checked_sub(bytes).ok_or(Unsaid::Long)?;
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<Value, Unsaid> {
        self.pay(text.len())?;
        Ok(Value::from(text))
    }

    fn value(&mut self, kind: &Kind, value: &Val) -> Result<Value, Unsaid> {
        self.pay(1)?;
        Ok(match (kind, value) {
            (Kind::Bool, Val::Bool(is)) => Value::Bool(*is),
            (Kind::Integer(_), Val::S8(number)) => Value::from(*number),
            (Kind::Integer(_), Val::U8(number)) => Value::from(*number),
            (Kind::Integer(_), Val::S16(number)) => Value::from(*number),
            (Kind::Integer(_), Val::U16(number)) => Value::from(*number),
            (Kind::Integer(_), Val::S32(number)) => Value::from(*number),
            (Kind::Integer(_), Val::U32(number)) => Value::from(*number),
            (Kind::Integer(_), Val::S64(number)) => Value::from(*number),
            (Kind::Integer(_), Val::U64(number)) => Value::from(*number),
            (Kind::Float32, Val::Float32(number)) => float((*number).into()),
            (Kind::Float64, Val::Float64(number)) => float(*number),
            (Kind::Char, Val::Char(char)) => Value::from(char.to_string()),
            (Kind::String, Val::String(text)) => self.text(text)?,
            (Kind::Bytes, Val::List(items)) => {
                self.pay(items.len())?;
                let bytes = items.iter().map(|item| match item {
                    Val::U8(byte) => Ok(*byte),
                    _ => Err(Unsaid::Foreign),
                });
                Value::from(Base64::encode_string(&bytes.collect::<Result<Vec<u8>, _>>()?))
            }
            (Kind::List(kind), Val::List(items)) | (Kind::FixedList(kind, _), Val::FixedLengthList(items)) => {
                let items = items.iter().map(|item| self.value(kind, item));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            (Kind::Map(key, kind), Val::Map(entries)) => self.map(key, kind, entries)?,
            (Kind::Record(kinds), Val::Record(fields)) if kinds.len() == fields.len() => {
                let mut told = Map::new();
                for ((name, kind), (_, value)) in kinds.iter().zip(fields) {
                    self.pay(name.len())?;
                    told.insert(name.clone(), self.value(kind, value)?);
                }
                Value::Object(told)
            }
            (Kind::Tuple(kinds), Val::Tuple(items)) if kinds.len() == items.len() => {
                let items = kinds.iter().zip(items).map(|(kind, item)| self.value(kind, item));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            (Kind::Variant(_), Val::Variant(name, payload)) => self.case(kind, name, payload.as_deref())?,
            (Kind::Result { .. }, Val::Result(Ok(payload))) => self.case(kind, "ok", payload.as_deref())?,
            (Kind::Result { .. }, Val::Result(Err(payload))) => self.case(kind, "err", payload.as_deref())?,
            (Kind::Enum(_), Val::Enum(name)) => self.text(name)?,
            (Kind::Option(_), Val::Option(None)) => Value::Null,
            (Kind::Option(kind), Val::Option(Some(value))) => match kind.as_ref() {
                Kind::Option(_) => single("some", self.value(kind, value)?),
                kind => self.value(kind, value)?,
            },
            (Kind::Flags(_), Val::Flags(names)) => {
                Value::Array(names.iter().map(|name| self.text(name)).collect::<Result<_, _>>()?)
            }
            _ => return Err(Unsaid::Foreign),
        })
    }

    /// Of a key that is there twice, the last counts.
    fn map(&mut self, key: &Kind, kind: &Kind, entries: &[(Val, Val)]) -> Result<Value, Unsaid> {
        let mut object = Map::new();
        let mut pairs: Vec<Value> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for (name, value) in entries {
            let told = self.value(kind, value)?;
            if let (Kind::String, Val::String(name)) = (key, name) {
                object.insert(name.clone(), told);
                continue;
            }
            let pair = Value::Array(vec![self.value(key, name)?, told]);
            match places.entry(pair[0].to_string()) {
                std::collections::hash_map::Entry::Occupied(place) => pairs[*place.get()] = pair,
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(pairs.len());
                    pairs.push(pair);
                }
            }
        }
        Ok(if *key == Kind::String { Value::Object(object) } else { Value::Array(pairs) })
    }

    fn case(&mut self, kind: &Kind, name: &str, payload: Option<&Val>) -> Result<Value, Unsaid> {
        let cases = kind.cases();
        let (_, inner) = cases.iter().find(|(case, _)| *case == name).ok_or(Unsaid::Foreign)?;
        match (inner, payload) {
            (Some(inner), Some(payload)) => {
                self.pay(name.len())?;
                Ok(single(name, self.value(inner, payload)?))
            }
            (None, None) => self.text(name),
            _ => Err(Unsaid::Foreign),
        }
    }
}

fn single(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}

/// A number, or the name of what JSON has no number for.
fn float(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("NaN"),
        None if number > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}
