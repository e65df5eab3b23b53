//! Models as the two files define them, and which of them a job's name means.
//!
//! Never: opens a transcript, calls a provider. A name means the command line's choice, else the job's own script, else
//! the operator's model of that name. Every granted model has a price: a money limit without one would be a guess.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use super::amount::{Amount, Unit};
use super::kinds::{Characters, HostPath, Name};
use super::mistake::{Mistake, listed};
use super::operator::OperatorFile;
use super::reader::{Found, Key, Naming, Read, Reader, Section};
use crate::rules::model::{LongPrice, Price, Profile};
use crate::rules::retry::{DEFAULT_RETRIES, MOST_RETRIES};
use crate::rules::spec::{CountedBy, ModelSpec, Origin, Reach, Setting};

/// What a model may be called in either file.
pub(super) const NAME: Name = Name { characters: Characters::Mixed, most: 64 };
/// A table of `[models]`.
pub(super) const NAMING: Naming = Naming { noun: "model", kind: NAME, example: "coder" };

/// Tokens of a window: far above any model, far below where sums could overflow.
const MOST_TOKENS: u64 = 100_000_000;
/// Dollars for a million tokens, in millionths: far above any price.
const MOST_PRICE: u64 = 1_000_000_000_000;
/// Thousandths of a token for a byte. NFKC grows UTF-8 up to 11 times, NFC up to 3 times:
/// <https://www.unicode.org/faq/normalization.html>.
const MOST_NORM_MILLI: u64 = 16_000;

const WINDOW: Key<Amount> = Key { name: "window", kind: Amount::new(Unit::Count, 1, MOST_TOKENS), example: "32768" };
const MAX_OUTPUT: Key<Amount> =
    Key { name: "max-output", kind: Amount::new(Unit::Count, 1, MOST_TOKENS), example: "4096" };
const PRICE_IN: Key<Amount> =
    Key { name: "usd-per-mtok-in", kind: Amount::new(Unit::Usd, 0, MOST_PRICE), example: "\"2.50\"" };
const PRICE_OUT: Key<Amount> =
    Key { name: "usd-per-mtok-out", kind: Amount::new(Unit::Usd, 0, MOST_PRICE), example: "\"10\"" };
const PRICE_CACHED: Key<Amount> =
    Key { name: "usd-per-mtok-cached", kind: Amount::new(Unit::Usd, 0, MOST_PRICE), example: "\"0.25\"" };
const PRICE_WRITTEN: Key<Amount> =
    Key { name: "usd-per-mtok-cache-write", kind: Amount::new(Unit::Usd, 0, MOST_PRICE), example: "\"3.75\"" };
const PRICE_WRITTEN_HOUR: Key<Amount> =
    Key { name: "usd-per-mtok-cache-write-hour", kind: Amount::new(Unit::Usd, 0, MOST_PRICE), example: "\"6\"" };
const PRICE_REASONING: Key<Amount> =
    Key { name: "usd-per-mtok-reasoning", kind: Amount::new(Unit::Usd, 0, MOST_PRICE), example: "\"10\"" };
const LONG_ABOVE: Key<Amount> =
    Key { name: "long-above", kind: Amount::new(Unit::Count, 1, MOST_TOKENS), example: "200000" };
const LONG_IN: Key<Amount> =
    Key { name: "long-usd-per-mtok-in", kind: Amount::new(Unit::Usd, 0, MOST_PRICE), example: "\"5\"" };
const LONG_OUT: Key<Amount> =
    Key { name: "long-usd-per-mtok-out", kind: Amount::new(Unit::Usd, 0, MOST_PRICE), example: "\"15\"" };
const RETRIES: Key<Amount> =
    Key { name: "retries", kind: Amount::new(Unit::Count, 0, MOST_RETRIES as u64), example: "4" };
const SCRIPT: Key<HostPath> = Key { name: "script", kind: HostPath, example: "\"transcript.toml\"" };

/// What a file need not say of a model, because its kind says it.
pub(super) struct Counting {
    /// Thousandths of a token for a byte, at least. Below 1000 a bound on real tokens would not be sound.
    pub least_norm_milli: u64,
    pub norm_milli: u64,
    pub request_overhead: u64,
    pub message_overhead: u64,
}

/// A script counts a quarter of a token for a byte unless its transcript says otherwise, and adds nothing.
const SCRIPTED: Counting =
    Counting { least_norm_milli: 250, norm_milli: 1_000, request_overhead: 0, message_overhead: 0 };

/// A model of the job's own.
pub(super) struct OwnModel {
    /// `None` if it has a mistake.
    spec: Option<ModelSpec>,
    /// Where its section starts.
    place: Range<usize>,
    settings: Vec<Setting>,
}

