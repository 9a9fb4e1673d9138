//! Walks a graph: forwards to plan and to make, backwards to remove.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;

use super::context::{Context, Shared};
use super::graph::Node;
use super::standing::{CALM, Watch, undermined};
use super::{
    Cancellation, Change, EventKind, Failure, FailureKind, Graph, Listener, Observed, Outcome,
    Phase, Result, Silence, StepId, StepInfo,
};

/// How a graph is walked.
pub struct Executor {
    /// Hears everything.
    pub listener: Arc<dyn Listener>,
    /// The wish to stop.
    pub cancellation: Cancellation,
    /// How many steps work at once at most, those aside that wait; at least one.
    pub parallelism: usize,
    /// How long the whole run may take.
    pub timeout: Option<Duration>,
}

/// How one step of a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Which step.
    pub id: StepId,
    /// The resource as the user knows it.
    pub title: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When it began, in seconds since the run did; zero when it never did.
    #[serde(rename = "began_seconds", serialize_with = "super::event::seconds")]
    pub began: Duration,
    /// How long it took, in seconds.
    #[serde(rename = "took_seconds", serialize_with = "super::event::seconds")]
    pub took: Duration,
    /// What it waited for in this run's direction.
    pub after: Vec<StepId>,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which way it went.
    pub phase: Phase,
    /// Every step, in a valid order of the run's direction.
    pub steps: Vec<StepReport>,
    /// Whether its time was over before it was done.
    #[serde(skip)]
    pub is_late: bool,
    /// How long the run took, in seconds.
    #[serde(rename = "took_seconds", serialize_with = "super::event::seconds")]
    pub took: Duration,
}

impl Report {
    /// Whether every step ended well.
    pub fn is_success(&self) -> bool {
        self.steps.iter().all(|step| step.outcome.is_success())
    }

    /// The steps that failed themselves, with how.
    pub fn failures(&self) -> impl Iterator<Item = (&StepReport, &Failure)> {
        self.steps.iter().filter_map(|step| match &step.outcome {
            Outcome::Failed { failure } => Some((step, failure)),
            _ => None,
        })
    }

    /// Whether the run changed something, or would.
    pub fn has_changes(&self) -> bool {
        self.steps.iter().any(|step| match &step.outcome {
            Outcome::Planned { change } => change.is_change(),
            Outcome::Applied { .. } | Outcome::Destroyed | Outcome::WouldDestroy => true,
            _ => false,
        })
    }

    /// The longest chain of dependent steps by the time they took: no schedule of these steps ends sooner.
    pub fn critical_path(&self) -> (Duration, Vec<&StepId>) {
        let mut longest: HashMap<&StepId, (Duration, Option<&StepId>)> = HashMap::new();
        for step in &self.steps {
            let before = step
                .after
                .iter()
                .filter_map(|id| longest.get(id).map(|(length, _)| (*length, id)))
                .max();
            let length = step.took + before.map_or(Duration::ZERO, |(length, _)| length);
            longest.insert(&step.id, (length, before.map(|(_, id)| id)));
        }
        let mut path = Vec::new();
        let mut last = longest
            .iter()
            .max_by_key(|(_, (length, _))| *length)
            .map(|(id, _)| *id);
        let length = last.map_or(Duration::ZERO, |id| longest[id].0);
        while let Some(id) = last {
            path.push(id);
            last = longest[id].1;
        }
        path.reverse();
        (length, path)
    }
}

/// A step's end.
#[derive(Clone)]
struct Ended {
    outcome: Outcome,
    /// Since the run began.
    began: Duration,
    took: Duration,
}

/// A run under way: what its steps share, and which way it goes.
struct Run<'a> {
    graph: &'a Graph,
    executor: &'a Executor,
    shared: Arc<Shared>,
    phase: Phase,
    /// For each node, the nodes that must be done before.
    before: Vec<BTreeSet<usize>>,
}

impl Executor {
    /// Looks at everything and reports what `up` would do; changes nothing.
    pub async fn plan(&self, graph: &Graph) -> Report {
        self.run(graph, Phase::Observe, forwards(graph))
            .walk(plan_step)
            .await
    }

    /// Looks at everything and reports what `down` would remove; changes nothing.
    pub async fn plan_down(&self, graph: &Graph) -> Report {
        self.run(graph, Phase::Observe, forwards(graph))
            .walk(plan_destroy_step)
            .await
    }

    /// Makes everything as wanted.
    pub async fn up(&self, graph: &Graph) -> Report {
        self.up_watching(graph, &Watch::new(CALM)).await
    }

