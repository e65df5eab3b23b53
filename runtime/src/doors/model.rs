//! The door to language models: one call out, one whole reply back, with what it cost as the provider said.
//!
//! Never: decides whether a call may be made, retries, books anything. The gate fits `max_output` before and books
//! [`Received::metered`] after; a door that cannot say what a call cost says so, and the gate holds the reservation.

use async_trait::async_trait;

use crate::rules::effect::Failure;
use crate::rules::model::{Metered, Reply, Request};

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
}
