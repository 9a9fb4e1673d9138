//! gRPC probes: one call of gRPC's health checking protocol, with the kubelet's own words for what comes of it
//! (`pkg/probe/grpc` of Kubernetes).

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::header::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// An answer has a few bytes.
const LARGEST: usize = 1 << 16;

/// The states of the protocol, by number.
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Asks what listens there whether it serves.
pub async fn check(at: SocketAddr, service: &str, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let dialled = tokio::time::timeout_at(deadline, dial(at)).await;
    let sender = match dialled {
        // A client that waits to be connected tries again until its time is over.
        Err(_) | Ok(Err(_)) => {
            return Err(format!(
                "timeout: failed to connect service \"{at}\" within {}s: context deadline exceeded",
                timeout.as_secs()
            ));
        }
        Ok(Ok(sender)) => sender,
    };
    let called = tokio::time::timeout_at(deadline, call(sender, at, service)).await;
    match called {
        Err(_) => Err(format!(
            "timeout: health rpc did not complete within {}s",
            timeout.as_secs()
        )),
        Ok(called) => verdict(called?),
    }
}

type Sender = http2::SendRequest<Full<Bytes>>;

async fn dial(at: SocketAddr) -> Result<Sender, String> {
    let stream = TcpStream::connect(at)
        .await
        .map_err(|error| error.to_string())?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    // Ends with the sender.
    tokio::spawn(connection);
    Ok(sender)
}

/// A call's end: its status, the words with it, and its message.
#[derive(Debug, Default, PartialEq, Eq)]
struct End {
    status: Option<u32>,
    words: String,
    message: Vec<u8>,
}

async fn call(mut sender: Sender, at: SocketAddr, service: &str) -> Result<End, String> {
    let words = |error: hyper::Error| {
        format!("error: health rpc probe failed: rpc error: code = Unavailable desc = {error}")
    };
    let request = hyper::Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.35")
        .body(Full::new(framed(&asked(service))))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(words)?;
    let mut end = End::default();
    end.read(answer.headers());
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| format!("error: health rpc probe failed: {error}"))?;
    if let Some(trailers) = body.trailers() {
        end.read(trailers);
    }
    end.message = body.to_bytes().to_vec();
    Ok(end)
}

impl End {
    fn read(&mut self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(status) = text("grpc-status") {
            self.status = status.parse().ok();
            self.words = text("grpc-message").unwrap_or_default().to_owned();
        }
    }
}

/// A message with what gRPC puts before it: whether it is compressed, and its length.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

/// A `HealthCheckRequest`: the service is its first field, left out when it is empty.
fn asked(service: &str) -> Vec<u8> {
    let name: Vec<u8> = service.bytes().take(127).collect();
    match name.is_empty() {
        true => name,
        false => [&[0x0a, name.len() as u8][..], &name].concat(),
    }
}

/// The state that a framed `HealthCheckResponse` holds as its first field, UNKNOWN when it holds none.
fn state(message: &[u8]) -> &'static str {
    let number = match message.get(5..) {
        Some([0x08, number, ..]) => usize::from(*number),
        _ => 0,
    };
    STATES.get(number).copied().unwrap_or(STATES[0])
}

fn verdict(end: End) -> Result<(), String> {
    match end.status {
        Some(0) => match state(&end.message) {
            "SERVING" => Ok(()),
            other => Err(format!("service unhealthy (responded with \"{other}\")")),
        },
        Some(12) => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            end.words
        )),
        Some(status) => Err(format!(
            "error: health rpc probe failed: rpc error: code = {status} desc = {}",
            end.words
        )),
        None => Err("error: health rpc probe failed: rpc error: code = Unknown desc = server closed the stream without sending trailers".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: Option<u32>, message: &[u8]) -> Result<(), String> {
        verdict(End {
            status,
            words: "words".into(),
            message: framed(message).to_vec(),
        })
    }

    #[test]
    fn only_one_that_serves_is_healthy() {
        assert_eq!(ended(Some(0), &[8, 1]), Ok(()));
        for (status, message, words) in [
            (Some(0), &[8, 2][..], "responded with \"NOT_SERVING\""),
            (Some(0), &[], "responded with \"UNKNOWN\""),
            (Some(0), &[8, 99], "responded with \"UNKNOWN\""),
            (
                Some(12),
                &[],
                "does not implement the grpc health protocol (grpc.health.v1.Health): words",
            ),
            (Some(14), &[], "code = 14 desc = words"),
            (None, &[8, 1], "without sending trailers"),
        ] {
            let why = ended(status, message).expect_err(words);
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn a_service_is_asked_for_by_its_name() {
        assert_eq!(asked(""), b"");
        assert_eq!(asked("demo"), b"\x0a\x04demo");
        assert_eq!(&framed(b"\x0a\x04demo")[..], b"\0\0\0\0\x06\x0a\x04demo");
    }

    #[tokio::test]
    async fn nobody_there_is_a_timeout() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let at = closed.local_addr().expect("an address");
        drop(closed);
        let why = check(at, "", Duration::from_secs(1)).await;
        let why = why.expect_err("nobody listens");
        assert!(
            why.starts_with("timeout: failed to connect service"),
            "{why}"
        );
    }
}
