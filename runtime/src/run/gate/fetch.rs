//! The life of an HTTP exchange at the gate: fitted to what is left of `net`, reserved and dispatched in one transaction with
//! its intent, made by the door, and what it moved turned into what it cost.
//!
//! Never: judges a request (policy did, and the door judges each redirect), opens a connection. Invariant here: an exchange
//! that the budget cut short is a refusal that names scope and line, also though it was sent.

use crate::doors::fetch::{Exchange, Fetched};
use crate::doors::store::{Durability, Need};
use crate::rules::effect::{Answer, Body, Denied, Failure, FailureKind, Reason, Refusal};
use crate::rules::http::{self, HttpReply, HttpRequest};
use crate::rules::ledger::{Amounts, Denial, Line};
use crate::rules::policy::{MAX_HTTP_BODY_BYTES, MAX_REPLY_HEADER_BYTES, header_bytes};
use crate::rules::quote::{self, Quote};

use super::super::RunEnd;
use super::call::No;
use super::{Admitted, Gate, Life, Paid, Performed};

impl Gate {
    /// Fits an exchange to what is left, reserves for it and dispatches it, in one transaction with its intent. An exchange
    /// waits for no pace.
    pub(super) async fn reserve_exchange(
        &self,
        admitted: &Admitted,
        request: &HttpRequest,
    ) -> Result<Result<Paid, Refusal>, RunEnd> {
        let max_response_bytes = match http::judge(&self.passage.grants.http, request) {
            Ok(grant) => grant.limits.max_response_bytes.min(MAX_HTTP_BODY_BYTES),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let request_bytes = request.body.0.len() as u64;
        let (id, scope) = (self.call_id(admitted.call), self.passage.scope.clone());
        let intent = admitted.intent(None, Amounts::default());
        let line = self.freezes_with();
        let needs = [Need::Scope(scope.clone())].into_iter().chain(line.clone().map(Need::Line)).collect();
        let paid = self.passage.journal.step(needs, Durability::Durable, move |step| {
            if let Some(lock) = line.and_then(|line| step.books.line(&line).lock) {
                return Ok(Err(No::Frozen(lock.first)));
            }
            let now_ms = step.books.now_ms;
            let ledger = &mut *step.books.ledger;
            let left = ledger.room(&scope, now_ms).headroom(Line::NetBytes);
            let quote = match quote::fit_exchange(request_bytes, max_response_bytes, left) {
                Ok(quote) => quote,
                Err(refusal) => return Ok(Err(No::Refused(refusal))),
            };
            let reservation = match ledger.reserve(&scope, id, &quote.reserve, now_ms) {
                Ok(reservation) => reservation,
                Err(Denial::Short(shortfall)) => return Ok(Err(No::Refused(quote::exhausted(*shortfall)))),
                Err(denial) => return Err(denial),
            };
            let dispatched = ledger.dispatch(reservation, now_ms)?;
            step.write(with_reserve(intent, quote.reserve));
            Ok(Ok(Paid { quote, life: Life::Dispatched(dispatched) }))
        });
        match paid.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))? {
            Ok(paid) => Ok(Ok(paid)),
            Err(No::Refused(refusal)) => Ok(Err(refusal)),
            Err(No::Frozen(pull)) => Err(self.freeze(pull)),
        }
    }

    /// Makes an exchange. Its time is bounded by its grant, and by the run: when that ends it is dropped.
    pub(super) async fn fetched(
        &self,
        call: u64,
        request: &HttpRequest,
        quote: Option<&Quote>,
    ) -> Result<Performed, RunEnd> {
        let Some(quote) = quote else { return Err(RunEnd::Fault("an exchange was let through unpaid".into())) };
        let max_net_bytes = quote.reserve.get(Line::NetBytes);
        let exchange = Exchange {
            id: self.call_id(call).to_string(),
            request: request.clone(),
            grants: self.passage.grants.http.clone(),
            max_net_bytes,
        };
        let Fetched { result, net_bytes } = self.passage.web.fetch(&exchange).await;
        let heard = match (result.and_then(within_caps), &quote.short) {
            (Ok(reply), _) => Ok(Answer::Fetched { reply }),
            (Err(denied), Some(short)) if net_bytes >= max_net_bytes || is_of_the_budget(&denied) => {
                let refusal = quote::exhausted((**short).clone());
                self.was_cut_short(&refusal);
                Err(Denied::Refused(refusal))
            }
            (Err(denied), _) => Err(denied),
        };
        // The door may see the end of its bound only in the piece that is over, and throws that away. A server must not stop
        // a line with it.
        let spent = Some(Amounts::of(Line::NetBytes, net_bytes.min(max_net_bytes)));
        Ok(Performed { spent, ..Performed::free(heard) })
    }
}

/// Whether the door said no because the budget is smaller than the grant.
fn is_of_the_budget(denied: &Denied) -> bool {
    match denied {
        Denied::Refused(refusal) => refusal.reason == Reason::TooLarge && refusal.setting == quote::NET_SETTING,
        Denied::Failed(_) => false,
    }
}

/// A reply that the host can hold and a guest can read.
fn within_caps(reply: HttpReply) -> Result<HttpReply, Denied> {
    let bytes = header_bytes(&reply.headers);
    if bytes <= MAX_REPLY_HEADER_BYTES as u64 {
        return Ok(reply);
    }
    let message = format!("the reply has {bytes} bytes of headers; at most {MAX_REPLY_HEADER_BYTES}");
    Err(Denied::Failed(Failure { kind: FailureKind::Broken, message }))
}

/// An intent with what was reserved for it.
pub(super) fn with_reserve(intent: Body, amounts: Amounts) -> Body {
    match intent {
        Body::Intent { call, attempt, effect, max_output, sent, .. } => {
            Body::Intent { call, attempt, effect, max_output, sent, reserved: amounts }
        }
        other => other,
    }
}
