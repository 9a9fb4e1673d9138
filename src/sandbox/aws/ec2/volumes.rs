//! EBS volumes: nodes' disks, and those that something forgot.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::{Input, Listing, fault, invalid};
use super::places::zones;
use super::{Ec2, Fault, done, moment};
use crate::sandbox::clock::Millis;

/// A volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// `vol-…`.
    pub id: String,
    /// The availability zone.
    pub zone: String,
    /// GiB.
    pub size: u64,
    /// `gp3`, …
    pub kind: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The instance that has it.
    pub instance: Option<String>,
    /// The device name there.
    pub device: String,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
    /// When it was made.
    pub created_at: Millis,
}

impl Ec2<'_> {
    pub(super) fn create_volume(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let zone = input.required("AvailabilityZone")?;
        if !zones(self.name).contains(&zone) {
            return Err(fault(
                "InvalidZone.NotFound",
                format!("The zone '{zone}' does not exist."),
            ));
        }
        let size = input.number("Size")?.ok_or_else(|| {
            fault(
                "MissingParameter",
                "The request must contain the parameter size/snapshot",
            )
        })?;
        if !(1..=65536).contains(&size) {
            return Err(invalid(format!(
                "Volume of {size}GiB is invalid for volume type 'gp3'; must be between 1 and 65536 GiB."
            )));
        }
        let tags = self.tags_of_request(input, "volume")?;
        let id = self.fresh("vol");
        let volume = Volume {
            id: id.clone(),
            zone,
            size: size as u64,
            kind: input.text("VolumeType").unwrap_or_else(|| "gp2".into()),
            encrypted: input.flag("Encrypted")?.unwrap_or(false),
            instance: None,
            device: String::new(),
            delete_on_termination: false,
            created_at: self.now(),
        };
        self.set_tags(&id, tags);
        let mut rendered = self.render_volume(&volume);
        rendered["status"] = json!("creating");
        self.region.volumes.insert(id, volume);
        Ok(rendered)
    }

    pub(super) fn delete_volume(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("VolumeId")?;
        let volume = self.region.volumes.get(&id).ok_or_else(|| unknown(&id))?;
        if let Some(instance) = &volume.instance {
            return Err(fault(
                "VolumeInUse",
                format!("Volume {id} is currently attached to {instance}"),
            ));
        }
        self.region.volumes.remove(&id);
        self.region.tags.remove(&id);
        done()
    }

    pub(super) fn describe_volumes(&self, input: Input<'_>) -> Result<Value, Fault> {
        let all = self
            .region
            .volumes
            .values()
            .map(|volume| self.render_volume(volume))
            .collect();
        Listing {
            set: "volumeSet",
            ids: "VolumeId",
            key: "volumeId",
            filters: &[
                (
                    "attachment.delete-on-termination",
                    "attachmentSet.deleteOnTermination",
                ),
                ("attachment.device", "attachmentSet.device"),
                ("attachment.instance-id", "attachmentSet.instanceId"),
                ("attachment.status", "attachmentSet.status"),
                ("availability-zone", "availabilityZone"),
                ("encrypted", "encrypted"),
                ("size", "size"),
                ("snapshot-id", "snapshotId"),
                ("status", "status"),
                ("volume-id", "volumeId"),
                ("volume-type", "volumeType"),
            ],
            unknown,
        }
        .answer(input, all)
    }

    fn render_volume(&self, volume: &Volume) -> Value {
        let attachments: Vec<Value> = volume
            .instance
            .iter()
            .map(|instance| {
                json!({"volumeId": volume.id, "instanceId": instance, "device": volume.device, "status": "attached",
                    "attachTime": moment(volume.created_at), "deleteOnTermination": volume.delete_on_termination})
            })
            .collect();
        json!({
            "volumeId": volume.id,
            "availabilityZone": volume.zone,
            "size": volume.size,
            "volumeType": volume.kind,
            "iops": if volume.kind == "gp3" { 3000 } else { (volume.size * 3).clamp(100, 16000) },
            "throughput": (volume.kind == "gp3").then_some(125),
            "snapshotId": "",
            "status": if volume.instance.is_some() { "in-use" } else { "available" },
            "createTime": moment(volume.created_at),
            "encrypted": volume.encrypted,
            "multiAttachEnabled": false,
            "attachmentSet": attachments,
            "tagSet": self.rendered_tags(&volume.id),
        })
    }
}

fn unknown(id: &str) -> Fault {
    fault(
        "InvalidVolume.NotFound",
        format!("The volume '{id}' does not exist."),
    )
}
