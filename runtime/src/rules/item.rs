//! What an item remembers between attempts: how many there were, what it spent, what it has shown.
//!
//! Never: forgets. Invariants here: L10 and N6 (counters survive restart and re-claim).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::effect::{Body, Entry};
use super::ledger::{Amounts, Line};
use super::progress::Seen;

/// The memory of one item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemRecord {
    /// Attempts started, over all causes.
    pub attempts: u32,
    pub spent: Amounts,
    /// Reserved by calls whose cost nobody knows.
    pub held: Amounts,
    pub seen: Seen,
    /// The run that works on the item. Still there at the next attempt: that run ended without its books closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
}

/// The item has used all its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptsExhausted {
    pub attempts: u32,
    pub max: u32,
}

/// Lines that a run books at its end: of a run that had none, nobody knows how much.
const BOOKED_AT_THE_END: [Line; 4] = [Line::WallMs, Line::WorkMs, Line::CpuMs, Line::DiskBytes];

impl ItemRecord {
    /// Books a run that ended without doing so, from its journal: what was answered is spent, what was only sent is held,
    /// what nobody recorded is held up to the attempt's `limits`, and so is everything if the journal cannot be read.
    pub fn recover(&mut self, entries: Option<&[Entry]>, limits: &BTreeMap<Line, u64>) {
        let limit = |line: Line| limits.get(&line).copied().unwrap_or(0);
        let Some(entries) = entries else {
            self.held = self.held.plus(&limits.iter().map(|(&line, &limit)| (line, limit)).collect());
            return;
        };
        if entries.is_empty() {
            // The first entry is durable before anything of the worker runs.
            return;
        }
        let mut sent: BTreeMap<u64, &Amounts> = BTreeMap::new();
        for entry in entries {
            match &entry.body {
                Body::Intent { call, reserved, .. } => {
                    sent.insert(*call, reserved);
                }
                Body::Answered { call, cost, .. } => {
                    sent.remove(call);
                    self.spent = self.spent.plus(&without_the_end(&cost.spent));
                    self.held = self.held.plus(&without_the_end(&cost.held));
                }
                Body::Marked { mark } => self.seen.insert(*mark),
                Body::Opened { .. }
                | Body::Refused { .. }
                | Body::Noted { .. }
                | Body::Printed { .. }
                | Body::Stopped { .. }
                | Body::Ended { .. }
                | Body::Checking { .. }
                | Body::Checked { .. }
                | Body::Applying { .. }
                | Body::Closed { .. } => {}
            }
        }
        for reserved in sent.values() {
            self.held = self.held.plus(&without_the_end(reserved));
        }
        self.held = self.held.plus(&BOOKED_AT_THE_END.into_iter().map(|line| (line, limit(line))).collect());
    }

    /// Counts one more attempt and returns its number, from 1.
    ///
    /// # Errors
    /// [`AttemptsExhausted`], with nothing counted, once `max` attempts were started.
    pub fn start_attempt(&mut self, max: u32) -> Result<u32, AttemptsExhausted> {
        if self.attempts >= max {
            return Err(AttemptsExhausted { attempts: self.attempts, max });
        }
        self.attempts += 1;
        Ok(self.attempts)
    }
}

fn without_the_end(amounts: &Amounts) -> Amounts {
    amounts.iter().filter(|(line, _)| !BOOKED_AT_THE_END.contains(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::effect::{Answer, Cost, Effect};

    fn tokens(amount: u64) -> Amounts {
        [(Line::Tokens, amount)].into_iter().collect()
    }

    #[test]
    fn a_run_that_crashed_is_booked_from_its_journal() {
        let effect = Effect::Sleep { ms: 0 };
        let intent = |call, reserved| Body::Intent { call, effect: effect.clone(), reserved };
        let answered = |call, spent| Body::Answered {
            call,
            heard: Ok(Answer::Slept),
            cost: Cost { spent: tokens(spent), ..Cost::default() },
        };
        let bodies = [intent(1, tokens(100)), answered(1, 60), intent(2, tokens(30))];
        let entries: Vec<Entry> =
            bodies.into_iter().zip(0..).map(|(body, seq)| Entry { seq, at_ms: 0, body }).collect();
        let limits = BTreeMap::from([(Line::Tokens, 500), (Line::WallMs, 1_000)]);
        let mut item = ItemRecord::default();
        item.recover(Some(&entries), &limits);
        assert_eq!(item.spent.get(Line::Tokens), 60);
        assert_eq!(item.held.get(Line::Tokens), 30);
        assert_eq!(item.held.get(Line::WallMs), 1_000);
        let mut never_began = ItemRecord::default();
        never_began.recover(Some(&[]), &limits);
        assert_eq!(never_began, ItemRecord::default());
        let mut blind = ItemRecord::default();
        blind.recover(None, &limits);
        assert_eq!(blind.held.get(Line::Tokens), 500);
    }

    #[test]
    fn the_cap_itself_is_allowed_and_one_more_is_not() {
        let mut item = ItemRecord::default();
        assert_eq!(item.start_attempt(2), Ok(1));
        assert_eq!(item.start_attempt(2), Ok(2));
        assert_eq!(item.start_attempt(2), Err(AttemptsExhausted { attempts: 2, max: 2 }));
        assert_eq!(item.attempts, 2);
    }
}
