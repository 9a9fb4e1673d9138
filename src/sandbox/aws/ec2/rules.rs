//! Rules of security groups: reading, adding, removing and showing them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::groups::unknown;
use super::input::{Input, fault, invalid, missing, page};
use super::{Cidr, Ec2, Fault, SecurityGroup};

/// One rule of a security group: one peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// `sgr-…`.
    pub id: String,
    /// Whether it lets out rather than in.
    pub egress: bool,
    /// `tcp`, `udp`, `icmp`, a number, or `-1` for all.
    pub protocol: String,
    /// The first port; absent for all protocols.
    pub from: Option<i64>,
    /// The last port.
    pub to: Option<i64>,
    /// The other side.
    pub peer: Peer,
    /// Its description.
    pub description: Option<String>,
}

/// The other side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// IPv4 addresses.
    Ipv4(String),
    /// IPv6 addresses.
    Ipv6(String),
    /// What is in a security group.
    Group(String),
    /// A prefix list.
    Prefixes(String),
}

impl Rule {
    fn same(&self, other: &Rule) -> bool {
        (self.egress, &self.protocol, self.from, self.to, &self.peer)
            == (
                other.egress,
                &other.protocol,
                other.from,
                other.to,
                &other.peer,
            )
    }

    fn describe(&self) -> String {
        let peer = match &self.peer {
            Peer::Ipv4(text) | Peer::Ipv6(text) | Peer::Group(text) | Peer::Prefixes(text) => text,
        };
        if self.protocol == "-1" {
            return format!("peer: {peer}, ALL, ALLOW");
        }
        format!(
            "peer: {peer}, {}, from port: {}, to port: {}, ALLOW",
            self.protocol.to_uppercase(),
            self.from.unwrap_or(-1),
            self.to.unwrap_or(-1)
        )
    }
}

