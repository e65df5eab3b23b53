//! Doors made of what came through them before: the recorded answers in their order, whatever is asked, without a network or
//! a key.
//!
//! Never: makes an answer up. Past the last one nobody is there. It notes where a worker first asks something else than was
//! asked then, so that a person knows from where on the answers are those to other questions.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::evidence;
use super::fetch::{self, Fetch, Fetched};
use super::model::{Call, Counted, Model, Received};
use super::rates::RateNews;
use crate::rules::digest::Digest;
use crate::rules::effect::{Denied, Failure, FailureKind};
use crate::rules::http::{HttpReply, HttpRequest};
use crate::rules::model::{Metered, Reply, Request, Usage};

/// Bytes of a request for a token at least: below the bound of every profile that a job can have in earnest.
const TOKEN_BYTES: u64 = 4;

/// Characters of a message that are kept to recognise it.
const MAX_SHOWN_CHARS: usize = 200;

/// What one model said in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// In the order in which they were asked for.
    pub answers: Vec<Exchange>,
    /// What the provider counted of requests; none where it did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Option<u64>>,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    pub asked: Asked,
    pub said: Said,
    /// None: nobody knew what it cost.
    pub usage: Option<Usage>,
}

/// What was asked, as far as it is needed to recognise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Of messages, tools and schema; how much output was asked for depends on the budget.
    pub digest: Digest,
    /// Output tokens, as they were put on the wire.
    pub max_output: u32,
    pub messages: usize,
    /// The beginning of the last message.
    pub last: String,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    Reply(Reply),
    Failure(Failure),
}

impl Asked {
    /// Of a request.
    pub fn of(request: &Request) -> Self {
        let parts = (&request.messages, &request.tools, &request.schema);
        let text = serde_json::to_string(&parts).expect("plain data whose keys are texts");
        let last = request.messages.last().map_or("", |message| message.content.as_str());
        Self {
            digest: evidence::address(text.as_bytes()),
            max_output: request.max_output,
            messages: request.messages.len(),
            last: last.chars().take(MAX_SHOWN_CHARS).collect(),
        }
    }
}

/// Where a worker first asked something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The answer that it got, from 1.
    pub answer: usize,
    /// What was asked then; none past the end.
    pub expected: Option<Asked>,
    pub got: Asked,
}

/// A model that says again what one said.
#[derive(Debug)]
pub struct RecordedModel {
    recording: Recording,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
struct Place {
    asked: usize,
    counted: usize,
    departure: Option<Departure>,
}

impl RecordedModel {
    /// A model that begins at the beginning.
    pub fn new(recording: Recording) -> Self {
        Self { recording, place: Mutex::default() }
    }

    /// Where the worker left the recording, if it did.
    pub fn departure(&self) -> Option<Departure> {
        self.place().departure.clone()
    }

    /// Answers that nobody has asked for.
    pub fn left(&self) -> usize {
        self.recording.answers.len().saturating_sub(self.place().asked)
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, request: &Request) -> Option<&Exchange> {
        let mut place = self.place();
        let exchange = self.recording.answers.get(place.asked);
        place.asked += 1;
        let got = Asked::of(request);
        if place.departure.is_none() && exchange.is_none_or(|exchange| exchange.asked.digest != got.digest) {
            let expected = exchange.map(|exchange| exchange.asked.clone());
            place.departure = Some(Departure { answer: place.asked, expected, got });
        }
        exchange
    }
}

/// What an answer costs that was given to `asked`. Of another request nobody knows, so no more is said than it can cost: a
/// worker that is mended must not be stopped for a provider that did as it should. One that overshot does so again.
fn usage_of(usage: Usage, asked: &Asked, request: &Request) -> Usage {
    let tokens_in = match asked.digest == Asked::of(request).digest {
        true => usage.tokens_in,
        false => usage.tokens_in.min(request.content_bytes().div_ceil(TOKEN_BYTES)),
    };
    let tokens_out = match usage.tokens_out > u64::from(asked.max_output) {
        true => usage.tokens_out,
        false => usage.tokens_out.min(u64::from(request.max_output)),
    };
    Usage::of(tokens_in, tokens_out)
}

#[async_trait]
impl Model for RecordedModel {
    fn request_bytes(&self, _: &Request) -> u64 {
        0
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, call: &Call) -> Received {
        let (result, metered) = match self.next(&call.request) {
            None => {
                let failure =
                    Failure { kind: FailureKind::Unavailable, message: "the transcript ends here".to_owned() };
                (Err(failure), Metered::Exact(Usage::default()))
            }
            Some(Exchange { asked, said, usage }) => {
                let result = match said {
                    Said::Reply(reply) => Ok(reply.clone()),
                    Said::Failure(failure) => Err(failure.clone()),
                };
                let metered = usage.map(|usage| Metered::Exact(usage_of(usage, asked, &call.request)));
                (result, metered.unwrap_or(Metered::Unknown))
            }
        };
        Received { result, metered, net_bytes: 0, raw_usage: None, rates: RateNews::default() }
    }

