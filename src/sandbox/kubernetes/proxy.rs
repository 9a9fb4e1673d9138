//! What is passed on to a pod's kubelet: logs, exec, attach and port-forward.
//!
//! The kubelet is dialled at 127.0.0.1 and its node's `status.daemonEndpoints.kubeletEndpoint.Port`, over TLS with the
//! server's client certificate and without looking at the kubelet's, as the real server does unless told otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::StreamExt as _;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;

use super::api::{Api, Body};
use super::object;
use super::read::find;
use super::request::Info;
use super::resources::Resource;
use super::status::{Result, Status};
use super::tunnel::Tunnel;

/// Whether a subresource is answered by a kubelet.
pub fn is_proxied(resource: &Resource, subresource: &str) -> bool {
    resource.is("", "pods") && matches!(subresource, "log" | "exec" | "attach" | "portforward")
}

/// Passes a request on.
pub async fn forward(api: &Api, info: &Info, request: Request<Incoming>) -> Result<Response<Body>> {
    let pods = api
        .resource("", "v1", "pods")
        .ok_or_else(Status::no_resource)?;
    let pod = find(api, info, &pods)?;
    let node = object::text(&pod.value, "spec.nodeName");
    if node.is_empty() && info.subresource == "log" {
        // Nobody has written anything yet.
        return Ok(super::api::text(200, ""));
    }
    if node.is_empty() {
        return Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            info.name
        )));
    }
    let node_object = api
        .store
        .get("nodes", "", node)
        .ok_or_else(|| Status::not_found("", "nodes", node))?;
    let port = object::at(
        &node_object.value,
        "status.daemonEndpoints.kubeletEndpoint.Port",
    )
    .and_then(Value::as_u64)
    .and_then(|port| u16::try_from(port).ok())
    .unwrap_or(10250);
    let (namespace, name) = (&info.namespace, &info.name);
    let path = match info.subresource.as_str() {
        "portforward" => format!("/portForward/{namespace}/{name}"),
        other => {
            let container = container(&pod.value, info.query.get("container"), other)?;
            let verb = if other == "log" {
                "containerLogs"
            } else {
                other
            };
            format!("/{verb}/{namespace}/{name}/{container}")
        }
    };
    let query = request.uri().query().map(kubelet_query).unwrap_or_default();
    let shown = format!("https://127.0.0.1:{port}{path}");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let unreachable =
        |error: &dyn std::fmt::Display| Status::internal(format!("Get {shown:?}: {error}"));
    let mut kubelet = connect(api.kubelets.clone(), address)
        .await
        .map_err(|error| unreachable(&error))?;
    let target = if query.is_empty() {
        path.clone()
    } else {
        format!("{path}?{query}")
    };
    pass(&mut kubelet, request, &target)
        .await
        .map_err(|error| unreachable(&error))
}

/// The kubelet does not want to hear the container twice.
fn kubelet_query(query: &str) -> String {
    let parts: Vec<&str> = query
        .split('&')
        .filter(|part| !part.starts_with("container="))
        // The kubelet's own names for the streams of exec.
        .collect();
    parts
        .into_iter()
        .map(|part| match part.split_once('=') {
            Some(("stdin", value)) => format!("input={}", one(value)),
            Some(("stdout", value)) => format!("output={}", one(value)),
            Some(("stderr", value)) => format!("error={}", one(value)),
            _ => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("&")
}

fn one(flag: &str) -> &'static str {
    if flag == "true" || flag == "1" {
        "1"
    } else {
        "0"
    }
}

fn container<'a>(pod: &'a Value, asked: &'a str, subresource: &str) -> Result<&'a str> {
    let names = |list: &str| -> Vec<&str> {
        object::list(pod, list)
            .iter()
            .map(|container| object::text(container, "name"))
            .collect()
    };
    let (main, init) = (names("spec.containers"), names("spec.initContainers"));
    let pod_name = object::name(pod);
    if !asked.is_empty() {
        if main.contains(&asked) || init.contains(&asked) {
            return Ok(asked);
        }
        return Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {pod_name}"
        )));
    }
    if let [only] = main[..] {
        return Ok(only);
    }
    if subresource != "log"
        && let Some(name) = object::annotation(pod, "kubectl.kubernetes.io/default-container")
        && main.contains(&name)
    {
        return Ok(name);
    }
    let mut message = format!(
        "a container name must be specified for pod {pod_name}, choose one of: [{}]",
        main.join(" ")
    );
    if !init.is_empty() {
        message.push_str(&format!(
            " or one of the init containers: [{}]",
            init.join(" ")
        ));
    }
    Err(Status::bad_request(message))
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn connect(
    tls: Arc<rustls::ClientConfig>,
    address: SocketAddr,
) -> std::result::Result<SendRequest<Incoming>, Failed> {
    let refused = |error: std::io::Error| -> Failed {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                format!("dial tcp {address}: connect: connection refused").into()
            }
            _ => error.into(),
        }
    };
    let stream = TcpStream::connect(address).await.map_err(refused)?;
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let stream = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

async fn pass(
    kubelet: &mut SendRequest<Incoming>,
    mut request: Request<Incoming>,
    target: &str,
) -> std::result::Result<Response<Body>, Failed> {
    let upgrade = request.headers().contains_key(UPGRADE);
    let client = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let tunnel = Tunnel::wanted(&parts.headers);
    let mut onward = Request::builder().method(parts.method).uri(target);
    for (name, value) in &parts.headers {
        let replaced = tunnel.as_ref().is_some_and(|tunnel| tunnel.replaces(name));
        // The kubelet has nothing to do with who the client is.
        if *name != HOST && name != "authorization" && !replaced {
            onward = onward.header(name, value);
        }
    }
    if let Some(tunnel) = &tunnel {
        onward = tunnel.ask(onward);
    }
    let onward = onward.header(HOST, "127.0.0.1").body(body)?;
    let mut response = kubelet.send_request(onward).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let server = hyper::upgrade::on(&mut response);
        if let Some(tunnel) = tunnel {
            return Ok(tunnel.open(response.headers(), client, server)?);
        }
        tokio::spawn(async move {
            if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                // Ends when either side has had enough.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
        let mut answer = Response::new(http_body_util::Empty::new().boxed_unsync());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = response.headers().clone();
        return Ok(answer);
    }
    let (parts, body) = response.into_parts();
    // An error in the middle of a log ends it.
    let frames = BodyStream::new(body)
        .take_while(|frame| futures::future::ready(frame.is_ok()))
        .filter_map(|frame| futures::future::ready(frame.ok()))
        .filter_map(|frame: Frame<_>| futures::future::ready(frame.into_data().ok()))
        .map(|data| Ok(Frame::data(data)));
    let mut answer = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    *answer.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        if *name != CONNECTION && name != "transfer-encoding" && name != "content-length" {
            answer.headers_mut().append(name, value.clone());
        }
    }
    Ok(answer)
}
