//! SPDY inside of a WebSocket, as kubectl forwards ports. To the kubelet it is plain SPDY.

use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::header::{CONNECTION, HeaderMap, HeaderName, UPGRADE};
use hyper::http::request::Builder;
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::api::Body;

/// What stands before the protocols that are spoken inside.
const PREFIX: &str = "SPDY/3.1+";
const SPDY: &str = "SPDY/3.1";
/// Where SPDY's two sides say what they speak.
const VERSION: &str = "x-stream-protocol-version";
/// Bytes of one message.
const CHUNK: usize = 32 << 10;

/// A tunnel that a client wants.
pub struct Tunnel {
    key: String,
    protocols: Vec<String>,
}

impl Tunnel {
    /// What a request asks for, if it does.
    pub fn wanted(headers: &HeaderMap) -> Option<Tunnel> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        if !text("upgrade")?.eq_ignore_ascii_case("websocket") {
            return None;
        }
        let offered = headers.get_all("sec-websocket-protocol").iter();
        let protocols: Vec<String> = offered
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|one| one.trim().strip_prefix(PREFIX))
            .filter(|one| one.ends_with(".k8s.io"))
            .map(str::to_owned)
            .collect();
        let key = text("sec-websocket-key")?.to_owned();
        (!protocols.is_empty()).then_some(Tunnel { key, protocols })
    }

    /// Whether a header is the WebSocket's alone.
    pub fn replaces(&self, name: &HeaderName) -> bool {
        *name == UPGRADE || *name == VERSION || name.as_str().starts_with("sec-websocket-")
    }

    /// Asks for SPDY instead.
    pub fn ask(&self, mut onward: Builder) -> Builder {
        onward = onward.method("POST").header(UPGRADE, SPDY);
        for protocol in &self.protocols {
            onward = onward.header(VERSION, protocol);
        }
        onward
    }

    /// Answers the client, and carries what follows between the two. `said` is what the kubelet answered.
    pub fn open(
        self,
        said: &HeaderMap,
        client: OnUpgrade,
        kubelet: OnUpgrade,
    ) -> std::result::Result<Response<Body>, hyper::http::Error> {
        tokio::spawn(async move {
            if let (Ok(client), Ok(kubelet)) = tokio::join!(client, kubelet) {
                let client = TokioIo::new(client);
                let socket = WebSocketStream::from_raw_socket(client, Role::Server, None).await;
                carry(socket, TokioIo::new(kubelet)).await;
            }
        });
        let spoken = said.get(VERSION).and_then(|value| value.to_str().ok());
        let spoken = spoken.unwrap_or(&self.protocols[0]);
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "Upgrade")
            .header(
                "sec-websocket-accept",
                derive_accept_key(self.key.as_bytes()),
            )
            .header("sec-websocket-protocol", format!("{PREFIX}{spoken}"))
            .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
    }
}

/// Ends when either side has had enough.
async fn carry<C, K>(client: WebSocketStream<C>, kubelet: K)
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    K: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let (mut sink, mut stream) = client.split();
    let (mut read, mut write) = tokio::io::split(kubelet);
    let up = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(bytes) => {
                    let sent = async { write.write_all(&bytes).await.and(write.flush().await) };
                    let Ok(()) = sent.await else { return };
                }
                Message::Close(_) | Message::Text(_) => return,
                _ => {}
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            let bytes = buffer[..length].to_vec();
            if sink.send(Message::Binary(bytes.into())).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_what_is_spoken_inside_of_a_websocket_is_a_tunnel() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pairs = pairs.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            pairs.collect()
        };
        let offered = "v4.channel.k8s.io, SPDY/3.1+portforward.k8s.io, SPDY/3.1+other";
        let all = [
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "abc"),
            ("sec-websocket-protocol", offered),
        ];
        let tunnel = Tunnel::wanted(&headers(&all)).expect("a tunnel");
        assert_eq!(tunnel.protocols, ["portforward.k8s.io"]);
        for missing in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert!(Tunnel::wanted(&headers(&some)).is_none());
        }
        let mut other = all;
        other[2].1 = "v4.channel.k8s.io";
        assert!(Tunnel::wanted(&headers(&other)).is_none());
    }
}
