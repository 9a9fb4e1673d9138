//! Services and Ingresses.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::super::testing::start;
use super::{from, message};

#[tokio::test]
async fn many_objects_stay_quick() {
    let (server, kube) = start().await;
    let services: Api<Service> = Api::namespaced(kube.clone(), "default");
    let begun = std::time::Instant::now();
    let mut made = futures::stream::iter(0..1000)
        .map(|number| {
            let services = services.clone();
            async move {
                let service = json!({"metadata": {"name": format!("s{number}")}, "spec": {"ports": [{"port": 80}]}});
                services.create(&PostParams::default(), &from(service)).await
            }
        })
        .buffer_unordered(16);
    let mut addresses = std::collections::HashSet::new();
    while let Some(service) = made.next().await {
        let spec = service.expect("created").spec.expect("a spec");
        assert!(
            addresses.insert(spec.cluster_ip),
            "an address is given once"
        );
    }
    let listed = services.list(&ListParams::default()).await.expect("listed");
    assert_eq!(listed.items.len(), 1001);
    // Ten times what it takes: this is about the order of growth.
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn an_ingress_is_reached_by_a_name_or_an_address() {
    let (server, kube) = start().await;
    let api: Api<Ingress> = Api::namespaced(kube, "default");
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}});
    api.create(&PostParams::default(), &from(ingress))
        .await
        .expect("created");
    let write = |place: Value| {
        let patch = json!({"status": {"loadBalancer": {"ingress": [place]}}});
        let api = api.clone();
        async move {
            api.patch_status("i", &PatchParams::default(), &Patch::Merge(patch))
                .await
        }
    };
    write(json!({"ip": "127.240.1.2"})).await.expect("written");
    write(json!({"hostname": "a.elb.amazonaws.com"}))
        .await
        .expect("written");
    assert_eq!(
        message(write(json!({"hostname": "127.240.1.2"})).await),
        (
            422,
            "Ingress.networking.k8s.io \"i\" is invalid: status.loadBalancer.ingress[0].hostname: Invalid value: \
             \"127.240.1.2\": must be a DNS name, not an IP address"
                .into()
        )
    );
    server.stop().await;
}
