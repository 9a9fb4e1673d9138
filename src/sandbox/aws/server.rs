//! The AWS endpoint: HTTP/1.1 on a loopback address, all services behind one port.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming as Body};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::protocol::{self, Decoded, Encoded, Incoming};
use super::rejection::{self, Rejection};
use super::signature::{self, Signed};
use super::{Call, Caller, Fault, Protocol, Service, doom, iam, perform, service, services};
use crate::sandbox::faults::{Kind, Strike, Visit};
use crate::sandbox::http::{self, Breakable, Breaker};
use crate::sandbox::state::{State, World};
use crate::sandbox::{Part, asked};

/// The largest request body: an ECR layer part is 10 MiB in base64.
const BODY_LIMIT: usize = 24 << 20;

/// The largest body of a request to the sandbox itself.
const CONTROL_LIMIT: usize = 1 << 20;

/// What the endpoint does beside AWS: status and stop, for `meshctl sandbox`.
pub struct Control {
    /// Who knows this may stop the sandbox.
    pub token: String,
    /// What `/_sandbox/status` answers.
    pub status: Box<dyn Fn() -> Value + Send + Sync>,
    /// Set to stop the sandbox.
    pub stop: watch::Sender<bool>,
}

/// Serves the endpoint on a bound listener until it is stopped.
pub fn start(world: World, listener: TcpListener, control: Control) -> Part {
    let (stop, stopped) = watch::channel(false);
    let control = Arc::new(control);
    let task = tokio::spawn(accept(world, listener, control, stopped));
    Part::new("AWS endpoint", async move {
        stop.send_replace(true);
        let _ = task.await;
    })
}

async fn accept(
    world: World,
    listener: TcpListener,
    control: Arc<Control>,
    mut stopped: watch::Receiver<bool>,
) {
    let stopping = stopped.clone();
    let serve = |stream| {
        let (world, control, mut stopped) = (world.clone(), control.clone(), stopping.clone());
        async move {
            let (stream, breaker) = Breakable::new(stream);
            let broken = breaker.clone();
            let service = hyper::service::service_fn(move |request| {
                let (world, control, breaker) = (world.clone(), control.clone(), breaker.clone());
                async move { Ok::<_, Infallible>(respond(&world, &control, &breaker, request).await) }
            });
            let connection = http::http1().serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => {}
                () = broken.tripped() => {}
                () = asked(&mut stopped) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        }
    };
    let end = asked(&mut stopped);
    let mut connections = http::listen(listener, end, serve).await;
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), drained).await;
}

async fn respond(
    world: &World,
    control: &Control,
    breaker: &Breaker,
    request: Request<Body>,
) -> Response<Full<Bytes>> {
    let request_id = request_id();
    let here = http::is_addressed_here(&request, &[]);
    let (parts, body) = request.into_parts();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let header = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    if !here {
        return plain(
            403,
            &json!({"message": "the sandbox answers on loopback addresses only"}),
        );
    }
    if let Some(endpoint) = parts.uri.path().strip_prefix("/_sandbox/") {
        let body = http::read(body, CONTROL_LIMIT).await.unwrap_or_default();
        return respond_control(
            world,
            control,
            parts.method.as_str(),
            endpoint,
            header("authorization"),
            &body,
        );
    }
    if let Some(document) = issuer_document(world, parts.method.as_str(), parts.uri.path()) {
        return match document {
            Some(document) => plain(200, &document),
            None => plain(404, &json!({"message": "Not Found"})),
        };
    }
    let body = match http::read(body, BODY_LIMIT).await {
        Ok(body) => body,
        Err(unread) => {
            let (signed, incoming) = views(&parts, &headers, b"");
            let fault = unread_fault(unread);
            let encoded = refuse_unread(&signed, &incoming, &fault, &request_id);
            return finish(encoded, &request_id);
        }
    };
    let (signed, incoming) = views(&parts, &headers, &body);
    let known = match identify(world, &signed, &incoming, &request_id) {
        Ok(known) => known,
        Err(encoded) => return finish(encoded, &request_id),
    };
    let visit = known.visit(world);
    let strike = world.strike(&visit, &visit.call, &known.region);
    let refuse = |refusal| {
        let service = known.service;
        let fault = rejection::on_purpose(service, refusal);
        let encoded =
            protocol::encode_fault(service.protocol(), service.namespace(), &fault, &request_id);
        finish(encoded, &request_id)
    };
    let act = async {
        let encoded = answer(world, &known, strike, &request_id);
        finish(encoded, &request_id)
    };
    world
        .faults
        .carry(&visit, strike, breaker, refuse, act)
        .await
}

