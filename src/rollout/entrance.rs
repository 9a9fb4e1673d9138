//! The way in: the load balancer's URL, as its controller wrote it into the Ingress.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::sampling::{client, why};
use crate::clients::kube::{Cluster, Reference};
use crate::config::Environment;
use crate::engine::{Failure, FailureKind, Result};

/// The load balancer in front of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entrance {
    /// Its DNS name.
    pub host: String,
    /// `http://…/`, with the port where it is not 80.
    pub url: String,
}

impl Entrance {
    /// The entrance at a DNS name.
    pub fn at(host: &str, port: u16) -> Self {
        let url = if port == 80 {
            format!("http://{host}/")
        } else {
            format!("http://{host}:{port}/")
        };
        Entrance {
            host: host.to_owned(),
            url,
        }
    }
}

/// The environment's entrance, once its load balancer has a name.
///
/// # Errors
/// What the cluster says.
pub async fn entrance(cluster: &Cluster, environment: &Environment) -> Result<Option<Entrance>> {
    let ingress = Reference::namespaced(
        "networking.k8s.io/v1",
        "Ingress",
        &environment.namespace,
        &environment.ingress.service,
    );
    let live = cluster.get(&ingress).await;
    let live = live.map_err(|trouble| trouble.failure(ingress.to_string()))?;
    let port = environment.ingress.port.unwrap_or(80);
    Ok(live.and_then(|live| Some(Entrance::at(host(&live)?, port))))
}

/// The load balancer's name, once its controller has written it into the Ingress.
pub(crate) fn host(ingress: &Value) -> Option<&str> {
    let place = ingress.pointer("/status/loadBalancer/ingress/0")?;
    place["hostname"].as_str().or(place["ip"].as_str())
}

/// As [`entrance`], where there must be one.
pub(crate) async fn existing(cluster: &Cluster, environment: &Environment) -> Result<Entrance> {
    entrance(cluster, environment).await?.ok_or_else(|| {
        Failure::of(FailureKind::Blocked, "load balancer", "is not there yet")
            .hint("run `meshctl up` first")
    })
}

/// The status of one request to `url`, or why there was none.
///
/// # Errors
/// No answer within the time; why, in a few words.
pub async fn probe(url: &str, timeout: Duration) -> Result<u16, String> {
    let client = client(timeout).map_err(|failure| failure.message)?;
    match client.get(url).send().await {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(why(&error).to_owned()),
    }
}
