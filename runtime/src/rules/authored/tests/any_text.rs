//! Any text at all: no panic, every span within the text, and what loads is bounded.

use proptest::prelude::*;

use super::*;

/// Pieces that break a file in more ways than letters do.
const PIECES: [&str; 38] = [
    "",
    "\n",
    "[",
    "]",
    "[[",
    "=",
    "\"",
    "'''",
    "{",
    "}",
    ",",
    "#",
    ".",
    "-1",
    "inf",
    "0x",
    "1e9",
    "1979-05-27",
    "true",
    "\"inherit\"",
    "\u{1f980}",
    "\\u0000",
    "[budget.item]\n",
    "[budget.gap]\n",
    "[host.budget.day]\n",
    "[tenants.acme]\n",
    "[[hook]]\n",
    "memory = \"1MiB\"\n",
    "[guards]\n",
    "cluster-items = 30\n",
    "[human]\n",
    "human = true\n",
    "a.b.c = ",
    "[[grants.http]]\n",
    "[[policy.http]]\n",
    "https://*.",
    "/../",
    "networks = [\"::/0\"]\n",
];

fn judged(text: &str) {
    for result in [plain(text).map(Some), operator(text).map(|_| None)] {
        match result {
            Ok(Some(spec)) => {
                let bounded = |line| spec.budget.attempt.contains_key(&line) || spec.budget.item.contains_key(&line);
                assert!(limit::spendable().all(bounded), "{text}");
                let Budget { gap, first_gap, .. } = &spec.budget;
                assert!(spec.backoff.first_ms <= spec.backoff.most_ms, "{text}");
                assert_eq!(guards::wrong_of(&spec.guards), [""; 0], "{text}");
                assert!(spec.grants.http.is_empty(), "no operator allows it: {text}");
                assert!(gap.iter().all(|(line, gap)| first_gap[line] <= *gap && first_gap[line] > 0), "{text}");
            }
            Ok(None) => {}
            Err(mistakes) => {
                assert!(!mistakes.is_empty());
                for mistake in mistakes {
                    assert!(text.get(mistake.span.expect("nothing is of the command line")).is_some());
                    assert!(!mistake.message.contains(char::is_control), "{:?}", mistake.message);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text: String) {
        judged(&text);
    }

    #[test]
    fn no_damage_to_a_file_panics(
        file in 0..7usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..12usize, 0..PIECES.len()), 1..6),
    ) {
        let mut text = [JOB, GAPS, OPERATOR, SHARED, HOOKS, FETCHER, WEB][file].to_owned();
        for (at, length, piece) in edits {
            let from = text.floor_char_boundary(at.index(text.len() + 1));
            let to = text.floor_char_boundary((from + length).min(text.len()));
            text.replace_range(from..to, PIECES[piece]);
        }
        judged(&text);
    }

    #[test]
    fn a_job_that_lost_lines_loads_bounded_or_not_at_all(
        keep in proptest::collection::vec(prop::bool::weighted(0.95), 64),
    ) {
        let budget = "[guards]\ncluster-items = 30\ncluster-runs = 40\n[budget.gap]\nwall = \"1s\"\n[budget.item]\ntokens = 9\ntokens-in = 5\nwall = \"5s\"\nusd = \"1\"\n[caps]\nfiles = 1\n";
        let text = format!("{JOB}{budget}");
        let kept: Vec<&str> = text.lines().zip(keep).filter(|(_, keep)| *keep).map(|(line, _)| line).collect();
        judged(&kept.join("\n"));
    }
}
