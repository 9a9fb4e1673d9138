//! What an earlier version of the environment's file asked for and this one does not: versions and services taken out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::outputs::Image;
use super::{network_policies, service_names, workload};
use crate::clients::kube::{Cluster, ENVIRONMENT, FIELD_MANAGER, MANAGED_BY, Reference, remove};
use crate::config::Environment;
use crate::engine::{Change, Context, Expected, Input, Observed, Result, Step, StepId};
use crate::mesh::MeshProvider;

/// What services have in the cluster beside the mesh, in the order in which it is removed.
const KINDS: [(&str, &str); 5] = [
    ("policy/v1", "PodDisruptionBudget"),
    ("apps/v1", "Deployment"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
];

/// Removes services' objects that are no longer wanted, once all that is wanted is there.
pub struct Prune {
    /// The environment.
    pub environment: Arc<Environment>,
    /// Its mesh.
    pub mesh: Arc<dyn MeshProvider>,
    /// The cluster.
    pub cluster: Input<Cluster>,
}

/// What is not wanted: of the services and of the mesh, each in the order of removal.
#[derive(Default)]
struct Unwanted {
    objects: Vec<Reference>,
    members: Vec<Reference>,
}

impl Prune {
    fn wanted(&self, cluster: &Cluster) -> Result<BTreeSet<Reference>> {
        let mut wanted: BTreeSet<Reference> = self.mesh.members()?.into_iter().collect();
        let policies = network_policies::manifests(&self.environment)?;
        wanted.extend(policies.iter().map(Reference::of));
        let image = Image {
            reference: String::new(),
        };
        for service in self.environment.services.values() {
            let mesh = self.mesh.as_ref();
            let names =
                service_names::manifests(&self.environment, mesh, service, cluster.access())?;
            let pods = workload::manifests(&self.environment, mesh, service, &image)?;
            wanted.extend(names.iter().chain(&pods).map(Reference::of));
        }
        Ok(wanted)
    }

    async fn unwanted(&self, cluster: &Cluster) -> Result<Unwanted> {
        let wanted = self.wanted(cluster)?;
        Ok(Unwanted {
            objects: self.owned(cluster, &KINDS, &wanted).await?,
            members: self
                .owned(cluster, self.mesh.member_kinds(), &wanted)
                .await?,
        })
    }

    async fn owned(
        &self,
        cluster: &Cluster,
        kinds: &[(&str, &str)],
        wanted: &BTreeSet<Reference>,
    ) -> Result<Vec<Reference>> {
        let labels = format!(
            "app,{MANAGED_BY}={FIELD_MANAGER},{ENVIRONMENT}={}",
            self.environment.name
        );
        let namespace = Some(self.environment.namespace.as_str());
        let mut unwanted = Vec::new();
        // One after the other: all at once is all in memory at once.
        for (api, kind) in kinds {
            let found = cluster.list_as(api, kind, namespace, &labels, |object| {
                Some(Reference::of(&object)).filter(|found| !wanted.contains(found))
            });
            let found = found.await;
            let found = found.map_err(|trouble| trouble.failure(self.title()))?;
            unwanted.extend(found.into_iter().flatten());
        }
        Ok(unwanted)
    }
}

impl Step for Prune {
    type Outputs = ();

    fn id(&self) -> StepId {
        "prune".into()
    }

    fn title(&self) -> String {
        "what is no longer wanted".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(0, 1)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        let unwanted = self.unwanted(&self.cluster.get(cx)?).await?;
        let all = unwanted.objects.iter().chain(&unwanted.members);
        let drift: Vec<String> = all
            .map(|name| format!("{name} is no longer wanted"))
            .collect();
        Ok(if drift.is_empty() {
            Observed::Absent
        } else {
            Observed::Ready { outputs: (), drift }
        })
    }

    fn plan(&self, seen: &Observed<()>) -> Change {
        match seen {
            Observed::Absent => Change::Keep,
            seen => Change::from_observed(seen),
        }
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
        let cluster = self.cluster.get(cx)?;
        let unwanted = self.unwanted(&cluster).await?;
        for name in &unwanted.objects {
            cx.progress(format!("removing {name}"));
            remove(cx, &cluster, name, Duration::from_secs(120)).await?;
        }
        self.mesh
            .remove_members(cx, &cluster, &unwanted.members)
            .await
    }

    async fn destroy(&self, cx: &Context, _: &Observed<()>) -> Result<()> {
        self.apply(cx, &Change::Keep).await
    }
}
