//! A service's resources in App Mesh: VirtualService, VirtualRouter, VirtualNodes.

use super::{AppMesh, PASSING, dead, initial_weights, mesh_readiness, split};
use crate::clients::kube::{Bundle, Cluster, readiness};
use crate::config::Service;
use crate::engine::{Change, Context, Expected, Input, Observed, Result, Step, StepId};

/// The VirtualServices of all services that are called, made before any node that names one as its backend.
///
/// They become active once their own service's resources are there, which that service's step waits for.
pub(super) struct VirtualServices {
    pub app_mesh: AppMesh,
    pub cluster: Input<Cluster>,
}

impl VirtualServices {
    fn bundle<'a>(&self, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let mut manifests = Vec::new();
        for service in self.app_mesh.environment().services.values() {
            let all = self
                .app_mesh
                .service_manifests(service, &initial_weights(service))?;
            manifests.extend(
                all.into_iter()
                    .filter(|manifest| manifest["kind"] == "VirtualService"),
            );
        }
        let mut bundle = Bundle::new(Step::title(self), cluster, manifests);
        bundle.passing = PASSING;
        bundle.readiness = readiness;
        Ok(bundle)
    }
}

impl Step for VirtualServices {
    type Outputs = ();

    fn id(&self) -> StepId {
        "mesh-names".into()
    }

    fn title(&self) -> String {
        "virtual services".into()
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        self.bundle(&self.cluster.get(cx)?)?.observe().await
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
        self.bundle(&self.cluster.get(cx)?)?.apply(cx).await
    }

    async fn destroy(&self, cx: &Context, seen: &Observed<()>) -> Result<()> {
        if matches!(seen, Observed::Unreachable(_)) {
            return Ok(());
        }
        let cluster = self.cluster.get(cx)?;
        let names = self.bundle(&cluster)?.names();
        dead::remove_all(cx, &cluster, &names).await
    }
}

/// One service's resources.
pub(super) struct ServiceResources {
    pub app_mesh: AppMesh,
    pub cluster: Input<Cluster>,
    pub service: Service,
}

impl ServiceResources {
    /// The manifests with the weights as they are: a canary in progress is nobody's drift.
    async fn bundle<'a>(&self, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let live = split::live_weights(&self.app_mesh, cluster, &self.service).await?;
        let weights = live.unwrap_or_else(|| initial_weights(&self.service));
        let manifests = self.app_mesh.service_manifests(&self.service, &weights)?;
        let mut bundle = Bundle::new(Step::title(self), cluster, manifests);
        bundle.passing = PASSING;
        bundle.readiness = mesh_readiness;
        Ok(bundle)
    }
}

impl Step for ServiceResources {
    type Outputs = ();

    fn id(&self) -> StepId {
        format!("mesh/{}", self.service.name).into()
    }

    fn title(&self) -> String {
        format!("mesh resources of {}", self.service.name)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(5, 10)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        let cluster = self.cluster.get(cx)?;
        self.bundle(&cluster).await?.observe().await
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
        let cluster = self.cluster.get(cx)?;
        self.bundle(&cluster).await?.apply(cx).await
    }

    async fn destroy(&self, cx: &Context, seen: &Observed<()>) -> Result<()> {
        if matches!(seen, Observed::Unreachable(_)) {
            return Ok(());
        }
        let cluster = self.cluster.get(cx)?;
        // App Mesh deletes what uses before what is used: VirtualService, VirtualRouter, VirtualNode, as made.
        let names = self.bundle(&cluster).await?.names();
        dead::remove_all(cx, &cluster, &names).await
    }
}
