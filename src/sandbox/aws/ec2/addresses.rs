//! Elastic IP addresses.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::{Input, Listing, fault, invalid};
use super::{Ec2, Fault, done};

/// How many Elastic IP addresses a region of an account may have (`L-0263D0A3`).
const QUOTA: usize = 5;

/// An Elastic IP address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Address {
    /// `eipalloc-…`.
    pub allocation: String,
    /// The address.
    pub public: String,
    /// `eipassoc-…` while it is mapped.
    pub association: Option<String>,
    /// The interface it is mapped to.
    pub interface: Option<String>,
}

impl Ec2<'_> {
    pub(super) fn allocate_address(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let tags = self.tags_of_request(input, "elastic-ip")?;
        if self.region.addresses.len() >= QUOTA {
            return Err(fault(
                "AddressLimitExceeded",
                "The maximum number of addresses has been reached.",
            ));
        }
        let allocation = self.fresh("eipalloc");
        let public = self.new_public_address();
        self.region.addresses.insert(
            allocation.clone(),
            Address {
                allocation: allocation.clone(),
                public: public.clone(),
                association: None,
                interface: None,
            },
        );
        self.set_tags(&allocation, tags);
        Ok(json!({
            "allocationId": allocation,
            "publicIp": public,
            "domain": "vpc",
            "publicIpv4Pool": "amazon",
            "networkBorderGroup": self.name,
        }))
    }

    /// A public address that nothing has, out of the ranges that documentation may use and nobody routes.
    pub(super) fn new_public_address(&self) -> String {
        let taken = |address: &str| {
            self.region
                .addresses
                .values()
                .any(|other| other.public == address)
                || self
                    .region
                    .interfaces
                    .values()
                    .any(|interface| interface.public.as_deref() == Some(address))
        };
        ["203.0.113", "198.51.100", "192.0.2"]
            .iter()
            .flat_map(|network| (1..255).map(move |host| format!("{network}.{host}")))
            .find(|address| !taken(address))
            .unwrap_or_else(|| "203.0.113.255".into())
    }

    pub(super) fn release_address(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let allocation = match (input.text("AllocationId"), input.text("PublicIp")) {
            (Some(allocation), _) => allocation,
            (None, Some(public)) => {
                self.allocation_of(&public)?;
                return Err(invalid(
                    "You must specify an allocation id when releasing a VPC elastic IP address",
                ));
            }
            (None, None) => return Err(super::input::missing("AllocationId")),
        };
        let address = self
            .region
            .addresses
            .get(&allocation)
            .ok_or_else(|| unknown_allocation(&allocation))?;
        if address.association.is_some() {
            return Err(fault(
                "InvalidIPAddress.InUse",
                format!("Address {} is in use.", address.public),
            ));
        }
        self.region.addresses.remove(&allocation);
        self.region.tags.remove(&allocation);
        done()
    }

    fn allocation_of(&self, public: &str) -> Result<String, Fault> {
        self.region
            .addresses
            .values()
            .find(|address| address.public == public)
            .map(|address| address.allocation.clone())
            .ok_or_else(|| {
                fault(
                    "InvalidAddress.NotFound",
                    format!("Address '{public}' not found."),
                )
            })
    }

    pub(super) fn associate_address(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let allocation = input.required("AllocationId")?;
        let address = self
            .region
            .addresses
            .get(&allocation)
            .ok_or_else(|| unknown_allocation(&allocation))?;
        if address.association.is_some() && input.flag("AllowReassociation")? != Some(true) {
            return Err(fault(
                "Resource.AlreadyAssociated",
                format!(
                    "resource {allocation} is already associated with associate-id {}",
                    address.association.clone().unwrap_or_default()
                ),
            ));
        }
        let interface = match (input.text("NetworkInterfaceId"), input.text("InstanceId")) {
            (Some(interface), _) => self.interface(&interface)?.id.clone(),
            (None, Some(instance)) => self.primary_interface(&instance)?,
            (None, None) => return Err(super::input::missing("NetworkInterfaceId")),
        };
        Ok(json!({ "associationId": self.map_address(&allocation, &interface) }))
    }

    pub(super) fn map_address(&mut self, allocation: &str, interface: &str) -> String {
        let association = self.fresh("eipassoc");
        if let Some(address) = self.region.addresses.get_mut(allocation) {
            address.association = Some(association.clone());
            address.interface = Some(interface.to_owned());
        }
        association
    }

    pub(super) fn unmap_addresses(&mut self, interface: &str) {
        for address in self.region.addresses.values_mut() {
            if address.interface.as_deref() == Some(interface) {
                address.association = None;
                address.interface = None;
            }
        }
    }

    pub(super) fn disassociate_address(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let association = input.required("AssociationId")?;
        let address = self
            .region
            .addresses
            .values_mut()
            .find(|address| address.association.as_deref() == Some(&association))
            .ok_or_else(|| {
                fault(
                    "InvalidAssociationID.NotFound",
                    format!("The association ID '{association}' does not exist"),
                )
            })?;
        let managed = address
            .interface
            .as_ref()
            .and_then(|interface| self.region.interfaces.get(interface))
            .is_some_and(|interface| interface.requester.is_some());
        if managed {
            return Err(fault(
                "AuthFailure",
                "You do not have permission to access the specified resource.",
            ));
        }
        address.association = None;
        address.interface = None;
        done()
    }

    pub(super) fn describe_addresses(&self, input: Input<'_>) -> Result<Value, Fault> {
        for public in input.list("PublicIp") {
            self.allocation_of(&public)?;
        }
        let wanted = input.list("PublicIp");
        let all = self
            .region
            .addresses
            .values()
            .filter(|address| wanted.is_empty() || wanted.contains(&address.public))
            .map(|address| {
                let interface = address
                    .interface
                    .as_ref()
                    .and_then(|id| self.region.interfaces.get(id));
                json!({
                    "allocationId": address.allocation,
                    "publicIp": address.public,
                    "domain": "vpc",
                    "publicIpv4Pool": "amazon",
                    "networkBorderGroup": self.name,
                    "associationId": address.association,
                    "networkInterfaceId": address.interface,
                    "networkInterfaceOwnerId": interface.map(|_| self.account),
                    "privateIpAddress": interface.map(|interface| interface.address),
                    "instanceId": interface.and_then(|interface| interface.attachment.as_ref()?.instance.clone()),
                    "tagSet": self.rendered_tags(&address.allocation),
                })
            })
            .collect();
        Listing {
            set: "addressesSet",
            ids: "AllocationId",
            key: "allocationId",
            filters: &[
                ("allocation-id", "allocationId"),
                ("association-id", "associationId"),
                ("domain", "domain"),
                ("instance-id", "instanceId"),
                ("network-border-group", "networkBorderGroup"),
                ("network-interface-id", "networkInterfaceId"),
                ("network-interface-owner-id", "networkInterfaceOwnerId"),
                ("private-ip-address", "privateIpAddress"),
                ("public-ip", "publicIp"),
            ],
            unknown: unknown_allocation,
        }
        .answer(input, all)
    }
}

pub(super) fn unknown_allocation(id: &str) -> Fault {
    fault(
        "InvalidAllocationID.NotFound",
        format!("The allocation ID '{id}' does not exist"),
    )
}
