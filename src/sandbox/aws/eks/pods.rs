//! Pod identity associations: kept and listed; nothing in the sandbox hands out their credentials.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Call, Fault, arn, fault, find, find_active, fresh_id, invalid, network, page, seconds, tags,
};
use crate::sandbox::clock::Millis;
use crate::sandbox::state;

/// An association of a service account with a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Association {
    /// `a-…`.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    namespace: String,
    service_account: String,
    role_arn: String,
    created_at: Millis,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl Association {
    fn describe(&self, cluster: &str) -> Value {
        json!({
            "clusterName": cluster,
            "namespace": self.namespace,
            "serviceAccount": self.service_account,
            "roleArn": self.role_arn,
            "associationArn": self.arn,
            "associationId": self.id,
            "tags": self.tags,
            "createdAt": seconds(self.created_at),
            "modifiedAt": seconds(self.created_at),
            "disableSessionTags": false,
        })
    }
}

/// `CreatePodIdentityAssociation`.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let text = |member: &str| call.input[member].as_str().unwrap_or_default().to_owned();
    let fresh = fresh_id(state, "association").replace('-', "");
    let role_arn = text("roleArn");
    let trusted = network::role_trusts(state, &role_arn, "pods.eks.amazonaws.com");
    let cluster = find_active(state, call)?;
    if !trusted {
        return Err(invalid(
            &cluster.name,
            format!(
                "Trust policy of role {role_arn} does not allow pods.eks.amazonaws.com, or the role does not exist"
            ),
        ));
    }
    let (namespace, service_account) = (text("namespace"), text("serviceAccount"));
    if cluster
        .associations
        .values()
        .any(|known| known.namespace == namespace && known.service_account == service_account)
    {
        return Err(fault(
            409,
            "ResourceInUseException",
            &cluster.name,
            format!("Association already exists: {namespace}/{service_account}"),
        ));
    }
    let id = format!("a-{}", &fresh[..17]);
    let association = Association {
        arn: arn(
            call.world,
            call.region,
            "podidentityassociation",
            &format!("{}/{id}", cluster.name),
        ),
        id: id.clone(),
        namespace,
        service_account,
        role_arn,
        created_at: call.world.clock.now(),
        tags: tags(call),
    };
    let answer = json!({ "association": association.describe(&cluster.name) });
    cluster.associations.insert(id, association);
    Ok(answer)
}

/// `ListPodIdentityAssociations`.
pub fn list(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let cluster = find(state, call)?;
    let wanted =
        |member: &str, value: &str| call.input[member].as_str().is_none_or(|want| want == value);
    let ids = cluster
        .associations
        .values()
        .filter(|known| wanted("namespace", &known.namespace))
        .filter(|known| wanted("serviceAccount", &known.service_account))
        .map(|known| known.id.clone());
    let mut answer = page(call, "associations", ids);
    if let Some(shown) = answer["associations"].as_array_mut() {
        for item in shown {
            if let Some(known) = item.as_str().and_then(|id| cluster.associations.get(id)) {
                *item = json!({
                    "clusterName": cluster.name,
                    "namespace": known.namespace,
                    "serviceAccount": known.service_account,
                    "associationArn": known.arn,
                    "associationId": known.id,
                });
            }
        }
    }
    Ok(answer)
}

fn missing(cluster: &str, id: &str) -> Fault {
    fault(
        404,
        "ResourceNotFoundException",
        cluster,
        format!("Unable to find an association with ID: {id}"),
    )
}

/// `DescribePodIdentityAssociation`.
pub fn describe(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = call.input["associationId"].as_str().unwrap_or_default();
    let cluster = find(state, call)?;
    match cluster.associations.get(id) {
        Some(known) => Ok(json!({ "association": known.describe(&cluster.name) })),
        None => Err(missing(&cluster.name, id)),
    }
}

/// `DeletePodIdentityAssociation`.
pub fn delete(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = call.input["associationId"].as_str().unwrap_or_default();
    let cluster = find(state, call)?;
    match cluster.associations.remove(id) {
        Some(known) => Ok(json!({ "association": known.describe(&cluster.name) })),
        None => Err(missing(&cluster.name, id)),
    }
}
