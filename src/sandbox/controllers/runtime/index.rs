//! Finding objects of a cache by what they hold, without looking at all of them: what is in the thousands is looked for
//! at each change of a thousand others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::cache::Key;
use super::object::{Meta, entries, text};

/// A way to find objects: by terms that each has some of.
pub struct Index(
    /// The terms of an object.
    pub fn(&Value) -> Vec<String>,
);

/// By the object of their namespace that controls them, as [`controlled_by`] has it.
pub static CONTROLLER: Index = Index(|object| {
    let owner = object.controller();
    owner
        .map(|owner| controlled(object.namespace(), text(&owner["uid"])))
        .into_iter()
        .collect()
});

/// By each of their labels, as [`term`] has it.
pub static LABELS: Index = Index(|object| terms(object.namespace(), &object["metadata"]["labels"]));

/// By the node that they are bound to.
pub static NODE: Index = Index(|pod| {
    let node = text(&pod["spec"]["nodeName"]);
    match node {
        "" => Vec::new(),
        node => vec![node.to_owned()],
    }
});

/// Services by the first entry of their selector, as [`term`] has it.
pub static SERVICE_SELECTOR: Index =
    Index(|service| first(service.namespace(), &service["spec"]["selector"]));

/// What has a pod selector, by its first label as [`term`] has it; one without labels by [`anything`].
pub static POD_SELECTOR: Index = Index(|member| {
    let selector = &member["spec"]["podSelector"]["matchLabels"];
    match first(member.namespace(), selector) {
        none if none.is_empty() => vec![anything(member.namespace())],
        first => first,
    }
});

/// The term of a selector without labels.
pub fn anything(namespace: &str) -> String {
    format!("{namespace}/")
}

fn controlled(namespace: &str, uid: &str) -> String {
    format!("{namespace}/{uid}")
}

/// The term of what an object controls.
pub fn controlled_by(owner: &Value) -> String {
    controlled(owner.namespace(), owner.uid())
}

/// The term of an entry of labels or of a selector in a namespace.
pub fn term(namespace: &str, name: &str, value: &str) -> String {
    format!("{namespace}/{name}={value}")
}

/// The terms of all entries of a plain map.
pub fn terms(namespace: &str, map: &Value) -> Vec<String> {
    entries(map)
        .map(|(name, value)| term(namespace, name, text(value)))
        .collect()
}

/// The term of the first entry of a plain map, where it has one: whatever carries all entries carries that.
pub fn first(namespace: &str, map: &Value) -> Vec<String> {
    let entry = entries(map).next();
    entry
        .map(|(name, value)| term(namespace, name, text(value)))
        .into_iter()
        .collect()
}

/// The objects of a cache with the indexes that somebody has used.
#[derive(Default)]
pub(super) struct Objects {
    all: BTreeMap<Key, Arc<Value>>,
    indexes: Vec<(&'static Index, HashMap<String, BTreeSet<Key>>)>,
}

impl Objects {
    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.all.get(key)
    }

    /// All objects by their keys.
    pub fn all(&self) -> &BTreeMap<Key, Arc<Value>> {
        &self.all
    }

    /// Puts an object in the place of what had its key.
    pub fn insert(&mut self, key: Key, object: Arc<Value>) {
        for (index, places) in &mut self.indexes {
            let terms = (index.0)(&object);
            if let Some(before) = self.all.get(&key) {
                let before = (index.0)(before);
                if before == terms {
                    continue;
                }
                leave(places, &before, &key);
            }
            for term in terms {
                places.entry(term).or_default().insert(key.clone());
            }
        }
        self.all.insert(key, object);
    }

    /// Takes an object away.
    pub fn remove(&mut self, key: &Key) {
        if let Some(before) = self.all.remove(key) {
            for (index, places) in &mut self.indexes {
                leave(places, &(index.0)(&before), key);
            }
        }
    }

    /// Puts these in the place of all.
    pub fn replace(&mut self, all: BTreeMap<Key, Arc<Value>>) {
        self.all = all;
        for (index, places) in &mut self.indexes {
            *places = built(index, &self.all);
        }
    }

