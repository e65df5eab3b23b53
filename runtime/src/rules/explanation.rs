//! How the quote of a model call comes about: its bound, its price, and for each line what it needs and what is left.
//!
//! Never: decides, reserves, sends. Whether the call fits is the word of [`quote::fit`], which the gate asks too.

use serde::Serialize;

use super::effect::Refusal;
use super::ledger::{Amounts, Headroom, Level, LimitKind, Line};
use super::model::{Price, Profile, Request, Usage};
use super::quote::{self, MIN_RESPONSE_BYTES, NetNeed, Quote};

/// A call before anything is spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub input: Input,
    pub output: Output,
    /// `None`: nobody knows it, and the call is refused.
    pub price: Option<Price>,
    /// In the order in which the gate looks at them.
    pub lines: Vec<Need>,
    pub end: End,
}

/// How the bound of the input comes about: `content_bytes x norm_factor + request_overhead + parts x message_overhead`,
/// and at most the window. That is of the bytes alone: a provider that is asked to count may make it less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Of everything that the provider tokenises.
    pub content_bytes: u64,
    pub norm_factor_milli: u64,
    pub request_overhead: u64,
    /// Messages, tool calls and tools.
    pub parts: u64,
    pub message_overhead: u64,
    pub window: u64,
    /// The bound. `None`: there is none.
    pub tokens: Option<u64>,
}

/// How the bound of the output comes about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    pub asked: u32,
    /// Below this the call is of no use to the worker.
    pub least: u32,
    /// The model's own.
    pub most: u32,
}

/// What the call needs of a line, and the tightest limit on it over all scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    pub line: Line,
    /// With all the output that was asked for.
    pub whole: u64,
    /// With the least output that is of use.
    pub least: u64,
    pub left: u64,
    /// The path of the scope, and what it stands for.
    pub scope: String,
    pub level: Level,
    pub limit: LimitKind,
    /// Where the limit stands.
    pub setting: String,
}

/// What the gate would say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "end")]
pub enum End {
    /// All that was asked for, as far as the model itself goes.
    Whole {
        reserve: Amounts,
    },
    /// Less output, because less is left.
    Shrunk {
        max_output: u32,
        reserve: Amounts,
    },
    Refused {
        refusal: Refusal,
    },
}

impl Explanation {
    /// The same call, refused for a reason that comes before any line is looked at.
    pub fn refused(self, refusal: Refusal) -> Self {
        Self { end: End::Refused { refusal }, ..self }
    }
}

/// Explains the call that [`quote::fit`] would be asked for.
pub fn explain(
    request: &Request,
    profile: &Profile,
    net: Option<NetNeed>,
    left: impl Fn(Line) -> Option<Headroom>,
) -> Explanation {
    let bound = profile.bound(request);
    let end = match quote::fit(request, profile, net, &left) {
        Err(refusal) => End::Refused { refusal },
        Ok(Quote { max_output, reserve, .. }) => match bound {
            Some(bound) if bound.tokens_out > u64::from(max_output) => End::Shrunk { max_output, reserve },
            Some(_) | None => End::Whole { reserve },
        },
    };
    let needs = bound.map(|bound| needs(request, profile, net, bound)).unwrap_or_default();
    let lines = needs.into_iter().filter_map(|(line, whole, least)| {
        let headroom = left(line)?;
        let (left, limit) = (headroom.left, headroom.limit);
        let (scope, level) = (headroom.scope.to_string(), headroom.scope.level());
        let setting = quote::setting(&headroom.short(line, whole));
        Some(Need { line, whole, least, left, scope, level, limit, setting })
    });
    Explanation {
        input: Input {
            content_bytes: request.content_bytes(),
            norm_factor_milli: profile.norm_factor_milli,
            request_overhead: profile.overhead(request),
            parts: request.messages_and_calls() + request.tools.len() as u64,
            message_overhead: profile.message_overhead,
            window: profile.window,
            tokens: bound.map(|bound| bound.tokens_in),
        },
        output: Output { asked: request.max_output, least: request.min_output, most: profile.max_output },
        price: profile.price,
        lines: lines.collect(),
        end,
    }
}

