//! What resources there are: the built-in ones as a table, the custom ones from their definitions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, RwLock};

use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps,
    authentication::v1 as authentication, authorization::v1 as authorization,
    autoscaling::v2 as autoscaling, batch::v1 as batch, coordination::v1 as coordination,
    core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
    scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use serde_json::Value;

use super::crd::Custom;
use super::object;
use super::reflect;
use super::schema::Schema;

/// One resource in one version.
pub struct Resource {
    /// The API group; empty for the core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The plural that stands in paths.
    pub plural: String,
    /// The singular, as kubectl takes it.
    pub singular: String,
    /// The kind.
    pub kind: String,
    /// The kind of a list.
    pub list_kind: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories such as `all`.
    pub categories: Vec<String>,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// Whether it only answers to create, and stores nothing.
    pub review: bool,
    /// Whether it has a `status` subresource.
    pub status: bool,
    /// Whether it has a `scale` subresource.
    pub scale: Option<Scale>,
    /// Whether `metadata.generation` counts changes of its spec.
    pub generation: bool,
    /// What it looks like.
    pub schema: Shape,
    /// For custom resources.
    pub custom: Option<Arc<Custom>>,
    /// The table that holds it; versions and renamed groups share one.
    pub table: String,
}

/// The schema of a resource: read when it is first needed.
pub enum Shape {
    /// Of a built-in kind.
    Builtin(fn() -> Arc<Schema>, OnceLock<Arc<Schema>>),
    /// Of a custom resource.
    Custom(Arc<Schema>),
}

/// Where the scale subresource finds its numbers.
#[derive(Clone, Debug)]
pub struct Scale {
    /// `spec.replicas`.
    pub spec: String,
    /// `status.replicas`.
    pub status: String,
    /// The path of a selector, if there is one.
    pub selector: Option<String>,
}

impl Resource {
    /// `group/version`.
    pub fn api_version(&self) -> String {
        object::api_version(&self.group, &self.version)
    }

    /// The schema of the whole object.
    pub fn schema(&self) -> &Arc<Schema> {
        match &self.schema {
            Shape::Builtin(read, place) => place.get_or_init(read),
            Shape::Custom(schema) => schema,
        }
    }

    /// Whether it has that subresource.
    pub fn has(&self, subresource: &str) -> bool {
        match subresource {
            "status" => self.status,
            "scale" => self.scale.is_some(),
            _ => false,
        }
    }

    /// Whether this is the built-in resource of that group and plural.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.custom.is_none() && self.group == group && self.plural == plural
    }
}

struct Row {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    /// `n` namespaced, `s` status, `c` scale, `g` generation, `a` category all, `r` review.
    flags: &'static str,
    short: &'static str,
    schema: fn() -> Arc<Schema>,
}

macro_rules! rows {
    ($($group:literal $version:literal $plural:literal $kind:literal $flags:literal $short:literal $type:ty;)*) => {
        &[$(Row {
            group: $group, version: $version, plural: $plural, kind: $kind, flags: $flags, short: $short,
            schema: reflect::of::<$type>,
        }),*]
    };
}

