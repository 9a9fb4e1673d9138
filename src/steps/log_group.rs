//! The log group of the control plane, made before the cluster so that EKS does not make one that keeps logs for ever.

use std::sync::Arc;

use crate::clients::Clients;
use crate::clients::aws::{failed, is};
use crate::clients::eks::find_cluster;
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{Change, Context, Expected, Observed, Result, Step, StepId};

/// The log group of the control plane. Removed after the cluster, whose last words would make it anew.
pub struct LogGroup {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
}

impl LogGroup {
    fn name(&self) -> String {
        Names::new(&self.environment.name).log_group()
    }

    fn resource(&self) -> String {
        format!("log group {}", self.name())
    }
}

impl Step for LogGroup {
    type Outputs = ();

    fn id(&self) -> StepId {
        "log-group".into()
    }

    fn title(&self) -> String {
        self.resource()
    }

    async fn observe(&self, _: &Context) -> Result<Observed<()>> {
        let name = self.name();
        let described = self
            .clients
            .logs
            .describe_log_groups()
            .log_group_name_prefix(&name)
            .send()
            .await
            .map_err(failed(self.resource()))?;
        let group = described
            .log_groups
            .unwrap_or_default()
            .into_iter()
            .find(|group| group.log_group_name() == Some(&name));
        let Some(group) = group else {
            return Ok(Observed::Absent);
        };
        let arn = group.arn().unwrap_or_default().trim_end_matches(":*");
        let tags = self
            .clients
            .logs
            .list_tags_for_resource()
            .resource_arn(arn)
            .send()
            .await;
        let tags = match tags {
            Ok(tags) => tags.tags.unwrap_or_default(),
            // Another run has just removed it.
            Err(error) if is(&error, "ResourceNotFoundException") => return Ok(Observed::Absent),
            Err(error) => return Err(failed(self.resource())(error)),
        };
        let mut drift = Vec::new();
        match tags.get(OWNER_TAG) {
            Some(owner) if *owner == self.environment.name => {}
            Some(owner) => return Ok(Observed::Foreign(format!("environment {owner}"))),
            // EKS made it itself. Its name is the cluster's, so it is ours unless the cluster is somebody else's.
            None => {
                let name = Names::new(&self.environment.name).cluster();
                let cluster = find_cluster(&self.clients.eks, &name).await?;
                let is_foreign = cluster.is_some_and(|cluster| {
                    cluster.tags().and_then(|tags| tags.get(OWNER_TAG))
                        != Some(&self.environment.name)
                });
                if is_foreign {
                    return Ok(Observed::Foreign(format!(
                        "the owner of the cluster {name}"
                    )));
                }
                drift.push("it lacks the owner tag".to_owned());
            }
        }
        let wanted = self.environment.cluster.log_retention_days;
        match group.retention_in_days {
            Some(days) if days == wanted => {}
            Some(days) => drift.push(format!("retention: {days} → {wanted} days")),
            None => drift.push(format!("retention: for ever → {wanted} days")),
        }
        Ok(Observed::Ready { outputs: (), drift })
    }

    async fn apply(&self, _: &Context, change: &Change) -> Result<()> {
        let (logs, name) = (&self.clients.logs, self.name());
        if *change == Change::Create {
            let created = logs
                .create_log_group()
                .log_group_name(&name)
                .tags(OWNER_TAG, &self.environment.name)
                .send()
                .await;
            match created {
                Ok(_) => {}
                Err(error) if is(&error, "ResourceAlreadyExistsException") => {}
                Err(error) => return Err(failed(self.resource())(error)),
            }
        }
        logs.put_retention_policy()
            .log_group_name(&name)
            .retention_in_days(self.environment.cluster.log_retention_days)
            .send()
            .await
            .map_err(failed(self.resource()))?;
        if let Change::Update(_) = change {
            let described = logs
                .describe_log_groups()
                .log_group_name_prefix(&name)
                .send()
                .await
                .map_err(failed(self.resource()))?;
            for group in described.log_groups.unwrap_or_default() {
                if group.log_group_name() == Some(&name) {
                    logs.tag_resource()
                        .resource_arn(group.arn().unwrap_or_default().trim_end_matches(":*"))
                        .tags(OWNER_TAG, &self.environment.name)
                        .send()
                        .await
                        .map_err(failed(self.resource()))?;
                }
            }
        }
        Ok(())
    }

    async fn destroy(&self, _: &Context, _: &Observed<()>) -> Result<()> {
        let deleted = self
            .clients
            .logs
            .delete_log_group()
            .log_group_name(self.name())
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(()),
            Err(error) if is(&error, "ResourceNotFoundException") => Ok(()),
            Err(error) => Err(failed(self.resource())(error)),
        }
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 1)
    }
}