/// Each line with what the call needs of it, whole and at least.
fn needs(request: &Request, profile: &Profile, net: Option<NetNeed>, bound: Usage) -> Vec<(Line, u64, u64)> {
    let least = Usage { tokens_out: u64::from(request.min_output.max(1)), ..bound };
    let sum = |usage: Usage| usage.tokens_in.saturating_add(usage.tokens_out);
    let cost = |usage| profile.price.map(|price| price.most(usage).unwrap_or(u64::MAX));
    let mut needs = vec![
        (Line::ModelCalls, 1, 1),
        (Line::Tokens, sum(bound), sum(least)),
        (Line::TokensIn, bound.tokens_in, least.tokens_in),
        (Line::TokensOut, bound.tokens_out, least.tokens_out),
    ];
    needs.extend(cost(bound).zip(cost(least)).map(|(whole, least)| (Line::MicroUsd, whole, least)));
    needs.extend(net.map(|net| {
        let with = |response: u64| net.request_bytes.saturating_add(response);
        (Line::NetBytes, with(net.response_bytes(bound.tokens_out)), with(MIN_RESPONSE_BYTES))
    }));
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ledger::ScopeId;
    use crate::rules::model::{Message, Role};

    fn request() -> Request {
        Request {
            model: "coder".into(),
            messages: vec![Message {
                role: Role::User,
                content: "x".repeat(101),
                tool_calls: vec![],
                tool_call_id: None,
                provider_state: None,
            }],
            tools: vec![],
            max_output: 300,
            min_output: 10,
            schema: None,
        }
    }

    fn profile() -> Profile {
        Profile {
            window: 1_000,
            max_output: 200,
            price: Some(Price::of(1_000_000, 2_000_000)),
            norm_factor_milli: 1_500,
            request_overhead: 10,
            tools_overhead: 0,
            message_overhead: 5,
        }
    }

    fn room(tokens: u64) -> impl Fn(Line) -> Option<Headroom> {
        move |line| {
            let left = if line == Line::Tokens { tokens } else { 1_000_000 };
            Some(Headroom { left, limit: LimitKind::Day, ..Headroom::nothing(ScopeId::of_path("acme")) })
        }
    }

    fn need(explanation: &Explanation, line: Line) -> &Need {
        explanation.lines.iter().find(|need| need.line == line).expect("it is needed")
    }

    #[test]
    fn the_parts_of_the_input_make_its_bound() {
        let Input { content_bytes, norm_factor_milli, request_overhead, parts, message_overhead, tokens, .. } =
            explain(&request(), &profile(), None, room(1_000_000)).input;
        let sum = (content_bytes * norm_factor_milli).div_ceil(1_000) + request_overhead + parts * message_overhead;
        assert_eq!((tokens, sum), (Some(167), 167));
    }

    #[test]
    fn what_the_gate_reserves_is_what_is_needed_whole() {
        // The cap of a provider is far above what 300 tokens may take.
        let net = NetNeed { request_bytes: 1_000, max_response_bytes: 8 << 20 };
        let explanation = explain(&request(), &profile(), Some(net), room(1_000_000));
        // The model's own cap is no shrinking.
        let End::Whole { reserve } = &explanation.end else { panic!("{explanation:?}") };
        assert_eq!(reserve.iter().count(), explanation.lines.len());
        for need in &explanation.lines {
            assert_eq!(reserve.get(need.line), need.whole, "{need:?}");
        }
    }

    #[test]
    fn at_the_least_the_call_is_shrunk_and_one_token_below_it_is_refused() {
        let least = need(&explain(&request(), &profile(), None, room(0)), Line::Tokens).least;
        let shrunk = explain(&request(), &profile(), None, room(least));
        assert!(matches!(shrunk.end, End::Shrunk { max_output: 10, reserve } if reserve.get(Line::Tokens) == least));
        let refused = explain(&request(), &profile(), None, room(least - 1));
        let End::Refused { refusal } = &refused.end else { panic!("{refused:?}") };
        assert_eq!(Some(refusal), quote::fit(&request(), &profile(), None, room(least - 1)).err().as_ref());
        let Need { left, scope, setting, .. } = need(&refused, Line::Tokens);
        assert_eq!((*left, scope.as_str(), setting), (least - 1, "acme", &refusal.setting));
    }

    #[test]
    fn a_call_without_a_price_or_a_bound_is_explained_as_far_as_it_goes() {
        let unpriced = explain(&request(), &Profile { price: None, ..profile() }, None, room(1_000_000));
        assert!(unpriced.lines.iter().all(|need| need.line != Line::MicroUsd));
        assert!(matches!(unpriced.end, End::Refused { .. }));
        let boundless = Profile { norm_factor_milli: u64::MAX, ..profile() };
        let boundless = explain(&request(), &boundless, None, room(1_000_000));
        assert_eq!((boundless.input.tokens, boundless.lines.len()), (None, 0));
    }
}
