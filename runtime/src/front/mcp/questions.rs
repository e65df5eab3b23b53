//! Questions to a person, through the client: as a form, and as signed state that comes back with the answer.
//!
//! Never: takes an answer for another tool or other arguments than its question was for, or one that was not among the
//! options. What comes back is the client's to forge: the seal says that the state is ours.

use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema,
    ErrorData, InputRequest, InputRequiredResult, InputResponses, JsonObject, RequestStateCodec, SealOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::listing::clean;
use super::{Answered, Question, Reply};

/// Questions that one call may ask before it is given up: more is no conversation any more.
pub const MOST_QUESTIONS: usize = 10;

/// How long an answer may take to come back. A person may sleep over it.
const ANSWER_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an older client is waited for: its call is open meanwhile.
pub(super) const ELICIT_WITHIN: Duration = Duration::from_secs(10 * 60);

/// Characters of a question, and of a free answer.
const MAX_TEXT_CHARS: usize = 4096;

/// Options of one question.
const MOST_OPTIONS: usize = 32;

/// Bytes of a state that can be sealed. It goes to the client and back.
const MAX_STATE_BYTES: usize = 16 << 10;

/// Characters of what an answer is called.
const MAX_NAME_CHARS: usize = 64;

/// The name of the form in an answer that asks for input.
const FORM: &str = "answer";

/// What is sealed: the question too, so that it can be asked again when its answer is not one.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    name: String,
    text: String,
    options: Vec<String>,
    state: String,
}

/// What came of what a client brought back.
#[derive(Debug)]
pub(super) enum Brought {
    Answer(Answered),
    /// No answer, or none of the options: to be asked again.
    Again(Question),
}

/// Whether a client can show a form.
pub(super) fn can_ask(capabilities: Option<&ClientCapabilities>) -> bool {
    // An empty capability is that of the versions that knew nothing but forms.
    let shows = capabilities.and_then(|capabilities| capabilities.elicitation.as_ref());
    shows.is_some_and(|shows| shows.form.is_some() || shows.url.is_none())
}

/// What a client needs to be asked.
pub(super) fn needed() -> ClientCapabilities {
    ClientCapabilities::builder().enable_elicitation().build()
}

/// A question as a form.
///
/// # Errors
/// Words about why it cannot be asked; a fault of whoever asks.
pub(super) fn form(question: &Question) -> Result<ElicitRequestParams, String> {
    if question.options.len() > MOST_OPTIONS {
        return Err(format!("the question has {} options; {MOST_OPTIONS} are allowed", question.options.len()));
    }
    if !(1..=MAX_NAME_CHARS).contains(&question.name.chars().count()) {
        return Err(format!("the answer's name has not 1 to {MAX_NAME_CHARS} characters"));
    }
    let mut answer = json!({ "type": "string", "maxLength": MAX_TEXT_CHARS });
    if !question.options.is_empty() {
        answer = json!({ "type": "string", "enum": question.options });
    }
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), json!({ question.name.as_str(): answer }));
    schema.insert("required".to_owned(), json!([question.name]));
    let schema = ElicitationSchema::from_json_schema(schema).map_err(|error| error.to_string())?;
    let message = clean(&question.text, MAX_TEXT_CHARS);
    Ok(ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema: schema })
}

