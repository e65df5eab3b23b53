//! Sessions of HTTP clients that speak a protocol before 2026-07-28, and how many there may be.
//!
//! Never: more than their cap; one is ended by its client, or when nothing was said in it for long.

use std::time::Duration;

use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError, SessionConfig,
};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use thiserror::Error;

/// Sessions at once. Each has a task and a few events in memory; clients of today's protocol have none.
pub const MOST_SESSIONS: usize = 64;

/// What the library keeps, with a cap.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    kept: LocalSessionManager,
    /// One is made after the other, so that two do not take the same last place.
    making: tokio::sync::Mutex<()>,
}

/// Why there is no session.
#[derive(Debug, Error)]
pub(super) enum SessionsError {
    #[error("{MOST_SESSIONS} sessions are open, which is the most; end one with DELETE, or come back later")]
    Full,
    #[error(transparent)]
    Kept(#[from] LocalSessionManagerError),
}

impl Sessions {
    pub fn new(idle: Duration) -> Self {
        let mut config = SessionConfig::default();
        config.keep_alive = Some(idle);
        let mut kept = LocalSessionManager::default();
        kept.session_config = config;
        Self { kept, making: tokio::sync::Mutex::default() }
    }

    pub async fn are_full(&self) -> bool {
        self.kept.sessions.read().await.len() >= MOST_SESSIONS
    }
}

impl SessionManager for Sessions {
    type Error = SessionsError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), SessionsError> {
        let _making = self.making.lock().await;
        if self.are_full().await {
            return Err(SessionsError::Full);
        }
        Ok(self.kept.create_session().await?)
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionsError> {
        Ok(self.kept.initialize_session(id, message).await?)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionsError> {
        Ok(self.kept.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), SessionsError> {
        Ok(self.kept.close_session(id).await?)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        Ok(self.kept.create_stream(id, message).await?)
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), SessionsError> {
        Ok(self.kept.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        Ok(self.kept.create_standalone_stream(id).await?)
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionsError> {
        Ok(self.kept.resume(id, last_event_id).await?)
    }
}
