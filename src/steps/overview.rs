//! The environment as it is, read and not changed: what `status` shows.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::clients::kube::{Access, Cluster, ENVIRONMENT, Trouble};
use crate::clients::{Clients, eks};
use crate::config::{Environment, Names};
use crate::engine::{Failure, FailureKind, Result};
use crate::mesh;

/// The environment as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// Its name.
    pub environment: String,
    /// The region.
    pub region: String,
    /// The cluster, where there is one.
    pub cluster: Option<ClusterOverview>,
    /// A line for each version of each service.
    pub services: Vec<VersionOverview>,
    /// The way in, once the load balancer has a name.
    pub url: Option<String>,
    /// Why the cluster could not be looked into.
    pub trouble: Option<String>,
}

/// The cluster as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterOverview {
    /// Its name in EKS.
    pub name: String,
    /// The Kubernetes version.
    pub version: String,
    /// EKS's word for its state.
    pub status: String,
}

/// One version of a service as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VersionOverview {
    /// The service.
    pub service: String,
    /// The version.
    pub version: String,
    /// How many pods are ready.
    pub ready: i64,
    /// How many are wanted.
    pub replicas: i64,
    /// Its share of the traffic in percent, where traffic is split.
    pub weight: Option<u8>,
    /// What it runs.
    pub image: String,
}

/// The environment's cluster as EKS describes it, and the way into it once it is active; none when there is none.
///
/// # Errors
/// When EKS does not answer.
pub async fn connect(
    environment: &Environment,
    clients: &Clients,
) -> Result<Option<(ClusterOverview, Option<Cluster>)>> {
    let name = Names::new(&environment.name).cluster();
    let Some(found) = eks::find_cluster(&clients.eks, &name).await? else {
        return Ok(None);
    };
    let overview = ClusterOverview {
        name: name.clone(),
        version: found.version().unwrap_or_default().into(),
        status: found.status().map_or("", |status| status.as_str()).into(),
    };
    let authority = found
        .certificate_authority()
        .and_then(|authority| authority.data());
    let arn: Vec<&str> = found.arn().unwrap_or_default().split(':').collect();
    let credentials = clients.config.credentials_provider();
    let cluster = match (found.endpoint(), authority, credentials, arn.as_slice()) {
        (Some(endpoint), Some(authority), Some(credentials), [_, partition, _, _, account, ..]) => {
            Some(Cluster::new(Access {
                name,
                environment: environment.name.clone(),
                region: clients.region().into(),
                partition: (*partition).into(),
                account: (*account).into(),
                endpoint: endpoint.into(),
                certificate_authority: authority.into(),
                credentials,
            }))
        }
        _ => None,
    };
    Ok(Some((overview, cluster)))
}

/// The way into the environment's cluster.
///
/// # Errors
/// `Blocked` when there is no active cluster.
pub async fn cluster(environment: &Environment, clients: &Clients) -> Result<Cluster> {
    let name = Names::new(&environment.name).cluster();
    let missing = |message: &str| {
        Failure::of(FailureKind::Blocked, eks::cluster_title(&name), message)
            .hint("make it with `meshctl up`")
    };
    match connect(environment, clients).await? {
        None => Err(missing("there is none")),
        Some((overview, None)) => Err(missing(&format!("is {}", overview.status))),
        Some((_, Some(cluster))) => Ok(cluster),
    }
}

/// Looks at the environment.
///
/// # Errors
/// When AWS does not answer; a cluster that does not is told in `trouble`.
pub async fn overview(environment: &Environment, clients: &Arc<Clients>) -> Result<Overview> {
    let mut overview = Overview {
        environment: environment.name.clone(),
        region: clients.region().into(),
        cluster: None,
        services: Vec::new(),
        url: None,
        trouble: None,
    };
    let Some((description, cluster)) = connect(environment, clients).await? else {
        return Ok(overview);
    };
    overview.cluster = Some(description);
    if let Some(cluster) = cluster
        && let Err(trouble) = look_inside(&mut overview, environment, clients, &cluster).await
    {
        overview.trouble = Some(trouble.failure("the cluster").to_string());
    }
    Ok(overview)
}

async fn look_inside(
    overview: &mut Overview,
    environment: &Environment,
    clients: &Clients,
    cluster: &Cluster,
) -> Result<(), Trouble> {
    let owned = format!("{ENVIRONMENT}={}", environment.name);
    let namespace = Some(environment.namespace.as_str());
    let deployments = cluster.list_as("apps/v1", "Deployment", namespace, &owned, |object| {
        let count = |of: &Value| of.as_i64().unwrap_or(0);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let ready = count(&object["status"]["readyReplicas"]);
        let replicas = count(&object["spec"]["replicas"]);
        let image = application_image(&object).to_owned();
        (name.to_owned(), (ready, replicas, image))
    });
    let mut deployments: HashMap<String, (i64, i64, String)> =
        deployments.await?.into_iter().collect();
    let ingresses = cluster
        .list("networking.k8s.io/v1", "Ingress", namespace, &owned)
        .await?;
    let provider = mesh::provider(environment, clients);
    for service in environment.services.values() {
        let split = match service.is_split() {
            true => provider.split(cluster, service).await.ok(),
            false => None,
        };
        for version in &service.versions {
            let name = mesh::workload(&service.name, &version.name);
            let Some((ready, replicas, image)) = deployments.remove(&name) else {
                continue;
            };
            let weights = split.as_ref().map(|split| &split.configured);
            let weight =
                weights.and_then(|weights| weights.iter().find(|(name, _)| *name == version.name));
            overview.services.push(VersionOverview {
                service: service.name.clone(),
                version: version.name.clone(),
                ready,
                replicas,
                weight: weight.map(|(_, weight)| *weight),
                image,
            });
        }
    }
    overview.url = ingresses
        .first()
        .and_then(|ingress| url(ingress, environment.ingress.port.unwrap_or(80)));
    Ok(())
}

/// The image of a workload's own container, which comes first.
fn application_image(deployment: &Value) -> &str {
    deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap_or_default()
}

/// Where an ingress is reached, once its load balancer has a name.
pub fn url(ingress: &Value, port: u16) -> Option<String> {
    let place = &ingress["status"]["loadBalancer"]["ingress"][0];
    let host = place["hostname"].as_str().or(place["ip"].as_str())?;
    Some(match port {
        80 => format!("http://{host}"),
        port => format!("http://{host}:{port}"),
    })
}
