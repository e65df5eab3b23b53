//! Questions to a person at the gate: asked once, and the run waits for the answer without being there.
//!
//! Never: takes silence for consent, asks twice. Invariant here: the question is kept before the run stops for it.

use crate::doors::store::{Durability, Need};
use crate::rules::effect::{Answer, Denied, Effect, Reason, Refusal};
use crate::rules::question::{Question, QuestionId, Standing};
use crate::rules::units;
use crate::rules::verdict::Stop;

use super::super::RunEnd;
use super::{Gate, Performed};

impl Gate {
    /// What a person decided.
    ///
    /// # Errors
    /// [`RunEnd::Stopped`]: nobody did yet, and the run is parked.
    pub(super) async fn decided(&self, call: u64, effect: &Effect) -> Result<Performed, RunEnd> {
        let (Effect::Human { question, options, risk }, Some(within_ms)) = (effect, self.passage.grants.human_ms)
        else {
            return Err(RunEnd::Fault("policy let a question through that is not granted".into()));
        };
        let id = QuestionId { run: self.passage.serial.as_str().into(), call };
        let (text, options, risk) = (question.clone(), options.clone(), *risk);
        let looked = self.passage.journal.step(vec![Need::Question(id.clone())], Durability::Durable, move |step| {
            let now_ms = step.books.now_ms;
            let known = step.books.question(&id).cloned();
            let question = known.unwrap_or_else(|| {
                let until_ms = now_ms.saturating_add(within_ms);
                let new = Question { question: text, options, risk, asked_ms: now_ms, until_ms, decision: None };
                step.books.remember_question(&id, new.clone());
                new
            });
            match question.standing(now_ms) {
                Standing::Open => None,
                Standing::Answered(decision) => {
                    Some(Ok(Answer::Decided { choice: decision.choice, note: decision.note.clone() }))
                }
                Standing::Lapsed => Some(Err(Denied::Refused(lapsed(within_ms)))),
            }
        });
        match looked.await? {
            Some(heard) => Ok(Performed::free(heard)),
            None => {
                self.passage.cord.pull(Stop::Parked { question: question.clone() });
                Err(RunEnd::Stopped)
            }
        }
    }
}

/// Nobody answered in time: a no, never a yes.
fn lapsed(within_ms: u64) -> Refusal {
    Refusal {
        reason: Reason::NotGranted,
        asked: format!("an answer within {}, which nobody gave", units::show_duration(within_ms)),
        allowed: "nothing that needs a person's word".to_owned(),
        setting: "[human] deadline".to_owned(),
    }
}
