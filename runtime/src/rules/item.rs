//! What an item remembers between attempts: how many there were, what it spent, what it has shown.
//!
//! Never: forgets. Invariants here: L10 and N6 (counters survive restart and re-claim).

use serde::{Deserialize, Serialize};

use super::ledger::Amounts;
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
}

/// The item has used all its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptsExhausted {
    pub attempts: u32,
    pub max: u32,
}

impl ItemRecord {
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

    #[test]
    fn the_cap_itself_is_allowed_and_one_more_is_not() {
        let mut item = ItemRecord::default();
        assert_eq!(item.start_attempt(2), Ok(1));
        assert_eq!(item.start_attempt(2), Ok(2));
        assert_eq!(item.start_attempt(2), Err(AttemptsExhausted { attempts: 2, max: 2 }));
        assert_eq!(item.attempts, 2);
    }
}
