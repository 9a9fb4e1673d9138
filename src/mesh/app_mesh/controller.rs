//! The App Mesh controller in the cluster: its kinds, itself, and the Mesh.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    API, AppMesh, CONTROLLER, CONTROLLER_ROLE, CRDS, MESH, SYSTEM, WEBHOOK_SERVICE, WEBHOOKS, dead,
    mesh_readiness,
};
use crate::clients::kube::{Access, Bundle, Certificate, CertificateSecret, Cluster, Objects};
use crate::engine::{Context, Expected, Input, Poll, Result, StepId, Wait};
use crate::mesh::labels;

/// The seven kinds.
pub(super) struct Definitions {
    pub app_mesh: AppMesh,
    pub cluster: Input<Cluster>,
}

impl Objects for Definitions {
    fn id(&self) -> StepId {
        "mesh-kinds".into()
    }

    fn title(&self) -> String {
        "App Mesh's kinds".into()
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let manifests = CRDS.manifests(self.app_mesh.context())?;
        Ok(Bundle::new("App Mesh's kinds", cluster, manifests))
    }

    async fn remove(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let kinds = CRDS.manifests(self.app_mesh.context())?;
        dead::remove_kinds(cx, cluster, &kinds).await
    }
}

/// The manifests of the controller and of its webhooks.
pub(super) fn manifests(
    app_mesh: &AppMesh,
    access: &Access,
    certificate: &Certificate,
) -> Result<Vec<Value>> {
    let role = app_mesh.names().role(CONTROLLER_ROLE);
    let mut context = app_mesh.context();
    context["role_arn"] = json!(format!(
        "arn:{}:iam::{}:role/{role}",
        access.partition, access.account
    ));
    context["certificate"] = json!(certificate);
    context["region"] = json!(access.region);
    context["account"] = json!(access.account);
    context["cluster"] = json!(access.name);
    let mut manifests = CONTROLLER.manifests(&context)?;
    manifests.extend(WEBHOOKS.manifests(&context)?);
    Ok(manifests)
}

const SECRET: &str = "appmesh-controller-webhook-server-cert";

fn certificate_secret() -> CertificateSecret {
    CertificateSecret::new(SYSTEM, SECRET, WEBHOOK_SERVICE)
}

/// The controller with its webhooks.
pub(super) struct Controller {
    pub app_mesh: AppMesh,
    pub cluster: Input<Cluster>,
}

impl Controller {
    /// Available is not serving: asks the webhooks about an object that nobody keeps.
    async fn wait_for_webhooks(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let probe = json!({
            "apiVersion": API,
            "kind": "Mesh",
            "metadata": {"name": format!("{}-probe", self.app_mesh.mesh()), "labels": labels(self.app_mesh.names())},
            // Selects no namespace, so it cannot be in the way of the real one.
            "spec": {},
        });
        let wait = Wait::new("App Mesh controller's webhooks", Duration::from_secs(180))
            .hint("nodes must accept port 9443 from the control plane; see the controller's log in appmesh-system");
        cx.wait_for(wait, || async {
            match cluster.dry_run(&probe).await {
                Ok(_) => Ok(Poll::Ready(())),
                Err(trouble) if trouble.is_webhook_away() => Ok(Poll::Pending(trouble.to_string())),
                // An answer, whatever it says, comes from a webhook that serves.
                Err(trouble) if trouble.to_string().contains("denied the request") => {
                    Ok(Poll::Ready(()))
                }
                Err(trouble) => Err(trouble.failure("App Mesh controller's webhooks")),
            }
        })
        .await
    }
}

impl Objects for Controller {
    fn id(&self) -> StepId {
        "mesh-controller".into()
    }

    fn title(&self) -> String {
        "App Mesh controller".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(40, 20)
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let certificate = certificate_secret().certificate(cluster).await?;
        let manifests = manifests(&self.app_mesh, cluster.access(), &certificate)?;
        Ok(Bundle::new(self.title(), cluster, manifests))
    }

    async fn prepare(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let manifests =
            |certificate: &Certificate| manifests(&self.app_mesh, cluster.access(), certificate);
        certificate_secret().agree(cx, cluster, manifests).await
    }

    async fn settle(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        self.wait_for_webhooks(cx, cluster).await
    }
}

/// The Mesh.
pub(super) struct MeshObject {
    pub app_mesh: AppMesh,
    pub cluster: Input<Cluster>,
}

impl Objects for MeshObject {
    fn id(&self) -> StepId {
        "mesh".into()
    }

    fn title(&self) -> String {
        format!("mesh {}", self.app_mesh.mesh())
    }

    fn expected(&self) -> Expected {
        Expected::seconds(3, 5)
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let manifests = MESH.manifests(self.app_mesh.context())?;
        let mut bundle = Bundle::new(self.title(), cluster, manifests);
        bundle.readiness = mesh_readiness;
        bundle.controller = Some(dead::deployment());
        Ok(bundle)
    }

    async fn prepare(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        for mesh in self.bundle(cx, cluster).await?.names() {
            dead::wait_for_deleted_mesh(cx, &self.app_mesh, cluster, &mesh).await?;
        }
        Ok(())
    }

    async fn remove(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let names = self.bundle(cx, cluster).await?.names();
        for mesh in &names {
            dead::remind_of_deleted(cluster, mesh).await?;
        }
        dead::remove_all(cx, &self.app_mesh, cluster, &names).await
    }
}
