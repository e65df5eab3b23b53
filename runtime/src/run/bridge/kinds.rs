//! The kinds of values that exported functions take and return, read from a component's types.
//!
//! Never: keeps a type whole that could not be told. A component's types share their parts, so that a few lines of them
//! say a tree of millions; every part and every name is paid for, in bytes that a schema of it would have at least.

use wasmtime::component::{ResourceType, Type};

/// Types inside of types. Each is a frame of the host's stack, and a schema takes no more.
pub const MAX_NESTED_TYPES: usize = 32;

/// Bytes of one schema, as JSON: everybody who sees the tool reads it, and a model pays for it.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// A part of a type has at least so many bytes in a schema, without its names: `{"enum":[` and its end.
const PART_BYTES: usize = 11;

/// What stands around a name in a schema, at least.
const NAME_BYTES: usize = 2;

/// A type of the component model, as a value that stands alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Bool,
    Integer(Integer),
    Float32,
    Float64,
    Char,
    String,
    /// `list<u8>`.
    Bytes,
    List(Box<Kind>),
    FixedList(Box<Kind>, u32),
    Map(Box<Kind>, Box<Kind>),
    Record(Vec<(String, Kind)>),
    Tuple(Vec<Kind>),
    Variant(Vec<(String, Option<Kind>)>),
    Enum(Vec<String>),
    Option(Box<Kind>),
    Result {
        ok: Option<Box<Kind>>,
        err: Option<Box<Kind>>,
    },
    Flags(Vec<String>),
    /// A resource, by its place in [`Resources`].
    Handle {
        resource: usize,
        ownership: Ownership,
    },
}

/// Whether a handle is given away or lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ownership {
    Own,
    Borrow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Integer {
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
}

impl Integer {
    /// Its least and its greatest value.
    pub(super) fn range(self) -> (i64, u64) {
        match self {
            Integer::S8 => (i8::MIN.into(), 127),
            Integer::U8 => (0, u8::MAX.into()),
            Integer::S16 => (i16::MIN.into(), 32_767),
            Integer::U16 => (0, u16::MAX.into()),
            Integer::S32 => (i32::MIN.into(), 2_147_483_647),
            Integer::U32 => (0, u32::MAX.into()),
            Integer::S64 => (i64::MIN, 9_223_372_036_854_775_807),
            Integer::U64 => (0, u64::MAX),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Integer::S8 => "s8",
            Integer::U8 => "u8",
            Integer::S16 => "s16",
            Integer::U16 => "u16",
            Integer::S32 => "s32",
            Integer::U32 => "u32",
            Integer::S64 => "s64",
            Integer::U64 => "u64",
        }
    }
}

impl Kind {
    /// The cases of a variant or a result. Of anything else, none.
    pub(super) fn cases(&self) -> Vec<(&str, Option<&Kind>)> {
        match self {
            Kind::Variant(cases) => cases.iter().map(|(name, kind)| (name.as_str(), kind.as_ref())).collect(),
            Kind::Result { ok, err } => vec![("ok", ok.as_deref()), ("err", err.as_deref())],
            _ => Vec::new(),
        }
    }

    /// Whether a handle is anywhere in it.
    pub(super) fn has_handle(&self) -> bool {
        match self {
            Kind::Handle { .. } => true,
            Kind::List(item) | Kind::FixedList(item, _) | Kind::Option(item) => item.has_handle(),
            Kind::Map(key, value) => key.has_handle() || value.has_handle(),
            Kind::Record(fields) => fields.iter().any(|(_, kind)| kind.has_handle()),
            Kind::Tuple(items) => items.iter().any(Kind::has_handle),
            Kind::Variant(_) | Kind::Result { .. } => {
                self.cases().iter().any(|(_, kind)| kind.is_some_and(Kind::has_handle))
            }
            Kind::Bool
            | Kind::Integer(_)
            | Kind::Float32
            | Kind::Float64
            | Kind::Char
            | Kind::String
            | Kind::Bytes
            | Kind::Enum(_)
            | Kind::Flags(_) => false,
        }
    }
}

/// Why a type is none that a tool can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    #[error("its types are nested deeper than {MAX_NESTED_TYPES}")]
    Deep,
    #[error("its types need a schema of more than {MAX_SCHEMA_BYTES} bytes")]
    Long,
    #[error("it has a {0}, and a tool has no values that come later")]
    Later(&'static str),
}

/// The resources that a component's functions speak of, each once.
#[derive(Debug, Default)]
pub(super) struct Resources {
    types: Vec<ResourceType>,
    names: Vec<Option<String>>,
}