const BUILTIN: &[Row] = rows! {
    "" "v1" "bindings" "Binding" "nr" "" core::Binding;
    "" "v1" "configmaps" "ConfigMap" "n" "cm" core::ConfigMap;
    "" "v1" "endpoints" "Endpoints" "n" "ep" core::Endpoints;
    "" "v1" "events" "Event" "n" "ev" core::Event;
    "" "v1" "limitranges" "LimitRange" "n" "limits" core::LimitRange;
    "" "v1" "namespaces" "Namespace" "s" "ns" core::Namespace;
    "" "v1" "nodes" "Node" "s" "no" core::Node;
    "" "v1" "persistentvolumeclaims" "PersistentVolumeClaim" "ns" "pvc" core::PersistentVolumeClaim;
    "" "v1" "persistentvolumes" "PersistentVolume" "s" "pv" core::PersistentVolume;
    "" "v1" "pods" "Pod" "nsga" "po" core::Pod;
    "" "v1" "podtemplates" "PodTemplate" "n" "" core::PodTemplate;
    "" "v1" "replicationcontrollers" "ReplicationController" "nscga" "rc" core::ReplicationController;
    "" "v1" "resourcequotas" "ResourceQuota" "ns" "quota" core::ResourceQuota;
    "" "v1" "secrets" "Secret" "n" "" core::Secret;
    "" "v1" "serviceaccounts" "ServiceAccount" "n" "sa" core::ServiceAccount;
    "" "v1" "services" "Service" "nsa" "svc" core::Service;
    "admissionregistration.k8s.io" "v1" "mutatingwebhookconfigurations" "MutatingWebhookConfiguration" "g" "" admissionregistration::MutatingWebhookConfiguration;
    "admissionregistration.k8s.io" "v1" "validatingwebhookconfigurations" "ValidatingWebhookConfiguration" "g" "" admissionregistration::ValidatingWebhookConfiguration;
    "apiextensions.k8s.io" "v1" "customresourcedefinitions" "CustomResourceDefinition" "sg" "crd,crds" apiextensions::CustomResourceDefinition;
    "apiregistration.k8s.io" "v1" "apiservices" "APIService" "s" "" apiregistration::APIService;
    "apps" "v1" "controllerrevisions" "ControllerRevision" "n" "" apps::ControllerRevision;
    "apps" "v1" "daemonsets" "DaemonSet" "nsga" "ds" apps::DaemonSet;
    "apps" "v1" "deployments" "Deployment" "nscga" "deploy" apps::Deployment;
    "apps" "v1" "replicasets" "ReplicaSet" "nscga" "rs" apps::ReplicaSet;
    "apps" "v1" "statefulsets" "StatefulSet" "nscga" "sts" apps::StatefulSet;
    "authentication.k8s.io" "v1" "selfsubjectreviews" "SelfSubjectReview" "r" "" authentication::SelfSubjectReview;
    "authentication.k8s.io" "v1" "tokenreviews" "TokenReview" "r" "" authentication::TokenReview;
    "authorization.k8s.io" "v1" "localsubjectaccessreviews" "LocalSubjectAccessReview" "nr" "" authorization::LocalSubjectAccessReview;
    "authorization.k8s.io" "v1" "selfsubjectaccessreviews" "SelfSubjectAccessReview" "r" "" authorization::SelfSubjectAccessReview;
    "authorization.k8s.io" "v1" "selfsubjectrulesreviews" "SelfSubjectRulesReview" "r" "" authorization::SelfSubjectRulesReview;
    "authorization.k8s.io" "v1" "subjectaccessreviews" "SubjectAccessReview" "r" "" authorization::SubjectAccessReview;
    "autoscaling" "v2" "horizontalpodautoscalers" "HorizontalPodAutoscaler" "nsga" "hpa" autoscaling::HorizontalPodAutoscaler;
    "batch" "v1" "cronjobs" "CronJob" "nsga" "cj" batch::CronJob;
    "batch" "v1" "jobs" "Job" "nsga" "" batch::Job;
    "coordination.k8s.io" "v1" "leases" "Lease" "n" "" coordination::Lease;
    "discovery.k8s.io" "v1" "endpointslices" "EndpointSlice" "ng" "" discovery::EndpointSlice;
    "events.k8s.io" "v1" "events" "Event" "n" "ev" events::Event;
    "networking.k8s.io" "v1" "ingressclasses" "IngressClass" "g" "" networking::IngressClass;
    "networking.k8s.io" "v1" "ingresses" "Ingress" "nsg" "ing" networking::Ingress;
    "networking.k8s.io" "v1" "networkpolicies" "NetworkPolicy" "ng" "netpol" networking::NetworkPolicy;
    "node.k8s.io" "v1" "runtimeclasses" "RuntimeClass" "" "" node::RuntimeClass;
    "policy" "v1" "poddisruptionbudgets" "PodDisruptionBudget" "nsg" "pdb" policy::PodDisruptionBudget;
    "rbac.authorization.k8s.io" "v1" "clusterrolebindings" "ClusterRoleBinding" "" "" rbac::ClusterRoleBinding;
    "rbac.authorization.k8s.io" "v1" "clusterroles" "ClusterRole" "" "" rbac::ClusterRole;
    "rbac.authorization.k8s.io" "v1" "rolebindings" "RoleBinding" "n" "" rbac::RoleBinding;
    "rbac.authorization.k8s.io" "v1" "roles" "Role" "n" "" rbac::Role;
    "scheduling.k8s.io" "v1" "priorityclasses" "PriorityClass" "g" "pc" scheduling::PriorityClass;
    "storage.k8s.io" "v1" "csidrivers" "CSIDriver" "g" "" storage::CSIDriver;
    "storage.k8s.io" "v1" "csinodes" "CSINode" "" "" storage::CSINode;
    "storage.k8s.io" "v1" "storageclasses" "StorageClass" "" "sc" storage::StorageClass;
    "storage.k8s.io" "v1" "volumeattachments" "VolumeAttachment" "sg" "" storage::VolumeAttachment;
};

/// The schema of a built-in kind, those included that only subresources take.
pub fn builtin_schema(api_version: &str, kind: &str) -> Option<Arc<Schema>> {
    let (group, version) = object::group_version(api_version);
    match (api_version, kind) {
        ("authentication.k8s.io/v1", "TokenRequest") => {
            return Some(reflect::of::<authentication::TokenRequest>());
        }
        ("policy/v1", "Eviction") => return Some(reflect::of::<policy::Eviction>()),
        (_, "DeleteOptions") => {
            return Some(reflect::of::<
                k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions,
            >());
        }
        _ => {}
    }
    BUILTIN
        .iter()
        .find(|row| row.group == group && row.version == version && row.kind == kind)
        .map(|row| (row.schema)())
}

