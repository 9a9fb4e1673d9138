//! Arbitrary bytes for whatever reads them: nothing panics, overflows or hangs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::request::Info;
use super::super::validation::key_errors;
use super::super::{gojson, patch, protobuf, resources};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z$/~]{0,6}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "data",
        "containers",
        "name",
        "ports",
        "$patch",
        "$setElementOrder/ports",
        "a",
        "$retainKeys",
        "$deleteFromPrimitiveList/finalizers",
        "finalizers",
        "ownerReferences",
        "uid",
    ]);
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5).prop_map(|members| {
                let members = members.into_iter();
                Value::Object(
                    members
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

#[test]
fn a_long_label_key_may_begin_with_a_character_of_several_bytes() {
    let errors = key_errors(&"¢".repeat(40));
    assert!(
        errors.contains(&"name part must be no more than 63 bytes".to_owned()),
        "{errors:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn paths_and_queries_are_taken_apart(path in "[/a-z%.0-9\\PC]{0,60}", query in "[&=%+a-z0-9\\PC]{0,60}") {
        for method in [hyper::Method::GET, hyper::Method::POST, hyper::Method::PATCH] {
            let _ = Info::new(&method, &path, &query);
            let _ = Info::new(&method, &format!("/apis/apps/v1{path}"), &query);
        }
    }

    #[test]
    fn what_go_calls_json_is_json(text in prop_oneof!["\\PC{0,60}", "[\\[\\]{}:,\"a0-9 .eE+\\\\-]{0,60}"]) {
        if serde_json::from_str::<Value>(&text).is_ok() {
            prop_assert_eq!(gojson::error(text.as_bytes()), None);
        }
    }

    #[test]
    fn patches_are_applied_or_refused(object in value(), change in value(), operations in prop::collection::vec(
        (prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test"]), "(/[a-z0-9~-]{0,8}){0,4}", "(/[a-z0-9]{0,8}){0,3}", value()),
        0..6,
    )) {
        let mut changed = object.clone();
        patch::merge(&mut changed, &change);
        let schema = resources::builtin_schema("v1", "Pod").expect("pods are known");
        let mut changed = object.clone();
        let _ = patch::strategic(&schema, &mut changed, &mut change.clone());
        let operations: Value = operations
            .into_iter()
            .map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
            .collect();
        let mut changed = object.clone();
        let _ = patch::json(&mut changed, &operations);
        let _ = patch::json(&mut changed, &change);
    }

    #[test]
    fn protobuf_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = protobuf::decode(&bytes, resources::builtin_schema);
        let _ = protobuf::decode(&[b"k8s\0", &bytes[..]].concat(), resources::builtin_schema);
        let known = [b"k8s\0\n\x0f\n\x02v1\x12\tNamespace\x12".as_slice(), &[bytes.len() as u8 & 0x7f], &bytes].concat();
        let _ = protobuf::decode(&known, resources::builtin_schema);
    }
}
