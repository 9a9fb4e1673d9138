//! The registry over HTTP, as a client meets it.

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::manifest::OCI_MANIFEST;
use super::store::digest;
use super::*;
use crate::sandbox::aws::{Call, Caller, Service, ecr::Ecr};
use crate::sandbox::clock::Clock;
use crate::sandbox::state::State;

struct Sandbox {
    world: World,
    directory: tempfile::TempDir,
    ecr: String,
    public: String,
    client: Client,
    _part: Part,
}

impl Sandbox {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (ecr, public) = (listen().await, listen().await);
        let host = |listener: &TcpListener| {
            listener
                .local_addr()
                .map(|a| a.to_string())
                .unwrap_or_default()
        };
        let (ecr_host, public_host) = (host(&ecr), host(&public));
        let directory = tempfile::tempdir().expect("a temporary folder");
        let mut state = State::default();
        let world = World::new(
            Clock::new(3600.0),
            "us-west-2",
            "http://127.0.0.1:9",
            &ecr_host,
            directory.path(),
            State::default(),
        );
        crate::sandbox::aws::iam::bootstrap(&world, &mut state);
        *world.state() = state;
        let part = start(world.clone(), ecr, public);
        let sandbox = Sandbox {
            world,
            directory,
            ecr: format!("http://{ecr_host}"),
            public: format!("http://{public_host}"),
            client: Client::new(),
            _part: part,
        };
        sandbox.api(
            "CreateRepository",
            json!({ "repositoryName": "demo/app", "imageTagMutability": "IMMUTABLE" }),
        );
        sandbox
    }

    fn try_api(&self, operation: &str, input: Value) -> Result<Value, (String, String)> {
        let caller = Caller {
            arn: format!("arn:aws:iam::{}:user/sandbox", self.world.account),
            user_id: "AIDA".to_owned(),
        };
        let call = Call {
            world: &self.world,
            operation,
            input: &input,
            caller: &caller,
            region: "us-west-2",
        };
        Ecr.handle(&mut self.world.state(), &call)
            .map_err(|fault| (fault.code, fault.message))
    }

    fn api(&self, operation: &str, input: Value) -> Value {
        self.try_api(operation, input)
            .unwrap_or_else(|fault| panic!("{operation}: {fault:?}"))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let data = self.api("GetAuthorizationToken", json!({}));
        let token = data["authorizationData"][0]["authorizationToken"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.client
            .request(method, format!("{}{path}", self.ecr))
            .header("Authorization", format!("Basic {token}"))
    }

    async fn push_blob(&self, repository: &str, content: &[u8]) -> String {
        let begun =
            send(self.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/"))).await;
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        let location = head(&begun, "location").replace(&self.ecr, "");
        let digest = digest(content);
        let done = send(
            self.request(Method::PUT, &format!("{location}?digest={digest}"))
                .body(content.to_vec()),
        )
        .await;
        assert_eq!(done.status(), StatusCode::CREATED);
        digest
    }

    async fn push_image(&self, tag: &str, content: &[u8]) -> (StatusCode, Value, String) {
        let config = self.push_blob("demo/app", b"{}").await;
        let layer = self.push_blob("demo/app", content).await;
        self.push_manifest(tag, &manifest(&config, &layer)).await
    }

    async fn push_manifest(&self, reference: &str, manifest: &str) -> (StatusCode, Value, String) {
        let answer = send(
            self.request(Method::PUT, &format!("/v2/demo/app/manifests/{reference}"))
                .header("Content-Type", OCI_MANIFEST)
                .body(manifest.to_owned()),
        )
        .await;
        let (status, digest) = (answer.status(), head(&answer, "docker-content-digest"));
        (status, answer.json().await.unwrap_or_default(), digest)
    }
}

async fn listen() -> TcpListener {
    match TcpListener::bind("127.0.0.1:0").await {
        Ok(listener) => listener,
        Err(error) => panic!("no loopback port: {error}"),
    }
}

async fn send(request: RequestBuilder) -> Response {
    match request.send().await {
        Ok(answer) => answer,
        Err(error) => panic!("no answer: {error}"),
    }
}

fn head(answer: &Response, name: &str) -> String {
    answer
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

fn manifest(config: &str, layer: &str) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": 5 }],
    })
    .to_string()
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled() {
    let sandbox = Sandbox::start().await;
    let (status, _, digest) = sandbox.push_image("v1", b"layer").await;
    assert_eq!(status, StatusCode::CREATED);
    let pulled = send(sandbox.request(Method::GET, "/v2/demo/app/manifests/v1")).await;
    assert_eq!(head(&pulled, "docker-content-digest"), digest);
    assert_eq!(head(&pulled, "content-type"), OCI_MANIFEST);
    let text = pulled.text().await.unwrap_or_default();
    assert_eq!(super::store::digest(text.as_bytes()), digest);
    let layer = super::store::digest(b"layer");
    let part = send(
        sandbox
            .request(Method::GET, &format!("/v2/demo/app/blobs/{layer}"))
            .header("Range", "bytes=1-2"),
    )
    .await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(head(&part, "content-range"), "bytes 1-2/5");
    assert_eq!(part.text().await.unwrap_or_default(), "ay");
    let there = send(sandbox.request(Method::HEAD, &format!("/v2/demo/app/blobs/{layer}"))).await;
    assert_eq!(
        (there.status(), head(&there, "content-length")),
        (StatusCode::OK, "5".to_owned())
    );
    let detail =
        sandbox.api("DescribeImages", json!({ "repositoryName": "demo/app" }))["imageDetails"][0]
            .take();
    assert_eq!(
        (
            &detail["imageDigest"],
            &detail["imageTags"],
            &detail["imageSizeInBytes"]
        ),
        (&json!(digest), &json!(["v1"]), &json!(7))
    );
}