    fn count_request_bytes(&self, _: &Request) -> Option<u64> {
        (!self.recording.counts.is_empty()).then_some(0)
    }

    async fn count(&self, _: &Call) -> Option<Counted> {
        let mut place = self.place();
        let counted = self.recording.counts.get(place.counted).copied().flatten();
        place.counted += 1;
        let nobody = || Failure { kind: FailureKind::Unavailable, message: "nobody counted this request".to_owned() };
        Some(Counted { result: counted.ok_or_else(nobody), net_bytes: 0 })
    }
}

/// Exchanges of a run with the web, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebRecording {
    pub exchanges: Vec<WebExchange>,
}

/// A request and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebExchange {
    pub asked: Asked,
    pub said: WebSaid,
    /// Bytes of bodies, sent and received.
    pub net_bytes: u64,
}

/// What came back over the web.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebSaid {
    Reply(HttpReply),
    Denied(Denied),
}

impl Asked {
    /// Of a request to the web.
    pub fn of_web(request: &HttpRequest) -> Self {
        let text = serde_json::to_string(request).expect("plain data whose keys are texts");
        let last = format!("{} {}", request.method, request.url);
        Self {
            digest: evidence::address(text.as_bytes()),
            max_output: 0,
            messages: 1,
            last: last.chars().take(MAX_SHOWN_CHARS).collect(),
        }
    }
}

/// A web that answers again what it answered. Without a recording nobody is there.
#[derive(Debug, Default)]
pub struct RecordedWeb {
    recording: WebRecording,
    place: Mutex<Place>,
}

impl RecordedWeb {
    /// A web that begins at the beginning.
    pub fn new(recording: WebRecording) -> Self {
        Self { recording, place: Mutex::default() }
    }

    /// Where the worker left the recording, if it did.
    pub fn departure(&self) -> Option<Departure> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).departure.clone()
    }
}

