//! The gate before the compiler: bytes that would cost it more than a component is worth are refused.
//!
//! Never: compiles. Cranelift needs a minute and gigabytes for some valid modules of a few megabytes, so the bounds are
//! on what makes it slow: functions, bodies, locals, elements.

use wasmparser::{Parser, Payload};

/// Bytes of a component. A Python guest has 19 MB.
pub const MAX_COMPONENT_BYTES: usize = 48 << 20;
/// Functions of all modules. 500,000 empty ones cost 77 s and 5.5 GB; a Python guest has about 20,000.
pub const MAX_FUNCTIONS: u64 = 100_000;
/// Bytes of one function body. One of 7 MB costs 41 s and 3.7 GB.
pub const MAX_BODY_BYTES: usize = 512 << 10;
/// Locals of one function. 20,000 over ten loops cost 29 s.
pub const MAX_LOCALS: u64 = 5_000;
/// Bytes of a function's body times its locals, summed over all functions: what the register allocator's time grows
/// with. One function at both bounds above has 2,600,000,000 and can cost 20 s; a component has many functions.
pub const MAX_BODY_LOCALS: u64 = 4_000_000_000;
/// Element segment entries of all modules. A million cost 29 s and 3.3 GB.
pub const MAX_ELEMENTS: u64 = 100_000;
/// Core modules and nested components.
pub const MAX_MODULES: u64 = 64;
/// Items of any other section: types, imports, exports, globals, aliases, canonical functions.
pub const MAX_ITEMS: u64 = 300_000;

/// Why a component is refused before compiling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// More than a component may have.
    #[error("{count} {what}; at most {max}")]
    TooMany { what: &'static str, count: u64, max: u64 },
    /// Not a component.
    #[error("not a WebAssembly component: {0}")]
    Malformed(String),
}

/// Reads the sections of a component, nested ones too, and counts.
///
/// # Errors
/// [`ShapeError`]: it is not a component, or larger than its bounds.
pub fn check(bytes: &[u8]) -> Result<(), ShapeError> {
    at_most("bytes", bytes.len() as u64, MAX_COMPONENT_BYTES as u64)?;
    if Parser::is_core_wasm(bytes) {
        return Err(ShapeError::Malformed(
            "this is a core module; build it for the target wasm32-wasip2, or wrap it with an adapter".into(),
        ));
    }
    let mut counts = Counts::default();
    for payload in Parser::new(0).parse_all(bytes) {
        counts.see(payload.map_err(malformed)?)?;
    }
    Ok(())
}

/// Whether these bytes are a core module, which is no component.
pub fn is_module(bytes: &[u8]) -> bool {
    Parser::is_core_wasm(bytes)
}

/// As [`check`], and a core module passes too: one of WASI preview 1 is wrapped where it is compiled.
///
/// # Errors
/// As [`check`].
pub fn check_tool(bytes: &[u8]) -> Result<(), ShapeError> {
    if !is_module(bytes) {
        return check(bytes);
    }
    at_most("bytes", bytes.len() as u64, MAX_COMPONENT_BYTES as u64)?;
    let mut counts = Counts::default();
    for payload in Parser::new(0).parse_all(bytes) {
        counts.see(payload.map_err(malformed)?)?;
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    functions: u64,
    body_locals: u64,
    elements: u64,
    modules: u64,
    items: u64,
}

impl Counts {
    fn see(&mut self, payload: Payload<'_>) -> Result<(), ShapeError> {
        let items = match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                return add("modules", &mut self.modules, 1, MAX_MODULES);
            }
            Payload::CodeSectionStart { count, .. } => {
                return add("functions", &mut self.functions, u64::from(count), MAX_FUNCTIONS);
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = body.as_bytes().len() as u64;
                at_most("bytes in one function", bytes, MAX_BODY_BYTES as u64)?;
                let work = bytes.saturating_mul(locals(&body)?);
                return add("locals times bytes of functions", &mut self.body_locals, work, MAX_BODY_LOCALS);
            }
            Payload::ElementSection(section) => return self.elements(section),
            Payload::TypeSection(section) => section.count(),
            Payload::ImportSection(section) => section.count(),
            Payload::FunctionSection(section) => section.count(),
            Payload::TableSection(section) => section.count(),
            Payload::MemorySection(section) => section.count(),
            Payload::GlobalSection(section) => section.count(),
            Payload::ExportSection(section) => section.count(),
            Payload::DataSection(section) => section.count(),
            Payload::CoreTypeSection(section) => section.count(),
            Payload::InstanceSection(section) => section.count(),
            Payload::ComponentInstanceSection(section) => section.count(),
            Payload::ComponentAliasSection(section) => section.count(),
            Payload::ComponentTypeSection(section) => section.count(),
            Payload::ComponentCanonicalSection(section) => section.count(),
            Payload::ComponentImportSection(section) => section.count(),
            Payload::ComponentExportSection(section) => section.count(),
            // Names, versions, starts and whatever a later parser knows: bounded by the bytes, and not compiled.
            _ => 0,
        };
        add("items", &mut self.items, u64::from(items), MAX_ITEMS)
    }

    fn elements(&mut self, section: wasmparser::ElementSectionReader<'_>) -> Result<(), ShapeError> {
        for element in section {
            let count = match element.map_err(malformed)?.items {
                wasmparser::ElementItems::Functions(functions) => functions.count(),
                wasmparser::ElementItems::Expressions(_, expressions) => expressions.count(),
            };
            add("table elements", &mut self.elements, u64::from(count), MAX_ELEMENTS)?;
        }
        Ok(())
    }
}

