//! Who a bearer token speaks for: IAM principals through access entries, and nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::sandbox::aws::{eks, iam, signature};
use crate::sandbox::kubernetes::{Authenticate, UserInfo};
use crate::sandbox::state::World;

/// The tokens of a cluster's kubelets.
#[derive(Clone, Default)]
pub struct NodeTokens(Arc<Mutex<BTreeMap<String, NodeToken>>>);

#[derive(Clone)]
struct NodeToken {
    node: String,
    role_arn: String,
}

impl NodeTokens {
    /// A new token for a node, in place of one it may have had. A real kubelet signs one with its instance's
    /// credentials; what counts is the same: an access entry for the node's role.
    pub fn issue(&self, node: &str, role_arn: &str) -> String {
        let token = format!("node.{}", iam::secret(40));
        let mut tokens = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        tokens.retain(|_, known| known.node != node);
        tokens.insert(
            token.clone(),
            NodeToken {
                node: node.to_owned(),
                role_arn: role_arn.to_owned(),
            },
        );
        token
    }

    /// Forgets a node.
    pub fn revoke(&self, node: &str) {
        let mut tokens = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        tokens.retain(|_, known| known.node != node);
    }

    fn find(&self, token: &str) -> Option<NodeToken> {
        let tokens = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        tokens.get(token).cloned()
    }
}

/// The check that a cluster's API server asks for tokens that are not its own.
pub fn authenticator(world: World, key: String, nodes: NodeTokens) -> Authenticate {
    Arc::new(move |token| {
        let node = nodes.find(token);
        let state = world.state();
        let cluster = state.eks.clusters.get(&key)?;
        let now = world.clock.now();
        if let Some(node) = node {
            let admitted = cluster.authentication_mode == "CONFIG_MAP"
                || cluster
                    .access_entries
                    .get(&node.role_arn)
                    .is_some_and(|entry| entry.kind == "EC2_LINUX" && now >= entry.effective_at);
            return admitted.then(|| UserInfo {
                username: format!("system:node:{}", node.node),
                groups: vec!["system:nodes".to_owned()],
                ..UserInfo::default()
            });
        }
        let host = world
            .endpoint
            .strip_prefix("http://")
            .unwrap_or(&world.endpoint);
        match signature::verify_eks_token(&state, token, &cluster.name, host, now) {
            Ok(caller) => eks::identify(cluster, &caller, now),
            Err(refused) => {
                tracing::info!("cluster {}: token refused: {refused:?}", cluster.name);
                None
            }
        }
    })
}
