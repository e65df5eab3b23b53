//! Values of a script as JSON, within bounds: what JSON has no word for becomes text.
//!
//! Never: uses the script's own `JSON`, which it may have replaced, or a recursion without a bound.

use boa_engine::builtins::error::Error as ErrorObject;
use boa_engine::object::builtins::JsTypedArray;
use boa_engine::property::PropertyKey;
use boa_engine::{Context, JsError, JsObject, JsResult, JsValue, JsVariant, js_string};
use jidoka::json::Value;

/// Values within values.
pub const MAX_DEPTH: usize = 32;
/// Bytes of a result as JSON, about: a reader has a context window.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// Bytes of a value in a line of the console.
pub const MAX_LINE_BYTES: usize = 4 << 10;

/// How much more may be told.
pub struct Room {
    bytes: usize,
    all: usize,
    depth: usize,
}

/// Why a value is not told.
pub enum Unfit {
    TooLarge(usize),
    TooDeep,
    /// One of its own functions threw.
    Threw(JsError),
}

impl Room {
    pub fn for_a_value() -> Self {
        Room::of(MAX_VALUE_BYTES)
    }

    pub fn for_an_error() -> Self {
        Room::of(crate::engine::MAX_ERROR_BYTES)
    }

    pub fn for_a_line() -> Self {
        Room::of(MAX_LINE_BYTES)
    }

    fn of(all: usize) -> Self {
        Room { bytes: all, all, depth: MAX_DEPTH }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Unfit> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Unfit::TooLarge(self.all))?;
        Ok(())
    }
}

impl Unfit {
    pub fn words(&self, what: &str) -> String {
        match self {
            Unfit::TooLarge(bytes) => format!("{what} is larger than {bytes} bytes as JSON: take less of it"),
            Unfit::TooDeep => format!("{what} is nested deeper than {MAX_DEPTH}, or holds itself"),
            Unfit::Threw(error) => format!("{what} cannot be read: {error}"),
        }
    }
}

impl From<JsError> for Unfit {
    fn from(error: JsError) -> Self {
        Unfit::Threw(error)
    }
}

/// A value as JSON. `undefined` is null; a big integer, a symbol, a function and an error are text.
pub fn json(value: &JsValue, context: &mut Context, room: &mut Room) -> Result<Value, Unfit> {
    Ok(match value.variant() {
        JsVariant::Undefined | JsVariant::Null => {
            room.take(4)?;
            Value::Null
        }
        JsVariant::Boolean(truth) => {
            room.take(5)?;
            truth.into()
        }
        JsVariant::Integer32(number) => {
            room.take(8)?;
            number.into()
        }
        JsVariant::Float64(number) => {
            room.take(8)?;
            self::number(number)
        }
        JsVariant::String(string) => {
            // Bytes are at least its units; so a huge one is not copied.
            room.take(string.len() + 2)?;
            let text = string.to_std_string_lossy();
            room.take(text.len().saturating_sub(string.len()))?;
            text.into()
        }
        JsVariant::BigInt(number) => text(number.to_string(), room)?,
        JsVariant::Symbol(symbol) => text(symbol.to_string(), room)?,
        JsVariant::Object(object) => self::object(&object, value, context, room)?,
    })
}

fn text(text: String, room: &mut Room) -> Result<Value, Unfit> {
    room.take(text.len() + 2)?;
    Ok(text.into())
}

/// A whole number is told as one; what is no number is null.
fn number(number: f64) -> Value {
    /// Whole numbers up to this are exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT { Value::from(number as i64) } else { Value::from(number) }
}

fn object(object: &JsObject, value: &JsValue, context: &mut Context, room: &mut Room) -> Result<Value, Unfit> {
    if object.is::<ErrorObject>() {
        let words = value.to_string(context)?;
        return json(&words.into(), context, room);
    }
    if object.is_callable() {
        return text("function".to_owned(), room);
    }
    room.depth = room.depth.checked_sub(1).ok_or(Unfit::TooDeep)?;
    let told = inside(object, value, context, room);
    room.depth += 1;
    told
}

fn inside(object: &JsObject, value: &JsValue, context: &mut Context, room: &mut Room) -> Result<Value, Unfit> {
    room.take(2)?;
    let of_its_own = object.get(js_string!("toJSON"), context)?;
    if let Some(function) = of_its_own.as_callable() {
        let told = function.call(value, &[], context)?;
        return json(&told, context, room);
    }
    if let Some(length) = length(object, context)? {
        let mut list = Vec::new();
        for index in 0..length {
            room.take(1)?;
            let element = object.get(index, context)?;
            list.push(json(&element, context, room)?);
        }
        return Ok(Value::Array(list));
    }
    let mut map = jidoka::json::json!({});
    for key in object.own_property_keys(context)? {
        let PropertyKey::Symbol(_) = &key else {
            let name = key.to_string();
            room.take(name.len() + 4)?;
            let element = object.get(key, context)?;
            let hidden = element.is_undefined() || element.is_callable() || element.is_symbol();
            if !hidden {
                map[name] = json(&element, context, room)?;
            }
            continue;
        };
    }
    Ok(map)
}

/// Elements of an array or of a typed one; `None` for another object.
fn length(object: &JsObject, context: &mut Context) -> JsResult<Option<u64>> {
    if object.is_array() {
        return object.get(js_string!("length"), context)?.to_length(context).map(Some);
    }
    match JsTypedArray::from_object(object.clone()) {
        Ok(array) => array.length(context).map(|length| Some(length as u64)),
        Err(_) => Ok(None),
    }
}
