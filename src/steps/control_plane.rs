//! The EKS control plane: the longest wait of all, so it needs nothing but subnets and its role.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_sdk_eks::error::ProvideErrorMetadata;
use aws_sdk_eks::types::{
    AuthenticationMode, Cluster, ClusterStatus, ClusterVersionStatus, CreateAccessConfigRequest,
    LogSetup, LogType, Logging, NodegroupStatus, SupportType, UpgradePolicyRequest,
    VpcConfigRequest,
};

use super::open_groups;
use super::outputs::{ClusterRoles, ControlPlane, Subnets};
use crate::clients::Clients;
use crate::clients::aws::{code, failed, foreign, is};
use crate::clients::eks::{
    self, Asked, Going, Remains, Updated, cluster_issues, cluster_title, find_cluster,
};
use crate::clients::made_again;
use crate::clients::stacks::token;
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Poll, Result, Step, StepId,
    Wait,
};

/// How long a new role may take to be known everywhere; one that IAM itself does not know after that is gone.
const PROPAGATION: Duration = Duration::from_secs(20);
/// How long its removal may take.
const DELETION: Duration = Duration::from_secs(40 * 60);

/// The EKS control plane.
pub struct EksControlPlane {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// Where it is.
    pub subnets: Input<Subnets>,
    /// What it runs as.
    pub roles: Input<ClusterRoles>,
}

impl EksControlPlane {
    fn name(&self) -> String {
        Names::new(&self.environment.name).cluster()
    }

    fn title(&self) -> String {
        cluster_title(&self.name())
    }

    fn outputs(&self, cluster: Cluster) -> Result<ControlPlane> {
        let missing = |what: &str| Failure::new(self.title(), format!("EKS names no {what}"));
        let vpc = cluster
            .resources_vpc_config
            .ok_or_else(|| missing("VPC configuration"))?;
        Ok(ControlPlane {
            name: self.name(),
            arn: cluster.arn.ok_or_else(|| missing("ARN"))?,
            version: cluster.version.ok_or_else(|| missing("version"))?,
            endpoint: cluster.endpoint.ok_or_else(|| missing("endpoint"))?,
            certificate_authority: cluster
                .certificate_authority
                .and_then(|authority| authority.data)
                .ok_or_else(|| missing("certificate authority"))?,
            issuer: cluster
                .identity
                .and_then(|identity| identity.oidc)
                .and_then(|oidc| oidc.issuer)
                .ok_or_else(|| missing("OIDC issuer"))?,
            security_group: vpc
                .cluster_security_group_id
                .ok_or_else(|| missing("cluster security group"))?,
            vpc: vpc.vpc_id.ok_or_else(|| missing("VPC"))?,
        })
    }

    fn logged_types(&self) -> BTreeSet<&str> {
        self.environment
            .cluster
            .logging
            .iter()
            .map(String::as_str)
            .collect()
    }

    fn logging(&self) -> Logging {
        let wanted = self.logged_types();
        let setup = |enabled: bool| {
            let types: Vec<LogType> = LogType::values()
                .iter()
                .filter(|kind| wanted.contains(**kind) == enabled)
                .map(|kind| LogType::from(*kind))
                .collect();
            (!types.is_empty()).then(|| {
                LogSetup::builder()
                    .set_types(Some(types))
                    .enabled(enabled)
                    .build()
            })
        };
        Logging::builder()
            .set_cluster_logging(Some(
                [setup(true), setup(false)].into_iter().flatten().collect(),
            ))
            .build()
    }

