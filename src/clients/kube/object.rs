//! Single objects: get, apply, delete, list.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::connection::{Cluster, Trouble};
use super::ready;
use super::{ENVIRONMENT, FIELD_MANAGER, MANAGED_BY};

/// How long the warnings among a namespace's events are not read again.
const WARNINGS_FOR: Duration = Duration::from_secs(5);

/// How many objects one answer may have, as kubectl asks.
const PAGE: u32 = 500;

/// The name of an object, complete: `Deployment demo/backend-v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// The namespace of a namespaced object.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl Reference {
    /// A namespaced object.
    pub fn namespaced(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Reference {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: Some(namespace.into()),
            name: name.into(),
        }
    }

    /// An object of the whole cluster.
    pub fn cluster(api_version: &str, kind: &str, name: &str) -> Self {
        Reference {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: None,
            name: name.into(),
        }
    }

    /// The name of the object that a manifest describes. Our manifests name the namespace wherever there is one.
    pub fn of(manifest: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Reference {
            api_version: text(&manifest["apiVersion"]),
            kind: text(&manifest["kind"]),
            namespace: manifest["metadata"]["namespace"]
                .as_str()
                .map(str::to_owned),
            name: text(&manifest["metadata"]["name"]),
        }
    }

    fn api(&self, client: kube::Client) -> Api<DynamicObject> {
        let resource = resource(&self.api_version, &self.kind);
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    // Already a plural, which kube's rule does not see.
    if kind.ends_with("Params") {
        return ApiResource::from_gvk_with_plural(&gvk, &kind.to_lowercase());
    }
    ApiResource::from_gvk(&gvk)
}

fn plain(object: DynamicObject) -> Value {
    // An object that came as JSON goes back to JSON.
    serde_json::to_value(object).unwrap_or_default()
}

/// What there is under the name of an object that was seen before.
#[derive(Clone, Debug, PartialEq)]
pub enum Left {
    /// The object still.
    It(Value),
    /// Another one, which somebody made in its place.
    Another,
    /// No object.
    Nothing,
}

impl Cluster {
    /// The object as it is, if it is.
    ///
    /// # Errors
    /// Anything but a missing object or kind.
    pub async fn get(&self, object: &Reference) -> Result<Option<Value>, Trouble> {
        let found = self
            .call(|client| async move { object.api(client).get_opt(&object.name).await })
            .await;
        match found {
            Ok(found) => Ok(found.map(plain)),
            Err(trouble) if trouble.is_not_found() => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether a controller can do anything, as its Deployment tells.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn is_alive(&self, controller: &Reference) -> Result<bool, Trouble> {
        let live = self.get(controller).await?;
        Ok(live.as_ref().is_some_and(ready::is_alive))
    }

    /// Applies a manifest as the field manager `meshctl`, unknown fields refused.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn apply(&self, manifest: &Value) -> Result<Value, Trouble> {
        let params = PatchParams::apply(FIELD_MANAGER)
            .force()
            .validation_strict();
        self.apply_as(manifest, &params).await
    }

    /// What applying the manifest would make of the object.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn dry_run(&self, manifest: &Value) -> Result<Value, Trouble> {
        let params = PatchParams::apply(FIELD_MANAGER)
            .force()
            .validation_strict()
            .dry_run();
        self.apply_as(manifest, &params).await
    }

