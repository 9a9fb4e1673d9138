//! Ports forwarded over SPDY: for each connection a stream of errors and one of bytes, which name the port and what
//! they belong to in their headers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Frame, Reader, Told, Writer};

/// Bytes of one frame.
const CHUNK: usize = 32 << 10;
/// Streams that wait for their other half at most.
const WAITING: usize = 256;

/// What a new stream is for.
#[derive(Debug, PartialEq)]
struct Wanted {
    port: u16,
    errors: bool,
    request: String,
}

impl Wanted {
    fn of(headers: &[(String, String)], stream: u32) -> Option<Wanted> {
        let text = |name: &str| {
            let found = headers.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let errors = match text("streamtype")? {
            "error" => true,
            "data" => false,
            _ => return None,
        };
        // Old clients do not say it: bytes come right behind their errors.
        let own = if errors {
            stream
        } else {
            stream.saturating_sub(2)
        };
        Some(Wanted {
            port: text("port")?.parse().ok().filter(|port| *port > 0)?,
            errors,
            request: text("requestid").map_or_else(|| own.to_string(), str::to_owned),
        })
    }
}

/// The streams of one connection, until both are there.
#[derive(Default)]
struct Pair {
    errors: Option<u32>,
    data: Option<(u32, u16, mpsc::Receiver<Vec<u8>>)>,
}

/// Serves a client until it goes.
pub async fn forward<S>(socket: S, pod: IpAddr)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, mut write) = tokio::io::split(socket);
    let (tell, mut told) = mpsc::channel(64);
    // All of them end with this call.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut writer = Writer::default();
        while let Some(message) = told.recv().await {
            let frame = writer.frame(message);
            if write.write_all(&frame).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
    });
    let mut reader = Reader::new(read);
    let mut pairs: HashMap<String, Pair> = HashMap::new();
    let mut inputs: HashMap<u32, mpsc::Sender<Vec<u8>>> = HashMap::new();
    while let Ok(frame) = reader.next().await {
        match frame {
            Frame::Open { stream, headers } => {
                let wanted = Wanted::of(&headers, stream).filter(|_| pairs.len() < WAITING);
                let Some(wanted) = wanted else {
                    let _ = tell.send(Told::Refused(stream)).await;
                    continue;
                };
                let _ = tell.send(Told::Taken(stream)).await;
                let mut pair = pairs.remove(&wanted.request).unwrap_or_default();
                if wanted.errors {
                    pair.errors = Some(stream);
                } else {
                    let (input, received) = mpsc::channel(64);
                    inputs.insert(stream, input);
                    pair.data = Some((stream, wanted.port, received));
                }
                match (pair.errors, pair.data) {
                    (Some(errors), Some((data, port, received))) => {
                        let at = SocketAddr::new(pod, port);
                        tasks.spawn(connection(at, (data, errors), received, tell.clone()));
                    }
                    (errors, data) => {
                        pairs.insert(wanted.request, Pair { errors, data });
                    }
                }
            }
            Frame::Data {
                stream,
                bytes,
                last,
            } => {
                if let Some(input) = inputs.get(&stream)
                    && !bytes.is_empty()
                    && input.send(bytes).await.is_err()
                {
                    inputs.remove(&stream);
                }
                if last {
                    inputs.remove(&stream);
                }
            }
            Frame::Reset { stream } => {
                inputs.remove(&stream);
            }
            Frame::Ping(id) => {
                let _ = tell.send(Told::Pong(id)).await;
            }
            Frame::Away => return,
            Frame::Other => {}
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// One connection into the pod.
async fn connection(
    at: SocketAddr,
    (data, errors): (u32, u32),
    mut received: mpsc::Receiver<Vec<u8>>,
    tell: mpsc::Sender<Told>,
) {
    match TcpStream::connect(at).await {
        Ok(stream) => {
            let (mut read, mut write) = stream.into_split();
            let up = async {
                while let Some(bytes) = received.recv().await {
                    if write.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                // The client has said all; the pod has not.
                let _ = write.shutdown().await;
                std::future::pending::<()>().await;
            };
            let down = async {
                let mut buffer = vec![0; CHUNK];
                while let Ok(length @ 1..) = read.read(&mut buffer).await {
                    let bytes = buffer[..length].to_vec();
                    if tell.send(Told::Data(data, bytes, false)).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = up => {}
                () = down => {}
            }
        }
        Err(error) => {
            let words = format!(
                "error forwarding port {0}: failed to connect to localhost:{0} inside the pod: {error}",
                at.port()
            );
            let _ = tell
                .send(Told::Data(errors, words.into_bytes(), false))
                .await;
        }
    }
    for stream in [data, errors] {
        let _ = tell.send(Told::Data(stream, Vec::new(), true)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::port_forward;
    use super::super::tests::opened;
    use super::*;

    fn data(stream: u32, bytes: &[u8], last: bool) -> Vec<u8> {
        let mut writer = Writer::default();
        let told = Told::Data(stream, bytes.to_vec(), last);
        writer.frame(told)
    }

    #[test]
    fn streams_say_what_they_are_for() {
        let of = |headers: &[(&str, &str)], stream| {
            let headers: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            Wanted::of(&headers, stream)
        };
        let wanted = of(
            &[("streamtype", "data"), ("port", "80"), ("requestid", "7")],
            9,
        );
        let said = Wanted {
            port: 80,
            errors: false,
            request: "7".to_owned(),
        };
        assert_eq!(wanted, Some(said));
        let old = of(&[("streamtype", "data"), ("port", "80")], 3).expect("an old client");
        assert_eq!(old.request, "1");
        for headers in [
            &[("streamtype", "data")][..],
            &[("streamtype", "data"), ("port", "0")],
            &[("streamtype", "data"), ("port", "70000")],
            &[("streamtype", "other"), ("port", "80")],
        ] {
            assert_eq!(of(headers, 1), None);
        }
    }

    #[tokio::test]
    async fn connections_are_made_and_failures_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut heard = Vec::new();
            // Answers when the other side has said all.
            stream.read_to_end(&mut heard).await.expect("a question");
            stream.write_all(&heard).await.expect("an answer");
        });
        let (_silent, closed) = port_forward::tests::refusing();
        let (client, server) = tokio::io::duplex(1 << 16);
        tokio::spawn(forward(server, [127, 0, 0, 1].into()));
        let (read, mut write) = tokio::io::split(client);
        let mut writer = Writer::default();
        let mut bytes = Vec::new();
        for (first, port) in [(1, port), (5, closed)] {
            let (port, request) = (port.to_string(), first.to_string());
            for (stream, kind) in [(first, "error"), (first + 2, "data")] {
                let headers = [
                    ("streamtype", kind),
                    ("port", port.as_str()),
                    ("requestid", request.as_str()),
                ];
                bytes.extend(opened(stream, &headers, &mut writer));
            }
        }
        bytes.extend(opened(9, &[("streamtype", "nonsense")], &mut writer));
        bytes.extend(data(3, b"pi", false));
        bytes.extend(data(3, b"ng", true));
        write.write_all(&bytes).await.expect("sent");
        let mut reader = Reader::new(read);
        let (mut said, mut ended, mut refused) = (HashMap::<u32, Vec<u8>>::new(), Vec::new(), 0);
        while ended.len() < 4 || refused == 0 {
            match reader.next().await.expect("a frame") {
                Frame::Data {
                    stream,
                    bytes,
                    last,
                } => {
                    said.entry(stream).or_default().extend(bytes);
                    if last {
                        ended.push(stream);
                    }
                }
                Frame::Reset { stream } => refused = stream,
                _ => {}
            }
        }
        ended.sort_unstable();
        assert_eq!((ended, refused), (vec![1, 3, 5, 7], 9));
        assert_eq!(
            (said[&3].as_slice(), said[&1].as_slice()),
            (&b"ping"[..], &b""[..])
        );
        let error = String::from_utf8_lossy(&said[&5]);
        assert!(error.contains("inside the pod"), "{error}");
    }
}
