//! Cluster DNS and service addresses for Envoy: `name.namespace.svc.cluster.local` and a port to the ready endpoints
//! behind it, kept current by one watch per cluster.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock, Weak};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

use super::address::twin_of;

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Port {
    name: String,
    number: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Slice {
    service: String,
    /// Ready addresses, as twins.
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
}

#[derive(Debug, Default)]
struct Tables {
    services: BTreeMap<(String, String), (bool, Vec<Port>)>,
    slices: BTreeMap<(String, String), Slice>,
}

/// The names of one cluster.
#[derive(Debug)]
pub struct Names {
    tables: RwLock<Tables>,
    changed: watch::Sender<u64>,
}

/// A service with a port, by all the names that DNS knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The service's name.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The service port.
    pub port: u16,
    /// Where it leads.
    pub endpoints: Vec<SocketAddr>,
}

fn all() -> MutexGuard<'static, HashMap<String, Weak<Names>>> {
    static ALL: OnceLock<Mutex<HashMap<String, Weak<Names>>>> = OnceLock::new();
    let all = ALL.get_or_init(Mutex::default);
    all.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The names of a cluster that a node of this process watches.
pub fn of(server: &str) -> Option<Arc<Names>> {
    all().get(server)?.upgrade()
}

/// Watches a cluster's services for as long as the answer is held; all nodes of a cluster share one watch.
pub fn watch(server: &str, client: &Client) -> Arc<Names> {
    let mut all = all();
    if let Some(names) = all.get(server).and_then(Weak::upgrade) {
        return names;
    }
    let names = Arc::new(Names {
        tables: RwLock::default(),
        changed: watch::Sender::new(0),
    });
    all.insert(server.to_owned(), Arc::downgrade(&names));
    tokio::spawn(follow(
        Arc::downgrade(&names),
        client.clone(),
        Names::apply_service,
    ));
    tokio::spawn(follow(
        Arc::downgrade(&names),
        client.clone(),
        Names::apply_slice,
    ));
    names
}

/// Feeds one kind of object into the names until nobody holds them.
async fn follow<K>(names: Weak<Names>, client: Client, apply: fn(&Names, &watcher::Event<K>))
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api: Api<K> = Api::all(client);
    let mut changes = pin!(watcher(api, watcher::Config::default()).default_backoff());
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = tokio::time::sleep(Duration::from_secs(1)) => match names.strong_count() {
                0 => return,
                _ => continue,
            },
        };
        let (Some(change), Some(names)) = (change, names.upgrade()) else {
            return;
        };
        if let Ok(event) = change {
            apply(&names, &event);
        }
    }
}

fn key(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> (String, String) {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    (text(&metadata.namespace), text(&metadata.name))
}

impl Names {
    fn change(&self, change: impl FnOnce(&mut Tables)) {
        change(
            &mut self
                .tables
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        );
        self.changed.send_modify(|count| *count += 1);
    }

    fn apply_service(&self, event: &watcher::Event<Service>) {
        self.change(|tables| match event {
            watcher::Event::Init => tables.services.clear(),
            watcher::Event::InitDone => {}
            watcher::Event::Delete(service) => {
                drop(tables.services.remove(&key(&service.metadata)))
            }
            watcher::Event::Apply(service) | watcher::Event::InitApply(service) => {
                let spec = service.spec.clone().unwrap_or_default();
                let headless = spec.cluster_ip.as_deref() == Some("None");
                let ports = spec.ports.unwrap_or_default().into_iter();
                let ports = ports.filter_map(|port| {
                    Some(Port {
                        name: port.name.unwrap_or_default(),
                        number: u16::try_from(port.port).ok()?,
                    })
                });
                tables
                    .services
                    .insert(key(&service.metadata), (headless, ports.collect()));
            }
        });
    }

    fn apply_slice(&self, event: &watcher::Event<EndpointSlice>) {
        self.change(|tables| match event {
            watcher::Event::Init => tables.slices.clear(),
            watcher::Event::InitDone => {}
            watcher::Event::Delete(slice) => drop(tables.slices.remove(&key(&slice.metadata))),
            watcher::Event::Apply(slice) | watcher::Event::InitApply(slice) => {
                let labels = slice.metadata.labels.as_ref();
                let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
                let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
                    let conditions = endpoint.conditions.as_ref();
                    conditions
                        .and_then(|conditions| conditions.ready)
                        .unwrap_or(true)
                });
                let addresses = ready.flat_map(|endpoint| &endpoint.addresses);
                let ports = slice.ports.iter().flatten();
                let ports = ports.filter_map(|port| {
                    Some(Port {
                        name: port.name.clone().unwrap_or_default(),
                        number: u16::try_from(port.port?).ok()?,
                    })
                });
                let entry = Slice {
                    service: service.cloned().unwrap_or_default(),
                    addresses: addresses.filter_map(|address| twin_of(address)).collect(),
                    ports: ports.collect(),
                };
                tables.slices.insert(key(&slice.metadata), entry);
            }
        });
    }

    /// Tells of changes; many in a row are told as one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Where a name and a port lead: through a service port to the endpoints' own, or straight to them when headless.
    /// A literal address leads to its twin.
    pub fn resolve(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        if let Some(address) = twin_of(host) {
            return vec![SocketAddr::new(address, port)];
        }
        let Some((service, namespace)) = split(host) else {
            return Vec::new();
        };
        let tables = self
            .tables
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        tables.lead(&namespace, &service, port)
    }

    /// Every service port of the cluster.
    pub fn entries(&self) -> Vec<Entry> {
        let tables = self
            .tables
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let services = tables.services.iter();
        services
            .flat_map(|((namespace, service), (_, ports))| {
                ports.iter().map(|port| Entry {
                    service: service.clone(),
                    namespace: namespace.clone(),
                    port: port.number,
                    endpoints: tables.lead(namespace, service, port.number),
                })
            })
            .collect()
    }
}

