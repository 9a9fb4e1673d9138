//! Kubernetes' own merge, that knows how the items of a list are told apart: what `strategicpatch` of apimachinery does,
//! with its order of items and its mistakes.

use serde_json::{Map, Value};

use super::super::schema::{Schema, Shape};
use super::super::status::{Result, Status};
use super::super::typed::{go, go_type};
use super::json::unprocessable;

type Object = Map<String, Value>;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE: &str = "$deleteFromPrimitiveList";
const ORDER: &str = "$setElementOrder";

/// The `patchMergeKey` of the lists that are merged: type (any, when empty), field, key. Not all that have keys when they
/// are applied are merged by them here.
const MERGED: &[(&str, &str, &str)] = &[
    ("", "conditions", "type"),
    ("ObjectMeta", "ownerReferences", "uid"),
    ("ObjectMeta", "finalizers", ""),
    ("PodSpec", "volumes", "name"),
    ("PodSpec", "initContainers", "name"),
    ("PodSpec", "containers", "name"),
    ("PodSpec", "ephemeralContainers", "name"),
    ("PodSpec", "imagePullSecrets", "name"),
    ("PodSpec", "hostAliases", "ip"),
    ("PodSpec", "topologySpreadConstraints", "topologyKey"),
    ("PodSpec", "schedulingGates", "name"),
    ("PodSpec", "resourceClaims", "name"),
    ("Container", "ports", "containerPort"),
    ("Container", "env", "name"),
    ("Container", "volumeMounts", "mountPath"),
    ("Container", "volumeDevices", "devicePath"),
    ("EphemeralContainer", "ports", "containerPort"),
    ("EphemeralContainer", "env", "name"),
    ("EphemeralContainer", "volumeMounts", "mountPath"),
    ("EphemeralContainer", "volumeDevices", "devicePath"),
    ("ContainerStatus", "volumeMounts", "mountPath"),
    ("ContainerStatus", "allocatedResourcesStatus", "name"),
    ("PodStatus", "hostIPs", "ip"),
    ("PodStatus", "podIPs", "ip"),
    ("PodStatus", "resourceClaimStatuses", "name"),
    ("ServiceSpec", "ports", "port"),
    ("ServiceAccount", "secrets", "name"),
    ("NodeSpec", "podCIDRs", ""),
    ("NodeStatus", "addresses", "type"),
    ("ValidatingWebhookConfiguration", "webhooks", "name"),
    ("MutatingWebhookConfiguration", "webhooks", "name"),
    ("ValidatingWebhook", "matchConditions", "name"),
    ("MutatingWebhook", "matchConditions", "name"),
    ("CSINodeSpec", "drivers", "name"),
];

/// The one structure that is replaced as a whole.
const REPLACED: (&str, &str) = ("PodDisruptionBudgetSpec", "selector");

/// Merges a patch into an object. Of the patch goes what has been done, which is what the real server shows of it when the
/// result does not fit.
pub fn strategic(schema: &Schema, object: &mut Value, patch: &mut Value) -> Result<()> {
    // A patch that is null changes nothing.
    if let (Value::Object(object), Value::Object(patch)) = (object, patch) {
        merge(schema, object, patch)?;
    }
    Ok(())
}

fn failed(why: impl Into<String>) -> Status {
    Status::new(500, "", why.into())
}

/// Whether Go, which cannot compare two lists or two maps, panics when it does.
fn incomparable(one: &Value, other: Option<&Value>) -> bool {
    match other {
        Some(Value::Array(_)) => one.is_array(),
        Some(Value::Object(_)) => one.is_object(),
        _ => false,
    }
}

fn panicked() -> Status {
    failed("This request caused apiserver to panic. Look in the logs for details.")
}

fn malformed(what: &str) -> Status {
    Status::bad_request(format!("invalid patch format of {what}"))
}

fn unexpected(wanted: &str, value: &Value) -> Status {
    let got = match value {
        Value::Null => "%!s(<nil>)",
        other => go_type(other),
    };
    failed(format!("expected a {wanted}, but received a {got}"))
}

fn unknown(directive: &Value, patch: &Object) -> Status {
    let said = match directive {
        Value::Null => "%!s(<nil>)".into(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => go(directive),
        other => format!("%!s({}={})", go_type(other), go(other)),
    };
    let map = go(&Value::Object(patch.clone()));
    failed(format!("unknown patch type: {said} in map: {map}"))
}

fn keyless(item: &Value, key: &str) -> Status {
    failed(format!(
        "map: {} does not contain declared merge key: {key}",
        go(item)
    ))
}

/// How the Go type of a place calls its kind.
fn kind(schema: &Schema) -> &'static str {
    match schema.shape {
        Shape::Map(_) => "map",
        Shape::List(_) => "slice",
        Shape::Bool => "bool",
        Shape::Integer(64) => "int64",
        Shape::Integer(_) => "int32",
        Shape::Number => "float64",
        Shape::String("") => "string",
        _ => "struct",
    }
}

