//! What Go calls the types of fields, where it says that something does not fit.

use super::super::schema::{Schema, Shape};

/// The Go types of strings that are more than strings.
pub(super) fn named(owner: &str, path: &str) -> &'static str {
    let field = path.rsplit('.').next().unwrap_or("");
    match (owner, field) {
        ("Secret", "type") => "v1.SecretType",
        ("ServiceSpec", "type") => "v1.ServiceType",
        ("ServiceSpec", "sessionAffinity") => "v1.ServiceAffinity",
        ("ServiceSpec", "externalTrafficPolicy") => "v1.ServiceExternalTrafficPolicy",
        ("ServicePort" | "ContainerPort", "protocol") => "v1.Protocol",
        ("Container", "imagePullPolicy") => "v1.PullPolicy",
        ("PodSpec", "restartPolicy") => "v1.RestartPolicy",
        ("PodSpec", "dnsPolicy") => "v1.DNSPolicy",
        ("DeploymentStrategy", "type") => "v1.DeploymentStrategyType",
        ("NamespaceStatus", "phase") => "v1.NamespacePhase",
        ("NamespaceCondition", "type") => "v1.NamespaceConditionType",
        ("PodStatus", "phase") => "v1.PodPhase",
        ("PodStatus", "qosClass") => "v1.PodQOSClass",
        ("PodCondition", "type") => "v1.PodConditionType",
        ("DeploymentCondition", "type") => "v1.DeploymentConditionType",
        ("PodCondition" | "DeploymentCondition" | "NamespaceCondition" | "Condition", "status") => {
            "v1.ConditionStatus"
        }
        ("Toleration", "operator") => "v1.TolerationOperator",
        ("Toleration", "effect") => "v1.TaintEffect",
        ("LabelSelectorRequirement", "operator") => "v1.LabelSelectorOperator",
        ("ObjectMeta" | "OwnerReference", "uid") => "types.UID",
        _ => "string",
    }
}

/// The structure within a structure that a field belongs to in Go, which JSON does not show.
pub(super) fn embedded(owner: &str, field: &str) -> Option<&'static str> {
    match (owner, field) {
        ("Volume", "name") | ("EphemeralContainer", "targetContainerName") => None,
        ("Volume", _) => Some("VolumeSource"),
        ("EphemeralContainer", _) => Some("EphemeralContainerCommon"),
        ("Probe", "exec" | "httpGet" | "tcpSocket" | "grpc") => Some("ProbeHandler"),
        (
            "SecretKeySelector"
            | "ConfigMapKeySelector"
            | "SecretEnvSource"
            | "ConfigMapEnvSource"
            | "SecretProjection"
            | "ConfigMapProjection"
            | "ConfigMapVolumeSource",
            "name",
        ) => Some("LocalObjectReference"),
        _ => None,
    }
}

/// What kind of type a named type is.
pub(super) fn plain(wanted: &str) -> &str {
    match wanted.contains('.') {
        true => "string",
        false => wanted,
    }
}

/// Where Go's decoder stops.
pub(super) fn bad_base64(text: &str) -> String {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let bytes = text.as_bytes();
    let at = bytes
        .iter()
        .position(|byte| !good(*byte))
        .unwrap_or(bytes.len() / 4 * 4);
    format!("illegal base64 data at input byte {at}")
}

pub(super) fn go_type(schema: &Schema) -> String {
    match &schema.shape {
        Shape::Any => "interface {}".into(),
        Shape::Bool => "bool".into(),
        Shape::Integer(bits) => format!("int{bits}"),
        Shape::Number => "float64".into(),
        Shape::String("byte") => "[]uint8".into(),
        Shape::String(_) => "string".into(),
        Shape::IntOrString => "intstr.IntOrString".into(),
        Shape::List(items) => format!("[]{}", go_type(items)),
        Shape::Map(values) => map_type(values),
        Shape::Struct(name, _) => format!("v1.{name}"),
    }
}

pub(super) fn map_type(values: &Schema) -> String {
    match values.shape {
        Shape::String("quantity") => "v1.ResourceList".into(),
        _ => format!("map[string]{}", go_type(values)),
    }
}
