//! Create, describe, update, delete and list: the same for every kind.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Fault, Kind, Resource, State, arn, bad, in_use, rules, tags};
use crate::sandbox::aws::Call;
use crate::sandbox::state;

type Resources = BTreeMap<String, Resource>;

/// The names along a kind's path, out of the input.
pub fn names(kind: Kind, input: &Value) -> Option<Vec<String>> {
    kind.path()
        .iter()
        .map(|kind| Some(input[format!("{}Name", kind.key())].as_str()?.to_owned()))
        .collect()
}

fn path(kind: Kind, call: &Call<'_>) -> Result<(Vec<String>, String), Fault> {
    let names = names(kind, call.input).ok_or_else(|| bad("a name is missing"))?;
    if let Some(name) = names.iter().find(|name| name.contains('/')) {
        return Err(bad(format!("'{name}' is not a valid name")));
    }
    let path = kind.arn_path(&names);
    Ok((names, path))
}

/// The error for what does not exist, in the service's words.
pub fn missing(call: &Call<'_>, kind: Kind, names: &[String]) -> Fault {
    let account = &call.world.account;
    let name = names.last().map_or("", String::as_str);
    let message = match names {
        [mesh] => format!("Mesh with name {mesh} does not exist for account {account}"),
        [mesh, parent, _] => format!(
            "{} with name {name} is not present under {} {parent} in mesh {mesh} for account {account}",
            kind.name(),
            kind.path()[1].name(),
        ),
        [mesh, ..] => format!(
            "{} with name {name} is not present under mesh {mesh} for account {account}",
            kind.name()
        ),
        [] => "not found".to_owned(),
    };
    Fault::new(404, "NotFoundException", message)
}

/// Everything above a resource must exist.
fn check_parents(
    resources: &Resources,
    call: &Call<'_>,
    kind: Kind,
    names: &[String],
) -> Result<(), Fault> {
    // A mesh that another account shares would be found through meshOwner; there is one account here.
    if call.input["meshOwner"]
        .as_str()
        .is_some_and(|owner| owner != &*call.world.account)
    {
        return Err(missing(call, Kind::Mesh, &names[..1]));
    }
    for depth in 1..names.len() {
        let parent = kind.path()[depth - 1];
        if !resources.contains_key(&parent.arn_path(&names[..depth])) {
            return Err(missing(call, parent, &names[..depth]));
        }
    }
    Ok(())
}

fn fingerprint(call: &Call<'_>) -> String {
    let mut input = call.input.clone();
    if let Value::Object(members) = &mut input {
        members.remove("clientToken");
    }
    digest(&input)
}

