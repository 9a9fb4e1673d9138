//! ECR's registry. Whoever comes brings an authorization token (`AWS` and the password as Basic credentials) and may do what
//! IAM lets the token's owner do.

use std::collections::BTreeSet;
use std::io::{self, SeekFrom};
use std::sync::Mutex;

use base64::Engine;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LINK, LOCATION, RANGE,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::answer::{self, Body, empty, file, full, header, json_answer, refuse, with_status};
use super::route::{self, Route, parameter};
use super::store::{Blobs, CommitError, is_digest};
use crate::sandbox::aws::ecr::{self, Token};
use crate::sandbox::aws::{Call, Check, Fault, Protocol, iam};
use crate::sandbox::faults;
use crate::sandbox::http::{self, Breaker};
use crate::sandbox::state::{State, World};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The largest manifest.
const MANIFEST: usize = 4 << 20;
/// The largest layer, as ECR's quota has it: 52 000 MiB.
const LAYER: u64 = 52_000 << 20;

/// What an expired login is told.
const EXPIRED: &str = "Your authorization token has expired. Reauthenticate and try again.";

/// The registry.
pub struct Registry {
    world: World,
    blobs: Blobs,
    /// Uploads whose content is being written now.
    busy: Mutex<BTreeSet<String>>,
}

/// Keeps others from writing to an upload, until dropped: also when the client goes away and the request's future with it.
struct Writing<'a> {
    busy: &'a Mutex<BTreeSet<String>>,
    id: String,
}

impl<'a> Writing<'a> {
    fn begin(busy: &'a Mutex<BTreeSet<String>>, id: &str) -> Option<Self> {
        let mut ids = busy.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        ids.insert(id.to_owned()).then(|| Writing {
            busy,
            id: id.to_owned(),
        })
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.busy
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .remove(&self.id);
    }
}

/// A refusal; boxed, as it is larger than what succeeds.
type Refusal = Box<Response<Body>>;
type Answer = Result<Response<Body>, Refusal>;

/// The operation of ECR's API that a request counts as.
///
/// Source: "Amazon ECR service quotas", which tells for each what a push or pull does of it.
fn operation(method: &Method, call: &str) -> &'static str {
    match (method.as_str(), call.rsplit(':').next()) {
        ("PUT", Some("manifests")) => "ecr:PutImage",
        ("GET" | "HEAD", Some("manifests")) => "ecr:BatchGetImage",
        ("HEAD", Some("blobs")) => "ecr:BatchCheckLayerAvailability",
        ("GET", Some("blobs")) => "ecr:GetDownloadUrlForLayer",
        ("POST", Some("uploads")) => "ecr:InitiateLayerUpload",
        ("PATCH", Some("uploads")) => "ecr:UploadLayerPart",
        ("PUT", Some("uploads")) => "ecr:CompleteLayerUpload",
        _ => "",
    }
}

fn no(status: u16, code: &str, message: impl Into<String>) -> Refusal {
    Box::new(refuse(status, code, message))
}

/// A request's token and repository.
struct Visit {
    token: Token,
    name: String,
    key: String,
}

impl Registry {
    /// The registry of a world.
    pub fn new(world: World) -> Self {
        Registry {
            blobs: Blobs::of(&world),
            world,
            busy: Mutex::default(),
        }
    }

