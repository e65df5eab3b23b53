//! A provider as the operator's file defines it: how to reach it, where its key is, how fast it may be asked.
//!
//! Never: holds a key, repeats what may be one, sends one in plain text to another machine.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::amount::{Amount, Unit};
use super::kinds::{Characters, Choice, Flag, HostPath, Kind, Name, Text, Texts, Wrong, type_of, wrong};
use super::limit::MOST_COUNT;
use super::mistake::Mistake;
use super::models::{self, Counting};
use super::reader::{Key, Reader, Section};
use crate::rules::model::Profile;
use crate::rules::spec::{
    Auth, CapField, CountedBy, Dialect, Effort, KeySource, ModelSpec, Origin, Provider, Reach, Setting, WireLimits,
};

/// A provider and what is known of its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorModel {
    /// Without a price it can be defined and not be used.
    pub spec: ModelSpec,
    /// Its settings, by their keys in its own section.
    pub settings: Vec<Setting>,
}

/// The longest that one exchange with a provider may be set to: a day.
const MOST_EXCHANGE_MS: u64 = 24 * 3_600_000;
/// A response is held in memory whole, once for each request of a batch.
const MOST_RESPONSE_BYTES: u64 = 256 << 20;

const DIALECT: Key<Choice<Dialect>> = Key {
    name: "dialect",
    kind: Choice(&[("openai", Dialect::Openai), ("anthropic", Dialect::Anthropic), ("responses", Dialect::Responses)]),
    example: "\"openai\"",
};
const URL: Key<Url> = Key { name: "url", kind: Url, example: "\"https://host/v1\"" };
const MODEL: Key<Text> = Key { name: "model", kind: Text { least: 1, most: 256 }, example: "\"gpt-x\"" };
const KEY_ENV: Key<Name> =
    Key { name: "key-env", kind: Name { characters: Characters::Variable, most: 128 }, example: "\"OPENAI_API_KEY\"" };
const KEY_FILE: Key<HostPath> = Key { name: "key-file", kind: HostPath, example: "\"path\"" };
const KEY: Key<NoKey> = Key { name: "key", kind: NoKey, example: "\"none\"" };
const AUTH: Key<Choice<Auth>> = Key {
    name: "auth",
    kind: Choice(&[("bearer", Auth::Bearer), ("x-api-key", Auth::XApiKey), ("api-key", Auth::ApiKey)]),
    example: "\"bearer\"",
};
const CAP_FIELD: Key<Choice<CapField>> = Key {
    name: "cap-field",
    kind: Choice(&[("max_tokens", CapField::MaxTokens), ("max_completion_tokens", CapField::MaxCompletionTokens)]),
    example: "\"max_completion_tokens\"",
};
const TEMPERATURE: Key<Temperature> = Key { name: "temperature", kind: Temperature, example: "0.7" };
const EFFORT: Key<Choice<Effort>> = Key {
    name: "effort",
    kind: Choice(&[
        ("none", Effort::None),
        ("minimal", Effort::Minimal),
        ("low", Effort::Low),
        ("medium", Effort::Medium),
        ("high", Effort::High),
        ("xhigh", Effort::Xhigh),
        ("max", Effort::Max),
    ]),
    example: "\"low\"",
};
const HEADERS: Key<Headers> = Key { name: "headers", kind: Headers, example: "{ x-project = \"7\" }" };
const QUERY: Key<Texts> = Key { name: "query", kind: PARAMETERS, example: "{ api-version = \"2024-10-21\" }" };
const COUNTED_BY: Key<Choice<CountedBy>> = Key {
    name: "counted-by",
    kind: Choice(&[("bytes", CountedBy::Bytes), ("provider", CountedBy::Provider)]),
    example: "\"bytes\"",
};
const STREAM: Key<Flag> = Key { name: "stream", kind: Flag, example: "true" };
/// Far above any provider. The largest one fits a `u32`.
const REQUESTS: Key<Amount> =
    Key { name: "requests-per-minute", kind: Amount::new(Unit::Count, 1, 1_000_000), example: "60" };
