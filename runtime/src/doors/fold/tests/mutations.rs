//! The corpus, changed at random from a seed: no change of bytes makes the meter say less than they prove.
//!
//! A second, simple reading of the bytes is the judge; it shares nothing with the reader but JSON.
//! `JIDOKA_REPLY_CASES=N` runs N cases. The seed is always the same.

use serde_json::{Value, json};

use super::rows::{Row, rows};
use super::*;

const CASES: u64 = 4_000;

/// Xorshift: <https://www.jstatsoft.org/article/view/v008i14>.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % sides.max(1)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}

/// A reply that is being changed.
struct Reply {
    dialect: Dialect,
    is_stream: bool,
    pieces: Vec<String>,
}

impl Reply {
    fn change(&mut self, dice: &mut Dice, all: &[Row]) {
        let (place, other) = (dice.roll(self.pieces.len()), dice.roll(self.pieces.len()));
        match dice.roll(if self.is_stream { 9 } else { 5 }) {
            0..=3 => self.change_json(place, dice, all),
            4 => {
                let piece = &mut self.pieces[place];
                let cut = piece.floor_char_boundary(dice.roll(piece.len()));
                if dice.roll(4) == 0 {
                    piece.truncate(cut);
                }
            }
            5 if self.pieces.len() > 1 => drop(self.pieces.remove(place)),
            6 => self.pieces.insert(place, self.pieces[other].clone()),
            7 => self.pieces.swap(place, other),
            _ => {
                let from = dice.of(all);
                let pieces = from.pieces();
                let piece = dice.of(&pieces).clone();
                if from.is_stream() || piece.starts_with('{') {
                    self.pieces.insert(place, piece);
                }
            }
        }
    }

    fn change_json(&mut self, place: usize, dice: &mut Dice, all: &[Row]) {
        let Ok(mut value) = serde_json::from_str::<Value>(&self.pieces[place]) else { return };
        if dice.roll(3) == 0 {
            // What another row says of its cost.
            let pieces = dice.of(all).pieces();
            let other = serde_json::from_str::<Value>(&pieces[dice.roll(pieces.len())]).unwrap_or_default();
            let places = ["/usage", "/message/usage", "/choices/0/usage", "/x_groq/usage", "/timings"];
            let usage = places.iter().find_map(|place| other.pointer(place)).cloned();
            let into = ["", "/message", "/delta", "/choices/0", "/choices/0/delta"];
            if let (Some(usage), Some(Value::Object(into))) = (usage, value.pointer_mut(into[dice.roll(into.len())])) {
                into.insert("usage".into(), usage);
            }
        } else {
            let mut leaves = Vec::new();
            pointers(&value, &mut String::new(), &mut leaves);
            if leaves.is_empty() {
                return;
            }
            // Counts are what this is about.
            let counts: Vec<String> = leaves.iter().filter(|leaf| leaf.contains("token")).cloned().collect();
            let pointer = if counts.is_empty() || dice.roll(3) == 0 { dice.of(&leaves) } else { dice.of(&counts) };
            if let Some(leaf) = value.pointer_mut(pointer) {
                *leaf = changed(leaf, dice);
            }
        }
        self.pieces[place] = value.to_string();
    }

    /// In the lines of a stream, or as it is.
    fn body(&self, dice: &mut Dice) -> String {
        if !self.is_stream {
            return self.pieces.concat();
        }
        let end = *dice.of(&["\n\n", "\n\n", "\n\n", "\r\n\r\n", "\n: ping\n\n"]);
        let mut body: String = self.pieces.iter().map(|piece| format!("data: {piece}{end}")).collect();
        match dice.roll(8) {
            0 => body.truncate(body.trim_end().len()),
            1 => body.truncate(body.floor_char_boundary(dice.roll(body.len() + 1))),
            _ => {}
        }
        body
    }
}

