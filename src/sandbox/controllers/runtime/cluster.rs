//! An untyped client of one API server, with the caches that its controllers share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use hyper::http::{Method, Request};
use serde_json::{Value, json};

use super::super::{Log, Shutdown};
use super::cache::{Cache, Key};
use super::object::{self, Meta};
use super::{Resource, kinds};

/// What the API server, or the way to it, refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status; 0 when there was no answer.
    pub status: u16,
    /// The machine-readable reason: `NotFound`.
    pub reason: String,
    /// The message.
    pub message: String,
}

impl ApiError {
    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status == 404
    }

    /// The object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.status == 409 && self.reason != "AlreadyExists"
    }

    /// The object is there already.
    pub fn is_already_exists(&self) -> bool {
        self.status == 409 && self.reason == "AlreadyExists"
    }

    /// The namespace is going away.
    pub fn is_terminating(&self) -> bool {
        self.status == 403 && self.message.contains("is being terminated")
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => ApiError {
                status: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            },
            other => ApiError {
                status: 0,
                reason: String::new(),
                message: other.to_string(),
            },
        }
    }
}

/// The answer of a request.
pub type Result<T> = std::result::Result<T, ApiError>;

/// How dependents fare when their owner is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector removes them afterwards.
    Background,
    /// They keep on living.
    Orphan,
}

/// One API server as one component sees it.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    component: Arc<str>,
    caches: Arc<Mutex<HashMap<Resource, Cache>>>,
    /// How often each event was recorded: who may create and patch events need not be allowed to read them.
    events: Arc<Mutex<HashMap<String, i64>>>,
    shutdown: Shutdown,
    log: Option<Log>,
}

impl Cluster {
    /// A view of an API server; `component` signs events and is the field manager.
    pub fn new(client: kube::Client, component: &str, shutdown: Shutdown) -> Self {
        Cluster {
            client,
            component: component.into(),
            caches: Arc::default(),
            events: Arc::default(),
            shutdown,
            log: None,
        }
    }

    /// Says what the watches cannot reach in a container's log.
    pub fn with_log(mut self, log: Log) -> Self {
        self.log = Some(log);
        self
    }

    /// The same server and caches under another component's name.
    pub fn as_component(&self, component: &str) -> Self {
        Cluster {
            component: component.into(),
            ..self.clone()
        }
    }

    /// What asks this component to end.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The client below.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The component's name.
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Returns once the caches of these kinds are filled.
    pub async fn synced(&self, kinds: &[&Resource]) {
        for kind in kinds {
            self.cache(kind).synced().await;
        }
    }

    /// The cache of a kind in all namespaces; the first call starts its watch.
    pub fn cache(&self, resource: &Resource) -> Cache {
        let mut caches = self.lock();
        if let Some(cache) = caches.get(resource) {
            return cache.clone();
        }
        let cache = Cache::start(
            self.client.clone(),
            resource.clone(),
            self.shutdown.clone(),
            self.log.clone(),
        );
        caches.insert(resource.clone(), cache.clone());
        cache
    }

    /// Ends the watch of a kind that is served no longer.
    pub fn forget(&self, resource: &Resource) {
        if let Some(cache) = self.lock().remove(resource) {
            cache.stop();
        }
    }

