//! What the server does about custom resource definitions: it accepts their names, serves them, and clears up.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::Api;
use super::crd;
use super::object;
use super::store::{Expected, Stored};
use crate::sandbox::asked;

/// The table of definitions.
pub const TABLE: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// Serves what was established before.
pub fn load(api: &Api) {
    let definitions: Vec<Value> = api
        .store
        .all(TABLE, "")
        .iter()
        .map(|stored| stored.value.clone())
        .collect();
    api.registry.update(&definitions);
    let index = api.registry.index();
    let resources = index.listed.values().flatten();
    api.store.keep(resources.map(|one| one.table.as_str()));
}

/// Follows the definitions until the server stops.
pub async fn follow(api: Arc<Api>) {
    let mut stopped = api.stopped.clone();
    let mut seen = api.store.stamp(TABLE);
    settle(&api);
    loop {
        tokio::select! {
            () = api.definitions.notified() => {}
            () = asked(&mut stopped) => return,
        }
        settle(&api);
        let stamp = api.store.stamp(TABLE);
        if stamp != seen {
            seen = stamp;
            load(&api);
        }
    }
}

fn settle(api: &Api) {
    for stored in api.store.all(TABLE, "") {
        // Whoever changes it in the meantime wakes this up again.
        if object::terminating(&stored.value) {
            clear(api, &stored);
        } else if stale(&stored.value) {
            accept(api, &stored);
        }
    }
}

/// Whether the names were not looked at since they changed.
fn stale(definition: &Value) -> bool {
    !crd::condition(definition, "Established")
        || definition["status"]["acceptedNames"] != definition["spec"]["names"]
        || !object::finalizers(definition)
            .iter()
            .any(|one| one == crd::CLEANUP)
        || object::list(definition, "spec.versions")
            .iter()
            .filter(|version| version["storage"] == true)
            .any(|version| {
                !object::list(definition, "status.storedVersions").contains(&version["name"])
            })
}

fn accept(api: &Api, stored: &Stored) {
    let mut definition = stored.value.clone();
    let group = object::text(&definition, "spec.group").to_owned();
    let kind = object::text(&definition, "spec.names.kind").to_owned();
    let taken = api
        .store
        .all(TABLE, "")
        .iter()
        .find(|other| {
            object::name(&other.value) != object::name(&definition)
                && object::text(&other.value, "spec.group") == group
                && object::text(&other.value, "status.acceptedNames.kind") == kind
        })
        .map(|_| format!("{kind:?} is already in use"));
    crd::establish(&mut definition, taken);
    let mut finalizers = object::finalizers(&definition).to_vec();
    if !finalizers.iter().any(|one| one == crd::CLEANUP) {
        finalizers.push(crd::CLEANUP.into());
        object::set(&mut definition, "metadata.finalizers", finalizers);
    }
    if definition != stored.value {
        let expected = Expected::Revision(stored.revision);
        if api.store.put(TABLE, definition, expected).is_err() {
            api.definitions.notify_one();
        }
    }
}

/// Deletes the objects of a definition that is going away; when there are none left, lets it go.
fn clear(api: &Api, stored: &Stored) {
    let mut finalizers = object::finalizers(&stored.value).to_vec();
    if !finalizers.iter().any(|one| one == crd::CLEANUP) {
        return;
    }
    let table = super::resources::table(
        object::text(&stored.value, "spec.group"),
        object::text(&stored.value, "spec.names.plural"),
    );
    for instance in api.store.all(&table, "") {
        let mut value = instance.value.clone();
        if object::finalizers(&value).is_empty() {
            let _ = api.store.delete(&table, value, instance.revision);
        } else if !object::terminating(&value) {
            object::set(&mut value, "metadata.deletionTimestamp", object::now());
            object::set(&mut value, "metadata.deletionGracePeriodSeconds", 0);
            let _ = api
                .store
                .put(&table, value, Expected::Revision(instance.revision));
        }
    }
    let mut definition = stored.value.clone();
    let left = api.store.count(&table);
    let reason = if left == 0 {
        "InstanceDeletionCompleted"
    } else {
        "InstanceDeletionInProgress"
    };
    let mut conditions = object::list(&definition, "status.conditions").to_vec();
    let said = conditions
        .iter()
        .any(|one| one["type"] == "Terminating" && one["reason"] == reason);
    if left > 0 && said {
        return;
    }
    conditions.retain(|one| one["type"] != "Terminating");
    conditions.push(json!({
        "type": "Terminating", "status": if left == 0 { "False" } else { "True" }, "reason": reason,
        "message": if left == 0 { "removed all instances" } else { "CustomResource deletion is in progress" },
        "lastTransitionTime": object::now(),
    }));
    object::set(&mut definition, "status.conditions", conditions);
    let result = if left > 0 {
        api.store
            .put(TABLE, definition, Expected::Revision(stored.revision))
    } else {
        finalizers.retain(|one| one != crd::CLEANUP);
        if finalizers.is_empty() {
            object::remove(&mut definition, "metadata.finalizers");
            api.store.delete(TABLE, definition, stored.revision)
        } else {
            object::set(&mut definition, "metadata.finalizers", finalizers);
            api.store
                .put(TABLE, definition, Expected::Revision(stored.revision))
        }
    };
    if result.is_err() {
        api.definitions.notify_one();
    }
}
