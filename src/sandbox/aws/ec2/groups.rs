//! Security groups.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::{Input, Listing, fault, invalid, missing};
use super::{Ec2, Fault, Peer, Rule};

/// A security group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: String,
    /// The VPC.
    pub vpc: String,
    /// Its name, unique in the VPC.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its rules in both directions.
    pub rules: Vec<Rule>,
}
impl Ec2<'_> {
    pub(super) fn insert_default_group(&mut self, vpc: &str) {
        let id = self.insert_group(vpc, "default", "default VPC security group");
        let rule = Rule {
            id: self.fresh("sgr"),
            egress: false,
            protocol: "-1".into(),
            from: None,
            to: None,
            peer: Peer::Group(id.clone()),
            description: None,
        };
        if let Some(group) = self.region.security_groups.get_mut(&id) {
            group.rules.push(rule);
        }
    }

    fn insert_group(&mut self, vpc: &str, name: &str, description: &str) -> String {
        let id = self.fresh("sg");
        let everything_out = Rule {
            id: self.fresh("sgr"),
            egress: true,
            protocol: "-1".into(),
            from: None,
            to: None,
            peer: Peer::Ipv4("0.0.0.0/0".into()),
            description: None,
        };
        self.region.security_groups.insert(
            id.clone(),
            SecurityGroup {
                id: id.clone(),
                vpc: vpc.to_owned(),
                name: name.to_owned(),
                description: description.to_owned(),
                rules: vec![everything_out],
            },
        );
        id
    }

    /// Looks a security group up.
    ///
    /// # Errors
    /// `InvalidGroup.NotFound`.
    pub fn security_group(&self, id: &str) -> Result<&SecurityGroup, Fault> {
        self.region
            .security_groups
            .get(id)
            .ok_or_else(|| unknown(id))
    }

    /// Makes the security group that an AWS service puts in a customer's VPC (EKS: `eks-cluster-sg-…`), which lets its
    /// own members talk to each other.
    ///
    /// # Errors
    /// An unknown VPC, or the name is taken.
    pub fn add_service_group(
        &mut self,
        vpc: &str,
        name: &str,
        description: &str,
        tags: Vec<(String, String)>,
    ) -> Result<String, Fault> {
        let id = self.new_group(vpc, name, description)?;
        let among_themselves = Rule {
            id: self.fresh("sgr"),
            egress: false,
            protocol: "-1".into(),
            from: None,
            to: None,
            peer: Peer::Group(id.clone()),
            description: None,
        };
        if let Some(group) = self.region.security_groups.get_mut(&id) {
            group.rules.push(among_themselves);
        }
        self.set_tags(&id, tags);
        Ok(id)
    }

    fn new_group(&mut self, vpc: &str, name: &str, description: &str) -> Result<String, Fault> {
        self.vpc(vpc)?;
        if self
            .region
            .security_groups
            .values()
            .any(|group| group.vpc == vpc && group.name == name)
        {
            return Err(fault(
                "InvalidGroup.Duplicate",
                format!("The security group '{name}' already exists for VPC '{vpc}'"),
            ));
        }
        Ok(self.insert_group(vpc, name, description))
    }

    pub(super) fn create_security_group(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let name = input.required("GroupName")?;
        let description = input.required("GroupDescription")?;
        if name.starts_with("sg-") {
            return Err(invalid(format!(
                "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*."
            )));
        }
        let legal = |text: &str| {
            text.len() <= 255
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c))
        };
        if !legal(&description) {
            return Err(invalid(format!(
                "Value ({description}) for parameter GroupDescription is invalid. Character sets beyond ASCII are not \
                 supported."
            )));
        }
        if !legal(&name) {
            return Err(invalid(format!(
                "Value ({name}) for parameter GroupName is invalid."
            )));
        }
        let vpc = match input.text("VpcId") {
            Some(vpc) => vpc,
            None => self
                .region
                .vpcs
                .values()
                .find(|vpc| vpc.default)
                .map(|vpc| vpc.id.clone())
                .ok_or_else(|| fault("VPCIdNotSpecified", "No default VPC for this user"))?,
        };
        let tags = self.tags_of_request(input, "security-group")?;
        let id = self.new_group(&vpc, &name, &description)?;
        self.set_tags(&id, tags);
        Ok(json!({
            "groupId": id,
            "securityGroupArn": self.arn("security-group", &id),
            "tagSet": self.rendered_tags(&id),
        }))
    }

    pub(super) fn group_of(&self, input: Input<'_>) -> Result<String, Fault> {
        if let Some(id) = input.text("GroupId") {
            return self.security_group(&id).map(|group| group.id.clone());
        }
        let name = input.text("GroupName").ok_or_else(|| missing("GroupId"))?;
        self.region
            .security_groups
            .values()
            .find(|group| {
                group.name == name
                    && self
                        .region
                        .vpcs
                        .get(&group.vpc)
                        .is_some_and(|vpc| vpc.default)
            })
            .map(|group| group.id.clone())
            .ok_or_else(|| {
                fault(
                    "InvalidGroup.NotFound",
                    format!("The security group '{name}' does not exist in default VPC"),
                )
            })
    }

    pub(super) fn delete_security_group(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = self.group_of(input)?;
        self.drop_security_group(&id)?;
        Ok(json!({"return": true, "groupId": id}))
    }

    /// Deletes a security group, unless something uses it.
    ///
    /// # Errors
    /// `DependencyViolation` while an interface is in it or another group's rule names it.
    pub fn drop_security_group(&mut self, id: &str) -> Result<(), Fault> {
        let group = self.security_group(id)?;
        if group.name == "default" {
            return Err(fault(
                "CannotDelete",
                format!(
                    "the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"
                ),
            ));
        }
        let used = self
            .region
            .interfaces
            .values()
            .any(|interface| interface.groups.iter().any(|group| group == id))
            || self.region.security_groups.values().any(|group| {
                group.id != id
                    && group
                        .rules
                        .iter()
                        .any(|rule| rule.peer == Peer::Group(id.to_owned()))
            });
        if used {
            return Err(fault(
                "DependencyViolation",
                format!("resource {id} has a dependent object"),
            ));
        }
        self.region.security_groups.remove(id);
        self.region.tags.remove(id);
        Ok(())
    }

    pub(super) fn describe_security_groups(&self, input: Input<'_>) -> Result<Value, Fault> {
        let names = input.list("GroupName");
        for name in &names {
            if !self
                .region
                .security_groups
                .values()
                .any(|group| group.name == *name)
            {
                return Err(unknown(name));
            }
        }
        let all = self
            .region
            .security_groups
            .values()
            .filter(|group| names.is_empty() || names.contains(&group.name))
            .map(|group| self.render_group(group))
            .collect();
        Listing {
            set: "securityGroupInfo",
            ids: "GroupId",
            key: "groupId",
            filters: &[
                ("description", "groupDescription"),
                (
                    "egress.ip-permission.cidr",
                    "ipPermissionsEgress.ipRanges.cidrIp",
                ),
                (
                    "egress.ip-permission.group-id",
                    "ipPermissionsEgress.groups.groupId",
                ),
                (
                    "egress.ip-permission.protocol",
                    "ipPermissionsEgress.ipProtocol",
                ),
                ("group-id", "groupId"),
                ("group-name", "groupName"),
                ("ip-permission.cidr", "ipPermissions.ipRanges.cidrIp"),
                ("ip-permission.from-port", "ipPermissions.fromPort"),
                ("ip-permission.group-id", "ipPermissions.groups.groupId"),
                ("ip-permission.protocol", "ipPermissions.ipProtocol"),
                ("ip-permission.to-port", "ipPermissions.toPort"),
                ("owner-id", "ownerId"),
                ("vpc-id", "vpcId"),
            ],
            unknown,
        }
        .answer(input, all)
    }

    fn render_group(&self, group: &SecurityGroup) -> Value {
        json!({
            "groupId": group.id,
            "groupName": group.name,
            "groupDescription": group.description,
            "securityGroupArn": self.arn("security-group", &group.id),
            "ownerId": self.account,
            "vpcId": group.vpc,
            "ipPermissions": self.render_permissions(group, false),
            "ipPermissionsEgress": self.render_permissions(group, true),
            "tagSet": self.rendered_tags(&group.id),
        })
    }
}

pub(super) fn unknown(id: &str) -> Fault {
    fault(
        "InvalidGroup.NotFound",
        format!("The security group '{id}' does not exist"),
    )
}
