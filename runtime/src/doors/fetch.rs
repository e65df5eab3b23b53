//! The door to the web: one exchange out, one whole reply back, with the bytes that it moved.
//!
//! Never: decides what may be spent, books anything.

use async_trait::async_trait;

use crate::rules::effect::Denied;
use crate::rules::http::{HttpGrant, HttpReply, HttpRequest};

/// One exchange, journalled before it leaves.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The call's id.
    pub id: String,
    pub request: HttpRequest,
    /// All grants of the run: each redirect is judged by them again.
    pub grants: Vec<HttpGrant>,
    /// The most bytes of bodies, sent and received over all redirects, that the budget allows.
    pub max_net_bytes: u64,
}

/// What came back, and what it cost.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// A refusal where an address or a redirect is not granted.
    pub result: Result<HttpReply, Denied>,
    /// Bytes of bodies, sent and received, as this host counted them.
    pub net_bytes: u64,
}

/// A way to the web.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Makes the exchange. Dropping the future aborts it: the connection is closed and nothing more is read.
    async fn fetch(&self, exchange: &Exchange) -> Fetched;
}
