//! The bridge from tools to components: what any component exports as tools with JSON schemas, and a call of one.
//!
//! A tool is an exported function, of the component itself or of an interface. Its input is an object of its parameters;
//! its output is what it returns. Types become JSON so, both ways:
//!
//! | WIT | JSON |
//! | --- | --- |
//! | `bool` | `true`, `false` |
//! | `s8` .. `u64` | a whole number in the range of the type |
//! | `f32`, `f64` | a number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `char` | a string of one character |
//! | `string` | a string |
//! | `list<u8>` | a string: the bytes in base64, with padding |
//! | `list<T>`, `list<T, N>` | an array, of `N` items |
//! | `map<string, V>` | an object |
//! | `map<K, V>` | an array of pairs, no key twice |
//! | `record` | an object of exactly its fields; one that is an option may be missing |
//! | `tuple` | an array |
//! | `variant`, `result` | an object with one key, the case (`ok`, `err`); a case without a payload: its name as a string |
//! | `enum` | a string |
//! | `flags` | an array of names, none twice |
//! | `option<T>` | `null` or the value; of an option of an option, `null` or `{"some": ..}` |
//! | a resource, as a parameter | the call that makes it, with one key: `{"FUNCTION": {its arguments}}` |
//!
//! `self` of a method is such a parameter. The call is made in the same instance, before the tool's own, and whatever
//! makes a resource is no tool itself. A function that returns a `result` has the output of its `ok`; its `err` is the
//! tool's own no. One that returns nothing has the output `null`.
//!
//! Never: makes a store, links, or bounds what a guest does: its caller does. A guest's types and values can cause no
//! panic here. Schemas have only keywords that [`schema`](crate::doors::schema) serves; what they refuse is refused here,
//! too, with the place of it.

mod arguments;
mod catalogue;
mod kinds;
mod names;
mod results;
mod schemas;
mod signature;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use wasmtime::component::{Component, Func, Instance, Val};
use wasmtime::{Engine, Store};

use self::arguments::Expression;
use self::catalogue::{Catalogue, Function, Walk};
use self::results::Unsaid;
use self::schemas::Unfit;

pub use self::arguments::PathError;
pub use self::catalogue::{MAX_FUNCTIONS, MAX_LEFT_OUT};
pub use self::kinds::{MAX_NESTED_TYPES, MAX_SCHEMA_BYTES};
pub use self::names::MAX_NAME_CHARS;
pub use self::signature::MAX_DESCRIPTION_CHARS;

/// Calls that make resources, one as an argument of another. A schema has fewer of them where it has no room for so many.
pub const MAX_NESTED_CALLS: usize = 4;

/// What a component exports, in its own order.
#[derive(Debug, Default)]
pub struct Exports {
    pub functions: Vec<Exported>,
    /// What is no tool, and why. Of a component with very many, the first.
    pub left_out: Vec<(String, String)>,
    /// Whether there is more that is left out than is named.
    pub is_cut: bool,
}

/// A function that can be called as a tool.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Of `[a-zA-Z0-9_-]{1,64}`, and unique in its component.
    pub name: String,
    /// Its signature in the words of WIT.
    pub description: String,
    /// The schema of its input, an object.
    pub schema: Value,
    /// The schema of its output.
    pub output: Value,
    catalogue: Arc<Catalogue>,
    place: usize,
    /// Calls inside of calls that the schema has room for.
    nesting: usize,
}

/// Why a call came to nothing. The guest did not trap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The input is not what the schema says. Nothing was called.
    #[error("{0}")]
    Input(PathError),
    /// The tool's own no: its error, as JSON.
    #[error("{0}")]
    Said(String),
    /// A call that should have made a resource said no: where, and its error as JSON. The tool was not called.
    #[error("at {at}: {said}")]
    Made { at: String, said: String },
    /// What the tool returned has more bytes than its caller takes.
    #[error("the output has more than {most} bytes")]
    Long { most: usize },
}

