//! Route tables, their routes and associations, and the network ACL that every VPC has.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::{Input, Listing, fault, invalid, missing};
use super::{Cidr, Ec2, Fault, done};

/// A route table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteTable {
    /// `rtb-…`.
    pub id: String,
    /// The VPC.
    pub vpc: String,
    /// Its routes besides the local one.
    pub routes: Vec<Route>,
    /// What uses it.
    pub associations: Vec<Association>,
}

impl RouteTable {
    /// Whether it serves the subnets that name no other.
    pub fn is_main(&self) -> bool {
        self.associations
            .iter()
            .any(|association| association.subnet.is_none())
    }
}

/// A subnet's use of a route table; without a subnet, the VPC's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Association {
    /// `rtbassoc-…`.
    pub id: String,
    /// The subnet; `None` for the main association.
    pub subnet: Option<String>,
}

/// A route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Route {
    /// The destination's CIDR block.
    pub destination: String,
    /// Where it leads.
    pub target: Target,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// An internet gateway.
    InternetGateway(String),
    /// A NAT gateway.
    NatGateway(String),
    /// A network interface.
    Interface(String),
}

/// A network ACL: only the default one of each VPC exists here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NetworkAcl {
    /// `acl-…`.
    pub id: String,
    /// The VPC.
    pub vpc: String,
}

