//! The network: a VPC in three zones, and the way out of it.
//!
//! Both are one stack. Its subnets exist after seconds and its NAT gateway after minutes, and the control plane, the
//! longest wait of all, needs only the subnets. So the stack is two steps: [`NetworkSubnets`] starts it and is done when
//! the subnets are, which it sees in the stack's resources; [`NetworkEgress`] is done when the stack is, and only what
//! needs the internet (nodes) waits for it. A failure half-way keeps what was made, because a roll-back would pull the
//! subnets from under a cluster that is being made in them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use aws_sdk_cloudformation::types::StackStatus;

use super::outputs::Subnets;
use super::{stack_outputs, sweep};
use crate::clients::Clients;
use crate::clients::eks;
use crate::clients::stacks::{self, Outputs, Stack};
use crate::config::{Environment, Names, Nat};
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Result, Step, StepId,
};

const PUBLIC: [&str; 3] = ["PublicSubnetA", "PublicSubnetB", "PublicSubnetC"];
const PRIVATE: [&str; 3] = ["PrivateSubnetA", "PrivateSubnetB", "PrivateSubnetC"];

/// The stack, as wanted.
pub fn stack(environment: &Environment) -> Stack {
    let names = Names::new(&environment.name);
    let nat = match environment.network.nat {
        Nat::Single => "single",
        Nat::PerZone => "per-zone",
    };
    Stack {
        name: names.stack("network"),
        owner: environment.name.clone(),
        template: include_str!("../../stacks/network.yaml"),
        parameters: BTreeMap::from([
            ("EnvironmentName", environment.name.clone()),
            ("ClusterName", names.cluster()),
            ("VpcCidr", environment.network.cidr.clone()),
            ("SubnetBits", subnet_bits(&environment.network.cidr)),
            ("NatGateways", nat.to_owned()),
        ]),
        names_iam: false,
        keeps_progress: true,
    }
}

/// How many bits of an address are left in a subnet: six need eighths, and CloudFormation cannot count.
fn subnet_bits(cidr: &str) -> String {
    let prefix = cidr
        .rsplit('/')
        .next()
        .and_then(|prefix| prefix.parse().ok());
    (29 - prefix.unwrap_or(16_u8).clamp(16, 20)).to_string()
}

/// The ranges of the public and of the private subnets, as the stack's `Cidr` deals them out: the first six eighths.
pub(super) fn subnet_ranges(cidr: &str) -> (Vec<String>, Vec<String>) {
    let (address, prefix) = cidr.split_once('/').unwrap_or((cidr, "16"));
    let address: Ipv4Addr = address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let prefix = prefix.parse().unwrap_or(16_u8).clamp(16, 20) + 3;
    let eighth = |index: u32| {
        let first = u32::from(address).wrapping_add(index << (32 - prefix));
        format!("{}/{prefix}", Ipv4Addr::from(first))
    };
    ((0..3).map(eighth).collect(), (3..6).map(eighth).collect())
}

fn subnets(stack: &Stack, outputs: &Outputs) -> Result<Subnets> {
    let output = |name| stack_outputs::required(stack, outputs, name);
    let list = |name| Ok(output(name)?.split(',').map(str::to_owned).collect());
    Ok(Subnets {
        vpc: output("VpcId")?,
        public: list("PublicSubnetIds")?,
        private: list("PrivateSubnetIds")?,
    })
}

fn made_subnets(made: &BTreeMap<String, String>) -> Option<Subnets> {
    let all = |names: &[&str]| -> Option<Vec<String>> {
        names.iter().map(|name| made.get(*name).cloned()).collect()
    };
    Some(Subnets {
        vpc: made.get("Vpc")?.clone(),
        public: all(&PUBLIC)?,
        private: all(&PRIVATE)?,
    })
}

