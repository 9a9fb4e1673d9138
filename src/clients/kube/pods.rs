//! What keeps pods from being ready, in the kubelet's own words.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use serde_json::Value;

use super::connection::{Cluster, Trouble};
use super::object::Reference;
use super::ready::condition;
use crate::engine::{Context, FailureKind, Poll, Result, Wait};

/// Pods take this long to start when nothing keeps them.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Crashes before it is clear that a pod does not start: the first may come from a race with its sidecar.
const CRASHES: i64 = 3;
/// How long a controller's pods may take to be made again.
const RENEWAL: Duration = Duration::from_secs(60);

/// The annotation of a service account whose pods get a role's credentials.
pub(super) const ROLE: &str = "eks.amazonaws.com/role-arn";
/// What a pod with credentials has: a role's, or those of a pod identity association.
const CREDENTIALS: [&str; 2] = ["AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// What is the matter with pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTrouble {
    /// The reason, the pod and the last words of its log.
    pub words: String,
    /// What to do.
    pub hint: String,
    /// Whether waiting is in vain.
    pub is_final: bool,
}

/// The pods of a Deployment.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    /// How many of them are ready to stay.
    pub ready: usize,
    /// What keeps others from it.
    pub trouble: Option<PodTrouble>,
    /// How the first of the others is, whether that is trouble or takes its time.
    pub unready: Option<PodTrouble>,
    /// Those that were made without the role of their service account, ready or not. EKS gives credentials to a pod when it
    /// is made, and lets it through without them when it cannot look at the account just then
    /// (<https://github.com/aws/amazon-eks-pod-identity-webhook/issues/174>); it never gets them afterwards.
    pub without_role: Vec<Value>,
}

impl Pods {
    /// Deletes those that were made without their role: their Deployment makes them again.
    async fn renew(&self, cluster: &Cluster) -> Result<(), Trouble> {
        for pod in &self.without_role {
            cluster.delete_seen(pod).await?;
        }
        Ok(())
    }
}

/// What is still to come until all pods of a Deployment are ready and have the role of their account; those that lack it
/// are made again.
///
/// # Errors
/// What the API server says.
pub(super) async fn renewal(
    cluster: &Cluster,
    deployment: &Value,
) -> Result<Option<String>, Trouble> {
    let pods = pods_of(cluster, deployment).await?;
    pods.renew(cluster).await?;
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    Ok(match &pods.trouble {
        Some(trouble) if !pods.without_role.is_empty() => Some(trouble.words.clone()),
        _ if (pods.ready as u64) < wanted => Some(format!("{} of {wanted} pods ready", pods.ready)),
        _ => None,
    })
}

/// Has the pods of a controller made again that were made without their role, as which it never gets to what it is waited
/// for, and gives them a while to become ready.
///
/// # Errors
/// What the API server says.
pub async fn renew_pods(cx: &Context, cluster: &Cluster, controller: &Reference) -> Result<()> {
    let failure = |trouble: Trouble| trouble.failure(controller.to_string());
    let Some(live) = cluster.get(controller).await.map_err(failure)? else {
        return Ok(());
    };
    let pods = pods_of(cluster, &live).await.map_err(failure)?;
    if pods.without_role.is_empty() {
        return Ok(());
    }
    let wait = Wait::new(controller.to_string(), RENEWAL);
    let waited = cx.wait_for(wait, || async {
        let Some(live) = cluster.get(controller).await.map_err(failure)? else {
            return Ok(Poll::Ready(()));
        };
        let coming = renewal(cluster, &live).await.map_err(failure)?;
        Ok(coming.map_or(Poll::Ready(()), Poll::Pending))
    });
    match waited.await {
        Err(late) if late.kind == FailureKind::Timeout => Ok(()),
        waited => waited,
    }
}

/// What keeps the pods of a Deployment that is waited for; those without their role are made again. They are looked at less
/// and less often: to find them by their labels an API server goes through all pods of the namespace.
#[derive(Debug, Default)]
pub struct PodWatch {
    /// Not before this time of the wait.
    next: Duration,
    trouble: Option<PodTrouble>,
}

