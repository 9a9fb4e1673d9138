//! Launch templates and their versions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::input::{Input, Listing, fault, lower_first, page};
use super::{Ec2, Fault, moment};
use crate::sandbox::clock::Millis;

/// A launch template.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// `lt-…`.
    pub id: String,
    /// Its name, unique in the region.
    pub name: String,
    /// The version that is used where none is named.
    pub default_version: u64,
    /// The highest number given so far; numbers of deleted versions are not given again.
    pub latest_version: u64,
    /// Its versions.
    pub versions: Vec<TemplateVersion>,
    created_at: Millis,
    created_by: String,
}

/// A version of a launch template.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TemplateVersion {
    /// From 1.
    pub number: u64,
    /// What it is for.
    pub description: Option<String>,
    /// Its data under the names of EC2's answers: `blockDeviceMappingSet`, `metadataOptions`, …
    pub data: Value,
    created_at: Millis,
}

/// What launch template data may hold (`RequestLaunchTemplateData`).
const MEMBERS: &[&str] = &[
    "BlockDeviceMapping",
    "CapacityReservationSpecification",
    "CpuOptions",
    "CreditSpecification",
    "DisableApiStop",
    "DisableApiTermination",
    "EbsOptimized",
    "ElasticGpuSpecification",
    "ElasticInferenceAccelerator",
    "EnclaveOptions",
    "HibernationOptions",
    "IamInstanceProfile",
    "ImageId",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions",
    "InstanceRequirements",
    "InstanceType",
    "KernelId",
    "KeyName",
    "LicenseSpecification",
    "MaintenanceOptions",
    "MetadataOptions",
    "Monitoring",
    "NetworkInterface",
    "NetworkPerformanceOptions",
    "Operator",
    "Placement",
    "PrivateDnsNameOptions",
    "RamDiskId",
    "SecondaryInterface",
    "SecurityGroup",
    "SecurityGroupId",
    "TagSpecification",
    "UserData",
];

/// From the names of requests to those of answers: `BlockDeviceMapping: […]` → `blockDeviceMappingSet: […]`.
fn answered(value: &Value, inside_interface: bool) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| {
                    let name = match (name.as_str(), value.is_array()) {
                        ("LicenseSpecification", true) => "licenseSet".to_owned(),
                        ("SecurityGroupId", true) if inside_interface => "groupSet".to_owned(),
                        (_, true) => format!("{}Set", lower_first(name)),
                        _ => lower_first(name),
                    };
                    let interface = name == "networkInterfaceSet";
                    (name, answered(value, interface))
                })
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items
            .iter()
            .map(|item| answered(item, inside_interface))
            .collect(),
        other => other.clone(),
    }
}

fn data(input: Input<'_>) -> Result<Value, Fault> {
    let data = match input.0.get("LaunchTemplateData") {
        Some(Value::Object(members)) if !members.is_empty() => members,
        _ => {
            return Err(fault(
                "MissingParameter",
                "The request must contain the parameter LaunchTemplateData",
            ));
        }
    };
    if let Some(name) = data.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(fault(
            "UnknownParameter",
            format!("The parameter LaunchTemplateData.{name} is not recognized"),
        ));
    }
    let options = &data.get("MetadataOptions").cloned().unwrap_or_default();
    let options = Input(options);
    if let Some(hops) = options.number("HttpPutResponseHopLimit")?
        && !(1..=64).contains(&hops)
    {
        return Err(super::input::invalid(format!(
            "Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. Expecting a value between 1 and 64."
        )));
    }
    Ok(answered(&Value::Object(data.clone()), false))
}

/// A version by its number, `$Latest` or `$Default`.
pub(super) fn find_version<'a>(
    template: &'a LaunchTemplate,
    version: &str,
) -> Result<&'a TemplateVersion, Fault> {
    let number = match version {
        "$Latest" => template.latest_version,
        "$Default" => template.default_version,
        text => text.parse().map_err(|_| {
            fault(
                "InvalidLaunchTemplateVersion.Malformed",
                format!("Invalid launch template version: either '$Default', '$Latest', or a numeric version are allowed, not '{text}'."),
            )
        })?,
    };
    template
        .versions
        .iter()
        .find(|version| version.number == number)
        .ok_or_else(|| {
            fault(
                "InvalidLaunchTemplateId.VersionNotFound",
                format!(
                    "Could not find the specified version {number} for the launch template with ID {}.",
                    template.id
                ),
            )
        })
}

