//! Makes the host compile a reply schema that is small to write and large to hold, or that never ends.

use jidoka::model::{Request, ask};
use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let schema = match task.input("bomb").expect("the test gives it") {
        "one pattern" => r#"{"pattern":"(\\w{200}){100}"}"#.to_owned(),
        "many patterns" => {
            let part = |index| format!(r#""p{index}":{{"pattern":"\\w{{{}}}"}}"#, 40 + index % 60);
            format!(r#"{{"properties":{{{}}}}}"#, (0..1_900).map(part).collect::<Vec<_>>().join(","))
        }
        "itself" => r##"{"$ref":"#"}"##.to_owned(),
        "each other" => r##"{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"}]},"b":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}}}"##.to_owned(),
        "doubling" => {
            let part = |index| format!(r##""d{index}":{{"allOf":[{{"$ref":"#/$defs/d{n}"}},{{"$ref":"#/$defs/d{n}"}}]}}"##, n = index + 1);
            let parts: Vec<String> = (0..60).map(part).collect();
            format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d60":{{}}}}}}"##, parts.join(","))
        }
        "deep" => format!("{}{{}}{}", r#"{"not":"#.repeat(8_000), "}".repeat(8_000)),
        "outside" => r#"{"$ref":"file:///etc/passwd"}"#.to_owned(),
        other => return Err(format!("no such bomb: {other}").into()),
    };
    let request = Request { schema: Some(schema), ..Request::new("model").user("hello") };
    tell("ask", ask(&request).map(|reply| reply.text));
    Ok(Report::done("asked"))
}
