//! Internet gateways and NAT gateways.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::addresses::unknown_allocation;
use super::input::{Input, Listing, fault, invalid};
use super::{Ec2, Fault, NewInterface, done, moment};
use crate::sandbox::clock::Millis;

/// How many NAT gateways an availability zone may have (`L-FE5A380F`).
const NAT_QUOTA: usize = 5;
/// How long a NAT gateway takes to become available, in seconds.
const NAT_CREATION: u64 = 105;
/// How long one takes to fail, in seconds.
const NAT_FAILURE: u64 = 5;
/// How long one takes to go, in seconds.
const NAT_DELETION: u64 = 60;
/// How long a deleted one can still be described, in seconds.
const NAT_AFTERLIFE: u64 = 3600;

/// An internet gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InternetGateway {
    /// `igw-…`.
    pub id: String,
    /// The VPC it is attached to.
    pub vpc: Option<String>,
}

/// A NAT gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NatGateway {
    /// `nat-…`.
    pub id: String,
    /// The subnet it stands in.
    pub subnet: String,
    /// That subnet's VPC.
    pub vpc: String,
    /// `pending`, `available`, `failed`, `deleting`, `deleted`.
    pub state: String,
    interface: Option<String>,
    allocation: Option<String>,
    public: String,
    private: String,
    kind: String,
    created_at: Millis,
    deleted_at: Option<Millis>,
    /// When the present state ends.
    due: Option<Millis>,
    failure: Option<(String, String)>,
}

