//! The corpus of what servers are reported to send: each row in every cut.

use super::*;

/// Bodies up to so many bytes are cut at each of them, larger ones at some.
const CUT_EVERYWHERE: usize = 700;

/// What servers of each dialect are reported to send.
const REPLIES: [(Dialect, &str); 3] = [
    (Dialect::Openai, include_str!("../replies/chat.txt")),
    (Dialect::Anthropic, include_str!("../replies/messages.txt")),
    (Dialect::Responses, include_str!("../replies/responses.txt")),
];

fn rows() -> impl Iterator<Item = (Dialect, &'static str)> {
    let of = |(dialect, rows): (Dialect, &'static str)| rows.split("\n\n").map(move |row| (dialect, row));
    REPLIES.into_iter().flat_map(of).filter(|(_, row)| !row.starts_with('#'))
}

/// The body of a row.
fn body(form: &str, lines: &[&str]) -> String {
    let event = |line: &&str| match line.split_once(' ') {
        Some(("d", delta)) => format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#),
        Some(("f", reason)) => format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#),
        Some(("u", counts)) => {
            let (tokens_in, tokens_out) = counts.split_once(' ').unwrap();
            let total = tokens_in.parse::<u64>().unwrap() + tokens_out.parse::<u64>().unwrap();
            format!(
                r#"{{"choices":[],"usage":{{"prompt_tokens":{tokens_in},"completion_tokens":{tokens_out},"total_tokens":{total}}}}}"#
            )
        }
        _ => (*line).to_owned(),
    };
    match form {
        "stream" => lines.iter().map(|line| format!("data: {}\n\n", event(line))).collect(),
        "whole" => lines.concat(),
        "raw" => lines.concat().replace("\\n", "\n").replace("\\r", "\r"),
        other => panic!("no such form: {other}"),
    }
}

#[test]
fn what_servers_are_reported_to_send_is_read_as_far_as_it_can_be_known() {
    let (mut read, mut wrong) = (0, String::new());
    for (dialect, row) in rows() {
        let lines: Vec<&str> = row.trim_end_matches('\n').lines().collect();
        let [title, form, lines @ .., expected] = lines.as_slice() else { panic!("{row}") };
        assert!(title.contains(" · https://"), "who sends it, and where that was reported: {title}");
        let body = body(form, lines);
        let came = format!("=> {}", shown(dialect, 100, &body));
        if came != *expected {
            wrong += &format!("{title}\n expected {expected}\n came     {came}\n");
        }
        // In every cut it is the same.
        let whole = folded(dialect, 100, &body);
        for place in (1..body.len()).step_by(body.len() / CUT_EVERYWHERE + 1) {
            let mut fold = Fold::new(dialect, "one", 100);
            let (head, tail) = body.as_bytes().split_at(place);
            if fold.push(head).is_continue() {
                let _ = fold.push(tail);
            }
            assert_eq!(fold.finish(), whole, "{title}: cut at {place}");
        }
        read += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(read >= 118, "{read} rows");
}
