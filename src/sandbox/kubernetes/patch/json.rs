//! JSON patch as the real server's library has it, which is RFC 6902 with ways of its own: what comes before the first
//! slash of a path says nothing, indexes may count from the end, a value that is left out is null, and what is not there
//! can be replaced and copied as long as it has a place.

use serde_json::{Map, Value, json};

use super::super::status::{Result, Status};

/// How many operations a JSON patch may have.
const OPERATIONS: usize = 10_000;
/// How much the copies of one patch may add, in values; the real server counts bytes, as many as a request may have.
const COPIES: usize = 300_000;
/// How deep a patch may make an object: as deep as one that is read.
const DEPTH: usize = 128;

type Step<T = ()> = std::result::Result<T, String>;

/// Applies a client's patch. Of what does not apply the real server says no more than that.
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
    apply(object, patch).map_err(|_| unprocessable())
}

/// What is said of a patch that is understood and cannot be applied.
pub(super) fn unprocessable() -> Status {
    let mut status = Status::new(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    );
    status.details = Some(json!({}));
    status
}

/// Applies a patch whose result is as small and as flat as what could be sent: a few copies of everything into itself
/// would otherwise fill the memory, and nesting the stack. The error is in the library's words.
pub fn apply(object: &mut Value, patch: &Value) -> Step {
    let mut budget = COPIES;
    for operation in patch.as_array().into_iter().flatten() {
        match operation {
            Value::Object(operation) => step(object, operation, &mut budget)?,
            _ => return Err("Unexpected kind: unknown".into()),
        }
    }
    Ok(())
}

fn step(object: &mut Value, operation: &Map<String, Value>, budget: &mut usize) -> Step {
    let kind = operation.get("op").and_then(Value::as_str);
    let kind = kind.unwrap_or("unknown");
    let pointer = |name: &str| match operation.get(name).and_then(Value::as_str) {
        Some(path) => Ok(path),
        None => Err(format!("operation missing {name} field: missing value")),
    };
    let said = operation.get("value").cloned();
    match kind {
        "add" => add(
            object,
            kind,
            pointer("path")?,
            said.unwrap_or_default(),
            budget,
        ),
        "remove" => {
            let path = pointer("path")?;
            remove(object, kind, "", path).map(drop)
        }
        "replace" => replace(object, pointer("path")?, said.unwrap_or_default(), budget),
        "move" => {
            let from = pointer("from")?;
            let value = remove(object, kind, "from ", from)?;
            add(object, kind, pointer("path")?, value, budget)
        }
        "copy" => {
            let from = pointer("from")?;
            let (place, key) = find(object, from)
                .ok_or_else(|| missing(kind, "doc is missing from path", from))?;
            let value = get(place, &key)?.cloned().unwrap_or_default();
            add(object, kind, pointer("path")?, value, budget)
        }
        "test" => test(object, pointer("path")?, said),
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn missing(kind: &str, why: &str, path: &str) -> String {
    format!("{kind} operation does not apply: {why}: {path:?}: missing value")
}

fn no_index(index: i64) -> String {
    format!("Unable to access invalid index: {index}: invalid index referenced")
}

/// The object or list that holds what a path leads to, and its key there.
fn find<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let decoded = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let mut parts = path.split('/').skip(1);
    let mut key = decoded(parts.next()?);
    let mut place = object;
    for part in parts {
        place = match place {
            Value::Object(map) => map.get_mut(&key)?,
            Value::Array(list) => {
                let index = index(&key, list.len(), list.len()).ok()?;
                list.get_mut(index)?
            }
            _ => return None,
        };
        key = decoded(part);
    }
    matches!(place, Value::Object(_) | Value::Array(_)).then_some((place, key))
}

/// A place in a list that ends before `end`; one below zero counts back from `length`.
fn index(key: &str, length: usize, end: usize) -> Step<usize> {
    let said: i64 = key
        .parse()
        .map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))?;
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let index = if said < 0 { said + length } else { said };
    usize::try_from(index)
        .ok()
        .filter(|index| *index < end)
        .ok_or_else(|| no_index(said))
}

/// What stands there; nothing for a key that an object does not have.
fn get<'a>(place: &'a Value, key: &str) -> Step<Option<&'a Value>> {
    match place {
        Value::Array(list) => index(key, list.len(), list.len()).map(|index| list.get(index)),
        other => Ok(other.get(key)),
    }
}

fn add(object: &mut Value, kind: &str, path: &str, value: Value, budget: &mut usize) -> Step {
    room(&value, path, budget)?;
    let (place, key) = find(object, path).ok_or_else(|| match kind {
        "add" => missing(kind, "doc is missing path", path),
        _ => missing(kind, "doc is missing destination path", path),
    })?;
    match place {
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let end = list.len() + 1;
            let index = index(&key, end, end)
                .map_err(|why| format!("error in {kind} for path: '{path}': {why}"))?;
            list.insert(index, value);
        }
        Value::Object(map) => drop(map.insert(key, value)),
        _ => {}
    }
    Ok(())
}

