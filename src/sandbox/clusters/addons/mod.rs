//! Brings the add-ons of EKS's state into the cluster and says how they are.

mod install;
mod manifests;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::sandbox::aws::eks::{Cluster, Observed};
use crate::sandbox::controllers::runtime;
use crate::sandbox::state::World;

/// An add-on to install: what EKS knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AddonSpec {
    /// `coredns`.
    pub name: String,
    /// `v1.13.1-eksbuild.1`.
    pub version: String,
    /// The cluster.
    pub cluster: String,
    /// Its region.
    pub region: String,
    /// The tenth address of the Service range, which is the DNS server's.
    pub dns_address: String,
    /// The configuration values; null without any.
    pub configuration: Value,
    /// The role of its service account, for the annotation that IRSA reads.
    pub role_arn: Option<String>,
}

/// One add-on's work.
enum Work {
    Install(u64, AddonSpec),
    Remove(AddonSpec),
}

/// Does what is to be done for a cluster's add-ons, once. `done` holds the self-managed ones that are installed.
pub async fn reconcile(
    world: &World,
    key: &str,
    api: &runtime::Cluster,
    done: &mut BTreeSet<String>,
) {
    for spec in self_managed(world, key) {
        if !done.contains(&spec.name) && install::install(api, &spec).await.is_ok() {
            done.insert(spec.name);
        }
    }
    for work in work(world, key) {
        match work {
            Work::Install(generation, spec) => {
                let seen = ensure(world, key, api, generation, &spec).await;
                record(world, key, &spec.name, seen);
            }
            Work::Remove(spec) => {
                if let Err(error) = install::remove(api.client(), &spec).await {
                    tracing::warn!("cannot remove add-on {}: {error}", spec.name);
                    continue;
                }
                record(world, key, &spec.name, Observed::default());
            }
        }
    }
}

async fn ensure(
    world: &World,
    key: &str,
    api: &runtime::Cluster,
    generation: u64,
    spec: &AddonSpec,
) -> Observed {
    let installed = world
        .state()
        .eks
        .clusters
        .get(key)
        .and_then(|cluster| cluster.addons.get(&spec.name))
        .is_some_and(|addon| addon.seen.generation == generation);
    if !installed && let Err(error) = install::install(api, spec).await {
        return Observed {
            generation: 0,
            healthy: false,
            message: error.to_string(),
        };
    }
    match install::health(api, spec).await {
        Ok(()) => Observed {
            generation,
            healthy: true,
            message: String::new(),
        },
        Err(message) => Observed {
            generation,
            healthy: false,
            message,
        },
    }
}

fn record(world: &World, key: &str, name: &str, seen: Observed) {
    let mut state = world.state();
    let Some(addon) = state
        .eks
        .clusters
        .get_mut(key)
        .and_then(|cluster| cluster.addons.get_mut(name))
    else {
        return;
    };
    if addon.seen != seen {
        addon.seen = seen;
        drop(state);
        world.touch();
    }
}

fn spec(
    cluster: &Cluster,
    name: &str,
    version: &str,
    configuration: Option<&str>,
    role: Option<&str>,
) -> AddonSpec {
    AddonSpec {
        name: name.to_owned(),
        version: version.to_owned(),
        cluster: cluster.name.clone(),
        region: cluster.region.clone(),
        dns_address: tenth(&cluster.service_cidr),
        configuration: configuration
            .and_then(|text| serde_yaml::from_str(text).ok())
            .unwrap_or_default(),
        role_arn: role.map(str::to_owned),
    }
}

fn self_managed(world: &World, key: &str) -> Vec<AddonSpec> {
    let state = world.state();
    let Some(cluster) = state.eks.clusters.get(key) else {
        return Vec::new();
    };
    cluster
        .self_managed
        .iter()
        .map(|(name, version)| spec(cluster, name, version, None, None))
        .collect()
}

fn work(world: &World, key: &str) -> Vec<Work> {
    let state = world.state();
    let Some(cluster) = state.eks.clusters.get(key) else {
        return Vec::new();
    };
    cluster
        .addons
        .values()
        .filter_map(|addon| {
            let spec = spec(
                cluster,
                &addon.name,
                &addon.version,
                addon.configuration.as_deref(),
                addon.role_arn.as_deref(),
            );
            match addon.status.as_str() {
                "CREATE_FAILED" => None,
                "DELETING" if addon.preserve || addon.seen.generation == 0 => None,
                "DELETING" => Some(Work::Remove(spec)),
                _ => Some(Work::Install(addon.generation, spec)),
            }
        })
        .collect()
}

/// `10.100.0.10` of `10.100.0.0/16`.
fn tenth(range: &str) -> String {
    let network = range.split('/').next().unwrap_or(range);
    match network.rsplit_once('.') {
        Some((front, _)) => format!("{front}.10"),
        None => network.to_owned(),
    }
}
