//! The life of a model call at the gate: counted if the operator wants that, fitted and reserved, let wait for its pace,
//! dispatched; and what came back turned into what it cost.
//!
//! Never: sends (the gate's doors do), settles. Invariant here: what a call is fitted to and what it reserves are one
//! transaction, and so are its dispatch and its intent.

use std::sync::Arc;

use crate::doors::clock::millis;
use crate::doors::model::{COUNT_RESPONSE_BYTES, Call, Counted, Received};
use crate::doors::pace::Admission;
use crate::doors::schema::Schema;
use crate::doors::store::{Durability, Need};
use crate::rules::andon::Pull;
use crate::rules::effect::{Answer, Body, Cost, Denied, Effect, Failure, FailureKind, Kind, Reason, Refusal};
use crate::rules::ledger::{Amounts, CallId, Denial, Dispatched, Line, Reservation};
use crate::rules::model::{Metered, Reply, Request, Usage};
use crate::rules::quote::{self, Quote};
use crate::rules::spec::CountedBy;

use super::super::RunEnd;
use super::super::waits::Waiting;
use super::{Admitted, Gate, Life, ModelDoor, Paid, Performed, blocking};

impl Gate {
    /// Fits a model call to what is left and reserves for it, in one transaction: nobody can take what it was fitted to.
    /// Without a pace it is dispatched in the same one.
    pub(super) async fn reserve(&self, admitted: &Admitted) -> Result<Result<Paid, Refusal>, RunEnd> {
        let call = admitted.call;
        let Some(request) = admitted.sent() else {
            return Err(RunEnd::Fault("only a model call is reserved for".into()));
        };
        let door = self.door(request);
        let net = door.way.net_need(request);
        let bound = match self.count_tokens(call, request).await? {
            Some(tokens_in) => door.profile.bound_counted(request, tokens_in),
            None => door.profile.bound(request),
        };
        let (id, scope) = (self.call_id(call), self.passage.scope.clone());
        let (profile, asked) = (door.profile.clone(), request.clone());
        let intent = admitted.intent(None, Amounts::default());
        let paced = door.way.pace.is_some() || self.passage.tenant_pace.is_some();
        let durability = if paced { Durability::Lazy } else { Durability::Durable };
        let line = self.freezes_with();
        let needs = [Need::Scope(scope.clone())].into_iter().chain(line.clone().map(Need::Line)).collect();
        let paid = self.passage.journal.step(needs, durability, move |step| {
            if let Some(lock) = line.and_then(|line| step.books.line(&line).lock) {
                return Ok(Err(No::Frozen(lock.first)));
            }
            let now_ms = step.books.now_ms;
            let ledger = &mut *step.books.ledger;
            let room = ledger.room(&scope, now_ms);
            let quote = match quote::fit_bound(&asked, &profile, bound, net, |line| room.headroom(line)) {
                Ok(quote) => quote,
                Err(refusal) => return Ok(Err(No::Refused(refusal))),
            };
            let reservation = match ledger.reserve(&scope, id, &quote.reserve, now_ms) {
                Ok(reservation) => reservation,
                Err(Denial::Short(shortfall)) => return Ok(Err(No::Refused(quote::exhausted(*shortfall)))),
                Err(denial) => return Err(denial),
            };
            if paced {
                return Ok(Ok(Paid { quote, life: Life::Reserved(reservation) }));
            }
            let dispatched = ledger.dispatch(reservation, now_ms)?;
            step.write(fitted(intent, &quote, &asked));
            Ok(Ok(Paid { quote, life: Life::Dispatched(dispatched) }))
        });
        match paid.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))? {
            Ok(paid) => Ok(Ok(paid)),
            Err(No::Refused(refusal)) => Ok(Err(refusal)),
            Err(No::Frozen(pull)) => Err(self.freeze(pull)),
        }
    }

    /// What is sent instead, if messages of it are replaced.
    pub(super) fn edited(&self, request: &Request) -> Option<Request> {
        let edits = &self.passage.edits;
        let place = |number: &usize| number.checked_sub(1).filter(|&place| place < request.messages.len());
        let edits: Vec<_> = edits.iter().filter_map(|(number, text)| Some((place(number)?, text))).collect();
        if edits.is_empty() {
            return None;
        }
        let mut sent = request.clone();
        for (place, text) in edits {
            sent.messages[place].content.clone_from(text);
        }
        Some(sent)
    }

    /// Lets the provider count the request, if the operator wants that: a call of its own, which costs bytes alone. `None`:
    /// nobody counted, and the bytes of the request bound it.
    async fn count_tokens(&self, call: u64, request: &Request) -> Result<Option<u64>, RunEnd> {
        let door = self.door(request);
        let (CountedBy::Provider, Some(bytes)) = (door.counted_by, door.way.model.count_request_bytes(request)) else {
            return Ok(None);
        };
        let id = CallId::new(format!("{}-count", self.call_id(call)));
        let scope = self.passage.scope.clone();
        let reserve = Amounts::of(Line::NetBytes, bytes.saturating_add(COUNT_RESPONSE_BYTES));
        let (counting, effect) = (id.clone(), Effect::Count { model: request.model.clone() });
        let line = self.freezes_with();
        let needs = [Need::Scope(scope.clone())].into_iter().chain(line.clone().map(Need::Line)).collect();
        let sent = self.passage.journal.step(needs, Durability::Durable, move |step| {
            if line.is_some_and(|line| step.books.line(&line).lock.is_some()) {
                return Ok(None);
            }
            let now_ms = step.books.now_ms;
            let reservation = step.books.ledger.reserve(&scope, counting, &reserve, now_ms)?;
            let dispatched = step.books.ledger.dispatch(reservation, now_ms)?;
            step.write(Body::Intent { call, attempt: 1, effect, max_output: None, sent: None, reserved: reserve });
            Ok::<_, Denial>(Some(dispatched))
        });
        let dispatched = match sent.await? {
            Ok(Some(dispatched)) => dispatched,
            // The call itself is not made either.
            Ok(None) => return Ok(None),
            // The call itself may fit without.
            Err(Denial::Short(_)) => return Ok(None),
            Err(denial) => return Err(RunEnd::Fault(denial.to_string())),
        };
        let asked = Call { id: id.to_string(), request: request.clone(), max_response_bytes: COUNT_RESPONSE_BYTES };
        let started = self.passage.clock.now();
        let counted = door.way.model.count(&asked).await.unwrap_or(Counted {
            result: Err(Failure { kind: FailureKind::Unavailable, message: "nobody counts for this model".into() }),
            net_bytes: 0,
        });
        let took_ms = millis(started.elapsed());
        let tokens_in = counted.result.as_ref().ok().copied();
        let settled = self.passage.journal.step_at_any_time(vec![Need::Call(id)], Durability::Lazy, move |step| {
            let spent = Amounts::of(Line::NetBytes, counted.net_bytes);
            step.books.ledger.settle(dispatched, &spent, step.books.now_ms)?;
            let heard = counted.result.map(|tokens_in| Answer::Counted { tokens_in }).map_err(Denied::Failed);
            let cost = Cost { spent, took_ms, ..Cost::default() };
            step.write(Body::Answered { call, kind: Kind::Count, heard, cost, tree: None });
            Ok::<_, Denial>(())
        });
        settled.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))?;
        Ok(tokens_in)
    }

    /// Waits for the tenant's turn, then for the model's. The host's doing, so no work time.
    pub(super) async fn wait_for_pace(&self, effect: &Effect, tokens: u64) -> Vec<Admission<'_>> {
        let Effect::Model { request } = effect else { return vec![] };
        let _waiting = Waiting::begin(&self.waits);
        let mut admissions = Vec::new();
        for pace in [&self.passage.tenant_pace, &self.door(request).way.pace].into_iter().flatten() {
            admissions.push(pace.admit(tokens).await);
        }
        admissions
    }

    /// The intent of a call that waited for its pace. From here on it may have been sent.
    pub(super) async fn dispatch(
        &self,
        admitted: &Admitted,
        quote: &Quote,
        reservation: Reservation,
    ) -> Result<Dispatched, RunEnd> {
        let call = self.call_id(admitted.call);
        let asked = admitted.sent().map_or(0, |request| request.max_output);
        let max_output = (quote.max_output != asked).then_some(quote.max_output);
        let intent = admitted.intent(max_output, quote.reserve);
        let line = self.freezes_with();
        let needs = [Need::Call(call)].into_iter().chain(line.clone().map(Need::Line)).collect();
        let dispatched = self.passage.journal.step(needs, Durability::Durable, move |step| {
            if let Some(lock) = line.and_then(|line| step.books.line(&line).lock) {
                // Nothing was sent: what was reserved is free when the attempt is closed.
                return Ok(Err(lock.first));
            }
            let dispatched = step.books.ledger.dispatch(reservation, step.books.now_ms)?;
            step.write(intent);
            Ok::<_, Denial>(Ok(dispatched))
        });
        let dispatched = dispatched.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))?;
        dispatched.map_err(|pull| self.freeze(pull))
    }
}

