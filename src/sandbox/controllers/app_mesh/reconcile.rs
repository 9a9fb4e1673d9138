//! The reconcilers: one queue per kind, one flow for all: finalizer, references, AWS, status; and back on deletion.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::program;
use super::super::program::aws::AwsError;
use super::super::runtime::cache::Change;
use super::super::runtime::index::Index;
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Key, Next, Queue, Resource, Work};
use super::api::Address;
use super::references::lower;
use super::{
    Controller, GATEWAY_ROUTES, MESHES, VIRTUAL_GATEWAYS, VIRTUAL_NODES, VIRTUAL_ROUTERS,
    VIRTUAL_SERVICES, active, gateways, routes, spec,
};

/// On resources that have something in AWS.
const AWS_FINALIZER: &str = "finalizers.appmesh.k8s.aws/aws-appmesh-resources";
/// On meshes, until they have no members.
const MESH_MEMBERS: &str = "finalizers.appmesh.k8s.aws/mesh-members";
/// On virtual gateways, until they have no routes.
const GATEWAY_MEMBERS: &str = "finalizers.appmesh.k8s.aws/virtualgateway-members";
/// How often a resource that waits for its members looks again.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(60);

/// Why a reconcile did not come to its end.
#[derive(Debug)]
pub enum Trouble {
    /// Something is not there yet: tried again with back-off, said to nobody.
    Wait(String),
    /// Something holds it up for long: tried again after a while.
    Later(String, Duration),
    /// An error: tried again with back-off, and an event.
    Error(String),
}

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Trouble::Error(message)
    }
}

impl From<&str> for Trouble {
    fn from(message: &str) -> Self {
        Trouble::Error(message.to_owned())
    }
}

impl From<AwsError> for Trouble {
    fn from(error: AwsError) -> Self {
        Trouble::Error(error.to_string())
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Trouble::Error(error.to_string())
    }
}

fn kinds() -> [&'static Resource; 6] {
    [
        &MESHES,
        &VIRTUAL_NODES,
        &VIRTUAL_ROUTERS,
        &VIRTUAL_SERVICES,
        &VIRTUAL_GATEWAYS,
        &GATEWAY_ROUTES,
    ]
}

/// Members of a mesh by what they refer to, as [`referring`] has it.
static REFERENCES: Index = Index(|member| {
    let fields = [
        "meshRef",
        "virtualNodeRef",
        "virtualRouterRef",
        "virtualGatewayRef",
    ];
    let mut terms = Vec::new();
    for field in fields {
        let mut found = Vec::new();
        spec::references(&member["spec"], field, &mut found);
        for reference in found {
            // Meshes live in no namespace.
            let namespace = match field {
                "meshRef" => "",
                _ => spec::namespace_of(reference, member.namespace()),
            };
            terms.push(referring(field, namespace, text(&reference["name"])));
        }
    }
    terms
});

fn referring(field: &str, namespace: &str, name: &str) -> String {
    format!("{field}:{namespace}/{name}")
}

