//! Imports of somebody else's components that nobody here serves: they link, and who calls one is ended, with its name.
//!
//! Never: answers. A log of `wasi:logging` is written as notes, since it asks for nothing. Invariant here: what a world serves is
//! never replaced; a resource that nobody has cannot be made, so a component that imports one does not link.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentType, Lift, Linker, Lower};
use wasmtime::{Engine, StoreContextMut};

use crate::rules::effect::Level;

use super::host::Guest;
use super::sandbox::is_served;

/// The interface of logs that components bring from elsewhere (<https://github.com/WebAssembly/wasi-logging>).
const LOGGING: &str = "wasi:logging/logging";

/// How much a log matters, as that interface says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[expect(dead_code, reason = "a guest makes them")]
#[repr(u8)]
enum LogLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace | LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error | LogLevel::Critical => Level::Error,
        }
    }
}

/// A linker that also has what a component imports and nobody serves.
pub(super) fn linked(
    linker: &Linker<Guest>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = linker.clone();
    for (name, item) in component.component_type().imports(engine) {
        if is_served(name) {
            continue;
        }
        match item.ty {
            ComponentItem::ComponentInstance(_) if name.split('@').next() == Some(LOGGING) => log(&mut linker, name)?,
            ComponentItem::ComponentInstance(interface) => {
                let mut instance = linker.instance(name)?;
                for (function, item) in interface.exports(engine) {
                    if let ComponentItem::ComponentFunc(_) = item.ty {
                        let called = format!("it called `{function}` of `{name}`, which nobody here serves");
                        instance.func_new(function, move |_, _, _, _| Err(wasmtime::Error::msg(called.clone())))?;
                    }
                }
            }
            ComponentItem::ComponentFunc(_) => {
                let called = format!("it called `{name}`, which nobody here serves");
                linker.root().func_new(name, move |_, _, _, _| Err(wasmtime::Error::msg(called.clone())))?;
            }
            _ => {}
        }
    }
    Ok(linker)
}

fn log(linker: &mut Linker<Guest>, name: &str) -> wasmtime::Result<()> {
    linker.instance(name)?.func_wrap_async(
        "log",
        |mut store: StoreContextMut<'_, Guest>, (level, context, message): (LogLevel, String, String)| {
            Box::new(async move {
                let fields = if context.is_empty() { Vec::new() } else { vec![("context".to_owned(), context)] };
                Ok(store.data_mut().gate.note(level.into(), message, fields).await?)
            })
        },
    )
}