    /// Applies a manifest with the given parameters.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn apply_as(&self, manifest: &Value, params: &PatchParams) -> Result<Value, Trouble> {
        let object = &Reference::of(manifest);
        self.call(|client| async move {
            let patch = Patch::Apply(manifest);
            object.api(client).patch(&object.name, params, &patch).await
        })
        .await
        .map(plain)
    }

    /// Makes an object that is not there yet. False when somebody else has made it meanwhile, or this very call has, and its
    /// answer was lost.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn create(&self, manifest: &Value) -> Result<bool, Trouble> {
        let name = &Reference::of(manifest);
        let object = &serde_json::from_value::<DynamicObject>(manifest.clone())
            .map_err(|error| Trouble::Other(format!("{name}: {error}")))?;
        let params = &PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let done = self
            .call(|client| async move { name.api(client).create(params, object).await })
            .await;
        match done {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.is_conflict() => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// Merge-patches an object; for finalizers and replicas, which nobody applies.
    ///
    /// # Errors
    /// What the API server says; a missing object is fine.
    pub async fn merge(&self, object: &Reference, patch: &Value) -> Result<(), Trouble> {
        let params = &PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let done = self
            .call(|client| async move {
                let patch = Patch::Merge(patch);
                object.api(client).patch(&object.name, params, &patch).await
            })
            .await;
        match done {
            Err(trouble) if !trouble.is_not_found() => Err(trouble),
            _ => Ok(()),
        }
    }

    /// Takes all finalizers off an object, for whose sake nobody does it any more.
    ///
    /// # Errors
    /// What the API server says; a missing object is fine.
    pub async fn release(&self, object: &Reference) -> Result<(), Trouble> {
        let free = json!({"metadata": {"finalizers": null}});
        self.merge(object, &free).await
    }

    /// Deletes a controller's webhook configurations, which stop whatever they are asked about when it is dead.
    ///
    /// # Errors
    /// What the API server says; missing ones are fine.
    pub async fn remove_webhooks(&self, mutating: &str, validating: &str) -> Result<(), Trouble> {
        for (kind, name) in [
            ("MutatingWebhookConfiguration", mutating),
            ("ValidatingWebhookConfiguration", validating),
        ] {
            let api = "admissionregistration.k8s.io/v1";
            self.delete(&Reference::cluster(api, kind, name)).await?;
        }
        Ok(())
    }

    /// Asks for the object's deletion, its dependents following. True when there was something to delete.
    ///
    /// # Errors
    /// What the API server says; a missing object or kind is fine.
    pub async fn delete(&self, object: &Reference) -> Result<bool, Trouble> {
        self.delete_with(object, DeleteParams::background()).await
    }

    /// As [`Cluster::delete`], of one that was seen, and not of another that has its name by now.
    ///
    /// # Errors
    /// What the API server says; a missing object or kind is fine.
    pub async fn delete_seen(&self, seen: &Value) -> Result<Left, Trouble> {
        let only = Preconditions {
            uid: seen["metadata"]["uid"].as_str().map(str::to_owned),
            ..Preconditions::default()
        };
        let params = DeleteParams::background().preconditions(only);
        match self.delete_with(&Reference::of(seen), params).await {
            Ok(true) => Ok(Left::It(seen.clone())),
            Ok(false) => Ok(Left::Nothing),
            Err(trouble) if trouble.is_conflict() => Ok(Left::Another),
            Err(trouble) => Err(trouble),
        }
    }

    /// What is left of an object that was seen before.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn left_of(&self, seen: &Value) -> Result<Left, Trouble> {
        Ok(match self.get(&Reference::of(seen)).await? {
            None => Left::Nothing,
            Some(live) if live["metadata"]["uid"] != seen["metadata"]["uid"] => Left::Another,
            Some(live) => Left::It(live),
        })
    }

    async fn delete_with(&self, object: &Reference, params: DeleteParams) -> Result<bool, Trouble> {
        let params = &params;
        let done = self
            .call(|client| async move { object.api(client).delete(&object.name, params).await })
            .await;
        match done {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.is_not_found() => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// All objects of a kind, in a namespace or everywhere, that carry the labels (`app=backend,version=v1`).
    ///
    /// # Errors
    /// What the API server says; an unknown kind has no objects.
    pub async fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Value>, Trouble> {
        self.list_as(api_version, kind, namespace, labels, |object| object)
            .await
    }

    /// As [`Cluster::list`], of each object only what is made of it: of thousands, little is in memory at a time.
    ///
    /// # Errors
    /// What the API server says; an unknown kind has no objects.
    pub async fn list_as<T>(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        labels: &str,
        of: impl Fn(Value) -> T,
    ) -> Result<Vec<T>, Trouble> {
        let params = ListParams::default().labels(labels);
        self.list_by(api_version, kind, namespace, params, of).await
    }

    /// What a controller complained of last about an object, as its events have it. None where it did not, or where events
    /// cannot be read: they explain, and decide nothing.
    pub async fn last_warning(&self, object: &Reference) -> Option<String> {
        // Events about what is in no namespace are in this one.
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let warnings = self.warnings(namespace).await;
        let last = warnings
            .iter()
            .filter(|event| {
                let about = &event["involvedObject"];
                about["kind"] == *object.kind && about["name"] == *object.name
            })
            .max_by_key(|event| event["lastTimestamp"].as_str())?;
        let text = |field: &str| last[field].as_str().unwrap_or_default().to_owned();
        Some(format!("{}: {}", text("reason"), text("message")))
    }

    /// The warnings among a namespace's events, as they were moments ago; none where they cannot be read. Whoever waits for
    /// one of many objects asks in vain for its own alone: to tell them apart an API server reads all events there are, each
    /// time.
    async fn warnings(&self, namespace: &str) -> Arc<Vec<Value>> {
        let mut known = self.known_warnings().lock().await;
        if let Some((since, warnings)) = known.get(namespace)
            && since.elapsed() < WARNINGS_FOR
        {
            return warnings.clone();
        }
        let params = ListParams::default().fields("type=Warning");
        let listed = self.list_by("v1", "Event", Some(namespace), params, |event| event);
        let listed = listed.await;
        let warnings = Arc::new(listed.unwrap_or_default());
        known.insert(namespace.to_owned(), (Instant::now(), warnings.clone()));
        warnings
    }

    async fn list_by<T>(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        params: ListParams,
        of: impl Fn(Value) -> T,
    ) -> Result<Vec<T>, Trouble> {
        let resource = &resource(api_version, kind);
        let mut params = params.limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = &params;
            let listed = self
                .call(|client| async move {
                    let api: Api<DynamicObject> = match namespace {
                        Some(namespace) => Api::namespaced_with(client, namespace, resource),
                        None => Api::all_with(client, resource),
                    };
                    api.list(page).await
                })
                .await;
            let listed = match listed {
                Ok(listed) => listed,
                Err(trouble) if trouble.is_not_found() => return Ok(Vec::new()),
                // The pages took longer than the API server keeps the state they are of: all at once then.
                Err(trouble) if trouble.is_expired() && !all.is_empty() => {
                    all.clear();
                    (params.limit, params.continue_token) = (None, None);
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            all.extend(listed.items.into_iter().map(|object| {
                // The items of a list do not say what they are.
                let mut object = plain(object);
                object["apiVersion"] = api_version.into();
                object["kind"] = kind.into();
                of(object)
            }));
            match listed.metadata.continue_ {
                Some(next) if !next.is_empty() => params = params.continue_token(&next),
                _ => return Ok(all),
            }
        }
    }

    /// Who owns an object, when that is not this environment.
    pub fn foreign_owner(&self, live: &Value) -> Option<String> {
        let labels = &live["metadata"]["labels"];
        let by = labels[MANAGED_BY].as_str();
        let of = labels[ENVIRONMENT].as_str();
        match (by, of) {
            (Some(FIELD_MANAGER), Some(environment))
                if environment == self.access().environment =>
            {
                None
            }
            (Some(FIELD_MANAGER), Some(other)) => Some(format!("environment {other}")),
            (Some(other), _) if other != FIELD_MANAGER => Some(other.to_owned()),
            _ => Some("somebody else: it lacks the label ".to_owned() + ENVIRONMENT),
        }
    }
}
