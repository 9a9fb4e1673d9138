//! Evictions and the budgets that allow them.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::super::{Server, testing::start};
use super::from;

#[tokio::test]
async fn a_budget_allows_as_many_evictions_as_are_left_of_it() {
    let (server, kube) = start().await;
    let pods: Api<Pod> = Api::namespaced(kube.clone(), "kube-public");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(kube.clone(), "kube-public");
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(kube, "kube-public");
    let (make, change) = (PostParams::default(), PatchParams::default());
    let account = from(json!({"metadata": {"name": "default"}}));
    accounts.create(&make, &account).await.expect("an account");
    for name in ["a", "b"] {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "main", "image": "b"}]},
        });
        pods.create(&make, &from(pod)).await.expect("a pod");
        let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let status = Patch::Merge(status);
        pods.patch_status(name, &change, &status)
            .await
            .expect("a status");
    }
    let budget = json!({
        "metadata": {"name": "p"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    });
    let made = budgets.create(&make, &from(budget)).await.expect("made");
    assert_eq!(made.status.expect("a status").disruptions_allowed, Some(0));
    // What has not been counted yet allows nothing.
    assert_eq!(evict(&server, "a").await, 429);
    let left = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
    }});
    let left = Patch::Merge(left);
    budgets
        .patch_status("p", &change, &left)
        .await
        .expect("counted");
    assert_eq!(evict(&server, "a").await, 201);
    assert!(pods.get_opt("a").await.expect("an answer").is_none());
    assert_eq!(evict(&server, "b").await, 429);
    let status = budgets.get("p").await.expect("a budget").status;
    let status = status.expect("a status");
    assert_eq!(status.disruptions_allowed, Some(0));
    assert!(
        status
            .disrupted_pods
            .is_some_and(|pods| pods.contains_key("a"))
    );
    let condition = &status.conditions.expect("conditions")[0];
    assert_eq!(condition.reason, "InsufficientPods");
    server.stop().await;
}

/// Evicts a pod at once; answers the status. The client of the other calls would try again what is refused for now.
async fn evict(server: &Server, name: &str) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true);
    let path = format!("api/v1/namespaces/kube-public/pods/{name}/eviction");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name},
        "deleteOptions": {"gracePeriodSeconds": 0},
    });
    let request = client.build().expect("a client");
    let request = request.post(format!("{}/{path}", server.url()));
    let answer = request
        .bearer_auth(server.admin_token())
        .header("content-type", "application/json")
        .body(eviction.to_string())
        .send();
    answer.await.expect("an answer").status().as_u16()
}
