//! Port-forwarding into a pod, as a kubelet does it: over SPDY, or over WebSockets with `v4.channel.k8s.io`, two channels a
//! port, data and errors, each of which begins with the port's number, little-endian.

use std::net::{IpAddr, SocketAddr};

use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::server::{Body, text};
use super::{Kubelet, spdy};
use crate::sandbox::controllers::{Shutdown, stopped};

/// The protocol that is spoken over WebSockets.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// The one over SPDY.
const STREAMS: &str = "portforward.k8s.io";
/// What is upgraded to for it.
const SPDY: &str = "SPDY/3.1";
/// Where both sides say so.
const VERSION: &str = "x-stream-protocol-version";
/// Bytes of one message at most.
const CHUNK: usize = 32 << 10;

/// Answers `/portForward/{namespace}/{pod}?ports=…`.
pub fn answer(
    kubelet: &Kubelet,
    mut request: Request<Incoming>,
    mut shutdown: Shutdown,
) -> Response<Body> {
    let refuse = |message: String| text(StatusCode::BAD_REQUEST, message);
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let ["portForward", namespace, name] = parts[..] else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    };
    let Some(pod) = kubelet.address_of(namespace, name) else {
        let message = format!("pod not found ({name:?}_{namespace:?})\n");
        return text(StatusCode::NOT_FOUND, message);
    };
    // Ports are named later, stream by stream.
    if upgrades_to(request.headers(), SPDY) {
        return streams(request, pod, shutdown);
    }
    let Some(key) = websocket_key(request.headers()) else {
        return refuse(format!(
            "unable to upgrade: ports are forwarded over {SPDY} with {STREAMS}, or over WebSockets with {PROTOCOL}\n"
        ));
    };
    let ports = match ports(request.uri().query().unwrap_or_default()) {
        Ok(ports) => ports,
        Err(message) => return refuse(message),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        tokio::select! {
            () = forward(socket, pod, ports) => {}
            () = stopped(&mut shutdown) => {}
        }
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
        .header("sec-websocket-protocol", PROTOCOL)
        .body(Empty::new().map_err(|never| match never {}).boxed());
    answer.unwrap_or_else(|error| refuse(error.to_string()))
}

/// Forwards what the streams of a SPDY connection ask for.
fn streams(mut request: Request<Incoming>, pod: IpAddr, mut shutdown: Shutdown) -> Response<Body> {
    let offered: Vec<&str> = request
        .headers()
        .get_all(VERSION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|protocols| protocols.split(','))
        .map(str::trim)
        .collect();
    // Who names none means the only one.
    if !offered.is_empty() && !offered.contains(&STREAMS) {
        let message = format!("unable to upgrade: the protocol is {STREAMS}\n");
        return text(StatusCode::FORBIDDEN, message);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        tokio::select! {
            () = spdy::forward(TokioIo::new(upgraded), pod) => {}
            () = stopped(&mut shutdown) => {}
        }
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, SPDY)
        .header(CONNECTION, "Upgrade")
        .header(VERSION, STREAMS)
        .body(Empty::new().map_err(|never| match never {}).boxed());
    answer.unwrap_or_else(|error| text(StatusCode::BAD_REQUEST, error.to_string()))
}

fn upgrades_to(headers: &HeaderMap, protocol: &str) -> bool {
    let wanted = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(protocol))
}

fn ports(query: &str) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if name != "ports" && name != "port" {
            continue;
        }
        for port in value.replace("%2C", ",").split(',') {
            match port.parse() {
                Ok(port) if port > 0 => ports.push(port),
                _ => return Err(format!("invalid port {port:?}\n")),
            }
        }
    }
    match ports.is_empty() {
        true => Err("query parameter \"port\" is required\n".to_owned()),
        false => Ok(ports),
    }
}

fn websocket_key(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let mut offered = text("sec-websocket-protocol")?.split(',').map(str::trim);
    (upgrades_to(headers, "websocket") && offered.any(|protocol| protocol == PROTOCOL))
        .then(|| text("sec-websocket-key").map(str::to_owned))?
}

/// What a task has to tell the client: a channel and bytes, or that its port is done.
type Told = Option<(u8, Vec<u8>)>;