    async fn drift(&self, cluster: &Cluster) -> Result<Drift> {
        let group = cluster
            .resources_vpc_config()
            .and_then(|vpc| vpc.cluster_security_group_id());
        let closed = match group {
            Some(group) if !open_groups::is_cluster_open(&self.clients, group).await? => {
                Some(group.to_owned())
            }
            _ => None,
        };
        let logged: BTreeSet<&str> = cluster
            .logging()
            .map(|logging| logging.cluster_logging())
            .unwrap_or_default()
            .iter()
            .filter(|setup| setup.enabled() == Some(true))
            .flat_map(|setup| setup.types())
            .map(LogType::as_str)
            .collect();
        let open: BTreeSet<&str> = cluster
            .resources_vpc_config()
            .map(|vpc| vpc.public_access_cidrs())
            .unwrap_or_default()
            .iter()
            .map(String::as_str)
            .collect();
        let wanted_open: BTreeSet<&str> = self
            .environment
            .cluster
            .public_access_cidrs
            .iter()
            .map(String::as_str)
            .collect();
        Ok(Drift {
            closed,
            version: self
                .environment
                .cluster
                .version
                .as_deref()
                .filter(|wanted| cluster.version() != Some(wanted))
                .map(|wanted| {
                    (
                        cluster.version().unwrap_or("?").to_owned(),
                        wanted.to_owned(),
                    )
                }),
            logging: (logged != self.logged_types()).then(|| {
                format!(
                    "logging: {} → {}",
                    join(&logged),
                    join(&self.logged_types())
                )
            }),
            access: (open != wanted_open)
                .then(|| format!("public access: {} → {}", join(&open), join(&wanted_open))),
        })
    }

    /// The newest version in standard support.
    async fn newest_version(&self) -> Result<String> {
        let described = self
            .clients
            .eks
            .describe_cluster_versions()
            .send()
            .await
            .map_err(failed("the Kubernetes versions of EKS"))?;
        described
            .cluster_versions
            .unwrap_or_default()
            .iter()
            .filter(|version| {
                version.status() == Some(&ClusterVersionStatus::StandardSupport)
                    || version
                        .version_status()
                        .is_some_and(|status| status.as_str() == "STANDARD_SUPPORT")
            })
            .filter_map(|version| version.cluster_version())
            .max_by_key(|version| ordinal(version))
            .map(str::to_owned)
            .ok_or_else(|| {
                Failure::new(
                    "the Kubernetes versions of EKS",
                    "none is in standard support",
                )
                .hint("set cluster.version in meshctl.yaml")
            })
    }

    async fn create(&self, cx: &Context) -> Result<()> {
        let (subnets, roles) = (self.subnets.get(cx)?, self.roles.get(cx)?);
        let version = match &self.environment.cluster.version {
            Some(version) => version.clone(),
            None => self.newest_version().await?,
        };
        let vpc = VpcConfigRequest::builder()
            .set_subnet_ids(Some(
                subnets.private.into_iter().chain(subnets.public).collect(),
            ))
            .endpoint_private_access(true)
            .endpoint_public_access(true)
            .set_public_access_cidrs(Some(self.environment.cluster.public_access_cidrs.clone()))
            .build();
        // Nobody gets in by having made it: the caller's access entry is a step of its own, seen and removed as any.
        let access = CreateAccessConfigRequest::builder()
            .authentication_mode(AuthenticationMode::Api)
            .bootstrap_cluster_creator_admin_permissions(false)
            .build();
        let support = UpgradePolicyRequest::builder()
            .support_type(SupportType::Standard)
            .build();
        let request = self
            .clients
            .eks
            .create_cluster()
            .name(self.name())
            .version(version)
            .role_arn(&roles.cluster)
            .resources_vpc_config(vpc)
            .access_config(access)
            .upgrade_policy(support)
            .bootstrap_self_managed_addons(false)
            .logging(self.logging())
            .tags(OWNER_TAG, &self.environment.name)
            .client_request_token(token());
        let wait = Wait::new(self.title(), Duration::from_secs(120))
            .hint("run the same command again: it goes on from here");
        let role = roles.cluster.rsplit('/').next().unwrap_or_default();
        let began = Instant::now();
        cx.wait_for(wait, async || {
            match request.clone().send().await {
                Ok(_) => Ok(Poll::Ready(())),
                // Another run was faster.
                Err(error) if is(&error, eks::IN_USE) => Ok(Poll::Ready(())),
                // IAM is eventually consistent: `The role with name x is invalid / could not be assumed`.
                Err(error)
                    if code(&error) == Some("InvalidParameterException")
                        && error
                            .as_service_error()
                            .and_then(|service| service.message())
                            .is_some_and(|message| message.to_lowercase().contains("role")) =>
                {
                    if began.elapsed() > PROPAGATION && !self.role_exists(role).await? {
                        let message = format!("the role {role} was deleted meanwhile");
                        return Err(Failure::new(self.title(), message)
                            .hint("run the same command again: it makes it anew"));
                    }
                    Ok(Poll::Pending(
                        "the new role is not known everywhere yet".into(),
                    ))
                }
                Err(error) => Err(failed(self.title())(error)),
            }
        })
        .await
    }

