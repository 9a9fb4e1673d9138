//! Container registries: base images in, service images out. Nothing that a registry has is sent again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{ImageIndexEntry, OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::pace::Pace;
use crate::engine::{Context, Failure, FailureKind, Result};

/// Tries of one request, the first included.
const ATTEMPTS: u32 = 4;
/// How long a registry may go on refusing a request as one of too many, from its first turn.
const PATIENCE: Duration = Duration::from_secs(600);

/// Reads images from public registries or their mirrors. What was read is kept for the run: many services share a base.
#[derive(Default)]
pub struct Registries {
    mirrors: BTreeMap<String, String>,
    digests: Mutex<HashMap<String, Arc<OnceCell<String>>>>,
    images: Mutex<HashMap<String, Arc<OnceCell<PlatformImage>>>>,
    blobs: Mutex<HashMap<String, Arc<OnceCell<Bytes>>>>,
    clients: Mutex<HashMap<Use, Client>>,
    paces: Paces,
}

/// What a client is for. It holds connections, tokens and the system's certificates, whose reading takes longer than
/// most requests.
#[derive(Default, PartialEq, Eq, Hash)]
struct Use {
    /// Whether it speaks plain HTTP.
    plain: bool,
    /// Of which platform's images, where an index names several.
    architecture: Option<&'static str>,
    /// For whom: what may be read by anybody is read without a password.
    password: Option<String>,
}

/// Registries limit each kind of request by itself.
#[derive(Debug, Default)]
struct Paces {
    read: Pace,
    check: Pace,
    upload: Pace,
    publish: Pace,
}

/// An image by digest, and where it is read.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// As the user knows it.
    pub name: String,
    /// The digest of its manifest or index.
    pub digest: String,
    source: Source,
}

#[derive(Clone, Debug)]
struct Source {
    host: String,
    repository: String,
    plain: bool,
}

/// One platform's image.
#[derive(Clone, Debug)]
pub struct PlatformImage {
    /// Its manifest.
    pub manifest: OciImageManifest,
    /// Its configuration, JSON.
    pub config: String,
}

/// A blob to be pushed.
pub struct Blob {
    /// How the manifest names it.
    pub descriptor: OciDescriptor,
    /// Where its bytes are.
    pub content: Content,
}

/// Where a blob's bytes are.
pub enum Content {
    /// Here.
    Bytes(Bytes),
    /// In another image's repository, to be fetched only when the target lacks it.
    Elsewhere(Pinned),
}

/// Where images are pushed to, and as whom.
pub struct Login {
    /// The registry's URL, whose scheme is respected: `https://123456789012.dkr.ecr.eu-west-1.amazonaws.com`.
    pub registry: String,
    /// The user of basic authentication.
    pub user: String,
    /// The password of basic authentication.
    pub password: String,
}

impl std::fmt::Debug for Registries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registries")
            .field("mirrors", &self.mirrors)
            .finish_non_exhaustive()
    }
}

impl Registries {
    /// Reads through `mirrors`: registry host → URL.
    pub fn new(mirrors: BTreeMap<String, String>) -> Self {
        Registries {
            mirrors,
            ..Registries::default()
        }
    }

    /// Resolves an image's tag to the digest it has now. Asked once in a run.
    ///
    /// # Errors
    /// A malformed reference; a registry that refuses or does not answer.
    pub async fn resolve(&self, image: &str) -> Result<Pinned> {
        let reference: Reference = image.parse().map_err(|error| {
            Failure::of(FailureKind::Input, title(image), error)
                .hint("write it as host/repository:tag")
        })?;
        let source = self.source(&reference);
        if let Some(digest) = reference.digest() {
            return Ok(Pinned {
                name: image.to_owned(),
                digest: digest.to_owned(),
                source,
            });
        }
        let cell = kept(&self.digests, image);
        let digest = cell
            .get_or_try_init(async || {
                let client = self.client(Use {
                    plain: source.plain,
                    ..Use::default()
                });
                let tag = reference.tag().unwrap_or("latest").to_owned();
                let wanted =
                    Reference::with_tag(source.host.clone(), source.repository.clone(), tag);
                retried(&self.paces.read, image, async || {
                    client
                        .fetch_manifest_digest(&wanted, &RegistryAuth::Anonymous)
                        .await
                })
                .await
            })
            .await?;
        Ok(Pinned {
            name: image.to_owned(),
            digest: digest.clone(),
            source,
        })
    }

    /// The image's manifest and configuration for Linux on `architecture` (`amd64`).
    ///
    /// # Errors
    /// An image that is not made for the platform; a registry that refuses or does not answer.
    pub async fn platform_image(
        &self,
        pinned: &Pinned,
        architecture: &'static str,
    ) -> Result<PlatformImage> {
        let cell = kept(&self.images, &format!("{} {architecture}", pinned.digest));
        cell.get_or_try_init(async || {
            let client = self.client(Use {
                plain: pinned.source.plain,
                architecture: Some(architecture),
                password: None,
            });
            let reference = pinned.reference();
            let (manifest, _, config) = retried(&self.paces.read, &pinned.name, async || {
                client
                    .pull_manifest_and_config(&reference, &RegistryAuth::Anonymous)
                    .await
            })
            .await?;
            Ok(PlatformImage { manifest, config })
        })
        .await
        .cloned()
    }

