//! What EKS's pod-identity webhook does: credentials for the role that a service account is annotated with.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use serde_json::{Value, json};

/// The name of its configuration.
pub const NAME: &str = "pod-identity-webhook";
/// Where it is asked.
pub const PATH: &str = "/mutate";

const PREFIX: &str = "eks.amazonaws.com";
const MOUNT: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
const VOLUME: &str = "aws-iam-token";

/// The configuration that every EKS cluster has, for a webhook on this port of the control plane's own machine.
pub fn configuration(port: u16, certificate_authority: &str) -> Value {
    use base64::Engine;
    let bundle = base64::engine::general_purpose::STANDARD.encode(certificate_authority);
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME, "labels": {"eks.amazonaws.com/component": NAME}},
        "webhooks": [{
            "name": "iam-for-pods.amazonaws.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "url": format!("https://127.0.0.1:{port}{PATH}"),
                "caBundle": bundle,
            },
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "timeoutSeconds": 10,
            "objectSelector": {"matchExpressions": [
                {"key": "eks.amazonaws.com/skip-pod-identity-webhook", "operator": "DoesNotExist"},
            ]},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods"], "scope": "*",
            }],
        }],
    })
}

/// The pod of a review as it is to be.
pub async fn answer(client: kube::Client, region: &str, review: &Value) -> Value {
    let mut pod = review["object"].clone();
    let name = match pod["spec"]["serviceAccountName"].as_str() {
        None | Some("") => "default",
        Some(name) => name,
    };
    let namespace = review["namespace"].as_str().unwrap_or("default");
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    // An account that cannot be looked at has no role, as for the real webhook, which waits for it no longer.
    if let Ok(Some(account)) = accounts.get_opt(name).await {
        mutate(&mut pod, &account, region);
    }
    pod
}

/// Adds the variables and the token to a new pod whose account has a role.
fn mutate(pod: &mut Value, account: &ServiceAccount, region: &str) {
    let annotations = account.metadata.annotations.clone().unwrap_or_default();
    let annotation = |name: &str| {
        annotations
            .get(&format!("{PREFIX}/{name}"))
            .map(String::as_str)
    };
    let Some(role) = annotation("role-arn") else {
        return;
    };
    let audience = annotation("audience").unwrap_or("sts.amazonaws.com");
    let seconds: i64 = annotation("token-expiration")
        .and_then(|text| text.parse().ok())
        .unwrap_or(86400);
    let regional = annotation("sts-regional-endpoints") != Some("false");
    let skipped: Vec<String> = pod["metadata"]["annotations"][format!("{PREFIX}/skip-containers")]
        .as_str()
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    let token = format!("{MOUNT}/token");
    let mut variables = Vec::new();
    if regional {
        variables.push(("AWS_STS_REGIONAL_ENDPOINTS", "regional"));
    }
    variables.extend([
        ("AWS_DEFAULT_REGION", region),
        ("AWS_REGION", region),
        ("AWS_ROLE_ARN", role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
    ]);
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if skipped.iter().any(|name| container["name"] == **name) {
                continue;
            }
            // A container that brings its own credentials keeps them.
            for (name, value) in &variables {
                if !named(&container["env"], name) {
                    push(container, "env", json!({"name": name, "value": value}));
                }
            }
            if !named(&container["volumeMounts"], VOLUME) {
                push(
                    container,
                    "volumeMounts",
                    json!({"name": VOLUME, "readOnly": true, "mountPath": MOUNT}),
                );
            }
        }
    }
    if !named(&pod["spec"]["volumes"], VOLUME) {
        let volume = json!({"name": VOLUME, "projected": {
            "sources": [{"serviceAccountToken": {
                "audience": audience, "expirationSeconds": seconds, "path": "token",
            }}],
        }});
        push(&mut pod["spec"], "volumes", volume);
    }
}

fn named(list: &Value, name: &str) -> bool {
    list.as_array()
        .is_some_and(|list| list.iter().any(|one| one["name"] == name))
}

fn push(object: &mut Value, field: &str, item: Value) {
    match object[field].as_array_mut() {
        Some(list) => list.push(item),
        None => object[field] = json!([item]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/proxy";

    fn account(annotations: Value) -> ServiceAccount {
        serde_json::from_value(json!({"metadata": {"name": "default", "annotations": annotations}}))
            .unwrap()
    }

    #[test]
    fn pods_of_annotated_accounts_get_their_role() {
        let mut pod = json!({"spec": {"containers": [{"name": "c"}, {"name": "own", "env": [
            {"name": "AWS_ROLE_ARN", "value": "another"},
        ]}]}});
        mutate(
            &mut pod,
            &account(json!({"eks.amazonaws.com/role-arn": ROLE})),
            "eu-west-1",
        );
        let values = |index: usize| -> Vec<String> {
            pod["spec"]["containers"][index]["env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|one| Some(one["value"].as_str()?.to_owned()))
                .collect()
        };
        let token = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
        assert_eq!(
            values(0),
            ["regional", "eu-west-1", "eu-west-1", ROLE, token]
        );
        assert_eq!(
            values(1),
            ["another", "regional", "eu-west-1", "eu-west-1", token]
        );
        assert_eq!(
            pod["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["audience"],
            "sts.amazonaws.com"
        );
        // Asked again, as a webhook may be, it changes nothing more.
        let before = pod.clone();
        mutate(
            &mut pod,
            &account(json!({"eks.amazonaws.com/role-arn": ROLE})),
            "eu-west-1",
        );
        assert_eq!(pod, before);
    }

    #[test]
    fn other_pods_stay_as_they_are() {
        let pod = json!({"spec": {"containers": [{"name": "c"}]}});
        let mut same = pod.clone();
        mutate(&mut same, &account(json!({})), "eu-west-1");
        assert_eq!(same, pod);
    }
}
