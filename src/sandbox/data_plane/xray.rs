//! The X-Ray daemon: takes segments over UDP on the pod's address and sends them on in batches, signed with the pod's
//! role.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::aws;
use crate::sandbox::controllers::{ContainerContext, stopped};

/// Segments in one call at most, as the API has it.
const BATCH: usize = 50;
/// How long a segment waits for company.
const PATIENCE: Duration = Duration::from_millis(500);
/// Segments that are kept while the API does not answer.
const BACKLOG: usize = 10_000;

/// `aws-xray-daemon`.
pub fn run(context: ContainerContext) -> BoxFuture<'static, i32> {
    async move {
        let at = SocketAddr::new(context.twin, port(&context.args));
        let socket = match UdpSocket::bind(at).await {
            Ok(socket) => socket,
            Err(error) => {
                context.say(format!("[Error] cannot listen on {at}: {error}"));
                return 1;
            }
        };
        context.say(format!("[Info] Starting proxy; listening on udp {at}"));
        let mut shutdown = context.shutdown.clone();
        let mut daemon = Daemon {
            context,
            credentials: None,
            waiting: Vec::new(),
        };
        tokio::select! {
            () = daemon.receive(&socket) => {}
            () = stopped(&mut shutdown) => {}
        }
        daemon.send().await;
        0
    }
    .boxed()
}

/// The port of `-b` or `--bind`, 2000 without.
fn port(args: &[String]) -> u16 {
    let bind = args
        .iter()
        .position(|word| word == "-b" || word == "--bind");
    let named = bind
        .and_then(|at| args.get(at + 1))
        .and_then(|address| address.rsplit(':').next());
    named.and_then(|port| port.parse().ok()).unwrap_or(2000)
}

struct Daemon {
    context: ContainerContext,
    credentials: Option<Credentials>,
    waiting: Vec<String>,
}

impl Daemon {
    async fn receive(&mut self, socket: &UdpSocket) {
        let mut buffer = vec![0; 64 * 1024];
        let mut due = Instant::now();
        loop {
            let received = match self.waiting.is_empty() {
                true => Ok(socket.recv(&mut buffer).await),
                false => tokio::time::timeout_at(due, socket.recv(&mut buffer)).await,
            };
            match received {
                Ok(Ok(length)) => {
                    if self.waiting.is_empty() {
                        due = Instant::now() + PATIENCE;
                    }
                    if let Some(segment) = segment(&buffer[..length])
                        && self.waiting.len() < BACKLOG
                    {
                        self.waiting.push(segment);
                    }
                }
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => {}
            }
            if self.waiting.len() >= BATCH || (!self.waiting.is_empty() && Instant::now() >= due) {
                self.send().await;
                due = Instant::now() + PATIENCE;
            }
        }
    }

    async fn send(&mut self) {
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(BATCH);
            let documents: Vec<&String> = self.waiting.iter().take(count).collect();
            let body = json!({"TraceSegmentDocuments": documents}).to_string();
            match self.put(body).await {
                Ok(answer) => {
                    let refused = answer["UnprocessedTraceSegments"]
                        .as_array()
                        .map_or(0, Vec::len);
                    if refused > 0 {
                        self.context.say(format!(
                            "[Error] {refused} of {count} segments were not processed"
                        ));
                    }
                    self.waiting.drain(..count);
                }
                Err(error) => {
                    self.context.say(format!(
                        "[Error] Sending segment batch failed with: {error}"
                    ));
                    // A refusal will not turn into consent; a lost connection may come back.
                    if matches!(error, aws::Error::Refused { .. }) {
                        self.waiting.drain(..count);
                    }
                    return;
                }
            }
        }
    }

    async fn put(&mut self, body: String) -> Result<Value, aws::Error> {
        let soon = SystemTime::now() + Duration::from_secs(120);
        let fresh = self
            .credentials
            .take()
            .filter(|found| found.expiry().is_none_or(|expiry| expiry > soon));
        let credentials = match fresh {
            Some(fresh) => fresh,
            None => aws::web_identity(&self.context).await?,
        };
        self.credentials = Some(credentials.clone());
        let signer = aws::Signer {
            endpoint: self.context.aws_endpoint.clone(),
            region: self.context.region.clone(),
            credentials,
        };
        let headers = [("content-type", "application/json")];
        signer
            .send(
                "xray",
                reqwest::Method::POST,
                "/TraceSegments",
                &headers,
                body,
            )
            .await
    }
}

/// The document of a datagram: what follows the header line.
fn segment(datagram: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(datagram).ok()?;
    let (header, document) = text.split_once('\n')?;
    let header: Value = serde_json::from_str(header).ok()?;
    (header["format"] == "json" && serde_json::from_str::<Value>(document).is_ok())
        .then(|| document.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_with_their_header_are_taken() {
        let good = b"{\"format\":\"json\",\"version\":1}\n{\"trace_id\":\"1-a-b\"}";
        assert_eq!(segment(good).unwrap(), "{\"trace_id\":\"1-a-b\"}");
        assert_eq!(segment(b"{\"trace_id\":\"1-a-b\"}"), None);
        assert_eq!(segment(b"{\"format\":\"json\"}\nnonsense"), None);
        let args = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(port(&args(&["-b", "0.0.0.0:2001"])), 2001);
        assert_eq!(port(&[]), 2000);
    }
}