    /// Answers a request.
    pub async fn respond(&self, request: Request<Incoming>, breaker: &Breaker) -> Response<Body> {
        let visit = self.visit(&request);
        let region = self.token(&request).map(|token| token.region);
        let region = region.unwrap_or_else(|_| self.world.region.to_string());
        let operation = operation(request.method(), &visit.call);
        let strike = self.world.strike(&visit, operation, &region);
        let refuse = |refusal| {
            let (status, code, message) = match refusal {
                faults::Refusal::Throttled => (429, "TOOMANYREQUESTS", "Rate exceeded"),
                faults::Refusal::Unavailable => (503, "UNAVAILABLE", "service unavailable"),
                faults::Refusal::Internal => (500, "UNKNOWN", "unknown error"),
                faults::Refusal::Denied => (403, "DENIED", "Denied by a fault rule of the sandbox"),
                faults::Refusal::Expired => (403, "DENIED", EXPIRED),
                faults::Refusal::Ended => (410, "UNSUPPORTED", "this service has ended"),
            };
            answer::refuse(status, code, message)
        };
        let act = async {
            if strike.is_some_and(|strike| strike.kind == faults::Kind::DropUpload)
                && let Some(Route::Upload(_, id)) = route::read(request.uri().path())
            {
                self.world.state().ecr.uploads.remove(id);
                self.blobs.abandon(id);
            }
            match self.route(request).await {
                Ok(answer) => answer,
                Err(refusal) => *refusal,
            }
        };
        let rules = &self.world.faults;
        let mut answer = rules.carry(&visit, strike, breaker, refuse, act).await;
        header(&mut answer, VERSION, "registry/2.0");
        answer
    }

    /// A request as the fault rules name it: `registry:PUT:manifests`.
    fn visit(&self, request: &Request<Incoming>) -> faults::Visit {
        let what = match route::read(request.uri().path()) {
            Some(Route::Uploads(_) | Route::Upload(..)) => "uploads",
            Some(Route::Manifest(..)) => "manifests",
            Some(Route::Tags(_)) => "tags",
            Some(Route::Base) => "base",
            // Downloads are of blobs.
            Some(Route::Blob(..)) | None => "blobs",
        };
        let token = self.token(request).ok();
        let state = self.world.state();
        faults::Visit {
            call: format!("registry:{}:{what}", request.method()),
            is_internal: token.is_some_and(|token| iam::is_internal(&state, &token.arn)),
            changes: !matches!(*request.method(), Method::GET | Method::HEAD),
        }
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let head = request.method() == Method::HEAD;
        if let Some(digest) = path.strip_prefix("/_download/") {
            return self.download(&request, digest).await;
        }
        let Some(route) = route::read(&path) else {
            return Err(no(
                404,
                "NAME_INVALID",
                format!("{path} is no path of this registry"),
            ));
        };
        let token = self.token(&request)?;
        let visit = |name: &str| Visit {
            key: ecr::key(&token.region, name),
            name: name.to_owned(),
            token: token.clone(),
        };
        match (request.method(), route) {
            (&Method::GET | &Method::HEAD, Route::Base) => Ok(empty(StatusCode::OK)),
            (&Method::GET | &Method::HEAD, Route::Blob(name, digest)) => {
                self.blob(&visit(name), digest, &request).await
            }
            (&Method::POST, Route::Uploads(name)) => self.begin(&visit(name), &request),
            (&Method::GET, Route::Upload(name, id)) => self.progress(&visit(name), id),
            (&Method::PATCH, Route::Upload(name, id)) => {
                let (visit, id) = (visit(name), id.to_owned());
                self.append(&visit, &id, request).await
            }
            (&Method::PUT, Route::Upload(name, id)) => {
                let (visit, id) = (visit(name), id.to_owned());
                self.finish(&visit, &id, request).await
            }
            (&Method::DELETE, Route::Upload(name, id)) => self.abandon(&visit(name), id),
            (&Method::GET | &Method::HEAD, Route::Manifest(name, reference)) => {
                self.manifest(&visit(name), reference, head)
            }
            (&Method::PUT, Route::Manifest(name, reference)) => {
                let (visit, reference) = (visit(name), reference.to_owned());
                self.put_manifest(&visit, &reference, request).await
            }
            (&Method::DELETE, Route::Manifest(name, reference)) => {
                self.delete_manifest(&visit(name), reference)
            }
            (&Method::GET, Route::Tags(name)) => self.tags(&visit(name), request.uri().query()),
            _ => Err(no(405, "UNSUPPORTED", "The operation is unsupported.")),
        }
    }

