//! What many runs may spend together: on this host, for a tenant, of a line.
//!
//! Never: a limit that nobody wrote, a window of a level. What is not written here is bounded by each job alone.

use std::collections::BTreeMap;

use super::kinds::{Characters, Name};
use super::limit;
use super::reader::{Naming, Reader, Section};
use crate::rules::line::Line;
use crate::rules::spec::{Allowance, Setting};
use crate::rules::window::Span;

/// What a line or a tenant may be called.
pub(super) const NAME: Name = Name { characters: Characters::Lower, most: 64 };

/// What one scope may spend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    pub allowance: Allowance,
    /// Its settings, by their whole keys.
    pub settings: Vec<Setting>,
}

/// Reads a section that has nothing but its budget, such as `[host]`.
pub(super) fn read(mut section: Section<'_>, reader: &mut Reader) -> Shared {
    let (allowance, settings) = reader.apart(|reader| allowance(&mut section, reader));
    section.finish(reader);
    Shared { allowance, settings }
}

/// Reads `[lines]`.
pub(super) fn lines(section: &Section<'_>, reader: &mut Reader) -> BTreeMap<String, Shared> {
    let naming = Naming { noun: "line", kind: NAME, example: "triage" };
    let named = section.named(reader, &naming);
    named.into_iter().filter_map(|(name, section)| Some((name.value, read(section?, reader)))).collect()
}

/// Reads the budget of a scope: in all, and in each hour, day and week.
pub(super) fn allowance(scope: &mut Section<'_>, reader: &mut Reader) -> Allowance {
    let mut allowance = Allowance::default();
    let Some(found) = scope.section(reader, "budget").found() else { return allowance };
    let (mut budget, home) = (found.value, scope.key("budget"));
    allowance.total = limit::amounts(&limit::read(&mut budget, reader, Line::ALL, 0));
    for span in Span::ALL {
        let Some(found) = budget.section(reader, span.name()).found() else { continue };
        let mut window = found.value;
        let limits = limit::amounts(&limit::read(&mut window, reader, limit::spendable(), 0));
        limit::refuse_levels(&mut window, reader, &home);
        window.finish(reader);
        if !limits.is_empty() {
            allowance.windows.insert(span, limits);
        }
    }
    budget.finish(reader);
    allowance
}