    async fn role_exists(&self, name: &str) -> Result<bool> {
        match self.clients.iam.get_role().role_name(name).send().await {
            Ok(_) => Ok(true),
            Err(error) if is(&error, "NoSuchEntity") => Ok(false),
            Err(error) => Err(failed(format!("role {name}"))(error)),
        }
    }

    async fn update(&self, cx: &Context, drift: Drift) -> Result<()> {
        let (eks, name) = (&self.clients.eks, self.name());
        if let Some(group) = &drift.closed {
            open_groups::open_cluster(&self.clients, group).await?;
        }
        // EKS takes one kind of update at a time.
        if drift.logging.is_some() {
            let updated = eks
                .update_cluster_config()
                .name(&name)
                .logging(self.logging())
                .client_request_token(token())
                .send()
                .await
                .map_err(failed(self.title()))?;
            eks::update_done(cx, eks, &name, Updated::Cluster, updated.update).await?;
        }
        if drift.access.is_some() {
            let vpc = VpcConfigRequest::builder()
                .endpoint_private_access(true)
                .endpoint_public_access(true)
                .set_public_access_cidrs(Some(self.environment.cluster.public_access_cidrs.clone()))
                .build();
            let updated = eks
                .update_cluster_config()
                .name(&name)
                .resources_vpc_config(vpc)
                .client_request_token(token())
                .send()
                .await
                .map_err(failed(self.title()))?;
            eks::update_done(cx, eks, &name, Updated::Cluster, updated.update).await?;
        }
        if let Some((_, wanted)) = drift.version {
            let updated = eks
                .update_cluster_version()
                .name(&name)
                .version(wanted)
                .client_request_token(token())
                .send()
                .await
                .map_err(failed(self.title()))?;
            eks::update_done(cx, eks, &name, Updated::Cluster, updated.update).await?;
        }
        Ok(())
    }
}

/// What differs between the cluster and what is wanted.
struct Drift {
    version: Option<(String, String)>,
    logging: Option<String>,
    access: Option<String>,
    /// The cluster's security group when it keeps its members from each other.
    closed: Option<String>,
}