/// The schema of a field that is merged, and its `patchMergeKey` when it is a list that is.
fn field<'a>(schema: &'a Schema, key: &str) -> Result<(&'a Schema, Option<&'static str>, bool)> {
    let (owner, fields) = match &schema.shape {
        Shape::Struct(owner, fields) => (*owner, fields),
        // What the server itself does not look into.
        Shape::Any => return Ok((schema, None, false)),
        _ => {
            return Err(failed(format!(
                "merging an object in json but data type is not struct, instead is: {}",
                kind(schema)
            )));
        }
    };
    let below = fields.get(key).ok_or_else(|| {
        failed(format!(
            "unable to find api field in struct {owner} for the json field {key:?}"
        ))
    })?;
    let merged = MERGED
        .iter()
        .find(|(of, name, _)| (of.is_empty() || *of == owner) && *name == key)
        .filter(|_| owner != "CustomResourceDefinitionStatus")
        .map(|(_, _, key)| *key);
    Ok((below, merged, REPLACED == (owner, key)))
}

fn merge(schema: &Schema, original: &mut Object, patch: &mut Object) -> Result<()> {
    if let Some(directive) = patch.get(PATCH).cloned() {
        match directive.as_str() {
            Some("replace") => {
                patch.shift_remove(PATCH);
                *original = patch.clone();
            }
            Some("delete") => original.clear(),
            _ => return Err(unknown(&directive, patch)),
        }
        return Ok(());
    }
    retain(original, patch)?;
    order(schema, original, patch)?;
    for (said, value) in patch.iter_mut() {
        let deletes = said.starts_with(DELETE);
        let mut key = said.as_str();
        if deletes {
            let list = said
                .strip_prefix(DELETE)
                .and_then(|rest| rest.strip_prefix('/'));
            key = match list {
                Some("") => said,
                Some(list) => list,
                None => return Err(malformed("primitive list")),
            };
        }
        if value.is_null() {
            original.shift_remove(key);
            continue;
        }
        match (original.get_mut(key), &mut *value) {
            (None, _) if deletes => {}
            (Some(Value::Object(place)), Value::Object(change)) => {
                let (below, _, replaced) = field(schema, key)?;
                match replaced {
                    true => *place = change.clone(),
                    false => merge(below, place, change)?,
                }
            }
            (Some(Value::Array(place)), Value::Array(change)) => {
                let (below, merged, _) = field(schema, key)?;
                match merged {
                    Some(merge_key) => merge_list(below, place, change, merge_key, deletes)?,
                    None if deletes => merge_list(below, place, change, "", deletes)?,
                    None => *place = change.clone(),
                }
            }
            (there, change) => {
                let plain = !matches!((&there, &*change), (Some(was), now) if alike(was, now));
                if plain && deletes {
                    continue;
                }
                if plain {
                    discard_nulls(change);
                }
                match kept(change) {
                    Some(value) => drop(original.insert(key.to_owned(), value)),
                    None => drop(original.shift_remove(key)),
                }
            }
        }
    }
    Ok(())
}

/// Whether two values are of one type of Go.
fn alike(left: &Value, right: &Value) -> bool {
    go_type(left) == go_type(right)
}