fn plan(seen: &Observed<Subnets>) -> Change {
    match seen {
        // What was made is kept and gone on from.
        Observed::Failed(reason)
            if reason.starts_with("CREATE_FAILED") || reason.starts_with("UPDATE_FAILED") =>
        {
            Change::Update(vec![reason.clone()])
        }
        // CloudFormation would make another VPC and wait for ever to delete the one that the cluster is in.
        Observed::Ready { drift, .. } => {
            match drift.iter().find(|line| line.starts_with("VpcCidr")) {
                Some(line) => Change::Blocked(format!(
                    "the network's addresses cannot change while the environment exists ({line}); `meshctl down` first"
                )),
                None => Change::from_observed(seen),
            }
        }
        seen => Change::from_observed(seen),
    }
}

/// The VPC and its subnets: the beginning of the network's stack. Its removal is that of the whole stack.
pub struct NetworkSubnets {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
}

impl NetworkSubnets {
    /// A deletion that failed can only be gone on with, which cannot end while a cluster lives in the network.
    async fn refuse_half_deleted(&self, stack: &Stack) -> Result<()> {
        let found = stacks::find(&self.clients.cloudformation, &stack.name).await?;
        let Some(found) = found.filter(|found| found.status == StackStatus::DeleteFailed) else {
            return Ok(());
        };
        let cluster = Names::new(&self.environment.name).cluster();
        if eks::find_cluster(&self.clients.eks, &cluster)
            .await?
            .is_none()
        {
            return Ok(());
        }
        let status = found.status.as_str();
        let message = format!("{status}: it was half deleted under the cluster that lives in it");
        Err(
            Failure::of(FailureKind::Blocked, stack.title(), message).hint(
                "nothing but its deletion can go on: `meshctl down`, then `meshctl up` makes all of it anew",
            ),
        )
    }
}

impl Step for NetworkSubnets {
    type Outputs = Subnets;

    fn id(&self) -> StepId {
        "network".into()
    }

    fn title(&self) -> String {
        format!(
            "network {}",
            Names::new(&self.environment.name).stack("network")
        )
    }

