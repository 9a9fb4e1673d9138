//! What a running server knows, and the way of a request through it: who, what, allowed, done.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures::{FutureExt as _, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::accept::{View, metadata};
use super::addresses::Addresses;
use super::admission::Connections;
use super::rbac::Rules;
use super::request::{Info, is_escaped};
use super::resources::{Registry, Resource};
use super::status::{Result, Status};
use super::store::Store;
use super::write::Call;
use super::{Keys, ServerOptions, UserInfo, VERSION};
use super::{auth, discovery, openapi, proxy, rbac, read, scale, subresource, warnings, write};
use crate::sandbox::faults::{Refusal, Visit};
use crate::sandbox::http::{self, Breaker};

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What clients inside a cluster call the server; nobody outside can make these resolve.
const OWN_NAMES: &[&str] = &[
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The largest body that is read: etcd's limit with room for what is around it.
const LIMIT: usize = 3 * 1024 * 1024;

/// A running server's state.
pub struct Api {
    /// The options.
    pub options: ServerOptions,
    /// The cluster's keys.
    pub keys: Keys,
    /// How kubelets are dialled: as themselves, and as the client that they know.
    pub kubelets: Arc<rustls::ClientConfig>,
    /// The objects.
    pub store: Store,
    /// The resources.
    pub registry: Registry,
    /// The control plane's own token.
    pub admin_token: String,
    /// Roles and bindings, ready for questions.
    pub rbac: Mutex<Option<Arc<Rules>>>,
    /// Which addresses Services have.
    pub addresses: Mutex<Addresses>,
    /// Connections to webhooks.
    pub webhooks: Connections,
    /// Held while an address or port of a Service is chosen and stored.
    pub allocation: Mutex<()>,
    /// Turns true when the server stops.
    pub stopped: watch::Receiver<bool>,
    /// Wakes the part that establishes and cleans up custom resource definitions.
    pub definitions: tokio::sync::Notify,
}

/// Answers a request.
pub async fn answer(api: Arc<Api>, breaker: Breaker, request: Request<Incoming>) -> Response<Body> {
    if let Some(answer) = nonsense(&request) {
        return answer;
    }
    if !http::is_addressed_here(&request, OWN_NAMES) {
        let mut status = Status::new(
            403,
            "Forbidden",
            "the sandbox answers on loopback addresses only",
        );
        status.details = Some(json!({}));
        return refused(&status);
    }
    let info = Info::new(
        request.method(),
        request.uri().path(),
        request.uri().query().unwrap_or(""),
    );
    let user = match auth::authenticate(&api, request.headers()) {
        Ok(user) => user,
        Err(status) => return refused(&status),
    };
    let visit = visit(&info, &user);
    let faults = &api.options.faults;
    let strike = faults.strike(&visit);
    let act = async {
        // A defect must not take the connection, with all its watches, along.
        match AssertUnwindSafe(handle(&api, &info, user, request))
            .catch_unwind()
            .await
        {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => refused(&status),
            Err(_) => {
                tracing::error!("the API server panicked");
                text(
                    500,
                    "This request caused apiserver to panic. Look in the logs for details.",
                )
            }
        }
    };
    let refuse = |refusal| refused(&on_purpose(refusal));
    faults.carry(&visit, strike, &breaker, refuse, act).await
}

/// The answer to what is no request at all.
fn nonsense(request: &Request<Incoming>) -> Option<Response<Body>> {
    let uri = request.uri();
    let nobody = uri.authority().is_none() && !request.headers().contains_key("host");
    if nobody {
        return Some(text(400, "400 Bad Request: missing required Host header"));
    }
    if uri.path() == "*" && request.method() == hyper::Method::OPTIONS {
        return Some(text(200, ""));
    }
    let path = uri.path();
    let connects = request.method() == hyper::Method::CONNECT;
    if !connects && !path.starts_with('/') || !is_escaped(path) {
        return Some(text(400, "400 Bad Request"));
    }
    None
}

/// A request as the fault rules name it: `kubernetes:patch:deployments.apps`.
fn visit(info: &Info, user: &UserInfo) -> Visit {
    let mut resource = info.full_resource();
    if !info.group.is_empty() {
        resource = format!("{resource}.{}", info.group);
    }
    Visit {
        call: match info.resource_request {
            true => format!("kubernetes:{}:{resource}", info.verb),
            false => format!("kubernetes:{}:{}", info.verb, info.path),
        },
        // Whoever comes by an access entry comes from outside.
        is_internal: user.username.starts_with("system:"),
        changes: !matches!(info.verb, "get" | "list" | "watch" | "head" | "options")
            && !info.query.has("dryRun"),
    }
}

/// A refusal that a fault rule asks for, as the API server says it.
fn on_purpose(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Throttled => Status::new(
            429,
            "TooManyRequests",
            "Too many requests, please try again later.",
        ),
        Refusal::Unavailable => Status::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        Refusal::Internal => Status::internal("an error on the server has prevented the request"),
        Refusal::Denied => Status::new(
            403,
            "Forbidden",
            "forbidden: denied by a fault rule of the sandbox",
        ),
        Refusal::Expired => Status::unauthorized(),
        Refusal::Ended => Status::new(410, "Gone", "gone: ended by a fault rule of the sandbox"),
    }
}

