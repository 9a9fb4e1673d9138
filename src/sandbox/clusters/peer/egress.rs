//! The way from a real API server to what runs in its cluster: an HTTP CONNECT proxy, which is what an API server's egress
//! selector asks for connections to nodes, pods and Services. It dials the loopback address behind the address that
//! the API shows. It speaks TLS, to clients with a certificate of the cluster's authority: an API server told of one
//! without TLS panics at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::sandbox::http::{self, Listening};
use crate::sandbox::kubernetes::Authority;

/// The loopback addresses to try for an address of the cluster, in this order.
pub type Ways = Arc<dyn Fn(Ipv4Addr) -> Vec<Ipv4Addr> + Send + Sync>;

/// The longest head of a request; an API server's are about a hundred bytes.
const LONGEST_HEAD: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(10);

/// The running proxy. It ends when dropped, its connections with it.
pub struct Egress {
    /// Its port on 127.0.0.1.
    pub port: u16,
    _listening: Listening,
}

/// Starts the proxy on a free port, for clients of this authority.
pub async fn start(authority: &Authority, ways: Ways) -> std::io::Result<Egress> {
    let tls = authority
        .serving("egress", vec!["127.0.0.1".to_owned()])
        .map_err(|error| error.to_string())
        .and_then(|identity| identity.server_for(authority))
        .map_err(std::io::Error::other)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let port = listener.local_addr()?.port();
    let serve = move |stream| {
        let (acceptor, ways) = (acceptor.clone(), ways.clone());
        async move {
            if let Some(stream) = http::secure(&acceptor, stream).await {
                proxy(stream, ways).await;
            }
        }
    };
    Ok(Egress {
        port,
        _listening: http::keep_listening(listener, serve),
    })
}

async fn proxy(mut client: impl AsyncRead + AsyncWrite + Unpin, ways: Ways) {
    let Ok(Some(target)) = tokio::time::timeout(PATIENCE, read_head(&mut client)).await else {
        return;
    };
    let connected = match &target {
        Some(target) => connect(*target, &ways).await,
        None => {
            let _ = client
                .write_all(b"HTTP/1.1 400 CONNECT to an IPv4 address and a port\r\n\r\n")
                .await;
            return;
        }
    };
    match connected {
        Ok(mut server) => {
            let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
            if client.write_all(established).await.is_ok() {
                // Ends when both sides have had enough, or either breaks.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        }
        Err(error) => {
            // The API server shows the status line to whoever asked.
            let line = format!("HTTP/1.1 502 {error}\r\n\r\n");
            let _ = client.write_all(line.as_bytes()).await;
            let _ = client.shutdown().await;
        }
    }
}

/// Where the CONNECT request leads, `Some(None)` when it is another request, nothing when there is none.
async fn read_head(client: &mut (impl AsyncRead + Unpin)) -> Option<Option<SocketAddr>> {
    let mut head = Vec::new();
    // Byte by byte at the end: what follows the head belongs to the tunnel. The client waits for the answer, so nothing
    // follows in practice.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST_HEAD {
            return Some(None);
        }
        head.push(client.read_u8().await.ok()?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let target = (words.next() == Some("CONNECT"))
        .then(|| words.next()?.parse().ok())
        .flatten();
    Some(target.filter(SocketAddr::is_ipv4))
}

async fn connect(target: SocketAddr, ways: &Ways) -> Result<TcpStream, String> {
    let SocketAddr::V4(shown) = target else {
        return Err(format!("dial tcp {target}: no route to host"));
    };
    let mut why = "no route to host".to_owned();
    for way in ways(*shown.ip()) {
        let dialled = TcpStream::connect(SocketAddr::from((way, shown.port())));
        why = match tokio::time::timeout(PATIENCE, dialled).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                "connect: connection refused".to_owned()
            }
            Ok(Err(error)) => format!("connect: {}", error.kind()),
            Err(_) => "i/o timeout".to_owned(),
        };
    }
    Err(format!("dial tcp {target}: {why}"))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::TlsConnector;

    use super::*;

    type Stream = tokio_rustls::client::TlsStream<TcpStream>;

    async fn ask(authority: &Authority, port: u16, request: &str) -> Stream {
        let identity = authority.client("kube-apiserver", None).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let trusted = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
        roots.add(trusted).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let mut stream = TlsConnector::from(Arc::new(tls))
            .connect(name, stream)
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn rest(mut stream: Stream) -> String {
        let mut text = Vec::new();
        // The end of a tunnel is not a proper end of TLS.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_tunnel_leads_to_the_twin() {
        let pod = TcpListener::bind("127.9.8.7:0").await.unwrap();
        let port = pod.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = pod.accept().await {
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
            }
        });
        let ways: Ways = Arc::new(|shown| {
            let [_, a, b, c] = shown.octets();
            vec![Ipv4Addr::new(127, a, b, c)]
        });
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path(), "kubernetes").unwrap();
        let egress = start(&authority, ways).await.unwrap();
        let connect = format!("CONNECT 10.9.8.7:{port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        let mut stream = ask(&authority, egress.port, &connect).await;
        let mut answer = [0; 39];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 Connection established\r\n\r\n");
        stream.write_all(b"ping").await.unwrap();
        assert_eq!(rest(stream).await, "ping");

        let nobody = ask(
            &authority,
            egress.port,
            "CONNECT 10.9.8.6:1 HTTP/1.1\r\n\r\n",
        )
        .await;
        assert_eq!(
            rest(nobody).await,
            "HTTP/1.1 502 dial tcp 10.9.8.6:1: connect: connection refused\r\n\r\n"
        );
        let other = ask(&authority, egress.port, "GET / HTTP/1.1\r\n\r\n").await;
        assert!(rest(other).await.starts_with("HTTP/1.1 400 "));
    }
}
