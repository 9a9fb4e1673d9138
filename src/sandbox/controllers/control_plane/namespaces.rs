//! Empties namespaces that are being deleted and then lets them go.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};

use super::super::runtime::kinds::NAMESPACES;
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Cluster, Key, Next, Queue, Resource, Work};

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let queue = Queue::with_last_delay(Duration::from_secs(1));
    let add = queue.clone();
    cluster.cache(&NAMESPACES).subscribe(move |change| {
        if let Some(namespace) = change.new
            && namespace.deleting()
        {
            add.add(namespace.name().to_owned());
        }
    });
    cluster.cache(&NAMESPACES).synced().await;
    let shutdown = cluster.shutdown();
    queue
        .run("namespaces", 5, shutdown, move |name| {
            let cluster = cluster.clone();
            async move { sync(&cluster, &name).await }
        })
        .await;
}

/// Every kind that the server serves, and the groups that it could not tell about.
pub struct Discovered {
    /// The kinds in their group's preferred version, with what may be done with them.
    pub kinds: Vec<(Resource, Vec<String>)>,
    /// Why groups are missing.
    pub failures: Vec<String>,
}

/// Asks the server what it serves; of each group the preferred version only.
pub async fn discover(cluster: &Cluster) -> Result<Discovered, ApiError> {
    let mut found = Discovered {
        kinds: Vec::new(),
        failures: Vec::new(),
    };
    let read = |path: String| {
        let cluster = cluster.clone();
        async move {
            cluster
                .request(Method::GET, &path, "application/json", None)
                .await
        }
    };
    let core = read("/api/v1".into()).await?;
    collect(&mut found.kinds, "", "v1", &core);
    let groups = read("/apis".into()).await?;
    for group in items(&groups["groups"]) {
        let (name, version) = (
            text(&group["name"]),
            text(&group["preferredVersion"]["version"]),
        );
        match read(format!("/apis/{name}/{version}")).await {
            Ok(list) => collect(&mut found.kinds, name, version, &list),
            Err(error) if error.is_not_found() => {}
            Err(error) => found.failures.push(format!("{name}/{version}: {error}")),
        }
    }
    Ok(found)
}

fn collect(kinds: &mut Vec<(Resource, Vec<String>)>, group: &str, version: &str, list: &Value) {
    for entry in items(&list["resources"]) {
        let plural = text(&entry["name"]);
        if plural.contains('/') {
            continue;
        }
        let verbs = items(&entry["verbs"])
            .iter()
            .map(|verb| text(verb).to_owned())
            .collect();
        kinds.push((
            Resource {
                group: group.to_owned().into(),
                version: version.to_owned().into(),
                plural: plural.to_owned().into(),
                kind: text(&entry["kind"]).to_owned().into(),
                namespaced: entry["namespaced"] == true,
            },
            verbs,
        ));
    }
}

async fn sync(cluster: &Cluster, name: &str) -> Work {
    let key = Key::new("", name);
    let Some(namespace) = cluster.find(&NAMESPACES, &key).await? else {
        return Ok(Next::Done);
    };
    if !namespace.deleting() {
        return Ok(Next::Done);
    }
    let finalized = !items(&namespace["spec"]["finalizers"])
        .iter()
        .any(|finalizer| finalizer == "kubernetes");
    if finalized {
        return Ok(Next::Done);
    }
    let mut report = Report::default();
    let discovered = discover(cluster).await?;
    report.discovery = discovered.failures;
    for (kind, verbs) in &discovered.kinds {
        if kind.namespaced && verbs.iter().any(|verb| verb == "delete") {
            empty(cluster, kind, verbs, name, &mut report).await;
        }
    }
    report.write(cluster, &namespace).await?;
    if !report.discovery.is_empty() || !report.failures.is_empty() || !report.remaining.is_empty() {
        return Ok(Next::Retry);
    }
    let mut last = cluster.get(&NAMESPACES, &key).await?;
    last["spec"]["finalizers"] = items(&last["spec"]["finalizers"])
        .iter()
        .filter(|finalizer| *finalizer != "kubernetes")
        .cloned()
        .collect();
    let path = format!("/api/v1/namespaces/{name}/finalize");
    match cluster
        .request(Method::PUT, &path, "application/json", Some(&last))
        .await
    {
        Ok(_) => Ok(Next::Done),
        Err(error) if error.is_not_found() => Ok(Next::Done),
        Err(error) => Err(error),
    }
}

