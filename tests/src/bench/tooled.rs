//! Tools of the host and children for a run of tests, and a run that is one call of a tool.

use super::Bench;
use jidoka::rules::mcp::McpSpec;
use jidoka::rules::tool::ToolCall;

impl Bench {
    /// Grants a toolbox with room for its calls. `settings` are lines of its `[tools.NAME]`.
    pub fn tool(self, name: &str, component: &str, settings: &[&str]) -> Self {
        self.tool_of_bytes(name, std::fs::read(component).expect("the build script made it"), settings)
    }

    /// As [`Bench::tool`], of these bytes.
    pub fn tool_of_bytes(mut self, name: &str, component: Vec<u8>, settings: &[&str]) -> Self {
        self.tools.insert(name.to_owned(), component);
        let lines = settings.join("\n");
        self.tool_tables += &format!("[tools.{name}]\ncomponent = \"{name}.wasm\"\n{lines}\n");
        let names: Vec<&String> = self.tools.keys().collect();
        let granted = format!("tools = {names:?}");
        self.set("grants", &granted).set("budget", "tool-calls = 1000")
    }

    /// Grants the tools of an MCP server, with room for their calls.
    pub fn server(mut self, name: &str, spec: McpSpec) -> Self {
        self.servers.insert(name.to_owned(), spec);
        self.tool_tables += &format!("[tools.{name}]\nserver = \"{name}\"\nwall = \"10s\"\n");
        self.operator += &format!("[mcp.{name}]\ncommand = [\"/bin/true\"]\n");
        let names: Vec<&String> = self.tools.keys().chain(self.servers.keys()).collect();
        let granted = format!("tools = {names:?}");
        self.set("grants", &granted).set("budget", "tool-calls = 1000")
    }

    /// Grants a job that the worker may start as its child.
    pub fn child(mut self, name: &str, job: Bench) -> Self {
        self.children.insert(name.to_owned(), job);
        self.tool_tables += &format!("[children.{name}]\njob = \"{name}\"\n");
        let names: Vec<&String> = self.children.keys().collect();
        let granted = format!("children = {names:?}");
        self.set("grants", &granted)
    }

    /// Lets a toolbox fetch where the worker may.
    pub fn webbed(mut self, name: &str) -> Self {
        self.webbed.push(name.to_owned());
        self
    }

    /// Makes one call of a tool in the place of the worker.
    pub fn calling(mut self, name: &str, input: &str) -> Self {
        self.call = Some(ToolCall { name: name.to_owned(), input: input.to_owned() });
        self
    }
}
