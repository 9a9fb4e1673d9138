//! Launch templates.

use serde_json::{Map, Value, json};

use super::{Handler, PLAIN, Properties, first};

pub(super) const TYPES: &[Handler] = &[Handler {
    kind: "AWS::EC2::LaunchTemplate",
    service: "Ec2",
    attributes: &[
        "DefaultVersionNumber",
        "LatestVersionNumber",
        "LaunchTemplateId",
    ],
    properties: &[
        "LaunchTemplateData",
        "LaunchTemplateName",
        "TagSpecifications",
        "VersionDescription",
    ],
    required: &["LaunchTemplateData"],
    fixed: &["LaunchTemplateName", "TagSpecifications"],
    creation: 5,
    create: |cx, properties| {
        let name = properties
            .text("LaunchTemplateName")
            .unwrap_or_else(|| cx.generated.clone());
        let mut input = request(properties);
        input.insert("LaunchTemplateName".into(), json!(name));
        let made = cx.call("ec2", "CreateLaunchTemplate", Value::Object(input))?;
        Ok(made["launchTemplate"]["launchTemplateId"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    },
    read: |cx, id, _| {
        let found = cx.call(
            "ec2",
            "DescribeLaunchTemplates",
            json!({"LaunchTemplateId": [id]}),
        )?;
        let template = first(&found, "launchTemplates");
        Ok(json!({
            "LaunchTemplateId": id,
            "DefaultVersionNumber": template["defaultVersionNumber"].to_string(),
            "LatestVersionNumber": template["latestVersionNumber"].to_string(),
        }))
    },
    update: |cx, id, _, new| {
        let mut input = request(new);
        input.remove("TagSpecification");
        input.insert("LaunchTemplateId".into(), json!(id));
        cx.call("ec2", "CreateLaunchTemplateVersion", Value::Object(input))
            .map(drop)
    },
    delete: |cx, id, _| {
        cx.call(
            "ec2",
            "DeleteLaunchTemplate",
            json!({"LaunchTemplateId": id}),
        )
        .map(drop)
    },
    ..PLAIN
}];

fn request(properties: Properties<'_>) -> Map<String, Value> {
    match on_the_wire(&Value::Object(properties.only(&[
        "LaunchTemplateData",
        "VersionDescription",
        "TagSpecifications",
    ]))) {
        Value::Object(request) => request,
        _ => Map::new(),
    }
}

/// Templates write lists in the plural, EC2's requests in the singular.
fn on_the_wire(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, member)| {
                    let name = match name.as_str() {
                        "BlockDeviceMappings" => "BlockDeviceMapping",
                        "ElasticGpuSpecifications" => "ElasticGpuSpecification",
                        "ElasticInferenceAccelerators" => "ElasticInferenceAccelerator",
                        "Groups" => "SecurityGroupId",
                        "Ipv4Prefixes" => "Ipv4Prefix",
                        "Ipv6Prefixes" => "Ipv6Prefix",
                        "LicenseSpecifications" => "LicenseSpecification",
                        "NetworkInterfaces" => "NetworkInterface",
                        "SecurityGroupIds" => "SecurityGroupId",
                        "SecurityGroups" => "SecurityGroup",
                        "TagSpecifications" => "TagSpecification",
                        "Tags" => "Tag",
                        other => other,
                    };
                    (name.to_owned(), on_the_wire(member))
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(on_the_wire).collect(),
        other => other.clone(),
    }
}
