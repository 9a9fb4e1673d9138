//! What comes out when a configuration is applied, as upstream's structured merge has it: the configuration laid over what is
//! there, without what its applier no longer says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::fields::{Element, FieldSet, Grain, below, grain, identity};
use super::super::schema::Schema;

/// Lays a configuration over the live object.
pub(super) fn merge(schema: &Schema, live: &Value, config: &Value) -> Value {
    let shaped = if config.is_null() { live } else { config };
    match (grain(schema, shaped), live, config) {
        // Nothing adds nothing to what is merged by its parts.
        (Grain::Keys, Value::Object(old), Value::Null) if !old.is_empty() => live.clone(),
        (Grain::Items(_), Value::Array(old), Value::Null) if !old.is_empty() => live.clone(),
        (Grain::Keys, Value::Object(old), Value::Object(new)) => {
            let mut merged = old.clone();
            for (key, item) in new {
                let value = match old.get(key) {
                    Some(was) => merge(below(schema, key), was, item),
                    None => item.clone(),
                };
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        (Grain::Items(items), Value::Array(old), Value::Array(new)) => {
            merge_items(schema, items, old, new).into()
        }
        _ => config.clone(),
    }
}

/// Lays an applied list over the one that is there. What both have comes in the order of the applied one. What is there
/// twice is not merged: the applied item takes the place of all.
fn merge_items(list: &Schema, items: &Schema, old: &[Value], new: &[Value]) -> Vec<Value> {
    let elements = |items: &[Value]| -> Vec<Option<Element>> {
        items.iter().map(|item| identity(list, item)).collect()
    };
    let (left, right) = (elements(old), elements(new));
    let mut lone: BTreeMap<&Element, Option<&Value>> = BTreeMap::new();
    for (element, item) in left.iter().zip(old) {
        if let Some(element) = element {
            let twice = lone.contains_key(element);
            lone.insert(element, (!twice).then_some(item));
        }
    }
    let applied: BTreeSet<&Element> = right.iter().flatten().collect();
    let mut shared = right.iter().flatten().filter(|one| lone.contains_key(one));
    let mut next = shared.next();
    let mut taken: BTreeSet<&Element> = BTreeSet::new();
    let mut merged = Vec::with_capacity(old.len().max(new.len()));
    let (mut at, mut to) = (0, 0);
    while at < left.len() || to < right.len() {
        let here = left.get(at).and_then(Option::as_ref);
        let ours = here.filter(|here| applied.contains(here));
        if at < left.len() {
            let wanted = right.get(to).and_then(Option::as_ref);
            match ours {
                None => {
                    merged.push(old[at].clone());
                    at += 1;
                    continue;
                }
                // Its turn comes later, in the order of what is applied.
                Some(ours)
                    if to < right.len()
                        && wanted != Some(ours)
                        && next.is_some_and(|next| next != ours) =>
                {
                    at += 1;
                    continue;
                }
                Some(ours) if wanted == Some(ours) || taken.contains(ours) => at += 1,
                Some(_) => {}
            }
        }
        let Some(item) = new.get(to) else {
            continue;
        };
        let element = right[to].as_ref();
        let was = element.and_then(|element| lone.get(element).copied().flatten());
        merged.push(match was {
            Some(was) => merge(items, was, item),
            None => item.clone(),
        });
        taken.extend(element);
        to += 1;
        if element.is_some() && (next == element || ours == element) {
            next = shared.next();
        }
    }
    merged
}

/// Takes away what its applier had and has no more: all that it had, then back what somebody has (`kept`), then back what
/// it had not itself.
pub(super) fn prune(schema: &Schema, merged: Value, had: &FieldSet, kept: &FieldSet) -> Value {
    if had.is_empty() {
        return merged;
    }
    let had = had.with_named(schema);
    let all = FieldSet::of(schema, &merged).with_named(schema);
    let left = |value: &Value| FieldSet::of(schema, value).with_named(schema);
    let mut unowned = all.clone();
    unowned.subtract(&left(&remove(schema, &merged, &had)));
    unowned.subtract(&kept.with_named(schema));
    let mut gone = all;
    gone.subtract(&left(&remove(schema, &merged, &unowned)));
    remove(schema, &merged, &gone.intersection(&had))
}

/// A value without what is in a set. Of what loses all that it holds nothing is left.
fn remove(schema: &Schema, value: &Value, set: &FieldSet) -> Value {
    let taken = |element: &Element| set.children.get(element);
    let rest = |schema: &Schema, item: &Value, below: Option<&FieldSet>| match below {
        Some(below) if below.member => None,
        Some(below) if !below.is_empty() => Some(remove(schema, item, below)),
        _ => Some(item.clone()),
    };
    match (grain(schema, value), value) {
        (Grain::Keys, Value::Object(map)) => {
            let left: Map<String, Value> = map
                .iter()
                .filter_map(|(key, item)| {
                    let there = taken(&Element::Field(key.clone()));
                    Some((key.clone(), rest(below(schema, key), item, there)?))
                })
                .collect();
            match left.is_empty() {
                true => Value::Null,
                false => left.into(),
            }
        }
        (Grain::Items(items), Value::Array(list)) => {
            let left: Vec<Value> = list
                .iter()
                .filter_map(|item| {
                    let element = identity(schema, item);
                    rest(items, item, element.as_ref().and_then(taken))
                })
                .collect();
            match left.is_empty() {
                true => Value::Null,
                false => left.into(),
            }
        }
        // What is owned as one has nothing below it.
        (_, Value::Object(_) | Value::Array(_)) => Value::Null,
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::reflect;
    use super::*;

    fn schema() -> std::sync::Arc<Schema> {
        reflect::of::<k8s_openapi::api::core::v1::Pod>()
    }

    /// A pod whose container has these variables, `NAME` or `NAME=VALUE`.
    fn pod(env: &str) -> Value {
        let items = env.split_whitespace().map(|one| match one.split_once('=') {
            Some((name, value)) => json!({"name": name, "value": value}),
            None => json!({"name": one}),
        });
        let env: Vec<Value> = items.collect();
        json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "env": env}]}})
    }

    #[test]
    fn an_applied_list_brings_its_order_and_takes_the_place_of_what_is_there_twice() {
        for (live, config, merged) in [
            ("A B C D E", "B A", "B C D E A"),
            ("A B", "C", "A B C"),
            ("A B C", "C X A", "B C X A"),
            ("A B C", "X B", "A X B C"),
            ("A=1 B A=2", "A=3", "A=3 B"),
            ("A=1 B A=2", "B", "A=1 B A=2"),
            ("A=1 A=2", "", "A=1 A=2"),
        ] {
            let result = merge(&schema(), &pod(live), &pod(config));
            assert_eq!(result, pod(merged), "{config} over {live}");
        }
    }

    #[test]
    fn what_its_applier_no_longer_says_goes_unless_somebody_has_it() {
        let schema = schema();
        let mut had = FieldSet::of(&schema, &pod("A=1 B=1"));
        had.children.remove(&Element::Field("metadata".into()));
        let kept = FieldSet::of(&schema, &pod("B=1"));
        let pruned = prune(&schema, pod("A=1 B=1 C=1"), &had, &kept);
        assert_eq!(pruned, pod("B=1 C=1"));
        let nobody = FieldSet::of(&schema, &json!({"metadata": {"name": "a"}}));
        let pruned = prune(&schema, pod("A=1 B=1"), &had, &nobody);
        assert_eq!(pruned, json!({"metadata": {"name": "a"}}));
    }
}
