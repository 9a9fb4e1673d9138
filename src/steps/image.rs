//! A service's image: in the registry, by digest.

use std::sync::Arc;

use aws_sdk_ecr::types::ImageIdentifier;

use super::outputs::{Image, Repository};
use crate::clients::Clients;
use crate::clients::aws::{failed, is};
use crate::config::{Environment, Names, Service, Source};
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Result, Step, StepId,
};
use crate::images::{Files, Layer, MANIFEST, Platform, Recipe};

/// A service's image, built from its files and pushed to its repository. It goes with the repository.
pub struct ServiceImage {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The service.
    pub service: Service,
    /// Where it goes.
    pub repository: Input<Repository>,
}

impl ServiceImage {
    fn resource(&self) -> String {
        format!("image of {}", self.service.name)
    }

    async fn recipe(&self) -> Result<Recipe> {
        let files = Files::of(&self.service.source)?
            .ok_or_else(|| Failure::new(self.resource(), "a ready image is not built"))?;
        Ok(Recipe {
            base: self
                .clients
                .registries
                .resolve(&self.environment.images.base)
                .await?,
            platform: Platform::of_instances(&self.environment.cluster.nodes.instance_types),
            service: self.service.name.clone(),
            layer: Layer::new("app", &files),
        })
    }

    /// The digest of what the repository has under that tag.
    async fn pushed(&self, tag: &str) -> Result<Option<String>> {
        let described = self
            .clients
            .ecr
            .describe_images()
            .repository_name(Names::new(&self.environment.name).repository(&self.service.name))
            .image_ids(ImageIdentifier::builder().image_tag(tag).build())
            .send()
            .await;
        match described {
            Ok(described) => Ok(described
                .image_details
                .unwrap_or_default()
                .into_iter()
                .find_map(|image| image.image_digest)),
            Err(error)
                if is(&error, "ImageNotFoundException")
                    || is(&error, "RepositoryNotFoundException") =>
            {
                Ok(None)
            }
            Err(error) => Err(failed(self.resource())(error)),
        }
    }
}

fn reference(repository: &Repository, digest: &str) -> Image {
    Image {
        reference: format!("{}@{digest}", repository.uri),
    }
}

impl Step for ServiceImage {
    type Outputs = Image;
    /// Goes with the repository.
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        format!("image/{}", self.service.name).into()
    }

    fn title(&self) -> String {
        self.resource()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(20, 0)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<Image>> {
        let repository = self.repository.get(cx)?;
        let recipe = match self.recipe().await {
            Ok(recipe) => recipe,
            // Whatever became of the base, the repository can be removed; making an image says why it cannot be.
            Err(failure) if failure.kind != FailureKind::Input => {
                return Ok(Observed::Unreachable(failure.to_string()));
            }
            Err(failure) => return Err(failure),
        };
        Ok(match self.pushed(&recipe.tag()).await? {
            Some(digest) => Observed::ready(reference(&repository, &digest)),
            None => Observed::Absent,
        })
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<Image> {
        let repository = self.repository.get(cx)?;
        let recipe = self.recipe().await?;
        let tag = recipe.tag();
        let registries = &self.clients.registries;
        cx.progress(format!("reading {}", recipe.base.name));
        let base = registries
            .platform_image(&recipe.base, recipe.platform.architecture())
            .await?;
        let built = recipe.build(&base)?;
        let login = self.clients.repositories.login().await?;
        cx.progress("pushing what the registry lacks");
        let pushed = registries
            .push(
                cx,
                (login, &repository.name),
                &tag,
                built.blobs,
                built.manifest,
                MANIFEST,
            )
            .await;
        match pushed {
            Ok(()) => Ok(reference(&repository, &built.digest)),
            // Tags are immutable: another run that was faster leaves the tag taken, by the same content.
            Err(failure) => match self.pushed(&tag).await? {
                Some(digest) => Ok(reference(&repository, &digest)),
                None => Err(failure),
            },
        }
    }
}

/// A ready image, taken as it is.
pub struct ReadyImage {
    /// The service.
    pub service: Service,
}

impl ReadyImage {
    fn image(&self) -> Image {
        Image {
            reference: match &self.service.source {
                Source::Image(reference) => reference.clone(),
                _ => String::new(),
            },
        }
    }
}

impl Step for ReadyImage {
    type Outputs = Image;
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        format!("image/{}", self.service.name).into()
    }

    fn title(&self) -> String {
        format!("image of {}: {}", self.service.name, self.image().reference)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(0, 0)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<Image>> {
        Ok(Observed::ready(self.image()))
    }

    async fn apply(&self, _: &Context, _: &Change) -> Result<Image> {
        Ok(self.image())
    }
}
