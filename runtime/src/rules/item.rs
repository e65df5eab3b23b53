//! What an item remembers between attempts: how many there were, and what it has shown.
//!
//! What it spent is in the ledger, under its scope. Never: forgets. Invariants here: L10 and N6 (counters survive restart
//! and re-claim).

use serde::{Deserialize, Serialize};

use super::progress::{Mark, Seen};

/// The memory of one item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemRecord {
    /// Attempts started, over all causes.
    pub attempts: u32,
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

impl ItemRecord {
    /// Remembers what a run showed that ended without saying so.
    pub fn recover(&mut self, marks: &[Mark]) {
        marks.iter().for_each(|mark| self.seen.insert(*mark));
    }

    /// A run goes on that has shown this: to itself it is still new.
    pub fn go_on(&mut self, serial: &str, marks: &[Mark]) {
        marks.iter().for_each(|mark| self.seen.remove(mark));
        self.open = Some(serial.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::digest::Digest;
    use crate::rules::spec::MarkKind;

    #[test]
    fn what_a_run_that_crashed_has_shown_is_remembered() {
        let mark = Mark { kind: MarkKind::Tree, digest: Digest::from_bytes([7; 32]) };
        let mut item = ItemRecord::default();
        item.recover(&[mark]);
        let mut seen = Seen::default();
        seen.insert(mark);
        assert_eq!(item.seen, seen);
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