fn locals(body: &wasmparser::FunctionBody<'_>) -> Result<u64, ShapeError> {
    let mut locals = 0;
    for group in body.get_locals_reader().map_err(malformed)? {
        let (count, _) = group.map_err(malformed)?;
        add("locals in one function", &mut locals, u64::from(count), MAX_LOCALS)?;
    }
    Ok(locals)
}

fn add(what: &'static str, total: &mut u64, more: u64, max: u64) -> Result<(), ShapeError> {
    *total = total.saturating_add(more);
    at_most(what, *total, max)
}

fn at_most(what: &'static str, count: u64, max: u64) -> Result<(), ShapeError> {
    if count > max { Err(ShapeError::TooMany { what, count, max }) } else { Ok(()) }
}

fn malformed(error: wasmparser::BinaryReaderError) -> ShapeError {
    ShapeError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(module: &str) -> Vec<u8> {
        wat::parse_str(format!("(component (core module {module}))")).expect("valid text")
    }

    fn functions(count: u64) -> Vec<u8> {
        component(&"(func)".repeat(usize::try_from(count).expect("small")))
    }

    #[test]
    fn functions_hold_at_n_and_are_refused_at_n_plus_1() {
        assert_eq!(check(&functions(MAX_FUNCTIONS)), Ok(()));
        let refused = ShapeError::TooMany { what: "functions", count: MAX_FUNCTIONS + 1, max: MAX_FUNCTIONS };
        assert_eq!(check(&functions(MAX_FUNCTIONS + 1)), Err(refused));
    }

    #[test]
    fn locals_hold_at_n_and_are_refused_at_n_plus_1() {
        let with =
            |count: u64| component(&format!("(func {})", "(local i32)".repeat(usize::try_from(count).expect("small"))));
        assert_eq!(check(&with(MAX_LOCALS)), Ok(()));
        assert!(matches!(check(&with(MAX_LOCALS + 1)), Err(ShapeError::TooMany { .. })));
    }

    #[test]
    fn large_bodies_with_many_locals_are_refused_together() {
        let locals = "(local i32)".repeat(usize::try_from(MAX_LOCALS).expect("small"));
        let heavy = format!("(func {locals} {})", "nop ".repeat(MAX_BODY_BYTES - 1024));
        assert_eq!(check(&component(&heavy)), Ok(()));
        assert!(matches!(check(&component(&heavy.repeat(2))), Err(ShapeError::TooMany { .. })));
    }

    #[test]
    fn a_large_body_is_refused() {
        let with = |count: usize| component(&format!("(func {})", "nop ".repeat(count)));
        assert_eq!(check(&with(MAX_BODY_BYTES - 16)), Ok(()));
        assert!(matches!(check(&with(MAX_BODY_BYTES + 1)), Err(ShapeError::TooMany { .. })));
    }

    #[test]
    fn elements_hold_at_n_and_are_refused_at_n_plus_1() {
        let with = |count: u64| {
            let nulls = "(ref.null func) ".repeat(usize::try_from(count).expect("small"));
            component(&format!("(elem funcref {nulls})"))
        };
        assert_eq!(check(&with(MAX_ELEMENTS)), Ok(()));
        assert!(matches!(check(&with(MAX_ELEMENTS + 1)), Err(ShapeError::TooMany { .. })));
    }

    #[test]
    fn many_modules_are_refused() {
        let with = |count: u64| {
            let modules = "(core module)".repeat(usize::try_from(count).expect("small"));
            wat::parse_str(format!("(component {modules})")).expect("valid text")
        };
        assert_eq!(check(&with(MAX_MODULES)), Ok(()));
        assert!(matches!(check(&with(MAX_MODULES + 1)), Err(ShapeError::TooMany { .. })));
    }

    #[test]
    fn what_is_no_component_is_named() {
        assert!(matches!(check(b"not wasm"), Err(ShapeError::Malformed(_))));
        let module = wat::parse_str("(module)").expect("valid text");
        assert!(check(&module).expect_err("refused").to_string().contains("core module"));
    }

    #[test]
    fn items_hold_at_n_and_are_refused_at_n_plus_1() {
        let with = |count: u64| component(&"(type (func))".repeat(usize::try_from(count).expect("small")));
        // The module is no item, and its types are.
        assert_eq!(check(&with(MAX_ITEMS)), Ok(()));
        let refused = ShapeError::TooMany { what: "items", count: MAX_ITEMS + 1, max: MAX_ITEMS };
        assert_eq!(check(&with(MAX_ITEMS + 1)), Err(refused));
    }
}