/// Reads what is known of a model. The overheads are left to the caller, since only one of the files has them.
pub(super) fn profile(section: &mut Section<'_>, reader: &mut Reader, counting: &Counting) -> Option<Profile> {
    let window = section.required(reader, &WINDOW);
    let max_output = section.required(reader, &MAX_OUTPUT);
    let price = price(section, reader);
    let norm = Key {
        name: "norm-factor",
        kind: Amount::new(Unit::Factor, counting.least_norm_milli, MOST_NORM_MILLI),
        example: "\"3\"",
    };
    let norm_factor_milli = section.or_default(reader, &norm, counting.norm_milli);
    Some(Profile {
        window: window?.value,
        max_output: u32::try_from(max_output?.value).expect("the largest window fits"),
        price: price?,
        norm_factor_milli,
        request_overhead: counting.request_overhead,
        tools_overhead: 0,
        message_overhead: counting.message_overhead,
    })
}

/// Reads how often a call is made again if the model says no for now.
pub(super) fn retries(section: &mut Section<'_>, reader: &mut Reader) -> u32 {
    let retries = section.or_default(reader, &RETRIES, DEFAULT_RETRIES.into());
    u32::try_from(retries).expect("the most fit")
}

/// `None`: there is a mistake. `Some(None)`: no price is set.
fn price(section: &mut Section<'_>, reader: &mut Reader) -> Option<Option<Price>> {
    let price_in = section.optional(reader, &PRICE_IN, "unknown");
    let price_out = section.optional(reader, &PRICE_OUT, "unknown");
    let as_in = "as usd-per-mtok-in";
    let parts = [
        (&PRICE_CACHED, as_in),
        (&PRICE_WRITTEN, "1.25 of usd-per-mtok-in"),
        (&PRICE_WRITTEN_HOUR, "2 of usd-per-mtok-in"),
        (&PRICE_REASONING, "as usd-per-mtok-out"),
    ];
    let parts = parts.map(|(key, unset)| section.optional(reader, key, unset).found().map(|found| found.value));
    let [cached, written, written_hour, reasoning] = parts;
    let long = long(section, reader)?;
    match (price_in, price_out) {
        (Read::Absent, Read::Absent) => Some(None),
        (Read::Found(price_in), Read::Found(price_out)) => {
            let price = Price::of(price_in.value, price_out.value);
            Some(Some(Price { cached, written, written_hour, reasoning, long, ..price }))
        }
        (Read::Absent, Read::Found(there)) => half(section, reader, &PRICE_IN, there),
        (Read::Found(there), Read::Absent) => half(section, reader, &PRICE_OUT, there),
        (Read::Wrong, _) | (_, Read::Wrong) => None,
    }
}

/// `None`: there is a mistake. `Some(None)`: long input costs what other input costs.
fn long(section: &mut Section<'_>, reader: &mut Reader) -> Option<Option<LongPrice>> {
    let keys = [&LONG_ABOVE, &LONG_IN, &LONG_OUT];
    let found = keys.map(|key| section.optional(reader, key, "none").found());
    let missing = keys.iter().zip(&found).find(|(_, found)| found.is_none()).map(|(key, _)| *key);
    match (found, missing) {
        ([Some(above), Some(price_in), Some(price_out)], _) => Some(Some(LongPrice {
            above: above.value,
            micro_usd_per_mtok_in: price_in.value,
            micro_usd_per_mtok_out: price_out.value,
        })),
        ([None, None, None], _) | (_, None) => Some(None),
        (found, Some(missing)) => {
            reader.mistake(Mistake {
                span: found.into_iter().flatten().next().map(|found| found.span),
                label: "the price of long input has three settings".to_owned(),
                ..section.missing(missing)
            });
            None
        }
    }
}

fn half(section: &Section<'_>, reader: &mut Reader, absent: &Key<Amount>, there: Found<u64>) -> Option<Option<Price>> {
    reader.mistake(Mistake {
        span: Some(there.span),
        label: "a price has two sides, in and out".to_owned(),
        ..section.missing(absent)
    });
    None
}

/// Reads `[models]` of a job.
pub(super) fn own(section: &Section<'_>, reader: &mut Reader) -> BTreeMap<String, OwnModel> {
    let mut all = BTreeMap::new();
    for (name, section) in section.named(reader, &NAMING) {
        let Some(mut section) = section else {
            all.insert(name.value, OwnModel { spec: None, place: name.span, settings: Vec::new() });
            continue;
        };
        let place = section.place();
        let (spec, settings) = reader.apart(|reader| {
            let script = section.required(reader, &SCRIPT);
            let profile = profile(&mut section, reader, &SCRIPTED);
            let retries = retries(&mut section, reader);
            for (key, tokens) in
                [("request-overhead", SCRIPTED.request_overhead), ("message-overhead", SCRIPTED.message_overhead)]
            {
                reader.set(section.key(key), tokens.to_string(), Origin::Default);
            }
            section.finish(reader);
            let transcript: PathBuf = script?.value;
            Some(ModelSpec {
                profile: profile?,
                reach: Reach::Script { transcript },
                requests_per_minute: None,
                tokens_per_minute: None,
                counted_by: CountedBy::Bytes,
                retries,
            })
        });
        all.insert(name.value, OwnModel { spec, place, settings });
    }
    all
}

