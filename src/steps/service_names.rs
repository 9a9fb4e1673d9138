//! A service's account and names: what its pods run as, and what resolves to them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clients::kube::{Access, Bundle, Cluster, Objects, Template};
use crate::config::{Environment, Names, Service};
use crate::engine::{Context, Expected, Input, Result, StepId};
use crate::mesh::{MeshProvider, labels, workload};
use crate::template;

pub(super) const TEMPLATE: Template = template!("environment/service.yaml");

/// One service's ServiceAccount and Services.
pub struct ServiceNames {
    /// The environment.
    pub environment: Arc<Environment>,
    /// Its mesh.
    pub mesh: Arc<dyn MeshProvider>,
    /// The service.
    pub service: Service,
    /// The cluster.
    pub cluster: Input<Cluster>,
}

pub(super) fn manifests(
    environment: &Environment,
    mesh: &dyn MeshProvider,
    service: &Service,
    access: &Access,
) -> Result<Vec<Value>> {
    let names = Names::new(&environment.name);
    let mut labels = labels(&names);
    labels.insert("app".to_owned(), service.name.clone());
    let role = mesh.proxy_role().map(|role| {
        format!(
            "arn:{}:iam::{}:role/{}",
            access.partition,
            access.account,
            names.role(role)
        )
    });
    let versions: Vec<Value> = service
        .versions
        .iter()
        .map(|version| json!({"name": version.name, "workload": workload(&service.name, &version.name)}))
        .collect();
    TEMPLATE.manifests(json!({
        "labels": labels,
        "namespace": environment.namespace,
        "name": service.name,
        "port": service.port,
        "protocol": service.protocol,
        "role_arn": role,
        "versions": versions,
    }))
}

impl Objects for ServiceNames {
    fn id(&self) -> StepId {
        format!("service/{}", self.service.name).into()
    }

    fn title(&self) -> String {
        format!("service {}", self.service.name)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 1)
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let access = cluster.access();
        let manifests = manifests(&self.environment, self.mesh.as_ref(), &self.service, access)?;
        Ok(Bundle::new(self.title(), cluster, manifests))
    }
}