impl PodWatch {
    /// What keeps the pods, as it was seen last.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn look(
        &mut self,
        cluster: &Cluster,
        deployment: &Value,
        waited: Duration,
    ) -> Result<Option<&PodTrouble>, Trouble> {
        if waited >= self.next.max(FIRST_LOOK) {
            let pods = pods_of(cluster, deployment).await?;
            pods.renew(cluster).await?;
            self.trouble = pods.trouble;
            self.next = waited + waited / 3;
        }
        Ok(self.trouble.as_ref())
    }
}

/// Looks at a Deployment's pods.
///
/// # Errors
/// What the API server says.
pub async fn pods_of(cluster: &Cluster, deployment: &Value) -> Result<Pods, Trouble> {
    let namespace = deployment["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default();
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let labels: Vec<String> = deployment["spec"]["selector"]["matchLabels"]
        .as_object()
        .map(|labels| {
            labels
                .iter()
                .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
                .collect()
        })
        .unwrap_or_default();
    // One that has none yet is asked for none: of a thousand that are made at once, most wait for their first.
    let pods = match deployment["status"]["replicas"].as_i64() {
        None | Some(0) => Vec::new(),
        Some(_) => {
            let labels = labels.join(",");
            cluster.list("v1", "Pod", Some(namespace), &labels).await?
        }
    };
    let mut found = Pods::default();
    let stay = |pod: &&Value| !pod["metadata"]["deletionTimestamp"].is_string();
    for pod in pods.iter().filter(stay) {
        if matches!(condition(pod, "Ready"), Some(("True", _))) {
            found.ready += 1;
        } else if found.trouble.is_none() {
            found.trouble = trouble_of(cluster, namespace, pod).await;
            found.unready = found.unready.or_else(|| unready(namespace, pod));
        }
    }
    let bare: Vec<&Value> = pods
        .iter()
        .filter(stay)
        .filter(|pod| is_bare(pod))
        .collect();
    if !bare.is_empty()
        && let Some(role) = role_of(cluster, namespace, deployment).await?
    {
        found.without_role = bare.into_iter().cloned().collect();
        let pod = &found.without_role[0]["metadata"]["name"];
        let pod = pod.as_str().unwrap_or_default();
        found.trouble = Some(PodTrouble {
            words: format!("pod {pod} was made without the credentials of {role}"),
            hint: format!("kubectl -n {namespace} delete pod {pod}"),
            is_final: false,
        });
    }
    if found.trouble.is_none()
        && let Some(("True", words)) = condition(deployment, "ReplicaFailure")
    {
        found.trouble = Some(PodTrouble {
            words,
            hint: format!("kubectl -n {namespace} describe deployment {name}"),
            is_final: false,
        });
    }
    Ok(found)
}

/// Whether no container of a pod that runs has credentials.
fn is_bare(pod: &Value) -> bool {
    if matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    ) {
        return false;
    }
    let containers = pod["spec"]["containers"].as_array();
    let env = |container: &Value| container["env"].as_array().cloned().unwrap_or_default();
    let mut variables = containers.into_iter().flatten().flat_map(env);
    !variables.any(|one| CREDENTIALS.iter().any(|name| one["name"] == *name))
}

/// The role that the pods of a Deployment are to have.
async fn role_of(
    cluster: &Cluster,
    namespace: &str,
    deployment: &Value,
) -> Result<Option<String>, Trouble> {
    let account = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str();
    let account = account.unwrap_or("default");
    let account = Reference::namespaced("v1", "ServiceAccount", namespace, account);
    let live = cluster.get(&account).await?;
    let role =
        live.and_then(|live| Some(live["metadata"]["annotations"][ROLE].as_str()?.to_owned()));
    Ok(role)
}

