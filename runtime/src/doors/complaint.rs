//! What a provider says when it says no: judged by its status, its JSON or its text, and made safe to show.
//!
//! Never: says of an answer that it was free if its status, its words or what stands in it show that a model may have run for
//! it. Invariant: what [`clean`] returns is one line
//! of at most 500 characters without control characters, so a provider can write neither to a terminal nor a second line
//! into a log.

use serde_json::Value;

use super::json::{count, list};
use crate::rules::effect::{Failure, FailureKind};

/// Characters. Enough for a provider's reason; more would let it fill journals and screens.
const LONGEST: usize = 500;

/// A refusal of a provider's, judged by its status and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What kind of no it is, in the provider's words.
    pub failure: Failure,
    /// Whether it proves that no model ran for the request.
    pub is_free: bool,
}

impl Complaint {
    /// Of an answer with another status than 200.
    ///
    /// With 4xx the server says that it did not take the request, and no known provider bills one. Not so 408 and 499, with
    /// which proxies report that they stopped waiting for a server that may well be at work. 5xx may come after the work, but
    /// for one that says that no model had time for it: a server that failed may not fail again, and what it did is unknown.
    /// Anything else is no answer of a model's.
    pub fn of_status(status: u16, body: &[u8]) -> Self {
        let value = in_body(body);
        let (kind, no_model_ran) = kind(status, &value);
        let words = match status {
            300..400 => "redirects are never followed".to_owned(),
            _ => in_json(&value),
        };
        let is_free = no_model_ran || ((400..500).contains(&status) && !matches!(status, 408 | 499));
        Self { failure: Failure { kind, message: format!("the provider answered {status}: {words}") }, is_free }
    }

    /// Of an answer with status 200, or of one event of it. `None`: it is no error. Whether it is free holds for what it says
    /// itself; what came before it may show that a model ran. One of a server that failed is not: a gateway may say so of what
    /// a model has answered.
    pub fn of_reply(json: &[u8]) -> Option<Self> {
        // Nearly every event of every stream comes here.
        let names = |name: &[u8]| json.windows(name.len()).any(|part| part == name);
        let value: Value =
            if NAMES.iter().any(|name| names(name)) { serde_json::from_slice(json).ok()? } else { return None };
        let is_error = |place: &str| value.pointer(place).is_some_and(says_something);
        let is_one = ["/error", "/errors", "/0/error"].into_iter().any(is_error) || inner(&value).is_some();
        let is_named = ["/object", "/type"].iter().any(|place| value.pointer(place).is_some_and(|it| it == "error"));
        let has_code = is_code(&value["base_resp"]["status_code"]) || is_bare(&value);
        (is_one || is_named || has_code).then(|| Self::of_error(&value))
    }

    /// Of one event of a stream, which may be one that only its name calls an error.
    pub fn of_event(name: &str, json: &[u8]) -> Option<Self> {
        let is_named = || (name == "error").then(|| Self::of_error(&in_body(json)));
        Self::of_reply(json).or_else(is_named)
    }

    fn of_error(value: &Value) -> Self {
        // What stands beside an error that is part of something has codes that are no error's.
        let error = inner(value).unwrap_or(value);
        let code = &value["base_resp"]["status_code"];
        let may_have_run = is_code(code) && !count(code).is_some_and(|code| MINIMAX_FREE.contains(&code));
        let (kind, no_model_ran) = kind(200, error);
        let is_refusal = no_model_ran || kind == FailureKind::Rejected;
        let is_free = is_refusal && !may_have_run && !shows_a_model(value, DEEPEST_SIGN);
        Self { failure: Failure { kind, message: in_json(error) }, is_free }
    }
}

/// An error that is part of something else.
fn inner(value: &Value) -> Option<&Value> {
    let in_choices = list(&value["choices"]).iter().map(|choice| &choice["error"]);
    let in_response = ["/response/error", "/response/status_details/error"];
    let in_response = in_response.into_iter().filter_map(|place| value.pointer(place));
    in_choices.chain(in_response).find(|error| says_something(error))
}

/// What every error object has somewhere.
const NAMES: [&[u8]; 3] = [b"\"error", b"\"base_resp\"", b"\"code\""];

/// MiniMax's codes of what it refuses before a model runs: see <https://platform.minimax.io/docs/api-reference/errorcode.md>.
const MINIMAX_FREE: [u64; 7] = [1002, 1004, 1008, 1039, 1041, 2013, 2049];

