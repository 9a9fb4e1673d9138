//! Several manifests that belong together: what most steps of the cluster look at, make and remove.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::sync::Mutex;

use super::connection::{Cluster, Trouble};
use super::drift::difference;
use super::object::{Left, Reference};
use super::pods::{self, PodWatch, Pods, pods_of};
use super::ready::{Readiness, condition, is_alive, readiness};
use crate::clients::made_again;
use crate::engine::{Context, Failure, FailureKind, Observed, Poll, Result, Wait};

/// Objects looked at, or made, at once.
const AT_ONCE: usize = 8;
/// After how long it is looked what a controller complains about.
const COMPLAINTS: Duration = Duration::from_secs(10);
/// How long a webhook may take to serve after its controller is there.
const WEBHOOK: Duration = Duration::from_secs(180);

/// Words of refusals that pass by themselves, such as a controller that has not yet seen what was made before.
pub type Denials = &'static [&'static str];

/// Manifests that are made in order and removed in reverse.
pub struct Bundle<'a> {
    /// The whole, as the user knows it: `mesh controller`.
    pub title: String,
    /// Where.
    pub cluster: &'a Cluster,
    /// What, in the order in which it is made.
    pub manifests: Vec<Value>,
    /// How far each object is.
    pub readiness: fn(&Value) -> Readiness,
    /// Refusals that pass.
    pub passing: Denials,
    /// The Deployment whose pods make them ready; none for what Kubernetes itself does.
    pub controller: Option<Reference>,
    /// How long all of it may take to become ready, and each of it to go.
    pub deadline: Duration,
}

/// What was seen of one object.
enum Seen {
    Missing,
    Foreign(String),
    Going,
    There {
        drift: Vec<String>,
        readiness: Readiness,
    },
}

impl<'a> Bundle<'a> {
    /// Manifests of Kubernetes' own kinds.
    pub fn new(title: impl Into<String>, cluster: &'a Cluster, manifests: Vec<Value>) -> Self {
        Bundle {
            title: title.into(),
            cluster,
            manifests,
            readiness,
            passing: &[],
            controller: None,
            deadline: Duration::from_secs(300),
        }
    }

    /// The names of all of it, in the order in which it is made.
    pub fn names(&self) -> Vec<Reference> {
        self.manifests.iter().map(Reference::of).collect()
    }

    /// Looks at all of it: two calls for each object.
    ///
    /// # Errors
    /// What the API server says; an unreachable cluster is an observation.
    pub async fn observe(&self) -> Result<Observed<()>> {
        let mut looks = Vec::with_capacity(self.manifests.len());
        for manifest in &self.manifests {
            looks.push(self.look(manifest));
        }
        let seen: Vec<Seen> = match stream::iter(looks).buffered(AT_ONCE).try_collect().await {
            Ok(seen) => seen,
            Err(trouble) => return trouble.observed(self.title.clone()),
        };
        let mut drift = Vec::new();
        let mut waiting = None;
        let mut missing = 0;
        for (manifest, seen) in self.manifests.iter().zip(seen) {
            let name = Reference::of(manifest);
            match seen {
                Seen::Foreign(owner) => {
                    return Ok(Observed::Foreign(format!("{owner} ({name})")));
                }
                Seen::Going => waiting = Some(format!("{name} is being deleted")),
                Seen::Missing => {
                    missing += 1;
                    drift.push(format!("{name} is missing"));
                }
                Seen::There {
                    drift: differs,
                    readiness,
                } => {
                    drift.extend(differs.into_iter().map(|line| format!("{name}: {line}")));
                    match readiness {
                        Readiness::Ready => {}
                        Readiness::Waiting(how) => waiting = Some(format!("{name}: {how}")),
                        Readiness::Failed(why) => drift.push(format!("{name}: {why}")),
                    }
                }
            }
        }
        // Where nothing is wanted nothing is missing.
        Ok(
            if missing > 0 && missing == self.manifests.len() && waiting.is_none() {
                Observed::Absent
            } else if let (true, Some(waiting)) = (drift.is_empty(), waiting) {
                Observed::Pending(waiting)
            } else {
                Observed::Ready { outputs: (), drift }
            },
        )
    }