impl Ec2<'_> {
    pub(super) fn insert_main_route_table(&mut self, vpc: &str) {
        let id = self.fresh("rtb");
        let association = self.fresh("rtbassoc");
        self.region.route_tables.insert(
            id.clone(),
            RouteTable {
                id,
                vpc: vpc.to_owned(),
                routes: Vec::new(),
                associations: vec![Association {
                    id: association,
                    subnet: None,
                }],
            },
        );
    }

    pub(super) fn insert_default_acl(&mut self, vpc: &str) {
        let id = self.fresh("acl");
        self.region.network_acls.insert(
            id.clone(),
            NetworkAcl {
                id,
                vpc: vpc.to_owned(),
            },
        );
    }

    fn route_table(&self, id: &str) -> Result<&RouteTable, Fault> {
        self.region.route_tables.get(id).ok_or_else(|| unknown(id))
    }

    pub(super) fn create_route_table(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let token = input.text("ClientToken");
        if let Some(id) = self.made_before("CreateRouteTable", token.as_deref())
            && let Some(table) = self.region.route_tables.get(&id)
        {
            return Ok(json!({"routeTable": self.render_route_table(table), "clientToken": token}));
        }
        let vpc = self.vpc(&input.required("VpcId")?)?.id.clone();
        let tags = self.tags_of_request(input, "route-table")?;
        let id = self.fresh("rtb");
        let table = RouteTable {
            id: id.clone(),
            vpc,
            routes: Vec::new(),
            associations: Vec::new(),
        };
        self.remember("CreateRouteTable", token.as_deref(), &id);
        self.set_tags(&id, tags);
        let rendered = self.render_route_table(&table);
        self.region.route_tables.insert(id, table);
        Ok(json!({"routeTable": rendered, "clientToken": token}))
    }

    pub(super) fn delete_route_table(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("RouteTableId")?;
        if !self.route_table(&id)?.associations.is_empty() {
            return Err(fault(
                "DependencyViolation",
                format!("The routeTable '{id}' has dependencies and cannot be deleted."),
            ));
        }
        self.region.route_tables.remove(&id);
        self.region.tags.remove(&id);
        done()
    }

    fn destination(input: Input<'_>) -> Result<String, Fault> {
        let text = input
            .text("DestinationCidrBlock")
            .ok_or_else(|| missing("DestinationCidrBlock"))?;
        Cidr::parse(&text).map(|block| block.to_string()).ok_or_else(|| {
            invalid(format!(
                "Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."
            ))
        })
    }

    fn target(&self, input: Input<'_>, table: &str) -> Result<Target, Fault> {
        let vpc = &self.route_table(table)?.vpc;
        if let Some(id) = input.text("GatewayId") {
            let gateway = self.region.internet_gateways.get(&id).ok_or_else(|| {
                fault(
                    "InvalidGatewayID.NotFound",
                    format!("The gateway ID '{id}' does not exist"),
                )
            })?;
            if gateway.vpc.as_ref() != Some(vpc) {
                return Err(invalid(format!(
                    "route table {table} and network gateway {id} belong to different networks"
                )));
            }
            Ok(Target::InternetGateway(id))
        } else if let Some(id) = input.text("NatGatewayId") {
            let gateway = self
                .region
                .nat_gateways
                .get(&id)
                .filter(|gateway| ["pending", "available"].contains(&gateway.state.as_str()))
                .ok_or_else(|| {
                    fault(
                        "InvalidNatGatewayID.NotFound",
                        format!("The natGateway ID '{id}' does not exist"),
                    )
                })?;
            if &gateway.vpc != vpc {
                return Err(invalid(format!(
                    "route table {table} and network gateway {id} belong to different networks"
                )));
            }
            Ok(Target::NatGateway(id))
        } else if let Some(id) = input.text("NetworkInterfaceId") {
            self.interface(&id)?;
            Ok(Target::Interface(id))
        } else {
            Err(fault(
                "InvalidParameterCombination",
                "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, \
                 vpcPeeringConnectionId, egressOnlyInternetGatewayId, transitGatewayId, localGatewayId or carrierGatewayId",
            ))
        }
    }

    pub(super) fn create_route(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("RouteTableId")?;
        self.route_table(&id)?;
        let destination = Self::destination(input)?;
        let target = self.target(input, &id)?;
        let local = self.vpc(&self.route_table(&id)?.vpc)?.cidr.clone();
        let table = self
            .region
            .route_tables
            .get_mut(&id)
            .ok_or_else(|| unknown(&id))?;
        match table
            .routes
            .iter()
            .find(|route| route.destination == destination)
        {
            // The very same route again is fine, as with EC2.
            Some(route) if route.target == target => {}
            None if destination != local => table.routes.push(Route {
                destination,
                target,
            }),
            _ => {
                return Err(fault(
                    "RouteAlreadyExists",
                    format!("The route identified by {destination} already exists."),
                ));
            }
        }
        done()
    }

    pub(super) fn replace_route(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("RouteTableId")?;
        self.route_table(&id)?;
        let destination = Self::destination(input)?;
        let target = self.target(input, &id)?;
        self.route_mut(&id, &destination)?.target = target;
        done()
    }

    pub(super) fn delete_route(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("RouteTableId")?;
        self.route_table(&id)?;
        let destination = Self::destination(input)?;
        self.route_mut(&id, &destination)?;
        if let Some(table) = self.region.route_tables.get_mut(&id) {
            table
                .routes
                .retain(|route| route.destination != destination);
        }
        done()
    }

    fn route_mut(&mut self, table: &str, destination: &str) -> Result<&mut Route, Fault> {
        self.region
            .route_tables
            .get_mut(table)
            .and_then(|table| {
                table
                    .routes
                    .iter_mut()
                    .find(|route| route.destination == destination)
            })
            .ok_or_else(|| {
                fault(
                    "InvalidRoute.NotFound",
                    format!(
                        "no route with destination-cidr-block {destination} in route table {table}"
                    ),
                )
            })
    }

    pub(super) fn associate_route_table(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("RouteTableId")?;
        let table_vpc = self.route_table(&id)?.vpc.clone();
        let subnet = self.subnet(&input.required("SubnetId")?)?.clone();
        if subnet.vpc != table_vpc {
            return Err(invalid(format!(
                "route table {id} and subnet {} belong to different networks",
                subnet.id
            )));
        }
        let existing = self.region.route_tables.values().find_map(|table| {
            let association = table
                .associations
                .iter()
                .find(|association| association.subnet.as_deref() == Some(&subnet.id))?;
            Some((table.id.clone(), association.id.clone()))
        });
        let association = match existing {
            Some((table, association)) if table == id => association,
            Some(_) => {
                return Err(fault(
                    "Resource.AlreadyAssociated",
                    format!(
                        "the specified association for route table {id} conflicts with an existing association"
                    ),
                ));
            }
            None => {
                let association = self.fresh("rtbassoc");
                if let Some(table) = self.region.route_tables.get_mut(&id) {
                    table.associations.push(Association {
                        id: association.clone(),
                        subnet: Some(subnet.id),
                    });
                }
                association
            }
        };
        Ok(json!({"associationId": association, "associationState": {"state": "associated"}}))
    }

    fn table_of(&self, association: &str) -> Result<(String, Association), Fault> {
        self.region
            .route_tables
            .values()
            .find_map(|table| {
                let found = table
                    .associations
                    .iter()
                    .find(|found| found.id == association)?;
                Some((table.id.clone(), found.clone()))
            })
            .ok_or_else(|| {
                fault(
                    "InvalidAssociationID.NotFound",
                    format!("The association ID '{association}' does not exist"),
                )
            })
    }

    pub(super) fn disassociate_route_table(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("AssociationId")?;
        let (table, association) = self.table_of(&id)?;
        if association.subnet.is_none() {
            return Err(invalid(format!(
                "cannot disassociate the main route table association {id}"
            )));
        }
        if let Some(table) = self.region.route_tables.get_mut(&table) {
            table
                .associations
                .retain(|association| association.id != id);
        }
        done()
    }

    pub(super) fn replace_route_table_association(
        &mut self,
        input: Input<'_>,
    ) -> Result<Value, Fault> {
        let id = input.required("AssociationId")?;
        let to = input.required("RouteTableId")?;
        let (from, mut association) = self.table_of(&id)?;
        if self.route_table(&to)?.vpc != self.route_table(&from)?.vpc {
            return Err(invalid(format!(
                "route table {to} and association {id} belong to different networks"
            )));
        }
        if let Some(table) = self.region.route_tables.get_mut(&from) {
            table
                .associations
                .retain(|association| association.id != id);
        }
        association.id = self.fresh("rtbassoc");
        let new = association.id.clone();
        if let Some(table) = self.region.route_tables.get_mut(&to) {
            table.associations.push(association);
        }
        Ok(json!({"newAssociationId": new, "associationState": {"state": "associated"}}))
    }

    pub(super) fn describe_route_tables(&self, input: Input<'_>) -> Result<Value, Fault> {
        let all = self
            .region
            .route_tables
            .values()
            .map(|table| self.render_route_table(table))
            .collect();
        Listing {
            set: "routeTableSet",
            ids: "RouteTableId",
            key: "routeTableId",
            filters: &[
                ("association.main", "associationSet.main"),
                (
                    "association.route-table-association-id",
                    "associationSet.routeTableAssociationId",
                ),
                ("association.route-table-id", "associationSet.routeTableId"),
                ("association.subnet-id", "associationSet.subnetId"),
                ("owner-id", "ownerId"),
                ("route-table-id", "routeTableId"),
                (
                    "route.destination-cidr-block",
                    "routeSet.destinationCidrBlock",
                ),
                ("route.gateway-id", "routeSet.gatewayId"),
                ("route.nat-gateway-id", "routeSet.natGatewayId"),
                ("route.origin", "routeSet.origin"),
                ("route.state", "routeSet.state"),
                ("vpc-id", "vpcId"),
            ],
            unknown,
        }
        .answer(input, all)
    }

    fn render_route_table(&self, table: &RouteTable) -> Value {
        let local = self.region.vpcs.get(&table.vpc).map(|vpc| &vpc.cidr);
        let mut routes = vec![json!({
            "destinationCidrBlock": local,
            "gatewayId": "local",
            "origin": "CreateRouteTable",
            "state": "active",
        })];
        routes.extend(table.routes.iter().map(|route| {
            let (member, id, alive) = match &route.target {
                Target::InternetGateway(id) => (
                    "gatewayId",
                    id,
                    self.region
                        .internet_gateways
                        .get(id)
                        .is_some_and(|gateway| gateway.vpc.as_ref() == Some(&table.vpc)),
                ),
                Target::NatGateway(id) => (
                    "natGatewayId",
                    id,
                    self.region.nat_gateways.get(id).is_some_and(|gateway| {
                        ["pending", "available"].contains(&gateway.state.as_str())
                    }),
                ),
                Target::Interface(id) => (
                    "networkInterfaceId",
                    id,
                    self.region
                        .interfaces
                        .get(id)
                        .is_some_and(|interface| interface.attachment.is_some()),
                ),
            };
            json!({
                "destinationCidrBlock": route.destination,
                member: id,
                "origin": "CreateRoute",
                "state": if alive { "active" } else { "blackhole" },
            })
        }));
        let associations: Vec<Value> = table
            .associations
            .iter()
            .map(|association| {
                json!({
                    "routeTableAssociationId": association.id,
                    "routeTableId": table.id,
                    "subnetId": association.subnet,
                    "main": association.subnet.is_none(),
                    "associationState": {"state": "associated"},
                })
            })
            .collect();
        json!({
            "routeTableId": table.id,
            "vpcId": table.vpc,
            "ownerId": self.account,
            "routeSet": routes,
            "associationSet": associations,
            "propagatingVgwSet": [],
            "tagSet": self.rendered_tags(&table.id),
        })
    }

    pub(super) fn describe_network_acls(&self, input: Input<'_>) -> Result<Value, Fault> {
        let all = self
            .region
            .network_acls
            .values()
            .map(|acl| {
                let entry = |egress: bool, number: u32, action: &str| {
                    json!({"ruleNumber": number, "protocol": "-1", "ruleAction": action, "egress": egress,
                        "cidrBlock": "0.0.0.0/0"})
                };
                let subnets: Vec<Value> = self
                    .region
                    .subnets
                    .values()
                    .filter(|subnet| subnet.vpc == acl.vpc)
                    .map(|subnet| {
                        json!({
                            "networkAclAssociationId": subnet.id.replacen("subnet", "aclassoc", 1),
                            "networkAclId": acl.id,
                            "subnetId": subnet.id,
                        })
                    })
                    .collect();
                json!({
                    "networkAclId": acl.id,
                    "vpcId": acl.vpc,
                    "ownerId": self.account,
                    "default": true,
                    "entrySet": [entry(true, 100, "allow"), entry(true, 32767, "deny"),
                        entry(false, 100, "allow"), entry(false, 32767, "deny")],
                    "associationSet": subnets,
                    "tagSet": self.rendered_tags(&acl.id),
                })
            })
            .collect();
        Listing {
            set: "networkAclSet",
            ids: "NetworkAclId",
            key: "networkAclId",
            filters: &[
                ("association.subnet-id", "associationSet.subnetId"),
                ("default", "default"),
                ("network-acl-id", "networkAclId"),
                ("owner-id", "ownerId"),
                ("vpc-id", "vpcId"),
            ],
            unknown: |id| {
                fault(
                    "InvalidNetworkAclID.NotFound",
                    format!("The networkAcl ID '{id}' does not exist"),
                )
            },
        }
        .answer(input, all)
    }
}

fn unknown(id: &str) -> Fault {
    fault(
        "InvalidRouteTableID.NotFound",
        format!("The routeTable ID '{id}' does not exist"),
    )
}