/// Whether it is a code of an error, and not one of success.
fn is_code(code: &Value) -> bool {
    match (count(code), code) {
        (Some(code), _) => code != 0 && !(200..300).contains(&code),
        (None, Value::String(word)) => !matches!(word.to_ascii_lowercase().as_str(), "" | "ok" | "success"),
        (None, code) => says_something(code),
    }
}

/// An error that is no object of its own: a code, its words, and nothing of a reply.
fn is_bare(value: &Value) -> bool {
    let has_code = ["code", "error_code"].iter().any(|name| is_code(&value[name]));
    let has_words = ["message", "msg", "error_msg"].iter().any(|name| value[name].is_string());
    has_code && has_words && list(&value["choices"]).is_empty()
}

/// The body of an error reply: its JSON, or its text.
fn in_body(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into())
}

/// Not null, false, zero or empty: some servers send such a field with every reply.
fn says_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// Fields in which servers put what a model said.
const SAID: [&str; 13] = [
    "arguments",
    "output",
    "content",
    "text",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "thinking",
    "refusal",
    "tool_calls",
    "function_call",
    "partial_json",
    "content_block",
];

/// Fields in which they put what it cost. They are signs also where they are empty.
const COST: [&str; 3] = ["usage", "timings", "amazon-bedrock-invocationMetrics"];

/// Objects within each other that are looked at for signs of a model.
const DEEPEST_SIGN: usize = 8;

/// Whether an answer, or an event of it, shows that a model ran.
pub fn shows_it(json: &[u8]) -> bool {
    serde_json::from_slice(json).is_ok_and(|value| shows_a_model(&value, DEEPEST_SIGN))
}