    async fn look(&self, manifest: &Value) -> Result<Seen, Trouble> {
        let Some(live) = self.cluster.get(&Reference::of(manifest)).await? else {
            return Ok(Seen::Missing);
        };
        if let Some(owner) = self.cluster.foreign_owner(&live) {
            return Ok(Seen::Foreign(owner));
        }
        if live["metadata"]["deletionTimestamp"].is_string() {
            return Ok(Seen::Going);
        }
        let mut drift = match self.cluster.dry_run(manifest).await {
            Ok(wanted) => difference(&live, &wanted),
            // Deleted since.
            Err(trouble) if trouble.is_not_found() => return Ok(Seen::Missing),
            // Refusals come again, with their consequences, when it is applied.
            Err(Trouble::Status(status)) => vec![status.message.clone()],
            Err(trouble) => return Err(trouble),
        };
        let readiness = (self.readiness)(&live);
        if readiness == Readiness::Ready && self.gives_role(manifest) {
            let pods = pods_of(self.cluster, &live).await?;
            if let (Some(trouble), false) = (pods.trouble, pods.without_role.is_empty()) {
                drift.push(trouble.words);
            }
        }
        Ok(Seen::There { drift, readiness })
    }

    /// Whether it is a Deployment whose account gets a role here: its pods may be ready without, and do nothing.
    fn gives_role(&self, manifest: &Value) -> bool {
        let account = &manifest["spec"]["template"]["spec"]["serviceAccountName"];
        account.is_string()
            && self.manifests.iter().any(|one| {
                one["kind"] == "ServiceAccount"
                    && one["metadata"]["name"] == *account
                    && one["metadata"]["namespace"] == manifest["metadata"]["namespace"]
                    && one["metadata"]["annotations"][pods::ROLE].is_string()
            })
    }

    /// Makes all of it, in order, and returns when it is ready. Objects of one kind that follow one another need nothing
    /// of each other and are made at once, some at a time.
    ///
    /// # Errors
    /// A foreign object, a refusal, a controller that gave up, a deadline.
    pub async fn apply(&self, cx: &Context) -> Result<()> {
        let mut unready = Vec::new();
        for alike in self.manifests.chunk_by(is_alike) {
            let mut made = Vec::with_capacity(alike.len());
            for manifest in alike {
                made.push(self.apply_one(cx, manifest));
            }
            let made: Vec<Value> = stream::iter(made).buffered(AT_ONCE).try_collect().await?;
            let made = alike.iter().zip(made);
            // What came back is how it is: most kinds have nothing that has to become ready.
            unready.extend(made.filter_map(|(manifest, live)| {
                let is_ready = matches!((self.readiness)(&live), Readiness::Ready)
                    && !self.gives_role(manifest)
                    && !live["metadata"]["deletionTimestamp"].is_string();
                (!is_ready).then_some(manifest)
            }));
        }
        self.wait_for_all(cx, unready).await
    }

    /// Makes one object; returns it as the API server has it then.
    async fn apply_one(&self, cx: &Context, manifest: &Value) -> Result<Value> {
        let name = &Reference::of(manifest);
        let look = || async {
            let looked = self.cluster.get(name).await;
            looked.map_err(|trouble| trouble.failure(name.to_string()))
        };
        while let Some(live) = look().await? {
            if let Some(owner) = self.cluster.foreign_owner(&live) {
                let message = format!("belongs to {owner}");
                return Err(Failure::of(FailureKind::Blocked, name.to_string(), message)
                    .hint("rename or remove it, or choose another environment name"));
            }
            if !live["metadata"]["deletionTimestamp"].is_string() {
                break;
            }
            wait_gone(cx, self.cluster, &live, self.deadline).await?;
        }
        let wait = Wait::new(name.to_string(), WEBHOOK)
            .hint("the webhook's controller is not serving: see its pods and logs");
        cx.wait_for(wait, || async {
            match self.cluster.apply(manifest).await {
                Ok(live) => Ok(Poll::Ready(live)),
                Err(trouble) if self.passes(&trouble) => Ok(Poll::Pending(trouble.to_string())),
                Err(trouble) => Err(trouble.failure(name.to_string())),
            }
        })
        .await
    }

    fn passes(&self, trouble: &Trouble) -> bool {
        let words = trouble.to_string();
        trouble.is_webhook_away() || self.passing.iter().any(|passing| words.contains(passing))
    }

