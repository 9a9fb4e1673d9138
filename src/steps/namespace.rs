//! The namespace of the services.

use std::sync::Arc;

use serde_json::json;

use crate::clients::kube::{Bundle, Cluster, Objects, Template};
use crate::config::{Environment, Names};
use crate::engine::{Context, Expected, Input, Result, StepId};
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
}
