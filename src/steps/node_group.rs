//! The managed node group.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_eks::types::{
    AmiTypes, LaunchTemplateSpecification, Nodegroup, NodegroupScalingConfig, NodegroupStatus,
    NodegroupUpdateConfig,
};

use super::outputs::{ClusterRoles, ControlPlane, LaunchTemplate, Subnets};
use crate::clients::Clients;
use crate::clients::aws::{failed, foreign, is};
use crate::clients::eks::{self, Asked, Going, Remains, Updated};
use crate::clients::stacks::token;
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{
    Change, Context, Expected, Failure, Input, Observed, Poll, Result, Step, StepId, Wait,
};
use crate::images::Platform;

/// How long its removal may take: nodes are drained first.
const DELETION: Duration = Duration::from_secs(30 * 60);

/// The managed node group.
pub struct ManagedNodeGroup {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The cluster.
    pub control_plane: Input<ControlPlane>,
    /// What nodes run as.
    pub roles: Input<ClusterRoles>,
    /// How nodes are launched.
    pub launch_template: Input<LaunchTemplate>,
    /// Where nodes are; with the way out, without which they never join.
    pub network: Input<Subnets>,
}

impl ManagedNodeGroup {
    fn cluster(&self) -> String {
        Names::new(&self.environment.name).cluster()
    }

    fn name(&self) -> String {
        Names::new(&self.environment.name).node_group()
    }

    fn resource(&self) -> String {
        format!("node group {}", self.name())
    }

    async fn find(&self) -> Result<Option<Nodegroup>> {
        find(&self.clients, &self.environment).await
    }

    fn scaling(&self) -> NodegroupScalingConfig {
        let nodes = &self.environment.cluster.nodes;
        NodegroupScalingConfig::builder()
            .min_size(nodes.min)
            .max_size(nodes.max)
            .desired_size(nodes.desired)
            .build()
    }

    fn launch(template: &LaunchTemplate) -> LaunchTemplateSpecification {
        LaunchTemplateSpecification::builder()
            .id(&template.id)
            .version(&template.version)
            .build()
    }

    /// Whether it has another launch template, not only another version of ours: EKS lets nobody exchange that.
    fn is_launched_otherwise(&self, cx: &Context, group: &Nodegroup) -> bool {
        let wanted = self.launch_template.get(cx);
        let launched = group.launch_template().and_then(|template| template.id());
        wanted.is_ok_and(|wanted| launched.is_some_and(|id| id != wanted.id))
    }

    fn drift(&self, cx: &Context, group: &Nodegroup) -> Drift {
        let nodes = &self.environment.cluster.nodes;
        let scaling = group.scaling_config().map(|scaling| {
            (
                scaling.min_size().unwrap_or_default(),
                scaling.max_size().unwrap_or_default(),
                scaling.desired_size().unwrap_or_default(),
            )
        });
        let wanted = (nodes.min, nodes.max, nodes.desired);
        let launched = group
            .launch_template()
            .and_then(|template| template.version());
        let template = self.launch_template.get(cx).ok();
        let version = self
            .control_plane
            .get(cx)
            .ok()
            .map(|control| control.version);
        Drift {
            scaling: (scaling != Some(wanted)).then(|| {
                let shown =
                    |(min, max, desired): (i32, i32, i32)| format!("{desired} ({min}–{max})");
                format!(
                    "nodes: {} → {}",
                    scaling.map_or_else(|| "?".into(), shown),
                    shown(wanted)
                )
            }),
            template: template
                .filter(|template| launched != Some(&template.version))
                .map(|template| {
                    format!(
                        "launch template: {} → {}",
                        launched.unwrap_or("?"),
                        template.version
                    )
                }),
            version: version
                .filter(|version| group.version() != Some(version))
                .map(|version| {
                    format!(
                        "Kubernetes version: {} → {version}",
                        group.version().unwrap_or("?")
                    )
                }),
        }
    }

