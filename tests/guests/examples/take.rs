//! Makes the host allocate so many bytes for it, in one call or in the lists that a call hands over.

use jidoka::{Report, Result, Task, evidence, model};
use jidoka_hostile_guests::{number, open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let bytes = number(&task, "bytes");
    let count = usize::try_from(bytes).unwrap_or(usize::MAX);
    let file =
        || open_raw(&preopen("/work"), "a.txt", OpenFlags::CREATE, DescriptorFlags::WRITE | DescriptorFlags::READ);
    match task.input("how").expect("the test gives it") {
        "random" => tell("took", Ok::<_, String>(wasip2::random::random::get_random_bytes(bytes).len())),
        "insecure" => tell("took", Ok::<_, String>(wasip2::random::insecure::get_insecure_random_bytes(bytes).len())),
        "ours" => tell("took", jidoka::random::bytes(u32::try_from(bytes).unwrap_or(u32::MAX)).map(|took| took.len())),
        "zeroes" => tell("took", wasip2::cli::stdout::get_stdout().write_zeroes(bytes)),
        "zeroes to a file" => {
            let stream = file().expect("opens").write_via_stream(0).expect("a stream");
            tell("took", stream.write_zeroes(bytes))
        }
        "print" => tell("took", wasip2::cli::stdout::get_stdout().write(&vec![b'x'; count])),
        "fields" => {
            jidoka::log::emit(jidoka::log::Level::Info, "fields", &vec![("", ""); count]);
            true
        }
        "messages" => {
            let message = model::Message::new(model::Role::User, "");
            let request = model::Request { messages: vec![message; count], ..model::Request::new("model") };
            tell("took", model::ask(&request.max_output(1)).map(|_| ()))
        }
        "citations" => return Ok(Report { evidence: vec![String::new(); count], ..Report::done("took") }),
        "evidence" => tell("took", evidence::attach("artifact", "e", vec![0; count])),
        "args" => tell(
            "took",
            jidoka::tools::call_all(&[jidoka::tools::Invocation { name: "t".into(), input: "i".repeat(count) }])
                .remove(0),
        ),
        other => return Err(format!("no such way: {other}").into()),
    };
    Ok(Report::done("took"))
}