/// Why a call is not let through.
pub(super) enum No {
    Refused(Refusal),
    /// Its line was pulled.
    Frozen(Pull),
}

impl Admitted {
    /// What is sent, if it is a model call.
    fn sent(&self) -> Option<&Request> {
        match (&self.sent, &self.ask.effect) {
            (Some(sent), _) => Some(sent),
            (None, Effect::Model { request }) => Some(request),
            (None, _) => None,
        }
    }
}

/// An intent with what it was fitted to.
fn fitted(intent: Body, quote: &Quote, asked: &Request) -> Body {
    let fewer = (quote.max_output != asked.max_output).then_some(quote.max_output);
    match intent {
        Body::Intent { call, attempt, effect, sent, .. } => {
            Body::Intent { call, attempt, effect, max_output: fewer, sent, reserved: quote.reserve }
        }
        other => other,
    }
}

pub(super) fn compile(request: &Request) -> Result<Option<Arc<Schema>>, Refusal> {
    let schema = request.schema.as_deref().map(Schema::compile).transpose();
    schema.map(|schema| schema.map(Arc::new)).map_err(|problem| Refusal {
        reason: Reason::Invalid,
        asked: problem,
        allowed: "a JSON schema of the keywords that are served".into(),
        setting: "the worker's own request".into(),
    })
}

