//! The deployment: every step, and what each needs.

pub mod addon;
pub mod audit;
pub mod cluster_access;
pub mod control_plane;
pub mod entrance;
pub mod image;
pub mod ingress;
pub mod irsa_role;
pub mod kubernetes_api;
pub mod launch_template;
pub mod load_balancer_controller;
pub mod log_group;
pub mod namespace;
pub mod network;
pub mod network_policies;
pub mod node_access;
pub mod node_group;
pub mod oidc_provider;
mod open_groups;
pub mod outputs;
mod overview;
pub mod preflight;
pub mod prune;
pub mod repository;
pub mod roles;
pub mod service_names;
pub mod stack_drift;
mod stack_outputs;
pub mod sweep;
pub mod workload;

#[cfg(test)]
mod graph_tests;
#[cfg(test)]
mod manifests_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clients::Clients;
use crate::clients::identity::Identity;
use crate::config::{Environment, Source};
use crate::engine::{Graph, Handle, Needs};
use crate::mesh::{self, Foundation, MeshProvider, Place};

use self::outputs::{Image, Role};
pub use self::overview::{
    ClusterOverview, Overview, VersionOverview, cluster, connect, overview, url,
};

/// The deployment with the environment's own mesh.
pub fn deployment(environment: &Environment, clients: &Arc<Clients>) -> Graph {
    deployment_with(environment, clients, &mesh::provider(environment, clients))
}