async fn handle(
    api: &Arc<Api>,
    info: &Info,
    user: UserInfo,
    request: Request<Incoming>,
) -> Result<Response<Body>> {
    if info.incomplete {
        let path = request.uri().path();
        let why = format!(
            "Internal Server Error: {path:?}: failed to create RequestInfo: unable to determine kind and namespace from url, {path}\n"
        );
        return Ok(bytes(500, TEXT, why.into()));
    }
    rbac::authorize(api, &user, info)?;
    let index = api.registry.index();
    let own = info.path.starts_with("/api/")
        || !info.group.is_empty() && index.builtin_group(&info.group);
    if info.hollow && (own && !info.path.starts_with("//")) {
        return Err(Status::no_resource());
    } else if info.hollow {
        return Ok(text(404, "404 page not found\n"));
    }
    if !info.resource_request {
        return plain(api, info, request.method(), request.headers());
    }
    if !index.has_version(&info.group, &info.version) {
        return match own {
            true => Err(Status::no_resource()),
            false => Ok(text(404, "404 page not found\n")),
        };
    }
    let resource = index
        .find(&info.group, &info.version, &info.resource)
        .cloned()
        .ok_or_else(Status::no_resource);
    let resource = match resource {
        // A group that only custom resources are in knows of no others.
        Err(_) if !index.builtin_group(&info.group) => {
            return Ok(text(404, "404 page not found\n"));
        }
        other => other?,
    };
    if resource.namespaced && info.namespace.is_empty() && !info.name.is_empty() {
        return match resource.custom {
            None => Err(Status::no_resource()),
            Some(_) => Ok(text(404, "404 page not found\n")),
        };
    }
    let known = info.subresource.is_empty() || resource.has(&info.subresource);
    match (&resource.custom, request.method()) {
        (Some(_), &hyper::Method::HEAD) => {}
        (None, _) if !info.known_method => {
            return Err(match known {
                true => Status::method_not_allowed(),
                false => Status::no_resource(),
            });
        }
        (Some(_), _) if !info.known_method && known => return Err(unsupported(&resource, "")),
        _ => {}
    }
    if known {
        named(info, &resource)?;
    }
    if proxy::is_proxied(&resource, &info.subresource) {
        return proxy::forward(api, info, request).await;
    }
    let (parts, body) = request.into_parts();
    let view = View::of(&parts.headers, resource.custom.is_some())?;
    match (info.verb, info.subresource.as_str()) {
        _ if resource.review && info.verb != "create" => Err(Status::method_not_allowed()),
        ("list", "") => read::list(api, info, &resource, view),
        ("watch", "") => read::watch(api, info, &resource, view),
        ("get", "") => read::get(api, info, &resource, view),
        _ => {
            let body = http::read(body, LIMIT).await.map_err(unread)?;
            let mut call = Call::new(api, &user, info, &resource, &parts.headers)?;
            // Warnings are said with an error too.
            let mut response = change(&mut call, &parts.headers, &body)
                .await
                .and_then(|(code, value)| show(&resource, info, view, code, &value))
                .unwrap_or_else(|status| refused(&status));
            let heard = call.heard.lock();
            let heard = heard.unwrap_or_else(|poisoned| poisoned.into_inner());
            call.warnings.extend_from_slice(&heard);
            for warning in warnings::headers(&call.warnings) {
                response.headers_mut().append("warning", warning);
            }
            Ok(response)
        }
    }
}

