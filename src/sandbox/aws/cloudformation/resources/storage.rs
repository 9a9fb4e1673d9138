//! Log groups and image repositories.

use serde_json::{Value, json};

use super::super::super::Fault;
use super::{Cx, Handler, PLAIN, Properties, pairs, retagging};

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
            let mut input = json!({"logGroupName": name});
            let tags = pairs(properties.list("Tags"));
            if !tags.is_empty() {
                input["tags"] = map(tags);
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
        update: |cx, name, old, new| {
            if new.text("RetentionInDays").is_some() {
                retain(cx, name, new)?;
            } else if old.text("RetentionInDays").is_some() {
                let input = json!({"logGroupName": name});
                cx.call("logs", "DeleteRetentionPolicy", input)?;
            }
            retag(cx, "logs", &format!("log-group:{name}"), old, new, map)
        },
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
            input["imageScanningConfiguration"] = scanning(properties);
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
            permit(cx, &name, properties)?;
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
            if scanning(old) != scanning(new) {
                let input =
                    json!({"repositoryName": name, "imageScanningConfiguration": scanning(new)});
                cx.call("ecr", "PutImageScanningConfiguration", input)?;
            }
            for (property, deletion) in [
                ("LifecyclePolicy", "DeleteLifecyclePolicy"),
                ("RepositoryPolicyText", "DeleteRepositoryPolicy"),
            ] {
                if old.0.get(property).is_some() && new.0.get(property).is_none() {
                    cx.call("ecr", deletion, json!({"repositoryName": name}))?;
                }
            }
            expire(cx, name, new)?;
            permit(cx, name, new)?;
            let list = |tags: Tags| {
                let tags = tags.iter();
                tags.map(|(key, value)| json!({"Key": key, "Value": value}))
                    .collect()
            };
            retag(cx, "ecr", &format!("repository/{name}"), old, new, list)
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

/// Tags as CloudFormation has them, by key.
type Tags = Vec<(String, String)>;

/// Tags as a JSON object.
fn map(tags: Tags) -> Value {
    tags.into_iter()
        .map(|(key, value)| (key, json!(value)))
        .collect()
}

/// Makes the tags of `resource`, the end of its ARN, those of the new properties; `form` is how the service wants them.
fn retag(
    cx: &mut Cx<'_>,
    service: &str,
    resource: &str,
    old: Properties<'_>,
    new: Properties<'_>,
    form: impl FnOnce(Tags) -> Value,
) -> Result<(), Fault> {
    let arn = format!(
        "arn:aws:{service}:{}:{}:{resource}",
        cx.region, cx.world.account
    );
    let (set, removed) = retagging(old, new);
    if !removed.is_empty() {
        let input = json!({"resourceArn": arn, "tagKeys": removed});
        cx.call(service, "UntagResource", input)?;
    }
    if !set.is_empty() {
        let input = json!({"resourceArn": arn, "tags": form(set)});
        cx.call(service, "TagResource", input)?;
    }
    Ok(())
}

/// `ImageScanningConfiguration` as ECR names it.
fn scanning(properties: Properties<'_>) -> Value {
    let on = properties
        .0
        .get("ImageScanningConfiguration")
        .and_then(|scanning| Properties(scanning).text("ScanOnPush"));
    json!({"scanOnPush": on.as_deref() == Some("true")})
}

fn permit(cx: &mut Cx<'_>, name: &str, properties: Properties<'_>) -> Result<(), Fault> {
    let Some(policy) = properties.0.get("RepositoryPolicyText") else {
        return Ok(());
    };
    let text = policy
        .as_str()
        .map_or_else(|| policy.to_string(), str::to_owned);
    let input = json!({"repositoryName": name, "policyText": text});
    cx.call("ecr", "SetRepositoryPolicy", input).map(drop)
}

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