/// The places of all that is no object and no list.
fn pointers(value: &Value, path: &mut String, leaves: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| {
        let length = path.len();
        *path += &format!("/{name}");
        pointers(value, path, leaves);
        path.truncate(length);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(place, value)| below(&place.to_string(), value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => leaves.push(path.clone()),
    }
}

fn changed(leaf: &Value, dice: &mut Dice) -> Value {
    let number = leaf.as_u64().unwrap_or(7);
    match dice.roll(14) {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(number.saturating_mul(10)),
        3 => json!(number.saturating_add(1)),
        4 => json!(number / 2),
        5 => json!(number.to_string()),
        6 => json!(f64::from(u32::try_from(number).unwrap_or(9))),
        7 => json!(1.5),
        8 => json!(-3),
        9 => json!(u64::MAX - number),
        10 => json!("many"),
        11 => json!([number]),
        12 => json!({ "tokens": number }),
        _ => json!(true),
    }
}

/// What the bytes prove at the least.
#[derive(Debug, Default)]
struct Proof {
    tokens_in: u128,
    tokens_out: u128,
    total: u128,
    shows_a_model: bool,
}

impl Proof {
    fn of(dialect: Dialect, bytes: &str) -> Self {
        let mut proof = Self::default();
        for text in texts(bytes) {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                proof.read(dialect, &value);
            }
        }
        proof
    }

    /// Anywhere but in what a model wrote, and in what an error says of itself.
    fn read(&mut self, dialect: Dialect, value: &Value) {
        const WORDS: [&str; 8] =
            ["content", "text", "reasoning", "reasoning_content", "thinking", "refusal", "partial_json", "arguments"];
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "error" | "errors" => {}
                        "usage" => self.count(dialect, value),
                        "timings" => {
                            let [input, cached, output] =
                                ["prompt_n", "cache_n", "predicted_n"].map(|name| is(value, name));
                            self.at_least(input + cached, output, 0);
                        }
                        "amazon-bedrock-invocationMetrics" => {
                            let parts = ["inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"];
                            self.at_least(
                                parts.iter().map(|part| is(value, part)).sum(),
                                is(value, "outputTokenCount"),
                                0,
                            );
                        }
                        name if WORDS.contains(&name) => self.shows_a_model |= has_words(value),
                        "input" => {}
                        _ => self.read(dialect, value),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| self.read(dialect, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn count(&mut self, dialect: Dialect, usage: &Value) {
        let sides = |usage: &Value| {
            let most = |names: &[&str]| names.iter().map(|name| is(usage, name)).max().unwrap_or(0);
            let [read, written] =
                ["cache_read_input_tokens", "cache_creation_input_tokens"].map(|name| is(usage, name));
            let lifetimes = ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"];
            let lifetimes: u128 = lifetimes.iter().map(|name| is(&usage["cache_creation"], name)).sum();
            let beside = match dialect {
                Dialect::Anthropic => most(&["input_tokens"]) + read + written.max(lifetimes),
                _ => read.max(written).max(lifetimes).max(is(&usage["prompt_tokens_details"], "cached_tokens")),
            };
            let details = ["completion_tokens_details", "output_tokens_details"];
            let reasoning = details.iter().map(|name| is(&usage[name], "reasoning_tokens")).max().unwrap_or(0);
            let reasoning = if dialect == Dialect::Anthropic { 0 } else { reasoning };
            let output = most(&["completion_tokens", "output_tokens"]).max(reasoning);
            (most(&["prompt_tokens", "input_tokens"]).max(beside), output)
        };
        let (tokens_in, tokens_out) = sides(usage);
        self.at_least(tokens_in, tokens_out, is(usage, "total_tokens"));
        if let (Dialect::Anthropic, Value::Array(steps)) = (dialect, &usage["iterations"]) {
            let steps = steps.iter().map(sides).fold((0, 0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
            self.at_least(steps.0, steps.1, 0);
        }
    }

    fn at_least(&mut self, tokens_in: u128, tokens_out: u128, total: u128) {
        self.tokens_in = self.tokens_in.max(tokens_in);
        self.tokens_out = self.tokens_out.max(tokens_out);
        self.total = self.total.max(total);
        self.shows_a_model |= tokens_in + tokens_out + total > 0;
    }
}

/// A count, if it can be read as one.
fn is(value: &Value, name: &str) -> u128 {
    match &value[name] {
        Value::Number(number) if number.is_f64() => {
            number.to_string().strip_suffix(".0").and_then(|whole| whole.parse().ok()).unwrap_or(0)
        }
        Value::Number(number) => number.as_u64().map_or(0, u128::from),
        Value::String(text) => text.trim().parse::<u64>().map_or(0, u128::from),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 0,
    }
}

fn has_words(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(has_words),
        Value::Object(fields) => fields.iter().any(|(name, value)| name == "text" && has_words(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The data of each event, or the whole.
fn texts(bytes: &str) -> Vec<String> {
    if bytes.trim_start().starts_with(['{', '[']) {
        return vec![bytes.to_owned()];
    }
    let bytes = bytes.replace("\r\n", "\n");
    let event =
        |event: &str| event.lines().filter_map(|line| line.strip_prefix("data:")).collect::<Vec<_>>().join("\n");
    bytes.split("\n\n").map(event).collect()
}

/// The outcome, and how much was read for it.
fn read(dialect: Dialect, body: &str, pieces: impl Iterator<Item = usize>) -> (Folded, usize) {
    let (mut fold, mut taken) = (Fold::new(dialect, "one", 100), 0);
    for size in pieces {
        let end = body.len().min(taken + size);
        let flow = fold.push(&body.as_bytes()[taken..end]);
        taken = end;
        if flow.is_break() || taken == body.len() {
            break;
        }
    }
    (fold.finish(), taken)
}

#[test]
fn no_change_of_what_servers_send_makes_the_meter_say_less_than_the_bytes_prove() {
    let cases = std::env::var("JIDOKA_REPLY_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let (all, mut dice, mut exact) = (rows(), Dice(0x5EED_0F16), 0_u64);
    for case in 0..cases {
        let row = dice.of(&all);
        let mut reply = Reply { dialect: row.dialect, is_stream: row.is_stream(), pieces: row.pieces() };
        for _ in 0..=dice.roll(4) {
            reply.change(&mut dice, &all);
        }
        let body = reply.body(&mut dice);
        // As far as the reader reads, and no farther: it hangs up at an end and at what breaks a rule.
        let (folded, taken) = read(reply.dialect, &body, body.split_inclusive('\n').map(str::len));
        for size in [1, 2 + dice.roll(40), body.len().max(1)] {
            let again = read(reply.dialect, &body, std::iter::repeat(size)).0;
            assert_eq!(again, folded, "case {case}: in pieces of {size}:\n{body}");
        }
        let proof = Proof::of(reply.dialect, &body[..taken]);
        let Metered::Exact(Usage { tokens_in, tokens_out, part }) = folded.metered else { continue };
        let context = || format!("case {case}: {:?} although {proof:?}:\n{body}", folded.metered);
        let (input, output) = (u128::from(tokens_in), u128::from(tokens_out));
        if input + output == 0 {
            assert!(folded.result.is_err() && !proof.shows_a_model, "{}", context());
            continue;
        }
        exact += 1;
        assert!(
            input >= proof.tokens_in && output >= proof.tokens_out && input + output >= proof.total,
            "{}",
            context()
        );
        let of_cache = [part.cached, part.written, part.written_hour].into_iter().map(u128::from).sum::<u128>();
        assert!(of_cache <= input && part.reasoning <= tokens_out, "{}", context());
    }
    // Where nothing is known, nothing is said that could be wrong.
    assert!(exact > cases / 20, "{exact} of {cases} are exact");
}