/// Whether there may be a place of such a name.
fn named(info: &Info, resource: &Resource) -> Result<()> {
    let name = &info.name;
    let wrong = match name.as_str() {
        "." | ".." => format!("may not be '{name}'"),
        name if name.contains('%') => "may not contain '%'".to_owned(),
        _ => String::new(),
    };
    if !wrong.is_empty() && info.verb != "create" && info.verb != "update" {
        let name = super::gojson::quoted(name);
        return Err(Status::bad_request(format!(
            "Name parameter invalid: {name}: {wrong}"
        )));
    }
    let reads = matches!(info.verb, "get" | "patch" | "delete");
    if resource.namespaced && reads && matches!(info.namespace.as_str(), "." | "..") {
        let key = format!("/{}/{}/{name}", resource.plural, info.namespace);
        return Err(Status::new(500, "", format!("invalid key: {key:?}")));
    }
    Ok(())
}

fn unread(why: http::Unread) -> Status {
    let (code, message) = why.explain();
    match why {
        http::Unread::TooLarge => Status::new(
            code,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {LIMIT}"),
        ),
        http::Unread::TooSlow => Status::new(code, "Timeout", message),
        // Upstream takes it for its own fault.
        http::Unread::Broken => Status::new(500, "", message),
    }
}

/// The answer to a change, as the client wants to see it.
fn show(
    resource: &Resource,
    info: &Info,
    view: View,
    code: u16,
    value: &Value,
) -> Result<Response<Body>> {
    if value["kind"] == "Status" {
        return Ok(json_body(code, value));
    }
    let list = value.get("items").is_some_and(Value::is_array)
        && value["kind"] == resource.list_kind.as_str();
    view.check(resource, list)?;
    Ok(match view {
        View::Table if !list => json_body(code, &super::table::one(resource, value, &info.query)),
        View::Metadata => json_body(code, &metadata(value)),
        _ => json_body(code, value),
    })
}

/// The resource does not have that verb.
fn unsupported(resource: &Resource, verb: &str) -> Status {
    let mut status = Status::method_not_allowed();
    if resource.custom.is_some() {
        let name = super::status::qualified(&resource.group, &resource.plural);
        status.message = format!("{verb} is not supported on resources of kind {name:?}");
        status.details = Some(json!({"group": resource.group, "kind": resource.plural}));
    }
    status
}

