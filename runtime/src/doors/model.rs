//! The door to language models: one call out, one whole reply back, with what it cost as the provider said.
//!
//! Never: decides whether a call may be made, retries, books anything. The gate fits `max_output` before and books
//! [`Received::metered`] after; a door that cannot say what a call cost says so, and the gate holds the reservation.

use async_trait::async_trait;

use super::rates::RateNews;
use crate::rules::effect::Failure;
use crate::rules::model::{Metered, Reply, Request};

/// Bytes read of the answer to a count: it is one number, and an error's reason is short.
pub const COUNT_RESPONSE_BYTES: u64 = 64 << 10;

/// One call, as it goes on the wire.
#[derive(Clone, Debug)]
pub struct Call {
    /// Journalled before it leaves; sent along so that a provider's log can be matched.
    pub id: String,
    /// `max_output` is final: the door puts exactly this on the wire.
    pub request: Request,
    /// The most bytes of a response that the budget allows for this call; the door's own cap may be lower.
    pub max_response_bytes: u64,
}

/// What came back, and what it cost.
#[derive(Clone, Debug)]
pub struct Received {
    pub result: Result<Reply, Failure>,
    pub metered: Metered,
    /// Bytes sent and received, bodies only.
    pub net_bytes: u64,
    /// The provider's usage object as it came, for the journal. At most 4 KiB.
    pub raw_usage: Option<String>,
    /// What the provider said of its rate, for the pace; whatever the result is.
    pub rates: RateNews,
}

/// What a count came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Input tokens, at least 1.
    pub result: Result<u64, Failure>,
    /// Bytes sent and received, bodies only.
    pub net_bytes: u64,
}

/// A way to reach one model.
#[async_trait]
pub trait Model: Send + Sync {
    /// Bytes that the call will put on the network before the response: 0 for a script.
    fn request_bytes(&self, request: &Request) -> u64;

    /// Whether replies come over the network and count on `net-bytes`.
    fn uses_network(&self) -> bool;

    /// Makes the call. Dropping the future aborts it: the connection is closed and nothing more is read.
    async fn ask(&self, call: &Call) -> Received;

    /// Bytes that a count will put on the network before the response, which has at most [`COUNT_RESPONSE_BYTES`].
    /// `None`: nobody counts for this model.
    fn count_request_bytes(&self, _: &Request) -> Option<u64> {
        None
    }

    /// Asks the provider how many input tokens the call's request has, without running it. It costs no tokens, but it
    /// leaves the host: the call's id must be journalled. `None`: nobody counts for this model, and nothing was sent.
    ///
    /// The provider calls its own count an estimate that
    /// [may be off by a small amount](https://platform.claude.com/docs/en/build-with-claude/token-counting), so it is no
    /// bound by itself. Its rate is another than that of calls, so no news of it are told.
    async fn count(&self, _: &Call) -> Option<Counted> {
        None
    }
}