impl Resources {
    /// The place of a resource.
    fn place(&mut self, wanted: ResourceType) -> usize {
        self.types.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.types.push(wanted);
            self.names.push(None);
            self.types.len() - 1
        })
    }

    /// Remembers what a resource is called. The first name stays.
    pub(super) fn call(&mut self, resource: ResourceType, name: &str) {
        let place = self.place(resource);
        self.names[place].get_or_insert_with(|| name.to_owned());
    }

    /// What a resource is called, or that it has no name.
    pub(super) fn name(&self, place: usize) -> &str {
        self.names.get(place).and_then(Option::as_deref).unwrap_or("resource")
    }
}

/// Reads types, as far as what they cost is covered.
pub(super) struct Reader<'a> {
    pub(super) resources: &'a mut Resources,
    left: usize,
}

impl<'a> Reader<'a> {
    /// A reader for everything that goes into one schema of at most `bytes`.
    pub(super) fn new(resources: &'a mut Resources, bytes: usize) -> Self {
        Self { resources, left: bytes }
    }

    /// The kind of a type.
    ///
    /// # Errors
    /// [`Foreign`]: nothing that JSON can say, or too much of it.
    pub(super) fn kind(&mut self, ty: &Type) -> Result<Kind, Foreign> {
        self.nested(ty, 1)
    }

    fn pay(&mut self, bytes: usize) -> Result<(), Foreign> {
        self.left = self.left.checked_sub(bytes).ok_or(Foreign::Long)?;
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<String, Foreign> {
        self.pay(name.len() + NAME_BYTES)?;
        Ok(name.to_owned())
    }

    fn boxed(&mut self, ty: &Type, depth: usize) -> Result<Box<Kind>, Foreign> {
        self.nested(ty, depth).map(Box::new)
    }

    fn nested(&mut self, ty: &Type, depth: usize) -> Result<Kind, Foreign> {
        if depth > MAX_NESTED_TYPES {
            return Err(Foreign::Deep);
        }
        self.pay(PART_BYTES)?;
        let inner = depth + 1;
        Ok(match ty {
            Type::Bool => Kind::Bool,
            Type::S8 => Kind::Integer(Integer::S8),
            Type::U8 => Kind::Integer(Integer::U8),
            Type::S16 => Kind::Integer(Integer::S16),
            Type::U16 => Kind::Integer(Integer::U16),
            Type::S32 => Kind::Integer(Integer::S32),
            Type::U32 => Kind::Integer(Integer::U32),
            Type::S64 => Kind::Integer(Integer::S64),
            Type::U64 => Kind::Integer(Integer::U64),
            Type::Float32 => Kind::Float32,
            Type::Float64 => Kind::Float64,
            Type::Char => Kind::Char,
            Type::String => Kind::String,
            Type::List(list) => match list.ty() {
                Type::U8 => Kind::Bytes,
                item => Kind::List(self.boxed(&item, inner)?),
            },
            Type::FixedLengthList(list) => Kind::FixedList(self.boxed(&list.ty(), inner)?, list.len()),
            Type::Map(map) => Kind::Map(self.boxed(&map.key(), inner)?, self.boxed(&map.value(), inner)?),
            Type::Record(record) => {
                let fields = record.fields().map(|field| Ok((self.name(field.name)?, self.nested(&field.ty, inner)?)));
                Kind::Record(fields.collect::<Result<_, _>>()?)
            }
            Type::Tuple(tuple) => {
                Kind::Tuple(tuple.types().map(|item| self.nested(&item, inner)).collect::<Result<_, _>>()?)
            }
            Type::Variant(variant) => {
                let cases = variant.cases().map(|case| {
                    let name = self.name(case.name)?;
                    Ok((name, case.ty.map(|ty| self.nested(&ty, inner)).transpose()?))
                });
                Kind::Variant(cases.collect::<Result<_, _>>()?)
            }
            Type::Enum(names) => Kind::Enum(names.names().map(|name| self.name(name)).collect::<Result<_, _>>()?),
            Type::Option(option) => Kind::Option(self.boxed(&option.ty(), inner)?),
            Type::Result(result) => Kind::Result {
                ok: result.ok().map(|ty| self.boxed(&ty, inner)).transpose()?,
                err: result.err().map(|ty| self.boxed(&ty, inner)).transpose()?,
            },
            Type::Flags(flags) => Kind::Flags(flags.names().map(|name| self.name(name)).collect::<Result<_, _>>()?),
            Type::Own(resource) => {
                Kind::Handle { resource: self.resources.place(*resource), ownership: Ownership::Own }
            }
            Type::Borrow(resource) => {
                Kind::Handle { resource: self.resources.place(*resource), ownership: Ownership::Borrow }
            }
            Type::Future(_) => return Err(Foreign::Later("future")),
            Type::Stream(_) => return Err(Foreign::Later("stream")),
            Type::ErrorContext => return Err(Foreign::Later("error-context")),
        })
    }
}