    async fn wait_for_all(&self, cx: &Context, unready: Vec<&Value>) -> Result<()> {
        for manifest in unready {
            self.wait_one(cx, manifest).await?;
        }
        Ok(())
    }

    async fn wait_one(&self, cx: &Context, manifest: &Value) -> Result<()> {
        let name = &Reference::of(manifest);
        let mut wait = Wait::new(name.to_string(), self.deadline);
        if let Some(controller) = &self.controller {
            wait = wait.hint(format!("its controller says why: {}", logs_of(controller)));
        }
        let (began, patience) = (Instant::now(), COMPLAINTS.min(self.deadline / 2));
        let pods = &Mutex::new(PodWatch::default());
        let waited = cx.wait_for(wait, || async {
            // Applied a moment ago: where somebody deleted it since, it never becomes ready.
            let live = self.there(name).await?;
            match (self.readiness)(&live) {
                Readiness::Ready if self.gives_role(manifest) => {
                    let coming = pods::renewal(self.cluster, &live).await;
                    let coming = coming.map_err(|trouble| trouble.failure(name.to_string()))?;
                    Ok(coming.map_or(Poll::Ready(()), Poll::Pending))
                }
                Readiness::Ready => Ok(Poll::Ready(())),
                Readiness::Failed(why) => Err(self.explain(&live, name, &why).await),
                Readiness::Waiting(how) if name.kind == "Deployment" => {
                    let why = self.keeps(pods, &live, began.elapsed()).await?;
                    Ok(Poll::Pending(because(how, why)))
                }
                // What comes about by itself needs no explanation.
                Readiness::Waiting(how) if began.elapsed() < patience => Ok(Poll::Pending(how)),
                Readiness::Waiting(how) => {
                    let why = match self.idleness(pods, began.elapsed()).await? {
                        Some(why) => Some(why),
                        None => self.cluster.last_warning(name).await,
                    };
                    Ok(Poll::Pending(because(how, why)))
                }
            }
        });
        match waited.await {
            Err(late) if late.kind == FailureKind::Timeout && name.kind == "Deployment" => {
                Err(self.with_pods(late, name).await)
            }
            waited => waited,
        }
    }

    /// What keeps a Deployment's pods.
    ///
    /// # Errors
    /// What keeps them and does not pass.
    async fn keeps(
        &self,
        pods: &Mutex<PodWatch>,
        deployment: &Value,
        waited: Duration,
    ) -> Result<Option<String>> {
        let name = Reference::of(deployment).to_string();
        let mut pods = pods.lock().await;
        match pods.look(self.cluster, deployment, waited).await {
            Ok(Some(trouble)) if trouble.is_final => {
                Err(Failure::new(name, &trouble.words).hint(&trouble.hint))
            }
            Ok(trouble) => Ok(trouble.map(|trouble| trouble.words.clone())),
            Err(trouble) => Err(trouble.failure(name)),
        }
    }

    /// Why the controller does nothing; none where it works.
    ///
    /// # Errors
    /// It never will.
    async fn idleness(&self, pods: &Mutex<PodWatch>, waited: Duration) -> Result<Option<String>> {
        let Some(controller) = &self.controller else {
            return Ok(None);
        };
        let live = self.there(controller).await?;
        if is_alive(&live) {
            return Ok(None);
        }
        let how = match readiness(&live) {
            Readiness::Ready => "scaled to zero".to_owned(),
            Readiness::Waiting(how) | Readiness::Failed(how) => how,
        };
        let why = self.keeps(pods, &live, waited).await?;
        Ok(Some(format!("{controller}: {}", because(how, why))))
    }

    /// An object that was there a moment ago.
    ///
    /// # Errors
    /// It goes or is gone.
    async fn there(&self, name: &Reference) -> Result<Value> {
        let looked = self.cluster.get(name).await;
        match looked.map_err(|trouble| trouble.failure(name.to_string()))? {
            None => Err(Failure::taken_away(
                name.to_string(),
                "was deleted meanwhile",
            )),
            Some(live) if live["metadata"]["deletionTimestamp"].is_string() => {
                Err(Failure::taken_away(name.to_string(), "is being deleted"))
            }
            Some(live) => Ok(live),
        }
    }