    /// Takes in an object that this component has just read, ahead of the watch.
    pub fn remember(&self, resource: &Resource, object: &Value) {
        self.learn(resource, object);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Resource, Cache>> {
        self.caches
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What this component has just written is what it reads next, whether or not the watch has delivered it.
    fn learn(&self, resource: &Resource, object: &Value) {
        if object["kind"] == "Status" {
            return;
        }
        let cache = self.lock().get(resource).cloned();
        if let Some(cache) = cache {
            cache.learn(object);
        }
    }

    /// Sends a request with a JSON body.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let bytes = match body {
            Some(body) => serde_json::to_vec(body).unwrap_or_default(),
            None => Vec::new(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .header("user-agent", &*self.component)
            .body(bytes)
            .map_err(|error| ApiError {
                status: 0,
                reason: "BadRequest".into(),
                message: error.to_string(),
            })?;
        Ok(self.client.request(request).await?)
    }

    /// Reads one object.
    pub async fn get(&self, resource: &Resource, key: &Key) -> Result<Value> {
        let path = format!("{}/{}", resource.path(&key.namespace), key.name);
        self.request(Method::GET, &path, "application/json", None)
            .await
    }

    /// Reads one object; `None` when it is not there.
    pub async fn find(&self, resource: &Resource, key: &Key) -> Result<Option<Value>> {
        match self.get(resource, key).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists a namespace, or all of them when it is empty. `query` is `labelSelector=…` or empty.
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        query: &str,
    ) -> Result<Vec<Value>> {
        let path = format!("{}?{query}", resource.path(namespace));
        let mut list = self
            .request(Method::GET, &path, "application/json", None)
            .await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items
                .into_iter()
                .map(|item| object::with_type(resource, item))
                .collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// Makes an object.
    pub async fn create(&self, resource: &Resource, object: &Value) -> Result<Value> {
        let namespace = object.namespace();
        let path = format!(
            "{}?fieldManager={}",
            resource.path(namespace),
            self.component
        );
        let made = self
            .request(Method::POST, &path, "application/json", Some(object))
            .await?;
        self.learn(resource, &made);
        Ok(made)
    }

    /// Replaces an object; its resource version has to be the one that was read.
    pub async fn update(&self, resource: &Resource, object: &Value) -> Result<Value> {
        self.put(resource, object, "").await
    }

    /// Replaces an object's status.
    pub async fn update_status(&self, resource: &Resource, object: &Value) -> Result<Value> {
        self.put(resource, object, "/status").await
    }

    async fn put(&self, resource: &Resource, object: &Value, subresource: &str) -> Result<Value> {
        let path = format!(
            "{}/{}{subresource}?fieldManager={}",
            resource.path(object.namespace()),
            object.name(),
            self.component
        );
        let written = self
            .request(Method::PUT, &path, "application/json", Some(object))
            .await?;
        self.learn(resource, &written);
        Ok(written)
    }

    /// Merges into an object.
    pub async fn patch(&self, resource: &Resource, key: &Key, patch: &Value) -> Result<Value> {
        self.merge(resource, key, patch, "").await
    }

    /// Merges into an object's status; the patch holds the `status` field.
    pub async fn patch_status(
        &self,
        resource: &Resource,
        key: &Key,
        patch: &Value,
    ) -> Result<Value> {
        self.merge(resource, key, patch, "/status").await
    }

    async fn merge(
        &self,
        resource: &Resource,
        key: &Key,
        patch: &Value,
        subresource: &str,
    ) -> Result<Value> {
        let path = format!(
            "{}/{}{subresource}?fieldManager={}",
            resource.path(&key.namespace),
            key.name,
            self.component
        );
        let written = self
            .request(
                Method::PATCH,
                &path,
                "application/merge-patch+json",
                Some(patch),
            )
            .await?;
        self.learn(resource, &written);
        Ok(written)
    }

    /// Applies an object server-side, taking over contested fields.
    pub async fn apply(&self, resource: &Resource, object: &Value) -> Result<Value> {
        let path = format!(
            "{}/{}?fieldManager={}&force=true",
            resource.path(object.namespace()),
            object.name(),
            self.component
        );
        let written = self
            .request(
                Method::PATCH,
                &path,
                "application/apply-patch+yaml",
                Some(object),
            )
            .await?;
        self.learn(resource, &written);
        Ok(written)
    }

    /// Deletes an object if it is still the one with this UID (any, when it is empty). Absent is fine.
    pub async fn delete(
        &self,
        resource: &Resource,
        key: &Key,
        uid: &str,
        propagation: Propagation,
    ) -> Result<()> {
        let mut options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": match propagation {
                Propagation::Background => "Background",
                Propagation::Orphan => "Orphan",
            },
        });
        if !uid.is_empty() {
            options["preconditions"] = json!({ "uid": uid });
        }
        let path = format!("{}/{}", resource.path(&key.namespace), key.name);
        let answer = match self
            .request(Method::DELETE, &path, "application/json", Some(&options))
            .await
        {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => Value::Null,
            Err(error) => return Err(error),
        };
        let cache = self.lock().get(resource).cloned();
        if let Some(cache) = cache {
            if answer["metadata"]["uid"].is_string() {
                // Its resource version guards it against older news of the watch.
                let mut object = answer;
                if !object.deleting() {
                    object["metadata"]["deletionTimestamp"] = object::now().into();
                }
                cache.learn(&object);
            } else {
                cache.mark_deleting(key, uid);
            }
        }
        Ok(())
    }

    /// Records an event about an object; an event that repeats is counted. Failing to record one stops nothing.
    pub async fn event(
        &self,
        resource: &Resource,
        about: &Value,
        kind: &str,
        reason: &str,
        message: &str,
    ) {
        let namespace = match about.namespace() {
            "" => "default",
            namespace => namespace,
        };
        let now = object::now();
        let name = format!(
            "{}.{:016x}",
            about.name(),
            object::hash(&format!(
                "{}/{}/{kind}/{reason}/{message}/{}",
                resource.kind,
                about.uid(),
                self.component
            ))
        );
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": {
                "apiVersion": resource.api_version(),
                "kind": resource.kind,
                "namespace": about.namespace(),
                "name": about.name(),
                "uid": about.uid(),
                "resourceVersion": about.resource_version(),
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": { "component": &*self.component },
            "reportingComponent": &*self.component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        let count = {
            let mut events = self
                .events
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            let count = events.entry(format!("{namespace}/{name}")).or_insert(0);
            *count += 1;
            *count
        };
        let outcome = match self.create(&kinds::EVENTS, &event).await {
            Err(error) if error.is_already_exists() => {
                let patch = json!({ "count": count, "lastTimestamp": now });
                self.patch(&kinds::EVENTS, &Key::new(namespace, &name), &patch)
                    .await
            }
            outcome => outcome,
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, reason, "an event could not be recorded");
        }
    }
}