    /// As [`Executor::up`], with an eye on what working steps stand on.
    pub(super) async fn up_watching(&self, graph: &Graph, watch: &Watch) -> Report {
        self.run(graph, Phase::Apply, forwards(graph))
            .walk(|node, cx| apply_step(graph, node, cx, watch))
            .await
    }

    /// Removes everything, dependents first.
    ///
    /// It looks at all steps forwards before, because to remove a thing takes what it was made with: the way to the
    /// cluster, the network's ids.
    pub async fn down(&self, graph: &Graph) -> Report {
        let gathering = Run {
            graph,
            executor: self,
            shared: Arc::new(Shared::new(Arc::new(Silence), self.cancellation.clone())),
            phase: Phase::Observe,
            before: forwards(graph),
        };
        gathering.walk(gather_step).await;
        let run = self.run(graph, Phase::Destroy, backwards(graph));
        move_between(&gathering.shared.outputs, &run.shared.outputs);
        move_between(&gathering.shared.blind, &run.shared.blind);
        run.walk(destroy_step).await
    }

    fn run<'a>(&'a self, graph: &'a Graph, phase: Phase, before: Vec<BTreeSet<usize>>) -> Run<'a> {
        let shared = Arc::new(Shared::new(
            self.listener.clone(),
            self.cancellation.clone(),
        ));
        Run {
            graph,
            executor: self,
            shared,
            phase,
            before,
        }
    }
}

fn move_between<T: Default>(from: &Mutex<T>, to: &Mutex<T>) {
    let value = std::mem::take(&mut *from.lock().expect("no panic while locked"));
    *to.lock().expect("no panic while locked") = value;
}

fn forwards(graph: &Graph) -> Vec<BTreeSet<usize>> {
    graph.nodes.iter().map(|node| node.needs.clone()).collect()
}

fn backwards(graph: &Graph) -> Vec<BTreeSet<usize>> {
    let mut before = vec![BTreeSet::new(); graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for &need in &node.needs {
            before[need].insert(index);
        }
    }
    before
}

