//! The process of a server: started through the launcher, in a group of its own, gone with its handle.
//!
//! Never: outlives its handle or its host; keeps more of what it complains about than a tail. Invariant here: the thread
//! that started it lives as long as it does, because the kernel ends it with that thread.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::super::command::Group;
use super::super::launcher;
use super::super::lines::Lines;
use super::super::program::{Program, Role};
use super::bounded;
use crate::rules::mcp::McpSpec;

/// Bytes that are kept of what a server writes to its standard error: the last ones, where it says why it ended.
const MAX_WORDS_BYTES: usize = 2 << 10;

/// How long a server that ended may still be read.
const GRACE: Duration = Duration::from_millis(200);

/// A process that is killed with its group when this is dropped.
pub(super) struct Process {
    pipes: Option<(ChildStdout, ChildStdin)>,
    words: Arc<Mutex<Vec<u8>>>,
    listening: AbortHandle,
    listened: Option<oneshot::Receiver<()>>,
    // Dropped in this order: the group is killed, then the thread may end.
    _group: Group,
    _keeper: std::sync::mpsc::Sender<()>,
}

impl Process {
    /// Starts the launcher and tells it what to become. Whether it could is seen by what it says.
    ///
    /// # Errors
    /// The machine cannot start it.
    pub async fn start(program: &Program, spec: &McpSpec) -> io::Result<Self> {
        let order = launcher::order(spec)?;
        let (keeper, kept) = std::sync::mpsc::channel::<()>();
        let (tell, told) = oneshot::channel();
        let (program, runtime) = (program.clone(), tokio::runtime::Handle::current());
        std::thread::Builder::new().name("mcp-server".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            // Somebody who does not wait any more drops it, which kills it.
            let _ = tell.send(program.start_piped(Role::Launcher));
            // Until its handle is dropped: nothing is ever sent.
            let _ = kept.recv();
        })?;
        let mut child = told.await.map_err(io::Error::other)??;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let group = Group::led_by(child);
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("it has no pipes"));
        };
        stdin.write_all(&order).await?;
        let words = Arc::default();
        let (done, listened) = oneshot::channel();
        let listening = tokio::spawn(listen(stderr, Arc::clone(&words), done)).abort_handle();
        Ok(Self {
            pipes: Some((stdout, stdin)),
            words,
            listening,
            listened: Some(listened),
            _group: group,
            _keeper: keeper,
        })
    }

    /// Its lines, once.
    pub fn lines(&mut self, max_bytes: usize) -> Lines<ChildStdout, ChildStdin> {
        let (stdout, stdin) = self.pipes.take().expect("lines are taken once");
        Lines::new(stdout, stdin, max_bytes)
    }

    /// The last that it said on its standard error, as the end of a sentence; empty if it said nothing.
    pub fn words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let words = bounded(String::from_utf8_lossy(&words).trim());
        if words.is_empty() { words } else { format!("; its last words: {words}") }
    }

    /// As [`Process::words`], after what an ended process said last has come.
    pub async fn last_words(&mut self) -> String {
        if let Some(listened) = self.listened.take() {
            // One that still runs has said nothing last.
            let _ = tokio::time::timeout(GRACE, listened).await;
        }
        self.words()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(mut stderr: ChildStderr, words: Arc<Mutex<Vec<u8>>>, _done: oneshot::Sender<()>) {
    let mut chunk = vec![0; 4 << 10];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend_from_slice(&chunk[..read]);
        let over = words.len().saturating_sub(MAX_WORDS_BYTES);
        words.drain(..over);
    }
}
