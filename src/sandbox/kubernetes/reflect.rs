//! The schemas of the built-in kinds, read from the k8s-openapi types by letting serde tell what each would accept.
//!
//! What serde cannot tell, how lists and maps are merged, stands in two tables here, taken from the API's
//! `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and `x-kubernetes-map-type`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::schema::{ListType, Schema, Shape, Zero};

/// Lists whose items are told apart by fields: type, field, keys. `=` is a set.
const LISTS: &[(&str, &str, &[&str])] = &[
    ("", "conditions", &["type"]),
    ("ObjectMeta", "finalizers", &["="]),
    ("ObjectMeta", "ownerReferences", &["uid"]),
    ("PodSpec", "containers", &["name"]),
    ("PodSpec", "initContainers", &["name"]),
    ("PodSpec", "ephemeralContainers", &["name"]),
    ("PodSpec", "volumes", &["name"]),
    ("PodSpec", "imagePullSecrets", &["name"]),
    ("PodSpec", "hostAliases", &["ip"]),
    (
        "PodSpec",
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
    ),
    ("PodSpec", "schedulingGates", &["name"]),
    ("PodSpec", "resourceClaims", &["name"]),
    ("Container", "ports", &["containerPort", "protocol"]),
    ("Container", "env", &["name"]),
    ("Container", "volumeMounts", &["mountPath"]),
    ("Container", "volumeDevices", &["devicePath"]),
    (
        "EphemeralContainer",
        "ports",
        &["containerPort", "protocol"],
    ),
    ("EphemeralContainer", "env", &["name"]),
    ("EphemeralContainer", "volumeMounts", &["mountPath"]),
    ("EphemeralContainer", "volumeDevices", &["devicePath"]),
    ("ResourceRequirements", "claims", &["name"]),
    ("PodStatus", "podIPs", &["ip"]),
    ("PodStatus", "resourceClaimStatuses", &["name"]),
    ("ServiceSpec", "ports", &["port", "protocol"]),
    ("NodeSpec", "podCIDRs", &["="]),
    ("NodeStatus", "addresses", &["type"]),
    ("ServiceAccount", "secrets", &["name"]),
    ("Endpoint", "addresses", &["="]),
    ("MutatingWebhookConfiguration", "webhooks", &["name"]),
    ("ValidatingWebhookConfiguration", "webhooks", &["name"]),
    ("MutatingWebhook", "matchConditions", &["name"]),
    ("ValidatingWebhook", "matchConditions", &["name"]),
    ("CSINodeDriver", "topologyKeys", &["="]),
    ("StatefulSetSpec", "volumeClaimTemplates", &[]),
];

/// Structures that are owned and replaced as one.
const ATOMIC_STRUCTS: &[&str] = &[
    "LabelSelector",
    "LocalObjectReference",
    "ObjectReference",
    "TypedLocalObjectReference",
    "SecretReference",
    "SecretKeySelector",
    "ConfigMapKeySelector",
    "FileKeySelector",
    "ObjectFieldSelector",
    "ResourceFieldSelector",
    "NodeSelector",
    "NodeSelectorTerm",
    "ScopeSelector",
    "TopologySelectorTerm",
    "ConfigMapNodeConfigSource",
    "EndpointAddress",
    "EndpointPort",
    "RoleRef",
    "Subject",
    "OwnerReference",
];

/// Maps that are owned and replaced as one: type and field.
const ATOMIC_MAPS: &[(&str, &str)] = &[
    ("ServiceSpec", "selector"),
    ("PodSpec", "nodeSelector"),
    ("ReplicationControllerSpec", "selector"),
];

