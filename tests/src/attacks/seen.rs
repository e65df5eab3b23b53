//! What must be seen of a run of the table, in words and as a check of what the host saw.

use std::sync::Arc;

use crate::bench::End;

use super::Scene;

type Check = Arc<dyn Fn(&End, &Scene) -> Result<(), String> + Send + Sync>;

/// A check, and what it says when it holds.
#[derive(Clone)]
pub struct Seen {
    says: String,
    check: Check,
}

impl Seen {
    /// What it says when it holds.
    pub fn says(&self) -> &str {
        &self.says
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// What was seen instead.
    pub fn judge(&self, end: &End, scene: &Scene) -> Result<(), String> {
        (self.check)(end, scene)
    }

    /// Both.
    pub(crate) fn and(self, other: Seen) -> Seen {
        let says = format!("{}, {}", self.says, other.says);
        seen(&says, move |end, scene| self.judge(end, scene).and_then(|()| other.judge(end, scene)))
    }
}

/// A check of one's own.
pub(crate) fn seen(says: &str, check: impl Fn(&End, &Scene) -> Result<(), String> + Send + Sync + 'static) -> Seen {
    Seen { says: says.to_owned(), check: Arc::new(check) }
}

/// Holds if `is` does; what the guest noted is shown otherwise.
pub(crate) fn that(says: &str, is: impl Fn(&End) -> bool + Send + Sync + 'static) -> Seen {
    seen(says, move |end, _| match is(end) {
        true => Ok(()),
        false => Err(format!("{}; it noted {:.400?}", end.record.why, end.notes())),
    })
}

/// Nothing beyond the verdict.
pub(crate) fn verdict_alone(says: &str) -> Seen {
    seen(says, |_, _| Ok(()))
}

/// What a guest noted of a step: `got VALUE` or `no, ERROR`.
fn told<'a>(end: &'a End, step: &str) -> Option<&'a str> {
    end.notes().into_iter().find_map(|note| note.strip_prefix(step)?.strip_prefix(": "))
}

fn step(end: &End, step: &str, wanted: &str) -> Result<(), String> {
    match told(end, step) {
        Some(told) if told.starts_with(wanted) => Ok(()),
        Some(told) => Err(format!("{step}: {told}")),
        None => Err(format!("nothing was told of {step:?}; {}", end.record.why)),
    }
}

/// The guest met a refusal at this step.
pub(crate) fn no(at: &'static str) -> Seen {
    seen(&format!("{at} refused"), move |end, _| step(end, at, "no, "))
}

/// The step went through.
pub(crate) fn got(at: &'static str) -> Seen {
    seen(&format!("{at} granted"), move |end, _| step(end, at, "got "))
}

/// The step went through and gave this.
pub(crate) fn got_this(at: &'static str, value: &'static str) -> Seen {
    seen(&format!("{at} gave {value}"), move |end, _| step(end, at, &format!("got {value}")))
}

/// The host's reason names this.
pub(crate) fn because(why: &'static str) -> Seen {
    seen(why, move |end, _| match end.record.why.contains(why) {
        true => Ok(()),
        false => Err(format!("because {}", end.record.why)),
    })
}

/// The guest noted exactly this as something.
pub(crate) fn noted(note: &'static str) -> Seen {
    seen(note, move |end, _| match end.notes().contains(&note) {
        true => Ok(()),
        false => Err(format!("noted {:.400?}; {}", end.notes(), end.record.why)),
    })
}

/// A budget line ran out, and it was this one.
pub(crate) fn out_of(line: &'static str) -> Seen {
    seen(&format!("{line} used up"), move |end, _| match &end.record.detail["line"] {
        serde_json::Value::String(which) if which == line => Ok(()),
        other => Err(format!("{other} used up")),
    })
}

/// The host wrote down at most so much of the run.
pub(crate) fn written_at_most(bytes: u64) -> Seen {
    seen(&format!("at most {bytes} bytes written down"), move |end, scene| {
        let written = scene.written_down(end);
        if written <= bytes { Ok(()) } else { Err(format!("{written} bytes written down")) }
    })
}

/// Nothing ran: no attempt, no entry, nothing of size on disk.
pub(crate) fn never_ran(why: &'static str) -> Seen {
    let nothing = that("nothing ran", |end| end.record.attempt == 0 && end.entries.is_empty());
    because(why).and(nothing).and(written_at_most(16 << 10))
}

/// Nothing of the run reached the real directory.
pub(crate) fn nothing_applied() -> Seen {
    that("nothing applied", |end| !end.record.applied && end.record.exit_code != 0)
}
