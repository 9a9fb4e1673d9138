//! Network interfaces: the customer's own, and those that AWS services put into the customer's subnets.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::{Input, Listing, fault, invalid};
use super::places::zone_id;
use super::{Ec2, Fault, done, moment};
use crate::sandbox::clock::Millis;

/// A network interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// `eni-…`.
    pub id: String,
    /// The subnet.
    pub subnet: String,
    /// The VPC.
    pub vpc: String,
    /// The availability zone.
    pub zone: String,
    /// Its private address.
    pub address: Ipv4Addr,
    /// Its public address when an AWS service owns that one (a load balancer's).
    pub public: Option<String>,
    /// Its description.
    pub description: String,
    /// `interface`, `nat_gateway`, `network_load_balancer`.
    pub kind: String,
    /// Its security groups.
    pub groups: Vec<String>,
    /// The service that made it and manages it: `amazon-elb`. Only that service may detach or delete it.
    pub requester: Option<String>,
    /// What it is attached to; `None` means `available`.
    pub attachment: Option<Attachment>,
    mac: String,
    source_check: bool,
}

/// What a network interface is attached to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attachment {
    /// `eni-attach-…` or, for services, `ela-attach-…`.
    pub id: String,
    /// The instance, when it is the customer's.
    pub instance: Option<String>,
    /// Whose instance it is: the account, or the service.
    pub owner: String,
    /// 0 is the primary one.
    pub index: u32,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
    /// When it was attached.
    pub since: Millis,
}

/// A network interface to make for a service.
#[derive(Clone, Debug, Default)]
pub struct NewInterface {
    /// The subnet.
    pub subnet: String,
    /// Its security groups; none means the VPC's default one, except for NAT gateways.
    pub groups: Vec<String>,
    /// `ELB app/name/id`, `Amazon EKS meshctl-demo`, …
    pub description: String,
    /// `interface` when empty.
    pub kind: String,
    /// The service that manages it (`amazon-elb`); `None` for one that the account manages itself.
    pub requester: Option<String>,
    /// Whether it is in use by that service.
    pub attached: bool,
    /// Whether it gets a public address of the service's.
    pub public: bool,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

impl Ec2<'_> {
    /// Looks a network interface up.
    ///
    /// # Errors
    /// `InvalidNetworkInterfaceID.NotFound`.
    pub fn interface(&self, id: &str) -> Result<&Interface, Fault> {
        self.region.interfaces.get(id).ok_or_else(|| unknown(id))
    }

    /// The public address that is mapped to an interface.
    pub fn public_address(&self, interface: &Interface) -> Option<String> {
        self.region
            .addresses
            .values()
            .find(|address| address.interface.as_deref() == Some(&interface.id))
            .map(|address| address.public.clone())
            .or_else(|| interface.public.clone())
    }

    /// Makes a network interface, for an AWS service or its controller.
    ///
    /// # Errors
    /// An unknown subnet or security group, or no free address.
    pub fn insert_interface(&mut self, new: NewInterface) -> Result<String, Fault> {
        let subnet = self.subnet(&new.subnet)?.clone();
        for group in &new.groups {
            let group = self.security_group(group)?;
            if group.vpc != subnet.vpc {
                return Err(fault(
                    "InvalidParameter",
                    format!(
                        "Security group {} and subnet {} belong to different networks.",
                        group.id, subnet.id
                    ),
                ));
            }
        }
        let address = self.free_address(&subnet.id)?;
        let mut groups = new.groups;
        if groups.is_empty() && new.kind != "nat_gateway" {
            groups.extend(
                self.region
                    .security_groups
                    .values()
                    .find(|group| group.vpc == subnet.vpc && group.name == "default")
                    .map(|group| group.id.clone()),
            );
        }
        let id = self.fresh("eni");
        let attachment = new.attached.then(|| Attachment {
            id: self.fresh("ela-attach"),
            instance: None,
            owner: new
                .requester
                .clone()
                .unwrap_or_else(|| "amazon-aws".to_owned()),
            index: 1,
            delete_on_termination: false,
            since: self.now(),
        });
        let bits = self.random();
        let interface = Interface {
            id: id.clone(),
            subnet: subnet.id,
            vpc: subnet.vpc,
            zone: subnet.zone,
            address,
            public: new.public.then(|| self.new_public_address()),
            description: new.description,
            kind: if new.kind.is_empty() {
                "interface".into()
            } else {
                new.kind
            },
            groups,
            requester: new.requester,
            attachment,
            mac: format!(
                "02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}",
                bits as u8,
                (bits >> 8) as u8,
                (bits >> 16) as u8,
                (bits >> 24) as u8,
                (bits >> 32) as u8
            ),
            source_check: true,
        };
        self.region.interfaces.insert(id.clone(), interface);
        self.set_tags(&id, new.tags);
        Ok(id)
    }

