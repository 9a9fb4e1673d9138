//! The engine's laws, over random graphs and an imaginary cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshctl::engine::{
    Cancellation, Change, Context, Event, EventKind, Executor, Expected, Failure, Graph, Handle,
    Input, Listener, Observed, Outcome, Poll, Report, Result, Step, StepId, Wait,
};
use proptest::prelude::*;

/// The imaginary cloud: which resources exist, what was done in which order, and which call fails.
#[derive(Default)]
struct Cloud {
    existing: Mutex<BTreeSet<usize>>,
    log: Mutex<Vec<(char, usize)>>,
    calls: AtomicUsize,
    /// The number of the changing call that fails, before or after its effect.
    fail: Option<(usize, bool)>,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Cloud {
    fn failing(fail: usize, after_effect: bool) -> Self {
        Cloud {
            fail: Some((fail, after_effect)),
            ..Cloud::default()
        }
    }

    async fn change(
        &self,
        what: char,
        node: usize,
        effect: impl FnOnce(&mut BTreeSet<usize>),
    ) -> Result<()> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        // Lets everything that may start, start: parallelism shows without clocks.
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fail == Some((call, false)) {
            return Err(Failure::new(format!("node {node}"), "refused"));
        }
        effect(&mut self.existing.lock().unwrap());
        self.log.lock().unwrap().push((what, node));
        if self.fail == Some((call, true)) {
            return Err(Failure::new(format!("node {node}"), "answer lost"));
        }
        Ok(())
    }

    fn existing(&self) -> BTreeSet<usize> {
        self.existing.lock().unwrap().clone()
    }
}

struct Resource {
    node: usize,
    inputs: Vec<Input<usize>>,
    cloud: Arc<Cloud>,
}

impl Step for Resource {
    type Outputs = usize;

    fn id(&self) -> StepId {
        format!("node/{}", self.node).into()
    }

