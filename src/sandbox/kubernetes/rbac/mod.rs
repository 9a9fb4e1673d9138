//! Who may do what: roles, bindings, and the ones that every cluster starts with.

mod defaults;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

pub use defaults::defaults;

use super::UserInfo;
use super::api::Api;
use super::object;
use super::request::Info;
use super::selector::Labels;
use super::status::{Result, Status};

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
                        "ServiceAccount" => {
                            // Without a namespace it is the binding's.
                            let space = match object::text(subject, "namespace") {
                                "" => object::namespace(binding),
                                space => space,
                            };
                            Subject::User(format!("system:serviceaccount:{space}:{name}"))
                        }
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
