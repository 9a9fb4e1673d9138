//! A service's resources in App Mesh: VirtualService, VirtualRouter, VirtualNodes.

use super::{AppMesh, PASSING, dead, initial_weights, mesh_readiness, split};
use crate::clients::kube::{Bundle, Cluster, Objects, readiness};
use crate::config::Service;
use crate::engine::{Context, Expected, Input, Result, StepId};

/// The VirtualServices of all services that are called, made before any node that names one as its backend.
///
/// They become active once their own service's resources are there, which that service's step waits for.
pub(super) struct VirtualServices {
    pub app_mesh: AppMesh,
    pub cluster: Input<Cluster>,
}

impl Objects for VirtualServices {
    fn id(&self) -> StepId {
        "mesh-names".into()
    }

    fn title(&self) -> String {
        "virtual services".into()
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
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
        let mut bundle = Bundle::new(self.title(), cluster, manifests);
        bundle.passing = PASSING;
        bundle.readiness = readiness;
        Ok(bundle)
    }

    async fn remove(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let names = self.bundle(cx, cluster).await?.names();
        dead::remove_all(cx, &self.app_mesh, cluster, &names).await
    }
}

/// One service's resources.
pub(super) struct ServiceResources {
    pub app_mesh: AppMesh,
    pub cluster: Input<Cluster>,
    pub service: Service,
}

impl Objects for ServiceResources {
    fn id(&self) -> StepId {
        format!("mesh/{}", self.service.name).into()
    }

    fn title(&self) -> String {
        format!("mesh resources of {}", self.service.name)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(5, 10)
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    /// The manifests with the weights as they are: a canary in progress is nobody's drift.
    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let live = split::live_weights(&self.app_mesh, cluster, &self.service).await?;
        let weights = live.unwrap_or_else(|| initial_weights(&self.service));
        let manifests = self.app_mesh.service_manifests(&self.service, &weights)?;
        let mut bundle = Bundle::new(self.title(), cluster, manifests);
        bundle.passing = PASSING;
        bundle.readiness = mesh_readiness;
        bundle.controller = Some(dead::deployment());
        Ok(bundle)
    }

    async fn prepare(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let names = self.bundle(cx, cluster).await?.names();
        dead::let_go_of_deleted(cx, cluster, &names).await
    }

    async fn remove(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        // App Mesh deletes what uses before what is used: VirtualService, VirtualRouter, VirtualNode, as made.
        let names = self.bundle(cx, cluster).await?.names();
        dead::remove_all(cx, &self.app_mesh, cluster, &names).await
    }
}
