//! Bounds on the engine's own functions that would take all memory, or all of the stack, in one instruction.
//!
//! Each stands before the function of the language, which is then called as it is.

use boa_engine::object::FunctionObjectBuilder;
use boa_engine::object::builtins::JsProxy;
use boa_engine::property::PropertyDescriptor;
use boa_engine::{Context, JsNativeError, JsObject, JsResult, JsString, JsValue, NativeFunction, js_string};

/// Units of a string that is made of copies, and elements of an array that is filled or joined at once.
pub const MAX_LENGTH: u64 = 1 << 20;
/// Arrays and objects within each other, in what is walked through by the engine's own recursion.
pub const MAX_DEPTH: usize = 100;
/// Values that are looked at for [`MAX_DEPTH`].
const MAX_LOOKED_AT: usize = 200_000;

type Check = fn(&JsValue, &[JsValue], &mut Context) -> JsResult<()>;

pub fn install(context: &mut Context) -> JsResult<()> {
    let strings = context.intrinsics().constructors().string().prototype();
    let arrays = context.intrinsics().constructors().array().prototype();
    let array = context.intrinsics().constructors().array().constructor();
    let json = context.global_object().get(js_string!("JSON"), context)?.to_object(context)?;
    for (object, name, check) in [
        (&strings, "repeat", copies as Check),
        (&strings, "padStart", padding),
        (&strings, "padEnd", padding),
        (&arrays, "fill", elements),
        (&arrays, "join", joined),
        (&arrays, "flat", depth_of_this),
        (&array, "from", elements_of_the_first),
        (&json, "stringify", depth_of_the_first),
    ] {
        guard(object, name, check, context)?;
    }
    Ok(())
}

/// Puts a check before a function.
fn guard(object: &JsObject, name: &str, check: Check, context: &mut Context) -> JsResult<()> {
    let name = JsString::from(name);
    let function = object.get(name.clone(), context)?.to_object(context)?;
    let length = function.get(js_string!("length"), context)?.to_length(context)?;
    let guarded = NativeFunction::from_copy_closure_with_captures(
        move |this, values, function: &JsObject, context| {
            check(this, values, context)?;
            function.call(this, values, context)
        },
        function,
    );
    let guarded = FunctionObjectBuilder::new(context.realm(), guarded)
        .name(name.clone())
        .length(usize::try_from(length).unwrap_or_default())
        .build();
    let property = PropertyDescriptor::builder().value(guarded).writable(true).enumerable(false).configurable(true);
    object.define_property_or_throw(name, property, context)?;
    Ok(())
}

fn within(length: u64) -> JsResult<()> {
    if length > MAX_LENGTH {
        let words = format!("a length of {length} at once is past the limit of {MAX_LENGTH}");
        return Err(JsNativeError::range().with_message(words).into());
    }
    Ok(())
}

fn first(values: &[JsValue]) -> JsValue {
    values.first().cloned().unwrap_or_default()
}

fn copies(this: &JsValue, values: &[JsValue], context: &mut Context) -> JsResult<()> {
    // What cannot be read here is the function's own to refuse.
    let Some(text) = this.as_string() else { return Ok(()) };
    let count = first(values).to_length(context)?;
    within(count.saturating_mul(text.len() as u64))
}

fn padding(_this: &JsValue, values: &[JsValue], context: &mut Context) -> JsResult<()> {
    within(first(values).to_length(context)?)
}

fn elements(this: &JsValue, _values: &[JsValue], context: &mut Context) -> JsResult<()> {
    match this.as_object() {
        Some(object) => within(object.get(js_string!("length"), context)?.to_length(context)?),
        None => Ok(()),
    }
}

fn elements_of_the_first(_this: &JsValue, values: &[JsValue], context: &mut Context) -> JsResult<()> {
    elements(&first(values), &[], context)
}

fn joined(this: &JsValue, values: &[JsValue], context: &mut Context) -> JsResult<()> {
    elements(this, values, context)?;
    depth(this, context)
}

fn depth_of_this(this: &JsValue, _values: &[JsValue], context: &mut Context) -> JsResult<()> {
    depth(this, context)
}

fn depth_of_the_first(_this: &JsValue, values: &[JsValue], context: &mut Context) -> JsResult<()> {
    depth(&first(values), context)
}

/// Whether a value is nested at most [`MAX_DEPTH`]. One that holds itself is not. Runs no code of the script's.
fn depth(value: &JsValue, context: &mut Context) -> JsResult<()> {
    let mut pending: Vec<(JsObject, usize)> = value.as_object().into_iter().map(|object| (object, 1)).collect();
    let mut looked_at = 0_usize;
    while let Some((object, depth)) = pending.pop() {
        if depth > MAX_DEPTH {
            let words = format!("the value is nested deeper than {MAX_DEPTH}, or holds itself");
            return Err(JsNativeError::typ().with_message(words).into());
        }
        // Its keys are what a function says; and calls within calls are counted elsewhere.
        if JsProxy::from_object(object.clone()).is_ok() {
            continue;
        }
        for key in object.own_property_keys(context)? {
            looked_at += 1;
            if looked_at > MAX_LOOKED_AT {
                return Ok(());
            }
            // Not the object's `get`, which may call a getter.
            let property = object.borrow().properties().get(&key);
            let held = property.and_then(|property| property.value().and_then(JsValue::as_object));
            pending.extend(held.map(|held| (held, depth + 1)));
        }
    }
    Ok(())
}