/// The tools that a component exports. Nothing of it runs.
pub fn exported(component: &Component, engine: &Engine) -> Exports {
    let mut walk = Walk::through(&component.component_type(), engine);
    let catalogue = Arc::new(std::mem::take(&mut walk.catalogue));
    let mut functions = Vec::new();
    for (place, function) in catalogue.functions.iter().enumerate() {
        match described(&catalogue, place) {
            Ok(exported) => functions.push(exported),
            Err(why) => {
                let (name, path) = function.path.split_last().expect("a path ends with its function");
                walk.leave(path, name, why);
            }
        }
    }
    Exports { functions, left_out: walk.left_out, is_cut: walk.is_cut }
}

fn described(catalogue: &Arc<Catalogue>, place: usize) -> Result<Exported, String> {
    let function = &catalogue.functions[place];
    if let Some(resource) = function.makes() {
        let resource = catalogue.resources.name(resource);
        return Err(format!("it makes a `{resource}`: an argument of others, as {{\"{}\": {{..}}}}", function.name));
    }
    if function.result.as_ref().is_some_and(|result| result.has_handle()) {
        return Err("it returns a resource among other things".to_owned());
    }
    let output = schemas::output(catalogue, function.output()).map_err(|unfit| unfit.to_string())?;
    let (schema, nesting) = widest(catalogue, function).map_err(|unfit| unfit.to_string())?;
    Ok(Exported {
        name: function.name.clone(),
        description: signature::signature(catalogue, function),
        schema,
        output,
        catalogue: Arc::clone(catalogue),
        place,
        nesting,
    })
}

/// The schema of an input with as many calls inside of calls as it has room for.
fn widest(catalogue: &Catalogue, function: &Function) -> Result<(Value, usize), Unfit> {
    let has_handle = function.parameters.iter().any(|parameter| parameter.kind.has_handle());
    let mut nesting = if has_handle { MAX_NESTED_CALLS } else { 0 };
    loop {
        match schemas::input(catalogue, &function.parameters, nesting) {
            Ok(schema) => return Ok((schema, nesting)),
            Err(Unfit::Deep | Unfit::Long) if nesting > 1 => nesting -= 1,
            Err(unfit) => return Err(unfit),
        }
    }
}

impl Exported {
    fn function(&self) -> &Function {
        &self.catalogue.functions[self.place]
    }

    /// The interface that the function is of; none if it is the component's own.
    pub fn interface(&self) -> Option<&str> {
        self.function().interface()
    }

    /// Whether an input is one that a call would take.
    ///
    /// # Errors
    /// [`PathError`]: the first thing that is wrong with it.
    pub fn check(&self, input: &Value) -> Result<(), PathError> {
        arguments::read(&self.catalogue, self.function(), input, self.nesting).map(drop)
    }

    /// Calls the function in an instance of its component, which should be a fresh one: makes the resources that the
    /// input asks for, calls, and drops what it only lent. `Ok(Ok)` is the output as JSON of at most `most` bytes.
    ///
    /// # Errors
    /// [`Rejected`] inside; outside what ended the guest: a trap, or whatever its host calls ended it with.
    pub async fn call<T: Send + 'static>(
        &self,
        store: &mut Store<T>,
        instance: &Instance,
        input: &Value,
        most: usize,
    ) -> wasmtime::Result<Result<String, Rejected>> {
        let function = self.function();
        let (mut values, expressions) = match arguments::read(&self.catalogue, function, input, self.nesting) {
            Ok(read) => read,
            Err(wrong) => return Ok(Err(Rejected::Input(wrong))),
        };
        let mut calls = Calls { catalogue: &self.catalogue, store, instance, most, lent: Vec::new() };
        if let (false, Value::Object(given)) = (expressions.is_empty(), input) {
            let made = match calls.make(&expressions).await? {
                Ok(made) => made,
                Err(rejected) => return Ok(Err(rejected)),
            };
            values = arguments::fill(&self.catalogue, function, given, self.nesting, made).map_err(wrong)?;
        }
        let returned = calls.call(function, &values).await?;
        calls.give_back().await?;
        said(function, returned.as_ref(), most)
    }
}

