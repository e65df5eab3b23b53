//! Components for tests, and what it takes to call them.

use serde_json::Value;
use wasmtime::component::{Component, Instance, Linker};
use wasmtime::{Config, Engine, OptLevel, Store};

use super::super::{Exported, Exports, Rejected, exported};

/// As the sandbox's, as far as it matters here; with the types that no guest has yet.
pub fn engine() -> Engine {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::None)
        .cranelift_nan_canonicalization(true)
        .wasm_component_model_map(true)
        .wasm_component_model_fixed_length_lists(true)
        .memory_reservation(1 << 20)
        .memory_reservation_for_growth(1 << 20);
    Engine::new(&config).expect("an engine")
}

/// A component with these types and functions, and the core module `$m` below them: `same` returns its one argument, an
/// address; so does a function whose parameters and whose result are many, and the same.
pub fn with(items: &str) -> String {
    format!(
        r#"(component
            (core module $module
                (memory (export "memory") 16)
                (global $top (mut i32) (i32.const 16))
                (func (export "realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32)
                    (result i32) (local $at i32)
                    (local.set $at (i32.and
                        (i32.sub (i32.add (global.get $top) (local.get $align)) (i32.const 1))
                        (i32.sub (i32.const 0) (local.get $align))))
                    (global.set $top (i32.add (local.get $at) (local.get $size)))
                    (local.get $at))
                (func (export "same") (param i32) (result i32) (local.get 0))
                (func (export "take") (param i32))
                (func (export "trap") unreachable)
                (func (export "nothing")))
            (core instance $m (instantiate $module))
            {items})"#
    )
}

/// A function of the component that [`with`] makes: `signature` is its parameters and its result.
pub fn function(name: &str, signature: &str, core: &str) -> String {
    format!(
        r#"(func $"{name}" {signature}
            (canon lift (core func $m "{core}") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
        (export "{name}" (func $"{name}"))
        "#
    )
}

/// A component with others as its interfaces.
pub fn interfaces(components: &[(&str, String)]) -> String {
    let mut items = String::new();
    for (at, (name, component)) in components.iter().enumerate() {
        let inner = component.replacen("(component", &format!("(component $c{at}"), 1);
        items += &format!("{inner} (instance $i{at} (instantiate $c{at})) (export \"{name}\" (instance $i{at}))\n");
    }
    format!("(component {items})")
}

/// A component that was read, and can be called as often as it takes.
pub struct Read {
    engine: Engine,
    component: Component,
    pub exports: Exports,
}

impl Read {
    pub fn of(engine: &Engine, text: &str) -> Self {
        let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let component = Component::new(engine, bytes).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
        let exports = exported(&component, engine);
        Self { engine: engine.clone(), component, exports }
    }

    pub fn of_text(text: &str) -> Self {
        Self::of(&engine(), text)
    }

    pub fn tool(&self, name: &str) -> &Exported {
        let found = self.exports.functions.iter().find(|exported| exported.name == name);
        found.unwrap_or_else(|| panic!("no {name} in {:?}, left out {:?}", self.names(), self.exports.left_out))
    }

    pub fn names(&self) -> Vec<&str> {
        self.exports.functions.iter().map(|exported| exported.name.as_str()).collect()
    }

    /// The reason why something is left out.
    pub fn why(&self, name: &str) -> &str {
        let found = self.exports.left_out.iter().find(|(left, _)| left == name);
        &found.unwrap_or_else(|| panic!("{name} is not left out: {:?}", self.exports.left_out)).1
    }

    pub async fn instance(&self) -> (Store<()>, Instance) {
        let mut store = Store::new(&self.engine, ());
        let linker = Linker::new(&self.engine);
        let instance = linker.instantiate_async(&mut store, &self.component).await.expect("it imports nothing");
        (store, instance)
    }

    /// Calls a tool in a fresh instance.
    pub async fn call(&self, name: &str, input: &Value) -> wasmtime::Result<Result<Value, Rejected>> {
        let (mut store, instance) = self.instance().await;
        let said = self.tool(name).call(&mut store, &instance, input, 1 << 20).await?;
        Ok(said.map(|json| serde_json::from_str(&json).expect("JSON")))
    }
}