#[tokio::test]
async fn a_stranger_is_challenged_and_an_unknown_repository_named() {
    let sandbox = Sandbox::start().await;
    let refused = send(sandbox.client.get(format!("{}/v2/", sandbox.ecr))).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(head(&refused, "www-authenticate").starts_with("Basic realm="));
    assert_eq!(
        send(sandbox.request(Method::GET, "/v2/")).await.status(),
        StatusCode::OK
    );
    let wrong = send(
        sandbox
            .client
            .get(format!("{}/v2/", sandbox.ecr))
            .header("Authorization", "Basic QVdTOm5v"),
    )
    .await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let unknown = send(sandbox.request(Method::POST, "/v2/no/such/blobs/uploads/")).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let body: Value = unknown.json().await.unwrap_or_default();
    assert_eq!(body["errors"][0]["code"], "NAME_UNKNOWN");
}

#[tokio::test]
async fn parts_must_follow_each_other_and_the_digest_must_fit() {
    let sandbox = Sandbox::start().await;
    let begun = send(sandbox.request(Method::POST, "/v2/demo/app/blobs/uploads/")).await;
    let location = head(&begun, "location").replace(&sandbox.ecr, "");
    let part = |range: &str, body: &'static str| {
        sandbox
            .request(Method::PATCH, &location)
            .header("Content-Range", range)
            .body(body)
    };
    assert_eq!(head(&send(part("0-2", "abc")).await, "range"), "0-2");
    assert_eq!(
        send(part("7-9", "xyz")).await.status(),
        StatusCode::RANGE_NOT_SATISFIABLE
    );
    assert_eq!(head(&send(part("3-5", "def")).await, "range"), "0-5");
    let wrong = send(sandbox.request(
        Method::PUT,
        &format!("{location}?digest={}", digest(b"other")),
    ))
    .await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        wrong.json::<Value>().await.unwrap_or_default()["errors"][0]["code"],
        "DIGEST_INVALID"
    );
    let gone = send(sandbox.request(
        Method::PUT,
        &format!("{location}?digest={}", digest(b"abcdef")),
    ))
    .await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tags_stay_on_their_images_and_manifests_need_their_blobs() {
    let sandbox = Sandbox::start().await;
    let (_, _, first) = sandbox.push_image("v1", b"layer").await;
    let again = sandbox.push_image("v1", b"layer").await;
    assert_eq!((again.0, again.2), (StatusCode::CREATED, first.clone()));
    let (status, body, _) = sandbox.push_image("v1", b"other").await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (StatusCode::BAD_REQUEST, &json!("TAG_INVALID"))
    );
    assert!(
        body["errors"][0]["message"]
            .as_str()
            .is_some_and(|m| m.contains("because the tag is immutable"))
    );
    let lost = manifest(&digest(b"{}"), &digest(b"never pushed"));
    let (status, body, _) = sandbox.push_manifest("v2", &lost).await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (StatusCode::BAD_REQUEST, &json!("MANIFEST_BLOB_UNKNOWN"))
    );
    for tag in ["v2", "v3"] {
        sandbox.push_image(tag, b"other").await;
    }
    let page = send(sandbox.request(Method::GET, "/v2/demo/app/tags/list?n=2")).await;
    assert_eq!(
        head(&page, "link"),
        "</v2/demo/app/tags/list?n=2&last=v2>; rel=\"next\""
    );
    let rest = send(sandbox.request(Method::GET, "/v2/demo/app/tags/list?n=2&last=v2")).await;
    assert_eq!(
        rest.json::<Value>().await.unwrap_or_default()["tags"],
        json!(["v3"])
    );
}

