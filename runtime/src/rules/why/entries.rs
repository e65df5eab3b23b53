//! What single entries of a journal say to somebody who asks why: a refusal, a limit that was met, something shown.
//!
//! Never: compares entries, decides what led where.

use crate::rules::digest::Digest;
use crate::rules::effect::{Answer, Body, Cost, Denied, Kind, Reason, Refusal};
use crate::rules::facts::{Facts, How};
use crate::rules::verdict::{Stop, UsedUp};

use super::Told;

pub(super) fn refusal(entry: &Told) -> Option<&Refusal> {
    match entry.body.as_ref()? {
        Body::Refused { refusal, .. } | Body::Answered { heard: Err(Denied::Refused(refusal)), .. } => Some(refusal),
        Body::Opened { .. }
        | Body::Intent { .. }
        | Body::Answered { .. }
        | Body::Retried { .. }
        // A tool's own trouble; what it came to is the answer of its call.
        | Body::Within { .. }
        | Body::Noted { .. }
        | Body::Printed { .. }
        | Body::Full { .. }
        | Body::Marked { .. }
        | Body::Stopped { .. }
        | Body::Ended { .. }
        | Body::Checked { .. }
        | Body::Checking { .. }
        | Body::Applying { .. }
        | Body::Closed { .. }
        | Body::Resumed { .. } => None,
    }
}

/// The limit that an entry met.
pub(super) fn limit_in(entry: &Told) -> Option<UsedUp> {
    if let Facts::Full { by, .. } = &entry.facts {
        return Some(by.clone());
    }
    if let Some(Body::Stopped { stop: Stop::Exhausted { scope, line, limit, opens_ms } }) = &entry.body {
        return Some(UsedUp { scope: scope.clone(), line: *line, limit: *limit, opens_ms: *opens_ms });
    }
    match &refusal(entry)?.reason {
        Reason::Exhausted { shortfall } => Some(UsedUp::of(shortfall)),
        Reason::NotGranted
        | Reason::Unbounded
        | Reason::Unpriced
        | Reason::TooLarge
        | Reason::Invalid
        | Reason::LineStopped => None,
    }
}

/// What the worker showed with an entry.
pub(super) fn seen(entry: &Told) -> Option<String> {
    let short = |digest: &Digest| digest.to_string().chars().take(19).collect::<String>();
    if let Some(Body::Answered { heard: Ok(Answer::CheckedIn { standing, seen }), .. }) = &entry.body {
        let news = if standing.new_mark { "new" } else { "nothing new" };
        return Some(format!("files {}, {news}", short(seen)));
    }
    if let Some(Body::Answered { heard: Ok(Answer::Attached { id }), .. }) = &entry.body {
        return Some(format!("evidence {}", id.chars().take(19).collect::<String>()));
    }
    None
}

pub(super) fn is_mark(entry: &Told) -> bool {
    matches!(entry.facts, Facts::Marked { .. })
}

pub(super) fn is_check(entry: &Told) -> bool {
    matches!(entry.facts, Facts::Checked { .. })
}

pub(super) fn is_end(entry: &Told) -> bool {
    matches!(entry.facts, Facts::Ended { .. })
}

pub(super) fn is_stop(entry: &Told) -> bool {
    matches!(entry.facts, Facts::Stopped)
}

/// Whether it did something; a look at the budget and a count lead nowhere by themselves.
pub(super) fn is_effect(entry: &Told) -> bool {
    match answer(entry) {
        Some((kind, _)) => !matches!(kind, Kind::Left | Kind::Count),
        None => matches!(entry.facts, Facts::Refused { .. }),
    }
}

/// What a call was and what it cost, if the entry is its answer.
pub(super) fn answer(entry: &Told) -> Option<(Kind, &Cost)> {
    match &entry.facts {
        Facts::Answered { kind, cost, .. } => Some((*kind, cost)),
        Facts::Opened(_)
        | Facts::Intent { .. }
        | Facts::Retried { .. }
        | Facts::Refused { .. }
        | Facts::Within { .. }
        | Facts::Noted { .. }
        | Facts::Printed { .. }
        | Facts::Full { .. }
        | Facts::Marked { .. }
        | Facts::Stopped
        | Facts::Ended { .. }
        | Facts::Checking { .. }
        | Facts::Checked { .. }
        | Facts::Applying
        | Facts::Closed { .. }
        | Facts::Resumed { .. } => None,
    }
}

pub(super) fn is_denied(entry: &Told) -> bool {
    matches!(entry.facts, Facts::Refused { .. } | Facts::Answered { how: How::Failed | How::Refused, .. })
}
