//! EKS: waits for clusters, node groups, add-ons and updates.

use std::future::Future;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_eks::Client;
use aws_sdk_eks::types::{Cluster, ClusterStatus, Update, UpdateStatus};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::aws::{failed, is};
use super::{another_run, made_again};
use crate::config::OWNER_TAG;
use crate::engine::{Context, Failure, Poll, Result, Wait};

/// EKS's error code for what does not exist.
pub const NOT_FOUND: &str = "ResourceNotFoundException";
/// EKS's error code for what exists already, or is busy.
pub const IN_USE: &str = "ResourceInUseException";

/// How a cluster is called in failures.
pub fn cluster_title(name: &str) -> String {
    format!("EKS cluster {name}")
}

/// The cluster; none when it does not exist.
///
/// # Errors
/// When EKS does not answer.
pub async fn find_cluster(client: &Client, name: &str) -> Result<Option<Cluster>> {
    match client.describe_cluster().name(name).send().await {
        Ok(described) => Ok(described.cluster),
        Err(error) if is(&error, NOT_FOUND) => Ok(None),
        Err(error) => Err(failed(cluster_title(name))(error)),
    }
}

/// The names of the cluster's node groups; none when it has ended, though EKS may show it for a moment longer.
///
/// # Errors
/// When EKS does not answer.
pub async fn node_groups(client: &Client, cluster: &str) -> Result<Option<Vec<String>>> {
    match client.list_nodegroups().cluster_name(cluster).send().await {
        Ok(listed) => Ok(Some(listed.nodegroups.unwrap_or_default())),
        Err(error) if is(&error, NOT_FOUND) => Ok(None),
        Err(error) => Err(failed(format!("node groups of {cluster}"))(error)),
    }
}

/// Ends well as long as EKS has the cluster that a run made or found, at that endpoint.
///
/// # Errors
/// A cluster that another run removes, or has removed or made again; when EKS does not answer.
pub async fn refuse_gone(client: &Client, name: &str, endpoint: &str) -> Result<()> {
    let found = find_cluster(client, name).await?;
    let how = match &found {
        None => "was deleted meanwhile",
        Some(cluster) if cluster.status() == Some(&ClusterStatus::Deleting) => "is being deleted",
        Some(cluster) if cluster.endpoint() != Some(endpoint) => "was made again meanwhile",
        Some(_) => return Ok(()),
    };
    Err(another_run(&cluster_title(name), how))
}

/// Ends well where the environment has no cluster, after which nothing of it can be in the way any more.
///
/// # Errors
/// A cluster that another run made again; when EKS does not answer.
pub async fn refuse_made_again(client: &Client, name: &str, environment: &str) -> Result<()> {
    match find_cluster(client, name).await? {
        Some(live)
            if live
                .tags()
                .and_then(|tags| tags.get(OWNER_TAG))
                .map(String::as_str)
                == Some(environment) =>
        {
            Err(made_again(&cluster_title(name)))
        }
        _ => Ok(()),
    }
}

/// What EKS says is wrong with the cluster.
pub fn cluster_issues(cluster: &Cluster) -> String {
    let issues: Vec<&str> = cluster
        .health()
        .map(|health| health.issues())
        .unwrap_or_default()
        .iter()
        .filter_map(|issue| issue.message())
        .collect();
    let status = cluster.status().map_or("", ClusterStatus::as_str);
    if issues.is_empty() {
        status.to_owned()
    } else {
        format!("{status}: {}", issues.join("; "))
    }
}

/// The cluster once nothing is going on with it; none when it is gone.
///
/// # Errors
/// A passed deadline.
pub async fn cluster_settled(cx: &Context, client: &Client, name: &str) -> Result<Option<Cluster>> {
    let wait = Wait::new(cluster_title(name), Duration::from_secs(40 * 60)).hint(
        "EKS takes unusually long: see the AWS Health Dashboard, then run the same command again",
    );
    cx.wait_for(wait, async || {
        let Some(cluster) = find_cluster(client, name).await? else {
            return Ok(Poll::Ready(None));
        };
        Ok(match cluster.status() {
            Some(ClusterStatus::Active | ClusterStatus::Failed) | None => {
                Poll::Ready(Some(cluster))
            }
            Some(status) => Poll::Pending(status.as_str().to_owned()),
        })
    })
    .await
}

