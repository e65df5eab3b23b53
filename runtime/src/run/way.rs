//! The way from a guest to its gate: in the same process, or through the pipe of the cell that it sits in.
//!
//! Never: decides. Invariant here: both ways ask the same gate the same, and move the same clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::doors::trail::Touch;
use crate::rules::andon::Category;
use crate::rules::effect::{Heard, Level};
use crate::rules::model::Profile;
use crate::rules::tool::ToolOffer;

use super::RunEnd;
use super::cell::pipe::Pipe;
use super::gate::{Ask, Gate};

/// A guest's way to its gate.
#[derive(Clone)]
pub enum Way {
    Here(Arc<Gate>),
    Piped(Arc<Pipe>),
}

impl Way {
    /// As [`Gate::pass`].
    ///
    /// # Errors
    /// [`RunEnd`].
    pub async fn pass(&self, ask: impl Into<Ask>) -> Result<Heard, RunEnd> {
        match self {
            Way::Here(gate) => gate.pass(ask).await,
            Way::Piped(pipe) => {
                let mut heard = pipe.pass_all(vec![ask.into()])?;
                heard.pop().ok_or_else(|| RunEnd::Fault("the gate did not answer".into()))
            }
        }
    }

    /// As [`Gate::pass_all`].
    ///
    /// # Errors
    /// [`RunEnd`].
    pub async fn pass_all(&self, asks: Vec<Ask>) -> Result<Vec<Heard>, RunEnd> {
        match self {
            Way::Here(gate) => gate.pass_all(asks).await,
            Way::Piped(pipe) => pipe.pass_all(asks),
        }
    }

    /// As [`Gate::note`].
    ///
    /// # Errors
    /// [`RunEnd`].
    pub async fn note(&self, level: Level, message: String, fields: Vec<(String, String)>) -> Result<(), RunEnd> {
        match self {
            Way::Here(gate) => gate.note(level, message, fields).await,
            Way::Piped(pipe) => pipe.note(level, message, fields),
        }
    }

    /// As [`Gate::pulled_by_guest`].
    pub fn pulled_by_guest(&self, category: Category, reason: &str, evidence: Vec<String>) -> RunEnd {
        match self {
            Way::Here(gate) => gate.pulled_by_guest(category, reason, evidence),
            Way::Piped(pipe) => pipe.pull(category, reason.to_owned(), evidence),
        }
    }

    /// As [`Gate::wrote`].
    pub fn wrote(&self, bytes: u64) -> bool {
        match self {
            Way::Here(gate) => gate.wrote(bytes),
            Way::Piped(pipe) => pipe.wrote(bytes),
        }
    }

    /// As [`Gate::touched`].
    pub fn touched(&self, touch: Touch) {
        match self {
            Way::Here(gate) => gate.touched(touch),
            Way::Piped(pipe) => pipe.touched(touch),
        }
    }

    /// The tools that the guest can call.
    ///
    /// # Errors
    /// [`RunEnd`].
    pub fn tools(&self) -> Result<Vec<ToolOffer>, RunEnd> {
        match self {
            Way::Here(gate) => Ok(gate.tools().to_vec()),
            Way::Piped(pipe) => pipe.tools(),
        }
    }

    /// The granted models, as the guest may know them.
    ///
    /// # Errors
    /// [`RunEnd`].
    pub fn offers(&self) -> Result<BTreeMap<String, Profile>, RunEnd> {
        match self {
            Way::Here(gate) => Ok(gate.offers().clone()),
            Way::Piped(pipe) => pipe.offers(),
        }
    }
}
