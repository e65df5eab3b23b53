//! One script in one engine, step by step, so that it can be stopped.
//!
//! Invariant: an engine runs one script and is then left as it is. A script that was stopped leaves half of a call in it, and
//! the component ends with the call anyway.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use boa_engine::builtins::promise::PromiseState;
use boa_engine::context::{ContextBuilder, HostHooks};
use boa_engine::object::builtins::JsPromise;
use boa_engine::property::Attribute;
use boa_engine::realm::Realm;
use boa_engine::{Context, JsError, JsNativeError, JsResult, JsString, JsValue, Script, Source, js_string};
use jidoka::json::Value;

use crate::console;
use crate::guards;
use crate::json::{self, Room};
use crate::nesting;

/// Calls within calls. A call through the engine's own functions (`map`, a getter) takes a part of the stack that the host
/// gives a component, and overflowing that would trap.
pub const MAX_CALLS: usize = 100;
/// Values on the engine's own stack: what [`MAX_CALLS`] deep calls with many arguments need.
const MAX_STACK_VALUES: usize = 10_000;
/// Turns of one loop. Loops inside the callbacks of the engine's own functions are no steps.
pub const MAX_LOOP_TURNS: u64 = 20_000_000;
/// Cost of the instructions of one step. The least there is: one instruction can double what is held.
const STEP: u32 = 1;
/// Steps of one script, about as many as instructions: some seconds. What runs inside of the engine's own functions is one.
const MAX_STEPS: u64 = 200_000_000;
/// Bytes of memory past which a script is stopped: what it holds can double once more in the 64 MiB of a tool.
const MAX_MEMORY_BYTES: usize = 24 << 20;
/// Bytes of one `ArrayBuffer`.
pub const MAX_BUFFER_BYTES: u64 = 1 << 20;
/// Calls in the stack of an error.
const MAX_STACK_LINES: usize = 10;
/// Bytes of what an error says.
pub const MAX_ERROR_BYTES: usize = 4 << 10;

/// What a script came to.
pub struct Ended {
    /// The value with its type, or words for the model.
    pub result: Result<(Value, String), String>,
    pub printed: String,
}

/// Runs a script with `input` as a global.
pub fn run(code: &str, input: &Value) -> Ended {
    let mut context = match new_context(input) {
        Ok(context) => ManuallyDrop::new(context),
        Err(error) => return Ended { result: Err(error.to_string()), printed: String::new() },
    };
    let result = evaluate(code, &mut context);
    Ended { result, printed: console::printed(&context) }
}

fn new_context(input: &Value) -> JsResult<Context> {
    let mut context = ContextBuilder::new().host_hooks(Rc::new(Walls)).build()?;
    let limits = context.runtime_limits_mut();
    limits.set_recursion_limit(MAX_CALLS);
    limits.set_stack_size_limit(MAX_STACK_VALUES);
    limits.set_loop_iteration_limit(MAX_LOOP_TURNS);
    limits.set_backtrace_limit(MAX_STACK_LINES);
    console::install(&mut context)?;
    guards::install(&mut context)?;
    let input = JsValue::from_json(input, &mut context)?;
    context.register_global_property(js_string!("input"), input, Attribute::all())?;
    Ok(context)
}

fn evaluate(code: &str, context: &mut Context) -> Result<(Value, String), String> {
    nesting::check(code)?;
    let source = Source::from_bytes(code.as_bytes()).with_path(Path::new("script"));
    let script = match Script::parse(source, None, context) {
        Ok(script) => script,
        Err(error) => return Err(words(error, context)),
    };
    let value = steps(&script, context, MAX_STEPS)?.map_err(|error| words(error, context))?;
    context.run_jobs().map_err(|error| words(error, context))?;
    let value = settled(value).map_err(|error| error.map_or_else(never, |error| words(error, context)))?;
    let shown = json::json(&value, context, &mut Room::for_a_value());
    let shown = shown.map_err(|unfit| unfit.words("the value"))?;
    Ok((shown, value.type_of().to_owned()))
}

