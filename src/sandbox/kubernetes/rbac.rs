//! Who may do what: roles, bindings, and the ones that every cluster starts with.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::UserInfo;
use super::api::Api;
use super::object;
use super::request::Info;
use super::resources::Index;
use super::selector::Labels;
use super::status::{Result, Status};

const GROUP: &str = "rbac.authorization.k8s.io";
/// The tables that decide.
pub const TABLES: [&str; 4] = [
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/clusterrolebindings",
    "rbac.authorization.k8s.io/roles",
    "rbac.authorization.k8s.io/rolebindings",
];

#[derive(Debug, Default)]
struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    urls: Vec<String>,
}

struct Grant {
    subjects: Vec<Subject>,
    rules: Arc<Vec<Rule>>,
}

enum Subject {
    User(String),
    Group(String),
}

/// Roles and bindings, made ready for questions.
pub struct Rules {
    stamp: u64,
    cluster: Vec<Grant>,
    namespaced: HashMap<String, Vec<Grant>>,
}

fn words(value: &Value, field: &str) -> Vec<String> {
    object::list(value, field)
        .iter()
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

fn rules_of(role: &Value) -> Vec<Rule> {
    object::list(role, "rules")
        .iter()
        .map(|rule| Rule {
            verbs: words(rule, "verbs"),
            groups: words(rule, "apiGroups"),
            resources: words(rule, "resources"),
            names: words(rule, "resourceNames"),
            urls: words(rule, "nonResourceURLs"),
        })
        .collect()
}

impl Rules {
    fn load(api: &Api, stamp: u64) -> Rules {
        let cluster_roles = api.store.all(TABLES[0], "");
        let mut roles: HashMap<(String, String), Arc<Vec<Rule>>> = HashMap::new();
        for role in &cluster_roles {
            let mut rules = rules_of(&role.value);
            for selector in object::list(&role.value, "aggregationRule.clusterRoleSelectors") {
                let selector = Labels::from_object(selector);
                for other in &cluster_roles {
                    if selector.matches(&other.value)
                        && object::name(&other.value) != object::name(&role.value)
                    {
                        rules.extend(rules_of(&other.value));
                    }
                }
            }
            let key = (String::new(), object::name(&role.value).to_owned());
            roles.insert(key, Arc::new(rules));
        }
        for role in api.store.all(TABLES[2], "") {
            let key = (
                object::namespace(&role.value).to_owned(),
                object::name(&role.value).to_owned(),
            );
            roles.insert(key, Arc::new(rules_of(&role.value)));
        }
        let grant = |binding: &Value| -> Option<Grant> {
            let space = if object::text(binding, "roleRef.kind") == "Role" {
                object::namespace(binding)
            } else {
                ""
            };
            let key = (
                space.to_owned(),
                object::text(binding, "roleRef.name").to_owned(),
            );
            let rules = roles.get(&key)?.clone();
            let subjects = object::list(binding, "subjects")
                .iter()
                .map(|subject| {
                    let name = object::text(subject, "name");
                    match object::text(subject, "kind") {
                        "Group" => Subject::Group(name.to_owned()),
                        "ServiceAccount" => Subject::User(format!(
                            "system:serviceaccount:{}:{name}",
                            object::text(subject, "namespace")
                        )),
                        _ => Subject::User(name.to_owned()),
                    }
                })
                .collect();
            Some(Grant { subjects, rules })
        };
        let mut rules = Rules {
            stamp,
            cluster: Vec::new(),
            namespaced: HashMap::new(),
        };
        for binding in api.store.all(TABLES[1], "") {
            rules.cluster.extend(grant(&binding.value));
        }
        for binding in api.store.all(TABLES[3], "") {
            if let Some(grant) = grant(&binding.value) {
                let space = object::namespace(&binding.value).to_owned();
                rules.namespaced.entry(space).or_default().push(grant);
            }
        }
        rules
    }

    /// The rules that hold for a user.
    fn held<'a>(&'a self, user: &'a UserInfo, namespace: &str) -> impl Iterator<Item = &'a Rule> {
        let local = self
            .namespaced
            .get(namespace)
            .map_or(&[][..], Vec::as_slice);
        self.cluster
            .iter()
            .chain(local)
            .filter(|grant| {
                grant.subjects.iter().any(|subject| match subject {
                    Subject::User(name) => *name == user.username,
                    Subject::Group(name) => user.groups.contains(name),
                })
            })
            .flat_map(|grant| grant.rules.iter())
    }
}

fn has(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == "*" || word == wanted)
}

fn allows(rule: &Rule, info: &Info) -> bool {
    if !has(&rule.verbs, info.verb) {
        return false;
    }
    if !info.resource_request {
        return rule.urls.iter().any(|url| {
            url == "*"
                || *url == info.path
                || url
                    .strip_suffix('*')
                    .is_some_and(|prefix| info.path.starts_with(prefix))
        });
    }
    let full = info.full_resource();
    has(&rule.groups, &info.group)
        && rule.resources.iter().any(|resource| {
            resource == "*"
                || *resource == full
                || !info.subresource.is_empty()
                    && resource
                        .strip_prefix("*/")
                        .is_some_and(|sub| sub == info.subresource)
        })
        && (rule.names.is_empty() || rule.names.contains(&info.name))
}

