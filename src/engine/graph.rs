//! The graph of steps. Acyclic by construction: a step can only need steps that were added before it.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use super::context::Output;
use super::{Change, Context, Expected, Failure, FailureKind, Observed, Result, Step, StepId};

/// What a step will put out, as a name: proof that the step is in the graph.
#[derive(Debug)]
pub struct Handle<T> {
    pub(super) index: usize,
    id: StepId,
    outputs: PhantomData<fn() -> T>,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Handle {
            index: self.index,
            id: self.id.clone(),
            outputs: PhantomData,
        }
    }
}

impl<T> Handle<T> {
    /// The id of the step that puts it out.
    pub fn id(&self) -> &StepId {
        &self.id
    }
}

/// A dependency's outputs, readable while the step runs. Only [`Needs::input`] makes one, so the edge is always there.
#[derive(Debug)]
pub struct Input<T> {
    id: StepId,
    outputs: PhantomData<fn() -> T>,
}

impl<T> Clone for Input<T> {
    fn clone(&self) -> Self {
        Input {
            id: self.id.clone(),
            outputs: PhantomData,
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Input<T> {
    /// The dependency's outputs.
    ///
    /// # Errors
    /// `MissingInput` while the dependency is not ready; `plan` then knows that this step is to be created.
    pub fn get(&self, cx: &Context) -> Result<T> {
        cx.output(&self.id)
            .and_then(|any| any.downcast_ref::<T>().cloned())
            .ok_or_else(|| {
                Failure::of(FailureKind::MissingInput, self.id.as_str(), "not there yet")
            })
    }
}

/// Collects what a step needs while it is being made.
#[derive(Debug, Default)]
pub struct Needs(BTreeSet<usize>);

impl Needs {
    /// Needs the step, and reads its outputs.
    pub fn input<T>(&mut self, handle: &Handle<T>) -> Input<T> {
        self.after(handle);
        Input {
            id: handle.id.clone(),
            outputs: PhantomData,
        }
    }

    /// Needs the step to be done before, and nothing of it.
    pub fn after<T>(&mut self, handle: &Handle<T>) {
        self.0.insert(handle.index);
    }
}

pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A [`Step`] with its output type erased, so that a graph can hold many.
pub(super) trait AnyStep: Send + Sync {
    fn title(&self) -> String;
    fn expected(&self) -> Expected;
    fn owns(&self) -> bool;
    fn observe<'a>(&'a self, cx: &'a Context) -> Boxed<'a, Result<Observed<Output>>>;
    fn plan(&self, seen: &Observed<Output>) -> Change;
    fn apply<'a>(&'a self, cx: &'a Context, change: &'a Change) -> Boxed<'a, Result<Output>>;
    fn destroy<'a>(&'a self, cx: &'a Context, seen: &'a Observed<Output>) -> Boxed<'a, Result<()>>;
}

fn erase<O: Send + Sync + 'static>(seen: Observed<O>) -> Observed<Output> {
    match seen {
        Observed::Absent => Observed::Absent,
        Observed::Pending(status) => Observed::Pending(status),
        Observed::Ready { outputs, drift } => Observed::Ready {
            outputs: Arc::new(outputs),
            drift,
        },
        Observed::Failed(reason) => Observed::Failed(reason),
        Observed::Foreign(owner) => Observed::Foreign(owner),
        Observed::Unreachable(reason) => Observed::Unreachable(reason),
    }
}

fn restore<O: Clone + 'static>(seen: &Observed<Output>) -> Observed<O> {
    match seen {
        Observed::Absent => Observed::Absent,
        Observed::Pending(status) => Observed::Pending(status.clone()),
        Observed::Ready { outputs, drift } => {
            let outputs: &(dyn Any + Send + Sync) = outputs.as_ref();
            let outputs = outputs
                .downcast_ref::<O>()
                .expect("a step observes its own outputs")
                .clone();
            Observed::Ready {
                outputs,
                drift: drift.clone(),
            }
        }
        Observed::Failed(reason) => Observed::Failed(reason.clone()),
        Observed::Foreign(owner) => Observed::Foreign(owner.clone()),
        Observed::Unreachable(reason) => Observed::Unreachable(reason.clone()),
    }
}

impl<S: Step> AnyStep for S {
    fn title(&self) -> String {
        Step::title(self)
    }

    fn expected(&self) -> Expected {
        Step::expected(self)
    }

    fn owns(&self) -> bool {
        S::OWNS
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> Boxed<'a, Result<Observed<Output>>> {
        Box::pin(async move { Step::observe(self, cx).await.map(erase) })
    }

    fn plan(&self, seen: &Observed<Output>) -> Change {
        Step::plan(self, &restore(seen))
    }

    fn apply<'a>(&'a self, cx: &'a Context, change: &'a Change) -> Boxed<'a, Result<Output>> {
        Box::pin(async move { Ok(Arc::new(Step::apply(self, cx, change).await?) as Output) })
    }

    fn destroy<'a>(&'a self, cx: &'a Context, seen: &'a Observed<Output>) -> Boxed<'a, Result<()>> {
        Box::pin(async move { Step::destroy(self, cx, &restore(seen)).await })
    }
}

pub(super) struct Node {
    pub id: StepId,
    pub step: Box<dyn AnyStep>,
    pub needs: BTreeSet<usize>,
    /// Whether another step needs it.
    pub is_needed: bool,
}

/// The deployment: steps and what each needs.
#[derive(Default)]
pub struct Graph {
    pub(super) nodes: Vec<Node>,
    names: HashMap<StepId, usize>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Graph::default()
    }

    /// Adds a step. The closure asks `needs` for the inputs it puts into the step.
    ///
    /// # Panics
    /// When a step of that id is already in the graph: the caller's mistake.
    pub fn add<S: Step>(&mut self, make: impl FnOnce(&mut Needs) -> S) -> Handle<S::Outputs> {
        let mut needs = Needs::default();
        let step = make(&mut needs);
        let (id, index) = (step.id(), self.nodes.len());
        let earlier = self.names.insert(id.clone(), index);
        assert!(earlier.is_none(), "two steps named {id}");
        for need in &needs.0 {
            self.nodes[*need].is_needed = true;
        }
        self.nodes.push(Node {
            id: id.clone(),
            step: Box::new(step),
            needs: needs.0,
            is_needed: false,
        });
        Handle {
            index,
            id,
            outputs: PhantomData,
        }
    }

    /// The steps in an order in which each comes after what it needs: id, title, expected durations, ids it needs.
    pub fn steps(&self) -> impl Iterator<Item = (&StepId, String, Expected, Vec<&StepId>)> {
        self.nodes.iter().map(|node| {
            let needs = node
                .needs
                .iter()
                .map(|&need| &self.nodes[need].id)
                .collect();
            (&node.id, node.step.title(), node.step.expected(), needs)
        })
    }
}