    /// Pushes to a repository what it lacks of the blobs, then the manifest under the tag.
    ///
    /// # Errors
    /// A registry that refuses or does not answer.
    pub async fn push(
        &self,
        cx: &Context,
        (login, repository): (&Login, &str),
        tag: &str,
        blobs: Vec<Blob>,
        manifest: Vec<u8>,
        media_type: &'static str,
    ) -> Result<()> {
        let (host, plain) = split(&login.registry);
        let client = self.client(Use {
            plain,
            architecture: None,
            password: Some(login.password.clone()),
        });
        let reference = Reference::with_tag(host, repository.to_owned(), tag.to_owned());
        let auth = RegistryAuth::Basic(login.user.clone(), login.password.clone());
        client
            .store_auth_if_needed(reference.resolve_registry(), &auth)
            .await;
        let name = format!("{repository}:{tag}");
        let sends = blobs
            .iter()
            .map(|blob| self.send(&client, &reference, &name, blob));
        futures::future::try_join_all(sends).await?;
        // ECR takes few images a second: others may go on while this one waits for its turn with nothing that is large.
        drop(blobs);
        let published = retried(&self.paces.publish, &name, async || {
            let media_type = media_type.parse().map_err(|_| {
                OciDistributionError::GenericError(Some("a malformed media type".into()))
            })?;
            client
                .push_manifest_raw(&reference, manifest.clone(), media_type)
                .await
        });
        cx.pause(published).await?;
        Ok(())
    }

    async fn send(
        &self,
        client: &Client,
        target: &Reference,
        name: &str,
        blob: &Blob,
    ) -> Result<()> {
        let digest = &blob.descriptor.digest;
        let exists = retried(&self.paces.check, name, async || {
            client.blob_exists(target, digest).await
        })
        .await?;
        if exists {
            return Ok(());
        }
        let bytes = match &blob.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Elsewhere(image) => self.fetch(image, &blob.descriptor).await?,
        };
        retried(&self.paces.upload, name, async || {
            client.push_blob(target, bytes.clone(), digest).await
        })
        .await?;
        Ok(())
    }

    async fn fetch(&self, image: &Pinned, descriptor: &OciDescriptor) -> Result<Bytes> {
        let cell = kept(&self.blobs, &descriptor.digest);
        cell.get_or_try_init(async || {
            let client = self.client(Use {
                plain: image.source.plain,
                ..Use::default()
            });
            let reference = image.reference();
            client
                .store_auth_if_needed(reference.resolve_registry(), &RegistryAuth::Anonymous)
                .await;
            retried(&self.paces.read, &image.name, async || {
                let mut bytes = Vec::new();
                client.pull_blob(&reference, descriptor, &mut bytes).await?;
                Ok(Bytes::from(bytes))
            })
            .await
        })
        .await
        .cloned()
    }

    fn client(&self, purpose: Use) -> Client {
        let mut clients = self
            .clients
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        clients.entry(purpose).or_insert_with_key(client).clone()
    }

    fn source(&self, reference: &Reference) -> Source {
        // Docker Hub goes by a name of its own in references.
        let asked = reference.resolve_registry();
        let mirror = self
            .mirrors
            .get(reference.registry())
            .or_else(|| self.mirrors.get(asked));
        let Some(mirror) = mirror else {
            return Source {
                host: asked.to_owned(),
                repository: reference.repository().to_owned(),
                plain: false,
            };
        };
        let (host, plain) = split(mirror);
        // A mirror may live under a path: `https://mirror.example.com/public-ecr`.
        let (host, repository) = match host.split_once('/') {
            Some((host, path)) => {
                let path = path.trim_end_matches('/');
                (
                    host.to_owned(),
                    format!("{path}/{}", reference.repository()),
                )
            }
            None => (host, reference.repository().to_owned()),
        };
        Source {
            host,
            repository,
            plain,
        }
    }
}

impl Pinned {
    fn reference(&self) -> Reference {
        Reference::with_digest(
            self.source.host.clone(),
            self.source.repository.clone(),
            self.digest.clone(),
        )
    }
}

fn title(image: &str) -> String {
    format!("image {image}")
}

fn kept<T>(cells: &Mutex<HashMap<String, Arc<OnceCell<T>>>>, key: &str) -> Arc<OnceCell<T>> {
    let mut cells = cells
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    cells.entry(key.to_owned()).or_default().clone()
}

/// Host (with port and path) of a URL, and whether it is plain HTTP.
fn split(url: &str) -> (String, bool) {
    let (rest, plain) = match url.split_once("://") {
        Some(("http", rest)) => (rest, true),
        Some((_, rest)) => (rest, false),
        None => (url, false),
    };
    (rest.trim_end_matches('/').to_owned(), plain)
}