async fn trouble_of(cluster: &Cluster, namespace: &str, pod: &Value) -> Option<PodTrouble> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let status = &pod["status"];
    let mut containers: Vec<&Value> = Vec::new();
    for kind in ["initContainerStatuses", "containerStatuses"] {
        containers.extend(status[kind].as_array().into_iter().flatten());
    }
    for container in containers {
        let container_name = container["name"].as_str().unwrap_or_default();
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or_default();
        let restarts = container["restartCount"].as_i64().unwrap_or(0);
        let hint = format!("kubectl -n {namespace} logs {name} -c {container_name} --previous");
        match reason {
            // One that crashes again and again is between two crashes most of the time when it takes its time to crash.
            _ if reason == "CrashLoopBackOff"
                || restarts >= CRASHES
                    && !is_true(&container["ready"])
                    && has_failed(container) =>
            {
                let last = last_words(cluster, namespace, name, container_name).await;
                let words =
                    format!("pod {name}: container {container_name} crashed {restarts} times");
                let is_looping = reason == "CrashLoopBackOff";
                let words = match is_looping {
                    true => format!("CrashLoopBackOff, {words}"),
                    false => words,
                };
                return Some(PodTrouble {
                    words: match last {
                        Some(line) => format!("{words}: {line}"),
                        None => words,
                    },
                    hint,
                    // One that runs just now may have crashed for what is over.
                    is_final: is_looping && restarts >= CRASHES,
                });
            }
            "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" => {
                let message = waiting["message"].as_str().unwrap_or_default();
                return Some(PodTrouble {
                    words: format!("{reason}, pod {name}: {message}"),
                    hint: format!("kubectl -n {namespace} describe pod {name}"),
                    is_final: reason == "InvalidImageName",
                });
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                let message = waiting["message"].as_str().unwrap_or_default();
                return Some(PodTrouble {
                    words: format!("{reason}, pod {name}: {message}"),
                    hint: format!("kubectl -n {namespace} describe pod {name}"),
                    is_final: false,
                });
            }
            _ => {}
        }
    }
    if let Some(("False", words)) = condition(pod, "PodScheduled") {
        return Some(PodTrouble {
            words: format!("pod {name} is not scheduled: {words}"),
            hint: "add nodes (cluster.nodes) or ask for less".into(),
            is_final: false,
        });
    }
    None
}

fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

/// Whether a container's last end was a failure.
fn has_failed(container: &Value) -> bool {
    let ends = [
        &container["state"]["terminated"],
        &container["lastState"]["terminated"],
    ];
    let code = ends.into_iter().find_map(|end| end["exitCode"].as_i64());
    code.is_some_and(|code| code != 0)
}

/// How a pod that is not ready is.
fn unready(namespace: &str, pod: &Value) -> Option<PodTrouble> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let containers = pod["status"]["containerStatuses"].as_array();
    let container = containers
        .into_iter()
        .flatten()
        .find(|container| !is_true(&container["ready"]));
    let how = match container {
        None => pod["status"]["phase"].as_str()?.to_owned(),
        Some(container) => {
            let container_name = container["name"].as_str().unwrap_or_default();
            let state = container["state"].as_object().into_iter().flatten().next();
            let (state, detail) = state.map_or(("unknown", ""), |(state, detail)| {
                (
                    state.as_str(),
                    detail["reason"].as_str().unwrap_or_default(),
                )
            });
            let restarts = container["restartCount"].as_i64().unwrap_or(0);
            let words = [state, detail].join(" ");
            format!(
                "container {container_name} is {} and not ready, restarted {restarts} times",
                words.trim()
            )
        }
    };
    Some(PodTrouble {
        words: format!("pod {name}: {how}"),
        hint: format!("kubectl -n {namespace} describe pod {name}"),
        is_final: false,
    })
}

/// The last line a crashed container wrote.
async fn last_words(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Option<String> {
    for previous in [true, false] {
        let params = &LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(5),
            ..LogParams::default()
        };
        let log = cluster
            .call(|client| async move {
                let pods: Api<Pod> = Api::namespaced(client, namespace);
                pods.logs(pod, params).await
            })
            .await;
        let line = log.ok().and_then(|log| {
            let line = log.lines().rev().find(|line| !line.trim().is_empty())?;
            Some(line.trim().chars().take(300).collect())
        });
        if line.is_some() {
            return line;
        }
    }
    None
}