/// Runs all reconcilers until a shutdown.
pub async fn run(controller: Arc<Controller>) {
    let queues: Vec<Queue<Key>> = kinds().iter().map(|_| Queue::new()).collect();
    for (kind, queue) in kinds().into_iter().zip(&queues) {
        let add = queue.clone();
        controller
            .cluster
            .cache(kind)
            .subscribe(move |change| add.add(change.latest().key()));
    }
    // Who waits for another resource is woken when that one becomes (in)active, and by nothing else.
    for (index, kind) in kinds().into_iter().enumerate() {
        let sources: Vec<(&'static Resource, &'static str)> = match &*kind.kind {
            "Mesh" => vec![],
            "VirtualNode" | "VirtualGateway" => vec![(&MESHES, "meshRef")],
            "VirtualRouter" => vec![(&MESHES, "meshRef"), (&VIRTUAL_NODES, "virtualNodeRef")],
            "VirtualService" => vec![
                (&MESHES, "meshRef"),
                (&VIRTUAL_NODES, "virtualNodeRef"),
                (&VIRTUAL_ROUTERS, "virtualRouterRef"),
            ],
            _ => vec![
                (&MESHES, "meshRef"),
                (&VIRTUAL_GATEWAYS, "virtualGatewayRef"),
            ],
        };
        for (source, field) in sources {
            let (add, members) = (queues[index].clone(), controller.cluster.cache(kind));
            controller.cluster.cache(source).subscribe(move |change| {
                if !activity_changed(change, &source.kind) {
                    return;
                }
                let subject = change.latest().key();
                let term = referring(field, &subject.namespace, &subject.name);
                for member in members.by(&REFERENCES, &term) {
                    add.add(member.key());
                }
            });
        }
    }
    let mut tasks = JoinSet::new();
    for (kind, queue) in kinds().into_iter().zip(queues) {
        let workers = if kind.kind == "Mesh" { 1 } else { 3 };
        let shutdown = controller.cluster.shutdown();
        let controller = controller.clone();
        tasks.spawn(queue.run("appmesh", workers, shutdown, move |key| {
            let controller = controller.clone();
            async move { controller.reconcile(kind, &key).await }
        }));
    }
    while tasks.join_next().await.is_some() {}
}

fn activity_changed(change: &Change<'_>, kind: &str) -> bool {
    change
        .old
        .zip(change.new)
        .is_some_and(|(old, new)| active(old, kind) != active(new, kind))
}

impl Controller {
    async fn reconcile(&self, kind: &'static Resource, key: &Key) -> Work {
        let Some(object) = self.cluster.cache(kind).get(key) else {
            return Ok(Next::Done);
        };
        let deleting = object.deleting();
        let outcome = if deleting {
            self.clean_up(kind, &object).await
        } else {
            self.bring_about(kind, key).await
        };
        let logger = format!("controllers.{}", kind.kind);
        match outcome {
            Ok(()) => Ok(Next::Done),
            Err(Trouble::Wait(why)) => {
                tracing::debug!(%key, why, "requeue");
                Ok(Next::Retry)
            }
            Err(Trouble::Later(why, delay)) => {
                tracing::debug!(%key, why, "requeue after");
                Ok(Next::After(delay))
            }
            Err(Trouble::Error(error)) => {
                program::say(
                    &self.context,
                    "error",
                    &logger,
                    "Reconciler error",
                    json!({ lower(&kind.kind): key.to_string(), "error": error }),
                );
                if !deleting {
                    self.cluster
                        .as_component(&kind.kind)
                        .event(kind, &object, "Warning", "ReconcileError", &error)
                        .await;
                }
                Ok(Next::Retry)
            }
        }
    }

