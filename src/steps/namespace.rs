//! The namespace of the services.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::ingress::remove_ingress;
use crate::clients::Clients;
use crate::clients::kube::{Bundle, Cluster, Objects, Reference, Template, remove};
use crate::config::{Environment, Names};
use crate::engine::{Context, Expected, FailureKind, Input, Result, StepId};
use crate::mesh::{MeshProvider, labels};
use crate::template;

pub(super) const TEMPLATE: Template = template!("environment/namespace.yaml");

/// How long it may take to go while nothing in it is held.
const HELD: Duration = Duration::from_secs(20);
/// How long it may take all in all, after that.
const REMOVAL: Duration = Duration::from_secs(300);

/// The namespace, labelled into the mesh.
pub struct ServicesNamespace {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// Its mesh.
    pub mesh: Arc<dyn MeshProvider>,
    /// The cluster.
    pub cluster: Input<Cluster>,
}

impl Objects for ServicesNamespace {
    fn id(&self) -> StepId {
        "namespace".into()
    }

    fn title(&self) -> String {
        format!("namespace {}", self.environment.namespace)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 10)
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let mut labels = labels(&Names::new(&self.environment.name));
        labels.extend(self.mesh.namespace_labels());
        let context = json!({"namespace": self.environment.namespace, "labels": labels});
        Ok(Bundle::new(
            self.title(),
            cluster,
            TEMPLATE.manifests(context)?,
        ))
    }

    /// What is in it was removed before, by the steps that made it, and then their controllers. What another run made of
    /// that again meanwhile keeps finalizers that nobody takes off any more.
    async fn remove(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let namespace = Reference::cluster("v1", "Namespace", &self.environment.namespace);
        match remove(cx, cluster, &namespace, HELD).await {
            Err(failure) if failure.kind == FailureKind::Timeout => {}
            removed => return removed,
        }
        cx.progress("removing what was made in it meanwhile");
        remove_ingress(cx, &self.clients, cluster, &self.environment).await?;
        let members = self.mesh.members()?;
        self.mesh.remove_members(cx, cluster, &members).await?;
        remove(cx, cluster, &namespace, REMOVAL).await
    }
}
