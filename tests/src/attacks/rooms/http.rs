//! Attacks through `wasi:http`, with a hostile name server and a redirecting server on loopback.
//!
//! What belongs here: a private, a loopback, a link-local, a metadata, a mapped and a NAT64 address where a public one was
//! granted; a name that resolves to a public address first and to a private one when it is dialled; a redirect to a private
//! address, to another origin, to another scheme; a scheme that is not granted; a header that smuggles another; a request
//! line that names another host; a secret carried off by a redirect; a reply that echoes a secret; a reply, a header and
//! a request past their caps; a reply that never ends and one that trickles.

use super::super::Attack;

pub(super) fn attacks() -> Vec<Attack> {
    Vec::new()
}