    async fn bring_about(&self, kind: &Resource, key: &Key) -> Result<(), Trouble> {
        let finalizers: &[&str] = match &*kind.kind {
            "Mesh" => &[MESH_MEMBERS, AWS_FINALIZER],
            "VirtualGateway" => &[GATEWAY_MEMBERS, AWS_FINALIZER],
            _ => &[AWS_FINALIZER],
        };
        let Some(object) = self.add_finalizers(kind, key, finalizers).await? else {
            return Ok(());
        };
        let namespace = object.namespace();
        let spec = &object["spec"];
        let mut more = json!({});
        let (address, actual) = match &*kind.kind {
            "Mesh" => {
                let address = mesh_address(&object);
                let actual = self.write(&address, &spec::mesh(spec)).await?;
                (address, actual)
            }
            "VirtualNode" => {
                let mesh = self.active_mesh_of(&object)?;
                let mut references = Vec::new();
                spec::references(&spec["backends"], "virtualServiceRef", &mut references);
                let grouped = gateways::grouped_services(self, &object)?;
                references.extend(grouped.iter().map(|service| &service["virtualServiceRef"]));
                self.dependencies(&VIRTUAL_SERVICES, &references, namespace, &mesh, false)?;
                let address = address_of(&mesh, kind, &object);
                let wanted = spec::virtual_node(spec, &grouped, &|_, reference| {
                    self.aws_name(&VIRTUAL_SERVICES, reference, namespace)
                })?;
                let actual = self.write(&address, &wanted).await?;
                (address, actual)
            }
            "VirtualRouter" => {
                let mesh = self.active_mesh_of(&object)?;
                let mut references = Vec::new();
                spec::references(&spec["routes"], "virtualNodeRef", &mut references);
                self.dependencies(&VIRTUAL_NODES, &references, namespace, &mesh, true)?;
                let address = address_of(&mesh, kind, &object);
                let (actual, arns) = routes::write(self, &address, &object).await?;
                more["routeARNs"] = arns;
                (address, actual)
            }
            "VirtualService" => {
                let mesh = self.active_mesh_of(&object)?;
                let (mut nodes, mut routers) = (Vec::new(), Vec::new());
                spec::references(spec, "virtualNodeRef", &mut nodes);
                spec::references(spec, "virtualRouterRef", &mut routers);
                self.dependencies(&VIRTUAL_NODES, &nodes, namespace, &mesh, true)?;
                self.dependencies(&VIRTUAL_ROUTERS, &routers, namespace, &mesh, true)?;
                let address = address_of(&mesh, kind, &object);
                let wanted = spec::virtual_service(spec, &|kind, reference| {
                    let kind = if kind == "VirtualNode" {
                        &VIRTUAL_NODES
                    } else {
                        &VIRTUAL_ROUTERS
                    };
                    self.aws_name(kind, reference, namespace)
                })?;
                let actual = self.write(&address, &wanted).await?;
                (address, actual)
            }
            "VirtualGateway" => {
                let mesh = self.active_mesh_of(&object)?;
                let address = address_of(&mesh, kind, &object);
                let actual = self.write(&address, &spec::virtual_gateway(spec)).await?;
                (address, actual)
            }
            _ => {
                let mesh = self.active_mesh_of(&object)?;
                let address = gateways::route_address(self, &mesh, &object, true)?;
                let mut references = Vec::new();
                spec::references(spec, "virtualServiceRef", &mut references);
                self.dependencies(&VIRTUAL_SERVICES, &references, namespace, &mesh, true)?;
                let wanted = spec::gateway_route(spec, &|_, reference| {
                    self.aws_name(&VIRTUAL_SERVICES, reference, namespace)
                })?;
                let actual = self.write(&address, &wanted).await?;
                (address, actual)
            }
        };
        let _ = address;
        self.write_status(kind, &object, &actual, more).await
    }

    /// The name in AWS of the resource behind a reference.
    pub fn aws_name(
        &self,
        kind: &Resource,
        reference: &Value,
        holder: &str,
    ) -> Result<String, String> {
        self.resolve(kind, reference, holder)
            .map(|object| text(&object["spec"]["awsName"]).to_owned())
    }

    /// Makes a resource in AWS, or changes it where it differs and this account owns it.
    pub async fn write(&self, address: &Address, wanted: &Value) -> Result<Value, Trouble> {
        match self.api.describe(address).await? {
            None => Ok(self.api.create(address, wanted).await?),
            Some(actual) => {
                if spec::same(wanted, &actual["spec"]) || !self.owns(&actual) {
                    Ok(actual)
                } else {
                    Ok(self.api.update(address, wanted).await?)
                }
            }
        }
    }

    fn owns(&self, actual: &Value) -> bool {
        actual["metadata"]["resourceOwner"] == self.account.as_str()
    }

