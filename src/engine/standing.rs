//! Whether what a step needs still stands while it works: built on what was taken away it would wait in vain.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::context::{Context, Shared};
use super::graph::Node;
use super::{Change, Failure, Graph, Observed, Silence};

/// How often is looked.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// How long a step works before it is looked at what it needs.
    first: Duration,
    /// How long what was seen of a need is true for all steps that need it.
    fresh: Duration,
    /// The pause between two looks, of all steps together: a watch is no load.
    pause: Duration,
    /// After how long a need that seems gone is looked at again: a service may answer with what was seconds ago.
    again: Duration,
}

/// The pace beside services that take minutes.
pub(super) const CALM: Pace = Pace {
    first: Duration::from_secs(30),
    fresh: Duration::from_secs(60),
    pause: Duration::from_secs(1),
    again: Duration::from_secs(10),
};

/// What a run knows of its steps' needs: when each was looked at last, and whether it was gone.
pub(super) struct Watch {
    pace: Pace,
    seen: tokio::sync::Mutex<HashMap<usize, (Instant, bool)>>,
}

/// Returns, as the failure of a step, once something is gone that it needs, directly or not.
///
/// A need was done before the step began, so one that would have to be made again is gone. Nothing of it is said
/// or kept.
pub(super) async fn undermined(graph: &Graph, node: &Node, cx: &Context, watch: &Watch) -> Failure {
    sleep(watch.pace.first).await;
    let needs = nearest_first(graph, node);
    loop {
        for &need in &needs {
            if watch.is_gone(graph, need, cx).await {
                let title = graph.nodes[need].step.title();
                let how = format!("was deleted while {} needs it", node.step.title());
                return Failure::taken_away(title, how);
            }
        }
        sleep(watch.pace.fresh).await;
    }
}

impl Watch {
    pub(super) fn new(pace: Pace) -> Self {
        let seen = tokio::sync::Mutex::default();
        Watch { pace, seen }
    }

    async fn is_gone(&self, graph: &Graph, need: usize, cx: &Context) -> bool {
        let mut seen = self.seen.lock().await;
        if let Some((at, is_gone)) = seen.get(&need)
            && at.elapsed() < self.pace.fresh
        {
            return *is_gone;
        }
        let node = &graph.nodes[need];
        let mut is_gone = is_absent(node, cx).await;
        if is_gone {
            sleep(self.pace.again).await;
            is_gone = is_absent(node, cx).await;
        }
        seen.insert(need, (Instant::now(), is_gone));
        sleep(self.pace.pause).await;
        is_gone
    }
}

/// Whether a step that was done would have to be done from nothing. What cannot be looked at counts as there.
async fn is_absent(node: &Node, cx: &Context) -> bool {
    let outputs = cx.shared.outputs.lock();
    let outputs = outputs.expect("no panic while locked").clone();
    let silent = Shared {
        outputs: Mutex::new(outputs),
        ..Shared::new(Arc::new(Silence), cx.shared.cancellation.clone())
    };
    let silent = Context::new(Arc::new(silent), node.id.clone());
    let seen = node.step.observe(&silent).await;
    seen.is_ok_and(|seen| {
        matches!(seen, Observed::Absent) && node.step.plan(&seen) == Change::Create
    })
}

/// What a step needs, directly or not, what is nearest first.
fn nearest_first(graph: &Graph, node: &Node) -> Vec<usize> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    let mut queue = VecDeque::from([node]);
    while let Some(next) = queue.pop_front() {
        for &need in &next.needs {
            if known.insert(need) {
                found.push(need);
                queue.push_back(&graph.nodes[need]);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{Cancellation, Executor, FailureKind, Outcome, Result, Step, StepId};
    use super::*;

    const HASTY: Pace = Pace {
        first: Duration::from_millis(5),
        fresh: Duration::from_millis(5),
        pause: Duration::ZERO,
        again: Duration::from_millis(5),
    };

    /// A step that is there or not as often as it is looked at.
    struct Thing {
        name: &'static str,
        /// By the number of the look.
        is_there: fn(usize) -> bool,
        looks: Arc<AtomicUsize>,
        /// What is to be done when it is not there.
        change: Change,
        /// How long it takes to make it.
        takes: Duration,
    }

    impl Step for Thing {
        type Outputs = ();

        fn id(&self) -> StepId {
            self.name.into()
        }

        fn title(&self) -> String {
            format!("the {}", self.name)
        }

        async fn observe(&self, _: &Context) -> Result<Observed<()>> {
            let look = self.looks.fetch_add(1, Ordering::SeqCst);
            Ok(match (self.is_there)(look) {
                true => Observed::ready(()),
                false => Observed::Absent,
            })
        }

        fn plan(&self, seen: &Observed<()>) -> Change {
            match seen {
                Observed::Absent => self.change.clone(),
                _ => Change::Keep,
            }
        }

        async fn apply(&self, _: &Context, _: &Change) -> Result<()> {
            sleep(self.takes).await;
            Ok(())
        }
    }

    /// A house on walls on that ground, beside a shed: what becomes of the house that takes that long, and how often it was
    /// looked at the ground.
    async fn build(
        is_there: fn(usize) -> bool,
        change: Change,
        takes: Duration,
    ) -> (Outcome, usize) {
        let looks = Arc::<AtomicUsize>::default();
        let thing = |name, is_there, change| Thing {
            name,
            is_there,
            looks: Arc::default(),
            change,
            takes: Duration::ZERO,
        };
        let mut graph = Graph::new();
        let ground = graph.add(|_| Thing {
            looks: looks.clone(),
            ..thing("ground", is_there, change)
        });
        let walls = graph.add(|needs| {
            needs.after(&ground);
            thing("wall", |_| true, Change::Create)
        });
        graph.add(|needs| {
            needs.after(&walls);
            Thing {
                takes,
                ..thing("house", |_| false, Change::Create)
            }
        });
        graph.add(|_| Thing {
            takes: Duration::from_millis(100),
            ..thing("shed", |_| false, Change::Create)
        });
        let executor = Executor {
            listener: Arc::new(Silence),
            cancellation: Cancellation::new(),
            parallelism: 4,
            timeout: Some(Duration::from_secs(60)),
        };
        let report = executor.up_watching(&graph, &Watch::new(HASTY)).await;
        assert!(
            report.steps[3].outcome.is_success(),
            "the shed needs nothing"
        );
        let house = report.steps[2].outcome.clone();
        (house, looks.load(Ordering::SeqCst))
    }

    const FOR_EVER: Duration = Duration::from_secs(3600);
    const A_WHILE: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_step_ends_once_what_it_stands_on_is_gone() {
        let (house, _) = build(|look| look == 0, Change::Create, FOR_EVER).await;
        let Outcome::Failed { failure } = house else {
            panic!("{house:?}");
        };
        assert_eq!(failure.kind, FailureKind::Blocked);
        let words = "the ground: was deleted while the house needs it";
        assert_eq!(failure.to_string(), words);
        let hint = failure.hint.expect("what to do");
        assert!(hint.ends_with("run the same command again"), "{hint}");
    }

    #[tokio::test]
    async fn what_stands_seems_gone_or_need_not_be_there_ends_nothing() {
        let there = build(|_| true, Change::Create, A_WHILE);
        let stale = build(|look| look != 1, Change::Create, A_WHILE);
        let needless = build(|_| false, Change::Keep, A_WHILE);
        for (house, looks) in [there.await, stale.await, needless.await] {
            assert!(house.is_success(), "{house:?}");
            assert!(looks > 2, "looked {looks} times");
        }
    }
}