/// Takes away what is not to be retained.
fn retain(original: &mut Object, patch: &mut Object) -> Result<()> {
    let Some(keys) = patch.shift_remove(RETAIN) else {
        return Ok(());
    };
    let wrong = || malformed("retainKeys");
    let keys = keys.as_array().ok_or_else(wrong)?;
    let retained = |key: &String| keys.iter().any(|one| one == key.as_str());
    for (key, value) in &*patch {
        let directive = key.starts_with(DELETE) || key.starts_with(ORDER);
        if !value.is_null() && !directive && !retained(key) {
            return Err(wrong());
        }
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Merges the lists whose order the patch says, and puts them into it.
fn order(schema: &Schema, original: &mut Object, patch: &mut Object) -> Result<()> {
    let said: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(ORDER))
        .cloned()
        .collect();
    for said in said {
        let Some(wanted) = patch.shift_remove(&said) else {
            continue;
        };
        const LIST: &str = "[]interface {}";
        let wanted = match &wanted {
            Value::Array(list) => list,
            other => return Err(unexpected(LIST, other)),
        };
        let key = said
            .strip_prefix(ORDER)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| malformed("setElementOrder list"))?;
        let list = |map: &Object| match map.get(key) {
            Some(Value::Array(list)) => Ok(Some(list.clone())),
            Some(other) => Err(unexpected(LIST, other)),
            None => Ok(None),
        };
        let (there, change) = (list(original)?, list(patch)?);
        let (below, merged, _) = field(schema, key)?;
        let items = match &below.shape {
            Shape::List(_) | Shape::Any => below,
            _ => {
                let why = "expected slice or array type, but got: struct";
                return Err(failed(why));
            }
        };
        let merge_key = merged.unwrap_or("");
        consistent(change.as_deref().unwrap_or(&[]), wanted, merge_key)?;
        let result = match (&there, &change) {
            (Some(there), None) => there.clone(),
            (None, Some(change)) => change.iter().filter_map(kept).collect(),
            (Some(there), Some(change)) => {
                let (mut result, mut change) = (there.clone(), change.clone());
                match merged {
                    Some(_) => merge_list(items, &mut result, &mut change, merge_key, false)?,
                    None => result = change,
                }
                result
            }
            (None, None) => continue,
        };
        let (named, rest) = partition(result, wanted, merge_key)?;
        let there = there.unwrap_or_default();
        let kind = element_type(&[&there, change.as_deref().unwrap_or(&[])])?;
        let result = ordered(named, rest, wanted, &there, merge_key, kind == OBJECT)?;
        original.insert(key.to_owned(), result.into());
        patch.shift_remove(key);
    }
    Ok(())
}

/// Whether the items of a patch stand in the order that it says.
fn consistent(change: &[Value], wanted: &[Value], key: &str) -> Result<()> {
    if change.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut items = Vec::new();
    for item in change {
        if key.is_empty() {
            items.push(item);
            continue;
        }
        if !item.is_object() {
            return Err(unexpected(OBJECT, item));
        }
        if item.get(PATCH).is_none() {
            items.push(item);
        }
    }
    let mut items = items.into_iter().peekable();
    for one in wanted {
        let Some(item) = items.peek() else {
            return Ok(());
        };
        let same = if key.is_empty() {
            *item == one
        } else {
            if !one.is_object() {
                return Err(unexpected(OBJECT, one));
            }
            let left = item.get(key).ok_or_else(|| keyless(item, key))?;
            left == one.get(key).ok_or_else(|| keyless(one, key))?
        };
        if same {
            items.next();
        }
    }
    if items.peek().is_none() {
        return Ok(());
    }
    let shown = |list: &[Value]| go(&Value::Array(list.to_vec()));
    Err(failed(format!(
        "The order in patch list:\n{}\n doesn't match {ORDER} list:\n{}\n",
        shown(change),
        shown(wanted)
    )))
}

fn merge_list(
    schema: &Schema,
    original: &mut Vec<Value>,
    change: &mut Vec<Value>,
    key: &str,
    deletes: bool,
) -> Result<()> {
    if original.is_empty() && change.is_empty() {
        return Ok(());
    }
    let objects = element_type(&[original, change])? == OBJECT;
    let merged = if !objects {
        if deletes {
            original.retain(|item| !change.contains(item));
            return Ok(());
        }
        once(original.iter().chain(change.iter()).cloned().collect())
    } else {
        if key.is_empty() {
            let name = schema.items().map_or("struct", |items| kind(items));
            return Err(failed(format!(
                "cannot merge lists without merge key for {name}"
            )));
        }
        directives(original, change, key)?;
        merge_items(schema, original, change, key)?
    };
    let (named, rest) = partition(merged, change, key)?;
    *original = ordered(named, rest, change, original, key, objects)?;
    Ok(())
}

/// Does what the items say that are directives, and takes them out of the patch.
fn directives(original: &mut Vec<Value>, change: &mut Vec<Value>, key: &str) -> Result<()> {
    let mut replaces = false;
    let mut rest = Vec::new();
    for item in change.drain(..) {
        let Some(directive) = item.get(PATCH) else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let id = item.get(key).ok_or_else(|| keyless(&item, key))?;
                original.retain(|one| one.get(key) != Some(id));
            }
            Some("replace") => replaces = true,
            Some("merge") => {
                let why = "merging lists cannot yet be specified in the patch";
                return Err(failed(why));
            }
            _ => return Err(unknown(directive, item.as_object().unwrap_or(&Map::new()))),
        }
    }
    match replaces {
        true => *original = rest,
        false => *change = rest,
    }
    Ok(())
}

