//! Where lines are in a file, exactly; and where they almost are, in words.

use serde::Serialize;

use crate::diff::Hunk;

/// Comparisons of lines to find the place that fits best: a part of a second. Past it, no place is named.
const MAX_COMPARISONS: usize = 10_000_000;
/// Characters of a line in a complaint.
const MAX_QUOTED_CHARS: usize = 160;

/// Where a hunk went.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Its first line in the file as it was, from 1.
    pub line: usize,
    /// Lines between where its header says and where it is.
    pub offset: isize,
}

/// Finds the one place of a hunk, as an index of the file's lines: not before `from`; shifted like the hunk before it by
/// `drift` if both would do.
///
/// # Errors
/// For the model: what was expected, what is there, and where it fits best.
pub fn locate(lines: &[&str], hunk: &Hunk, from: usize, drift: isize) -> Result<(usize, isize), String> {
    // With no old lines, the header names the line before.
    let stated = if hunk.old.is_empty() { hunk.start } else { hunk.start.saturating_sub(1) };
    let drifted = stated.saturating_add_signed(drift);
    for at in [stated, drifted] {
        if at >= from && fits(lines, &hunk.old, at) {
            return Ok((at, offset(stated, at)));
        }
    }
    if hunk.old.is_empty() {
        return Err(format!(
            "it adds lines after line {stated}, which the file does not have there ({} lines)",
            lines.len()
        ));
    }
    let mut places = (from..lines.len()).filter(|&at| fits(lines, &hunk.old, at));
    match (places.next(), places.next()) {
        (Some(only), None) => Ok((only, offset(stated, only))),
        (Some(one), Some(other)) => Err(format!(
            "it is not at line {}, and more than one other place fits, the lines {} and {} first: name the right line, or add \
             lines around it",
            stated + 1,
            one + 1,
            other + 1
        )),
        (None, _) => Err(differs(lines, &hunk.old, stated)),
    }
}

fn fits(lines: &[&str], wanted: &[String], at: usize) -> bool {
    let there = at.checked_add(wanted.len()).and_then(|end| lines.get(at..end));
    there.is_some_and(|there| there.iter().zip(wanted).all(|(there, wanted)| there == wanted))
}

fn offset(stated: usize, at: usize) -> isize {
    // Both are indices into one file of at most a mebibyte, or a number that was asked for and is not where it is.
    isize::try_from(at).unwrap_or(isize::MAX).saturating_sub_unsigned(stated)
}

/// What is there instead of the lines, and where they fit best.
fn differs(lines: &[&str], wanted: &[String], stated: usize) -> String {
    let mut words = first_difference(lines, wanted, stated);
    if lines.len().saturating_mul(wanted.len()) > MAX_COMPARISONS {
        return words;
    }
    // Equal lines first, then lines that are equal but for white space, then the nearest.
    let count = |at: usize, same: fn(&str, &str) -> bool| {
        lines[at..].iter().zip(wanted).filter(|(there, wanted)| same(there, wanted)).count()
    };
    let score = |at: usize| {
        let exact = count(at, |there, wanted| there == wanted && !there.trim().is_empty());
        let almost = count(at, |there, wanted| there.trim() == wanted.trim() && !there.trim().is_empty());
        (exact + almost, std::cmp::Reverse(at.abs_diff(stated)))
    };
    let best = (0..lines.len()).map(|at| (score(at), at)).max();
    let Some(((1.., _), at)) = best else {
        return words + "; none of its lines is in the file";
    };
    let exact = count(at, |there, wanted| there == wanted);
    let almost = count(at, |there, wanted| there.trim() == wanted.trim());
    words += &format!("; it fits best at line {}, where {exact} of {} lines agree", at + 1, wanted.len());
    if almost > exact {
        words += &format!(" and {} more but for white space", almost - exact);
    }
    if at != stated {
        words += &format!(": {}", first_difference(lines, wanted, at));
    }
    words
}

fn first_difference(lines: &[&str], wanted: &[String], at: usize) -> String {
    for (index, wanted) in wanted.iter().enumerate() {
        let line = at.saturating_add(index);
        match lines.get(line) {
            Some(there) if there == wanted => {}
            Some(there) => {
                let (wanted, there) = told_apart(wanted, there);
                return format!("at line {} it expects {wanted} and there is {there}", line.saturating_add(1));
            }
            None => {
                let wanted = quoted(wanted.trim_end_matches('\n'));
                return format!(
                    "at line {} it expects {wanted} and the file has {} lines",
                    line.saturating_add(1),
                    lines.len()
                );
            }
        }
    }
    // Only a place before `from` comes here: it fits, but a hunk before it has taken it.
    format!("the lines at {} belong to a hunk before it", at.saturating_add(1))
}

/// Two lines quoted; with their ends only where that is the difference.
fn told_apart(wanted: &str, there: &str) -> (String, String) {
    let plain = (wanted.trim_end_matches('\n'), there.trim_end_matches('\n'));
    if plain.0 != plain.1 {
        return (quoted(plain.0), quoted(plain.1));
    }
    let end = |line: &str, plain: &str| {
        let end = if line.ends_with('\n') { "a line end" } else { "no line end" };
        format!("{} with {end}", quoted(plain))
    };
    (end(wanted, plain.0), end(there, plain.1))
}

fn quoted(line: &str) -> String {
    match line.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}..", &line[..end]),
        None => format!("{line:?}"),
    }
}

/// Where a text is in another, overlapping ones too. Neither is empty.
pub fn occurrences(content: &str, text: &str) -> impl Iterator<Item = usize> {
    let step = text.chars().next().map_or(1, char::len_utf8);
    let mut next = 0;
    std::iter::from_fn(move || {
        let at = next + content.get(next..)?.find(text)?;
        next = at + step;
        Some(at)
    })
}

/// A line of the file that is like the first line of a text that is not there; empty if there is none.
pub fn hint(content: &str, text: &str) -> String {
    let Some(first) = text.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return String::new();
    };
    let same = |line: &str| line.trim() == first;
    match content.lines().position(same).or_else(|| content.lines().position(|line| line.contains(first))) {
        Some(index) => {
            let there = content.lines().nth(index).unwrap_or_default();
            format!("; its first line is like line {}, which is {}", index + 1, quoted(there))
        }
        None => format!("; no line is like {}", quoted(first)),
    }
}