fn current(api: &Api) -> Arc<Rules> {
    let stamp = TABLES
        .iter()
        .map(|table| api.store.stamp(table))
        .max()
        .unwrap_or(0);
    let mut place = api
        .rbac
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    match &*place {
        Some(rules) if rules.stamp == stamp => rules.clone(),
        _ => {
            let rules = Arc::new(Rules::load(api, stamp));
            *place = Some(rules.clone());
            rules
        }
    }
}

/// Whether a user may do this.
pub fn allowed(api: &Api, user: &UserInfo, info: &Info) -> bool {
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    current(api)
        .held(user, &info.namespace)
        .any(|rule| allows(rule, info))
}

/// Refuses what a user may not do.
pub fn authorize(api: &Api, user: &UserInfo, info: &Info) -> Result<()> {
    if allowed(api, user, info) {
        return Ok(());
    }
    let who = &user.username;
    if !info.resource_request {
        let mut status = Status::forbidden(
            "",
            "",
            "",
            &format!("User {who:?} cannot {} path {:?}", info.verb, info.path),
        );
        status.details = Some(json!({}));
        return Err(status);
    }
    let scope = if info.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", info.namespace)
    };
    Err(Status::forbidden(
        &info.group,
        &info.resource,
        &info.name,
        &format!(
            "User {who:?} cannot {} resource {:?} in API group {:?} {scope}",
            info.verb,
            info.full_resource(),
            info.group
        ),
    ))
}

/// Answers the access reviews. `namespace` is the one of a local review.
pub fn review(
    api: &Api,
    caller: &UserInfo,
    kind: &str,
    namespace: &str,
    mut review: Value,
) -> Result<Value> {
    let spec = review["spec"].clone();
    let user = if kind == "SelfSubjectAccessReview" {
        caller.clone()
    } else {
        UserInfo {
            username: object::text(&spec, "user").to_owned(),
            groups: words(&spec, "groups"),
            ..UserInfo::default()
        }
    };
    let verb = |text: &str| -> &'static str {
        const VERBS: [&str; 14] = [
            "get",
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
            "impersonate",
            "bind",
            "escalate",
            "post",
            "put",
            "*",
        ];
        VERBS
            .into_iter()
            .find(|one| *one == text)
            .unwrap_or("unknown")
    };
    let attributes = &spec["resourceAttributes"];
    let plain = &spec["nonResourceAttributes"];
    let info = if attributes.is_object() {
        let text = |field: &str| object::text(attributes, field).to_owned();
        Info {
            verb: verb(object::text(attributes, "verb")),
            resource_request: true,
            group: text("group"),
            version: text("version"),
            namespace: if kind == "LocalSubjectAccessReview" {
                namespace.to_owned()
            } else {
                text("namespace")
            },
            resource: text("resource"),
            subresource: text("subresource"),
            name: text("name"),
            ..Info::default()
        }
    } else if plain.is_object() {
        Info {
            verb: verb(object::text(plain, "verb")),
            path: object::text(plain, "path").to_owned(),
            ..Info::default()
        }
    } else {
        return Err(Status::invalid(
            "authorization.k8s.io",
            kind,
            "",
            &[super::status::Cause::invalid(
                "spec.resourceAttributes",
                &Value::Null,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )],
        ));
    };
    let allowed = allowed(api, &user, &info);
    review["status"] = json!({"allowed": allowed});
    if allowed && !user.groups.iter().any(|group| group == "system:masters") {
        review["status"]["reason"] = "RBAC: allowed by the cluster's roles".into();
    }
    Ok(review)
}

/// Answers a SelfSubjectRulesReview.
pub fn rules_review(api: &Api, user: &UserInfo, mut review: Value) -> Value {
    let namespace = object::text(&review, "spec.namespace").to_owned();
    let (mut resource, mut plain) = (Vec::new(), Vec::new());
    if user.groups.iter().any(|group| group == "system:masters") {
        resource.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        plain.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in current(api).held(user, &namespace) {
        if rule.urls.is_empty() {
            resource.push(json!({
                "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources,
                "resourceNames": rule.names,
            }));
        } else {
            plain.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls}));
        }
    }
    review["status"] =
        json!({"resourceRules": resource, "nonResourceRules": plain, "incomplete": false});
    review
}

fn role(name: &str, rules: Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "rules": rules,
    })
}

fn binding(name: &str, subjects: &[(&str, &str)]) -> Value {
    let subjects: Vec<Value> = subjects
        .iter()
        .map(|(kind, name)| json!({"kind": kind, "name": name, "apiGroup": GROUP}))
        .collect();
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "subjects": subjects,
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
    })
}

