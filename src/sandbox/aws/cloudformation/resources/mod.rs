//! Resource types: how each is made, awaited, changed and deleted through its own service.

mod compute;
mod groups;
mod identity;
mod live;
mod network;
mod storage;

pub(super) use live::live;
pub(super) use network::system_tags;

use serde_json::{Map, Value, json};

use super::super::{Caller, Fault};
use super::functions::scalar;
use crate::sandbox::state::{State, World};

/// One resource at work.
pub struct Cx<'a> {
    /// The world.
    pub world: &'a World,
    /// All services' state.
    pub state: &'a mut State,
    /// Whose permissions count.
    pub caller: &'a Caller,
    /// The stack's region.
    pub region: &'a str,
    /// A name for a resource that the template gives none.
    pub generated: String,
    /// What has been made so far, also when a later call fails.
    pub made: Option<String>,
}

impl Cx<'_> {
    /// Calls a service.
    pub fn call(&mut self, service: &str, operation: &str, input: Value) -> Result<Value, Fault> {
        super::super::invoke(
            self.world,
            self.state,
            self.caller,
            self.region,
            service,
            operation,
            &input,
        )
    }

    /// Notes what has been made.
    pub fn made(&mut self, physical: &str) {
        self.made = Some(physical.to_owned());
    }
}

/// A resource's evaluated properties.
#[derive(Clone, Copy)]
pub struct Properties<'a>(pub &'a Value);

impl<'a> Properties<'a> {
    /// A scalar as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(scalar)
    }

    /// A scalar as text, empty when absent.
    pub fn or_empty(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    /// A list, empty when absent.
    pub fn list(&self, name: &str) -> &'a [Value] {
        self.0
            .get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// A list of scalars.
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.list(name).iter().filter_map(scalar).collect()
    }

    /// Only the named members, for a request whose names are the template's.
    pub fn only(&self, names: &[&str]) -> Map<String, Value> {
        names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.0.get(*name)?.clone())))
            .collect()
    }
}

/// Makes a resource; answers its physical id.
pub type Create = fn(&mut Cx<'_>, Properties<'_>) -> Result<String, Fault>;
/// Whether a resource is there, or gone.
pub type Ready = fn(&mut Cx<'_>, &str, Properties<'_>) -> Result<bool, Fault>;
/// Reads what `Fn::GetAtt` answers.
pub type Read = fn(&mut Cx<'_>, &str, Properties<'_>) -> Result<Value, Fault>;
/// Changes a resource in place, from the old properties to the new ones.
pub type Update = fn(&mut Cx<'_>, &str, Properties<'_>, Properties<'_>) -> Result<(), Fault>;
/// Begins to delete a resource.
pub type Delete = fn(&mut Cx<'_>, &str, Properties<'_>) -> Result<(), Fault>;

/// A resource type.
pub struct Handler {
    /// `AWS::EC2::VPC`.
    pub kind: &'static str,
    /// How its service is named in messages.
    pub service: &'static str,
    /// What `Fn::GetAtt` knows.
    pub attributes: &'static [&'static str],
    /// Its properties.
    pub properties: &'static [&'static str],
    /// Those that it can't do without.
    pub required: &'static [&'static str],
    /// Those whose change needs a new resource.
    pub fixed: &'static [&'static str],
    /// How long it takes to make beyond what its service models, in seconds.
    pub creation: u64,
    /// Makes one.
    pub create: Create,
    /// Whether it has come up.
    pub ready: Ready,
    /// Reads its attributes.
    pub read: Read,
    /// Changes one.
    pub update: Update,
    /// Deletes one.
    pub delete: Delete,
    /// Whether it has gone.
    pub gone: Ready,
}

/// What most types share.
const PLAIN: Handler = Handler {
    kind: "",
    service: "",
    attributes: &[],
    properties: &[],
    required: &[],
    fixed: &[],
    creation: 2,
    create: |_, _| Ok(String::new()),
    ready: |_, _, _| Ok(true),
    read: |_, _, _| Ok(json!({})),
    update: |_, _, _, _| Ok(()),
    delete: |_, _, _| Ok(()),
    gone: |_, _, _| Ok(true),
};

/// The resource type of that name.
pub fn handler(kind: &str) -> Option<&'static Handler> {
    [
        network::TYPES,
        groups::TYPES,
        compute::TYPES,
        identity::TYPES,
        storage::TYPES,
    ]
    .into_iter()
    .flatten()
    .find(|handler| handler.kind == kind)
}

impl Handler {
    /// Whether the stack's tags are put on it.
    pub fn taggable(&self) -> bool {
        self.properties.contains(&"Tags")
    }

    /// Checks properties against the type's schema.
    ///
    /// # Errors
    /// The reason that the resource fails with.
    pub fn validate(&self, logical: &str, properties: &Value) -> Result<(), String> {
        let wrong = |what: String| {
            Err(format!(
                "Properties validation failed for resource {logical} with message:\n{what}"
            ))
        };
        for name in properties.as_object().into_iter().flat_map(Map::keys) {
            if !self.properties.contains(&name.as_str()) {
                return wrong(format!("#: extraneous key [{name}] is not permitted"));
            }
        }
        for name in self.required {
            if properties.get(*name).is_none() {
                return wrong(format!("#: required key [{name}] not found"));
            }
        }
        Ok(())
    }
}

/// `[{Key, Value}]` as pairs.
fn pairs(tags: &[Value]) -> Vec<(String, String)> {
    tags.iter()
        .filter_map(|tag| {
            let tag = Properties(tag);
            Some((tag.text("Key")?, tag.or_empty("Value")))
        })
        .collect()
}

/// The one thing that a `Describe…` found.
fn first<'a>(answer: &'a Value, set: &str) -> &'a Value {
    answer[set].get(0).unwrap_or(&Value::Null)
}

/// What changed between two lists of tags: those to set, and the keys to remove.
fn retagging(old: Properties<'_>, new: Properties<'_>) -> (Vec<(String, String)>, Vec<String>) {
    let (before, after) = (pairs(old.list("Tags")), pairs(new.list("Tags")));
    let removed = before
        .iter()
        .filter(|(key, _)| !after.iter().any(|(other, _)| other == key))
        .map(|(key, _)| key.clone())
        .collect();
    let set = after
        .into_iter()
        .filter(|tag| !before.contains(tag))
        .collect();
    (set, removed)
}
