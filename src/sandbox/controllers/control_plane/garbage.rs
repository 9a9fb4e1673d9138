//! The garbage collector: what is owned goes when its owners are gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::runtime::cache::Change;
use super::super::runtime::kinds::CUSTOM_RESOURCE_DEFINITIONS;
use super::super::runtime::object::{Meta, items, text};
use super::super::runtime::{ApiError, Cluster, Key, Next, Queue, Resource, Work};
use super::super::stopped;
use super::namespaces::discover;

/// How long after a change of the served kinds the collector asks which there are.
const SETTLE: Duration = Duration::from_millis(100);

type Item = (Resource, Key);

#[derive(Default)]
struct Graph {
    /// By the UID of an owner, what refers to it.
    dependents: HashMap<String, BTreeSet<Item>>,
    /// By `group/kind`, the kind as it is served.
    kinds: HashMap<(String, String), Resource>,
    watched: HashSet<Resource>,
}

#[derive(Clone)]
struct Collector {
    cluster: Cluster,
    graph: Arc<Mutex<Graph>>,
    queue: Queue<Item>,
}

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let collector = Collector {
        cluster: cluster.clone(),
        graph: Arc::default(),
        queue: Queue::with_last_delay(Duration::from_secs(5)),
    };
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    cluster
        .cache(&CUSTOM_RESOURCE_DEFINITIONS)
        .subscribe(move |_| notify.notify_one());
    let follower = collector.clone();
    let mut shutdown = cluster.shutdown();
    tokio::spawn(async move {
        loop {
            if let Err(error) = follower.follow_kinds().await {
                tracing::debug!(%error, "discovery failed");
            }
            tokio::select! {
                () = stopped(&mut shutdown) => return,
                () = changed.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(Duration::from_secs(30)) => {}
            }
        }
    });
    let shutdown = cluster.shutdown();
    let queue = collector.queue.clone();
    queue
        .run("garbage", 4, shutdown, move |item| {
            let collector = collector.clone();
            async move { collector.sync(&item).await }
        })
        .await;
}

impl Collector {
    fn lock(&self) -> MutexGuard<'_, Graph> {
        self.graph
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Watches what is served and can be deleted; forgets what is served no longer.
    async fn follow_kinds(&self) -> Result<(), ApiError> {
        let discovered = discover(&self.cluster).await?;
        let wanted: Vec<Resource> = discovered
            .kinds
            .into_iter()
            .filter(|(kind, verbs)| {
                // Events own nothing and come in numbers.
                kind.plural != "events"
                    && ["list", "watch", "delete"]
                        .iter()
                        .all(|verb| verbs.iter().any(|known| known == verb))
            })
            .map(|(kind, _)| kind)
            .collect();
        // What could not be asked about is as it was.
        let complete = discovered.failures.is_empty();
        let (added, removed) = {
            let mut graph = self.lock();
            let name = |kind: &Resource| (kind.group.to_string(), kind.kind.to_string());
            let wanted: HashSet<Resource> = wanted.into_iter().collect();
            let added: Vec<Resource> = wanted.difference(&graph.watched).cloned().collect();
            let removed = graph.watched.difference(&wanted).filter(|_| complete);
            let removed: Vec<Resource> = removed.cloned().collect();
            for kind in &removed {
                graph.watched.remove(kind);
                graph.kinds.remove(&name(kind));
            }
            for kind in &added {
                graph.watched.insert(kind.clone());
                graph.kinds.insert(name(kind), kind.clone());
            }
            (added, removed)
        };
        for kind in added {
            let collector = self.clone();
            let resource = kind.clone();
            self.cluster
                .cache(&kind)
                .subscribe(move |change| collector.observe(&resource, change));
        }
        for kind in removed {
            self.cluster.forget(&kind);
        }
        Ok(())
    }

    fn observe(&self, kind: &Resource, change: &Change<'_>) {
        let object = change.latest();
        let item = (kind.clone(), object.key());
        let owners = |object: &Value| -> BTreeSet<String> {
            items(&object["metadata"]["ownerReferences"])
                .iter()
                .map(|owner| text(&owner["uid"]).to_owned())
                .collect()
        };
        let before = change.old.map(|old| owners(old)).unwrap_or_default();
        let after = change.new.map(|new| owners(new)).unwrap_or_default();
        let mut orphaned = BTreeSet::new();
        {
            let mut graph = self.lock();
            for uid in before.difference(&after) {
                if let Some(dependents) = graph.dependents.get_mut(uid) {
                    dependents.remove(&item);
                    if dependents.is_empty() {
                        graph.dependents.remove(uid);
                    }
                }
            }
            for uid in &after {
                graph
                    .dependents
                    .entry(uid.clone())
                    .or_default()
                    .insert(item.clone());
            }
            if change.new.is_none()
                && let Some(dependents) = graph.dependents.get(object.uid())
            {
                orphaned = dependents.clone();
            }
        }
        for dependent in orphaned {
            self.queue.add(dependent);
        }
        match change.new {
            Some(new) => {
                let finalizing = new.deleting()
                    && (new.has_finalizer("foregroundDeletion") || new.has_finalizer("orphan"));
                if finalizing || (!after.is_empty() && (change.old.is_none() || before != after)) {
                    self.queue.add(item);
                }
            }
            None => {
                // An owner in foreground deletion may have waited for this one.
                for owner in items(&object["metadata"]["ownerReferences"]) {
                    if let Some(owner) = self.locate(owner, object.namespace()) {
                        self.queue.add(owner);
                    }
                }
            }
        }
    }