const TOKENS: Key<Amount> =
    Key { name: "tokens-per-minute", kind: Amount::new(Unit::Count, 1, MOST_COUNT), example: "200000" };
const REQUEST_OVERHEAD: Key<Amount> =
    Key { name: "request-overhead", kind: Amount::new(Unit::Count, 0, 1_000_000), example: "64" };
const TOOLS_OVERHEAD: Key<Amount> =
    Key { name: "tools-overhead", kind: Amount::new(Unit::Count, 0, 1_000_000), example: "600" };
const MESSAGE_OVERHEAD: Key<Amount> =
    Key { name: "message-overhead", kind: Amount::new(Unit::Count, 0, 1_000_000), example: "16" };
const MAX_RESPONSE: Key<Amount> =
    Key { name: "max-response", kind: Amount::new(Unit::Size, 1 << 10, MOST_RESPONSE_BYTES), example: "\"8MiB\"" };
const CONNECT: Key<Amount> =
    Key { name: "connect", kind: Amount::new(Unit::Duration, 1, MOST_EXCHANGE_MS), example: "\"10s\"" };
const IDLE: Key<Amount> =
    Key { name: "idle", kind: Amount::new(Unit::Duration, 1, MOST_EXCHANGE_MS), example: "\"120s\"" };
const TOTAL: Key<Amount> =
    Key { name: "total", kind: Amount::new(Unit::Duration, 1, MOST_EXCHANGE_MS), example: "\"600s\"" };

/// What is left to the provider.
const AS_PROVIDED: &str = "as the provider wants it";

/// A pace that is not set.
const AS_MANY: &str = "as many as come";

/// NFC can grow UTF-8 up to three times; the overheads are above what known chat templates add.
const PROVIDED: Counting =
    Counting { least_norm_milli: 1_000, norm_milli: 3_000, request_overhead: 64, message_overhead: 16 };

/// Tokens of a provider's own words on tools: 264 to 530 with Anthropic, by
/// <https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing>; some tens in known chat templates.
fn tools_overhead(dialect: Dialect) -> u64 {
    match dialect {
        Dialect::Openai | Dialect::Responses => 128,
        Dialect::Anthropic => 600,
    }
}

/// Headers and parameters of the operator's, each.
const PARAMETERS: Texts = Texts { text: Text { least: 1, most: 1_024 }, most: 16 };

/// Headers that are the host's to set, or that carry a key.
const OWN_HEADERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "anthropic-version",
    "api-key",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "transfer-encoding",
    "x-api-key",
    "x-client-request-id",
];

/// Reads `[models]`. A model that has a mistake is `None`: its name is known all the same.
pub(super) fn read(section: &Section<'_>, reader: &mut Reader) -> BTreeMap<String, Option<OperatorModel>> {
    let mut all = BTreeMap::new();
    for (name, section) in section.named(reader, &models::NAMING) {
        let Some(mut section) = section else {
            all.insert(name.value, None);
            continue;
        };
        let prefix = section.key("");
        let (spec, settings) = reader.apart(|reader| {
            let spec = provider(&mut section, reader);
            section.finish(reader);
            spec
        });
        let relative = |setting: Setting| Setting {
            key: setting.key.strip_prefix(&prefix).unwrap_or(&setting.key).to_owned(),
            ..setting
        };
        let settings = settings.into_iter().map(relative).collect();
        all.insert(name.value, spec.map(|spec| OperatorModel { spec, settings }));
    }
    all
}

