//! The functions that a component exports, with what each takes and returns.
//!
//! Never: runs anything, or looks at more of a component's types than it keeps. What is no function for a caller, the
//! plumbing of a program or of its language, is left out with the reason.

use wasmtime::Engine;
use wasmtime::component::types::{Component as Exporter, ComponentExtern, ComponentFunc, ComponentItem};

use super::kinds::{Kind, MAX_NESTED_TYPES, MAX_SCHEMA_BYTES, Ownership, Reader, Resources};
use super::names::{self, Own};

/// Functions of one component: tools, and what makes resources for them. A model reads all of them.
pub const MAX_FUNCTIONS: usize = 128;

/// Functions that are named as left out. A component may have thousands.
pub const MAX_LEFT_OUT: usize = 128;

/// Characters of a name that a component chose, where it is only told.
pub(super) const MAX_TOLD_CHARS: usize = 200;

/// Types that a signature may call by their names.
pub(super) const MAX_NAMED_TYPES: usize = 256;

/// Bytes of such a type, as a schema.
pub(super) const MAX_NAMED_BYTES: usize = 4 << 10;

/// Interfaces that a host calls and nobody else, by the start of their names.
const PLUMBING: [(&str, &str); 4] = [
    ("wasi:cli/run", "the start of a program, which is called as one"),
    ("wasi:http/incoming-handler", "for servers of HTTP"),
    ("jidoka:agent/", "the contract of a worker"),
    ("exports", "set-up of a language's own"),
];

/// Functions of our worlds, by the interface whose types such a component imports.
const WORLDS: [(&str, &str); 2] = [("run", "jidoka:agent/work@"), ("judge", "jidoka:agent/review@")];

#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) struct Function {
    /// As a tool, or as the key of an expression.
    pub(super) name: String,
    /// The instances on the way to it, and then its own name.
    pub(super) path: Vec<String>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) result: Option<Kind>,
}

impl Function {
    /// The resource that a call of it makes: it returns one, or one or an error.
    pub(super) fn makes(&self) -> Option<usize> {
        let made = match self.result.as_ref()? {
            Kind::Result { ok: Some(ok), err } if !err.as_ref().is_some_and(|err| err.has_handle()) => ok,
            kind => kind,
        };
        match made {
            Kind::Handle { resource, ownership: Ownership::Own } => Some(*resource),
            _ => None,
        }
    }

    /// What is its output, if it has one: of a result, what comes if all is well.
    pub(super) fn output(&self) -> Option<&Kind> {
        match self.result.as_ref()? {
            Kind::Result { ok, .. } => ok.as_deref(),
            kind => Some(kind),
        }
    }

    /// What a person calls it.
    pub(super) fn own(&self) -> Own<'_> {
        Own::of(self.path.last().map(String::as_str).unwrap_or_default())
    }

    pub(super) fn interface(&self) -> Option<&str> {
        self.path.len().checked_sub(2).map(|at| self.path[at].as_str())
    }
}

/// All functions of a component that can be called, in the order of its exports.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) functions: Vec<Function>,
    pub(super) resources: Resources,
    /// Types that the component gives a name, and no two names.
    pub(super) types: Vec<(Kind, Option<String>)>,
}

impl Catalogue {
    /// The functions that make a resource.
    pub(super) fn makers(&self, resource: usize) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(move |function| function.makes() == Some(resource))
    }

    /// What a type is called.
    pub(super) fn named(&self, wanted: &Kind) -> Option<&str> {
        self.types.iter().find(|(kind, _)| kind == wanted).and_then(|(_, name)| name.as_deref())
    }
}

/// What was found, and what was not taken.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) catalogue: Catalogue,
    pub(super) left_out: Vec<(String, String)>,
    /// Whether more was left out than is named.
    pub(super) is_cut: bool,
}

impl Walk {
    /// Everything that a component exports.
    pub(super) fn through(component: &Exporter, engine: &Engine) -> Self {
        let mut walk = Self::default();
        let imported: Vec<&str> = component.imports(engine).map(|(name, _)| name).collect();
        let exports = component.exports(engine).filter_map(|(name, item)| {
            let ours = WORLDS
                .iter()
                .any(|(function, types)| *function == name && imported.iter().any(|import| import.starts_with(types)));
            if ours {
                walk.leave(&[], name, "the contract of a worker");
            }
            (!ours).then_some((name, item))
        });
        let exports: Vec<_> = exports.collect();
        walk.level(engine, exports.into_iter(), &mut Vec::new());
        let paths: Vec<&[String]> = walk.catalogue.functions.iter().map(|function| function.path.as_slice()).collect();
        let names = names::unique(&paths);
        for (function, name) in walk.catalogue.functions.iter_mut().zip(names) {
            function.name = name;
        }
        walk
    }