fn merge_items(
    schema: &Schema,
    original: &mut [Value],
    change: &mut [Value],
    key: &str,
) -> Result<Vec<Value>> {
    let mut new: Vec<Value> = Vec::new();
    for item in change {
        let id = item.get(key).ok_or_else(|| keyless(item, key))?.clone();
        let mut known = original.iter_mut().chain(new.iter_mut());
        if known.any(|one| incomparable(&id, one.get(key))) {
            return Err(panicked());
        }
        let mut known = original.iter_mut().chain(new.iter_mut());
        let place = known.find(|one| one.get(key) == Some(&id));
        match (place, &mut *item) {
            (Some(Value::Object(place)), Value::Object(item)) => {
                let items = schema.items().map_or(schema, |items| items);
                merge(items, place, item)?;
            }
            (_, item) => new.push(item.clone()),
        }
    }
    Ok(original.iter().cloned().chain(new).collect())
}

/// Each scalar once. Upstream fills the place of one that is there twice with the last one.
fn once(mut items: Vec<Value>) -> Vec<Value> {
    let mut at = 0;
    while at + 1 < items.len() {
        let mut other = at + 1;
        while other < items.len() {
            if items[at] == items[other] {
                items.swap_remove(other);
            } else {
                other += 1;
            }
        }
        at += 1;
    }
    items
}

/// What is named in another list, and the rest.
fn partition(items: Vec<Value>, by: &[Value], key: &str) -> Result<(Vec<Value>, Vec<Value>)> {
    let (mut named, mut rest) = (Vec::new(), Vec::new());
    for item in items {
        let found = if key.is_empty() {
            by.contains(&item)
        } else {
            if !item.is_object() {
                return Err(unexpected(OBJECT, &item));
            }
            let id = item.get(key).ok_or_else(|| keyless(&item, key))?;
            let mut found = false;
            if by.iter().any(|one| incomparable(id, one.get(key))) {
                return Err(panicked());
            }
            for (index, one) in by.iter().enumerate() {
                if !one.is_object() {
                    return Err(failed(format!("value for key {index} is not a map")));
                }
                found = one.get(key) == Some(id);
                if found {
                    break;
                }
            }
            found
        };
        match found {
            true => named.push(item),
            false => rest.push(item),
        }
    }
    Ok((named, rest))
}

/// Puts what the patch names into its order and the rest into the server's, and what is new before what only the server has.
fn ordered(
    mut named: Vec<Value>,
    mut rest: Vec<Value>,
    wanted: &[Value],
    before: &[Value],
    key: &str,
    objects: bool,
) -> Result<Vec<Value>> {
    if objects {
        for item in named.iter().chain(&rest).chain(wanted).chain(before) {
            if !item.is_object() {
                return Err(unexpected(OBJECT, item));
            }
            item.get(key).ok_or_else(|| keyless(item, key))?;
        }
    }
    let place = |list: &[Value], item: &Value| {
        list.iter().position(|one| match objects {
            true => one.get(key) == item.get(key),
            false => one == item,
        })
    };
    named.sort_by_key(|item| place(wanted, item));
    rest.sort_by_key(|item| place(before, item));
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    let mut all = Vec::new();
    loop {
        let first = match (rest.peek(), named.peek()) {
            (None, None) => return Ok(all),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => {
                let (left, right) = (place(before, left), place(before, right));
                left.is_some() && right.is_some() && left < right
            }
        };
        all.extend(if first { rest.next() } else { named.next() });
    }
}

const OBJECT: &str = "map[string]interface {}";

/// The one type that all items of some lists have.
fn element_type(lists: &[&[Value]]) -> Result<&'static str> {
    let mut items = lists.iter().copied().flatten();
    let Some(first) = items.next() else {
        return Err(failed("no elements in any of the given slices"));
    };
    if first.is_array() {
        return Err(unprocessable());
    }
    let name = go_type(first);
    if items.all(|item| go_type(item) == name) {
        return Ok(name);
    }
    let shown: Value = lists.iter().map(|list| list.to_vec()).collect();
    Err(failed(format!(
        "list element types are not identical: {}",
        go(&shown)
    )))
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, item| !item.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// What stays of a value that is not merged: of what holds a directive nothing does.
fn kept(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Object(map) if map.contains_key(PATCH) => return None,
        Value::Object(map) => map
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), kept(value)?)))
            .collect(),
        Value::Array(list) => list.iter().filter_map(kept).collect(),
        other => other.clone(),
    })
}
