//! Language models. Grant: `[grants] models = ["NAME"]`.
//!
//! The host sets the output cap, reads the usage and reserves the budget before anything is sent.

pub use crate::bindings::worker::jidoka::agent::model::{
    Message, Offer, Reply, Request, Role, Stop, ToolCall, ToolDefinition, Usage,
};
use crate::denied::Denied;
use crate::host;

/// Output tokens that a [`Request`] asks for if it does not say: a few pages, so that a forgotten cap costs little.
pub const DEFAULT_MAX_OUTPUT: u32 = 1024;

/// Asks a model and waits for its whole reply.
///
/// `Err` with `refused`: the model is not granted, a budget line is short, or an argument is past its cap; nothing was
/// spent. `Err` with `failed`: the provider could not be reached or answered badly; what it cost is booked. The host has asked
/// again whatever passes by itself, and a worker hears of that only where its job says `on-overload = "tell"`.
pub fn ask(request: &Request) -> Result<Reply, Denied> {
    host::model::ask(request)
}

/// Asks several at once, at most 16; the replies come in the order of the requests, each with its own error.
pub fn ask_all(requests: &[Request]) -> Vec<Result<Reply, Denied>> {
    host::model::ask_all(requests)
}

/// The models that this run may ask. Empty if the job grants none.
pub fn catalogue() -> Vec<Offer> {
    host::model::catalogue()
}

impl Request {
    /// A request without messages, for a model by the job's name for it.
    pub fn new(model: impl Into<String>) -> Self {
        Request {
            model: model.into(),
            messages: Vec::new(),
            tools: Vec::new(),
            max_output: DEFAULT_MAX_OUTPUT,
            min_output: 1,
            schema: None,
        }
    }

    /// Adds a system message.
    #[must_use]
    pub fn system(self, content: impl Into<String>) -> Self {
        self.message(Message::new(Role::System, content))
    }

    /// Adds a user message.
    #[must_use]
    pub fn user(self, content: impl Into<String>) -> Self {
        self.message(Message::new(Role::User, content))
    }

    /// Adds what the model is to have said.
    #[must_use]
    pub fn assistant(self, content: impl Into<String>) -> Self {
        self.message(Message::new(Role::Assistant, content))
    }

    /// Adds any message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Offers a tool to the model. [`crate::turns`] does this, and runs the tool when the model asks for it.
    #[must_use]
    pub fn tool(mut self, tool: ToolDefinition) -> Self {
        self.tools.push(tool);
        self
    }

    /// The most output tokens wanted; [`DEFAULT_MAX_OUTPUT`] unless set. The host may lower it to fit the budget.
    #[must_use]
    pub fn max_output(mut self, tokens: u32) -> Self {
        self.max_output = tokens;
        self
    }

    /// The least that is of use; 1 unless set. If the budget allows less, the call is refused.
    #[must_use]
    pub fn min_output(mut self, tokens: u32) -> Self {
        self.min_output = tokens;
        self
    }

    /// A JSON schema that the reply's text must match. The host checks it.
    #[must_use]
    pub fn schema(mut self, schema: &serde_json::Value) -> Self {
        self.schema = Some(schema.to_string());
        self
    }
}

impl Message {
    /// A message of a role, with text only.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None, provider_state: None }
    }

    /// The result of a tool call.
    pub fn tool_result(call: &ToolCall, content: impl Into<String>) -> Self {
        Message { tool_call_id: Some(call.id.clone()), ..Message::new(Role::Tool, content) }
    }
}

impl From<Reply> for Message {
    /// The reply as a message of the conversation, with its tool calls and with what its provider wants back.
    fn from(reply: Reply) -> Self {
        Message {
            tool_calls: reply.tool_calls,
            provider_state: reply.provider_state,
            ..Message::new(Role::Assistant, reply.text)
        }
    }
}

impl Reply {
    /// The text, if there is any and the provider did not withhold it. A text that was cut at its cap is one.
    ///
    /// `Err` says why there is none, in the model's own words if it gave any.
    pub fn answer(&self) -> crate::Result<&str> {
        if self.stop == Stop::Withheld {
            let words = self.refusal.as_deref().map(|words| format!(": {words}")).unwrap_or_default();
            return Err(crate::Error::new(format!("the model withheld its answer{words}")));
        }
        if self.text.trim().is_empty() {
            let why = if self.stop == Stop::MaxOutput { ": all of its output went into reasoning" } else { "" };
            return Err(crate::Error::new(format!("the model's answer is empty{why}")));
        }
        Ok(&self.text)
    }
}
