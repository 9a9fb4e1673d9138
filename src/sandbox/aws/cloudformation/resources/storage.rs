//! Log groups and image repositories.

use serde_json::{Map, Value, json};

use super::super::super::Fault;
use super::{Cx, Handler, PLAIN, Properties, pairs};

pub(super) const TYPES: &[Handler] = &[
    Handler {
        kind: "AWS::Logs::LogGroup",
        service: "CloudWatchLogs",
        attributes: &["Arn"],
        properties: &[
            "KmsKeyId",
            "LogGroupClass",
            "LogGroupName",
            "RetentionInDays",
            "Tags",
        ],
        fixed: &["LogGroupName"],
        create: |cx, properties| {
            let name = properties
                .text("LogGroupName")
                .unwrap_or_else(|| cx.generated.clone());
            let tags: Map<String, Value> = pairs(properties.list("Tags"))
                .into_iter()
                .map(|(key, value)| (key, json!(value)))
                .collect();
            let mut input = json!({"logGroupName": name});
            if !tags.is_empty() {
                input["tags"] = Value::Object(tags);
            }
            cx.call("logs", "CreateLogGroup", input)?;
            cx.made(&name);
            retain(cx, &name, properties)?;
            Ok(name)
        },
        read: |cx, name, _| {
            let arn = format!(
                "arn:aws:logs:{}:{}:log-group:{name}:*",
                cx.region, cx.world.account
            );
            Ok(json!({ "Arn": arn }))
        },
        update: |cx, name, _, new| retain(cx, name, new),
        delete: |cx, name, _| {
            cx.call("logs", "DeleteLogGroup", json!({"logGroupName": name}))
                .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::ECR::Repository",
        service: "Ecr",
        attributes: &["Arn", "RepositoryUri"],
        properties: &[
            "EmptyOnDelete",
            "EncryptionConfiguration",
            "ImageScanningConfiguration",
            "ImageTagMutability",
            "LifecyclePolicy",
            "RepositoryName",
            "RepositoryPolicyText",
            "Tags",
        ],
        fixed: &["EncryptionConfiguration", "RepositoryName"],
        create: |cx, properties| {
            let name = properties
                .text("RepositoryName")
                .unwrap_or_else(|| cx.generated.to_lowercase());
            let mut input = json!({"repositoryName": name});
            if let Some(mutability) = properties.text("ImageTagMutability") {
                input["imageTagMutability"] = json!(mutability);
            }
            if let Some(scanning) = properties.0.get("ImageScanningConfiguration") {
                input["imageScanningConfiguration"] = json!({"scanOnPush": Properties(scanning).text("ScanOnPush").as_deref() == Some("true")});
            }
            if let Some(encryption) = properties.0.get("EncryptionConfiguration") {
                input["encryptionConfiguration"] =
                    json!({"encryptionType": Properties(encryption).text("EncryptionType")});
            }
            if !properties.list("Tags").is_empty() {
                input["tags"] = json!(properties.list("Tags"));
            }
            cx.call("ecr", "CreateRepository", input)?;
            cx.made(&name);
            expire(cx, &name, properties)?;
            Ok(name)
        },
        read: |cx, name, _| {
            let found = cx.call(
                "ecr",
                "DescribeRepositories",
                json!({"repositoryNames": [name]}),
            )?;
            let repository = &found["repositories"][0];
            Ok(
                json!({"Arn": repository["repositoryArn"], "RepositoryUri": repository["repositoryUri"]}),
            )
        },
        update: |cx, name, old, new| {
            if old.0.get("ImageTagMutability") != new.0.get("ImageTagMutability") {
                let mutability = new
                    .text("ImageTagMutability")
                    .unwrap_or_else(|| "MUTABLE".into());
                let input = json!({"repositoryName": name, "imageTagMutability": mutability});
                cx.call("ecr", "PutImageTagMutability", input)?;
            }
            expire(cx, name, new)
        },
        delete: |cx, name, properties| {
            let force = properties.text("EmptyOnDelete").as_deref() == Some("true");
            cx.call(
                "ecr",
                "DeleteRepository",
                json!({"repositoryName": name, "force": force}),
            )
            .map(drop)
        },
        ..PLAIN
    },
];

fn retain(cx: &mut Cx<'_>, name: &str, properties: Properties<'_>) -> Result<(), Fault> {
    let days = properties
        .text("RetentionInDays")
        .and_then(|days| days.parse::<u64>().ok());
    if let Some(days) = days {
        cx.call(
            "logs",
            "PutRetentionPolicy",
            json!({"logGroupName": name, "retentionInDays": days}),
        )?;
    }
    Ok(())
}

fn expire(cx: &mut Cx<'_>, name: &str, properties: Properties<'_>) -> Result<(), Fault> {
    let policy = properties
        .0
        .get("LifecyclePolicy")
        .and_then(|policy| Properties(policy).text("LifecyclePolicyText"));
    if let Some(policy) = policy {
        cx.call(
            "ecr",
            "PutLifecyclePolicy",
            json!({"repositoryName": name, "lifecyclePolicyText": policy}),
        )?;
    }
    Ok(())
}
