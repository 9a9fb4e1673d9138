//! Tags of meshes and what is in them.

use serde_json::{Value, json};

use super::{Fault, State, bad};
use crate::sandbox::aws::Call;

const MOST: usize = 50;

/// Reads a list of `key`, `value`.
pub fn read(list: &Value) -> Result<Vec<(String, String)>, Fault> {
    let mut tags: Vec<(String, String)> = Vec::new();
    for tag in list.as_array().into_iter().flatten() {
        let key = tag["key"].as_str().unwrap_or_default();
        if key.starts_with("aws:") {
            return Err(bad(format!(
                "tag key '{key}' begins with aws:, which is reserved"
            )));
        }
        if tags.iter().any(|(known, _)| known == key) {
            return Err(bad(format!("tag key '{key}' is given twice")));
        }
        let value = tag["value"].as_str().unwrap_or_default();
        tags.push((key.to_owned(), value.to_owned()));
    }
    Ok(tags)
}

fn find<'a>(state: &'a mut State, call: &Call<'_>) -> Result<&'a mut Vec<(String, String)>, Fault> {
    let arn = call.input["resourceArn"].as_str().unwrap_or_default();
    let prefix = format!("arn:aws:appmesh:{}:{}:", call.region, call.world.account);
    let Some(path) = arn.strip_prefix(&prefix) else {
        return Err(bad(format!(
            "'{arn}' is not a valid ARN of this account and region"
        )));
    };
    state
        .resources
        .get_mut(call.region)
        .and_then(|resources| resources.get_mut(path))
        .map(|resource| &mut resource.tags)
        .ok_or_else(|| {
            Fault::new(
                404,
                "NotFoundException",
                format!("Resource with arn {arn} does not exist"),
            )
        })
}

pub fn tag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let new = read(&call.input["tags"])?;
    let tags = find(state, call)?;
    let mut merged = tags.clone();
    for (key, value) in new {
        match merged.iter_mut().find(|(known, _)| *known == key) {
            Some(tag) => tag.1 = value,
            None => merged.push((key, value)),
        }
    }
    if merged.len() > MOST {
        return Err(Fault::new(
            400,
            "TooManyTagsException",
            format!("a resource can have at most {MOST} tags"),
        ));
    }
    *tags = merged;
    Ok(json!({}))
}

pub fn untag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let keys: Vec<&str> = call.input["tagKeys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    find(state, call)?.retain(|(key, _)| !keys.contains(&key.as_str()));
    Ok(json!({}))
}

pub fn list(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let start: usize = match call.input["nextToken"].as_str() {
        None => 0,
        Some(token) => token.parse().map_err(|_| bad("invalid nextToken"))?,
    };
    let limit = call.input["limit"]
        .as_str()
        .and_then(|limit| limit.parse().ok())
        .or(call.input["limit"].as_u64())
        .unwrap_or(MOST as u64) as usize;
    let tags = find(state, call)?;
    let page: Vec<Value> = tags
        .iter()
        .skip(start)
        .take(limit)
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    let end = start + page.len();
    let next = (end < tags.len()).then(|| end.to_string());
    Ok(json!({ "tags": page, "nextToken": next }))
}
