//! What a model call may cost at most, fitted to what is left: the request shrinks together with its reservation.
//!
//! Never: reserves, sends. A call that has no sound bound, or no price under a money limit, gets no quote.

use super::effect::{Reason, Refusal};
use super::ledger::{Amounts, Headroom, Level, LimitKind, Line, ScopeId, Shortfall};
use super::model::{Profile, Request, Usage};

/// A call that fits: what to put on the wire and what to reserve for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Output tokens, for the wire. 0 for what is no model.
    pub max_output: u32,
    /// Bytes of response, for the wire. 0 if nothing is on a network.
    pub max_response_bytes: u64,
    pub reserve: Amounts,
    /// What was short, if the reply of an exchange may have less than its grant allows.
    pub short: Option<Box<Shortfall>>,
}

/// The bytes that a call will move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetNeed {
    pub request_bytes: u64,
    /// The provider's own cap on a response.
    pub max_response_bytes: u64,
}

impl NetNeed {
    /// Bytes of response that are of use for so many tokens of output, within the provider's own cap.
    pub fn response_bytes(&self, output: u64) -> u64 {
        let of_use = output.saturating_mul(RESPONSE_BYTES_PER_TOKEN).saturating_add(RESPONSE_BYTES);
        self.max_response_bytes.min(of_use)
    }
}

/// Bytes of response below which a network call is of no use: headers of a stream and a short reply.
pub const MIN_RESPONSE_BYTES: u64 = 4 << 10;

/// Bytes of response for what is no output: headers of a stream, its first and its last event, an error's text.
const RESPONSE_BYTES: u64 = 64 << 10;

/// Bytes of response for each token of output. Both dialects send an event of some 150 to 600 bytes for each; who sends more
/// is cut off. Without this a batch of small calls would have to reserve a whole provider's cap for each.
const RESPONSE_BYTES_PER_TOKEN: u64 = 2 << 10;

/// Fits a request to what is left on each line.
///
/// `left` gives the headroom of a line; `None` means unbounded, which is refused.
///
/// # Errors
/// A [`Refusal`]: `unbounded`, `unpriced`, `invalid` or `exhausted`, each with the setting to change.
pub fn fit(
    request: &Request,
    profile: &Profile,
    net: Option<NetNeed>,
    left: impl Fn(Line) -> Option<Headroom>,
) -> Result<Quote, Refusal> {
    fit_bound(request, profile, profile.bound(request), net, left)
}

