//! Leader election by a lease, as client-go does it: 15 s long, renewed in time, given back at the end.

use std::time::Duration;

use serde_json::json;

use super::super::runtime::kinds::LEASES;
use super::super::runtime::object::{self, text};
use super::super::runtime::{ApiError, Cluster, Key};
use super::super::{ContainerContext, stopped};

/// How long a lease holds.
const DURATION: f64 = 15.0;
/// How often the lease is looked at or renewed.
const RETRY: Duration = Duration::from_secs(2);
/// How long the leader goes on without being able to renew.
const DEADLINE: Duration = Duration::from_secs(10);

/// Takes and keeps one lease.
pub struct Election {
    cluster: Cluster,
    key: Key,
    identity: String,
}

impl Election {
    /// An election for the lease of this name in the pod's namespace.
    pub fn new(cluster: Cluster, context: &ContainerContext, name: &str) -> Self {
        Election {
            cluster,
            key: Key::new(&context.namespace, name),
            identity: format!("{}_{}", context.pod, context.pod_uid),
        }
    }

    /// Returns once this program is the leader.
    pub async fn win(&self, context: &ContainerContext) {
        context.say(format!(
            "attempting to acquire leader lease {}...",
            self.key
        ));
        let mut failed = String::new();
        loop {
            match self.take().await {
                Ok(true) => {
                    context.say(format!("successfully acquired lease {}", self.key));
                    return;
                }
                Ok(false) => tokio::time::sleep(RETRY / 4).await,
                Err(error) => {
                    if error.message != failed {
                        context.say(format!(
                            "error retrieving resource lock {}: {error}",
                            self.key
                        ));
                        failed = error.message;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Renews the lease; returns when it is lost.
    pub async fn keep(&self, context: &ContainerContext) {
        let mut shutdown = context.shutdown.clone();
        let mut last = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = stopped(&mut shutdown) => return self.release().await,
                () = tokio::time::sleep(RETRY) => {}
            }
            match self.take().await {
                Ok(true) => last = tokio::time::Instant::now(),
                Ok(false) => return,
                Err(_) if last.elapsed() > DEADLINE => return,
                Err(_) => {}
            }
        }
    }

    async fn take(&self) -> Result<bool, ApiError> {
        let now = object::now_micro();
        let Some(lease) = self.cluster.find(&LEASES, &self.key).await? else {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": { "name": self.key.name, "namespace": self.key.namespace },
                "spec": {
                    "holderIdentity": self.identity,
                    "leaseDurationSeconds": DURATION as i64,
                    "acquireTime": now,
                    "renewTime": now,
                    "leaseTransitions": 0,
                },
            });
            return match self.cluster.create(&LEASES, &lease).await {
                Ok(_) => Ok(true),
                Err(error) if error.is_already_exists() => Ok(false),
                Err(error) => Err(error),
            };
        };
        let mut written = lease.clone();
        let holder = text(&lease["spec"]["holderIdentity"]);
        if holder != self.identity {
            let age = object::seconds_since(&lease["spec"]["renewTime"]).unwrap_or(f64::INFINITY);
            let duration = lease["spec"]["leaseDurationSeconds"]
                .as_f64()
                .unwrap_or(DURATION);
            if !holder.is_empty() && age < duration {
                return Ok(false);
            }
            written["spec"]["holderIdentity"] = self.identity.as_str().into();
            written["spec"]["acquireTime"] = now.as_str().into();
            written["spec"]["leaseDurationSeconds"] = (DURATION as i64).into();
            written["spec"]["leaseTransitions"] =
                (lease["spec"]["leaseTransitions"].as_i64().unwrap_or(0) + 1).into();
        }
        written["spec"]["renewTime"] = now.into();
        match self.cluster.update(&LEASES, &written).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the lease back, so that a successor need not wait for it to run out.
    async fn release(&self) {
        let Ok(Some(mut lease)) = self.cluster.find(&LEASES, &self.key).await else {
            return;
        };
        if text(&lease["spec"]["holderIdentity"]) == self.identity {
            lease["spec"]["holderIdentity"] = "".into();
            lease["spec"]["leaseDurationSeconds"] = 1.into();
            // Without it the next one waits for the lease to run out.
            let _ = self.cluster.update(&LEASES, &lease).await;
        }
    }
}