/// The calls that one call of a tool comes to.
struct Calls<'a, T: 'static> {
    catalogue: &'a Catalogue,
    store: &'a mut Store<T>,
    instance: &'a Instance,
    most: usize,
    /// Handles that are ours still, in the order in which they were made.
    lent: Vec<Val>,
}

impl<T: Send + 'static> Calls<'_, T> {
    /// Makes the resources of some expressions, in their order.
    async fn make(&mut self, expressions: &[Expression<'_>]) -> wasmtime::Result<Result<Vec<Val>, Rejected>> {
        let mut made = Vec::new();
        for expression in expressions {
            // Boxed: the future of a call contains those of the calls inside it.
            let inner = match Box::pin(self.make(&expression.inner)).await? {
                Ok(inner) => inner,
                Err(rejected) => return Ok(Err(rejected)),
            };
            let values = expression.fill(self.catalogue, inner).map_err(wrong)?;
            let handle = match self.call(expression.maker, &values).await? {
                Some(handle @ Val::Resource(_)) => handle,
                Some(Val::Result(Ok(Some(handle)))) if matches!(*handle, Val::Resource(_)) => *handle,
                returned => {
                    let rejected = said(expression.maker, returned.as_ref(), self.most)?;
                    let at = expression.at.clone();
                    return match rejected {
                        Err(Rejected::Said(said)) => Ok(Err(Rejected::Made { at, said })),
                        Err(other) => Ok(Err(other)),
                        Ok(_) => Err(wasmtime::format_err!("a call that makes a resource returned something else")),
                    };
                }
            };
            if expression.ownership == kinds::Ownership::Borrow {
                self.lent.push(handle.clone());
            }
            made.push(handle);
        }
        Ok(Ok(made))
    }

    async fn call(&mut self, function: &Function, values: &[Val]) -> wasmtime::Result<Option<Val>> {
        let found = self.find(function)?;
        let mut returned = vec![Val::Bool(false); usize::from(function.result.is_some())];
        found.call_async(&mut *self.store, values, &mut returned).await?;
        Ok(returned.pop())
    }

    fn find(&mut self, function: &Function) -> wasmtime::Result<Func> {
        let missing = || wasmtime::format_err!("this instance does not export {}", function.path.join("#"));
        let mut at = None;
        for step in &function.path {
            let index = self.instance.get_export_index(&mut *self.store, at.as_ref(), step.as_str());
            at = Some(index.ok_or_else(missing)?);
        }
        let found = at.and_then(|index| self.instance.get_func(&mut *self.store, index));
        found.ok_or_else(missing)
    }

    /// Drops what was only lent: a resource may have work to do when it ends. The last that was made goes first.
    async fn give_back(&mut self) -> wasmtime::Result<()> {
        while let Some(Val::Resource(handle)) = self.lent.pop() {
            handle.resource_drop_async(&mut *self.store).await?;
        }
        Ok(())
    }
}

/// What was read once is read again.
fn wrong(error: PathError) -> wasmtime::Error {
    wasmtime::format_err!("an input changed while it was read: {error}")
}

/// What a function returned: its output, or its own no.
fn said(function: &Function, returned: Option<&Val>, most: usize) -> wasmtime::Result<Result<String, Rejected>> {
    let told = match (&function.result, returned) {
        (Some(kinds::Kind::Result { ok, .. }), Some(Val::Result(Ok(value)))) => {
            results::json(ok.as_deref(), value.as_deref(), most).map(Ok)
        }
        (Some(kinds::Kind::Result { err, .. }), Some(Val::Result(Err(value)))) => {
            results::json(err.as_deref(), value.as_deref(), most).map(|json| Err(Rejected::Said(json)))
        }
        (kind, value) => results::json(kind.as_ref(), value, most).map(Ok),
    };
    match told {
        Ok(told) => Ok(told),
        Err(Unsaid::Long) => Ok(Err(Rejected::Long { most })),
        Err(Unsaid::Foreign) => Err(wasmtime::format_err!("{} returned what its type does not have", function.name)),
    }
}
