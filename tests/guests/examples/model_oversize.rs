//! Sends requests past each of their caps: bytes, messages, tools, tool calls, schema.

use jidoka::model::{Message, Request, Role, ToolCall, ToolDefinition, ask};
use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let cap = |name: &str| number(&task, name) as usize;
    let try_it = |what: &str, request: Request| tell(what, ask(&request.max_output(1)).map(|_| ()));
    let one = || Request::new("model");
    try_it("bytes + 1", one().user("x".repeat(cap("bytes") + 1)));
    try_it("bytes + 1 in parts", one().user("x".repeat(cap("bytes"))).user("x"));
    let many = |count: usize| Request { messages: vec![Message::new(Role::User, ""); count], ..one() };
    try_it("messages + 1", many(cap("messages") + 1));
    let tool = ToolDefinition { name: String::new(), description: String::new(), schema: String::new() };
    try_it("tools + 1", Request { tools: vec![tool; cap("tools") + 1], ..one().user("x") });
    try_it("schema + 1", Request { schema: Some(" ".repeat(cap("schema") + 1)), ..one().user("x") });
    let call = ToolCall { id: String::new(), name: String::new(), arguments: String::new() };
    let calls = Message { tool_calls: vec![call; cap("messages")], ..Message::new(Role::Assistant, "") };
    try_it("tool calls + 1", Request { messages: vec![calls], ..one() });
    Ok(Report::done("sent"))
}