    /// Takes a network interface away, whoever manages it; its addresses are unmapped. Absent is fine.
    pub fn remove_interface(&mut self, id: &str) {
        self.unmap_addresses(id);
        self.region.interfaces.remove(id);
        self.region.tags.remove(id);
    }

    pub(super) fn create_network_interface(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let token = input.text("ClientToken");
        let before = self
            .made_before("CreateNetworkInterface", token.as_deref())
            .filter(|id| self.region.interfaces.contains_key(id));
        let id = match before {
            Some(id) => id,
            None => {
                let subnet = input.required("SubnetId")?;
                let tags = self.tags_of_request(input, "network-interface")?;
                self.insert_interface(NewInterface {
                    subnet,
                    groups: input.list("SecurityGroupId"),
                    description: input.text("Description").unwrap_or_default(),
                    tags,
                    ..NewInterface::default()
                })?
            }
        };
        self.remember("CreateNetworkInterface", token.as_deref(), &id);
        let mut rendered = self.render_interface(&self.region.interfaces[&id]);
        rendered["status"] = json!("pending");
        Ok(json!({"networkInterface": rendered, "clientToken": token}))
    }

    pub(super) fn delete_network_interface(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("NetworkInterfaceId")?;
        let interface = self.interface(&id)?;
        if interface.attachment.is_some() {
            return Err(invalid(format!(
                "Network interface '{id}' is currently in use."
            )));
        }
        if interface.requester.is_some() {
            return Err(forbidden());
        }
        self.remove_interface(&id);
        done()
    }

    pub(super) fn detach_network_interface(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let attachment = input.required("AttachmentId")?;
        let interface = self
            .region
            .interfaces
            .values_mut()
            .find(|interface| {
                interface
                    .attachment
                    .as_ref()
                    .is_some_and(|held| held.id == attachment)
            })
            .ok_or_else(|| {
                fault(
                    "InvalidAttachmentID.NotFound",
                    format!("The attachment ID '{attachment}' does not exist"),
                )
            })?;
        let held = interface.attachment.as_ref();
        if held.is_some_and(|held| held.instance.is_none()) {
            return Err(fault(
                "OperationNotPermitted",
                "You are not allowed to manage 'ela-attach' attachments.",
            ));
        }
        if held.is_some_and(|held| held.index == 0) {
            return Err(fault(
                "OperationNotPermitted",
                "The network interface at device index 0 and networkCard index 0 cannot be detached.",
            ));
        }
        interface.attachment = None;
        done()
    }

    pub(super) fn modify_network_interface_attribute(
        &mut self,
        input: Input<'_>,
    ) -> Result<Value, Fault> {
        let id = input.required("NetworkInterfaceId")?;
        let groups = input.list("SecurityGroupId");
        for group in &groups {
            self.security_group(group)?;
        }
        let source_check = input.wrapped("SourceDestCheck")?;
        let interface = self
            .region
            .interfaces
            .get_mut(&id)
            .ok_or_else(|| unknown(&id))?;
        if interface.requester.is_some() {
            return Err(forbidden());
        }
        if !groups.is_empty() {
            interface.groups = groups;
        }
        if let Some(check) = source_check {
            interface.source_check = check;
        }
        if let Some(text) = input
            .0
            .get("Description")
            .and_then(|wrapper| Input(wrapper).text("Value"))
        {
            interface.description = text;
        }
        done()
    }

