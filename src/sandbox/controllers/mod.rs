//! What acts on a cluster's objects: the control plane's controllers, EKS's add-ons, and the programs that stand for
//! well-known images. All of them are ordinary Kubernetes clients over HTTPS and share no memory with the API server.

mod app_mesh;
pub mod control_plane;
pub mod idle;
pub mod kubelet;
mod load_balancer;
pub mod program;
pub mod runtime;

pub use control_plane::{ControlPlaneOptions, run_control_plane};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::data_plane::{proxy, services, xray};

/// Turns true, or loses its sender, when what holds it has to end. [`stopped`] awaits it.
pub type Shutdown = watch::Receiver<bool>;

/// Returns once a shutdown is asked for.
pub async fn stopped(shutdown: &mut Shutdown) {
    // An error means that the sender is gone, which is a shutdown too.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Takes a container's log, one line at a time and without the line break.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// What a container's process is given.
#[derive(Clone)]
pub struct ContainerContext {
    /// The container's name within its pod.
    pub container: String,
    /// The command and the arguments as they would reach the process, its own name not among them: where the pod
    /// sets `command`, what follows its first word, then `args`. `$(VAR)` is already expanded.
    pub args: Vec<String>,
    /// The environment, references resolved; `KUBERNETES_SERVICE_HOST` and its like are among it.
    pub env: BTreeMap<String, String>,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// The pod's labels.
    pub pod_labels: BTreeMap<String, String>,
    /// The node's name.
    pub node: String,
    /// The address that the API shows, 10.a.b.c.
    pub pod_ip: IpAddr,
    /// The address that the pod's processes bind, 127.a.b.c.
    pub twin: IpAddr,
    /// Mount paths within the container and the host's directory or file behind each (secrets, config maps,
    /// projected tokens, empty directories).
    pub mounts: BTreeMap<PathBuf, PathBuf>,
    /// `https://127.0.0.1:PORT` of the API server.
    pub kubernetes_endpoint: String,
    /// `http://127.0.0.1:PORT` of the AWS endpoint.
    pub aws_endpoint: String,
    /// The region of the cluster.
    pub region: String,
    /// Where the container's output goes.
    pub log: Log,
    /// Asks the program to end, as SIGTERM does.
    pub shutdown: Shutdown,
}

impl ContainerContext {
    /// Where a path of the container lies on the host: below the longest mount path that leads to it.
    pub fn host_path(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path);
        if path.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        self.mounts
            .iter()
            .filter(|(mount, _)| path.starts_with(mount))
            .max_by_key(|(mount, _)| mount.components().count())
            .map(|(mount, host)| match path.strip_prefix(mount) {
                Ok(rest) if rest.as_os_str().is_empty() => host.clone(),
                Ok(rest) => host.join(rest),
                Err(_) => host.clone(),
            })
    }

    /// Reads a mounted file.
    pub fn read(&self, path: &str) -> std::io::Result<Vec<u8>> {
        match self.host_path(path) {
            Some(host) => std::fs::read(host),
            None => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        }
    }

    /// Writes a line to the container's log.
    pub fn say(&self, line: impl AsRef<str>) {
        (self.log)(line.as_ref());
    }
}

/// A well-known image that the sandbox runs as a task of its own instead of as a process.
#[derive(Clone, Copy)]
pub struct Program {
    /// The end of the image's repository that names it: `amazon/appmesh-controller`.
    pub repository: &'static str,
    /// Runs one container until it ends; the answer is its exit code.
    pub run: fn(ContainerContext) -> BoxFuture<'static, i32>,
}

/// The programs, by repository.
const PROGRAMS: &[Program] = &[
    Program {
        repository: "amazon/appmesh-controller",
        run: app_mesh::run,
    },
    Program {
        repository: "eks/aws-load-balancer-controller",
        run: load_balancer::run,
    },
    Program {
        repository: "amazon/aws-load-balancer-controller",
        run: load_balancer::run,
    },
    Program {
        repository: "eks/eks-pod-identity-agent",
        run: idle::run,
    },
    Program {
        repository: "amazon-k8s-cni",
        run: idle::run,
    },
    Program {
        repository: "amazon-k8s-cni-init",
        run: idle::run_once,
    },
    Program {
        repository: "aws-appmesh-envoy",
        run: proxy::run,
    },
    Program {
        repository: "aws-appmesh-proxy-route-manager",
        run: proxy::run_init,
    },
    Program {
        repository: "xray/aws-xray-daemon",
        run: xray::run,
    },
    Program {
        repository: "amazon/aws-network-policy-agent",
        run: idle::run,
    },
    Program {
        repository: "eks/kube-proxy",
        run: services::run,
    },
    Program {
        repository: "eks/coredns",
        run: idle::run_dns,
    },
    Program {
        repository: "eks/pause",
        run: idle::run,
    },
];

/// The program that stands for an image, if it is a well-known one. Tag and digest do not matter.
pub fn program(image: &str) -> Option<Program> {
    let repository = repository(image);
    PROGRAMS.iter().copied().find(|program| {
        repository
            .strip_suffix(program.repository)
            .is_some_and(|head| head.is_empty() || head.ends_with('/'))
    })
}

/// An image reference without its tag and digest.
pub fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let after_slash = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[after_slash..].find(':') {
        Some(colon) => &name[..after_slash + colon],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_images_are_found_by_repository() {
        assert_eq!(
            repository("localhost:5000/a/b:1@sha256:00"),
            "localhost:5000/a/b"
        );
        assert_eq!(repository("a/b"), "a/b");
        assert!(
            program("602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/coredns:v1.12").is_some()
        );
        assert!(program("example.com/not-amazon-k8s-cni:1").is_none());
    }
}
