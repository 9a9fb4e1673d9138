//! Regions, availability zones, account attributes and instance types.

use serde_json::{Value, json};

use super::input::{Input, fault, filters, invalid, page};
use super::instances::unknown_type;
use super::{Ec2, Fault};

/// Regions that every account has without opting in, with the letters of their zones.
const REGIONS: &[(&str, &str)] = &[
    ("ap-northeast-1", "acd"),
    ("ap-northeast-2", "abcd"),
    ("ap-northeast-3", "abc"),
    ("ap-south-1", "abc"),
    ("ap-southeast-1", "abc"),
    ("ap-southeast-2", "abc"),
    ("ca-central-1", "abd"),
    ("eu-central-1", "abc"),
    ("eu-north-1", "abc"),
    ("eu-west-1", "abc"),
    ("eu-west-2", "abc"),
    ("eu-west-3", "abc"),
    ("sa-east-1", "abc"),
    ("us-east-1", "abcdef"),
    ("us-east-2", "abc"),
    ("us-west-1", "ac"),
    ("us-west-2", "abcd"),
];

/// The names of a region's availability zones.
pub fn zones(region: &str) -> Vec<String> {
    REGIONS
        .iter()
        .find(|(name, _)| *name == region)
        .map_or("abc", |(_, letters)| letters)
        .chars()
        .map(|letter| format!("{region}{letter}"))
        .collect()
}

/// Whether the region exists.
pub(super) fn is_region(name: &str) -> bool {
    REGIONS.iter().any(|(known, _)| *known == name)
}

/// The id of a zone: `euw1-az1`.
pub(super) fn zone_id(region: &str, zone: &str) -> String {
    let mut parts = region.split('-');
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // north, south, east, west, central, and pairs of them such as southeast.
        let mut rest = part;
        while !rest.is_empty() {
            let word = ["north", "south", "east", "west", "central"]
                .iter()
                .find(|word| rest.starts_with(**word));
            let length = word.map_or(rest.len(), |word| word.len());
            short.push_str(&rest[..if word.is_some() { 1 } else { length }]);
            rest = &rest[length..];
        }
    }
    let number = zones(region)
        .iter()
        .position(|known| known == zone)
        .map_or(1, |index| index + 1);
    format!("{short}-az{number}")
}

/// An instance type as far as nodes care.
#[derive(Clone, Copy, Debug)]
pub struct InstanceType {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u64,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// Network interfaces it can have.
    pub interfaces: u32,
    /// IPv4 addresses per interface.
    pub addresses: u32,
}

/// An instance type by name: the general families that clusters run on.
pub fn instance_type(name: &str) -> Option<InstanceType> {
    let (family, size) = name.split_once('.')?;
    let architecture = match family {
        "t3" | "t3a" | "m5" | "m5a" | "m6i" | "m6a" | "m7i" | "m7a" | "c5" | "c6i" | "c6a"
        | "c7i" | "c7a" | "r5" | "r6i" | "r7i" => "x86_64",
        "t4g" | "m6g" | "m7g" | "m8g" | "c6g" | "c7g" | "c8g" | "r6g" | "r7g" => "arm64",
        _ => return None,
    };
    let burstable = family.starts_with('t');
    let (cpus, interfaces, addresses) = match (size, burstable) {
        ("nano", true) => (2, 2, 2),
        ("micro", true) => (2, 2, 2),
        ("small", true) => (2, 3, 4),
        ("medium", true) => (2, 3, 6),
        ("medium", false) if architecture == "arm64" => (1, 2, 4),
        ("large", true) => (2, 3, 12),
        ("large", false) => (2, 3, 10),
        ("xlarge", _) => (4, 4, 15),
        ("2xlarge", _) => (8, 4, 15),
        ("4xlarge", false) => (16, 8, 30),
        ("8xlarge", false) => (32, 8, 30),
        _ => return None,
    };
    let memory = match (size, burstable, &family[..1]) {
        ("nano", ..) => 512,
        ("micro", ..) => 1024,
        ("small", ..) => 2048,
        ("medium", true, _) => 4096,
        (_, _, "c") => u64::from(cpus) * 2048,
        (_, _, "r") => u64::from(cpus) * 8192,
        _ => u64::from(cpus) * 4096,
    };
    Some(InstanceType {
        cpus,
        memory,
        architecture,
        interfaces,
        addresses,
    })
}

