//! Cluster DNS and service addresses for Envoy: `name.namespace.svc.cluster.local` and a port to the ready endpoints
//! behind it, kept current on each node by the watches of its kube-proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

use super::address::twin_of;

/// Namespace and name.
type Key = (String, String);

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

/// What is known of one kind of object; nothing before the first list of it is complete.
type Table<V> = Option<BTreeMap<Key, V>>;

#[derive(Debug, Default)]
struct Tables {
    /// Whether a service is headless, and its ports.
    services: Table<(bool, Vec<Port>)>,
    slices: Table<Slice>,
}

/// The names that one node knows. They outlive the kube-proxy that watches, as a node's rules do.
#[derive(Debug)]
pub struct Names {
    tables: RwLock<Tables>,
    changed: watch::Sender<u64>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            tables: RwLock::default(),
            changed: watch::Sender::new(0),
        }
    }
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

fn key(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Key {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    (text(&metadata.namespace), text(&metadata.name))
}

fn read_service(service: &Service) -> (bool, Vec<Port>) {
    let spec = service.spec.clone().unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let ports = spec.ports.unwrap_or_default().into_iter();
    let ports = ports.filter_map(|port| {
        Some(Port {
            name: port.name.unwrap_or_default(),
            number: u16::try_from(port.port).ok()?,
        })
    });
    (headless, ports.collect())
}

fn read_slice(slice: &EndpointSlice) -> Slice {
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
    Slice {
        service: service.cloned().unwrap_or_default(),
        addresses: addresses.filter_map(|address| twin_of(address)).collect(),
        ports: ports.collect(),
    }
}

impl Names {
    /// Keeps the names current with a kube-proxy's rights; never returns.
    pub async fn follow(&self, client: &Client) {
        futures::join!(
            self.follow_kind(client, read_service, |tables| &mut tables.services),
            self.follow_kind(client, read_slice, |tables| &mut tables.slices),
        );
    }

    async fn follow_kind<K, V>(
        &self,
        client: &Client,
        read: fn(&K) -> V,
        table: fn(&mut Tables) -> &mut Table<V>,
    ) where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + 'static,
    {
        let api: Api<K> = Api::all(client.clone());
        let events = watcher(api, watcher::Config::default()).default_backoff();
        // The backoff has waited; the watcher begins again by itself.
        let mut events = pin!(events.filter_map(async |event| event.ok()));
        // A list that is being read replaces what is known in one step: endpoints stay while a watch begins anew.
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                watcher::Event::Init => listed.clear(),
                watcher::Event::InitApply(object) => {
                    listed.insert(key(object.meta()), read(&object));
                }
                watcher::Event::InitDone => {
                    let listed = std::mem::take(&mut listed);
                    self.change(|tables| *table(tables) = Some(listed));
                }
                watcher::Event::Apply(object) => self.change(|tables| {
                    let known = table(tables).get_or_insert_default();
                    known.insert(key(object.meta()), read(&object));
                }),
                watcher::Event::Delete(object) => self.change(|tables| {
                    let known = table(tables).get_or_insert_default();
                    known.remove(&key(object.meta()));
                }),
            }
        }
    }

    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change(&self, change: impl FnOnce(&mut Tables)) {
        let mut tables: RwLockWriteGuard<'_, Tables> = self
            .tables
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        change(&mut tables);
        drop(tables);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Ends when all services and endpoints of the cluster have been read once.
    pub async fn known(&self) {
        let mut changes = self.changes();
        let known = || {
            let tables = self.tables();
            tables.services.is_some() && tables.slices.is_some()
        };
        while !known() && changes.changed().await.is_ok() {}
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
        self.tables().lead(&namespace, &service, port)
    }

    /// Every service port of the cluster.
    pub fn entries(&self) -> Vec<Entry> {
        let tables = self.tables();
        let services = tables.services.iter().flatten();
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
        let key = (namespace.to_owned(), service.to_owned());
        let known = self.services.as_ref();
        let Some((headless, ports)) = known.and_then(|known| known.get(&key)) else {
            return Vec::new();
        };
        let name = ports
            .iter()
            .find(|candidate| candidate.number == port)
            .map(|port| &port.name);
        let mut endpoints = Vec::new();
        let slices = self.slices.iter().flatten();
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
    pub fn with(services: &[(&str, &str, u16, &[SocketAddr])]) -> Names {
        let port = |number| Port {
            name: String::new(),
            number,
        };
        let mut known = (BTreeMap::new(), BTreeMap::new());
        for (namespace, service, number, endpoints) in services {
            let key = |name: String| ((*namespace).to_owned(), name);
            known
                .0
                .insert(key((*service).to_owned()), (false, vec![port(*number)]));
            for (index, endpoint) in endpoints.iter().enumerate() {
                let slice = Slice {
                    service: (*service).to_owned(),
                    addresses: vec![endpoint.ip()],
                    ports: vec![port(endpoint.port())],
                };
                known.1.insert(key(format!("{service}-{index}")), slice);
            }
        }
        let names = Names::default();
        names.change(|tables| {
            tables.services = Some(known.0);
            tables.slices = Some(known.1);
        });
        names
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
