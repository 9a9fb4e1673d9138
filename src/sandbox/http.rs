//! What every listener of the sandbox does alike: whom it listens to, how long it waits, how much it reads.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Buf, Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection stays open between two requests.
const HEAD: Duration = Duration::from_secs(30);
/// How long a body may pause.
pub const PAUSE: Duration = Duration::from_secs(30);
/// How long a body that is held in memory may take as a whole.
const BODY: Duration = Duration::from_secs(120);
/// The largest head of a request: session tokens and labels stay far below.
const HEAD_SIZE: usize = 64 << 10;
/// How often an HTTP/2 peer is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than allowed. No more than that was held in memory.
    TooLarge,
    /// It paused or took too long.
    TooSlow,
    /// The connection ended or its framing was wrong.
    Broken,
}

impl Unread {
    /// The status and what to say.
    pub fn explain(self) -> (u16, &'static str) {
        match self {
            Unread::TooLarge => (413, "the request body is too large"),
            Unread::TooSlow => (408, "the request body did not come in time"),
            Unread::Broken => (400, "the request body was cut off or is malformed"),
        }
    }
}

/// HTTP/1.1 with limits of size and time.
pub fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_SIZE);
    builder
}

/// HTTP/2 with the same limits.
fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_header_list_size(HEAD_SIZE as u32)
        // A client holds all its watches on one connection.
        .max_concurrent_streams(1000);
    builder
}

/// Takes connections and serves each beside the others until the end comes; returns those under way. They end with what
/// holds them: this, while it runs.
pub async fn listen<F>(
    listener: TcpListener,
    end: impl Future<Output = ()>,
    mut serve: impl FnMut(TcpStream) -> F,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            stream = accept(&listener) => {
                connections.spawn(serve(stream));
            }
            Some(_) = connections.join_next() => {}
            () = &mut end => return connections,
        }
    }
}

/// A listener at work. It ends when dropped, its connections with it.
pub struct Listening(JoinHandle<JoinSet<()>>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// As [`listen`], until what is returned is dropped.
pub fn keep_listening<F>(
    listener: TcpListener,
    serve: impl FnMut(TcpStream) -> F + Send + 'static,
) -> Listening
where
    F: Future<Output = ()> + Send + 'static,
{
    Listening(tokio::spawn(listen(listener, pending(), serve)))
}

/// Takes the next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return stream;
            }
            // Out of file descriptors, for one: waiting lets others close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Takes a TLS connection; `None` when the peer does not manage the handshake, in time.
pub async fn secure<S>(acceptor: &TlsAcceptor, stream: S) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .ok()?
        .ok()
}

/// Answers on a TLS connection, in the HTTP that its peer chose, until it ends.
pub async fn serve<T, S, B>(stream: TlsStream<T>, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A peer that hangs up is no failure.
    let _ = if is_http2(&stream) {
        let stream = TokioIo::new(Lively::new(stream));
        http2().serve_connection(stream, service).await
    } else {
        let connection = http1().serve_connection(TokioIo::new(stream), service);
        connection.with_upgrades().await
    };
}

/// Whether a connection's peer chose HTTP/2 in its handshake.
fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Breaks a connection: its peer sees it reset. Clones are of the same connection.
#[derive(Clone, Debug, Default)]
pub struct Breaker(Arc<Broken>);

#[derive(Debug, Default)]
struct Broken {
    tripped: AtomicBool,
    woken: Notify,
}

impl Breaker {
    /// Breaks the connection. Never returns: whoever serves the connection drops what serves its requests.
    pub async fn trip<T>(&self) -> T {
        self.trip_now();
        std::future::pending().await
    }

    /// Breaks the connection.
    pub fn trip_now(&self) {
        self.0.tripped.store(true, Ordering::Release);
        self.0.woken.notify_one();
    }

    /// Returns when the connection is to be dropped.
    pub async fn tripped(&self) {
        self.0.woken.notified().await;
    }
}

/// A connection that a [`Breaker`] can reset.
pub struct Breakable {
    stream: TcpStream,
    breaker: Breaker,
}

impl Breakable {
    /// A connection and its breaker.
    pub fn new(stream: TcpStream) -> (Self, Breaker) {
        let breaker = Breaker::default();
        let connection = Breakable {
            stream,
            breaker: breaker.clone(),
        };
        (connection, breaker)
    }
}