fn provider(section: &mut Section<'_>, reader: &mut Reader) -> Option<ModelSpec> {
    let dialect = section.required(reader, &DIALECT);
    let url = section.required(reader, &URL);
    let model = section.required(reader, &MODEL);
    let keys = vec![
        (KEY_ENV.name, section.read(reader, &KEY_ENV).map(KeySource::Environment)),
        (KEY_FILE.name, section.read(reader, &KEY_FILE).map(KeySource::File)),
        (KEY.name, section.read(reader, &KEY).map(|()| KeySource::None)),
    ];
    let key = section.only(reader, keys, "key-env = \"OPENAI_API_KEY\"");
    if let Some(key) = &key {
        let (name, shown) = match key {
            KeySource::None => (KEY.name, "none".to_owned()),
            KeySource::Environment(variable) => (KEY_ENV.name, variable.clone()),
            KeySource::File(path) => (KEY_FILE.name, path.display().to_string()),
        };
        reader.set(section.key(name), shown, Origin::Operator);
    }
    let auth = section.optional(reader, &AUTH, "as the server wants it").found().map(|found| found.value);
    let usual = dialect.as_ref().map_or(Dialect::Openai, |dialect| dialect.value);
    let cap_field = cap_field(section, reader, usual);
    let temperature = section.optional(reader, &TEMPERATURE, AS_PROVIDED).found().map(|found| found.value);
    let effort = section.optional(reader, &EFFORT, AS_PROVIDED).found().map(|found| found.value);
    let headers = section.or_default(reader, &HEADERS, BTreeMap::new());
    let query = section.or_default(reader, &QUERY, BTreeMap::new());
    let profile = models::profile(section, reader, &PROVIDED);
    let request_overhead = section.or_default(reader, &REQUEST_OVERHEAD, PROVIDED.request_overhead);
    let tools_overhead = section.or_default(reader, &TOOLS_OVERHEAD, tools_overhead(usual));
    let message_overhead = section.or_default(reader, &MESSAGE_OVERHEAD, PROVIDED.message_overhead);
    let counted_by = section.or_default(reader, &COUNTED_BY, CountedBy::default());
    let stream = section.or_default(reader, &STREAM, true);
    let retries = models::retries(section, reader);
    let requests_per_minute = requests_per_minute(section, reader);
    let tokens = section.optional(reader, &TOKENS, AS_MANY).found();
    let defaults = WireLimits::default();
    let limits = WireLimits {
        max_response_bytes: section.or_default(reader, &MAX_RESPONSE, defaults.max_response_bytes),
        connect_ms: section.or_default(reader, &CONNECT, defaults.connect_ms),
        idle_ms: section.or_default(reader, &IDLE, defaults.idle_ms),
        total_ms: section.or_default(reader, &TOTAL, defaults.total_ms),
    };
    let profile = Profile { request_overhead, tools_overhead, message_overhead, ..profile? };
    let provider = Provider {
        dialect: dialect?.value,
        url: url?.value,
        model: model?.value,
        key: key?,
        auth,
        cap_field,
        temperature_hundredths: temperature,
        effort,
        headers,
        query,
        stream,
        limits,
    };
    let tokens_per_minute = tokens.map(|tokens| tokens.value);
    Some(ModelSpec {
        profile,
        reach: Reach::Provider(provider),
        requests_per_minute,
        tokens_per_minute,
        counted_by,
        retries,
    })
}

/// What the cap on output is called. In all dialects but one it has one name, and a key that says so would say nothing.
fn cap_field(section: &mut Section<'_>, reader: &mut Reader, dialect: Dialect) -> Option<CapField> {
    let name = match dialect {
        Dialect::Openai => {
            let read = section.optional(reader, &CAP_FIELD, "by the model's name");
            return read.found().map(|found| found.value);
        }
        Dialect::Anthropic => "max_tokens",
        Dialect::Responses => "max_output_tokens",
    };
    if let Some(span) = section.misplaced(CAP_FIELD.name) {
        reader.mistake(Mistake {
            span: Some(span),
            message: format!("`{}` is given, but this dialect has one name for the cap", section.key(CAP_FIELD.name)),
            label: format!("it is always `{name}`"),
            help: format!("allowed: `{}` with dialect = \"openai\"\nwrite: nothing; delete this key", CAP_FIELD.name),
        });
    }
    None
}

/// Reads a pace of requests, of a model or of a tenant.
pub(super) fn requests_per_minute(section: &mut Section<'_>, reader: &mut Reader) -> Option<u32> {
    let requests = section.optional(reader, &REQUESTS, AS_MANY).found()?;
    Some(u32::try_from(requests.value).expect("the most requests fit"))
}

/// A temperature, with at most two decimals. Its value is in hundredths.
struct Temperature;

impl Kind for Temperature {
    type Value = u16;