/// What an error says of itself is not looked at.
fn shows_a_model(value: &Value, depth: usize) -> bool {
    let is_sign = |name: &str, value: &Value| {
        // Responses repeat these two settings of the request.
        let is_setting = matches!(name, "text" | "reasoning") && value.is_object();
        (SAID.contains(&name) && says_something(value) && !is_setting) || (COST.contains(&name) && !value.is_null())
    };
    match value {
        Value::Object(fields) if depth > 0 => fields.iter().any(|(name, value)| {
            !matches!(name.as_str(), "error" | "errors") && (is_sign(name, value) || shows_a_model(value, depth - 1))
        }),
        Value::Array(list) if depth > 0 => list.iter().any(|value| shows_a_model(value, depth - 1)),
        Value::Object(_) | Value::Array(_) => true,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Objects within each other, and fields of one, that are looked at for codes.
const DEEPEST: usize = 4;
const WIDEST: usize = 16;

/// Fields in which servers say which error it is.
const CODES: [&str; 9] =
    ["code", "type", "status", "statusCode", "status_code", "error_type", "__type", "reason", "error_code"];

/// Codes of what does not pass by waiting: somebody has to pay, or to ask for more or less.
const LASTING: [&str; 13] = [
    "insufficientquota",
    "insufficientbalance",
    "insufficientcredit",
    "insufficientfund",
    "billing",
    "payment",
    "arrear",
    "credit",
    "budgetexceeded",
    "exceededcurrentquota",
    "servicequotaexceeded",
    "requesttoolarge",
    "contextlength",
];

/// Codes of what passes by itself.
const PASSING: [&str; 10] = [
    "overload",
    "ratelimit",
    "toomanyrequests",
    "throttl",
    "resourceexhausted",
    "capacity",
    "queueexceeded",
    "requestlimited",
    "notready",
    "slowdown",
];

/// The same, where the code is nothing else: within another one they mean something else, as in `model_unavailable`.
const PASSING_WHOLE: [&str; 8] = [
    "unavailable",
    "unavailableerror",
    "serviceunavailable",
    "serviceunavailableerror",
    "serviceunavailableexception",
    "serverbusy",
    "enginebusy",
    "modelbusy",
];

/// Codes of a server that failed, where no number says so.
const FAILED: [&str; 6] = ["internal", "servererror", "apierror", "timeout", "upstream", "badgateway"];

/// Words of one, where no code does.
const FAILED_WORDS: [&str; 5] = ["internal server error", "internal error", "timed out", "timeout", "upstream"];

/// Words of a request that is too much for one minute's tokens, whenever it is sent.
const TOO_LARGE: [&str; 3] = ["request too large", "too large for", "reduce the length"];

/// Words of what passes by itself, where no code says it.
const BUSY: [&str; 14] = [
    "overloaded",
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many requests",
    "throttl",
    "server busy",
    "is busy",
    "at capacity",
    "capacity exceeded",
    "temporarily unavailable",
    "currently loading",
    "no healthy upstream",
    "no instances available",
];

/// Words of what does not, where no code says it.
const UNPAID: [&str; 6] = ["insufficient", "billing", "credits", "credit balance", "spending limit", "payment"];

/// Bytes of a message that are looked at: a page of HTML may follow.
const WORDS_BYTES: usize = 4 << 10;

/// What kind of no it is, and whether it says that no model had time for the request. Codes come before words, and words before
/// the status: a gateway's status says little.
fn kind(status: u16, value: &Value) -> (FailureKind, bool) {
    const BUSY_NOW: (FailureKind, bool) = (FailureKind::Overloaded, true);
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    codes(value, DEEPEST, &mut words, &mut numbers);
    let in_code = |known: &[&str]| words.iter().any(|word: &String| known.iter().any(|part| word.contains(part)));
    let mut message = in_json(value).to_lowercase();
    message.truncate(message.floor_char_boundary(WORDS_BYTES));
    let in_words = |known: &[&str]| known.iter().any(|part| message.contains(part));
    if status == 402 || numbers.contains(&402) || in_code(&LASTING) || in_words(&TOO_LARGE) {
        return (FailureKind::Rejected, false);
    }
    if in_code(&PASSING) || words.iter().any(|word| PASSING_WHOLE.contains(&word.as_str())) {
        return BUSY_NOW;
    }
    // What the server says of itself comes before what carried it.
    let said = numbers.iter().copied().find(|number| (400..600).contains(number)).filter(|_| status == 200);
    let status = said.unwrap_or(status);
    match status {
        // A server that does not know the request or the key says so, whatever its words.
        400 | 401 | 403 | 404 | 405 | 413 | 422 => (FailureKind::Rejected, false),
        _ if numbers.iter().any(|number| matches!(number, 429 | 503 | 529)) && !in_words(&UNPAID) => BUSY_NOW,
        _ if in_words(&BUSY) => BUSY_NOW,
        429 | 503 | 529 if !in_words(&UNPAID) => BUSY_NOW,
        408 | 504 | 524 => (FailureKind::TimedOut, false),
        // A server or a gateway that failed: <https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/>.
        500 | 502 | 520..=527 => (FailureKind::Overloaded, false),
        200 if in_code(&FAILED) || in_words(&FAILED_WORDS) => (FailureKind::Overloaded, false),
        200 | 400..600 => (FailureKind::Rejected, false),
        _ => (FailureKind::Broken, false),
    }
}

/// The codes of an error: words in one spelling, `rate_limit_error` as `ratelimiterror`, and numbers.
fn codes(value: &Value, depth: usize, words: &mut Vec<String>, numbers: &mut Vec<u16>) {
    let below: Vec<(&str, &Value)> = match value {
        Value::Object(object) => object.iter().take(WIDEST).map(|(name, value)| (name.as_str(), value)).collect(),
        Value::Array(list) => list.iter().take(WIDEST).map(|value| ("", value)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    for (name, value) in below {
        match value {
            Value::Number(number) if CODES.contains(&name) => {
                numbers.extend(number.as_u64().and_then(|number| u16::try_from(number).ok()));
            }
            Value::String(text) if CODES.contains(&name) => match text.parse() {
                Ok(number) => numbers.push(number),
                Err(_) => {
                    // AWS puts a namespace before it.
                    let text = text.rsplit('#').next().unwrap_or(text);
                    let letters = text.chars().take(WORDS_BYTES).filter(char::is_ascii_alphanumeric);
                    words.push(letters.map(|letter| letter.to_ascii_lowercase()).collect());
                }
            },
            Value::Object(_) | Value::Array(_) if depth > 0 => codes(value, depth - 1, words, numbers),
            _ => {}
        }
    }
}

/// The complaint in an error object, where the known dialects and servers put it, as it came.
fn in_json(value: &Value) -> String {
    let places = [
        "/error/message",
        "/message",
        "/errors/0/message",
        "/0/error/message",
        "/error",
        "/base_resp/status_msg",
        "/error_msg",
        "/msg",
        "/detail",
        "/title",
        "",
    ];
    let found = places.iter().find_map(|place| value.pointer(place).and_then(Value::as_str));
    found.map_or_else(|| value.to_string(), str::to_owned)
}

/// The text as one short line. A key is taken out before: a cut could leave a part of it that nothing finds.
pub fn clean(text: &str) -> String {
    let head: String = text
        .trim_start()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(LONGEST + 1)
        .collect();
    match head.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", head[..end].trim_end()),
        None => head.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests;
