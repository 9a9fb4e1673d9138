//! The kubelet's HTTPS endpoint, which the API server asks for logs and for ways into pods.

use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::runtime::State;
use super::{Kubelet, access, port_forward};
use crate::sandbox::controllers::{Shutdown, stopped};
use crate::sandbox::http;
use crate::sandbox::kubernetes::{Identity, Subject};

pub(super) type Body = BoxBody<Bytes, std::io::Error>;

/// Starts the endpoint on a free port of 127.0.0.1 and answers the port.
pub async fn start(kubelet: Arc<Kubelet>, mut shutdown: Shutdown) -> std::io::Result<u16> {
    let names = vec![kubelet.options.name.clone(), "127.0.0.1".to_owned()];
    let authority = &kubelet.options.access.certificate_authority;
    let config = Identity::self_signed(names)
        .map_err(|error| error.to_string())
        .and_then(|identity| identity.server_asking(authority))
        .map_err(std::io::Error::other)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let port = listener.local_addr()?.port();
    let forwards = shutdown.clone();
    let serve = move |stream| {
        let (kubelet, acceptor, forwards) = (kubelet.clone(), acceptor.clone(), forwards.clone());
        async move {
            let Some(stream) = http::secure(&acceptor, stream).await else {
                return;
            };
            let certificates = stream.get_ref().1.peer_certificates();
            let subject = certificates.and_then(|certificates| Subject::of(certificates.first()?));
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (kubelet, subject) = (kubelet.clone(), subject.clone());
                let forwards = forwards.clone();
                async move {
                    let answer = respond(&kubelet, subject, request, forwards).await;
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            http::serve(stream, service).await;
        }
    };
    tokio::spawn(async move {
        http::listen(listener, stopped(&mut shutdown), serve).await;
    });
    Ok(port)
}

pub(super) fn text(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// A real API server asks for the node by the address that the Node object shows.
fn is_addressed_here(kubelet: &Kubelet, request: &Request<Incoming>) -> bool {
    let address = kubelet.options.private_ip.to_string();
    http::is_addressed_here(request, &[&address, &kubelet.options.name])
}

async fn respond(
    kubelet: &Kubelet,
    subject: Option<Subject>,
    request: Request<Incoming>,
    shutdown: Shutdown,
) -> Response<Body> {
    if !is_addressed_here(kubelet, &request) {
        let message = "the sandbox answers on loopback addresses only\n".to_owned();
        return text(StatusCode::FORBIDDEN, message);
    }
    if let Err(refused) = access::admit(kubelet, subject, &request).await {
        return refused;
    }
    match request.uri().path().starts_with("/portForward/") {
        true => port_forward::answer(kubelet, request, shutdown),
        false => answer(kubelet, &request),
    }
}

fn answer(kubelet: &Kubelet, request: &Request<Incoming>) -> Response<Body> {
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    match parts[..] {
        ["healthz"] => text(StatusCode::OK, "ok".to_owned()),
        ["containerLogs", namespace, pod, container] => {
            let query = request.uri().query().unwrap_or_default();
            logs(kubelet, namespace, pod, container, &Wanted::parse(query))
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

/// What part of a log is wanted.
#[derive(Debug, Default)]
struct Wanted {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<usize>,
    limit: Option<usize>,
    since: Option<Timestamp>,
}

impl Wanted {
    fn parse(query: &str) -> Wanted {
        let mut wanted = Wanted::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "follow" => wanted.follow = value == "true",
                "previous" => wanted.previous = value == "true",
                "timestamps" => wanted.timestamps = value == "true",
                "tailLines" => wanted.tail = value.parse().ok(),
                "limitBytes" => wanted.limit = value.parse().ok(),
                "sinceSeconds" => {
                    let seconds = value.parse().ok().map(jiff::SignedDuration::from_secs);
                    wanted.since =
                        seconds.and_then(|seconds| Timestamp::now().checked_sub(seconds).ok());
                }
                "sinceTime" => wanted.since = value.replace("%3A", ":").parse().ok(),
                _ => {}
            }
        }
        wanted
    }

    /// A stored line as it is to be shown, if it is.
    fn show(&self, line: &str) -> Option<String> {
        let (time, said) = line.split_once(' ').unwrap_or(("", line));
        if let Some(since) = self.since
            && time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return None;
        }
        Some(format!("{}\n", if self.timestamps { line } else { said }))
    }
}

fn logs(
    kubelet: &Kubelet,
    namespace: &str,
    pod: &str,
    container: &str,
    wanted: &Wanted,
) -> Response<Body> {
    let found = kubelet.handles().values().find_map(|handle| {
        let latest = handle.latest.borrow();
        let metadata = &latest.metadata;
        let is = metadata.name.as_deref() == Some(pod)
            && metadata.namespace.as_deref() == Some(namespace);
        is.then(|| handle.runtime.clone())
    });
    let Some(runtime) = found else {
        let message = format!("pod \"{pod}\" in namespace \"{namespace}\" is not on this node");
        return text(StatusCode::NOT_FOUND, message);
    };
    let Some(report) = runtime.report(container) else {
        let message = format!("container {container} is not valid for pod {pod}");
        return text(StatusCode::BAD_REQUEST, message);
    };
    let run = match (wanted.previous, &report.state) {
        (true, _) if report.restarts == 0 || report.last.is_none() => {
            let message =
                format!("previous terminated container \"{container}\" in pod \"{pod}\" not found");
            return text(StatusCode::BAD_REQUEST, message);
        }
        (true, _) => report.restarts - 1,
        (false, State::Waiting { reason, .. }) if report.id.is_empty() => {
            let message =
                format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}");
            return text(StatusCode::BAD_REQUEST, message);
        }
        (false, _) => report.restarts,
    };
    let path = runtime.log_file(container, run);
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    // A line that is still being written waits for its end.
    let complete = stored.rfind('\n').map_or(0, |end| end + 1);
    let lines: Vec<String> = stored[..complete]
        .lines()
        .filter_map(|line| wanted.show(line))
        .collect();
    let skipped = wanted
        .tail
        .map_or(0, |tail| lines.len().saturating_sub(tail));
    let mut shown = lines[skipped..].concat();
    if let Some(limit) = wanted.limit {
        let mut end = limit.min(shown.len());
        while !shown.is_char_boundary(end) {
            end -= 1;
        }
        shown.truncate(end);
    }
    if !wanted.follow {
        return text(StatusCode::OK, shown);
    }
    let show = Wanted {
        timestamps: wanted.timestamps,
        ..Wanted::default()
    };
    let following = Following {
        path,
        offset: complete as u64,
        show,
        container: container.to_owned(),
        run,
    };
    let first = futures::stream::once(async move { Ok(Frame::data(Bytes::from(shown))) });
    let rest = futures::stream::unfold(
        (following, runtime),
        |(mut following, runtime)| async move {
            let more = following.next(&runtime).await?;
            Some((Ok(Frame::data(Bytes::from(more))), (following, runtime)))
        },
    );
    Response::new(BodyExt::boxed(StreamBody::new(first.chain(rest))))
}

struct Following {
    path: PathBuf,
    offset: u64,
    show: Wanted,
    container: String,
    run: i32,
}

impl Following {
    /// The next lines; nothing once the run is over and all is read.
    async fn next(&mut self, runtime: &super::runtime::Runtime) -> Option<String> {
        loop {
            let report = runtime.report(&self.container)?;
            let over = report.restarts != self.run || matches!(report.state, State::Terminated(_));
            let more = self.read().unwrap_or_default();
            if !more.is_empty() {
                return Some(more);
            }
            if over {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn read(&mut self) -> std::io::Result<String> {
        let mut file = std::fs::File::open(&self.path)?;
        // A log that was cut is shorter than before.
        self.offset = self.offset.min(file.metadata()?.len());
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = Vec::new();
        file.take(1 << 20).read_to_end(&mut text)?;
        let complete = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        self.offset += complete as u64;
        let text = String::from_utf8_lossy(&text[..complete]);
        Ok(text
            .lines()
            .filter_map(|line| self.show.show(line))
            .collect())
    }
}
