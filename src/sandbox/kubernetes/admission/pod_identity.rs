//! What EKS's pod-identity webhook does: credentials for the role that a service account is annotated with.

use serde_json::{Value, json};

use super::super::object;
use super::Attributes;
use super::pods::{containers, push};

/// The name of the webhook configuration in whose place this runs.
pub const NAME: &str = "pod-identity-webhook";

const PREFIX: &str = "eks.amazonaws.com";
const MOUNT: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
const VOLUME: &str = "aws-iam-token";

/// Adds the variables and the token to a new pod whose account has a role.
pub fn mutate(attributes: &Attributes<'_>, pod: &mut Value) {
    let Some(identity) = attributes.api.options.pod_identity.clone() else {
        return;
    };
    let account = object::text(pod, "spec.serviceAccountName").to_owned();
    let Some(account) = attributes
        .api
        .store
        .get("serviceaccounts", attributes.namespace, &account)
    else {
        return;
    };
    let annotation = |name: &str| object::annotation(&account.value, &format!("{PREFIX}/{name}"));
    let Some(role) = annotation("role-arn") else {
        return;
    };
    let audience = annotation("audience").unwrap_or("sts.amazonaws.com");
    let seconds: i64 = annotation("token-expiration")
        .and_then(|text| text.parse().ok())
        .unwrap_or(86400);
    let regional = annotation("sts-regional-endpoints") != Some("false");
    let skipped: Vec<String> = object::annotation(pod, &format!("{PREFIX}/skip-containers"))
        .unwrap_or("")
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    let token = format!("{MOUNT}/token");
    let mut variables = Vec::new();
    if regional {
        variables.push(("AWS_STS_REGIONAL_ENDPOINTS", "regional"));
    }
    variables.extend([
        ("AWS_DEFAULT_REGION", identity.region.as_str()),
        ("AWS_REGION", identity.region.as_str()),
        ("AWS_ROLE_ARN", role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
    ]);
    for list in ["initContainers", "containers"] {
        for container in containers(pod, list) {
            if skipped
                .iter()
                .any(|name| *name == object::text(container, "name"))
            {
                continue;
            }
            // A container that brings its own credentials keeps them.
            let has = |container: &Value, name: &str| {
                object::list(container, "env")
                    .iter()
                    .any(|one| one["name"] == name)
            };
            for (name, value) in &variables {
                if !has(container, name) {
                    push(container, "env", json!({"name": name, "value": value}));
                }
            }
            let mounted = object::list(container, "volumeMounts")
                .iter()
                .any(|mount| mount["name"] == VOLUME);
            if !mounted {
                push(
                    container,
                    "volumeMounts",
                    json!({"name": VOLUME, "readOnly": true, "mountPath": MOUNT}),
                );
            }
        }
    }
    let volume = object::list(pod, "spec.volumes")
        .iter()
        .any(|volume| volume["name"] == VOLUME);
    if !volume {
        let volume = json!({"name": VOLUME, "projected": {
            "sources": [{"serviceAccountToken": {
                "audience": audience, "expirationSeconds": seconds, "path": "token",
            }}],
            "defaultMode": 420,
        }});
        push(&mut pod["spec"], "volumes", volume);
    }
}