/// Fields that the types have and Kubernetes 1.35 does not: type and field.
const NEWER: &[(&str, &str)] = &[
    ("CSIDriverSpec", "preventPodSchedulingIfMissing"),
    ("CSINode", "status"),
    ("ClusterTrustBundleProjection", "user"),
    ("ConfigMapVolumeSource", "defaultUser"),
    ("DownwardAPIVolumeFile", "user"),
    ("DownwardAPIVolumeSource", "defaultUser"),
    ("EmptyDirVolumeSource", "mode"),
    ("Eviction", "spec"),
    ("Eviction", "status"),
    ("GRPCAction", "mode"),
    ("HTTPGetAction", "protocol"),
    ("HorizontalPodAutoscalerCondition", "observedGeneration"),
    ("JobSpec", "scheduling"),
    ("KeyToPath", "user"),
    ("ListMeta", "shardInfo"),
    ("NodeSpec", "podPreemptionPolicy"),
    ("NodeSystemInfo", "runningInUserNamespace"),
    ("PersistentVolumeClaimStatus", "healthStatus"),
    ("PodCertificateProjection", "user"),
    ("PodSpec", "evictionResponders"),
    ("PodSpec", "schedulingGroup"),
    ("PodStatus", "nodeAllocatableResourceClaimStatuses"),
    ("PodStatus", "volumeHealth"),
    ("ProjectedVolumeSource", "defaultUser"),
    ("ResourceHealth", "message"),
    ("SecretVolumeSource", "defaultUser"),
    ("ServiceAccountTokenProjection", "user"),
    ("TokenRequestSpec", "attestations"),
    ("VolumeMount", "bindMountOptions"),
    ("VolumeMountStatus", "volumeStatus"),
];

/// Types whose required fields are counts, and said when they are zero.
const COUNTING: &[&str] = &[
    "DaemonSetStatus",
    "PodDisruptionBudgetStatus",
    "ReplicaSetStatus",
    "ReplicationControllerStatus",
    "StatefulSetStatus",
];

/// The schema of a type.
pub fn of<T: for<'de> Deserialize<'de>>() -> Arc<Schema> {
    let mut place = None;
    let _ = T::deserialize(Tracer { place: &mut place });
    place.unwrap_or_else(|| Arc::new(Schema::new(Shape::Any)))
}

/// `ObjectMeta`.
pub fn object_meta() -> Arc<Schema> {
    static META: OnceLock<Arc<Schema>> = OnceLock::new();
    META.get_or_init(of::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>)
        .clone()
}

type Known = HashMap<(&'static str, &'static [&'static str]), Arc<Schema>>;

/// Types that were seen before, so that a pod's is kept once and shared.
fn known() -> &'static Mutex<Known> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}

#[derive(Debug)]
struct Never;

impl fmt::Display for Never {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("this type cannot be read")
    }
}

impl std::error::Error for Never {}

impl serde::de::Error for Never {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Never
    }
}

/// Answers whatever is asked and writes down what was asked for.
struct Tracer<'a> {
    place: &'a mut Option<Arc<Schema>>,
}

impl Tracer<'_> {
    fn note(self, shape: Shape) {
        *self.place = Some(Arc::new(Schema::new(shape)));
    }
}

