//! Random signatures: each a real component, its types read by wasmtime, called with random values.

use serde_json::{Map, Value, json};
use wasmtime::component::Val;

use crate::doors::schema::Schema;

use super::super::arguments;
use super::super::kinds::{Integer, Kind};
use super::super::results;
use super::component::{Read, engine, function, with};

const SIGNATURES: u64 = 1_000;

/// Values of each signature.
const VALUES: usize = 4;

/// Inputs that are wrong, or may be, of each value.
const CHANGES: usize = 4;

/// Numbers that look random and are the same each time: https://prng.di.unimi.it/splitmix64.c
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).expect("below a usize")
    }

    fn is(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// Types as the text of a component, with those that need a name.
#[derive(Default)]
struct Written {
    named: Vec<String>,
}

impl Written {
    fn name(&mut self, chance: &mut Chance, what: &str, body: &str) -> String {
        let at = self.named.len();
        let name = format!("{what}{at}-{}", ["a", "of-things", "B", "x9"][chance.below(4)]);
        self.named
            .push(format!("(type $unnamed{at} ({what} {body})) (export $type{at} \"{name}\" (type $unnamed{at}))"));
        format!("$type{at}")
    }

    fn ty(&mut self, chance: &mut Chance, depth: usize) -> String {
        let plain = ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"];
        match chance.below(if depth == 0 { plain.len() + 4 } else { plain.len() + 18 }) {
            at if at < plain.len() => plain[at].to_owned(),
            13 => "string".to_owned(),
            14 => "(list u8)".to_owned(),
            15 => {
                let names: Vec<String> = (0..=chance.below(40)).map(|at| format!("\"case{at}\"")).collect();
                self.name(chance, "enum", &names.join(" "))
            }
            16 => {
                let names: Vec<String> = (0..=chance.below(32)).map(|at| format!("\"flag{at}\"")).collect();
                self.name(chance, "flags", &names.join(" "))
            }
            17..=19 => format!("(list {})", self.ty(chance, depth - 1)),
            20..=22 => format!("(option {})", self.ty(chance, depth - 1)),
            23 | 24 => {
                let items: Vec<String> = (0..=chance.below(4)).map(|_| self.ty(chance, depth - 1)).collect();
                format!("(tuple {})", items.join(" "))
            }
            25 => match chance.below(4) {
                0 => "(result)".to_owned(),
                1 => format!("(result {})", self.ty(chance, depth - 1)),
                2 => format!("(result (error {}))", self.ty(chance, depth - 1)),
                _ => format!("(result {} (error {}))", self.ty(chance, depth - 1), self.ty(chance, depth - 1)),
            },
            26 => format!("(list {} {})", self.ty(chance, depth - 1), 1 + chance.below(5)),
            27 => {
                let key = ["string", "u32", "s64", "bool", "char"][chance.below(5)];
                format!("(map {key} {})", self.ty(chance, depth - 1))
            }
            28 | 29 => {
                let case = |written: &mut Self, chance: &mut Chance, at: usize| match chance.is(3) {
                    true => format!("(case \"case{at}\")"),
                    false => format!("(case \"case{at}\" {})", written.ty(chance, depth - 1)),
                };
                let cases: Vec<String> = (0..=chance.below(4)).map(|at| case(self, chance, at)).collect();
                self.name(chance, "variant", &cases.join(" "))
            }
            _ => {
                let field = |written: &mut Self, chance: &mut Chance, at: usize| {
                    format!("(field \"field{at}\" {})", written.ty(chance, depth - 1))
                };
                let fields: Vec<String> = (0..=chance.below(5)).map(|at| field(self, chance, at)).collect();
                self.name(chance, "record", &fields.join(" "))
            }
        }
    }
}

/// The function `same` returns its arguments: with the last it has so many that they come and go by an address.
fn signature(chance: &mut Chance) -> String {
    let mut written = Written::default();
    let types: Vec<String> = (0..=chance.below(3)).map(|_| written.ty(chance, 3)).collect();
    let many = format!("(tuple {})", ["u64"; 17].join(" "));
    let parameters: Vec<String> = types.iter().enumerate().map(|(at, ty)| format!("(param \"p{at}\" {ty})")).collect();
    let parameters = parameters.join(" ");
    let signature = format!("{parameters} (param \"many\" {many}) (result (tuple {} {many}))", types.join(" "));
    with(&(written.named.join("\n") + &function("same", &signature, "same")))
}

fn text(chance: &mut Chance) -> String {
    let letters = ['a', 'Z', '"', '\\', '\n', '\u{0}', '\u{7f}', 'é', '\u{2028}', '日', '🦀', ' '];
    (0..chance.below(12)).map(|_| letters[chance.below(letters.len())]).collect()
}

/// A float of any bits, or one of those that are special.
fn float(chance: &mut Chance) -> f64 {
    let special =
        [0.0, -0.0, 1.0, 0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX, 5e-324];
    if chance.is(2) { special[chance.below(special.len())] } else { f64::from_bits(chance.next()) }
}

fn integer(chance: &mut Chance, integer: Integer) -> Val {
    let (least, most) = integer.range();
    let bits = match chance.below(4) {
        0 => least as u64,
        1 => most,
        _ => chance.next(),
    };
    match integer {
        Integer::S8 => Val::S8(bits as i8),
        Integer::U8 => Val::U8(bits as u8),
        Integer::S16 => Val::S16(bits as i16),
        Integer::U16 => Val::U16(bits as u16),
        Integer::S32 => Val::S32(bits as i32),
        Integer::U32 => Val::U32(bits as u32),
        Integer::S64 => Val::S64(bits as i64),
        Integer::U64 => Val::U64(bits),
    }
}

fn boxed(chance: &mut Chance, kind: Option<&Kind>) -> Option<Box<Val>> {
    kind.map(|kind| Box::new(value(chance, kind)))
}

fn value(chance: &mut Chance, kind: &Kind) -> Val {
    match kind {
        Kind::Bool => Val::Bool(chance.is(2)),
        Kind::Integer(kind) => integer(chance, *kind),
        Kind::Float32 => Val::Float32(match chance.is(2) {
            true => f32::from_bits(chance.next() as u32),
            false => float(chance) as f32,
        }),
        Kind::Float64 => Val::Float64(float(chance)),
        Kind::Char => Val::Char(char::from_u32(chance.next() as u32 % 0x11_0000).unwrap_or('\u{fffd}')),
        Kind::String => Val::String(text(chance)),
        Kind::Bytes => Val::List((0..chance.below(40)).map(|_| Val::U8(chance.next() as u8)).collect()),
        Kind::List(item) => Val::List((0..chance.below(4)).map(|_| value(chance, item)).collect()),
        Kind::FixedList(item, count) => Val::FixedLengthList((0..*count).map(|_| value(chance, item)).collect()),
        Kind::Map(key, kind) => {
            let mut entries: Vec<(Val, Val)> = Vec::new();
            for _ in 0..chance.below(4) {
                let entry = (value(chance, key), value(chance, kind));
                if entries.iter().all(|(known, _)| *known != entry.0) {
                    entries.push(entry);
                }
            }
            // In the order in which a JSON object has them.
            if **key == Kind::String {
                entries.sort_by_key(|(key, _)| if let Val::String(key) = key { key.clone() } else { String::new() });
            }
            Val::Map(entries)
        }
        Kind::Record(fields) => {
            Val::Record(fields.iter().map(|(name, kind)| (name.clone(), value(chance, kind))).collect())
        }
        Kind::Tuple(items) => Val::Tuple(items.iter().map(|item| value(chance, item)).collect()),
        Kind::Variant(cases) => {
            let (name, kind) = &cases[chance.below(cases.len())];
            Val::Variant(name.clone(), boxed(chance, kind.as_ref()))
        }
        Kind::Enum(names) => Val::Enum(names[chance.below(names.len())].clone()),
        Kind::Option(inner) => {
            let is_some = !chance.is(3);
            Val::Option(is_some.then(|| Box::new(value(chance, inner))))
        }
        Kind::Result { ok, err } => Val::Result(match chance.is(2) {
            true => Ok(boxed(chance, ok.as_deref())),
            false => Err(boxed(chance, err.as_deref())),
        }),
        Kind::Flags(names) => Val::Flags(names.iter().filter(|_| chance.is(2)).cloned().collect()),
        Kind::Handle { .. } => panic!("no signature has a resource"),
    }
}

/// Something else somewhere in a value.
fn change(chance: &mut Chance, value: &mut Value) {
    match value {
        Value::Array(items) if !items.is_empty() && !chance.is(4) => {
            let at = chance.below(items.len());
            change(chance, &mut items[at]);
        }
        Value::Object(fields) if !fields.is_empty() && !chance.is(4) => {
            let at = chance.below(fields.len());
            let inner = fields.values_mut().nth(at).expect("below the count");
            change(chance, inner);
        }
        Value::Array(items) if chance.is(2) => match chance.is(2) {
            true => items.push(json!(7)),
            false => drop(items.pop()),
        },
        Value::Object(fields) if chance.is(2) => match fields.keys().next().cloned() {
            Some(key) if chance.is(2) => drop(fields.remove(&key)),
            _ => drop(fields.insert("none-such".to_owned(), json!(1))),
        },
        value => {
            let others = [
                json!(null),
                json!(true),
                json!(-1),
                json!(3.0),
                json!(0.5),
                json!(256),
                json!(1e300),
                json!(18_446_744_073_709_551_615u64),
                json!("x"),
                json!("case0"),
                json!("NaN"),
                json!([]),
                json!({}),
                json!({ "some": null }),
                json!({ "ok": 1 }),
            ];
            *value = others[chance.below(others.len())].clone();
        }
    }
}

/// Whether a schema has no word for something that is refused: bytes that are no base64, a name or a key twice.
fn says_less(kind: &Kind) -> bool {
    match kind {
        Kind::Bytes | Kind::Flags(_) => true,
        Kind::Map(key, value) => **key != Kind::String || says_less(value),
        Kind::List(item) | Kind::FixedList(item, _) | Kind::Option(item) => says_less(item),
        Kind::Record(fields) => fields.iter().any(|(_, kind)| says_less(kind)),
        Kind::Tuple(items) => items.iter().any(says_less),
        kind => kind.cases().iter().any(|(_, kind)| kind.is_some_and(says_less)),
    }
}

#[tokio::test]
async fn a_thousand_random_signatures_are_told_and_called_and_nothing_is_lost() {
    let engine = engine();
    let mut seen = [0; 3];
    for seed in 0..SIGNATURES {
        let mut chance = Chance(seed);
        let text = signature(&mut chance);
        let read = Read::of(&engine, &text);
        let tool = read.tool("same");
        let function = tool.function();
        let schema = Schema::compile(&tool.schema.to_string()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let output = Schema::compile(&tool.output.to_string()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let says_less = function.parameters.iter().any(|parameter| says_less(&parameter.kind));
        let (mut store, instance) = read.instance().await;
        for _ in 0..VALUES {
            let values: Vec<Val> =
                function.parameters.iter().map(|parameter| value(&mut chance, &parameter.kind)).collect();
            let mut input = Map::new();
            for (parameter, value) in function.parameters.iter().zip(&values) {
                let told = results::json(Some(&parameter.kind), Some(value), 1 << 20).expect("it can be told");
                input.insert(parameter.name.clone(), serde_json::from_str(&told).expect("it is JSON"));
            }
            let input = Value::Object(input);
            // A value becomes JSON that its schema takes, and is itself again.
            assert_eq!(schema.check(&input.to_string()), Ok(()), "{input}\n{text}");
            let (again, expressions) = arguments::read(&tool.catalogue, function, &input, 0).expect("it is read");
            assert_eq!(again, values, "{input}\n{text}");
            assert!(expressions.is_empty());
            // JSON goes through the guest, and is itself again.
            let said = tool.call(&mut store, &instance, &input, 1 << 20).await.expect("no trap").expect("an output");
            let said: Value = serde_json::from_str(&said).expect("it is JSON");
            let all: Vec<&Value> =
                function.parameters.iter().map(|parameter| &input[parameter.name.as_str()]).collect();
            assert_eq!(said, json!(all), "{text}");
            assert_eq!(output.check(&said.to_string()), Ok(()), "{said}\n{text}");
            seen[0] += 1;
            // What the schema refuses is refused, and nothing else.
            for _ in 0..CHANGES {
                let mut changed = input.clone();
                change(&mut chance, &mut changed);
                let (read, fits) = (tool.check(&changed), schema.check(&changed.to_string()));
                assert!(read.is_err() || fits.is_ok(), "{fits:?}\n{changed}\n{text}");
                assert!(read.is_ok() || fits.is_err() || says_less, "{read:?}\n{changed}\n{text}");
                seen[1 + usize::from(read.is_err())] += 1;
            }
        }
    }
    assert_eq!(seen[0], 4_000);
    assert!(seen[1] > 1_000 && seen[2] > 5_000, "{seen:?}");
}