    fn allowed(&self) -> String {
        "0 to 2, with at most two decimals".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<u16, Vec<Wrong>> {
        let text = match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) => number.as_str(),
            other => return wrong(value, format!("is {}", type_of(other)), "not a number"),
        };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let hundredths = match (whole, decimals.len()) {
            ("0" | "1" | "2", 0..=2) => format!("{whole}{decimals:0<2}").parse().ok(),
            _ => None,
        };
        match hundredths.filter(|hundredths| *hundredths <= 200) {
            Some(hundredths) => Ok(hundredths),
            None => wrong(value, "is no temperature", "from 0 to 2, with at most two decimals"),
        }
    }

    fn show(&self, hundredths: &u16) -> String {
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

/// The word `none`, and never a key.
struct NoKey;

impl Kind for NoKey {
    type Value = ();

    fn allowed(&self) -> String {
        "key-env = \"OPENAI_API_KEY\" or key-file = \"path\"; this key is only for servers that want none".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<Wrong>> {
        match value.get_ref().as_str() {
            Some("none") => Ok(()),
            // Neither the message nor the label repeats what may be a key.
            Some(_) | None => wrong(
                value,
                "holds a key; keys never stand in a file, because files get committed",
                "take this key out, and revoke it if the file was shared",
            ),
        }
    }

    fn show(&self, (): &()) -> String {
        "none".to_owned()
    }
}

/// Headers of the operator's, none of which is the host's or carries a key.
struct Headers;

impl Kind for Headers {
    type Value = BTreeMap<String, String>;

    fn allowed(&self) -> String {
        format!("{}; of visible characters and spaces, and none of {}", PARAMETERS.allowed(), OWN_HEADERS.join(", "))
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Self::Value, Vec<Wrong>> {
        let headers = PARAMETERS.read(value)?;
        for (name, text) in &headers {
            if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                let problem = format!("sets `{name}`, which is the host's, or carries a key");
                return wrong(value, problem, "keys stand in key-env or key-file, and `auth` says how they are sent");
            }
            let is_name = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
            if !is_name || !text.chars().all(|letter| letter == ' ' || letter.is_ascii_graphic()) {
                return wrong(value, format!("has a header `{name}` that cannot be sent"), "not a header");
            }
        }
        Ok(headers)
    }

    fn show(&self, value: &Self::Value) -> String {
        PARAMETERS.show(value)
    }
}

/// The base address of a provider.
struct Url;

impl Kind for Url {
    type Value = String;

    fn allowed(&self) -> String {
        "https://host/path, or http:// for this machine, without user, query or fragment".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let text = Text { least: 1, most: 2_048 }.read(value)?;
        match check_url(&text) {
            Ok(()) => Ok(text),
            Err(problem) => wrong(value, problem, "not a base address"),
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

fn check_url(url: &str) -> Result<(), &'static str> {
    if url.contains(['?', '#']) {
        return Err("has a query or a fragment, which a base address cannot have");
    }
    check_address(url)
}

/// What is wrong with an address that is reached over HTTP, as it is written.
pub(super) fn check_address(url: &str) -> Result<(), &'static str> {
    if !url.chars().all(|character| character.is_ascii_graphic()) {
        return Err("has a character that an address cannot have");
    }
    let (plain, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err("starts with neither https:// nor http://"),
    };
    if rest.contains(['#', '\\']) {
        return Err("has a fragment or a backslash");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    if authority.contains('@') {
        return Err("has a user in it");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    if host.is_empty() {
        return Err("has no host");
    }
    let number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && matches!(port.parse::<u16>(), Ok(1..));
    if port.is_some_and(|port| !number(port)) {
        return Err("has a port that is not one");
    }
    if plain && !is_loopback(host) {
        return Err("would be sent in plain text, with all that is secret in it: http is for this machine only");
    }
    Ok(())
}

/// The exact forms only: a name such as `127.0.0.1.example.com` belongs to somebody else.
fn is_loopback(host: &str) -> bool {
    let parts: Vec<&str> = host.split('.').collect();
    let number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u8>().is_ok();
    host == "localhost" || host == "[::1]" || (parts.len() == 4 && parts[0] == "127" && parts.iter().all(number))
}