    /// The object that an owner reference points to.
    fn locate(&self, owner: &Value, namespace: &str) -> Option<Item> {
        let version = text(&owner["apiVersion"]);
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let kind = self
            .lock()
            .kinds
            .get(&(group.to_owned(), text(&owner["kind"]).to_owned()))?
            .clone();
        let namespace = if kind.namespaced { namespace } else { "" };
        let key = Key::new(namespace, text(&owner["name"]));
        Some((kind, key))
    }

    async fn sync(&self, (kind, key): &Item) -> Work {
        let Some(object) = self.cluster.cache(kind).get(key) else {
            return Ok(Next::Done);
        };
        if object.deleting() {
            if object.has_finalizer("orphan") {
                return self.orphan(kind, &object).await;
            }
            if object.has_finalizer("foregroundDeletion") {
                return self.foreground(kind, &object).await;
            }
            return Ok(Next::Done);
        }
        let owners = items(&object["metadata"]["ownerReferences"]);
        if owners.is_empty() {
            return Ok(Next::Done);
        }
        let (mut solid, mut dangling, mut waiting) = (0, Vec::new(), false);
        for owner in owners {
            match self.owner(owner, &object).await? {
                Some(found) if found.deleting() && found.has_finalizer("foregroundDeletion") => {
                    waiting = true;
                }
                Some(_) => solid += 1,
                None => dangling.push(text(&owner["uid"]).to_owned()),
            }
        }
        if solid > 0 {
            if !dangling.is_empty() {
                let kept: Vec<&Value> = owners
                    .iter()
                    .filter(|owner| !dangling.iter().any(|uid| owner["uid"] == uid.as_str()))
                    .collect();
                let patch = json!({ "metadata": { "uid": object.uid(), "ownerReferences": kept } });
                self.cluster.patch(kind, key, &patch).await?;
            }
            return Ok(Next::Done);
        }
        let policy = if object.has_finalizer("orphan") {
            "Orphan"
        } else if object.has_finalizer("foregroundDeletion") || waiting {
            "Foreground"
        } else {
            "Background"
        };
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": policy,
            "preconditions": { "uid": object.uid() },
        });
        let path = format!("{}/{}", kind.path(&key.namespace), key.name);
        match self
            .cluster
            .request(Method::DELETE, &path, "application/json", Some(&options))
            .await
        {
            Ok(_) => Ok(Next::Done),
            Err(error) if error.is_not_found() => Ok(Next::Done),
            Err(error) => Err(error),
        }
    }

    /// The owner if it is there; the cache decides for yes, the API server for no.
    async fn owner(&self, owner: &Value, object: &Value) -> Result<Option<Arc<Value>>, ApiError> {
        let Some((kind, key)) = self.locate(owner, object.namespace()) else {
            // A kind that is not served (yet) is no proof that its objects are gone.
            return Err(ApiError {
                status: 0,
                reason: String::new(),
                message: format!("the kind of owner {owner} is not served"),
            });
        };
        if let Some(found) = self.cluster.cache(&kind).get(&key)
            && found["metadata"]["uid"] == owner["uid"]
        {
            return Ok(Some(found));
        }
        Ok(self
            .cluster
            .find(&kind, &key)
            .await?
            .filter(|found| found["metadata"]["uid"] == owner["uid"])
            .map(Arc::new))
    }

    fn dependents(&self, uid: &str) -> Vec<(Item, Arc<Value>)> {
        let items = self.lock().dependents.get(uid).cloned().unwrap_or_default();
        items
            .into_iter()
            .filter_map(|item| {
                let object = self.cluster.cache(&item.0).get(&item.1)?;
                Some((item, object))
            })
            .collect()
    }

    async fn foreground(&self, kind: &Resource, object: &Value) -> Work {
        let blocking: Vec<Item> = self
            .dependents(object.uid())
            .into_iter()
            .map(|(item, dependent)| {
                if !dependent.deleting() {
                    self.queue.add(item.clone());
                }
                (item, dependent)
            })
            .filter(|(_, dependent)| {
                items(&dependent["metadata"]["ownerReferences"])
                    .iter()
                    .any(|owner| {
                        owner["uid"] == object.uid() && owner["blockOwnerDeletion"] == true
                    })
            })
            .map(|(item, _)| item)
            .collect();
        if blocking.is_empty() {
            self.drop_finalizer(kind, object, "foregroundDeletion")
                .await?;
        }
        Ok(Next::Done)
    }

    async fn orphan(&self, kind: &Resource, object: &Value) -> Work {
        for ((dependent_kind, key), dependent) in self.dependents(object.uid()) {
            let kept: Vec<&Value> = items(&dependent["metadata"]["ownerReferences"])
                .iter()
                .filter(|owner| owner["uid"] != object.uid())
                .collect();
            let patch = json!({ "metadata": { "uid": dependent.uid(), "ownerReferences": kept } });
            match self.cluster.patch(&dependent_kind, &key, &patch).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        self.drop_finalizer(kind, object, "orphan").await?;
        Ok(Next::Done)
    }

    async fn drop_finalizer(
        &self,
        kind: &Resource,
        object: &Value,
        finalizer: &str,
    ) -> Result<(), ApiError> {
        let kept: Vec<&Value> = items(&object["metadata"]["finalizers"])
            .iter()
            .filter(|entry| *entry != finalizer)
            .collect();
        let patch = json!({ "metadata": {
            "resourceVersion": object.resource_version(),
            "finalizers": kept,
        } });
        match self.cluster.patch(kind, &object.key(), &patch).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