impl Tables {
    fn lead(&self, namespace: &str, service: &str, port: u16) -> Vec<SocketAddr> {
        let Some((headless, ports)) = self
            .services
            .get(&(namespace.to_owned(), service.to_owned()))
        else {
            return Vec::new();
        };
        let name = ports
            .iter()
            .find(|candidate| candidate.number == port)
            .map(|port| &port.name);
        let mut endpoints = Vec::new();
        let slices = self.slices.iter();
        let mine =
            slices.filter(|((space, _), slice)| space == namespace && slice.service == service);
        for (_, slice) in mine {
            let target = match (headless, name) {
                (true, _) => Some(port),
                (false, Some(name)) => {
                    let found = slice.ports.iter().find(|candidate| candidate.name == *name);
                    found.map(|port| port.number)
                }
                (false, None) => None,
            };
            if let Some(target) = target {
                endpoints.extend(
                    slice
                        .addresses
                        .iter()
                        .map(|address| SocketAddr::new(*address, target)),
                );
            }
        }
        endpoints.sort();
        endpoints.dedup();
        endpoints
    }
}

/// Service and namespace of a DNS name of the cluster.
fn split(host: &str) -> Option<(String, String)> {
    let host = host
        .trim_end_matches('.')
        .strip_suffix(".cluster.local")
        .unwrap_or(host);
    let host = host.strip_suffix(".svc").unwrap_or(host);
    let (service, namespace) = host.split_once('.')?;
    (!namespace.contains('.')).then(|| (service.to_owned(), namespace.to_owned()))
}

#[cfg(test)]
impl Names {
    /// Names with these services: namespace, service, port, endpoints.
    pub fn with(services: &[(&str, &str, u16, &[SocketAddr])]) -> Arc<Names> {
        let mut tables = Tables::default();
        for (namespace, service, port, endpoints) in services {
            let key = ((*namespace).to_owned(), (*service).to_owned());
            tables.services.insert(
                key,
                (
                    false,
                    vec![Port {
                        name: String::new(),
                        number: *port,
                    }],
                ),
            );
            for (index, endpoint) in endpoints.iter().enumerate() {
                let slice = Slice {
                    service: (*service).to_owned(),
                    addresses: vec![endpoint.ip()],
                    ports: vec![Port {
                        name: String::new(),
                        number: endpoint.port(),
                    }],
                };
                tables.slices.insert(
                    ((*namespace).to_owned(), format!("{service}-{index}")),
                    slice,
                );
            }
        }
        Arc::new(Names {
            tables: RwLock::new(tables),
            changed: watch::Sender::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_through_service_ports() {
        let endpoint: SocketAddr = "127.0.64.9:9080".parse().unwrap();
        let names = Names::with(&[("demo", "backend", 8080, &[endpoint])]);
        assert_eq!(
            names.resolve("backend.demo.svc.cluster.local", 8080),
            [endpoint]
        );
        assert_eq!(names.resolve("backend.demo", 8080), [endpoint]);
        assert!(names.resolve("backend.demo", 80).is_empty());
        assert!(
            names
                .resolve("backend.other.svc.cluster.local", 8080)
                .is_empty()
        );
        assert!(names.resolve("backend", 8080).is_empty());
    }
}
