//! A webhook of the operator's: one POST, and whether the answer is 2xx.
//!
//! Never: follows a redirect, retries, reads more of an answer than its head, says an address or an answer's words in an
//! error: the path of such an address often is its key, and a server may repeat it.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use tokio::time::timeout;

use super::client::{self, Patience, reason};
use super::complaint;

/// How a webhook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookEnd {
    /// The status of its answer is 2xx.
    Done,
    /// It has another status.
    Refused { status: u16 },
    /// There was none in time. It may have been heard all the same.
    TimedOut,
    /// It could not be reached, or did not speak HTTP. It may have been heard all the same.
    Broken(String),
}

/// Posts a body of JSON, and waits at most `time` for the head of an answer.
pub async fn post(url: &str, json: String, time: Duration) -> WebhookEnd {
    let Ok(url) = Url::parse(url) else { return WebhookEnd::Broken("its url is no address".to_owned()) };
    timeout(time, exchange(url, json, time)).await.unwrap_or(WebhookEnd::TimedOut)
}

async fn exchange(url: Url, json: String, time: Duration) -> WebhookEnd {
    let patience = Patience { connect: time, idle: time, total: time };
    let address = url.clone();
    // It reads the machine's certificates.
    let client = match tokio::task::spawn_blocking(move || client::client(&address, patience)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return WebhookEnd::Broken(error.to_string()),
        Err(panic) => return WebhookEnd::Broken(panic.to_string()),
    };
    match client.post(url).header(CONTENT_TYPE, "application/json").body(json).send().await {
        Ok(response) if response.status().is_success() => WebhookEnd::Done,
        Ok(response) => WebhookEnd::Refused { status: response.status().as_u16() },
        Err(error) if error.is_timeout() => WebhookEnd::TimedOut,
        Err(error) => WebhookEnd::Broken(complaint::clean(&reason(error))),
    }
}