/// What the names of a job's grant can mean.
pub(super) struct Names<'a> {
    pub own: BTreeMap<String, OwnModel>,
    pub operator: &'a OperatorFile,
    /// From the command line: the job's name and the operator's.
    pub chosen: &'a BTreeMap<String, String>,
}

impl Names<'_> {
    /// The granted models by the job's names for them. One that is missing here was reported.
    pub(super) fn resolve(
        &self,
        reader: &mut Reader,
        granted: &[(String, Range<usize>)],
    ) -> BTreeMap<String, ModelSpec> {
        for (name, chosen) in self.chosen {
            if !granted.iter().any(|(granted, _)| granted == name) {
                let granted = granted.iter().map(|(name, _)| name.as_str());
                reader.mistake(Mistake {
                    span: None,
                    message: format!("--model {name}={chosen} is for a model that the job does not grant"),
                    label: String::new(),
                    help: format!("allowed: {}\nwrite in [grants]: models = [{name:?}]", listed(granted)),
                });
            }
        }
        let mut models = BTreeMap::new();
        for (name, span) in granted {
            let spec = match (self.chosen.get(name), self.own.get(name)) {
                (Some(chosen), _) => self.of_operator(reader, name, chosen, None),
                (None, Some(own)) => own_model(reader, name, own),
                (None, None) => self.of_operator(reader, name, name, Some(span.clone())),
            };
            if let Some(spec) = spec {
                models.insert(name.clone(), spec);
            }
        }
        models
    }

    /// A model of the operator's under the job's name for it. `span`: where the job asks; `None` is the command line.
    fn of_operator(
        &self,
        reader: &mut Reader,
        name: &str,
        theirs: &str,
        span: Option<Range<usize>>,
    ) -> Option<ModelSpec> {
        let asked = match &span {
            Some(_) => format!("the granted model `{name}`"),
            None => format!("--model {name}={theirs}"),
        };
        let Some(found) = self.operator.models.get(theirs) else {
            reader.mistake(self.undefined(&asked, name, span));
            return None;
        };
        if !self.operator.policy.models.contains(theirs) {
            let allowed = self.operator.policy.models.iter().map(String::as_str);
            reader.mistake(Mistake {
                span,
                message: format!("{asked} is not one that the operator lets jobs use"),
                label: "not in the operator's `policy.models`".to_owned(),
                help: format!(
                    "allowed: {}\nwrite in [policy] of the operator's file: models = [.., {theirs:?}]",
                    listed(allowed)
                ),
            });
            return None;
        }
        if found.spec.profile.price.is_none() {
            let section = format!("[models.{theirs}] of the operator's file");
            reader.mistake(unpriced(name, span, &section));
            return None;
        }
        let origin = if self.chosen.contains_key(name) { Origin::Flag } else { Origin::Operator };
        reader.set(format!("models.{name}"), format!("the operator's {theirs}"), origin);
        reader.adopt(
            found
                .settings
                .iter()
                .map(|setting| Setting { key: format!("models.{name}.{}", setting.key), ..setting.clone() }),
        );
        Some(found.spec.clone())
    }

    fn undefined(&self, asked: &str, name: &str, span: Option<Range<usize>>) -> Mistake {
        let scripts = self.own.keys().map(|name| format!("{name} (the job's)"));
        let usable = self.operator.models.keys().filter(|name| self.operator.policy.models.contains(*name));
        let theirs = usable.map(|name| format!("{name} (the operator's)"));
        let all: Vec<String> = match span {
            Some(_) => scripts.chain(theirs).collect(),
            None => theirs.collect(),
        };
        Mistake {
            span,
            message: format!("{asked} is not defined"),
            label: "no model of this name".to_owned(),
            help: format!(
                "allowed: {}\nwrite: [models.{name}] here for a script, or in the operator's file for a provider",
                listed(all.iter().map(String::as_str))
            ),
        }
    }
}

fn own_model(reader: &mut Reader, name: &str, own: &OwnModel) -> Option<ModelSpec> {
    let spec = own.spec.as_ref()?;
    if spec.profile.price.is_none() {
        reader.mistake(unpriced(name, Some(own.place.clone()), &format!("[models.{name}]")));
        return None;
    }
    reader.set(format!("models.{name}"), "the job's script", Origin::Job);
    reader.adopt(own.settings.iter().cloned());
    Some(spec.clone())
}

fn unpriced(name: &str, span: Option<Range<usize>>, section: &str) -> Mistake {
    Mistake {
        span,
        message: format!("unpriced model `{name}` under a money limit"),
        label: "no price is known".to_owned(),
        help: format!(
            "allowed: dollars for a million tokens in and out; \"0\" if it is free\n\
             write in {section}:\n{} = {}\n{} = {}",
            PRICE_IN.name, PRICE_IN.example, PRICE_OUT.name, PRICE_OUT.example
        ),
    }
}