/// As [`fit`], for a request whose bound is known otherwise. `None`: it has none.
///
/// # Errors
/// As [`fit`].
pub fn fit_bound(
    request: &Request,
    profile: &Profile,
    bound: Option<Usage>,
    net: Option<NetNeed>,
    left: impl Fn(Line) -> Option<Headroom>,
) -> Result<Quote, Refusal> {
    if request.max_output == 0 || request.min_output > request.max_output {
        return Err(Refusal {
            reason: Reason::Invalid,
            asked: format!("max-output {} with min-output {}", request.max_output, request.min_output),
            allowed: "max-output of at least 1 and at least min-output".into(),
            setting: "the worker's own request".into(),
        });
    }
    let asked_model = || format!("model \"{}\"", request.model);
    let Some(bound) = bound else {
        return Err(Refusal {
            reason: Reason::Unbounded,
            asked: asked_model(),
            allowed: "requests whose size has a bound".into(),
            setting: "the worker's own request".into(),
        });
    };
    let Some(price) = profile.price else {
        return Err(Refusal {
            reason: Reason::Unpriced,
            asked: asked_model(),
            allowed: "models with a price, because money is limited".into(),
            setting: format!("[models.{}] usd-per-mtok-in and usd-per-mtok-out", request.model),
        });
    };
    let short = |line: Line, asked: u64| {
        let nothing = || Headroom::nothing(ScopeId::host());
        let headroom = left(line).unwrap_or_else(nothing);
        (asked > headroom.left).then(|| exhausted(headroom.short(line, asked)))
    };
    let cost = |usage: Usage| price.most(usage).unwrap_or(u64::MAX);
    let at_least = |output: u64| Usage::of(bound.tokens_in, output);

    // The smallest call that is of use must fit on every line; then the output takes what is left, up to what was asked.
    let least = at_least(u64::from(request.min_output.max(1)));
    let needs = [
        (Line::ModelCalls, 1),
        // Before its parts, which are often bounded only because it is: then it is the one to name.
        (Line::Tokens, least.tokens_in.saturating_add(least.tokens_out)),
        (Line::TokensIn, least.tokens_in),
        (Line::TokensOut, least.tokens_out),
        (Line::MicroUsd, cost(least)),
    ];
    if let Some(refusal) = needs.into_iter().find_map(|(line, asked)| short(line, asked)) {
        return Err(refusal);
    }
    let room = |line: Line| left(line).map_or(0, |headroom| headroom.left);
    let affordable = match price.micro_usd_per_mtok_out {
        0 => u64::MAX,
        per_mtok => {
            let money = room(Line::MicroUsd).saturating_sub(cost(at_least(0)));
            u64::try_from(u128::from(money) * 1_000_000 / u128::from(per_mtok)).unwrap_or(u64::MAX)
        }
    };
    let output = bound
        .tokens_out
        .min(room(Line::TokensOut))
        .min(room(Line::Tokens).saturating_sub(bound.tokens_in))
        .min(affordable);
    if output < least.tokens_out {
        // Only a model whose own cap is below `min-output` comes here: every line has room for the least.
        return Err(Refusal {
            reason: Reason::Invalid,
            asked: format!("min-output {}", request.min_output),
            allowed: format!("at most {}, the model's own cap", profile.max_output),
            setting: "the worker's own request".into(),
        });
    }
    let usage = at_least(output);
    let mut reserve: Amounts = [
        (Line::ModelCalls, 1),
        (Line::TokensIn, usage.tokens_in),
        (Line::TokensOut, usage.tokens_out),
        (Line::Tokens, usage.tokens_in.saturating_add(usage.tokens_out)),
        (Line::MicroUsd, cost(usage)),
    ]
    .into_iter()
    .collect();
    let mut max_response_bytes = 0;
    if let Some(net) = net {
        if let Some(refusal) = short(Line::NetBytes, net.request_bytes.saturating_add(MIN_RESPONSE_BYTES)) {
            return Err(refusal);
        }
        max_response_bytes = net.response_bytes(output).min(room(Line::NetBytes) - net.request_bytes);
        reserve.set(Line::NetBytes, net.request_bytes.saturating_add(max_response_bytes));
    }
    let max_output = u32::try_from(output).expect("bounded by a `u32` of the request");
    Ok(Quote { max_output, max_response_bytes, reserve, short: None })
}

/// The setting of an attempt's bytes. A door that stops where these end refuses with it.
pub const NET_SETTING: &str = "[budget] net";

/// Fits an exchange to what is left of `net`: its body goes whole, and its reply may have what is left of it, up to
/// `max_response_bytes`.
///
/// # Errors
/// A [`Refusal`]: `exhausted`, also if `left` is `None`, since then no scope limits the line.
pub fn fit_exchange(request_bytes: u64, max_response_bytes: u64, left: Option<Headroom>) -> Result<Quote, Refusal> {
    let nothing = || Headroom::nothing(ScopeId::host());
    let headroom = left.unwrap_or_else(nothing);
    // A reply may be empty; one byte is the least that could be told from nothing.
    let least = request_bytes.saturating_add(1);
    if least > headroom.left {
        return Err(exhausted(headroom.short(Line::NetBytes, least)));
    }
    let whole = request_bytes.saturating_add(max_response_bytes);
    let reserve = Amounts::of(Line::NetBytes, whole.min(headroom.left));
    let max_response_bytes = max_response_bytes.min(headroom.left - request_bytes);
    let short = (whole > headroom.left).then(|| Box::new(headroom.short(Line::NetBytes, whole)));
    Ok(Quote { max_output: 0, max_response_bytes, reserve, short })
}

/// The refusal for a shortfall, with the setting that would change it.
pub fn exhausted(shortfall: Shortfall) -> Refusal {
    let line = shortfall.line;
    Refusal {
        asked: format!("{} of {}", shortfall.asked, line.name()),
        allowed: format!("{} left in scope {}", shortfall.left, shortfall.scope),
        setting: setting(&shortfall),
        reason: Reason::Exhausted { shortfall: Box::new(shortfall) },
    }
}

