//! JSON patch, merge patch and strategic merge patch.

use serde_json::{Map, Value};

use super::fields::below;
use super::schema::{ListType, Schema};
use super::status::{Result, Status};

/// RFC 6902.
pub fn json(object: &mut Value, patch: &Value) -> Result<()> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > OPERATIONS {
        return Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS}, got {count}"
            ),
        ));
    }
    let mut budget = COPIES;
    let refused = || {
        let mut status = Status::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        );
        status.details = Some(serde_json::json!({}));
        status
    };
    for operation in patch.as_array().into_iter().flatten() {
        let mut operation = operation.clone();
        // Upstream's library replaces what is not there, as long as it has a place.
        if operation["op"] == "replace"
            && let Some(path) = operation["path"].as_str()
            && let Some((parent, _)) = path.rsplit_once('/')
            && object.pointer(path).is_none()
            && object.pointer(parent).is_some_and(Value::is_object)
        {
            operation["op"] = "add".into();
        }
        // And copies nothing where there is nothing to copy.
        if operation["op"] == "copy"
            && let Some(from) = operation["from"].as_str()
            && let Some((parent, _)) = from.rsplit_once('/')
            && object.pointer(from).is_none()
            && object.pointer(parent).is_some_and(Value::is_object)
        {
            operation["op"] = "add".into();
            operation["value"] = Value::Null;
        }
        let one: json_patch::PatchOperation =
            serde_json::from_value(operation).map_err(|_| refused())?;
        step(object, &one, &mut budget).map_err(|_| refused())?;
    }
    Ok(())
}

/// How many operations a JSON patch may have.
const OPERATIONS: usize = 10_000;
/// How much the copies of one patch may add, in values; the real server counts bytes, as many as a request may have.
const COPIES: usize = 300_000;
/// How deep a patch may make an object: as deep as one that is read.
const DEPTH: usize = 128;

/// Applies a patch whose result is as small and as flat as what could be sent: a few copies of everything into itself
/// would otherwise fill the memory, and nesting the stack.
pub fn apply(object: &mut Value, patch: &json_patch::Patch) -> std::result::Result<(), String> {
    let mut budget = COPIES;
    for operation in &patch.0 {
        step(object, operation, &mut budget)?;
    }
    Ok(())
}

fn step(
    object: &mut Value,
    operation: &json_patch::PatchOperation,
    budget: &mut usize,
) -> std::result::Result<(), String> {
    use json_patch::PatchOperation::{Add, Copy, Move, Replace};
    let depth = operation.path().count();
    let placed = match operation {
        Add(add) => Some(&add.value),
        Replace(replace) => Some(&replace.value),
        Copy(copy) => object.pointer(copy.from.as_str()),
        Move(moved) => object.pointer(moved.from.as_str()),
        _ => None,
    };
    if !placed.is_none_or(|value| fits(value, depth, budget)) {
        return Err("the patch makes the object too large or too deep".into());
    }
    json_patch::patch(object, std::slice::from_ref(operation)).map_err(|error| error.to_string())
}

/// Whether a value may stand so deep, and the budget suffices for it.
fn fits(value: &Value, depth: usize, budget: &mut usize) -> bool {
    if depth > DEPTH || *budget == 0 {
        return false;
    }
    *budget -= 1;
    match value {
        Value::Object(members) => members.values().all(|value| fits(value, depth + 1, budget)),
        Value::Array(values) => values.iter().all(|value| fits(value, depth + 1, budget)),
        _ => true,
    }
}

