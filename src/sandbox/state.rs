//! Everything the sandbox's AWS knows, in one value behind one lock, saved as one file.

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::aws;
use super::clock::Clock;

/// The state of every AWS service, one field each; each service's module defines its own part.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Counts up; the source of deterministic, unique ids.
    pub next_id: u64,
    /// App Mesh.
    pub appmesh: aws::appmesh::State,
    /// CloudFormation.
    pub cloudformation: aws::cloudformation::State,
    /// EC2.
    pub ec2: aws::ec2::State,
    /// ECR.
    pub ecr: aws::ecr::State,
    /// EKS.
    pub eks: aws::eks::State,
    /// Elastic Load Balancing v2.
    pub elbv2: aws::elbv2::State,
    /// IAM and STS.
    pub iam: aws::iam::State,
    /// CloudWatch Logs.
    pub logs: aws::logs::State,
    /// X-Ray.
    pub xray: aws::xray::State,
}

/// What every part of the sandbox shares.
#[derive(Clone)]
pub struct World {
    /// Scaled time.
    pub clock: Clock,
    /// The account id, twelve digits.
    pub account: Arc<str>,
    /// The region that unsigned parts of the sandbox assume.
    pub region: Arc<str>,
    /// `http://127.0.0.1:PORT` of the AWS endpoint.
    pub endpoint: Arc<str>,
    /// `127.0.0.1:PORT` of ECR's registry.
    pub ecr_host: Arc<str>,
    /// Where files live: pulled images, Envoy configurations, cluster stores.
    pub directory: Arc<std::path::Path>,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl World {
    /// Looks at or changes the state. Never hold it across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Says that the state has changed and is to be saved.
    pub fn touch(&self) {
        self.changed.notify_waiters();
    }
}
