//! What the gate does with what the journal tells: the guest hears it, and the gate remembers it as if it had happened now.
//!
//! Never: performs, spends.

use crate::rules::andon::{Category, Pull, Puller};
use crate::rules::digest::Digest;
use crate::rules::divergence::{Divergence, DivergenceKind};
use crate::rules::effect::{Answer, Denied, Effect, Heard};
use crate::rules::progress::Mark;
use crate::rules::spec::MarkKind;
use crate::rules::verdict::Stop;

use super::super::RunEnd;
use super::super::lock;
use super::super::tape::{Part, Retold, Untold};
use super::{Ask, Gate, Kept, KeptTree, Marked, blocking, keep_tree};

impl Gate {
    /// What the journal tells of these effects, if it tells anything.
    pub(super) async fn retell(&self, first: u64, asks: &[Ask]) -> Result<Vec<Part>, RunEnd> {
        let journal = &self.passage.journal;
        if !journal.is_telling() && !journal.is_shut() {
            return Ok(vec![Part::New; asks.len()]);
        }
        let effects: Vec<Effect> = asks.iter().map(|ask| ask.effect.clone()).collect();
        let Retold { parts, marks } = journal.retell(first, &effects).map_err(|untold| self.untold(untold))?;
        let retold_marks = marks.len();
        for (part, effect) in parts.iter().zip(&effects) {
            if let Part::Told { .. } = part {
                self.was_asked(effect);
            }
        }
        for mark in marks {
            lock(&self.passage.progress).retell(mark);
            self.moved_on();
        }
        for (part, effect) in parts.iter().zip(&effects) {
            if let Part::Told { heard, passed, .. } = part {
                self.remember(effect, heard, *passed)?;
                self.was_heard(effect, heard, effects.len() == 1);
            }
        }
        // Of calls at once each began where the one before had ended.
        let tree = parts.iter().rev().find_map(|part| match part {
            Part::Told { tree, .. } => *tree,
            Part::Open { .. } | Part::Again { .. } | Part::New => None,
        });
        if let Some(tree) = tree {
            self.bring(tree).await?;
        }
        for part in &parts {
            if let Part::Told { heard: Ok(Answer::CheckedIn { seen, .. }), .. } = part {
                self.same_tree(seen).await?;
            }
        }
        if retold_marks == 0 {
            self.finish_marks(first, &effects, &parts).await?;
        }
        if let Some(stop) = journal.cut() {
            // From here on the journal does not say what the guest did.
            self.passage.cord.pull(stop);
            return Err(RunEnd::Stopped);
        }
        Ok(parts)
    }

    fn remember(&self, effect: &Effect, heard: &Heard, passed: bool) -> Result<(), RunEnd> {
        if passed {
            self.count(effect);
            if let (Effect::Child { .. }, Some(children)) = (effect, &self.passage.children) {
                children.count_told();
            }
        }
        match (effect, heard) {
            (Effect::Attach { kind, name, bytes, .. }, Ok(Answer::Attached { id })) => {
                let id = id.parse().map_err(|error| RunEnd::Fault(format!("the journal's evidence: {error}")))?;
                let mut state = self.state();
                state.kept.push(Kept { kind: kind.clone(), name: name.clone(), id });
                state.written_bytes += bytes;
                state.told_bytes = state.written_bytes;
                Ok(())
            }
            (Effect::Fetch { .. }, Err(Denied::Refused(refusal))) if passed => {
                self.was_cut_short(refusal);
                Ok(())
            }
            (_, Err(Denied::Refused(refusal))) if !passed => {
                self.was_struck(refusal);
                self.was_refused(refusal)
            }
            _ => Ok(()),
        }
    }

    /// Where the journal ends with an answer, the mark that the answer earned may be missing: it is written now.
    async fn finish_marks(&self, first: u64, effects: &[Effect], parts: &[Part]) -> Result<(), RunEnd> {
        let journal = &self.passage.journal;
        if journal.is_telling() || journal.is_shut() {
            return Ok(());
        }
        for ((call, effect), part) in (first..).zip(effects).zip(parts) {
            let (mark, tree) = match (effect, part) {
                (Effect::Attach { .. }, Part::Told { heard: Ok(Answer::Attached { id }), .. }) => {
                    let digest =
                        id.parse().map_err(|error| RunEnd::Fault(format!("the journal's evidence: {error}")))?;
                    (Mark { kind: MarkKind::Artifact, digest }, None)
                }
                (Effect::CheckIn { .. }, Part::Told { heard: Ok(Answer::CheckedIn { standing, seen }), .. })
                    if standing.new_mark =>
                {
                    (Mark { kind: MarkKind::Tree, digest: *seen }, self.kept_now().await?)
                }
                _ => continue,
            };
            if lock(&self.passage.progress).observe(mark) {
                self.earned(None, call, Marked { mark, tree }).await?;
            }
        }
        Ok(())
    }

    async fn kept_now(&self) -> Result<Option<KeptTree>, RunEnd> {
        let (Some(blobs), Some(view)) = (&self.passage.blobs, self.passage.workspace.clone()) else { return Ok(None) };
        let (view, now) = blocking(move || {
            let now = view.look();
            (view, now)
        })
        .await?;
        let kept = match now {
            Ok(now) => keep_tree(blobs, &view, now).await?,
            Err(why) => Err(why),
        };
        if kept.is_err() && self.is_disturbed() {
            return Ok(None);
        }
        kept.map(Some).map_err(|why| RunEnd::Fault(format!("the worker's tree could not be kept: {why}")))
    }

    /// What the guest did to its files is not in the journal: it did the same if they are the same.
    async fn same_tree(&self, told: &Digest) -> Result<(), RunEnd> {
        let Some(view) = self.passage.workspace.clone() else { return Ok(()) };
        let now = blocking(move || Ok::<_, String>(view.mark(&view.look()?))).await?;
        let got = match now {
            Ok(now) if now == *told => return Ok(()),
            // That is nothing that the guest did otherwise.
            Err(_) if self.is_disturbed() => return Ok(()),
            Ok(now) => now.to_string(),
            Err(unreadable) => unreadable,
        };
        Err(RunEnd::Diverged(Box::new(Divergence {
            seq: self.passage.journal.last_told(),
            kind: DivergenceKind::State,
            expected: format!("the tree {told} at a check-in"),
            got: format!("the tree {got}"),
            diff: vec![],
        })))
    }

    fn untold(&self, untold: Untold) -> RunEnd {
        match untold {
            Untold::Stopped(stop) => {
                self.passage.cord.pull(stop);
                RunEnd::Stopped
            }
            Untold::Unknown { call, kind } => {
                let reason = format!(
                    "call {call} ({}) was begun before a crash, and nobody knows whether it changed the world",
                    kind.name()
                );
                let pull = Pull { by: Puller::Host, category: Category::SystemicRisk, reason, evidence: vec![] };
                self.passage.cord.pull(Stop::Pulled { pull });
                RunEnd::Stopped
            }
            diverged @ Untold::Diverged(_) => diverged.into(),
        }
    }
}