/// Runs a script step by step. The outer error is that it was stopped.
fn steps(script: &Script, context: &mut Context, most: u64) -> Result<JsResult<JsValue>, String> {
    let mut running = pin!(script.evaluate_async_with_budget(context, STEP));
    let mut waiting = std::task::Context::from_waker(Waker::noop());
    for _ in 0..most {
        if let Poll::Ready(result) = running.as_mut().poll(&mut waiting) {
            return Ok(result);
        }
        if memory_bytes() > MAX_MEMORY_BYTES {
            return Err(format!("stopped: the script uses more than {} MiB of memory", MAX_MEMORY_BYTES >> 20));
        }
    }
    Err(format!("stopped: the script ran for more than {most} steps"))
}

/// What a promise came to. `None` is one that waits for ever.
fn settled(value: JsValue) -> Result<JsValue, Option<JsError>> {
    let promise = value.as_object().and_then(|object| JsPromise::from_object(object).ok());
    match promise.map(|promise| promise.state()) {
        None => Ok(value),
        Some(PromiseState::Fulfilled(value)) => Ok(value),
        Some(PromiseState::Rejected(reason)) => Err(Some(JsError::from_opaque(reason))),
        Some(PromiseState::Pending) => Err(None),
    }
}

fn never() -> String {
    "the promise never settles: nothing here can settle it".to_owned()
}

/// An error as it is told: its message and its stack.
fn words(error: JsError, context: &mut Context) -> String {
    let thrown = error.as_opaque().filter(|value| !is_error(value)).cloned();
    let mut words = match thrown {
        None => error.to_string(),
        Some(value) => match json::json(&value, context, &mut Room::for_an_error()) {
            Ok(value) => format!("thrown: {value}"),
            Err(unfit) => unfit.words("what was thrown"),
        },
    };
    words.truncate(words.floor_char_boundary(MAX_ERROR_BYTES));
    words
}

fn is_error(value: &JsValue) -> bool {
    value.as_object().is_some_and(|object| object.is::<boa_engine::builtins::error::Error>())
}

#[cfg(target_arch = "wasm32")]
fn memory_bytes() -> usize {
    core::arch::wasm32::memory_size::<0>().saturating_mul(64 << 10)
}

/// A native test has the memory of the machine.
#[cfg(not(target_arch = "wasm32"))]
fn memory_bytes() -> usize {
    0
}

/// What the engine asks its host.
struct Walls;

impl HostHooks for Walls {
    /// `eval` and `new Function`.
    fn ensure_can_compile_strings(
        &self,
        _realm: Realm,
        parameters: &[JsString],
        body: &JsString,
        _direct: bool,
        _context: &mut Context,
    ) -> JsResult<()> {
        for code in parameters.iter().chain([body]) {
            let checked = nesting::check(&code.to_std_string_lossy());
            checked.map_err(|words| JsNativeError::syntax().with_message(words))?;
        }
        Ok(())
    }

    /// There is no place to be in.
    fn local_timezone_offset_seconds(&self, _unix_time_seconds: i64) -> i32 {
        0
    }

    fn max_buffer_size(&self, _context: &mut Context) -> u64 {
        MAX_BUFFER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_runs_for_exactly_n_steps() {
        let run = |most: u64| {
            let mut context = new_context(&Value::Null).expect("an engine");
            let script = Script::parse(Source::from_bytes("let a = 1; a + 1"), None, &mut context).expect("a script");
            steps(&script, &mut context, most)
        };
        let needed = (1..1_000).find(|&most| run(most).is_ok()).expect("it is short");
        assert!(needed > 3);
        assert_eq!(run(needed - 1).err(), Some(format!("stopped: the script ran for more than {} steps", needed - 1)));
    }
}