fn remove(object: &mut Value, kind: &str, what: &str, path: &str) -> Step<Value> {
    let (place, key) = find(object, path)
        .ok_or_else(|| missing(kind, &format!("doc is missing {what}path"), path))?;
    let removed = match place {
        Value::Array(list) => index(&key, list.len(), list.len()).map(|index| list.remove(index)),
        Value::Object(map) => map
            .shift_remove(&key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
        _ => Ok(Value::Null),
    };
    removed.map_err(|why| format!("error in {kind} for path: '{path}': {why}"))
}

fn replace(object: &mut Value, path: &str, value: Value, budget: &mut usize) -> Step {
    room(&value, path, budget)?;
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("replace operation value must be object or array".into());
        }
        *object = value;
        return Ok(());
    }
    let (place, key) =
        find(object, path).ok_or_else(|| missing("replace", "doc is missing path", path))?;
    match place {
        Value::Array(list) => {
            let length = list.len();
            let index = index(&key, length, length)
                .map_err(|_| missing("replace", "doc is missing key", path))?;
            list[index] = value;
        }
        Value::Object(map) => drop(map.insert(key, value)),
        _ => {}
    }
    Ok(())
}

fn test(object: &mut Value, path: &str, wanted: Option<Value>) -> Step {
    let found = if path.is_empty() {
        Some(&*object)
    } else {
        let (place, key) =
            find(object, path).ok_or_else(|| missing("test", "is missing path", path))?;
        get(place, &key).map_err(|why| format!("error in test for path: '{path}': {why}"))?
    };
    // What is not there and what is null are one.
    if found.unwrap_or(&Value::Null) == wanted.as_ref().unwrap_or(&Value::Null) {
        return Ok(());
    }
    Err(format!("testing value {path} failed: test failed"))
}

/// Whether a value may stand at a path, and the budget suffices for it.
fn room(value: &Value, path: &str, budget: &mut usize) -> Step {
    if fits(value, path.matches('/').count(), budget) {
        return Ok(());
    }
    Err("the patch makes the object too large or too deep".into())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_patch_does_not_make_a_gigantic_object() {
        let mut object = json!({"data": {"a": "b"}});
        let doubling: Vec<Value> = (0..60)
            .map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/x{n}")}))
            .collect();
        let refused = super::json(&mut object, &doubling.into()).expect_err("too large");
        assert_eq!(refused.code, 422);

        let mut object = json!({});
        let mut path = String::new();
        let nesting: Vec<Value> = (0..5000)
            .map(|_| {
                path.push_str("/a");
                json!({"op": "add", "path": path, "value": {}})
            })
            .collect();
        let refused = super::json(&mut object, &nesting.into()).expect_err("too deep");
        assert_eq!(refused.code, 422);

        let many = vec![json!({"op": "test", "path": "", "value": {}}); OPERATIONS + 1];
        let refused = super::json(&mut json!({}), &many.into()).expect_err("too many");
        assert_eq!(refused.code, 413);

        let mut object = json!({"a": [1]});
        let fine = json!([
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "move", "from": "/a", "path": "/c"},
            {"op": "add", "path": "/b/-", "value": 2},
        ]);
        super::json(&mut object, &fine).expect("patched");
        assert_eq!(object, json!({"b": [1, 2], "c": [1]}));
    }

    #[test]
    fn the_library_is_more_generous_than_the_standard() {
        let patched = |mut object: Value, operation: Value| {
            apply(&mut object, &json!([operation])).map(|()| object)
        };
        for (operation, expected) in [
            (
                json!({"op": "add", "path": "/b"}),
                json!({"a": [1, 2], "b": null}),
            ),
            (
                json!({"op": "add", "path": "x/b", "value": 1}),
                json!({"a": [1, 2], "b": 1}),
            ),
            (
                json!({"op": "replace", "path": "/b", "value": 1}),
                json!({"a": [1, 2], "b": 1}),
            ),
            (
                json!({"op": "copy", "from": "/x", "path": "/b"}),
                json!({"a": [1, 2], "b": null}),
            ),
            (json!({"op": "remove", "path": "/a/-1"}), json!({"a": [1]})),
            (
                json!({"op": "add", "path": "/a/-1", "value": 3}),
                json!({"a": [1, 2, 3]}),
            ),
            (
                json!({"op": "test", "path": "/b", "value": null}),
                json!({"a": [1, 2]}),
            ),
        ] {
            let shown = operation.to_string();
            assert_eq!(
                patched(json!({"a": [1, 2]}), operation),
                Ok(expected),
                "{shown}"
            );
        }
        for (operation, why) in [
            (
                json!({"op": "add", "path": "/b/c", "value": 1}),
                r#"add operation does not apply: doc is missing path: "/b/c": missing value"#,
            ),
            (
                json!({"op": "remove", "path": "/b"}),
                "error in remove for path: '/b': Unable to remove nonexistent key: b: missing value",
            ),
            (
                json!({"op": "test", "path": "/a/0", "value": 2}),
                "testing value /a/0 failed: test failed",
            ),
            (
                json!({"op": "increase", "path": "/a"}),
                "Unexpected kind: increase",
            ),
        ] {
            assert_eq!(
                patched(json!({"a": [1, 2]}), operation),
                Err(why.to_owned())
            );
        }
    }
}