    /// The token of a request.
    fn token(&self, request: &Request<Incoming>) -> Result<Token, Refusal> {
        let Some(given) = request.headers().get(AUTHORIZATION) else {
            return Err(self.challenge());
        };
        let password = given
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, value)| {
                base64::engine::general_purpose::STANDARD
                    .decode(value.trim())
                    .ok()
            })
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|pair| Some(pair.strip_prefix("AWS:")?.to_owned()));
        let state = self.world.state();
        let token = password.and_then(|password| state.ecr.tokens.get(&password).cloned());
        match token {
            Some(token) if token.expires_at > self.world.clock.now() => Ok(token),
            Some(_) => Err(no(403, "DENIED", EXPIRED)),
            None => Err(self.challenge()),
        }
    }

    fn challenge(&self) -> Refusal {
        let mut answer = no(401, "UNAUTHORIZED", "Not Authorized");
        let challenge = format!(
            "Basic realm=\"http://{}/\",service=\"ecr.amazonaws.com\"",
            self.world.ecr_host
        );
        header(&mut answer, WWW_AUTHENTICATE, &challenge);
        answer
    }

    /// Checks that a request may do an action and that its repository exists.
    fn allow(&self, state: &State, visit: &Visit, action: &str) -> Result<(), Refusal> {
        let input = json!({ "repositoryName": visit.name });
        let call = Call {
            world: &self.world,
            operation: action,
            input: &input,
            caller: &visit.token.caller(),
            region: &visit.token.region,
        };
        let arn = format!(
            "arn:aws:ecr:{}:{}:repository/{}",
            visit.token.region, self.world.account, visit.name
        );
        let check = Check::new(format!("ecr:{action}"), arn);
        iam::authorize(state, &call, Protocol::Json, &check)
            .map_err(|fault| no(403, "DENIED", fault.message))?;
        if state.ecr.repositories.contains_key(&visit.key) {
            return Ok(());
        }
        Err(fault_answer(&ecr::no_repository(
            &visit.name,
            &self.world.account,
        )))
    }

    async fn download(&self, request: &Request<Incoming>, digest: &str) -> Answer {
        let query = request.uri().query().unwrap_or("");
        let known = self.blobs.is_shared(digest, query, self.world.clock.now());
        let Some(path) = self.blobs.path(digest).filter(|_| known) else {
            return Err(no(403, "DENIED", "the address is wrong or has expired"));
        };
        file(&path, range(request), request.method() == Method::HEAD)
            .await
            .map_err(broken)
    }

    async fn blob(&self, visit: &Visit, digest: &str, request: &Request<Incoming>) -> Answer {
        let head = request.method() == Method::HEAD;
        let action = if head {
            "BatchCheckLayerAvailability"
        } else {
            "GetDownloadUrlForLayer"
        };
        let known = {
            let state = self.world.state();
            self.allow(&state, visit, action)?;
            state
                .ecr
                .repositories
                .get(&visit.key)
                .is_some_and(|repository| repository.layers.contains_key(digest))
        };
        let path = self.blobs.path(digest).filter(|_| known);
        let Some(path) = path else {
            return Err(no(404, "BLOB_UNKNOWN", "blob unknown to registry"));
        };
        let mut answer = file(&path, range(request), head).await.map_err(broken)?;
        header(&mut answer, DIGEST, digest);
        Ok(answer)
    }

    fn begin(&self, visit: &Visit, request: &Request<Incoming>) -> Answer {
        let query = request.uri().query();
        let mut state = self.world.state();
        self.allow(&state, visit, "InitiateLayerUpload")?;
        // A blob of another repository can be had by name, if its content could be.
        if let (Some(digest), Some(from)) = (parameter(query, "mount"), parameter(query, "from")) {
            let source = Visit {
                key: ecr::key(&visit.token.region, &from),
                name: from,
                token: visit.token.clone(),
            };
            let size = state
                .ecr
                .repositories
                .get(&source.key)
                .and_then(|repository| repository.layers.get(&digest).copied());
            if let Some(size) = size
                && self
                    .allow(&state, &source, "GetDownloadUrlForLayer")
                    .is_ok()
                && let Some(repository) = state.ecr.repositories.get_mut(&visit.key)
            {
                repository.layers.insert(digest.clone(), size);
                drop(state);
                self.world.touch();
                return Ok(created(&visit.name, "blobs", &digest, &digest));
            }
        }
        let id = state.unique_uuid();
        state.ecr.uploads.insert(
            id.clone(),
            ecr::Upload {
                repository: visit.key.clone(),
                received: 0,
            },
        );
        drop(state);
        self.world.touch();
        Ok(self.accepted(&visit.name, &id, 0))
    }

    fn accepted(&self, name: &str, id: &str, received: u64) -> Response<Body> {
        let mut answer = empty(StatusCode::ACCEPTED);
        let location = format!(
            "http://{}/v2/{name}/blobs/uploads/{id}",
            self.world.ecr_host
        );
        header(&mut answer, LOCATION, &location);
        header(
            &mut answer,
            RANGE,
            &format!("0-{}", received.saturating_sub(1)),
        );
        header(&mut answer, UPLOAD, id);
        answer
    }

    /// How many bytes of an upload have come.
    fn received(&self, visit: &Visit, id: &str) -> Result<u64, Refusal> {
        let state = self.world.state();
        match state.ecr.uploads.get(id) {
            Some(upload) if upload.repository == visit.key => Ok(upload.received),
            _ => Err(no(
                404,
                "BLOB_UPLOAD_UNKNOWN",
                "blob upload unknown to registry",
            )),
        }
    }

    fn progress(&self, visit: &Visit, id: &str) -> Answer {
        self.allow(&self.world.state(), visit, "UploadLayerPart")?;
        let received = self.received(visit, id)?;
        let mut answer = self.accepted(&visit.name, id, received);
        *answer.status_mut() = StatusCode::NO_CONTENT;
        Ok(answer)
    }

    /// Writes a request's body at the end of an upload; the answer is how much the upload has then.
    async fn receive(&self, visit: &Visit, id: &str, mut body: Incoming) -> Result<u64, Refusal> {
        let Some(_writing) = Writing::begin(&self.busy, id) else {
            return Err(no(
                416,
                "BLOB_UPLOAD_INVALID",
                "another request writes to this upload",
            ));
        };
        // Only now: whoever wrote before has said how far it came.
        let mut received = self.received(visit, id)?;
        let mut outcome: Result<(), Refusal> = Ok(());
        let written: io::Result<()> = async {
            let path = self.blobs.upload(id)?;
            let mut file = tokio::fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)
                .await?;
            // What came of a request that broke off is not counted and is written over.
            file.set_len(received).await?;
            file.seek(SeekFrom::Start(received)).await?;
            loop {
                let frame = match tokio::time::timeout(http::PAUSE, body.frame()).await {
                    Ok(None) => break,
                    Ok(Some(Ok(frame))) => frame,
                    Ok(Some(Err(_))) => {
                        outcome = Err(unread(http::Unread::Broken));
                        break;
                    }
                    Err(_) => {
                        outcome = Err(unread(http::Unread::TooSlow));
                        break;
                    }
                };
                if let Some(bytes) = frame.data_ref() {
                    if received + bytes.len() as u64 > LAYER {
                        outcome = Err(unread(http::Unread::TooLarge));
                        break;
                    }
                    file.write_all(bytes).await?;
                    received += bytes.len() as u64;
                }
            }
            file.flush().await
        }
        .await;
        written.map_err(broken)?;
        outcome?;
        if let Some(upload) = self.world.state().ecr.uploads.get_mut(id) {
            upload.received = received;
        }
        Ok(received)
    }

    async fn append(&self, visit: &Visit, id: &str, request: Request<Incoming>) -> Answer {
        self.allow(&self.world.state(), visit, "UploadLayerPart")?;
        let received = self.received(visit, id)?;
        let range = request
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.trim_start_matches("bytes ").to_owned());
        let first = range
            .as_deref()
            .and_then(|range| range.split('-').next()?.parse::<u64>().ok());
        if range.is_some() && first != Some(received) {
            let mut answer = no(
                416,
                "BLOB_UPLOAD_INVALID",
                format!("the upload has {received} bytes; a part must begin there"),
            );
            header(
                &mut answer,
                RANGE,
                &format!("0-{}", received.saturating_sub(1)),
            );
            return Err(answer);
        }
        let received = self.receive(visit, id, request.into_body()).await?;
        Ok(self.accepted(&visit.name, id, received))
    }

    async fn finish(&self, visit: &Visit, id: &str, request: Request<Incoming>) -> Answer {
        self.allow(&self.world.state(), visit, "CompleteLayerUpload")?;
        let digest = parameter(request.uri().query(), "digest").unwrap_or_default();
        if !is_digest(&digest) {
            return Err(no(
                400,
                "DIGEST_INVALID",
                "the digest parameter is missing or no sha256 digest",
            ));
        }
        let size = self.receive(visit, id, request.into_body()).await?;
        let (blobs, upload, wanted) = (self.blobs.clone(), id.to_owned(), digest.clone());
        let outcome = tokio::task::spawn_blocking(move || blobs.commit(&upload, &wanted)).await;
        match outcome.map_err(io::Error::other).map_err(broken)? {
            Ok(()) => {}
            Err(CommitError::Digest) => {
                self.blobs.abandon(id);
                self.world.state().ecr.uploads.remove(id);
                return Err(no(
                    400,
                    "DIGEST_INVALID",
                    "provided digest did not match uploaded content",
                ));
            }
            Err(CommitError::File(error)) => return Err(broken(error)),
        }
        let mut state = self.world.state();
        state.ecr.uploads.remove(id);
        // The repository may have been deleted while the content came.
        let Some(repository) = state.ecr.repositories.get_mut(&visit.key) else {
            return Err(fault_answer(&ecr::no_repository(
                &visit.name,
                &self.world.account,
            )));
        };
        repository.layers.insert(digest.clone(), size);
        drop(state);
        self.world.touch();
        Ok(created(&visit.name, "blobs", &digest, &digest))
    }

    fn abandon(&self, visit: &Visit, id: &str) -> Answer {
        self.allow(&self.world.state(), visit, "UploadLayerPart")?;
        self.received(visit, id)?;
        self.world.state().ecr.uploads.remove(id);
        self.blobs.abandon(id);
        Ok(empty(StatusCode::NO_CONTENT))
    }

    fn manifest(&self, visit: &Visit, reference: &str, head: bool) -> Answer {
        let (digest, media_type) = {
            let state = self.world.state();
            self.allow(&state, visit, "BatchGetImage")?;
            let found = state
                .ecr
                .repositories
                .get(&visit.key)
                .and_then(|repository| {
                    let digest = if is_digest(reference) {
                        reference
                    } else {
                        repository.image_tags.get(reference)?
                    };
                    let image = repository.images.get(digest)?;
                    Some((digest.to_owned(), image.media_type.clone()))
                });
            found.ok_or_else(|| no(404, "MANIFEST_UNKNOWN", "Requested image not found"))?
        };
        let bytes = self.blobs.read(&digest).map_err(broken)?;
        let length = bytes.len();
        let mut answer = with_status(StatusCode::OK, full(if head { Vec::new() } else { bytes }));
        header(&mut answer, CONTENT_LENGTH, &length.to_string());
        header(&mut answer, CONTENT_TYPE, &media_type);
        header(&mut answer, DIGEST, &digest);
        Ok(answer)
    }

    async fn put_manifest(
        &self,
        visit: &Visit,
        reference: &str,
        request: Request<Incoming>,
    ) -> Answer {
        self.allow(&self.world.state(), visit, "PutImage")?;
        let media_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(';').next().unwrap_or(value).trim().to_owned());
        let bytes = http::read(request.into_body(), MANIFEST)
            .await
            .map_err(|unread| {
                let (status, message) = unread.explain();
                no(status, "MANIFEST_INVALID", message)
            })?;
        let tag = (!is_digest(reference)).then_some(reference);
        if tag.is_none() && super::store::digest(&bytes) != reference {
            return Err(no(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            ));
        }
        let mut state = self.world.state();
        let place = (visit.token.region.as_str(), visit.name.as_str());
        let stored = ecr::put(
            &mut state,
            &self.world,
            place,
            &bytes,
            media_type.as_deref(),
            tag,
        )
        .map_err(|fault| fault_answer(&fault))?;
        drop(state);
        self.world.touch();
        Ok(created(
            &visit.name,
            "manifests",
            &stored.digest,
            &stored.digest,
        ))
    }

    fn delete_manifest(&self, visit: &Visit, reference: &str) -> Answer {
        let mut state = self.world.state();
        self.allow(&state, visit, "BatchDeleteImage")?;
        let Some(repository) = state.ecr.repositories.get_mut(&visit.key) else {
            return Err(fault_answer(&ecr::no_repository(
                &visit.name,
                &self.world.account,
            )));
        };
        let outcome = if is_digest(reference) {
            ecr::delete(repository, Some(reference), None)
        } else {
            ecr::delete(repository, None, Some(reference))
        };
        drop(state);
        self.world.touch();
        match outcome {
            Ok(_) => Ok(empty(StatusCode::ACCEPTED)),
            Err(("ImageNotFound", reason)) => Err(no(404, "MANIFEST_UNKNOWN", reason)),
            Err((_, reason)) => Err(no(405, "UNSUPPORTED", reason)),
        }
    }

    fn tags(&self, visit: &Visit, query: Option<&str>) -> Answer {
        let state = self.world.state();
        self.allow(&state, visit, "ListImages")?;
        let last = parameter(query, "last").unwrap_or_default();
        let limit = match parameter(query, "n").map(|n| n.parse::<usize>()) {
            None => 1000,
            Some(Ok(limit)) if limit > 0 => limit.min(1000),
            Some(_) => {
                return Err(no(
                    400,
                    "PAGINATION_NUMBER_INVALID",
                    "n must be a positive number",
                ));
            }
        };
        let mut rest = state
            .ecr
            .repositories
            .get(&visit.key)
            .into_iter()
            .flat_map(|repository| repository.image_tags.keys())
            .filter(|tag| last.is_empty() || **tag > last);
        let shown: Vec<&String> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        let mut answer = json_answer(
            StatusCode::OK,
            &json!({ "name": visit.name, "tags": shown }),
        );
        if let (true, Some(last)) = (more, shown.last()) {
            let link = format!(
                "</v2/{}/tags/list?n={limit}&last={last}>; rel=\"next\"",
                visit.name
            );
            header(&mut answer, LINK, &link);
        }
        Ok(answer)
    }
}

