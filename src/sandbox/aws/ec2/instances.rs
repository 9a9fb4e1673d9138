//! Instances: the nodes that EKS runs, from pending to terminated, and what they leave behind.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::{Input, fault, filters, page};
use super::interfaces::private_name;
use super::places::{instance_type, zone_id};
use super::templates::find_version;
use super::{Attachment, Ec2, Fault, NewInterface, Volume, moment};
use crate::sandbox::clock::Millis;

/// How long an instance is pending, in seconds.
const BOOT: u64 = 15;
/// How long one takes to shut down, in seconds.
const SHUTDOWN: u64 = 30;
/// How long a terminated one can still be described, in seconds.
const AFTERLIFE: u64 = 3600;

/// An instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// Its type: `t3.medium`.
    pub kind: String,
    /// The subnet.
    pub subnet: String,
    /// The VPC.
    pub vpc: String,
    /// The availability zone.
    pub zone: String,
    /// Its primary private address.
    pub address: Ipv4Addr,
    /// Its private host name, which is a Kubernetes node's name.
    pub host_name: String,
    /// `pending`, `running`, `shutting-down`, `terminated`.
    pub state: String,
    /// The EKS cluster that it is a node of.
    pub cluster: Option<String>,
    /// Its instance profile's ARN.
    pub profile: Option<String>,
    image: String,
    reservation: String,
    metadata: Value,
    groups: Vec<String>,
    root_device: String,
    volume: Option<String>,
    launched_at: Millis,
    due: Option<Millis>,
    reason: Option<(String, String)>,
}

/// A node to start.
#[derive(Clone, Debug, Default)]
pub struct NewNode {
    /// The subnet.
    pub subnet: String,
    /// The instance type.
    pub kind: String,
    /// The machine image.
    pub image: String,
    /// Security groups of its interfaces.
    pub groups: Vec<String>,
    /// The instance profile's ARN.
    pub profile: Option<String>,
    /// The launch template's id and version, whose disk, metadata options and tags it gets.
    pub template: Option<(String, u64)>,
    /// The EKS cluster.
    pub cluster: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

impl Ec2<'_> {
    /// Starts a node; it is running after a modelled while.
    ///
    /// # Errors
    /// An unknown type, subnet, security group or launch template; no free address.
    pub fn run_node(&mut self, new: NewNode) -> Result<Instance, Fault> {
        if instance_type(&new.kind).is_none() {
            return Err(unknown_type(&new.kind));
        }
        let data = match &new.template {
            None => json!({}),
            Some((template, version)) => find_version(
                self.launch_template(Some(template), None)?,
                &version.to_string(),
            )?
            .data
            .clone(),
        };
        let id = self.fresh("i");
        let subnet = self.subnet(&new.subnet)?.clone();
        let tags_for = |kind: &str| {
            data["tagSpecificationSet"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|specification| specification["resourceType"] == kind)
                .flat_map(|specification| specification["tagSet"].as_array().into_iter().flatten())
                .filter_map(|tag| {
                    Some((
                        tag["key"].as_str()?.to_owned(),
                        tag["value"].as_str()?.to_owned(),
                    ))
                })
                .collect::<Vec<_>>()
        };
        let interface = self.insert_interface(NewInterface {
            subnet: new.subnet,
            groups: new.groups.clone(),
            tags: tags_for("network-interface"),
            ..NewInterface::default()
        })?;
        self.attach(&interface, &id, 0, true);
        let address = self.interface(&interface)?.address;
        let mapping = &data["blockDeviceMappingSet"][0];
        let disk = &mapping["ebs"];
        let number = |value: &Value| {
            value
                .as_u64()
                .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        };
        let root_device = mapping["deviceName"]
            .as_str()
            .unwrap_or("/dev/xvda")
            .to_owned();
        let volume = Volume {
            id: self.fresh("vol"),
            zone: subnet.zone.clone(),
            size: number(&disk["volumeSize"]).unwrap_or(20),
            kind: disk["volumeType"].as_str().unwrap_or("gp3").to_owned(),
            encrypted: flag(&disk["encrypted"]).unwrap_or(false),
            instance: Some(id.clone()),
            device: root_device.clone(),
            delete_on_termination: flag(&disk["deleteOnTermination"]).unwrap_or(true),
            created_at: self.now(),
        };
        let volume_id = volume.id.clone();
        self.region.volumes.insert(volume_id.clone(), volume);
        self.set_tags(&volume_id, tags_for("volume"));
        let mut metadata = json!({
            "state": "applied", "httpTokens": "required", "httpPutResponseHopLimit": 2, "httpEndpoint": "enabled",
            "httpProtocolIpv6": "disabled", "instanceMetadataTags": "disabled",
        });
        for (name, value) in data["metadataOptions"].as_object().into_iter().flatten() {
            metadata[name.as_str()] = value.clone();
        }
        let mut tags = tags_for("instance");
        tags.extend(new.tags);
        if let Some((template, version)) = &new.template {
            tags.push(("aws:ec2launchtemplate:id".into(), template.clone()));
            tags.push(("aws:ec2launchtemplate:version".into(), version.to_string()));
        }
        let instance = Instance {
            id: id.clone(),
            kind: new.kind,
            subnet: subnet.id,
            vpc: subnet.vpc,
            zone: subnet.zone,
            address,
            host_name: private_name(self.name, address),
            state: "pending".into(),
            cluster: new.cluster,
            profile: new.profile,
            image: new.image,
            reservation: self.fresh("r"),
            metadata,
            groups: self.interface(&interface)?.groups.clone(),
            root_device,
            volume: Some(volume_id),
            launched_at: self.now(),
            due: Some(self.after(BOOT)),
            reason: None,
        };
        self.set_tags(&id, tags);
        self.region.instances.insert(id, instance.clone());
        Ok(instance)
    }