    fn expected(&self) -> Expected {
        Expected::seconds(30, 90)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<Subnets>> {
        let stack = stack(&self.environment);
        let seen = stack.observe(&self.clients.cloudformation).await?;
        stack_outputs::typed(seen, |outputs| subnets(&stack, outputs))
    }

    fn plan(&self, seen: &Observed<Subnets>) -> Change {
        plan(seen)
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<Subnets> {
        let stack = stack(&self.environment);
        let client = &self.clients.cloudformation;
        self.refuse_half_deleted(&stack).await?;
        let id = stack.begin(cx, client).await?;
        let wanted: Vec<&str> = ["Vpc"].into_iter().chain(PUBLIC).chain(PRIVATE).collect();
        let made = stack.resources(cx, client, &id, &wanted).await?;
        made_subnets(&made).ok_or_else(|| Failure::new(stack.title(), "it lacks subnets"))
    }

    async fn destroy(&self, cx: &Context, _: &Observed<Subnets>) -> Result<()> {
        let name = Names::new(&self.environment.name).stack("network");
        let client = &self.clients.cloudformation;
        // Asked of the resources: a stack that failed half-way, also on its way out, has no outputs, and yet a VPC.
        let vpc = stacks::remaining_resources(client, &name, &name)
            .await
            .ok()
            .and_then(|made| made.get("Vpc").cloned());
        let environment = &self.environment.name;
        if let Some(vpc) = &vpc {
            sweep::network_interfaces(cx, &self.clients, environment, vpc).await?;
        }
        let Some(failure) = stacks::delete_once(cx, client, &name).await? else {
            return Ok(());
        };
        let cluster = Names::new(environment).cluster();
        eks::refuse_made_again(&self.clients.eks, &cluster, environment).await?;
        let Some(vpc) = vpc else {
            return stacks::delete_again(cx, client, &name, &failure).await;
        };
        // Interfaces of load balancers and nodes turn up as `available` minutes after their owners are gone.
        sweep::network_interfaces(cx, &self.clients, environment, &vpc).await?;
        sweep::security_groups(cx, &self.clients, environment, &vpc).await?;
        let Err(failure) = stacks::delete_again(cx, client, &name, &failure).await else {
            return Ok(());
        };
        let strangers = sweep::strangers(&self.clients, environment, &vpc).await?;
        Err(match strangers.is_empty() {
            true => failure,
            false => {
                let whose = format!(
                    "{vpc} holds what is not of this environment: {}. Remove it, or have its owner do so; then run \
                     `meshctl down` again",
                    strangers.join(", ")
                );
                Failure::of(FailureKind::Blocked, failure.resource, failure.message).hint(whose)
            }
        })
    }
}

/// The network's way out: the rest of its stack.
pub struct NetworkEgress {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The beginning of the stack.
    pub subnets: Input<Subnets>,
}

impl Step for NetworkEgress {
    type Outputs = Subnets;
    /// Goes with the stack.
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        "network/egress".into()
    }

    fn title(&self) -> String {
        let nat = match self.environment.network.nat {
            Nat::Single => "a NAT gateway",
            Nat::PerZone => "a NAT gateway in each zone",
        };
        format!("way out of the network through {nat}")
    }

    fn expected(&self) -> Expected {
        Expected::seconds(120, 0)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<Subnets>> {
        let subnets = self.subnets.get(cx)?;
        let stack = stack(&self.environment);
        Ok(match stack.observe(&self.clients.cloudformation).await? {
            Observed::Ready { drift, .. } => Observed::Ready {
                outputs: subnets,
                drift,
            },
            Observed::Pending(status) => Observed::Pending(status),
            Observed::Failed(reason) => Observed::Failed(reason),
            _ => Observed::Absent,
        })
    }

    fn plan(&self, seen: &Observed<Subnets>) -> Change {
        match seen {
            Observed::Pending(_) => Change::Create,
            seen => plan(seen),
        }
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<Subnets> {
        let stack = stack(&self.environment);
        let outputs = stack.deploy(cx, &self.clients.cloudformation).await?;
        subnets(&stack, &outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(drift: &[&str]) -> Observed<Subnets> {
        Observed::Ready {
            outputs: Subnets {
                vpc: "vpc-1".into(),
                public: Vec::new(),
                private: Vec::new(),
            },
            drift: drift.iter().map(|&line| line.to_owned()).collect(),
        }
    }

    #[test]
    fn subnets_are_eighths_of_the_network() {
        assert_eq!(subnet_bits("10.42.0.0/16"), "13");
        assert_eq!(subnet_bits("192.168.16.0/20"), "9");
    }

    #[test]
    fn subnets_are_where_the_stack_puts_them() {
        let (public, private) = subnet_ranges("10.42.0.0/16");
        assert_eq!(public, ["10.42.0.0/19", "10.42.32.0/19", "10.42.64.0/19"]);
        assert_eq!(
            private,
            ["10.42.96.0/19", "10.42.128.0/19", "10.42.160.0/19"]
        );
        let (public, private) = subnet_ranges("192.168.16.0/20");
        assert_eq!(public[2], "192.168.20.0/23");
        assert_eq!(private[2], "192.168.26.0/23");
    }

    #[test]
    fn a_creation_that_failed_half_way_is_gone_on_with() {
        let seen = Observed::Failed("CREATE_FAILED: no more addresses".into());
        assert!(matches!(plan(&seen), Change::Update(_)));
        let seen = Observed::Failed("ROLLBACK_COMPLETE".into());
        assert!(matches!(plan(&seen), Change::Replace(_)));
    }

    #[test]
    fn other_addresses_are_refused_and_another_nat_is_not() {
        assert!(matches!(
            plan(&ready(&["VpcCidr: 10.1.0.0/16 → 10.2.0.0/16"])),
            Change::Blocked(_)
        ));
        assert!(matches!(
            plan(&ready(&["NatGateways: single → per-zone"])),
            Change::Update(_)
        ));
        assert_eq!(plan(&ready(&[])), Change::Keep);
    }

    #[test]
    fn the_template_has_the_resources_that_are_waited_for() {
        let template = include_str!("../../stacks/network.yaml");
        for name in ["Vpc"].iter().chain(&PUBLIC).chain(&PRIVATE) {
            assert!(template.contains(&format!("\n  {name}:\n")), "{name}");
        }
    }
}