    /// Notes what is no tool, and why.
    pub(super) fn leave(&mut self, path: &[String], name: &str, why: impl ToString) {
        if self.left_out.len() == MAX_LEFT_OUT {
            self.is_cut = true;
            return;
        }
        let whole = path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("#");
        self.left_out.push((told(&whole), why.to_string()));
    }

    fn level<'a>(
        &mut self,
        engine: &Engine,
        exports: impl Iterator<Item = (&'a str, ComponentExtern<'a>)>,
        path: &mut Vec<String>,
    ) {
        for (name, item) in exports {
            match item.ty {
                ComponentItem::ComponentFunc(function) => self.function(path, name, &function),
                ComponentItem::ComponentInstance(instance) => {
                    let plumbing = PLUMBING.iter().find(|(start, _)| is_of(name, start));
                    if let Some((_, why)) = plumbing {
                        self.leave(path, name, why);
                    } else if path.len() == MAX_NESTED_TYPES {
                        self.leave(path, name, "instances are nested too deep");
                    } else {
                        path.push(name.to_owned());
                        self.level(engine, instance.exports(engine), path);
                        path.pop();
                    }
                }
                ComponentItem::Resource(resource) => self.catalogue.resources.call(resource, name),
                ComponentItem::Type(ty) => self.ty(name, &ty),
                ComponentItem::CoreFunc(_) | ComponentItem::Module(_) | ComponentItem::Component(_) => {
                    self.leave(path, name, "no function of an instance");
                }
            }
            if self.is_cut {
                return;
            }
        }
    }

    fn ty(&mut self, name: &str, ty: &wasmtime::component::Type) {
        let types = &mut self.catalogue.types;
        if types.len() == MAX_NAMED_TYPES {
            return;
        }
        let Ok(kind) = Reader::new(&mut self.catalogue.resources, MAX_NAMED_BYTES).kind(ty) else { return };
        if !matches!(kind, Kind::Record(_) | Kind::Variant(_) | Kind::Enum(_) | Kind::Flags(_)) {
            return;
        }
        match types.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, known)) if known.as_deref() == Some(name) => (),
            // Two names for what looks the same: neither would be sure.
            Some((_, known)) => *known = None,
            None => types.push((kind, Some(name.to_owned()))),
        }
    }

    fn function(&mut self, path: &[String], name: &str, function: &ComponentFunc) {
        if self.catalogue.functions.len() == MAX_FUNCTIONS {
            return self.leave(path, name, format!("a component has at most {MAX_FUNCTIONS} functions that are tools"));
        }
        if function.async_() {
            return self.leave(path, name, "it is async");
        }
        let mut reader = Reader::new(&mut self.catalogue.resources, MAX_SCHEMA_BYTES);
        let parameters: Result<Vec<Parameter>, _> = function
            .params()
            .map(|(name, ty)| Ok(Parameter { name: name.to_owned(), kind: reader.kind(&ty)? }))
            .collect();
        let mut reader = Reader::new(&mut self.catalogue.resources, MAX_SCHEMA_BYTES);
        let result = function.results().next().map(|ty| reader.kind(&ty)).transpose();
        match (parameters, result) {
            (Ok(parameters), Ok(result)) => {
                let path = path.iter().cloned().chain([name.to_owned()]).collect();
                self.catalogue.functions.push(Function { name: String::new(), path, parameters, result });
            }
            (Err(foreign), _) | (_, Err(foreign)) => self.leave(path, name, foreign),
        }
    }
}

/// Whether an interface is this one, in any version; or of this package, if that is all that is given.
fn is_of(name: &str, start: &str) -> bool {
    let rest = name.strip_prefix(start);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@') || start.ends_with('/'))
}

fn told(name: &str) -> String {
    name.chars().filter(|char| !char.is_control()).take(MAX_TOLD_CHARS).collect()
}