async fn forward<S>(socket: WebSocketStream<S>, pod: IpAddr, ports: Vec<u16>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let (tell, mut told) = mpsc::channel::<Told>(64);
    let mut open = ports.len();
    let mut inputs = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let (data, errors) = (index as u8 * 2, index as u8 * 2 + 1);
        for channel in [data, errors] {
            let mut first = vec![channel];
            first.extend(port.to_le_bytes());
            if sink.send(Message::Binary(first.into())).await.is_err() {
                return;
            }
        }
        let (input, received) = mpsc::channel::<Vec<u8>>(64);
        inputs.push(input);
        tokio::spawn(one(
            SocketAddr::new(pod, port),
            (data, errors),
            received,
            tell.clone(),
        ));
    }
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let Some((channel, rest)) = bytes.split_first() else { continue };
                    let input = inputs.get(usize::from(channel / 2));
                    if let Some(input) = input.filter(|_| channel % 2 == 0) {
                        // Nobody there any more: the port is done, and the client is being told.
                        let _ = input.send(rest.to_vec()).await;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            message = told.recv() => match message {
                Some(Some((channel, bytes))) => {
                    let mut frame = vec![channel];
                    frame.extend(bytes);
                    if sink.send(Message::Binary(frame.into())).await.is_err() {
                        return;
                    }
                }
                _ => {
                    open -= 1;
                    if open == 0 {
                        let _ = sink.close().await;
                        return;
                    }
                }
            },
        }
    }
}

/// One port's connection.
async fn one(
    at: SocketAddr,
    (data, errors): (u8, u8),
    mut received: mpsc::Receiver<Vec<u8>>,
    tell: mpsc::Sender<Told>,
) {
    match TcpStream::connect(at).await {
        Ok(stream) => {
            let (mut read, mut write) = stream.into_split();
            let mut buffer = vec![0; CHUNK];
            loop {
                tokio::select! {
                    length = read.read(&mut buffer) => match length {
                        Ok(length @ 1..) => {
                            if tell.send(Some((data, buffer[..length].to_vec()))).await.is_err() {
                                return;
                            }
                        }
                        _ => break,
                    },
                    bytes = received.recv() => match bytes {
                        Some(bytes) => if write.write_all(&bytes).await.is_err() { break },
                        None => return,
                    },
                }
            }
        }
        Err(error) => {
            let words = format!(
                "an error occurred forwarding {0} -> {0}: failed to connect to localhost:{0} inside the pod: {error}",
                at.port()
            );
            let _ = tell.send(Some((errors, words.into_bytes()))).await;
        }
    }
    let _ = tell.send(None).await;
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn ports_are_named_and_checked() {
        assert_eq!(ports("ports=9901"), Ok(vec![9901]));
        assert_eq!(ports("ports=9901%2C8080&x=1"), Ok(vec![9901, 8080]));
        assert!(ports("").is_err());
        assert!(ports("ports=0").is_err());
        assert!(ports("ports=many").is_err());
    }

    #[test]
    fn other_ways_to_upgrade_are_refused() {
        let mut headers = HeaderMap::new();
        let set = |headers: &mut HeaderMap, name: &'static str, value: &'static str| {
            headers.insert(name, hyper::header::HeaderValue::from_static(value));
        };
        set(&mut headers, "upgrade", "SPDY/3.1");
        assert_eq!(websocket_key(&headers), None);
        set(&mut headers, "upgrade", "WebSocket");
        set(&mut headers, "sec-websocket-key", "abc");
        set(
            &mut headers,
            "sec-websocket-protocol",
            "portforward.k8s.io, v4.channel.k8s.io",
        );
        assert_eq!(websocket_key(&headers).as_deref(), Some("abc"));
    }

    /// A port that is bound and not listened at: nobody else gets it, and connections are refused.
    pub(in super::super) fn refusing() -> (tokio::net::TcpSocket, u16) {
        let silent = tokio::net::TcpSocket::new_v4().expect("a socket");
        silent
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a free port");
        let closed = silent.local_addr().expect("an address").port();
        (silent, closed)
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_errors_are_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut buffer = [0; 4];
            stream.read_exact(&mut buffer).await.expect("a question");
            stream.write_all(&buffer).await.expect("an answer");
        });
        let (_silent, closed) = refusing();
        let (client, server) = tokio::io::duplex(1 << 16);
        let server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        tokio::spawn(forward(server, [127, 0, 0, 1].into(), vec![port, closed]));
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        client
            .send(Message::Binary(vec![0, b'p', b'i', b'n', b'g'].into()))
            .await
            .expect("sent");
        let mut heard = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            if let Message::Binary(bytes) = message {
                heard.push(bytes.to_vec());
            }
        }
        for channel in 0..4u8 {
            let number = if channel < 2 { port } else { closed }.to_le_bytes();
            assert!(
                heard.contains(&vec![channel, number[0], number[1]]),
                "{heard:?}"
            );
        }
        assert!(heard.contains(&b"\0ping".to_vec()), "{heard:?}");
        let error = heard.iter().find(|frame| frame[0] == 3 && frame.len() > 3);
        let error = String::from_utf8_lossy(&error.expect("an error")[1..]).into_owned();
        assert!(error.contains("inside the pod"), "{error}");
    }
}
