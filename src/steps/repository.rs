//! A service's ECR repository: immutable tags, scan on push, old images expire.

use std::sync::Arc;

use aws_sdk_ecr::types::{ImageScanningConfiguration, ImageTagMutability, Tag};
use serde_json::{Value, json};

use super::outputs::Repository;
use crate::clients::Clients;
use crate::clients::aws::{failed, foreign, is};
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Observed, Result, Step, StepId,
};

/// How many images of a service are kept: enough to go back, few enough to cost nothing.
const KEPT_IMAGES: u32 = 30;

/// With as many services it takes fewer calls to list all repositories than to ask for each.
const MANY: usize = 20;

/// A service's ECR repository.
pub struct ServiceRepository {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The service's name.
    pub service: String,
}

impl ServiceRepository {
    fn name(&self) -> String {
        Names::new(&self.environment.name).repository(&self.service)
    }

    fn resource(&self) -> String {
        format!("ECR repository {}", self.name())
    }

    /// The repository as it is, or, where there are many services, as it was moments ago.
    async fn find(&self) -> Result<Option<aws_sdk_ecr::types::Repository>> {
        let repositories = &self.clients.repositories;
        match self.environment.services.len() < MANY {
            true => repositories.find(&self.name()).await,
            false => repositories.find_one_of_many(&self.name()).await,
        }
    }

    fn outputs(&self, repository: &aws_sdk_ecr::types::Repository) -> Result<Repository> {
        let uri = repository
            .repository_uri()
            .ok_or_else(|| Failure::new(self.resource(), "ECR names no URI"))?;
        Ok(Repository {
            name: self.name(),
            uri: uri.to_owned(),
        })
    }

    async fn has_lifecycle(&self) -> Result<bool> {
        let got = self
            .clients
            .ecr
            .get_lifecycle_policy()
            .repository_name(self.name())
            .send()
            .await;
        match got {
            Ok(got) => {
                let text = got.lifecycle_policy_text.unwrap_or_default();
                Ok(serde_json::from_str::<Value>(&text).is_ok_and(|policy| policy == lifecycle()))
            }
            Err(error)
                if is(&error, "LifecyclePolicyNotFoundException")
                    || is(&error, "RepositoryNotFoundException") =>
            {
                Ok(false)
            }
            Err(error) => Err(failed(self.resource())(error)),
        }
    }
}

fn lifecycle() -> Value {
    json!({ "rules": [{
        "rulePriority": 1,
        "description": format!("keep the newest {KEPT_IMAGES} images"),
        "selection": { "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEPT_IMAGES },
        "action": { "type": "expire" },
    }]})
}

impl Step for ServiceRepository {
    type Outputs = Repository;

    fn id(&self) -> StepId {
        format!("repository/{}", self.service).into()
    }

    fn title(&self) -> String {
        self.resource()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 1)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<Repository>> {
        let Some(repository) = self.find().await? else {
            return Ok(Observed::Absent);
        };
        let (tags, has_lifecycle) = futures::join!(
            self.clients
                .ecr
                .list_tags_for_resource()
                .resource_arn(repository.repository_arn().unwrap_or_default())
                .send(),
            self.has_lifecycle(),
        );
        let tags = match tags {
            Ok(tags) => tags.tags.unwrap_or_default(),
            // Another run has just removed it.
            Err(error) if is(&error, "RepositoryNotFoundException") => return Ok(Observed::Absent),
            Err(error) => return Err(failed(self.resource())(error)),
        };
        let has_lifecycle = has_lifecycle?;
        let owner = tags.iter().find(|tag| tag.key() == OWNER_TAG);
        if let Some(whose) = foreign(owner.map(Tag::value), &self.environment.name) {
            return Ok(Observed::Foreign(whose));
        }
        let mut drift = Vec::new();
        if repository.image_tag_mutability() != Some(&ImageTagMutability::Immutable) {
            drift.push("tags: mutable → immutable".to_owned());
        }
        let scans = repository
            .image_scanning_configuration()
            .is_some_and(ImageScanningConfiguration::scan_on_push);
        if !scans {
            drift.push("scan on push: off → on".to_owned());
        }
        if !has_lifecycle {
            drift.push("lifecycle policy".to_owned());
        }
        Ok(Observed::Ready {
            outputs: self.outputs(&repository)?,
            drift,
        })
    }

    async fn apply(&self, cx: &Context, change: &Change) -> Result<Repository> {
        let (ecr, name) = (&self.clients.ecr, self.name());
        self.clients.repositories.change(&name);
        let scanning = ImageScanningConfiguration::builder()
            .scan_on_push(true)
            .build();
        let mut repository = None;
        if *change == Change::Create {
            let tag = Tag::builder()
                .key(OWNER_TAG)
                .value(&self.environment.name)
                .build()
                .map_err(|error| Failure::new(self.resource(), error))?;
            let created = ecr
                .create_repository()
                .repository_name(&name)
                .image_tag_mutability(ImageTagMutability::Immutable)
                .image_scanning_configuration(scanning)
                .tags(tag)
                .send()
                .await;
            match created {
                Ok(created) => repository = created.repository,
                // Another run was faster, or somebody else.
                Err(error) if is(&error, "RepositoryAlreadyExistsException") => {
                    if let Observed::Foreign(whose) = self.observe(cx).await? {
                        let message = format!("belongs to {whose}");
                        return Err(Failure::of(FailureKind::Blocked, self.resource(), message));
                    }
                }
                Err(error) => return Err(failed(self.resource())(error)),
            }
        } else {
            ecr.put_image_tag_mutability()
                .repository_name(&name)
                .image_tag_mutability(ImageTagMutability::Immutable)
                .send()
                .await
                .map_err(failed(self.resource()))?;
            ecr.put_image_scanning_configuration()
                .repository_name(&name)
                .image_scanning_configuration(scanning)
                .send()
                .await
                .map_err(failed(self.resource()))?;
        }
        ecr.put_lifecycle_policy()
            .repository_name(&name)
            .lifecycle_policy_text(lifecycle().to_string())
            .send()
            .await
            .map_err(failed(self.resource()))?;
        let repository = match repository {
            Some(repository) => Some(repository),
            None => self.clients.repositories.find(&name).await?,
        };
        match repository {
            Some(repository) => self.outputs(&repository),
            None => Err(Failure::new(self.resource(), "it was deleted meanwhile")),
        }
    }

    async fn destroy(&self, _: &Context, _: &Observed<Repository>) -> Result<()> {
        self.clients.repositories.change(&self.name());
        let deleted = self
            .clients
            .ecr
            .delete_repository()
            .repository_name(self.name())
            .force(true)
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(()),
            Err(error) if is(&error, "RepositoryNotFoundException") => Ok(()),
            Err(error) => Err(failed(self.resource())(error)),
        }
    }
}