/// A request that is understood and whose sender is known.
struct Known {
    service: &'static dyn Service,
    decoded: Decoded,
    caller: Caller,
    region: String,
}

impl Known {
    fn name(&self) -> String {
        format!("{}:{}", self.service.signing_name(), self.decoded.operation)
    }

    fn visit(&self, world: &World) -> Visit {
        Visit {
            call: self.name(),
            is_internal: iam::is_internal(&world.state(), &self.caller.arn),
            changes: !is_read(&self.decoded.operation)
                && !self.decoded.operation.starts_with("Detect"),
        }
    }
}

/// The public documents of the clusters' token issuers, `https://oidc.eks.REGION.amazonaws.com/id/ID`, whose host no DNS
/// knows here: they are below `/id/ID` of this endpoint. `None` for other paths; `Some(None)` for an issuer that is gone.
fn issuer_document(world: &World, method: &str, path: &str) -> Option<Option<Value>> {
    let (id, document) = path.strip_prefix("/id/")?.split_once('/')?;
    if method != "GET" || !["keys", ".well-known/openid-configuration"].contains(&document) {
        return None;
    }
    let state = world.state();
    let mut issuers = state.eks.issuers.iter();
    let found = issuers.find(|(issuer, _)| issuer.rsplit('/').next() == Some(id));
    Some(found.map(|(issuer, keys)| match document {
        "keys" => keys.clone(),
        _ => json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/keys"),
            "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "claims_supported": ["sub", "iss"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }),
    }))
}

/// What a signature covers of a request, and what its protocol is decoded from.
fn views<'a>(
    parts: &'a hyper::http::request::Parts,
    headers: &'a [(String, String)],
    body: &'a [u8],
) -> (Signed<'a>, Incoming<'a>) {
    let signed = Signed {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or(""),
        headers,
        body,
    };
    let incoming = Incoming {
        method: signed.method,
        path: signed.path,
        query: signed.query,
        target: headers
            .iter()
            .find(|(key, _)| key == "x-amz-target")
            .map(|(_, value)| value.as_str()),
        body,
    };
    (signed, incoming)
}

fn unread_fault(unread: http::Unread) -> Fault {
    let (status, message) = unread.explain();
    let code = match unread {
        http::Unread::TooLarge => "RequestEntityTooLarge",
        http::Unread::TooSlow => "RequestTimeout",
        http::Unread::Broken => "MalformedInput",
    };
    Fault::new(status, code, message)
}

/// A request whose body was not read is refused in the terms of the service that its signature names.
fn refuse_unread(
    signed: &Signed<'_>,
    incoming: &Incoming<'_>,
    fault: &Fault,
    request_id: &str,
) -> Encoded {
    let service = match signature::claim(signed) {
        Ok(Some(claim)) => service(&claim.service),
        _ => None,
    };
    match service {
        Some(service) => {
            protocol::encode_fault(service.protocol(), service.namespace(), fault, request_id)
        }
        None => protocol::encode_fault(guess(incoming), "", fault, request_id),
    }
}