/// Everything that changes something, and the smaller subresources.
async fn change(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Value)> {
    let info = call.info;
    let resource = call.resource.clone();
    if resource.review {
        return subresource::review(call, headers, body).await;
    }
    match (info.verb, info.subresource.as_str()) {
        ("create" | "delete", "status" | "scale") if resource.has(&info.subresource) => {
            Err(unsupported(&resource, info.verb))
        }
        ("create", "") if !info.name.is_empty() && resource.custom.is_none() => {
            Err(unsupported(&resource, info.verb))
        }
        ("patch", "") if info.name.is_empty() && resource.custom.is_some() => {
            write::accepted(call, &write::content_type(headers))?;
            Err(Status::bad_request("name must be provided"))
        }
        ("update", "") if info.name.is_empty() && resource.custom.is_some() => {
            Err(Status::bad_request("name must be provided"))
        }
        ("update" | "patch", "") if info.name.is_empty() => Err(unsupported(&resource, info.verb)),
        ("create", "") => write::create(call, headers, body).await,
        ("update", "") => write::replace(call, headers, body).await,
        ("patch", "") => write::patch(call, headers, body).await,
        ("delete", "") => {
            let options = write::delete_options(info, headers, body)?;
            write::delete(call, &options).await
        }
        ("deletecollection", "") if resource.is("", "namespaces") => {
            Err(Status::method_not_allowed())
        }
        ("deletecollection", "") => {
            super::options::listing(info)?;
            let options = write::delete_options(info, headers, body)?;
            write::delete_collection(call, &options).await
        }
        ("get", "status") if resource.status => {
            read::one(call.api, info, &resource).map(|v| (200, v))
        }
        ("update", "status") if resource.status => write::replace(call, headers, body).await,
        ("patch", "status") if resource.status => write::patch(call, headers, body).await,
        (_, "scale") if resource.scale.is_some() => scale::answer(call, headers, body).await,
        _ => subresource::other(call, headers, body).await,
    }
}

fn plain(
    api: &Arc<Api>,
    info: &Info,
    method: &hyper::Method,
    headers: &HeaderMap,
) -> Result<Response<Body>> {
    let accept = headers
        .get("accept")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if matches!(info.path.as_str(), "/healthz" | "/livez" | "/readyz") {
        return Ok(text(200, "ok"));
    }
    let path = info.path.trim_end_matches('/');
    // Who answers these takes one method alone, and knows what is below them.
    let first = info.path.split('/').nth(1).unwrap_or("");
    let strict = matches!(first, "api" | "apis" | "version");
    Ok(match path {
        "/healthz" | "/livez" | "/readyz" => text(404, "404 page not found\n"),
        _ if strict && method != hyper::Method::GET => return Err(Status::method_not_allowed()),
        "/version" => json_body(
            200,
            &json!({
                "major": VERSION.0,
                "minor": VERSION.1,
                "gitVersion": VERSION.2,
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": "2026-01-01T00:00:00Z",
                "goVersion": "go1.25.5",
                "compiler": "gc",
                "platform": "linux/amd64",
            }),
        ),
        "/openid/v1/jwks" => json_body(200, &api.keys.jwks()),
        "/.well-known/openid-configuration" => json_body(
            200,
            &json!({
                "issuer": api.options.issuer,
                "jwks_uri": format!("{}/openid/v1/jwks", api.options.issuer),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }),
        ),
        _ if path.starts_with("/openapi") => return openapi::answer(api, info, accept),
        _ => match discovery::answer(api, path, accept) {
            Some(response) => response,
            None if matches!(first, "api" | "version") => return Err(Status::no_resource()),
            None => text(404, "404 page not found\n"),
        },
    })
}

impl Api {
    /// The resource of a group and plural in any version, for the server's own writes.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.registry.index().find(group, version, plural).cloned()
    }
}

/// An answer with a JSON body.
pub fn json_body(code: u16, value: &Value) -> Response<Body> {
    bytes(code, "application/json", Bytes::from(value.to_string()))
}

/// The type of text.
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer with text.
pub fn text(code: u16, text: &'static str) -> Response<Body> {
    bytes(code, TEXT, Bytes::from_static(text.as_bytes()))
}

/// An answer with this body.
pub fn bytes(code: u16, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(kind));
    headers.insert(
        "cache-control",
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// An answer whose body comes piece by piece.
pub fn stream(pieces: mpsc::Receiver<Bytes>) -> Response<Body> {
    let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let body = StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece))));
    let mut response = Response::new(BodyExt::boxed_unsync(body));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert(
        "cache-control",
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// An error.
pub fn refused(status: &Status) -> Response<Body> {
    let mut response = json_body(status.code, &status.body());
    if status.code == 429 {
        response
            .headers_mut()
            .insert("retry-after", HeaderValue::from_static("1"));
    }
    response
}