/// The roles and bindings that a cluster starts with.
pub fn defaults(index: &Index) -> Vec<Value> {
    let read = json!(["get", "list", "watch"]);
    let write = json!(["create", "delete", "deletecollection", "patch", "update"]);
    let all = json!([
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch"
    ]);
    // What people work with in a namespace, as in the real roles of these names.
    let work: Vec<(&str, Vec<&str>)> = vec![
        (
            "",
            vec![
                "configmaps",
                "endpoints",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "pods/log",
                "pods/status",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "serviceaccounts",
                "services",
                "services/status",
                "events",
                "limitranges",
                "namespaces",
                "resourcequotas",
            ],
        ),
        (
            "apps",
            vec![
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "statefulsets",
                "statefulsets/scale",
                "statefulsets/status",
            ],
        ),
        (
            "autoscaling",
            vec![
                "horizontalpodautoscalers",
                "horizontalpodautoscalers/status",
            ],
        ),
        (
            "batch",
            vec!["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
        ),
        ("discovery.k8s.io", vec!["endpointslices"]),
        (
            "networking.k8s.io",
            vec!["ingresses", "ingresses/status", "networkpolicies"],
        ),
        (
            "policy",
            vec!["poddisruptionbudgets", "poddisruptionbudgets/status"],
        ),
    ];
    let rules = |verbs: &Value| -> Vec<Value> {
        work.iter()
            .map(|(group, resources)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs}))
            .collect()
    };
    let mut view = rules(&read);
    let mut edit = rules(&read);
    edit.extend(work.iter().map(|(group, resources)| {
        let own: Vec<&&str> = resources
            .iter()
            .filter(|name| {
                !matches!(
                    **name,
                    "namespaces" | "limitranges" | "resourcequotas" | "pods/log"
                ) && !name.ends_with("/status")
            })
            .collect();
        json!({"apiGroups": [group], "resources": own, "verbs": write})
    }));
    edit.push(json!({"apiGroups": [""], "resources": ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"], "verbs": all}));
    edit.push(json!({"apiGroups": [""], "resources": ["pods/eviction", "serviceaccounts/token"], "verbs": ["create"]}));
    edit.push(
        json!({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}),
    );
    edit.push(json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": all}));
    let mut admin = edit.clone();
    admin.push(json!({"apiGroups": [GROUP], "resources": ["rolebindings", "roles"], "verbs": all}));
    admin.push(json!({"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]}));
    view.push(json!({"apiGroups": [""], "resources": ["bindings"], "verbs": read}));
    let discovery = json!([
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/"
    ]);
    let public = json!(["/healthz", "/livez", "/readyz", "/version", "/version/"]);
    let node = json!([
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews", "subjectaccessreviews"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["services", "endpoints"], "verbs": read},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["create", "get", "list", "watch", "patch", "update"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch", "update"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete", "get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch", "update"]},
        {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["configmaps", "secrets", "persistentvolumeclaims", "persistentvolumes"], "verbs": read},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "delete", "get", "patch", "update"]},
        {"apiGroups": ["storage.k8s.io"], "resources": ["csidrivers", "volumeattachments"], "verbs": read},
        {"apiGroups": ["storage.k8s.io"], "resources": ["csinodes"], "verbs": ["create", "delete", "get", "patch", "update"]},
        {"apiGroups": ["node.k8s.io"], "resources": ["runtimeclasses"], "verbs": read},
    ]);
    let mut objects = vec![
        role(
            "cluster-admin",
            json!([
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ]),
        ),
        binding("cluster-admin", &[("Group", "system:masters")]),
        role("admin", admin.into()),
        role("edit", edit.into()),
        role("view", view.into()),
        role(
            "system:discovery",
            json!([{"nonResourceURLs": discovery, "verbs": ["get"]}]),
        ),
        binding("system:discovery", &[("Group", "system:authenticated")]),
        role(
            "system:public-info-viewer",
            json!([{"nonResourceURLs": public, "verbs": ["get"]}]),
        ),
        binding(
            "system:public-info-viewer",
            &[
                ("Group", "system:authenticated"),
                ("Group", "system:unauthenticated"),
            ],
        ),
        role(
            "system:basic-user",
            json!([
                {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"]},
                {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
            ]),
        ),
        binding("system:basic-user", &[("Group", "system:authenticated")]),
        role(
            "system:service-account-issuer-discovery",
            json!([
                {"nonResourceURLs": ["/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"], "verbs": ["get"]},
            ]),
        ),
        binding(
            "system:service-account-issuer-discovery",
            &[("Group", "system:serviceaccounts")],
        ),
        role("system:node", node),
        // Upstream leaves this to the node authorizer; here the group has the role.
        binding("system:node", &[("Group", "system:nodes")]),
        role(
            "system:node-proxier",
            json!([
                {"apiGroups": [""], "resources": ["endpoints", "services", "nodes"], "verbs": read},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
                {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
            ]),
        ),
        binding("system:node-proxier", &[("User", "system:kube-proxy")]),
        role(
            "system:auth-delegator",
            json!([
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
                {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
            ]),
        ),
    ];
    for object in &mut objects {
        let kind = object::text(object, "kind");
        let known = index.kind(GROUP, "v1", kind).is_some();
        debug_assert!(known, "{kind} is built in");
        object::set(object, "metadata.uid", object::new_uid());
        object::set(object, "metadata.creationTimestamp", object::now());
    }
    objects
}
