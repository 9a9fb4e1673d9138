//! What the stand-ins of well-known controllers share: flags, credentials, leader election, probes and webhooks.

pub mod aws;
pub mod flags;
pub mod leader;
pub mod probes;
pub mod webhooks;

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use self::leader::Election;
use super::runtime::{Cluster, Resource, object};
use super::{ContainerContext, stopped};
use crate::sandbox::clusters::client;

/// How long caches may take to fill before a program gives up.
const CACHE_SYNC: Duration = Duration::from_secs(120);
/// Where a pod finds its service account's token and certificate authority.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A client of the API server as the pod's service account.
pub fn kubernetes_client(context: &ContainerContext) -> Result<kube::Client, String> {
    let token = format!("{ACCOUNT}/token");
    let missing = || format!("open {token}: no such file or directory");
    let token_file = context.host_path(&token).ok_or_else(missing)?;
    if !token_file.exists() {
        return Err(missing());
    }
    let authority = context
        .read(&format!("{ACCOUNT}/ca.crt"))
        .map_err(|error| format!("open {ACCOUNT}/ca.crt: {error}"))?;
    let mut config = client::trusting(&context.kubernetes_endpoint, &authority)?;
    config.auth_info.token_file = Some(token_file.to_string_lossy().into_owned());
    kube::Client::try_from(config).map_err(|error| error.to_string())
}

/// Runs a controller in a container until it is told to end.
pub fn run(
    context: ContainerContext,
    start: for<'a> fn(&'a ContainerContext) -> BoxFuture<'a, i32>,
) -> BoxFuture<'static, i32> {
    async move {
        let mut shutdown = context.shutdown.clone();
        tokio::select! {
            () = stopped(&mut shutdown) => 0,
            code = start(&context) => code,
        }
    }
    .boxed()
}

/// Says why a controller ends; answers its exit code.
pub fn fail(context: &ContainerContext, message: &str, error: &str) -> i32 {
    say(
        context,
        "error",
        "setup",
        message,
        json!({ "error": error }),
    );
    1
}

/// Works for as long as this program is the leader, or for ever without an election; answers the exit code.
pub async fn manage(
    context: &ContainerContext,
    cluster: &Cluster,
    caches: &[&'static Resource],
    election: Option<Election>,
    work: impl Future<Output = ()>,
) -> i32 {
    if let Some(election) = &election {
        election.win(context).await;
    }
    for kind in caches {
        let cache = cluster.cache(kind);
        if tokio::time::timeout(CACHE_SYNC, cache.synced())
            .await
            .is_err()
        {
            let error = format!(
                "failed to wait for {} caches to sync: timed out waiting for cache to be synced",
                kind.kind.to_lowercase()
            );
            return fail(context, "problem running manager", &error);
        }
    }
    let Some(election) = election else {
        work.await;
        return 0;
    };
    tokio::select! {
        () = work => 0,
        () = election.keep(context) => match *context.shutdown.borrow() {
            true => 0,
            false => fail(context, "problem running manager", "leader election lost"),
        }
    }
}

/// Writes a line as Go's structured loggers do.
pub fn say(context: &ContainerContext, level: &str, logger: &str, message: &str, fields: Value) {
    let mut line =
        json!({ "level": level, "ts": object::now_micro(), "logger": logger, "msg": message });
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
        line.extend(fields);
    }
    context.say(line.to_string());
}