/// A digest of a value that does not depend on the order of its members.
pub fn digest(value: &Value) -> String {
    fn write(value: &Value, into: &mut Sha256) {
        match value {
            Value::Object(members) => {
                into.update(b"{");
                let mut keys: Vec<&String> = members.keys().collect();
                keys.sort();
                for key in keys {
                    into.update(Value::from(key.as_str()).to_string());
                    into.update(b":");
                    write(&members[key], into);
                }
                into.update(b"}");
            }
            Value::Array(items) => {
                into.update(b"[");
                for item in items {
                    write(item, into);
                    into.update(b",");
                }
                into.update(b"]");
            }
            scalar => into.update(scalar.to_string()),
        }
    }
    let mut hash = Sha256::new();
    write(value, &mut hash);
    hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn check_token(resource: &Resource, call: &Call<'_>) -> Result<bool, Fault> {
    let Some(token) = call.input["clientToken"].as_str() else {
        return Ok(false);
    };
    match resource.tokens.get(token) {
        None => Ok(false),
        Some(seen) if *seen == fingerprint(call) => Ok(true),
        Some(_) => Err(Fault::new(
            409,
            "ConflictException",
            "The request contains a client token that was used for a previous call with different specifications. \
             Try the request again with a new client token.",
        )),
    }
}

fn spend_token(resource: &mut Resource, call: &Call<'_>) {
    if let Some(token) = call.input["clientToken"].as_str() {
        resource.tokens.insert(token.to_owned(), fingerprint(call));
    }
}

pub fn create(state: &mut state::State, call: &Call<'_>, kind: Kind) -> Result<Value, Fault> {
    let (names, path) = path(kind, call)?;
    let spec = call.input.get("spec").cloned().unwrap_or(json!({}));
    let tags = tags::read(&call.input["tags"])?;
    let resources = state
        .appmesh
        .resources
        .entry(call.region.to_owned())
        .or_default();
    check_parents(resources, call, kind, &names)?;
    if let Some(known) = resources.get(&path) {
        return if check_token(known, call)? {
            Ok(data(known, call, "ACTIVE"))
        } else {
            Err(Fault::new(
                409,
                "ConflictException",
                format!(
                    "{} with name {} already exists",
                    kind.name(),
                    names[names.len() - 1]
                ),
            ))
        };
    }
    rules::check(resources, call, kind, &names, &spec)?;
    rules::check_quota(resources, kind, &names)?;
    state.next_id += 1;
    let now = call.world.clock.now();
    let seed = json!([state.next_id, path, now]);
    let id = digest(&seed);
    let mut resource = Resource {
        kind,
        names,
        spec,
        uid: format!(
            "{}-{}-{}-{}-{}",
            &id[..8],
            &id[8..12],
            &id[12..16],
            &id[16..20],
            &id[20..]
        ),
        version: 1,
        created_at: now,
        updated_at: now,
        tags,
        tokens: BTreeMap::new(),
    };
    spend_token(&mut resource, call);
    let answer = data(&resource, call, "ACTIVE");
    resources.insert(path, resource);
    Ok(answer)
}

pub fn update(state: &mut State, call: &Call<'_>, kind: Kind) -> Result<Value, Fault> {
    let (names, path) = path(kind, call)?;
    let spec = call.input.get("spec").cloned().unwrap_or(json!({}));
    let resources = state.resources.entry(call.region.to_owned()).or_default();
    check_parents(resources, call, kind, &names)?;
    let Some(known) = resources.get(&path) else {
        return Err(missing(call, kind, &names));
    };
    if check_token(known, call)? {
        return Ok(data(known, call, "ACTIVE"));
    }
    rules::check(resources, call, kind, &names, &spec)?;
    let Some(resource) = resources.get_mut(&path) else {
        return Err(missing(call, kind, &names));
    };
    resource.spec = spec;
    resource.version += 1;
    resource.updated_at = call.world.clock.now();
    spend_token(resource, call);
    Ok(data(resource, call, "ACTIVE"))
}

pub fn describe(state: &State, call: &Call<'_>, kind: Kind) -> Result<Value, Fault> {
    let (names, path) = path(kind, call)?;
    let empty = Resources::new();
    let resources = state.resources.get(call.region).unwrap_or(&empty);
    check_parents(resources, call, kind, &names)?;
    match resources.get(&path) {
        Some(resource) => Ok(data(resource, call, "ACTIVE")),
        None => Err(missing(call, kind, &names)),
    }
}

pub fn delete(state: &mut State, call: &Call<'_>, kind: Kind) -> Result<Value, Fault> {
    let (names, path) = path(kind, call)?;
    let resources = state.resources.entry(call.region.to_owned()).or_default();
    check_parents(resources, call, kind, &names)?;
    if !resources.contains_key(&path) {
        return Err(missing(call, kind, &names));
    }
    if let Some(reason) = rules::in_use(resources, call, kind, &names) {
        return Err(in_use(reason));
    }
    match resources.remove(&path) {
        Some(resource) => Ok(data(&resource, call, "DELETED")),
        None => Err(missing(call, kind, &names)),
    }
}

pub fn list(state: &State, call: &Call<'_>, kind: Kind) -> Result<Value, Fault> {
    let empty = Resources::new();
    let resources = state.resources.get(call.region).unwrap_or(&empty);
    let parents = match kind.path() {
        [_] => vec![],
        path => {
            let holder = path[path.len() - 2];
            let names = names(holder, call.input).ok_or_else(|| bad("a name is missing"))?;
            check_parents(resources, call, holder, &names)?;
            if !resources.contains_key(&holder.arn_path(&names)) {
                return Err(missing(call, holder, &names));
            }
            names
        }
    };
    let after = call.input["nextToken"].as_str().unwrap_or("");
    let limit = call.input["limit"]
        .as_str()
        .and_then(|limit| limit.parse().ok())
        .or(call.input["limit"].as_u64())
        .unwrap_or(100) as usize;
    let mut found = resources
        .iter()
        .filter(|(path, resource)| {
            resource.kind == kind
                && resource.names.starts_with(&parents)
                && (after.is_empty() || path.as_str() > after)
        })
        .peekable();
    let mut items = Vec::new();
    let mut last = "";
    while items.len() < limit
        && let Some((path, resource)) = found.next()
    {
        items.push(reference(resource, call));
        last = path;
    }
    let mut answer = Map::new();
    answer.insert(kind.plural().to_owned(), Value::Array(items));
    if found.peek().is_some() {
        answer.insert("nextToken".to_owned(), Value::from(last));
    }
    Ok(Value::Object(answer))
}

fn seconds(millis: u64) -> Value {
    Value::from(millis as f64 / 1000.0)
}

fn named(resource: &Resource, into: &mut Map<String, Value>) {
    for (kind, name) in resource.kind.path().iter().zip(&resource.names) {
        into.insert(format!("{}Name", kind.key()), Value::from(name.as_str()));
    }
}

/// The full description.
fn data(resource: &Resource, call: &Call<'_>, status: &str) -> Value {
    let mut answer = Map::new();
    named(resource, &mut answer);
    answer.insert("spec".to_owned(), resource.spec.clone());
    answer.insert("status".to_owned(), json!({ "status": status }));
    answer.insert(
        "metadata".to_owned(),
        json!({
            "arn": arn(call, &resource.kind.arn_path(&resource.names)),
            "createdAt": seconds(resource.created_at),
            "lastUpdatedAt": seconds(resource.updated_at),
            "meshOwner": &*call.world.account,
            "resourceOwner": &*call.world.account,
            "uid": resource.uid,
            "version": resource.version,
        }),
    );
    Value::Object(answer)
}

/// An item of a list.
fn reference(resource: &Resource, call: &Call<'_>) -> Value {
    let mut answer = Map::new();
    named(resource, &mut answer);
    for (key, value) in [
        (
            "arn",
            Value::from(arn(call, &resource.kind.arn_path(&resource.names))),
        ),
        ("createdAt", seconds(resource.created_at)),
        ("lastUpdatedAt", seconds(resource.updated_at)),
        ("meshOwner", Value::from(&*call.world.account)),
        ("resourceOwner", Value::from(&*call.world.account)),
        ("version", Value::from(resource.version)),
    ] {
        answer.insert(key.to_owned(), value);
    }
    Value::Object(answer)
}