/// The whole deployment on one page, in an order in which each step comes after what it needs. `up` walks it forwards,
/// `down` backwards.
///
/// Edges are only where something is needed: under the control plane's long wait come the way out of the network,
/// repositories, images and the launch template.
pub fn deployment_with(
    environment: &Environment,
    clients: &Arc<Clients>,
    mesh: &Arc<dyn MeshProvider>,
) -> Graph {
    let environment = &Arc::new(environment.clone());
    let mut graph = Graph::new();
    let graph = &mut graph;

    // The account, and whether it has what is needed.
    let mesh_control_plane = mesh.control_plane(graph);
    let preflight = graph.add(|needs| {
        needs.after(&mesh_control_plane);
        preflight::Preflight {
            environment: environment.clone(),
            clients: clients.clone(),
            mesh: mesh.clone(),
        }
    });

    // The network: the cluster waits for its subnets only, the nodes for the way out.
    let subnets = graph.add(|needs| {
        needs.after(&preflight);
        network::NetworkSubnets {
            environment: environment.clone(),
            clients: clients.clone(),
        }
    });
    let egress = graph.add(|needs| network::NetworkEgress {
        environment: environment.clone(),
        clients: clients.clone(),
        subnets: needs.input(&subnets),
    });
    let sweep = graph.add(|needs| {
        needs.after(&subnets);
        sweep::LoadBalancerSweep {
            environment: environment.clone(),
            clients: clients.clone(),
        }
    });

    // Images: hidden under the control plane's wait.
    let images: BTreeMap<String, Handle<Image>> = environment
        .services
        .values()
        .map(|service| {
            let image = match service.source {
                Source::Image(_) => graph.add(|_| image::ReadyImage {
                    service: service.clone(),
                }),
                _ => {
                    let repository = graph.add(|needs| {
                        needs.after(&preflight);
                        repository::ServiceRepository {
                            environment: environment.clone(),
                            clients: clients.clone(),
                            service: service.name.clone(),
                        }
                    });
                    graph.add(|needs| image::ServiceImage {
                        environment: environment.clone(),
                        clients: clients.clone(),
                        service: service.clone(),
                        repository: needs.input(&repository),
                    })
                }
            };
            (service.name.clone(), image)
        })
        .collect();

    // The cluster.
    let roles = graph.add(|needs| {
        needs.after(&preflight);
        roles::ClusterRolesStack {
            environment: environment.clone(),
            clients: clients.clone(),
        }
    });
    let launch_template = graph.add(|needs| {
        needs.after(&preflight);
        launch_template::NodesStack {
            environment: environment.clone(),
            clients: clients.clone(),
        }
    });
    graph.add(|needs| stack_drift::StacksAsMade {
        environment: environment.clone(),
        clients: clients.clone(),
        network: needs.input(&egress),
        roles: needs.input(&roles),
        launch_template: needs.input(&launch_template),
    });
    let logs = graph.add(|needs| {
        needs.after(&preflight);
        log_group::LogGroup {
            environment: environment.clone(),
            clients: clients.clone(),
        }
    });
    let control_plane = graph.add(|needs| {
        needs.after(&logs);
        control_plane::EksControlPlane {
            environment: environment.clone(),
            clients: clients.clone(),
            subnets: needs.input(&subnets),
            roles: needs.input(&roles),
        }
    });
    let access = graph.add(|needs| cluster_access::CallerAccess {
        environment: environment.clone(),
        clients: clients.clone(),
        control_plane: needs.input(&control_plane),
    });
    let oidc_provider = graph.add(|needs| oidc_provider::ClusterOidcProvider {
        environment: environment.clone(),
        clients: clients.clone(),
        control_plane: needs.input(&control_plane),
    });
    let service_account_roles: BTreeMap<&str, Handle<Role>> = mesh
        .roles()
        .into_iter()
        .chain([load_balancer_controller::role()])
        .map(|role| {
            let name = role.name;
            let handle = graph.add(|needs| irsa_role::ServiceAccountRole {
                environment: environment.clone(),
                clients: clients.clone(),
                name: name.to_owned(),
                subjects: role.subject_claims(),
                policy: Arc::new(move |identity, region| role.policy(&place(identity, region))),

                provider: needs.input(&oidc_provider),
            });
            (name, handle)
        })
        .collect();

    // Nodes: their network add-ons come first, the add-on that needs nodes after them. Nodes that are there already run
    // neither while they are shut out.
    let node_access = graph.add(|needs| node_access::NodeAccess {
        environment: environment.clone(),
        clients: clients.clone(),
        control_plane: needs.input(&control_plane),
    });
    let addon = |graph: &mut Graph, name, settings, after: &Handle<()>| {
        graph.add(|needs| {
            needs.after(after);
            addon::ClusterAddon {
                environment: environment.clone(),
                clients: clients.clone(),
                control_plane: needs.input(&control_plane),
                name,
                settings,
            }
        })
    };
    let networking = addon(graph, "vpc-cni", addon::NETWORK_POLICIES, &node_access);
    let proxying = addon(graph, "kube-proxy", &[], &node_access);
    let nodes = graph.add(|needs| {
        // On the way down: no controller runs any more that could make again what is swept.
        needs.after(&sweep);
        needs.after(&networking);
        needs.after(&proxying);
        node_group::ManagedNodeGroup {
            environment: environment.clone(),
            clients: clients.clone(),
            control_plane: needs.input(&control_plane),
            roles: needs.input(&roles),
            launch_template: needs.input(&launch_template),
            network: needs.input(&egress),
        }
    });
    let names = addon(graph, "coredns", &[], &nodes);

    // In the cluster: what needs no nodes first, then the controllers.
    let cluster = graph.add(|needs| {
        needs.after(&access);
        kubernetes_api::KubernetesApi {
            environment: environment.clone(),
            clients: clients.clone(),
            control_plane: needs.input(&control_plane),
        }
    });
    let namespace = graph.add(|needs| namespace::ServicesNamespace {
        environment: environment.clone(),
        clients: clients.clone(),
        mesh: mesh.clone(),
        cluster: needs.input(&cluster),
    });
    let load_balancer_kinds = graph.add(|needs| load_balancer_controller::LoadBalancerKinds {
        environment: environment.clone(),
        cluster: needs.input(&cluster),
    });
    let load_balancer_controller = graph.add(|needs| {
        needs.after(&load_balancer_kinds);
        needs.after(&service_account_roles[load_balancer_controller::ROLE]);
        needs.after(&names);
        load_balancer_controller::LoadBalancerController {
            environment: environment.clone(),
            cluster: needs.input(&cluster),
            control_plane: needs.input(&control_plane),
        }
    });

    // The way in: a load balancer takes minutes, so it is made while the pods start.
    let service_names: BTreeMap<&str, Handle<()>> = environment
        .services
        .values()
        .map(|service| {
            let handle = graph.add(|needs| {
                needs.after(&namespace);
                service_names::ServiceNames {
                    environment: environment.clone(),
                    mesh: mesh.clone(),
                    service: service.clone(),
                    cluster: needs.input(&cluster),
                }
            });
            (service.name.as_str(), handle)
        })
        .collect();
    let load_balancer = graph.add(|needs| {
        needs.after(&egress);
        needs.after(&load_balancer_controller);
        if let Some(names) = service_names.get(environment.ingress.service.as_str()) {
            needs.after(names);
        }
        ingress::IngressLoadBalancer {
            environment: environment.clone(),
            clients: clients.clone(),
            cluster: needs.input(&cluster),
        }
    });

    // The mesh: its controller, itself, each service's resources in it, and then the pods.
    let foundation = Foundation {
        cluster: cluster.clone(),
        controller: &|needs: &mut Needs| {
            needs.after(&names);
            for role in mesh.roles() {
                needs.after(&service_account_roles[role.name]);
            }
        },
        namespace: namespace.clone(),
    };
    let installed = mesh.install(graph, &foundation, mesh_control_plane);
    let members = mesh.services(graph, &foundation, &installed);

    let policies = graph.add(|needs| {
        needs.after(&namespace);
        network_policies::NetworkPolicies {
            environment: environment.clone(),
            cluster: needs.input(&cluster),
        }
    });
    let workloads: Vec<Handle<()>> = environment
        .services
        .values()
        .map(|service| {
            graph.add(|needs| {
                needs.after(&names);
                needs.after(&service_names[service.name.as_str()]);
                needs.after(&members[&service.name]);
                needs.after(&policies);
                workload::Workload {
                    environment: environment.clone(),
                    mesh: mesh.clone(),
                    service: service.clone(),
                    cluster: needs.input(&cluster),
                    image: needs.input(&images[&service.name]),
                }
            })
        })
        .collect();
    graph.add(|needs| {
        for workload in &workloads {
            needs.after(workload);
        }
        prune::Prune {
            environment: environment.clone(),
            mesh: mesh.clone(),
            cluster: needs.input(&cluster),
        }
    });
    graph.add(|needs| {
        for workload in &workloads {
            needs.after(workload);
        }
        entrance::AnsweringEntrance {
            environment: environment.clone(),
            clients: clients.clone(),
            entrance: needs.input(&load_balancer),
        }
    });
    std::mem::take(graph)
}

fn place(identity: &Identity, region: &str) -> Place {
    Place {
        partition: identity.partition.clone(),
        region: region.to_owned(),
        account: identity.account.clone(),
    }
}