impl Run<'_> {
    /// Starts every step as soon as what it waits for is done, the one with the longest way to go first.
    async fn walk<'s, F, Fut>(&'s self, act: F) -> Report
    where
        F: Fn(&'s Node, Context) -> Fut,
        Fut: Future<Output = Outcome> + 's,
    {
        let count = self.graph.nodes.len();
        let after = inverted(&self.before);
        let order = self.order();
        let urgency = self.urgency(&order, &after);
        let mut missing: Vec<usize> = self.before.iter().map(BTreeSet::len).collect();
        let mut ended: Vec<Option<Ended>> = vec![None; count];
        let mut ready: BTreeSet<(std::cmp::Reverse<Duration>, usize)> = (0..count)
            .filter(|&node| missing[node] == 0)
            .map(|node| (std::cmp::Reverse(urgency[node]), node))
            .collect();
        let mut running = FuturesUnordered::new();
        let mut started: HashMap<usize, Instant> = HashMap::new();
        let mut told = false;
        let deadline = self
            .executor
            .timeout
            .map(|timeout| tokio::time::Instant::now() + timeout);
        let cancellation = &self.shared.cancellation;
        let mut waiting = self.shared.waiting.subscribe();

        self.shared.say(EventKind::RunStarted {
            phase: self.phase,
            steps: self.introduce(&order),
        });
        let is_late = loop {
            // Those that wait take nothing that others need.
            let at_once = self.executor.parallelism.max(1) + *waiting.borrow_and_update();
            while running.len() < at_once && !cancellation.is_interrupted() {
                let Some((_, node)) = ready.pop_first() else {
                    break;
                };
                let step = self.graph.nodes[node].id.clone();
                let context = Context::new(self.shared.clone(), step);
                started.insert(node, Instant::now());
                let future = act(&self.graph.nodes[node], context);
                running.push(async move { (node, future.await) });
            }
            if cancellation.is_interrupted() && !told {
                self.shared.say(EventKind::Interrupted);
                told = true;
            }
            let (node, outcome) = tokio::select! {
                biased;
                next = running.next() => match next {
                    Some(done) => done,
                    None => break false,
                },
                Ok(()) = waiting.changed() => continue,
                () = cancellation.interrupted(), if !told => continue,
                () = cancellation.stopped() => break false,
                () = past(deadline) => break true,
            };
            let well = outcome.is_success();
            ended[node] = Some(self.finish(node, outcome, started.remove(&node)));
            if well {
                for &next in &after[node] {
                    missing[next] -= 1;
                    if missing[next] == 0 && ended[next].is_none() {
                        ready.insert((std::cmp::Reverse(urgency[next]), next));
                    }
                }
            } else {
                self.skip(node, &after, &mut ended);
            }
        };
        drop(running);
        for (node, at) in started {
            let outcome = Outcome::Failed {
                failure: self.cut_off(node, is_late),
            };
            ended[node] = Some(self.finish(node, outcome, Some(at)));
        }
        self.report(&order, ended, is_late)
    }

    /// Marks everything that waits for `node`, directly or not, as skipped because of it.
    fn skip(&self, node: usize, after: &[BTreeSet<usize>], ended: &mut [Option<Ended>]) {
        let because = self.graph.nodes[node].id.clone();
        let mut queue: VecDeque<usize> = after[node].iter().copied().collect();
        while let Some(next) = queue.pop_front() {
            if ended[next].is_some() {
                continue;
            }
            let outcome = Outcome::Skipped {
                because: because.clone(),
            };
            ended[next] = Some(self.finish(next, outcome, None));
            queue.extend(&after[next]);
        }
    }

    fn cut_off(&self, node: usize, is_late: bool) -> Failure {
        let title = self.graph.nodes[node].step.title();
        match self.executor.timeout {
            Some(timeout) if is_late => {
                let message = format!("the run's time of {} s was over", timeout.as_secs());
                Failure::of(FailureKind::Timeout, title, message)
                    .hint("run the same command again: it goes on from here")
            }
            _ => Failure::of(FailureKind::Cancelled, title, "stopped")
                .hint("run the same command again: it goes on from here"),
        }
    }

    fn finish(&self, node: usize, outcome: Outcome, started: Option<Instant>) -> Ended {
        let took = started.map_or(Duration::ZERO, |at| at.elapsed());
        let began = started.map_or(Duration::ZERO, |at| at.duration_since(self.shared.began));
        self.shared.say(EventKind::StepFinished {
            id: self.graph.nodes[node].id.clone(),
            outcome: outcome.clone(),
            took,
        });
        Ended {
            outcome,
            began,
            took,
        }
    }

    fn report(&self, order: &[usize], mut ended: Vec<Option<Ended>>, is_late: bool) -> Report {
        let steps: Vec<StepReport> = order
            .iter()
            .map(|&node| {
                let ended = ended[node].take().unwrap_or(Ended {
                    outcome: Outcome::Cancelled,
                    began: Duration::ZERO,
                    took: Duration::ZERO,
                });
                StepReport {
                    id: self.graph.nodes[node].id.clone(),
                    title: self.graph.nodes[node].step.title(),
                    outcome: ended.outcome,
                    began: ended.began,
                    took: ended.took,
                    after: self.names(&self.before[node]),
                }
            })
            .collect();
        let succeeded = steps
            .iter()
            .filter(|step| step.outcome.is_success())
            .count();
        let failed = steps
            .iter()
            .filter(|step| matches!(step.outcome, Outcome::Failed { .. }))
            .count();
        let skipped = steps.len() - succeeded - failed;
        self.shared.say(EventKind::RunFinished {
            phase: self.phase,
            succeeded,
            failed,
            skipped,
        });
        Report {
            phase: self.phase,
            steps,
            is_late,
            took: self.shared.began.elapsed(),
        }
    }

    fn introduce(&self, order: &[usize]) -> Vec<StepInfo> {
        order
            .iter()
            .map(|&node| StepInfo {
                id: self.graph.nodes[node].id.clone(),
                title: self.graph.nodes[node].step.title(),
                expected: self.graph.nodes[node].step.expected(),
                after: self.names(&self.before[node]),
            })
            .collect()
    }

    fn names(&self, nodes: &BTreeSet<usize>) -> Vec<StepId> {
        nodes
            .iter()
            .map(|&node| self.graph.nodes[node].id.clone())
            .collect()
    }

    /// A valid order of this run's direction: insertion order forwards, its reverse backwards.
    fn order(&self) -> Vec<usize> {
        let count = self.graph.nodes.len();
        if self.phase == Phase::Destroy {
            (0..count).rev().collect()
        } else {
            (0..count).collect()
        }
    }

    /// How long it takes at least from each step's start to the run's end, by the expected durations.
    fn urgency(&self, order: &[usize], after: &[BTreeSet<usize>]) -> Vec<Duration> {
        let mut urgency = vec![Duration::ZERO; self.graph.nodes.len()];
        for &node in order.iter().rev() {
            let expected = self.graph.nodes[node].step.expected();
            let own = if self.phase == Phase::Destroy {
                expected.down
            } else {
                expected.up
            };
            let rest = after[node]
                .iter()
                .map(|&next| urgency[next])
                .max()
                .unwrap_or_default();
            urgency[node] = own + rest;
        }
        urgency
    }
}