impl Drift {
    fn lines(&self) -> Vec<String> {
        let version = self
            .version
            .as_ref()
            .map(|(is, wanted)| format!("Kubernetes version: {is} → {wanted}"));
        let closed = self.closed.as_ref().map(|group| {
            format!("security group {group}: no rule lets nodes and control plane reach each other")
        });
        [version, self.logging.clone(), self.access.clone(), closed]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn join(values: &BTreeSet<&str>) -> String {
    if values.is_empty() {
        "none".to_owned()
    } else {
        values.iter().copied().collect::<Vec<_>>().join(", ")
    }
}

/// `1.35` as numbers, so that 1.9 is older than 1.35.
fn ordinal(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

impl Step for EksControlPlane {
    type Outputs = ControlPlane;

    fn id(&self) -> StepId {
        "control-plane".into()
    }

    fn title(&self) -> String {
        format!("EKS control plane {}", self.name())
    }

    fn expected(&self) -> Expected {
        Expected::seconds(560, 240)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<ControlPlane>> {
        let Some(cluster) = find_cluster(&self.clients.eks, &self.name()).await? else {
            return Ok(Observed::Absent);
        };
        let owner = cluster.tags().and_then(|tags| tags.get(OWNER_TAG));
        if let Some(whose) = foreign(owner.map(String::as_str), &self.environment.name) {
            return Ok(Observed::Foreign(whose));
        }
        Ok(match cluster.status() {
            Some(ClusterStatus::Active) => Observed::Ready {
                drift: self.drift(&cluster).await?.lines(),
                outputs: self.outputs(cluster)?,
            },
            // While an update runs, the cluster serves as before.
            Some(ClusterStatus::Updating) if cluster.endpoint.is_some() => Observed::Ready {
                drift: vec!["UPDATING: to be waited for".into()],
                outputs: self.outputs(cluster)?,
            },
            Some(ClusterStatus::Failed) => Observed::Failed(cluster_issues(&cluster)),
            Some(status) => Observed::Pending(status.as_str().to_owned()),
            None => Observed::Pending("UNKNOWN".into()),
        })
    }

    fn plan(&self, seen: &Observed<ControlPlane>) -> Change {
        if let (Observed::Ready { outputs, .. }, Some(wanted)) =
            (seen, self.environment.cluster.version.as_deref())
            && ordinal(wanted) < ordinal(&outputs.version)
        {
            return Change::Blocked(format!(
                "it runs Kubernetes {}, and EKS cannot go back to {wanted}",
                outputs.version
            ));
        }
        Change::from_observed(seen)
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<ControlPlane> {
        let (eks, name) = (&self.clients.eks, self.name());
        for _ in 0..4 {
            // `None` also for a cluster of an earlier `down` that was still being deleted.
            let Some(cluster) = eks::cluster_settled(cx, eks, &name).await? else {
                self.create(cx).await?;
                continue;
            };
            if cluster.status() == Some(&ClusterStatus::Failed) {
                cx.progress("removing the failed one first");
                self.delete(cx).await?;
                continue;
            }
            let drift = self.drift(&cluster).await?;
            if drift.lines().is_empty() {
                return self.outputs(cluster);
            }
            self.update(cx, drift).await?;
        }
        let last = find_cluster(eks, &name).await?;
        let words = last.map_or_else(
            || "it was deleted meanwhile".into(),
            |it| cluster_issues(&it),
        );
        Err(Failure::of(FailureKind::Service, self.title(), words))
    }

    async fn destroy(&self, cx: &Context, _: &Observed<ControlPlane>) -> Result<()> {
        self.delete(cx).await
    }
}

impl EksControlPlane {
    async fn delete(&self, cx: &Context) -> Result<()> {
        let (client, name) = (&self.clients.eks, self.name());
        let look = async || {
            let found = find_cluster(client, &name).await?;
            Ok(found.map(|cluster| Remains {
                going: match cluster.status() {
                    Some(ClusterStatus::Active | ClusterStatus::Failed) => Going::Still,
                    _ => Going::Busy,
                },
                words: cluster_issues(&cluster),
                made: cluster.created_at,
            }))
        };
        let refused = OnceLock::new();
        let ask = async || {
            let answer = client.delete_cluster().name(&name).send().await;
            let asked = Asked::of(answer, &self.title())?;
            // `Cluster has nodegroups attached`, `… currently has an update in progress`.
            if matches!(asked, Asked::Refused(_))
                && refused.get_or_init(Instant::now).elapsed() > eks::SHOWN
            {
                self.refuse_held().await?;
            }
            Ok(asked)
        };
        eks::delete(cx, &self.title(), DELETION, look, ask).await
    }

    /// Ends well unless the cluster has a node group that stays. Ours went before: it is there again, or a stranger's.
    async fn refuse_held(&self) -> Result<()> {
        let (client, name) = (&self.clients.eks, self.name());
        let groups = eks::node_groups(client, &name).await?;
        for group in groups.unwrap_or_default() {
            let described = client.describe_nodegroup().cluster_name(&name);
            let status = match described.nodegroup_name(&group).send().await {
                Ok(described) => described.nodegroup.and_then(|group| group.status),
                Err(error) if is(&error, eks::NOT_FOUND) => continue,
                Err(error) => return Err(failed(self.title())(error)),
            };
            if status == Some(NodegroupStatus::Deleting) {
                continue;
            }
            let what = format!("node group {group}");
            if group == Names::new(&self.environment.name).node_group() {
                return Err(made_again(&what));
            }
            let message = format!("is in {}, and not of this environment", self.title());
            return Err(Failure::of(FailureKind::Blocked, what, message)
                .hint("remove it, or have its owner do so; then run the same command again"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number() {
        assert!(ordinal("1.9") < ordinal("1.35"));
        assert!(ordinal("1.36") > ordinal("1.35"));
    }
}