/// What a complete request asks for, and who asks; or the refusal.
fn identify(
    world: &World,
    signed: &Signed<'_>,
    incoming: &Incoming<'_>,
    request_id: &str,
) -> Result<Known, Encoded> {
    let claim = signature::claim(signed);
    let (service, protocol) = match &claim {
        Ok(Some(claim)) => match service(&claim.service) {
            Some(service) => (Some(service), service.protocol()),
            None => {
                let fault = Fault::new(
                    404,
                    "UnknownEndpoint",
                    format!(
                        "the sandbox does not implement the service {}",
                        claim.service
                    ),
                );
                return Err(protocol::encode_fault(
                    guess(incoming),
                    "",
                    &fault,
                    request_id,
                ));
            }
        },
        _ => {
            let service = unsigned_service(incoming);
            (
                service,
                service.map_or(guess(incoming), |service| service.protocol()),
            )
        }
    };
    let namespace = service.map_or("", |service| service.namespace());
    let refuse = |fault: &Fault| {
        Err(protocol::encode_fault(
            protocol, namespace, fault, request_id,
        ))
    };
    let decoded = match service {
        Some(service) => protocol::decode(service, incoming),
        None => Err(Rejection::Unsigned.fault(protocol)),
    };
    let claim = match claim {
        Ok(claim) => claim,
        Err(rejection) => return refuse(&rejection.fault(protocol)),
    };
    let now = world.clock.now();
    let (caller, region) = match (&claim, &decoded) {
        (Some(claim), _) => {
            let window = if protocol == Protocol::Query { 15 } else { 5 } * 60_000;
            match claim.authenticate(signed, &world.state(), now, window) {
                Ok(caller) => (caller, claim.region.clone()),
                Err(rejection) => return refuse(&rejection.fault(protocol)),
            }
        }
        (None, Ok(decoded))
            if decoded.operation == "AssumeRoleWithWebIdentity"
                && service.is_some_and(|service| service.signing_name() == "sts") =>
        {
            (
                Caller {
                    arn: iam::ANONYMOUS.into(),
                    user_id: iam::ANONYMOUS.into(),
                },
                world.region.to_string(),
            )
        }
        (None, _) => return refuse(&Rejection::Unsigned.fault(protocol)),
    };
    let (service, decoded) = match (service, decoded) {
        (Some(service), Ok(decoded)) => (service, decoded),
        (_, Err(fault)) => return refuse(&fault),
        (None, Ok(_)) => return refuse(&Rejection::Unsigned.fault(protocol)),
    };
    if !service
        .operations()
        .iter()
        .any(|o| o.name == decoded.operation)
    {
        return refuse(&rejection::unknown_operation(service, &decoded.operation));
    }
    let known = Known {
        service,
        decoded,
        caller,
        region,
    };
    *world
        .calls()
        .entry(known.caller.arn.clone())
        .or_default()
        .entry(known.name())
        .or_default() += 1;
    Ok(known)
}

/// The service's answer to a request.
fn answer(world: &World, known: &Known, strike: Option<Strike>, request_id: &str) -> Encoded {
    let Known {
        service, decoded, ..
    } = known;
    let service = *service;
    let call = Call {
        world,
        operation: &decoded.operation,
        input: &decoded.input,
        caller: &known.caller,
        region: &known.region,
    };
    let refuse = |fault: &Fault| {
        protocol::encode_fault(service.protocol(), service.namespace(), fault, request_id)
    };
    let mut state = world.state();
    let is_read = is_read(&decoded.operation);
    if !is_read {
        let faults = &world.faults;
        faults.keep(|| serde_json::to_vec(&*state).unwrap_or_default());
    }
    let mut past = strike
        .filter(|strike| strike.kind == Kind::Stale)
        .and_then(|strike| world.faults.past(strike.duration))
        .and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok());
    // A defect in one service must not take the connection, or the sandbox, with it.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        perform(past.as_mut().unwrap_or(&mut *state), service, &call)
    }));
    if let (Ok(Ok(output)), Some(Kind::Fails)) = (&outcome, strike.map(|strike| strike.kind)) {
        doom::mark(
            &mut state,
            &known.region,
            &known.name(),
            &decoded.input,
            output,
        );
    }
    drop(state);
    match outcome {
        Ok(Ok(output)) => {
            if !is_read {
                world.touch();
            }
            protocol::encode(service, &decoded.operation, &output, request_id)
        }
        Ok(Err(fault)) => {
            tracing::debug!("{} refused: {} {}", known.name(), fault.code, fault.message);
            refuse(&fault)
        }
        Err(_) => {
            tracing::error!("{} panicked", known.name());
            let message = "The request processing has failed because of an unknown error, exception or failure.";
            refuse(&Fault::new(500, "InternalFailure", message))
        }
    }
}

