//! What became of an exchange in the words of `wasi:http`: an error code, with the host's sentence where it has room for one.
//!
//! | at the gate | error code |
//! | --- | --- |
//! | not granted: method, scheme, host, port, path, address | `HTTP-request-denied` |
//! | any other refusal: budget, cap, guard | `internal-error("refused: ..")`, the whole refusal |
//! | no answer in time | `connection-timeout` |
//! | any other failure | `internal-error("failed: ..")`, the whole failure |
//!
//! Of requests that never reach the gate: more than may be pending, `connection-limit-reached`; a body that is not as long as
//! `content-length` says or over the fixed cap, `HTTP-request-body-size`; a scheme that is not served, `HTTP-protocol-error`;
//! an address or a method that is none, `HTTP-request-URI-invalid` and `HTTP-request-method-invalid`; trailers,
//! `HTTP-request-trailer-section-size`; anything else `internal-error` with a sentence.

use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use crate::rules::effect::{Denied, FailureKind, Reason, Refusal};

/// What a guest hears of a no.
pub(super) fn error_code(denied: &Denied) -> ErrorCode {
    match denied {
        Denied::Refused(refusal) => match &refusal.reason {
            // It has no room for a sentence; the journal has it.
            Reason::NotGranted => ErrorCode::HttpRequestDenied,
            Reason::Exhausted { .. }
            | Reason::Unbounded
            | Reason::Unpriced
            | Reason::TooLarge
            | Reason::Invalid
            | Reason::LineStopped => sentence(&refused(refusal)),
        },
        Denied::Failed(failure) => match failure.kind {
            FailureKind::TimedOut => ErrorCode::ConnectionTimeout,
            FailureKind::Unavailable
            | FailureKind::Overloaded
            | FailureKind::Rejected
            | FailureKind::Broken
            | FailureKind::SchemaViolation => sentence(&format!("failed: {}", failure.message)),
        },
    }
}

fn refused(refusal: &Refusal) -> String {
    let Refusal { reason: _, asked, allowed, setting } = refusal;
    let mut text = format!("refused: {asked}");
    for (what, words) in [("allowed", allowed), ("to change it", setting)] {
        if !words.is_empty() {
            text += &format!("; {what}: {words}");
        }
    }
    text
}

fn sentence(text: &str) -> ErrorCode {
    ErrorCode::InternalError(Some(text.to_owned()))
}

/// The request was given up, or is waited for and never finished.
pub(super) fn unfinished() -> ErrorCode {
    sentence("failed: the request's body was not finished, so nothing was sent")
}

/// The guest has the host hold too much for it.
pub(super) fn held_too_much() -> ErrorCode {
    let most = super::MAX_HELD_BYTES;
    sentence(&format!("refused: the host holds bodies of {most} bytes for a worker; read or drop some first"))
}

/// A header's value is not text.
pub(super) fn no_text(name: &str) -> ErrorCode {
    sentence(&format!("refused: the value of header {name} is not text in UTF-8"))
}

/// Its length says nothing.
pub(super) fn no_length() -> ErrorCode {
    sentence("refused: content-length is no number")
}