fn builtin() -> Vec<Arc<Resource>> {
    BUILTIN
        .iter()
        .map(|row| {
            let has = |flag: char| row.flags.contains(flag);
            let words = |text: &str| {
                text.split(',')
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let selector = "status.selector";
            Arc::new(Resource {
                group: row.group.into(),
                version: row.version.into(),
                plural: row.plural.into(),
                singular: row.kind.to_lowercase(),
                kind: row.kind.into(),
                list_kind: format!("{}List", row.kind),
                short_names: words(row.short),
                categories: if has('a') {
                    vec!["all".into()]
                } else if row.group == "apiextensions.k8s.io"
                    || row.group == "admissionregistration.k8s.io"
                {
                    vec!["api-extensions".into()]
                } else {
                    Vec::new()
                },
                namespaced: has('n'),
                review: has('r'),
                status: has('s'),
                scale: has('c').then(|| Scale {
                    spec: "spec.replicas".into(),
                    status: "status.replicas".into(),
                    selector: Some(selector.into()),
                }),
                generation: has('g'),
                schema: Shape::Builtin(row.schema, OnceLock::new()),
                custom: None,
                // Events of both groups are the same objects.
                table: if row.plural == "events" {
                    "events".into()
                } else {
                    table(row.group, row.plural)
                },
            })
        })
        .collect()
}

/// The name of the table of a resource.
pub fn table(group: &str, plural: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{group}/{plural}")
    }
}

/// All resources at one moment.
pub struct Index {
    by_path: HashMap<(String, String, String), Arc<Resource>>,
    /// Groups in the order of discovery, with their versions, preferred first.
    pub groups: Vec<(String, Vec<String>)>,
    /// Resources per group and version, in order.
    pub listed: BTreeMap<(String, String), Vec<Arc<Resource>>>,
    /// Grows with each change.
    pub stamp: u64,
}

impl Index {
    fn new(resources: Vec<Arc<Resource>>, stamp: u64) -> Index {
        let mut index = Index {
            by_path: HashMap::new(),
            groups: Vec::new(),
            listed: BTreeMap::new(),
            stamp,
        };
        for resource in resources {
            let path = (
                resource.group.clone(),
                resource.version.clone(),
                resource.plural.clone(),
            );
            match index
                .groups
                .iter_mut()
                .find(|(group, _)| *group == resource.group)
            {
                Some((_, versions)) => {
                    if !versions.contains(&resource.version) {
                        versions.push(resource.version.clone());
                    }
                }
                None => index
                    .groups
                    .push((resource.group.clone(), vec![resource.version.clone()])),
            }
            index
                .listed
                .entry((resource.group.clone(), resource.version.clone()))
                .or_default()
                .push(resource.clone());
            index.by_path.insert(path, resource);
        }
        for (_, versions) in &mut index.groups {
            versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        }
        index
    }

    /// A resource by what stands in a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_path
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// A resource by its kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.listed
            .get(&(group.to_owned(), version.to_owned()))?
            .iter()
            .find(|resource| resource.kind == kind)
    }

    /// Whether a group is one of the built-in kinds.
    pub fn builtin_group(&self, group: &str) -> bool {
        BUILTIN.iter().any(|row| row.group == group)
    }

    /// Whether a version of a group is served.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.listed
            .contains_key(&(group.to_owned(), version.to_owned()))
    }
}

/// Whether a kind is one of the server's own.
pub fn is_builtin_kind(kind: &str) -> bool {
    BUILTIN.iter().any(|row| row.kind == kind)
        || matches!(
            kind,
            "DeleteOptions" | "Scale" | "Eviction" | "TokenRequest"
        )
}

/// The order of versions: v2, v1, v1beta2, v1beta1, v1alpha1.
fn priority(version: &str) -> (u8, u32, u32) {
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let (major, rest) = rest.split_at(digits);
    let major = major.parse().unwrap_or(0);
    let number = |text: &str| text.parse().unwrap_or(0);
    if rest.is_empty() {
        (3, major, 0)
    } else if let Some(minor) = rest.strip_prefix("beta") {
        (2, major, number(minor))
    } else if let Some(minor) = rest.strip_prefix("alpha") {
        (1, major, number(minor))
    } else {
        (0, 0, 0)
    }
}

/// The resources as they are now.
pub struct Registry {
    builtin: Vec<Arc<Resource>>,
    index: RwLock<Arc<Index>>,
}

impl Registry {
    /// The built-in resources.
    pub fn new() -> Registry {
        let builtin = builtin();
        let index = RwLock::new(Arc::new(Index::new(builtin.clone(), 1)));
        Registry { builtin, index }
    }

    /// A view that does not change.
    pub fn index(&self) -> Arc<Index> {
        self.index
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Takes over the custom resources as their definitions are now.
    pub fn update(&self, definitions: &[Value]) {
        let mut resources = self.builtin.clone();
        for definition in definitions {
            resources.extend(super::crd::resources(definition));
        }
        let mut place = self
            .index
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let stamp = place.stamp + 1;
        *place = Arc::new(Index::new(resources, stamp));
    }
}
