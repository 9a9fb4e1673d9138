//! Admission: what is refused or changed before an object is stored, in the real server's order.

mod calling;
mod pods;
mod trust;
mod webhooks;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::UserInfo;
use super::api::Api;
use super::object;
use super::resources::Resource;
use super::status::{Result, Status};
pub use calling::Connections;
use webhooks::Rounds;

/// What is about to happen to an object.
pub struct Attributes<'a> {
    /// The server.
    pub api: &'a Arc<Api>,
    /// Who asked.
    pub user: &'a UserInfo,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'static str,
    /// The resource.
    pub resource: &'a Resource,
    /// What the objects are: the resource's own kind, but of scales.
    pub kind: &'a Resource,
    /// The subresource, or empty.
    pub subresource: &'a str,
    /// The namespace, or empty.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The options of the request.
    pub options: Value,
    /// What is said besides the answer.
    pub warnings: &'a Mutex<Vec<String>>,
}

impl Attributes<'_> {
    /// A refusal in the words of a plugin.
    fn forbidden(&self, why: &str) -> Status {
        let name = match self.name {
            "" => "Unknown",
            name => name,
        };
        Status::forbidden(&self.resource.group, &self.resource.plural, name, why)
    }

    fn warn(&self, text: &str) {
        let warnings = self.warnings.lock();
        let mut warnings = warnings.unwrap_or_else(|poisoned| poisoned.into_inner());
        warnings.push(text.to_owned());
    }

    fn creates_pod(&self) -> bool {
        self.operation == "CREATE" && self.subresource.is_empty() && self.resource.is("", "pods")
    }
}

/// Nothing is made in a namespace that is not there or is going away.
pub fn lifecycle(attributes: &Attributes<'_>) -> Result<()> {
    let namespace = attributes.namespace;
    if namespace.is_empty() {
        return Ok(());
    }
    let Some(found) = attributes.api.store.get("namespaces", "", namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    if object::terminating(&found.value) {
        let mut status = attributes.forbidden(&format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        ));
        if let Some(details) = &mut status.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        return Err(status);
    }
    Ok(())
}

/// Lets plugins and webhooks change an object: once more when a webhook has, so that the plugins see what it brought, and
/// the webhooks that ask for it.
pub async fn mutate(
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<()> {
    let mut rounds = Rounds::default();
    plugins(attributes, object, old)?;
    if webhooks::mutate(attributes, object, old, &mut rounds).await? {
        plugins(attributes, object, old)?;
        webhooks::mutate(attributes, object, old, &mut rounds).await?;
    }
    Ok(())
}

fn plugins(attributes: &Attributes<'_>, object: &mut Value, old: Option<&Value>) -> Result<()> {
    if attributes.creates_pod() {
        pods::service_account(attributes, object)?;
        pods::defaults(attributes, object)?;
    } else if attributes.operation == "UPDATE"
        && attributes.subresource.is_empty()
        && attributes.resource.is("", "pods")
    {
        pods::tolerate(object);
        if let Some(old) = old {
            pods::keep_priority(old, object);
        }
    }
    if attributes.operation == "CREATE"
        && attributes.resource.is("networking.k8s.io", "ingresses")
        && object::text(object, "spec.ingressClassName").is_empty()
        && object::annotation(object, "kubernetes.io/ingress.class").is_none()
    {
        default_ingress_class(attributes, object);
    }
    Ok(())
}

/// Lets webhooks refuse an object as it will be stored; `object` is nothing when it is deleted.
pub async fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<()> {
    if attributes.operation == "DELETE" {
        // Nothing is there that could be changed, and still they are asked.
        webhooks::mutate(attributes, &mut Value::Null, old, &mut Rounds::default()).await?;
    }
    webhooks::validate(attributes, object, old).await
}

fn default_ingress_class(attributes: &Attributes<'_>, object: &mut Value) {
    let classes = attributes
        .api
        .store
        .all("networking.k8s.io/ingressclasses", "");
    let default = classes.iter().find(|class| {
        object::annotation(&class.value, "ingressclass.kubernetes.io/is-default-class")
            == Some("true")
    });
    if let Some(class) = default {
        object::set(object, "spec.ingressClassName", object::name(&class.value));
    }
}