/// RFC 7386.
pub fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.shift_remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Kubernetes' own merge, that knows how the items of a list are told apart.
pub fn strategic(schema: &Schema, object: &mut Value, patch: &Value) -> Result<()> {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return Ok(());
    };
    match changes.get("$patch").and_then(Value::as_str) {
        Some("delete") => {
            *object = Value::Object(Map::new());
            return Ok(());
        }
        Some("replace") => {
            *object = plain(patch);
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(Status::bad_request(format!(
                "unable to find api field in struct for the patch strategy: unknown patch type: {other}"
            )));
        }
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else {
        return Ok(());
    };
    if let Some(retain) = changes.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| retain.iter().any(|one| one == key));
    }
    for (key, value) in changes {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(list), Some(gone)) = (
                map.get_mut(field).and_then(Value::as_array_mut),
                value.as_array(),
            ) {
                list.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if key.starts_with('$') {
            continue;
        }
        if value.is_null() {
            map.shift_remove(key);
            continue;
        }
        // What was not there is taken as it is, whether its items can be told apart or not.
        if !map.contains_key(key) {
            if let Some(value) = kept(value) {
                map.insert(key.clone(), value);
            }
            continue;
        }
        let field = below(schema, key);
        let order = changes
            .get(&format!("$setElementOrder/{key}"))
            .and_then(Value::as_array);
        match value {
            Value::Object(_) => {
                if let Some(place) = map.get_mut(key) {
                    strategic(field, place, value)?;
                }
            }
            Value::Array(items) if field.list != ListType::Atomic => {
                let Some(place) = map.get_mut(key) else {
                    continue;
                };
                if !place.is_array() {
                    *place = Value::Array(Vec::new());
                }
                if let Value::Array(list) = place {
                    let before = list.clone();
                    merge_list(field, list, items)?;
                    match order {
                        Some(order) => reorder(field, list, order),
                        None => interleave(field, list, &before, items),
                    }
                }
            }
            _ => {
                map.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}

fn merge_key(list: &Schema) -> Option<&str> {
    match &list.list {
        ListType::Map(keys) => keys.first().map(String::as_str),
        _ => None,
    }
}

fn merge_list(schema: &Schema, list: &mut Vec<Value>, changes: &[Value]) -> Result<()> {
    let Some(key) = merge_key(schema) else {
        for change in changes {
            if !list.contains(change) {
                list.push(change.clone());
            }
        }
        return Ok(());
    };
    if changes.iter().any(|change| change["$patch"] == "replace") {
        *list = changes
            .iter()
            .filter(|change| change.get("$patch").is_none())
            .map(plain)
            .collect();
        return Ok(());
    }
    for change in changes {
        let Some(id) = change.get(key).filter(|id| !id.is_null()) else {
            return Err(Status::bad_request(format!(
                "map: {change} does not contain declared merge key: {key}"
            )));
        };
        if change["$patch"] == "delete" {
            list.retain(|item| item.get(key) != Some(id));
            continue;
        }
        match list.iter_mut().find(|item| item.get(key) == Some(id)) {
            Some(item) => match schema.items() {
                Some(items) => strategic(items, item, change)?,
                None => *item = plain(change),
            },
            None => list.push(plain(change)),
        }
    }
    Ok(())
}

/// Puts the items of the patch into its order, and what is new before what only the server has.
fn interleave(schema: &Schema, list: &mut Vec<Value>, before: &[Value], changes: &[Value]) {
    let Some(key) = merge_key(schema) else {
        return;
    };
    let rank = |items: &[Value], item: &Value| {
        let same = |one: &Value| one.get(key) == item.get(key);
        items.iter().position(same)
    };
    let (mut named, rest): (Vec<Value>, Vec<Value>) = list
        .drain(..)
        .partition(|item| rank(changes, item).is_some());
    named.sort_by_key(|item| rank(changes, item));
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    while let Some(item) = rest.peek() {
        let first = named.peek().is_some_and(|next| {
            let (ours, theirs) = (rank(before, item), rank(before, next));
            ours.is_none() || theirs.is_none() || ours > theirs
        });
        list.extend(if first { named.next() } else { rest.next() });
    }
    list.extend(named);
}

/// Puts the items that the client named into its order; the others follow where they were.
fn reorder(schema: &Schema, list: &mut Vec<Value>, order: &[Value]) {
    let key = merge_key(schema);
    let rank = |item: &Value| {
        order.iter().position(|one| match key {
            Some(key) => one.get(key) == item.get(key),
            None => one == item,
        })
    };
    let mut named: Vec<(usize, Value)> = Vec::new();
    let mut rest: Vec<(usize, Value)> = Vec::new();
    for (index, item) in list.drain(..).enumerate() {
        match rank(&item) {
            Some(rank) => named.push((rank, item)),
            None => rest.push((index, item)),
        }
    }
    named.sort_by_key(|(rank, _)| *rank);
    list.extend(named.into_iter().map(|(_, item)| item));
    for (index, item) in rest {
        list.insert(index.min(list.len()), item);
    }
}

/// Without the directives.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
                .filter_map(|(key, value)| Some((key.clone(), kept(value)?)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().filter_map(kept).collect()),
        other => other.clone(),
    }
}

/// What stays of a value for which nothing was there: of what holds a directive nothing does.
fn kept(value: &Value) -> Option<Value> {
    value.get("$patch").is_none().then(|| plain(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema::Shape;
    use super::*;

    #[test]
    fn a_list_that_was_not_there_is_taken_without_its_directives() {
        let schema = Schema::new(Shape::Any);
        let mut object = json!({"status": {}});
        let patch = json!({"status": {
            "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.1"}],
            "gone": {"$patch": "delete"},
        }});
        strategic(&schema, &mut object, &patch).expect("a patch");
        assert_eq!(object, json!({"status": {"podIPs": [{"ip": "10.0.0.1"}]}}));
    }

    #[test]
    fn a_small_patch_does_not_make_a_gigantic_object() {
        let mut object = json!({"data": {"a": "b"}});
        let doubling: Vec<Value> = (0..60)
            .map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/x{n}")}))
            .collect();
        let refused = json(&mut object, &doubling.into()).expect_err("too large");
        assert_eq!(refused.code, 422);

        let mut object = json!({});
        let mut path = String::new();
        let nesting: Vec<Value> = (0..5000)
            .map(|_| {
                path.push_str("/a");
                json!({"op": "add", "path": path, "value": {}})
            })
            .collect();
        let refused = json(&mut object, &nesting.into()).expect_err("too deep");
        assert_eq!(refused.code, 422);

        let many = vec![json!({"op": "test", "path": "", "value": {}}); OPERATIONS + 1];
        let refused = json(&mut json!({}), &many.into()).expect_err("too many");
        assert_eq!(refused.code, 413);

        let mut object = json!({"a": [1]});
        let fine = json!([
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "move", "from": "/a", "path": "/c"},
            {"op": "add", "path": "/b/-", "value": 2},
        ]);
        json(&mut object, &fine).expect("patched");
        assert_eq!(object, json!({"b": [1, 2], "c": [1]}));
    }
}