/// Deletes all objects of one kind and counts what remains.
async fn empty(
    cluster: &Cluster,
    kind: &Resource,
    verbs: &[String],
    namespace: &str,
    report: &mut Report,
) {
    let listed = match cluster.list(kind, namespace, "").await {
        Ok(listed) => listed,
        Err(error) if error.status == 404 || error.status == 405 => return,
        Err(error) => {
            report.failures.push(error.to_string());
            return;
        }
    };
    if listed.is_empty() {
        return;
    }
    let options = json!({
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Background",
    });
    let mut paths = Vec::new();
    if verbs.iter().any(|verb| verb == "deletecollection") {
        paths.push(kind.path(namespace));
    } else {
        for object in listed.iter().filter(|object| !object.deleting()) {
            paths.push(format!("{}/{}", kind.path(namespace), object.name()));
        }
    }
    for path in paths {
        match cluster
            .request(Method::DELETE, &path, "application/json", Some(&options))
            .await
        {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => report.failures.push(error.to_string()),
        }
    }
    let remaining = match cluster.list(kind, namespace, "").await {
        Ok(remaining) => remaining,
        Err(error) => {
            report.failures.push(error.to_string());
            return;
        }
    };
    if remaining.is_empty() {
        return;
    }
    let name = if kind.group.is_empty() {
        format!("{}.", kind.plural)
    } else {
        format!("{}.{}", kind.plural, kind.group)
    };
    report.remaining.insert(name, remaining.len());
    for object in &remaining {
        for finalizer in items(&object["metadata"]["finalizers"]) {
            *report
                .finalizers
                .entry(text(finalizer).to_owned())
                .or_default() += 1;
        }
    }
}

#[derive(Default)]
struct Report {
    discovery: Vec<String>,
    failures: Vec<String>,
    remaining: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Report {
    fn conditions(&self) -> Vec<Value> {
        let list = |counts: &BTreeMap<String, usize>, words: &str| {
            counts
                .iter()
                .map(|(name, count)| format!("{name} {words} {count} resource instances"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let condition = |kind: &str, bad: bool, reasons: [&str; 2], good: &str, message: String| {
            json!({
                "type": kind,
                "status": if bad { "True" } else { "False" },
                "reason": reasons[usize::from(bad)],
                "message": if bad { message } else { good.to_owned() },
            })
        };
        vec![
            condition(
                "NamespaceDeletionDiscoveryFailure",
                !self.discovery.is_empty(),
                ["ResourcesDiscovered", "DiscoveryFailed"],
                "All resources successfully discovered",
                format!(
                    "Discovery failed for some groups, {} failing: {}",
                    self.discovery.len(),
                    self.discovery.join(", ")
                ),
            ),
            condition(
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                ["ParsedGroupVersions", "GroupVersionParsingFailed"],
                "All legacy kube types successfully parsed",
                String::new(),
            ),
            condition(
                "NamespaceDeletionContentFailure",
                !self.failures.is_empty(),
                ["ContentDeleted", "ContentDeletionFailed"],
                "All content successfully deleted, may be waiting on finalization",
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    self.failures.len(),
                    self.failures.join(", ")
                ),
            ),
            condition(
                "NamespaceContentRemaining",
                !self.remaining.is_empty(),
                ["ContentRemoved", "SomeResourcesRemain"],
                "All content successfully removed",
                format!(
                    "Some resources are remaining: {}",
                    list(&self.remaining, "has")
                ),
            ),
            condition(
                "NamespaceFinalizersRemaining",
                !self.finalizers.is_empty(),
                ["ContentHasNoFinalizers", "SomeFinalizersRemain"],
                "All content-preserving finalizers finished",
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    list(&self.finalizers, "in")
                ),
            ),
        ]
    }

    async fn write(&self, cluster: &Cluster, namespace: &Value) -> Result<(), ApiError> {
        let mut conditions = items(&namespace["status"]["conditions"]).to_vec();
        for condition in self.conditions() {
            object::set_condition(&mut conditions, condition);
        }
        let mut status = namespace["status"].clone();
        status["conditions"] = conditions.into();
        if object::same(&status, &namespace["status"]) {
            return Ok(());
        }
        let mut written = namespace.clone();
        written["status"] = status;
        match cluster.update_status(&NAMESPACES, &written).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
