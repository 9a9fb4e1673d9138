//! Finds the environment's cluster, for a command that has no graph at hand.

use super::{Access, Cluster};
use crate::clients::{Clients, aws};
use crate::config::{Environment, Names};
use crate::engine::{Failure, FailureKind, Result};

/// The way to the environment's cluster, asked of EKS.
///
/// # Errors
/// `Blocked` while there is none that is active; what EKS says otherwise.
pub async fn find(environment: &Environment, clients: &Clients) -> Result<Cluster> {
    let name = Names::new(&environment.name).cluster();
    let about = format!("EKS cluster {name}");
    let described = clients.eks.describe_cluster().name(&name).send().await;
    let cluster = match described {
        Ok(described) => described.cluster,
        Err(error) if aws::is(&error, "ResourceNotFoundException") => None,
        Err(error) => return Err(aws::failed(about)(error)),
    };
    let access = cluster.as_ref().and_then(|cluster| {
        // Both are there from the moment the control plane is active.
        let authority = cluster.certificate_authority()?.data()?;
        access(
            environment,
            clients,
            cluster.arn()?,
            cluster.endpoint()?,
            authority,
        )
    });
    match (access, cluster) {
        (Some(access), _) => Ok(Cluster::new(access)),
        (None, Some(cluster)) => {
            let status = cluster
                .status()
                .map_or("not there", |status| status.as_str());
            Err(
                Failure::of(FailureKind::Blocked, about, format!("is {status}"))
                    .hint("wait for `meshctl up`, or run it again: it goes on from here"),
            )
        }
        (None, None) => Err(Failure::of(FailureKind::Blocked, about, "does not exist")
            .hint("run `meshctl up` first")),
    }
}

/// How to speak to a cluster, from what EKS says of it. None for an ARN that is none, or without credentials.
pub fn access(
    environment: &Environment,
    clients: &Clients,
    arn: &str,
    endpoint: &str,
    certificate_authority: &str,
) -> Option<Access> {
    // arn:aws:eks:eu-west-1:123456789012:cluster/meshctl-demo
    let mut parts = arn.splitn(6, ':').skip(1);
    let (partition, _, region, account) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let name = parts.next()?.strip_prefix("cluster/")?;
    Some(Access {
        name: name.to_owned(),
        environment: environment.name.clone(),
        region: region.to_owned(),
        partition: partition.to_owned(),
        account: account.to_owned(),
        endpoint: endpoint.to_owned(),
        certificate_authority: certificate_authority.to_owned(),
        credentials: clients.config.credentials_provider()?,
    })
}
