//! Messages of MCP as lines of JSON over a pair of pipes, for either side of a conversation.
//!
//! Never: holds more of a line than its cap, goes on with a peer that keeps breaking the rules, keeps an unbounded number of
//! requests open: one that reads no answers is read no further. Invariants: what is written is whole lines; a peer that is
//! told of its mistakes is told once for each; why a conversation ended can be asked afterwards.
//!
//! The cap and the words about it are why this is not the library's own pipe, which drops a long line without a word.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rmcp::model::{ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, ServiceRole, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

/// Requests of the peer's that are open at once: received, and their answers not written yet. More than anybody sends who
/// reads what he is answered; the one who does not is read no further.
pub const MOST_OPEN: usize = 64;

/// Lines of one peer that are no messages, before the conversation is ended. Some programs print a banner.
pub const MOST_BREACHES: usize = 16;

/// How long what is being written has to be taken once the conversation ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A conversation over two pipes. `R` is what the peer writes, `W` what it reads.
pub struct Lines<R, W> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// The rest of a line that was too long is still to come.
    is_discarding: bool,
    max_line_bytes: usize,
    breaches: usize,
    /// What the peer is to be told of its last breach, as a line; emptied once it is in the writer.
    complaint: Option<Vec<u8>>,
    writer: Arc<tokio::sync::Mutex<Option<W>>>,
    open: watch::Sender<HashSet<RequestId>>,
    end: Arc<OnceLock<String>>,
}

/// Why a conversation ended, if it was the peer's doing.
#[derive(Clone, Debug, Default)]
pub struct Ending(Arc<OnceLock<String>>);