impl Ec2<'_> {
    /// Looks a launch template up by id or name.
    ///
    /// # Errors
    /// It doesn't exist.
    pub fn launch_template(
        &self,
        id: Option<&str>,
        name: Option<&str>,
    ) -> Result<&LaunchTemplate, Fault> {
        match (id, name) {
            (Some(id), None) => self
                .region
                .launch_templates
                .get(id)
                .ok_or_else(|| unknown_id(id)),
            (None, Some(name)) => self
                .region
                .launch_templates
                .values()
                .find(|template| template.name == name)
                .ok_or_else(|| unknown_name(name)),
            _ => Err(fault(
                "InvalidParameterCombination",
                "The request must contain either a launch template ID or a launch template name, but not both.",
            )),
        }
    }

    /// A version of a launch template; `$Latest` and `$Default` too.
    ///
    /// # Errors
    /// The template or the version doesn't exist.
    pub fn launch_template_version(
        &self,
        id: Option<&str>,
        name: Option<&str>,
        version: &str,
    ) -> Result<(&LaunchTemplate, &TemplateVersion), Fault> {
        let template = self.launch_template(id, name)?;
        Ok((template, find_version(template, version)?))
    }

    fn template_of(&self, input: Input<'_>) -> Result<String, Fault> {
        self.launch_template(
            input.text("LaunchTemplateId").as_deref(),
            input.text("LaunchTemplateName").as_deref(),
        )
        .map(|template| template.id.clone())
    }

    pub(super) fn create_launch_template(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let token = input.text("ClientToken");
        if let Some(id) = self.made_before("CreateLaunchTemplate", token.as_deref())
            && let Some(template) = self.region.launch_templates.get(&id)
        {
            return Ok(json!({ "launchTemplate": self.render_launch_template(template) }));
        }
        let name = input.required("LaunchTemplateName")?;
        let legal = (3..=128).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "().-/_".contains(c));
        if !legal {
            return Err(fault(
                "InvalidLaunchTemplateName.MalformedException",
                "The launch template name must be between 3 and 128 characters and may contain letters, numbers, and \
                 the following characters: ( ) . / _ -",
            ));
        }
        let data = data(input)?;
        let tags = self.tags_of_request(input, "launch-template")?;
        if self.launch_template(None, Some(&name)).is_ok() {
            return Err(fault(
                "InvalidLaunchTemplateName.AlreadyExistsException",
                "Launch template name already in use.",
            ));
        }
        let id = self.fresh("lt");
        let now = self.now();
        let template = LaunchTemplate {
            id: id.clone(),
            name,
            default_version: 1,
            latest_version: 1,
            versions: vec![TemplateVersion {
                number: 1,
                description: input.text("VersionDescription"),
                data,
                created_at: now,
            }],
            created_at: now,
            created_by: format!("arn:aws:iam::{}:root", self.account),
        };
        self.remember("CreateLaunchTemplate", token.as_deref(), &id);
        self.set_tags(&id, tags);
        let rendered = self.render_launch_template(&template);
        self.region.launch_templates.insert(id, template);
        Ok(json!({ "launchTemplate": rendered }))
    }

    pub(super) fn create_launch_template_version(
        &mut self,
        input: Input<'_>,
    ) -> Result<Value, Fault> {
        let id = self.template_of(input)?;
        let mut data = data(input)?;
        if let Some(source) = input.text("SourceVersion") {
            // What the new data doesn't say is taken over from the source version.
            let template = self.launch_template(Some(&id), None)?;
            let mut merged = find_version(template, &source)?.data.clone();
            if let (Value::Object(merged), Value::Object(data)) = (&mut merged, &data) {
                merged.extend(data.clone());
            }
            data = merged;
        }
        let now = self.now();
        let template = self
            .region
            .launch_templates
            .get_mut(&id)
            .ok_or_else(|| unknown_id(&id))?;
        template.latest_version += 1;
        let version = TemplateVersion {
            number: template.latest_version,
            description: input.text("VersionDescription"),
            data,
            created_at: now,
        };
        template.versions.push(version.clone());
        Ok(json!({
            "launchTemplateVersion": render_version(&self.region.launch_templates[&id], &version),
        }))
    }

    pub(super) fn modify_launch_template(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = self.template_of(input)?;
        if let Some(version) = input.text("SetDefaultVersion") {
            let number = find_version(self.launch_template(Some(&id), None)?, &version)?.number;
            if let Some(template) = self.region.launch_templates.get_mut(&id) {
                template.default_version = number;
            }
        }
        Ok(
            json!({ "launchTemplate": self.render_launch_template(&self.region.launch_templates[&id]) }),
        )
    }

    pub(super) fn delete_launch_template(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = self.template_of(input)?;
        let rendered = self.render_launch_template(&self.region.launch_templates[&id]);
        self.region.launch_templates.remove(&id);
        self.region.tags.remove(&id);
        Ok(json!({ "launchTemplate": rendered }))
    }

    pub(super) fn delete_launch_template_versions(
        &mut self,
        input: Input<'_>,
    ) -> Result<Value, Fault> {
        let id = self.template_of(input)?;
        let (mut deleted, mut kept) = (Vec::new(), Vec::new());
        let Some(template) = self.region.launch_templates.get_mut(&id) else {
            return Err(unknown_id(&id));
        };
        for wanted in input.list("LaunchTemplateVersion") {
            let entry = json!({"launchTemplateId": id, "launchTemplateName": template.name, "versionNumber": wanted});
            let number = wanted.parse::<u64>().ok();
            let known = template
                .versions
                .iter()
                .any(|version| Some(version.number) == number);
            let refusal = if !known {
                Some((
                    "launchTemplateVersionDoesNotExist",
                    "The specified launch template version does not exist.",
                ))
            } else if number == Some(template.default_version) {
                Some((
                    "unexpectedError",
                    "Cannot delete the default version of a launch template.",
                ))
            } else {
                None
            };
            match refusal {
                None => {
                    template
                        .versions
                        .retain(|version| Some(version.number) != number);
                    deleted.push(entry);
                }
                Some((code, message)) => {
                    let mut entry = entry;
                    entry["responseError"] = json!({"code": code, "message": message});
                    kept.push(entry);
                }
            }
        }
        Ok(json!({
            "successfullyDeletedLaunchTemplateVersionSet": deleted,
            "unsuccessfullyDeletedLaunchTemplateVersionSet": kept,
        }))
    }

    pub(super) fn describe_launch_templates(&self, input: Input<'_>) -> Result<Value, Fault> {
        let names = input.list("LaunchTemplateName");
        for name in &names {
            self.launch_template(None, Some(name))?;
        }
        let all = self
            .region
            .launch_templates
            .values()
            .filter(|template| names.is_empty() || names.contains(&template.name))
            .map(|template| self.render_launch_template(template))
            .collect();
        Listing {
            set: "launchTemplates",
            ids: "LaunchTemplateId",
            key: "launchTemplateId",
            filters: &[
                ("create-time", "createTime"),
                ("launch-template-name", "launchTemplateName"),
            ],
            unknown: unknown_id,
        }
        .answer(input, all)
    }

    pub(super) fn describe_launch_template_versions(
        &self,
        input: Input<'_>,
    ) -> Result<Value, Fault> {
        let template = self.launch_template(
            input.text("LaunchTemplateId").as_deref(),
            input.text("LaunchTemplateName").as_deref(),
        )?;
        let wanted = input.list("LaunchTemplateVersion");
        let bound = |name: &str| {
            input
                .text(name)
                .map(|text| find_version(template, &text).map(|version| version.number))
                .transpose()
        };
        let (least, most) = (bound("MinVersion")?, bound("MaxVersion")?);
        let mut found = Vec::new();
        if wanted.is_empty() {
            found.extend(template.versions.iter().rev().filter(|version| {
                least.is_none_or(|least| version.number >= least)
                    && most.is_none_or(|most| version.number <= most)
            }));
        } else {
            for version in &wanted {
                found.push(find_version(template, version)?);
            }
        }
        let found = found
            .into_iter()
            .map(|version| render_version(template, version))
            .collect();
        page(
            input,
            "launchTemplateVersionSet",
            found,
            input.number("MaxResults")?,
        )
    }

    fn render_launch_template(&self, template: &LaunchTemplate) -> Value {
        json!({
            "launchTemplateId": template.id,
            "launchTemplateName": template.name,
            "createTime": moment(template.created_at),
            "createdBy": template.created_by,
            "defaultVersionNumber": template.default_version,
            "latestVersionNumber": template.latest_version,
            "tagSet": self.rendered_tags(&template.id),
        })
    }
}

fn render_version(template: &LaunchTemplate, version: &TemplateVersion) -> Value {
    json!({
        "launchTemplateId": template.id,
        "launchTemplateName": template.name,
        "versionNumber": version.number,
        "versionDescription": version.description,
        "createTime": moment(version.created_at),
        "createdBy": template.created_by,
        "defaultVersion": version.number == template.default_version,
        "launchTemplateData": version.data,
    })
}

fn unknown_id(id: &str) -> Fault {
    fault(
        "InvalidLaunchTemplateId.NotFound",
        format!("The specified launch template, with template ID {id}, does not exist."),
    )
}

fn unknown_name(name: &str) -> Fault {
    fault(
        "InvalidLaunchTemplateName.NotFoundException",
        format!("The specified launch template, with template name {name}, does not exist."),
    )
}
