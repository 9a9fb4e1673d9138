//! An EKS add-on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use aws_sdk_eks::types::{Addon, AddonStatus, ResolveConflicts};

use serde_json::{Map, Value};

use super::outputs::ControlPlane;
use crate::clients::Clients;
use crate::clients::aws::{failed, foreign, is};
use crate::clients::eks::{self, Asked, Going, Remains, Updated};
use crate::clients::stacks::token;
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Poll, Result, Step, StepId,
    Wait,
};

/// How long its removal may take.
const DELETION: Duration = Duration::from_secs(10 * 60);
/// How often one run applies it again at most: its pods may take longer than EKS waits for them.
const REAPPLIED: u32 = 3;

/// An EKS add-on in the version that EKS takes for the cluster's.
pub struct ClusterAddon {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The cluster.
    pub control_plane: Input<ControlPlane>,
    /// The add-on's name: `vpc-cni`.
    pub name: &'static str,
    /// Settings that it has to have, as [`NETWORK_POLICIES`]. What somebody else sets beside them stays.
    pub settings: &'static [(&'static str, &'static str)],
}

/// Has the VPC CNI enforce network policies, which it ignores by default. A string: its schema takes no boolean.
pub const NETWORK_POLICIES: &[(&str, &str)] = &[("enableNetworkPolicy", "true")];

impl ClusterAddon {
    fn cluster(&self) -> String {
        Names::new(&self.environment.name).cluster()
    }

    fn resource(&self) -> String {
        format!("add-on {}", self.name)
    }

    async fn find(&self) -> Result<Option<Addon>> {
        let described = self
            .clients
            .eks
            .describe_addon()
            .cluster_name(self.cluster())
            .addon_name(self.name)
            .send()
            .await;
        match described {
            Ok(described) => Ok(described.addon),
            // The add-on or the cluster.
            Err(error) if is(&error, eks::NOT_FOUND) => Ok(None),
            Err(error) => Err(failed(self.resource())(error)),
        }
    }

    /// Its settings as they are to be, where they differ: those that it has, and ours.
    fn lacking(&self, addon: &Addon) -> Option<String> {
        with_settings(addon.configuration_values(), self.settings)
    }

    fn drift(&self, addon: &Addon) -> Vec<String> {
        match self.lacking(addon) {
            Some(wanted) => vec![format!("settings: → {wanted}")],
            None => Vec::new(),
        }
    }

    async fn create(&self, cx: &Context) -> Result<()> {
        let created = self
            .clients
            .eks
            .create_addon()
            .cluster_name(self.cluster())
            .addon_name(self.name)
            .set_configuration_values(with_settings(None, self.settings))
            .resolve_conflicts(ResolveConflicts::Overwrite)
            .tags(OWNER_TAG, &self.environment.name)
            .client_request_token(token())
            .send()
            .await;
        match created {
            Ok(_) => Ok(()),
            // Another run was faster.
            Err(error) if is(&error, eks::IN_USE) => Ok(()),
            Err(error) => {
                let plane = self.control_plane.get(cx)?;
                let refused = failed(self.resource())(error);
                Err(plane.refusal(&self.clients.eks, refused).await)
            }
        }
    }

    /// Has EKS apply it again, which is what mends one that is degraded; without `settings` they stay as they are.
    async fn reapply(&self, cx: &Context, settings: Option<String>) -> Result<()> {
        let eks = &self.clients.eks;
        let updated = eks
            .update_addon()
            .cluster_name(self.cluster())
            .addon_name(self.name)
            .set_configuration_values(settings)
            .resolve_conflicts(ResolveConflicts::Overwrite)
            .client_request_token(token())
            .send()
            .await;
        match updated {
            Ok(updated) => {
                let which = Updated::Addon(self.name);
                let done = eks::update_done(cx, eks, &self.cluster(), which, updated.update).await;
                match done {
                    // Its status tells it to whoever looks next.
                    Err(failure) if failure.kind == FailureKind::Service => {
                        cx.progress(failure.message);
                        Ok(())
                    }
                    done => done,
                }
            }
            // Gone or busy meanwhile: whoever looks next sees it.
            Err(error) if is(&error, eks::NOT_FOUND) || is(&error, eks::IN_USE) => Ok(()),
            Err(error) => Err(failed(self.resource())(error)),
        }
    }

    async fn delete(&self, cx: &Context) -> Result<()> {
        let look = async || {
            Ok(self.find().await?.map(|addon| {
                let going = match addon.status() {
                    Some(AddonStatus::Deleting) => Going::Busy,
                    _ => Going::Still,
                };
                Remains {
                    going,
                    words: words(&addon),
                    made: addon.created_at,
                }
            }))
        };
        let ask = async || {
            let request = self.clients.eks.delete_addon();
            let request = request.cluster_name(self.cluster());
            let answer = request.addon_name(self.name).send().await;
            Asked::of(answer, &self.resource())
        };
        eks::delete(cx, &self.resource(), DELETION, look, ask).await
    }
}