impl Drop for Breakable {
    fn drop(&mut self) {
        if self.breaker.0.tripped.load(Ordering::Acquire) {
            // Closing then sends a reset in place of an end.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Reads a body into memory, up to `limit` bytes.
pub async fn read<B>(body: B, limit: usize) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    read_within(body, limit, PAUSE, BODY).await
}

async fn read_within<B>(
    mut body: B,
    limit: usize,
    pause: Duration,
    whole: Duration,
) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    // What says that it is too large is not read at all.
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLarge);
    }
    let end = Instant::now() + whole;
    let mut first: Option<Bytes> = None;
    let mut rest = Vec::new();
    loop {
        let until = end.min(Instant::now() + pause);
        let frame = match tokio::time::timeout_at(until, body.frame()).await {
            Err(_) => return Err(Unread::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Unread::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let held = first.as_ref().map_or(0, Bytes::len) + rest.len();
        if held + data.remaining() > limit {
            return Err(Unread::TooLarge);
        }
        match &first {
            None => first = Some(data),
            Some(_) => rest.extend_from_slice(&data),
        }
    }
    let first = first.unwrap_or_default();
    Ok(match rest.is_empty() {
        true => first,
        false => [&first[..], &rest].concat().into(),
    })
}

/// Whether a request is addressed to this machine by a name that nobody else can make resolve here. A web page whose own
/// host name suddenly resolves to a loopback address must not reach the sandbox. `names` are further names that are
/// served.
pub fn is_addressed_here<B>(request: &Request<B>, names: &[&str]) -> bool {
    let mut hosts = request.headers().get_all(hyper::header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => match host.to_str() {
            Ok(host) => Some(host),
            Err(_) => return false,
        },
        (None, _) => None,
        _ => return false,
    };
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let fits = |host: &str| {
        let name = name_of(host);
        is_loopback(name) || names.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    match (host, authority) {
        (None, None) => false,
        (host, authority) => host.is_none_or(fits) && authority.is_none_or(fits),
    }
}

/// A host without its port and brackets.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

fn is_loopback(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A stream whose peer must say something now and then: with HTTP/2, at least the answer to a ping.
struct Lively<S> {
    stream: S,
    until: Pin<Box<Sleep>>,
}

impl<S> Lively<S> {
    /// Watches over a stream.
    fn new(stream: S) -> Self {
        Lively {
            stream,
            until: Box::pin(tokio::time::sleep(3 * PING)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lively<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                self.until.as_mut().reset(Instant::now() + 3 * PING);
                Poll::Ready(read)
            }
            Poll::Pending => match self.until.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lively<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    fn request(uri: &str, hosts: &[&str]) -> Request<()> {
        let mut builder = Request::builder().uri(uri);
        for host in hosts {
            builder = builder.header("host", *host);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn only_names_of_this_machine_are_listened_to() {
        let here = |uri, hosts: &[&str]| is_addressed_here(&request(uri, hosts), &["kubernetes"]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "127.9.8.7:1",
            "localhost:1",
            "LocalHost",
            "x.localhost",
            "[::1]:2",
            "kubernetes",
        ] {
            assert!(here("/", &[host]), "{host}");
        }
        for host in [
            "",
            "example.com",
            "127.0.0.1.example.com",
            "localhost.example.com",
            "10.0.0.1",
            "0.0.0.0",
            "[::]:1",
            "2130706433",
            "127.1",
        ] {
            assert!(!here("/", &[host]), "{host}");
        }
        assert!(!here("/", &[]), "no host at all");
        assert!(!here("/", &["localhost", "localhost"]), "two hosts");
        assert!(!here("http://example.com/", &["localhost"]));
        assert!(here("http://localhost/", &[]));
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_a_limit_and_a_time() {
        let full = |bytes: &'static [u8]| Full::new(Bytes::from_static(bytes));
        assert_eq!(read(full(b"12345"), 5).await.unwrap(), "12345");
        assert_eq!(read(full(b""), 5).await.unwrap(), "");
        assert_eq!(read(full(b"123456"), 5).await, Err(Unread::TooLarge));
        let pieces = |count: usize| {
            let pieces = (0..count).map(|_| Ok::<_, io::Error>(Frame::data(Bytes::from("ab"))));
            StreamBody::new(futures::stream::iter(pieces))
        };
        assert_eq!(read(pieces(3), 6).await.unwrap(), "ababab");
        assert_eq!(read(pieces(usize::MAX), 6).await, Err(Unread::TooLarge));
        let broken = futures::stream::iter([Err::<Frame<Bytes>, _>(io::Error::other("cut"))]);
        assert_eq!(read(StreamBody::new(broken), 9).await, Err(Unread::Broken));
        let never = StreamBody::new(futures::stream::pending::<io::Result<Frame<Bytes>>>());
        let (short, long) = (Duration::from_millis(5), Duration::from_secs(60));
        assert_eq!(
            read_within(never, 9, short, long).await,
            Err(Unread::TooSlow)
        );
        // One that never pauses for long ends all the same.
        let drip = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, io::Error>(Frame::data(Bytes::from("a"))), ()))
        });
        let drip = StreamBody::new(Box::pin(drip));
        assert_eq!(
            read_within(drip, usize::MAX, long, 4 * short).await,
            Err(Unread::TooSlow)
        );
    }
}
