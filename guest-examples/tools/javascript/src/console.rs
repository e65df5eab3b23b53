//! `console`: what a script writes for its reader.

use std::cell::RefCell;

use boa_engine::object::ObjectInitializer;
use boa_engine::property::Attribute;
use boa_engine::{Context, JsResult, JsValue, NativeFunction, js_string};

use crate::json::{self, Room};

/// Bytes that are kept; the rest is counted.
pub const MAX_PRINTED_BYTES: usize = 16 << 10;

/// The functions that write; there is one stream.
const FUNCTIONS: [&str; 5] = ["log", "info", "warn", "error", "debug"];

#[derive(Default)]
struct Printed {
    text: String,
    /// Bytes that came after [`MAX_PRINTED_BYTES`].
    lost: usize,
}

pub fn install(context: &mut Context) -> JsResult<()> {
    context.insert_data(RefCell::new(Printed::default()));
    let mut console = ObjectInitializer::new(context);
    for name in FUNCTIONS {
        console.function(NativeFunction::from_fn_ptr(write), js_string!(name), 0);
    }
    let console = console.build();
    context.register_global_property(js_string!("console"), console, Attribute::all())
}

/// What was written, cut at its cap.
pub fn printed(context: &Context) -> String {
    let Some(printed) = context.get_data::<RefCell<Printed>>().map(RefCell::borrow) else {
        return String::new();
    };
    match printed.lost {
        0 => printed.text.clone(),
        lost => format!("{}\n[{lost} more bytes were written]", printed.text),
    }
}

fn write(_this: &JsValue, values: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let mut line = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        // One room a value: the engine bounds how many values a call can have.
        match json::json(value, context, &mut Room::for_a_line()) {
            Ok(jidoka::json::Value::String(text)) => line.push_str(&text),
            Ok(value) => line.push_str(&value.to_string()),
            Err(unfit) => line.push_str(&format!("[{}]", unfit.words("this"))),
        }
    }
    line.push('\n');
    if let Some(printed) = context.get_data::<RefCell<Printed>>() {
        let mut printed = printed.borrow_mut();
        let room = MAX_PRINTED_BYTES - printed.text.len();
        // Once something is lost, nothing is kept behind it.
        let kept = if printed.lost == 0 { line.floor_char_boundary(room.min(line.len())) } else { 0 };
        printed.text.push_str(&line[..kept]);
        printed.lost = printed.lost.saturating_add(line.len() - kept);
    }
    Ok(JsValue::undefined())
}
