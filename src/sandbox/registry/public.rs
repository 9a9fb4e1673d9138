//! The stand-in for the public registries: anonymous, read-only, one image. Like public.ecr.aws it wants a token, which
//! anybody gets.

use std::sync::Mutex;

use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use super::answer::{Body, empty, full, header, json_answer, refuse, with_status};
use super::base_image::{BaseImage, REPOSITORY, TAGS};
use super::route::{self, Route};
use crate::sandbox::aws::iam;

/// How many tokens are remembered; older ones must be asked for anew.
const TOKENS: usize = 1000;
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The public registry.
pub struct Registry {
    host: String,
    image: Option<BaseImage>,
    tokens: Mutex<Vec<String>>,
}

impl Registry {
    /// A registry that is reached through that listener.
    pub fn new(listener: &TcpListener) -> Self {
        let image = BaseImage::build()
            .inspect_err(|error| tracing::error!("cannot build the base image: {error}"))
            .ok();
        Registry {
            host: listener
                .local_addr()
                .map_or_else(|_| "127.0.0.1".to_owned(), |address| address.to_string()),
            image,
            tokens: Mutex::default(),
        }
    }

    fn token(&self) -> Response<Body> {
        let token = iam::secret(64).replace(['/', '+'], "0");
        let mut tokens = self
            .tokens
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if tokens.len() >= TOKENS {
            tokens.remove(0);
        }
        tokens.push(token.clone());
        json_answer(StatusCode::OK, &json!({ "token": token }))
    }

    fn admitted<B>(&self, request: &Request<B>) -> bool {
        let given = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let tokens = self
            .tokens
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        given.is_some_and(|given| tokens.iter().any(|token| token == given))
    }

    /// Answers a request.
    pub fn respond<B>(&self, request: &Request<B>) -> Response<Body> {
        let path = request.uri().path();
        if path.trim_end_matches('/') == "/token" {
            return self.token();
        }
        let Some(route) = route::read(path) else {
            return refuse(404, "NOT_FOUND", "no such path");
        };
        if !self.admitted(request) {
            let mut answer = refuse(401, "DENIED", "Not Authorized");
            let challenge = format!(
                "Bearer realm=\"http://{}/token/\",service=\"public.ecr.aws\",scope=\"aws\"",
                self.host
            );
            header(&mut answer, WWW_AUTHENTICATE, &challenge);
            return answer;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refuse(405, "UNSUPPORTED", "this registry is read-only");
        }
        let head = request.method() == Method::HEAD;
        match route {
            Route::Base => empty(StatusCode::OK),
            Route::Manifest(REPOSITORY, reference) => self.manifest(reference, head, request),
            Route::Blob(REPOSITORY, digest) => self.blob(digest, head),
            Route::Tags(REPOSITORY) => {
                let mut answer =
                    json_answer(StatusCode::OK, &json!({ "name": REPOSITORY, "tags": TAGS }));
                answer.headers_mut().remove(LINK);
                answer
            }
            _ => refuse(
                404,
                "NAME_UNKNOWN",
                format!("this registry has {REPOSITORY} and nothing else"),
            ),
        }
    }

    fn manifest<B>(&self, reference: &str, head: bool, request: &Request<B>) -> Response<Body> {
        let found = self.image.as_ref().and_then(|image| {
            let digest = if TAGS.contains(&reference) {
                &image.index
            } else {
                reference
            };
            Some((digest, image.manifests.get(digest)?))
        });
        let Some((digest, (media_type, bytes))) = found else {
            return refuse(404, "MANIFEST_UNKNOWN", "Requested image not found");
        };
        let accepted: Vec<&str> = request
            .headers()
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|value| value.split(';').next().unwrap_or(value).trim())
            .collect();
        if !accepted.is_empty()
            && !accepted
                .iter()
                .any(|kind| kind == media_type || *kind == "*/*")
        {
            return refuse(
                404,
                "MANIFEST_UNKNOWN",
                format!("the image is a {media_type}, which the request does not accept"),
            );
        }
        let mut answer = bytes_answer(bytes, head);
        header(&mut answer, CONTENT_TYPE, media_type);
        header(&mut answer, DIGEST, digest);
        answer
    }

    fn blob(&self, digest: &str, head: bool) -> Response<Body> {
        match self
            .image
            .as_ref()
            .and_then(|image| image.blobs.get(digest))
        {
            Some(bytes) => {
                let mut answer = bytes_answer(bytes, head);
                header(&mut answer, CONTENT_TYPE, "application/octet-stream");
                header(&mut answer, DIGEST, digest);
                answer
            }
            None => refuse(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        }
    }
}

fn bytes_answer(bytes: &[u8], head: bool) -> Response<Body> {
    let body = if head { Vec::new() } else { bytes.to_vec() };
    let mut answer = with_status(StatusCode::OK, full(body));
    header(&mut answer, CONTENT_LENGTH, &bytes.len().to_string());
    answer
}