fn inverted(edges: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let mut inverted = vec![BTreeSet::new(); edges.len()];
    for (from, tos) in edges.iter().enumerate() {
        for &to in tos {
            inverted[to].insert(from);
        }
    }
    inverted
}

async fn past(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome::Failed { failure }
}

/// What would be done to make a step; its outputs are kept where there are any.
async fn plan_step(node: &Node, cx: Context) -> Outcome {
    let change = match node.step.observe(&cx).await {
        Ok(seen) => {
            cx.keep_outputs(&seen);
            node.step.plan(&seen)
        }
        // What it needs is not there, so neither is it.
        Err(failure) if failure.kind == FailureKind::MissingInput => Change::Create,
        Err(failure) => return failed(failure),
    };
    Outcome::Planned { change }
}

async fn plan_destroy_step(node: &Node, cx: Context) -> Outcome {
    if !node.step.owns() {
        gather_step(node, cx).await;
        return Outcome::NothingOwned;
    }
    match node.step.observe(&cx).await {
        Ok(seen) => {
            cx.keep_outputs(&seen);
            match seen {
                Observed::Absent => Outcome::AlreadyGone,
                Observed::Foreign(owner) => Outcome::LeftAlone { owner },
                _ => Outcome::WouldDestroy,
            }
        }
        Err(failure) if failure.kind == FailureKind::MissingInput => Outcome::AlreadyGone,
        Err(failure) => failed(failure),
    }
}

/// Looks at a step for its outputs. What cannot be looked at fails again, with its consequences, in the run itself.
async fn gather_step(node: &Node, cx: Context) -> Outcome {
    // Nothing is removed by it or with what it puts out.
    if !node.step.owns() && !node.is_needed {
        return Outcome::Unchanged;
    }
    match node.step.observe(&cx).await {
        Ok(seen) => cx.keep_outputs(&seen),
        Err(failure)
            if failure.kind != FailureKind::MissingInput
                || cx.is_blind(&StepId::new(&failure.resource)) =>
        {
            cx.keep_blind();
        }
        Err(_) => {}
    }
    Outcome::Unchanged
}

async fn apply_step(graph: &Graph, node: &Node, cx: Context, watch: &Watch) -> Outcome {
    let applied = tokio::select! {
        biased;
        applied = try_apply(node, &cx) => applied,
        failure = undermined(graph, node, &cx, watch) => Err(failure),
    };
    match applied {
        Ok(outcome) => outcome,
        Err(failure) => failed(failure),
    }
}

async fn try_apply(node: &Node, cx: &Context) -> Result<Outcome> {
    cx.shared.say(EventKind::StepStarted {
        id: node.id.clone(),
        phase: Phase::Observe,
        change: None,
    });
    let seen = node.step.observe(cx).await?;
    let change = node.step.plan(&seen);
    match change {
        Change::Keep => {
            cx.keep_outputs(&seen);
            Ok(Outcome::Unchanged)
        }
        Change::Blocked(reason) => {
            Err(Failure::of(FailureKind::Blocked, node.step.title(), reason))
        }
        change => {
            let id = node.id.clone();
            cx.shared.say(EventKind::StepStarted {
                id,
                phase: Phase::Apply,
                change: Some(change.clone()),
            });
            let outputs = node.step.apply(cx, &change).await?;
            cx.keep(outputs);
            Ok(Outcome::Applied { change })
        }
    }
}

async fn destroy_step(node: &Node, cx: Context) -> Outcome {
    if !node.step.owns() {
        return Outcome::NothingOwned;
    }
    cx.shared.say(EventKind::StepStarted {
        id: node.id.clone(),
        phase: Phase::Observe,
        change: None,
    });
    let seen = match node.step.observe(&cx).await {
        Ok(seen) => seen,
        Err(failure) if failure.kind == FailureKind::MissingInput => {
            // Without what it lived in it is gone too, unless that could only not be looked at.
            let unseen = StepId::new(failure.resource);
            return if cx.is_blind(&unseen) {
                Outcome::Skipped { because: unseen }
            } else {
                Outcome::AlreadyGone
            };
        }
        Err(failure) => return failed(failure),
    };
    match seen {
        Observed::Absent => Outcome::AlreadyGone,
        Observed::Foreign(owner) => Outcome::LeftAlone { owner },
        seen => {
            cx.shared.say(EventKind::StepStarted {
                id: node.id.clone(),
                phase: Phase::Destroy,
                change: None,
            });
            match node.step.destroy(&cx, &seen).await {
                Ok(()) => Outcome::Destroyed,
                Err(failure) => failed(failure),
            }
        }
    }
}
