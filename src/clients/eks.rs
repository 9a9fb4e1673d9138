//! EKS: waits for clusters, node groups, add-ons and updates.

use std::time::Duration;

use aws_sdk_eks::Client;
use aws_sdk_eks::types::{Cluster, ClusterStatus, Update, UpdateStatus};

use super::aws::{failed, is};
use crate::engine::{Context, Failure, Poll, Result, Wait};

/// EKS's error code for what does not exist.
pub const NOT_FOUND: &str = "ResourceNotFoundException";
/// EKS's error code for what exists already, or is busy.
pub const IN_USE: &str = "ResourceInUseException";

/// How a cluster is called in failures.
pub fn cluster_title(name: &str) -> String {
    format!("EKS cluster {name}")
}

/// The cluster; none when it does not exist.
///
/// # Errors
/// When EKS does not answer.
pub async fn find_cluster(client: &Client, name: &str) -> Result<Option<Cluster>> {
    match client.describe_cluster().name(name).send().await {
        Ok(described) => Ok(described.cluster),
        Err(error) if is(&error, NOT_FOUND) => Ok(None),
        Err(error) => Err(failed(cluster_title(name))(error)),
    }
}

/// What EKS says is wrong with the cluster.
pub fn cluster_issues(cluster: &Cluster) -> String {
    let issues: Vec<&str> = cluster
        .health()
        .map(|health| health.issues())
        .unwrap_or_default()
        .iter()
        .filter_map(|issue| issue.message())
        .collect();
    let status = cluster.status().map_or("", ClusterStatus::as_str);
    if issues.is_empty() {
        status.to_owned()
    } else {
        format!("{status}: {}", issues.join("; "))
    }
}

/// The cluster once nothing is going on with it; none when it is gone.
///
/// # Errors
/// A passed deadline.
pub async fn cluster_settled(cx: &Context, client: &Client, name: &str) -> Result<Option<Cluster>> {
    let wait = Wait::new(cluster_title(name), Duration::from_secs(40 * 60)).hint(
        "EKS takes unusually long: see the AWS Health Dashboard, then run the same command again",
    );
    cx.wait_for(wait, async || {
        let Some(cluster) = find_cluster(client, name).await? else {
            return Ok(Poll::Ready(None));
        };
        Ok(match cluster.status() {
            Some(ClusterStatus::Active | ClusterStatus::Failed) | None => {
                Poll::Ready(Some(cluster))
            }
            Some(status) => Poll::Pending(status.as_str().to_owned()),
        })
    })
    .await
}

/// Which thing an update belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Updated<'a> {
    /// The cluster itself.
    Cluster,
    /// A node group.
    NodeGroup(&'a str),
    /// An add-on.
    Addon(&'a str),
}

/// Waits for an update to end well.
///
/// # Errors
/// The update's own errors; a passed deadline.
pub async fn update_done(
    cx: &Context,
    client: &Client,
    cluster: &str,
    updated: Updated<'_>,
    update: Option<Update>,
) -> Result<()> {
    let Some(id) = update.and_then(|update| update.id) else {
        return Ok(());
    };
    let title = match updated {
        Updated::Cluster => cluster_title(cluster),
        Updated::NodeGroup(name) => format!("node group {name}"),
        Updated::Addon(name) => format!("add-on {name}"),
    };
    let wait = Wait::new(title.clone(), Duration::from_secs(60 * 60));
    cx.wait_for(wait, async || {
        let request = client.describe_update().name(cluster).update_id(&id);
        let request = match updated {
            Updated::Cluster => request,
            Updated::NodeGroup(name) => request.nodegroup_name(name),
            Updated::Addon(name) => request.addon_name(name),
        };
        let described = request.send().await.map_err(failed(title.clone()))?;
        let Some(update) = described.update else {
            return Ok(Poll::Pending("update not listed yet".into()));
        };
        match update.status() {
            Some(UpdateStatus::Successful) => Ok(Poll::Ready(())),
            Some(UpdateStatus::InProgress) | None => Ok(Poll::Pending("updating".into())),
            Some(status) => {
                let errors: Vec<&str> = update
                    .errors()
                    .iter()
                    .filter_map(|error| error.error_message())
                    .collect();
                Err(Failure::new(
                    title.clone(),
                    format!("update {}: {}", status.as_str(), errors.join("; ")),
                ))
            }
        }
    })
    .await
}