    async fn write_status(
        &self,
        kind: &Resource,
        object: &Value,
        actual: &Value,
        more: Value,
    ) -> Result<(), Trouble> {
        let mut status = match &object["status"] {
            Value::Object(status) => Value::Object(status.clone()),
            _ => json!({}),
        };
        let mut conditions = items(&status["conditions"]).to_vec();
        let state = if actual["status"]["status"] == "ACTIVE" {
            "True"
        } else {
            "False"
        };
        let name = format!("{}Active", kind.kind);
        if !conditions
            .iter()
            .any(|known| known["type"] == name.as_str() && known["status"] == state)
        {
            object::set_condition(&mut conditions, json!({ "type": name, "status": state }));
        }
        status["conditions"] = conditions.into();
        let arn = if kind.kind == "Mesh" {
            "meshARN".to_owned()
        } else {
            format!("{}ARN", lower(&kind.kind))
        };
        status[arn] = actual["metadata"]["arn"].clone();
        status["observedGeneration"] = object.generation().into();
        if let (Some(status), Value::Object(more)) = (status.as_object_mut(), more) {
            status.extend(more);
        }
        if object::same(&status, &object["status"]) {
            return Ok(());
        }
        // A merge patch takes away the ARNs of routes that are gone only where they are set to null.
        if let Some(before) = object["status"]["routeARNs"].as_object() {
            for name in before.keys() {
                if status["routeARNs"][name].is_null() {
                    status["routeARNs"][name] = Value::Null;
                }
            }
        }
        self.cluster
            .patch_status(kind, &object.key(), &json!({ "status": status }))
            .await?;
        Ok(())
    }

