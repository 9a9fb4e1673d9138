//! IAM: roles, policies and instance profiles.

use serde_json::{Value, json};

use super::super::super::Fault;
use super::{Cx, Handler, PLAIN, Properties, retagging};

pub(super) const TYPES: &[Handler] = &[
    Handler {
        kind: "AWS::IAM::Role",
        service: "Iam",
        attributes: &["Arn", "RoleId"],
        properties: &[
            "AssumeRolePolicyDocument",
            "Description",
            "ManagedPolicyArns",
            "MaxSessionDuration",
            "Path",
            "PermissionsBoundary",
            "Policies",
            "RoleName",
            "Tags",
        ],
        required: &["AssumeRolePolicyDocument"],
        fixed: &["Path", "RoleName"],
        creation: 18,
        create: |cx, properties| {
            let name = named(cx, properties, "RoleName");
            let mut input = properties.only(&[
                "Description",
                "MaxSessionDuration",
                "Path",
                "PermissionsBoundary",
                "Tags",
            ]);
            input.insert("RoleName".into(), json!(name));
            input.insert(
                "AssumeRolePolicyDocument".into(),
                document(&properties.0["AssumeRolePolicyDocument"]),
            );
            cx.call("iam", "CreateRole", Value::Object(input))?;
            cx.made(&name);
            for arn in properties.texts("ManagedPolicyArns") {
                cx.call(
                    "iam",
                    "AttachRolePolicy",
                    json!({"RoleName": name, "PolicyArn": arn}),
                )?;
            }
            for policy in properties.list("Policies") {
                put_inline(cx, &name, policy)?;
            }
            Ok(name)
        },
        read: |cx, name, _| {
            let role = cx.call("iam", "GetRole", json!({"RoleName": name}))?;
            Ok(json!({"Arn": role["Role"]["Arn"], "RoleId": role["Role"]["RoleId"]}))
        },
        update: |cx, name, old, new| {
            let changed = |member: &str| old.0.get(member) != new.0.get(member);
            if changed("AssumeRolePolicyDocument") {
                let input = json!({"RoleName": name, "PolicyDocument": document(&new.0["AssumeRolePolicyDocument"])});
                cx.call("iam", "UpdateAssumeRolePolicy", input)?;
            }
            if changed("Description") || changed("MaxSessionDuration") {
                let longest = new.text("MaxSessionDuration");
                let input = json!({
                    "RoleName": name,
                    "Description": new.or_empty("Description"),
                    "MaxSessionDuration": longest.unwrap_or_else(|| "3600".into()),
                });
                cx.call("iam", "UpdateRole", input)?;
            }
            match new.text("PermissionsBoundary") {
                Some(arn) if changed("PermissionsBoundary") => {
                    let input = json!({"RoleName": name, "PermissionsBoundary": arn});
                    cx.call("iam", "PutRolePermissionsBoundary", input)?;
                }
                None if changed("PermissionsBoundary") => {
                    let input = json!({"RoleName": name});
                    cx.call("iam", "DeleteRolePermissionsBoundary", input)?;
                }
                _ => {}
            }
            let (before, after) = (
                old.texts("ManagedPolicyArns"),
                new.texts("ManagedPolicyArns"),
            );
            for arn in after.iter().filter(|arn| !before.contains(arn)) {
                cx.call(
                    "iam",
                    "AttachRolePolicy",
                    json!({"RoleName": name, "PolicyArn": arn}),
                )?;
            }
            for arn in before.iter().filter(|arn| !after.contains(arn)) {
                absent_is_fine(cx.call(
                    "iam",
                    "DetachRolePolicy",
                    json!({"RoleName": name, "PolicyArn": arn}),
                ))?;
            }
            for policy in new
                .list("Policies")
                .iter()
                .filter(|policy| !old.list("Policies").contains(policy))
            {
                put_inline(cx, name, policy)?;
            }
            let kept: Vec<String> = new.list("Policies").iter().map(policy_name).collect();
            for policy in old
                .list("Policies")
                .iter()
                .map(policy_name)
                .filter(|policy| !kept.contains(policy))
            {
                absent_is_fine(cx.call(
                    "iam",
                    "DeleteRolePolicy",
                    json!({"RoleName": name, "PolicyName": policy}),
                ))?;
            }
            let (set, removed) = retagging(old, new);
            if !removed.is_empty() {
                cx.call(
                    "iam",
                    "UntagRole",
                    json!({"RoleName": name, "TagKeys": removed}),
                )?;
            }
            if !set.is_empty() {
                let tags: Vec<Value> = set
                    .iter()
                    .map(|(key, value)| json!({"Key": key, "Value": value}))
                    .collect();
                cx.call("iam", "TagRole", json!({"RoleName": name, "Tags": tags}))?;
            }
            Ok(())
        },
        delete: |cx, name, properties| {
            for arn in properties.texts("ManagedPolicyArns") {
                absent_is_fine(cx.call(
                    "iam",
                    "DetachRolePolicy",
                    json!({"RoleName": name, "PolicyArn": arn}),
                ))?;
            }
            for policy in properties.list("Policies") {
                let input = json!({"RoleName": name, "PolicyName": policy_name(policy)});
                absent_is_fine(cx.call("iam", "DeleteRolePolicy", input))?;
            }
            cx.call("iam", "DeleteRole", json!({"RoleName": name}))
                .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::IAM::Policy",
        service: "Iam",
        attributes: &["Id"],
        properties: &["Groups", "PolicyDocument", "PolicyName", "Roles", "Users"],
        required: &["PolicyDocument", "PolicyName"],
        fixed: &["PolicyName"],
        creation: 16,
        create: |cx, properties| {
            let id = cx.generated.clone();
            cx.made(&id);
            for role in properties.texts("Roles") {
                put_inline_on(cx, &role, properties)?;
            }
            Ok(id)
        },
        read: |_, id, _| Ok(json!({"Id": id})),
        update: |cx, _, old, new| {
            let (before, after) = (old.texts("Roles"), new.texts("Roles"));
            for role in &after {
                put_inline_on(cx, role, new)?;
            }
            for role in before.iter().filter(|role| !after.contains(role)) {
                drop_inline_from(cx, role, old)?;
            }
            Ok(())
        },
        delete: |cx, _, properties| {
            for role in properties.texts("Roles") {
                drop_inline_from(cx, &role, properties)?;
            }
            Ok(())
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::IAM::ManagedPolicy",
        service: "Iam",
        attributes: &["PolicyArn", "PolicyId"],
        properties: &[
            "Description",
            "Groups",
            "ManagedPolicyName",
            "Path",
            "PolicyDocument",
            "Roles",
            "Tags",
            "Users",
        ],
        required: &["PolicyDocument"],
        fixed: &["Description", "ManagedPolicyName", "Path"],
        creation: 16,
        create: |cx, properties| {
            let name = named(cx, properties, "ManagedPolicyName");
            let mut input = properties.only(&["Description", "Path", "Tags"]);
            input.insert("PolicyName".into(), json!(name));
            input.insert(
                "PolicyDocument".into(),
                document(&properties.0["PolicyDocument"]),
            );
            let made = cx.call("iam", "CreatePolicy", Value::Object(input))?;
            let arn = made["Policy"]["Arn"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            cx.made(&arn);
            for role in properties.texts("Roles") {
                cx.call(
                    "iam",
                    "AttachRolePolicy",
                    json!({"RoleName": role, "PolicyArn": arn}),
                )?;
            }
            Ok(arn)
        },
        read: |cx, arn, _| {
            let policy = cx.call("iam", "GetPolicy", json!({"PolicyArn": arn}))?;
            Ok(json!({"PolicyArn": arn, "PolicyId": policy["Policy"]["PolicyId"]}))
        },
        update: |cx, arn, old, new| {
            if old.0.get("PolicyDocument") != new.0.get("PolicyDocument") {
                let input = json!({"PolicyArn": arn, "PolicyDocument": document(&new.0["PolicyDocument"]),
                    "SetAsDefault": true});
                cx.call("iam", "CreatePolicyVersion", input)?;
            }
            let (before, after) = (old.texts("Roles"), new.texts("Roles"));
            for role in after.iter().filter(|role| !before.contains(role)) {
                cx.call(
                    "iam",
                    "AttachRolePolicy",
                    json!({"RoleName": role, "PolicyArn": arn}),
                )?;
            }
            for role in before.iter().filter(|role| !after.contains(role)) {
                absent_is_fine(cx.call(
                    "iam",
                    "DetachRolePolicy",
                    json!({"RoleName": role, "PolicyArn": arn}),
                ))?;
            }
            Ok(())
        },
        delete: |cx, arn, properties| {
            for role in properties.texts("Roles") {
                absent_is_fine(cx.call(
                    "iam",
                    "DetachRolePolicy",
                    json!({"RoleName": role, "PolicyArn": arn}),
                ))?;
            }
            let versions = cx.call("iam", "ListPolicyVersions", json!({"PolicyArn": arn}))?;
            for version in versions["Versions"].as_array().into_iter().flatten() {
                if version["IsDefaultVersion"] != true && version["IsDefaultVersion"] != "true" {
                    let input = json!({"PolicyArn": arn, "VersionId": version["VersionId"]});
                    absent_is_fine(cx.call("iam", "DeletePolicyVersion", input))?;
                }
            }
            cx.call("iam", "DeletePolicy", json!({"PolicyArn": arn}))
                .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::IAM::InstanceProfile",
        service: "Iam",
        attributes: &["Arn"],
        properties: &["InstanceProfileName", "Path", "Roles"],
        required: &["Roles"],
        fixed: &["InstanceProfileName", "Path"],
        creation: 60,
        create: |cx, properties| {
            let name = named(cx, properties, "InstanceProfileName");
            let mut input = properties.only(&["Path"]);
            input.insert("InstanceProfileName".into(), json!(name));
            cx.call("iam", "CreateInstanceProfile", Value::Object(input))?;
            cx.made(&name);
            for role in properties.texts("Roles") {
                add_to_profile(cx, &name, &role)?;
            }
            Ok(name)
        },
        read: |cx, name, _| {
            let profile = cx.call(
                "iam",
                "GetInstanceProfile",
                json!({"InstanceProfileName": name}),
            )?;
            Ok(json!({"Arn": profile["InstanceProfile"]["Arn"]}))
        },
        update: |cx, name, old, new| {
            let (before, after) = (old.texts("Roles"), new.texts("Roles"));
            for role in before.iter().filter(|role| !after.contains(role)) {
                remove_from_profile(cx, name, role)?;
            }
            for role in after.iter().filter(|role| !before.contains(role)) {
                add_to_profile(cx, name, role)?;
            }
            Ok(())
        },
        delete: |cx, name, properties| {
            for role in properties.texts("Roles") {
                remove_from_profile(cx, name, &role)?;
            }
            cx.call(
                "iam",
                "DeleteInstanceProfile",
                json!({"InstanceProfileName": name}),
            )
            .map(drop)
        },
        ..PLAIN
    },
];

fn named(cx: &Cx<'_>, properties: Properties<'_>, property: &str) -> String {
    properties
        .text(property)
        .unwrap_or_else(|| cx.generated.clone())
}

/// A policy document as the JSON text that IAM takes.
fn document(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(text),
        other => json!(other.to_string()),
    }
}

fn policy_name(policy: &Value) -> String {
    Properties(policy).or_empty("PolicyName")
}

fn put_inline(cx: &mut Cx<'_>, role: &str, policy: &Value) -> Result<(), Fault> {
    let input = json!({"RoleName": role, "PolicyName": policy_name(policy),
        "PolicyDocument": document(&policy["PolicyDocument"])});
    cx.call("iam", "PutRolePolicy", input).map(drop)
}

fn put_inline_on(cx: &mut Cx<'_>, role: &str, properties: Properties<'_>) -> Result<(), Fault> {
    put_inline(cx, role, properties.0)
}

fn drop_inline_from(cx: &mut Cx<'_>, role: &str, properties: Properties<'_>) -> Result<(), Fault> {
    let input = json!({"RoleName": role, "PolicyName": policy_name(properties.0)});
    absent_is_fine(cx.call("iam", "DeleteRolePolicy", input))
}

fn add_to_profile(cx: &mut Cx<'_>, profile: &str, role: &str) -> Result<(), Fault> {
    let input = json!({"InstanceProfileName": profile, "RoleName": role});
    cx.call("iam", "AddRoleToInstanceProfile", input).map(drop)
}

fn remove_from_profile(cx: &mut Cx<'_>, profile: &str, role: &str) -> Result<(), Fault> {
    let input = json!({"InstanceProfileName": profile, "RoleName": role});
    absent_is_fine(cx.call("iam", "RemoveRoleFromInstanceProfile", input))
}

fn absent_is_fine(answer: Result<Value, Fault>) -> Result<(), Fault> {
    match answer {
        Err(fault) if fault.code == "NoSuchEntity" => Ok(()),
        other => other.map(drop),
    }
}