    /// The objects that have a term, in the order of their keys. The first to ask has the index made.
    pub fn by(&mut self, index: &'static Index, term: &str) -> Vec<Arc<Value>> {
        let known = |(known, _): &(&'static Index, _)| std::ptr::eq(*known, index);
        let position = self.indexes.iter().position(known).unwrap_or_else(|| {
            self.indexes.push((index, built(index, &self.all)));
            self.indexes.len() - 1
        });
        let keys = self.indexes[position].1.get(term).into_iter().flatten();
        keys.filter_map(|key| self.all.get(key).cloned()).collect()
    }
}

fn built(index: &Index, all: &BTreeMap<Key, Arc<Value>>) -> HashMap<String, BTreeSet<Key>> {
    let mut places: HashMap<String, BTreeSet<Key>> = HashMap::new();
    for (key, object) in all {
        for term in (index.0)(object) {
            places.entry(term).or_default().insert(key.clone());
        }
    }
    places
}

fn leave(places: &mut HashMap<String, BTreeSet<Key>>, terms: &[String], key: &Key) {
    for term in terms {
        if let Some(keys) = places.get_mut(term) {
            keys.remove(key);
            if keys.is_empty() {
                places.remove(term);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, labels: Value, node: &str) -> (Key, Arc<Value>) {
        let pod = json!({
            "metadata": {"namespace": "demo", "name": name, "labels": labels},
            "spec": {"nodeName": node},
        });
        (pod.key(), Arc::new(pod))
    }

    fn names(found: Vec<Arc<Value>>) -> Vec<String> {
        found.iter().map(|pod| pod.name().to_owned()).collect()
    }

    #[test]
    fn an_index_follows_every_change() {
        let mut objects = Objects::default();
        let (key, one) = pod("one", json!({"app": "a", "version": "v1"}), "");
        objects.insert(key.clone(), one);
        let (_, bound) = pod("one", json!({"app": "a", "version": "v1"}), "node-1");
        assert!(names(objects.by(&NODE, "node-1")).is_empty());
        assert_eq!(names(objects.by(&LABELS, "demo/app=a")), ["one"]);
        objects.insert(key.clone(), bound);
        assert_eq!(names(objects.by(&NODE, "node-1")), ["one"]);
        let (other, two) = pod("two", json!({"app": "a"}), "node-1");
        objects.insert(other.clone(), two);
        assert_eq!(names(objects.by(&LABELS, "demo/app=a")), ["one", "two"]);
        assert!(names(objects.by(&LABELS, "other/app=a")).is_empty());
        // A label that changes moves the object.
        let (_, moved) = pod("two", json!({"app": "b"}), "node-1");
        objects.insert(other.clone(), moved);
        assert_eq!(names(objects.by(&LABELS, "demo/app=a")), ["one"]);
        assert_eq!(names(objects.by(&LABELS, "demo/app=b")), ["two"]);
        objects.remove(&key);
        assert_eq!(names(objects.by(&NODE, "node-1")), ["two"]);
        let (key, three) = pod("three", json!({"app": "a"}), "node-2");
        objects.replace(BTreeMap::from([(key, three)]));
        assert!(names(objects.by(&NODE, "node-1")).is_empty());
        assert_eq!(names(objects.by(&LABELS, "demo/app=a")), ["three"]);
    }

    #[test]
    fn a_selector_is_found_by_what_it_selects() {
        let service = json!({"metadata": {"namespace": "demo", "name": "a"}, "spec": {"selector": {"app": "a"}}});
        let mut objects = Objects::default();
        objects.insert(service.key(), Arc::new(service));
        let labels = json!({"app": "a", "version": "v1"});
        let found = terms("demo", &labels).into_iter();
        let found: Vec<_> = found
            .flat_map(|term| objects.by(&SERVICE_SELECTOR, &term))
            .collect();
        assert_eq!(names(found), ["a"]);
    }
}
