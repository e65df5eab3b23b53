//! The model of an agent loop, as a test says it: which tool it asks for at each turn, with ever other words around it.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jidoka::doors::model::{Call, Model, Received};
use jidoka::doors::rates::RateNews;
use jidoka::rules::effect::{Failure, FailureKind};
use jidoka::rules::model::{Metered, Reply, Request, Stop, ToolCall, Usage};

/// What the model says at a turn.
pub enum Turn {
    /// It asks for a tool.
    Call(String, String),
    /// It asks for several at once.
    Calls(Vec<(String, String)>),
    /// It asks for nothing, with these words.
    Say(String),
    /// It talks until its cap.
    Babble(String),
    /// Nobody is there.
    Fail(String),
}

impl Turn {
    /// A tool with a path.
    pub fn call(tool: &str, path: &str) -> Self {
        Turn::Call(tool.to_owned(), format!("{{\"path\": \"{path}\"}}"))
    }

    /// A file with a text.
    pub fn write(path: &str, text: &str) -> Self {
        Turn::Call("write".to_owned(), format!("{{\"path\": \"{path}\", \"text\": \"{text}\"}}"))
    }
}

/// A model that follows a plan, and counts how often it was asked.
pub struct Planned<P> {
    plan: P,
    asked: AtomicUsize,
}

impl<P: Fn(usize) -> Turn + Send + Sync> Planned<P> {
    /// A model that says `plan(number)` at its turns, counted from 0.
    pub fn new(plan: P) -> Self {
        Self { plan, asked: AtomicUsize::new(0) }
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl<P: Fn(usize) -> Turn + Send + Sync> Model for Planned<P> {
    fn request_bytes(&self, _: &Request) -> u64 {
        1_000
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, _: &Call) -> Received {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let thought = format!("thought {number}: let me put it in other words {}", number * 7);
        let reply = |text, tool_calls, stop| Ok(Reply::new(text, tool_calls, stop));
        let result = match (self.plan)(number) {
            Turn::Call(name, arguments) => reply(thought, calls(number, vec![(name, arguments)]), Stop::ToolCalls),
            Turn::Calls(several) => reply(thought, calls(number, several), Stop::ToolCalls),
            Turn::Say(text) => reply(text, vec![], Stop::End),
            Turn::Babble(text) => reply(text, vec![], Stop::MaxOutput),
            Turn::Fail(message) => Err(Failure { kind: FailureKind::Unavailable, message }),
        };
        Received {
            result,
            metered: Metered::Exact(Usage::of(10, 5)),
            net_bytes: 0,
            raw_usage: None,
            rates: RateNews::default(),
        }
    }
}

fn calls(number: usize, several: Vec<(String, String)>) -> Vec<ToolCall> {
    let call = |(place, (name, arguments)): (usize, (String, String))| {
        // A model of another make numbers its calls otherwise.
        ToolCall { id: format!("call-{}-{number}-{place}", number * 31), name, arguments }
    };
    several.into_iter().enumerate().map(call).collect()
}