/// Where the limit stands that was short.
pub fn setting(shortfall: &Shortfall) -> String {
    let Shortfall { path, line, limit, .. } = shortfall;
    let table = match limit {
        LimitKind::Total => "budget",
        LimitKind::Hour => "budget.hour",
        LimitKind::Day => "budget.day",
        LimitKind::Week => "budget.week",
        LimitKind::Gap => "budget.gap",
        LimitKind::FirstGap => "budget.first-gap",
    };
    let key = line.key();
    let name = path.name();
    match path.level() {
        Level::Host => format!("[host.{table}] {key} in the operator's file"),
        Level::Tenant => format!("[tenants.{name}.{table}] {key} in the operator's file"),
        Level::Line => format!("[lines.{name}.{table}] {key} in the operator's file"),
        Level::Item => format!("[budget.item] {key}"),
        Level::Attempt if line.is_level() => format!("[caps] {key}"),
        Level::Attempt => format!("[{table}] {key}"),
        Level::Worker => format!("{key} of the budget that the parent gave"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{Message, Price, Role};
    use std::collections::BTreeMap;

    fn request(max_output: u32, min_output: u32) -> Request {
        Request {
            model: "coder".into(),
            messages: vec![Message {
                role: Role::User,
                content: "x".repeat(100),
                tool_calls: vec![],
                tool_call_id: None,
                provider_state: None,
            }],
            tools: vec![],
            max_output,
            min_output,
            schema: None,
        }
    }

    fn profile() -> Profile {
        Profile {
            window: 1000,
            max_output: 500,
            price: Some(Price::of(1_000_000, 2_000_000)),
            norm_factor_milli: 1000,
            request_overhead: 10,
            tools_overhead: 0,
            message_overhead: 5,
        }
    }

    fn room(changes: &[(Line, u64)]) -> impl Fn(Line) -> Option<Headroom> {
        let mut room: BTreeMap<Line, u64> = Line::ALL.into_iter().map(|line| (line, 1_000_000)).collect();
        room.extend(changes.iter().copied());
        let scope = ScopeId::of_path("acme/triage/item/run");
        move |line| {
            let left = *room.get(&line)?;
            Some(Headroom { left, ..Headroom::nothing(scope.clone()) })
        }
    }

    fn shortfall(result: Result<Quote, Refusal>) -> (Line, u64, u64) {
        let Reason::Exhausted { shortfall } = result.expect_err("refused").reason else { panic!("not exhausted") };
        (shortfall.line, shortfall.asked, shortfall.left)
    }

    #[test]
    fn an_exchange_has_what_is_left_for_its_reply_and_no_less_than_its_body() {
        let fitted = |body, most, left| fit_exchange(body, most, room(&[(Line::NetBytes, left)])(Line::NetBytes));
        let quote = fitted(10, 100, 1_000).expect("fits");
        assert_eq!((quote.max_response_bytes, quote.reserve), (100, Amounts::of(Line::NetBytes, 110)));
        let quote = fitted(10, 100, 50).expect("fits, with less");
        assert_eq!((quote.max_response_bytes, quote.reserve), (40, Amounts::of(Line::NetBytes, 50)));
        let short = quote.short.expect("the whole did not fit");
        assert_eq!((short.asked, short.left), (110, 50));
        assert_eq!(fitted(10, 100, 11).expect("just fits").max_response_bytes, 1);
        assert_eq!(shortfall(fitted(10, 100, 10)), (Line::NetBytes, 11, 10));
        assert_eq!(shortfall(fit_exchange(0, 100, None)), (Line::NetBytes, 1, 0));
    }

    #[test]
    fn a_refusal_names_the_setting_that_would_change_it() {
        for (path, limit, line, expected) in [
            ("", LimitKind::Day, Line::MicroUsd, "[host.budget.day] usd in the operator's file"),
            ("acme", LimitKind::Hour, Line::Tokens, "[tenants.acme.budget.hour] tokens in the operator's file"),
            ("acme/triage", LimitKind::Total, Line::NetBytes, "[lines.triage.budget] net in the operator's file"),
            ("acme/triage/fix", LimitKind::Total, Line::Tokens, "[budget.item] tokens"),
            ("acme/triage/fix/run", LimitKind::Total, Line::WallMs, "[budget] wall"),
            ("acme/triage/fix/run", LimitKind::FirstGap, Line::Tokens, "[budget.first-gap] tokens"),
            ("acme/triage/fix/run", LimitKind::Total, Line::MemoryBytes, "[caps] memory"),
        ] {
            let headroom = Headroom { left: 1, limit, ..Headroom::nothing(ScopeId::of_path(path)) };
            assert_eq!(exhausted(headroom.short(line, 2)).setting, expected);
        }
    }

    #[test]
    fn with_room_the_whole_bound_is_reserved() {
        let quote = fit(&request(300, 10), &profile(), None, room(&[])).expect("fits");
        assert_eq!(quote.max_output, 300);
        assert_eq!(quote.reserve.get(Line::TokensIn), 115);
        assert_eq!(quote.reserve.get(Line::Tokens), 415);
        assert_eq!(quote.reserve.get(Line::MicroUsd), 115 + 600);
    }

    #[test]
    fn the_request_and_the_reservation_shrink_together() {
        let quote = fit(&request(300, 10), &profile(), None, room(&[(Line::Tokens, 215)])).expect("fits");
        assert_eq!((quote.max_output, quote.reserve.get(Line::Tokens)), (100, 215));
        let quote = fit(&request(300, 10), &profile(), None, room(&[(Line::MicroUsd, 115 + 51)])).expect("fits");
        assert_eq!((quote.max_output, quote.reserve.get(Line::MicroUsd)), (25, 165));
    }

    #[test]
    fn min_output_fits_exactly_or_is_refused() {
        assert!(fit(&request(300, 50), &profile(), None, room(&[(Line::TokensOut, 50)])).is_ok());
        let refused = fit(&request(300, 50), &profile(), None, room(&[(Line::TokensOut, 49)]));
        assert_eq!(shortfall(refused), (Line::TokensOut, 50, 49));
    }

    #[test]
    fn a_call_needs_room_for_its_input() {
        let refused = fit(&request(300, 1), &profile(), None, room(&[(Line::TokensIn, 114)]));
        assert_eq!(shortfall(refused), (Line::TokensIn, 115, 114));
    }

    #[test]
    fn the_window_bounds_the_input() {
        let mut long = request(10, 1);
        long.messages[0].content = "x".repeat(5000);
        let quote = fit(&long, &profile(), None, room(&[])).expect("fits");
        assert_eq!(quote.reserve.get(Line::TokensIn), 1000);
    }

    #[test]
    fn a_model_without_a_price_is_refused() {
        let unpriced = Profile { price: None, ..profile() };
        let refused = fit(&request(300, 1), &unpriced, None, room(&[])).expect_err("unpriced");
        assert_eq!(refused.reason, Reason::Unpriced);
    }

    #[test]
    fn a_providers_count_tightens_the_bound_and_never_widens_it() {
        let bound = |counted| profile().bound_counted(&request(300, 1), counted).expect("small").tokens_in;
        assert_eq!(bound(20), 20 + 1 + 64);
        assert_eq!(bound(1_000_000), 115, "the bytes bound it all the same");
        let counted = profile().bound_counted(&request(300, 1), 20);
        let quote = fit_bound(&request(300, 1), &profile(), counted, None, room(&[])).expect("fits");
        assert_eq!(quote.reserve.get(Line::TokensIn), 85);
    }

    #[test]
    fn zero_or_crossed_outputs_are_invalid() {
        for (max, min) in [(0, 0), (5, 6)] {
            let refused = fit(&request(max, min), &profile(), None, room(&[])).expect_err("invalid");
            assert_eq!(refused.reason, Reason::Invalid);
        }
        let refused = fit(&request(900, 501), &profile(), None, room(&[])).expect_err("above the model's cap");
        assert_eq!(refused.reason, Reason::Invalid);
    }

    #[test]
    fn a_response_is_capped_to_the_bytes_that_are_left() {
        let need = NetNeed { request_bytes: 1000, max_response_bytes: 1 << 20 };
        let left = 1000 + MIN_RESPONSE_BYTES;
        let quote = fit(&request(10, 1), &profile(), Some(need), room(&[(Line::NetBytes, left)])).expect("fits");
        assert_eq!((quote.max_response_bytes, quote.reserve.get(Line::NetBytes)), (MIN_RESPONSE_BYTES, left));
        let ample = fit(&request(10, 1), &profile(), Some(need), room(&[])).expect("fits");
        assert_eq!(ample.max_response_bytes, RESPONSE_BYTES + 10 * RESPONSE_BYTES_PER_TOKEN, "what 10 tokens may take");
        let refused = fit(&request(10, 1), &profile(), Some(need), room(&[(Line::NetBytes, left - 1)]));
        assert_eq!(shortfall(refused), (Line::NetBytes, left, left - 1));
    }
}
