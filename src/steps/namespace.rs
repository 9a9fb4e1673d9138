//! The namespace of the services.

use std::sync::Arc;

use serde_json::json;

use crate::clients::kube::{Bundle, Cluster, Template};
use crate::config::{Environment, Names};
use crate::engine::{Change, Context, Expected, Input, Observed, Result, Step, StepId};
use crate::mesh::{MeshProvider, labels};
use crate::template;

pub(super) const TEMPLATE: Template = template!("environment/namespace.yaml");

/// The namespace, labelled into the mesh.
pub struct ServicesNamespace {
    /// The environment.
    pub environment: Arc<Environment>,
    /// Its mesh.
    pub mesh: Arc<dyn MeshProvider>,
    /// The cluster.
    pub cluster: Input<Cluster>,
}

impl ServicesNamespace {
    fn bundle<'a>(&self, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let mut labels = labels(&Names::new(&self.environment.name));
        labels.extend(self.mesh.namespace_labels());
        let context = json!({"namespace": self.environment.namespace, "labels": labels});
        Ok(Bundle::new(
            self.title(),
            cluster,
            TEMPLATE.manifests(context)?,
        ))
    }
}

impl Step for ServicesNamespace {
    type Outputs = ();

    fn id(&self) -> StepId {
        "namespace".into()
    }

    fn title(&self) -> String {
        format!("namespace {}", self.environment.namespace)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 10)
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
        self.bundle(&self.cluster.get(cx)?)?.destroy(cx).await
    }
}