impl Ec2<'_> {
    /// The rules that a request lists, in either of the two forms.
    fn rules_of(
        &mut self,
        input: Input<'_>,
        group: &str,
        egress: bool,
    ) -> Result<Vec<Rule>, Fault> {
        let listed = input.objects("IpPermissions");
        let permissions = if listed.is_empty() {
            vec![input]
        } else {
            listed
        };
        let mut rules = Vec::new();
        for permission in permissions {
            let protocol = match permission.required("IpProtocol")?.to_lowercase().as_str() {
                "all" | "-1" => "-1".to_owned(),
                "6" => "tcp".into(),
                "17" => "udp".into(),
                "1" => "icmp".into(),
                "58" => "icmpv6".into(),
                name @ ("tcp" | "udp" | "icmp" | "icmpv6") => name.to_owned(),
                number if number.parse::<u8>().is_ok() => number.to_owned(),
                other => {
                    return Err(invalid(format!(
                        "Invalid value '{other}' for IP protocol. Unknown protocol."
                    )));
                }
            };
            let (from, to) = if protocol == "-1" {
                (None, None)
            } else {
                (permission.number("FromPort")?, permission.number("ToPort")?)
            };
            if ["tcp", "udp"].contains(&protocol.as_str()) {
                let (Some(from), Some(to)) = (from, to) else {
                    return Err(invalid(
                        "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
                    ));
                };
                if !(0..=65535).contains(&from) || !(0..=65535).contains(&to) || from > to {
                    return Err(invalid(format!("Invalid TCP/UDP port range ({from}:{to})")));
                }
            }
            let mut peers = Vec::new();
            let described = |entry: Input<'_>| entry.text("Description");
            for range in permission.objects("IpRanges") {
                peers.push((
                    Peer::Ipv4(ipv4(&range.required("CidrIp")?)?),
                    described(range),
                ));
            }
            if let Some(cidr) = permission.text("CidrIp") {
                peers.push((Peer::Ipv4(ipv4(&cidr)?), None));
            }
            for range in permission.objects("Ipv6Ranges") {
                peers.push((
                    Peer::Ipv6(ipv6(&range.required("CidrIpv6")?)?),
                    described(range),
                ));
            }
            for list in permission.objects("PrefixListIds") {
                peers.push((
                    Peer::Prefixes(list.required("PrefixListId")?),
                    described(list),
                ));
            }
            for pair in permission.objects("Groups") {
                let id = match (pair.text("GroupId"), pair.text("GroupName")) {
                    (Some(id), _) => id,
                    (None, Some(name)) => self.named_beside(group, &name)?,
                    (None, None) => return Err(missing("GroupId")),
                };
                self.security_group(&id)?;
                peers.push((Peer::Group(id), described(pair)));
            }
            if let Some(name) = permission.text("SourceSecurityGroupName") {
                peers.push((Peer::Group(self.named_beside(group, &name)?), None));
            }
            if peers.is_empty() {
                return Err(missing("CidrIp"));
            }
            for (peer, description) in peers {
                let id = self.fresh("sgr");
                rules.push(Rule {
                    id,
                    egress,
                    protocol: protocol.clone(),
                    from,
                    to,
                    peer,
                    description,
                });
            }
        }
        Ok(rules)
    }

    fn named_beside(&self, group: &str, name: &str) -> Result<String, Fault> {
        let vpc = &self.security_group(group)?.vpc;
        self.region
            .security_groups
            .values()
            .find(|other| &other.vpc == vpc && other.name == name)
            .map(|other| other.id.clone())
            .ok_or_else(|| unknown(name))
    }

    pub(super) fn authorize(&mut self, input: Input<'_>, egress: bool) -> Result<Value, Fault> {
        let id = self.group_of(input)?;
        let tags = self.tags_of_request(input, "security-group-rule")?;
        let rules = self.rules_of(input, &id, egress)?;
        let group = self
            .region
            .security_groups
            .get_mut(&id)
            .ok_or_else(|| unknown(&id))?;
        for (index, rule) in rules.iter().enumerate() {
            if group.rules.iter().any(|known| known.same(rule)) {
                return Err(fault(
                    "InvalidPermission.Duplicate",
                    format!("the specified rule \"{}\" already exists", rule.describe()),
                ));
            }
            if rules[..index].iter().any(|other| other.same(rule)) {
                return Err(invalid(
                    "The same permission must not appear multiple times",
                ));
            }
        }
        let directed = group
            .rules
            .iter()
            .filter(|rule| rule.egress == egress)
            .count();
        if directed + rules.len() > 60 {
            return Err(fault(
                "RulesPerSecurityGroupLimitExceeded",
                "The maximum number of rules per security group has been reached.",
            ));
        }
        group.rules.extend(rules.iter().cloned());
        for rule in &rules {
            self.set_tags(&rule.id, tags.clone());
        }
        let rendered: Vec<Value> = rules
            .iter()
            .map(|rule| self.render_rule(&id, rule))
            .collect();
        Ok(json!({"return": true, "securityGroupRuleSet": rendered}))
    }

    pub(super) fn revoke(&mut self, input: Input<'_>, egress: bool) -> Result<Value, Fault> {
        let id = self.group_of(input)?;
        let ids = input.list("SecurityGroupRuleId");
        let wanted = match ids.is_empty() {
            true => self.rules_of(input, &id, egress)?,
            false => Vec::new(),
        };
        let known = &self.security_group(&id)?.rules;
        let alike = wanted.iter().map(|rule| {
            let found = known.iter().find(|known| known.same(rule));
            found.cloned().ok_or_else(|| {
                fault(
                    "InvalidPermission.NotFound",
                    "The specified rule does not exist in this security group.",
                )
            })
        });
        let named = ids.iter().map(|rule| {
            let mut known = known.iter();
            let found = known.find(|known| known.id == *rule && known.egress == egress);
            found.cloned().ok_or_else(|| unknown_rule(rule))
        });
        let doomed: Vec<Rule> = alike.chain(named).collect::<Result<_, _>>()?;
        if let Some(group) = self.region.security_groups.get_mut(&id) {
            group
                .rules
                .retain(|rule| !doomed.iter().any(|doomed| doomed.id == rule.id));
        }
        let rendered: Vec<Value> = doomed
            .iter()
            .map(|rule| {
                let mut rendered = self.render_rule(&id, rule);
                if let Peer::Group(peer) = &rule.peer {
                    rendered["referencedGroupId"] = json!(peer);
                }
                for member in [
                    "groupOwnerId",
                    "referencedGroupInfo",
                    "tagSet",
                    "securityGroupRuleArn",
                ] {
                    rendered[member] = Value::Null;
                }
                rendered
            })
            .collect();
        for rule in doomed {
            self.region.tags.remove(&rule.id);
        }
        Ok(json!({"return": true, "revokedSecurityGroupRuleSet": rendered}))
    }

    pub(super) fn describe_security_group_rules(&self, input: Input<'_>) -> Result<Value, Fault> {
        let ids = input.list("SecurityGroupRuleId");
        let all: Vec<Value> = self
            .region
            .security_groups
            .values()
            .flat_map(|group| {
                group
                    .rules
                    .iter()
                    .map(|rule| self.render_rule(&group.id, rule))
            })
            .filter(|rule| {
                ids.is_empty() || ids.iter().any(|id| rule["securityGroupRuleId"] == **id)
            })
            .collect();
        if let Some(id) = ids
            .iter()
            .find(|id| !all.iter().any(|rule| rule["securityGroupRuleId"] == ***id))
        {
            return Err(unknown_rule(id));
        }
        let filters = super::input::filters(
            input,
            &[
                ("group-id", "groupId"),
                ("security-group-rule-id", "securityGroupRuleId"),
            ],
        )?;
        let found = all
            .into_iter()
            .filter(|rule| filters.iter().all(|filter| filter.accepts(rule)))
            .collect();
        page(
            input,
            "securityGroupRuleSet",
            found,
            input.number("MaxResults")?,
        )
    }

    /// Rules for the same ports come as one permission.
    pub(super) fn render_permissions(&self, group: &SecurityGroup, egress: bool) -> Vec<Value> {
        let mut permissions: Vec<(&Rule, Value)> = Vec::new();
        for rule in group.rules.iter().filter(|rule| rule.egress == egress) {
            let index = permissions
                .iter()
                .position(|(first, _)| {
                    (&first.protocol, first.from, first.to) == (&rule.protocol, rule.from, rule.to)
                })
                .unwrap_or_else(|| {
                    permissions.push((
                        rule,
                        json!({"ipProtocol": rule.protocol, "fromPort": rule.from, "toPort": rule.to,
                            "groups": [], "ipRanges": [], "ipv6Ranges": [], "prefixListIds": []}),
                    ));
                    permissions.len() - 1
                });
            let note = &rule.description;
            let (list, entry) = match &rule.peer {
                Peer::Ipv4(cidr) => ("ipRanges", json!({"cidrIp": cidr, "description": note})),
                Peer::Ipv6(cidr) => ("ipv6Ranges", json!({"cidrIpv6": cidr, "description": note})),
                Peer::Prefixes(id) => (
                    "prefixListIds",
                    json!({"prefixListId": id, "description": note}),
                ),
                Peer::Group(id) => (
                    "groups",
                    json!({"groupId": id, "userId": self.account, "description": note}),
                ),
            };
            if let Some(list) = permissions[index].1[list].as_array_mut() {
                list.push(entry);
            }
        }
        permissions
            .into_iter()
            .map(|(_, permission)| permission)
            .collect()
    }

    fn render_rule(&self, group: &str, rule: &Rule) -> Value {
        let mut rendered = json!({
            "securityGroupRuleId": rule.id,
            "securityGroupRuleArn": self.arn("security-group-rule", &rule.id),
            "groupId": group,
            "groupOwnerId": self.account,
            "isEgress": rule.egress,
            "ipProtocol": rule.protocol,
            "fromPort": rule.from.unwrap_or(-1),
            "toPort": rule.to.unwrap_or(-1),
            "description": rule.description,
            "tagSet": self.rendered_tags(&rule.id),
        });
        match &rule.peer {
            Peer::Ipv4(cidr) => rendered["cidrIpv4"] = json!(cidr),
            Peer::Ipv6(cidr) => rendered["cidrIpv6"] = json!(cidr),
            Peer::Prefixes(id) => rendered["prefixListId"] = json!(id),
            Peer::Group(id) => {
                rendered["referencedGroupInfo"] = json!({"groupId": id, "userId": self.account});
            }
        }
        rendered
    }
}

fn unknown_rule(id: &str) -> Fault {
    fault(
        "InvalidSecurityGroupRuleId.NotFound",
        format!("The security group rule ID '{id}' does not exist"),
    )
}

fn ipv4(text: &str) -> Result<String, Fault> {
    Cidr::parse(text)
        .map(|block| block.to_string())
        .ok_or_else(|| invalid(format!("CIDR block {text} is malformed")))
}

fn ipv6(text: &str) -> Result<String, Fault> {
    text.split_once('/')
        .filter(|(address, prefix)| {
            address.parse::<std::net::Ipv6Addr>().is_ok()
                && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= 128)
        })
        .map(|_| text.to_owned())
        .ok_or_else(|| invalid(format!("CIDR block {text} is malformed")))
}