fn client(purpose: &Use) -> Client {
    super::install_crypto();
    let mut config = ClientConfig {
        protocol: if purpose.plain {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        // ECR wants parts of at least 5 MiB and these layers are small: each goes in one request.
        use_monolithic_push: true,
        connect_timeout: Some(Duration::from_secs(10)),
        read_timeout: Some(Duration::from_secs(60)),
        user_agent: concat!("meshctl/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    if let Some(architecture) = purpose.architecture {
        let pick = move |entries: &[ImageIndexEntry]| {
            entries
                .iter()
                .find(|entry| {
                    entry.platform.as_ref().is_some_and(|platform| {
                        platform.os.to_string() == "linux"
                            && platform.architecture.to_string() == architecture
                    })
                })
                .map(|entry| entry.digest.clone())
        };
        config.platform_resolver = Some(Box::new(pick));
    }
    Client::new(config)
}

/// Tries again what a registry could not do for the moment, and at the pace at which it takes requests.
async fn retried<T, F, Fut>(pace: &Pace, name: &str, attempt: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = std::result::Result<T, OciDistributionError>>,
{
    let mut deadline = None;
    let mut tries = 1;
    loop {
        let turn = pace.turn().await;
        // Waiting for a turn in a long queue is no refusal.
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
        match attempt().await {
            Ok(value) => {
                pace.taken();
                return Ok(value);
            }
            Err(error) if is_too_many(&error) && Instant::now() < deadline => pace.refused(turn),
            Err(error) if tries < ATTEMPTS && is_transient(&error) => {
                let ceiling = Duration::from_millis(250 << tries);
                tokio::time::sleep(ceiling.mul_f64(fastrand::f64())).await;
                tries += 1;
            }
            Err(error) => return Err(failure(name, &error)),
        }
    }
}

/// The status of an answer that was no success. Some the library tells as errors of the request.
fn status(error: &OciDistributionError) -> Option<StatusCode> {
    match error {
        OciDistributionError::ServerError { code, .. } => StatusCode::from_u16(*code).ok(),
        OciDistributionError::RequestError(error) => error.status(),
        OciDistributionError::UnauthorizedError { .. } => Some(StatusCode::UNAUTHORIZED),
        _ => None,
    }
}

fn is_too_many(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RegistryError { envelope, .. } => envelope
            .errors
            .iter()
            .any(|error| error.code == OciErrorCode::Toomanyrequests),
        _ => status(error) == Some(StatusCode::TOO_MANY_REQUESTS),
    }
}

fn is_transient(error: &OciDistributionError) -> bool {
    match (status(error), error) {
        // Also where a token could not be had for the moment, which the library does not tell.
        (Some(status), _) => status.is_server_error() || status == StatusCode::UNAUTHORIZED,
        (None, OciDistributionError::RequestError(error)) => {
            error.is_connect() || error.is_timeout() || error.is_body() || error.is_request()
        }
        _ => false,
    }
}

fn failure(name: &str, error: &OciDistributionError) -> Failure {
    use OciDistributionError as E;
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let status = status(error);
    let message = match (status, error) {
        (Some(status), E::RequestError(_)) => format!("the registry answers {status}"),
        (None, E::RequestError(_)) => format!("cannot reach the registry: {reason}"),
        _ => error.to_string(),
    };
    let failed = |kind| Failure::of(kind, title(name), message);
    match (status, error) {
        (Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _)
        | (_, E::AuthenticationFailure(_)) => failed(FailureKind::Denied),
        (_, E::ImageManifestNotFoundError(_)) => failed(FailureKind::Input)
            .hint("check images.base and the services' images in meshctl.yaml"),
        (None, E::RequestError(_)) => failed(FailureKind::Service)
            .hint("check the network; images.mirrors in meshctl.yaml names another place to ask"),
        _ => failed(FailureKind::Service),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(image: &str, mirrors: &[(&str, &str)]) -> (String, String, bool) {
        let mirrors = mirrors
            .iter()
            .map(|(host, url)| ((*host).to_owned(), (*url).to_owned()))
            .collect();
        let source = Registries::new(mirrors).source(&image.parse().unwrap());
        (source.host, source.repository, source.plain)
    }

    #[test]
    fn without_a_mirror_the_registry_itself_is_asked() {
        assert_eq!(
            source("public.ecr.aws/docker/library/python:3.13-slim", &[]),
            (
                "public.ecr.aws".into(),
                "docker/library/python".into(),
                false
            )
        );
    }

    #[test]
    fn a_mirror_may_be_plain_and_under_a_path() {
        let image = "public.ecr.aws/docker/library/python:3.13-slim";
        assert_eq!(
            source(image, &[("public.ecr.aws", "http://127.0.0.1:5000/")]),
            (
                "127.0.0.1:5000".into(),
                "docker/library/python".into(),
                true
            )
        );
        assert_eq!(
            source(
                image,
                &[("public.ecr.aws", "https://mirror.example.com/ecr")]
            ),
            (
                "mirror.example.com".into(),
                "ecr/docker/library/python".into(),
                false
            )
        );
    }

    #[tokio::test]
    async fn a_malformed_reference_is_the_users_mistake() {
        let failure = Registries::default()
            .resolve("NOT an image")
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Input);
    }
}
