//! How to speak to a cluster, from what EKS says of it.

use super::Access;
use crate::clients::Clients;
use crate::config::Environment;

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