    fn title(&self) -> String {
        format!("node {}", self.node)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(self.node as u64, 1)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<usize>> {
        for input in &self.inputs {
            input.get(cx)?;
        }
        let there = self.cloud.existing.lock().unwrap().contains(&self.node);
        Ok(if there {
            Observed::ready(self.node)
        } else {
            Observed::Absent
        })
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<usize> {
        for input in &self.inputs {
            input.get(cx)?;
        }
        self.cloud
            .change('+', self.node, |existing| {
                existing.insert(self.node);
            })
            .await?;
        Ok(self.node)
    }

    async fn destroy(&self, _: &Context, _: &Observed<usize>) -> Result<()> {
        self.cloud
            .change('-', self.node, |existing| {
                existing.remove(&self.node);
            })
            .await
    }
}

/// For each node the nodes it needs, all of a lower number.
type Shape = Vec<BTreeSet<usize>>;

fn shapes() -> impl Strategy<Value = Shape> {
    (1usize..14).prop_flat_map(|count| {
        (0..count)
            .map(|node| proptest::collection::btree_set(0..node.max(1), 0..4.min(node + 1)))
            .collect::<Vec<_>>()
            .prop_map(|mut shape| {
                shape[0].clear();
                shape
            })
    })
}

fn graph(shape: &Shape, cloud: &Arc<Cloud>) -> Graph {
    let mut graph = Graph::new();
    let mut handles: Vec<Handle<usize>> = Vec::new();
    for (node, needs) in shape.iter().enumerate() {
        let handle = graph.add(|edges| Resource {
            node,
            inputs: needs
                .iter()
                .map(|&need| edges.input(&handles[need]))
                .collect(),
            cloud: cloud.clone(),
        });
        handles.push(handle);
    }
    graph
}

#[derive(Default)]
struct Ear(Mutex<Vec<Event>>);

impl Listener for Ear {
    fn hear(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

fn executor(parallelism: usize) -> Executor {
    Executor {
        listener: Arc::new(Ear::default()),
        cancellation: Cancellation::new(),
        parallelism,
        timeout: Some(Duration::from_secs(60)),
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn positions(log: &[(char, usize)], what: char) -> BTreeMap<usize, usize> {
    log.iter()
        .enumerate()
        .filter(|(_, entry)| entry.0 == what)
        .map(|(at, entry)| (entry.1, at))
        .collect()
}

/// The most nodes that can run at once when each takes equally long: the widest level.
fn widest_level(shape: &Shape) -> usize {
    let mut levels: Vec<usize> = Vec::new();
    for needs in shape {
        levels.push(
            needs
                .iter()
                .map(|&need| levels[need] + 1)
                .max()
                .unwrap_or(0),
        );
    }
    (0..=*levels.iter().max().unwrap())
        .map(|level| levels.iter().filter(|&&l| l == level).count())
        .max()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_run_keeps_the_order_both_ways_at_full_parallelism(shape in shapes()) {
        let cloud = Arc::new(Cloud::default());
        let graph = graph(&shape, &cloud);
        let report = block_on(executor(usize::MAX).up(&graph));
        prop_assert!(report.is_success());
        prop_assert_eq!(cloud.existing(), (0..shape.len()).collect());
        prop_assert!(cloud.most_running.load(Ordering::SeqCst) >= widest_level(&shape));
        let report = block_on(executor(usize::MAX).down(&graph));
        prop_assert!(report.is_success());
        prop_assert!(cloud.existing().is_empty());
        let log = cloud.log.lock().unwrap();
        let (made, removed) = (positions(&log, '+'), positions(&log, '-'));
        for (node, needs) in shape.iter().enumerate() {
            for need in needs {
                prop_assert!(made[need] < made[&node], "{need} is made before {node}");
                prop_assert!(removed[need] > removed[&node], "{need} is removed after {node}");
            }
        }
    }

    #[test]
    fn parallelism_is_bounded(shape in shapes(), bound in 1usize..4) {
        let cloud = Arc::new(Cloud::default());
        block_on(executor(bound).up(&graph(&shape, &cloud)));
        prop_assert!(cloud.most_running.load(Ordering::SeqCst) <= bound);
    }

    #[test]
    fn applying_twice_equals_once_and_destroying_twice_is_fine(shape in shapes()) {
        let cloud = Arc::new(Cloud::default());
        let graph = graph(&shape, &cloud);
        block_on(executor(4).up(&graph));
        let made = cloud.log.lock().unwrap().len();
        let again = block_on(executor(4).up(&graph));
        prop_assert!(again.steps.iter().all(|step| matches!(step.outcome, Outcome::Unchanged)));
        prop_assert!(!block_on(executor(4).plan(&graph)).has_changes());
        prop_assert_eq!(cloud.log.lock().unwrap().len(), made);
        block_on(executor(4).down(&graph));
        let removed = cloud.log.lock().unwrap().len();
        let again = block_on(executor(4).down(&graph));
        prop_assert!(again.steps.iter().all(|step| matches!(step.outcome, Outcome::AlreadyGone)));
        prop_assert_eq!(cloud.log.lock().unwrap().len(), removed);
    }

    #[test]
    fn a_failure_anywhere_skips_its_dependents_alone_and_the_rerun_converges(
        shape in shapes(), at in any::<prop::sample::Index>(), after_effect: bool
    ) {
        let cloud = Arc::new(Cloud::failing(at.index(shape.len()), after_effect));
        let graph = graph(&shape, &cloud);
        let report = block_on(executor(usize::MAX).up(&graph));
        let failed: Vec<_> = report.failures().map(|(step, _)| step.id.clone()).collect();
        prop_assert_eq!(failed.len(), 1);
        prop_assert!(depends_only_on_success_or_is_skipped(&report));
        prop_assert!(block_on(executor(usize::MAX).up(&graph)).is_success());
        prop_assert_eq!(cloud.existing(), (0..shape.len()).collect());
    }

    #[test]
    fn after_a_failed_up_and_a_failed_down_another_down_leaves_nothing(
        shape in shapes(), at in any::<prop::sample::Index>(), after_effect: bool
    ) {
        let cloud = Arc::new(Cloud::failing(at.index(shape.len() * 2), after_effect));
        let graph = graph(&shape, &cloud);
        block_on(executor(usize::MAX).up(&graph));
        block_on(executor(usize::MAX).down(&graph));
        prop_assert!(block_on(executor(usize::MAX).down(&graph)).is_success());
        prop_assert!(cloud.existing().is_empty());
    }
}

/// Every step is skipped exactly when something it waits for did not end well.
fn depends_only_on_success_or_is_skipped(report: &Report) -> bool {
    let well: BTreeMap<_, _> = report
        .steps
        .iter()
        .map(|step| (&step.id, step.outcome.is_success()))
        .collect();
    report.steps.iter().all(|step| {
        let before = step.after.iter().all(|id| well[id]);
        matches!(step.outcome, Outcome::Skipped { .. }) != before
    })
}

/// Looks at a resource and owns nothing.
struct Look(Input<usize>);

impl Step for Look {
    type Outputs = usize;

    const OWNS: bool = false;

    fn id(&self) -> StepId {
        "look".into()
    }

    fn title(&self) -> String {
        "a look".into()
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<usize>> {
        self.0.get(cx).map(Observed::ready)
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<usize> {
        self.0.get(cx)
    }
}

#[test]
fn what_owns_nothing_is_not_said_to_be_removed_and_hands_on_what_it_saw() {
    let cloud = Arc::new(Cloud::default());
    let mut graph = Graph::new();
    let below = graph.add(|_| Resource {
        node: 0,
        inputs: Vec::new(),
        cloud: cloud.clone(),
    });
    let look = graph.add(|needs| Look(needs.input(&below)));
    graph.add(|needs| Resource {
        node: 1,
        inputs: vec![needs.input(&look)],
        cloud: cloud.clone(),
    });
    assert!(block_on(executor(4).up(&graph)).is_success());
    let outcomes = |report: &Report| -> BTreeMap<String, Outcome> {
        let steps = report.steps.iter();
        steps
            .map(|step| (step.id.to_string(), step.outcome.clone()))
            .collect()
    };
    let plan = outcomes(&block_on(executor(4).plan_down(&graph)));
    assert!(matches!(plan["look"], Outcome::NothingOwned), "{plan:?}");
    assert!(matches!(plan["node/1"], Outcome::WouldDestroy), "{plan:?}");
    let down = outcomes(&block_on(executor(4).down(&graph)));
    assert!(matches!(down["look"], Outcome::NothingOwned), "{down:?}");
    assert!(matches!(down["node/1"], Outcome::Destroyed), "{down:?}");
    assert!(cloud.existing().is_empty());
}

#[test]
fn the_first_interrupt_finishes_what_runs_and_starts_nothing_new() {
    struct Interrupting(Cancellation);
    impl Listener for Interrupting {
        fn hear(&self, event: &Event) {
            if matches!(&event.kind, EventKind::StepStarted { id, .. } if id.as_str() == "node/0")
                && !self.0.is_interrupted()
            {
                self.0.interrupt();
            }
        }
    }
    let cloud = Arc::new(Cloud::default());
    let shape: Shape = vec![BTreeSet::new(), BTreeSet::from([0]), BTreeSet::from([1])];
    let cancellation = Cancellation::new();
    let executor = Executor {
        listener: Arc::new(Interrupting(cancellation.clone())),
        cancellation,
        parallelism: 4,
        timeout: None,
    };
    let report = block_on(executor.up(&graph(&shape, &cloud)));
    assert_eq!(
        cloud.existing(),
        BTreeSet::from([0]),
        "what ran was finished"
    );
    assert!(matches!(report.steps[1].outcome, Outcome::Cancelled));
    assert!(!report.is_success());
}

/// Runs steps in fewer places than there are steps, each of which waits until all have begun: for its turn, or looking again
/// and again.
fn wait_for_one_another(in_turn: bool) {
    const STEPS: usize = 6;

    struct Patient {
        number: usize,
        begun: tokio::sync::watch::Sender<usize>,
        in_turn: bool,
    }
    impl Step for Patient {
        type Outputs = ();
        fn id(&self) -> StepId {
            format!("patient/{}", self.number).into()
        }
        fn title(&self) -> String {
            self.id().to_string()
        }
        async fn observe(&self, _: &Context) -> Result<Observed<()>> {
            Ok(Observed::Absent)
        }
        async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
            const PATIENCE: Duration = Duration::from_secs(60);
            self.begun.send_modify(|begun| *begun += 1);
            if self.in_turn {
                let mut begun = self.begun.subscribe();
                let turn = cx.pause(begun.wait_for(|begun| *begun == STEPS));
                return match tokio::time::timeout(PATIENCE, turn).await {
                    Ok(Ok(_)) => Ok(()),
                    _ => Err(Failure::new(self.title(), "others never began")),
                };
            }
            cx.wait_for(Wait::new("all", PATIENCE), || async {
                Ok(match *self.begun.borrow() {
                    STEPS => Poll::Ready(()),
                    begun => Poll::Pending(format!("{begun} begun")),
                })
            })
            .await
        }
        async fn destroy(&self, _: &Context, _: &Observed<()>) -> Result<()> {
            Ok(())
        }
    }
    let begun = tokio::sync::watch::Sender::new(0);
    let mut graph = Graph::new();
    for number in 0..STEPS {
        graph.add(|_| Patient {
            number,
            begun: begun.clone(),
            in_turn,
        });
    }
    assert!(block_on(executor(2).up(&graph)).is_success());
}

#[test]
fn a_step_that_waits_is_in_nobodys_way() {
    wait_for_one_another(false);
}

#[test]
fn a_step_that_waits_for_its_turn_is_in_nobodys_way() {
    wait_for_one_another(true);
}

#[test]
fn a_step_that_waits_for_several_things_leaves_one_place() {
    const BUSY: usize = 8;

    #[derive(Default)]
    struct Seen {
        at_work: AtomicUsize,
        most: AtomicUsize,
        done: AtomicUsize,
    }

    /// The first waits for several things at once, until all others are done; those work.
    struct One(usize, Arc<Seen>);
    impl Step for One {
        type Outputs = ();
        fn id(&self) -> StepId {
            format!("step/{}", self.0).into()
        }
        fn title(&self) -> String {
            self.id().to_string()
        }
        fn expected(&self) -> Expected {
            Expected::seconds(if self.0 == 0 { 10 } else { 1 }, 1)
        }
        async fn observe(&self, _: &Context) -> Result<Observed<()>> {
            Ok(Observed::Absent)
        }
        async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
            let seen = &self.1;
            if self.0 == 0 {
                let waits = (0..4).map(|_| {
                    let wait = Wait::new("all", Duration::from_secs(60));
                    cx.wait_for(wait, || async {
                        Ok(match seen.done.load(Ordering::Relaxed) {
                            BUSY => Poll::Ready(()),
                            done => Poll::Pending(format!("{done} done")),
                        })
                    })
                });
                return futures::future::try_join_all(waits).await.map(drop);
            }
            let at_work = seen.at_work.fetch_add(1, Ordering::Relaxed) + 1;
            seen.most.fetch_max(at_work, Ordering::Relaxed);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            seen.at_work.fetch_sub(1, Ordering::Relaxed);
            seen.done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        async fn destroy(&self, _: &Context, _: &Observed<()>) -> Result<()> {
            Ok(())
        }
    }
    let seen = Arc::new(Seen::default());
    let mut graph = Graph::new();
    for step in 0..=BUSY {
        graph.add(|_| One(step, seen.clone()));
    }
    assert!(block_on(executor(1).up(&graph)).is_success());
    assert_eq!(seen.most.load(Ordering::Relaxed), 1);
}

#[test]
fn a_run_past_its_time_names_what_it_cut_off() {
    struct Stuck;
    impl Step for Stuck {
        type Outputs = ();
        fn id(&self) -> StepId {
            "stuck".into()
        }
        fn title(&self) -> String {
            "the stuck thing".into()
        }
        async fn observe(&self, _: &Context) -> Result<Observed<()>> {
            Ok(Observed::Absent)
        }
        async fn apply(&self, _: &Context, _: &Change) -> Result<()> {
            std::future::pending().await
        }
        async fn destroy(&self, _: &Context, _: &Observed<()>) -> Result<()> {
            Ok(())
        }
    }
    let mut graph = Graph::new();
    graph.add(|_| Stuck);
    let executor = Executor {
        timeout: Some(Duration::from_millis(20)),
        ..executor(1)
    };
    let report = block_on(executor.up(&graph));
    let (step, failure) = report.failures().next().expect("it fails");
    assert_eq!(step.title, "the stuck thing");
    assert!(failure.message.contains("time"), "{failure}");
    assert!(failure.hint.is_some());
}

#[test]
fn events_serialise_as_flat_objects_with_the_event_name() {
    let event = Event {
        elapsed: Duration::from_millis(1500),
        kind: EventKind::StepProgress {
            id: "network".into(),
            message: "CREATE_IN_PROGRESS".into(),
        },
    };
    insta::assert_snapshot!(
        serde_json::to_string(&event).unwrap(),
        @r#"{"elapsed_seconds":1.5,"event":"step-progress","id":"network","message":"CREATE_IN_PROGRESS"}"#
    );
}
