//! A service's pods, version by version.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::outputs::Image;
use crate::clients::kube::{Bundle, Cluster, Objects, Template};
use crate::config::{Environment, Names, Service};
use crate::engine::{Context, Expected, Input, Result, StepId};
use crate::mesh::{MeshProvider, labels, workload};
use crate::template;

pub(super) const TEMPLATE: Template = template!("environment/workload.yaml");

/// The pods of one service.
pub struct Workload {
    /// The environment.
    pub environment: Arc<Environment>,
    /// Its mesh.
    pub mesh: Arc<dyn MeshProvider>,
    /// The service.
    pub service: Service,
    /// The cluster.
    pub cluster: Input<Cluster>,
    /// What its containers run.
    pub image: Input<Image>,
}

pub(super) fn manifests(
    environment: &Environment,
    mesh: &dyn MeshProvider,
    service: &Service,
    image: &Image,
) -> Result<Vec<Value>> {
    let names = Names::new(&environment.name);
    let mut labels = labels(&names);
    labels.insert("app".to_owned(), service.name.clone());
    let mut manifests = Vec::new();
    for version in &service.versions {
        let mut env = BTreeMap::from([
            ("PORT".to_owned(), service.port.to_string()),
            ("VERSION".to_owned(), version.name.clone()),
        ]);
        for backend in &service.backends {
            if let Some(backend) = environment.services.get(backend) {
                env.insert(url_variable(&backend.name), url(environment, backend));
            }
        }
        env.extend(version.env.clone());
        let selector = BTreeMap::from([("app", &service.name), ("version", &version.name)]);
        let mut pod_labels = labels.clone();
        pod_labels.insert("version".to_owned(), version.name.clone());
        let mut own_labels = labels.clone();
        own_labels.insert("version".to_owned(), version.name.clone());
        manifests.extend(TEMPLATE.manifests(json!({
            "labels": own_labels,
            "namespace": environment.namespace,
            "service": service.name,
            "workload": workload(&service.name, &version.name),
            "replicas": version.replicas,
            "selector": selector,
            "pod_labels": pod_labels,
            "pod_annotations": mesh.pod_annotations(),
            "image": image.reference,
            "port": service.port,
            "protocol": service.protocol,
            "env": env,
            "health_path": service.health_path,
        }))?);
    }
    Ok(manifests)
}

/// `BACKEND_URL` for `backend`.
fn url_variable(service: &str) -> String {
    format!("{}_URL", service.to_uppercase().replace('-', "_"))
}

/// The one host name of a service: what callers use, what resolves, and what the mesh matches.
fn url(environment: &Environment, service: &Service) -> String {
    format!(
        "http://{}.{}.svc.cluster.local:{}",
        service.name, environment.namespace, service.port
    )
}

impl Objects for Workload {
    fn id(&self) -> StepId {
        format!("workload/{}", self.service.name).into()
    }

    fn title(&self) -> String {
        format!("pods of {}", self.service.name)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(40, 15)
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, cx: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        // What is there is seen and removed without its image too; nothing is applied before its image is there.
        let missing = || Image {
            reference: "not-there-yet".to_owned(),
        };
        let image = self.image.get(cx).unwrap_or_else(|_| missing());
        let manifests = manifests(&self.environment, self.mesh.as_ref(), &self.service, &image)?;
        Ok(Bundle::new(self.title(), cluster, manifests))
    }

    async fn prepare(&self, cx: &Context, _: &Cluster) -> Result<()> {
        self.image.get(cx).map(drop)
    }
}