    async fn add_finalizers(
        &self,
        kind: &Resource,
        key: &Key,
        wanted: &[&str],
    ) -> Result<Option<Arc<Value>>, Trouble> {
        for _ in 0..5 {
            let Some(object) = self.cluster.cache(kind).get(key) else {
                return Ok(None);
            };
            let mut finalizers = items(&object["metadata"]["finalizers"]).to_vec();
            let before = finalizers.len();
            for finalizer in wanted {
                if !object.has_finalizer(finalizer) {
                    finalizers.push((*finalizer).into());
                }
            }
            if finalizers.len() == before {
                return Ok(Some(object));
            }
            match self.patch_finalizers(kind, &object, finalizers).await {
                Ok(written) => return Ok(written.map(Arc::new)),
                Err(error) if error.is_conflict() => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Trouble::Wait("the object keeps changing".into()))
    }

    async fn patch_finalizers(
        &self,
        kind: &Resource,
        object: &Value,
        finalizers: Vec<Value>,
    ) -> Result<Option<Value>, ApiError> {
        let patch = json!({ "metadata": {
            "resourceVersion": object.resource_version(),
            "finalizers": finalizers,
        } });
        match self.cluster.patch(kind, &object.key(), &patch).await {
            Ok(written) => Ok(Some(written)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn drop_finalizer(
        &self,
        kind: &Resource,
        key: &Key,
        finalizer: &str,
    ) -> Result<(), Trouble> {
        for _ in 0..5 {
            let Some(object) = self.cluster.find(kind, key).await? else {
                return Ok(());
            };
            if !object.has_finalizer(finalizer) {
                return Ok(());
            }
            let left = items(&object["metadata"]["finalizers"])
                .iter()
                .filter(|entry| *entry != finalizer)
                .cloned()
                .collect();
            match self.patch_finalizers(kind, &object, left).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Trouble::Wait("the object keeps changing".into()))
    }

    async fn clean_up(&self, kind: &Resource, object: &Value) -> Result<(), Trouble> {
        let key = object.key();
        if object.has_finalizer(MESH_MEMBERS) {
            let pending = self.members(&kinds()[1..], "meshRef", object);
            self.await_members(kind, object, pending, "mesh").await?;
            self.drop_finalizer(kind, &key, MESH_MEMBERS).await?;
        }
        if object.has_finalizer(GATEWAY_MEMBERS) {
            let pending = self.members(&kinds()[5..], "virtualGatewayRef", object);
            self.await_members(kind, object, pending, "virtualGateway")
                .await?;
            self.drop_finalizer(kind, &key, GATEWAY_MEMBERS).await?;
        }
        if object.has_finalizer(AWS_FINALIZER) {
            self.delete_in_aws(kind, object).await?;
            self.drop_finalizer(kind, &key, AWS_FINALIZER).await?;
        }
        Ok(())
    }

    async fn delete_in_aws(&self, kind: &Resource, object: &Value) -> Result<(), Trouble> {
        let address = match &*kind.kind {
            "Mesh" => mesh_address(object),
            "GatewayRoute" => {
                let mesh = self.mesh_of(object)?;
                gateways::route_address(self, &mesh, object, false)?
            }
            _ => address_of(&*self.mesh_of(object)?, kind, object),
        };
        let actual = match self.api.describe(&address).await {
            Ok(actual) => actual,
            Err(error) => {
                let arn = format!("{}ARN", lower(&kind.kind));
                // What never came to be in AWS need not be found there.
                return if object["status"][arn].is_null() {
                    Ok(())
                } else {
                    Err(error.into())
                };
            }
        };
        let Some(actual) = actual else {
            return Ok(());
        };
        if kind.kind == "VirtualRouter" {
            routes::remove_all(self, &address).await?;
        }
        if self.owns(&actual) {
            self.api.delete(&address).await?;
        }
        Ok(())
    }

    fn members(&self, kinds: &[&Resource], field: &str, owner: &Value) -> Vec<(String, usize)> {
        kinds
            .iter()
            .map(|kind| {
                let count = self
                    .cluster
                    .cache(kind)
                    .all()
                    .iter()
                    .filter(|member| {
                        member["spec"][field]["name"] == owner.name()
                            && member["spec"][field]["uid"] == owner.uid()
                    })
                    .count();
                (lower(&kind.kind), count)
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    async fn await_members(
        &self,
        kind: &Resource,
        object: &Value,
        mut pending: Vec<(String, usize)>,
        what: &str,
    ) -> Result<(), Trouble> {
        if pending.is_empty() {
            return Ok(());
        }
        // The order of the controller's own message.
        let order = [
            "virtualService",
            "virtualRouter",
            "virtualNode",
            "virtualGateway",
            "gatewayRoute",
        ];
        pending.sort_by_key(|(kind, _)| order.iter().position(|known| known == kind));
        let list: Vec<String> = pending
            .iter()
            .map(|(kind, count)| format!("{kind}: {count}"))
            .collect();
        let message = format!(
            "objects belong to this {what} exists, please delete them to proceed. {}",
            list.join(", ")
        );
        self.cluster
            .as_component(&format!("{}-members", what.to_lowercase()))
            .event(kind, object, "Warning", "PendingMembersDeletion", &message)
            .await;
        Err(Trouble::Later(
            "pending members deletion".into(),
            MEMBERS_INTERVAL,
        ))
    }
}

fn mesh_address(mesh: &Value) -> Address {
    Address {
        collection: "/v20190125/meshes".into(),
        field: "meshName",
        name: text(&mesh["spec"]["awsName"]).to_owned(),
        owner: mesh["spec"]["meshOwner"].as_str().map(str::to_owned),
    }
}

/// Where a direct member of a mesh is.
pub fn address_of(mesh: &Value, kind: &Resource, object: &Value) -> Address {
    let (collection, field) = match &*kind.kind {
        "VirtualNode" => ("virtualNodes", "virtualNodeName"),
        "VirtualRouter" => ("virtualRouters", "virtualRouterName"),
        "VirtualService" => ("virtualServices", "virtualServiceName"),
        _ => ("virtualGateways", "virtualGatewayName"),
    };
    Address {
        collection: format!(
            "/v20190125/meshes/{}/{collection}",
            text(&mesh["spec"]["awsName"])
        ),
        field,
        name: text(&object["spec"]["awsName"]).to_owned(),
        owner: mesh["spec"]["meshOwner"].as_str().map(str::to_owned),
    }
}