/// Which thing an update belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Updated<'a> {
    /// The cluster itself.
    Cluster,
    /// A node group.
    NodeGroup(&'a str),
    /// An add-on.
    Addon(&'a str),
}

/// Waits for an update to end well.
///
/// # Errors
/// The update's own errors; a passed deadline.
pub async fn update_done(
    cx: &Context,
    client: &Client,
    cluster: &str,
    updated: Updated<'_>,
    update: Option<Update>,
) -> Result<()> {
    let Some(id) = update.and_then(|update| update.id) else {
        return Ok(());
    };
    let title = match updated {
        Updated::Cluster => cluster_title(cluster),
        Updated::NodeGroup(name) => format!("node group {name}"),
        Updated::Addon(name) => format!("add-on {name}"),
    };
    let wait = Wait::new(title.clone(), Duration::from_secs(60 * 60));
    cx.wait_for(wait, async || {
        let request = client.describe_update().name(cluster).update_id(&id);
        let request = match updated {
            Updated::Cluster => request,
            Updated::NodeGroup(name) => request.nodegroup_name(name),
            Updated::Addon(name) => request.addon_name(name),
        };
        let described = request.send().await.map_err(failed(title.clone()))?;
        let Some(update) = described.update else {
            return Ok(Poll::Pending("update not listed yet".into()));
        };
        match update.status() {
            Some(UpdateStatus::Successful) => Ok(Poll::Ready(())),
            Some(UpdateStatus::InProgress) | None => Ok(Poll::Pending("updating".into())),
            Some(status) => {
                let errors: Vec<&str> = update
                    .errors()
                    .iter()
                    .filter_map(|error| error.error_message())
                    .collect();
                Err(Failure::new(
                    title.clone(),
                    format!("update {}: {}", status.as_str(), errors.join("; ")),
                ))
            }
        }
    })
    .await
}

/// How something is that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// EKS is at work on it.
    Busy,
    /// EKS is not, be it that nobody has asked or that it has given the deletion up.
    Still,
}

/// What a look at something that is to go finds.
#[derive(Clone, Debug)]
pub struct Remains {
    /// How it is.
    pub going: Going,
    /// EKS's own words for that.
    pub words: String,
    /// When it was made, which tells it from another of its name.
    pub made: Option<DateTime>,
}

/// How EKS took the wish to delete something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It has begun.
    Begun,
    /// There is nothing to delete any more.
    Gone,
    /// Not now, in EKS's words: something else goes on with it.
    Refused(String),
}

impl Asked {
    /// As EKS answered to the wish to delete `what`.
    ///
    /// # Errors
    /// What else EKS says.
    pub fn of<T, E>(answer: Result<T, SdkError<E, HttpResponse>>, what: &str) -> Result<Self>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match answer {
            Ok(_) => Ok(Asked::Begun),
            Err(error) if is(&error, NOT_FOUND) => Ok(Asked::Gone),
            Err(error) if is(&error, IN_USE) => {
                let words = error.as_service_error().and_then(|error| error.message());
                Ok(Asked::Refused(words.unwrap_or("in use").to_owned()))
            }
            Err(error) => Err(failed(what)(error)),
        }
    }
}

/// How often one run asks for a deletion: what EKS gave up once often works the next time.
const DELETIONS: u32 = 3;
/// How long a look may still show what was before a deletion was asked for, or before something else was deleted.
pub const SHOWN: Duration = Duration::from_secs(10);

/// How far a deletion has come.
struct Deletion {
    asked: u32,
    at: Instant,
    /// Whether EKS has been seen at work since it was last asked.
    seen: bool,
    /// When what is deleted was made.
    made: Option<DateTime>,
}

impl Deletion {
    /// Whether it has to be asked for now.
    fn is_due(&mut self, remains: &Remains) -> Due {
        match remains.going {
            Going::Busy => {
                self.seen = true;
                Due::NotNow
            }
            Going::Still if self.asked == 0 => Due::Now,
            Going::Still if !self.seen && self.at.elapsed() < SHOWN => Due::NotNow,
            Going::Still if self.asked < DELETIONS => Due::Now,
            Going::Still => Due::NeverAgain,
        }
    }
}

/// Whether a deletion has to be asked for.
enum Due {
    Now,
    NotNow,
    NeverAgain,
}