    pub(super) fn describe_network_interfaces(&self, input: Input<'_>) -> Result<Value, Fault> {
        let all = self
            .region
            .interfaces
            .values()
            .map(|interface| self.render_interface(interface))
            .collect();
        Listing {
            set: "networkInterfaceSet",
            ids: "NetworkInterfaceId",
            key: "networkInterfaceId",
            filters: &[
                (
                    "addresses.private-ip-address",
                    "privateIpAddressesSet.privateIpAddress",
                ),
                ("addresses.primary", "privateIpAddressesSet.primary"),
                (
                    "addresses.association.public-ip",
                    "privateIpAddressesSet.association.publicIp",
                ),
                ("association.allocation-id", "association.allocationId"),
                ("association.association-id", "association.associationId"),
                ("association.ip-owner-id", "association.ipOwnerId"),
                ("association.public-ip", "association.publicIp"),
                ("attachment.attachment-id", "attachment.attachmentId"),
                (
                    "attachment.delete-on-termination",
                    "attachment.deleteOnTermination",
                ),
                ("attachment.device-index", "attachment.deviceIndex"),
                ("attachment.instance-id", "attachment.instanceId"),
                ("attachment.instance-owner-id", "attachment.instanceOwnerId"),
                ("attachment.status", "attachment.status"),
                ("availability-zone", "availabilityZone"),
                ("availability-zone-id", "availabilityZoneId"),
                ("description", "description"),
                ("group-id", "groupSet.groupId"),
                ("group-name", "groupSet.groupName"),
                ("interface-type", "interfaceType"),
                ("mac-address", "macAddress"),
                ("network-interface-id", "networkInterfaceId"),
                ("owner-id", "ownerId"),
                ("private-dns-name", "privateDnsName"),
                ("private-ip-address", "privateIpAddress"),
                ("requester-id", "requesterId"),
                ("requester-managed", "requesterManaged"),
                ("source-dest-check", "sourceDestCheck"),
                ("status", "status"),
                ("subnet-id", "subnetId"),
                ("vpc-id", "vpcId"),
            ],
            unknown,
        }
        .answer(input, all)
    }

    pub(super) fn render_interface(&self, interface: &Interface) -> Value {
        let mapped = self
            .region
            .addresses
            .values()
            .find(|address| address.interface.as_deref() == Some(&interface.id));
        let association = match (mapped, &interface.public) {
            (Some(address), _) => json!({
                "allocationId": address.allocation,
                "associationId": address.association,
                "publicIp": address.public,
                "ipOwnerId": self.account,
            }),
            (None, Some(public)) => json!({
                "publicIp": public,
                "ipOwnerId": interface.requester.as_deref().unwrap_or("amazon"),
            }),
            (None, None) => Value::Null,
        };
        let attachment = interface.attachment.as_ref().map(|attachment| {
            json!({
                "attachmentId": attachment.id,
                "instanceId": attachment.instance,
                "instanceOwnerId": attachment.owner,
                "deviceIndex": attachment.index,
                "networkCardIndex": 0,
                "deleteOnTermination": attachment.delete_on_termination,
                "attachTime": moment(attachment.since),
                "status": "attached",
            })
        });
        let name = private_name(self.name, interface.address);
        json!({
            "networkInterfaceId": interface.id,
            "ownerId": self.account,
            "subnetId": interface.subnet,
            "vpcId": interface.vpc,
            "availabilityZone": interface.zone,
            "availabilityZoneId": zone_id(self.name, &interface.zone),
            "description": interface.description,
            "interfaceType": interface.kind,
            "status": if interface.attachment.is_some() { "in-use" } else { "available" },
            "requesterId": interface.requester,
            "requesterManaged": interface.requester.is_some(),
            "macAddress": interface.mac,
            "privateIpAddress": interface.address,
            "privateDnsName": name,
            "sourceDestCheck": interface.source_check,
            "groupSet": self.render_groups(&interface.groups),
            "association": association,
            "attachment": attachment,
            "ipv6AddressesSet": [],
            "privateIpAddressesSet": [{
                "primary": true,
                "privateIpAddress": interface.address,
                "privateDnsName": name,
                "association": association,
            }],
            "tagSet": self.rendered_tags(&interface.id),
        })
    }

    pub(super) fn render_groups(&self, groups: &[String]) -> Vec<Value> {
        groups
            .iter()
            .map(|id| {
                let name = self.region.security_groups.get(id).map(|group| &group.name);
                json!({"groupId": id, "groupName": name})
            })
            .collect()
    }
}

/// The host name of a private address: `ip-10-42-0-7.eu-west-1.compute.internal`.
pub(super) fn private_name(region: &str, address: Ipv4Addr) -> String {
    let host = address.to_string().replace('.', "-");
    if region == "us-east-1" {
        format!("ip-{host}.ec2.internal")
    } else {
        format!("ip-{host}.{region}.compute.internal")
    }
}

fn forbidden() -> Fault {
    fault(
        "AuthFailure",
        "You do not have permission to access the specified resource.",
    )
}

fn unknown(id: &str) -> Fault {
    fault(
        "InvalidNetworkInterfaceID.NotFound",
        format!("The networkInterface ID '{id}' does not exist"),
    )
}
