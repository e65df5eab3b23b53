//! The host's side of a conversation with a server: it asks, and is asked nothing.
//!
//! Never: lets a server use a model, a person, or the names of directories: it has its tools to offer, and nothing to ask.

use rmcp::model::{
    ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationCreateRequestMethod, ErrorData,
    Implementation, ListRootsRequestMethod, ProtocolVersion,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, RequestContext, RunningService, serve_client_with_lifecycle,
};
use rmcp::{ClientHandler, RoleClient};
use tokio::process::{ChildStdin, ChildStdout};

use super::bounded;
use crate::doors::lines::Lines;

/// Refuses whatever a server asks.
pub(super) struct Refusing;

/// Begins a conversation.
///
/// # Errors
/// Words about why there is none.
pub(super) async fn begin(
    lines: Lines<ChildStdout, ChildStdin>,
) -> Result<RunningService<RoleClient, Refusing>, String> {
    // All servers of today know this way; those that know only the newest answer it with an error.
    let begun = serve_client_with_lifecycle(Refusing, lines, ClientLifecycleMode::Initialize).await;
    begun.map_err(|error| match error {
        ClientInitializeError::ConnectionClosed(_) => "it hung up".to_owned(),
        ClientInitializeError::JsonRpcError(error) => bounded(&error.message),
        other => bounded(&other.to_string()),
    })
}

impl ClientHandler for Refusing {
    fn get_info(&self) -> ClientConfig {
        let mut info =
            ClientConfig::new(ClientCapabilities::default(), Implementation::new("jidoka", env!("CARGO_PKG_VERSION")));
        info.protocol_version = ProtocolVersion::V_2025_11_25;
        info
    }

    // Models are refused by the library itself.

    #[expect(deprecated, reason = "servers of yesterday ask for it")]
    async fn list_roots(
        &self,
        _context: RequestContext<RoleClient>,
    ) -> Result<rmcp::model::ListRootsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListRootsRequestMethod>())
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Err(ErrorData::method_not_found::<ElicitationCreateRequestMethod>())
    }
}