/// What a person said to a form. `None`: nothing that was asked for.
pub(super) fn reply(question: &Question, result: &ElicitResult) -> Option<Reply> {
    match result.action {
        ElicitationAction::Decline | ElicitationAction::Cancel => Some(Reply::Declined),
        ElicitationAction::Accept => {
            let said = match result.content.as_ref()?.get(&question.name)? {
                Value::String(text) => text.clone(),
                // A client that shows a switch, or a field of numbers.
                scalar @ (Value::Bool(_) | Value::Number(_)) => scalar.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            let fits = match question.options.as_slice() {
                [] => said.chars().nth(MAX_TEXT_CHARS).is_none(),
                options => options.contains(&said),
            };
            fits.then_some(Reply::Said(said))
        }
        // Something newer than this.
        _ => None,
    }
}

/// Signs what goes out, and knows it again. Its key lives as long as the server.
pub(super) struct Seal(RequestStateCodec);

impl Seal {
    /// `None`: the machine gives no randomness.
    pub fn new() -> Option<Self> {
        let mut key = [0; RequestStateCodec::MIN_KEY_LENGTH];
        getrandom::fill(&mut key).ok()?;
        RequestStateCodec::try_new(key).ok().map(Self)
    }

    /// The answer to a call that asks a person.
    ///
    /// # Errors
    /// Words about why it cannot be asked; a fault of whoever asks.
    pub fn ask(&self, question: &Question, tool: &str, input: &JsonObject) -> Result<InputRequiredResult, String> {
        if question.state.len() > MAX_STATE_BYTES {
            return Err(format!("its state has {} bytes; {MAX_STATE_BYTES} are allowed", question.state.len()));
        }
        let request = InputRequest::Elicitation(ElicitRequest::new(form(question)?));
        let Question { name, text, options, state } = question.clone();
        let context = context(tool, input);
        let bound = SealOptions::new().associated_data(&context).ttl(ANSWER_WITHIN);
        let sealed =
            self.0.seal_json_with(&Sealed { name, text, options, state }, &bound).map_err(|error| error.to_string())?;
        Ok(InputRequiredResult::new(Some([(FORM.to_owned(), request)].into()), Some(sealed)))
    }

    /// What a client brought back.
    ///
    /// # Errors
    /// It is not ours, or too old, or of another call.
    pub fn open(
        &self,
        sealed: &str,
        responses: Option<&InputResponses>,
        tool: &str,
        input: &JsonObject,
    ) -> Result<Brought, ErrorData> {
        let opened = self.0.open_json_with(sealed, &context(tool, input));
        let Sealed { name, text, options, state } = opened.map_err(|error| {
            ErrorData::invalid_params(format!("the request state is not of this call: {error}"), None)
        })?;
        let question = Question { name, text, options, state };
        let said = responses.and_then(|responses| responses.get(FORM));
        let said = said.and_then(|said| serde_json::from_value::<ElicitResult>(said.clone()).ok());
        Ok(match said.and_then(|said| reply(&question, &said)) {
            Some(reply) => Brought::Answer(Answered { state: question.state, reply }),
            None => Brought::Again(question),
        })
    }
}

/// What a seal is good for: this tool with this input.
fn context(tool: &str, input: &JsonObject) -> Vec<u8> {
    let mut context = tool.as_bytes().to_vec();
    context.push(0);
    // Keys of an object are in order.
    context.extend_from_slice(blake3::hash(Value::Object(input.clone()).to_string().as_bytes()).as_bytes());
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(options: &[&str]) -> Question {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Question { name: "go-on".to_owned(), text: "Go on?".to_owned(), options, state: "run 7".to_owned() }
    }

    fn said(action: &str, answer: &Value) -> InputResponses {
        [(FORM.to_owned(), json!({ "action": action, "content": { "go-on": answer } }))].into()
    }

    fn input(text: &str) -> JsonObject {
        [("q".to_owned(), Value::from(text))].into_iter().collect()
    }

    #[test]
    fn an_answer_comes_back_with_its_state() {
        let seal = Seal::new().unwrap();
        let asked = seal.ask(&question(&["yes", "no"]), "tool", &input("x")).unwrap();
        let state = asked.request_state.unwrap();
        let open = |responses: Option<&InputResponses>| seal.open(&state, responses, "tool", &input("x")).unwrap();
        let answer = |reply| Answered { state: "run 7".to_owned(), reply };
        for (responses, reply) in [
            (said("accept", &"no".into()), Reply::Said("no".to_owned())),
            (said("decline", &Value::Null), Reply::Declined),
            (said("cancel", &"no".into()), Reply::Declined),
        ] {
            let Brought::Answer(brought) = open(Some(&responses)) else { panic!("{responses:?}") };
            assert_eq!(brought, answer(reply));
        }
        for responses in
            [None, Some(said("accept", &"perhaps".into())), Some(said("accept", &7.into())), Some([].into())]
        {
            let Brought::Again(again) = open(responses.as_ref()) else { panic!("{responses:?}") };
            assert_eq!(again, question(&["yes", "no"]));
        }
    }

    #[test]
    fn a_state_of_another_call_or_of_nobody_is_refused() {
        let seal = Seal::new().unwrap();
        let state = seal.ask(&question(&[]), "tool", &input("x")).unwrap().request_state.unwrap();
        let mut forged = state.clone().into_bytes();
        let at = forged.len() / 2;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        for (state, tool, text) in [
            (state.as_str(), "other", "x"),
            (state.as_str(), "tool", "y"),
            (forged.as_str(), "tool", "x"),
            ("", "tool", "x"),
            ("run 7", "tool", "x"),
        ] {
            assert!(seal.open(state, None, tool, &input(text)).is_err(), "{state} {tool} {text}");
        }
        assert!(Seal::new().unwrap().open(&state, None, "tool", &input("x")).is_err());
        assert!(seal.open(&state, None, "tool", &input("x")).is_ok());
    }

    #[test]
    fn a_question_has_as_many_options_and_bytes_as_are_allowed() {
        let seal = Seal::new().unwrap();
        let with = |options: usize, bytes: usize| {
            let options = (0..options).map(|at| at.to_string()).collect();
            let state = "x".repeat(bytes);
            seal.ask(
                &Question { name: "a".to_owned(), text: String::new(), options, state },
                "tool",
                &JsonObject::new(),
            )
        };
        assert!(with(MOST_OPTIONS, MAX_STATE_BYTES).is_ok());
        assert!(with(MOST_OPTIONS + 1, 0).unwrap_err().contains("32 are allowed"));
        assert!(with(0, MAX_STATE_BYTES + 1).unwrap_err().contains("16384 are allowed"));
    }

    #[test]
    fn a_free_answer_has_at_most_its_characters() {
        let with = |chars: usize| {
            let content = json!({ "go-on": "x".repeat(chars) });
            reply(&question(&[]), &ElicitResult::new(ElicitationAction::Accept).with_content(content))
        };
        assert!(with(MAX_TEXT_CHARS).is_some());
        assert_eq!(with(MAX_TEXT_CHARS + 1), None);
    }
}