/// Checks a reply against its schema, away from the run's own thread: the deadline must not wait for it.
pub(super) async fn matching(
    schema: &Arc<Schema>,
    result: Result<Reply, Failure>,
) -> Result<Result<Reply, Failure>, RunEnd> {
    let reply = match result {
        // Where the model asks for tools first, it need not have said anything yet.
        Ok(reply) if reply.tool_calls.is_empty() || !reply.text.trim().is_empty() => reply,
        other => return Ok(other),
    };
    let schema = Arc::clone(schema);
    blocking(move || match schema.check(&reply.text) {
        Ok(()) => Ok(reply),
        Err(message) => Err(Failure { kind: FailureKind::SchemaViolation, message }),
    })
    .await
}

/// Turns what a model brought back into what it cost.
pub(super) fn priced(received: Received, door: &ModelDoor, quote: Option<&Quote>) -> Performed {
    let Received { result, metered, net_bytes, raw_usage, rates } = received;
    let spent = match metered {
        Metered::Exact(usage) => amounts(usage, net_bytes, door),
        Metered::Unknown => None,
    };
    // One that no model had time for was no call of it.
    let was_none =
        metered == Metered::Exact(Usage::default()) && result.as_ref().is_err_and(|failure| door.may_pass(failure));
    let spent = spent.map(|spent| if was_none { spent.only(|line| line != Line::ModelCalls) } else { spent });
    let cost = spent.or(quote.map(|quote| quote.reserve)).unwrap_or_default();
    let usage = Usage::of(cost.get(Line::TokensIn), cost.get(Line::TokensOut));
    let micro_usd = cost.get(Line::MicroUsd);
    Performed {
        heard: result.map(|reply| Answer::Model { reply, usage, micro_usd }).map_err(Denied::Failed),
        spent,
        held: Amounts::default(),
        raw_usage,
        took_ms: 0,
        waited_ms: 0,
        marked: None,
        tree: None,
        rates,
    }
}

/// `None` if the money cannot be told: then the reservation is held.
fn amounts(usage: Usage, net_bytes: u64, door: &ModelDoor) -> Option<Amounts> {
    let money = door.profile.price?.cost(usage)?;
    let lines = [
        (Line::ModelCalls, 1),
        (Line::TokensIn, usage.tokens_in),
        (Line::TokensOut, usage.tokens_out),
        (Line::Tokens, usage.tokens_in.checked_add(usage.tokens_out)?),
        (Line::MicroUsd, money),
        (Line::NetBytes, net_bytes),
    ];
    Some(lines.into_iter().collect())
}