    async fn create(&self, cx: &Context) -> Result<()> {
        let subnets = self.network.get(cx)?;
        let nodes = &self.environment.cluster.nodes;
        let ami = match Platform::of_instances(&nodes.instance_types) {
            Platform::Amd64 => AmiTypes::Al2023X8664Standard,
            Platform::Arm64 => AmiTypes::Al2023Arm64Standard,
        };
        let created = self
            .clients
            .eks
            .create_nodegroup()
            .cluster_name(self.cluster())
            .nodegroup_name(self.name())
            .node_role(self.roles.get(cx)?.node)
            .set_subnets(Some(subnets.private))
            .set_instance_types(Some(nodes.instance_types.clone()))
            .ami_type(ami)
            .scaling_config(self.scaling())
            .launch_template(Self::launch(&self.launch_template.get(cx)?))
            .update_config(NodegroupUpdateConfig::builder().max_unavailable(1).build())
            .labels("meshctl.dev/environment", &self.environment.name)
            .tags(OWNER_TAG, &self.environment.name)
            .client_request_token(token())
            .send()
            .await;
        match created {
            Ok(_) => Ok(()),
            // Another run was faster.
            Err(error) if is(&error, eks::IN_USE) => Ok(()),
            Err(error) => {
                let plane = self.control_plane.get(cx)?;
                let refused = failed(self.resource())(error);
                Err(plane.refusal(&self.clients.eks, refused).await)
            }
        }
    }

    /// The node group once nothing is going on with it; none when it is gone.
    async fn settled(&self, cx: &Context) -> Result<Option<Nodegroup>> {
        let wait = Wait::new(self.resource(), Duration::from_secs(30 * 60)).hint(
            "nodes that cannot reach the internet or the API server never join: see the node group's health in EKS",
        );
        cx.wait_for(wait, async || {
            let Some(group) = self.find().await? else {
                return Ok(Poll::Ready(None));
            };
            Ok(match group.status() {
                Some(
                    NodegroupStatus::Creating
                    | NodegroupStatus::Updating
                    | NodegroupStatus::Deleting,
                ) => Poll::Pending(words(&group)),
                _ => Poll::Ready(Some(group)),
            })
        })
        .await
    }