macro_rules! scalar {
    ($($method:ident $visit:ident $value:expr, $shape:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
            self.note($shape);
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Never;

    scalar! {
        deserialize_bool visit_bool false, Shape::Bool;
        deserialize_i8 visit_i8 0, Shape::Integer(32);
        deserialize_i16 visit_i16 0, Shape::Integer(32);
        deserialize_i32 visit_i32 0, Shape::Integer(32);
        deserialize_i64 visit_i64 0, Shape::Integer(64);
        deserialize_u8 visit_u8 0, Shape::Integer(32);
        deserialize_u16 visit_u16 0, Shape::Integer(32);
        deserialize_u32 visit_u32 0, Shape::Integer(64);
        deserialize_u64 visit_u64 0, Shape::Integer(64);
        deserialize_f32 visit_f32 0.0, Shape::Number;
        deserialize_f64 visit_f64 0.0, Shape::Number;
        deserialize_str visit_str "", Shape::String("");
        deserialize_string visit_str "", Shape::String("");
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        self.note(
            if std::any::type_name::<V::Value>().ends_with("IntOrString") {
                Shape::IntOrString
            } else {
                Shape::Any
            },
        );
        visitor.visit_i64(0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        // A list of bytes asks for an option of a string.
        if std::any::type_name::<V::Value>().ends_with("ByteString") {
            self.note(Shape::String("byte"));
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Never> {
        let shape = match name {
            "Time" | "MicroTime" => {
                self.note(Shape::String(match name {
                    "Time" => "date-time",
                    _ => "micro-time",
                }));
                return visitor
                    .visit_newtype_struct(StrDeserializer::new("1970-01-01T00:00:00Z"))
                    .map_err(|_: serde::de::value::Error| Never);
            }
            "Quantity" => Shape::String("quantity"),
            "JSON" | "RawExtension" | "FieldsV1" => Shape::Any,
            _ => return visitor.visit_newtype_struct(self),
        };
        let mut ignored = None;
        let result = visitor.visit_newtype_struct(Tracer {
            place: &mut ignored,
        });
        self.note(shape);
        result
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        let mut items = None;
        let result = visitor.visit_seq(One {
            place: &mut items,
            left: 1,
            key: false,
        });
        let items = items.unwrap_or_else(|| Arc::new(Schema::new(Shape::Any)));
        self.note(Shape::List(items));
        result
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        let mut values = None;
        let result = visitor.visit_map(One {
            place: &mut values,
            left: 1,
            key: true,
        });
        let values = values.unwrap_or_else(|| Arc::new(Schema::new(Shape::Any)));
        self.note(Shape::Map(values));
        result
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Never> {
        // The one type that contains itself; CRDs are checked by their own rules.
        if name == "JSONSchemaProps" {
            self.note(Shape::Any);
            return visitor.visit_map(serde::de::value::MapDeserializer::<_, Never>::new(
                std::iter::empty::<(&str, &str)>(),
            ));
        }
        let mut types = BTreeMap::new();
        let result = visitor.visit_map(Fields {
            owner: name,
            left: fields,
            types: &mut types,
        });
        // Its fields were given all the same: without a time that it requires there is none, and nothing after it is asked for.
        let seen = known()
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .get(&(name, fields))
            .cloned();
        if seen.is_some() {
            *self.place = seen;
            return result;
        }
        types.retain(|field, _| !NEWER.contains(&(name, field.as_str())));
        let mut schema = Schema::new(Shape::Struct(name, types));
        schema.atomic = ATOMIC_STRUCTS.contains(&name);
        let schema = Arc::new(schema);
        known()
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .insert((name, fields), schema.clone());
        *self.place = Some(schema);
        result
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

/// Gives each field of a structure once.
struct Fields<'a> {
    owner: &'static str,
    left: &'static [&'static str],
    types: &'a mut BTreeMap<String, Arc<Schema>>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Never;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Never> {
        // A kind refuses every other kind's name, so these two are not offered. They are strings wherever they stand.
        while let Some((name @ (&"apiVersion" | &"kind"), left)) = self.left.split_first() {
            let schema = Arc::new(Schema::new(Shape::String("")));
            self.types.insert((*name).to_owned(), schema);
            self.left = left;
        }
        let Some(name) = self.left.first() else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::<Never>::new(name))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Never> {
        let Some((name, left)) = self.left.split_first() else {
            return Err(Never);
        };
        self.left = left;
        let mut place = None;
        let result = seed.deserialize(Tracer { place: &mut place });
        let mut schema = place.unwrap_or_else(|| Arc::new(Schema::new(Shape::Any)));
        annotate(self.owner, name, &mut schema);
        self.types.insert((*name).to_owned(), schema);
        result
    }
}

/// The fields of a Go type: place and what becomes of their zero.
type GoFields = HashMap<&'static str, (u16, Zero)>;

/// Go's types by name.
fn go() -> &'static HashMap<&'static str, GoFields> {
    static TYPES: OnceLock<HashMap<&'static str, GoFields>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let lines = include_str!("gotypes.txt").lines();
        let types = lines.filter_map(|line| line.split_once(": "));
        types
            .filter(|(name, _)| !name.starts_with('#'))
            .map(|(name, fields)| {
                let fields = fields.split(' ').zip(1..).map(|(field, place)| {
                    let zero = match field.as_bytes().last() {
                        Some(b'?') => Zero::Omitted,
                        Some(b'~') => Zero::Null,
                        Some(b'!') if COUNTING.contains(&name) => Zero::Count,
                        _ => Zero::Kept,
                    };
                    (field.trim_end_matches(['?', '!', '~']), (place, zero))
                });
                (name, fields.collect())
            })
            .collect()
    })
}

fn annotate(owner: &str, field: &str, schema: &mut Arc<Schema>) {
    let known = go().get(owner).and_then(|fields| fields.get(field));
    if let Some((place, zero)) = known {
        let schema = Arc::make_mut(schema);
        (schema.place, schema.zero) = (*place, *zero);
    }
    if ATOMIC_MAPS.contains(&(owner, field)) {
        Arc::make_mut(schema).atomic = true;
    }
    if field == "protocol" && matches!(owner, "ContainerPort" | "ServicePort") {
        Arc::make_mut(schema).default = Some(Value::from("TCP"));
    }
    if !matches!(schema.shape, Shape::List(_)) {
        return;
    }
    let rule = LISTS
        .iter()
        .find(|(of, name, _)| (of.is_empty() || *of == owner) && *name == field);
    if let Some((_, _, keys)) = rule {
        Arc::make_mut(schema).list = match keys {
            [] => ListType::Atomic,
            ["="] => ListType::Set,
            keys => ListType::Map(keys.iter().map(|key| (*key).to_owned()).collect()),
        };
    }
}

/// Gives one item, or one entry of a map.
struct One<'a> {
    place: &'a mut Option<Arc<Schema>>,
    left: u8,
    key: bool,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Never;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Never> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Tracer { place: self.place }).map(Some)
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Never;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Never> {
        if self.left == 0 || !self.key {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(StrDeserializer::<Never>::new("key"))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Never> {
        seed.deserialize(Tracer { place: self.place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_was_seen_before_is_followed_by_the_same_fields() {
        use k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus;
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

        of::<Condition>();
        let schema = of::<PodDisruptionBudgetStatus>();
        let Shape::Struct(_, fields) = &schema.shape else {
            panic!("{schema:?}");
        };
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        let expected = [
            "conditions",
            "currentHealthy",
            "desiredHealthy",
            "disruptedPods",
            "disruptionsAllowed",
            "expectedPods",
            "observedGeneration",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_deployment_is_known_down_to_its_container_ports() {
        let schema = of::<k8s_openapi::api::apps::v1::Deployment>();
        let mut at = &schema;
        for step in ["spec", "template", "spec", "containers"] {
            at = at.field(step).expect(step);
        }
        assert_eq!(at.list, ListType::Map(vec!["name".into()]));
        let ports = at
            .items()
            .and_then(|item| item.field("ports"))
            .expect("ports");
        assert_eq!(
            ports.list,
            ListType::Map(vec!["containerPort".into(), "protocol".into()])
        );
        let port = ports.items().and_then(|item| item.field("containerPort"));
        assert_eq!(port.map(|port| &port.shape), Some(&Shape::Integer(32)));
        let secret = of::<k8s_openapi::api::core::v1::Secret>();
        let data = secret.field("data").and_then(|data| data.field("x"));
        assert_eq!(data.map(|data| &data.shape), Some(&Shape::String("byte")));
        let service = of::<k8s_openapi::api::core::v1::Service>();
        let port = service.field("spec").and_then(|spec| spec.field("ports"));
        let target = port
            .and_then(|port| port.items())
            .and_then(|item| item.field("targetPort"));
        assert_eq!(
            target.map(|target| &target.shape),
            Some(&Shape::IntOrString)
        );
    }
}
