//! The corpus of what servers are reported to send: each row in every cut.

use super::*;

/// The test cuts a body of up to this many bytes at each byte, and a longer one at some.
const CUT_EVERYWHERE: usize = 700;

/// What servers of each dialect are reported to send: files in `replies`, read as they stand, so that a row needs no build.
const REPLIES: [(Dialect, &str); 3] =
    [(Dialect::Openai, "chat.txt"), (Dialect::Anthropic, "messages.txt"), (Dialect::Responses, "responses.txt")];

/// A reported reply.
pub(super) struct Row {
    pub dialect: Dialect,
    title: String,
    form: String,
    lines: Vec<String>,
    expected: String,
}

impl Row {
    /// The data of its events, if it is a stream of them; otherwise its body.
    pub(super) fn pieces(&self) -> Vec<String> {
        match self.form.as_str() {
            "stream" => self.lines.iter().map(|line| event(line)).collect(),
            "whole" => vec![self.lines.concat()],
            "raw" => vec![self.lines.concat().replace("\\n", "\n").replace("\\r", "\r")],
            other => panic!("no such form: {other}"),
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.form == "stream"
    }

    fn body(&self) -> String {
        match self.is_stream() {
            true => self.pieces().iter().map(|event| format!("data: {event}\n\n")).collect(),
            false => self.pieces().concat(),
        }
    }
}

pub(super) fn rows() -> Vec<Row> {
    let row = |dialect: Dialect, row: &str| {
        let lines: Vec<&str> = row.trim_end_matches('\n').lines().collect();
        let [title, form, lines @ .., expected] = lines.as_slice() else { panic!("{row}") };
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        Row { dialect, title: (*title).into(), form: (*form).into(), lines, expected: (*expected).into() }
    };
    let of = |(dialect, file): (Dialect, &str)| {
        let path = format!("{}/src/doors/fold/replies/{file}", env!("CARGO_MANIFEST_DIR"));
        let all = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let rows = all.split("\n\n").filter(|row| !row.starts_with('#'));
        rows.map(|each| row(dialect, each)).collect::<Vec<_>>()
    };
    REPLIES.into_iter().flat_map(of).collect()
}

/// Expands the short forms of an event's data.
fn event(line: &str) -> String {
    match line.split_once(' ') {
        Some(("d", delta)) => format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#),
        Some(("f", reason)) => format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#),
        Some(("u", counts)) => {
            let (tokens_in, tokens_out) = counts.split_once(' ').unwrap();
            let total = tokens_in.parse::<u64>().unwrap() + tokens_out.parse::<u64>().unwrap();
            format!(
                r#"{{"choices":[],"usage":{{"prompt_tokens":{tokens_in},"completion_tokens":{tokens_out},"total_tokens":{total}}}}}"#
            )
        }
        _ => line.to_owned(),
    }
}

#[test]
fn what_servers_are_reported_to_send_is_read_as_far_as_it_can_be_known() {
    let (mut read, mut wrong) = (0, String::new());
    for row in rows() {
        let Row { dialect, title, expected, .. } = &row;
        assert!(title.contains(" · https://"), "who sends it, and where that was reported: {title}");
        let body = row.body();
        let came = format!("=> {}", shown(*dialect, 100, &body));
        if came != *expected {
            wrong += &format!("{title}\n expected {expected}\n came     {came}\n");
        }
        // In every cut it is the same.
        let whole = folded(*dialect, 100, &body);
        for place in (1..body.len()).step_by(body.len() / CUT_EVERYWHERE + 1) {
            let mut fold = Fold::new(*dialect, "one", 100);
            let (head, tail) = body.as_bytes().split_at(place);
            if fold.push(head).is_continue() {
                let _ = fold.push(tail);
            }
            assert_eq!(fold.finish(), whole, "{title}: cut at {place}");
        }
        read += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(read >= 280, "{read} rows");
}

#[test]
fn the_table_of_providers_tells_how_many_of_their_replies_are_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (all, mut told) = (rows(), 0);
    for line in readme.lines().filter(|line| line.starts_with("| [") && line.contains("replies read: ")) {
        let (name, _) = line[3..].split_once(']').unwrap();
        let (_, counts) = line.trim_end_matches(" |").split_once("replies read: ").unwrap();
        for count in counts.split(", ") {
            let (count, dialect) = count.split_once(' ').unwrap();
            let of = |row: &&Row| {
                format!("{:?}", row.dialect).to_lowercase() == dialect
                    && row.title.split([',', '·']).next().unwrap().trim() == name
            };
            assert_eq!(count, all.iter().filter(of).count().to_string(), "{name}, {dialect}");
            told += 1;
        }
    }
    assert!(told > 0, "the README has no such table");
}