impl Ending {
    /// A fragment; `None`: the peer hung up, or the conversation goes on.
    pub fn why(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send + 'static> Lines<R, W> {
    /// A conversation in which the peer's lines have at most so many bytes each, without their ends.
    pub fn new(reader: R, writer: W, max_line_bytes: usize) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            is_discarding: false,
            max_line_bytes,
            breaches: 0,
            complaint: None,
            writer: Arc::new(tokio::sync::Mutex::new(Some(writer))),
            open: watch::Sender::new(HashSet::new()),
            end: Arc::default(),
        }
    }

    /// To ask later why it ended.
    pub fn ending(&self) -> Ending {
        Ending(Arc::clone(&self.end))
    }

    /// Reads a line into `self.line`. Dropped in the middle, it goes on where it was.
    async fn read_line(&mut self) -> io::Result<Line> {
        loop {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Ok(Line::End);
            }
            let newline = available.iter().position(|&byte| byte == b'\n');
            let part = newline.unwrap_or(available.len());
            let is_too_long = !self.is_discarding && self.line.len() + part > self.max_line_bytes;
            if is_too_long {
                self.line.clear();
            } else if !self.is_discarding {
                self.line.extend_from_slice(&available[..part]);
            }
            self.reader.consume(newline.map_or(part, |at| at + 1));
            let was_discarding = self.is_discarding;
            self.is_discarding = newline.is_none() && (is_too_long || was_discarding);
            if is_too_long {
                return Ok(Line::TooLong);
            }
            if newline.is_some() && !was_discarding {
                return Ok(Line::Whole);
            }
        }
    }

    fn ended(&self, why: impl Into<String>) {
        // The first reason is the reason.
        let _ = self.end.set(why.into());
    }

    /// Takes note of a line that is no message. `None`: it was one too many.
    fn breach<Role: ServiceRole>(&mut self, error: ErrorData) -> Option<()> {
        self.breaches += 1;
        if self.breaches > MOST_BREACHES {
            self.ended(format!("it sent {MOST_BREACHES} lines that were no messages, and then: {}", error.message));
            return None;
        }
        // A client tells a server nothing: there is no request that this would answer.
        if !Role::IS_CLIENT {
            self.complaint = Some(written(&TxJsonRpcMessage::<Role>::error(error, None)).ok()?);
        }
        Some(())
    }

    /// Tells the peer of its breach. Dropped in the middle of a write, the conversation is over.
    async fn complain(&mut self) -> io::Result<()> {
        if self.complaint.is_none() {
            return Ok(());
        }
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let Some(line) = self.complaint.take() else { return Ok(()) };
        // In a task of its own: half a line must not stay half when this future is dropped.
        let told = tokio::spawn(async move {
            match writer.as_mut() {
                Some(writer) => write(writer, &line).await,
                None => Ok(()),
            }
        });
        told.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl<Role, R, W> Transport<Role> for Lines<R, W>
where
    Role: ServiceRole,
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = io::Error;

    fn name() -> Cow<'static, str> {
        "lines".into()
    }

    fn send(
        &mut self,
        message: TxJsonRpcMessage<Role>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let (writer, open) = (Arc::clone(&self.writer), self.open.clone());
        async move {
            let answers = match &message {
                JsonRpcMessage::Response(response) => Some(response.id.clone()),
                JsonRpcMessage::Error(error) => error.id.clone(),
                JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
            };
            let line = written(&message)?;
            let sent = match writer.lock().await.as_mut() {
                Some(writer) => write(writer, &line).await,
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            if let Some(id) = answers {
                close(&open, &id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<Role>> {
        loop {
            if let Err(error) = self.complain().await {
                self.ended(format!("it could not be written to: {error}"));
                return None;
            }
            let mut room = self.open.subscribe();
            // The sender is ours: it is not gone.
            let _ = room.wait_for(|open| open.len() < MOST_OPEN).await;
            drop(room);
            let max = self.max_line_bytes;
            match self.read_line().await {
                Ok(Line::Whole) => {}
                Ok(Line::TooLong) => {
                    let words = format!("a message is larger than {max} bytes, which is the most");
                    // It may have been the answer that somebody waits for.
                    if Role::IS_CLIENT {
                        self.ended(words);
                        return None;
                    }
                    self.breach::<Role>(ErrorData::invalid_request(words, None))?;
                    continue;
                }
                Ok(Line::End) => return None,
                Err(error) => {
                    self.ended(format!("it could not be read: {error}"));
                    return None;
                }
            }
            let line = std::mem::take(&mut self.line);
            match read::<Role>(&line) {
                Ok(None) => {}
                Ok(Some(message)) => match &message {
                    JsonRpcMessage::Request(request) => {
                        if !self.open.send_if_modified(|open| open.insert(request.id.clone())) {
                            self.ended("it used the id of a request that is still open");
                            return None;
                        }
                        return Some(message);
                    }
                    JsonRpcMessage::Notification(notification) => {
                        // A request that is given up is not answered.
                        if let Some(params) = Role::peer_cancelled_params(&notification.notification)
                            && let Some(id) = &params.request_id
                        {
                            close(&self.open, id);
                        }
                        return Some(message);
                    }
                    JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => return Some(message),
                },
                Err(error) => self.breach::<Role>(error)?,
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        // A peer that reads nothing may keep the writer for ever.
        if let Ok(mut writer) = timeout(LAST_WORDS, self.writer.lock()).await {
            drop(writer.take());
        }
        Ok(())
    }
}

/// A message of a line; `None`: nothing that anybody has to know.
fn read<Role: ServiceRole>(line: &[u8]) -> Result<Option<RxJsonRpcMessage<Role>>, ErrorData> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let wrong = match serde_json::from_slice(line) {
        Ok(message) => return Ok(Some(message)),
        Err(wrong) => wrong,
    };
    if wrong.is_syntax() || wrong.is_eof() {
        return Err(ErrorData::parse_error("a line is no JSON", None));
    }
    // A notification that this side does not know is none of its business.
    match serde_json::from_slice::<Value>(line) {
        Ok(Value::Object(fields)) if fields.contains_key("method") && !fields.contains_key("id") => Ok(None),
        _ => Err(ErrorData::invalid_request("a line is no message of this protocol", None)),
    }
}

fn written(message: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), line: &[u8]) -> io::Result<()> {
    writer.write_all(line).await?;
    writer.flush().await
}

fn close(open: &watch::Sender<HashSet<RequestId>>, id: &RequestId) {
    open.send_if_modified(|open| open.remove(id));
}
