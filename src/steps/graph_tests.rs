//! What waits for what, seen in the whole graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::deployment;
use crate::clients::{Clients, Settings};
use crate::config::Environment;
use crate::engine::Graph;

async fn demo() -> Graph {
    let settings = Settings {
        region: "eu-west-1".into(),
        ..Settings::default()
    };
    let clients = Arc::new(Clients::new(settings).await);
    deployment(&Environment::demo(), &clients)
}

/// Everything that each step waits for, directly or not.
fn before(graph: &Graph) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, _, _, needs) in graph.steps() {
        let mut before = BTreeSet::new();
        for need in needs {
            before.extend(all[need.as_str()].iter().cloned());
            before.insert(need.to_string());
        }
        all.insert(id.to_string(), before);
    }
    all
}

#[tokio::test]
async fn the_control_plane_waits_for_nothing_slow() {
    let graph = demo().await;
    let before = before(&graph);
    let waits: Vec<&str> = before["control-plane"].iter().map(String::as_str).collect();
    for slow in [
        "network/egress",
        "launch-template",
        "image/backend",
        "repository/backend",
    ] {
        assert!(!waits.contains(&slow), "the control plane waits for {slow}");
    }
    assert!(waits.contains(&"network") && waits.contains(&"roles"));
}

#[tokio::test]
async fn nodes_wait_for_their_network() {
    let before = before(&demo().await);
    for need in [
        "network/egress",
        "addon/vpc-cni",
        "addon/kube-proxy",
        "launch-template",
    ] {
        assert!(
            before["node-group"].contains(need),
            "nodes do not wait for {need}"
        );
    }
    assert!(before["addon/coredns"].contains("node-group"));
}

#[tokio::test]
async fn on_the_way_down_the_sweep_comes_after_the_nodes_and_before_the_network() {
    let before = before(&demo().await);
    assert!(before["node-group"].contains("load-balancer-sweep"));
    assert!(before["load-balancer-sweep"].contains("network"));
    assert!(before["control-plane"].contains("log-group"));
}

#[tokio::test]
async fn everything_is_checked_before_anything_is_made() {
    let graph = demo().await;
    let before = before(&graph);
    for (id, _, _, _) in graph.steps() {
        let checks = ["preflight", "mesh/control-plane"];
        let is_check = checks.contains(&id.as_str());
        // A ready image and the mesh's own check make nothing.
        let makes = !is_check && !before[id.as_str()].is_empty();
        assert!(
            !makes || before[id.as_str()].contains("preflight"),
            "{id} does not wait for the checks"
        );
    }
}

#[tokio::test]
async fn the_longest_chain_is_little_more_than_the_control_plane() {
    let graph = demo().await;
    let mut ends: BTreeMap<String, Duration> = BTreeMap::new();
    for (id, _, expected, needs) in graph.steps() {
        let begins = needs
            .iter()
            .map(|need| ends[need.as_str()])
            .max()
            .unwrap_or_default();
        ends.insert(id.to_string(), begins + expected.up);
    }
    let longest = ends.values().max().copied().unwrap_or_default();
    // Subnets, control plane, an add-on, nodes, pods and the load balancer: 12 to 14 minutes where a serial run
    // takes 16 to 21.
    assert!(longest <= Duration::from_secs(17 * 60), "{longest:?}");
}
