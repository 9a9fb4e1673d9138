//! Custom resources: from a definition to a resource, and what the definition itself must be like.

pub mod cel;
pub mod instance;
mod lists;

use std::sync::Arc;

use serde_json::{Value, json};

use super::object;
use super::reflect;
use super::resources::{Resource, Scale, Shape, table};
use super::schema::from_openapi;
use super::status::Cause;

/// What a version of a custom resource brings along.
pub struct Custom {
    /// Its `openAPIV3Schema`.
    pub schema: Value,
    /// Its `additionalPrinterColumns`.
    pub columns: Vec<Value>,
    /// Its selectable fields, as dotted paths.
    pub selectable: Vec<String>,
}

/// The finalizer that keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The resources that an established definition serves.
pub fn resources(definition: &Value) -> Vec<Arc<Resource>> {
    let spec = &definition["spec"];
    if !condition(definition, "Established") {
        return Vec::new();
    }
    let metadata = reflect::object_meta();
    let names = &definition["status"]["acceptedNames"];
    let words = |field: &str| -> Vec<String> {
        object::list(names, field)
            .iter()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let mut resources = Vec::new();
    for version in object::list(spec, "versions") {
        if version["served"] != true {
            continue;
        }
        let openapi = version["schema"]["openAPIV3Schema"].clone();
        let scale = version["subresources"]["scale"].as_object().map(|scale| {
            let path = |name: &str| -> Option<String> {
                Some(
                    scale
                        .get(name)?
                        .as_str()?
                        .trim_start_matches('.')
                        .to_owned(),
                )
            };
            Scale {
                spec: path("specReplicasPath").unwrap_or_default(),
                status: path("statusReplicasPath").unwrap_or_default(),
                selector: path("labelSelectorPath"),
            }
        });
        let group = object::text(spec, "group").to_owned();
        let plural = object::text(spec, "names.plural").to_owned();
        let kind = object::text(names, "kind").to_owned();
        let list_kind = match object::text(names, "listKind") {
            "" => format!("{kind}List"),
            name => name.to_owned(),
        };
        resources.push(Arc::new(Resource {
            table: table(&group, &plural),
            group,
            version: object::text(version, "name").to_owned(),
            plural,
            singular: object::text(names, "singular").to_owned(),
            kind,
            list_kind,
            short_names: words("shortNames"),
            categories: words("categories"),
            namespaced: object::text(spec, "scope") == "Namespaced",
            review: false,
            status: version["subresources"].get("status").is_some(),
            scale,
            generation: true,
            schema: Shape::Custom(Arc::new(from_openapi(&openapi, &metadata, true))),
            custom: Some(Arc::new(Custom {
                columns: object::list(version, "additionalPrinterColumns").to_vec(),
                selectable: object::list(version, "selectableFields")
                    .iter()
                    .map(|field| {
                        object::text(field, "jsonPath")
                            .trim_start_matches('.')
                            .to_owned()
                    })
                    .collect(),
                schema: openapi,
            })),
        }));
    }
    resources
}

/// Whether a condition is `True`.
pub fn condition(object: &Value, kind: &str) -> bool {
    object::list(object, "status.conditions")
        .iter()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// What is left out of a definition and follows from the rest.
pub fn default(definition: &mut Value) {
    let kind = object::text(definition, "spec.names.kind").to_owned();
    if object::at(definition, "spec.names").is_some() {
        object::default(definition, "spec.names.singular", kind.to_lowercase());
        object::default(definition, "spec.names.listKind", format!("{kind}List"));
    }
    if object::at(definition, "spec").is_some() {
        object::default(definition, "spec.conversion", json!({"strategy": "None"}));
    }
}

/// The status of a definition whose names are free: accepted and served.
pub fn establish(definition: &mut Value, taken: Option<String>) {
    let now = object::now();
    let names = definition["spec"]["names"].clone();
    let mut conditions: Vec<Value> = object::list(definition, "status.conditions").to_vec();
    let mut say = |kind: &str, status: bool, reason: &str, message: &str| {
        let status = if status { "True" } else { "False" };
        let fresh = json!({
            "lastTransitionTime": now, "message": message, "reason": reason, "status": status, "type": kind,
        });
        match conditions.iter_mut().find(|one| one["type"] == kind) {
            Some(one) if one["status"] == status && one["reason"] == reason => {}
            Some(one) => *one = fresh,
            None => conditions.push(fresh),
        }
    };
    match &taken {
        None => {
            say("NamesAccepted", true, "NoConflicts", "no conflicts found");
            say(
                "Established",
                true,
                "InitialNamesAccepted",
                "the initial names have been accepted",
            );
        }
        Some(why) => {
            say("NamesAccepted", false, "KindConflict", why);
            say(
                "Established",
                false,
                "NotAccepted",
                "not all names are accepted",
            );
        }
    }
    object::set(definition, "status.conditions", conditions);
    if taken.is_none() {
        object::set(definition, "status.acceptedNames", names);
    } else {
        object::default(
            definition,
            "status.acceptedNames",
            json!({"kind": "", "plural": ""}),
        );
    }
    let mut stored: Vec<Value> = object::list(definition, "status.storedVersions").to_vec();
    let storage = object::list(definition, "spec.versions")
        .iter()
        .find(|version| version["storage"] == true)
        .map(|version| version["name"].clone());
    if let Some(storage) = storage
        && !stored.contains(&storage)
    {
        stored.push(storage);
    }
    object::set(definition, "status.storedVersions", stored);
}

/// What is wrong with a definition.
pub fn validate(definition: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &definition["spec"];
    let plural = object::text(spec, "names.plural");
    let group = object::text(spec, "group");
    let name = object::name(definition);
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    } else if !group.contains('.') {
        causes.push(Cause::invalid(
            "spec.group",
            &spec["group"],
            "should be a domain with at least one dot",
        ));
    }
    if name != format!("{plural}.{group}") {
        causes.push(Cause::invalid(
            "metadata.name",
            &name.into(),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    match object::text(spec, "scope") {
        "Namespaced" | "Cluster" => {}
        "" => causes.push(Cause::required("spec.scope", "")),
        _ => causes.push(Cause::unsupported(
            "spec.scope",
            &spec["scope"],
            &["Cluster", "Namespaced"],
        )),
    }
    for field in ["plural", "kind"] {
        if object::text(spec, &format!("names.{field}")).is_empty() {
            causes.push(Cause::required(format!("spec.names.{field}"), ""));
        }
    }
    let versions = object::list(spec, "versions");
    if versions
        .iter()
        .filter(|version| version["storage"] == true)
        .count()
        != 1
    {
        causes.push(Cause::invalid(
            "spec.versions",
            &spec["versions"],
            "must have exactly one version marked as storage version",
        ));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}].schema.openAPIV3Schema");
        let schema = &version["schema"]["openAPIV3Schema"];
        if !schema.is_object() {
            causes.push(Cause::required(path, "schemas are required"));
            continue;
        }
        match object::text(schema, "type") {
            "object" => structural(schema, &path, &mut causes),
            "" => causes.push(Cause::required(
                format!("{path}.type"),
                "must not be empty at the root",
            )),
            _ => causes.push(Cause::invalid(
                format!("{path}.type"),
                &schema["type"],
                "must be object at the root",
            )),
        }
    }
    if let Some(old) = old {
        for field in ["group", "scope", "names.plural", "names.kind"] {
            if condition(old, "Established")
                && object::at(&old["spec"], field) != object::at(spec, field)
            {
                causes.push(Cause::invalid(
                    format!("spec.{field}"),
                    object::at(spec, field).unwrap_or(&Value::Null),
                    "field is immutable",
                ));
            }
        }
        for stored in object::list(old, "status.storedVersions") {
            if !versions.iter().any(|version| version["name"] == *stored) {
                causes.push(Cause::invalid(
                    "status.storedVersions[0]",
                    stored,
                    "must appear in spec.versions",
                ));
            }
        }
    }
    causes
}

/// Structural: every field has a type, and nothing is both free and fixed.
fn structural(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let open = schema["x-kubernetes-int-or-string"] == true
        || schema["x-kubernetes-preserve-unknown-fields"] == true;
    if object::text(schema, "type").is_empty() && !open {
        causes.push(Cause::required(
            format!("{path}.type"),
            "must not be empty for specified object fields",
        ));
    }
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_some() {
        causes.push(Cause::forbidden(
            format!("{path}.additionalProperties"),
            "additionalProperties and properties are mutual exclusive",
        ));
    }
    if object::text(schema, "type") == "array" && !schema["items"].is_object() {
        causes.push(Cause::required(
            format!("{path}.items"),
            "must be specified",
        ));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(error) = regex::Regex::new(pattern)
    {
        causes.push(Cause::invalid(
            format!("{path}.pattern"),
            &schema["pattern"],
            format!("must be a valid regular expression, but isn't: {error}"),
        ));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        structural(field, &format!("{path}.properties[{name}]"), causes);
    }
    if schema["items"].is_object() {
        structural(&schema["items"], &format!("{path}.items"), causes);
    }
    if schema["additionalProperties"].is_object() {
        let below = format!("{path}.additionalProperties");
        structural(&schema["additionalProperties"], &below, causes);
    }
}