    async fn update(&self, cx: &Context, drift: Drift) -> Result<()> {
        let (eks, cluster, name) = (&self.clients.eks, self.cluster(), self.name());
        if drift.scaling.is_some() {
            let updated = eks
                .update_nodegroup_config()
                .cluster_name(&cluster)
                .nodegroup_name(&name)
                .scaling_config(self.scaling())
                .client_request_token(token())
                .send()
                .await
                .map_err(failed(self.resource()))?;
            eks::update_done(cx, eks, &cluster, Updated::NodeGroup(&name), updated.update).await?;
        }
        if drift.template.is_some() || drift.version.is_some() {
            let updated = eks
                .update_nodegroup_version()
                .cluster_name(&cluster)
                .nodegroup_name(&name)
                .version(self.control_plane.get(cx)?.version)
                .launch_template(Self::launch(&self.launch_template.get(cx)?))
                .client_request_token(token())
                .send()
                .await
                .map_err(failed(self.resource()))?;
            eks::update_done(cx, eks, &cluster, Updated::NodeGroup(&name), updated.update).await?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Context) -> Result<()> {
        delete(cx, &self.clients, &self.environment).await
    }
}

/// The environment's node group.
pub(super) async fn find(
    clients: &Clients,
    environment: &Environment,
) -> Result<Option<Nodegroup>> {
    let names = Names::new(&environment.name);
    let described = clients.eks.describe_nodegroup();
    let described = described.cluster_name(names.cluster());
    match described.nodegroup_name(names.node_group()).send().await {
        Ok(described) => Ok(described.nodegroup),
        // The node group or the cluster.
        Err(error) if is(&error, eks::NOT_FOUND) => Ok(None),
        Err(error) => Err(failed(format!("node group {}", names.node_group()))(error)),
    }
}

/// Whose the node group is, where it is not this environment's.
pub(super) fn foreign_owner(group: &Nodegroup, environment: &Environment) -> Option<String> {
    let owner = group.tags().and_then(|tags| tags.get(OWNER_TAG));
    foreign(owner.map(String::as_str), &environment.name)
}

/// Deletes the environment's node group and returns when it is gone.
pub(super) async fn delete(
    cx: &Context,
    clients: &Clients,
    environment: &Environment,
) -> Result<()> {
    let names = Names::new(&environment.name);
    let resource = format!("node group {}", names.node_group());
    let look = async || {
        let found = find(clients, environment).await?;
        Ok(found.map(|group| {
            let going = match group.status() {
                Some(NodegroupStatus::Deleting | NodegroupStatus::Updating) => Going::Busy,
                // Also DELETE_FAILED, with `Ec2SecurityGroupDeletionFailure` and the like.
                _ => Going::Still,
            };
            Remains {
                going,
                words: words(&group),
                made: group.created_at,
            }
        }))
    };
    let ask = async || {
        let request = clients.eks.delete_nodegroup();
        let request = request.cluster_name(names.cluster());
        let answer = request.nodegroup_name(names.node_group()).send().await;
        Asked::of(answer, &resource)
    };
    eks::delete(cx, &resource, DELETION, look, ask).await
}

/// What differs between the node group and what is wanted.
struct Drift {
    scaling: Option<String>,
    template: Option<String>,
    version: Option<String>,
}

impl Drift {
    fn lines(&self) -> Vec<String> {
        [&self.scaling, &self.template, &self.version]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

fn words(group: &Nodegroup) -> String {
    let status = group.status().map_or("UNKNOWN", NodegroupStatus::as_str);
    let issues: Vec<String> = group
        .health()
        .map(|health| health.issues())
        .unwrap_or_default()
        .iter()
        .map(|issue| {
            let code = issue.code().map_or("", |code| code.as_str());
            format!("{code}: {}", issue.message().unwrap_or_default())
        })
        .collect();
    if issues.is_empty() {
        status.to_owned()
    } else {
        format!("{status}: {}", issues.join("; "))
    }
}

impl Step for ManagedNodeGroup {
    type Outputs = ();

    fn id(&self) -> StepId {
        "node-group".into()
    }

    fn title(&self) -> String {
        self.resource()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(113, 240)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        let Some(group) = self.find().await? else {
            return Ok(Observed::Absent);
        };
        if let Some(whose) = foreign_owner(&group, &self.environment) {
            return Ok(Observed::Foreign(whose));
        }
        let wanted = &self.environment.cluster.nodes.instance_types;
        Ok(match group.status() {
            Some(NodegroupStatus::Active) if group.instance_types() != wanted => {
                Observed::Failed(format!(
                    "instance types: {} → {}, which takes a new node group",
                    group.instance_types().join(", "),
                    wanted.join(", ")
                ))
            }
            Some(NodegroupStatus::Active) if self.is_launched_otherwise(cx, &group) => {
                Observed::Failed(
                    "its launch template was made again, which takes a new node group".into(),
                )
            }
            Some(NodegroupStatus::Active) => Observed::Ready {
                outputs: (),
                drift: self.drift(cx, &group).lines(),
            },
            Some(NodegroupStatus::Degraded) => Observed::Ready {
                outputs: (),
                drift: vec![words(&group)],
            },
            Some(NodegroupStatus::CreateFailed | NodegroupStatus::DeleteFailed) => {
                Observed::Failed(words(&group))
            }
            _ => Observed::Pending(words(&group)),
        })
    }

    async fn apply(&self, cx: &Context, change: &Change) -> Result<()> {
        if let Change::Replace(_) = change {
            cx.progress("removing the one that is there first");
            self.delete(cx).await?;
        }
        for _ in 0..4 {
            let Some(group) = self.settled(cx).await? else {
                self.create(cx).await?;
                continue;
            };
            if group.status() != Some(&NodegroupStatus::Active) {
                return Err(Failure::new(self.resource(), words(&group))
                    .hint("mend the cause, then run the same command again: it makes a new one"));
            }
            let drift = self.drift(cx, &group);
            if drift.lines().is_empty() {
                return Ok(());
            }
            self.update(cx, drift).await?;
        }
        Err(Failure::new(self.resource(), "it never becomes as wanted"))
    }

    async fn destroy(&self, cx: &Context, _: &Observed<()>) -> Result<()> {
        self.delete(cx).await
    }
}