/// What an add-on is set to, with ours in it; none when they are in it already.
fn with_settings(present: Option<&str>, ours: &[(&str, &str)]) -> Option<String> {
    // JSON or YAML, as whoever set it wrote it.
    let read = present.and_then(|text| serde_yaml::from_str::<Value>(text).ok());
    let mut settings = match read {
        Some(Value::Object(settings)) => settings,
        _ => Map::new(),
    };
    if ours
        .iter()
        .all(|(key, value)| settings.get(*key).and_then(Value::as_str) == Some(value))
    {
        return None;
    }
    for (key, value) in ours {
        settings.insert((*key).to_owned(), Value::from(*value));
    }
    Some(Value::Object(settings).to_string())
}

fn words(addon: &Addon) -> String {
    let status = addon.status().map_or("UNKNOWN", AddonStatus::as_str);
    let issues: Vec<String> = addon
        .health()
        .map(|health| health.issues())
        .unwrap_or_default()
        .iter()
        .map(|issue| {
            let code = issue.code().map_or("", |code| code.as_str());
            format!("{code}: {}", issue.message().unwrap_or_default())
        })
        .collect();
    if issues.is_empty() {
        status.to_owned()
    } else {
        format!("{status}: {}", issues.join("; "))
    }
}

impl Step for ClusterAddon {
    type Outputs = ();

    fn id(&self) -> StepId {
        format!("addon/{}", self.name).into()
    }

    fn title(&self) -> String {
        self.resource()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(30, 20)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<()>> {
        let Some(addon) = self.find().await? else {
            return Ok(Observed::Absent);
        };
        // Checked here too, because `down` comes this way when the cluster is somebody else's.
        let owner = addon.tags().and_then(|tags| tags.get(OWNER_TAG));
        if let Some(whose) = foreign(owner.map(String::as_str), &self.environment.name) {
            return Ok(Observed::Foreign(whose));
        }
        Ok(match addon.status() {
            Some(AddonStatus::Active) => Observed::Ready {
                outputs: (),
                drift: self.drift(&addon),
            },
            Some(AddonStatus::CreateFailed | AddonStatus::DeleteFailed) => {
                Observed::Failed(words(&addon))
            }
            // A failed update leaves the earlier version running.
            Some(AddonStatus::Degraded | AddonStatus::UpdateFailed) => Observed::Ready {
                outputs: (),
                drift: vec![words(&addon)],
            },
            _ => Observed::Pending(words(&addon)),
        })
    }

    async fn apply(&self, cx: &Context, change: &Change) -> Result<()> {
        if let Change::Replace(_) = change {
            self.delete(cx).await?;
        }
        let wait = Wait::new(self.resource(), Duration::from_secs(15 * 60))
            .hint("`kubectl -n kube-system get pods` shows what it waits for");
        let reapplied = AtomicU32::new(0);
        cx.wait_for(wait, async || {
            let Some(addon) = self.find().await? else {
                self.create(cx).await?;
                return Ok(Poll::Pending("CREATING".into()));
            };
            match addon.status() {
                Some(AddonStatus::Active) => match self.lacking(&addon) {
                    None => Ok(Poll::Ready(())),
                    Some(wanted) if reapplied.fetch_add(1, Relaxed) < REAPPLIED => {
                        self.reapply(cx, Some(wanted)).await?;
                        Ok(Poll::Pending("UPDATING".into()))
                    }
                    Some(_) => Err(Failure::new(self.resource(), "its settings do not stay")),
                },
                Some(AddonStatus::CreateFailed) => {
                    Err(Failure::new(self.resource(), words(&addon))
                        .hint("run the same command again: it makes a new one"))
                }
                // EKS has waited for its pods for long before it says so, and does not try again by itself.
                Some(AddonStatus::Degraded | AddonStatus::UpdateFailed)
                    if reapplied.fetch_add(1, Relaxed) < REAPPLIED =>
                {
                    cx.progress(format!("{}; applying it again", words(&addon)));
                    self.reapply(cx, None).await?;
                    Ok(Poll::Pending("UPDATING".into()))
                }
                _ => Ok(Poll::Pending(words(&addon))),
            }
        })
        .await
    }

    async fn destroy(&self, cx: &Context, _: &Observed<()>) -> Result<()> {
        self.delete(cx).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_added_and_others_stay() {
        let with = |present| with_settings(present, NETWORK_POLICIES);
        let ours = r#"{"enableNetworkPolicy":"true"}"#;
        assert_eq!(with(None).as_deref(), Some(ours));
        assert_eq!(with(Some("")).as_deref(), Some(ours));
        assert_eq!(with(Some(ours)), None);
        assert_eq!(
            with(Some(
                "env:\n  WARM_IP_TARGET: \"2\"\nenableNetworkPolicy: \"false\"\n"
            ))
            .as_deref(),
            Some(r#"{"env":{"WARM_IP_TARGET":"2"},"enableNetworkPolicy":"true"}"#)
        );
        assert_eq!(with_settings(None, &[]), None);
    }
}