impl Ec2<'_> {
    pub(super) fn create_internet_gateway(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let tags = self.tags_of_request(input, "internet-gateway")?;
        let id = self.fresh("igw");
        self.region.internet_gateways.insert(
            id.clone(),
            InternetGateway {
                id: id.clone(),
                vpc: None,
            },
        );
        self.set_tags(&id, tags);
        Ok(
            json!({ "internetGateway": self.render_internet_gateway(&self.region.internet_gateways[&id]) }),
        )
    }

    pub(super) fn attach_internet_gateway(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("InternetGatewayId")?;
        let vpc = input.required("VpcId")?;
        let gateway = self.internet_gateway(&id)?;
        if gateway.vpc.is_some() {
            return Err(fault(
                "Resource.AlreadyAssociated",
                format!("resource {id} is already attached to network {vpc}"),
            ));
        }
        self.vpc(&vpc)?;
        if self
            .region
            .internet_gateways
            .values()
            .any(|other| other.vpc.as_deref() == Some(&vpc))
        {
            return Err(invalid(format!(
                "Network {vpc} already has an internet gateway attached"
            )));
        }
        if let Some(gateway) = self.region.internet_gateways.get_mut(&id) {
            gateway.vpc = Some(vpc);
        }
        done()
    }

    pub(super) fn detach_internet_gateway(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("InternetGatewayId")?;
        let vpc = input.required("VpcId")?;
        self.vpc(&vpc)?;
        if self.internet_gateway(&id)?.vpc.as_deref() != Some(&vpc) {
            return Err(fault(
                "Gateway.NotAttached",
                format!("resource {id} is not attached to network {vpc}"),
            ));
        }
        if self
            .region
            .interfaces
            .values()
            .any(|interface| interface.vpc == vpc && self.public_address(interface).is_some())
        {
            return Err(fault(
                "DependencyViolation",
                format!(
                    "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before \
                     detaching the gateway."
                ),
            ));
        }
        if let Some(gateway) = self.region.internet_gateways.get_mut(&id) {
            gateway.vpc = None;
        }
        done()
    }

    pub(super) fn delete_internet_gateway(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("InternetGatewayId")?;
        if self.internet_gateway(&id)?.vpc.is_some() {
            return Err(fault(
                "DependencyViolation",
                format!("The internetGateway '{id}' has dependencies and cannot be deleted."),
            ));
        }
        self.region.internet_gateways.remove(&id);
        self.region.tags.remove(&id);
        done()
    }

    pub(super) fn internet_gateway(&self, id: &str) -> Result<&InternetGateway, Fault> {
        self.region
            .internet_gateways
            .get(id)
            .ok_or_else(|| unknown_internet_gateway(id))
    }

    pub(super) fn describe_internet_gateways(&self, input: Input<'_>) -> Result<Value, Fault> {
        let all = self
            .region
            .internet_gateways
            .values()
            .map(|gateway| self.render_internet_gateway(gateway))
            .collect();
        Listing {
            set: "internetGatewaySet",
            ids: "InternetGatewayId",
            key: "internetGatewayId",
            filters: &[
                ("attachment.state", "attachmentSet.state"),
                ("attachment.vpc-id", "attachmentSet.vpcId"),
                ("internet-gateway-id", "internetGatewayId"),
                ("owner-id", "ownerId"),
            ],
            unknown: unknown_internet_gateway,
        }
        .answer(input, all)
    }

    fn render_internet_gateway(&self, gateway: &InternetGateway) -> Value {
        let attachments: Vec<Value> = gateway
            .vpc
            .iter()
            .map(|vpc| json!({"vpcId": vpc, "state": "available"}))
            .collect();
        json!({
            "internetGatewayId": gateway.id,
            "ownerId": self.account,
            "attachmentSet": attachments,
            "tagSet": self.rendered_tags(&gateway.id),
        })
    }

    pub(super) fn create_nat_gateway(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let token = input.text("ClientToken");
        if let Some(id) = self.made_before("CreateNatGateway", token.as_deref())
            && let Some(gateway) = self.region.nat_gateways.get(&id)
        {
            return Ok(
                json!({"clientToken": token, "natGateway": self.render_nat_gateway(gateway)}),
            );
        }
        let subnet = self.subnet(&input.required("SubnetId")?)?.clone();
        let kind = input
            .text("ConnectivityType")
            .unwrap_or_else(|| "public".into());
        if !["public", "private"].contains(&kind.as_str()) {
            return Err(invalid(format!(
                "Value ({kind}) for parameter connectivityType is invalid."
            )));
        }
        let tags = self.tags_of_request(input, "natgateway")?;
        let allocation = input.text("AllocationId");
        if kind == "public" && allocation.is_none() {
            return Err(super::input::missing("AllocationId"));
        }
        if let Some(allocation) = &allocation
            && !self.region.addresses.contains_key(allocation)
        {
            return Err(unknown_allocation(allocation));
        }
        let beside = self
            .region
            .nat_gateways
            .values()
            .filter(|gateway| {
                ["pending", "available", "deleting"].contains(&gateway.state.as_str())
            })
            .filter(|gateway| {
                self.region
                    .subnets
                    .get(&gateway.subnet)
                    .is_some_and(|other| other.zone == subnet.zone)
            })
            .count();
        if beside >= NAT_QUOTA {
            return Err(fault(
                "NatGatewayLimitExceeded",
                "The maximum number of NAT Gateways has been reached.",
            ));
        }
        let id = self.fresh("nat");
        // These two don't fail the call: the gateway is made, fails a little later and says why.
        let attached = self
            .region
            .internet_gateways
            .values()
            .any(|gateway| gateway.vpc.as_deref() == Some(&subnet.vpc));
        let address = allocation
            .as_ref()
            .and_then(|allocation| self.region.addresses.get(allocation));
        let failure = match address {
            Some(address) if address.association.is_some() => Some((
                "Resource.AlreadyAssociated".to_owned(),
                format!(
                    "Elastic IP address [{}] is already associated",
                    address.allocation
                ),
            )),
            Some(_) if !attached => Some((
                "Gateway.NotAttached".to_owned(),
                format!("Network {} has no Internet gateway attached", subnet.vpc),
            )),
            _ => None,
        };
        let public = address.map_or_else(String::new, |address| address.public.clone());
        let mut gateway = NatGateway {
            id: id.clone(),
            subnet: subnet.id.clone(),
            vpc: subnet.vpc.clone(),
            state: "pending".into(),
            interface: None,
            allocation: allocation.clone(),
            public,
            private: String::new(),
            kind,
            created_at: self.now(),
            deleted_at: None,
            due: Some(self.after(if failure.is_some() {
                NAT_FAILURE
            } else {
                NAT_CREATION
            })),
            failure,
        };
        if gateway.failure.is_none() {
            let interface = self.insert_interface(NewInterface {
                subnet: subnet.id,
                description: format!("Interface for NAT Gateway {id}"),
                kind: "nat_gateway".into(),
                requester: Some("amazon-nat".into()),
                attached: true,
                ..NewInterface::default()
            })?;
            gateway.private = self.region.interfaces[&interface].address.to_string();
            if let Some(allocation) = &allocation {
                self.map_address(allocation, &interface);
            }
            gateway.interface = Some(interface);
        }
        self.remember("CreateNatGateway", token.as_deref(), &id);
        self.set_tags(&id, tags);
        let rendered = self.render_nat_gateway(&gateway);
        self.region.nat_gateways.insert(id, gateway);
        Ok(json!({"clientToken": token, "natGateway": rendered}))
    }

    pub(super) fn delete_nat_gateway(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("NatGatewayId")?;
        let (now, due) = (self.now(), self.after(NAT_DELETION));
        let gateway = self
            .region
            .nat_gateways
            .get_mut(&id)
            .ok_or_else(|| unknown_nat_gateway(&id))?;
        if !["deleting", "deleted"].contains(&gateway.state.as_str()) {
            gateway.state = "deleting".into();
            gateway.due = Some(due);
            gateway.deleted_at = Some(now);
        }
        Ok(json!({ "natGatewayId": id }))
    }

    pub(super) fn tick_nat_gateways(&mut self) -> bool {
        let now = self.now();
        let afterlife = self.after(NAT_AFTERLIFE);
        let due: Vec<String> = self
            .region
            .nat_gateways
            .values()
            .filter(|gateway| gateway.due.is_some_and(|due| due <= now))
            .map(|gateway| gateway.id.clone())
            .collect();
        for id in &due {
            let Some(gateway) = self.region.nat_gateways.get_mut(id) else {
                continue;
            };
            match gateway.state.as_str() {
                "pending" if gateway.failure.is_some() => {
                    gateway.state = "failed".into();
                    gateway.due = Some(afterlife);
                }
                "pending" => {
                    gateway.state = "available".into();
                    gateway.due = None;
                }
                "deleting" => {
                    gateway.state = "deleted".into();
                    gateway.deleted_at = Some(now);
                    gateway.due = Some(afterlife);
                    if let Some(interface) = gateway.interface.take() {
                        self.remove_interface(&interface);
                    }
                }
                _ => {
                    self.region.nat_gateways.remove(id);
                    self.region.tags.remove(id);
                }
            }
        }
        !due.is_empty()
    }

    pub(super) fn describe_nat_gateways(&self, input: Input<'_>) -> Result<Value, Fault> {
        let all = self
            .region
            .nat_gateways
            .values()
            .map(|gateway| self.render_nat_gateway(gateway))
            .collect();
        Listing {
            set: "natGatewaySet",
            ids: "NatGatewayId",
            key: "natGatewayId",
            filters: &[
                ("nat-gateway-id", "natGatewayId"),
                ("state", "state"),
                ("subnet-id", "subnetId"),
                ("vpc-id", "vpcId"),
            ],
            unknown: unknown_nat_gateway,
        }
        .answer(input, all)
    }

    fn render_nat_gateway(&self, gateway: &NatGateway) -> Value {
        let association = gateway
            .allocation
            .as_ref()
            .and_then(|allocation| self.region.addresses.get(allocation))
            .filter(|address| address.interface.is_some() && address.interface == gateway.interface)
            .and_then(|address| address.association.clone());
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        json!({
            "natGatewayId": gateway.id,
            "subnetId": gateway.subnet,
            "vpcId": gateway.vpc,
            "state": gateway.state,
            "connectivityType": gateway.kind,
            "availabilityMode": "zonal",
            "createTime": moment(gateway.created_at),
            "deleteTime": gateway.deleted_at.map(moment),
            "failureCode": gateway.failure.as_ref().filter(|_| gateway.state == "failed").map(|(code, _)| code),
            "failureMessage": gateway.failure.as_ref().filter(|_| gateway.state == "failed").map(|(_, message)| message),
            "natGatewayAddressSet": [{
                "allocationId": gateway.allocation,
                "associationId": association,
                "networkInterfaceId": gateway.interface,
                "privateIp": some(&gateway.private),
                "publicIp": some(&gateway.public),
                "isPrimary": true,
                "status": match gateway.state.as_str() {
                    "pending" => "associating",
                    "failed" => "failed",
                    "deleting" | "deleted" => "disassociating",
                    _ => "succeeded",
                },
            }],
            "tagSet": self.rendered_tags(&gateway.id),
        })
    }
}

fn unknown_internet_gateway(id: &str) -> Fault {
    fault(
        "InvalidInternetGatewayID.NotFound",
        format!("The internetGateway ID '{id}' does not exist"),
    )
}

fn unknown_nat_gateway(id: &str) -> Fault {
    fault(
        "NatGatewayNotFound",
        format!("The Nat Gateway {id} was not found"),
    )
}