    /// A wait that was in vain, with how the pods were at its end.
    async fn with_pods(&self, late: Failure, name: &Reference) -> Failure {
        let Ok(Some(live)) = self.cluster.get(name).await else {
            return late;
        };
        match pods_of(self.cluster, &live).await {
            Ok(Pods {
                unready: Some(pod), ..
            }) => Failure {
                message: format!("{}; {}", late.message, pod.words),
                ..late
            }
            .hint(pod.hint),
            _ => late,
        }
    }

    async fn explain(&self, live: &Value, name: &Reference, why: &str) -> Failure {
        let trouble = match pods_of(self.cluster, live).await {
            Ok(pods) if name.kind == "Deployment" => pods.trouble,
            _ => None,
        };
        match trouble {
            Some(trouble) => Failure::new(name.to_string(), format!("{why}; {}", trouble.words))
                .hint(trouble.hint),
            None => Failure::new(name.to_string(), why),
        }
    }

    /// Removes all of it that is ours, last made first, each gone before the next.
    ///
    /// # Errors
    /// A finalizer that nobody removes until the deadline.
    pub async fn destroy(&self, cx: &Context) -> Result<()> {
        for manifest in self.manifests.iter().rev() {
            remove(cx, self.cluster, &Reference::of(manifest), self.deadline).await?;
        }
        Ok(())
    }
}

fn is_alike(one: &Value, other: &Value) -> bool {
    one["apiVersion"] == other["apiVersion"] && one["kind"] == other["kind"]
}

/// Deletes an object unless it is foreign, and returns when it is gone; absent is fine.
///
/// # Errors
/// A finalizer that nobody removes until the deadline; another run that makes it again.
pub async fn remove(
    cx: &Context,
    cluster: &Cluster,
    name: &Reference,
    deadline: Duration,
) -> Result<()> {
    let looked = cluster.get(name).await;
    let Some(live) = looked.map_err(|trouble| trouble.failure(name.to_string()))? else {
        return Ok(());
    };
    if cluster.foreign_owner(&live).is_some() {
        return Ok(());
    }
    let deleted = cluster.delete_seen(&live).await;
    let left = match deleted.map_err(|trouble| trouble.failure(name.to_string()))? {
        Left::It(live) => wait_gone(cx, cluster, &live, deadline).await?,
        left => left,
    };
    match left {
        Left::Another => Err(made_again(&name.to_string())),
        _ => Ok(()),
    }
}

/// Waits until a deleted object is gone; returns what is there then.
async fn wait_gone(
    cx: &Context,
    cluster: &Cluster,
    deleted: &Value,
    deadline: Duration,
) -> Result<Left> {
    let name = &Reference::of(deleted);
    let wait = Wait::new(name.to_string(), deadline)
        .hint("the controller that removes the finalizer is not working: see its pods and logs");
    cx.wait_for(wait, || async {
        let looked = cluster.left_of(deleted).await;
        match looked.map_err(|trouble| trouble.failure(name.to_string()))? {
            Left::It(live) => Ok(Poll::Pending(why_there(name, &live))),
            left => Ok(Poll::Ready(left)),
        }
    })
    .await
}

/// The command that shows what a Deployment's pods have written.
fn logs_of(deployment: &Reference) -> String {
    let namespace = deployment.namespace.as_deref().unwrap_or_default();
    let name = &deployment.name;
    format!("kubectl -n {namespace} logs deployment/{name}")
}

/// How something is, and why.
fn because(how: String, why: Option<String>) -> String {
    match why {
        Some(why) => format!("{how}, {why}"),
        None => how,
    }
}

/// Why a deleted object is still there: its finalizers, or what a namespace's controller says of what is left in it.
fn why_there(name: &Reference, live: &Value) -> String {
    let finalizers: Vec<&str> = live["metadata"]["finalizers"]
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let why = if finalizers.is_empty() {
        ["NamespaceContentRemaining", "NamespaceFinalizersRemaining"]
            .into_iter()
            .filter_map(|kind| condition(live, kind))
            .find_map(|(status, words)| (status == "True").then_some(words))
    } else {
        Some(format!("held by finalizer {}", finalizers.join(", ")))
    };
    because(format!("deleting {name}"), why)
}
