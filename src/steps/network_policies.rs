//! With whom services' pods may speak below the mesh: whoever lists them as a backend, and whom they list.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::network::subnet_ranges;
use crate::clients::kube::{Bundle, Cluster, Objects, Template};
use crate::config::{Egress, Environment, Names};
use crate::engine::{Context, Input, Result, StepId};
use crate::mesh::labels;
use crate::template;

pub(super) const TEMPLATE: Template = template!("environment/network-policy.yaml");

/// The network policies of all services, made before their pods. The VPC CNI enforces them.
pub struct NetworkPolicies {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The cluster.
    pub cluster: Input<Cluster>,
}

pub(super) fn manifests(environment: &Environment) -> Result<Vec<Value>> {
    let mut callers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for service in environment.services.values() {
        for backend in &service.backends {
            callers.entry(backend).or_default().push(&service.name);
        }
    }
    let mut manifests = Vec::new();
    for service in environment.services.values() {
        let mut labels = labels(&Names::new(&environment.name));
        labels.insert("app".to_owned(), service.name.clone());
        let backends = service.backends.iter();
        let backends: Vec<Value> = backends
            .filter_map(|backend| environment.services.get(backend))
            .map(|backend| json!({"name": backend.name, "port": backend.port}))
            .collect();
        let is_entered = environment.ingress.service == service.name;
        manifests.extend(TEMPLATE.manifests(json!({
            "labels": labels,
            "namespace": environment.namespace,
            "service": service.name,
            "port": service.port,
            "callers": callers.get(service.name.as_str()),
            "entrance": is_entered.then(|| entrance(environment)),
            "backends": backends,
            "is_closed": environment.mesh.egress == Egress::DropAll,
        }))?);
    }
    Ok(manifests)
}

/// The subnets of the load balancer.
fn entrance(environment: &Environment) -> Vec<String> {
    let (public, private) = subnet_ranges(&environment.network.cidr);
    if environment.ingress.internal {
        private
    } else {
        public
    }
}

impl Objects for NetworkPolicies {
    fn id(&self) -> StepId {
        "network-policies".into()
    }

    fn title(&self) -> String {
        "network policies".into()
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let manifests = manifests(&self.environment)?;
        Ok(Bundle::new(self.title(), cluster, manifests))
    }
}