fn range(request: &Request<Incoming>) -> Option<&str> {
    request
        .headers()
        .get(RANGE)
        .and_then(|value| value.to_str().ok())
}

fn created(name: &str, kind: &str, reference: &str, digest: &str) -> Response<Body> {
    let mut answer = empty(StatusCode::CREATED);
    header(
        &mut answer,
        LOCATION,
        &format!("/v2/{name}/{kind}/{reference}"),
    );
    header(&mut answer, DIGEST, digest);
    answer
}

fn broken(error: io::Error) -> Refusal {
    tracing::error!("the registry's files: {error}");
    no(500, "UNKNOWN", error.to_string())
}

fn unread(why: http::Unread) -> Refusal {
    let (status, message) = why.explain();
    no(status, "BLOB_UPLOAD_INVALID", message)
}

/// A fault of ECR's API in the registry's terms.
fn fault_answer(fault: &Fault) -> Refusal {
    let (status, code) = match fault.code.as_str() {
        "RepositoryNotFoundException" => (404, "NAME_UNKNOWN"),
        "ImageTagAlreadyExistsException" => (400, "TAG_INVALID"),
        "LayersNotFoundException" | "ReferencedImagesNotFoundException" => {
            (400, "MANIFEST_BLOB_UNKNOWN")
        }
        "InvalidParameterException" if fault.message.contains("'imageTag'") => (400, "TAG_INVALID"),
        // Source: what clients report of pushes that ECR refuses.
        "InvalidParameterException" => (405, "UNSUPPORTED"),
        _ => (500, "UNKNOWN"),
    };
    no(status, code, fault.message.clone())
}