    /// Looks an instance up.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn instance(&self, id: &str) -> Result<&Instance, Fault> {
        self.region.instances.get(id).ok_or_else(|| unknown(id))
    }

    pub(super) fn primary_interface(&self, instance: &str) -> Result<String, Fault> {
        self.instance(instance)?;
        self.region
            .interfaces
            .values()
            .find(|interface| {
                interface.attachment.as_ref().is_some_and(|held| {
                    held.index == 0 && held.instance.as_deref() == Some(instance)
                })
            })
            .map(|interface| interface.id.clone())
            .ok_or_else(|| unknown(instance))
    }

    fn attach(&mut self, interface: &str, instance: &str, index: u32, delete_on_termination: bool) {
        let attachment = Attachment {
            id: self.fresh("eni-attach"),
            instance: Some(instance.to_owned()),
            owner: self.account.to_owned(),
            index,
            delete_on_termination,
            since: self.now(),
        };
        if let Some(interface) = self.region.interfaces.get_mut(interface) {
            interface.attachment = Some(attachment);
        }
    }

    /// Begins to terminate an instance, for a service or a user. Terminating twice is fine.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn terminate_node(&mut self, id: &str, reason: &str) -> Result<(), Fault> {
        let due = self.after(SHUTDOWN);
        let instance = self
            .region
            .instances
            .get_mut(id)
            .ok_or_else(|| unknown(id))?;
        if ["pending", "running"].contains(&instance.state.as_str()) {
            instance.state = "shutting-down".into();
            instance.due = Some(due);
            instance.reason = Some((
                "Client.UserInitiatedShutdown".into(),
                format!("Client.UserInitiatedShutdown: {reason}"),
            ));
        }
        Ok(())
    }

    pub(super) fn terminate_instances(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let ids = input.list("InstanceId");
        if ids.is_empty() {
            return Err(super::input::missing("InstanceId"));
        }
        for id in &ids {
            self.instance(id)?;
        }
        let mut changes = Vec::new();
        for id in &ids {
            let before = self.instance(id)?.state.clone();
            self.terminate_node(id, "User initiated shutdown")?;
            let after = &self.instance(id)?.state;
            changes.push(json!({"instanceId": id, "previousState": state(&before), "currentState": state(after)}));
        }
        Ok(json!({ "instancesSet": changes }))
    }

    pub(super) fn tick_instances(&mut self) -> bool {
        let now = self.now();
        let afterlife = self.after(AFTERLIFE);
        let due: Vec<String> = self
            .region
            .instances
            .values()
            .filter(|instance| instance.due.is_some_and(|due| due <= now))
            .map(|instance| instance.id.clone())
            .collect();
        for id in &due {
            let Some(instance) = self.region.instances.get_mut(id) else {
                continue;
            };
            match instance.state.as_str() {
                "pending" => {
                    instance.state = "running".into();
                    instance.due = None;
                    let instance = instance.clone();
                    self.attach_pod_interface(&instance);
                }
                "shutting-down" => {
                    instance.state = "terminated".into();
                    instance.due = Some(afterlife);
                    let instance = instance.clone();
                    self.release(&instance);
                }
                _ => {
                    self.region.instances.remove(id);
                    self.region.tags.remove(id);
                }
            }
        }
        !due.is_empty()
    }

    /// What the VPC CNI does on a node: a second interface, whose addresses become pods'.
    fn attach_pod_interface(&mut self, instance: &Instance) {
        let Some(cluster) = &instance.cluster else {
            return;
        };
        let made = self.insert_interface(NewInterface {
            subnet: instance.subnet.clone(),
            groups: instance.groups.clone(),
            description: format!("aws-K8S-{}", instance.id),
            tags: vec![
                ("cluster.k8s.amazonaws.com/name".into(), cluster.clone()),
                ("eks:eni:owner".into(), "amazon-vpc-cni".into()),
                (
                    "node.k8s.amazonaws.com/createdAt".into(),
                    moment(self.now()),
                ),
                (
                    "node.k8s.amazonaws.com/instance_id".into(),
                    instance.id.clone(),
                ),
            ],
            ..NewInterface::default()
        });
        if let Ok(interface) = made {
            self.attach(&interface, &instance.id, 1, true);
        }
    }

    /// What becomes of a terminated instance's interfaces and volume.
    ///
    /// A node that dies while its CNI plugin is between detaching and deleting an interface leaves that one behind,
    /// `available`, in its subnet and its security group. It happens to some nodes of some clusters; here, so that
    /// cleaning up is always put to the test, to the first node of every VPC.
    fn release(&mut self, instance: &Instance) {
        let leaked = |description: &str| description.starts_with("aws-K8S-");
        let mut leak = !self.region.interfaces.values().any(|interface| {
            interface.vpc == instance.vpc
                && interface.attachment.is_none()
                && leaked(&interface.description)
        });
        let held: Vec<String> = self
            .region
            .interfaces
            .values()
            .filter(|interface| {
                interface
                    .attachment
                    .as_ref()
                    .is_some_and(|held| held.instance.as_deref() == Some(&instance.id))
            })
            .map(|interface| interface.id.clone())
            .collect();
        for id in held {
            let Some(interface) = self.region.interfaces.get_mut(&id) else {
                continue;
            };
            if leak && leaked(&interface.description) {
                interface.attachment = None;
                leak = false;
            } else if interface
                .attachment
                .as_ref()
                .is_some_and(|held| held.delete_on_termination)
            {
                self.remove_interface(&id);
            } else {
                interface.attachment = None;
            }
        }
        if let Some(id) = &instance.volume
            && let Some(volume) = self.region.volumes.get_mut(id)
        {
            volume.instance = None;
            if volume.delete_on_termination {
                self.region.volumes.remove(id);
                self.region.tags.remove(id);
            }
        }
    }

    pub(super) fn describe_instances(&self, input: Input<'_>) -> Result<Value, Fault> {
        let ids = input.list("InstanceId");
        for id in &ids {
            self.instance(id)?;
        }
        let filters = filters(
            input,
            &[
                ("availability-zone", "placement.availabilityZone"),
                ("iam-instance-profile.arn", "iamInstanceProfile.arn"),
                ("image-id", "imageId"),
                ("instance-id", "instanceId"),
                ("instance-state-code", "instanceState.code"),
                ("instance-state-name", "instanceState.name"),
                ("instance-type", "instanceType"),
                ("instance.group-id", "groupSet.groupId"),
                ("instance.group-name", "groupSet.groupName"),
                (
                    "network-interface.network-interface-id",
                    "networkInterfaceSet.networkInterfaceId",
                ),
                ("owner-id", "ownerId"),
                ("private-dns-name", "privateDnsName"),
                ("private-ip-address", "privateIpAddress"),
                ("reservation-id", "reservationId"),
                ("subnet-id", "subnetId"),
                ("vpc-id", "vpcId"),
            ],
        )?;
        let found = self
            .region
            .instances
            .values()
            .filter(|instance| ids.is_empty() || ids.contains(&instance.id))
            .map(|instance| (instance, self.render_instance(instance)))
            .filter(|(_, rendered)| filters.iter().all(|filter| filter.accepts(rendered)))
            .map(|(instance, mut rendered)| {
                // Both are the reservation's to tell, and yet instances are found by them.
                for member in ["ownerId", "reservationId"] {
                    rendered.as_object_mut().map(|object| object.remove(member));
                }
                json!({
                    "reservationId": instance.reservation,
                    "ownerId": self.account,
                    "groupSet": [],
                    "instancesSet": [rendered],
                })
            })
            .collect();
        page(input, "reservationSet", found, input.number("MaxResults")?)
    }

    fn render_instance(&self, instance: &Instance) -> Value {
        let alive = instance.state != "terminated";
        let interfaces: Vec<Value> = self
            .region
            .interfaces
            .values()
            .filter(|interface| {
                interface
                    .attachment
                    .as_ref()
                    .is_some_and(|held| held.instance.as_deref() == Some(&instance.id))
            })
            .map(|interface| {
                let mut shown = self.render_interface(interface);
                // An instance's interfaces are told with less than interfaces themselves.
                let foreign = [
                    (
                        "",
                        &["availabilityZone", "availabilityZoneId", "requesterId"][..],
                    ),
                    ("", &["requesterManaged", "tagSet"]),
                    ("/attachment", &["instanceId", "instanceOwnerId"]),
                    ("/association", &["allocationId", "associationId"]),
                    (
                        "/privateIpAddressesSet/0/association",
                        &["allocationId", "associationId"],
                    ),
                ];
                for (place, members) in foreign {
                    if let Some(object) = shown.pointer_mut(place).and_then(Value::as_object_mut) {
                        object.retain(|name, _| !members.contains(&name.as_str()));
                    }
                }
                shown
            })
            .collect();
        let disks: Vec<Value> = instance
            .volume
            .iter()
            .filter_map(|id| self.region.volumes.get(id))
            .map(|volume| {
                json!({"deviceName": volume.device, "ebs": {"volumeId": volume.id, "status": "attached",
                    "attachTime": moment(volume.created_at), "deleteOnTermination": volume.delete_on_termination}})
            })
            .collect();
        json!({
            "instanceId": instance.id,
            "imageId": instance.image,
            "instanceType": instance.kind,
            "instanceState": state(&instance.state),
            "amiLaunchIndex": 0,
            "architecture": instance_type(&instance.kind).map(|kind| kind.architecture),
            "launchTime": moment(instance.launched_at),
            "placement": {"availabilityZone": instance.zone, "availabilityZoneId": zone_id(self.name, &instance.zone),
                "groupName": "", "tenancy": "default"},
            "monitoring": {"state": "disabled"},
            "subnetId": alive.then_some(&instance.subnet),
            "vpcId": alive.then_some(&instance.vpc),
            "privateIpAddress": alive.then_some(instance.address),
            "privateDnsName": if alive { instance.host_name.as_str() } else { "" },
            "dnsName": "",
            "ebsOptimized": false,
            "enaSupport": true,
            "hypervisor": "xen",
            "virtualizationType": "hvm",
            "rootDeviceName": instance.root_device,
            "rootDeviceType": "ebs",
            "sourceDestCheck": true,
            "iamInstanceProfile": instance.profile.as_ref().map(|arn| json!({"arn": arn})),
            "groupSet": if alive { self.render_groups(&instance.groups) } else { Vec::new() },
            "networkInterfaceSet": interfaces,
            "blockDeviceMapping": disks,
            "metadataOptions": instance.metadata,
            "platformDetails": "Linux/UNIX",
            "reason": instance.reason.as_ref().map_or("", |(_, message)| message),
            "stateReason": instance.reason.as_ref().map(|(code, message)| json!({"code": code, "message": message})),
            "ownerId": self.account,
            "reservationId": instance.reservation,
            "tagSet": self.rendered_tags(&instance.id),
        })
    }
}

fn flag(value: &Value) -> Option<bool> {
    value
        .as_bool()
        .or_else(|| value.as_str().map(|text| text.eq_ignore_ascii_case("true")))
}

fn state(name: &str) -> Value {
    let code = match name {
        "pending" => 0,
        "running" => 16,
        "shutting-down" => 32,
        _ => 48,
    };
    json!({"code": code, "name": name})
}

fn unknown(id: &str) -> Fault {
    fault(
        "InvalidInstanceID.NotFound",
        format!("The instance ID '{id}' does not exist"),
    )
}

pub(super) fn unknown_type(kind: &str) -> Fault {
    fault(
        "InvalidInstanceType",
        format!("The following supplied instance types do not exist: [{kind}]"),
    )
}