impl Ec2<'_> {
    pub(super) fn describe_availability_zones(&self, input: Input<'_>) -> Result<Value, Fault> {
        let names = input.list("ZoneName");
        let ids = input.list("ZoneId");
        let filters = filters(
            input,
            &[
                ("group-name", "groupName"),
                ("opt-in-status", "optInStatus"),
                ("region-name", "regionName"),
                ("state", "zoneState"),
                ("zone-id", "zoneId"),
                ("zone-name", "zoneName"),
                ("zone-type", "zoneType"),
            ],
        )?;
        let zones = zones(self.name);
        if let Some(name) = names.iter().find(|name| !zones.contains(name)) {
            return Err(invalid(format!("Invalid availability zone: [{name}]")));
        }
        let found: Vec<Value> = zones
            .iter()
            .map(|zone| {
                json!({
                    "zoneName": zone,
                    "zoneId": zone_id(self.name, zone),
                    "zoneState": "available",
                    "zoneType": "availability-zone",
                    "optInStatus": "opt-in-not-required",
                    "regionName": self.name,
                    "groupName": format!("{}-zg-1", self.name),
                    "networkBorderGroup": self.name,
                    "messageSet": [],
                })
            })
            .filter(|zone| names.is_empty() || names.iter().any(|name| zone["zoneName"] == **name))
            .filter(|zone| ids.is_empty() || ids.iter().any(|id| zone["zoneId"] == **id))
            .filter(|zone| filters.iter().all(|filter| filter.accepts(zone)))
            .collect();
        Ok(json!({ "availabilityZoneInfo": found }))
    }

    pub(super) fn describe_regions(&self, input: Input<'_>) -> Result<Value, Fault> {
        let names = input.list("RegionName");
        if let Some(name) = names.iter().find(|name| !is_region(name)) {
            return Err(invalid(format!("Invalid region provided: {name}")));
        }
        let filters = filters(
            input,
            &[
                ("endpoint", "regionEndpoint"),
                ("opt-in-status", "optInStatus"),
                ("region-name", "regionName"),
            ],
        )?;
        let found: Vec<Value> = REGIONS
            .iter()
            .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
            .map(|(name, _)| {
                json!({
                    "regionName": name,
                    "regionEndpoint": format!("ec2.{name}.amazonaws.com"),
                    "optInStatus": "opt-in-not-required",
                })
            })
            .filter(|region| filters.iter().all(|filter| filter.accepts(region)))
            .collect();
        Ok(json!({ "regionInfo": found }))
    }

    pub(super) fn describe_account_attributes(&self, input: Input<'_>) -> Result<Value, Fault> {
        let default = self
            .region
            .vpcs
            .values()
            .find(|vpc| vpc.default)
            .map_or("none", |vpc| &vpc.id);
        let all = [
            ("supported-platforms", "VPC"),
            ("vpc-max-security-groups-per-interface", "5"),
            ("max-elastic-ips", "5"),
            ("max-instances", "20"),
            ("vpc-max-elastic-ips", "5"),
            ("default-vpc", default),
        ];
        let names = input.list("AttributeName");
        if let Some(name) = names
            .iter()
            .find(|name| !all.iter().any(|(known, _)| known == name))
        {
            return Err(fault(
                "InvalidParameterValue",
                format!(
                    "Value ({name}) for parameter attributeName is invalid. Unknown attribute."
                ),
            ));
        }
        let found: Vec<Value> = all
            .iter()
            .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
            .map(|(name, value)| {
                json!({"attributeName": name, "attributeValueSet": [{"attributeValue": value}]})
            })
            .collect();
        Ok(json!({ "accountAttributeSet": found }))
    }

    pub(super) fn describe_instance_types(&self, input: Input<'_>) -> Result<Value, Fault> {
        let wanted = input.list("InstanceType");
        let names: Vec<String> = if wanted.is_empty() {
            [
                "t3", "t4g", "m5", "m6i", "m7g", "m7i", "c5", "c6i", "c7g", "r5", "r6i",
            ]
            .iter()
            .flat_map(|family| {
                ["medium", "large", "xlarge", "2xlarge", "4xlarge"]
                    .map(|size| format!("{family}.{size}"))
            })
            .filter(|name| instance_type(name).is_some())
            .collect()
        } else {
            wanted
        };
        let mut all = Vec::new();
        for name in &names {
            let kind = instance_type(name).ok_or_else(|| unknown_type(name))?;
            all.push(json!({
                "instanceType": name,
                "currentGeneration": true,
                "freeTierEligible": name == "t3.micro",
                "supportedUsageClasses": ["on-demand", "spot"],
                "supportedRootDeviceTypes": ["ebs"],
                "supportedVirtualizationTypes": ["hvm"],
                "bareMetal": false,
                "hypervisor": "nitro",
                "processorInfo": {"supportedArchitectures": [kind.architecture]},
                "vCpuInfo": {"defaultVCpus": kind.cpus},
                "memoryInfo": {"sizeInMiB": kind.memory},
                "networkInfo": {"maximumNetworkInterfaces": kind.interfaces,
                    "ipv4AddressesPerInterface": kind.addresses, "ipv6Supported": true, "enaSupport": "required"},
            }));
        }
        let filters = filters(
            input,
            &[
                ("instance-type", "instanceType"),
                (
                    "processor-info.supported-architecture",
                    "processorInfo.supportedArchitectures",
                ),
                ("current-generation", "currentGeneration"),
                ("hypervisor", "hypervisor"),
            ],
        )?;
        let found = all
            .into_iter()
            .filter(|kind| filters.iter().all(|filter| filter.accepts(kind)))
            .collect();
        page(input, "instanceTypeSet", found, input.number("MaxResults")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_the_ids_that_aws_gives() {
        assert_eq!(zone_id("eu-west-1", "eu-west-1b"), "euw1-az2");
        assert_eq!(zone_id("ap-southeast-2", "ap-southeast-2a"), "apse2-az1");
        assert_eq!(zone_id("eu-central-1", "eu-central-1c"), "euc1-az3");
        assert_eq!(zones("us-west-1"), ["us-west-1a", "us-west-1c"]);
    }

    #[test]
    fn instance_types_have_their_limits() {
        let medium = instance_type("t3.medium").unwrap();
        assert_eq!(
            (
                medium.cpus,
                medium.memory,
                medium.interfaces,
                medium.addresses
            ),
            (2, 4096, 3, 6)
        );
        assert!(instance_type("t3.enormous").is_none());
        assert!(instance_type("x9.large").is_none());
    }
}
