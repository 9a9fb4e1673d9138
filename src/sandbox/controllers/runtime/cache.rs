//! A copy of all objects of one kind, kept current by one watch.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use hyper::http::Request;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::super::{Log, Shutdown, stopped};
use super::Resource;
use super::cluster::ApiError;
use super::index::{Index, Objects};
use super::object::{self, Meta};

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace; empty for what lives in none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Key {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            formatter.write_str(&self.name)
        } else {
            write!(formatter, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What changed: the object before and after; one of them is missing for a creation or a deletion.
pub struct Change<'a> {
    /// Before.
    pub old: Option<&'a Arc<Value>>,
    /// After.
    pub new: Option<&'a Arc<Value>>,
}

impl Change<'_> {
    /// The newest form that is known.
    pub fn latest(&self) -> &Arc<Value> {
        // One of both is always there: `Cache` makes no other change.
        match (self.new, self.old) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change without an object"),
        }
    }

    /// Both forms.
    pub fn both(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.into_iter().chain(self.new)
    }
}

type Handler = Arc<dyn Fn(&Change<'_>) + Send + Sync>;

#[derive(Default)]
struct Inner {
    /// The newest that is known, own writes included.
    objects: Objects,
    /// What the watch has delivered: handlers are told of changes to this, so that an own write hides none.
    told: BTreeMap<Key, Arc<Value>>,
    handlers: Vec<Handler>,
    /// The newest resource version that the watch has delivered.
    seen: u64,
}

/// A cache of one kind; clones share it.
#[derive(Clone)]
pub struct Cache {
    resource: Resource,
    inner: Arc<Mutex<Inner>>,
    synced: watch::Receiver<bool>,
    stop: Arc<Notify>,
}

impl Cache {
    /// Starts to list and watch.
    pub fn start(
        client: kube::Client,
        resource: Resource,
        shutdown: Shutdown,
        log: Option<Log>,
    ) -> Self {
        let (sender, synced) = watch::channel(false);
        let cache = Cache {
            resource,
            inner: Arc::default(),
            synced,
            stop: Arc::default(),
        };
        let running = cache.clone();
        tokio::spawn(async move {
            running.run(client, sender, shutdown, log).await;
            // They may hold the cache that holds them.
            let handlers = std::mem::take(&mut running.lock().handlers);
            drop(handlers);
        });
        cache
    }

    /// Ends the watch.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Returns once the first list has arrived.
    pub async fn synced(&self) {
        // An error means a shutdown: the one who waits will notice that itself.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    /// Calls back on every change from now on, beginning with one creation for each object that is there.
    pub fn subscribe(&self, handler: impl Fn(&Change<'_>) + Send + Sync + 'static) {
        let handler: Handler = Arc::new(handler);
        let present: Vec<Arc<Value>> = {
            let mut inner = self.lock();
            inner.handlers.push(handler.clone());
            inner.told.values().cloned().collect()
        };
        for object in &present {
            handler(&Change {
                old: None,
                new: Some(object),
            });
        }
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().objects.get(key).cloned()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<Value>> {
        self.lock().objects.all().values().cloned().collect()
    }

    /// The objects of one namespace.
    pub fn within(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.lock()
            .objects
            .all()
            .range(Key::new(namespace, "")..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects that have a term of an index.
    pub fn by(&self, index: &'static Index, term: &str) -> Vec<Arc<Value>> {
        self.lock().objects.by(index, term)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes in what this client has just written, unless the watch knows it or something newer already.
    pub(super) fn learn(&self, object: &Value) {
        let version = version(object);
        if version == 0 {
            return;
        }
        let key = object.key();
        let mut inner = self.lock();
        let known = inner
            .objects
            .get(&key)
            .map_or(0, |known| self::version(known));
        if version > inner.seen && version > known {
            let kept = self.kept(object.clone());
            inner.objects.insert(key, kept);
        }
    }

    /// Takes in that this client has just deleted an object: until the watch says more, it is being deleted.
    pub(super) fn mark_deleting(&self, key: &Key, uid: &str) {
        let mut inner = self.lock();
        if let Some(known) = inner.objects.get(key)
            && !known.deleting()
            && (uid.is_empty() || known.uid() == uid)
        {
            let mut marked = Value::clone(known);
            marked["metadata"]["deletionTimestamp"] = object::now().into();
            inner.objects.insert(key.clone(), Arc::new(marked));
        }
    }

    async fn run(
        &self,
        client: kube::Client,
        synced: watch::Sender<bool>,
        mut shutdown: Shutdown,
        log: Option<Log>,
    ) {
        let mut pause = Duration::from_millis(20);
        loop {
            let outcome = tokio::select! {
                () = stopped(&mut shutdown) => return,
                () = self.stop.notified() => return,
                outcome = self.list_and_watch(&client, &synced) => outcome,
            };
            match outcome {
                Ok(()) => pause = Duration::from_millis(20),
                Err(error) => {
                    tracing::debug!(%error, resource = %self.resource.plural, "watch failed");
                    if let Some(log) = &log {
                        log(&format!(
                            "Failed to watch: failed to list *{}.{}: {error}",
                            self.resource.version, self.resource.kind
                        ));
                    }
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
            tokio::select! {
                () = stopped(&mut shutdown) => return,
                () = self.stop.notified() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn list_and_watch(
        &self,
        client: &kube::Client,
        synced: &watch::Sender<bool>,
    ) -> Result<(), ApiError> {
        let path = self.resource.path("");
        let mut list: Value = client.request(get(&path)?).await?;
        let mut position = object::text(&list["metadata"]["resourceVersion"]).to_owned();
        let items = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        self.replace(items, position.parse().unwrap_or(0));
        synced.send_replace(true);
        loop {
            let request = get(&format!(
                "{path}?watch=true&allowWatchBookmarks=true&resourceVersion={position}"
            ))?;
            let mut events = Box::pin(client.request_events::<Value>(request).await?);
            while let Some(event) = events.next().await {
                match event? {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        position = object.resource_version().to_owned();
                        self.upsert(object);
                    }
                    WatchEvent::Deleted(object) => {
                        position = object.resource_version().to_owned();
                        self.remove(&object);
                    }
                    WatchEvent::Bookmark(bookmark) => {
                        position = bookmark.metadata.resource_version;
                    }
                    WatchEvent::Error(status) => {
                        return Err(kube::Error::Api(status).into());
                    }
                }
            }
        }
    }

    /// An object as it is kept. Who owns which field no controller asks, and it is up to half of an object; who sends an
    /// object without it leaves it as it is.
    fn kept(&self, mut object: Value) -> Arc<Value> {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.shift_remove("managedFields");
        }
        Arc::new(object::with_type(&self.resource, object))
    }

    fn replace(&self, items: Vec<Value>, position: u64) {
        let mut fresh: BTreeMap<Key, Arc<Value>> = items
            .into_iter()
            .map(|item| (item.key(), self.kept(item)))
            .collect();
        let (changes, handlers) = {
            let mut inner = self.lock();
            inner.seen = inner.seen.max(position);
            let told = std::mem::replace(&mut inner.told, fresh.clone());
            let mut changes = Vec::new();
            for (key, object) in &fresh {
                changes.push((told.get(key).cloned(), Some(object.clone())));
            }
            for (key, object) in told {
                if !fresh.contains_key(&key) {
                    changes.push((Some(object), None));
                }
            }
            // What was learned from an own write after the list was taken stays.
            for (key, known) in inner.objects.all() {
                let listed = fresh.get(key).map_or(0, |object| version(object));
                if version(known) > position.max(listed) {
                    fresh.insert(key.clone(), known.clone());
                }
            }
            inner.objects.replace(fresh);
            (changes, inner.handlers.clone())
        };
        for (old, new) in &changes {
            notify(&handlers, old.as_ref(), new.as_ref());
        }
    }

    fn upsert(&self, object: Value) {
        let key = object.key();
        let object = self.kept(object);
        let (old, handlers) = {
            let mut inner = self.lock();
            let new = version(&object);
            inner.seen = inner.seen.max(new);
            let old = inner.told.insert(key.clone(), object.clone());
            // An own write may be ahead of the watch.
            if inner
                .objects
                .get(&key)
                .is_none_or(|known| version(known) <= new)
            {
                inner.objects.insert(key, object.clone());
            }
            (old, inner.handlers.clone())
        };
        notify(&handlers, old.as_ref(), Some(&object));
    }

    fn remove(&self, object: &Value) {
        let key = object.key();
        let (old, handlers) = {
            let mut inner = self.lock();
            let gone = version(object);
            inner.seen = inner.seen.max(gone);
            let newer = inner
                .objects
                .get(&key)
                .is_some_and(|known| known.uid() != object.uid() && version(known) > gone);
            if !newer {
                inner.objects.remove(&key);
            }
            let old = inner.told.remove(&key);
            (old, inner.handlers.clone())
        };
        let last = self.kept(object.clone());
        notify(&handlers, Some(old.as_ref().unwrap_or(&last)), None);
    }
}

fn notify(handlers: &[Handler], old: Option<&Arc<Value>>, new: Option<&Arc<Value>>) {
    for handler in handlers {
        handler(&Change { old, new });
    }
}

fn version(object: &Value) -> u64 {
    object.resource_version().parse().unwrap_or(0)
}

fn get(path: &str) -> Result<Request<Vec<u8>>, ApiError> {
    Request::get(path)
        .header("accept", "application/json")
        .body(Vec::new())
        .map_err(|error| ApiError {
            status: 0,
            reason: "BadRequest".into(),
            message: error.to_string(),
        })
}