#[tokio::test]
async fn a_repository_with_images_goes_only_by_force_and_takes_its_files() {
    let sandbox = Sandbox::start().await;
    sandbox.push_image("v1", b"layer").await;
    let refused = sandbox.try_api("DeleteRepository", json!({ "repositoryName": "demo/app" }));
    assert_eq!(
        refused.map_err(|(code, _)| code),
        Err("RepositoryNotEmptyException".to_owned())
    );
    let files = || {
        std::fs::read_dir(sandbox.directory.path().join("registry/blobs"))
            .map(|f| f.count())
            .unwrap_or(0)
    };
    assert_eq!(files(), 3);
    sandbox.api(
        "DeleteRepository",
        json!({ "repositoryName": "demo/app", "force": true }),
    );
    assert_eq!(files(), 0);
}

#[tokio::test]
async fn blobs_are_mounted_from_repositories_that_may_be_read() {
    let sandbox = Sandbox::start().await;
    let blob = sandbox.push_blob("demo/app", b"shared").await;
    sandbox.api(
        "CreateRepository",
        json!({ "repositoryName": "demo/other" }),
    );
    let path = |from: &str| {
        format!(
            "/v2/demo/other/blobs/uploads/?mount={}&from={from}",
            blob.replace(':', "%3A")
        )
    };
    let unknown = send(sandbox.request(Method::POST, &path("demo%2Fnone"))).await;
    assert_eq!(
        unknown.status(),
        StatusCode::ACCEPTED,
        "an upload begins instead"
    );
    let mounted = send(sandbox.request(Method::POST, &path("demo%2Fapp"))).await;
    assert_eq!(mounted.status(), StatusCode::CREATED);
    assert_eq!(
        send(sandbox.request(Method::HEAD, &format!("/v2/demo/other/blobs/{blob}")))
            .await
            .status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_base_image_is_public() {
    let sandbox = Sandbox::start().await;
    let url = format!(
        "{}/v2/docker/library/python/manifests/3.13-slim",
        sandbox.public
    );
    let refused = send(sandbox.client.get(&url)).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let challenge = head(&refused, "www-authenticate");
    let realm = challenge.split('"').nth(1).unwrap_or_default();
    let token: Value = send(sandbox.client.get(realm))
        .await
        .json()
        .await
        .unwrap_or_default();
    let get = |path: &str| {
        sandbox
            .client
            .get(format!(
                "{}/v2/docker/library/python/{path}",
                sandbox.public
            ))
            .bearer_auth(token["token"].as_str().unwrap_or_default())
    };
    let index: Value = send(get("manifests/3.13-slim"))
        .await
        .json()
        .await
        .unwrap_or_default();
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|manifest| manifest["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64", "unknown"]);
    let image = index["manifests"][0]["digest"].as_str().unwrap_or_default();
    let image: Value = send(get(&format!("manifests/{image}")))
        .await
        .json()
        .await
        .unwrap_or_default();
    let layer = image["layers"][0]["digest"].as_str().unwrap_or_default();
    let bytes = send(get(&format!("blobs/{layer}")))
        .await
        .bytes()
        .await
        .unwrap_or_default();
    assert_eq!(digest(&bytes), layer);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
    let names: Vec<String> = archive
        .entries()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.path().ok()?.display().to_string()))
        .collect();
    assert!(names.contains(&"usr/local/bin/python3".to_owned()));
}