#[async_trait]
impl Fetch for RecordedWeb {
    async fn fetch(&self, exchange: &fetch::Exchange) -> Fetched {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.recording.exchanges.get(place.asked);
        place.asked += 1;
        let got = Asked::of_web(&exchange.request);
        if place.departure.is_none() && known.is_none_or(|known| known.asked.digest != got.digest) {
            let expected = known.map(|known| known.asked.clone());
            place.departure = Some(Departure { answer: place.asked, expected, got });
        }
        let result = match known.map(|known| &known.said) {
            Some(WebSaid::Reply(reply)) => Ok(reply.clone()),
            Some(WebSaid::Denied(denied)) => Err(denied.clone()),
            None => {
                let message = "the recording of the web ends here".to_owned();
                Err(Denied::Failed(Failure { kind: FailureKind::Unavailable, message }))
            }
        };
        // A worker that is mended must not be stopped for what another request moved.
        let net_bytes = known.map_or(0, |known| known.net_bytes).min(exchange.max_net_bytes);
        Fetched { result, net_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::http::HttpBody;
    use crate::rules::model::{Message, Role, Stop};

    fn request(text: &str, max_output: u32) -> Request {
        let message = Message::new(Role::User, text);
        Request { model: "m".into(), messages: vec![message], tools: vec![], max_output, min_output: 1, schema: None }
    }

    fn exchange(text: &str, reply: &str, usage: Option<Usage>) -> Exchange {
        let said = Said::Reply(Reply::new(reply, vec![], Stop::End));
        Exchange { asked: Asked::of(&request(text, 7)), said, usage }
    }

    async fn ask(model: &RecordedModel, text: &str) -> Received {
        model.ask(&Call { id: "c".into(), request: request(text, 7), max_response_bytes: 0 }).await
    }

    #[tokio::test]
    async fn the_web_answers_in_its_order_and_ends_where_the_recording_ends() {
        let request = |url: &str| HttpRequest {
            method: "GET".into(),
            url: url.into(),
            headers: vec![],
            body: HttpBody::default(),
        };
        let exchange =
            |url: &str| fetch::Exchange { id: "c".into(), request: request(url), grants: vec![], max_net_bytes: 5 };
        let reply = HttpReply { status: 200, headers: vec![], body: HttpBody(b"found".to_vec()), redirects: 0 };
        let known = |url: &str, said, net_bytes| WebExchange { asked: Asked::of_web(&request(url)), said, net_bytes };
        let denied = Denied::Failed(Failure { kind: FailureKind::TimedOut, message: "too late".into() });
        let exchanges = vec![
            known("http://a/", WebSaid::Reply(reply.clone()), 5),
            known("http://b/", WebSaid::Denied(denied.clone()), 9),
        ];
        let recording = WebRecording { exchanges };
        let json = serde_json::to_string(&recording).expect("writes");
        assert_eq!(serde_json::from_str::<WebRecording>(&json).expect("reads"), recording);
        let web = RecordedWeb::new(recording);
        let first = web.fetch(&exchange("http://a/")).await;
        assert_eq!((first.result, first.net_bytes), (Ok(reply), 5));
        assert_eq!(web.departure(), None);
        let second = web.fetch(&exchange("http://c/")).await;
        assert_eq!((second.result, second.net_bytes), (Err(denied), 5), "no more than was reserved");
        let departure = web.departure().expect("it asked something else");
        assert_eq!((departure.answer, departure.got.last.as_str()), (2, "GET http://c/"));
        assert!(web.fetch(&exchange("http://d/")).await.result.is_err(), "nobody is there");
    }

    #[tokio::test]
    async fn answers_come_in_their_order_and_end_where_the_recording_ends() {
        let known = Usage::of(3, 4);
        let answers = vec![exchange("one", "first", Some(known)), exchange("two", "second", None)];
        let recording = Recording { answers, counts: vec![] };
        let json = serde_json::to_string(&recording).expect("writes");
        assert_eq!(serde_json::from_str::<Recording>(&json).expect("reads"), recording);
        let model = RecordedModel::new(recording);
        let first = ask(&model, "one").await;
        assert_eq!(first.result.expect("a reply").text, "first");
        assert_eq!(first.metered, Metered::Exact(known));
        assert_eq!((model.departure(), model.left()), (None, 1));
        let second = ask(&model, "another").await;
        assert_eq!(second.result.expect("a reply").text, "second");
        assert_eq!(second.metered, Metered::Unknown);
        let past = ask(&model, "three").await;
        let failure = past.result.expect_err("nobody is there");
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Unavailable, "the transcript ends here"));
        assert_eq!(past.metered, Metered::Exact(Usage::default()));
        let departure = model.departure().expect("it asked something else");
        assert_eq!((departure.answer, departure.got.last.as_str()), (2, "another"));
        assert_eq!(departure.expected.expect("there was an answer").last, "two");
    }

    #[tokio::test]
    async fn an_answer_to_another_request_costs_no_more_than_that_can_cost() {
        let known = Usage::of(300, 4);
        let over = Usage::of(300, 9);
        for (text, usage, max_output, expected) in [
            ("one", known, 7, known),
            ("one", known, 2, Usage { tokens_out: 2, ..known }),
            ("another", known, 7, Usage { tokens_in: 2, ..known }),
            ("one", over, 2, over),
        ] {
            let mut answer = exchange("one", "so", Some(usage));
            answer.asked.max_output = 7;
            let model = RecordedModel::new(Recording { answers: vec![answer], counts: vec![] });
            let call = Call { id: "c".into(), request: request(text, max_output), max_response_bytes: 0 };
            assert_eq!(model.ask(&call).await.metered, Metered::Exact(expected), "{text} {max_output}");
        }
    }

    #[tokio::test]
    async fn requests_are_counted_only_where_they_were() {
        let call = Call { id: "c".into(), request: request("one", 7), max_response_bytes: 0 };
        let nobody = RecordedModel::new(Recording::default());
        assert_eq!(nobody.count_request_bytes(&call.request), None);
        let counted = RecordedModel::new(Recording { answers: vec![], counts: vec![Some(9), None] });
        assert_eq!(counted.count_request_bytes(&call.request), Some(0));
        let mut results = Vec::new();
        for _ in 0..3 {
            results.push(counted.count(&call).await.expect("somebody counts").result.ok());
        }
        assert_eq!(results, [Some(9), None, None]);
    }
}
