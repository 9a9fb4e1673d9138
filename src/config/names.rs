//! Deterministic names: everything the environment owns is found again by name alone, from any machine.

/// The names of one environment's resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    environment: String,
}

/// The tag that says which environment owns an AWS resource.
pub const OWNER_TAG: &str = "meshctl:environment";

impl Names {
    /// The names of the environment called `environment`.
    pub fn new(environment: impl Into<String>) -> Self {
        Names {
            environment: environment.into(),
        }
    }

    /// The environment's own name, the value of [`OWNER_TAG`].
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The prefix of every name: `meshctl-demo`.
    pub fn prefix(&self) -> String {
        format!("meshctl-{}", self.environment)
    }

    /// A CloudFormation stack: `meshctl-demo-network`.
    pub fn stack(&self, stack: &str) -> String {
        format!("{}-{stack}", self.prefix())
    }

    /// The EKS cluster.
    pub fn cluster(&self) -> String {
        self.prefix()
    }

    /// The managed node group.
    pub fn node_group(&self) -> String {
        format!("{}-workers", self.prefix())
    }

    /// The ECR repository of a service: `meshctl-demo/backend`.
    pub fn repository(&self, service: &str) -> String {
        format!("{}/{service}", self.prefix())
    }

    /// An IAM role: `meshctl-demo-mesh-controller`.
    pub fn role(&self, role: &str) -> String {
        format!("{}-{role}", self.prefix())
    }

    /// The mesh, in the cluster and in its control plane.
    pub fn mesh(&self) -> String {
        self.prefix()
    }

    /// The log group of the cluster's control plane, whose name EKS dictates.
    pub fn log_group(&self) -> String {
        format!("/aws/eks/{}/cluster", self.cluster())
    }
}