/// Deletes something of EKS and returns when it is gone. What EKS gives up is asked for again, some times.
///
/// # Errors
/// Another one of its name, which another run made meanwhile; EKS's own words about a deletion that it gives up each
/// time; a passed deadline.
pub async fn delete<Look, Looked, Ask, Asking>(
    cx: &Context,
    what: &str,
    deadline: Duration,
    look: Look,
    ask: Ask,
) -> Result<()>
where
    Look: Fn() -> Looked,
    Looked: Future<Output = Result<Option<Remains>>>,
    Ask: Fn() -> Asking,
    Asking: Future<Output = Result<Asked>>,
{
    let hint = "`meshctl audit` lists what may still use it; then run the same command again";
    let deletion = &Mutex::new(None::<Deletion>);
    let (look, ask) = (&look, &ask);
    let wait = Wait::new(what, deadline).hint(hint);
    cx.wait_for(wait, || async move {
        let Some(remains) = look().await? else {
            return Ok(Poll::Ready(()));
        };
        let (due, asked) = {
            let mut deletion = deletion.lock().expect("no panic while locked");
            let deletion = deletion.get_or_insert_with(|| Deletion {
                asked: 0,
                at: Instant::now(),
                seen: false,
                made: remains.made,
            });
            if deletion.made != remains.made {
                return Err(made_again(what));
            }
            (deletion.is_due(&remains), deletion.asked)
        };
        let words = remains.words;
        match due {
            Due::NotNow => return Ok(Poll::Pending(words)),
            Due::NeverAgain => {
                let message = format!("{words}, after {DELETIONS} tries");
                return Err(Failure::new(what, message).hint(hint));
            }
            Due::Now => {}
        }
        Ok(match ask().await? {
            Asked::Gone => Poll::Ready(()),
            Asked::Refused(why) => Poll::Pending(why),
            Asked::Begun => {
                if let Some(deletion) = &mut *deletion.lock().expect("no panic while locked") {
                    deletion.asked += 1;
                    deletion.at = Instant::now();
                    deletion.seen = false;
                }
                Poll::Pending(match asked {
                    0 => "DELETING".to_owned(),
                    _ => format!("{words}; asked for again"),
                })
            }
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::engine::{Cancellation, FailureKind, Silence};

    fn remains(going: Going, words: &str, made: i64) -> Option<Remains> {
        Some(Remains {
            going,
            words: words.to_owned(),
            made: Some(DateTime::from_secs(made)),
        })
    }

    /// Deletes something that goes on as told once EKS has been seen at work; says how often it was asked for.
    async fn delete_ending(end: impl Fn(u32) -> Option<Remains>) -> (Result<()>, u32) {
        let cx = Context::detached("test", Arc::new(Silence), Cancellation::new());
        let (asked, looks) = (AtomicU32::new(0), AtomicU32::new(0));
        let look = async || {
            let asked = asked.load(Relaxed);
            // One look at the work, the next one at its end.
            let is_over = looks.fetch_add(1, Relaxed) % 2 == 1;
            Ok(match asked {
                0 => remains(Going::Still, "ACTIVE", 1),
                _ if !is_over => remains(Going::Busy, "DELETING", 1),
                asked => end(asked),
            })
        };
        let ask = async || {
            asked.fetch_add(1, Relaxed);
            looks.store(0, Relaxed);
            Ok(Asked::Begun)
        };
        let ended = delete(&cx, "thing", Duration::from_secs(60), look, ask).await;
        (ended, asked.load(Relaxed))
    }

    #[tokio::test]
    async fn a_deletion_that_is_given_up_is_asked_for_again_and_not_for_ever() {
        // Some say so, others are as if nobody had ever asked.
        for words in ["DELETE_FAILED: in use", "ACTIVE"] {
            let failing = |failures: u32| {
                move |asked: u32| match asked <= failures {
                    true => remains(Going::Still, words, 1),
                    false => None,
                }
            };
            for failures in 0..DELETIONS {
                let (ended, asked) = delete_ending(failing(failures)).await;
                assert!(ended.is_ok(), "{failures}: {ended:?}");
                assert_eq!(asked, failures + 1);
            }
            let (ended, asked) = delete_ending(failing(DELETIONS)).await;
            let failure = ended.expect_err("it never goes");
            assert_eq!(failure.kind, FailureKind::Service);
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.hint.is_some(), "what to do next");
            assert_eq!(asked, DELETIONS);
        }
    }

    #[tokio::test]
    async fn what_another_run_makes_again_is_not_waited_for() {
        for (going, words) in [(Going::Busy, "CREATING"), (Going::Still, "ACTIVE")] {
            let (ended, asked) = delete_ending(|_| remains(going, words, 2)).await;
            let failure = ended.expect_err("another run is at work");
            assert_eq!(failure.kind, FailureKind::Blocked);
            assert!(failure.message.contains("made again"), "{failure}");
            assert_eq!(asked, 1, "nobody deletes what another run makes");
        }
    }
}
