//! Security groups and their rules.

use serde_json::{Value, json};

use super::super::super::Fault;
use super::network::{retag, tag_on_creation, text};
use super::{Cx, Handler, PLAIN, Properties, first};

pub(super) const TYPES: &[Handler] = &[
    Handler {
        kind: "AWS::EC2::SecurityGroup",
        service: "Ec2",
        attributes: &["GroupId", "Id", "VpcId"],
        properties: &[
            "GroupDescription",
            "GroupName",
            "SecurityGroupEgress",
            "SecurityGroupIngress",
            "Tags",
            "VpcId",
        ],
        required: &["GroupDescription"],
        fixed: &["GroupDescription", "GroupName", "VpcId"],
        creation: 5,
        create: |cx, properties| {
            let mut input = properties.only(&["GroupDescription", "VpcId"]);
            let name = properties
                .text("GroupName")
                .unwrap_or_else(|| cx.generated.clone());
            input.insert("GroupName".into(), json!(name));
            tag_on_creation(&mut input, "security-group", properties);
            let made = cx.call("ec2", "CreateSecurityGroup", Value::Object(input))?;
            let id = text(&made["groupId"]);
            cx.made(&id);
            let out = properties.list("SecurityGroupEgress");
            if !out.is_empty() {
                let all = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
                cx.call(
                    "ec2",
                    "RevokeSecurityGroupEgress",
                    json!({"GroupId": id, "IpPermissions": all}),
                )?;
            }
            rules(cx, &id, "AuthorizeSecurityGroupEgress", out)?;
            rules(
                cx,
                &id,
                "AuthorizeSecurityGroupIngress",
                properties.list("SecurityGroupIngress"),
            )?;
            Ok(id)
        },
        read: |_, id, properties| {
            Ok(json!({"GroupId": id, "Id": id, "VpcId": properties.text("VpcId")}))
        },
        update: |cx, id, old, new| {
            for direction in ["Ingress", "Egress"] {
                let name = format!("SecurityGroup{direction}");
                let (before, after) = (old.list(&name), new.list(&name));
                let without = |list: &[Value], other: &[Value]| -> Vec<Value> {
                    list.iter()
                        .filter(|rule| !other.contains(rule))
                        .cloned()
                        .collect()
                };
                rules(
                    cx,
                    id,
                    &format!("RevokeSecurityGroup{direction}"),
                    &without(before, after),
                )?;
                rules(
                    cx,
                    id,
                    &format!("AuthorizeSecurityGroup{direction}"),
                    &without(after, before),
                )?;
            }
            retag(cx, id, old, new)
        },
        delete: |cx, id, _| {
            cx.call("ec2", "DeleteSecurityGroup", json!({"GroupId": id}))
                .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::SecurityGroupIngress",
        create: |cx, properties| rule(cx, "AuthorizeSecurityGroupIngress", properties),
        delete: |cx, id, properties| unrule(cx, "RevokeSecurityGroupIngress", id, properties),
        ..RULE
    },
    Handler {
        kind: "AWS::EC2::SecurityGroupEgress",
        create: |cx, properties| rule(cx, "AuthorizeSecurityGroupEgress", properties),
        delete: |cx, id, properties| unrule(cx, "RevokeSecurityGroupEgress", id, properties),
        ..RULE
    },
];

const RULE: Handler = Handler {
    service: "Ec2",
    attributes: &["Id"],
    properties: RULE_PROPERTIES,
    required: &["IpProtocol"],
    fixed: RULE_PROPERTIES,
    read: |_, id, _| Ok(json!({"Id": id})),
    ..PLAIN
};

const RULE_PROPERTIES: &[&str] = &[
    "CidrIp",
    "CidrIpv6",
    "Description",
    "DestinationPrefixListId",
    "DestinationSecurityGroupId",
    "FromPort",
    "GroupId",
    "GroupName",
    "IpProtocol",
    "SourcePrefixListId",
    "SourceSecurityGroupId",
    "SourceSecurityGroupName",
    "ToPort",
];

/// A rule of a template as `IpPermissions` of a request.
fn permission(rule: Properties<'_>) -> Value {
    let note = rule.text("Description");
    let mut permission = rule.only(&["IpProtocol", "FromPort", "ToPort"]);
    let mut add = |list: &str, name: &str, value: Option<String>| {
        if let Some(value) = value {
            let mut entry = json!({ name: value });
            if let Some(note) = &note {
                entry["Description"] = json!(note);
            }
            permission.insert(list.to_owned(), json!([entry]));
        }
    };
    add("IpRanges", "CidrIp", rule.text("CidrIp"));
    add("Ipv6Ranges", "CidrIpv6", rule.text("CidrIpv6"));
    let group = rule
        .text("SourceSecurityGroupId")
        .or_else(|| rule.text("DestinationSecurityGroupId"));
    add("Groups", "GroupId", group);
    add("Groups", "GroupName", rule.text("SourceSecurityGroupName"));
    let list = rule
        .text("SourcePrefixListId")
        .or_else(|| rule.text("DestinationPrefixListId"));
    add("PrefixListIds", "PrefixListId", list);
    Value::Object(permission)
}

fn rules(cx: &mut Cx<'_>, group: &str, operation: &str, rules: &[Value]) -> Result<(), Fault> {
    if rules.is_empty() {
        return Ok(());
    }
    let permissions: Vec<Value> = rules
        .iter()
        .map(|rule| permission(Properties(rule)))
        .collect();
    cx.call(
        "ec2",
        operation,
        json!({"GroupId": group, "IpPermissions": permissions}),
    )
    .map(drop)
}

fn rule(cx: &mut Cx<'_>, operation: &str, properties: Properties<'_>) -> Result<String, Fault> {
    let made = cx.call(
        "ec2",
        operation,
        json!({"GroupId": properties.or_empty("GroupId"), "IpPermissions": [permission(properties)]}),
    )?;
    Ok(text(
        &first(&made, "securityGroupRuleSet")["securityGroupRuleId"],
    ))
}

fn unrule(
    cx: &mut Cx<'_>,
    operation: &str,
    id: &str,
    properties: Properties<'_>,
) -> Result<(), Fault> {
    let input = json!({"GroupId": properties.or_empty("GroupId"), "SecurityGroupRuleId": [id]});
    match cx.call("ec2", operation, input) {
        Err(fault) if fault.code == "InvalidGroup.NotFound" => Ok(()),
        other => other.map(drop),
    }
}
