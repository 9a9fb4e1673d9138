//! What every kind has: names, labels, annotations, finalizers, owners.

use serde_json::Value;

use super::super::object::{self, list, text};
use super::super::resources::Resource;
use super::super::status::Cause;
use super::names::{
    LABEL, SERVICE, SUBDOMAIN, is_label, is_subdomain, key_errors, key_valid, labels_valid,
};

/// Names, labels, annotations, finalizers, owners: of every kind.
pub fn metadata(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object::name(object);
    if name.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    }
    let bad = |why: &str, max: usize| {
        if name.len() > max {
            return Cause::invalid(
                "metadata.name",
                &name.into(),
                format!("must be no more than {max} characters"),
            );
        }
        Cause::invalid("metadata.name", &name.into(), why)
    };
    match (resource.custom.is_some(), resource.plural.as_str()) {
        _ if name.is_empty() => {}
        (false, "namespaces") if !is_label(name) => causes.push(bad(LABEL, 63)),
        (false, "services")
            if !is_label(name) || name.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            causes.push(bad(SERVICE, 63));
        }
        // Path segments only: anything but a slash and a percent sign.
        (false, "roles" | "rolebindings" | "clusterroles" | "clusterrolebindings") => {
            let bad = name.contains('/') || name.contains('%') || matches!(name, "." | "..");
            causes.extend(
                bad.then(|| Cause::invalid("metadata.name", &name.into(), "may not contain '/'")),
            );
        }
        (false, "events") => {}
        (false, "namespaces" | "services") => {}
        _ if !is_subdomain(name) => causes.push(bad(SUBDOMAIN, 253)),
        _ => {}
    }
    let meta = &object["metadata"];
    if let Some(labels) = meta["labels"].as_object() {
        labels_valid(labels, "metadata.labels", &mut causes);
    }
    if let Some(annotations) = meta["annotations"].as_object() {
        let mut size = 0;
        for (key, value) in annotations {
            key_valid(
                &key.to_lowercase(),
                key,
                "metadata.annotations",
                &mut causes,
            );
            size += key.len() + value.as_str().map_or(0, str::len);
        }
        if size > 262_144 {
            causes.push(Cause {
                reason: "FieldValueTooLong",
                message: "Too long: may not be more than 262144 bytes".into(),
                field: "metadata.annotations".into(),
            });
        }
    }
    let mut controllers = 0;
    for owner in list(object, "metadata.ownerReferences") {
        let place = "metadata.ownerReferences";
        let version = text(owner, "apiVersion");
        if version.is_empty() {
            causes.push(Cause::invalid(
                format!("{place}.apiVersion"),
                &"".into(),
                "version must not be empty",
            ));
        }
        for field in ["kind", "name", "uid"] {
            if text(owner, field).is_empty() {
                causes.push(Cause::invalid(
                    format!("{place}.{field}"),
                    &"".into(),
                    "must not be empty",
                ));
            }
        }
        if text(owner, "kind") == "Event" && matches!(version, "v1" | "events.k8s.io/v1") {
            let slash = if version == "v1" { "/" } else { "" };
            causes.push(Cause::invalid(
                place,
                owner,
                format!("{slash}{version}, Kind=Event is disallowed from being an owner"),
            ));
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            &meta["ownerReferences"],
            "Only one reference can have Controller set to true.",
        ));
    }
    finalizers_valid(resource, object, old, &mut causes);
    causes
}

fn finalizers_valid(
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    let finalizers = object::finalizers(object);
    for finalizer in finalizers {
        for why in key_errors(finalizer.as_str().unwrap_or("")) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, why));
        }
    }
    if let Some(old) = old
        && object::terminating(old)
    {
        let before = object::finalizers(old);
        let mut fresh: Vec<&str> = finalizers
            .iter()
            .filter(|one| !before.contains(one))
            .filter_map(Value::as_str)
            .collect();
        fresh.sort_unstable();
        if !fresh.is_empty() {
            let words: Vec<String> = fresh.iter().map(|one| format!("{one:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                words.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    // The servers of custom kinds and of API services know no standard names.
    let is_extension =
        ["apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&&*resource.group);
    if resource.custom.is_some() || is_extension {
        return;
    }
    for (index, one) in finalizers.iter().enumerate() {
        standard(&format!("metadata.finalizers[{index}]"), one, causes);
    }
}

/// A finalizer is one of the server's own, or says whose it is.
fn standard(field: &str, finalizer: &Value, causes: &mut Vec<Cause>) {
    let name = finalizer.as_str().unwrap_or("");
    if !name.contains('/') && !matches!(name, "orphan" | "foregroundDeletion" | "kubernetes") {
        causes.push(Cause::invalid(
            field,
            finalizer,
            "name is neither a standard finalizer name nor is it fully qualified",
        ));
    }
}

/// The finalizers that a namespace has besides. Only where they change it is said which one is wrong.
pub fn own_finalizers(namespace: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let finalizers = object::list(namespace, "spec.finalizers");
    for (index, finalizer) in finalizers.iter().enumerate() {
        let field = match old {
            Some(_) => format!("spec.finalizers[{index}]"),
            None => "spec.finalizers".to_owned(),
        };
        for why in key_errors(finalizer.as_str().unwrap_or("")) {
            causes.push(Cause::invalid(field.clone(), finalizer, why));
        }
        standard(&field, finalizer, causes);
    }
}