/// Whether an operation only looks. One that changes something all the same says so with [`World::touch`].
fn is_read(operation: &str) -> bool {
    [
        "Describe",
        "List",
        "Get",
        "BatchGet",
        "BatchCheck",
        "Simulate",
        "Validate",
        "Stream",
        "PutTrace",
        "PutTelemetry",
    ]
    .iter()
    .any(|verb| operation.starts_with(verb))
}

/// The service that an unsigned request means, as far as the request says so: only STS has an operation that needs no
/// signature, the others refuse in their own terms.
fn unsigned_service(incoming: &Incoming<'_>) -> Option<&'static dyn Service> {
    if let Some((prefix, _)) = incoming.target.and_then(|target| target.rsplit_once('.')) {
        let mut speaking = services().iter().copied();
        return speaking
            .find(|service| service.protocol() == Protocol::Json && service.namespace() == prefix);
    }
    let body = std::str::from_utf8(incoming.body).unwrap_or("");
    let mut parameters = protocol::form(incoming.query);
    parameters.extend(protocol::form(body));
    let has = |name: &str, wanted: &str| {
        let mut pairs = parameters.iter();
        pairs.any(|(key, value)| key == name && value == wanted)
    };
    if has("Action", "AssumeRoleWithWebIdentity") {
        return service("sts");
    }
    services().iter().copied().find(|service| {
        matches!(service.protocol(), Protocol::Query | Protocol::Ec2)
            && has("Version", service.version())
    })
}

/// The protocol of a request of an unknown service, to refuse it in.
fn guess(incoming: &Incoming<'_>) -> Protocol {
    if incoming.target.is_some() {
        Protocol::Json
    } else if incoming.body.starts_with(b"Action=") || incoming.query.contains("Action=") {
        Protocol::Query
    } else {
        Protocol::RestJson
    }
}

fn respond_control(
    world: &World,
    control: &Control,
    method: &str,
    endpoint: &str,
    authorization: Option<&str>,
    body: &[u8],
) -> Response<Full<Bytes>> {
    if authorization.and_then(|value| value.strip_prefix("Bearer ")) != Some(control.token.as_str())
    {
        return plain(401, &json!({"message": "wrong or missing token"}));
    }
    match (method, endpoint) {
        ("GET", "status") if *control.stop.borrow() => plain(503, &json!({"message": "stopping"})),
        ("GET", "status") => plain(200, &(control.status)()),
        ("GET", "decisions") => plain(200, &world.decisions.export()),
        ("GET", "journal") => plain(200, &world.faults.journal()),
        ("GET", "faults") => plain(200, &world.faults.list()),
        ("POST", "faults") => match serde_json::from_slice(body) {
            Err(error) => plain(400, &json!({"message": error.to_string()})),
            Ok(rule) => match world.faults.add(rule) {
                Ok(id) => plain(200, &json!({"id": id})),
                Err(wrong) => plain(400, &json!({"message": wrong.to_string()})),
            },
        },
        ("DELETE", "faults") => match serde_json::from_slice::<Vec<u64>>(body) {
            Err(error) => plain(400, &json!({"message": error.to_string()})),
            Ok(ids) => plain(200, &json!({"removed": world.faults.clear(&ids)})),
        },
        ("POST", "stop") => {
            control.stop.send_replace(true);
            plain(202, &json!({"message": "stopping"}))
        }
        _ => plain(404, &json!({"message": "no such endpoint"})),
    }
}

fn finish(encoded: Encoded, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = Response::builder()
        .status(encoded.status)
        .header("content-type", encoded.content_type)
        .header("x-amzn-requestid", request_id);
    if let Some(error_type) = encoded.error_type {
        response = response.header("x-amzn-errortype", error_type);
    }
    response
        .body(Full::from(encoded.body))
        .unwrap_or_else(|_| Response::new(Full::default()))
}

fn plain(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

fn request_id() -> String {
    let bits = fastrand::u128(..);
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        (bits >> 96) as u32,
        (bits >> 80) as u16,
        (bits >> 64) as u16 & 0xfff,
        (bits >> 48) as u16 & 0xfff,
        bits & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
