//! Gives every namespace its `default` service account and the `kube-root-ca.crt` config map.

use serde_json::json;

use super::super::runtime::kinds::{CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS};
use super::super::runtime::object::Meta;
use super::super::runtime::{ApiError, Cluster, Key, Next, Queue, Work};

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster, certificate_authority: String) {
    let queue = Queue::new();
    let namespaces = cluster.cache(&NAMESPACES);
    let add = queue.clone();
    namespaces.subscribe(move |change| add.add(change.latest().name().to_owned()));
    for kind in [&SERVICE_ACCOUNTS, &CONFIG_MAPS] {
        let add = queue.clone();
        // Only what has gone matters: it is made again.
        cluster.cache(kind).subscribe(move |change| {
            if change.new.is_none() {
                add.add(change.latest().namespace().to_owned());
            }
        });
        cluster.cache(kind).synced().await;
    }
    namespaces.synced().await;
    let shutdown = cluster.shutdown();
    queue
        .run("accounts", 2, shutdown, move |namespace| {
            let (cluster, authority) = (cluster.clone(), certificate_authority.clone());
            async move { sync(&cluster, &namespace, &authority).await }
        })
        .await;
}

async fn sync(cluster: &Cluster, namespace: &str, authority: &str) -> Work {
    let Some(object) = cluster.cache(&NAMESPACES).get(&Key::new("", namespace)) else {
        return Ok(Next::Done);
    };
    if object.deleting() {
        return Ok(Next::Done);
    }
    let account = Key::new(namespace, "default");
    if cluster.cache(&SERVICE_ACCOUNTS).get(&account).is_none() {
        let outcome = cluster
            .create(
                &SERVICE_ACCOUNTS,
                &json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": { "name": "default", "namespace": namespace },
                }),
            )
            .await;
        tolerate(outcome)?;
    }
    let data = json!({ "ca.crt": authority });
    let bundle = Key::new(namespace, "kube-root-ca.crt");
    match cluster.cache(&CONFIG_MAPS).get(&bundle) {
        None => {
            let outcome = cluster
                .create(
                    &CONFIG_MAPS,
                    &json!({
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": {
                            "name": "kube-root-ca.crt",
                            "namespace": namespace,
                            "annotations": { "kubernetes.io/description":
                                "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters." },
                        },
                        "data": data,
                    }),
                )
                .await;
            tolerate(outcome)?;
        }
        Some(map) if map["data"] != data => {
            cluster
                .patch(&CONFIG_MAPS, &bundle, &json!({ "data": data }))
                .await?;
        }
        Some(_) => {}
    }
    Ok(Next::Done)
}

/// It is there already, or its namespace has begun to end: both are fine.
fn tolerate<T>(outcome: Result<T, ApiError>) -> Result<(), ApiError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error)
            if error.is_already_exists() || error.is_terminating() || error.is_not_found() =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
